//! Copies of repositories in a backup, and the way back.
//!
//! **For:** `ditsd backup` and `ditsd restore`.
//!
//! **Must hold:** the refs of one snapshot never move; a newer one has its own.

use std::ffi::OsString;
use std::fs;
use std::io::Write;
use std::path::Path;

use dits_core::git_index::ObjectFormat;
use dits_core::repo::git_program::{GitError as ProgramError, GitProgram};
use dits_core::repo_path::RepoName;

use super::bare::format_of;
use super::{Git, GitError, environment, failed};

/// Refs of all snapshots in a mirror, the number of each below.
const SNAPSHOTS: &str = "refs/snapshots/";

impl Git {
    /// What names the objects of a repository.
    ///
    /// # Errors
    ///
    /// [`ProgramError`] if git cannot read it.
    pub fn object_format(&self, name: &RepoName) -> Result<ObjectFormat, ProgramError> {
        match format_of(&self.path(name)) {
            Some(format) => Ok(format),
            // git says why.
            None => self.program_for(name).run(["rev-parse", "--git-dir"]).map(|()| ObjectFormat::Sha1),
        }
    }

    /// The ref that a repository's HEAD names, if it names one.
    ///
    /// # Errors
    ///
    /// [`ProgramError`] if git cannot read it.
    pub fn head(&self, name: &RepoName) -> Result<Option<String>, ProgramError> {
        let head = self.program_for(name).ask(["symbolic-ref", "--quiet", "HEAD"])?;
        Ok(head.map(|head| String::from_utf8_lossy(head.trim_ascii_end()).into_owned()))
    }

    /// Makes an empty mirror.
    ///
    /// # Errors
    ///
    /// [`GitError`] if git or the file system refuses.
    pub fn init_mirror(&self, mirror: &Path, object_format: ObjectFormat) -> Result<(), GitError> {
        let unfinished = mirror.with_extension(format!("{:016x}", rand::random::<u64>()));
        self.init(&unfinished, object_format)?;
        fs::rename(&unfinished, mirror).map_err(failed("make", mirror))
    }

    /// Fetches all refs of a repository into those of a snapshot.
    ///
    /// # Errors
    ///
    /// [`ProgramError`] if git refuses.
    pub fn fetch_to_mirror(&self, name: &RepoName, mirror: &Path, number: u64) -> Result<(), ProgramError> {
        self.fetch(mirror, &self.path(name), &format!("+refs/*:{SNAPSHOTS}{number}/*"))
    }

    /// Fetches all refs of a snapshot into those of a repository, removes others, and sets HEAD.
    ///
    /// # Errors
    ///
    /// [`ProgramError`] if git refuses.
    pub fn fetch_from_mirror(
        &self,
        name: &RepoName,
        mirror: &Path,
        number: u64,
        head: Option<&str>,
    ) -> Result<(), ProgramError> {
        self.fetch(&self.path(name), mirror, &format!("+{SNAPSHOTS}{number}/*:refs/*"))?;
        match head {
            Some(head) => self.program_for(name).run(["symbolic-ref", "HEAD", head]),
            None => Ok(()),
        }
    }

    /// Removes the refs of all snapshots but these from a mirror.
    ///
    /// # Errors
    ///
    /// [`ProgramError`] if git refuses.
    pub fn forget_snapshots_but(&self, mirror: &Path, kept: &[u64]) -> Result<(), ProgramError> {
        let git = self.program_in(mirror);
        let refs = git.capture(["for-each-ref", "--format=%(refname)", SNAPSHOTS])?;
        let kept: Vec<String> = kept.iter().map(|number| format!("{SNAPSHOTS}{number}/")).collect();
        let is_kept = |name: &&[u8]| kept.iter().any(|kept| name.starts_with(kept.as_bytes()));
        let mut pipe = git.pipe(["update-ref", "--stdin"])?;
        let mut stdin = pipe.take_stdin().expect("it was asked for as a pipe");
        for name in refs.split_inclusive(|byte| *byte == b'\n').filter(|name| !is_kept(name)) {
            if let Err(error) = stdin.write_all(b"delete ").and_then(|()| stdin.write_all(name)) {
                return Err(pipe.broken(error));
            }
        }
        drop(stdin);
        pipe.finish()
    }

    fn fetch(&self, into: &Path, from: &Path, refs: &str) -> Result<(), ProgramError> {
        // Whoever runs this may read the files: git's question whose they are would end every restore on another machine.
        let program = self.program.display().to_string().replace('\'', r"'\''");
        let upload = format!("--upload-pack='{program}' -c 'safe.directory=*' upload-pack");
        let args = ["fetch", "--quiet", "--prune", "--no-tags", "--update-shallow", &upload].map(OsString::from);
        self.program_in(into).run(args.into_iter().chain([from.into(), refs.into()]))
    }

    /// Git on a copy. What is in it was let in once: it is taken as it is, whatever this version would refuse.
    fn program_in(&self, dir: &Path) -> GitProgram {
        let vars = environment(&self.root).into_iter().map(|(name, value)| (name.into(), value));
        let git = GitProgram::at(&self.program).with_only_env(vars).for_other(dir);
        ["safe.directory=*", "transfer.fsckObjects=false", "gc.autoDetach=false", "maintenance.autoDetach=false"]
            .into_iter()
            .fold(git, GitProgram::with_config)
    }
}
