//! How a run ended and what it wrote, exactly; two of them side by side.

use std::fmt::Write as _;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

/// How a process ended. A death by signal is not the same as 128 + N.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It exited with this status.
    Code(i32),
    /// It died by this signal.
    Signal(i32),
}

impl From<ExitStatus> for End {
    fn from(status: ExitStatus) -> End {
        match (status.code(), status.signal()) {
            (Some(code), _) => End::Code(code),
            (None, Some(signal)) => End::Signal(signal),
            (None, None) => panic!("neither ended nor killed: {status:?}"),
        }
    }
}

/// Everything a run shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// How it ended.
    pub end: End,
    /// Its stdout; on a terminal everything that the terminal showed.
    pub stdout: Vec<u8>,
    /// Its stderr; empty on a terminal.
    pub stderr: Vec<u8>,
}

impl Outcome {
    /// What one expects of a run: its end and its stdout, and nothing on stderr.
    pub fn new(end: End, stdout: impl Into<Vec<u8>>) -> Outcome {
        Outcome { end, stdout: stdout.into(), stderr: Vec::new() }
    }

    /// stdout as text, for a search in it.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// stderr as text, for a search in it.
    pub fn errors(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }

    /// The differences to what was expected, one per line; empty when there are none.
    pub fn difference(&self, expected: &Outcome) -> String {
        let mut text = String::new();
        if self.end != expected.end {
            let _never = writeln!(text, "  end:    {:?}, expected {:?}", self.end, expected.end);
        }
        for (name, got, expected) in
            [("stdout", &self.stdout, &expected.stdout), ("stderr", &self.stderr, &expected.stderr)]
        {
            if got != expected {
                let at = got.iter().zip(expected).take_while(|(a, b)| a == b).count();
                let _never = writeln!(
                    text,
                    "  {name}: differs from byte {at} on ({} bytes, expected {})\n    got      {}\n    expected {}",
                    got.len(),
                    expected.len(),
                    shown(got, at),
                    shown(expected, at),
                );
            }
        }
        text
    }
}

/// Bytes as they would stand in a source file, a window of them around `at`.
pub fn shown(bytes: &[u8], at: usize) -> String {
    const BEFORE: usize = 400;
    const AFTER: usize = 600;
    let start = at.min(bytes.len()).saturating_sub(BEFORE);
    let end = bytes.len().min(at + AFTER);
    let dots = |cut: bool| if cut { "…" } else { "" };
    format!(
        "{}\"{}\"{}",
        dots(start > 0),
        bytes[start..end].escape_ascii(),
        dots(end < bytes.len())
    )
}
