//! The middle of a run by the agent: bytes both ways, signals, sizes, until the command ended.

mod dialogue;
mod ending;
mod intake;

use std::io;
use std::time::{Duration, Instant};

use crate::agent::protocol::{
    Exited, Failure, Fd, Fd1Or2, Request, SCREEN_WINDOW, STDERR_WINDOW, Stream, ToAgent, grant_from,
};
use crate::buffer::Buffer;
use crate::deadly::Deadly;
use crate::exit::ExitStatus;
use crate::incus::streams::Stream as Socket;
use crate::run::downlink::Downlink;
use crate::run::input::Input;
use crate::run::output::Output;
use crate::run::plan::{Keyboard, Plan};
use crate::run::relayed::{Due, Relayed};
use crate::run::screen::Screen;
use crate::run::title::Title;
use crate::run::trace::Trace;
use crate::run::uplink::Uplink;
use crate::sys::fds::Standard;
use crate::sys::poll::{Interest, PollSet};
use crate::sys::signals::Signals;
use crate::sys::{startup, terminal::Terminal};

/// Without a sign of life for this long the daemon is given up. It pings every 10 s.
pub const SILENCE: Duration = Duration::from_secs(60);
/// After a stop, how long pings may be from before it.
pub const OLD_PINGS: Duration = Duration::from_secs(5);
/// How long an agent may take to greet, on a machine under load.
const GREETING: Duration = Duration::from_secs(30);
/// After the command's end, how long its output may stay away.
const LATE_OUTPUT: Duration = Duration::from_secs(30);
/// The signals that are the command's.
pub const FORWARDED: &[i32] = &[
    libc::SIGHUP,
    libc::SIGINT,
    libc::SIGQUIT,
    libc::SIGTERM,
    libc::SIGUSR1,
    libc::SIGUSR2,
    libc::SIGTSTP,
    libc::SIGCONT,
];

/// How it went.
#[derive(Debug)]
pub enum Outcome {
    /// The command ended.
    Ended(Exited),
    /// The agent could not run it.
    Failed(Failure),
    /// No agent greeted; what was said instead.
    NoAgent(Vec<u8>),
    /// Something answered that is not our agent.
    Alien(String),
    /// What came is not of the form that the daemon gives it.
    Broken(String),
    /// The command ended, but not all of its output came.
    Truncated,
    /// The streams ended before the command did.
    Lost,
    /// The daemon says nothing any more.
    Silent(u64),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Key {
    Signals,
    Uplink,
    Echo,
    Raw,
    Framed,
    Stdin,
    Stdout,
    Stderr,
    ScreenOut,
    Keys,
}

/// The middle of a run.
pub struct Relay<'a> {
    plan: &'a Plan,
    trace: &'a Trace,
    uplink: Uplink,
    /// What comes back on the uplink's socket: pings.
    echo: Downlink,
    raw: Downlink,
    framed: Downlink,
    frames: Buffer,
    input: Input,
    stdout: Output,
    stderr: Output,
    screen_out: Output,
    screen: Option<Screen>,
    greeted: bool,
    title: Title,
    raw_received: u64,
    deadly: Deadly,
    last_sign: Instant,
    pinged: bool,
    pings_count_from: Instant,
    relayed: Option<Relayed>,
    /// Until when an agent has to greet.
    greet_by: Instant,
    /// When output last came, or could: the command's end, or a reader's that took its time.
    last_output: Instant,
    outcome: Option<Outcome>,
}

impl<'a> Relay<'a> {
    /// Prepares a relay over the open streams 0, 1 and 2.
    ///
    /// # Errors
    /// When a standard descriptor or the terminal cannot be used.
    pub fn new(
        plan: &'a Plan,
        terminal: Option<Terminal>,
        streams: [Socket; 3],
        trace: &'a Trace,
    ) -> io::Result<Relay<'a>> {
        let [stdin, stdout, stderr] = streams;
        let is_relayed = stdin.is_relayed;
        let fds = plan.request.fds;
        let reads_stdin = fds[0] == Fd::Pipe || plan.keyboard == Keyboard::Stdin;
        let output = |number: usize, standard| match fds[number] {
            Fd::Pipe => Output::standard(standard),
            Fd::Terminal | Fd::Null | Fd::Closed | Fd::Stdout => Ok(Output::nowhere()),
        };
        let wanted = plan.request.terminal.map(|terminal| terminal.size).zip(terminal);
        let screen = match wanted {
            Some((size, terminal)) => Some(Screen::new(terminal, plan.keyboard, size)?),
            None => None,
        };
        let screen_out = match (&screen, plan.request.terminal.is_some()) {
            (Some(screen), _)
                if Standard::Stdout.kind() == crate::sys::fds::FdKind::Terminal
                    || fds[1] != Fd::Terminal =>
            {
                Output::new(std::os::fd::AsFd::as_fd(screen))?
            }
            (_, true) => Output::standard(Standard::Stdout)?,
            (_, false) => Output::nowhere(),
        };
        Ok(Relay {
            plan,
            trace,
            echo: Downlink::new(Socket {
                socket: stdin.socket.try_clone()?,
                rest: stdin.rest,
                is_relayed,
            }),
            uplink: Uplink::new(stdin.socket),
            raw: Downlink::new(stdout),
            framed: Downlink::new(stderr),
            frames: Buffer::default(),
            input: if reads_stdin { Input::stdin()? } else { Input::None },
            stdout: output(1, Standard::Stdout)?,
            stderr: output(2, Standard::Stderr)?,
            screen_out,
            screen,
            greeted: false,
            title: Title::new(plan, std::env::var_os("TERM").as_deref()),
            raw_received: 0,
            deadly: Deadly::default(),
            last_sign: Instant::now(),
            pinged: false,
            pings_count_from: Instant::now(),
            relayed: Relayed::new(is_relayed),
            greet_by: Instant::now() + GREETING,
            last_output: Instant::now(),
            outcome: None,
        })
    }

    /// Runs to the end, and leaves terminal and stdin as they should be.
    ///
    /// # Errors
    /// Errors of the host's own descriptors.
    pub fn run(mut self, request: Request) -> io::Result<Outcome> {
        self.uplink.send(&ToAgent::Request(Box::new(request)));
        self.uplink.flush()?;
        self.end_input_if_none();

        let mut wanted: Vec<i32> = FORWARDED.to_vec();
        wanted.push(libc::SIGWINCH);
        // What the caller wants ignored (nohup) stays ignored, here and in the box.
        wanted.retain(|signal| !startup::was_ignored(*signal));
        let mut signals = Signals::catch(&wanted)?;
        let mut result = self.serve(&mut signals);
        self.finish(&mut result);
        signals.release();
        result
    }

    fn serve(&mut self, signals: &mut Signals) -> io::Result<Outcome> {
        loop {
            self.decode()?;
            self.flush_outputs();
            self.uplink.flush()?;
            if self.is_cut_short() {
                return Ok(Outcome::Truncated);
            }
            if self.is_finished() {
                if let Some(outcome) = self.outcome.take() {
                    return Ok(outcome);
                }
            }
            let mut set = PollSet::new();
            set.add(Key::Signals, std::os::fd::AsFd::as_fd(signals), Interest::Read);
            self.register(&mut set);
            set.wait(self.deadline())?;
            let [signalled, echo, raw, framed, stdin, keys] =
                [Key::Signals, Key::Echo, Key::Raw, Key::Framed, Key::Stdin, Key::Keys]
                    .map(|key| set.ready(key));
            let [stdout, stderr, screen_out] =
                [Key::Stdout, Key::Stderr, Key::ScreenOut].map(|key| set.ready(key));
            drop(set);

            if self.stdout.is_full() {
                self.last_output = Instant::now();
            }
            for (output, ready) in [
                (&mut self.stdout, stdout),
                (&mut self.stderr, stderr),
                (&mut self.screen_out, screen_out),
            ] {
                if ready.error {
                    output.give_up(None);
                } else if ready.any() {
                    output.note_room();
                }
            }
            if signalled.readable {
                while let Some(signal) = signals.take()? {
                    self.note_signal(signal)?;
                }
            }
            if keys.any() {
                self.pass_keys(keys.hangup)?;
            }
            if stdin.any() {
                self.pass_stdin()?;
            }
            if framed.any() && self.framed.receive()? {
                self.last_sign = Instant::now();
            }
            if raw.any() {
                self.receive_raw()?;
            }
            if let (Some(relayed), true) = (&mut self.relayed, framed.any() || raw.any()) {
                relayed.note_news();
            }
            if echo.any() {
                self.hear_echo()?;
            }
            self.note_time();
        }
    }

    /// When to look at the clock again.
    fn deadline(&self) -> Option<Instant> {
        let silence = (self.pinged && self.outcome.is_none()).then(|| self.last_sign + SILENCE);
        let greeting = (!self.greeted).then_some(self.greet_by);
        let late = self.waits_for_output().then(|| self.last_output + LATE_OUTPUT);
        let relayed = self.relayed.as_ref().map(Relayed::deadline);
        let given_up = self.gives_up().map(|(at, _)| at);
        [silence, greeting, late, relayed, given_up].into_iter().flatten().min()
    }

    pub(super) fn note_time(&mut self) {
        let now = Instant::now();
        if self.outcome.is_none() && !self.greeted && now >= self.greet_by {
            let said = crate::message::printable_bytes(self.last_words());
            self.outcome = Some(Outcome::Alien(match said.is_empty() {
                true => format!("it did not greet within {} s", GREETING.as_secs()),
                false => format!("it says: {said}"),
            }));
        } else if self.waits_for_output() && now >= self.last_output + LATE_OUTPUT {
            self.outcome = Some(Outcome::Truncated);
        } else if self.outcome.is_none() && self.pinged && now >= self.last_sign + SILENCE {
            self.outcome = Some(Outcome::Silent(SILENCE.as_secs()));
        }
        if let Some((_, signal)) = self.gives_up().filter(|(at, _)| now >= *at) {
            self.give_up_output(signal);
        }
        match self.relayed.as_mut().map(|relayed| relayed.due(self.echo.is_closed())) {
            Some(Due::Nudge) => self.uplink.pong(b""),
            Some(Due::Quiet) if self.outcome.is_none() => self.lose(),
            _ => {}
        }
    }

    /// When the run dies by which signal, should its output not be delivered by then.
    fn gives_up(&self) -> Option<(Instant, i32)> {
        self.outcome.as_ref().filter(|_| !self.is_finished())?;
        let is_late = self.waits_for_output();
        let due = [&self.stdout, &self.stderr, &self.screen_out].map(|output| {
            match output.is_idle() && !output.is_full() {
                true => None,
                false => Some(output.full_since()),
            }
        });
        let still = due
            .into_iter()
            .flatten()
            .try_fold(None, |latest, since| Some(latest.max(Some(since?))));
        self.deadly.gives_up(still.flatten().filter(|_| !is_late))
    }

    /// Dies by a signal that killed the command, or came later, without who reads nothing.
    fn give_up_output(&mut self, signal: i32) {
        if let Some(Outcome::Ended(exited)) = &mut self.outcome {
            exited.status = ExitStatus::Signal(signal);
            exited.stdout_bytes = self.raw_received;
        }
        // Else the daemon would go on trying to send it.
        self.raw.close();
        for output in [&mut self.stdout, &mut self.stderr, &mut self.screen_out] {
            if output.is_full() || !output.is_idle() {
                output.give_up(None);
                output.flush();
            }
        }
    }

    /// Whether only the daemon can bring what is still missing.
    fn waits_for_output(&self) -> bool {
        match &self.outcome {
            Some(Outcome::Ended(exited)) => {
                self.raw_received < exited.stdout_bytes && !self.stdout.is_full()
            }
            _ => false,
        }
    }

    fn receive_raw(&mut self) -> io::Result<()> {
        self.last_output = Instant::now();
        let moved = self.raw.move_to(&mut self.stdout)?;
        self.raw_received += moved as u64;
        if moved == 0 && !self.stdout.is_full() {
            self.raw.receive()?;
        }
        Ok(())
    }

    fn register<'fd>(&'fd self, set: &mut PollSet<'fd, Key>) {
        use std::os::fd::AsFd;
        if self.uplink.is_waiting() {
            set.add(Key::Uplink, self.uplink.as_fd(), Interest::Write);
        }
        if !self.echo.is_closed() {
            set.add(Key::Echo, self.echo.as_fd(), Interest::Read);
        }
        if self.raw.has_room() && !self.stdout.is_full() {
            set.add(Key::Raw, self.raw.as_fd(), Interest::Read);
        }
        if self.framed.has_room() {
            set.add(Key::Framed, self.framed.as_fd(), Interest::Read);
        }
        let outputs = [
            (Key::Stdout, &self.stdout),
            (Key::Stderr, &self.stderr),
            (Key::ScreenOut, &self.screen_out),
        ];
        for (key, output) in outputs {
            if let Some((fd, waits)) = output.poll_fd() {
                set.add(key, fd, if waits { Interest::Write } else { Interest::Hangup });
            }
        }
        let room = match self.plan.keyboard {
            Keyboard::Stdin => self.uplink.keys_room() > 0,
            _ => self.uplink.wants_stdin(),
        };
        if let (Some(fd), true, None) = (self.input.poll_fd(), room && self.greeted, &self.outcome)
        {
            set.add(Key::Stdin, fd, Interest::Read);
        }
        if let Some((fd, takes_keys)) = self.screen.as_ref().and_then(Screen::poll_fd) {
            let room = self.uplink.keys_room() > 0;
            set.add(
                Key::Keys,
                fd,
                if takes_keys && room { Interest::Read } else { Interest::Hangup },
            );
        }
    }

    /// Whether the stream of stdout ended before everything was there.
    fn is_cut_short(&self) -> bool {
        let nothing_waits = self.raw.decoder.waiting() == 0;
        let is_over = self.raw.decoder.has_ended() || (self.raw.is_closed() && nothing_waits);
        self.waits_for_output() && is_over
    }

    /// Whether the outcome is known and all output before it is delivered.
    fn is_finished(&self) -> bool {
        let frames_done = self.stderr.is_idle() && self.screen_out.is_idle();
        match &self.outcome {
            None => false,
            Some(Outcome::Ended(exited)) => {
                let all_here = self.raw_received >= exited.stdout_bytes || self.raw.is_over();
                all_here && self.stdout.is_idle() && frames_done
            }
            Some(_) => frames_done,
        }
    }

    fn flush_outputs(&mut self) {
        self.stdout.flush();
        self.stderr.flush();
        self.screen_out.flush();
        for (output, stream, window) in [
            (&mut self.stderr, Stream::Stderr, STDERR_WINDOW),
            (&mut self.screen_out, Stream::Screen, SCREEN_WINDOW),
        ] {
            let done = output.take_done(grant_from(window)).filter(|_| self.outcome.is_none());
            if let Some(done) = done {
                self.uplink.send(&ToAgent::Grant(stream, done as u32));
            }
        }
        if self.stdout.take_closed_news() {
            self.uplink.send(&ToAgent::OutputClosed(Fd1Or2::Stdout));
        }
        if self.stderr.take_closed_news() {
            self.uplink.send(&ToAgent::OutputClosed(Fd1Or2::Stderr));
        }
    }

    fn tell_screen(&mut self, text: Option<Vec<u8>>) {
        let Some(text) = text else { return };
        self.screen_out.push(&text);
        // Past the window's count: the agent granted nothing for it.
        self.screen_out.forget_done(text.len());
        self.screen_out.flush();
    }
}
