//! What happens to instances, told by the daemon as it happens.
//!
//! Source of the shape: lxc/incus 6.0.4, `shared/api/event.go`, `doc/events.md`.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use serde::Deserialize;

use super::client::{Client, PATIENCE};
use super::command::Down;
use super::error::Error;
use super::streams::{Stream, await_grant};
use super::websocket;
use super::wire::{broken, write_all};

/// More than this is no event, in bytes.
const MOST_EVENT: usize = 1 << 20;
/// How often a connection through incus-user is tried.
const NUDGE: Duration = Duration::from_secs(10);
const DOING: &str = "following what happens to boxes";

/// What happens in a project.
pub struct Events {
    down: Down,
    bytes: Vec<u8>,
    /// When to send something through incus-user, which would else not tell that the daemon is gone.
    nudge_at: Option<Instant>,
}

#[derive(Deserialize)]
struct Event {
    metadata: Lifecycle,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Lifecycle {
    /// What, as `instance-started`.
    pub action: String,
    /// To what, as `/1.0/instances/dev`.
    #[serde(default)]
    pub source: String,
}

impl Lifecycle {
    /// The instance that it is about.
    pub fn instance(&self) -> Option<&str> {
        let name = self.source.strip_prefix("/1.0/instances/")?;
        name.split(['/', '?']).next()
    }
}

impl Client {
    /// Follows what happens in the client's project.
    ///
    /// # Errors
    /// Everything in [`Error`].
    pub fn events(&self) -> Result<Events, Error> {
        let deadline = Instant::now() + PATIENCE;
        let target = self.target("/1.0/events", "type=lifecycle");
        let mut socket = self.daemon.connect().map_err(|source| broken(DOING, source))?;
        let (request, key) = websocket::upgrade(&target);
        write_all(&mut socket, &request).map_err(|source| broken(DOING, source))?;
        let mut rest = Vec::new();
        await_grant(&mut socket, &mut rest, &key, DOING, deadline)?;
        let is_relayed = self.daemon.restricted;
        let down = Down::of_messages(Stream { socket, rest, is_relayed });
        Ok(Events { down, bytes: Vec::new(), nudge_at: is_relayed.then(|| Instant::now() + NUDGE) })
    }
}

impl Events {
    /// What happened since the last time; what is none of it is passed over.
    ///
    /// # Errors
    /// When the connection is gone.
    pub fn take(&mut self) -> Result<Vec<Lifecycle>, Error> {
        let bytes = &mut self.bytes;
        let received = self.down.receive(|data| bytes.extend_from_slice(data));
        received.map_err(|source| broken(DOING, source))?;
        let events = take_events(bytes);
        if bytes.len() > MOST_EVENT {
            let what = "an event has no end".to_owned();
            return Err(Error::Malformed { doing: DOING, what });
        }
        match self.down.is_over() {
            true => Err(Error::Closed { doing: DOING }),
            false => Ok(events),
        }
    }
}

impl Events {
    /// When to call [`Events::nudge`].
    pub fn deadline(&self) -> Option<Instant> {
        self.nudge_at
    }

    /// Finds out whether the daemon is gone, where that is not told; then the connection ends.
    pub fn nudge(&mut self) {
        let now = Instant::now();
        if self.nudge_at.is_some_and(|at| now >= at) {
            self.down.pong(b"");
            self.nudge_at = Some(now + NUDGE);
        }
    }
}

impl AsFd for Events {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.down.as_fd()
    }
}

/// Takes whole events; a half one stays.
fn take_events(bytes: &mut Vec<u8>) -> Vec<Lifecycle> {
    let mut values = serde_json::Deserializer::from_slice(bytes).into_iter::<serde_json::Value>();
    let (mut events, mut used) = (Vec::new(), 0);
    let mut is_broken = false;
    loop {
        match values.next() {
            Some(Ok(value)) => {
                used = values.byte_offset();
                events.extend(Event::deserialize(value).map(|event| event.metadata));
            }
            Some(Err(error)) => {
                is_broken = !error.is_eof();
                break;
            }
            None => break,
        }
    }
    // What is no JSON would stand in the way of all that follows.
    bytes.drain(..if is_broken { bytes.len() } else { used });
    events
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_taken_one_by_one_and_a_half_one_waits() {
        let one = r#"{"type":"lifecycle","metadata":{"action":"instance-started","source":"/1.0/instances/a%20b?project=p"}}"#;
        let other = r#"{"type":"logging","metadata":{"message":"x"}}"#;
        let mut bytes = format!("{one}\n{other}{}", &one[..20]).into_bytes();
        let events = take_events(&mut bytes);
        assert_eq!(events.len(), 1);
        assert_eq!((&*events[0].action, events[0].instance()), ("instance-started", Some("a%20b")));
        assert_eq!(bytes, &one.as_bytes()[..20]);
        bytes.extend_from_slice(&one.as_bytes()[20..]);
        assert_eq!((take_events(&mut bytes).len(), bytes.len()), (1, 0));
        bytes.extend_from_slice(b"nonsense");
        assert_eq!((take_events(&mut bytes).len(), bytes.len()), (0, 0));
    }
}
