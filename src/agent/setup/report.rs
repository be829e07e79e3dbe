//! What we say while we work: a JSON object on a line each, written at once.

use super::failure::Failure;
use crate::agent::protocol::setup::SetupEvent;

/// More of one line than this helps nobody, and the host reads lines into memory.
const MOST_BYTES_OF_A_LINE: usize = 4096;

/// Where events go.
pub struct Report<'a> {
    sink: &'a mut dyn FnMut(&SetupEvent) -> bool,
    step: String,
    is_heard: bool,
}

impl<'a> Report<'a> {
    /// A report that hands each event to `sink`, which tells whether somebody still listens.
    pub fn new(sink: &'a mut dyn FnMut(&SetupEvent) -> bool) -> Report<'a> {
        Report { sink, step: "request".to_owned(), is_heard: true }
    }

    /// A step begins.
    ///
    /// # Errors
    /// Nobody listens: nothing new shall be begun.
    pub fn step(&mut self, step: &str) -> Result<(), Failure> {
        step.clone_into(&mut self.step);
        self.say(&SetupEvent::Step(step.to_owned()));
        if self.is_heard { Ok(()) } else { Err(Failure::Unheard) }
    }

    /// A line that a program wrote.
    pub fn output(&mut self, line: &[u8]) {
        let line = &line[..line.len().min(MOST_BYTES_OF_A_LINE)];
        self.say(&SetupEvent::Output(String::from_utf8_lossy(line).into_owned()));
    }

    /// Something is not as it was asked for.
    pub fn warning(&mut self, text: impl Into<String>) {
        self.say(&SetupEvent::Warning(text.into()));
    }

    /// The last word.
    pub fn end(
        &mut self,
        result: Result<crate::agent::protocol::setup::SetupResult, Failure>,
    ) -> bool {
        let is_success = result.is_ok();
        let event = match result {
            Ok(result) => SetupEvent::Done(result),
            Err(failure) => {
                SetupEvent::Failed { step: self.step.clone(), text: failure.to_string() }
            }
        };
        self.say(&event);
        is_success && self.is_heard
    }

    /// What a program is in the middle of when the host goes is brought to its end; only then does
    /// the next step find out.
    fn say(&mut self, event: &SetupEvent) {
        self.is_heard = self.is_heard && (self.sink)(event);
    }
}
