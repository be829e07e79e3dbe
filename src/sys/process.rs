//! Processes: making them, becoming a user, what the kernel says of them.
#![allow(unsafe_code)]

use std::ffi::{CStr, CString, OsString};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;

use nix::sys::signal::Signal;
use nix::unistd::{ForkResult, Gid, Pid, Uid};

use crate::exit::ExitStatus;

/// Which side of a fork this is.
#[derive(Debug)]
pub enum Forked {
    /// The new process.
    Child,
    /// The old one; holds the child's process id.
    Parent(i32),
}

/// fork(2). The programs of this crate run one thread, so the child may go on as it likes.
///
/// # Errors
/// fork(2)'s: too many processes, no memory.
pub fn fork() -> io::Result<Forked> {
    // SAFETY: no other thread exists that could hold a lock the child would wait for.
    match unsafe { nix::unistd::fork() }? {
        ForkResult::Child => Ok(Forked::Child),
        ForkResult::Parent { child } => Ok(Forked::Parent(child.as_raw())),
    }
}

/// Leaves at once, without running anything that the parent registered.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: _exit(2) is always sound; it ends the process.
    unsafe { libc::_exit(code) }
}

/// Starts a session with this process as its leader.
///
/// # Errors
/// When the process leads a process group already.
pub fn start_session() -> io::Result<()> {
    nix::unistd::setsid()?;
    Ok(())
}

/// Puts `pid` (0: this process) into a process group of its own.
///
/// # Errors
/// setpgid(2)'s; for another process, EACCES once it has called exec.
pub fn own_group(pid: i32) -> io::Result<()> {
    Ok(nix::unistd::setpgid(Pid::from_raw(pid), Pid::from_raw(pid))?)
}

/// Becomes the user `uid` with the group `gid` and the supplementary `groups`, for good.
///
/// # Errors
/// When the process may not, or an id is not mapped in its user namespace.
pub fn become_user(uid: u32, gid: u32, groups: &[u32]) -> io::Result<()> {
    let groups: Vec<Gid> = groups.iter().map(|gid| Gid::from_raw(*gid)).collect();
    nix::unistd::setgroups(&groups)?;
    let gid = Gid::from_raw(gid);
    nix::unistd::setresgid(gid, gid, gid)?;
    let uid = Uid::from_raw(uid);
    Ok(nix::unistd::setresuid(uid, uid, uid)?)
}

/// Replaces the process: `path` is tried as it is, its arguments and environment are exactly these.
/// Returns only with the reason why that failed.
pub fn exec(path: &CStr, argv: &[CString], environment: &[CString]) -> io::Error {
    match nix::unistd::execve(path, argv, environment) {
        Ok(never) => match never {},
        Err(errno) => errno.into(),
    }
}

/// Sends `signal` to the process group `group`. A group that is gone is no error.
///
/// # Errors
/// EPERM: a set-user-id program that this user may not signal.
pub fn signal_group(group: i32, signal: i32) -> io::Result<()> {
    send(-group, signal)
}

/// Whether a process is in the group, be it one that ended and was not waited for.
pub fn is_group(group: i32) -> bool {
    nix::sys::signal::kill(Pid::from_raw(-group), None) != Err(nix::errno::Errno::ESRCH)
}

/// Sends `signal` to one process. One that is gone is no error.
///
/// # Errors
/// EPERM.
pub fn signal_process(pid: i32, signal: i32) -> io::Result<()> {
    send(pid, signal)
}

fn send(target: i32, signal: i32) -> io::Result<()> {
    let signal = Signal::try_from(signal)?;
    match nix::sys::signal::kill(Pid::from_raw(target), signal) {
        Ok(()) | Err(nix::errno::Errno::ESRCH) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// What waitpid(2) told of a child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChildEvent {
    /// It ended.
    Ended(ExitStatus),
    /// It was stopped by this signal.
    Stopped(i32),
    /// It goes on after a stop.
    Continued,
}

/// The next change of `pid`, a child, without waiting for one.
///
/// # Errors
/// ECHILD for something that is no child.
pub fn child_event(pid: i32) -> io::Result<Option<ChildEvent>> {
    use rustix::process::{Pid, WaitOptions, waitpid};
    let flags = WaitOptions::NOHANG | WaitOptions::UNTRACED | WaitOptions::CONTINUED;
    let status = loop {
        match waitpid(Pid::from_raw(pid), flags) {
            Ok(Some((_, status))) => break status,
            Ok(None) => return Ok(None),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    };
    Ok(if let Some(code) = status.exit_status() {
        Some(ChildEvent::Ended(ExitStatus::Code(code.clamp(0, 255) as u8)))
    } else if let Some(signal) = status.terminating_signal() {
        Some(ChildEvent::Ended(ExitStatus::Signal(signal)))
    } else if let Some(signal) = status.stopping_signal() {
        Some(ChildEvent::Stopped(signal))
    } else {
        status.continued().then_some(ChildEvent::Continued)
    })
}

/// Makes `fd` the descriptor `number` of this process, open across exec.
///
/// # Errors
/// dup2(2)'s.
pub fn install_fd(fd: impl AsFd, number: i32) -> io::Result<()> {
    let fd = fd.as_fd().as_raw_fd();
    // SAFETY: dup2(2) and F_SETFD change this process's descriptor table only. The caller is a
    // child about to exec, so nothing else believes to own `number`.
    let result = unsafe {
        if fd == number { libc::fcntl(fd, libc::F_SETFD, 0) } else { libc::dup2(fd, number) }
    };
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Closes descriptor `number`; for a child before exec, where the caller had it closed too.
pub fn close_number(number: i32) {
    // SAFETY: as in `install_fd`: a child about to exec; closing a closed descriptor is EBADF.
    unsafe { libc::close(number) };
}

/// Closes every descriptor but those of `kept`, and has `/dev/null` as the standard ones; for a child that
/// ends by [`exit_now`], as its parent's owners of these never know.
pub fn keep_only(kept: &[BorrowedFd<'_>]) {
    let is_kept = |number: &i32| kept.iter().any(|fd| fd.as_raw_fd() == *number);
    let entries = std::fs::read_dir("/proc/self/fd").into_iter().flatten().flatten();
    let number = |entry: std::fs::DirEntry| entry.file_name().to_str()?.parse().ok();
    let open: Vec<i32> = entries.filter_map(number).collect();
    open.into_iter().filter(|number| !is_kept(number)).for_each(close_number);
    for number in (0..3).filter(|number| !is_kept(number)) {
        // Taken as the lowest that is free.
        let null = super::fds::open_null().map(std::os::fd::IntoRawFd::into_raw_fd);
        debug_assert_eq!(null.ok(), Some(number));
    }
}

/// Takes the ownership of the standard descriptor `number`, moved out of the way of the numbers
/// 0 to 2, where `/dev/null` takes its place.
///
/// # Errors
/// When the descriptor is not open.
pub fn take_standard(number: i32) -> io::Result<OwnedFd> {
    // SAFETY: the descriptor is only borrowed for the duplication.
    let inherited = unsafe { std::os::fd::BorrowedFd::borrow_raw(number) };
    let taken = rustix::io::fcntl_dupfd_cloexec(inherited, 3)?;
    install_fd(super::fds::open_null()?, number)?;
    Ok(taken)
}

/// The process at the other end of a local socket, or the one that listened there for it; `None`
/// where it has no id here.
pub fn peer(socket: impl AsFd) -> Option<i32> {
    let mut told = libc::ucred { pid: 0, uid: 0, gid: 0 };
    let mut length = std::mem::size_of_val(&told) as libc::socklen_t;
    let socket = socket.as_fd().as_raw_fd();
    // SAFETY: SO_PEERCRED writes at most `length` bytes, which `told` has, and `length`.
    let result = unsafe {
        libc::getsockopt(
            socket,
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            (&raw mut told).cast(),
            &raw mut length,
        )
    };
    (result == 0 && told.pid > 0).then_some(told.pid)
}

/// Sets the file mode creation mask.
pub fn set_umask(mask: u32) {
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(mask));
}

/// The name that the kernel knows this machine by; empty where it does not tell.
pub fn host_name() -> OsString {
    nix::unistd::gethostname().unwrap_or_default()
}

/// Sets the name that the kernel knows this machine by.
///
/// # Errors
/// EPERM for whoever does not own the UTS namespace.
pub fn set_host_name(name: &str) -> io::Result<()> {
    Ok(nix::unistd::sethostname(name)?)
}

/// The process ids of the whole tree below `pid`, itself first. Empty where /proc does not tell.
pub fn descendants(pid: i32) -> Vec<i32> {
    let mut found = vec![pid];
    let mut at = 0;
    while let Some(pid) = found.get(at).copied() {
        at += 1;
        let Ok(tasks) = std::fs::read_dir(format!("/proc/{pid}/task")) else { continue };
        for task in tasks.flatten() {
            let Ok(children) = std::fs::read_to_string(task.path().join("children")) else {
                continue;
            };
            found.extend(children.split_ascii_whitespace().filter_map(|id| id.parse::<i32>().ok()));
        }
        if found.len() > 4096 {
            break;
        }
    }
    found
}

/// What /proc/PID/stat and /proc/PID/status say that matters for ending what a lost client left.
#[derive(Clone, Copy, Debug)]
pub struct ProcessFacts {
    /// Process id.
    pub pid: i32,
    /// Process group.
    pub group: i32,
    /// Whether it ignores SIGHUP, as nohup(1) arranges.
    pub ignores_hangup: bool,
}

/// The facts of every process that /proc shows; of none where there is no /proc.
pub fn all_processes() -> Vec<ProcessFacts> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok())
        .filter_map(facts)
        .collect()
}

/// What of a process can be seen from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lifetime {
    /// It began so many ticks after the machine.
    Since(u64),
    /// There is none, or only what its parent has not asked about yet.
    Over,
    /// There is one, and more is not shown (`hidepid=` of proc(5)).
    Hidden,
}

/// Whether there is a process of this id, and since when.
pub fn lifetime(pid: i32) -> Lifetime {
    if let Some(stat) = stat(pid) {
        let mut fields = stat.split_ascii_whitespace();
        // The fields from the third on; the time is the 22nd (proc_pid_stat(5)).
        return match (fields.next(), fields.nth(18).and_then(|ticks| ticks.parse().ok())) {
            (Some("Z" | "X"), _) => Lifetime::Over,
            (_, Some(ticks)) => Lifetime::Since(ticks),
            _ => Lifetime::Hidden,
        };
    }
    match nix::sys::signal::kill(Pid::from_raw(pid), None) {
        Err(nix::errno::Errno::ESRCH) => Lifetime::Over,
        _ => Lifetime::Hidden,
    }
}

/// What /proc/PID/stat says behind the name.
fn stat(pid: i32) -> Option<String> {
    let stat = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything, also spaces and parentheses.
    let after_name = stat.iter().rposition(|byte| *byte == b')')?;
    String::from_utf8(stat[after_name + 1..].to_vec()).ok()
}

fn facts(pid: i32) -> Option<ProcessFacts> {
    let rest = stat(pid)?;
    let mut fields = rest.split_ascii_whitespace();
    let state = fields.next()?;
    if state == "Z" {
        return None;
    }
    let _parent = fields.next()?;
    let group = fields.next()?.parse().ok()?;
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"))?;
    let ignored = u64::from_str_radix(ignored.trim(), 16).ok()?;
    let ignores_hangup = ignored & (1 << (libc::SIGHUP - 1)) != 0;
    Some(ProcessFacts { pid, group, ignores_hangup })
}

/// The user that the kernel says runs this program (real ids).
pub fn own_ids() -> (u32, u32) {
    (Uid::current().as_raw(), Gid::current().as_raw())
}

/// The account name of the user `uid` on this machine, asked of the C library so that directory
/// services count too; `None` for a user without one.
pub fn user_name(uid: u32) -> Option<OsString> {
    let user = nix::unistd::User::from_uid(Uid::from_raw(uid)).ok()??;
    Some(OsString::from_vec(user.name.into_bytes()))
}

/// Sets a limit of this process; -1 (as `u64::MAX`) means "no limit". A hard limit above the
/// present one is lowered to it.
///
/// # Errors
/// setrlimit(2)'s.
pub fn set_limit(resource: i32, soft: u64, hard: u64) -> io::Result<()> {
    let limit = libc::rlimit { rlim_cur: soft.min(hard), rlim_max: hard };
    // SAFETY: setrlimit(2) reads the initialised struct and changes this process's limits.
    match unsafe { libc::setrlimit(resource as _, &raw const limit) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// A limit of this process: soft and hard.
///
/// # Errors
/// getrlimit(2)'s, for a number that is no resource.
pub fn limit(resource: i32) -> io::Result<(u64, u64)> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: getrlimit(2) fills the struct or fails.
    match unsafe { libc::getrlimit(resource as _, &raw mut limit) } {
        0 => Ok((limit.rlim_cur, limit.rlim_max)),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Writes no core file of this process. What it executes may write its own: a limit of zero would
/// stay with it for good, since nobody in a box may raise one.
pub fn no_core_file() {
    let not = rustix::process::DumpableBehavior::NotDumpable;
    let _best_effort = rustix::process::set_dumpable_behavior(not);
}
