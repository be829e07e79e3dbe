//! Signals that kill, and what becomes of output that nobody takes then.
//!
//! A command of the host's dies by such a signal at once, even where it waits for a reader; the
//! reader finds what is in the pipe. In a run much more may be on its way between the command and
//! that pipe, and its reader may rest for hours, as a pager does. So output that has not moved for
//! [`PATIENCE`] is given up, where the command died by a signal that was passed on to it, or had
//! ended before the signal came. A command that catches the signal and ends by itself is waited for.

use std::time::Duration;

use crate::exit::ExitStatus;

/// The signals that end a program that does not catch them, of those that are passed on.
pub const DEADLY: &[i32] = &[libc::SIGHUP, libc::SIGINT, libc::SIGQUIT, libc::SIGTERM];
/// How long output may stand still before it is given up.
pub const PATIENCE: Duration = Duration::from_secs(1);

/// The deadly signals that came to a run.
#[derive(Debug, Default)]
pub struct Deadly {
    /// How many signals of any kind were passed on.
    count: u64,
    /// The deadly ones of them, each with how many that were with it.
    passed_on: Vec<(u64, i32)>,
    after_end: Option<i32>,
}

impl Deadly {
    /// Notes a signal that was passed on to the command.
    pub fn note_passed_on(&mut self, signal: i32) {
        self.count += 1;
        if DEADLY.contains(&signal) {
            self.passed_on.push((self.count, signal));
        }
    }

    /// Notes a signal that came when the command had ended, and is for the run alone.
    pub fn note_after_end(&mut self, signal: i32) {
        if DEADLY.contains(&signal) {
            self.after_end.get_or_insert(signal);
        }
    }

    /// Notes that the command ended when it had got only the first `count` signals.
    pub fn note_taken(&mut self, count: u64) {
        let late = self.passed_on.partition_point(|(number, _)| *number <= count);
        for (_, signal) in self.passed_on.split_off(late) {
            self.note_after_end(signal);
        }
    }

    /// How many signals were passed on.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Whether a deadly one was passed on to the command.
    pub fn any_passed_on(&self) -> bool {
        !self.passed_on.is_empty()
    }

    /// The signal by which a run dies whose command ended with `status`, if its output is not taken.
    pub fn ends(&self, status: ExitStatus) -> Option<i32> {
        let is_of = |own: &i32| self.passed_on.iter().any(|(_, signal)| signal == own);
        let own = match status {
            ExitStatus::Signal(signal) => Some(signal).filter(is_of),
            ExitStatus::Code(_) => None,
        };
        own.or(self.after_end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_signal_that_took_effect_ends_the_wait_for_a_reader() {
        let mut deadly = Deadly::default();
        deadly.note_passed_on(libc::SIGUSR1);
        assert!(!deadly.any_passed_on());
        deadly.note_passed_on(libc::SIGINT);
        deadly.note_passed_on(libc::SIGTERM);
        assert_eq!(deadly.count(), 3);
        deadly.note_taken(3);
        assert_eq!(deadly.ends(ExitStatus::Signal(libc::SIGINT)), Some(libc::SIGINT));
        assert_eq!(deadly.ends(ExitStatus::Signal(libc::SIGKILL)), None);
        assert_eq!(deadly.ends(ExitStatus::Code(0)), None);
    }

    #[test]
    fn one_that_came_after_the_end_does_whatever_the_status() {
        let mut deadly = Deadly::default();
        deadly.note_after_end(libc::SIGCONT);
        assert_eq!(deadly.ends(ExitStatus::Code(0)), None);
        deadly.note_after_end(libc::SIGTERM);
        deadly.note_after_end(libc::SIGINT);
        assert_eq!(deadly.ends(ExitStatus::Code(0)), Some(libc::SIGTERM));
    }

    #[test]
    fn one_that_was_on_its_way_when_the_command_ended_came_after_the_end() {
        let mut deadly = Deadly::default();
        for signal in [libc::SIGINT, libc::SIGCONT, libc::SIGTERM] {
            deadly.note_passed_on(signal);
        }
        deadly.note_taken(2);
        assert_eq!(deadly.ends(ExitStatus::Code(3)), Some(libc::SIGTERM));
    }
}
