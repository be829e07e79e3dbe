//! Short names: `debian:13` for `images:debian/13`.
//!
//! One table, made from the lists that the public image server is built from (lxc/lxc-ci,
//! `jenkins/jobs/image-*.yaml` and the aliases in `bin/jenkins-import-images`, August 2026). A new
//! distribution is one line in it; a new release needs none, since a version that is named is
//! passed on as it is. Only the release that stands for "no version named" grows old, and what the
//! server no longer has is refused by Incus with the name that was asked for.

use std::fmt;

use super::error::Error;
use crate::incus::instances::near;

/// The remote that short names are on.
pub const REMOTE: &str = "images";

/// What a box is made from where the host's distribution has no images.
pub const FALLBACK: &str = "debian";

/// How a version that the user named becomes part of an alias.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Versions {
    /// There is one release at any time.
    Rolling,
    /// `DISTRIBUTION/VERSION`.
    AsNamed,
    /// Only the number before the first dot counts: `9.5` is `9`.
    Major,
    /// The first two numbers count: `3.22.1` is `3.22`.
    MajorMinor,
    /// `9` is `9-Stream`.
    Stream,
    /// `leap16.0` and `leap-16.0` are `16.0`.
    Leap,
}

/// A distribution on the image server.
struct Family {
    /// What users call it; the first name is shown.
    names: &'static [&'static str],
    /// The first part of its aliases.
    alias: &'static str,
    /// The second part where no version was named; empty for none.
    default: &'static str,
    versions: Versions,
    /// Other names of versions, where the server knows only one.
    renamed: &'static [(&'static str, &'static str)],
}

/// A line of the table.
const fn family(
    names: &'static [&'static str],
    alias: &'static str,
    default: &'static str,
    versions: Versions,
) -> Family {
    Family { names, alias, default, versions, renamed: &[] }
}

impl Family {
    const fn renamed(self, renamed: &'static [(&'static str, &'static str)]) -> Family {
        Family { renamed, ..self }
    }
}

use Versions::{AsNamed, Leap, Major, MajorMinor, Rolling, Stream};

const FAMILIES: &[Family] = &[
    family(&["almalinux", "alma"], "almalinux", "10", Major),
    family(&["alpine"], "alpine", "3.24", MajorMinor),
    family(&["alt", "altlinux"], "alt", "Sisyphus", AsNamed).renamed(&[("sisyphus", "Sisyphus")]),
    family(&["amazonlinux", "amzn", "amazon"], "amazonlinux", "2023", AsNamed),
    family(&["archlinux", "arch"], "archlinux", "", Rolling),
    family(&["centos"], "centos", "10-Stream", Stream).renamed(&[("stream", "10-Stream")]),
    family(&["debian"], "debian", "13", AsNamed).renamed(&[
        ("stable", "13"),
        ("testing", "14"),
        ("oldstable", "12"),
    ]),
    family(&["devuan"], "devuan", "excalibur", AsNamed).renamed(&[
        ("4", "chimaera"),
        ("5", "daedalus"),
        ("6", "excalibur"),
    ]),
    family(&["fedora"], "fedora", "44", AsNamed),
    family(&["gentoo"], "gentoo", "systemd", AsNamed),
    family(&["kali"], "kali", "", Rolling),
    family(&["mint", "linuxmint"], "mint", "zena", AsNamed).renamed(&[
        ("21", "vanessa"),
        ("21.1", "vera"),
        ("21.2", "victoria"),
        ("21.3", "virginia"),
        ("22", "wilma"),
        ("22.1", "xia"),
        ("22.2", "zara"),
        ("22.3", "zena"),
    ]),
    family(&["nixos"], "nixos", "26.05", AsNamed),
    family(&["openeuler"], "openeuler", "24.03", AsNamed),
    family(&["opensuse", "opensuse-tumbleweed", "suse"], "opensuse", "tumbleweed", Leap)
        .renamed(&[("leap", "16.0")]),
    family(&["opensuse-leap", "leap"], "opensuse", "16.0", AsNamed),
    family(&["oracle", "oraclelinux", "ol"], "oracle", "10", Major),
    family(&["rocky", "rockylinux"], "rockylinux", "10", Major),
    family(&["slackware"], "slackware", "15.0", AsNamed),
    family(&["ubuntu"], "ubuntu", "26.04", AsNamed),
    family(&["void", "voidlinux"], "voidlinux", "", AsNamed),
];

/// A short name that stands for an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShortName {
    name: &'static str,
    alias: String,
}

impl ShortName {
    /// Reads `NAME` or `NAME:VERSION`; `None` where NAME is in no line of the table.
    ///
    /// # Errors
    /// [`Error::Version`] for a version of a distribution that has none, or that is no version.
    pub fn read(word: &str) -> Result<Option<ShortName>, Error> {
        let (name, version) = match word.split_once(':') {
            Some((name, version)) => (name, Some(version)),
            None => (word, None),
        };
        let lower = name.to_ascii_lowercase();
        let known = |family: &&Family| family.names.contains(&lower.as_str());
        let Some(family) = FAMILIES.iter().find(known) else { return Ok(None) };
        let version = match version {
            None | Some("" | "latest" | "current") => family.default.to_owned(),
            Some(version) => family.version(version).ok_or_else(|| Error::Version {
                name: family.names[0],
                version: version.to_owned(),
                is_rolling: family.versions == Rolling,
            })?,
        };
        let separator = if version.is_empty() { "" } else { "/" };
        let alias = format!("{}{separator}{version}", family.alias);
        Ok(Some(ShortName { name: family.names[0], alias }))
    }

    /// The alias on the remote [`REMOTE`], such as `debian/13`.
    pub fn alias(&self) -> &str {
        &self.alias
    }
}

impl fmt::Display for ShortName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.alias.split_once('/') {
            Some((_, version)) => write!(f, "{}:{version}", self.name),
            None => f.write_str(self.name),
        }
    }
}

impl Family {
    /// The second part of the alias for a version that the user named.
    fn version(&self, named: &str) -> Option<String> {
        let is_one = named.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-/+".contains(&b));
        if !is_one || named.starts_with('/') || named.ends_with('/') {
            return None;
        }
        if let Some((_, known)) = self.renamed.iter().find(|(other, _)| *other == named) {
            return Some((*known).to_owned());
        }
        let parts = |count: usize| named.split('.').take(count).collect::<Vec<_>>().join(".");
        match self.versions {
            Rolling => None,
            AsNamed => Some(named.to_owned()),
            Major => Some(parts(1)),
            MajorMinor => Some(parts(2)),
            Stream if named.bytes().all(|b| b.is_ascii_digit()) => Some(format!("{named}-Stream")),
            Stream => Some(named.replace("-stream", "-Stream")),
            Leap => {
                let number = named.strip_prefix("leap").unwrap_or(named);
                Some(number.trim_start_matches('-').to_owned())
            }
        }
    }
}

/// All short names without versions, for completions and hints.
pub fn all() -> Vec<&'static str> {
    FAMILIES.iter().map(|family| family.names[0]).collect()
}

/// The short names most like `word`, at most three.
pub fn alike(word: &str) -> Vec<String> {
    let name = word.split([':', '/']).next().unwrap_or_default();
    let names: Vec<String> =
        FAMILIES.iter().flat_map(|family| family.names).map(|name| (*name).to_owned()).collect();
    near(name, &names)
}

/// The short name that fits the host best, from the text of its os-release(5); `None` for a
/// distribution that the image server does not have, nor one that it says it is like.
pub fn for_host(os_release: &str) -> Option<ShortName> {
    let field = |name: &str| {
        let value = os_release.lines().find_map(|line| line.trim().strip_prefix(name))?;
        let value = value.strip_prefix('=')?.trim().trim_matches(['"', '\'']);
        (!value.is_empty()).then(|| value.to_owned())
    };
    let number = field("VERSION_ID");
    let codename = field("VERSION_CODENAME");
    let name = |family: &str, version: Option<&str>| {
        let word = version.map_or(family.to_owned(), |version| format!("{family}:{version}"));
        ShortName::read(&word).or_else(|_| ShortName::read(family)).ok().flatten()
    };
    let own = |id: &str| {
        let version = match id {
            // The only ones whose releases the server knows by codename alone.
            "devuan" | "linuxmint" => codename.as_deref(),
            // Debian's testing has a codename and no number; unstable shares testing's image.
            "debian" => number.as_deref().or(codename.as_deref().filter(|name| *name != "sid")),
            // The number is that of a snapshot.
            "gentoo" | "opensuse-tumbleweed" | "void" | "slackware" | "altlinux" => None,
            "alpine" if number.as_deref().is_some_and(|it| it.contains('_')) => Some("edge"),
            _ => number.as_deref(),
        };
        name(id, version)
    };
    let id = field("ID")?;
    if let Some(own) = own(&id) {
        return Some(own);
    }
    // Says that it is like Fedora, but counts as its rebuilds do.
    if id == "rhel" {
        return name("rocky", number.as_deref());
    }
    // Ubuntu's derivatives name the release they are built on, others have numbers of their own.
    let ubuntu = field("UBUNTU_CODENAME");
    let likes = field("ID_LIKE")?;
    likes.split_ascii_whitespace().find_map(|like| match like {
        "ubuntu" => name("ubuntu", ubuntu.as_deref()),
        "fedora" => own("fedora"),
        "rhel" => name("rocky", number.as_deref()),
        other => name(other, None),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alias(word: &str) -> String {
        ShortName::read(word).expect("a version").expect("a short name").alias().to_owned()
    }

    #[test]
    fn short_names_are_aliases_of_the_image_server() {
        for (word, expected) in [
            ("arch", "archlinux"),
            ("archlinux:latest", "archlinux"),
            ("debian", "debian/13"),
            ("Debian:13", "debian/13"),
            ("debian:trixie", "debian/trixie"),
            ("debian:13/cloud", "debian/13/cloud"),
            ("ubuntu:24.04", "ubuntu/24.04"),
            ("fedora:43", "fedora/43"),
            ("alpine:3.22.1", "alpine/3.22"),
            ("alpine:edge", "alpine/edge"),
            ("opensuse", "opensuse/tumbleweed"),
            ("opensuse:tumbleweed", "opensuse/tumbleweed"),
            ("opensuse:leap", "opensuse/16.0"),
            ("opensuse:leap15.6", "opensuse/15.6"),
            ("rocky:9.5", "rockylinux/9"),
            ("alma", "almalinux/10"),
            ("centos:9", "centos/9-Stream"),
            ("centos:9-stream", "centos/9-Stream"),
            ("void", "voidlinux"),
            ("void:musl", "voidlinux/musl"),
            ("gentoo", "gentoo/systemd"),
            ("kali", "kali"),
            ("mint:22.1", "mint/xia"),
            ("devuan:5", "devuan/daedalus"),
        ] {
            assert_eq!(alias(word), expected, "{word}");
        }
    }

    #[test]
    fn what_is_in_no_line_is_no_short_name() {
        for word in ["", "debain", "plan9", "images/debian", "my:thing"] {
            assert_eq!(ShortName::read(word).expect("no version"), None, "{word}");
        }
        assert_eq!(alike("debain:13"), ["debian", "devuan"]);
        assert_eq!(alike("fedroa"), ["fedora"]);
        assert_eq!(alike("debian/13")[0], "debian");
    }

    #[test]
    fn a_version_must_be_one_and_have_a_place() {
        for word in ["arch:2024", "debian:a b", "debian:13?x", "debian:/x", "ubuntu:24.04\u{1b}[m"]
        {
            assert!(ShortName::read(word).is_err(), "{word}");
        }
    }

    #[test]
    fn names_are_unique_and_every_default_is_a_short_name_of_itself() {
        let mut seen = Vec::new();
        for family in FAMILIES {
            for name in family.names {
                assert!(!seen.contains(name), "{name} twice");
                seen.push(name);
                let read = ShortName::read(name).expect("no version").expect("known");
                let again = ShortName::read(&read.to_string()).expect("a version").expect("known");
                assert_eq!(read.alias(), again.alias(), "{name}");
            }
        }
    }

    #[test]
    fn a_host_gets_an_image_of_its_own_kind() {
        let fit = |text: &str| for_host(text).map(|name| name.to_string());
        for (text, expected) in [
            ("ID=debian\nVERSION_ID=\"12\"\nVERSION_CODENAME=bookworm\n", "debian:12"),
            ("ID=debian\nVERSION_CODENAME=forky\n", "debian:forky"),
            ("ID=debian\nVERSION_CODENAME=sid\n", "debian:13"),
            ("ID=arch\nBUILD_ID=rolling\n", "archlinux"),
            ("ID=endeavouros\nID_LIKE=\"arch\"\n", "archlinux"),
            ("ID=ubuntu\nID_LIKE=debian\nVERSION_ID=\"24.04\"\n", "ubuntu:24.04"),
            (
                "ID=pop\nID_LIKE=\"ubuntu debian\"\nVERSION_ID=\"22.04\"\nUBUNTU_CODENAME=jammy\n",
                "ubuntu:jammy",
            ),
            ("ID=linuxmint\nVERSION_ID=\"22.1\"\nVERSION_CODENAME=xia\n", "mint:xia"),
            ("ID=fedora\nVERSION_ID=43\n", "fedora:43"),
            ("ID=bazzite\nID_LIKE=\"fedora\"\nVERSION_ID=43\n", "fedora:43"),
            ("ID=rhel\nID_LIKE=\"fedora\"\nVERSION_ID=\"9.4\"\n", "rocky:9"),
            ("ID=alpine\nVERSION_ID=3.22.1\n", "alpine:3.22"),
            ("ID=alpine\nVERSION_ID=3.25_alpha20261001\n", "alpine:edge"),
            ("ID=\"opensuse-tumbleweed\"\nVERSION_ID=\"20261101\"\n", "opensuse:tumbleweed"),
            ("ID=\"opensuse-leap\"\nVERSION_ID=\"15.6\"\n", "opensuse-leap:15.6"),
            ("ID=\"rocky\"\nID_LIKE=\"rhel centos fedora\"\nVERSION_ID=\"9.5\"\n", "rocky:9"),
            ("ID=\"centos\"\nVERSION_ID=\"9\"\n", "centos:9-Stream"),
            ("ID=nixos\nVERSION_ID=\"26.05\"\n", "nixos:26.05"),
            ("ID=kali\nID_LIKE=debian\nVERSION_ID=\"2026.3\"\n", "kali"),
        ] {
            assert_eq!(fit(text).as_deref(), Some(expected), "{text}");
        }
        assert_eq!(fit("ID=haiku\n"), None);
        assert_eq!(fit(""), None);
    }
}
