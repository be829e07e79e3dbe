//! What a terminal that an interactive run has to itself is told: that it shows a box (OSC 777, as
//! toolbox does). While the run is stopped the terminal is the host's shell's, and shows no box.

use std::ffi::OsStr;

use super::environment;
use super::plan::Plan;

const POP: &[u8] = b"\x1b]777;container;pop;;\x1b\\";

/// What one terminal was told.
#[derive(Debug)]
pub struct Title {
    /// What tells it; `None` where nobody wants to know.
    push: Option<Vec<u8>>,
    /// The command runs.
    is_due: bool,
    is_pushed: bool,
}

impl Title {
    /// Nothing yet, of a run on a terminal of the type `term`.
    pub fn new(plan: &Plan, term: Option<&OsStr>) -> Title {
        let push = (plan.is_interactive && !environment::is_dumb(term)).then(|| {
            let name = String::from_utf8_lossy(&plan.request.box_name);
            format!("\x1b]777;container;push;{name};incusbox\x1b\\").into_bytes()
        });
        Title { push, is_due: false, is_pushed: false }
    }

    /// The command runs.
    pub fn begin(&mut self) {
        self.is_due = true;
    }

    /// What to write now that the run has the terminal; `None` if that is known there already.
    pub fn push(&mut self) -> Option<Vec<u8>> {
        let push = self.push.clone().filter(|_| self.is_due && !self.is_pushed);
        self.is_pushed |= push.is_some();
        push
    }

    /// What to write now that others get it.
    pub fn pop(&mut self) -> Option<Vec<u8>> {
        std::mem::take(&mut self.is_pushed).then(|| POP.to_vec())
    }
}
