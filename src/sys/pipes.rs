//! Pipes: making them, sizing them, asking how full they are.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::OFlags;
use rustix::pipe::PipeFlags;

/// Makes a pipe (read end, write end), both closed on exec.
///
/// # Errors
/// pipe2(2)'s: descriptors or pipe buffers used up.
pub fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?)
}

/// Sets or clears O_NONBLOCK on the open file description behind `fd`. Only for descriptors this
/// program made: the flag is shared with every process that inherited the same description.
///
/// # Errors
/// fcntl(2)'s.
pub fn set_nonblocking(fd: impl AsFd, on: bool) -> io::Result<()> {
    let mut flags = rustix::fs::fcntl_getfl(&fd)?;
    flags.set(OFlags::NONBLOCK, on);
    Ok(rustix::fs::fcntl_setfl(&fd, flags)?)
}

/// Asks the kernel for a pipe buffer of `bytes`; a refusal (the user's pipe quota) only means that
/// the pipe keeps its size, so it is not an error.
pub fn grow(fd: impl AsFd, bytes: usize) {
    let _unchanged = rustix::pipe::fcntl_setpipe_size(fd, bytes);
}

/// Bytes that wait unread in a pipe, socket or terminal.
///
/// # Errors
/// ioctl(2)'s, for instance for a descriptor that cannot tell.
pub fn unread_bytes(fd: impl AsFd) -> io::Result<u64> {
    Ok(rustix::io::ioctl_fionread(fd)?)
}
