//! The command's output on its way to the host: stdout moved as it is, stderr and the terminal in
//! frames within their windows.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Instant;

use rustix::io::Errno;
use rustix::pipe::SpliceFlags;

use super::host::Host;
use super::protocol::{FromAgent, SCREEN_WINDOW, STDERR_WINDOW};
use super::spawn::Child;
use super::stdin::Stdin;
use crate::exit::ExitStatus;
use crate::sys::poll::{Interest, PollSet};
use crate::sys::{pipes, pty};

/// Read at once from the command's stderr or terminal.
const CHUNK: usize = 32 << 10;
/// How much of a terminal's output is passed on after the command's end, should something in its
/// background go on writing.
const SCREEN_AFTER_END: usize = 1 << 20;
/// Moved at once from the command's stdout to the host.
const SPLICE: usize = 1 << 20;

/// The command's outputs.
#[derive(Debug)]
pub struct Outflow {
    /// The read end of its stdout.
    pub stdout: Option<OwnedFd>,
    /// Data waits in `stdout` and the host has no room for it.
    pub stdout_waits: bool,
    /// Bytes of stdout that are on their way.
    pub stdout_bytes: u64,
    /// The read end of its stderr.
    pub stderr: Option<OwnedFd>,
    stderr_bytes: u64,
    /// How much of its stderr the host takes.
    pub stderr_window: usize,
    /// The master of its terminal.
    pub terminal: Option<OwnedFd>,
    /// Held so that the terminal lasts although no process has it open for a while.
    slave: Option<OwnedFd>,
    /// How much of its terminal's output the host takes.
    pub screen_window: usize,
    /// How much it had said when each signal first told it to end.
    said_when_told: Vec<(i32, u64)>,
    /// When output last moved.
    pub last_moved: Instant,
    is_forgotten: bool,
}

/// How a command ended, and how much of its output is still due.
#[derive(Debug)]
pub struct Ended {
    /// How it ended.
    pub status: ExitStatus,
    /// Whether it wrote something after it was told to end by the signal that it died of.
    pub spoke: bool,
    stdout_left: u64,
    stderr_left: u64,
    screen_left: usize,
}

impl Ended {
    /// Leaves what is still due for a run that dies by `signal`.
    pub fn give_up(&mut self, signal: i32) {
        self.status = ExitStatus::Signal(signal);
        (self.stdout_left, self.stderr_left, self.screen_left) = (0, 0, 0);
    }
}

impl Outflow {
    /// The outputs of `child`, and its stdin.
    pub fn new(child: Child) -> (Outflow, Stdin) {
        let (terminal, slave) = child.terminal.unzip();
        let outflow = Outflow {
            stdout: child.stdout,
            stdout_waits: false,
            stdout_bytes: 0,
            stderr: child.stderr,
            stderr_bytes: 0,
            stderr_window: STDERR_WINDOW,
            terminal,
            slave,
            screen_window: SCREEN_WINDOW,
            said_when_told: Vec::new(),
            last_moved: Instant::now(),
            is_forgotten: false,
        };
        (outflow, Stdin::new(child.stdin, child.stdin_reader))
    }

    /// Notes the command's end: what it wrote before is in the pipes now, and is still due.
    pub fn ended(&self, status: ExitStatus) -> Ended {
        Ended {
            status,
            spoke: self.spoke(status),
            stdout_left: unread(&self.stdout),
            stderr_left: unread(&self.stderr),
            screen_left: SCREEN_AFTER_END,
        }
    }

    /// Notes that the command is told to end: from now on it speaks in view of that.
    pub fn note_told_to_end(&mut self, signal: i32) {
        if self.said_when_told.iter().all(|(told, _)| *told != signal) {
            self.said_when_told.push((signal, self.said()));
        }
    }

    fn spoke(&self, status: ExitStatus) -> bool {
        let told = |signal| self.said_when_told.iter().find(|(told, _)| *told == signal);
        match status {
            ExitStatus::Signal(signal) => told(signal).is_some_and(|(_, said)| self.said() > *said),
            ExitStatus::Code(_) => false,
        }
    }

    /// How much the command wrote to its pipes until now.
    fn said(&self) -> u64 {
        self.stdout_bytes + self.stderr_bytes + unread(&self.stdout) + unread(&self.stderr)
    }

    /// Whether only the host keeps what is due from moving.
    pub fn is_held_up(&self, ended: &Ended) -> bool {
        (ended.stdout_left == 0 || self.stdout_waits)
            && (ended.stderr_left == 0 || self.stderr_window == 0)
            && (self.screen_window == 0 || !self.terminal.as_ref().is_some_and(is_readable))
    }

    /// Whether everything that was due at the command's end is on its way.
    pub fn is_drained(&self, ended: &Ended, host: &Host) -> bool {
        let stdout_done = self.stdout.is_none() || host.raw.is_none() || ended.stdout_left == 0;
        if host.framed.is_none() {
            return stdout_done;
        }
        let stderr_done = self.stderr.is_none() || ended.stderr_left == 0;
        let screen_done = match &self.terminal {
            None => true,
            Some(master) => ended.screen_left == 0 || !is_readable(master),
        };
        stdout_done && stderr_done && screen_done
    }

    /// The host is lost. Closing the master is what a closed terminal window does; what goes to
    /// pipes is read and forgotten for as long as the command has to clean up: it may well say
    /// something, and SIGPIPE would end it there.
    pub fn forget_host(&mut self) {
        self.is_forgotten = true;
        self.stdout_waits = false;
        self.hang_up();
    }

    /// Whether stderr may be read now.
    pub fn wants_stderr(&self) -> bool {
        self.stderr_window > 0 || self.is_forgotten
    }

    fn forget(pipe: &mut Option<OwnedFd>) {
        let mut chunk = [0; CHUNK];
        let read = pipe.as_ref().map(|pipe| rustix::io::read(pipe, &mut chunk));
        if !matches!(read, Some(Ok(1..) | Err(Errno::AGAIN | Errno::INTR))) {
            *pipe = None;
        }
    }

    /// Makes `group` the terminal's foreground group.
    pub fn take_foreground(&self, group: i32) {
        if let Some(slave) = &self.slave {
            let _group_is_gone = pty::set_foreground(slave, group);
        }
    }

    /// Both ends of its terminal.
    pub fn pty(&self) -> Option<(&OwnedFd, &OwnedFd)> {
        self.terminal.as_ref().zip(self.slave.as_ref())
    }

    /// The host's terminal is gone.
    pub fn hang_up(&mut self) {
        (self.terminal, self.slave) = (None, None);
    }

    /// Moves stdout to the host without copying it.
    ///
    /// # Errors
    /// splice(2)'s, but for "no room" and "nobody reads".
    pub fn pass_stdout(
        &mut self,
        host: &mut Host,
        host_gone: bool,
        mut ended: Option<&mut Ended>,
    ) -> io::Result<()> {
        if self.is_forgotten {
            Self::forget(&mut self.stdout);
            return Ok(());
        }
        self.stdout_waits = false;
        let (Some(stdout), Some(raw), false) = (&self.stdout, &host.raw, host_gone) else {
            (self.stdout, host.raw) = (None, None);
            return Ok(());
        };
        // Two rounds at most before the others have their turn.
        for _ in 0..2 {
            let due = ended.as_ref().map_or(SPLICE as u64, |ended| ended.stdout_left);
            let limit = due.min(SPLICE as u64) as usize;
            if limit == 0 {
                return Ok(());
            }
            let flags = SpliceFlags::NONBLOCK | SpliceFlags::MOVE;
            match rustix::pipe::splice(stdout, None, raw, None, limit, flags) {
                // Nobody writes any more: the host sees the end as early as it would locally.
                // Or nobody reads any more.
                Ok(0) | Err(Errno::PIPE) => {
                    (self.stdout, host.raw) = (None, None);
                    return Ok(());
                }
                Ok(count) => {
                    self.last_moved = Instant::now();
                    self.stdout_bytes += count as u64;
                    if let Some(ended) = &mut ended {
                        ended.stdout_left -= count as u64;
                    }
                }
                Err(Errno::AGAIN) => {
                    self.stdout_waits = pipes::unread_bytes(stdout)? > 0;
                    return Ok(());
                }
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Passes on a piece of stderr.
    ///
    /// # Errors
    /// read(2)'s.
    pub fn pass_stderr(&mut self, host: &mut Host, ended: Option<&mut Ended>) -> io::Result<()> {
        if self.is_forgotten {
            Self::forget(&mut self.stderr);
            return Ok(());
        }
        let Some(stderr) = &self.stderr else { return Ok(()) };
        let mut chunk = [0; CHUNK];
        let limit = CHUNK.min(self.stderr_window);
        match rustix::io::read(stderr, &mut chunk[..limit]) {
            // A window of nothing reads nothing; only else is that the end.
            Ok(0) if limit == 0 => {}
            Ok(0) => self.stderr = None,
            Ok(count) => {
                self.last_moved = Instant::now();
                self.stderr_bytes += count as u64;
                self.stderr_window -= count;
                host.send(&FromAgent::Stderr(&chunk[..count]));
                if let Some(ended) = ended {
                    ended.stderr_left = ended.stderr_left.saturating_sub(count as u64);
                }
            }
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    /// Passes on a piece of what the terminal shows.
    ///
    /// # Errors
    /// read(2)'s.
    pub fn pass_screen(&mut self, host: &mut Host, ended: Option<&mut Ended>) -> io::Result<()> {
        let Some(master) = &self.terminal else { return Ok(()) };
        let mut chunk = [0; CHUNK];
        let limit = CHUNK.min(self.screen_window);
        match rustix::io::read(master, &mut chunk[..limit]) {
            Ok(count @ 1..) => {
                self.last_moved = Instant::now();
                self.screen_window -= count;
                host.send(&FromAgent::Screen(&chunk[..count]));
                if let Some(ended) = ended {
                    ended.screen_left = ended.screen_left.saturating_sub(count);
                }
            }
            Ok(0) if limit == 0 => {}
            Err(Errno::AGAIN | Errno::INTR) => {}
            // Not while the slave is held; whatever broke, polling it would spin.
            Ok(0) | Err(Errno::IO) => self.terminal = None,
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    /// Reads and forgets until nobody writes any more: a background job that still holds the pipes
    /// or the terminal would be killed by its next word otherwise, and locally it is not.
    ///
    /// # Errors
    /// poll(2)'s.
    pub fn drain(mut self) -> io::Result<()> {
        self.slave = None;
        let all = [&self.stdout, &self.stderr, &self.terminal];
        let mut sources: Vec<&OwnedFd> = all.into_iter().flatten().collect();
        let mut chunk = [0; CHUNK];
        while !sources.is_empty() {
            sources.retain(|source| {
                let read = rustix::io::read(*source, &mut chunk);
                matches!(read, Ok(1..) | Err(Errno::AGAIN | Errno::INTR))
            });
            let mut set = PollSet::new();
            for source in &sources {
                set.add((), source.as_fd(), Interest::Read);
            }
            if !sources.is_empty() {
                set.wait(None)?;
            }
        }
        Ok(())
    }
}

/// How much waits in a pipe.
fn unread(pipe: &Option<OwnedFd>) -> u64 {
    pipe.as_ref().map_or(0, |pipe| pipes::unread_bytes(pipe).unwrap_or(0))
}

/// Whether a read would find something now. poll(2) on one end of a terminal first passes on what was
/// written to the other, so this is exact.
pub fn is_readable(fd: &OwnedFd) -> bool {
    let mut set = PollSet::new();
    set.add((), fd.as_fd(), Interest::Read);
    set.wait(Some(Instant::now())).is_ok() && set.ready(()).readable
}
