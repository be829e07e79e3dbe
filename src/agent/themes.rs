//! The host's icons, cursors and themes in the variables that say where programs look for them:
//! behind the box's own, which win where both have one of a name.
//!
//! A variable that is set takes the place of what a program would do without it, so that is written
//! out. Fonts need no variable: fontconfig has a file.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use super::login::{self, Variables};
use super::protocol::desktop::SHARE;

/// The XDG Base Directory Specification's.
pub const DATA_DIRS: (&str, &str) = ("XDG_DATA_DIRS", "/usr/local/share:/usr/share");
/// libXcursor's and libwayland-cursor's, which know nothing of `XDG_DATA_DIRS`; both read `~`.
pub const CURSOR_PATH: (&str, &str) =
    ("XCURSOR_PATH", "~/.local/share/icons:~/.icons:/usr/share/icons:/usr/share/pixmaps");

/// What comes behind each variable.
pub fn appendices() -> [((&'static str, &'static str), String); 2] {
    [(DATA_DIRS, SHARE.to_owned()), (CURSOR_PATH, format!("{SHARE}/icons"))]
}

/// Appends the host's directories.
pub fn append(variables: &mut Variables) {
    for ((name, default), ours) in appendices() {
        let known = variables.iter().find(|(known, _)| known == name);
        let known = known.map(|(_, value)| value.as_os_str());
        let whole = appended(known, default, &ours);
        login::set(variables, name.into(), whole);
    }
}

/// A list of directories with one more at its end, unless it is in it.
fn appended(known: Option<&OsStr>, default: &str, ours: &str) -> OsString {
    let known = known.filter(|known| !known.is_empty()).unwrap_or(OsStr::new(default));
    let mut whole = known.to_owned();
    if !known.as_bytes().split(|byte| *byte == b':').any(|one| one == ours.as_bytes()) {
        whole.push(":");
        whole.push(ours);
    }
    whole
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hosts_directories_come_behind_the_boxs() {
        let of = |known: Option<&str>| appended(known.map(OsStr::new), "/a:/b", "/host");
        assert_eq!(of(None), "/a:/b:/host");
        assert_eq!(of(Some("")), "/a:/b:/host", "as good as unset, says the specification");
        assert_eq!(of(Some("/own")), "/own:/host");
        assert_eq!(of(Some("/own:/host")), "/own:/host");
        assert_eq!(of(Some("/own:/host/other")), "/own:/host/other:/host");
    }

    #[test]
    fn cursors_are_looked_for_in_the_home_first() {
        let mut variables: Variables = vec![("XDG_DATA_DIRS".into(), "/opt/share".into())];
        append(&mut variables);
        append(&mut variables);
        let expected: Variables = vec![
            ("XDG_DATA_DIRS".into(), "/opt/share:/mnt/.incusbox/share".into()),
            (
                "XCURSOR_PATH".into(),
                "~/.local/share/icons:~/.icons:/usr/share/icons:/usr/share/pixmaps:/mnt/.incusbox/share/icons".into(),
            ),
        ];
        assert_eq!(variables, expected);
    }
}
