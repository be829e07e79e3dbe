//! The agent's three streams to and from the host, as incusd hands them on.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use super::protocol::{self, FromAgent};
use crate::buffer::Buffer;
use crate::sys::fds::{self, Got, Put};
use crate::sys::poll::{Interest, PollSet};

/// The three streams to and from the host.
#[derive(Debug)]
pub struct Host {
    /// What it sends; `None` once it is lost.
    pub input: Option<OwnedFd>,
    /// What it sent and is not obeyed yet.
    pub inbox: Buffer,
    /// The command's stdout, as it is.
    pub raw: Option<OwnedFd>,
    /// Frames; `None` once nobody reads them.
    pub framed: Option<OwnedFd>,
    /// Frames that wait to be sent.
    pub outbox: Buffer,
}

impl Host {
    /// Over the three streams; `rest` was read behind the request.
    pub fn new(input: OwnedFd, rest: Vec<u8>, raw: OwnedFd, framed: OwnedFd) -> Host {
        let mut inbox = Buffer::default();
        inbox.push(&rest);
        let outbox = Buffer::default();
        Host { input: Some(input), inbox, raw: Some(raw), framed: Some(framed), outbox }
    }

    /// Sends a message, as soon as there is room.
    pub fn send(&mut self, message: &FromAgent<'_>) {
        if self.framed.is_some() {
            message.encode(self.outbox.tail());
        }
    }

    /// Writes what there is room for.
    ///
    /// # Errors
    /// write(2)'s.
    pub fn flush(&mut self) -> io::Result<()> {
        while let (Some(framed), false) = (&self.framed, self.outbox.is_empty()) {
            match fds::write_own(framed, self.outbox.as_slice())? {
                Put::Bytes(count) => self.outbox.consume(count),
                Put::Full => break,
                Put::Gone => {
                    self.framed = None;
                    self.outbox.clear();
                }
            }
        }
        Ok(())
    }

    /// Writes everything, however long the host takes, unless it goes away.
    ///
    /// # Errors
    /// write(2)'s.
    pub fn flush_all(&mut self) -> io::Result<()> {
        loop {
            self.flush()?;
            let (Some(framed), false) = (&self.framed, self.outbox.is_empty()) else {
                return Ok(());
            };
            let mut set = PollSet::new();
            set.add((), framed.as_fd(), Interest::Write);
            set.wait(None)?;
        }
    }

    /// Reads what the host sent; false when it went away.
    ///
    /// # Errors
    /// read(2)'s.
    pub fn receive(&mut self) -> io::Result<bool> {
        let Some(input) = &self.input else { return Ok(false) };
        let got = fds::read_own(input, self.inbox.tail(), protocol::MAX_PAYLOAD)?;
        Ok(got != Got::End)
    }
}
