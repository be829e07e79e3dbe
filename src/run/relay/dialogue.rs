//! What the agent says, and what is done about it.

use std::io;
use std::time::{Duration, Instant};

use super::{OLD_PINGS, Outcome, Relay};
use crate::agent::protocol::{self, FromAgent, MAGIC, PROTOCOL, Place, Stream, ToAgent};
use crate::buffer::Buffer;
use crate::incus::websocket::Event;
use crate::run::input::Input;
use crate::run::screen::Screen;
use crate::sys::fds::Standard;
use crate::sys::signals::{self, Stop};

/// What an agent that never greeted may say before it is cut short, in bytes.
const MOST_LAST_WORDS: usize = 4096;
/// How long it may take for them.
const LAST_WORDS: Duration = Duration::from_secs(2);

impl Relay<'_> {
    /// Takes in everything that has arrived.
    pub(super) fn decode(&mut self) -> io::Result<()> {
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
                    self.pinged = Instant::now() >= self.pings_count_from;
                    self.framed.pong(&payload);
                }
                Ok(Some(Event::End)) => self.lose(),
                Ok(None) if is_closed => self.lose(),
                Ok(None) => break,
                Err(error) => self.outcome = Some(Outcome::Broken(error.to_string())),
            }
        }
        Ok(())
    }

    /// Answers pings on the uplink's socket, between frames of ours.
    pub(super) fn hear_echo(&mut self) -> io::Result<()> {
        self.echo.receive()?;
        while let Ok(Some(Event::Ping(payload))) = self.echo.decoder.event() {
            self.uplink.pong(&payload);
        }
        Ok(())
    }

    /// What was said instead of a greeting.
    pub(super) fn last_words(&self) -> &[u8] {
        let said = self.frames.as_slice();
        &said[..said.len().min(MOST_LAST_WORDS)]
    }

    /// The stream of frames ended without a last word.
    pub(super) fn lose(&mut self) {
        let said = self.last_words().to_vec();
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
                    self.outcome = Some(Outcome::Broken(error.to_string()));
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
            // It may be about to say more, or to end; it has not for ever.
            self.greet_by = self.greet_by.min(Instant::now() + LAST_WORDS);
            if begin.len() >= MOST_LAST_WORDS {
                self.greet_by = Instant::now();
                self.note_time();
            }
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
            FromAgent::TerminalWanted(output) => {
                if let Some(screen) = &mut self.screen {
                    screen.want(output)?;
                }
                self.push_title();
                self.uplink.send(&ToAgent::TerminalReady);
            }
            FromAgent::Exited(exited) => {
                self.trace.note("the command ended");
                self.last_output = Instant::now();
                self.deadly.note_end(exited.status, exited.signals_taken, exited.spoke);
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
        self.title.begin();
        self.push_title();
        Ok(())
    }

    /// Tells the terminal that what follows happens in a box, if it is ours.
    fn push_title(&mut self) {
        if self.screen.as_ref().is_none_or(Screen::is_ours) {
            let text = self.title.push();
            self.tell_screen(text);
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

    /// The command was stopped: so are we, after what it wrote is shown.
    pub(super) fn stop(&mut self, signal: i32) -> io::Result<()> {
        self.flush_outputs();
        self.uplink.flush()?;
        let text = self.title.pop();
        self.tell_screen(text);
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
    pub(super) fn go_on(&mut self) -> io::Result<()> {
        // Nobody was listened to meanwhile.
        (self.last_sign, self.last_output) = (Instant::now(), Instant::now());
        // What nobody read for long the daemon pings no more.
        (self.pinged, self.pings_count_from) = (false, Instant::now() + OLD_PINGS);
        if let Some(screen) = &mut self.screen {
            screen.take_if_wanted()?;
        }
        self.push_title();
        self.pass_size();
        self.pass_signal(libc::SIGCONT);
        Ok(())
    }
}
