//! How a command ended, and the statuses that are this program's own.
//!
//! A death by signal is kept apart from a status: a shell that sees a child die by SIGINT ends its
//! loop, one that sees a status of 130 does not.

/// Our own failure: the daemon, the box, the terminal. As docker, podman and toolbox use it.
pub const FAILURE: u8 = 125;
/// The command exists but cannot be executed (POSIX sh, 2.8.2).
pub const NOT_EXECUTABLE: u8 = 126;
/// The command was not found (POSIX sh, 2.8.2).
pub const NOT_FOUND: u8 = 127;
/// For units: the daemon went away while a service was followed (EX_TEMPFAIL of sysexits.h).
pub const LOST: u8 = 75;

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitStatus {
    /// It called exit with this status.
    Code(u8),
    /// It died by the signal of this number.
    Signal(i32),
}

impl ExitStatus {
    /// The status that a shell shows for it: 128 + N for a death by signal N.
    pub fn shell_code(self) -> u8 {
        match self {
            ExitStatus::Code(code) => code,
            ExitStatus::Signal(signal) => (128 + signal).clamp(0, 255) as u8,
        }
    }

    /// The status of a run whose output could not all be written: no success, and else the
    /// command's own.
    pub fn with_lost_output(self) -> ExitStatus {
        match self {
            ExitStatus::Code(0) => ExitStatus::Code(FAILURE),
            other => other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_death_by_signal_shows_as_128_plus_its_number() {
        assert_eq!(ExitStatus::Signal(15).shell_code(), 143);
        assert_eq!(ExitStatus::Code(143).shell_code(), 143);
    }
}
