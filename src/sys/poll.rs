//! Waiting for descriptors: poll(2) behind a small registry.
//!
//! poll(2) and not epoll(7): a run waits for a dozen descriptors at most, epoll refuses regular
//! files (`incusbox-run box -- cat <file`), and poll answers "ready" for those, which is right.

use std::io;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};

/// How long to wait before what failed `count` times more than once is tried again: between the
/// first pause and the longest, each twice the one before.
#[cfg(any(feature = "agent", feature = "cli"))]
pub fn growing([first, longest]: [Duration; 2], count: u32) -> Duration {
    first.saturating_mul(1 << count.min(16)).min(longest)
}

/// What to wait for on one descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interest {
    /// Data to read, or its end.
    Read,
    /// Room to write.
    Write,
    /// Both of the above.
    ReadWrite,
    /// Only that the other side went away (POLLERR, POLLHUP), which poll(2) always tells.
    Hangup,
}

/// What became true of one descriptor. Error and hang-up are kept apart from "readable": data that
/// arrived before a hang-up must still be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ready {
    /// POLLIN, or a hang-up: a read will not block.
    pub readable: bool,
    /// POLLOUT: a write of some bytes will not block.
    pub writable: bool,
    /// POLLERR: on the write side of a pipe or socket, nobody reads any more.
    pub error: bool,
    /// POLLHUP: the other side is closed.
    pub hangup: bool,
}

impl Ready {
    /// Whether anything at all happened.
    pub fn any(self) -> bool {
        self.readable || self.writable || self.error || self.hangup
    }
}

/// One round's set of descriptors, each under a key of the caller's.
#[derive(Debug)]
pub struct PollSet<'fd, K> {
    keys: Vec<K>,
    fds: Vec<PollFd<'fd>>,
}

impl<K> Default for PollSet<'_, K> {
    fn default() -> Self {
        PollSet { keys: Vec::with_capacity(16), fds: Vec::with_capacity(16) }
    }
}

impl<'fd, K: Copy + PartialEq> PollSet<'fd, K> {
    /// An empty set.
    pub fn new() -> Self {
        Self::default()
    }

    /// Waits for `interest` on `fd`, reported under `key`.
    pub fn add(&mut self, key: K, fd: BorrowedFd<'fd>, interest: Interest) {
        let flags = match interest {
            Interest::Read => PollFlags::IN,
            Interest::Write => PollFlags::OUT,
            Interest::ReadWrite => PollFlags::IN | PollFlags::OUT,
            Interest::Hangup => PollFlags::empty(),
        };
        self.keys.push(key);
        self.fds.push(PollFd::from_borrowed_fd(fd, flags));
    }

    /// Sleeps until something is ready, a signal handler ran, or `deadline` passed.
    ///
    /// # Errors
    /// poll(2)'s own, but for EINTR, which counts as "nothing ready".
    pub fn wait(&mut self, deadline: Option<Instant>) -> io::Result<()> {
        let timeout = deadline.map(|at| {
            let left = match at.saturating_duration_since(Instant::now()) {
                // Just a look, which a run takes several of.
                Duration::ZERO => Duration::ZERO,
                // Rounded up: waking a moment early would only spin.
                left => left + Duration::from_micros(50),
            };
            Timespec { tv_sec: left.as_secs() as i64, tv_nsec: i64::from(left.subsec_nanos()) }
        });
        match rustix::event::poll(&mut self.fds, timeout.as_ref()) {
            Ok(_) => Ok(()),
            Err(rustix::io::Errno::INTR) => {
                for fd in &mut self.fds {
                    fd.clear_revents();
                }
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// What happened to the descriptor added under `key`; nothing for one that was not added.
    pub fn ready(&self, key: K) -> Ready {
        let mut ready = Ready::default();
        for (at, fd) in self.keys.iter().zip(&self.fds) {
            if *at == key {
                let flags = fd.revents();
                ready.readable |= flags.intersects(PollFlags::IN | PollFlags::HUP);
                ready.writable |= flags.intersects(PollFlags::OUT);
                ready.error |= flags.intersects(PollFlags::ERR | PollFlags::NVAL);
                ready.hangup |= flags.intersects(PollFlags::HUP);
            }
        }
        ready
    }
}
