//! What is typed on the command's terminal: keys, and their end.
//!
//! Whoever reads the terminal after the end is to find the end. A character for it (VEOF) ends one
//! read(2), and right behind a part of a line only hands that part out; a pipe that has ended stays
//! so, for a second program that asks, too. So the character is typed again whenever it was taken.
//! In single-key mode it is a key like others, ^D, which shells take for the end: it is typed once
//! each time that a program turns that mode on, since what was typed for the end before is none any
//! more (`n_tty_set_termios` in drivers/tty/n_tty.c).

use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use super::outflow::{Outflow, is_readable};
use super::protocol::{KEYS_WINDOW, grant_from};
use crate::buffer::Buffer;
use crate::sys::fds::{self, Put};
use crate::sys::terminal::{self, Settings};

/// Nothing tells when a terminal is read from, so it is looked at.
const FIRST_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(100);

/// Keys on their way to the terminal.
#[derive(Debug, Default)]
pub struct Typed {
    keys: Buffer,
    /// How many went to the terminal since more of them were last granted.
    count: usize,
    end: Option<End>,
}

impl Typed {
    /// More keys.
    pub fn push(&mut self, keys: &[u8]) {
        self.keys.push(keys);
    }

    /// No more keys: the end follows those that wait.
    pub fn end(&mut self) {
        self.end = Some(End::new());
    }

    /// Whether keys wait for room.
    pub fn is_waiting(&self) -> bool {
        !self.keys.is_empty()
    }

    /// When to look again whether the end is due.
    pub fn next(&self) -> Option<Instant> {
        self.end.as_ref().filter(|_| !self.is_waiting()).map(|end| end.next)
    }

    /// Types what there is room for.
    ///
    /// # Errors
    /// write(2)'s.
    pub fn pass(&mut self, out: &mut Outflow) -> io::Result<()> {
        self.write(out)?;
        let (Some(end), true, Some((master, slave))) =
            (&mut self.end, self.keys.is_empty(), out.pty())
        else {
            return Ok(());
        };
        match end.look(master, slave) {
            Some(key) => {
                self.keys.push(&[key]);
                self.write(out)
            }
            None => Ok(()),
        }
    }

    fn write(&mut self, out: &mut Outflow) -> io::Result<()> {
        while let (Some(master), true) = (&out.terminal, self.is_waiting()) {
            match fds::write_own(master, self.keys.as_slice())? {
                Put::Bytes(count) => {
                    self.keys.consume(count);
                    self.count += count;
                }
                Put::Full => break,
                Put::Gone => out.terminal = None,
            }
        }
        if out.terminal.is_none() {
            self.keys.clear();
        }
        Ok(())
    }

    /// How many keys more the host may send, when it is time to tell.
    pub fn grant(&mut self) -> Option<u32> {
        (self.count >= grant_from(KEYS_WINDOW)).then(|| std::mem::take(&mut self.count) as u32)
    }
}

/// The end of the keys.
#[derive(Debug)]
struct End {
    /// When to look next.
    next: Instant,
    pause: Duration,
    /// A program that takes single keys was told.
    was_told: bool,
}

impl End {
    fn new() -> End {
        End { next: Instant::now(), pause: FIRST_PAUSE, was_told: false }
    }

    /// Looks, when it is time to; gives the character to type, if it is due.
    fn look(&mut self, master: &OwnedFd, slave: &OwnedFd) -> Option<u8> {
        if Instant::now() < self.next {
            return None;
        }
        let settings = terminal::settings(master).ok();
        // Nothing to be found there: no line, no part of one that was handed out, no end; and no keys
        // behind which it would be a key of the next program's.
        let is_due = |settings: &Settings| {
            (settings.is_line_wise() || !self.was_told) && !is_readable(slave)
        };
        let key = settings.filter(is_due).map(|settings| settings.characters[libc::VEOF]);
        // 0 is a terminal without such a character.
        let key = key.filter(|key| *key != 0);
        let is_line_wise = settings.is_none_or(|settings| settings.is_line_wise());
        self.was_told = !is_line_wise && (self.was_told || key.is_some());
        self.pause = if key.is_some() { FIRST_PAUSE } else { (self.pause * 2).min(LONGEST_PAUSE) };
        self.next = Instant::now() + self.pause;
        key
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::pty;

    /// A terminal on which the end was typed behind `keys`; what a read of it gives.
    fn typed(keys: &[u8]) -> (OwnedFd, OwnedFd, End) {
        let (master, slave) = pty::open().expect("a pty");
        fds::write_own(&master, keys).expect("keys");
        (master, slave, End::new())
    }

    fn look(end: &mut End, master: &OwnedFd, slave: &OwnedFd) -> Option<u8> {
        std::thread::sleep(LONGEST_PAUSE);
        let key = end.look(master, slave)?;
        fds::write_own(master, &[key]).expect("a key");
        Some(key)
    }

    #[test]
    fn the_end_comes_behind_a_part_of_a_line_and_then_for_every_reader() {
        let (master, slave, mut end) = typed(b"ab\nc");
        assert_eq!(look(&mut end, &master, &slave), None, "a line waits");
        let mut all = [0; 8];
        assert_eq!(rustix::io::read(&slave, &mut all).expect("read"), 3);
        assert_eq!(look(&mut end, &master, &slave), Some(4));
        assert_eq!(look(&mut end, &master, &slave), None, "a part of a line waits");
        assert_eq!(rustix::io::read(&slave, &mut all).expect("read"), 1);
        for _reader in 0..3 {
            assert_eq!(look(&mut end, &master, &slave), Some(4));
            assert_eq!(look(&mut end, &master, &slave), None, "the end waits");
            assert_eq!(rustix::io::read(&slave, &mut all).expect("read"), 0);
        }
    }

    #[test]
    fn a_program_that_asks_for_single_keys_gets_one_for_the_end() {
        let (master, slave, mut end) = typed(b"");
        assert_eq!(look(&mut end, &master, &slave), Some(4));
        let mut settings = terminal::settings(&master).expect("settings");
        for _program in 0..2 {
            settings.flags[3] &= !libc::ICANON;
            terminal::apply(&slave, &settings).expect("single keys");
            assert_eq!(look(&mut end, &master, &slave), None, "the end of before is a key");
            let mut all = [9; 8];
            assert_eq!(rustix::io::read(&slave, &mut all).expect("read"), 1);
            // As which one depends on how soon the mode changed behind it.
            assert!([0, 4].contains(&all[0]), "{}", all[0]);
            assert_eq!(look(&mut end, &master, &slave), Some(4));
            assert_eq!(look(&mut end, &master, &slave), None);
            assert_eq!(rustix::io::read(&slave, &mut all).expect("read"), 1);
            assert_eq!(look(&mut end, &master, &slave), None, "it was told");
            settings.flags[3] |= libc::ICANON;
            terminal::apply(&slave, &settings).expect("lines");
            look(&mut end, &master, &slave);
        }
    }
}
