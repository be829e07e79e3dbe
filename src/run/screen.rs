//! The host's terminal during a run: raw mode when it is due, keys, size, stopping and going on.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use super::plan::Keyboard;
use crate::agent::protocol::Output as Treatment;
use crate::sys::fds::{Got, Source};
use crate::sys::signals::{self, Stop};
use crate::sys::terminal::{Size, Terminal};

/// Where the keys go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The terminal is left to others until a program in the box asks for it.
    Left,
    /// A program in the box asked, or a person sits here; raw mode as soon as we may.
    Wanted,
    /// Raw mode is on and keys go to the box.
    Taken,
    /// The terminal hung up.
    Gone,
}

/// The host's terminal.
#[derive(Debug)]
pub struct Screen {
    terminal: Terminal,
    keys: Source,
    state: State,
    size: Size,
    /// Whether our terminal adds carriage returns in its own settings.
    adds_returns: bool,
    /// What the box's terminal does to output, and so ours does not.
    output: Treatment,
    /// The signal whose key was typed last, and went to the box.
    typed_signal: Option<i32>,
}

impl Screen {
    /// Over the terminal; `keyboard` says when its keys are wanted.
    ///
    /// # Errors
    /// When the terminal cannot be read.
    pub fn new(terminal: Terminal, keyboard: Keyboard, size: Size) -> io::Result<Screen> {
        let keys = Source::new(terminal.as_fd())?;
        let state = if keyboard == Keyboard::AtOnce { State::Wanted } else { State::Left };
        let adds_returns = terminal.before().adds_carriage_returns();
        // A person at both ends: nobody else writes here, so output is the box's alone.
        let output = if state == State::Wanted { Treatment::Raw } else { Treatment::Processed };
        Ok(Screen { terminal, keys, state, size, adds_returns, output, typed_signal: None })
    }

    /// What to wait for: keys, or only that the terminal goes away.
    pub fn poll_fd(&self) -> Option<(BorrowedFd<'_>, bool)> {
        match self.state {
            State::Gone => None,
            state => Some((self.keys.as_fd(), state == State::Taken)),
        }
    }

    /// A program in the box waits for keys, or changed how output is treated. Where we are in the
    /// background that stops us, as it would stop the program locally.
    ///
    /// # Errors
    /// When raw mode cannot be set.
    pub fn want(&mut self, output: Treatment) -> io::Result<()> {
        self.output = output;
        match self.state {
            State::Gone | State::Wanted => return Ok(()),
            State::Taken => return self.terminal.make_raw(output == Treatment::Raw),
            State::Left => {}
        }
        self.state = State::Wanted;
        while self.state == State::Wanted && !self.terminal.is_ours() {
            signals::stop_by(libc::SIGTTIN, Stop::Group);
            if !self.terminal.is_ours() {
                // Nobody could stop us, or somebody continued us in the background.
                return Ok(());
            }
        }
        self.take_if_wanted()
    }

    /// Raw mode, if it is due and we may.
    ///
    /// # Errors
    /// When it cannot be set.
    pub fn take_if_wanted(&mut self) -> io::Result<()> {
        if self.state == State::Wanted && self.terminal.is_ours() {
            self.terminal.make_raw(self.output == Treatment::Raw)?;
            self.state = State::Taken;
        }
        Ok(())
    }

    /// Whether it may be written to as ours, not while a job in the background has no business there.
    pub fn is_ours(&self) -> bool {
        self.terminal.is_ours()
    }

    /// Whether keys go to the box, so that a signal key of the terminal is the box's to handle.
    pub fn is_taken(&self) -> bool {
        self.state == State::Taken
    }

    /// Puts the terminal back, for a stop or the end.
    pub fn give_back(&mut self) {
        self.terminal.restore();
        if self.state == State::Taken {
            self.state = State::Wanted;
        }
    }

    /// Whether keys go to the box now or will, without anybody asking for them.
    pub fn has_keys(&self) -> bool {
        matches!(self.state, State::Wanted | State::Taken)
    }

    /// Reads the keys that are the box's. A terminal that is gone is [`Got::End`], once.
    ///
    /// # Errors
    /// read(2)'s.
    pub fn take_keys(&mut self, keys: &mut Vec<u8>, most: usize, hung_up: bool) -> io::Result<Got> {
        if self.is_taken() {
            return self.read_keys(keys, most);
        }
        if !hung_up {
            return Ok(Got::Nothing);
        }
        self.state = State::Gone;
        Ok(Got::End)
    }

    fn read_keys(&mut self, keys: &mut Vec<u8>, most: usize) -> io::Result<Got> {
        let got = self.keys.read(keys, most)?;
        let characters = &self.terminal.before().characters;
        for (key, signal) in [(libc::VINTR, libc::SIGINT), (libc::VQUIT, libc::SIGQUIT)] {
            if characters[key] != 0 && keys.contains(&characters[key]) {
                self.typed_signal = Some(signal);
            }
        }
        if got == Got::End {
            self.state = State::Gone;
        }
        Ok(got)
    }

    /// Whether the key of `signal` was typed: locally the terminal would have sent it to everybody
    /// in our process group, a script's shell among them.
    pub fn was_typed(&self, signal: i32) -> bool {
        self.typed_signal == Some(signal)
    }

    /// The new size, if it changed.
    pub fn changed_size(&mut self) -> Option<Size> {
        let size = crate::sys::terminal::size(self.terminal.as_fd()).ok()?;
        (size != self.size).then(|| {
            self.size = size;
            size
        })
    }

    /// What to write for `data` of the box's terminal. Its `\n` arrived here as `\r\n`; where our own
    /// terminal adds a return too, the first one is taken out again.
    pub fn filter<'a>(&self, data: &'a [u8], scratch: &'a mut Vec<u8>) -> &'a [u8] {
        let is_raw = self.state == State::Taken && self.output == Treatment::Raw;
        if is_raw || !self.adds_returns {
            return data;
        }
        scratch.clear();
        let mut rest = data;
        while let Some(at) = rest.windows(2).position(|pair| pair == b"\r\n") {
            scratch.extend_from_slice(&rest[..at]);
            scratch.push(b'\n');
            rest = &rest[at + 2..];
        }
        scratch.extend_from_slice(rest);
        scratch
    }
}

impl AsFd for Screen {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.terminal.as_fd()
    }
}
