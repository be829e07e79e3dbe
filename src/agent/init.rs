//! `incusbox-agent init`: the first process of a box whose image has none, as container images have
//! it that were made to run one program.
//!
//! It mounts what a system expects to be empty at each start, sees to the network where the image
//! has a program for that, takes the status of processes whose parents are gone, and when the box is
//! stopped ends everybody. It starts nothing else and never ends by itself.

use std::ffi::CStr;
use std::fs;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

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
/// Programs that ask for an address of the interface, with what they are told. Each goes to the
/// background or stays, and is ours to reap either way.
const DHCP_CLIENTS: [(&str, &[&str]); 4] = [
    ("udhcpc", &["-i", "eth0", "-b", "-S", "-R"]),
    ("dhcpcd", &["-q", "eth0"]),
    ("dhclient", &["-nw", "eth0"]),
    ("busybox", &["udhcpc", "-i", "eth0", "-b", "-S", "-R"]),
];
const PROGRAMS: [&str; 6] =
    ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];

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

/// Starts a client for the interface that Incus gives, where there is one of each.
fn network() {
    if !Path::new("/sys/class/net/eth0").exists() {
        return;
    }
    for (name, arguments) in DHCP_CLIENTS {
        let Some(program) = program(name) else { continue };
        // udhcpc without its script gets an address and sets none.
        if arguments.contains(&"-R") && !has_script() {
            continue;
        }
        let started = Command::new(&program)
            .args(arguments)
            .env("PATH", PROGRAMS.join(":"))
            .current_dir("/")
            .stdin(Stdio::null())
            .spawn();
        match started {
            Ok(_) => return,
            Err(error) => complain(&format!("cannot start {}: {error}", program.display())),
        }
    }
    complain("the image has no DHCP client: the network stays down");
}

fn program(name: &str) -> Option<PathBuf> {
    PROGRAMS.iter().map(|directory| Path::new(directory).join(name)).find(|path| path.exists())
}

/// Where Debian, Alpine and busybox itself have the script that sets what udhcpc was given.
fn has_script() -> bool {
    ["/usr/share/udhcpc/default.script", "/etc/udhcpc/default.script"]
        .iter()
        .any(|path| Path::new(path).exists())
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
fn complain(text: &str) {
    let _nobody_to_tell = writeln!(io::stderr(), "incusbox-agent: {text}");
}
