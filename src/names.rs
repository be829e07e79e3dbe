//! Names from outside, checked where they come in.

use std::ffi::OsStr;
use std::fmt;

use crate::message::printable;

/// The name of a box: what Incus accepts for an instance.
///
/// Source: lxc/incus 6.0.4, `shared/validate/validate.go`, `IsHostname`: 1 to 63 ASCII letters,
/// digits and hyphens, no hyphen at either end, not a number.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BoxName(String);

/// Why a name is no name of a box.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadName {
    name: String,
    why: &'static str,
}

impl BoxName {
    /// Checks a name.
    ///
    /// # Errors
    /// For anything that Incus would refuse.
    pub fn new(name: impl AsRef<OsStr>) -> Result<BoxName, BadName> {
        let text = name.as_ref().to_string_lossy().into_owned();
        let why = if text.is_empty() {
            "it is empty"
        } else if text.len() > 63 {
            "it is longer than 63 characters"
        } else if !text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
            "only ASCII letters, digits and hyphens may be in it"
        } else if text.starts_with('-') || text.ends_with('-') {
            "it must not begin or end with a hyphen"
        } else if text.parse::<u64>().is_ok() {
            "it is a number"
        } else {
            return Ok(BoxName(text));
        };
        Err(BadName { name: text, why })
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for BoxName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for BadName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = crate::message::printable(&self.name);
        write!(f, "`{name}` cannot be the name of a box: {}", self.why)
    }
}

impl std::error::Error for BadName {}

/// A desktop file id: the name of an entry's file, with `-` for `/`.
///
/// Source: Desktop Entry Specification 1.5, "Desktop File ID". Wider than that where entries in use
/// are, and narrower where a name would be dangerous as a file's.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DesktopId(String);

/// Why a name is no desktop file id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadId(&'static str);

impl DesktopId {
    /// Checks an id, which ends with `.desktop`.
    ///
    /// # Errors
    /// For what is no plain name of a file.
    pub fn new(id: &str) -> Result<DesktopId, BadId> {
        let stem = id.strip_suffix(".desktop").unwrap_or_default();
        if stem.is_empty() {
            Err(BadId("its name does not end with .desktop"))
        } else if id.len() > 255 {
            Err(BadId("its name is longer than 255 bytes"))
        } else if id.starts_with(['.', '-']) {
            Err(BadId("its name begins with a dot or a hyphen"))
        } else if printable(id) != id || id.chars().any(is_special) {
            Err(BadId("its name has characters that an id should not have"))
        } else {
            Ok(DesktopId(id.to_owned()))
        }
    }

    /// The id, `org.kde.kate.desktop`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Whether a character means something where ids stand: in lists, in caches, in paths.
fn is_special(letter: char) -> bool {
    letter.is_ascii() && !letter.is_ascii_alphanumeric() && !"-_.+()@~ ".contains(letter)
}

impl fmt::Display for BadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for BadId {}

/// How many single-character changes turn `a` into `b` (Levenshtein), for "did you mean".
pub fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, cb) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(ca != *cb);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_incus_accepts_are_accepted_and_others_say_why() {
        for good in ["a", "dev", "Fedora-42", "1a", &"x".repeat(63)] {
            assert!(BoxName::new(good).is_ok(), "{good}");
        }
        for bad in ["", "12", "a-", "-a", "a_b", "a/b", "..", "a b", "ü", "a?x=1", &"x".repeat(64)]
        {
            assert!(BoxName::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_id_is_a_plain_name_of_a_file() {
        for good in ["org.kde.kate.desktop", "a.desktop", "My App (x)+1.desktop", "ü.desktop"] {
            assert_eq!(DesktopId::new(good).expect(good).as_str(), good);
        }
        let long = "x".repeat(248) + ".desktop";
        for bad in [
            "",
            ".desktop",
            "a",
            "../a.desktop",
            ".a.desktop",
            "-a.desktop",
            "a\n.desktop",
            "a\u{202e}.desktop",
            "a/b.desktop",
            "a;org.gnome.Terminal.desktop",
            "a=b.desktop",
            "a\\b.desktop",
            &long,
        ] {
            assert!(DesktopId::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_distance_counts_single_changes() {
        assert_eq!(distance("dev", "dev"), 0);
        assert_eq!(distance("dve", "dev"), 2);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("kitten", "sitting"), 3);
    }
}
