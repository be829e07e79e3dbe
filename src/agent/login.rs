//! The environment that a login shell of the user would export.
//!
//! People add to PATH in `~/.profile`, distributions in `/etc/profile.d`; a command run without
//! that is "not found" although it works after `enter`. Running a login shell around every command
//! would cost its start-up each time and put a shell between us and the command. So the shell is
//! run once, what it exports is kept in `/run` (which a reboot of the box empties), and the copy
//! counts as long as none of the files that shells read at login has changed.

use std::collections::hash_map::DefaultHasher;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::hash::{Hash, Hasher};
use std::io::{self, Read, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::account::Account;
use super::{setup, umask};
use crate::sys::pipes;
use crate::sys::poll::{Interest, PollSet};
use crate::sys::process::{self, Forked};

/// Variables with their values, in order.
pub type Variables = Vec<(OsString, OsString)>;

/// What a login gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    /// The exported variables.
    pub variables: Variables,
    /// The file mode creation mask.
    pub umask: u32,
}

/// Stands before the variables in what `print-environment` writes: profile scripts print too.
const MARK: &[u8] = b"\0incusbox-login-environment\0";
/// A profile script may wait for something that never comes.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a box that boots is waited for.
const BOOT_PATIENCE: Duration = Duration::from_secs(5);
/// A look is one stat(2).
const BETWEEN_LOOKS: Duration = Duration::from_millis(5);
/// Its socket is made after `sysinit.target`, and so after all that empties or fills directories.
const SYSTEM_BUS: &str = "/run/dbus/system_bus_socket";
/// For how long a box is new.
const NEW_SECONDS: u64 = 60;
/// More than this is no environment (ARG_MAX is 2 MiB by default).
const MOST_BYTES: usize = 2 << 20;
/// Where the copies are: a directory of root's in a file system that does not survive the box.
const CACHE: &str = "/run/incusbox";

/// What a shell changes by itself or what belongs to the terminal, not to the login.
const NOT_KEPT: &[&str] =
    &["PWD", "OLDPWD", "SHLVL", "_", "TERM", "COLORTERM", "COLUMNS", "LINES", "SSH_TTY", "GPG_TTY"];

/// The minimum that any command gets: who and where the user is, and a PATH.
pub fn base(account: &Account) -> Variables {
    let mut variables: Variables = vec![
        ("HOME".into(), account.home.clone()),
        ("USER".into(), account.name.clone()),
        ("LOGNAME".into(), account.name.clone()),
        ("SHELL".into(), account.shell.clone()),
        ("PATH".into(), default_path(account.uid == 0)),
    ];
    for (name, value) in read_environment_file(Path::new("/etc/environment")) {
        set(&mut variables, name, value);
    }
    let runtime = PathBuf::from(format!("/run/user/{}", account.uid));
    wait_for_boot(account, &runtime);
    if std::fs::metadata(&runtime).is_ok_and(|meta| meta.is_dir() && meta.uid() == account.uid) {
        if runtime.join("bus").exists() {
            let mut address = OsString::from("unix:path=");
            address.push(runtime.join("bus"));
            set(&mut variables, "DBUS_SESSION_BUS_ADDRESS".into(), address);
        }
        set(&mut variables, "XDG_RUNTIME_DIR".into(), runtime.into_os_string());
    }
    variables
}

/// A box that has just started empties /tmp, sets itself up and brings up the sessions of users
/// who linger within a second. A command that came before would lose what it wrote there, or miss
/// its runtime directory for as long as it runs, a shell for hours; so it waits, but only in a box
/// that is new, and not for long.
fn wait_for_boot(account: &Account, runtime: &Path) {
    let linger = Path::new("/var/lib/systemd/linger").join(&account.name);
    let lingers = account.uid != 0 && linger.exists();
    let sign = if lingers { runtime.join("systemd/private") } else { SYSTEM_BUS.into() };
    if sign.exists() || !is_new() {
        return;
    }
    let deadline = Instant::now() + BOOT_PATIENCE;
    let mut turn = 0;
    while !sign.exists() && Instant::now() < deadline {
        turn += 1;
        // A box may have no system bus; to ask costs more than to look.
        if !lingers && turn % 20 == 0 && setup::is_initialized() {
            return;
        }
        std::thread::sleep(BETWEEN_LOOKS);
    }
}

/// Whether the box was started less than a minute ago, by systemd.
fn is_new() -> bool {
    let read = |path: &str| std::fs::read_to_string(path).ok();
    let age = || {
        let stat = read("/proc/1/stat")?;
        // Behind the name, which may hold anything, field 22 is the start in clock ticks since the
        // kernel's: proc(5).
        let started: u64 = stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()?;
        let ticks = rustix::param::clock_ticks_per_second();
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime).tv_sec as u64;
        Some(now.saturating_sub(started / ticks.max(1)))
    };
    // Early in its life systemd bears the name that it was called by.
    let is_systemd = || match read("/proc/1/comm").as_deref().map(str::trim) {
        Some("systemd") => true,
        Some("init") => std::fs::read_link("/sbin/init").is_ok_and(|to| to.ends_with("systemd")),
        _ => false,
    };
    is_systemd() && age().is_some_and(|seconds| seconds < NEW_SECONDS)
}

/// What a login of `account` gives; the base alone where its shell does not tell.
pub fn of(account: &Account, agent: &OsStr) -> Login {
    let base = base(account);
    let stamp = stamp(account);
    let cache = Path::new(CACHE).join(format!("login-{}", account.uid));
    let told = match read_cache(&cache, stamp) {
        Some(told) => told,
        None => {
            let told = ask_shell(account, agent, &base).unwrap_or_default();
            // Without the copy only the next run is slower; a box without /run has no place for it.
            let _slower = write_cache(&cache, stamp, &told);
            told
        }
    };
    let (variables, umask) = parse(&told, base);
    Login { variables, umask: umask.unwrap_or_else(|| umask::of(account)) }
}

/// Sets a variable, in the place that it has already.
pub fn set(variables: &mut Variables, name: OsString, value: OsString) {
    match variables.iter_mut().find(|(known, _)| *known == name) {
        Some((_, old)) => *old = value,
        None => variables.push((name, value)),
    }
}

/// The agent's `print-environment`: writes umask and environment to stdout, for `ask_shell`.
///
/// # Errors
/// write(2)'s.
pub fn print_environment() -> io::Result<()> {
    let umask = rustix::process::umask(rustix::fs::Mode::empty());
    let mut out = MARK.to_vec();
    out.extend_from_slice(format!("{:o}\0", umask.as_raw_mode()).as_bytes());
    for (name, value) in std::env::vars_os() {
        out.extend_from_slice(name.as_bytes());
        out.push(b'=');
        out.extend_from_slice(value.as_bytes());
        out.push(0);
    }
    io::stdout().write_all(&out)
}

/// Reads what `print_environment` wrote over `base`; and the umask, if it wrote any.
fn parse(told: &[u8], base: Variables) -> (Variables, Option<u32>) {
    let mut variables = base;
    let Some(at) = told.windows(MARK.len()).rposition(|window| window == MARK) else {
        return (variables, None);
    };
    let mut fields = told[at + MARK.len()..].split(|byte| *byte == 0);
    let umask = fields.next().and_then(|field| std::str::from_utf8(field).ok());
    let umask = umask.and_then(|field| u32::from_str_radix(field, 8).ok());
    for field in fields {
        let Some(equals) = field.iter().position(|byte| *byte == b'=') else { continue };
        let (name, value) = (OsStr::from_bytes(&field[..equals]), &field[equals + 1..]);
        if !NOT_KEPT.iter().any(|not_kept| name == *not_kept) {
            set(&mut variables, name.to_owned(), OsString::from_vec(value.to_vec()));
        }
    }
    (variables, umask.map(|umask| umask & 0o777))
}

/// Runs the user's login shell as the user, with a time limit, and reads what it tells.
fn ask_shell(account: &Account, agent: &OsStr, base: &Variables) -> io::Result<Vec<u8>> {
    let (read, write) = pipes::pipe()?;
    let child = match process::fork()? {
        Forked::Parent(pid) => pid,
        Forked::Child => {
            drop(read);
            let error = become_shell(account, agent, base, write);
            process::exit_now(if error.kind() == io::ErrorKind::NotFound { 127 } else { 126 })
        }
    };
    drop(write);
    pipes::set_nonblocking(&read, true)?;
    let mut told = Vec::new();
    let deadline = Instant::now() + PATIENCE;
    let mut read = File::from(read);
    let mut buffer = [0; 16 << 10];
    while Instant::now() < deadline && told.len() < MOST_BYTES {
        match read.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => told.extend_from_slice(&buffer[..count]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                let mut set = PollSet::new();
                set.add((), std::os::fd::AsFd::as_fd(&read), Interest::Read);
                set.wait(Some(deadline))?;
            }
            Err(error) => return Err(error),
        }
    }
    process::signal_group(child, libc::SIGKILL)?;
    // The group is dead, so this wait is short; other children do not exist yet.
    while process::child_event(child)?
        .is_none_or(|event| !matches!(event, process::ChildEvent::Ended(_)))
    {
        std::thread::sleep(Duration::from_micros(200));
    }
    Ok(told)
}

fn become_shell(
    account: &Account,
    agent: &OsStr,
    base: &Variables,
    out: impl std::os::fd::AsFd,
) -> io::Error {
    let become_it = || -> io::Result<()> {
        process::own_group(0)?;
        super::spawn::reset_signals(0);
        process::install_fd(crate::sys::fds::open_null()?, 0)?;
        process::install_fd(out, 1)?;
        process::install_fd(crate::sys::fds::open_null()?, 2)?;
        process::set_umask(umask::of(account));
        process::become_user(account.uid, account.gid, &account.groups)?;
        std::env::set_current_dir(&account.home).or_else(|_| std::env::set_current_dir("/"))
    };
    if let Err(error) = become_it() {
        return error;
    }
    let mut command = b"exec '".to_vec();
    command.extend_from_slice(agent.as_bytes());
    command.extend_from_slice(b"' print-environment");
    super::spawn::exec(
        account.shell.as_bytes(),
        &[account.shell.as_bytes(), b"-l", b"-c", &command],
        base,
    )
}

/// A number that changes when a file changes that a shell reads at login.
fn stamp(account: &Account) -> u64 {
    const SYSTEM: &[&str] = &[
        "/etc/profile",
        "/etc/profile.d",
        "/etc/environment",
        "/etc/bash.bashrc",
        "/etc/bashrc",
        "/etc/zshenv",
        "/etc/zprofile",
        "/etc/zsh/zshenv",
        "/etc/zsh/zprofile",
        "/etc/zsh/zlogin",
        "/etc/locale.conf",
        "/etc/default/locale",
        "/etc/fish/config.fish",
        "/etc/passwd",
        "/etc/group",
    ];
    const HOME: &[&str] = &[
        ".profile",
        ".bash_profile",
        ".bash_login",
        ".bashrc",
        ".zshenv",
        ".zprofile",
        ".zlogin",
        ".config/fish/config.fish",
        ".config/fish/conf.d",
        ".config/environment.d",
        ".pam_environment",
    ];
    let mut files: Vec<PathBuf> = SYSTEM.iter().map(PathBuf::from).collect();
    files.extend(HOME.iter().map(|name| Path::new(&account.home).join(name)));
    if let Ok(entries) = std::fs::read_dir("/etc/profile.d") {
        files.extend(entries.flatten().map(|entry| entry.path()));
    }
    files.extend(umask::files());
    files.sort();
    let mut hasher = DefaultHasher::new();
    (account.uid, account.gid, &account.home, &account.shell).hash(&mut hasher);
    for file in files {
        let seen = std::fs::metadata(&file)
            .map(|meta| (meta.ino(), meta.size(), meta.mtime(), meta.mtime_nsec()));
        (file, seen.ok()).hash(&mut hasher);
    }
    // Whether the user's session has started decides on XDG_RUNTIME_DIR, which profiles use.
    Path::new(&format!("/run/user/{}/bus", account.uid)).exists().hash(&mut hasher);
    hasher.finish()
}

fn read_cache(path: &Path, stamp: u64) -> Option<Vec<u8>> {
    let file = std::fs::OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC)
        .open(path)
        .ok()?;
    // The directory is root's; the check is for a box where somebody made it writable.
    if file.metadata().ok()?.uid() != 0 {
        return None;
    }
    let mut bytes = Vec::new();
    file.take(MOST_BYTES as u64 + 8).read_to_end(&mut bytes).ok()?;
    let (head, told) = bytes.split_first_chunk::<8>()?;
    (u64::from_le_bytes(*head) == stamp).then(|| told.to_vec())
}

fn write_cache(path: &Path, stamp: u64, told: &[u8]) -> io::Result<()> {
    std::fs::DirBuilder::new().mode(0o755).recursive(true).create(CACHE)?;
    let temporary = path.with_extension(std::process::id().to_string());
    let mut file =
        std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
    file.write_all(&stamp.to_le_bytes())?;
    file.write_all(told)?;
    std::fs::rename(&temporary, path)
}

/// PATH as login(1) sets it: login.defs(5), else what Debian and Fedora ship there.
fn default_path(root: bool) -> OsString {
    let key = if root { "ENV_SUPATH" } else { "ENV_PATH" };
    let path = login_definition(key).map(|value| value.trim_start_matches("PATH=").to_owned());
    let usual = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    path.unwrap_or_else(|| usual.to_owned()).into()
}

fn login_definition(key: &str) -> Option<String> {
    let text = std::fs::read_to_string("/etc/login.defs").ok()?;
    umask::value_of(&text, key).map(str::to_owned)
}

/// Reads a file of `NAME=value` lines as pam_env(8) does `/etc/environment`: an `export` before
/// the name and quotes around the value are allowed, nothing is expanded.
fn read_environment_file(path: &Path) -> Variables {
    let bytes = std::fs::read(path).unwrap_or_default();
    let lines = bytes.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    lines.filter_map(environment_line).collect()
}

fn environment_line(line: &[u8]) -> Option<(OsString, OsString)> {
    let line = line.strip_prefix(b"export ").unwrap_or(line);
    if line.starts_with(b"#") {
        return None;
    }
    let equals = line.iter().position(|byte| *byte == b'=').filter(|at| *at > 0)?;
    let (name, mut value) = (&line[..equals], &line[equals + 1..]);
    for quote in [b"\"", b"'"] {
        if let Some(rest) = value.strip_prefix(quote) {
            value = rest.strip_suffix(quote).unwrap_or(rest);
            break;
        }
    }
    Some((OsString::from_vec(name.to_vec()), OsString::from_vec(value.to_vec())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_etc_environment_may_be_quoted_and_exported() {
        let line = |text: &str| environment_line(text.as_bytes());
        let pair = |name: &str, value: &str| Some((name.into(), value.into()));
        assert_eq!(line("PATH=\"/a:/b\""), pair("PATH", "/a:/b"));
        assert_eq!(line("export A='x y'"), pair("A", "x y"));
        assert_eq!(line("A=b=c"), pair("A", "b=c"));
        assert_eq!(line("# A=b"), None);
        assert_eq!(line("=x"), None);
        assert_eq!(line(""), None);
    }

    #[test]
    fn what_profile_scripts_print_is_not_taken_for_variables() {
        let base: Variables = vec![("HOME".into(), "/h".into())];
        let mut told = b"Welcome! FAKE=1\n".to_vec();
        told.extend_from_slice(MARK);
        told.extend_from_slice(b"2\0PATH=/x\0SHLVL=3\0HOME=/other\0");
        let (variables, umask) = parse(&told, base.clone());
        assert_eq!(umask, Some(0o002));
        assert_eq!(variables, [("HOME".into(), "/other".into()), ("PATH".into(), "/x".into())]);
        assert_eq!(parse(b"Welcome! FAKE=1\n", base.clone()), (base, None));
    }
}
