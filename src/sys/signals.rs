//! Signals as data: blocked for the whole program and read from a descriptor, so that no handler
//! ever runs in the middle of something.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, SigmaskHow, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

/// The signals to read, and the mask to go back to.
#[derive(Debug)]
pub struct Signals {
    fd: SignalFd,
    set: SigSet,
}

impl Signals {
    /// Blocks `signals` (numbers) and opens a descriptor that delivers them.
    ///
    /// # Errors
    /// signalfd(2)'s.
    pub fn catch(signals: &[i32]) -> io::Result<Signals> {
        let mut set = SigSet::empty();
        for number in signals {
            set.add(Signal::try_from(*number)?);
        }
        nix::sys::signal::sigprocmask(SigmaskHow::SIG_BLOCK, Some(&set), None)?;
        let fd = SignalFd::with_flags(&set, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?;
        Ok(Signals { fd, set })
    }

    /// The next signal that arrived, if any.
    ///
    /// # Errors
    /// read(2)'s on the descriptor.
    pub fn take(&mut self) -> io::Result<Option<i32>> {
        Ok(self.fd.read_signal()?.map(|info| info.ssi_signo as i32))
    }

    /// Goes back to ordinary delivery; what is pending is delivered at once.
    pub fn release(self) {
        let _mask_is_ours =
            nix::sys::signal::sigprocmask(SigmaskHow::SIG_UNBLOCK, Some(&self.set), None);
    }
}

/// The signals by which whoever started a program ends it.
pub const ENDING: [i32; 3] = [libc::SIGINT, libc::SIGTERM, libc::SIGHUP];

/// For as long as this lives, [`ENDING`] signals do what they do to any program, caught or not.
#[derive(Debug)]
#[must_use = "what was blocked is blocked again when this goes"]
pub struct Passing(SigSet);

/// Lets [`ENDING`] signals pass: for times in which nothing is begun that had to be cleared away,
/// and nobody reads [`Signals`]. One that came before takes effect at once.
pub fn let_pass() -> Passing {
    let set: SigSet = ENDING.iter().filter_map(|one| Signal::try_from(*one).ok()).collect();
    let mut before = SigSet::empty();
    let _mask_is_ours =
        nix::sys::signal::sigprocmask(SigmaskHow::SIG_UNBLOCK, Some(&set), Some(&mut before));
    Passing(before)
}

impl Drop for Passing {
    fn drop(&mut self) {
        let _mask_is_ours =
            nix::sys::signal::sigprocmask(SigmaskHow::SIG_SETMASK, Some(&self.0), None);
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Sets `signal` to its default action.
///
/// # Errors
/// For a number that is no signal, or KILL and STOP.
pub fn set_default(signal: i32) -> io::Result<()> {
    set_handler(signal, SigHandler::SigDfl)
}

/// Ignores `signal`.
///
/// # Errors
/// For a number that is no signal, or KILL and STOP.
pub fn set_ignored(signal: i32) -> io::Result<()> {
    set_handler(signal, SigHandler::SigIgn)
}

#[allow(unsafe_code)]
fn set_handler(signal: i32, handler: SigHandler) -> io::Result<()> {
    let action = SigAction::new(handler, SaFlags::empty(), SigSet::empty());
    // SAFETY: the handler is SIG_DFL or SIG_IGN, so no code of ours ever runs in signal context.
    unsafe { nix::sys::signal::sigaction(Signal::try_from(signal)?, &action)? };
    Ok(())
}

/// Unblocks every signal; for a child before exec.
pub fn unblock_all() {
    let _never_fails =
        nix::sys::signal::sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None);
}

/// Who is stopped by [`stop_by`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// This process alone.
    Process,
    /// The whole process group, as the terminal does for ^Z.
    Group,
}

/// Stops by `signal` until something continues us. Returns at once where the kernel refuses to stop
/// an orphaned process group, which nobody could continue.
pub fn stop_by(signal: i32, who: Stop) {
    let Ok(signal) = Signal::try_from(signal) else { return };
    let mut set = SigSet::empty();
    set.add(signal);
    let _cannot_fail = match who {
        Stop::Process => nix::sys::signal::raise(signal),
        Stop::Group => nix::sys::signal::kill(nix::unistd::Pid::from_raw(0), signal),
    };
    // Here it takes effect, and from here it goes on.
    let mut before = SigSet::empty();
    let _mask_is_ours =
        nix::sys::signal::sigprocmask(SigmaskHow::SIG_UNBLOCK, Some(&set), Some(&mut before));
    let _mask_is_ours = nix::sys::signal::sigprocmask(SigmaskHow::SIG_SETMASK, Some(&before), None);
}

/// Sends `signal` to everybody in this process's group, itself included: with the signal blocked,
/// it takes effect here later.
pub fn tell_group(signal: i32) {
    if let Ok(signal) = Signal::try_from(signal) {
        let _cannot_fail = nix::sys::signal::kill(nix::unistd::Pid::from_raw(0), signal);
    }
}

/// Dies by `signal`, so that a waiting shell sees a death by signal and not a mere number.
/// Returns only where that could not be done; no core file is written for somebody else's crash.
#[allow(unsafe_code)]
pub fn die_by(signal: i32) {
    use rustix::process::{Resource, Rlimit};
    let no_core = Rlimit { current: Some(0), maximum: Some(0) };
    let _best_effort = rustix::process::setrlimit(Resource::Core, no_core);
    // Through the C library: real-time signals have no name in `nix`.
    // SAFETY: SIG_DFL runs no code of ours; the set is a plain struct that sigemptyset(3) and
    // sigaddset(3) initialise; raise(3) ends this process or does nothing.
    unsafe {
        libc::signal(signal, libc::SIG_DFL);
        libc::raise(signal);
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, signal);
        libc::sigprocmask(libc::SIG_UNBLOCK, &raw const set, std::ptr::null_mut());
    }
}

/// The name of a signal without its `SIG`, for messages.
pub fn name(signal: i32) -> String {
    match Signal::try_from(signal) {
        Ok(signal) => signal.as_str().trim_start_matches("SIG").to_owned(),
        Err(_) => format!("signal {signal}"),
    }
}
