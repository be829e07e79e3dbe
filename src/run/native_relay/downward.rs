//! What comes from the daemon in a native run: output, pings, the end of the control stream.

use std::io;
use std::time::Instant;

use super::{NativeRelay, OUT_OF_THE_WAY};
use crate::incus::websocket::{self, Event};
use crate::sys::fds::{FdKind, Standard};

impl NativeRelay {
    /// Passes one stream of the daemon's on.
    pub(super) fn pass_down(&mut self, index: usize) -> io::Result<()> {
        let makes_way = self.makes_way();
        let (link, output) = &mut self.down[index];
        output.flush();
        if output.take_closed_news() {
            // Nobody reads: incusd's next write fails, and the command gets SIGPIPE from its own.
            link.close();
            return Ok(());
        }
        let before_end = !link.is_over();
        while !output.is_full() || (makes_way && output.waiting() < OUT_OF_THE_WAY) {
            match link.decoder.event()? {
                Some(Event::Data(data)) => {
                    self.had_output = true;
                    let mut scratch = Vec::new();
                    let shown = match &self.screen {
                        Some(screen) if !screen.is_taken() && is_terminal(Standard::Stdout) => {
                            screen.filter(data, &mut scratch)
                        }
                        _ => data,
                    };
                    let count = match output.is_full() || shown.len() < data.len() {
                        true => {
                            output.push(shown);
                            data.len()
                        }
                        false => output.write(shown),
                    };
                    link.decoder.consume(count);
                }
                // On a pty's stream frames of ours may be half written.
                Some(Event::Ping(payload)) if self.has_terminal => {
                    websocket::pong(self.up.outbox.tail(), &payload);
                }
                Some(Event::Ping(payload)) => link.pong(&payload),
                Some(Event::End) | None => break,
            }
        }
        if before_end && link.decoder.has_ended() && self.has_terminal {
            // incusd waits for our side of its barrier.
            websocket::end_of_stream(self.up.outbox.tail());
            self.input_is_over = true;
        }
        Ok(())
    }

    /// Answers pings on the control stream, between messages of ours.
    pub(super) fn pass_control(&mut self) -> io::Result<()> {
        if self.control_in.receive()? {
            self.last_sign = Instant::now();
        }
        if self.control_in.is_closed() {
            self.closed.get_or_insert_with(Instant::now);
        }
        while let Ok(Some(Event::Ping(payload))) = self.control_in.decoder.event() {
            self.pinged = Instant::now() >= self.pings_count_from;
            websocket::pong(self.control.outbox.tail(), &payload);
        }
        Ok(())
    }

    /// Answers pings on stdin's stream, between frames of ours.
    pub(super) fn hear_echo(&mut self) -> io::Result<()> {
        let Some(echo) = &mut self.echo else { return Ok(()) };
        echo.receive()?;
        while let Ok(Some(Event::Ping(payload))) = echo.decoder.event() {
            websocket::pong(self.up.outbox.tail(), &payload);
        }
        Ok(())
    }
}

fn is_terminal(output: Standard) -> bool {
    output.kind() == FdKind::Terminal
}
