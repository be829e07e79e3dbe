//! The host's desktop session in the box: links from the places where programs look for its
//! sockets to the directories in which the host shows them, and the variables that name them.
//!
//! Links in the user's runtime directory are made as root, in a directory of the user's; so every
//! step goes by descriptor and name, and follows no link.

use std::ffi::OsString;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode, OFlags, Uid};

use super::account::Account;
use super::drawing;
use super::login::{self, Variables};
use super::protocol::desktop::{
    Desktop, Identity, ON, SHARE, Switch, X11, X11_SOCKETS, host_runtime, local_display, mark_of,
    runtime,
};
use super::protocol::hand_over::{BUS, DIRECTORY};
use super::themes;
use super::{exporter, xdg_open};
use crate::run::agent_file::PLACES;

/// Where cookies are, and what is known of directories that nobody could mend.
const STATE: &str = "/run/incusbox";
/// More than that no cookie file of ours has.
const MOST_COOKIE: u64 = 256 << 10;
/// What a user's programs look for in the runtime directory when no variable says otherwise.
const AUDIO_SOCKETS: &[&str] = &["pipewire-0", "pipewire-0-manager"];
const PULSE: &str = "pulse";
/// Before the distribution's own on everybody's PATH.
const PROGRAMS: &str = "/usr/local/bin";

/// Whether the box sees other directories of the session than the host has now, and the host may
/// be able to mend that.
pub fn is_stale(desktop: &Desktop) -> bool {
    if !Path::new(ON).is_dir() || is_seen(desktop) {
        return false;
    }
    let known = PathBuf::from(STATE).join(format!("stale-{}", desktop.uid));
    let told = format!("{:?} {:?}", desktop.runtime, desktop.x11);
    if std::fs::read_to_string(&known).is_ok_and(|before| before == told) {
        return false;
    }
    if desktop.insists {
        // Asked again at each run, it would be as slow as this one at each.
        let _asked_again_then =
            std::fs::create_dir_all(STATE).and_then(|()| std::fs::write(&known, told));
    }
    !desktop.insists
}

/// Whether the directories that the switches want are the ones that the host has. Where it has
/// none, nothing is missed.
fn is_seen(desktop: &Desktop) -> bool {
    let shows = |path: &str, wanted: Option<Identity>| {
        wanted.is_none_or(|wanted| Identity::of(path) == Some(wanted))
    };
    let wants_runtime =
        Switch::ALL.into_iter().any(|switch| switch.needs_session() && is_on(switch));
    (!wants_runtime || shows(&runtime(desktop.uid), desktop.runtime))
        && (!is_on(Switch::Display) || shows(X11, desktop.x11))
}

/// Whether a command that may open windows would not be let in.
pub fn lacks_cookie(desktop: &Desktop) -> bool {
    is_on(Switch::Display) && desktop.cookie_mark != 0 && known_cookie(desktop).is_none()
}

/// The cookie, from the request or as it is kept for requests that do not bring it.
fn known_cookie(desktop: &Desktop) -> Option<Vec<u8>> {
    let kept = format!("cookie-{}-{}", desktop.uid, display_number(desktop)?);
    let kept = PathBuf::from(STATE).join(kept);
    let is_it = |cookie: &Vec<u8>| mark_of(cookie) == desktop.cookie_mark;
    if let Some(known) = std::fs::read(&kept).ok().filter(is_it) {
        return Some(known);
    }
    let brought = Some(&desktop.cookie).filter(|cookie| is_it(cookie))?;
    let keep = || -> std::io::Result<()> {
        use std::os::unix::fs::OpenOptionsExt;
        std::fs::create_dir_all(STATE)?;
        let new = kept.with_extension(std::process::id().to_string());
        let mut options = std::fs::OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        options.open(&new)?.write_all(brought)?;
        std::fs::rename(new, &kept)
    };
    let _brought_again_then = keep();
    Some(brought.clone())
}

fn display_number(desktop: &Desktop) -> Option<String> {
    let (_, display) = desktop.environment.iter().find(|(name, _)| name == b"DISPLAY")?;
    local_display(display)
}

fn is_on(switch: Switch) -> bool {
    Path::new(ON).join(switch.name()).exists()
}

/// Sets the variables of the session for a command of `account`, and makes the links that they
/// name. What cannot be reached is not named.
pub fn enter(desktop: &Desktop, account: &Account, variables: &mut Variables) {
    if !Path::new(ON).is_dir() {
        return pass(desktop, variables);
    }
    let passage = Passage::new(desktop, account);
    let mut has_display = false;
    for (name, value) in &desktop.environment {
        let Some(switch) = Switch::of_variable(name).filter(|switch| is_on(*switch)) else {
            continue;
        };
        let value = match (switch, name.as_slice()) {
            (Switch::Display, b"DISPLAY") => passage.x11(value),
            (Switch::Display, b"WAYLAND_DISPLAY") => passage.wayland(value),
            (Switch::Audio, b"PULSE_SERVER") => Some(passage.server(value, b"unix:")),
            (Switch::Audio, _) => passage.path(value),
            (Switch::Bus, _) => passage.bus(value),
            (Switch::SshAgent, _) => passage.path(value),
            _ => None,
        };
        if let Some(value) = value {
            has_display |= name == b"DISPLAY";
            login::set(variables, text(name), OsString::from_vec(value));
        }
    }
    if has_display {
        if let Some(path) = passage.cookie() {
            login::set(variables, "XAUTHORITY".into(), path.into_os_string());
        }
        drawing::settle(variables, Path::new("/dev"));
    }
    if is_on(Switch::Bus) {
        offer_programs();
    }
    if is_on(Switch::Audio) {
        for (name, path) in passage.audio() {
            if !variables.iter().any(|(known, _)| *known == name) {
                login::set(variables, name.into(), path);
            }
        }
    }
    if is_on(Switch::Themes) && Path::new(SHARE).is_dir() {
        themes::append(variables);
    }
}

/// Has the box's `xdg-open` and `incusbox` be this program, in place of nothing or of an earlier
/// version.
fn offer_programs() {
    let Ok(own) = std::env::current_exe() else { return };
    let Some(at) = directory(CWD, PROGRAMS, 0) else { return };
    let is_ours = |target: &[u8]| PLACES.iter().any(|place| target.starts_with(place.as_bytes()));
    for name in [xdg_open::NAME].into_iter().chain(exporter::NAMES) {
        match rustix::fs::readlinkat(&at, name, Vec::new()) {
            Ok(target) if !is_ours(target.as_bytes()) => {}
            // They are a convenience, so its failure is nobody's business.
            _ => drop(link(&at, name, &own)),
        }
    }
}

/// Where nobody decided about switches: the variables as they are, but for paths that the box does
/// not have and the bus, which is the box's own.
fn pass(desktop: &Desktop, variables: &mut Variables) {
    for (name, value) in &desktop.environment {
        let is_path = [b"SSH_AUTH_SOCK".as_slice(), b"XAUTHORITY"].contains(&name.as_slice());
        let exists = || Path::new(&text(value)).exists();
        if Switch::of_variable(name) != Some(Switch::Bus) && (!is_path || exists()) {
            login::set(variables, text(name), text(value));
        }
    }
}

fn text(bytes: &[u8]) -> OsString {
    OsString::from_vec(bytes.to_vec())
}

/// The way from a path of the host's to the one in the box.
struct Passage<'a> {
    desktop: &'a Desktop,
    account: &'a Account,
    /// `/run/user/UID/` on the host.
    outside: String,
    /// Where the box sees it.
    inside: String,
    /// The box's own runtime directory of the user, if links may be made there.
    own: Option<OwnedFd>,
}

impl<'a> Passage<'a> {
    fn new(desktop: &'a Desktop, account: &'a Account) -> Passage<'a> {
        let outside = format!("{}/", host_runtime(desktop.uid));
        // Another user of the box has no way into the first one's directory, root has.
        let own = (account.uid == desktop.uid).then(|| directory(CWD, &outside, account.uid));
        Passage { desktop, account, outside, inside: runtime(desktop.uid), own: own.flatten() }
    }

    /// What follows `/run/user/UID/`.
    fn within<'p>(&self, path: &'p [u8]) -> Option<&'p [u8]> {
        let rest = path.strip_prefix(self.outside.as_bytes())?;
        let is_plain = !rest.split(|byte| *byte == b'/').any(|part| part == b"..");
        is_plain.then_some(rest)
    }

    /// Where the box sees the socket `rest` of the host's runtime directory, if it is there.
    fn seen(&self, rest: &[u8]) -> Option<Vec<u8>> {
        let path = [self.inside.as_bytes(), b"/", rest].concat();
        Path::new(&text(&path)).exists().then_some(path)
    }

    /// A path in the box to the socket at `path` on the host.
    fn path(&self, path: &[u8]) -> Option<Vec<u8>> {
        match self.within(path) {
            Some(rest) => self.seen(rest),
            // In the shared home, or a name and no path (`PIPEWIRE_REMOTE=pipewire-0`).
            None if path.contains(&b'/') => Path::new(&text(path)).exists().then(|| path.to_vec()),
            None => Some(path.to_vec()),
        }
    }

    /// A server's address: of a socket behind `prefix`, or one that holds anywhere.
    fn server(&self, address: &[u8], prefix: &[u8]) -> Vec<u8> {
        let path = address.strip_prefix(prefix).and_then(|path| self.path(path));
        path.map_or_else(|| address.to_vec(), |path| [prefix, &path].concat())
    }

    /// `DISPLAY`, with a link to the server's socket.
    fn x11(&self, display: &[u8]) -> Option<Vec<u8>> {
        let number = local_display(display)?;
        let name = format!("X{number}");
        let target = format!("{X11}/{name}");
        if !Path::new(&target).exists() {
            return None;
        }
        // Programs in the box may have X servers of their own beside it.
        let _made_at_boot = rustix::fs::mkdir(X11_SOCKETS, Mode::from_raw_mode(0o1777))
            .and_then(|()| rustix::fs::chmod(X11_SOCKETS, Mode::from_raw_mode(0o1777)));
        let linked = directory(CWD, X11_SOCKETS, 0).is_some_and(|at| link(&at, &name, &target));
        linked.then(|| display.to_vec())
    }

    /// `WAYLAND_DISPLAY`: a name where a link can stand for it, else a whole path.
    fn wayland(&self, display: &[u8]) -> Option<Vec<u8>> {
        let rest = if display.contains(&b'/') { self.within(display) } else { Some(display) };
        let Some(rest) = rest else { return self.path(display) };
        let path = self.seen(rest)?;
        let name = std::str::from_utf8(rest).ok().filter(|name| !name.contains('/'));
        match (&self.own, name) {
            (Some(own), Some(name)) if link(own, name, text(&path)) => Some(name.into()),
            _ => Some(path),
        }
    }

    /// `DBUS_SESSION_BUS_ADDRESS`: one that the box can reach, else its own bus stays.
    fn bus(&self, address: &[u8]) -> Option<Vec<u8>> {
        let reach = |one: &[u8]| {
            let path = one.strip_prefix(b"unix:path=")?;
            let path = path.split(|byte| *byte == b',').next().unwrap_or_default();
            Some([b"unix:path=", self.path(path)?.as_slice()].concat())
        };
        let reached: Vec<Vec<u8>> = address.split(|byte| *byte == b';').filter_map(reach).collect();
        // First by way of the host's session, where that is there for its own user.
        let is_own = self.account.uid == self.desktop.uid;
        let by_session =
            is_own.then(|| self.seen(format!("{DIRECTORY}/{BUS}").as_bytes())).flatten();
        let by_session = by_session.map(|path| [b"unix:path=", path.as_slice()].concat());
        let all: Vec<Vec<u8>> = by_session.into_iter().chain(reached.iter().cloned()).collect();
        (!reached.is_empty()).then(|| all.join(&b';'))
    }

    /// The cookie in a file of the command's user; the same for every run on the same display. In a
    /// directory of the user's, for xauth(1) wants to lock it.
    fn cookie(&self) -> Option<PathBuf> {
        let number = display_number(self.desktop)?;
        if self.desktop.cookie_mark == 0 {
            return None;
        }
        let (uid, gid) = (Uid::from_raw(self.account.uid), Gid::from_raw(self.account.gid));
        let path = Path::new(STATE).join(self.account.uid.to_string());
        std::fs::create_dir_all(STATE).ok()?;
        if rustix::fs::mkdir(&path, Mode::RWXU).is_ok() {
            rustix::fs::chown(&path, Some(uid), Some(gid)).ok()?;
        }
        let at = directory(CWD, &path.to_string_lossy(), self.account.uid)?;
        let name = format!("xauthority-{number}");
        let is_it = |there: Vec<u8>| mark_of(&there) == self.desktop.cookie_mark;
        if !content(&at, &name).is_some_and(is_it) {
            let cookie = known_cookie(self.desktop)?;
            let temporary = format!(".{name}.{}", std::process::id());
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
            let file = rustix::fs::openat(&at, &temporary, flags, Mode::RUSR | Mode::WUSR).ok()?;
            // A rename: others may be reading it.
            let mut file = File::from(file);
            let written = rustix::fs::fchown(&file, Some(uid), Some(gid))
                .map_err(Into::into)
                .and_then(|()| file.write_all(&cookie))
                .and_then(|()| Ok(rustix::fs::renameat(&at, &temporary, &at, &name)?));
            if written.is_err() {
                let _still_there_then = rustix::fs::unlinkat(&at, &temporary, AtFlags::empty());
                return None;
            }
        }
        Some(path.join(name))
    }

    /// Links for those who ask for no name, and variables for those who would not find them.
    fn audio(&self) -> Vec<(&'static str, OsString)> {
        let mut named = Vec::new();
        for name in AUDIO_SOCKETS {
            let Some(path) = self.seen(name.as_bytes()) else { continue };
            let linked = self.own.as_ref().is_some_and(|own| link(own, name, text(&path)));
            if !linked && *name == AUDIO_SOCKETS[0] {
                named.push(("PIPEWIRE_REMOTE", text(&path)));
            }
        }
        if let Some(path) = self.seen(b"pulse/native") {
            let own = self.own.as_ref().and_then(|own| self.pulse(own));
            if !own.is_some_and(|own| link(&own, "native", text(&path))) {
                let mut address = OsString::from("unix:");
                address.push(text(&path));
                named.push(("PULSE_SERVER", address));
            }
        }
        named
    }

    /// libpulse wants the directory to be the user's and nobody else's to read.
    fn pulse(&self, own: &OwnedFd) -> Option<OwnedFd> {
        if rustix::fs::mkdirat(own, PULSE, Mode::RWXU).is_ok() {
            let (uid, gid) = (Uid::from_raw(self.account.uid), Gid::from_raw(self.account.gid));
            let made =
                rustix::fs::chownat(own, PULSE, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW);
            made.ok()?;
        }
        directory(own, PULSE, self.account.uid)
    }
}

/// The directory `path`, seen from `at`, if it is one and belongs to `owner`.
fn directory(at: impl AsFd, path: &str, owner: u32) -> Option<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let opened = rustix::fs::openat(at, path.trim_end_matches('/'), flags, Mode::empty()).ok()?;
    let is_owners = rustix::fs::fstat(&opened).is_ok_and(|stat| stat.st_uid == owner);
    is_owners.then_some(opened)
}

/// The content of the file `name` in the directory `at`, which anybody may have made anything.
fn content(at: &OwnedFd, name: &str) -> Option<Vec<u8>> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = rustix::fs::openat(at, name, flags, Mode::empty()).ok()?;
    let kind = FileType::from_raw_mode(rustix::fs::fstat(&file).ok()?.st_mode);
    let mut content = Vec::new();
    let file = (kind == FileType::RegularFile).then(|| File::from(file))?;
    file.take(MOST_COOKIE).read_to_end(&mut content).ok()?;
    Some(content)
}

/// Makes `name` in the directory `at` a link to `target`, in place of another link at most: a
/// socket there is of a server in the box. Whether it leads there now.
fn link(at: &OwnedFd, name: &str, target: impl AsRef<Path>) -> bool {
    let target = target.as_ref();
    match rustix::fs::readlinkat(at, name, Vec::new()) {
        Ok(there) if there.as_bytes() == target.as_os_str().as_bytes() => return true,
        Ok(_) => {}
        Err(rustix::io::Errno::NOENT) => return rustix::fs::symlinkat(target, at, name).is_ok(),
        Err(_) => return false,
    }
    let temporary = format!(".{name}.{}", std::process::id());
    let moved = rustix::fs::symlinkat(target, at, &temporary)
        .and_then(|()| rustix::fs::renameat(at, &temporary, at, name));
    if moved.is_err() {
        let _was_not_made = rustix::fs::unlinkat(at, &temporary, AtFlags::empty());
    }
    moved.is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scratch(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("incusbox-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a directory");
        path
    }

    #[test]
    fn a_link_takes_the_place_of_a_link_and_of_nothing_else() {
        let path = scratch("links");
        let own = rustix::process::getuid().as_raw();
        let at = directory(CWD, &path.to_string_lossy(), own).expect("a directory");
        assert!(link(&at, "a", "/one") && link(&at, "a", "/one") && link(&at, "a", "/two"));
        assert_eq!(std::fs::read_link(path.join("a")).expect("a link"), Path::new("/two"));
        std::fs::write(path.join("b"), "a server's").expect("a file");
        assert!(!link(&at, "b", "/one"));
        assert_eq!(std::fs::read_to_string(path.join("b")).expect("a file"), "a server's");
        assert_eq!(std::fs::read_dir(&path).expect("a directory").count(), 2);
        let _left_in_tmp = std::fs::remove_dir_all(path);
    }

    #[test]
    fn a_directory_of_somebody_else_or_behind_a_link_is_none() {
        let path = scratch("owned");
        let own = rustix::process::getuid().as_raw();
        assert!(directory(CWD, &path.to_string_lossy(), own + 1).is_none());
        let other = path.join("link");
        std::os::unix::fs::symlink("/", &other).expect("a link");
        assert!(directory(CWD, &other.to_string_lossy(), 0).is_none());
        let _left_in_tmp = std::fs::remove_dir_all(path);
    }

    #[test]
    fn addresses_lead_to_where_the_box_sees_the_sockets() {
        let account = Account {
            name: "dev".into(),
            uid: 4_000_000,
            gid: 4_000_000,
            home: "/nonexistent".into(),
            shell: "/bin/sh".into(),
            groups: Vec::new(),
        };
        let desktop = Desktop { uid: 4_000_000, ..Desktop::default() };
        let mut passage = Passage::new(&desktop, &account);
        let path = scratch("runtime");
        std::fs::write(path.join("bus"), "").expect("a file");
        passage.inside = path.to_string_lossy().into_owned();
        let inside = |name: &str| [passage.inside.as_bytes(), b"/", name.as_bytes()].concat();
        let bus = b"unix:path=/run/user/4000000/bus,guid=1;unix:abstract=/tmp/x";
        let expected = [b"unix:path=".as_slice(), &inside("bus")].concat();
        assert_eq!(passage.bus(bus), Some(expected));
        assert_eq!(passage.bus(b"unix:abstract=/tmp/x"), None);
        assert_eq!(passage.path(b"/run/user/4000000/bus"), Some(inside("bus")));
        assert_eq!(passage.path(b"/run/user/4000000/gone"), None);
        assert_eq!(passage.path(b"/run/user/4000000/../../bin"), None);
        assert_eq!(passage.server(b"tcp:host:1", b"unix:"), b"tcp:host:1");
        assert_eq!(passage.wayland(b"bus"), Some(inside("bus")), "no directory for a link");
        let _left_in_tmp = std::fs::remove_dir_all(path);
    }
}
