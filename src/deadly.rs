//! Signals that kill, and what becomes of output that nobody takes then.
//!
//! A command of the host's dies by such a signal at once, even where it waits for a reader; the
//! reader finds what is in the pipe. In a run much more may be on its way between the command and
//! that pipe, and its reader may rest for hours, as a pager does. So what waits for its reader is given
//! up after [`PATIENCE`], where the command died by a signal that was passed on to it, or had ended
//! before the signal came; what has not moved for that long already, at once. What waits for the
//! daemon or the machine is none of that, until a second signal asks for it. A command that catches the
//! signal, and ends by itself or says something first, is waited for.

use std::time::{Duration, Instant};

use crate::exit::ExitStatus;

/// The signals that are sent to end a program.
pub const DEADLY: &[i32] = &[libc::SIGHUP, libc::SIGINT, libc::SIGQUIT, libc::SIGTERM];
/// How long output may wait for its reader, or stand still, before it is given up.
pub const PATIENCE: Duration = Duration::from_secs(1);

/// The signals that came to a run, and the end of its command.
#[derive(Debug, Default)]
pub struct Deadly {
    /// The signals that were passed on.
    passed_on: Vec<i32>,
    /// The first of those to end a program that came after the command's end, and when.
    after_end: Option<(Instant, i32)>,
    /// The signal that killed the command, and when that was known.
    killed: Option<(Instant, i32)>,
    /// When another one came then.
    urgent: Option<Instant>,
}

impl Deadly {
    /// Notes a signal that was passed on to the command.
    pub fn note_passed_on(&mut self, signal: i32) {
        self.passed_on.push(signal);
    }

    /// Notes a signal that came when the command had ended, and is for the run alone.
    pub fn note_after_end(&mut self, signal: i32) {
        if DEADLY.contains(&signal) {
            if self.killed.or(self.after_end).is_some() {
                self.urgent.get_or_insert_with(Instant::now);
            }
            self.after_end.get_or_insert_with(|| (Instant::now(), signal));
        }
    }

    /// Notes the command's end, when it had got only the first `taken` signals. What `spoke` after one
    /// of them caught it, whatever it died of then.
    pub fn note_end(&mut self, status: ExitStatus, taken: u64, spoke: bool) {
        let late = self.passed_on.len().min(usize::try_from(taken).unwrap_or(usize::MAX));
        for signal in self.passed_on.split_off(late) {
            self.note_after_end(signal);
        }
        if let ExitStatus::Signal(signal) = status {
            let is_ours = self.passed_on.contains(&signal) && !spoke;
            self.killed = is_ours.then(|| (Instant::now(), signal));
        }
    }

    /// How many signals were passed on.
    pub fn count(&self) -> u64 {
        self.passed_on.len() as u64
    }

    /// The first signal to end a program that was passed on.
    pub fn first_passed_on(&self) -> Option<i32> {
        self.passed_on.iter().copied().find(|signal| DEADLY.contains(signal))
    }

    /// When the run dies by which signal, should its output not be delivered by then. `still` is since
    /// when none of it has moved, if all that is due waits for a reader.
    pub fn gives_up(&self, still: Option<Instant>) -> Option<(Instant, i32)> {
        let (since, signal) = self.killed.or(self.after_end)?;
        let from = self.urgent.into_iter().chain(still.map(|still| still.min(since))).min()?;
        Some((from + PATIENCE, signal))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signal(deadly: &Deadly) -> Option<i32> {
        deadly.gives_up(Some(Instant::now())).map(|(_, signal)| signal)
    }

    #[test]
    fn only_a_signal_that_killed_ends_the_wait_for_a_reader() {
        let ended = |status, spoke| {
            let mut deadly = Deadly::default();
            deadly.note_passed_on(libc::SIGUSR1);
            deadly.note_passed_on(libc::SIGTERM);
            assert_eq!((deadly.count(), deadly.first_passed_on()), (2, Some(libc::SIGTERM)));
            deadly.note_end(status, 2, spoke);
            signal(&deadly)
        };
        assert_eq!(ended(ExitStatus::Signal(libc::SIGTERM), false), Some(libc::SIGTERM));
        assert_eq!(ended(ExitStatus::Signal(libc::SIGUSR1), false), Some(libc::SIGUSR1));
        assert_eq!(ended(ExitStatus::Signal(libc::SIGTERM), true), None);
        assert_eq!(ended(ExitStatus::Signal(libc::SIGKILL), false), None);
        assert_eq!(ended(ExitStatus::Code(0), false), None);
    }

    #[test]
    fn one_that_came_after_the_end_does_whatever_the_status() {
        let mut deadly = Deadly::default();
        deadly.note_after_end(libc::SIGCONT);
        assert_eq!(signal(&deadly), None);
        deadly.note_after_end(libc::SIGTERM);
        deadly.note_after_end(libc::SIGINT);
        assert_eq!(signal(&deadly), Some(libc::SIGTERM));
    }

    #[test]
    fn one_that_was_on_its_way_when_the_command_ended_came_after_the_end() {
        let mut deadly = Deadly::default();
        for signal in [libc::SIGINT, libc::SIGCONT, libc::SIGTERM] {
            deadly.note_passed_on(signal);
        }
        deadly.note_end(ExitStatus::Code(3), 2, false);
        assert_eq!(signal(&deadly), Some(libc::SIGTERM));
    }

    #[test]
    fn what_stands_still_for_long_is_given_up_at_once_and_a_slow_reader_after_a_second() {
        let before = Instant::now();
        let mut deadly = Deadly::default();
        deadly.note_after_end(libc::SIGTERM);
        let at = |still| deadly.gives_up(Some(still)).map(|(at, _)| at).expect("a time");
        assert_eq!(at(before), before + PATIENCE);
        assert!(at(Instant::now() + PATIENCE) <= Instant::now() + PATIENCE);
    }

    #[test]
    fn what_waits_for_no_reader_is_given_up_when_a_second_signal_comes() {
        for kill in [true, false] {
            let mut deadly = Deadly::default();
            deadly.note_passed_on(libc::SIGTERM);
            match kill {
                true => deadly.note_end(ExitStatus::Signal(libc::SIGTERM), 1, false),
                false => deadly.note_after_end(libc::SIGTERM),
            }
            assert_eq!(deadly.gives_up(None), None);
            deadly.note_after_end(libc::SIGTERM);
            let by = Instant::now() + PATIENCE;
            assert!(deadly.gives_up(None).is_some_and(|(at, _)| at <= by));
        }
    }
}
