//! `--verbose`: what was done, and when, in milliseconds since the start.

use std::time::Instant;

/// The steps of one run.
#[derive(Debug)]
pub struct Trace {
    began: Instant,
    is_on: bool,
}

impl Trace {
    /// Begins now; silent unless `is_on`.
    pub fn new(is_on: bool) -> Trace {
        Trace { began: Instant::now(), is_on }
    }

    /// Tells a step.
    pub fn note(&self, step: &str) {
        if self.is_on {
            let milliseconds = self.began.elapsed().as_secs_f64() * 1000.0;
            self.say(&format!("{milliseconds:8.2} ms  {step}"));
        }
    }

    /// Tells something that explains what happens, without a time.
    pub fn hint(&self, text: &str) {
        if self.is_on {
            self.say(text);
        }
    }

    fn say(&self, text: &str) {
        crate::message::say(super::PROGRAM, text);
    }
}
