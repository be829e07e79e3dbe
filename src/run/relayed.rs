//! Runs of users of the restricted socket. There incus-user stands between, and when the daemon
//! closes a stream, it does not: it notices with the next that is sent there, and then closes all.
//! So now and then something is sent that means nothing.

use std::time::{Duration, Instant};

/// How often something is sent.
const NUDGE: Duration = Duration::from_secs(2);
/// How long the other streams may bring what is still on its way, once one is closed.
const QUIET: Duration = Duration::from_secs(1);

/// When to send something, and when a run is lost.
#[derive(Debug)]
pub struct Relayed {
    nudge_at: Instant,
    quiet_by: Option<Instant>,
}

/// What there is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// Nothing.
    Nothing,
    /// To send something.
    Nudge,
    /// The stream that is tried was closed, and nothing came of the others since.
    Quiet,
}

impl Relayed {
    /// For streams that are, or are not, relayed.
    pub fn new(is_relayed: bool) -> Option<Relayed> {
        is_relayed.then(|| Relayed { nudge_at: Instant::now() + NUDGE, quiet_by: None })
    }

    /// When to ask for what is due.
    pub fn deadline(&self) -> Instant {
        self.quiet_by.unwrap_or(self.nudge_at)
    }

    /// Something came.
    pub fn note_news(&mut self) {
        self.quiet_by = None;
    }

    /// What to do now. `is_closed` is whether the stream is closed that things are sent on.
    pub fn due(&mut self, is_closed: bool) -> Due {
        let now = Instant::now();
        if is_closed {
            let by = *self.quiet_by.get_or_insert(now + QUIET);
            if now < by {
                return Due::Nothing;
            }
            self.quiet_by = Some(now + QUIET);
            return Due::Quiet;
        }
        if now < self.nudge_at {
            return Due::Nothing;
        }
        self.nudge_at = now + NUDGE;
        Due::Nudge
    }
}
