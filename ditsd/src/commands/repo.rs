//! `ditsd repo create|list|rm`.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use dits_core::git_index::ObjectFormat;
use dits_core::repo_path::{NameError, RepoName};

use super::{Failure, print};
use crate::clock;
use crate::db::{Db, DbError, RepoId};
use crate::git::{Git, GitError};
use crate::root::{Root, RootError};

/// Make, list and remove repositories; the server may be running
#[derive(Subcommand)]
pub enum Command {
    Create(CreateArguments),
    List(ListArguments),
    Rm(RemoveArguments),
}

/// Make an empty repository (the first push to a name makes it too)
#[derive(Args)]
pub struct CreateArguments {
    /// The repository's name, slashes allowed
    name: String,
    /// What its objects are named by, which must be that of the repositories that are pushed: sha1 or sha256
    #[arg(long, value_name = "FORMAT", default_value = "sha1", value_parser = object_format)]
    object_format: ObjectFormat,
    /// The server root
    #[arg(long, value_name = "DIR")]
    root: PathBuf,
}

/// List the repositories by name
#[derive(Args)]
pub struct ListArguments {
    /// The server root
    #[arg(long, value_name = "DIR")]
    root: PathBuf,
    /// Print a JSON array of objects with `name`, `id` and `created`
    #[arg(long)]
    json: bool,
}

/// Remove a repository for good: its Git side and what is known of it
///
/// Media that no other repository holds stays in the store until it is swept.
#[derive(Args)]
pub struct RemoveArguments {
    /// The repository's name
    name: String,
    /// The server root
    #[arg(long, value_name = "DIR")]
    root: PathBuf,
    /// Yes, remove it
    #[arg(long)]
    yes: bool,
}

/// Why a repository was not made, listed or removed.
#[derive(Debug, thiserror::Error)]
enum RepoError {
    #[error("{name:?} cannot be the name of a repository")]
    Name { name: String, source: NameError },
    #[error("there is no repository {0}")]
    Absent(RepoName),
    #[error("removing the repository {0} cannot be undone")]
    Unconfirmed(RepoName),
    #[error(transparent)]
    Root(#[from] RootError),
    #[error(transparent)]
    Db(#[from] DbError),
    #[error(transparent)]
    Git(#[from] GitError),
    #[error(transparent)]
    Program(#[from] dits_core::repo::git_program::GitError),
    #[error("cannot remove {path}")]
    Remove { path: PathBuf, source: std::io::Error },
}

fn object_format(name: &str) -> Result<ObjectFormat, String> {
    ObjectFormat::parse(name).ok_or_else(|| "it is sha1 or sha256".to_owned())
}

/// Does what was asked.
pub fn run(command: Command) -> Result<(), Failure> {
    let done = match command {
        Command::Create(arguments) => create(&arguments),
        Command::List(arguments) => list(&arguments),
        Command::Rm(arguments) => remove(&arguments),
    };
    done.map_err(|error| match error {
        RepoError::Name { .. } => {
            Failure::usage(error).hint("use letters, digits, '-', '_' and '.', with '/' between parts")
        }
        RepoError::Unconfirmed(_) => Failure::refused(error).hint("pass --yes if that is meant"),
        RepoError::Absent(_) => Failure::failed(error).hint("`ditsd repo list` shows those that are there"),
        _ => Failure::failed(error),
    })
}

fn create(arguments: &CreateArguments) -> Result<(), RepoError> {
    let name = parse(&arguments.name)?;
    let root = Root::create(&arguments.root)?;
    Db::open(&root.meta())?.ensure_repo(&name, RepoId(rand::random()), clock::now())?;
    Ok(Git::new(root)?.ensure(&name, arguments.object_format)?)
}

fn list(arguments: &ListArguments) -> Result<(), RepoError> {
    let repos = open(&arguments.root)?.1.repos()?;
    match arguments.json {
        true => {
            let objects: Vec<_> = repos
                .iter()
                .map(|repo| {
                    let id: String = repo.id.0.iter().map(|byte| format!("{byte:02x}")).collect();
                    serde_json::json!({"name": repo.name.as_str(), "id": id, "created": repo.created})
                })
                .collect();
            print(&format!("{}\n", serde_json::Value::from(objects)));
        }
        false => repos.iter().for_each(|repo| print(&format!("{}\n", repo.name))),
    }
    Ok(())
}

fn remove(arguments: &RemoveArguments) -> Result<(), RepoError> {
    let name = parse(&arguments.name)?;
    let (root, db) = open(&arguments.root)?;
    let repo = db.repo(&name)?.ok_or_else(|| RepoError::Absent(name.clone()))?;
    if !arguments.yes {
        return Err(RepoError::Unconfirmed(name));
    }
    // The refs go first: a name must never come back with refs whose media it does not hold.
    let aside = Git::new(root)?.set_aside(&name)?;
    db.remove_repo(repo.key)?;
    match aside {
        Some(path) => std::fs::remove_dir_all(&path).map_err(|source| RepoError::Remove { path, source }),
        None => Ok(()),
    }
}

fn open(root: &Path) -> Result<(Root, Db), RepoError> {
    let root = Root::open(root)?;
    let db = Db::open(&root.meta())?;
    Ok((root, db))
}

fn parse(name: &str) -> Result<RepoName, RepoError> {
    RepoName::new(name).map_err(|source| RepoError::Name { name: name.to_owned(), source })
}
