//! The process that stands behind a command: bytes both ways, signals, stops, the end.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Instant;

use super::demand::Demand;
use super::host::Host;
use super::leftovers::{Ending, Hangups};
use super::outflow::{Ended, Outflow};
use super::protocol::{self, Exited, Fd1Or2, FromAgent, PROTOCOL, Request, Stream, ToAgent, Watch};
use super::spawn::{self, Child};
use super::stdin::Stdin;
use super::typed::Typed;
use crate::buffer::Buffer;
use crate::deadly::{DEADLY, Deadly};
use crate::exit::ExitStatus;
use crate::sys::poll::{Interest, PollSet};
use crate::sys::process::{self, ChildEvent};
use crate::sys::signals::Signals;
use crate::sys::{pipes, signals, terminal};

/// Frames wait for the host up to this many bytes before more output is read.
const FRAMES_WAITING: usize = 64 << 10;
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
            let code = failure.code();
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
    out: Outflow,
    typed: Typed,
    demand: Option<Demand>,
    hangups: Hangups,
    ending: Option<Ending>,
    deadly: Deadly,
    has_ended: bool,
    /// The command was stopped because it is not in its terminal's foreground.
    wants_foreground: bool,
    /// The host was asked to change its terminal; stdout, which may end in that same terminal,
    /// waits for it.
    awaits_terminal: bool,
}

impl Supervisor {
    fn new(host: Host, child: Child, request: &Request) -> Supervisor {
        let settings = request.terminal.as_ref().map(|terminal| terminal.settings);
        let watch = request.terminal.as_ref().is_some_and(|terminal| terminal.watch == Watch::Yes);
        let pid = child.pid;
        let (out, stdin) = Outflow::new(child);
        Supervisor {
            host,
            pid,
            stdin,
            out,
            typed: Typed::default(),
            demand: settings.filter(|_| watch).map(Demand::new),
            hangups: Hangups::new(pid),
            ending: None,
            deadly: Deadly::default(),
            has_ended: false,
            wants_foreground: false,
            awaits_terminal: false,
        }
    }

    /// Serves the command until it ended and its output is on its way, or, once the host is lost,
    /// until nothing of it is left.
    fn run(&mut self, mut signals: Signals) -> io::Result<Ended> {
        let mut ended: Option<Ended> = None;
        // What came together with the request.
        self.obey()?;
        if self.out.stdout.is_none() {
            self.host.raw = None;
        }
        loop {
            self.host.flush()?;
            if let Some(done) = ended.take_if(|ended| self.is_done(ended)) {
                return Ok(done);
            }
            let mut set = PollSet::new();
            set.add(Key::Signals, signals.as_fd(), Interest::Read);
            self.register(&mut set);
            let given_up = ended.as_ref().and_then(|ended| Some(self.gives_up(ended)?.0));
            set.wait(self.deadline().into_iter().chain(given_up).min())?;
            let ready = |key| set.ready(key);
            let (host, raw, stdin) = (ready(Key::Host), ready(Key::Raw), ready(Key::Stdin));
            let (stdout, stderr) = (ready(Key::Stdout), ready(Key::Stderr));
            let (terminal, signalled) = (ready(Key::Terminal), ready(Key::Signals));
            drop(set);

            // Children first: whatever a dead one wrote is in its pipes by now.
            if signalled.readable {
                while signals.take()?.is_some() {}
                while let Some(event) = self.child_event()? {
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
            if stdout.any() {
                self.watch_settings();
            }
            if (stdout.any() && !self.awaits_terminal) || raw.any() {
                self.out.pass_stdout(&mut self.host, raw.error, ended.as_mut())?;
            }
            if stderr.any() {
                self.out.pass_stderr(&mut self.host, ended.as_mut())?;
            }
            if terminal.readable || terminal.error {
                self.watch_settings();
                self.out.pass_screen(&mut self.host, ended.as_mut())?;
            }
            self.pass_keys()?;
            self.watch_demand();
            if let Some(ending) = &mut self.ending {
                ending.go_on();
            }
            if let Some(ended) = &mut ended {
                match self.gives_up(ended) {
                    Some((at, signal)) if Instant::now() >= at => ended.give_up(signal),
                    _ => {}
                }
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
            let interest = if self.out.stdout_waits { Interest::Write } else { Interest::Hangup };
            set.add(Key::Raw, raw.as_fd(), interest);
        }
        if let Some((pipe, interest)) = self.stdin.interest() {
            set.add(Key::Stdin, pipe, interest);
        }
        let held = self.out.stdout_waits || self.awaits_terminal;
        if let (Some(stdout), false) = (&self.out.stdout, held) {
            set.add(Key::Stdout, stdout.as_fd(), Interest::Read);
        }
        let room = self.host.outbox.len() < FRAMES_WAITING;
        if let (Some(stderr), true) = (&self.out.stderr, room && self.out.wants_stderr()) {
            set.add(Key::Stderr, stderr.as_fd(), Interest::Read);
        }
        if let Some(terminal) = &self.out.terminal {
            let read = room && self.out.screen_window > 0;
            let interest = match (read, self.typed.is_waiting()) {
                (true, false) => Interest::Read,
                (true, true) => Interest::ReadWrite,
                (false, true) => Interest::Write,
                (false, false) => return,
            };
            set.add(Key::Terminal, terminal.as_fd(), interest);
        }
    }

    fn deadline(&self) -> Option<Instant> {
        [
            self.demand.as_ref().filter(|_| self.out.terminal.is_some()).and_then(Demand::next),
            self.ending.as_ref().and_then(Ending::next),
            self.out.terminal.as_ref().and_then(|_| self.typed.next()),
            self.stdin.next_look(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// When the run dies by which signal, should the host not take what is due by then.
    fn gives_up(&self, ended: &Ended) -> Option<(Instant, i32)> {
        if self.ending.is_some() || self.is_done(ended) {
            return None;
        }
        self.deadly.gives_up(self.out.is_held_up(ended).then_some(self.out.last_moved))
    }

    /// The next change of the command; nothing once it ended and there is nobody to ask about.
    fn child_event(&self) -> io::Result<Option<ChildEvent>> {
        if self.has_ended { Ok(None) } else { process::child_event(self.pid) }
    }

    fn note(&mut self, event: ChildEvent) -> io::Result<Option<Ended>> {
        match event {
            ChildEvent::Stopped(signal) => {
                // What it wrote before, and the terminal's echo of ^Z, is shown before.
                self.out.pass_screen(&mut self.host, None)?;
                self.out.pass_stderr(&mut self.host, None)?;
                self.wants_foreground = matches!(signal, libc::SIGTTIN | libc::SIGTTOU);
                self.host.send(&FromAgent::Stopped(signal));
            }
            ChildEvent::Continued => {}
            ChildEvent::Ended(status) => {
                self.has_ended = true;
                let ended = self.out.ended(status);
                self.deadly.note_end(status, self.deadly.count(), ended.spoke);
                return Ok(Some(ended));
            }
        }
        Ok(None)
    }

    /// Whether nothing is left to do for a command that ended.
    fn is_done(&self, ended: &Ended) -> bool {
        match &self.ending {
            Some(ending) => ending.is_over(),
            None => self.out.is_drained(ended, &self.host),
        }
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
                ToAgent::Keys(data) => self.typed.push(data),
                ToAgent::KeysEnd => self.typed.end(),
                ToAgent::Resize(size) => {
                    if let Some(master) = &self.out.terminal {
                        let _hung_up = terminal::set_size(master, size);
                    }
                }
                ToAgent::Signal(signal) => self.pass_signal(signal),
                ToAgent::Grant(Stream::Stderr, bytes) => self.out.stderr_window += bytes as usize,
                ToAgent::Grant(Stream::Screen, bytes) => self.out.screen_window += bytes as usize,
                ToAgent::OutputClosed(Fd1Or2::Stdout) => {
                    (self.out.stdout, self.host.raw) = (None, None)
                }
                ToAgent::OutputClosed(Fd1Or2::Stderr) => self.out.stderr = None,
                ToAgent::Hangup => self.hang_up(),
                ToAgent::TerminalReady => self.awaits_terminal = false,
                ToAgent::Request(_) | ToAgent::Grant(..) => {
                    return Err(malformed(protocol::Malformed("order of frames")));
                }
            }
            inbox.consume(used);
        }
        Ok(())
    }

    fn pass_signal(&mut self, signal: i32) {
        if self.has_ended {
            // What it left in its group is the group's own; a shell would tell it nothing either.
            self.deadly.note_after_end(signal);
            if signal == libc::SIGTSTP {
                // Nobody is left to stop but the run itself, which waits for a reader.
                self.host.send(&FromAgent::Stopped(signal));
            }
            return;
        }
        self.deadly.note_passed_on(signal);
        if DEADLY.contains(&signal) {
            self.out.note_told_to_end(signal);
        }
        if signal == libc::SIGCONT && std::mem::take(&mut self.wants_foreground) {
            // What a shell's `fg` does.
            self.out.take_foreground(self.pid);
        }
        if signal == libc::SIGHUP {
            self.hangups.pass_on();
        } else {
            let _another_user_now = process::signal_group(self.pid, signal);
        }
    }

    /// The host's terminal is gone, its client is not.
    fn hang_up(&mut self) {
        // The signal first, as the kernel does it: a shell that sees the end of its terminal before
        // exits as if it was told to, and leaves its jobs alone.
        self.hangups.terminal_is_gone();
        self.out.hang_up();
    }

    /// The client is gone.
    fn lose_host(&mut self) {
        // Before the terminal goes, see `hang_up`.
        if self.ending.is_none() {
            self.ending = Some(Ending::begin(&mut self.hangups));
        }
        self.awaits_terminal = false;
        self.host.input = None;
        self.host.framed = None;
        self.host.outbox.clear();
        self.host.raw = None;
        self.out.forget_host();
        self.stdin.abandon();
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

    fn pass_keys(&mut self) -> io::Result<()> {
        self.typed.pass(&mut self.out)?;
        if let Some(typed) = self.typed.grant() {
            self.host.send(&FromAgent::Grant(Stream::Keys, typed));
        }
        Ok(())
    }

    /// Before output passes: it may hold a query, whose answer must meet a terminal in raw mode.
    fn watch_settings(&mut self) {
        let (Some(demand), Some(master)) = (&mut self.demand, &self.out.terminal) else { return };
        if let Some(output) = demand.look_at_settings(master) {
            self.host.send(&FromAgent::TerminalWanted(output));
            self.awaits_terminal = true;
        }
    }

    fn watch_demand(&mut self) {
        let (Some(demand), Some(master)) = (&mut self.demand, &self.out.terminal) else { return };
        if let Some(output) = demand.look(master, self.pid) {
            self.host.send(&FromAgent::TerminalWanted(output));
            self.awaits_terminal = true;
        }
    }

    /// Tells the status, then stays for whatever the command left behind: a background job that
    /// still holds the pipes or the terminal would be killed by its next word otherwise, and
    /// locally it is not.
    fn finish(mut self, ended: Ended, mut status: File) -> io::Result<()> {
        let lost = self.host.framed.is_none();
        self.host.send(&FromAgent::Exited(Exited {
            status: ended.status,
            stdout_bytes: self.out.stdout_bytes,
            stdin_taken: self.stdin.taken(),
            signals_taken: self.deadly.count(),
            spoke: ended.spoke,
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
        self.out.drain()
    }
}
