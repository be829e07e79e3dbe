//! Which of the host's variables a command in a box sees.
//!
//! An allow-list, not a deny-list: what a deny-list forgets leaks (paths of the host's own
//! programs, tokens, an SDK's settings), and PATH of one system is wrong on another.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

/// The variables that are taken over, by what they are for. The man page shows this table.
///
/// Of those that desktops and their users set about looks, these are not: what ends a program where
/// the box lacks a plugin, or has it complain (`QT_QPA_PLATFORM`, `GDK_BACKEND`, `SDL_VIDEODRIVER`,
/// `QT_STYLE_OVERRIDE`; a missing `QT_QPA_PLATFORMTHEME` is passed over in silence), what names
/// files of the host (`GTK2_RC_FILES`, `XCURSOR_PATH`, `XDG_DATA_DIRS`), and what only the desktop
/// itself reads (`PLASMA_USE_QT_SCALING`).
pub const PASSED: &[(&str, &[&str])] = &[
    (
        "terminal",
        &[
            "TERM",
            "COLORTERM",
            "NO_COLOR",
            "CLICOLOR",
            "CLICOLOR_FORCE",
            "FORCE_COLOR",
            "TERM_PROGRAM",
            "TERM_PROGRAM_VERSION",
            "VTE_VERSION",
            "KONSOLE_VERSION",
        ],
    ),
    (
        "locale",
        &[
            "LANG",
            "LANGUAGE",
            "LC_ALL",
            "LC_CTYPE",
            "LC_NUMERIC",
            "LC_TIME",
            "LC_COLLATE",
            "LC_MONETARY",
            "LC_MESSAGES",
            "LC_PAPER",
            "LC_NAME",
            "LC_ADDRESS",
            "LC_TELEPHONE",
            "LC_MEASUREMENT",
            "LC_IDENTIFICATION",
            "TZ",
        ],
    ),
    (
        "scale and cursor",
        &[
            "XCURSOR_THEME",
            "XCURSOR_SIZE",
            "GDK_SCALE",
            "GDK_DPI_SCALE",
            // Plasma on X11 sets it, with the automatic off; on Wayland, up to 5.27, the DPI.
            "QT_SCREEN_SCALE_FACTORS",
            "QT_WAYLAND_FORCE_DPI",
            // The user's own: https://doc.qt.io/qt-6/highdpi.html
            "QT_SCALE_FACTOR",
            "QT_SCALE_FACTOR_ROUNDING_POLICY",
            "QT_AUTO_SCREEN_SCALE_FACTOR",
            "QT_ENABLE_HIGHDPI_SCALING",
            "QT_USE_PHYSICAL_DPI",
            "QT_FONT_DPI",
            "ELM_SCALE",
        ],
    ),
    ("themes", &["GTK_THEME", "QT_QPA_PLATFORMTHEME"]),
    (
        "desktop",
        &[
            "XDG_CURRENT_DESKTOP",
            "XDG_SESSION_DESKTOP",
            "XDG_SESSION_TYPE",
            "XDG_SESSION_CLASS",
            "XDG_MENU_PREFIX",
            "DESKTOP_SESSION",
            "KDE_FULL_SESSION",
            "KDE_SESSION_VERSION",
            // What the host's window manager needs of Java, and its compositor of an older Firefox.
            "_JAVA_AWT_WM_NONREPARENTING",
            "MOZ_ENABLE_WAYLAND",
            "DESKTOP_STARTUP_ID",
            "XDG_ACTIVATION_TOKEN",
        ],
    ),
];

/// Variables with their values, in order; a later one wins.
pub type Variables = Vec<(OsString, OsString)>;

/// The variables to set in the box: the allowed ones of the host, unless `clean`, then those that
/// were asked for.
pub fn choose(
    host: impl Fn(&OsStr) -> Option<OsString>,
    asked: &[(OsString, Option<OsString>)],
    clean: bool,
) -> Variables {
    let mut chosen: Variables = Vec::new();
    if clean {
        // Without it nothing can be drawn on the terminal that is there all the same.
        chosen.extend(host("TERM".as_ref()).map(|value| ("TERM".into(), value)));
    } else {
        for name in PASSED.iter().flat_map(|(_, names)| *names) {
            chosen.extend(host(name.as_ref()).map(|value| (OsString::from(name), value)));
        }
    }
    for (name, value) in asked {
        let value = value.clone().or_else(|| host(name));
        chosen.extend(value.map(|value| (name.clone(), value)));
    }
    chosen
}

/// A terminal's name that the box may not know is still worth passing; an empty one is not.
pub fn is_dumb(term: Option<&OsStr>) -> bool {
    term.is_none_or(|term| term.as_bytes().is_empty() || term == "dumb")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(name: &OsStr) -> Option<OsString> {
        let known =
            [("TERM", "xterm"), ("LANG", "de_DE.UTF-8"), ("PATH", "/host"), ("TOKEN", "secret")];
        known.iter().find(|(known, _)| name == *known).map(|(_, value)| value.into())
    }

    fn pair(name: &str, value: &str) -> (OsString, OsString) {
        (name.into(), value.into())
    }

    #[test]
    fn only_what_is_on_the_list_is_taken_over() {
        assert_eq!(choose(host, &[], false), [pair("TERM", "xterm"), pair("LANG", "de_DE.UTF-8")]);
        assert_eq!(choose(host, &[], true), [pair("TERM", "xterm")]);
    }

    #[test]
    fn what_was_asked_for_comes_last_and_an_unset_name_sets_nothing() {
        let asked = [
            ("TOKEN".into(), None),
            ("MISSING".into(), None),
            ("LANG".into(), Some(OsString::from("C"))),
        ];
        assert_eq!(
            choose(host, &asked, true),
            [pair("TERM", "xterm"), pair("TOKEN", "secret"), pair("LANG", "C")]
        );
    }
}
