//! What a launcher opens with a program: `--opened MARK`.
//!
//! A program in a box gets paths of the host. One that is not in the box, or is another file there,
//! would be opened as nothing, made anew, or be the wrong one; so the agent is told which file each
//! path is and refuses where it differs.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;

use crate::agent::protocol::Opened;

/// Takes the words `mark` out of a command line, and returns the files between them.
pub fn take(command: &mut Vec<OsString>, mark: &OsStr) -> Vec<Opened> {
    let mut opened = Vec::new();
    let mut is_between = false;
    command.retain(|word| {
        if word == mark {
            is_between = !is_between;
            return false;
        }
        if is_between {
            opened.extend(path(word).and_then(file));
        }
        true
    });
    opened
}

/// The path that a word names: itself, or of a URL of a file here.
fn path(word: &OsStr) -> Option<Vec<u8>> {
    let bytes = word.as_bytes();
    if bytes.starts_with(b"/") {
        return Some(bytes.to_vec());
    }
    let rest = bytes.strip_prefix(b"file://")?;
    let rest = rest.strip_prefix(b"localhost").unwrap_or(rest);
    let end = rest.iter().position(|b| b"?#".contains(b)).unwrap_or(rest.len());
    Some(decoded(&rest[..end])).filter(|path| path.starts_with(b"/"))
}

/// Source: RFC 3986, 2.1.
fn decoded(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [first, others @ ..] = rest {
        let value = |digit: &u8| char::from(*digit).to_digit(16);
        rest = match (first, others) {
            (b'%', [high, low, after @ ..]) if value(high).zip(value(low)).is_some() => {
                let both = value(high).zip(value(low)).map_or(0, |(high, low)| high * 16 + low);
                out.extend(u8::try_from(both));
                after
            }
            _ => {
                out.push(*first);
                others
            }
        };
    }
    out
}

/// What is there. Nothing is said of what is not here: it may be in the box, or be made there.
fn file(path: Vec<u8>) -> Option<Opened> {
    let meta = std::fs::metadata(OsString::from_vec(path.clone())).ok()?;
    Some(Opened { path, device: meta.dev(), inode: meta.ino() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_between_the_marks_is_opened() {
        let mut command: Vec<OsString> = [
            "kate",
            "/dev/null",
            "@@",
            "/etc",
            "file:///%65tc",
            "https://x/etc",
            "x",
            "/no",
            "@@",
            "-x",
        ]
        .map(OsString::from)
        .to_vec();
        let opened = take(&mut command, "@@".as_ref());
        let expected =
            ["kate", "/dev/null", "/etc", "file:///%65tc", "https://x/etc", "x", "/no", "-x"];
        assert_eq!(command, expected);
        let paths: Vec<&[u8]> = opened.iter().map(|opened| &*opened.path).collect();
        assert_eq!(paths, [b"/etc", b"/etc"]);
        assert!(opened[0].inode != 0);
    }

    #[test]
    fn a_url_is_decoded_as_a_path() {
        let of = |word: &str| {
            path(word.as_ref()).map(|path| String::from_utf8_lossy(&path).into_owned())
        };
        assert_eq!(of("file:///a%20b%2").as_deref(), Some("/a b%2"));
        assert_eq!(of("file://localhost/a#b").as_deref(), Some("/a"));
        assert_eq!(of("file://other/a"), None);
        assert_eq!(of("smb:///a"), None);
    }
}
