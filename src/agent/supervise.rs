//! The process that stands behind a command: bytes both ways, signals, stops, the end.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Instant;

use rustix::pipe::SpliceFlags;

use super::demand::Demand;
use super::leftovers::{self, Ending};
use super::protocol::{
    self, Exited, Failure, Fd1Or2, FromAgent, PROTOCOL, Reason, Request, SCREEN_WINDOW,
    STDERR_WINDOW, Stream, ToAgent, Watch,
};
use super::spawn::{self, Child};
use super::stdin::Stdin;
use crate::buffer::Buffer;
use crate::exit::{self, ExitStatus};
use crate::sys::fds::{self, Got, Put};
use crate::sys::poll::{Interest, PollSet};
use crate::sys::process::{self, ChildEvent};
use crate::sys::signals::Signals;
use crate::sys::{pipes, signals, terminal};

/// Frames wait for the host up to this many bytes before more output is read.
const FRAMES_WAITING: usize = 64 << 10;
/// Read at once from the command's stderr or terminal.
const CHUNK: usize = 32 << 10;
/// How much of a terminal's output is passed on after the command's end, should something in its
/// background go on writing.
const SCREEN_AFTER_END: usize = 1 << 20;
/// Moved at once from the command's stdout to the host.
const SPLICE: usize = 1 << 20;
/// The size to ask for of the pipe to incusd, which empties it in steps of 32 KiB.
const RAW_PIPE: usize = 256 << 10;

/// Runs the command of `request` to its end and reports its status on `status`.
///
/// # Errors
/// Only what leaves no way to tell the host.
pub fn run(
    request: &Request,
    agent: &OsStr,
    from_host: OwnedFd,
    rest: Vec<u8>,
    to_host: [OwnedFd; 2],
    status: OwnedFd,
) -> io::Result<()> {
    process::start_session()?;
    for signal in [libc::SIGHUP, libc::SIGTTOU, libc::SIGTTIN, libc::SIGPIPE] {
        signals::set_ignored(signal)?;
    }
    let [raw, framed] = to_host;
    for fd in [&from_host, &raw, &framed] {
        pipes::set_nonblocking(fd, true)?;
    }
    pipes::grow(&raw, RAW_PIPE);
    let mut status = File::from(status);
    let mut host = Host::new(from_host, rest, raw, framed);
    host.send(&FromAgent::Hello(PROTOCOL));
    host.flush()?;

    // Before the child exists: it may end sooner than we look.
    let signals = Signals::catch(&[libc::SIGCHLD])?;
    let child = match spawn::start(request, agent) {
        Ok(child) => child,
        Err(failure) => {
            let code = code_of(&failure);
            host.send(&FromAgent::Failed(failure));
            host.flush_all()?;
            drop(host);
            return status.write_all(&[0, code]);
        }
    };
    host.send(&FromAgent::Started(child.place));
    let mut supervisor = Supervisor::new(host, child, request);
    let ended = supervisor.run(signals)?;
    supervisor.finish(ended, status)
}

fn code_of(failure: &Failure) -> u8 {
    match failure.reason {
        Reason::NotFound => exit::NOT_FOUND,
        Reason::NotExecutable => exit::NOT_EXECUTABLE,
        _ => exit::FAILURE,
    }
}

/// The three streams to and from the host.
struct Host {
    input: Option<OwnedFd>,
    inbox: Buffer,
    /// The command's stdout, as it is.
    raw: Option<OwnedFd>,
    /// Frames; `None` once nobody reads them.
    framed: Option<OwnedFd>,
    outbox: Buffer,
}

impl Host {
    fn new(input: OwnedFd, rest: Vec<u8>, raw: OwnedFd, framed: OwnedFd) -> Host {
        let mut inbox = Buffer::default();
        inbox.push(&rest);
        let outbox = Buffer::default();
        Host { input: Some(input), inbox, raw: Some(raw), framed: Some(framed), outbox }
    }

    fn send(&mut self, message: &FromAgent<'_>) {
        if self.framed.is_some() {
            message.encode(self.outbox.tail());
        }
    }

    /// Writes what there is room for.
    fn flush(&mut self) -> io::Result<()> {
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
    fn flush_all(&mut self) -> io::Result<()> {
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
    fn receive(&mut self) -> io::Result<bool> {
        let Some(input) = &self.input else { return Ok(false) };
        let got = fds::read_own(input, self.inbox.tail(), protocol::MAX_PAYLOAD)?;
        Ok(got != Got::End)
    }
}

/// What a descriptor in the poll set stands for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Key {
    Signals,
    Host,
    Raw,
    Framed,
    Stdin,
    Stdout,
    Stderr,
    Terminal,
}

struct Supervisor {
    host: Host,
    pid: i32,
    stdin: Stdin,
    stdout: Option<OwnedFd>,
    /// Data waits in `stdout` and the host has no room for it.
    stdout_waits: bool,
    stdout_bytes: u64,
    stderr: Option<OwnedFd>,
    stderr_window: usize,
    terminal: Option<OwnedFd>,
    /// Held so that the terminal lasts although no process has it open for a while.
    slave: Option<OwnedFd>,
    screen_window: usize,
    keys: Buffer,
    end_of_file: u8,
    demand: Option<Demand>,
    ending: Option<Ending>,
}

/// How a command ended, and how much of its output is still due.
struct Ended {
    status: ExitStatus,
    stdout_left: u64,
    stderr_left: u64,
    screen_left: usize,
}

impl Supervisor {
    fn new(host: Host, child: Child, request: &Request) -> Supervisor {
        let settings = request.terminal.as_ref().map(|terminal| terminal.settings);
        let watch = request.terminal.as_ref().is_some_and(|terminal| terminal.watch == Watch::Yes);
        let (terminal, slave) = child.terminal.unzip();
        Supervisor {
            host,
            pid: child.pid,
            stdin: Stdin::new(child.stdin),
            stdout: child.stdout,
            stdout_waits: false,
            stdout_bytes: 0,
            stderr: child.stderr,
            stderr_window: STDERR_WINDOW,
            terminal,
            slave,
            screen_window: SCREEN_WINDOW,
            keys: Buffer::default(),
            end_of_file: settings.map_or(4, |settings| settings.characters[libc::VEOF]),
            demand: settings.filter(|_| watch).map(Demand::new),
            ending: None,
        }
    }

    /// Serves the command until it ended and its output is on its way, or, once the host is lost,
    /// until nothing of it is left.
    fn run(&mut self, mut signals: Signals) -> io::Result<Ended> {
        let mut ended: Option<Ended> = None;
        // What came together with the request.
        self.obey()?;
        if self.host.raw.is_some() && self.stdout.is_none() {
            self.host.raw = None;
        }
        loop {
            self.host.flush()?;
            if let Some(done) = ended.take_if(|ended| self.is_drained(ended)) {
                return Ok(done);
            }
            let mut set = PollSet::new();
            set.add(Key::Signals, signals.as_fd(), Interest::Read);
            self.register(&mut set);
            set.wait(self.deadline())?;
            let ready = |key| set.ready(key);
            let (host, raw, stdin) = (ready(Key::Host), ready(Key::Raw), ready(Key::Stdin));
            let (stdout, stderr) = (ready(Key::Stdout), ready(Key::Stderr));
            let (terminal, signalled) = (ready(Key::Terminal), ready(Key::Signals));
            drop(set);

            // Children first: whatever a dead one wrote is in its pipes by now.
            if signalled.readable {
                while signals.take()?.is_some() {}
                while let Some(event) = self.child_event(ended.is_some())? {
                    ended = self.note(event)?.or(ended);
                }
            }
            if host.any() && !self.host.receive()? {
                self.lose_host();
            }
            self.obey()?;
            if stdin.any() {
                self.stdin.note_hangup(stdin);
            }
            self.tend_stdin()?;
            if stdout.any() || raw.any() {
                self.pass_stdout(raw.error, ended.as_mut())?;
            }
            if stderr.any() {
                self.pass_stderr(ended.as_mut())?;
            }
            if terminal.readable || terminal.error {
                self.pass_screen(ended.as_mut())?;
            }
            self.pass_keys()?;
            self.watch_demand();
            if let Some(ending) = &mut self.ending {
                ending.go_on();
            }
        }
    }

    fn register<'fd>(&'fd self, set: &mut PollSet<'fd, Key>) {
        if let Some(input) = &self.host.input {
            set.add(Key::Host, input.as_fd(), Interest::Read);
        }
        if let (Some(framed), false) = (&self.host.framed, self.host.outbox.is_empty()) {
            set.add(Key::Framed, framed.as_fd(), Interest::Write);
        }
        if let Some(raw) = &self.host.raw {
            let interest = if self.stdout_waits { Interest::Write } else { Interest::Hangup };
            set.add(Key::Raw, raw.as_fd(), interest);
        }
        if let Some((pipe, interest)) = self.stdin.interest() {
            set.add(Key::Stdin, pipe, interest);
        }
        if let (Some(stdout), false) = (&self.stdout, self.stdout_waits) {
            set.add(Key::Stdout, stdout.as_fd(), Interest::Read);
        }
        let room = self.host.outbox.len() < FRAMES_WAITING;
        if let (Some(stderr), true) = (&self.stderr, room && self.stderr_window > 0) {
            set.add(Key::Stderr, stderr.as_fd(), Interest::Read);
        }
        if let Some(terminal) = &self.terminal {
            let read = room && self.screen_window > 0;
            let interest = match (read, self.keys.is_empty()) {
                (true, true) => Interest::Read,
                (true, false) => Interest::ReadWrite,
                (false, false) => Interest::Write,
                (false, true) => return,
            };
            set.add(Key::Terminal, terminal.as_fd(), interest);
        }
    }

    fn deadline(&self) -> Option<Instant> {
        [
            self.demand.as_ref().map(Demand::next),
            self.ending.as_ref().and_then(Ending::next),
            self.stdin.next_look(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// The next change of the command; nothing once it ended and there is nobody to ask about.
    fn child_event(&self, has_ended: bool) -> io::Result<Option<ChildEvent>> {
        if has_ended { Ok(None) } else { process::child_event(self.pid) }
    }

    fn note(&mut self, event: ChildEvent) -> io::Result<Option<Ended>> {
        match event {
            ChildEvent::Stopped(signal) => self.host.send(&FromAgent::Stopped(signal)),
            ChildEvent::Continued => {}
            ChildEvent::Ended(status) => {
                let unread = |pipe: &Option<OwnedFd>| {
                    pipe.as_ref().map_or(0, |pipe| pipes::unread_bytes(pipe).unwrap_or(0))
                };
                return Ok(Some(Ended {
                    status,
                    stdout_left: unread(&self.stdout),
                    stderr_left: unread(&self.stderr),
                    screen_left: SCREEN_AFTER_END,
                }));
            }
        }
        Ok(None)
    }

    /// Whether everything that the command wrote before its end is on its way.
    fn is_drained(&mut self, ended: &mut Ended) -> bool {
        if self.host.raw.is_none() {
            ended.stdout_left = 0;
        }
        if let Some(ending) = &self.ending {
            return ending.is_over();
        }
        if self.host.framed.is_none() {
            return ended.stdout_left == 0 || self.stdout.is_none();
        }
        let screen_done = match &self.terminal {
            None => true,
            // The kernel passes what was written on by itself, so this is exact: n_tty(4) flushes
            // its work before it answers.
            Some(master) => ended.screen_left == 0 || !is_readable(master),
        };
        (self.stdout.is_none() || ended.stdout_left == 0)
            && (self.stderr.is_none() || ended.stderr_left == 0)
            && screen_done
    }

    /// Does what the host asks.
    fn obey(&mut self) -> io::Result<()> {
        let mut inbox = std::mem::take(&mut self.host.inbox);
        let result = self.obey_all(&mut inbox);
        self.host.inbox = inbox;
        result
    }

    fn obey_all(&mut self, inbox: &mut Buffer) -> io::Result<()> {
        let malformed = |error| io::Error::new(io::ErrorKind::InvalidData, error);
        while let Some((kind, payload, used)) =
            protocol::split(inbox.as_slice()).map_err(malformed)?
        {
            match protocol::decode_to_agent(kind, payload).map_err(malformed)? {
                ToAgent::Stdin(data) => self.stdin.receive(data)?,
                ToAgent::StdinEnd => self.stdin.end(),
                ToAgent::Keys(data) => self.keys.push(data),
                ToAgent::KeysEnd => self.keys.push(&[self.end_of_file]),
                ToAgent::Resize(size) => {
                    if let Some(master) = &self.terminal {
                        let _hung_up = terminal::set_size(master, size);
                    }
                }
                ToAgent::Signal(signal) => {
                    let _another_user_now = process::signal_group(self.pid, signal);
                }
                ToAgent::Grant(Stream::Stderr, bytes) => self.stderr_window += bytes as usize,
                ToAgent::Grant(Stream::Screen, bytes) => self.screen_window += bytes as usize,
                ToAgent::OutputClosed(Fd1Or2::Stdout) => {
                    (self.stdout, self.host.raw) = (None, None)
                }
                ToAgent::OutputClosed(Fd1Or2::Stderr) => self.stderr = None,
                ToAgent::Hangup => self.hang_up(),
                ToAgent::Request(_) | ToAgent::Grant(..) => {
                    return Err(malformed(protocol::Malformed("order of frames")));
                }
            }
            inbox.consume(used);
        }
        Ok(())
    }

    /// The host's terminal is gone, its client is not.
    fn hang_up(&mut self) {
        self.terminal = None;
        leftovers::hang_up(self.pid);
    }

    /// The client is gone. Closing the master is what a closed terminal window does.
    fn lose_host(&mut self) {
        self.host.input = None;
        self.host.framed = None;
        self.host.outbox.clear();
        self.drop_output();
        self.stdin.abandon();
        if self.ending.is_none() {
            self.ending = Some(Ending::begin(self.pid));
        }
    }

    fn drop_output(&mut self) {
        self.host.raw = None;
        (self.stdout, self.stderr, self.terminal) = (None, None, None);
    }

    fn tend_stdin(&mut self) -> io::Result<()> {
        self.stdin.pump()?;
        if let Some(bytes) = self.stdin.grant() {
            self.host.send(&FromAgent::Grant(Stream::Stdin, bytes));
        }
        if self.stdin.take_closed_news() {
            self.host.send(&FromAgent::InputClosed);
        }
        Ok(())
    }

    /// Moves stdout to the host without copying it.
    fn pass_stdout(&mut self, host_gone: bool, mut ended: Option<&mut Ended>) -> io::Result<()> {
        use rustix::io::Errno;
        self.stdout_waits = false;
        let (Some(stdout), Some(raw), false) = (&self.stdout, &self.host.raw, host_gone) else {
            (self.stdout, self.host.raw) = (None, None);
            return Ok(());
        };
        // Two rounds at most before the others have their turn.
        for _ in 0..2 {
            let limit = ended
                .as_ref()
                .map_or(SPLICE, |ended| ended.stdout_left.min(SPLICE as u64) as usize);
            if limit == 0 {
                return Ok(());
            }
            let flags = SpliceFlags::NONBLOCK | SpliceFlags::MOVE;
            match rustix::pipe::splice(stdout, None, raw, None, limit, flags) {
                Ok(0) => {
                    // Nobody writes any more: the host sees the end as early as it would locally.
                    (self.stdout, self.host.raw) = (None, None);
                    return Ok(());
                }
                Ok(count) => {
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
                Err(Errno::PIPE) => {
                    (self.stdout, self.host.raw) = (None, None);
                    return Ok(());
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn pass_stderr(&mut self, ended: Option<&mut Ended>) -> io::Result<()> {
        use rustix::io::Errno;
        let Some(stderr) = &self.stderr else { return Ok(()) };
        let mut chunk = [0; CHUNK];
        let limit = CHUNK.min(self.stderr_window);
        match rustix::io::read(stderr, &mut chunk[..limit]) {
            Ok(0) => self.stderr = None,
            Ok(count) => {
                self.stderr_window -= count;
                self.host.send(&FromAgent::Stderr(&chunk[..count]));
                if let Some(ended) = ended {
                    ended.stderr_left = ended.stderr_left.saturating_sub(count as u64);
                }
            }
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    fn pass_screen(&mut self, ended: Option<&mut Ended>) -> io::Result<()> {
        use rustix::io::Errno;
        let Some(master) = &self.terminal else { return Ok(()) };
        let wanted = self.demand.as_ref().is_some_and(|demand| demand.settings_changed(master));
        if wanted {
            self.demand = None;
            self.host.send(&FromAgent::TerminalWanted);
        }
        let mut chunk = [0; CHUNK];
        let limit = CHUNK.min(self.screen_window);
        match rustix::io::read(master, &mut chunk[..limit]) {
            Ok(count @ 1..) => {
                self.screen_window -= count;
                self.host.send(&FromAgent::Screen(&chunk[..count]));
                if let Some(ended) = ended {
                    ended.screen_left = ended.screen_left.saturating_sub(count);
                }
            }
            Err(Errno::AGAIN | Errno::INTR) => {}
            // Not while the slave is held; whatever broke, polling it would spin.
            Ok(0) | Err(Errno::IO) => self.terminal = None,
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    fn pass_keys(&mut self) -> io::Result<()> {
        while let (Some(master), false) = (&self.terminal, self.keys.is_empty()) {
            match fds::write_own(master, self.keys.as_slice())? {
                Put::Bytes(count) => {
                    self.keys.consume(count);
                    self.host.send(&FromAgent::Grant(Stream::Keys, count as u32));
                }
                Put::Full => break,
                Put::Gone => self.terminal = None,
            }
        }
        if self.terminal.is_none() {
            self.keys.clear();
        }
        Ok(())
    }

    fn watch_demand(&mut self) {
        let (Some(demand), Some(master)) = (&mut self.demand, &self.terminal) else { return };
        if demand.is_wanted(master, self.pid) {
            self.demand = None;
            self.host.send(&FromAgent::TerminalWanted);
        }
    }

    /// Tells the status, then stays for whatever the command left behind: a background job that
    /// still holds the pipes or the terminal would be killed by its next word otherwise, and
    /// locally it is not.
    fn finish(mut self, ended: Ended, mut status: File) -> io::Result<()> {
        let lost = self.host.framed.is_none();
        self.host.send(&FromAgent::Exited(Exited {
            status: ended.status,
            stdout_bytes: self.stdout_bytes,
            stdin_taken: self.stdin.taken(),
        }));
        self.host.flush_all()?;
        self.host.framed = None;
        self.host.raw = None;
        self.host.input = None;
        self.stdin.abandon();
        let bytes = match ended.status {
            ExitStatus::Code(code) => [0, code],
            ExitStatus::Signal(signal) => [1, signal as u8],
        };
        // The waiter may be dead: incusd kills it when a client is lost.
        let _waiter_may_be_gone = status.write_all(&bytes);
        drop(status);
        if lost {
            return Ok(());
        }
        self.slave = None;
        drain(&[self.stdout.as_ref(), self.stderr.as_ref(), self.terminal.as_ref()])
    }
}

fn is_readable(fd: &OwnedFd) -> bool {
    let mut set = PollSet::new();
    set.add((), fd.as_fd(), Interest::Read);
    set.wait(Some(Instant::now())).is_ok() && set.ready(()).readable
}

/// Reads and forgets until nobody writes any more.
fn drain(sources: &[Option<&OwnedFd>]) -> io::Result<()> {
    use rustix::io::Errno;
    let mut sources: Vec<&OwnedFd> = sources.iter().flatten().copied().collect();
    let mut chunk = [0; CHUNK];
    while !sources.is_empty() {
        sources.retain(|source| {
            matches!(
                rustix::io::read(*source, &mut chunk),
                Ok(1..) | Err(Errno::AGAIN | Errno::INTR)
            )
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
