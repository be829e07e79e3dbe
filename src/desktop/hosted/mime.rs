//! MIME types that programs of a box open and the host does not know.
//!
//! What a type is, packages say in `mime/packages/*.xml` (Shared MIME-info Database specification,
//! 0.21). For the host they are written anew, from what was understood: what the type is called, and
//! endings of file names that the host has no type for. Nothing that looks into files (`magic`,
//! `treemagic`, `root-XML`) passes, for that would have a say in what any file on the host is.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use quick_xml::events::{BytesDecl, BytesEnd, BytesStart, BytesText, Event};
use quick_xml::{Reader, Writer, XmlVersion};

use super::entry::is_type;

/// The namespace of packages.
const NAMESPACE: &str = "http://www.freedesktop.org/standards/shared-mime-info";
/// Where packages go, below a data directory.
pub const PACKAGES: &str = "mime/packages";
/// The most characters of what a type is called.
const MOST_TEXT: usize = 200;
/// The most of each: names, endings, parents, aliases. The most in Debian are 70 translations.
const MOST: usize = 200;
/// The most attributes of an element that are looked at.
const MOST_ATTRIBUTES: usize = 20;
/// What files cannot be, by the first part of the type.
const NO_FILES: [&str; 4] = ["all", "inode", "x-content", "x-scheme-handler"];

/// What the host knows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// Types, other names of these too; in small letters.
    types: BTreeSet<String>,
    /// Patterns of file names, in small letters.
    patterns: BTreeSet<String>,
}

/// What a type is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Definition {
    /// What it is called, by language; without one in the language of the package.
    comments: BTreeMap<Option<String>, String>,
    /// Which file names have it.
    patterns: BTreeSet<String>,
    /// Of which it is one.
    parents: BTreeSet<String>,
    /// Its other names.
    aliases: BTreeSet<String>,
    /// An icon of every desktop's.
    icon: Option<String>,
}

/// Types by their names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Definitions(BTreeMap<String, Definition>);

impl Known {
    /// Adds what a data base says in its files `types`, `aliases` and `globs2`.
    pub fn add_base(&mut self, types: &str, aliases: &str, patterns: &str) {
        self.types.extend(types.lines().map(lower));
        let alias = |line: &str| Some(lower(line.split_once(' ')?.0));
        self.types.extend(aliases.lines().filter_map(alias));
        // `50:text/x-python:*.py:cs`
        let pattern = |line: &str| Some(lower(line.split(':').nth(2)?));
        self.patterns.extend(patterns.lines().filter_map(pattern));
    }

    /// Adds what a package says.
    pub fn add_package(&mut self, package: &[u8]) {
        let mut all = Definitions::default();
        all.read(package, &|_| true);
        for (name, definition) in all.0 {
            self.types.extend(definition.aliases.iter().chain([&name]).map(lower));
            self.patterns.extend(definition.patterns.iter().map(lower));
        }
    }

    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        self.types.is_empty()
    }

    /// Whether this can be the type of a file and is none of the host's.
    pub fn lacks(&self, name: &str) -> bool {
        let kind = name.split('/').next().unwrap_or_default();
        is_type(name.as_bytes()) && !NO_FILES.contains(&kind) && !self.types.contains(&lower(name))
    }

    /// Whether the host has no type for files whose names end so.
    fn lacks_pattern(&self, pattern: &str) -> bool {
        // Of `*.tar.xz` also `*.xz`: what opens the one must not become another.
        let mut ending = pattern.strip_prefix('*');
        while let Some(rest) = ending {
            if self.patterns.contains(&lower(format!("*{rest}"))) {
                return false;
            }
            ending = rest.get(1..).and_then(|more| more.find('.').map(|at| &more[at..]));
        }
        true
    }
}

fn lower(text: impl AsRef<str>) -> String {
    text.as_ref().to_lowercase()
}

/// Of `*.ending`, with nothing in it that could mean more.
fn is_pattern(pattern: &str) -> bool {
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || b"._+-".contains(&b);
    pattern.strip_prefix("*.").is_some_and(|rest| {
        !rest.is_empty() && rest.len() <= 50 && !rest.starts_with('.') && rest.bytes().all(is_plain)
    })
}

fn is_word(word: &str, more: &[u8]) -> bool {
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || more.contains(&b);
    !word.is_empty() && word.len() <= 100 && word.bytes().all(is_plain)
}

impl Definitions {
    /// Adds what a package says of types of which one name is wanted. What cannot be read any more
    /// is left out, and all behind it.
    pub fn read(&mut self, package: &[u8], is_wanted: &dyn Fn(&str) -> bool) {
        let mut reader = Reader::from_reader(package);
        reader.config_mut().expand_empty_elements = true;
        let (mut depth, mut own, mut name) = (0_u32, Definition::default(), String::new());
        // The language of the text that is being read, and the text.
        let mut text: Option<(Option<String>, String)> = None;
        loop {
            let event = reader.read_event();
            match event {
                Ok(Event::Start(element)) => {
                    depth += 1;
                    match (depth, element.name().as_ref()) {
                        (2, b"mime-type") => {
                            own = Definition::default();
                            name = attribute(&element, b"type").unwrap_or_default();
                        }
                        (3, b"comment") => {
                            text = Some((attribute(&element, b"xml:lang"), String::new()));
                        }
                        (3, _) => own.take(&element),
                        _ => {}
                    }
                }
                Ok(Event::End(element)) => {
                    match (depth, element.name().as_ref()) {
                        (3, b"comment") => {
                            if let Some((language, text)) = text.take() {
                                own.call(language, &text);
                            }
                        }
                        (2, b"mime-type") => {
                            let own = std::mem::take(&mut own);
                            let is_one =
                                is_wanted(&name) || own.aliases.iter().any(|a| is_wanted(a));
                            if is_type(name.as_bytes()) && is_one {
                                self.0.entry(std::mem::take(&mut name)).or_default().merge(own);
                            }
                        }
                        _ => {}
                    }
                    depth = depth.saturating_sub(1);
                }
                Ok(Event::Text(part)) => {
                    if let (Some((_, text)), Ok(part)) = (&mut text, part.decode()) {
                        text.push_str(&part);
                    }
                }
                Ok(Event::GeneralRef(part)) => {
                    let letter = part.resolve_char_ref().ok().flatten();
                    let letter = letter.or(match &*part.into_inner() {
                        b"amp" => Some('&'),
                        b"lt" => Some('<'),
                        b"gt" => Some('>'),
                        b"quot" => Some('"'),
                        b"apos" => Some('\''),
                        _ => None,
                    });
                    if let (Some((_, text)), Some(letter)) = (&mut text, letter) {
                        text.push(letter);
                    }
                }
                Ok(Event::Eof) | Err(_) => return,
                Ok(_) => {}
            }
        }
    }

    /// The types that are defined.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// The package for the host with these types, as far as it knows them not yet; `None` where
    /// nothing is left of it.
    pub fn package(&self, wanted: &BTreeSet<String>, known: &Known) -> Option<Vec<u8>> {
        let is_meant = |name: &str, one: &Definition| {
            wanted.contains(name) || one.aliases.iter().any(|alias| wanted.contains(alias))
        };
        let own: BTreeMap<&str, Definition> = self
            .0
            .iter()
            .filter(|(name, one)| known.lacks(name) && is_meant(name, one))
            .map(|(name, one)| {
                let mut own = one.clone();
                own.patterns.retain(|pattern| known.lacks_pattern(pattern));
                own.aliases.retain(|alias| alias != name && known.lacks(alias));
                (name.as_str(), own)
            })
            .filter(|(_, own)| !own.patterns.is_empty())
            .collect();
        if own.is_empty() {
            return None;
        }
        let is_there = |parent: &str| own.contains_key(parent) || known.types.contains(parent);
        let mut writer = Writer::new_with_indent(Vec::new(), b' ', 2);
        write(&mut writer, &own, &is_there).ok()?;
        let mut bytes = writer.into_inner();
        bytes.push(b'\n');
        Some(bytes)
    }
}

fn write(
    writer: &mut Writer<Vec<u8>>,
    types: &BTreeMap<&str, Definition>,
    is_there: &dyn Fn(&str) -> bool,
) -> io::Result<()> {
    writer.write_event(Event::Decl(BytesDecl::new("1.0", Some("UTF-8"), None)))?;
    let root = BytesStart::new("mime-info").with_attributes([("xmlns", NAMESPACE)]);
    writer.write_event(Event::Start(root))?;
    for (name, one) in types {
        let start = BytesStart::new("mime-type").with_attributes([("type", *name)]);
        writer.write_event(Event::Start(start))?;
        for (language, text) in &one.comments {
            let mut comment = BytesStart::new("comment");
            comment.extend_attributes(language.iter().map(|language| ("xml:lang", &**language)));
            writer.write_event(Event::Start(comment))?;
            writer.write_event(Event::Text(BytesText::new(text)))?;
            writer.write_event(Event::End(BytesEnd::new("comment")))?;
        }
        let parents = one.parents.iter().filter(|parent| is_there(parent));
        let words = one.icon.iter().map(|icon| ("generic-icon", "name", icon));
        let words = words.chain(parents.map(|parent| ("sub-class-of", "type", parent)));
        let words = words.chain(one.aliases.iter().map(|alias| ("alias", "type", alias)));
        let words = words.chain(one.patterns.iter().map(|pattern| ("glob", "pattern", pattern)));
        for (element, attribute, value) in words {
            let element = BytesStart::new(element).with_attributes([(attribute, &**value)]);
            writer.write_event(Event::Empty(element))?;
        }
        writer.write_event(Event::End(BytesEnd::new("mime-type")))?;
    }
    writer.write_event(Event::End(BytesEnd::new("mime-info")))
}

fn attribute(element: &BytesStart<'_>, name: &[u8]) -> Option<String> {
    // Unchecked: to compare each with each takes for ever where there are many.
    let mut all = element.attributes();
    let mut all = all.with_checks(false).flatten().take(MOST_ATTRIBUTES);
    let found = all.find(|one| one.key.as_ref() == name)?;
    found.normalized_value(XmlVersion::Implicit1_0).ok().map(|value| value.into_owned())
}

impl Definition {
    /// Takes an element of the type's.
    fn take(&mut self, element: &BytesStart<'_>) {
        let value = |name| attribute(element, name).unwrap_or_default();
        let into = match element.name().as_ref() {
            b"glob" => Some((&mut self.patterns, value(b"pattern"))).filter(|(_, p)| is_pattern(p)),
            b"sub-class-of" => {
                Some((&mut self.parents, value(b"type"))).filter(|(_, p)| is_type(p.as_bytes()))
            }
            b"alias" => {
                Some((&mut self.aliases, value(b"type"))).filter(|(_, a)| is_type(a.as_bytes()))
            }
            b"generic-icon" => {
                self.icon = Some(value(b"name")).filter(|name| is_word(name, b"-_.+"));
                None
            }
            _ => None,
        };
        if let Some((set, value)) = into.filter(|(set, _)| set.len() < MOST) {
            set.insert(value);
        }
    }

    fn call(&mut self, language: Option<String>, text: &str) {
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        let text: String = crate::message::printable(&text).chars().take(MOST_TEXT).collect();
        let text = text.trim_end();
        let is_sound = language.as_ref().is_none_or(|language| is_word(language, b"_@.-"));
        if is_sound && !text.is_empty() && self.comments.len() < MOST {
            self.comments.insert(language, text.to_owned());
        }
    }

    /// What several packages say of one type belongs together.
    fn merge(&mut self, other: Definition) {
        self.patterns.extend(other.patterns);
        self.parents.extend(other.parents);
        self.aliases.extend(other.aliases);
        self.comments.extend(other.comments);
        self.icon = other.icon.or(self.icon.take());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known() -> Known {
        let set = |all: &[&str]| all.iter().map(|one| (*one).to_owned()).collect();
        Known {
            types: set(&["text/plain", "application/gzip", "application/pdf"]),
            patterns: set(&["*.txt", "*.gz", "*.pdf", "makefile"]),
        }
    }

    fn package(body: &str, wanted: &[&str]) -> Option<String> {
        let text =
            format!("<?xml version='1.0'?><mime-info xmlns='{NAMESPACE}'>{body}</mime-info>");
        let wanted: BTreeSet<String> = wanted.iter().map(|one| (*one).to_owned()).collect();
        let mut all = Definitions::default();
        all.read(text.as_bytes(), &|name| wanted.contains(name));
        let bytes = all.package(&wanted, &known())?;
        Some(String::from_utf8(bytes).expect("UTF-8"))
    }

    const FOO: &str = "<mime-type type='application/x-foo'>
        <comment>Foo &amp; more</comment><comment xml:lang='de'>F&#xfc;r</comment>
        <generic-icon name='x-office-document'/><acronym>FOO</acronym>
        <magic><match type='string' value='%PDF' offset='0'><match type='string' value='a' offset='1'/></match></magic>
        <root-XML namespaceURI='http://www.w3.org/2000/svg' localName='svg'/>
        <sub-class-of type='text/plain'/><sub-class-of type='application/x-else'/>
        <alias type='application/x-old-foo'/><alias type='application/pdf'/>
        <glob pattern='*.foo' weight='100'/><glob pattern='*.pdf'/><glob pattern='*.foo.GZ'/>
        <glob pattern='*'/><glob pattern='Makefile'/><glob pattern='*.[ch]'/></mime-type>";

    #[test]
    fn a_type_passes_with_names_and_endings_that_the_host_lacks_and_nothing_else() {
        let own = package(FOO, &["application/x-foo"]).expect("a package");
        let expected = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>
<mime-info xmlns=\"{NAMESPACE}\">
  <mime-type type=\"application/x-foo\">
    <comment>Foo &amp; more</comment>
    <comment xml:lang=\"de\">F\u{fc}r</comment>
    <generic-icon name=\"x-office-document\"/>
    <sub-class-of type=\"text/plain\"/>
    <alias type=\"application/x-old-foo\"/>
    <glob pattern=\"*.foo\"/>
  </mime-type>
</mime-info>
"
        );
        assert_eq!(own, expected);
        assert_eq!(package(FOO, &["application/x-old-foo"]), Some(expected), "by its other name");
        assert_eq!(package(FOO, &["application/x-else"]), None, "none of a program's");
    }

    #[test]
    fn nothing_is_said_of_what_the_host_knows_or_no_file_is() {
        for name in ["application/pdf", "inode/directory", "x-scheme-handler/foo", "x", "a/b c"] {
            let body = format!("<mime-type type='{name}'><glob pattern='*.foo'/></mime-type>");
            assert_eq!(package(&body, &[name]), None, "{name}");
        }
        let body = "<mime-type type='a/b'><glob pattern='*.PDF'/></mime-type>";
        assert_eq!(package(body, &["a/b"]), None, "nothing to know it by");
    }

    #[test]
    fn what_several_packages_say_belongs_together_and_damage_costs_only_what_follows() {
        let body = "<mime-type type='a/b'><glob pattern='*.b1'/></mime-type>
            <mime-type type='a/b'><glob pattern='*.b2'/><comment>\u{202e}B\n</comment></mime-type>
            <mime-type type='a/c'><glob pattern='*.c'></mime-type>
            <mime-type type='a/b'><glob pattern='*.b3'/></mime-type>";
        let own = package(body, &["a/b", "a/c"]).expect("a package");
        assert!(own.contains("*.b1") && own.contains("*.b2"), "{own}");
        assert!(!own.contains("*.b3") && !own.contains("a/c"), "{own}");
        assert!(own.contains("<comment>\u{fffd}B</comment>"), "{own}");
    }

    #[test]
    fn a_name_that_is_cut_at_a_blank_is_read_again_as_the_same() {
        let package = |bytes: &[u8]| {
            let mut all = Definitions::default();
            all.read(bytes, &|_| true);
            all.package(&["a/b".to_owned()].into(), &Known::default()).expect("a type")
        };
        let text = "x".repeat(MOST_TEXT - 1);
        let said = format!(
            "<mime-info><mime-type type='a/b'><comment>{text} y</comment><glob pattern='*.b'/></mime-type></mime-info>"
        );
        let own = package(said.as_bytes());
        assert_eq!(package(&own), own);
    }

    #[test]
    fn the_host_knows_what_its_data_bases_say_and_what_packages_do() {
        let mut known = Known::default();
        assert!(known.is_empty());
        known.add_base("a/b\nc/d\n", "x/old a/b\n", "# text\n50:a/b:*.b\n60:c/d:*.CD:cs\n");
        let users =
            "<mime-info><mime-type type='u/v'><glob pattern='*.uv'/></mime-type></mime-info>";
        known.add_package(users.as_bytes());
        for (name, lacks) in
            [("a/b", false), ("A/B", false), ("x/old", false), ("u/v", false), ("o/v", true)]
        {
            assert_eq!(known.lacks(name), lacks, "{name}");
        }
        for (pattern, lacks) in
            [("*.cd", false), ("*.x.cd", false), ("*.uv", false), ("*.cdx", true), ("*.ov", true)]
        {
            assert_eq!(known.lacks_pattern(pattern), lacks, "{pattern}");
        }
    }
}
