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
        let paths: Vec<&[u8]> = opened.iter().map(|opened| &*opened.path).collect();
        assert_eq!(paths, [b"/etc", b"/etc"]);
        assert!(opened[0].inode != 0);
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
