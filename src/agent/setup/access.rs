//! Owner and mode of what we make.

use std::os::fd::AsFd;

use rustix::fs::Mode;
use rustix::io::Errno;
use rustix::process::{Gid, Uid};

/// Owner and mode of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

impl Access {
    /// What root owns, with `mode`.
    pub const fn root(mode: u32) -> Access {
        Access { mode, uid: 0, gid: 0 }
    }
}

/// Gives an open file or directory its owner and mode. Whoever is not root (a test) owns what it
/// makes.
pub fn give(file: impl AsFd, access: Access) -> Result<(), Errno> {
    let (uid, gid) = (Uid::from_raw(access.uid), Gid::from_raw(access.gid));
    match rustix::fs::fchown(&file, Some(uid), Some(gid)) {
        Err(Errno::PERM) if !rustix::process::geteuid().is_root() => {}
        other => other?,
    }
    rustix::fs::fchmod(&file, Mode::from_raw_mode(access.mode))
}
