//! The package managers: one table of what to type.
//!
//! `families` are the `ID` and `ID_LIKE` of os-release; a box of none of them gets the first whose
//! program it has. Names of packages are appended; none begins with a hyphen (see `wanted`).

use super::distribution::Distribution;
use super::tree::Tree;

/// A package manager.
#[derive(Debug, PartialEq, Eq)]
pub struct Manager {
    /// Its name.
    pub name: &'static str,
    /// Distributions that use it.
    pub families: &'static [&'static str],
    /// The program that shows that it is there.
    pub program: &'static str,
    /// Says whether a package is there, by its status …
    pub has: &'static [&'static str],
    /// … and by what it writes, where that alone tells.
    pub has_answer: Option<&'static str>,
    /// Finishes what an interrupted run left; does nothing else.
    pub mend: &'static [&'static str],
    /// Needed once, as long as the path is missing.
    pub first: Option<(&'static str, &'static [&'static [&'static str]])>,
    /// Fetches the lists of packages.
    pub refresh: &'static [&'static str],
    /// Installs packages.
    pub install: &'static [&'static str],
    /// Brings all packages up to date.
    pub upgrade: &'static [&'static str],
    /// How it can be seen that somebody else is at it; those who wait by themselves need none.
    pub lock: Lock,
    /// Statuses that are no failure.
    pub fine: &'static [u8],
    /// What it must find in its environment.
    pub environment: &'static [(&'static str, &'static str)],
    /// What a person would type, for warnings.
    pub words: &'static str,
}

/// How a manager keeps others out.
#[derive(Debug, PartialEq, Eq)]
pub enum Lock {
    /// It waits by itself.
    Waits,
    /// It locks these files (fcntl(2)) and gives up if that fails.
    Records(&'static [&'static str]),
    /// It makes this file and gives up if that exists.
    File(&'static str),
}

/// The managers, in the order of trial.
pub const MANAGERS: &[Manager] = &[
    Manager {
        name: "apt",
        families: &["debian", "ubuntu"],
        program: "apt-get",
        has: &["dpkg-query", "--show", "--showformat=${db:Status-Status}\n"],
        has_answer: Some("installed"),
        mend: &["dpkg", "--force-confdef", "--force-confold", "--configure", "--pending"],
        first: None,
        // Left alone, it calls it a success when no mirror answers.
        refresh: &["apt-get", "update", "--option=APT::Update::Error-Mode=any"],
        install: &[
            "apt-get",
            "install",
            "--yes",
            "--option=Dpkg::Options::=--force-confdef",
            "--option=Dpkg::Options::=--force-confold",
            "--option=Dpkg::Use-Pty=0",
            "--option=DPkg::Lock::Timeout=120",
        ],
        upgrade: &[
            "apt-get",
            "dist-upgrade",
            "--yes",
            "--option=Dpkg::Options::=--force-confdef",
            "--option=Dpkg::Options::=--force-confold",
            "--option=Dpkg::Use-Pty=0",
            "--option=DPkg::Lock::Timeout=120",
        ],
        // `update` does not wait for the lists' lock (apt-daily.service takes it at boot).
        lock: Lock::Records(&[
            "/var/lib/dpkg/lock-frontend",
            "/var/lib/dpkg/lock",
            "/var/lib/apt/lists/lock",
            "/var/cache/apt/archives/lock",
        ]),
        fine: &[],
        environment: &[
            ("DEBIAN_FRONTEND", "noninteractive"),
            ("DEBCONF_NONINTERACTIVE_SEEN", "true"),
            ("APT_LISTCHANGES_FRONTEND", "none"),
            ("NEEDRESTART_SUSPEND", "1"),
            ("UCF_FORCE_CONFFOLD", "1"),
        ],
        words: "apt-get install",
    },
    Manager {
        name: "apk",
        families: &["alpine", "postmarketos"],
        program: "apk",
        has: &["apk", "info", "--installed"],
        has_answer: None,
        mend: &[],
        first: None,
        refresh: &["apk", "--wait", "120", "update"],
        install: &["apk", "--wait", "120", "add"],
        upgrade: &["apk", "--wait", "120", "upgrade"],
        lock: Lock::Waits,
        fine: &[],
        environment: &[],
        words: "apk add",
    },
    Manager {
        name: "pacman",
        families: &["arch", "manjaro"],
        program: "pacman",
        has: &["pacman", "--deptest"],
        has_answer: None,
        mend: &[],
        // Images come without keys of their own.
        first: Some((
            "/etc/pacman.d/gnupg/trustdb.gpg",
            &[&["pacman-key", "--init"], &["pacman-key", "--populate"]],
        )),
        refresh: &[],
        // Never new packages on an old system: Arch does not support partial upgrades.
        install: &[
            "pacman",
            "--sync",
            "--refresh",
            "--sysupgrade",
            "--noconfirm",
            "--needed",
            "--noprogressbar",
        ],
        upgrade: &[
            "pacman",
            "--sync",
            "--refresh",
            "--sysupgrade",
            "--noconfirm",
            "--noprogressbar",
        ],
        lock: Lock::File("/var/lib/pacman/db.lck"),
        fine: &[],
        environment: &[],
        words: "pacman -Syu",
    },
    Manager {
        name: "zypper",
        families: &["opensuse-tumbleweed"],
        program: "zypper",
        has: &["rpm", "--query", "--whatprovides"],
        has_answer: None,
        mend: &[],
        first: None,
        refresh: &["zypper", "--non-interactive", "--gpg-auto-import-keys", "refresh"],
        install: &["zypper", "--non-interactive", "install", "--auto-agree-with-licenses"],
        // A rolling release is upgraded by dup alone.
        upgrade: &["zypper", "--non-interactive", "dist-upgrade", "--auto-agree-with-licenses"],
        lock: Lock::Waits,
        // "reboot needed", "restart of zypper needed" (zypper(8), EXIT CODES).
        fine: &[102, 103],
        environment: &[("ZYPP_LOCK_TIMEOUT", "120")],
        words: "zypper install",
    },
    Manager {
        name: "zypper",
        families: &["opensuse", "opensuse-leap", "suse", "sles"],
        program: "zypper",
        has: &["rpm", "--query", "--whatprovides"],
        has_answer: None,
        mend: &[],
        first: None,
        refresh: &["zypper", "--non-interactive", "--gpg-auto-import-keys", "refresh"],
        install: &["zypper", "--non-interactive", "install", "--auto-agree-with-licenses"],
        upgrade: &["zypper", "--non-interactive", "update", "--auto-agree-with-licenses"],
        lock: Lock::Waits,
        fine: &[102, 103],
        environment: &[("ZYPP_LOCK_TIMEOUT", "120")],
        words: "zypper install",
    },
    Manager {
        name: "dnf",
        families: &["fedora", "rhel", "centos"],
        program: "dnf",
        has: &["rpm", "--query", "--whatprovides"],
        has_answer: None,
        mend: &[],
        first: None,
        // It refreshes by itself what is too old.
        refresh: &[],
        install: &["dnf", "install", "--assumeyes"],
        upgrade: &["dnf", "upgrade", "--assumeyes", "--refresh"],
        lock: Lock::Waits,
        fine: &[],
        environment: &[],
        words: "dnf install",
    },
];

/// The box's manager.
pub fn find(tree: &Tree, distribution: &Distribution) -> Option<&'static Manager> {
    let is_there = |manager: &&Manager| tree.program(manager.program).is_some();
    let family = |id: &String| {
        MANAGERS.iter().filter(is_there).find(|manager| manager.families.contains(&id.as_str()))
    };
    distribution.family.iter().find_map(family).or_else(|| MANAGERS.iter().find(is_there))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_the_table_would_ask_a_question() {
        for manager in MANAGERS {
            for argv in [manager.install, manager.upgrade] {
                let silent = ["--yes", "--assumeyes", "--noconfirm", "--non-interactive"];
                let asks = argv[0] != "apk" && !argv.iter().any(|word| silent.contains(word));
                assert!(!asks, "{argv:?}");
            }
            assert!(!manager.families.is_empty() && manager.install[0] == manager.program);
        }
    }
}
