//! The programs under test, built once for each run.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// Returns the folder of the built programs, after building what is not.
///
/// The build has the profile of the test itself, so that it is a no-op behind `cargo build`.
pub fn folder() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let test = std::env::current_exe().expect("a test knows its own path");
        let folder = test.parent().and_then(Path::parent).expect("tests are built in <target>/<profile>/deps");
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["build", "--quiet", "--workspace", "--bins", "--locked"]);
        cargo.current_dir(env!("CARGO_MANIFEST_DIR"));
        // What cargo tells the test about its own package would make build scripts run anew.
        for (name, _) in std::env::vars_os() {
            if ["CARGO_PKG_", "CARGO_MANIFEST_"].iter().any(|prefix| name.to_string_lossy().starts_with(prefix)) {
                cargo.env_remove(name);
            }
        }
        cargo.env("CARGO_TARGET_DIR", folder.parent().expect("<target> holds <profile>"));
        match folder.file_name().and_then(|name| name.to_str()) {
            Some("debug") | None => {}
            Some(profile) => drop(cargo.args(["--profile", profile])),
        }
        let built = cargo.status().expect("cargo can be started");
        assert!(built.success(), "the programs under test do not build");
        folder.to_owned()
    })
}

/// Returns true if `program` can be started by its name.
pub fn is_installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}
