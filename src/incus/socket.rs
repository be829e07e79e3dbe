//! Finding the daemon's socket.

use std::ffi::OsString;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use super::error::Error;
use crate::sys::process;

/// A daemon that can be talked to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Daemon {
    /// Its socket.
    pub socket: PathBuf,
    /// Whether this is the socket of `incus-user`, which confines each user to a project.
    pub restricted: bool,
}

/// The name that `incus-user` gives its socket, beside the daemon's own.
const RESTRICTED: &str = "unix.socket.user";

impl Daemon {
    fn at(socket: PathBuf) -> Daemon {
        let restricted = socket.file_name().is_some_and(|name| name == RESTRICTED);
        Daemon { socket, restricted }
    }

    /// Opens a connection.
    ///
    /// # Errors
    /// connect(2)'s.
    pub fn connect(&self) -> io::Result<UnixStream> {
        UnixStream::connect(&self.socket)
    }

    /// The project that this socket implies.
    pub fn implied_project(&self) -> Option<String> {
        self.restricted.then(|| format!("user-{}", process::own_ids().0))
    }
}

/// Where to look, in this order, given the environment.
fn candidates(variable: impl Fn(&str) -> Option<OsString>) -> Vec<Daemon> {
    let set = |name| variable(name).filter(|value| !value.is_empty());
    if let Some(socket) = set("INCUS_SOCKET") {
        return vec![Daemon::at(socket.into())];
    }
    let directories: Vec<PathBuf> = match set("INCUS_DIR") {
        Some(directory) => vec![directory.into()],
        None => vec!["/run/incus".into(), "/var/lib/incus".into()],
    };
    let all = |name: &str| directories.iter().map(|at| at.join(name)).collect::<Vec<_>>();
    let mut sockets = all("unix.socket");
    sockets.extend(all(RESTRICTED));
    sockets.into_iter().map(Daemon::at).collect()
}

/// Whether there is no daemon here at all, running or not.
pub fn has_no_socket() -> bool {
    let candidates = candidates(|name| std::env::var_os(name));
    let is_missing = |error: &io::Error| {
        matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
    };
    candidates.iter().all(|daemon| daemon.socket.metadata().is_err_and(|error| is_missing(&error)))
}

/// Finds a daemon that answers and opens a first connection to it.
///
/// # Errors
/// The most telling reason among the candidates: permission before "not running" before "no such
/// socket".
pub fn find() -> Result<(Daemon, UnixStream), Error> {
    let candidates = candidates(|name| std::env::var_os(name));
    let (mut denied, mut refused) = (None, None);
    for daemon in &candidates {
        match daemon.connect() {
            Ok(stream) => return Ok((daemon.clone(), stream)),
            Err(error) => match error.kind() {
                io::ErrorKind::PermissionDenied => denied = denied.or(Some(&daemon.socket)),
                io::ErrorKind::ConnectionRefused => refused = refused.or(Some(&daemon.socket)),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {}
                _ => {
                    let socket = daemon.socket.clone();
                    return Err(Error::Connect { socket, source: error });
                }
            },
        }
    }
    // Who could have connected to the daemon's own socket need not join a group to use the other.
    let refused_own = refused.filter(|socket| socket.file_name().is_some_and(|n| n != RESTRICTED));
    Err(match (denied.filter(|_| refused_own.is_none()), refused) {
        (Some(socket), _) => permission(socket),
        (None, Some(socket)) => Error::NotRunning { socket: socket.clone() },
        (None, None) => {
            Error::NoSocket { tried: candidates.into_iter().map(|daemon| daemon.socket).collect() }
        }
    })
}

/// Says which group may use `socket`, and whether the account is in it already.
fn permission(socket: &Path) -> Error {
    // Without search permission on the directory the socket's group cannot be read; then it is
    // the one that every packaging uses.
    let gid = std::fs::metadata(socket).ok().map(|meta| meta.gid());
    let group = match gid {
        Some(gid) => nix::unistd::Group::from_gid(gid.into()).ok().flatten(),
        None => nix::unistd::Group::from_name("incus-admin").ok().flatten(),
    };
    let name = process::user_name(process::own_ids().0);
    let is_member = group
        .as_ref()
        .zip(name)
        .is_some_and(|(group, name)| group.mem.iter().any(|member| OsString::from(member) == name));
    let group = group.map(|group| group.name).filter(|name| name != "root");
    Error::Permission { socket: socket.to_owned(), group, is_member }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sockets(variables: &[(&str, &str)]) -> Vec<(String, bool)> {
        let find = |name: &str| {
            let value = variables.iter().find(|(known, _)| *known == name);
            value.map(|(_, value)| OsString::from(value))
        };
        candidates(find)
            .into_iter()
            .map(|daemon| (daemon.socket.display().to_string(), daemon.restricted))
            .collect()
    }

    #[test]
    fn a_named_socket_is_the_only_candidate() {
        let named = sockets(&[("INCUS_SOCKET", "/x/unix.socket.user"), ("INCUS_DIR", "/y")]);
        assert_eq!(named, [("/x/unix.socket.user".to_owned(), true)]);
    }

    #[test]
    fn the_daemons_own_socket_comes_before_the_restricted_one() {
        let found =
            |directory: &str, name: &str| (format!("{directory}/{name}"), name == RESTRICTED);
        assert_eq!(
            sockets(&[("INCUS_DIR", "/y"), ("INCUS_SOCKET", "")]),
            [found("/y", "unix.socket"), found("/y", RESTRICTED)]
        );
        assert_eq!(
            sockets(&[]),
            [
                found("/run/incus", "unix.socket"),
                found("/var/lib/incus", "unix.socket"),
                found("/run/incus", RESTRICTED),
                found("/var/lib/incus", RESTRICTED),
            ]
        );
    }
}
