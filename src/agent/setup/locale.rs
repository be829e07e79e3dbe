//! Language: the host's locale, as far as the box can speak it.
//!
//! A locale that a box does not have makes every perl and bash complain, and text comes out as
//! question marks; so what cannot be had becomes `C.UTF-8`, which every distribution of today has.
//! What can be had: locales that are compiled already, and those that `localedef` can compile from
//! sources that lie in the box. That costs about a second of CPU for each (as against several for
//! `locale-gen`, which compiles all that are enabled anew), once in a box's life, and is what
//! somebody whose desktop speaks German expects. No package is fetched for it: that is told.
//!
//! The C library of Alpine (musl) knows only UTF-8 and takes any name.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use rustix::fs::{FileType, OFlags};

use super::failure::Failure;
use super::tree::{self, Access, Tree};

/// What every C library of today has.
const FALLBACK: &str = "C.UTF-8";

/// What the box can do about one locale.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ability {
    /// It is there.
    Has,
    /// It can be compiled: the source's and the character set's name for localedef(1).
    CanCompile {
        /// `de_DE`, with the modifier if there is one.
        source: String,
        /// `UTF-8`.
        charset: String,
    },
    /// Neither.
    Lacks,
}

/// Whether the box has `locale`, or can have it.
pub fn ability(tree: &Tree, locale: &str) -> Ability {
    if is_built_in(locale) || is_musl(tree) || is_compiled(tree, locale) {
        return Ability::Has;
    }
    let (language, charset, modifier) = parts(locale);
    let source = format!("{language}{modifier}");
    let charset = charset.unwrap_or("ISO-8859-1").to_owned();
    let has_source = tree.exists(format!("/usr/share/i18n/locales/{source}"));
    let has_charset = ["", ".gz"]
        .iter()
        .any(|end| tree.exists(format!("/usr/share/i18n/charmaps/{charset}{end}")));
    if has_source && has_charset && tree.program("localedef").is_some() {
        Ability::CanCompile { source, charset }
    } else {
        Ability::Lacks
    }
}

/// The variables with every locale that `can` refuses in place of what the box has instead.
pub fn choose(
    wanted: &[(String, String)],
    mut can: impl FnMut(&str) -> bool,
) -> Vec<(String, String)> {
    let mut chosen: Vec<(String, String)> = Vec::new();
    for (name, value) in wanted {
        // A list of languages is looked up by gettext(3), which takes what it finds.
        if name == "LANGUAGE" || value.is_empty() || can(value) {
            chosen.push((name.clone(), value.clone()));
        } else if matches!(name.as_str(), "LANG" | "LC_ALL" | "LC_CTYPE") {
            chosen.push((name.clone(), FALLBACK.to_owned()));
        }
        // Any other category follows LANG.
    }
    if chosen.iter().any(|(name, value)| name == "LANG" && value == FALLBACK) {
        chosen.retain(|(name, _)| name != "LANGUAGE");
    }
    chosen
}

/// Writes the files that logins read: locale.conf(5), and Debian's own for PAM.
///
/// # Errors
/// Of the files.
pub fn write(tree: &Tree, variables: &[(String, String)]) -> Result<(), Failure> {
    if variables.is_empty() {
        return Ok(());
    }
    let debian = Path::new("/etc/default/locale");
    // On Debian 13 the one is a link to the other; elsewhere there may be only one.
    let mut paths = vec![Path::new("/etc/locale.conf")];
    if tree.exists(debian) || tree.exists("/etc/debian_version") {
        paths.push(debian);
    }
    for path in paths {
        let old = tree.read(path)?.unwrap_or_default();
        tree.write(path, &merged(&old, variables), Access::root(0o644))?;
    }
    Ok(())
}

/// Enables a locale for locale-gen(8), which drops what is not: else a later run would take ours.
///
/// # Errors
/// Of the file.
pub fn enable(tree: &Tree, locale: &str, charset: &str) -> Result<(), Failure> {
    let path = "/etc/locale.gen";
    let Some(old) = tree.read(path)? else { return Ok(()) };
    let wanted = format!("{locale} {charset}");
    let is_it = |line: &str| line.split_ascii_whitespace().eq(wanted.split(' '));
    let text = String::from_utf8_lossy(&old);
    if text.lines().any(is_it) {
        return Ok(());
    }
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let commented = |line: &String| line.strip_prefix('#').is_some_and(is_it);
    match lines.iter_mut().find(|line| commented(line)) {
        Some(line) => *line = wanted,
        None => lines.push(wanted),
    }
    lines.push(String::new());
    tree.write(path, lines.join("\n").as_bytes(), Access::root(0o644)).map(|_| ())
}

/// Lines of `NAME=value` with our variables set and all else as it was.
fn merged(old: &[u8], variables: &[(String, String)]) -> Vec<u8> {
    let text = String::from_utf8_lossy(old);
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let name_of = |line: &str| line.split('=').next().unwrap_or("").trim().to_owned();
    for (name, value) in variables {
        let wanted = format!("{name}={value}");
        match lines.iter_mut().find(|line| name_of(line) == *name) {
            Some(line) => *line = wanted,
            None => lines.push(wanted),
        }
    }
    let mut bytes = lines.join("\n").into_bytes();
    bytes.push(b'\n');
    bytes
}

fn is_built_in(locale: &str) -> bool {
    let (language, charset, _) = parts(locale);
    match charset {
        None => matches!(language, "C" | "POSIX"),
        Some(charset) => language == "C" && normalized(charset) == "utf8",
    }
}

fn is_musl(tree: &Tree) -> bool {
    let has = |directory: &str, start: &str| {
        tree.names(directory).iter().any(|name| name.to_string_lossy().starts_with(start))
    };
    has("/lib", "ld-musl-") && !has("/lib", "ld-linux") && !has("/lib64", "ld-linux")
}

fn is_compiled(tree: &Tree, locale: &str) -> bool {
    let (language, charset, modifier) = parts(locale);
    let normal = match charset {
        Some(charset) => format!("{language}.{}{modifier}", normalized(charset)),
        None => format!("{language}{modifier}"),
    };
    let names = [locale, &normal];
    names.iter().any(|name| tree.is_directory(format!("/usr/lib/locale/{name}")))
        || archive_names(tree)
            .is_some_and(|strings| names.iter().any(|name| has_name(&strings, name)))
}

/// `de_DE.UTF-8@euro` as language, character set and modifier with its `@`.
fn parts(locale: &str) -> (&str, Option<&str>, &str) {
    let (front, modifier) = locale.split_at(locale.find('@').unwrap_or(locale.len()));
    match front.split_once('.') {
        Some((language, charset)) => (language, Some(charset), modifier),
        None => (front, None, modifier),
    }
}

/// As `_nl_normalize_codeset` of glibc does: letters and digits, small.
fn normalized(charset: &str) -> String {
    charset.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_lowercase()
}

/// The names in `locale-archive`: an area of strings, each ended by NUL, whose place stands in the
/// head (`struct locarhead` in glibc's locale/locarchive.h). The file itself may have 200 MB.
fn archive_names(tree: &Tree) -> Option<Vec<u8>> {
    const MAGIC: u32 = 0xde02_0109;
    const MOST_BYTES: u32 = 4 << 20;
    let path = Path::new("/usr/lib/locale/locale-archive");
    tree.stat(path).filter(|stat| tree::kind(stat) == FileType::RegularFile)?;
    let file = File::from(tree.open_path(path, OFlags::RDONLY | OFlags::NONBLOCK).ok()?);
    let word = |at: u64| {
        let mut word = [0; 4];
        file.read_exact_at(&mut word, at * 4).ok()?;
        Some(u32::from_ne_bytes(word))
    };
    let (offset, used) = (word(5)?, word(6)?);
    if word(0)? != MAGIC || used > MOST_BYTES {
        return None;
    }
    let mut strings = vec![0; used as usize];
    file.read_exact_at(&mut strings, u64::from(offset)).ok()?;
    Some(strings)
}

fn has_name(strings: &[u8], name: &str) -> bool {
    strings.split(|byte| *byte == 0).any(|known| known == name.as_bytes())
}
