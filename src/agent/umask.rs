//! The file mode creation mask that a login would set: pam_umask(8), read from the box's own files.
//!
//! The agent is a static program and cannot load PAM's modules.

use std::path::{Path, PathBuf};

use super::account::{self, Account};
use super::setup::distribution::{self, Distribution};

/// Where a session's modules are listed, most general first: Debian and openSUSE, Arch, Fedora,
/// Alpine, and whoever has it with each service.
const STACKS: [&str; 7] =
    ["common-session", "system-login", "postlogin", "system-auth", "base-session", "login", "su"];
const STACK_DIRECTORY: &str = "/etc/pam.d";
const DEFINITIONS: [&str; 2] = ["/etc/login.defs", "/etc/default/login"];
const RELEASE: &str = "/etc/os-release";

/// What a login starts with.
const USUAL: u32 = 0o022;

/// The files that the mask depends on.
pub fn files() -> impl Iterator<Item = PathBuf> {
    let stacks = STACKS.iter().map(|name| Path::new(STACK_DIRECTORY).join(name));
    stacks.chain(DEFINITIONS.iter().map(PathBuf::from))
}

/// The mask that a login of `account` starts its shell with.
pub fn of(account: &Account) -> u32 {
    let has_own_group = account.uid != 0
        && account::group_name(account.gid)
            .is_some_and(|name| name.as_slice() == account.name.as_encoded_bytes());
    from_files(has_own_group, |path| std::fs::read_to_string(path).unwrap_or_default())
}

/// `has_own_group`: whether the account's primary group has its name, and it is not root.
fn from_files(has_own_group: bool, read: impl Fn(&Path) -> String) -> u32 {
    let definition = |key| {
        DEFINITIONS.iter().find_map(|path| value_of(&read(Path::new(path)), key).map(str::to_owned))
    };
    let defined = || definition("UMASK").and_then(|value| mask(&value));
    let stack = STACKS.iter().map(|name| read(&Path::new(STACK_DIRECTORY).join(name)));
    let Some(arguments) = stack.filter_map(|text| arguments(&text)).next() else {
        return defined().unwrap_or(USUAL);
    };
    let mut given = None;
    // What the module does when not told is chosen when it is built.
    let mut usergroups = is_debian(&read(Path::new(RELEASE)))
        && definition("USERGROUPS_ENAB").as_deref() != Some("no");
    for argument in arguments {
        let argument = argument.to_ascii_lowercase();
        match argument.as_str() {
            "usergroups" => usergroups = true,
            "nousergroups" => usergroups = false,
            other => given = other.strip_prefix("umask=").and_then(mask).or(given),
        }
    }
    let mask = given.or_else(defined).unwrap_or(USUAL);
    if usergroups && has_own_group { (mask & !0o070) | ((mask >> 3) & 0o070) } else { mask }
}

fn mask(octal: &str) -> Option<u32> {
    u32::from_str_radix(octal, 8).ok().map(|mask| mask & 0o777)
}

/// The arguments of pam_umask in a file of `/etc/pam.d`; `None` where it is not called.
fn arguments(stack: &str) -> Option<Vec<String>> {
    stack.lines().find_map(|line| {
        let mut words = line.split_ascii_whitespace();
        let kind = words.next()?.trim_start_matches('-');
        // The control may be several words in brackets, so the module is looked for.
        let module = |word: &str| word.rsplit('/').next() == Some("pam_umask.so");
        (kind == "session" && words.by_ref().any(module))
            .then(|| words.take_while(|word| !word.starts_with('#')).map(str::to_owned).collect())
    })
}

/// The value of a key in a file of `KEY VALUE`, as login.defs(5) is, or `KEY=VALUE`.
pub fn value_of<'t>(text: &'t str, key: &str) -> Option<&'t str> {
    text.lines().find_map(|line| {
        let rest = line.trim_start().strip_prefix(key)?;
        let value = rest.strip_prefix([' ', '\t', '='])?;
        value.split_ascii_whitespace().next()
    })
}

/// Whether it is a distribution that builds pam_umask with `usergroups`: Debian from 13 on, and
/// what is made of Debian, Ubuntu for one.
fn is_debian(release: &str) -> bool {
    let Distribution { id, family, version, .. } = distribution::parse(release);
    if id == "debian" {
        // Testing and unstable have no number.
        return version.parse().unwrap_or(u32::MAX) >= 13;
    }
    family.iter().any(|id| id == "debian")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mask_of(own_group: bool, files: &[(&str, &str)]) -> u32 {
        from_files(own_group, |path| {
            let found = files.iter().find(|(name, _)| Path::new(name) == path);
            found.map(|(_, text)| (*text).to_owned()).unwrap_or_default()
        })
    }

    const DEBIAN: (&str, &str) = (RELEASE, "NAME=x\nID=debian\n");
    const BOOKWORM: (&str, &str) = (RELEASE, "VERSION_ID=\"12\"\nID=debian\n");
    const UBUNTU: (&str, &str) = (RELEASE, "ID=ubuntu\nID_LIKE=debian\n");
    const FEDORA: (&str, &str) = (RELEASE, "ID=fedora\n");
    const CALLED: (&str, &str) =
        ("/etc/pam.d/common-session", "# pam_umask.so umask=77\nsession optional\tpam_umask.so\n");

    #[test]
    fn without_pam_umask_login_defs_decides() {
        assert_eq!(mask_of(true, &[]), 0o022);
        assert_eq!(
            mask_of(true, &[DEBIAN, ("/etc/login.defs", "#UMASK 1\nUMASK\t\t027\n")]),
            0o027
        );
        assert_eq!(mask_of(true, &[("/etc/login.defs", "UMASK fun\n")]), 0o022);
    }

    #[test]
    fn debians_pam_umask_gives_a_users_own_group_what_the_user_may() {
        assert_eq!(mask_of(true, &[DEBIAN, CALLED]), 0o002);
        assert_eq!(mask_of(false, &[DEBIAN, CALLED]), 0o022);
        assert_eq!(mask_of(true, &[UBUNTU, CALLED, ("/etc/login.defs", "UMASK 077")]), 0o007);
        assert_eq!(
            mask_of(true, &[UBUNTU, CALLED, ("/etc/login.defs", "USERGROUPS_ENAB no")]),
            0o022
        );
        assert_eq!(mask_of(true, &[FEDORA, CALLED]), 0o022);
        assert_eq!(mask_of(true, &[BOOKWORM, CALLED]), 0o022);
    }

    #[test]
    fn arguments_of_the_module_win() {
        let called =
            |line| [FEDORA, ("/etc/pam.d/postlogin", line), ("/etc/login.defs", "UMASK 022")];
        let line =
            "-session [success=1 default=ignore] /lib/security/pam_umask.so umask=0077 silent";
        assert_eq!(mask_of(true, &called(line)), 0o077);
        assert_eq!(mask_of(true, &called("session optional pam_umask.so usergroups # all")), 0o002);
        assert_eq!(mask_of(true, &called("auth optional pam_umask.so usergroups")), 0o022);
        let debian =
            [DEBIAN, ("/etc/pam.d/common-session", "session optional pam_umask.so nousergroups")];
        assert_eq!(mask_of(true, &debian), 0o022);
    }
}
