//! Where the command's output goes on the host, with what waits to be written.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Instant;

use crate::buffer::Buffer;
use crate::sys::fds::{Put, Sink, Standard};

/// One output.
#[derive(Debug)]
pub struct Output {
    sink: Option<Sink>,
    is_pipe: bool,
    /// The standard descriptor behind the sink, to be let go of with it.
    standard: Option<Standard>,
    waiting: Buffer,
    full_since: Option<Instant>,
    /// Why it was given up, when that was not just a reader that left.
    error: Option<io::Error>,
    /// Bytes done with since they were last asked for.
    done: usize,
    /// Bytes to leave out of `done` when they are.
    not_counted: usize,
    closed_news: bool,
}

impl Output {
    /// An output to a standard descriptor.
    ///
    /// # Errors
    /// When it cannot be duplicated.
    pub fn standard(standard: Standard) -> io::Result<Output> {
        Ok(Output { standard: Some(standard), ..Output::new(standard.fd())? })
    }

    /// An output to any descriptor.
    ///
    /// # Errors
    /// When it cannot be duplicated.
    pub fn new(fd: BorrowedFd<'_>) -> io::Result<Output> {
        let sink = Sink::new(fd)?;
        Ok(Output { is_pipe: sink.is_pipe(), sink: Some(sink), ..Output::nowhere() })
    }

    /// An output that forgets everything.
    pub fn nowhere() -> Output {
        Output {
            sink: None,
            is_pipe: false,
            standard: None,
            waiting: Buffer::default(),
            full_since: None,
            error: None,
            done: 0,
            not_counted: 0,
            closed_news: false,
        }
    }

    /// What to wait for: room when something waits, else that the reader leaves.
    pub fn poll_fd(&self) -> Option<(BorrowedFd<'_>, bool)> {
        Some((self.sink.as_ref()?.as_fd(), self.is_full()))
    }

    /// How many bytes wait.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Whether nothing waits.
    pub fn is_idle(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Whether a write would have to wait.
    pub fn is_full(&self) -> bool {
        self.full_since.is_some()
    }

    /// Since when its reader has taken nothing, if a write would have to wait.
    pub fn full_since(&self) -> Option<Instant> {
        self.full_since
    }

    fn note_full(&mut self) {
        self.full_since.get_or_insert_with(Instant::now);
    }

    /// Notes that there is room again.
    pub fn note_room(&mut self) {
        self.full_since = None;
    }

    /// Writes `data` straight away; says how much of it is done with.
    pub fn write(&mut self, data: &[u8]) -> usize {
        let Some(sink) = &mut self.sink else { return data.len() };
        match sink.write(data) {
            Ok(Put::Bytes(count)) => count,
            Ok(Put::Full) => {
                self.note_full();
                0
            }
            Ok(Put::Gone) => {
                self.give_up(None);
                data.len()
            }
            Err(error) => {
                self.give_up(Some(error));
                data.len()
            }
        }
    }

    /// Whether data may be moved into it from a socket.
    pub fn takes_splice(&self) -> bool {
        self.is_pipe && self.sink.is_some() && self.waiting.is_empty() && !self.is_full()
    }

    /// Moves up to `most` bytes from `socket`; says how many were.
    pub fn splice_from(&mut self, socket: impl AsFd, most: usize) -> usize {
        let Some(sink) = &mut self.sink else { return 0 };
        match sink.splice_from(socket, most) {
            Ok(Put::Bytes(count)) => return count,
            Ok(Put::Full) => self.note_full(),
            Ok(Put::Gone) => self.give_up(None),
            // Not between these two: copying always works.
            Err(_) => self.is_pipe = false,
        }
        0
    }

    /// Takes `data` to be written behind what waits.
    pub fn push(&mut self, data: &[u8]) {
        let mut data = data;
        while self.waiting.is_empty() && !self.is_full() && !data.is_empty() {
            let count = self.write(data);
            self.done += count;
            data = &data[count..];
        }
        self.waiting.push(data);
    }

    /// Writes what waits, as far as there is room.
    pub fn flush(&mut self) {
        while !self.is_full() && !self.waiting.is_empty() {
            let waiting = std::mem::take(&mut self.waiting);
            let count = self.write(waiting.as_slice());
            self.waiting = waiting;
            self.waiting.consume(count);
            self.done += count;
        }
    }

    /// Gives up: the reader left, or an error makes further writing pointless.
    pub fn give_up(&mut self, error: Option<io::Error>) {
        if self.sink.take().is_some() {
            self.closed_news = true;
            self.error = error;
            self.full_since = None;
            if let Some(standard) = self.standard {
                let _stays_open = standard.release();
            }
        }
    }

    /// Bytes done with since they were last taken, once they are `least`.
    pub fn take_done(&mut self, least: usize) -> Option<usize> {
        let own = self.not_counted.min(self.done);
        self.not_counted -= own;
        self.done -= own;
        (self.done >= least).then(|| std::mem::take(&mut self.done))
    }

    /// Adds `count` bytes that were done with before they came here.
    pub fn add_done(&mut self, count: usize) {
        self.done += count;
    }

    /// Takes `count` bytes out of the account of `take_done`: they are our own.
    pub fn forget_done(&mut self, count: usize) {
        self.not_counted += count;
    }

    /// True once after the output was given up.
    pub fn take_closed_news(&mut self) -> bool {
        std::mem::take(&mut self.closed_news)
    }

    /// Says why not everything could be written, if that is so; true when it was. A reader that
    /// left is no error.
    pub fn tell_error(&mut self, name: &str) -> bool {
        let error = self.error.take();
        if let Some(error) = &error {
            crate::message::say(super::PROGRAM, format!("writing {name}: {error}"));
        }
        error.is_some()
    }
}
