//! Files of groups with keys (desktop entries, D-Bus services, icon themes), changed line by line.
//!
//! What is not changed is written as it was, byte for byte: comments, blank lines, the order, keys
//! and groups that nobody knows. [`KeyFile::tidy`] takes out and mends what readers disagree about,
//! so that no reader sees anything that was not seen here.
//!
//! Source: Desktop Entry Specification 1.5; for what it leaves open, GLib's `gkeyfile.c` and KDE's
//! `kconfigini.cpp`. A key that is there twice has the value of the last; groups of one name are one.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;

use super::value::{escape, mended, unescape};

/// The most bytes of a file. The largest entries of distributions, in a hundred languages, have 60 KB.
pub const MOST_BYTES: usize = 1 << 20;

/// A file, as its lines.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyFile {
    lines: Vec<Line>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Line {
    /// With its ending, which only the last may lack.
    bytes: Vec<u8>,
    what: What,
}

/// What a line is; ranges are of its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
enum What {
    /// A comment, or nothing.
    Remark,
    Group(Range<usize>),
    Pair {
        key: Range<usize>,
        locale: Option<Range<usize>>,
        value: Range<usize>,
    },
    /// `[…]` with something that a group's name has not: `[Desktop Entry][$i]` is an order to KDE,
    /// and `[Desktop\sEntry]` the same group for it.
    OddGroup,
    /// Anything else. `Exec[$e]=` is one: KDE would expand variables in it. So is whatever has
    /// control characters: some readers end a line at a carriage return.
    Odd,
}

/// A key with its value, as they stand in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pair<'a> {
    /// The key without its locale.
    pub key: &'a [u8],
    /// `de` of `Name[de]`.
    pub locale: Option<&'a [u8]>,
    /// The value, escaped as it is.
    pub value: &'a [u8],
}

/// What becomes of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Revised {
    /// It stays as it is, byte for byte.
    Kept,
    /// It is taken out.
    Gone,
    /// It gets this value, a string without escapes.
    Value(Vec<u8>),
}

/// Why a file is not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// It has more than [`MOST_BYTES`].
    TooLarge,
    /// It has a zero byte, which ends it for some readers.
    Zero,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Malformed::TooLarge => write!(f, "it has more than {MOST_BYTES} bytes"),
            Malformed::Zero => f.write_str("it has a zero byte"),
        }
    }
}

impl std::error::Error for Malformed {}

impl KeyFile {
    /// Reads a file.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn parse(bytes: &[u8]) -> Result<KeyFile, Malformed> {
        if bytes.len() > MOST_BYTES {
            return Err(Malformed::TooLarge);
        }
        if bytes.contains(&0) {
            return Err(Malformed::Zero);
        }
        Ok(KeyFile { lines: bytes.split_inclusive(|b| *b == b'\n').map(Line::read).collect() })
    }

    /// The file's bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.lines.iter().flat_map(|line| &line.bytes).copied().collect()
    }

    /// The names of the groups, each once, in their order.
    pub fn groups(&self) -> Vec<&[u8]> {
        let mut seen = BTreeSet::new();
        self.lines.iter().filter_map(Line::group).filter(|name| seen.insert(*name)).collect()
    }

    /// All keys of a group in their order, also those that are there twice.
    pub fn pairs(&self, group: &[u8]) -> impl Iterator<Item = Pair<'_>> {
        self.of_group(group).filter_map(|at| self.lines[at].pair())
    }

    /// The value of a key without a locale, with its escapes.
    pub fn raw(&self, group: &[u8], key: &[u8]) -> Option<&[u8]> {
        let is_it = |pair: &Pair<'_>| pair.key == key && pair.locale.is_none();
        self.pairs(group).filter(is_it).last().map(|pair| pair.value)
    }

    /// The value of a key without a locale, as a string.
    pub fn get(&self, group: &[u8], key: &[u8]) -> Option<Vec<u8>> {
        self.raw(group, key).map(unescape)
    }

    /// The value of a key for a user to read: of the first of `locales` that it is there for, else
    /// the one without a locale.
    pub fn localized(&self, group: &[u8], key: &[u8], locales: &[String]) -> Option<Vec<u8>> {
        let of = |locale: &String| {
            let is_it = |pair: &Pair<'_>| {
                pair.key == key && pair.locale.is_some_and(|own| base(own) == locale.as_bytes())
            };
            self.pairs(group).filter(is_it).last().map(|pair| unescape(pair.value))
        };
        locales.iter().find_map(of).or_else(|| self.get(group, key))
    }

    /// Whether a key is there and true. `1` is what old files have.
    pub fn is_true(&self, group: &[u8], key: &[u8]) -> bool {
        self.raw(group, key).is_some_and(|value| matches!(value, b"true" | b"1"))
    }

    /// Gives a key a value and takes away whatever else it has, of a locale or twice. A new key is
    /// added to the end of its group, and a new group to the end of the file.
    pub fn set(&mut self, group: &[u8], key: &[u8], value: &[u8]) {
        let value = escape(value);
        let has_key = |line: &Line| line.pair().is_some_and(|pair| pair.key == key);
        let there: Vec<usize> =
            self.of_group(group).filter(|at| has_key(&self.lines[*at])).collect();
        let Some(kept) = there.iter().copied().find(|at| self.lines[*at].has_no_locale()) else {
            self.delete(&there);
            self.add(group, key, &value);
            return;
        };
        self.lines[kept].replace_value(&value);
        let others: Vec<usize> = there.into_iter().filter(|at| *at != kept).collect();
        self.delete(&others);
    }

    /// Goes through all keys, with the group that each is in.
    pub fn revise(&mut self, mut revised: impl FnMut(&[u8], Pair<'_>) -> Revised) {
        let mut group: Vec<u8> = Vec::new();
        self.lines.retain_mut(|line| {
            if line.is_header() {
                group = line.group().unwrap_or_default().to_vec();
            }
            match line.pair().map(|pair| revised(&group, pair)) {
                None | Some(Revised::Kept) => true,
                Some(Revised::Gone) => false,
                Some(Revised::Value(value)) => {
                    line.replace_value(&escape(&value));
                    true
                }
            }
        });
    }

    /// Takes groups away, with their keys and remarks.
    pub fn keep_groups(&mut self, is_kept: impl Fn(&[u8]) -> bool) {
        let mut is_in = true;
        self.lines.retain(|line| {
            if line.is_header() {
                is_in = line.group().is_some_and(&is_kept);
            }
            is_in
        });
    }

    /// Takes out what a reader may understand otherwise, or refuse the whole file for: lines that
    /// are nothing, keys outside of a group, groups with odd names, translations of what has none,
    /// all but the last of what is there twice. Odd escapes become the text that they look like,
    /// and every line ends where it seems to.
    pub fn tidy(&mut self) {
        let (mut group, mut kept) = (None, Vec::with_capacity(self.lines.len()));
        for mut line in self.lines.drain(..) {
            match line.what {
                What::OddGroup => group = None,
                What::Odd => {}
                What::Group(_) => group = line.group().map(<[u8]>::to_vec),
                What::Pair { .. } if group.is_none() || line.is_out_of_place() => continue,
                What::Pair { .. } => line.mend(),
                What::Remark => {}
            }
            if !matches!(line.what, What::OddGroup | What::Odd) {
                line.end_plainly();
                kept.push((group.clone(), line));
            }
        }
        let mut seen = BTreeSet::new();
        kept.reverse();
        kept.retain(|(group, line)| {
            let own = line.pair().map(|pair| {
                let locale = pair.locale.map(<[u8]>::to_vec);
                (group.clone(), pair.key.to_vec(), locale)
            });
            own.is_none_or(|own| seen.insert(own))
        });
        kept.reverse();
        self.lines = kept.into_iter().map(|(_, line)| line).collect();
    }

    /// The lines below the headers of a group.
    fn of_group(&self, name: &[u8]) -> impl Iterator<Item = usize> {
        let mut is_in = false;
        self.lines.iter().enumerate().filter_map(move |(at, line)| {
            if line.is_header() {
                is_in = line.group() == Some(name);
                return None;
            }
            is_in.then_some(at)
        })
    }

    /// `places` ascend.
    fn delete(&mut self, places: &[usize]) {
        let (mut places, mut at) = (places.iter().peekable(), 0);
        self.lines.retain(|_| {
            at += 1;
            places.next_if_eq(&&(at - 1)).is_none()
        });
    }

    fn add(&mut self, group: &[u8], key: &[u8], value: &[u8]) {
        if let Some(last) = self.lines.last_mut() {
            last.end_plainly();
        }
        if !self.lines.iter().any(|line| line.group() == Some(group)) {
            if !self.lines.is_empty() {
                self.lines.push(Line::read(b"\n"));
            }
            self.lines.push(Line::read(&[b"[", group, b"]\n"].concat()));
        }
        // Behind the last key of the group, not behind the blank lines before the next.
        let header = self.lines.iter().rposition(|line| line.group() == Some(group));
        let last = self.of_group(group).filter(|at| self.lines[*at].pair().is_some()).last();
        let at = last.max(header).map_or(self.lines.len(), |at| at + 1);
        self.lines.insert(at, Line::read(&[key, b"=", value, b"\n"].concat()));
    }
}

impl Line {
    fn read(bytes: &[u8]) -> Line {
        Line { bytes: bytes.to_vec(), what: what(bytes) }
    }

    fn group(&self) -> Option<&[u8]> {
        match &self.what {
            What::Group(name) => Some(&self.bytes[name.clone()]),
            _ => None,
        }
    }

    fn is_header(&self) -> bool {
        matches!(self.what, What::Group(_) | What::OddGroup)
    }

    fn pair(&self) -> Option<Pair<'_>> {
        let What::Pair { key, locale, value } = &self.what else { return None };
        Some(Pair {
            key: &self.bytes[key.clone()],
            locale: locale.clone().map(|locale| &self.bytes[locale]),
            value: &self.bytes[value.clone()],
        })
    }

    fn has_no_locale(&self) -> bool {
        self.pair().is_some_and(|pair| pair.locale.is_none())
    }

    /// Writes the whole line anew: of blanks behind a value GLib would make a part of it.
    fn replace_value(&mut self, new: &[u8]) {
        let Some(pair) = self.pair() else { return };
        let locale = pair.locale.map(|locale| [b"[", locale, b"]"].concat()).unwrap_or_default();
        *self = Line::read(&[pair.key, &locale, b"=", new, b"\n"].concat());
    }

    /// Gives escapes that the specification does not have the meaning of their letters: KDE knows
    /// more of them than GLib.
    fn mend(&mut self) {
        let Some(pair) = self.pair() else { return };
        let mended = mended(pair.value);
        if mended != pair.value {
            self.replace_value(&mended);
        }
    }

    /// No blank and no carriage return before the end, and an end.
    fn end_plainly(&mut self) {
        let end = self.bytes.iter().rposition(|b| !b" \t\r\n".contains(b)).map_or(0, |at| at + 1);
        if self.bytes[end..] != *b"\n" {
            self.bytes.truncate(end);
            self.bytes.push(b'\n');
            self.what = what(&self.bytes);
        }
    }

    /// Whether it is a translation of what is none, which KDE takes for the value all the same; or
    /// the encoding, which is UTF-8 and for which GLib refuses old files.
    fn is_out_of_place(&self) -> bool {
        self.pair().is_some_and(|pair| {
            pair.key == b"Encoding" || pair.locale.is_some() && !TRANSLATED.contains(&pair.key)
        })
    }
}

/// The keys that have translations.
const TRANSLATED: [&[u8]; 7] = [
    b"Name",
    b"GenericName",
    b"Comment",
    b"Keywords",
    b"Icon",
    b"X-GNOME-FullName",
    b"X-GNOME-Keywords",
];

fn what(line: &[u8]) -> What {
    let end = line.strip_suffix(b"\n").unwrap_or(line);
    let end = end.strip_suffix(b"\r").unwrap_or(end).len();
    let text = trimmed(line, 0..end);
    let has_control = line[..end].iter().any(|b| b.is_ascii_control() && *b != b'\t');
    match line.get(text.start) {
        _ if text.is_empty() && !has_control => What::Remark,
        Some(b'[') => header(line, text),
        _ if has_control => What::Odd,
        Some(b'#') => What::Remark,
        _ => pair(line, text),
    }
}

fn header(line: &[u8], text: Range<usize>) -> What {
    if text.len() <= 2 || !line[text.clone()].ends_with(b"]") {
        return What::OddGroup;
    }
    let name = text.start + 1..text.end - 1;
    let is_name = std::str::from_utf8(&line[name.clone()]).is_ok_and(|name| {
        name.trim() == name && !name.chars().any(|c| "[]\\$".contains(c) || c.is_control())
    });
    if is_name { What::Group(name) } else { What::OddGroup }
}

fn pair(line: &[u8], text: Range<usize>) -> What {
    let Some(equals) = line[text.clone()].iter().position(|b| *b == b'=') else { return What::Odd };
    let equals = text.start + equals;
    let whole = trimmed(line, text.start..equals);
    let value = trimmed(line, equals + 1..text.end);
    let bracket = line[whole.clone()].iter().position(|b| *b == b'[');
    let (key, locale) = match bracket.map(|at| whole.start + at) {
        None => (whole, None),
        Some(at) if line[whole.clone()].ends_with(b"]") => {
            (whole.start..at, Some(at + 1..whole.end - 1))
        }
        Some(_) => return What::Odd,
    };
    let is_plain = |b: &u8| b.is_ascii_alphanumeric() || b"-_.".contains(b);
    let is_key = !key.is_empty() && line[key.clone()].iter().all(is_plain);
    let is_locale = locale.clone().is_none_or(|locale| {
        !locale.is_empty() && line[locale].iter().all(|b| is_plain(b) || *b == b'@')
    });
    if is_key && is_locale { What::Pair { key, locale, value } } else { What::Odd }
}

/// Without blanks at the ends.
fn trimmed(line: &[u8], range: Range<usize>) -> Range<usize> {
    let is_text = |at: &usize| !b" \t".contains(&line[*at]);
    match (range.clone().find(is_text), range.clone().rfind(is_text)) {
        (Some(first), Some(last)) => first..last + 1,
        _ => range.start..range.start,
    }
}

/// A locale without the encoding that some entries name; another one than UTF-8 is none.
fn base(locale: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(locale);
    let (language, modifier) = match text.split_once('@') {
        Some((language, modifier)) => (language, format!("@{modifier}")),
        None => (&*text, String::new()),
    };
    let plain = language.strip_suffix(".UTF-8").unwrap_or(language);
    format!("{plain}{modifier}").into_bytes()
}

#[cfg(test)]
mod tests;
