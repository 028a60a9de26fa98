//! What people are told when something fails, and the exit status that goes with it.
//!
//! **For:** one shape for the failures of all programs, which print them: `error:`, `caused by:`, `hint:`.
//!
//! **May touch:** nothing.
//!
//! **Must hold:** a cause that says the same as the line before it is left out; a thousand causes with
//! one fate do not make a thousand lines.

use std::error::Error;

/// The program did its work.
pub const DONE: u8 = 0;
/// It could not do its work.
pub const FAILED: u8 = 1;
/// It was called wrongly.
pub const WRONG_USAGE: u8 = 2;
/// Somebody's right or setting stands in the way.
pub const REFUSED: u8 = 3;
/// A bug in Dits.
pub const BUG: u8 = 255;

/// Causes of one kind that a message names one by one.
const NAMED_MAX: usize = 10;

/// A failure, in the words the user reads.
///
/// It is no [`Error`] itself, so that `?` turns any error of the library into one.
#[derive(Debug)]
pub struct Failure {
    code: u8,
    message: String,
    causes: Vec<String>,
    hints: Vec<String>,
}

impl Failure {
    /// Something could not be done.
    pub fn new(message: impl Into<String>) -> Failure {
        Failure { code: FAILED, message: message.into(), causes: Vec::new(), hints: Vec::new() }
    }

    /// Somebody's right or setting stands in the way.
    pub fn refused(message: impl Into<String>) -> Failure {
        Failure { code: REFUSED, ..Failure::new(message) }
    }

    /// The program was called wrongly.
    pub fn usage(message: impl Into<String>) -> Failure {
        Failure { code: WRONG_USAGE, ..Failure::new(message) }
    }

    /// Dits itself did something wrong.
    pub fn bug() -> Failure {
        let failure = Failure::new("this is a bug in Dits").hint("please report it with the lines above");
        Failure { code: BUG, ..failure }
    }

    /// The program ends with `code` and says nothing: a child has said it, or nobody is left to hear it.
    pub fn told(code: u8) -> Failure {
        Failure { code, ..Failure::new("") }
    }

    /// Adds an error and what caused it.
    pub fn because(mut self, error: &dyn Error) -> Failure {
        let mut next = Some(error);
        while let Some(cause) = next {
            let text = cause.to_string();
            // Errors that pass another one on say the same twice.
            if self.causes.last() != Some(&text) && self.message != text {
                self.causes.push(text);
            }
            next = cause.source();
        }
        self
    }

    /// Adds one cause in words.
    pub fn caused_by(mut self, cause: impl Into<String>) -> Failure {
        self.causes.push(cause.into());
        self
    }

    /// Adds causes of one kind, the first ones by name and the rest as a number.
    pub fn caused_by_each(mut self, causes: impl ExactSizeIterator<Item = String>) -> Failure {
        let more = causes.len().saturating_sub(NAMED_MAX);
        self.causes.extend(causes.take(NAMED_MAX));
        if more > 0 {
            self.causes.push(format!("… and {more} more"));
        }
        self
    }

    /// Adds what to do next.
    pub fn hint(mut self, hint: impl Into<String>) -> Failure {
        self.hints.push(hint.into());
        self
    }

    /// What failed, without its causes.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The exit status that goes with it.
    pub fn code(&self) -> u8 {
        self.code
    }

    /// The whole message as it is printed.
    pub fn text(&self) -> String {
        if self.message.is_empty() {
            return String::new();
        }
        let mut text = format!("error: {}\n", self.message);
        self.causes.iter().for_each(|cause| text.push_str(&format!("caused by: {cause}\n")));
        self.hints.iter().for_each(|hint| text.push_str(&format!("hint: {hint}\n")));
        text
    }

    /// The message and its causes in one line, for programs.
    pub fn line(&self) -> String {
        let parts: Vec<&str> = std::iter::once(&self.message).chain(&self.causes).map(String::as_str).collect();
        parts.join(": ").replace('\n', " ")
    }
}

impl<E: Error> From<E> for Failure {
    fn from(error: E) -> Failure {
        let failure = Failure::new(error.to_string());
        match error.source() {
            Some(source) => failure.because(source),
            None => failure,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_lists_its_causes_and_hints_in_order() {
        let failure = Failure::refused("no").because(&std::io::Error::other("disk on fire")).hint("use another disk");
        assert_eq!(failure.text(), "error: no\ncaused by: disk on fire\nhint: use another disk\n");
        assert_eq!((failure.line(), failure.code()), ("no: disk on fire".to_owned(), REFUSED));
    }

    #[test]
    fn many_causes_of_one_kind_stay_few_lines() {
        let causes = |count: usize| Failure::new("no").caused_by_each((0..count).map(|number| number.to_string()));
        assert_eq!(causes(NAMED_MAX).causes.len(), NAMED_MAX);
        assert_eq!(causes(1000).causes.last().map(String::as_str), Some("… and 990 more"));
    }

    #[test]
    fn what_was_told_is_not_told_again() {
        assert_eq!((Failure::told(REFUSED).text(), Failure::told(REFUSED).code()), (String::new(), REFUSED));
        assert!(Failure::bug().text().starts_with("error: this is a bug in Dits\nhint: "));
    }
}
