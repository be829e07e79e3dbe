//! The end of a run: the terminal as it was, what was read too much put back, the daemon let go.

use std::io::{self, Write};
use std::time::{Duration, Instant};

use super::{Outcome, Relay};
use crate::exit::ExitStatus;
use crate::incus::websocket::Event;
use crate::sys::poll::{Interest, PollSet};
use crate::sys::signals;

/// How long the daemon may take to close its side after the end.
const SETTLE: Duration = Duration::from_secs(1);

impl Relay<'_> {
    pub(super) fn finish(&mut self, result: &mut io::Result<Outcome>) {
        let text = self.title.pop();
        self.tell_screen(text);
        if let Some(screen) = &mut self.screen {
            screen.give_back();
        }
        if let Ok(Outcome::Ended(exited)) = result {
            if let (ExitStatus::Signal(signal), Some(screen)) = (exited.status, &self.screen) {
                if screen.was_typed(signal) {
                    signals::tell_group(signal);
                }
            }
            if let Err(error) = self.input.leave_rest(exited.stdin_taken) {
                crate::message::say(crate::run::PROGRAM, format!("putting stdin back: {error}"));
            }
            for (output, name) in [(&mut self.stdout, "stdout"), (&mut self.stderr, "stderr")] {
                if output.tell_error(name) {
                    exited.status = exited.status.with_lost_output();
                }
            }
        }
        let _nobody_to_tell = io::stdout().flush();
        if self.greeted && matches!(result, Ok(Outcome::Ended(_) | Outcome::Failed(_))) {
            self.settle();
        }
    }

    /// Lets the daemon close first: it logs a warning for every client that leaves before. What is not
    /// told that it did is told at least that the stream ended, which is right before.
    fn settle(&mut self) {
        let deadline = Instant::now() + SETTLE;
        // It may be here already, behind the last word.
        self.pass_over();
        while !self.is_settled() && Instant::now() < deadline {
            let mut set = PollSet::new();
            set.add((), std::os::fd::AsFd::as_fd(&self.framed), Interest::Read);
            if set.wait(Some(deadline)).is_err() {
                return;
            }
            drop(set);
            while self.framed.receive().is_ok_and(|received| received) {
                self.pass_over();
            }
        }
        self.trace.note("the daemon closed");
    }

    fn is_settled(&self) -> bool {
        self.framed.is_closed() || (self.relayed.is_some() && self.framed.is_over())
    }

    /// Takes what came after the end for nothing but a sign of it.
    fn pass_over(&mut self) {
        while let Ok(Some(event)) = self.framed.decoder.event() {
            match event {
                Event::Data(data) => {
                    let count = data.len();
                    self.framed.decoder.consume(count);
                }
                Event::Ping(_) => {}
                Event::End => return,
            }
        }
    }
}
