//! The entry of a program in a box as one for the host.
//!
//! Only keys of `KEYS` pass: a desktop knows many that do more than describe a program (as which
//! user it runs, which of a compositor's powers it gets), and will know more. What passes stays as
//! the lines it was, byte for byte.

use super::digest;
use crate::desktop::entry::{ACTION, BY_BUS, MAIN, actions, icon, is_only_on_bus, names};
use crate::desktop::exec::{Code, Exec, Part, Word};
use crate::desktop::keyfile::{KeyFile, Pair, Revised};
use crate::desktop::unescape;
use crate::names::{BoxName, DesktopId};

/// The most MIME types. The most in Debian are 400.
const MOST_TYPES: usize = 2000;
/// The most characters of a text that a menu shows.
const MOST_TEXT: usize = 1000;
/// What stands before and behind what a launcher opens a program with, if the program has no such
/// word itself.
const MARK: &str = "@@";
/// An icon of every desktop's, for a program whose own cannot be had.
pub const ANY_ICON: &str = "application-x-executable";

/// What a key that passes has for a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Value {
    /// Text to read, in the main group and in actions.
    Text,
    /// Names, separated by semicolons.
    Names,
    /// `true` or `false`, written so.
    Truth,
    /// One name.
    Name,
    /// It is given a value of ours.
    Ours,
}

/// The keys that pass.
const KEYS: [(&[u8], Value); 28] = [
    (b"Type", Value::Name),
    (b"Version", Value::Name),
    (b"Name", Value::Text),
    (b"GenericName", Value::Text),
    (b"Comment", Value::Text),
    (b"Keywords", Value::Text),
    (b"X-GNOME-FullName", Value::Text),
    (b"X-GNOME-Keywords", Value::Text),
    (b"Icon", Value::Ours),
    (b"Exec", Value::Ours),
    (b"Categories", Value::Names),
    (b"MimeType", Value::Ours),
    (b"Actions", Value::Ours),
    (b"OnlyShowIn", Value::Names),
    (b"NotShowIn", Value::Names),
    (b"NoDisplay", Value::Truth),
    (b"Terminal", Value::Truth),
    (b"StartupNotify", Value::Truth),
    (b"SingleMainWindow", Value::Truth),
    (b"PrefersNonDefaultGPU", Value::Truth),
    (b"StartupWMClass", Value::Text),
    (b"X-GNOME-SingleWindow", Value::Truth),
    (b"X-GNOME-UsesNotifications", Value::Truth),
    (b"X-GNOME-WMClass", Value::Text),
    (b"X-KDE-Protocols", Value::Names),
    (b"X-KDE-FormFactors", Value::Names),
    (b"X-Purism-FormFactor", Value::Names),
    (b"X-KDE-RunOnDiscreteGpu", Value::Truth),
];

/// Where a program is, and what its entry becomes.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// The box.
    pub name: &'a BoxName,
    /// Its project, where that is not what `incusbox-run` finds by itself.
    pub project: Option<&'a str>,
    /// The id in the box.
    pub id: &'a DesktopId,
    /// Where the entry is in the box.
    pub path: &'a str,
    /// `incusbox-run`, by its path.
    pub runner: &'a str,
    /// Whether windows of its class are this entry's, and not the host's program's.
    pub has_windows: bool,
    /// Whether the host's session bus starts it by its name.
    pub is_on_bus: bool,
    /// What is put behind every name, so that two programs are told apart; may be empty.
    pub label: &'a str,
    /// More arguments for the program.
    pub flags: &'a [String],
    /// Whether the box is shown what it opens.
    pub shares_files: bool,
}

/// The entry for the host. `on_host` says what an icon of the box's is called on the host.
///
/// # Errors
/// The reason why there can be none.
pub fn rewritten(
    bytes: &[u8],
    subject: &Subject<'_>,
    on_host: &dyn Fn(&str) -> Option<String>,
) -> Result<Vec<u8>, String> {
    let mut file = KeyFile::parse(bytes).map_err(|error| error.to_string())?;
    file.tidy();
    let (said_actions, said_types) = (names(&file, b"Actions"), names(&file, b"MimeType"));
    let (actions, types) = (actions(&file), types(&said_types));
    let (is_only_on_bus, implements) = (is_only_on_bus(&file), names(&file, b"Implements"));
    if is_only_on_bus && !subject.is_on_bus {
        return Err("it has no `Exec`, only the bus starts it".to_owned());
    }
    let groups: Vec<Vec<u8>> = std::iter::once(MAIN.to_vec())
        .chain(actions.iter().map(|action| [ACTION, action].concat()))
        .collect();
    // As the box says them, before anything is changed.
    let said: Vec<(Option<Vec<u8>>, Option<String>)> =
        groups.iter().map(|group| (file.get(group, b"Exec"), icon(&file, group))).collect();
    let directory = file.get(MAIN, b"Path").filter(|path| !path.is_empty());
    let class = file.get(MAIN, b"StartupWMClass").filter(|class| !class.is_empty());
    file.keep_groups(|group| groups.iter().any(|kept| kept == group));
    file.revise(revised);
    let main_icon = said.first().and_then(|(_, icon)| icon.clone());
    for (group, (exec, own_icon)) in groups.iter().zip(said) {
        match exec.filter(|exec| !exec.is_empty()) {
            Some(exec) => {
                let exec = Exec::parse(&exec).map_err(|error| error.to_string())?;
                let icon = own_icon.as_deref().or(main_icon.as_deref());
                let words = command(exec, subject, directory.as_deref(), icon)?;
                file.set(group, b"Exec", words.to_value().as_bytes());
            }
            // Nor an empty one, which a reader could take for a command.
            None if is_only_on_bus => file.revise(|own, pair| match pair.key {
                b"Exec" if own == group.as_slice() => Revised::Gone,
                _ => Revised::Kept,
            }),
            None => return Err("it has no `Exec`".to_owned()),
        }
        match own_icon.as_deref() {
            Some(name) => {
                let name = on_host(name).unwrap_or_else(|| ANY_ICON.to_owned());
                file.set(group, b"Icon", name.as_bytes());
            }
            // Also one that is no name: nothing of it passes.
            None if group == MAIN || file.raw(group, b"Icon").is_some() => {
                file.set(group, b"Icon", ANY_ICON.as_bytes());
            }
            None => {}
        }
    }
    match class {
        // What a window says that belongs to this entry, by the id that the program knows.
        None if subject.has_windows => {
            file.set(MAIN, b"StartupWMClass", stem(subject.id).as_bytes());
        }
        Some(_) if !subject.has_windows => file.revise(|_, pair| match pair.key {
            b"StartupWMClass" | b"X-GNOME-WMClass" => Revised::Gone,
            _ => Revised::Kept,
        }),
        _ => {}
    }
    for (key, said, list) in
        [(&b"Actions"[..], said_actions, actions), (b"MimeType", said_types, types)]
    {
        if list != said {
            let list: Vec<u8> = list.iter().flat_map(|one| [one, &b";"[..]].concat()).collect();
            file.set(MAIN, key, &list);
        }
    }
    // One with a command is started by that, which looks at what it opens.
    if is_only_on_bus {
        file.set(MAIN, BY_BUS, b"true");
        let is_letter = |b: &u8| b.is_ascii_alphanumeric() || b"-_.".contains(b);
        let implements = implements.iter().filter(|name| name.iter().all(is_letter));
        let list: Vec<u8> = implements.flat_map(|one| [one, &b";"[..]].concat()).collect();
        if !list.is_empty() {
            file.set(MAIN, b"Implements", &list);
        }
    }
    if !subject.label.is_empty() {
        relabel(&mut file, subject.label);
    }
    file.set(MAIN, b"X-Incusbox-Box", subject.name.as_str().as_bytes());
    file.set(MAIN, b"X-Incusbox-Id", subject.id.as_str().as_bytes());
    file.set(MAIN, b"X-Incusbox-Hash", digest(bytes).as_bytes());
    Ok(file.to_bytes())
}

/// `org.kde.kate` of `org.kde.kate.desktop`.
fn stem(id: &DesktopId) -> &str {
    id.as_str().strip_suffix(".desktop").unwrap_or(id.as_str())
}

/// The MIME types that are such.
pub fn types(said: &[Vec<u8>]) -> Vec<Vec<u8>> {
    said.iter().filter(|name| is_type(name)).take(MOST_TYPES).cloned().collect()
}

/// Whether this is a MIME type (RFC 6838, 4.2).
pub fn is_type(name: &[u8]) -> bool {
    let is_letter = |b: &u8| b.is_ascii_alphanumeric() || b"!#$&^_.+-".contains(b);
    let is_part = |part: &[u8]| !part.is_empty() && part.iter().all(is_letter);
    match name.iter().position(|b| *b == b'/') {
        Some(at) => is_part(&name[..at]) && is_part(&name[at + 1..]),
        None => false,
    }
}

/// What becomes of a key by what is known of it alone.
fn revised(group: &[u8], pair: Pair<'_>) -> Revised {
    let Some((_, value)) = KEYS.iter().find(|(key, _)| *key == pair.key) else {
        return Revised::Gone;
    };
    let is_of_action = matches!(pair.key, b"Name" | b"Exec" | b"Icon");
    if group != MAIN && !is_of_action {
        return Revised::Gone;
    }
    let is_name = |b: &u8| b.is_ascii_alphanumeric() || b"-_.+;/ ".contains(b);
    match value {
        Value::Ours if pair.locale.is_some() => Revised::Gone,
        Value::Ours => Revised::Kept,
        Value::Name | Value::Names if pair.value.iter().all(is_name) => Revised::Kept,
        Value::Name | Value::Names => Revised::Gone,
        Value::Truth => match pair.value {
            b"true" | b"false" => Revised::Kept,
            b"1" => Revised::Value(b"true".to_vec()),
            b"0" => Revised::Value(b"false".to_vec()),
            _ => Revised::Gone,
        },
        Value::Text => text(pair),
    }
}

/// A list's escapes are of its own, so it passes as it is or not at all.
fn text(pair: Pair<'_>) -> Revised {
    let Ok(text) = std::str::from_utf8(pair.value) else { return Revised::Gone };
    let has_break = ["\\n", "\\r", "\\t"].iter().any(|escape| text.contains(escape));
    if !has_break && text.chars().count() <= MOST_TEXT && !text.chars().any(turns) {
        return Revised::Kept;
    }
    if pair.key.ends_with(b"Keywords") {
        return Revised::Gone;
    }
    let plain = unescape(pair.value);
    let plain = String::from_utf8_lossy(&plain);
    let mend = |c: char| if c.is_control() || turns(c) { ' ' } else { c };
    let plain: String = plain.chars().map(mend).take(MOST_TEXT).collect();
    Revised::Value(plain.trim().as_bytes().to_vec())
}

/// Characters that turn the direction of all that follows, or break a line. Marks and joiners,
/// which Arabic, Hebrew and Indic texts need, do not.
fn turns(letter: char) -> bool {
    matches!(letter, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{2028}' | '\u{2029}' | '\u{feff}')
        || ('\u{80}'..='\u{9f}').contains(&letter)
}

/// The command line for the host: `incusbox-run`, and the program with its words as they are.
fn command(
    exec: Exec,
    subject: &Subject<'_>,
    directory: Option<&[u8]>,
    icon: Option<&str>,
) -> Result<Exec, String> {
    let program = program_words(exec, subject, icon);
    let mark = mark(&program);
    let opens = program.iter().any(opens_files);
    let mut words = vec![Word::plain(subject.runner), Word::plain("--notify")];
    let mut option = |name: &str, value: &str| words.push(Word::plain(format!("--{name}={value}")));
    if let Some(project) = subject.project {
        option("project", project);
    }
    if let Some(directory) = directory {
        let text = std::str::from_utf8(directory).ok().filter(|text| text.starts_with('/'));
        let text = text.filter(|text| !text.chars().any(char::is_control));
        option("cwd", text.ok_or("its `Path` is no path")?);
    }
    if opens {
        option("opened", &mark);
    }
    if opens && subject.shares_files {
        words.push(Word::plain("--share-files"));
    }
    words.extend([Word::plain(subject.name.as_str()), Word::plain("--")]);
    for word in program {
        if opens_files(&word) {
            words.extend([Word::plain(&*mark), word, Word::plain(&*mark)]);
        } else {
            words.push(word);
        }
    }
    Ok(Exec(words))
}

/// The program's own words, with what only the box knows put in.
fn program_words(exec: Exec, subject: &Subject<'_>, icon: Option<&str>) -> Vec<Word> {
    let mut words = Vec::new();
    for Word(parts) in exec.0 {
        let is_icon = parts == [Part::Code(Code::Icon)];
        match icon {
            Some(icon) if is_icon => words.extend([Word::plain("--icon"), Word::plain(icon)]),
            None if is_icon => {}
            icon => {
                let known = |part: Part| match part {
                    Part::Code(Code::Entry) => Part::Text(subject.path.to_owned()),
                    Part::Code(Code::Icon) => Part::Text(icon.unwrap_or_default().to_owned()),
                    other => other,
                };
                words.push(Word(parts.into_iter().map(known).collect()));
            }
        }
    }
    let is_code = |word: &Word| word.text().is_none();
    let at = words.iter().position(is_code).unwrap_or(words.len());
    words.splice(at..at, subject.flags.iter().map(Word::plain));
    words
}

/// Whether a word is replaced by what is opened, and nothing else.
fn opens_files(word: &Word) -> bool {
    matches!(word.0[..], [Part::Code(Code::File | Code::Files | Code::Url | Code::Urls)])
}

/// A word that the program's are not.
fn mark(words: &[Word]) -> String {
    let mut mark = MARK.to_owned();
    while words.iter().any(|word| word.text().as_deref() == Some(&mark)) {
        mark.push('@');
    }
    mark
}

/// Puts the label behind every name.
fn relabel(file: &mut KeyFile, label: &str) {
    file.revise(|group, pair| match pair.key {
        b"Name" | b"X-GNOME-FullName" if group == MAIN => {
            let name = unescape(pair.value);
            Revised::Value([&name[..], b" (", label.as_bytes(), b")"].concat())
        }
        _ => Revised::Kept,
    });
}

#[cfg(test)]
mod tests;
