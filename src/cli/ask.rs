//! Questions: asked only where somebody can answer, who may also end the program by ^C: whatever the
//! answer, nothing is begun yet.

use std::io::{self, BufRead, Write};

use rustix::termios::isatty;

use crate::sys::signals::let_pass;

/// Asks a question that is answered with yes or no; `None` where nobody can be asked.
pub fn yes(question: &str, default: bool) -> Option<bool> {
    if !isatty(rustix::stdio::stdin()) || !isatty(rustix::stdio::stderr()) {
        return None;
    }
    let choices = if default { "[Y/n]" } else { "[y/N]" };
    let _answers_too = let_pass();
    for _ in 0..3 {
        let mut stderr = io::stderr();
        let asked = write!(stderr, "{question} {choices} ").and_then(|()| stderr.flush());
        let mut answer = String::new();
        if asked.is_err() || io::stdin().lock().read_line(&mut answer).ok()? == 0 {
            return Some(false);
        }
        match answer.trim().to_ascii_lowercase().as_str() {
            "" => return Some(default),
            "y" | "yes" => return Some(true),
            "n" | "no" => return Some(false),
            _ => {}
        }
    }
    Some(false)
}
