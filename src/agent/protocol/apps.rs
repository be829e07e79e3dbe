//! What a box offers the desktop: what the host asks `incusbox-agent apps`, and what that answers.
//!
//! The question is one JSON object on the agent's stdin, up to its end; the answers are JSON objects
//! on stdout, a line each, and the last is `Done`. The host believes none of it: a box may answer
//! what it likes.

use std::collections::{BTreeMap, BTreeSet};

use super::service::{Found, ServiceName};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

/// The most bytes of an entry that are passed on. The largest of distributions have 60 KB.
pub const MOST_ENTRY: usize = 128 << 10;
/// The most entries.
pub const MOST_ENTRIES: usize = 20_000;

/// The most bytes of a picture for an icon. The largest of distributions have less than a tenth.
pub const MOST_ICON: usize = 4 << 20;
/// The most bytes of a picture in one answer.
pub const MOST_PART: usize = 128 << 10;

/// The most bytes of a manual page. The largest of distributions have 1 MB.
pub const MOST_MANUAL: usize = 4 << 20;

/// The most bytes of a file that says how the session bus starts a program.
pub const MOST_BUS: usize = 16 << 10;

/// The most bytes of a file that says what MIME types are. The largest of distributions have 3 MB.
pub const MOST_MIME: usize = 8 << 20;

/// The entry of ours in a box that hands addresses to the host, and is nothing for the host.
pub const OPENS: &str = "incusbox-open.desktop";

/// What the host asks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Question {
    /// Whose login says where programs are.
    pub uid: u32,
    /// Whether that user's home is the one on the host: the entries in it are the host's too.
    pub home_is_hosts: bool,
    /// Whose icons are asked for.
    #[serde(default)]
    pub icons: Icons,
    /// Pictures that the host has, by their icons and their paths in the box, with what they were
    /// told by. They are not sent again if they are the same.
    #[serde(default)]
    pub known: BTreeMap<String, BTreeMap<String, String>>,
    /// Commands, by their names or paths.
    #[serde(default)]
    pub programs: BTreeSet<String>,
    /// Services, by their names.
    #[serde(default)]
    pub services: Vec<ServiceName>,
    /// MIME types that the host does not know.
    #[serde(default)]
    pub types: BTreeSet<String>,
    /// Whether changes of all this are to be told from now on, by the event `instance-ready`.
    #[serde(default)]
    pub is_followed: bool,
    /// What told the last answers from others. If it still does, they are not given again.
    #[serde(default)]
    pub answered: Option<u64>,
}

/// Whose icons are asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Icons {
    /// Nobody's.
    #[default]
    None,
    /// Of all entries.
    All,
    /// Of the entries with these ids.
    Of(Vec<String>),
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// A desktop entry.
    Entry(Entry),
    /// An entry that is not passed on, or a directory that is not read, and why.
    Left {
        /// Its path in the box.
        path: String,
        /// The reason.
        why: String,
    },
    /// A part of a file; the [`Answer::Picture`], [`Answer::Mime`] or [`Answer::Program`] that follows
    /// says of which.
    Part(Bytes),
    /// A picture for an icon; of one icon there are several, the best first.
    Picture(Picture),
    /// A file that says what types are that were asked for.
    Mime {
        /// Its path in the box.
        path: String,
    },
    /// How the session bus starts the program with this id, if its icon was asked for.
    Bus {
        /// The id.
        id: String,
        /// The file that says so.
        bytes: Bytes,
    },
    /// A command that was asked for.
    Program {
        /// As it was asked for.
        name: String,
        /// Where it is, if it is there and can be run.
        path: Option<String>,
        /// What the file of its manual page is called, of which parts came before.
        manual: Option<String>,
        /// Whether bash knows there how to complete it.
        is_completed: bool,
    },
    /// A service that was asked for.
    Service {
        /// As it was asked for.
        wanted: ServiceName,
        /// What it is.
        found: Found,
    },
    /// Changes are not told, and why.
    Unfollowed(String),
    /// That was all, and what tells it from other answers; nothing else but [`Answer::Unfollowed`] was
    /// said where that is what the host knows.
    Done(u64),
}

/// A picture for an icon.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Picture {
    /// What entries call the icon.
    pub icon: String,
    /// Where the picture is in the box.
    pub path: String,
    /// What tells whether it is still the same.
    pub stamp: String,
    /// Whether the host has it, so that no part of it came before.
    pub is_known: bool,
}

/// Bytes, as a string of the characters U+0000 to U+00FF: JSON has none, and those of entries are
/// nearly all ASCII.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Bytes(#[serde(serialize_with = "as_text", deserialize_with = "of_text")] pub Vec<u8>);

/// A desktop entry of a box.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Its desktop file id, `org.kde.kate.desktop`.
    pub id: String,
    /// Its path in the box.
    pub path: String,
    /// The file.
    pub bytes: Bytes,
    /// Whether the program that its `TryExec` names is there; true where it names none.
    pub is_there: bool,
}

fn as_text<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&bytes.iter().map(|byte| char::from(*byte)).collect::<String>())
}

fn of_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    let text = String::deserialize(deserializer)?;
    let bytes = text.chars().map(u8::try_from);
    bytes.collect::<Result<_, _>>().map_err(|_| D::Error::custom("a character is no byte"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_bytes_of_an_entry_pass() {
        let bytes: Vec<u8> = (0..=255).collect();
        let entry = Entry {
            id: "a.desktop".into(),
            path: "/a".into(),
            bytes: Bytes(bytes),
            is_there: true,
        };
        let line = serde_json::to_string(&Answer::Entry(entry.clone())).expect("JSON");
        assert!(!line.contains('\n'));
        assert_eq!(serde_json::from_str::<Answer>(&line).expect("an answer"), Answer::Entry(entry));
        let odd = r#"{"Entry":{"id":"a","path":"b","bytes":"\u0100","is_there":true}}"#;
        assert!(serde_json::from_str::<Answer>(odd).is_err());
    }
}
