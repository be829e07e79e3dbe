//! Pseudo-terminals inside the box.
#![allow(unsafe_code)]

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rustix::fs::{Mode, OFlags};
use rustix::pty::OpenptFlags;

/// Opens a new pty: master and slave, closed on exec, the master non-blocking.
///
/// # Errors
/// When there is no `/dev/ptmx` or devpts, or all ptys are in use.
pub fn open() -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let master = rustix::pty::openpt(flags)?;
    rustix::pty::grantpt(&master)?;
    rustix::pty::unlockpt(&master)?;
    let name = rustix::pty::ptsname(&master, Vec::new())?;
    let slave = open_slave(&name)?;
    super::pipes::set_nonblocking(&master, true)?;
    Ok((master, slave))
}

fn open_slave(name: &CStr) -> io::Result<OwnedFd> {
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    Ok(rustix::fs::open(name, flags, Mode::empty())?)
}

/// Gives the slave to its user, with the mode that login(1) uses: others may write messages to it
/// only through the `tty` group.
///
/// # Errors
/// chown(2)'s.
pub fn give_to(slave: impl AsFd, uid: u32, tty_gid: Option<u32>) -> io::Result<()> {
    use rustix::process::{Gid, Uid};
    rustix::fs::fchown(&slave, Some(Uid::from_raw(uid)), tty_gid.map(Gid::from_raw))?;
    Ok(rustix::fs::fchmod(&slave, Mode::from_raw_mode(0o620))?)
}

/// Makes the slave the controlling terminal of this process, which must lead a session.
///
/// # Errors
/// ioctl(2)'s.
pub fn make_controlling(slave: impl AsFd) -> io::Result<()> {
    Ok(rustix::process::ioctl_tiocsctty(slave)?)
}

/// Makes `group` the foreground process group of a terminal.
///
/// # Errors
/// ioctl(2)'s.
pub fn set_foreground(terminal: impl AsFd, group: i32) -> io::Result<()> {
    // SAFETY: TIOCSPGRP reads one pid_t from the pointer, which lives through the call.
    match unsafe { libc::ioctl(terminal.as_fd().as_raw_fd(), libc::TIOCSPGRP, &raw const group) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
