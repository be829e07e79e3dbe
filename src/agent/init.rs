//! `incusbox-agent init`: the first process of a box whose image has none, as container images have
//! it that were made to run one program.
//!
//! It mounts what a system expects to be empty at each start, has an address asked for (`dhcp`),
//! takes the status of processes whose parents are gone, and when the box is
//! stopped ends everybody. It starts nothing else and never ends by itself.

use std::ffi::CStr;
use std::fs;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::protocol::nvidia;
use crate::sys::boot;
use crate::sys::poll::{Interest, PollSet};
use crate::sys::signals::Signals;

/// How long processes have to end after SIGTERM. `incus stop` shall take a second in all.
const GRACE: Duration = Duration::from_millis(600);
/// How often it is looked whether they did.
const LOOK: Duration = Duration::from_millis(10);
/// What is mounted at each start, and how.
const MOUNTS: [(&str, &CStr); 3] =
    [("/run", c"mode=0755"), ("/tmp", c"mode=1777"), ("/dev/shm", c"mode=1777")];
/// The interface that Incus gives a box, by the default profile.
const INTERFACE: &str = "eth0";

/// Runs until the box is stopped.
///
/// # Errors
/// Where it is not the first process, or signals cannot be read.
pub fn run() -> io::Result<()> {
    if !boot::is_first() {
        return Err(io::Error::other("`init` is for the first process of a box"));
    }
    // LXC sends SIGPWR to stop and SIGINT to start again (lxc.container.conf(5),
    // lxc.signal.halt, lxc.signal.reboot); Incus starts a box again itself after it has stopped.
    let stop = [libc::SIGPWR, libc::SIGTERM, libc::SIGINT, libc::SIGQUIT];
    let mut all = stop.to_vec();
    // Nobody shall end the box by a signal that is not meant for that.
    all.extend([libc::SIGCHLD, libc::SIGHUP, libc::SIGUSR1, libc::SIGUSR2, libc::SIGALRM]);
    let mut signals = Signals::catch(&all)?;
    prepare();
    loop {
        let mut set = PollSet::new();
        set.add((), signals.as_fd(), Interest::Read);
        set.wait(None)?;
        while let Some(signal) = signals.take()? {
            if stop.contains(&signal) {
                return end();
            }
        }
        while boot::reap() {}
    }
}

/// Does what can be done; a box without one of these is better than none.
fn prepare() {
    let mounted = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let is_mounted = |path: &str| mounted.lines().any(|line| line.split(' ').nth(1) == Some(path));
    for (path, options) in MOUNTS {
        if !is_mounted(path) {
            if let Err(error) = mount(Path::new(path), options) {
                complain(&format!("cannot mount {path}: {error}"));
            }
        }
    }
    network();
    if Path::new(nvidia::SHOWN).exists() {
        begin(&["nvidia"], "link the host's NVIDIA libraries");
    }
}

/// Mounts a tmpfs with the same empty directories in it as the image has there.
fn mount(path: &Path, options: &CStr) -> io::Result<()> {
    fs::create_dir_all(path)?;
    let kept: Vec<_> = fs::read_dir(path)?
        .flatten()
        .filter_map(|entry| Some((entry.path(), entry.metadata().ok()?)))
        .filter(|(_, metadata)| metadata.is_dir())
        .collect();
    boot::mount_tmpfs(path, options)?;
    for (path, metadata) in kept {
        fs::create_dir(&path)?;
        std::os::unix::fs::chown(&path, Some(metadata.uid()), Some(metadata.gid()))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(metadata.mode() & 0o7777))?;
    }
    Ok(())
}

/// Has an address asked for, in a process of its own: leases have to be renewed.
fn network() {
    if !Path::new("/sys/class/net").join(INTERFACE).exists() {
        return;
    }
    begin(&["dhcp", INTERFACE], "ask for an address");
}

/// Starts this program with other work.
fn begin(work: &[&str], doing: &str) {
    let started = std::env::current_exe().and_then(|program| {
        // The standard library gives it the usual mask of signals, so that it heeds the end.
        Command::new(program).args(work).current_dir("/").stdin(Stdio::null()).spawn()
    });
    if let Err(error) = started {
        complain(&format!("cannot {doing}: {error}"));
    }
}

/// Ends every process: first by asking, then by force. What is left the kernel ends with us.
fn end() -> io::Result<()> {
    boot::signal_all(libc::SIGTERM)?;
    // Stopped processes cannot heed it.
    boot::signal_all(libc::SIGCONT)?;
    let deadline = Instant::now() + GRACE;
    while others() && Instant::now() < deadline {
        while boot::reap() {}
        std::thread::sleep(LOOK);
    }
    boot::signal_all(libc::SIGKILL)?;
    while boot::reap() {}
    rustix::fs::sync();
    Ok(())
}

/// Whether there are processes besides this one.
fn others() -> bool {
    let Ok(entries) = fs::read_dir("/proc") else { return false };
    let is_process = |name: &str| name.bytes().all(|b| b.is_ascii_digit());
    let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    names.filter(|name| is_process(name)).any(|name| name != "1")
}

/// The console of the box, which `incus console --show-log` shows.
pub fn complain(text: &str) {
    let _nobody_to_tell = writeln!(io::stderr(), "incusbox-agent: {text}");
}
