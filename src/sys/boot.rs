//! What the first process of a box does that no other may: mounting, and ending everybody.

use std::ffi::CStr;
use std::io;
use std::path::Path;

use nix::sys::signal::Signal;
use rustix::mount::MountFlags;

/// Mounts an empty tmpfs at `target`, with `options` such as `mode=0755`.
///
/// # Errors
/// mount(2)'s.
pub fn mount_tmpfs(target: &Path, options: &CStr) -> io::Result<()> {
    let flags = MountFlags::NOSUID | MountFlags::NODEV;
    Ok(rustix::mount::mount("tmpfs", target, "tmpfs", flags, Some(options))?)
}

/// Sends `signal` to every process of the box but this one and those that may not be reached.
/// That there is none is no error.
///
/// # Errors
/// kill(2)'s.
pub fn signal_all(signal: i32) -> io::Result<()> {
    match nix::sys::signal::kill(nix::unistd::Pid::from_raw(-1), Signal::try_from(signal)?) {
        Ok(()) | Err(nix::errno::Errno::ESRCH) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Takes the status of one ended child, whosever it was before; whether there was one.
pub fn reap() -> bool {
    matches!(rustix::process::wait(rustix::process::WaitOptions::NOHANG), Ok(Some(_)))
}

/// Whether this is the first process of the box.
pub fn is_first() -> bool {
    rustix::process::getpid().as_raw_nonzero().get() == 1
}
