//! What can go wrong with the daemon, in facts; the wording is in one `Display`.

use std::fmt;
use std::io;
use std::path::PathBuf;

/// A failure to get something from the daemon.
#[derive(Debug)]
pub enum Error {
    /// There is no socket to connect to.
    NoSocket {
        /// Where one was looked for.
        tried: Vec<PathBuf>,
    },
    /// The socket may not be used by this user.
    Permission {
        /// The socket.
        socket: PathBuf,
        /// The group that may use it.
        group: Option<String>,
        /// Whether the account is in that group already, so that only this login is too old.
        is_member: bool,
    },
    /// There is a socket and nobody listens.
    NotRunning {
        /// The socket.
        socket: PathBuf,
    },
    /// The socket cannot be connected to.
    Connect {
        /// The socket.
        socket: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The connection broke.
    Io {
        /// What was being done.
        doing: &'static str,
        /// Why it failed.
        source: io::Error,
    },
    /// The daemon closed the connection.
    Closed {
        /// What was being done.
        doing: &'static str,
    },
    /// No answer came.
    Stalled {
        /// What was being done.
        doing: &'static str,
        /// How long it was waited for.
        seconds: u64,
    },
    /// What answered does not speak as Incus does.
    Malformed {
        /// What was being done.
        doing: &'static str,
        /// What was wrong with the answer.
        what: String,
    },
    /// Incus refused.
    Refused {
        /// What was being done.
        doing: &'static str,
        /// The HTTP-like status that Incus gave.
        code: u16,
        /// Its own words.
        text: String,
    },
}

impl Error {
    /// Incus's own status for a refusal.
    pub fn code(&self) -> Option<u16> {
        match self {
            Error::Refused { code, .. } => Some(*code),
            _ => None,
        }
    }

    /// Incus's own words for a refusal.
    pub fn text(&self) -> Option<&str> {
        match self {
            Error::Refused { text, .. } => Some(text),
            _ => None,
        }
    }

    /// Whether a network or a storage pool is not up: a daemon that just started answers before all
    /// of them are.
    pub fn is_unavailable(&self) -> bool {
        self.text().is_some_and(|text| text.contains("unavailable on this server"))
    }

    /// What lets the instance `name` start that did not, where Incus's words say enough for that.
    pub fn lets_start(&self, name: &str) -> Option<String> {
        let text = self.text()?.to_lowercase();
        let has_lost_gpu = text.contains("failed to detect requested gpu device");
        has_lost_gpu
            .then(|| format!("do without the GPU, which is not there: incusbox set {name} gpu=off"))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::NoSocket { tried } => {
                write!(f, "no Incus daemon found: there is no socket at")?;
                for (number, path) in tried.iter().enumerate() {
                    let comma = if number == 0 { "" } else { "," };
                    write!(f, "{comma} `{}`", path.display())?;
                }
                write!(f, "\ninstall Incus, or start it: sudo systemctl enable --now incus.socket")
            }
            Error::Permission { socket, group, is_member } => {
                write!(f, "permission denied on `{}`", socket.display())?;
                match (group, is_member) {
                    (Some(group), true) => write!(
                        f,
                        ": you were added to group `{group}` after this login began\n\
                         log out and in again, or try it now with: newgrp {group}"
                    ),
                    (Some(group), false) => write!(
                        f,
                        ": only members of group `{group}` may use it\n\
                         join it: sudo usermod -aG {group} \"$USER\", then log out and in again"
                    ),
                    (None, _) => write!(f, "\nask whoever set Incus up for access"),
                }
            }
            Error::NotRunning { socket } => write!(
                f,
                "the Incus daemon is not running: nobody listens at `{}`\n\
                 start it: sudo systemctl start incus",
                socket.display()
            ),
            Error::Connect { socket, source } => write!(
                f,
                "cannot connect to `{}`: {source}\n\
                 check which socket is used: INCUS_SOCKET, INCUS_DIR",
                socket.display()
            ),
            Error::Io { doing, source } => {
                write!(f, "the connection to Incus broke while {doing}: {source}")
            }
            Error::Closed { doing } => write!(
                f,
                "the Incus daemon closed the connection while {doing}\n\
                 see whether it was restarted: journalctl -u incus -u incus-user"
            ),
            Error::Stalled { doing, seconds } => write!(
                f,
                "no answer from the Incus daemon for {seconds} s while {doing}\n\
                 see what it does: journalctl -u incus"
            ),
            Error::Malformed { doing, what } => write!(
                f,
                "what answered is not Incus as we know it: {what}, while {doing}\n\
                 check which socket is used: INCUS_SOCKET, INCUS_DIR"
            ),
            Error::Refused { doing, text, .. } => {
                // A line of its own would seem to be ours.
                let text: Vec<&str> =
                    text.split(['\r', '\n']).filter(|line| !line.is_empty()).collect();
                write!(f, "Incus refused while {doing}: {}", text.join(" "))
            }
        }
    }
}

impl std::error::Error for Error {}
