//! What a launcher opens with a program: `--opened MARK`.
//!
//! A program in a box gets paths of the host. One that is not in the box, or is another file there,
//! would be opened as nothing, made anew, or be the wrong one; so the agent is told which file each
//! path is and refuses where it differs.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use crate::agent::protocol::Opened;
use crate::agent::protocol::hand_over::file_path;

/// A word of a command line that names a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// Which word, from 0.
    pub at: usize,
    /// The file.
    pub opened: Opened,
}

/// Takes the words `mark` out of a command line, and returns the files that those between name.
pub fn take(command: &mut Vec<OsString>, mark: &OsStr) -> Vec<Named> {
    let mut named = Vec::new();
    let mut is_between = false;
    let mut at = 0;
    command.retain(|word| {
        if word == mark {
            is_between = !is_between;
            return false;
        }
        if is_between {
            let opened = path(word).and_then(file);
            named.extend(opened.map(|opened| Named { at, opened }));
        }
        at += 1;
        true
    });
    named
}

/// The word for the file at `path` in place of the one that `word` names: a path, or the same
/// address but for its path.
pub fn renamed(word: &[u8], path: &[u8]) -> Vec<u8> {
    let address = std::str::from_utf8(word).ok().filter(|word| !word.starts_with('/'));
    let Some((scheme, rest)) = address.and_then(|address| address.split_once(':')) else {
        return path.to_vec();
    };
    let authority = match rest.strip_prefix("//") {
        Some(behind) => 2 + behind.find('/').unwrap_or(behind.len()),
        None => 0,
    };
    let (authority, rest) = rest.split_at(authority);
    let end = rest.find(['?', '#']).unwrap_or(rest.len());
    let mut address = format!("{scheme}:{authority}");
    for byte in path {
        // What a path of RFC 3986, 3.3 may have, but for what some readers take for more.
        if byte.is_ascii_alphanumeric() || b"/-._~!$&'()*+,=@".contains(byte) {
            address.push(char::from(*byte));
        } else {
            address.push_str(&format!("%{byte:02X}"));
        }
    }
    address.push_str(&rest[end..]);
    address.into_bytes()
}

/// The path that a word names: itself, or of the address of a file.
fn path(word: &OsStr) -> Option<PathBuf> {
    if word.as_bytes().starts_with(b"/") {
        return Some(word.into());
    }
    file_path(word.to_str()?)?
}

/// What is there. Nothing is said of what is not here: it may be in the box, or be made there.
fn file(path: PathBuf) -> Option<Opened> {
    let meta = path.metadata().ok()?;
    let path = path.into_os_string().into_vec();
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
        let paths: Vec<_> = opened.iter().map(|named| (named.at, &*named.opened.path)).collect();
        assert_eq!(paths, [(2, &b"/etc"[..]), (3, b"/etc")]);
        assert!(opened[0].opened.inode != 0);
    }

    #[test]
    fn a_word_stays_what_it_is_with_another_path() {
        for (word, path, expected) in [
            ("/a", "/b c%", "/b c%"),
            ("file:///a%20b", "/run/b c%/ü?#.txt", "file:///run/b%20c%25/%C3%BC%3F%23.txt"),
            ("file://localhost/a", "/b", "file://localhost/b"),
            ("FILE:/a?x=/y#page=3", "/b", "FILE:/b?x=/y#page=3"),
            ("file:///a#/c?d", "/b", "file:///b#/c?d"),
            ("/odd:/a", "/b", "/b"),
        ] {
            let renamed = OsString::from_vec(renamed(word.as_bytes(), path.as_bytes()));
            assert_eq!(renamed, expected, "{word}");
            assert_eq!(super::path(&renamed), Some(path.into()), "{word} is read again");
        }
    }

    #[test]
    fn an_address_of_a_file_is_its_path() {
        let of = |word: &str| path(word.as_ref()).map(|path| path.display().to_string());
        assert_eq!(of("file:///a%20b").as_deref(), Some("/a b"));
        assert_eq!(of("file://localhost/a#b").as_deref(), Some("/a"));
        for none in ["file:///a%2", "file://host", "smb:///a", "a", ""] {
            assert_eq!(of(none), None, "{none}");
        }
    }
}
