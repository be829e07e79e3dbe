//! When a native run dies by a signal although its output is not delivered, and what is taken in to know.

use std::time::Instant;

use super::{LINGER, NativeRelay, OUT_OF_THE_WAY};
use crate::deadly;
use crate::exit::ExitStatus;
use crate::incus::types::Operation;
use crate::run::output::Output;

impl NativeRelay {
    /// Whether what comes for `output` is taken in.
    pub(super) fn takes(&self, output: &Output) -> bool {
        let is_short = output.waiting() < OUT_OF_THE_WAY;
        !output.is_full() || (self.makes_way() && is_short)
    }

    /// Incus tells of a death by signal N as of a status of 128 + N, and nothing of what was said then.
    pub(super) fn note_end(&mut self, operation: &Operation) {
        let signal = operation.exit_status().unwrap_or_default() - 128;
        let status = if signal > 0 { ExitStatus::Signal(signal) } else { ExitStatus::Code(0) };
        self.deadly.note_end(status, self.deadly.count(), false);
    }

    /// Whether the command ended, and how decides over the wait for a reader. Not before: a command
    /// that waits in write(2) is to meet the signal there, and not be let go on.
    pub(super) fn makes_way(&self) -> bool {
        self.deadly.first_passed_on().is_some() && self.control_in.is_closed()
    }

    /// When the run dies by which signal, should its output not be delivered by then.
    pub(super) fn gives_up(&self, has_ended: bool) -> Option<(Instant, i32)> {
        // Until the end is told, what has nothing to say may just be held open.
        let mut due = self.down.iter().filter(|(link, output)| {
            output.is_full() || !output.is_idle() || (has_ended && !link.is_over())
        });
        let still =
            due.try_fold(None, |latest, (_, output)| Some(latest.max(Some(output.full_since()?))));
        let others = || self.gives_up_on_others().filter(|_| !has_ended);
        self.deadly.gives_up(still.flatten()).or_else(others)
    }

    /// The same for what a command left behind that was told to end, and did: how is not told before that
    /// has ended too. What had not been read of its own output is less than was taken in.
    fn gives_up_on_others(&self) -> Option<(Instant, i32)> {
        let ((told, signal), closed) = (self.told?, self.closed?);
        let endless = self.down.iter().find(|(_, output)| output.waiting() >= OUT_OF_THE_WAY)?;
        let (_, output) = endless;
        (closed.duration_since(told) < LINGER)
            .then_some((output.full_since()? + deadly::PATIENCE, signal))
    }
}
