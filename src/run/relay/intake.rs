//! What goes from here to the command: stdin, keys, signals, sizes.

use std::io;

use super::{Outcome, Relay};
use crate::agent::protocol::{Exited, Fd, ToAgent};
use crate::deadly::DEADLY;
use crate::exit::ExitStatus;
use crate::run::input::Input;
use crate::run::plan::Keyboard;
use crate::run::screen::Screen;
use crate::sys::fds::Got;

impl Relay<'_> {
    /// Tells the end of an input that there is nothing of.
    pub(super) fn end_input_if_none(&mut self) {
        let is_typed = matches!(self.plan.keyboard, Keyboard::None | Keyboard::Stdin);
        match &self.input {
            Input::None if self.plan.request.fds[0] == Fd::Pipe => {
                self.uplink.send(&ToAgent::StdinEnd);
            }
            // Nobody will ever type on the command's terminal.
            Input::None if is_typed && self.plan.request.terminal.is_some() => {
                self.uplink.send(&ToAgent::KeysEnd);
            }
            _ => {}
        }
    }

    pub(super) fn pass_stdin(&mut self) -> io::Result<()> {
        if self.plan.keyboard == Keyboard::Stdin {
            let mut keys = Vec::new();
            return match self.input.read(&mut keys, self.uplink.keys_room())? {
                Got::Bytes(_) => {
                    self.uplink.send_keys(&keys);
                    self.input.read_ahead()
                }
                Got::Nothing => Ok(()),
                Got::End => {
                    self.input = Input::None;
                    self.uplink.send(&ToAgent::KeysEnd);
                    Ok(())
                }
            };
        }
        // Until nothing is left: a pipe that is only looked into tells of news once.
        let mut got = self.uplink.send_stdin(&mut self.input);
        while matches!((&got, &self.input), (Ok(Got::Bytes(_)), Input::Peeked(_)))
            && self.uplink.wants_stdin()
        {
            got = self.uplink.send_stdin(&mut self.input);
        }
        match got {
            Ok(Got::Bytes(_) | Got::Nothing) => Ok(()),
            Ok(Got::End) => {
                // What was read stays known: some of it may have to be put back.
                self.uplink.send(&ToAgent::StdinEnd);
                self.uplink.no_more_stdin();
                Ok(())
            }
            Err(error) => {
                // A directory, a broken disk: the command sees the end, the user sees why.
                crate::message::say(crate::run::PROGRAM, format!("reading stdin: {error}"));
                self.uplink.send(&ToAgent::StdinEnd);
                self.input = Input::None;
                Ok(())
            }
        }
    }

    pub(super) fn pass_keys(&mut self, hung_up: bool) -> io::Result<()> {
        let Some(screen) = &mut self.screen else { return Ok(()) };
        let mut keys = Vec::new();
        match screen.take_keys(&mut keys, self.uplink.keys_room(), hung_up)? {
            Got::Bytes(_) => self.uplink.send_keys(&keys),
            Got::Nothing => {}
            Got::End => self.uplink.send(&ToAgent::Hangup),
        }
        Ok(())
    }

    pub(super) fn note_signal(&mut self, signal: i32) -> io::Result<()> {
        match signal {
            libc::SIGWINCH => self.pass_size(),
            libc::SIGCONT => self.go_on()?,
            // Nobody is there yet to pass it on to; what is starting ends with its client.
            signal if DEADLY.contains(&signal) && !self.is_there() => {
                let status = ExitStatus::Signal(signal);
                let (stdout_bytes, stdin_taken, signals_taken, spoke) = (0, 0, 0, false);
                self.outcome = Some(Outcome::Ended(Exited {
                    status,
                    stdout_bytes,
                    stdin_taken,
                    signals_taken,
                    spoke,
                }));
            }
            // Only whoever reads here is waited for.
            libc::SIGTSTP if self.outcome.is_some() => self.stop(signal)?,
            _ if self.outcome.is_some() => self.deadly.note_after_end(signal),
            _ => self.pass_signal(signal),
        }
        Ok(())
    }

    /// Whether an agent is there. What has written something runs, although the greeting, on another
    /// stream, came later; a second signal does not wait for it.
    fn is_there(&self) -> bool {
        self.greeted || (self.raw_received > 0 && self.deadly.first_passed_on().is_none())
    }

    pub(super) fn pass_signal(&mut self, signal: i32) {
        self.deadly.note_passed_on(signal);
        self.uplink.send(&ToAgent::Signal(signal));
    }

    pub(super) fn pass_size(&mut self) {
        if let Some(size) = self.screen.as_mut().and_then(Screen::changed_size) {
            self.uplink.send(&ToAgent::Resize(size));
        }
    }
}
