//! The host's stdin: read so that what the command does not take is left for the next reader.
//!
//! Locally, `while read -r line; do cmd "$line"; done <list` works although `cmd` inherits the list
//! as its stdin, because a command takes only what it reads. A client that reads ahead eats the
//! list (the well-known trap of ssh in a loop). So:
//!
//! - A regular file is read by position, its offset is not moved; at the end the offset is set behind
//!   what the command took, unless others have moved it further meanwhile.
//! - A pipe is looked into with tee(2), which takes nothing, as long as the command has not read
//!   its first window; at the end exactly what the command took is read away. A command that reads
//!   more than that is a reader of streams, and the pipe is read in the ordinary way from then on.
//! - Anything else (sockets, devices) is read ahead.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::epoll;
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, SpliceFlags};

use crate::agent::protocol::{STDIN_FIRST_WINDOW, STDIN_READER};
use crate::sys::fds::{FdKind, Got, Source, Standard};
use crate::sys::pipes;

/// The host's stdin.
#[derive(Debug)]
pub enum Input {
    /// Nothing to read, or no more.
    None,
    /// A regular file.
    File {
        /// Where it was at the start.
        start: u64,
        /// Where the next read begins.
        position: u64,
    },
    /// A pipe that is only looked into.
    Peeked(Peek),
    /// Read in the ordinary way.
    Plain(Source),
}

/// A pipe whose content is still in it.
#[derive(Debug)]
pub struct Peek {
    /// Bytes that were handed out and are still in the pipe.
    shown: usize,
    /// Bytes that the command took, and that are not in the pipe any more.
    taken: usize,
    copy: (OwnedFd, OwnedFd),
    /// Edge-triggered: the pipe is always readable, but only news matter.
    news: OwnedFd,
}

impl Input {
    /// stdin as the caller left it.
    ///
    /// # Errors
    /// When it cannot be duplicated.
    pub fn stdin() -> io::Result<Input> {
        let stdin = Standard::Stdin;
        Ok(match stdin.kind() {
            FdKind::Closed | FdKind::Null => Input::None,
            FdKind::File => match rustix::fs::tell(stdin.fd()) {
                Ok(start) => Input::File { start, position: start },
                Err(_) => Input::Plain(Source::new(stdin.fd())?),
            },
            FdKind::Pipe => match Peek::new(stdin.fd()) {
                Ok(peek) => Input::Peeked(peek),
                Err(_) => Input::Plain(Source::new(stdin.fd())?),
            },
            FdKind::Terminal | FdKind::Socket | FdKind::Device => {
                Input::Plain(Source::new(stdin.fd())?)
            }
        })
    }

    /// What to wait for before reading.
    pub fn poll_fd(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Input::None => None,
            Input::File { .. } => Some(Standard::Stdin.fd()),
            Input::Peeked(peek) => Some(peek.news.as_fd()),
            Input::Plain(source) => Some(source.as_fd()),
        }
    }

    /// Appends what is there, at most `most` bytes, to `bytes`.
    ///
    /// # Errors
    /// read(2)'s.
    pub fn read(&mut self, bytes: &mut Vec<u8>, most: usize) -> io::Result<Got> {
        match self {
            Input::None => Ok(Got::End),
            Input::File { position, .. } => {
                let start = bytes.len();
                bytes.resize(start + most, 0);
                let result =
                    rustix::io::pread(Standard::Stdin.fd(), &mut bytes[start..], *position);
                bytes.truncate(start + *result.as_ref().unwrap_or(&0));
                match result {
                    Ok(0) => Ok(Got::End),
                    Ok(count) => {
                        *position += count as u64;
                        Ok(Got::Bytes(count))
                    }
                    Err(Errno::INTR) => Ok(Got::Nothing),
                    Err(error) => Err(error.into()),
                }
            }
            Input::Peeked(peek) => peek.read(bytes, most),
            Input::Plain(source) => source.read(bytes, most),
        }
    }

    /// The agent granted `bytes`: at first that is what the command took.
    ///
    /// # Errors
    /// When the pipe cannot be read or duplicated.
    pub fn note_grant(&mut self, bytes: u32) -> io::Result<()> {
        if let Input::Peeked(peek) = self {
            peek.taken += bytes as usize;
            peek.take(peek.shown.min(bytes as usize))?;
            if peek.taken >= STDIN_READER {
                self.read_ahead()?;
            }
        }
        Ok(())
    }

    /// Reads in the ordinary way from now on.
    ///
    /// # Errors
    /// When the pipe cannot be read or duplicated.
    pub fn read_ahead(&mut self) -> io::Result<()> {
        if let Input::Peeked(peek) = self {
            peek.take(peek.shown)?;
            *self = Input::Plain(Source::new(Standard::Stdin.fd())?);
        }
        Ok(())
    }

    /// Leaves behind what the command did not take; `taken` counts from the start of the run.
    ///
    /// # Errors
    /// lseek(2)'s and read(2)'s.
    pub fn leave_rest(&mut self, taken: u64) -> io::Result<()> {
        match self {
            Input::File { start, .. } if taken > 0 => {
                let now = rustix::fs::seek(Standard::Stdin.fd(), rustix::fs::SeekFrom::Current(0))?;
                let to = *start + taken;
                if to > now {
                    rustix::fs::seek(Standard::Stdin.fd(), rustix::fs::SeekFrom::Start(to))?;
                }
                Ok(())
            }
            Input::Peeked(peek) => {
                let taken = usize::try_from(taken).unwrap_or(usize::MAX);
                peek.take(taken.saturating_sub(peek.taken).min(peek.shown))
            }
            Input::None | Input::File { .. } | Input::Plain(_) => Ok(()),
        }
    }
}

impl Peek {
    fn new(pipe: BorrowedFd<'_>) -> io::Result<Peek> {
        let copy = rustix::pipe::pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        // tee(2) copies buffers, not bytes: the copy needs as many as the pipe has.
        if let Ok(size) = rustix::pipe::fcntl_getpipe_size(pipe) {
            pipes::grow(&copy.1, size);
        }
        let news = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let flags = epoll::EventFlags::IN | epoll::EventFlags::ET | epoll::EventFlags::RDHUP;
        epoll::add(&news, pipe, epoll::EventData::new_u64(0), flags)?;
        Ok(Peek { shown: 0, taken: 0, copy, news })
    }

    fn read(&mut self, bytes: &mut Vec<u8>, most: usize) -> io::Result<Got> {
        // The news are read before the pipe is looked at, so that none are missed in between.
        let mut events = Vec::with_capacity(1);
        let at_once = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
        let hung_up = match epoll::wait(
            &self.news,
            rustix::buffer::spare_capacity(&mut events),
            Some(&at_once),
        ) {
            Ok(0) => self.writers_are_gone()?,
            Ok(_) => events.iter().any(|event| { event.flags }.contains(epoll::EventFlags::HUP)),
            Err(Errno::INTR) => return Ok(Got::Nothing),
            Err(error) => return Err(error.into()),
        };
        let stdin = Standard::Stdin.fd();
        let length = STDIN_FIRST_WINDOW.min(self.shown + most);
        let there = match rustix::pipe::tee(stdin, &self.copy.1, length, SpliceFlags::NONBLOCK) {
            Ok(count) => count,
            Err(Errno::AGAIN | Errno::INTR) => 0,
            Err(error) => return Err(error.into()),
        };
        let start = bytes.len();
        let got = self.empty_copy(bytes, there)?;
        if got <= self.shown {
            bytes.truncate(start);
            return Ok(if hung_up { Got::End } else { Got::Nothing });
        }
        bytes.drain(start..start + self.shown);
        let new = got - self.shown;
        self.shown = got;
        Ok(Got::Bytes(new))
    }

    fn writers_are_gone(&self) -> io::Result<bool> {
        let mut set = crate::sys::poll::PollSet::new();
        set.add((), Standard::Stdin.fd(), crate::sys::poll::Interest::Hangup);
        set.wait(Some(std::time::Instant::now()))?;
        Ok(set.ready(()).hangup)
    }

    /// Appends the `count` bytes that were put into the copy.
    fn empty_copy(&self, bytes: &mut Vec<u8>, count: usize) -> io::Result<usize> {
        let start = bytes.len();
        while bytes.len() - start < count {
            let want = count - (bytes.len() - start);
            match crate::sys::fds::read_own(&self.copy.0, bytes, want)? {
                Got::Bytes(_) => {}
                Got::Nothing | Got::End => break,
            }
        }
        Ok(bytes.len() - start)
    }

    /// Takes `count` bytes away for good. They were there; what is not any more another reader of the
    /// pipe took, and a read(2) would wait for others. splice(2) does not.
    fn take(&mut self, count: usize) -> io::Result<()> {
        let mut left = count;
        let mut scratch = Vec::new();
        while left > 0 {
            let (stdin, to) = (Standard::Stdin.fd(), &self.copy.1);
            match rustix::pipe::splice(stdin, None, to, None, left, SpliceFlags::NONBLOCK) {
                Ok(0) | Err(Errno::AGAIN) => break,
                Ok(count) => {
                    scratch.clear();
                    self.empty_copy(&mut scratch, count)?;
                    left -= count;
                }
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.shown -= count;
        Ok(())
    }
}
