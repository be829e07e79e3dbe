//! What a program in a box hands over to the session of the host: one line of JSON to a socket in
//! the host's runtime directory, one line back.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// The directory of the sockets, below the user's runtime directory on the host.
pub const DIRECTORY: &str = "incusbox";
/// The socket that leads to the session bus.
pub const BUS: &str = "bus";
/// The socket for what shall be opened.
pub const OPEN: &str = "open";
/// The socket that leads to an ssh-agent elsewhere.
pub const SSH_AGENT: &str = "ssh-agent";
/// The link to where that agent is, made by whoever last ran a command with it.
pub const SSH_AGENT_LINK: &str = "ssh-agent.link";
/// The longest line.
pub const MOST_BYTES: u64 = 64 << 10;

/// What shall be opened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Wish {
    /// An address of any scheme but `file`.
    Url(String),
    /// A file, if the host has the same one at this path.
    File {
        /// The path, which need not be text.
        path: Vec<u8>,
        /// The number of its file system.
        device: u64,
        /// Its own in that.
        inode: u64,
    },
    /// Something of the box shall be on the host, or be there no more.
    Export {
        /// Which of it.
        verb: Verb,
        /// The options, as for `incusbox` on the host.
        words: Vec<String>,
    },
}

/// What is asked of exports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verb {
    /// `incusbox export`.
    Export,
    /// `incusbox unexport`.
    Unexport,
}

/// What became of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// The host's program ended with this status.
    Ended(u8),
    /// The file is the box's.
    NotHere,
    /// `incusbox` on the host ended, and said this.
    Said {
        /// The status that it ended with.
        status: u8,
        /// On stdout.
        stdout: String,
        /// On stderr.
        stderr: String,
    },
    /// It was not done.
    Refused(String),
}

/// Whether this is an address that begins with its scheme (RFC 3986, 3.1).
pub fn has_scheme(text: &str) -> bool {
    let Some((scheme, _)) = text.split_once(':') else { return false };
    let mut bytes = scheme.bytes();
    bytes.next().is_some_and(|byte| byte.is_ascii_alphabetic())
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
}

/// The path of a `file:` address (RFC 8089): `//host/path`, `///path` or `/path` behind the scheme.
/// `None` for an address of another scheme, or none; `Some(None)` where it has no path.
pub fn file_path(text: &str) -> Option<Option<PathBuf>> {
    let (_, rest) =
        text.split_once(':').filter(|(scheme, _)| scheme.eq_ignore_ascii_case("file"))?;
    let path = match rest.strip_prefix("//") {
        Some(rest) => rest.find('/').map(|at| &rest[at..]),
        None => Some(rest),
    };
    let path = path.and_then(|path| percent_decoded(path.split(['?', '#']).next()?));
    Some(path.map(|path| OsString::from_vec(path).into()))
}

/// A text in which `%XX` is the byte of that number, as in addresses of D-Bus's and of the web's.
pub fn percent_decoded(text: &str) -> Option<Vec<u8>> {
    let mut bytes = text.bytes();
    let mut out = Vec::new();
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'%' => {
                let mut digit = || char::from(bytes.next()?).to_digit(16);
                (digit()? * 16 + digit()?) as u8
            }
            other => other,
        });
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_written_as_two_digits() {
        assert_eq!(percent_decoded("a%20b%ff").as_deref(), Some(&b"a b\xff"[..]));
        for cut in ["%", "%1", "%+f", "%g0"] {
            assert_eq!(percent_decoded(cut), None, "{cut}");
        }
    }

    #[test]
    fn an_address_begins_with_a_scheme() {
        for address in ["https://a", "mailto:x@y", "x-a+b.1:"] {
            assert!(has_scheme(address), "{address}");
        }
        for other in ["", ":", "/a:b", "1a:b", "a b:c", "-x:", "file", "./a:b"] {
            assert!(!has_scheme(other), "{other}");
        }
    }
}
