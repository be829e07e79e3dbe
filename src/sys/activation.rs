//! Sockets that a service manager made and passed on (sd_listen_fds(3)).
#![allow(unsafe_code)]

use std::os::fd::{FromRawFd, OwnedFd, RawFd};

use rustix::io::FdFlags;

/// The first descriptor that is passed.
const FIRST: RawFd = 3;

/// The passed sockets; none where this process was started in another way.
pub fn sockets() -> Vec<OwnedFd> {
    let number = |name: &str| std::env::var(name).ok()?.parse::<RawFd>().ok();
    let is_for_us = number("LISTEN_PID") == i32::try_from(std::process::id()).ok();
    let count = number("LISTEN_FDS").filter(|count| is_for_us && (0..64).contains(count));
    let descriptors = FIRST..FIRST + count.unwrap_or(0);
    let is_open = |number: &RawFd| {
        let path = format!("/proc/self/fd/{number}");
        std::fs::symlink_metadata(path).is_ok()
    };
    // SAFETY: they are open, and by the manager's word they are this process's to keep; nothing else
    // here knows their numbers, and this is asked once, before any descriptor is opened.
    let sockets = descriptors.filter(is_open).map(|number| unsafe { OwnedFd::from_raw_fd(number) });
    // Programs that are started from here do not listen.
    let close = |socket: &OwnedFd| {
        let _open_so_it_can_be_told = rustix::io::fcntl_setfd(socket, FdFlags::CLOEXEC);
    };
    sockets.inspect(close).collect()
}
