//! The middle of a run by the agent: bytes both ways, signals, sizes, until the command ended.

use std::ffi::OsStr;
use std::io::{self, Write};
use std::time::{Duration, Instant};

use super::downlink::Downlink;
use super::input::Input;
use super::output::Output;
use super::plan::{Keyboard, Plan};
use super::screen::Screen;
use super::trace::Trace;
use super::uplink::Uplink;
use crate::agent::protocol::{
    self, Exited, Failure, Fd, Fd1Or2, FromAgent, MAGIC, PROTOCOL, Place, Stream, ToAgent,
};
use crate::buffer::Buffer;
use crate::incus::client::Stream as Socket;
use crate::incus::websocket::Event;
use crate::sys::fds::{Got, Standard};
use crate::sys::poll::{Interest, PollSet};
use crate::sys::signals::{self, Signals, Stop};
use crate::sys::{startup, terminal::Terminal};

/// Without a sign of life for this long the daemon is given up. It pings every 10 s.
const SILENCE: Duration = Duration::from_secs(60);
/// How long the daemon may take to close its side after the end.
const SETTLE: Duration = Duration::from_secs(1);
/// What an agent that never greeted may say before it is cut short, in bytes.
const MOST_LAST_WORDS: usize = 4096;

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
    /// Something greeted that is not our agent.
    Alien(String),
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
    pushed_title: bool,
    raw_received: u64,
    last_sign: Instant,
    pinged: bool,
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
        let fds = plan.request.fds;
        let reads_stdin = fds[0] == Fd::Pipe || plan.keyboard == Keyboard::Stdin;
        let output = |number: usize, standard| match fds[number] {
            Fd::Pipe => Output::standard(standard),
            Fd::Terminal | Fd::Null | Fd::Closed => Ok(Output::nowhere()),
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
            echo: Downlink::new(Socket { socket: stdin.socket.try_clone()?, rest: stdin.rest }),
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
            pushed_title: false,
            raw_received: 0,
            last_sign: Instant::now(),
            pinged: false,
            outcome: None,
        })
    }

    /// Runs to the end, and leaves terminal and stdin as they should be.
    ///
    /// # Errors
    /// Errors of the host's own descriptors.
    pub fn run(mut self, install_as: Option<&str>) -> io::Result<Outcome> {
        let mut request = self.plan.request.clone();
        request.install_as = install_as.map(|path| path.as_bytes().to_vec());
        self.uplink.send(&ToAgent::Request(Box::new(request)));
        self.uplink.flush()?;
        self.end_stdin_if_none();

        let mut wanted: Vec<i32> = FORWARDED.to_vec();
        wanted.push(libc::SIGWINCH);
        // What the caller wants ignored (nohup) stays ignored, here and in the box.
        wanted.retain(|signal| !startup::was_ignored(*signal));
        let mut signals = Signals::catch(&wanted)?;
        let result = self.serve(&mut signals);
        self.finish(&result);
        signals.release();
        result
    }

    fn end_stdin_if_none(&mut self) {
        if self.plan.request.fds[0] == Fd::Pipe && matches!(self.input, Input::None) {
            self.uplink.send(&ToAgent::StdinEnd);
        }
    }

    fn serve(&mut self, signals: &mut Signals) -> io::Result<Outcome> {
        loop {
            self.decode()?;
            self.flush_outputs();
            self.uplink.flush()?;
            if self.is_finished() {
                if let Some(outcome) = self.outcome.take() {
                    return Ok(outcome);
                }
            }
            let mut set = PollSet::new();
            set.add(Key::Signals, std::os::fd::AsFd::as_fd(signals), Interest::Read);
            self.register(&mut set);
            set.wait(self.pinged.then(|| self.last_sign + SILENCE))?;
            let [signalled, echo, raw, framed, stdin, keys] =
                [Key::Signals, Key::Echo, Key::Raw, Key::Framed, Key::Stdin, Key::Keys]
                    .map(|key| set.ready(key));
            let [stdout, stderr, screen_out] =
                [Key::Stdout, Key::Stderr, Key::ScreenOut].map(|key| set.ready(key));
            drop(set);

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
                self.raw.receive()?;
            }
            if echo.any() {
                self.hear_echo()?;
            }
            if self.pinged && self.last_sign.elapsed() >= SILENCE {
                return Ok(Outcome::Silent(SILENCE.as_secs()));
            }
        }
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

    /// Takes in everything that has arrived.
    fn decode(&mut self) -> io::Result<()> {
        self.decode_raw()?;
        while self.outcome.is_none() {
            let is_closed = self.framed.is_closed();
            match self.framed.decoder.event() {
                Ok(Some(Event::Data(data))) => {
                    self.frames.push(data);
                    let count = data.len();
                    self.framed.decoder.consume(count);
                    self.take_frames()?;
                }
                Ok(Some(Event::Ping(payload))) => {
                    self.pinged = true;
                    self.framed.pong(&payload);
                }
                Ok(Some(Event::End)) => self.lose(),
                Ok(None) if is_closed => self.lose(),
                Ok(None) => break,
                Err(error) => self.outcome = Some(Outcome::Alien(error.to_string())),
            }
        }
        Ok(())
    }

    /// Answers pings on the uplink's socket, between frames of ours.
    fn hear_echo(&mut self) -> io::Result<()> {
        self.echo.receive()?;
        while let Ok(Some(Event::Ping(payload))) = self.echo.decoder.event() {
            self.uplink.pong(&payload);
        }
        Ok(())
    }

    /// The stream of frames ended without a last word.
    fn lose(&mut self) {
        let said = self.frames.as_slice();
        let said = said[..said.len().min(MOST_LAST_WORDS)].to_vec();
        self.outcome = Some(if self.greeted { Outcome::Lost } else { Outcome::NoAgent(said) });
    }

    fn decode_raw(&mut self) -> io::Result<()> {
        loop {
            match self.raw.decoder.event() {
                Ok(Some(Event::Data(data))) => {
                    if self.stdout.is_full() {
                        return Ok(());
                    }
                    let count = self.stdout.write(data);
                    self.raw.decoder.consume(count);
                    self.raw_received += count as u64;
                }
                Ok(Some(Event::Ping(payload))) => self.raw.pong(&payload),
                Ok(Some(Event::End) | None) => return Ok(()),
                Err(error) => {
                    self.outcome = Some(Outcome::Alien(error.to_string()));
                    return Ok(());
                }
            }
        }
    }

    fn take_frames(&mut self) -> io::Result<()> {
        // Before the greeting: anything else is no agent, however it goes on.
        let begin = self.frames.as_slice();
        let expected = begin.get(protocol::HEADER..).unwrap_or_default();
        let common = expected.len().min(MAGIC.len());
        if !self.greeted && (begin.first() != Some(&0xb0) || expected[..common] != MAGIC[..common])
        {
            return Ok(());
        }
        let mut frames = std::mem::take(&mut self.frames);
        let result = self.take_whole_frames(&mut frames);
        self.frames = frames;
        result
    }

    fn take_whole_frames(&mut self, frames: &mut Buffer) -> io::Result<()> {
        while self.outcome.is_none() {
            let message = match protocol::split(frames.as_slice()) {
                Ok(None) => break,
                Ok(Some((kind, payload, used))) => {
                    protocol::decode_from_agent(kind, payload).map(|message| (message, used))
                }
                Err(error) => Err(error),
            };
            match message {
                Ok((message, used)) => {
                    self.obey(message)?;
                    frames.consume(used);
                }
                Err(error) => self.outcome = Some(Outcome::Alien(error.to_string())),
            }
        }
        Ok(())
    }

    /// Does what the agent says.
    fn obey(&mut self, message: FromAgent<'_>) -> io::Result<()> {
        match message {
            FromAgent::Hello(PROTOCOL) => {
                self.greeted = true;
                self.trace.note("the agent greets");
            }
            FromAgent::Hello(other) => {
                let why = format!("it speaks protocol {other}, we speak {PROTOCOL}");
                self.outcome = Some(Outcome::Alien(why));
            }
            FromAgent::Started(place) => self.start(place)?,
            FromAgent::Stderr(data) => self.stderr.push(data),
            FromAgent::Screen(data) => {
                let mut scratch = Vec::new();
                let shown = match &self.screen {
                    Some(screen) => screen.filter(data, &mut scratch),
                    None => data,
                };
                self.screen_out.push(shown);
                // The window counts what arrived, not what is left of it.
                self.screen_out.add_done(data.len() - shown.len());
            }
            FromAgent::Grant(stream, bytes) => {
                self.uplink.grant(stream, bytes);
                if stream == Stream::Stdin {
                    self.input.note_grant(bytes)?;
                    // What was beyond the window before is no news to the pipe.
                    if matches!(self.input, Input::Peeked(_)) && self.uplink.wants_stdin() {
                        self.pass_stdin()?;
                    }
                }
            }
            FromAgent::InputClosed => self.close_input(),
            FromAgent::Stopped(signal) => self.stop(signal)?,
            FromAgent::TerminalWanted => {
                if let Some(screen) = &mut self.screen {
                    screen.want()?;
                }
            }
            FromAgent::Exited(exited) => {
                self.trace.note("the command ended");
                self.outcome = Some(Outcome::Ended(exited));
            }
            FromAgent::Failed(failure) => self.outcome = Some(Outcome::Failed(failure)),
        }
        Ok(())
    }

    fn start(&mut self, place: Place) -> io::Result<()> {
        self.trace.note("the command runs");
        if place != Place::Asked {
            let asked = String::from_utf8_lossy(&self.plan.request.directory).into_owned();
            let instead = if place == Place::Home { "the home directory" } else { "/" };
            self.trace.hint(&format!("the box has no `{asked}`, so it starts in {instead}"));
        }
        if let Some(screen) = &mut self.screen {
            screen.take_if_wanted()?;
        }
        self.push_title();
        Ok(())
    }

    fn flush_outputs(&mut self) {
        self.stdout.flush();
        self.stderr.flush();
        self.screen_out.flush();
        for (output, stream) in
            [(&mut self.stderr, Stream::Stderr), (&mut self.screen_out, Stream::Screen)]
        {
            let done = output.take_done();
            if done > 0 && self.outcome.is_none() {
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

    fn pass_stdin(&mut self) -> io::Result<()> {
        if self.plan.keyboard == Keyboard::Stdin {
            let mut keys = Vec::new();
            return match self.input.read(&mut keys, self.uplink.keys_room())? {
                Got::Bytes(_) => {
                    self.uplink.send_keys(&keys);
                    self.input.read_ahead()
                }
                Got::Nothing => Ok(()),
                Got::End => {
                    self.input = Input::None;
                    self.uplink.send(&ToAgent::KeysEnd);
                    Ok(())
                }
            };
        }
        // Until nothing is left: a pipe that is only looked into tells of news once.
        let mut got = self.uplink.send_stdin(&mut self.input);
        while matches!((&got, &self.input), (Ok(Got::Bytes(_)), Input::Peeked(_)))
            && self.uplink.wants_stdin()
        {
            got = self.uplink.send_stdin(&mut self.input);
        }
        match got {
            Ok(Got::Bytes(_) | Got::Nothing) => Ok(()),
            Ok(Got::End) => {
                // What was read stays known: some of it may have to be put back.
                self.uplink.send(&ToAgent::StdinEnd);
                self.uplink.no_more_stdin();
                Ok(())
            }
            Err(error) => {
                // A directory, a broken disk: the command sees the end, the user sees why.
                crate::message::say(super::PROGRAM, format!("reading stdin: {error}"));
                self.uplink.send(&ToAgent::StdinEnd);
                self.input = Input::None;
                Ok(())
            }
        }
    }

    /// The command closed its stdin: so do we, that whoever writes to us notices.
    fn close_input(&mut self) {
        if matches!(self.input, Input::Plain(_)) {
            self.input = Input::None;
            let _stays_open = Standard::Stdin.release();
        }
        self.uplink.no_more_stdin();
    }

    fn pass_keys(&mut self, hung_up: bool) -> io::Result<()> {
        let Some(screen) = &mut self.screen else { return Ok(()) };
        let mut keys = Vec::new();
        let got = if screen.is_taken() {
            screen.read_keys(&mut keys, self.uplink.keys_room())?
        } else if hung_up {
            screen.hang_up();
            Got::End
        } else {
            Got::Nothing
        };
        match got {
            Got::Bytes(_) => self.uplink.send_keys(&keys),
            Got::Nothing => {}
            Got::End => self.uplink.send(&ToAgent::Hangup),
        }
        Ok(())
    }

    fn note_signal(&mut self, signal: i32) -> io::Result<()> {
        match signal {
            libc::SIGWINCH => self.pass_size(),
            libc::SIGCONT => self.go_on()?,
            _ => self.uplink.send(&ToAgent::Signal(signal)),
        }
        Ok(())
    }

    fn pass_size(&mut self) {
        if let Some(size) = self.screen.as_mut().and_then(Screen::changed_size) {
            self.uplink.send(&ToAgent::Resize(size));
        }
    }

    /// The command was stopped: so are we, after what it wrote is shown.
    fn stop(&mut self, signal: i32) -> io::Result<()> {
        self.flush_outputs();
        self.uplink.flush()?;
        let mut who = Stop::Process;
        if let Some(screen) = &mut self.screen {
            if screen.is_taken() {
                // ^Z went to the box as a key; here it is for everybody in our group, as locally.
                who = Stop::Group;
            }
            screen.give_back();
        }
        signals::stop_by(signal, who);
        self.go_on()
    }

    /// We were continued: so is the command.
    fn go_on(&mut self) -> io::Result<()> {
        if let Some(screen) = &mut self.screen {
            screen.take_if_wanted()?;
        }
        self.pass_size();
        self.uplink.send(&ToAgent::Signal(libc::SIGCONT));
        Ok(())
    }

    /// Tells the terminal that what follows happens in a box (OSC 777, as toolbox does).
    fn push_title(&mut self) {
        let term = std::env::var_os("TERM");
        if self.plan.is_interactive && !super::environment::is_dumb(term.as_deref().map(OsStr::new))
        {
            self.pushed_title = true;
            let name = String::from_utf8_lossy(&self.plan.request.box_name);
            let text = format!("\x1b]777;container;push;{name};incusbox\x1b\\");
            // Past the window's count: the agent granted nothing for it.
            self.write_to_screen(text.as_bytes());
        }
    }

    fn write_to_screen(&mut self, bytes: &[u8]) {
        self.screen_out.push(bytes);
        self.screen_out.forget_done(bytes.len());
    }

    fn finish(&mut self, result: &io::Result<Outcome>) {
        if self.pushed_title {
            self.write_to_screen(b"\x1b]777;container;pop;;\x1b\\");
            self.screen_out.flush();
        }
        if let Some(screen) = &mut self.screen {
            screen.give_back();
        }
        if let Ok(Outcome::Ended(exited)) = result {
            if let Err(error) = self.input.leave_rest(exited.stdin_taken) {
                crate::message::say(super::PROGRAM, format!("putting stdin back: {error}"));
            }
            for (output, name) in [(&mut self.stdout, "stdout"), (&mut self.stderr, "stderr")] {
                if let Some(error) = output.take_error() {
                    crate::message::say(super::PROGRAM, format!("writing {name}: {error}"));
                }
            }
        }
        let _nobody_to_tell = io::stdout().flush();
        if matches!(result, Ok(Outcome::Ended(_) | Outcome::Failed(_))) {
            self.settle();
        }
    }

    /// Lets the daemon close first: it logs a warning for every client that leaves before.
    fn settle(&mut self) {
        let deadline = Instant::now() + SETTLE;
        while !self.framed.is_closed() && Instant::now() < deadline {
            let mut set = PollSet::new();
            set.add((), std::os::fd::AsFd::as_fd(&self.framed), Interest::Read);
            if set.wait(Some(deadline)).is_err() {
                return;
            }
            drop(set);
            while self.framed.receive().is_ok_and(|received| received) {}
        }
        self.trace.note("the daemon closed");
    }
}
