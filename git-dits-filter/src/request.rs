//! What git asks of the filter.
//!
//! **For:** turning a request's lines into a value, once.
//!
//! **May touch:** nothing.
//!
//! **Must hold:** a path keeps its exact bytes; keys this program does not know are passed
//! over, since git adds some from time to time.
//!
//! **Format:** `docs/protocols/filter-v2.md`.

/// One request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// A file is to be turned into what git stores.
    Clean {
        /// The file's path.
        path: Vec<u8>,
    },
    /// What git stores is to be turned into a file.
    Smudge {
        /// The file's path.
        path: Vec<u8>,
        /// Whether git can wait, which says that the content goes to a work tree.
        can_delay: bool,
    },
    /// Git asks which delayed paths are ready, and waits for the answer.
    ListAvailable,
}

/// Lines that are no request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// No `command=` line.
    #[error("git sent a request without a command")]
    NoCommand,
    /// A command that was not agreed on.
    #[error("git asked for {:?}, which was not agreed on", String::from_utf8_lossy(.0))]
    UnknownCommand(Vec<u8>),
    /// A request on a file that names none.
    #[error("git sent a request without a path")]
    NoPath,
}

/// Reads a request's lines, each without its line feed.
pub fn parse(lines: &[Vec<u8>]) -> Result<Request, RequestError> {
    let (mut command, mut path, mut can_delay) = (None, None, false);
    for line in lines {
        let Some(equals) = line.iter().position(|byte| *byte == b'=') else { continue };
        let (key, value) = (&line[..equals], &line[equals + 1..]);
        match key {
            b"command" => command = Some(value),
            b"pathname" => path = Some(value.to_vec()),
            b"can-delay" => can_delay = value == b"1",
            _ => {}
        }
    }
    let path = path.filter(|path| !path.is_empty()).ok_or(RequestError::NoPath);
    match command {
        None => Err(RequestError::NoCommand),
        Some(b"clean") => Ok(Request::Clean { path: path? }),
        Some(b"smudge") => Ok(Request::Smudge { path: path?, can_delay }),
        Some(b"list_available_blobs") => Ok(Request::ListAvailable),
        Some(other) => Err(RequestError::UnknownCommand(other.to_vec())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(lines: &[&[u8]]) -> Result<Request, RequestError> {
        parse(&lines.iter().map(|line| line.to_vec()).collect::<Vec<_>>())
    }

    #[test]
    fn a_path_keeps_its_exact_bytes() {
        for path in [&b" a.mov "[..], b"a=b\nc", b"-x", b"\"q\"", b"\xff\xfe", b"a\t"] {
            let line = [b"pathname=", path].concat();
            let request = parsed(&[b"command=clean", &line]);
            assert_eq!(request, Ok(Request::Clean { path: path.to_vec() }));
        }
    }

    #[test]
    fn what_is_not_known_is_passed_over() {
        let request = parsed(&[b"new", b"command=smudge", b"pathname=x", b"treeish=1", b"can-delay=1", b"key=a=b"]);
        assert_eq!(request, Ok(Request::Smudge { path: b"x".to_vec(), can_delay: true }));
    }

    #[test]
    fn lines_that_are_no_request_are_refused() {
        assert_eq!(parsed(&[]), Err(RequestError::NoCommand));
        assert_eq!(parsed(&[b"command=clean"]), Err(RequestError::NoPath));
        assert_eq!(parsed(&[b"command=smudge", b"pathname="]), Err(RequestError::NoPath));
        assert_eq!(parsed(&[b"command=rm", b"pathname=x"]), Err(RequestError::UnknownCommand(b"rm".to_vec())));
    }
}
