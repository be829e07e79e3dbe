//! The programs that a box has for a launcher.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use super::locale;
use crate::agent::protocol::apps::{
    Answer, Bytes, Entry, MOST_BUS, MOST_ENTRIES, MOST_ENTRY, MOST_ICON, MOST_MANUAL, MOST_MIME,
    MOST_PART, Picture, Question,
};
use crate::agent::protocol::service::{Found, ServiceName};
use crate::boxes::error::Error;
use crate::boxes::setup;
use crate::desktop::entry::{self, MAIN};
use crate::desktop::exec::Exec;
use crate::desktop::hosted;
use crate::desktop::keyfile::KeyFile;
use crate::incus::command::MOST_LINE;
use crate::incus::{self, Client};
use crate::message::printable_bytes;
use crate::names::DesktopId;
use crate::sys::signals::Signals;

/// The most characters of a name that are kept.
const MOST_NAME: usize = 200;
// The longest that JSON makes of a byte is `\u001b`.
const _: () = assert!(6 * MOST_ENTRY < MOST_LINE && 6 * MOST_PART < MOST_LINE);
/// The most bytes of all entries and pictures of a box. All programs of Debian have a tenth.
const MOST_BYTES: usize = 256 << 20;
/// The most answers: entries, pictures, commands.
const MOST_ANSWERS: usize = 4 * MOST_ENTRIES;
/// The most pictures of an icon.
const MOST_PICTURES: usize = 32;
/// The most files that say what MIME types are.
const MOST_PACKAGES: usize = 1000;
/// The most bytes of what tells a picture from an earlier one.
const MOST_STAMP: usize = 200;
/// How long a box may take to say what it offers. With all of Debian's programs it takes 2 s.
const PATIENCE: Duration = Duration::from_secs(120);
/// The most bytes of a path, Linux's own limit.
const MOST_PATH: usize = 4096;

/// A program with its desktop entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct App {
    /// Its desktop file id.
    pub id: DesktopId,
    /// Where the entry is in the box, as the box says it.
    pub path: String,
    /// Its name in the user's language.
    pub name: String,
    /// What it is, in the user's language; empty where the entry does not say.
    pub comment: String,
    /// The name or the path of its icon, as the box says it; empty where it has none.
    pub icon: String,
    /// Whether menus show it.
    pub shown: Shown,
    /// Its name as the entry has it without a language.
    pub plain_name: String,
    /// What it calls its icons, those of its actions too.
    pub icons: Vec<String>,
    /// The MIME types that it opens.
    pub types: Vec<String>,
    /// What its windows say that they belong to; empty where the entry does not say.
    pub class: String,
    /// Whether the session bus starts it, and nothing else can.
    pub is_only_on_bus: bool,
    /// The entry.
    pub bytes: Vec<u8>,
}

/// Whether menus show an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    /// They do.
    Yes,
    /// `NoDisplay`: it is there to open files with, or for other programs.
    No,
}

/// Why an entry offers nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Left {
    /// Its path in the box.
    pub path: String,
    /// The reason, safe to show.
    pub why: String,
}

/// Everything that a box offers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Offers {
    /// The programs, by name.
    pub apps: Vec<App>,
    /// What offers nothing although it looks as if it did.
    pub left: Vec<Left>,
    /// The pictures of icons that were asked for, by what entries call these.
    pub pictures: BTreeMap<String, Vec<Pictured>>,
    /// Files that say what types are that were asked for.
    pub packages: Vec<Vec<u8>>,
    /// Files that say how the session bus starts programs, by the ids of these.
    pub buses: BTreeMap<String, Vec<u8>>,
    /// The commands that were asked for and are there, by what they were asked for as.
    pub programs: BTreeMap<String, Program>,
    /// The services that were asked for.
    pub services: BTreeMap<ServiceName, Found>,
    /// Why changes are not told, where they should be.
    pub unfollowed: Option<String>,
    /// What tells all this from other answers.
    pub answered: u64,
    /// Whether it is what the host knows, and was not said again.
    pub is_same: bool,
    ids: BTreeSet<DesktopId>,
    bytes: usize,
}

/// A command.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Program {
    /// Where it is.
    pub path: String,
    /// Its manual page: what the file is called, and the file.
    pub manual: Option<(String, Vec<u8>)>,
    /// Whether bash knows there how to complete it.
    pub is_completed: bool,
}

/// A picture for an icon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pictured {
    /// Its path in the box.
    pub path: String,
    /// What tells whether it is still the same.
    pub stamp: String,
    /// The file; `None` where it is the one that the host has.
    pub bytes: Option<Rc<[u8]>>,
}

/// Asks a running box what it offers.
///
/// # Errors
/// Everything in [`Error`].
pub fn ask(
    client: &mut Client,
    signals: &mut Signals,
    name: &str,
    question: &Question,
) -> Result<Offers, Error> {
    let bytes = serde_json::to_vec(question)
        .map_err(|error| Error::Host { doing: "writing a question", source: error.into() })?;
    let locales = locale::fitting(|name| std::env::var_os(name));
    let mut offers = Offers::default();
    let (mut count, mut is_done, mut is_broken) = (0, false, false);
    let mut parts = Vec::new();
    let mut take = |line: &[u8]| match serde_json::from_slice(line) {
        Ok(Answer::Done(answered)) => {
            (is_done, offers.answered) = (true, answered);
            offers.is_same = count == 0 && question.answered == Some(answered);
        }
        _ if is_done || count > MOST_ANSWERS => {}
        Ok(Answer::Entry(entry)) => {
            count += 1;
            offers.add(entry, &locales);
        }
        Ok(Answer::Left { path, why }) => {
            count += 1;
            offers.leave(&path, why);
        }
        Ok(Answer::Part(part)) if parts.len() + part.0.len() <= MOST_MIME => parts.extend(part.0),
        Ok(Answer::Picture(picture)) => {
            count += 1;
            offers.add_picture(picture, std::mem::take(&mut parts));
        }
        Ok(Answer::Mime { path }) => {
            count += 1;
            offers.add_package(&path, std::mem::take(&mut parts));
        }
        Ok(Answer::Bus { id, bytes: Bytes(bytes) }) if bytes.len() <= MOST_BUS => {
            count += 1;
            offers.bytes += bytes.len() + id.len();
            if offers.bytes <= MOST_BYTES && DesktopId::new(&id).is_ok() {
                offers.buses.insert(id, bytes);
            }
        }
        Ok(Answer::Program { name, path, manual, is_completed })
            if question.programs.contains(&name) =>
        {
            count += 1;
            let page = std::mem::take(&mut parts);
            offers.bytes += page.len();
            let path = path.filter(|path| path.len() <= MOST_PATH && offers.bytes <= MOST_BYTES);
            if let Some(path) = path {
                let manual = manual.filter(|_| page.len() <= MOST_MANUAL);
                let manual = manual.map(|file| (file, page));
                offers.programs.insert(name, Program { path, manual, is_completed });
            }
        }
        Ok(Answer::Service { wanted, found }) if question.services.contains(&wanted) => {
            count += 1;
            let is_sound = !matches!(&found, Found::There(service) if !service.is_sound());
            offers.services.insert(wanted, if is_sound { found } else { Found::Absent });
        }
        Ok(Answer::Unfollowed(why)) => offers.unfollowed = Some(short(why.as_bytes())),
        Ok(
            Answer::Part(_) | Answer::Bus { .. } | Answer::Program { .. } | Answer::Service { .. },
        )
        | Err(_) => is_broken = true,
    };
    let ended = setup::ask(client, signals, name, "apps", &bytes, Some(PATIENCE), &mut take);
    let ended = ended.map_err(|error| match error {
        Error::Incus(incus::Error::Stalled { seconds, .. }) => {
            Error::Slow { name: name.to_owned(), seconds }
        }
        other => other,
    })?;
    if is_broken {
        let what = "it is none of an agent's".to_owned();
        return Err(incus::Error::Malformed { doing: "asking what the box offers", what }.into());
    }
    if !is_done {
        return Err(Error::Mute {
            name: name.to_owned(),
            status: ended.status,
            stderr: String::from_utf8_lossy(&ended.stderr).trim().to_owned(),
        });
    }
    offers.apps.sort_by_cached_key(|app| (app.name.to_lowercase(), app.id.clone()));
    Ok(offers)
}

impl Offers {
    fn add(&mut self, entry: Entry, locales: &[String]) {
        let path = entry.path.clone();
        self.bytes += entry.bytes.0.len() + entry.path.len();
        if entry.path.len() > MOST_PATH {
            return self.leave(&path, "its path is too long");
        }
        if self.bytes > MOST_BYTES {
            return self.leave(&path, format!("the box offers more than {MOST_BYTES} bytes"));
        }
        match App::read(entry, locales) {
            // A box may say anything twice.
            Ok(Some(app)) => match self.ids.insert(app.id.clone()) {
                true => self.apps.push(app),
                false => self.leave(&path, "another entry has its id"),
            },
            Ok(None) => {}
            Err(why) => self.leave(&path, why),
        }
    }

    fn add_picture(&mut self, picture: Picture, bytes: Vec<u8>) {
        let Picture { icon, path, stamp, is_known } = picture;
        let is_long = icon.len() > MOST_PATH || path.len() > MOST_PATH || bytes.len() > MOST_ICON;
        if is_long || stamp.len() > MOST_STAMP {
            return;
        }
        self.bytes += bytes.len() + icon.len() + path.len();
        if self.bytes > MOST_BYTES {
            return self.leave(&path, format!("the box offers more than {MOST_BYTES} bytes"));
        }
        if self.pictures.get(&icon).is_some_and(|all| all.len() >= MOST_PICTURES) {
            return;
        }
        let bytes = (!is_known).then(|| bytes.into());
        self.pictures.entry(icon).or_default().push(Pictured { path, stamp, bytes });
    }

    fn add_package(&mut self, path: &str, bytes: Vec<u8>) {
        self.bytes += bytes.len();
        if self.bytes > MOST_BYTES || self.packages.len() >= MOST_PACKAGES {
            return self.leave(path, "the box offers too much");
        }
        self.packages.push(bytes);
    }

    fn leave(&mut self, path: &str, why: impl fmt::Display) {
        let [path, why] = [path.to_owned(), why.to_string()].map(|text| short(text.as_bytes()));
        self.left.push(Left { path, why });
    }
}

impl App {
    /// Whether its windows have a class that is another one of these ids.
    pub fn class_is_of(&self, ids: &BTreeSet<String>) -> bool {
        let is_it = |id: &str| {
            let stem = id.strip_suffix(".desktop").unwrap_or(id);
            stem.eq_ignore_ascii_case(&self.class)
        };
        !self.class.is_empty() && !is_it(self.id.as_str()) && ids.iter().any(|id| is_it(id))
    }

    /// `None` for an entry that is none of a program's, or says that it is not there.
    fn read(said: Entry, locales: &[String]) -> Result<Option<App>, String> {
        let told = |error: &dyn fmt::Display| error.to_string();
        let id = DesktopId::new(&said.id).map_err(|error| told(&error))?;
        let bytes = said.bytes.0;
        if bytes.len() > MOST_ENTRY {
            return Err(format!("it has more than {MOST_ENTRY} bytes"));
        }
        let mut file = KeyFile::parse(&bytes).map_err(|error| told(&error))?;
        file.tidy();
        if file.groups().first() != Some(&MAIN) {
            return Err("it does not begin with `[Desktop Entry]`".to_owned());
        }
        let text = |key: &[u8]| short(&file.localized(MAIN, key, locales).unwrap_or_default());
        let is_program = file.get(MAIN, b"Type").as_deref() == Some(b"Application");
        if !is_program || file.is_true(MAIN, b"Hidden") || !said.is_there {
            return Ok(None);
        }
        let is_only_on_bus = entry::is_only_on_bus(&file);
        match file.get(MAIN, b"Exec").filter(|value| !value.is_empty()) {
            Some(value) => drop(Exec::parse(&value).map_err(|error| told(&error))?),
            None if is_only_on_bus => {}
            None => return Err("it has no `Exec`".to_owned()),
        }
        let name = text(b"Name");
        if name.is_empty() {
            return Err("it has no `Name`".to_owned());
        }
        let shown = if file.is_true(MAIN, b"NoDisplay") { Shown::No } else { Shown::Yes };
        let icon = file.localized(MAIN, b"Icon", locales).unwrap_or_default();
        let icon = String::from_utf8(icon).ok().filter(|icon| icon.len() <= MOST_PATH);
        let class = file.get(MAIN, b"StartupWMClass").unwrap_or_default();
        Ok(Some(App {
            id,
            path: said.path,
            name,
            comment: text(b"Comment"),
            icon: icon.unwrap_or_default(),
            shown,
            plain_name: short(&file.get(MAIN, b"Name").unwrap_or_default()),
            icons: entry::icons(&file),
            types: hosted::entry::types(&entry::names(&file, b"MimeType"))
                .into_iter()
                .filter_map(|name| String::from_utf8(name).ok())
                .collect(),
            class: String::from_utf8_lossy(&class).into_owned(),
            is_only_on_bus,
            bytes,
        }))
    }
}

/// Text of a box's that is safe to show, and not endless.
fn short(bytes: &[u8]) -> String {
    printable_bytes(bytes).trim().chars().take(MOST_NAME).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offers(id: &str, file: &str, is_there: bool) -> Offers {
        let mut offers = Offers::default();
        let entry = Entry {
            id: id.to_owned(),
            path: format!("/usr/share/applications/{id}"),
            bytes: Bytes(file.as_bytes().to_vec()),
            is_there,
        };
        offers.add(entry, &["de_AT".to_owned(), "de".to_owned()]);
        offers
    }

    fn reason(file: &str) -> String {
        let offers = offers("a.desktop", file, true);
        assert!(offers.apps.is_empty(), "{offers:?}");
        offers.left.into_iter().next().map(|left| left.why).unwrap_or_default()
    }

    const GOOD: &str = "[Desktop Entry]\nType=Application\nName=Edit\nName[de]=Bearbeiten\nComment=x\nIcon=edit\nExec=edit %U\n";

    #[test]
    fn a_program_is_offered_in_the_users_language() {
        let offers = offers("org.kde.kate.desktop", GOOD, true);
        let [app] = &offers.apps[..] else { panic!("{offers:?}") };
        assert_eq!(app.id.as_str(), "org.kde.kate.desktop");
        assert_eq!((&*app.name, &*app.comment, &*app.icon), ("Bearbeiten", "x", "edit"));
        assert_eq!(app.shown, Shown::Yes);
    }

    #[test]
    fn of_two_entries_with_one_id_the_first_counts() {
        let mut offers = offers("a.desktop", GOOD, true);
        offers.add(
            Entry {
                id: "a.desktop".to_owned(),
                path: "/b".to_owned(),
                bytes: Bytes(GOOD.replace("Edit", "Other").into_bytes()),
                is_there: true,
            },
            &[],
        );
        assert_eq!((offers.apps.len(), &*offers.apps[0].name), (1, "Bearbeiten"));
        assert_eq!(offers.left[0].why, "another entry has its id");
    }

    #[test]
    fn what_is_no_program_or_is_not_there_is_left_without_a_word() {
        for hidden in [
            offers("a.desktop", GOOD, false),
            offers("a.desktop", &format!("{GOOD}Hidden=true\n"), true),
        ] {
            assert!(hidden.apps.is_empty() && hidden.left.is_empty(), "{hidden:?}");
        }
        assert_eq!(reason("[Desktop Entry]\nType=Link\nName=x\nURL=y\n"), "");
    }

    #[test]
    fn what_looks_like_a_program_and_cannot_be_one_says_why() {
        assert_eq!(reason("x"), "it does not begin with `[Desktop Entry]`");
        assert_eq!(reason("[Desktop Entry]\nType=Application\nExec=x\n"), "it has no `Name`");
        assert_eq!(reason("[Desktop Entry]\nType=Application\nName=x\n"), "it has no `Exec`");
        let unclosed = reason("[Desktop Entry]\nType=Application\nName=x\nExec=a \"b\n");
        assert_eq!(unclosed, "a quote in its `Exec` is not closed");
        assert_eq!(reason("[Desktop Entry]\0"), "it has a zero byte");
        let second = reason(&format!("[Other]\nA=b\n{GOOD}"));
        assert_eq!(second, "it does not begin with `[Desktop Entry]`");
    }

    #[test]
    fn nothing_of_a_box_moves_the_cursor_or_has_no_end() {
        let name = "x".repeat(10_000);
        let file =
            format!("[Desktop Entry]\nType=Application\nName=\u{9b}2J\u{202e}{name}\nExec=a\n");
        let offers = offers("a.desktop", &file, true);
        assert_eq!(offers.apps[0].name.chars().count(), MOST_NAME);
        assert!(offers.apps[0].name.starts_with("\u{fffd}2J\u{fffd}x"));
    }
}
