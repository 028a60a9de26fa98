//! What commands print, for people and as JSON, against the texts in `outputs/`.
//!
//! A text is every command with all that it said. What differs from machine to machine is replaced by a
//! name. After a change that is meant, `DITS_WRITE_OUTPUTS=1` writes the texts anew, to be read with `git diff`.

mod support;

use std::path::Path;

use dits_tests::media::noise;
use dits_tests::{Repo, Server, World};
use support::story;

/// Commands and what they said.
struct Transcript<'w> {
    repo: &'w Repo<'w>,
    names: Vec<(String, String)>,
    text: String,
}

impl<'w> Transcript<'w> {
    fn new(repo: &'w Repo<'w>) -> Transcript<'w> {
        let mut names = Vec::new();
        for (content, name) in
            [(noise(1, 300_000), "A-OID"), (noise(2, 400_000), "B-OID"), (noise(4, 600_000), "C-OID")]
        {
            let oid = blake3::hash(&content).to_hex().to_string();
            names.push((oid[..10].to_owned(), format!("{name}...")));
            names.insert(0, (oid, name.to_owned()));
        }
        names.push((repo.head(), "HEAD-COMMIT".to_owned()));
        Transcript { repo, names, text: String::new() }
    }

    /// Has `what` shown as `name` from here on.
    fn name(&mut self, what: impl Into<String>, name: &str) {
        self.names.push((what.into(), name.to_owned()));
    }

    fn run(&mut self, args: &str) {
        self.run_in(self.repo, args);
    }

    fn run_in(&mut self, repo: &Repo<'_>, args: &str) {
        let call: Vec<&str> = std::iter::once("dits").chain(args.split(' ')).collect();
        let mut said = story(repo.world(), &repo.git(&call));
        for (what, name) in &self.names {
            said = said.replace(what, name);
        }
        self.text.push_str(&format!("$ git dits {args}\n{said}\n"));
    }

    /// Compares all of it with the file of this name.
    fn is(self, name: &str) {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/outputs").join(name);
        if std::env::var_os("DITS_WRITE_OUTPUTS").is_some() {
            std::fs::write(&path, &self.text).expect("the sources can be written");
        }
        let expected = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(self.text == expected, "this is not what outputs/{name} holds:\n{}", self.text);
    }
}

/// A repository with everything that can be said of media: `a.mov` is pushed and changed, `b.mov` is
/// not pushed and a pointer, `c.mov` is staged.
fn film<'w>(world: &'w World, url: &str) -> Repo<'w> {
    let repo = world.repo("film");
    repo.write("a.mov", noise(1, 300_000));
    repo.commit("a take");
    repo.push_to(url);
    repo.write("b.mov", noise(2, 400_000));
    repo.commit("another take");
    repo.write("b.mov", repo.blob("HEAD:b.mov"));
    repo.write("a.mov", noise(3, 500_000));
    repo.write("c.mov", noise(4, 600_000));
    repo.git(&["add", "c.mov"]).ok();
    repo
}

fn share(world: &World) -> String {
    format!("dits::{}", world.bare("nas.git").display())
}

#[test]
fn status_and_ls_files() {
    let world = World::new();
    let repo = film(&world, &share(&world));
    let mut said = Transcript::new(&repo);
    for args in ["status", "status --json", "ls-files", "ls-files -l -s", "ls-files -n HEAD^", "ls-files --json HEAD"] {
        said.run(args);
    }
    said.is("status.txt");
}

#[test]
fn fetch_and_pull() {
    let world = World::new();
    let server = world.serve();
    let url = server.url("film");
    let repo = film(&world, &url);
    repo.git(&["push", "-q"]).ok();
    let clone = |name: &str| {
        let call = world.call("git").args(["clone", "-q", &url, name]).env("GIT_DITS_SKIP_SMUDGE", "1");
        call.run().ok();
        Repo::at(&world, world.path(name))
    };
    let (two, three) = (clone("two"), clone("three"));
    let mut said = Transcript::new(&two);
    said.name(format!(":{}", server.port()), ":PORT");
    for args in ["fetch -I a.mov", "fetch --all --json", "pull --json -I a.mov", "pull", "pull"] {
        said.run(args);
    }
    Server::kill(server);
    for args in ["fetch", "fetch --json", "pull -X b.mov"] {
        said.run_in(&three, args);
    }
    said.is("fetch.txt");
}

#[test]
fn track() {
    let world = World::new();
    let repo = world.repo("film");
    repo.write("old.wav", noise(9, 5_000));
    repo.commit("stored plain");
    let mut said = Transcript::new(&repo);
    for args in ["track", "track --json", "track --dry-run *.wav", "track --json *.wav *.mov", "track *.wav"] {
        said.run(args);
    }
    said.is("track.txt");
}

#[test]
fn env() {
    let world = World::new();
    let repo = film(&world, &share(&world));
    repo.git(&["remote", "add", "forge", "https://ann:secret@forge.example/film.git"]).ok();
    std::fs::remove_file(repo.dir().join(".git/hooks/pre-push")).expect("track put it there");
    let mut said = Transcript::new(&repo);
    said.name(repo.git(&["--exec-path"]).ok(), "EXEC-PATH");
    said.name(repo.git(&["--version"]).ok().replace("git version ", ""), "GIT-VERSION");
    said.name(env!("CARGO_PKG_VERSION"), "VERSION");
    said.run("env");
    said.run("env --json");
    said.is("env.txt");
}

#[test]
fn what_is_in_the_work_tree() {
    let world = World::new();
    let repo = world.repo("film");
    for (seed, path) in [(1, "a.mov"), (2, "b.mov")] {
        repo.write(path, noise(seed, if seed == 1 { 300_000 } else { 400_000 }));
    }
    repo.commit("takes");
    let mut said = Transcript::new(&repo);
    said.run("dehydrate a.mov");
    repo.write("b.mov", noise(4, 600_000));
    for args in ["dehydrate --json .", "checkout", "checkout --json", "diff", "diff --json"] {
        said.run(args);
    }
    std::fs::remove_dir_all(repo.store()).expect("it is ours");
    repo.write("a.mov", repo.blob("HEAD:a.mov"));
    said.run("checkout --json");
    said.is("work-tree.txt");
}

#[test]
fn resolve() {
    let world = World::new();
    let repo = world.repo("film");
    repo.git(&["checkout", "-q", "-b", "side"]).ok();
    repo.write("a.mov", noise(1, 300_000));
    repo.write("b.mov", noise(1, 300_000));
    let side = repo.commit("their cut");
    repo.git(&["checkout", "-q", "main"]).ok();
    repo.write("a.mov", noise(2, 400_000));
    repo.write("b.mov", noise(2, 400_000));
    repo.commit("our cut");
    repo.git(&["merge", "-q", "side"]).breaks();
    let mut said = Transcript::new(&repo);
    said.name(repo.head()[..7].to_owned(), "HEAD-SHORT");
    said.name(side.clone(), "SIDE-COMMIT");
    said.name(side[..7].to_owned(), "SIDE-SHORT");
    for args in ["resolve --both a.mov", "resolve --json --theirs b.mov", "resolve --ours a.mov"] {
        said.run(args);
    }
    said.is("resolve.txt");
}
