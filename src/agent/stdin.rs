//! The command's stdin: what the host sent, what the command took of it.
//!
//! At first the host may send no more than one pipe's worth beyond what the command was seen to
//! take, and whatever it leaves unread goes back: the host rewinds its file, or leaves the bytes in
//! its pipe, so that `while read line; do incusbox-run box -- cmd; done <list` loses no line to
//! `cmd`. Nothing tells when a pipe is read from, so it is looked at: often at first, then more and
//! more seldom. A command that took a good part of a pipe's worth is a reader; from then on the
//! window is wide and nothing needs to be looked at.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags};

use super::protocol::{STDIN_FIRST_WINDOW, STDIN_READER, STDIN_WINDOW};
use crate::buffer::Buffer;
use crate::sys::pipes;
use crate::sys::poll::{Interest, Ready};

/// A reader's grants are sent for at least this many bytes, or when nothing waits.
const GRANT_STEP: u64 = 64 << 10;
const FIRST_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(250);

/// One command's stdin.
#[derive(Debug)]
pub struct Stdin {
    pipe: Option<OwnedFd>,
    /// After the end of the input: a read end of the same pipe, only to ask how much is unread.
    ended: Option<OwnedFd>,
    /// Such an end from the start, where none can be had later.
    kept: Option<OwnedFd>,
    buffer: Buffer,
    end_follows: bool,
    received: u64,
    granted: u64,
    written: u64,
    /// Unread bytes at the moment when the pipe was given up.
    unread_then: u64,
    wide: bool,
    closed_news: bool,
    look: Option<(Instant, Duration)>,
}

impl Stdin {
    /// Over the write end of the command's stdin, `None` when that is no pipe, and what
    /// [`keep_reader`] gave.
    pub fn new(pipe: Option<OwnedFd>, kept: Option<OwnedFd>) -> Stdin {
        Stdin {
            pipe,
            ended: None,
            kept,
            buffer: Buffer::default(),
            end_follows: false,
            received: 0,
            granted: STDIN_FIRST_WINDOW as u64,
            written: 0,
            unread_then: 0,
            wide: false,
            closed_news: false,
            look: None,
        }
    }

    /// Takes data from the host.
    ///
    /// # Errors
    /// write(2)'s, but for "nobody reads".
    pub fn receive(&mut self, data: &[u8]) -> io::Result<()> {
        self.received += data.len() as u64;
        let mut data = data;
        if self.buffer.is_empty() {
            let count = self.write(data)?;
            data = &data[count..];
        }
        if self.pipe.is_some() {
            self.buffer.push(data);
        }
        Ok(())
    }

    /// The host's input ended: so does the command's, behind what waits.
    pub fn end(&mut self) {
        self.end_follows = true;
    }

    /// Gives up: nothing more will come.
    pub fn abandon(&mut self) {
        (self.pipe, self.ended, self.kept) = (None, None, None);
        self.buffer.clear();
    }

    /// What to wait for.
    pub fn interest(&self) -> Option<(BorrowedFd<'_>, Interest)> {
        let interest = if self.buffer.is_empty() { Interest::Hangup } else { Interest::Write };
        Some((self.pipe.as_ref()?.as_fd(), interest))
    }

    /// When to look how much has been read; never where nothing more is granted.
    pub fn next_look(&self) -> Option<Instant> {
        self.pipe.as_ref().and(self.look).map(|(at, _)| at)
    }

    /// Notes that the command closed its stdin.
    pub fn note_hangup(&mut self, ready: Ready) {
        if ready.error {
            self.close_unread();
        }
    }

    /// Writes what there is room for, then passes on the end.
    ///
    /// # Errors
    /// write(2)'s, but for "nobody reads".
    pub fn pump(&mut self) -> io::Result<()> {
        while !self.buffer.is_empty() {
            let waiting = std::mem::take(&mut self.buffer);
            let result = self.write(waiting.as_slice());
            self.buffer = waiting;
            match result? {
                0 => break,
                count => self.buffer.consume(count),
            }
        }
        if self.pipe.is_none() {
            self.buffer.clear();
        }
        if let (true, true, Some(pipe)) = (self.end_follows, self.buffer.is_empty(), &self.pipe) {
            self.ended = reader_of(pipe).ok().or_else(|| self.kept.take());
            self.pipe = None;
        }
        Ok(())
    }

    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        use rustix::io::Errno;
        let Some(pipe) = &self.pipe else { return Ok(0) };
        match rustix::io::write(pipe, data) {
            Ok(count) => {
                self.written += count as u64;
                Ok(count)
            }
            Err(Errno::AGAIN | Errno::INTR) => Ok(0),
            Err(Errno::PIPE) => {
                self.close_unread();
                Ok(0)
            }
            Err(error) => Err(error.into()),
        }
    }

    fn close_unread(&mut self) {
        self.unread_then = self.unread();
        self.closed_news = self.pipe.take().is_some();
        self.buffer.clear();
    }

    fn unread(&self) -> u64 {
        match self.pipe.as_ref().or(self.ended.as_ref()) {
            Some(pipe) => pipes::unread_bytes(pipe).unwrap_or(0),
            None => self.unread_then,
        }
    }

    /// Bytes that the command took.
    pub fn taken(&self) -> u64 {
        self.written.saturating_sub(self.unread())
    }

    /// How many bytes more the host may send, when it is time to tell.
    pub fn grant(&mut self) -> Option<u32> {
        self.pipe.as_ref()?;
        if self.wide {
            let most = self.written + STDIN_WINDOW as u64;
            let more = most.saturating_sub(self.granted);
            let due = more >= GRANT_STEP || (more > 0 && self.granted == self.received);
            return due.then(|| self.grant_up_to(most));
        }
        let told = self.granted - STDIN_FIRST_WINDOW as u64;
        if self.received == told {
            self.look = None;
            return None;
        }
        let now = Instant::now();
        let (at, pause) = self.look.unwrap_or((now, FIRST_PAUSE / 2));
        if at > now {
            return None;
        }
        let taken = self.taken();
        let pause = if taken > told { FIRST_PAUSE } else { (pause * 2).min(LONGEST_PAUSE) };
        self.look = Some((now + pause, pause));
        if taken >= STDIN_READER as u64 {
            self.wide = true;
            self.look = None;
        }
        (taken > told).then(|| self.grant_up_to(taken + STDIN_FIRST_WINDOW as u64))
    }

    fn grant_up_to(&mut self, most: u64) -> u32 {
        let more = most - self.granted;
        self.granted = most;
        more as u32
    }

    /// True once after the command closed its stdin.
    pub fn take_closed_news(&mut self) -> bool {
        std::mem::take(&mut self.closed_news)
    }
}

/// A read end of the pipe that `write_end` writes to.
fn reader_of(write_end: &OwnedFd) -> io::Result<OwnedFd> {
    use std::os::fd::AsRawFd;
    let path = format!("/proc/self/fd/{}", write_end.as_raw_fd());
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    Ok(rustix::fs::open(path, flags, Mode::empty())?)
}

/// A duplicate of the read end, while we still have it, where `reader_of` will not find one: without
/// /proc. Only there, for nobody notices then that the command closes its stdin before it ends.
pub fn keep_reader(read_end: &OwnedFd, write_end: &OwnedFd) -> Option<OwnedFd> {
    reader_of(write_end).err().and_then(|_| read_end.try_clone().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stdin() -> (OwnedFd, Stdin) {
        let (read, write) = pipes::pipe().expect("pipe");
        pipes::set_nonblocking(&write, true).expect("fcntl");
        (read, Stdin::new(Some(write), None))
    }

    #[test]
    fn what_the_command_left_unread_is_not_counted_as_taken_even_after_the_end() {
        let (read, mut stdin) = stdin();
        stdin.receive(b"one\ntwo\n").expect("write");
        stdin.end();
        stdin.pump().expect("pump");
        rustix::io::read(&read, &mut [0; 4]).expect("read");
        assert_eq!(stdin.taken(), 4);
    }

    #[test]
    fn the_window_stays_small_until_the_command_reads() {
        let (read, mut stdin) = stdin();
        stdin.receive(&vec![0; STDIN_FIRST_WINDOW]).expect("write");
        stdin.pump().expect("pump");
        assert_eq!(stdin.grant(), None);
        rustix::io::read(&read, &mut [0; 100]).expect("read");
        std::thread::sleep(FIRST_PAUSE);
        assert_eq!(stdin.grant(), Some(100));
        rustix::io::read(&read, &mut vec![0; STDIN_READER]).expect("read");
        std::thread::sleep(FIRST_PAUSE);
        assert_eq!(stdin.grant(), Some(STDIN_READER as u32));
        assert_eq!(stdin.next_look(), None);
        let room = STDIN_WINDOW - STDIN_READER - 100;
        assert_eq!(stdin.grant(), Some(room as u32));
    }

    #[test]
    fn nobody_looks_at_a_stdin_that_has_ended() {
        let (_read, mut stdin) = stdin();
        stdin.receive(b"x").expect("write");
        assert_eq!(stdin.grant(), None);
        assert!(stdin.next_look().is_some());
        stdin.end();
        stdin.pump().expect("pump");
        assert_eq!((stdin.grant(), stdin.next_look()), (None, None));
    }

    #[test]
    fn a_closed_stdin_is_told_once() {
        let (read, mut stdin) = stdin();
        drop(read);
        stdin.receive(b"x").expect("no error");
        assert!(stdin.take_closed_news());
        assert!(!stdin.take_closed_news());
        assert_eq!(stdin.taken(), 0);
    }
}
