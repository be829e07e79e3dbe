//! The middle of a native run: Incus's pty or pipes, control messages, the answer to `/wait`.

mod downward;
mod giving_up;
mod intake;
mod out;

use std::io;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use crate::agent::protocol::Fd;
use crate::deadly::{DEADLY, Deadly};
use crate::incus::Client;
use crate::incus::streams::Stream;
use crate::incus::types::Operation;
use crate::incus::websocket;
use crate::run::downlink::Downlink;
use crate::run::input::Input;
use crate::run::output::Output;
use crate::run::plan::{Keyboard, Plan};
use crate::run::relay::{FORWARDED, SILENCE};
use crate::run::relayed::{Due, Relayed};
use crate::run::screen::Screen;
use crate::sys::fds::{Source, Standard};
use crate::sys::poll::{Interest, PollSet};
use crate::sys::signals::Signals;
use crate::sys::startup;
use crate::sys::terminal::Terminal;
use out::Out;

/// Read at once from stdin or the keyboard.
const CHUNK: usize = 64 << 10;
/// No more is read while this much waits to be sent.
const WAITING: usize = 256 << 10;
/// What is taken in for a reader that reads nothing, of a command that ended after a signal that
/// kills: the daemon tells how it did when its output is out of the way.
const OUT_OF_THE_WAY: usize = 4 << 20;
/// After the command's end, how long its last output may take to arrive.
const LINGER: Duration = Duration::from_secs(5);

/// The open streams of a run.
pub enum Streams {
    /// Incus's pty: one stream both ways.
    Terminal {
        /// The terminal.
        terminal: Stream,
        /// Control messages.
        control: Stream,
    },
    /// Three pipes.
    Pipes {
        /// To the command's stdin.
        stdin: Stream,
        /// From its stdout.
        stdout: Stream,
        /// From its stderr.
        stderr: Stream,
        /// Control messages.
        control: Stream,
    },
}

/// How a native run went.
pub enum Outcome {
    /// The command ended.
    Ended(Ended),
    /// A signal killed the command or came after its end, and nobody takes the output.
    Killed(i32),
    /// The connection ended before the command did.
    Lost,
    /// The daemon says nothing any more.
    Silent(u64),
    /// What came is not of the form that the daemon gives it.
    Broken(String),
}

/// How a native run ended.
pub struct Ended {
    /// What `/wait` answered.
    pub operation: Operation,
    /// Whether the command wrote anything.
    pub had_output: bool,
    /// Whether some of it could not be written here.
    pub lost_output: bool,
    /// The signals that were passed on.
    pub forwarded: Vec<i32>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Key {
    Signals,
    Wait,
    In,
    Echo,
    Control,
    ControlIn,
    Down(usize),
    Output(usize),
    Stdin,
    Keys,
}

/// The middle of a native run.
pub struct NativeRelay {
    operation: String,
    has_terminal: bool,
    up: Out,
    /// What comes back on stdin's stream: pings.
    echo: Option<Downlink>,
    control: Out,
    control_in: Downlink,
    /// Streams from the daemon with the output that each goes to.
    down: Vec<(Downlink, Output)>,
    input: Input,
    input_is_over: bool,
    /// stdin is a terminal, and the command has none.
    reads_terminal: bool,
    /// Until when that terminal is left to another program.
    leaves_keys_until: Option<Instant>,
    /// What was sent last is a part of a line.
    is_in_line: bool,
    screen: Option<Screen>,
    had_output: bool,
    forwarded: Vec<i32>,
    deadly: Deadly,
    /// The last signal that is sent to end a program, and when it was passed on.
    told: Option<(Instant, i32)>,
    /// When the daemon closed the control stream.
    closed: Option<Instant>,
    last_sign: Instant,
    pinged: bool,
    pings_count_from: Instant,
    relayed: Option<Relayed>,
}

/// Where a run stands when it is over.
enum Progress {
    Done(Operation),
    Killed(i32),
    Lost,
    Silent,
    Broken(String),
}

impl NativeRelay {
    /// Prepares a relay over the open streams.
    ///
    /// # Errors
    /// When a standard descriptor or the terminal cannot be used.
    pub fn new(
        plan: &Plan,
        terminal: Option<Terminal>,
        operation: String,
        streams: Streams,
    ) -> io::Result<NativeRelay> {
        let input = match (plan.reads_stdin_natively(), Input::stdin()?) {
            (false, _) => Input::None,
            // Incus does not tell what the command took, so there is nothing to look at first.
            (true, Input::Peeked(_)) => Input::Plain(Source::new(Standard::Stdin.fd())?),
            (true, input) => input,
        };
        let mut echo = None;
        let is_relayed = match &streams {
            Streams::Terminal { control, .. } | Streams::Pipes { control, .. } => {
                control.is_relayed
            }
        };
        let (has_terminal, up, control, down) = match streams {
            Streams::Terminal { terminal, control } => {
                let up = terminal.socket.try_clone()?;
                (
                    true,
                    up,
                    control,
                    vec![(Downlink::new(terminal), Output::standard(Standard::Stdout)?)],
                )
            }
            Streams::Pipes { stdin, stdout, stderr, control } => {
                let output = |number: usize, standard: Standard| match plan.request.fds[number] {
                    Fd::Closed => Ok(Output::nowhere()),
                    _ => Output::standard(standard),
                };
                let down = vec![
                    (Downlink::new(stdout), output(1, Standard::Stdout)?),
                    (Downlink::new(stderr), output(2, Standard::Stderr)?),
                ];
                let up = stdin.socket.try_clone()?;
                echo = Some(Downlink::new(stdin));
                (false, up, control, down)
            }
        };
        let size = plan.request.terminal.map(|terminal| terminal.size).unwrap_or_default();
        let keyboard = match plan.keyboard {
            // Incus does not tell who asks for keys.
            Keyboard::AtOnce | Keyboard::OnDemand if plan.request.fds[0] == Fd::Terminal => {
                Keyboard::AtOnce
            }
            _ => Keyboard::None,
        };
        let mut screen = match terminal.filter(|_| has_terminal) {
            Some(terminal) => Some(Screen::new(terminal, keyboard, size)?),
            None => None,
        };
        if let Some(screen) = &mut screen {
            screen.take_if_wanted()?;
        }
        // In a run without a pty a terminal as stdin is just something to read.
        let reads_terminal = !has_terminal && plan.request.fds[0] == Fd::Terminal;
        let input =
            if reads_terminal { Input::Plain(Source::new(Standard::Stdin.fd())?) } else { input };
        Ok(NativeRelay {
            operation,
            has_terminal,
            up: Out::new(Some(up)),
            echo,
            control: Out::new(Some(control.socket.try_clone()?)),
            control_in: Downlink::new(control),
            down,
            input,
            input_is_over: false,
            reads_terminal,
            leaves_keys_until: None,
            is_in_line: false,
            screen,
            had_output: false,
            forwarded: Vec::new(),
            deadly: Deadly::default(),
            told: None,
            closed: None,
            last_sign: Instant::now(),
            // The daemon pings first thing on each stream.
            pinged: true,
            pings_count_from: Instant::now(),
            relayed: Relayed::new(is_relayed),
        })
    }

    /// Runs to the end.
    ///
    /// # Errors
    /// Errors of the host's own descriptors.
    pub fn run(mut self, client: &mut Client) -> io::Result<Outcome> {
        let mut wanted: Vec<i32> = FORWARDED.to_vec();
        wanted.push(libc::SIGWINCH);
        wanted.retain(|signal| !startup::was_ignored(*signal));
        let mut signals = Signals::catch(&wanted)?;
        let has_keys = self.screen.as_ref().is_some_and(Screen::has_keys);
        if matches!(self.input, Input::None) && !has_keys {
            self.end_input();
        }
        let result = self.serve(client, &mut signals);
        if let Some(screen) = &mut self.screen {
            screen.give_back();
        }
        if let Input::File { start, position } = self.input {
            let _not_seekable_any_more = self.input.leave_rest(position - start);
        }
        signals.release();
        let operation = match result? {
            Progress::Done(operation) => operation,
            Progress::Killed(signal) => return Ok(Outcome::Killed(signal)),
            Progress::Lost => return Ok(Outcome::Lost),
            Progress::Silent => return Ok(Outcome::Silent(SILENCE.as_secs())),
            Progress::Broken(what) => return Ok(Outcome::Broken(what)),
        };
        let mut lost_output = false;
        for ((_, output), name) in self.down.iter_mut().zip(["stdout", "stderr"]) {
            lost_output |= output.tell_error(name);
        }
        let (had_output, forwarded) = (self.had_output, self.forwarded);
        Ok(Outcome::Ended(Ended { operation, had_output, lost_output, forwarded }))
    }

    fn serve(&mut self, client: &mut Client, signals: &mut Signals) -> io::Result<Progress> {
        let mut ended: Option<Operation> = None;
        let mut deadline = None;
        loop {
            for index in 0..self.down.len() {
                match self.pass_down(index) {
                    Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                        return Ok(Progress::Broken(error.to_string()));
                    }
                    result => result?,
                }
            }
            self.up.flush()?;
            self.control.flush()?;
            let delivered =
                self.down.iter().all(|(link, output)| link.is_over() && output.is_idle());
            // Whoever reads here takes their time; that is not the daemon's.
            let is_held_up =
                self.down.iter().any(|(_, output)| output.is_full() || !output.is_idle());
            let timed_out =
                !is_held_up && deadline.is_some_and(|deadline| Instant::now() >= deadline);
            if let Some(operation) = ended.take_if(|_| delivered || timed_out) {
                return Ok(Progress::Done(operation));
            }
            let gives_up = self.gives_up(ended.is_some());
            if let Some((_, signal)) = gives_up.filter(|(at, _)| Instant::now() >= *at) {
                return Ok(Progress::Killed(signal));
            }
            let mut set = PollSet::new();
            set.add(Key::Signals, signals.as_fd(), Interest::Read);
            if ended.is_none() {
                set.add(Key::Wait, client.as_fd(), Interest::Read);
            }
            self.register(&mut set);
            let silence = self.pinged.then(|| self.last_sign + SILENCE);
            let patience = [deadline, silence].map(|until| until.filter(|_| !is_held_up));
            let relayed = self.relayed.as_ref().map(Relayed::deadline);
            let given_up = gives_up.map(|(at, _)| at);
            let others = [relayed, given_up, self.leaves_keys_until];
            set.wait(patience.into_iter().chain(others).flatten().min())?;
            let [signalled, wait, stdin, keys, control, echo] =
                [Key::Signals, Key::Wait, Key::Stdin, Key::Keys, Key::ControlIn, Key::Echo]
                    .map(|key| set.ready(key));
            let down: Vec<_> = (0..self.down.len())
                .map(|index| (set.ready(Key::Down(index)), set.ready(Key::Output(index))))
                .collect();
            drop(set);

            if is_held_up {
                self.last_sign = Instant::now();
                deadline = deadline.map(|_| Instant::now() + LINGER);
            }
            let makes_way = self.makes_way();
            for (index, (link_ready, output_ready)) in down.into_iter().enumerate() {
                let (link, output) = &mut self.down[index];
                if output_ready.error {
                    output.give_up(None);
                } else if output_ready.any() {
                    output.note_room();
                }
                if link_ready.any() {
                    let moved = link.move_to(output)?;
                    self.had_output |= moved > 0;
                    let takes = !output.is_full() || makes_way;
                    if moved > 0 || (takes && link.receive()?) {
                        self.last_sign = Instant::now();
                    }
                }
            }
            if signalled.readable {
                while let Some(signal) = signals.take()? {
                    let is_over = ended.is_some() || self.control_in.is_closed();
                    match is_over && DEADLY.contains(&signal) {
                        true => self.deadly.note_after_end(signal),
                        false => self.note_signal(signal)?,
                    }
                }
                // It may have stopped us for long.
                deadline = deadline.map(|_| Instant::now() + LINGER);
            }
            if control.any() {
                self.pass_control()?;
            }
            if self.pinged && self.last_sign.elapsed() >= SILENCE {
                return Ok(Progress::Silent);
            }
            if echo.any() {
                self.hear_echo()?;
            }
            self.leaves_keys_until.take_if(|until| *until <= Instant::now());
            if stdin.any() {
                self.pass_stdin()?;
            }
            if keys.any() {
                self.pass_keys(keys.hangup)?;
            }
            if wait.any() {
                let doing = "waiting for the command's end";
                let operation = &self.operation;
                match client.try_receive(doing).and_then(|answer| {
                    answer.map(|answer| client.ended(doing, operation, &answer)).transpose()
                }) {
                    Ok(None) => {}
                    Ok(Some(operation)) => {
                        self.note_end(&operation);
                        ended = Some(operation);
                        deadline = Some(Instant::now() + LINGER);
                    }
                    Err(crate::incus::Error::Malformed { what, .. }) => {
                        return Ok(Progress::Broken(what));
                    }
                    Err(_) => return Ok(Progress::Lost),
                }
            }
            match self.relayed.as_mut().map(|relayed| relayed.due(self.control_in.is_closed())) {
                Some(Due::Nudge) => websocket::pong(self.control.outbox.tail(), b""),
                // What the command wrote may still be on its way, for long.
                Some(Due::Quiet)
                    if ended.is_none()
                        && client.look_at("asking what it does", &self.operation).is_err() =>
                {
                    return Ok(Progress::Lost);
                }
                _ => {}
            }
        }
    }

    fn register<'fd>(&'fd self, set: &mut PollSet<'fd, Key>) {
        if let Some(fd) = self.up.poll_fd() {
            set.add(Key::In, fd, Interest::Write);
        }
        if let Some(echo) = self.echo.as_ref().filter(|echo| !echo.is_closed()) {
            set.add(Key::Echo, echo.as_fd(), Interest::Read);
        }
        if let Some(fd) = self.control.poll_fd() {
            set.add(Key::Control, fd, Interest::Write);
        }
        if !self.control_in.is_closed() {
            set.add(Key::ControlIn, self.control_in.as_fd(), Interest::Read);
        }
        for (index, (link, output)) in self.down.iter().enumerate() {
            if link.has_room() && self.takes(output) {
                set.add(Key::Down(index), link.as_fd(), Interest::Read);
            }
            if let Some((fd, waits)) = output.poll_fd() {
                set.add(
                    Key::Output(index),
                    fd,
                    if waits { Interest::Write } else { Interest::Hangup },
                );
            }
        }
        if self.input_is_over || self.up.outbox.len() >= WAITING {
            return;
        }
        if let (Some(fd), None) = (self.input.poll_fd(), self.leaves_keys_until) {
            set.add(Key::Stdin, fd, Interest::Read);
        }
        if let Some((fd, takes_keys)) = self.screen.as_ref().and_then(Screen::poll_fd) {
            set.add(Key::Keys, fd, if takes_keys { Interest::Read } else { Interest::Hangup });
        }
    }
}
