//! What goes from here to the command of a native run: stdin, keys, signals, sizes.

use std::io;
use std::time::{Duration, Instant};

use super::{CHUNK, NativeRelay};
use crate::deadly::DEADLY;
use crate::incus::websocket;
use crate::run::relay::OLD_PINGS;
use crate::run::screen::Screen;
use crate::sys::fds::{Got, Standard};
use crate::sys::signals::{self, Stop};
use crate::sys::terminal::{self, Size};

/// The end of the input of a new terminal.
const CTRL_D: u8 = 4;
/// How long a terminal is left alone that another program reads by single keys.
const LEAVES_KEYS: Duration = Duration::from_millis(100);

impl NativeRelay {
    /// Nothing more comes from here.
    pub(super) fn end_input(&mut self) {
        match self.has_terminal {
            // Incus never makes an end of file of this on a pty: its ^D has to be typed, and right
            // behind a part of a line the first one only hands that out.
            true => self.up.data(if self.is_in_line { &[CTRL_D; 2] } else { &[CTRL_D] }),
            false => websocket::end_of_stream(self.up.outbox.tail()),
        }
        self.input_is_over = true;
    }

    pub(super) fn pass_stdin(&mut self) -> io::Result<()> {
        if self.reads_terminal && is_anothers(Standard::Stdin) {
            self.leaves_keys_until = Some(Instant::now() + LEAVES_KEYS);
            return Ok(());
        }
        let mut bytes = Vec::new();
        match self.input.read(&mut bytes, CHUNK)? {
            Got::Bytes(_) => {
                self.is_in_line = !matches!(bytes.last(), Some(b'\n' | b'\r' | &CTRL_D));
                self.up.data(&bytes);
            }
            Got::Nothing => {}
            Got::End => self.end_input(),
        }
        Ok(())
    }

    pub(super) fn pass_keys(&mut self, hung_up: bool) -> io::Result<()> {
        let Some(screen) = &mut self.screen else { return Ok(()) };
        let mut keys = Vec::new();
        match screen.take_keys(&mut keys, CHUNK, hung_up)? {
            Got::Bytes(_) => self.up.data(&keys),
            Got::Nothing => {}
            Got::End => self.send_signal(libc::SIGHUP),
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

/// Whether somebody has set the terminal up for single keys, a pager behind us or who runs us: then they
/// read them. The command, which has no terminal, cannot have.
fn is_anothers(terminal: Standard) -> bool {
    terminal::settings(terminal.fd()).is_ok_and(|settings| !settings.is_line_wise())
}
