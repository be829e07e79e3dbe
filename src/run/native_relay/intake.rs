//! What goes from here to the command of a native run: stdin, keys, signals, sizes.

use std::io;
use std::time::Instant;

use super::{CHUNK, NativeRelay};
use crate::deadly::DEADLY;
use crate::incus::websocket;
use crate::run::relay::OLD_PINGS;
use crate::run::screen::Screen;
use crate::sys::fds::Got;
use crate::sys::signals::{self, Stop};
use crate::sys::terminal::Size;

impl NativeRelay {
    pub(super) fn end_input(&mut self) {
        websocket::end_of_stream(self.up.outbox.tail());
        self.input_is_over = true;
    }

    pub(super) fn pass_up(&mut self, from_keys: bool) -> io::Result<()> {
        let mut bytes = Vec::new();
        let got = match &mut self.screen {
            Some(screen) if from_keys && screen.is_taken() => {
                screen.read_keys(&mut bytes, CHUNK)?
            }
            Some(_) if from_keys => Got::Nothing,
            _ => self.input.read(&mut bytes, CHUNK)?,
        };
        match got {
            Got::Bytes(_) => self.up.data(&bytes),
            Got::Nothing => {}
            // Incus never makes an end of file of this on a pty: its ^D has to be typed.
            Got::End if self.has_terminal && self.screen.is_none() => {
                self.up.data(&[4]);
                self.input_is_over = true;
            }
            Got::End if self.has_terminal => self.send_signal(libc::SIGHUP),
            Got::End => self.end_input(),
        }
        Ok(())
    }

    pub(super) fn control_message(&mut self, message: &str) {
        websocket::text(self.control.outbox.tail(), message);
    }

    fn send_signal(&mut self, signal: i32) {
        self.control_message(&format!(r#"{{"command":"signal","signal":{signal}}}"#));
    }

    pub(super) fn note_signal(&mut self, signal: i32) -> io::Result<()> {
        if signal == libc::SIGWINCH {
            if let Some(size) = self.screen.as_mut().and_then(Screen::changed_size) {
                self.resize(size);
            }
            return Ok(());
        }
        if signal == libc::SIGCONT {
            if let Some(screen) = &mut self.screen {
                screen.take_if_wanted()?;
            }
        }
        self.send_signal(signal);
        self.control.flush()?;
        // The daemon closes it as soon as the command ended.
        match self.control.socket {
            Some(_) => {
                self.forwarded.push(signal);
                self.deadly.note_passed_on(signal);
                if DEADLY.contains(&signal) {
                    self.told = Some((Instant::now(), signal));
                }
            }
            None => self.deadly.note_after_end(signal),
        }
        if signal == libc::SIGTSTP {
            self.stop(signal)?;
        }
        Ok(())
    }

    /// Stops with the command: Incus does not tell whether it did, and a shell waits for all of a
    /// pipeline to stop.
    fn stop(&mut self, signal: i32) -> io::Result<()> {
        if let Some(screen) = &mut self.screen {
            screen.give_back();
        }
        signals::stop_by(signal, Stop::Process);
        if let Some(screen) = &mut self.screen {
            screen.take_if_wanted()?;
        }
        // In a process group that nobody could continue we did not stop.
        self.send_signal(libc::SIGCONT);
        // Nobody was listened to meanwhile, and what nobody read for long the daemon pings no more.
        self.last_sign = Instant::now();
        (self.pinged, self.pings_count_from) = (false, Instant::now() + OLD_PINGS);
        Ok(())
    }

    pub(super) fn resize(&mut self, size: Size) {
        self.control_message(&format!(
            r#"{{"command":"window-resize","args":{{"width":"{}","height":"{}"}}}}"#,
            size.columns, size.rows
        ));
    }
}
