//! What the process inherited, read before Rust's runtime changes it.
//!
//! Rust's start-up code opens `/dev/null` on a standard descriptor that came in closed and sets
//! SIGPIPE to "ignore". A command in a box must see both as the caller left them, so they are
//! recorded from `.init_array`, which the C runtime runs before `main`.
#![allow(unsafe_code)]

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

/// Bit N is set when descriptor N (0, 1 or 2) was closed at start-up.
static CLOSED: AtomicU8 = AtomicU8::new(0);
/// Bit N-1 is set when signal N was ignored at start-up (the layout of `SigIgn` in proc(5)).
static IGNORED: AtomicU64 = AtomicU64::new(0);

#[used]
#[unsafe(link_section = ".init_array")]
static RECORD: extern "C" fn() = record;

extern "C" fn record() {
    for fd in 0..3 {
        // SAFETY: F_GETFD only reads the descriptor's flags; a closed descriptor gives EBADF.
        if unsafe { libc::fcntl(fd, libc::F_GETFD) } == -1 {
            CLOSED.fetch_or(1 << fd, Ordering::Relaxed);
        }
    }
    // The signals that a shell, nohup or a service manager sets to "ignore" for its children.
    for signal in [
        libc::SIGHUP,
        libc::SIGINT,
        libc::SIGQUIT,
        libc::SIGPIPE,
        libc::SIGTERM,
        libc::SIGUSR1,
        libc::SIGUSR2,
        libc::SIGTSTP,
        libc::SIGTTIN,
        libc::SIGTTOU,
        libc::SIGCHLD,
        libc::SIGALRM,
    ] {
        // SAFETY: `old` is a plain C struct for which all zeroes is valid, and a null `new` action
        // makes sigaction(2) only read the present one into it.
        let ignored = unsafe {
            let mut old: libc::sigaction = std::mem::zeroed();
            libc::sigaction(signal, std::ptr::null(), &raw mut old) == 0
                && old.sa_sigaction == libc::SIG_IGN
        };
        if ignored {
            IGNORED.fetch_or(1 << (signal - 1), Ordering::Relaxed);
        }
    }
}

/// Whether descriptor `fd` (0, 1 or 2) was closed when the process started.
pub fn was_closed(fd: i32) -> bool {
    (0..3).contains(&fd) && CLOSED.load(Ordering::Relaxed) & (1 << fd) != 0
}

/// The signals that were ignored when the process started: bit N-1 for signal N.
pub fn ignored_signals() -> u64 {
    IGNORED.load(Ordering::Relaxed)
}

/// Whether `signal` was ignored when the process started.
pub fn was_ignored(signal: i32) -> bool {
    (1..=64).contains(&signal) && ignored_signals() & (1 << (signal - 1)) != 0
}
