//! The desktop entries of the box, read for the host. Everything that takes knowing the box is
//! decided here (which of two entries of one id counts, whether a program is there); what an entry
//! means is the host's to say.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, BufWriter, Read, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

use super::account::{self, Account};
use super::icons::{self, Places};
use super::login;
use super::protocol::User;
use super::protocol::apps::{
    Answer, Bytes, Entry, Icons, MOST_BUS, MOST_ENTRIES, MOST_ENTRY, MOST_ICON, MOST_MANUAL,
    MOST_MIME, MOST_PART, OPENS, Picture, Question,
};
use crate::desktop::entry::{self, BY_BUS, MAIN, SERVICES};
use crate::desktop::keyfile::KeyFile;

/// The most bytes of a question.
const MOST_QUESTION: u64 = 16 << 20;
/// How deep directories of entries may be; distributions have two.
pub const DEEPEST: usize = 6;
/// Where data is when a login does not say.
const STANDARD: &str = "/usr/local/share:/usr/share";

/// Answers the question on stdin.
///
/// # Errors
/// Of stdin and stdout, and for a question that is none.
pub fn run(own_path: &OsStr) -> io::Result<()> {
    let mut question = Vec::new();
    io::stdin().take(MOST_QUESTION).read_to_end(&mut question)?;
    let question: Question = serde_json::from_slice(&question)?;
    let surroundings = Surroundings::of(question.uid, question.home_is_hosts, own_path);
    // Before anything is looked at, so that nothing changes unseen.
    let followed = question
        .is_followed
        .then(|| super::watch::ensure(question.uid, question.home_is_hosts, own_path));
    let mut out = BufWriter::new(io::stdout().lock());
    // To look costs little; what is sent has to be read, sent, read again and understood.
    let same = match question.answered {
        Some(answered) => {
            let found = Search::<Vec<u8>>::new(None, &question, &surroundings).all()?;
            Some(found).filter(|found| *found == answered)
        }
        None => None,
    };
    let answered = match same {
        Some(same) => same,
        None => Search::new(Some(&mut out), &question, &surroundings).all()?,
    };
    if let Some(Err(error)) = followed {
        say(&mut out, &Answer::Unfollowed(error.to_string()))?;
    }
    say(&mut out, &Answer::Done(answered))?;
    out.flush()
}

fn say(out: &mut impl Write, answer: &Answer) -> io::Result<()> {
    serde_json::to_writer(&mut *out, answer)?;
    out.write_all(b"\n")
}

/// Where the user's login in the box looks for programs and for what belongs to them.
pub struct Surroundings {
    /// Directories of commands.
    pub path: Vec<PathBuf>,
    /// Data directories.
    pub directories: Vec<PathBuf>,
    /// The user's home, if it is the box's own.
    pub home: Option<PathBuf>,
    /// The user's home, if it is the host's.
    pub shared: Option<PathBuf>,
}

impl Surroundings {
    /// Those of this user.
    pub fn of(uid: u32, home_is_hosts: bool, own_path: &OsStr) -> Surroundings {
        let account = account::find(&User::Host { uid, name: Vec::new() });
        let variables = account.as_ref().map(|account| login::of(account, own_path).variables);
        let value = |name: &str| {
            let found = variables.iter().flatten().find(|(known, _)| known == name);
            found.map(|(_, value)| value.clone()).filter(|value| !value.is_empty())
        };
        let path = value("PATH").unwrap_or_else(|| "/usr/local/bin:/usr/bin:/bin".into());
        let data = value("XDG_DATA_DIRS").unwrap_or_else(|| STANDARD.into());
        let mut directories = list(&data);
        match &account {
            // Also Flatpak's directory in it, which logins name.
            Some(account) if home_is_hosts => {
                directories.retain(|directory| !directory.starts_with(&account.home));
            }
            Some(account) => directories.insert(0, own_data(account, value("XDG_DATA_HOME"))),
            None => {}
        }
        let home = account.map(|account| PathBuf::from(&account.home));
        let (home, shared) = if home_is_hosts { (None, home) } else { (home, None) };
        Surroundings { path: list(&path), directories, home, shared }
    }
}

fn own_data(account: &Account, set: Option<OsString>) -> PathBuf {
    let set = set.map(PathBuf::from).filter(|path| path.is_absolute());
    set.unwrap_or_else(|| Path::new(&account.home).join(".local/share"))
}

/// The absolute paths of a list with colons.
fn list(value: &OsStr) -> Vec<PathBuf> {
    std::env::split_paths(value).filter(|path| path.is_absolute()).collect()
}

struct Search<'a, W> {
    /// Where it is told; without it is only looked whether it is what was told before.
    out: Option<&'a mut W>,
    question: &'a Question,
    surroundings: &'a Surroundings,
    /// Of all that is told, and of nothing else: what need not be read to know that it is the same
    /// counts by its stamp.
    hash: DefaultHasher,
    /// Ids that were met: of two entries the first counts, even if it only hides the other.
    seen: BTreeSet<String>,
    /// Entries, and what was left out, that were told of.
    told: usize,
    /// What they call their icons.
    icons: BTreeSet<String>,
    /// The ids of those that the session bus starts.
    on_bus: Vec<String>,
}

impl<'a, W: Write> Search<'a, W> {
    fn new(
        out: Option<&'a mut W>,
        question: &'a Question,
        surroundings: &'a Surroundings,
    ) -> Search<'a, W> {
        Search {
            out,
            question,
            surroundings,
            hash: DefaultHasher::new(),
            seen: BTreeSet::new(),
            told: 0,
            icons: BTreeSet::new(),
            on_bus: Vec::new(),
        }
    }

    /// Answers everything that was asked. Returns what tells this from other answers.
    fn all(mut self) -> io::Result<u64> {
        let (question, Surroundings { directories, home, .. }) = (self.question, self.surroundings);
        for directory in directories {
            self.directory(&directory.join("applications"), "", 0)?;
        }
        if self.told >= MOST_ENTRIES {
            self.left(Path::new("applications"), "there are too many entries")?;
        }
        self.bus(directories)?;
        if !self.icons.is_empty() {
            self.pictures(&Places::of(directories, home.as_deref()))?;
        }
        if !question.types.is_empty() {
            self.types(directories, &question.types)?;
        }
        for name in &question.programs {
            self.command(name)?;
        }
        for wanted in &question.services {
            let found = super::service::look(wanted, question.uid);
            let answer = Answer::Service { wanted: wanted.clone(), found };
            serde_json::to_vec(&answer)?.hash(&mut self.hash);
            self.say(|| answer)?;
        }
        Ok(self.hash.finish())
    }

    /// Entries of a directory, whose ids begin with `prefix`: `kde/x.desktop` has `kde-x.desktop`.
    fn directory(&mut self, directory: &Path, prefix: &str, depth: usize) -> io::Result<()> {
        let Ok(there) = std::fs::read_dir(directory) else { return Ok(()) };
        let mut names: Vec<OsString> = there.flatten().map(|entry| entry.file_name()).collect();
        names.sort_unstable();
        for name in names {
            if self.told >= MOST_ENTRIES {
                return Ok(());
            }
            let path = directory.join(&name);
            let Some(name) = name.to_str() else {
                if name.as_bytes().ends_with(b".desktop") {
                    self.left(&path, "its name is not UTF-8")?;
                }
                continue;
            };
            let id = format!("{prefix}{name}");
            // Through a link a directory might be anything, `/` too.
            if std::fs::symlink_metadata(&path).is_ok_and(|meta| meta.is_dir()) {
                match depth < DEEPEST {
                    true => self.directory(&path, &format!("{id}-"), depth + 1)?,
                    false => self.left(&path, "it lies too deep")?,
                }
            } else if name.ends_with(".desktop") && id != OPENS && self.seen.insert(id.clone()) {
                match read(&path, MOST_ENTRY) {
                    Ok(bytes) => {
                        let is_there = self.look_into(&id, &bytes);
                        let path = path.to_string_lossy().into_owned();
                        (&id, &path, &bytes, is_there).hash(&mut self.hash);
                        let bytes = Bytes(bytes);
                        self.say(|| Answer::Entry(Entry { id, path, bytes, is_there }))?;
                    }
                    Err(error) => self.left(&path, &error.to_string())?,
                }
            }
        }
        Ok(())
    }

    /// Whether the program of its `TryExec` is there; and notes its icons.
    fn look_into(&mut self, id: &str, bytes: &[u8]) -> bool {
        let Ok(mut file) = KeyFile::parse(bytes) else { return true };
        file.tidy();
        let is_wanted = match &self.question.icons {
            Icons::None => false,
            Icons::All => file.get(MAIN, b"Type").as_deref() == Some(b"Application"),
            Icons::Of(ids) => ids.iter().any(|wanted| wanted == id),
        };
        if is_wanted {
            self.icons.extend(entry::icons(&file));
            if file.is_true(MAIN, BY_BUS) {
                self.on_bus.push(id.to_owned());
            }
        }
        let program = file.get(MAIN, b"TryExec").filter(|value| !value.is_empty());
        let program = program.map(|value| PathBuf::from(OsString::from_vec(value)));
        program.is_none_or(|program| self.program(&program).is_some())
    }

    /// Where a command is, if it can be run.
    fn program(&self, program: &Path) -> Option<PathBuf> {
        let can_run = |path: &PathBuf| {
            rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_ok() && path.is_file()
        };
        match program.is_absolute() {
            true => Some(program.to_owned()).filter(can_run),
            false if program.components().count() != 1 => None,
            false => {
                self.surroundings.path.iter().map(|directory| directory.join(program)).find(can_run)
            }
        }
    }

    /// Sends where a command is, and what belongs to it.
    fn command(&mut self, name: &str) -> io::Result<()> {
        let path = self.program(Path::new(name));
        let path = path.and_then(|path| path.into_os_string().into_string().ok());
        let called = Path::new(name).file_name().and_then(OsStr::to_str).unwrap_or_default();
        let data = &self.surroundings.directories;
        let page = data.iter().find_map(|data| manual(&data.join("man"), called));
        let is_completed = data.iter().any(|data| {
            let there = data.join("bash-completion/completions");
            let mut names =
                [called.to_owned(), format!("{called}.bash"), format!("_{called}")].into_iter();
            names.any(|name| there.join(name).exists())
        });
        let stamp = page.as_deref().map(icons::stamp);
        (name, &path, &page, stamp, is_completed).hash(&mut self.hash);
        let mut manual = None;
        if let Some(page) = page {
            let is_sent = self.parts(&page, MOST_MANUAL, |_| true)?;
            let file = page.file_name().and_then(OsStr::to_str).map(str::to_owned);
            manual = file.filter(|_| is_sent);
        }
        let name = name.to_owned();
        self.say(|| Answer::Program { name, path, manual, is_completed })
    }

    /// Sends how the session bus starts those programs that were noted.
    fn bus(&mut self, directories: &[PathBuf]) -> io::Result<()> {
        for id in std::mem::take(&mut self.on_bus) {
            let name =
                format!("{}/{}.service", SERVICES, id.strip_suffix(".desktop").unwrap_or(&id));
            let mut files = directories.iter().map(|data| read(&data.join(&name), MOST_BUS));
            let Some(bytes) = files.find_map(Result::ok) else { continue };
            (&id, &bytes).hash(&mut self.hash);
            let bytes = Bytes(bytes);
            self.say(|| Answer::Bus { id, bytes })?;
        }
        Ok(())
    }

    /// Sends the pictures of all icons that were noted.
    fn pictures(&mut self, places: &Places) -> io::Result<()> {
        let icons = std::mem::take(&mut self.icons);
        for (icon, paths) in places.find(&icons) {
            for path in paths {
                let Some(stamp) = icons::stamp(&path) else { continue };
                let Some(text) = path.to_str().map(str::to_owned) else { continue };
                (&icon, &text, &stamp).hash(&mut self.hash);
                let known = self.question.known.get(&icon).and_then(|of| of.get(&text));
                let is_known = known == Some(&stamp);
                if !is_known && !self.parts(&path, MOST_ICON, |_| true)? {
                    continue;
                }
                let icon = icon.clone();
                self.say(|| Answer::Picture(Picture { icon, path: text, stamp, is_known }))?;
            }
        }
        Ok(())
    }

    /// Sends the files that say what these MIME types are, of each data directory in their order.
    fn types(&mut self, directories: &[PathBuf], wanted: &BTreeSet<String>) -> io::Result<()> {
        for packages in directories.iter().map(|data| data.join("mime/packages")) {
            let Ok(there) = std::fs::read_dir(&packages) else { continue };
            let mut paths: Vec<PathBuf> = there.flatten().map(|entry| entry.path()).collect();
            paths.retain(|path| path.extension().is_some_and(|ending| ending == "xml"));
            paths.sort_unstable();
            for path in paths {
                (&path, icons::stamp(&path)).hash(&mut self.hash);
                if self.parts(&path, MOST_MIME, |bytes| mentions(bytes, wanted))? {
                    let path = path.to_string_lossy().into_owned();
                    self.say(|| Answer::Mime { path })?;
                }
            }
        }
        Ok(())
    }

    /// Sends a file that counts by its stamp, if it is one and `is_wanted`.
    fn parts(
        &mut self,
        path: &Path,
        most: usize,
        is_wanted: impl Fn(&[u8]) -> bool,
    ) -> io::Result<bool> {
        let Some(out) = self.out.as_deref_mut() else { return Ok(false) };
        match read(path, most) {
            Ok(bytes) if is_wanted(&bytes) => {
                let mut parts = bytes.chunks(MOST_PART);
                parts.try_for_each(|part| say(out, &Answer::Part(Bytes(part.to_vec()))))?;
                Ok(true)
            }
            Ok(_) => Ok(false),
            Err(error) => {
                let path = path.to_string_lossy().into_owned();
                say(out, &Answer::Left { path, why: error.to_string() })?;
                Ok(false)
            }
        }
    }

    fn left(&mut self, path: &Path, why: &str) -> io::Result<()> {
        let path = path.to_string_lossy().into_owned();
        (&path, why).hash(&mut self.hash);
        self.say(|| Answer::Left { path, why: why.to_owned() })
    }

    fn say(&mut self, answer: impl FnOnce() -> Answer) -> io::Result<()> {
        self.told += 1;
        match self.out.as_deref_mut() {
            Some(out) => say(out, &answer()),
            None => Ok(()),
        }
    }
}

/// A command's page in a tree of manual pages.
fn manual(tree: &Path, called: &str) -> Option<PathBuf> {
    let begin = format!("{called}.");
    ["man1", "man8", "man6"].into_iter().find_map(|section| {
        let there = std::fs::read_dir(tree.join(section)).ok()?;
        let names = there.flatten().map(|entry| entry.file_name());
        let is_it = |name: &OsString| {
            let rest = name.to_str().and_then(|name| name.strip_prefix(&begin));
            rest.is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
        };
        names.filter(is_it).min().map(|name| tree.join(section).join(name))
    })
}

/// Whether one of these is the value of an attribute in a file of XML. What it means is the host's
/// to find out.
fn mentions(xml: &[u8], wanted: &BTreeSet<String>) -> bool {
    let is_quote = |b: &u8| matches!(b, b'"' | b'\'');
    let mut values = xml.split(is_quote).filter(|value| value.contains(&b'/'));
    values.any(|value| std::str::from_utf8(value).is_ok_and(|value| wanted.contains(value)))
}

/// A regular file that is not too large.
fn read(path: &Path, most: usize) -> io::Result<Vec<u8>> {
    // Opening a fifo must not wait for somebody who writes.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    let mut bytes = Vec::new();
    file.take(most as u64 + 1).read_to_end(&mut bytes)?;
    match bytes.len() > most {
        true => Err(io::Error::other(format!("it has more than {most} bytes"))),
        false => Ok(bytes),
    }
}
