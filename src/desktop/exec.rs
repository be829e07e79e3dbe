//! The `Exec` key of desktop entries: a command line with places for what it is to open.
//!
//! Source: Desktop Entry Specification 1.5, "The Exec key". Entries in use quote as a shell does, with
//! single quotes and backslashes outside of quotes, and GLib and KDE read them so; what is written
//! here follows the specification, so each launcher reads the same words. Nothing of a word is ever
//! left for a launcher to take for a shell's: KDE runs a line by `sh` for a `;` outside of quotes, and
//! for a `$` or a backquote that has no backslash, in quotes too. Codes stand outside of quotes, for
//! launchers quote what they put there.

use std::fmt;

/// A command line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exec(pub Vec<Word>);

/// A word of it: text, and codes that the launcher replaces.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Word(pub Vec<Part>);

/// A part of a word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// As it is.
    Text(String),
    /// What the launcher puts there.
    Code(Code),
}

/// What a launcher puts into a command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// `%f`, the path of a file.
    File,
    /// `%F`, paths, a word each.
    Files,
    /// `%u`, a URL or path.
    Url,
    /// `%U`, a word each.
    Urls,
    /// `%i`, the words `--icon` and the `Icon` key.
    Icon,
    /// `%c`, the name as the user reads it.
    Name,
    /// `%k`, where the entry lies.
    Entry,
}

/// Why a value is no command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadExec {
    /// It has no word.
    Empty,
    /// Its first word is not the name of a program.
    NoProgram,
    /// A quote is open at the end.
    Unclosed,
    /// It is not UTF-8.
    NotText,
    /// It has control characters.
    Control,
}

impl fmt::Display for BadExec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            BadExec::Empty => "its `Exec` is empty",
            BadExec::NoProgram => "its `Exec` does not begin with a program",
            BadExec::Unclosed => "a quote in its `Exec` is not closed",
            BadExec::NotText => "its `Exec` is not UTF-8",
            BadExec::Control => "its `Exec` has control characters",
        })
    }
}

impl std::error::Error for BadExec {}

/// Codes of old, which stand for nothing any more.
const DEPRECATED: [char; 6] = ['d', 'D', 'n', 'N', 'v', 'm'];

impl Code {
    const ALL: [(char, Code); 7] = [
        ('f', Code::File),
        ('F', Code::Files),
        ('u', Code::Url),
        ('U', Code::Urls),
        ('i', Code::Icon),
        ('c', Code::Name),
        ('k', Code::Entry),
    ];

    fn of(letter: char) -> Option<Code> {
        Code::ALL.iter().find(|(own, _)| *own == letter).map(|(_, code)| *code)
    }

    fn letter(self) -> char {
        Code::ALL.iter().find(|(_, code)| *code == self).map_or('f', |(letter, _)| *letter)
    }
}

impl Exec {
    /// Reads a value whose escapes of strings are resolved already.
    ///
    /// # Errors
    /// [`BadExec`].
    pub fn parse(value: &[u8]) -> Result<Exec, BadExec> {
        let text = std::str::from_utf8(value).map_err(|_| BadExec::NotText)?;
        if text.chars().any(|c| c.is_control() && !"\n\t".contains(c)) {
            return Err(BadExec::Control);
        }
        let words = shell_words::split(text).map_err(|_| BadExec::Unclosed)?;
        let words: Vec<Word> = words.iter().filter_map(|word| Word::read(word)).collect();
        let first = words.first().ok_or(BadExec::Empty)?;
        match first.text().is_some_and(|name| !name.is_empty()) {
            true => Ok(Exec(words)),
            false => Err(BadExec::NoProgram),
        }
    }

    /// The value for an entry, before escapes of strings.
    pub fn to_value(&self) -> String {
        self.0.iter().map(Word::to_value).collect::<Vec<_>>().join(" ")
    }

    /// All codes in their order.
    pub fn codes(&self) -> impl Iterator<Item = Code> {
        self.0.iter().flat_map(|word| &word.0).filter_map(|part| match part {
            Part::Code(code) => Some(*code),
            Part::Text(_) => None,
        })
    }
}

impl Word {
    /// A word that is text.
    pub fn plain(text: impl Into<String>) -> Word {
        Word(vec![Part::Text(text.into())])
    }

    /// A word that a launcher replaces.
    pub fn code(code: Code) -> Word {
        Word(vec![Part::Code(code)])
    }

    /// Its text, if it is text alone.
    pub fn text(&self) -> Option<String> {
        let texts: Option<Vec<&str>> = self.0.iter().map(Part::text).collect();
        texts.map(|texts| texts.concat())
    }

    /// `None` for a word that stood for nothing but a code of old.
    fn read(word: &str) -> Option<Word> {
        let mut parts = Vec::new();
        let mut text = String::new();
        let mut letters = word.chars();
        let mut is_gone = false;
        while let Some(letter) = letters.next() {
            if letter != '%' {
                text.push(letter);
                continue;
            }
            match letters.next() {
                Some(letter) if Code::of(letter).is_some() => {
                    if !text.is_empty() {
                        parts.push(Part::Text(std::mem::take(&mut text)));
                    }
                    parts.extend(Code::of(letter).map(Part::Code));
                }
                Some(letter) if DEPRECATED.contains(&letter) => is_gone = true,
                Some('%') | None => text.push('%'),
                // No code: it was meant as it is, for instance for `date`.
                Some(other) => text.extend(['%', other]),
            }
        }
        if !text.is_empty() || (parts.is_empty() && !is_gone) {
            parts.push(Part::Text(text));
        }
        (!parts.is_empty()).then_some(Word(parts))
    }

    fn to_value(&self) -> String {
        let value: String = self.0.iter().map(Part::to_value).collect();
        if value.is_empty() { "\"\"".to_owned() } else { value }
    }
}

impl Part {
    fn to_value(&self) -> String {
        let text = match self {
            Part::Code(code) => return format!("%{}", code.letter()),
            Part::Text(text) => text,
        };
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "_@%+=:,./-".contains(c);
        let mut value = String::with_capacity(text.len());
        for letter in text.chars() {
            match letter {
                '%' => value.push_str("%%"),
                '"' | '`' | '$' | '\\' => value.extend(['\\', letter]),
                letter => value.push(letter),
            }
        }
        if text.chars().all(is_plain) { value } else { format!("\"{value}\"") }
    }

    fn text(&self) -> Option<&str> {
        match self {
            Part::Text(text) => Some(text),
            Part::Code(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(value: &str) -> Vec<String> {
        let shown = |part: &Part| match part {
            Part::Text(text) => text.clone(),
            Part::Code(code) => format!("<{code:?}>"),
        };
        let exec = Exec::parse(value.as_bytes()).expect(value);
        exec.0.iter().map(|word| word.0.iter().map(shown).collect()).collect()
    }

    #[test]
    fn words_are_split_as_launchers_split_them() {
        for (value, expected) in [
            ("firefox %u", vec!["firefox", "<Url>"]),
            (
                "/usr/lib/a\\ b/c  --new-window %U ",
                vec!["/usr/lib/a b/c", "--new-window", "<Urls>"],
            ),
            (
                r#"sh -c "echo \"\$HOME\" \`date\` \\\\" x"#,
                vec!["sh", "-c", r#"echo "$HOME" `date` \\"#, "x"],
            ),
            ("env A='b c' app", vec!["env", "A=b c", "app"]),
            ("app --file=%f --x %%f %d %k", vec!["app", "--file=<File>", "--x", "%f", "<Entry>"]),
            ("app \"%F\" '' %c%i", vec!["app", "<Files>", "", "<Name><Icon>"]),
            ("app +%H:%M 100%", vec!["app", "+%H:%M", "100%"]),
            ("app a%nb", vec!["app", "ab"]),
        ] {
            assert_eq!(words(value), expected, "{value}");
        }
    }

    #[test]
    fn what_is_no_command_line_is_refused() {
        for (value, why) in [
            (&b""[..], BadExec::Empty),
            (b"  ", BadExec::Empty),
            (b"%d", BadExec::Empty),
            (b"%u", BadExec::NoProgram),
            (b"app%u x", BadExec::NoProgram),
            (b"\"\" x", BadExec::NoProgram),
            (b"app \"x", BadExec::Unclosed),
            (b"app 'x", BadExec::Unclosed),
            (b"app \xff", BadExec::NotText),
            (b"app \x1b[m", BadExec::Control),
            ("app \u{9b}".as_bytes(), BadExec::Control),
        ] {
            assert_eq!(Exec::parse(value), Err(why), "{value:?}");
        }
    }

    #[test]
    fn what_a_launcher_could_take_for_its_own_is_quoted() {
        let all = |code: Code| Part::Code(code);
        let text = |text: &str| Part::Text(text.to_owned());
        for (parts, expected) in [
            (vec![text("")], r#""""#),
            (vec![text("--x=y,z/a.b:c@d_e+1")], "--x=y,z/a.b:c@d_e+1"),
            (vec![text("100%f")], "100%%f"),
            (vec![text("$HOME")], r#""\$HOME""#),
            (vec![text("`x`")], r#""\`x\`""#),
            (vec![text(r"a\b")], r#""a\\b""#),
            (vec![text("a\"b")], r#""a\"b""#),
            (vec![text("~/x")], r#""~/x""#),
            (vec![text("#x")], r##""#x""##),
            (vec![text("a;b")], r#""a;b""#),
            (vec![text("it's")], r#""it's""#),
            (vec![text("ü")], r#""ü""#),
            (vec![text("--a b="), all(Code::Urls)], r#""--a b="%U"#),
            (vec![all(Code::File), text(" x")], r#"%f" x""#),
        ] {
            assert_eq!(Word(parts).to_value(), expected);
        }
    }

    #[test]
    fn what_is_written_is_read_as_the_same_words() {
        let texts = [
            "", " ", "a b", "~", "$HOME", "`x`", "a;b", "a|b&c", "(x)", "*", "?", "<>", "#", "a#b",
            "\\", "\\\\", "\"", "'", "a'b\"c", "%", "%%", "%f", "100%u", "ü ö", "a\nb", "\t",
            "{a,b}", "!x", "[x]", "=", "--x=y", "^",
        ];
        for text in texts {
            let exec = Exec(vec![
                Word::plain("incusbox-run"),
                Word::plain(text),
                Word(vec![Part::Text(format!("--{text}=")), Part::Code(Code::Urls)]),
                Word::code(Code::Icon),
            ]);
            let value = exec.to_value();
            assert_eq!(Exec::parse(value.as_bytes()).expect(&value), exec, "{value}");
        }
    }
}
