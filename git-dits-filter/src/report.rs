//! What the user reads on standard error.
//!
//! **For:** saying what happened to which file, why, and what to do next.
//!
//! **May touch:** the stream it is handed, which is standard error.
//!
//! **Must hold:** a thousand files with the same fate do not make a thousand lines.

use std::error::Error;
use std::io::Write;

use bstr::ByteSlice;

/// Most paths that are named one by one.
const NAMED_MAX: usize = 10;

/// Collects what is told at the end and tells what cannot wait.
pub struct Report<'w> {
    to: &'w mut dyn Write,
    kept: Vec<(String, String)>,
    plain: Vec<String>,
}

impl<'w> Report<'w> {
    /// Tells on `to`.
    pub fn new(to: &'w mut dyn Write) -> Report<'w> {
        Report { to, kept: Vec::new(), plain: Vec::new() }
    }

    /// Tells at once that something failed: what, why, and what to do.
    pub fn error(&mut self, what: &str, why: Option<&dyn Error>, hints: &[&str]) {
        self.tell(&format!("error: {what}"));
        let mut cause = why;
        while let Some(error) = cause {
            self.tell(&format!("caused by: {}", one_line(&error.to_string())));
            cause = error.source();
        }
        for hint in hints {
            self.tell(&format!("hint: {hint}"));
        }
    }

    /// Tells at once that a path's media cannot be had.
    pub fn failed(&mut self, path: &[u8], why: &str) {
        self.tell(&format!("error: cannot get the content of {}", shown(path)));
        self.tell(&format!("caused by: {}", one_line(why)));
        self.tell("hint: `git dits pull` gets what is missing once it can be had");
        self.tell("hint: or `GIT_DITS_SKIP_SMUDGE=1` leaves pointers as they are");
    }

    /// Tells at once of something that is odd but not wrong.
    pub fn warning(&mut self, what: &str) {
        self.tell(&format!("warning: {what}"));
    }

    /// Keeps for the end that a path got its pointer instead of its content.
    pub fn kept_as_pointer(&mut self, path: &[u8], why: &str) {
        self.kept.push((shown(path), one_line(why)));
    }

    /// Keeps for the end that a path holds plain content where a pointer was expected.
    pub fn passed_through(&mut self, path: &[u8]) {
        self.plain.push(shown(path));
    }

    /// Tells what was kept for the end.
    pub fn finish(&mut self) {
        let kept = std::mem::take(&mut self.kept);
        for (path, why) in kept.iter().take(NAMED_MAX) {
            self.tell(&format!("warning: {path} is left as a pointer"));
            self.tell(&format!("caused by: {why}"));
        }
        if kept.len() > NAMED_MAX {
            self.tell(&format!("warning: {} more are left as pointers", kept.len() - NAMED_MAX));
        }
        if !kept.is_empty() {
            self.tell("hint: `git dits pull` gets what is missing once it can be had");
        }
        let plain = std::mem::take(&mut self.plain);
        if let Some(first) = plain.first() {
            let more = match plain.len() {
                1 => String::new(),
                count => format!(" and {} more", count - 1),
            };
            self.tell(&format!("warning: {first}{more} should be a pointer, but was committed as plain content"));
            self.tell("hint: `git add --renormalize .` and a commit make pointers of such files");
        }
    }

    fn tell(&mut self, line: &str) {
        // Nobody is left to hear about a broken standard error.
        let _ = writeln!(self.to, "{line}");
    }
}

/// A path in a form that stays on one line.
pub fn shown(path: &[u8]) -> String {
    match path.to_str() {
        Ok(text) if !text.chars().any(|c| c.is_control() || c == '"') && text.trim() == text => text.to_owned(),
        _ => format!("{:?}", path.as_bstr()),
    }
}

fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_files_with_one_fate_stay_few_lines() {
        let mut told = Vec::new();
        let mut report = Report::new(&mut told);
        for number in 0..1000 {
            report.kept_as_pointer(format!("{number}.mov").as_bytes(), "no\nnetwork");
            report.passed_through(b"x.mov");
        }
        report.finish();
        let told = String::from_utf8(told).expect("text");
        assert_eq!(told.lines().count(), 2 * NAMED_MAX + 4);
        assert!(told.starts_with("warning: 0.mov is left as a pointer\ncaused by: no network\n"), "{told}");
        assert!(told.contains("warning: 990 more are left as pointers\n"));
        assert!(told.contains("warning: x.mov and 999 more should be a pointer"));
    }

    #[test]
    fn a_path_stays_on_one_line() {
        assert_eq!(shown(b"a b.mov"), "a b.mov");
        assert_eq!(shown(b"a\nb"), r#""a\nb""#);
        assert_eq!(shown(b" a"), r#"" a""#);
        assert_eq!(shown(b"\xff"), r#""\xff""#);
    }
}
