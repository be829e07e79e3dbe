//! The desktop session that the caller is in, as the agent needs to know it.

use std::ffi::{OsStr, OsString};
use std::io::Read;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use super::xauthority;
use crate::agent::protocol::desktop::{
    Desktop, Identity, Switch, X11_SOCKETS, host_runtime, local_display, mark_of,
};
use crate::agent::protocol::hand_over::{DIRECTORY, SSH_AGENT, SSH_AGENT_LINK};

/// Looks at the session of the user `uid`, whose variables `host` tells.
pub fn look(uid: u32, host: impl Fn(&OsStr) -> Option<OsString>) -> Desktop {
    let mut environment = Vec::new();
    for name in Switch::ALL.iter().flat_map(|switch| switch.variables()) {
        if let Some(value) = host(name.as_ref()).filter(|value| !value.is_empty()) {
            let value = match *name {
                // An agent that came along by ssh(1) is for that login alone.
                "SSH_AUTH_SOCK" if host("SSH_CONNECTION".as_ref()).is_none() => {
                    within_sight(uid, value)
                }
                _ => value,
            };
            environment.push((name.as_bytes().to_vec(), value.into_vec()));
        }
    }
    Desktop {
        uid,
        runtime: Identity::of(&host_runtime(uid)),
        x11: Identity::of(X11_SOCKETS),
        cookie_mark: mark_of(&cookie(host)),
        cookie: Vec::new(),
        environment,
        insists: false,
    }
}

/// Where a box sees the ssh-agent at `path`: some desktops put it into `/tmp`, which no box shares,
/// and then the session's own socket leads there by a link.
fn within_sight(uid: u32, path: OsString) -> OsString {
    let directory = PathBuf::from(host_runtime(uid)).join(DIRECTORY);
    let socket = directory.join(SSH_AGENT);
    if !path.as_bytes().starts_with(b"/tmp/") || !socket.exists() {
        return path;
    }
    let link = directory.join(SSH_AGENT_LINK);
    if std::fs::read_link(&link).is_ok_and(|there| there == Path::new(&path)) {
        return socket.into();
    }
    let new = directory.join(format!("{SSH_AGENT_LINK}.{}", std::process::id()));
    let made = std::os::unix::fs::symlink(&path, &new).and_then(|()| std::fs::rename(&new, &link));
    match made {
        Ok(()) => socket.into(),
        Err(_) => path,
    }
}

/// The cookie of the display, as a file that holds on any host; empty where there is none.
pub fn cookie(host: impl Fn(&OsStr) -> Option<OsString>) -> Vec<u8> {
    let display = host("DISPLAY".as_ref());
    let number = display.as_deref().and_then(|display| local_display(display.as_bytes()));
    number.and_then(|number| cookie_of(&number, host)).unwrap_or_default()
}

fn cookie_of(number: &str, host: impl Fn(&OsStr) -> Option<OsString>) -> Option<Vec<u8>> {
    let path = match host("XAUTHORITY".as_ref()).filter(|path| !path.is_empty()) {
        Some(path) => PathBuf::from(path),
        None => PathBuf::from(host("HOME".as_ref())?).join(".Xauthority"),
    };
    let mut file = Vec::new();
    let opened = std::fs::File::open(path).ok()?;
    opened.take(xauthority::MOST_BYTES).read_to_end(&mut file).ok()?;
    let name = crate::sys::process::host_name();
    Some(xauthority::for_any_host(&file, name.as_bytes(), number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_variables_of_the_session_go_along_if_they_say_anything() {
        let host = |name: &OsStr| match name.to_str() {
            Some("WAYLAND_DISPLAY") => Some("wayland-0".into()),
            Some("SSH_AUTH_SOCK") => Some("".into()),
            _ => None,
        };
        let seen = look(1, host);
        assert_eq!(seen.environment, [(b"WAYLAND_DISPLAY".to_vec(), b"wayland-0".to_vec())]);
        assert_eq!((seen.uid, seen.cookie_mark), (1, 0));
    }
}
