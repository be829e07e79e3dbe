//! What is being done, on one line of a terminal that changes; off a terminal nothing but warnings.

use std::io::{self, Write};

use rustix::termios::isatty;

use super::PROGRAM;
use crate::boxes::create::Progress;
use crate::message::{self, printable};

/// Tells steps on stderr.
#[derive(Debug)]
pub struct Shown {
    is_terminal: bool,
    verbose: bool,
    step: String,
    has_line: bool,
}

impl Shown {
    /// `verbose` shows every step and every line of output, on a line of its own.
    pub fn new(verbose: bool) -> Shown {
        let is_terminal = isatty(rustix::stdio::stderr());
        Shown { is_terminal, verbose, step: String::new(), has_line: false }
    }

    /// Takes the line away.
    pub fn clear(&mut self) {
        if std::mem::take(&mut self.has_line) {
            let _nobody_to_tell = io::stderr().write_all(b"\r\x1b[K");
        }
    }

    fn show(&mut self, detail: &str) {
        if self.verbose || !self.is_terminal {
            return;
        }
        let separator = if detail.is_empty() { " …" } else { ": " };
        let line = format!("{}{separator}{}", self.step, printable(detail));
        let columns = rustix::termios::tcgetwinsize(rustix::stdio::stderr());
        // A line that wraps could not be taken away.
        let most = columns.map_or(80, |size| usize::from(size.ws_col)).clamp(20, 500) - 1;
        let line: String = line.chars().take(most).collect();
        self.has_line = true;
        let _nobody_to_tell = write!(io::stderr(), "\r\x1b[K{line}");
    }
}

impl Progress for Shown {
    fn step(&mut self, text: &str) {
        self.step = printable(text);
        if self.verbose {
            message::say(PROGRAM, text);
        }
        self.show("");
    }

    fn detail(&mut self, text: &str) {
        self.show(text);
    }

    fn output(&mut self, line: &str) {
        if self.verbose {
            message::say(PROGRAM, format!("  {line}"));
        }
        self.show(line);
    }

    fn warning(&mut self, text: &str) {
        self.clear();
        message::say(PROGRAM, format!("warning: {text}"));
        self.show("");
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        self.clear();
    }
}
