//! Why a call was not served: the one mapping from this server's errors to gRPC's.
//!
//! **For:** every call of the control plane.
//!
//! **Must hold:** a client learns what it can act on; causes inside the server go to the log
//! alone.

use dits_core::repo::git_program::GitError as ProgramError;
use dits_core::repo::pointer_walk::WalkError;
use dits_core::repo_path::{NameError, RepoName};
use tonic::{Code, Status};

use crate::blobs::BlobError;
use crate::db::DbError;
use crate::git::GitError;
use crate::rules::ids::BadIds;

/// Why a call was not served.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The caller did not show the token.
    #[error("this server wants a token")]
    Unauthenticated,
    /// No version is spoken by both ends.
    #[error("this server speaks version 1 of the control protocol, and the client does not: one of the two is too old")]
    Version,
    /// The repository's name cannot be used.
    #[error("the repository's name cannot be used: {0}")]
    Name(#[source] NameError),
    /// There is no such repository.
    #[error("there is no repository {0} on this server")]
    NoRepo(RepoName),
    /// A question that cannot be meant.
    #[error("bad request: {0}")]
    Ids(#[from] BadIds),
    /// A part of a request is missing or malformed.
    #[error("bad request: {0}")]
    Malformed(&'static str),
    /// More is going on than this server takes.
    #[error("the server is busy; try again later")]
    Busy,
    /// The database failed.
    #[error("the server's database failed")]
    Db(#[from] DbError),
    /// The store failed.
    #[error("the server's store failed")]
    Blobs(#[from] BlobError),
    /// The Git side failed.
    #[error("the server could not run git")]
    Git(#[from] GitError),
    /// The refs of a repository cannot be listed.
    #[error("the server could not list refs")]
    Refs(#[source] ProgramError),
    /// What they name cannot be walked.
    #[error("the server could not look through what its refs name")]
    Walk(#[source] WalkError),
    /// A bug in this program.
    #[error("the server failed")]
    Panicked,
}

impl CallError {
    fn code(&self) -> Code {
        match self {
            CallError::Unauthenticated => Code::Unauthenticated,
            CallError::Version => Code::FailedPrecondition,
            CallError::Name(_) | CallError::Ids(_) | CallError::Malformed(_) => Code::InvalidArgument,
            CallError::NoRepo(_) => Code::NotFound,
            CallError::Busy => Code::ResourceExhausted,
            CallError::Db(_) | CallError::Blobs(_) | CallError::Git(_) | CallError::Panicked => Code::Internal,
            CallError::Refs(_) | CallError::Walk(_) => Code::Internal,
        }
    }

    /// What the client is told. What only the operator can act on is told to the log.
    fn client_text(&self) -> String {
        match self.code() {
            Code::Internal => format!("{self}; its log says why"),
            _ => self.to_string(),
        }
    }
}

impl From<CallError> for Status {
    fn from(error: CallError) -> Status {
        let code = error.code();
        match code {
            Code::Internal => tracing::error!(error = %causes(&error), "a call failed"),
            _ => tracing::debug!(%error, ?code, "a call was refused"),
        }
        Status::new(code, error.client_text())
    }
}

fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_happened_inside_stays_inside() {
        let inside = GitError::Start(std::io::Error::other("/srv/secret/path"));
        let status = Status::from(CallError::from(inside));
        assert_eq!(status.code(), Code::Internal);
        assert_eq!(status.message(), "the server could not run git; its log says why");
    }
}
