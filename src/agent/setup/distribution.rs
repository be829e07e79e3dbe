//! Which distribution the box is: os-release(5).

use super::tree::Tree;

/// What os-release tells.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Distribution {
    /// `ID`, e.g. `debian`; `linux` where nothing is told, as os-release(5) has it.
    pub id: String,
    /// `ID` and then `ID_LIKE`, the nearest first.
    pub family: Vec<String>,
    /// `VERSION_ID`, e.g. `13`; empty where a distribution has no versions.
    pub version: String,
    /// `PRETTY_NAME`.
    pub pretty_name: String,
}

/// Reads it.
pub fn read(tree: &Tree) -> Distribution {
    let mut text = tree.text("/etc/os-release");
    if text.is_empty() {
        text = tree.text("/usr/lib/os-release");
    }
    parse(&text)
}

/// Reads the text of os-release.
pub fn parse(text: &str) -> Distribution {
    let value = |key: &str| {
        let line = text.lines().rev().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        line.map(unquote).filter(|value| !value.is_empty())
    };
    let id = value("ID").unwrap_or_else(|| "linux".to_owned());
    let like = value("ID_LIKE").unwrap_or_default();
    let mut family = vec![id.clone()];
    family.extend(like.split_ascii_whitespace().map(str::to_owned));
    let pretty_name = value("PRETTY_NAME").unwrap_or_else(|| "Linux".to_owned());
    let version = value("VERSION_ID").unwrap_or_default();
    Distribution { id, family, version, pretty_name }
}

/// A value as a shell would see it: quotes around it, backslashes before `"`, `$`, `\` and `` ` ``.
fn unquote(value: &str) -> String {
    let value = value.trim();
    if let Some(plain) = value.strip_prefix('\'').and_then(|rest| rest.strip_suffix('\'')) {
        return plain.to_owned();
    }
    let inner = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(value);
    let mut plain = String::new();
    let mut characters = inner.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => plain.extend(characters.next()),
            other => plain.push(other),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_as_a_shell_would_and_the_family_begins_with_the_distribution() {
        let text = "PRETTY_NAME=\"A \\\"good\\\" one\"\n#ID=no\nID=ubuntu\nID_LIKE='debian x'\nVERSION_ID=\"24.04\"\n";
        let read = parse(text);
        assert_eq!(read.id, "ubuntu");
        assert_eq!(read.family, ["ubuntu", "debian", "x"]);
        assert_eq!(read.pretty_name, "A \"good\" one");
        assert_eq!(read.version, "24.04");
        assert_eq!(parse("").id, "linux");
    }
}
