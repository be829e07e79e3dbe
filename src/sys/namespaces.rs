//! Namespaces, for finding out what a user may do in them.
#![allow(unsafe_code)]

use std::ffi::CString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::process::{self, ChildEvent, Forked};
use crate::exit::ExitStatus;

/// A mount takes microseconds; this is for a kernel that does not answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Whether the user can mount overlayfs in a user namespace of its own, as rootless podman does:
/// it is tried, in a mount namespace that ends with the process that made it. Only root may ask.
pub fn user_can_mount_overlay(uid: u32, gid: u32) -> bool {
    let top = PathBuf::from(format!("/var/tmp/.incusbox-overlay-{}", std::process::id()));
    let tried = prepare(&top, uid, gid).and_then(|()| match process::fork()? {
        Forked::Child => {
            let mounted = mount_as_user(&top, uid, gid);
            process::exit_now(i32::from(mounted.is_err()))
        }
        Forked::Parent(pid) => wait(pid),
    });
    let _left_behind = std::fs::remove_dir_all(&top);
    tried.unwrap_or(false)
}

const PARTS: [&str; 4] = ["lower", "upper", "work", "merged"];

fn prepare(top: &Path, uid: u32, gid: u32) -> io::Result<()> {
    std::fs::DirBuilder::new().mode(0o700).create(top)?;
    for part in PARTS {
        std::fs::create_dir(top.join(part))?;
        std::os::unix::fs::chown(top.join(part), Some(uid), Some(gid))?;
    }
    std::os::unix::fs::chown(top, Some(uid), Some(gid))
}

fn mount_as_user(top: &Path, uid: u32, gid: u32) -> io::Result<()> {
    process::become_user(uid, gid, &[gid])?;
    // Whoever changed its user is not "dumpable", and its files in /proc are root's.
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::Dumpable)?;
    // SAFETY: unshare(2) changes namespaces of this process only, which is a child of fork that
    // does nothing else.
    if unsafe { libc::unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWNS) } == -1 {
        return Err(io::Error::last_os_error());
    }
    std::fs::write("/proc/self/setgroups", "deny")?;
    std::fs::write("/proc/self/uid_map", format!("0 {uid} 1"))?;
    std::fs::write("/proc/self/gid_map", format!("0 {gid} 1"))?;
    let part = |name: &str| top.join(name).display().to_string();
    // Volatile: or the end of the mount has all of the box's file system written to its disk.
    let options = format!(
        "lowerdir={},upperdir={},workdir={},userxattr,volatile",
        part(PARTS[0]),
        part(PARTS[1]),
        part(PARTS[2])
    );
    let options = CString::new(options)?;
    let target = CString::new(top.join(PARTS[3]).as_os_str().as_bytes())?;
    // SAFETY: mount(2) reads four C strings that live through the call, and changes only the mount
    // namespace that was made above.
    let result = unsafe {
        libc::mount(
            c"overlay".as_ptr(),
            target.as_ptr(),
            c"overlay".as_ptr(),
            0,
            options.as_ptr().cast(),
        )
    };
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn wait(pid: i32) -> io::Result<bool> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(ChildEvent::Ended(status)) = process::child_event(pid)? {
            return Ok(status == ExitStatus::Code(0));
        }
        if Instant::now() >= deadline {
            process::signal_process(pid, libc::SIGKILL)?;
            return Ok(false);
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}
