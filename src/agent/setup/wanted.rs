//! The request, checked: whatever goes into a file of root's is looked at here first.
//!
//! Names of accounts are POSIX's portable ones (XBD 3.426, 3.282): letters, digits, `.`, `_`, `-`,
//! not beginning with a hyphen, and not a number alone, which chown(1) and sudo(8) would take for
//! an id. 32 bytes is what utmp(5) has room for.

use super::failure::Failure;
use crate::agent::protocol::setup::{SetupRequest, UserAccount};

/// The id that means "nobody", and those that chown(2) and its 16-bit ancestor take for "no
/// change".
const NO_USERS: &[u32] = &[65534, 65535, u32::MAX - 1, u32::MAX];
/// As in login.defs(5): ids from here on belong to people.
pub const FIRST_ORDINARY_ID: u32 = 1000;
const MOST_BYTES_OF_A_NAME: usize = 32;
/// sethostname(2) takes no more.
const MOST_BYTES_OF_A_HOSTNAME: usize = 64;
const MOST_BYTES_OF_A_PACKAGE: usize = 256;

/// A user of the host, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Login name.
    pub name: String,
    /// User id, not 0.
    pub uid: u32,
    /// Name for the primary group.
    pub group: String,
    /// Its id.
    pub gid: u32,
    /// What may stand in the comment field.
    pub comment: String,
    /// Home directory: absolute, without `..`.
    pub home: String,
    /// Who keeps the home.
    pub home_kind: HomeKind,
    /// The shell that the host's user has.
    pub shell: String,
    /// Supplementary groups of the host that make sense in a box.
    pub groups: Vec<String>,
    /// What the user may do in the box.
    pub power: Power,
}

/// Whose home it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HomeKind {
    /// The host's, mounted.
    Mounted,
    /// The box's own.
    Own,
}

/// What a user may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Power {
    /// Become root without a password.
    Administrator,
    /// What everybody may.
    Ordinary,
}

/// Whether `id` is one of people, as opposed to those of the system.
pub fn is_ordinary(id: u32) -> bool {
    id >= FIRST_ORDINARY_ID && !NO_USERS.contains(&id)
}

/// Checks all of a request; the user is `None` for root, for whom there is nothing to make.
///
/// # Errors
/// Something that cannot be carried out, or would not be safe to write into a file of root's.
pub fn check(request: &SetupRequest) -> Result<Option<Wanted>, Failure> {
    if !is_hostname(&request.hostname) {
        return Err(refused("host name", &request.hostname));
    }
    for package in &request.packages {
        let is_name = !package.starts_with('-')
            && (1..=MOST_BYTES_OF_A_PACKAGE).contains(&package.len())
            && package.bytes().all(|byte| byte.is_ascii_graphic());
        if !is_name {
            return Err(refused("package", package));
        }
    }
    if let Some(zone) = &request.time_zone {
        if !is_zone(zone) {
            return Err(refused("time zone", zone));
        }
    }
    for (name, value) in &request.locale {
        if !is_locale_variable(name) || !is_locale(value) {
            return Err(refused("locale", &format!("{name}={value}")));
        }
    }
    match &request.user {
        Some(user) if user.uid != 0 => check_user(user).map(Some),
        _ => Ok(None),
    }
}

fn check_user(user: &UserAccount) -> Result<Wanted, Failure> {
    if !is_account_name(&user.name) {
        return Err(refused("user name", &user.name));
    }
    if NO_USERS.contains(&user.uid) {
        return Err(refused("user id", &user.uid.to_string()));
    }
    if NO_USERS.contains(&user.gid) {
        return Err(refused("group id", &user.gid.to_string()));
    }
    if !is_account_name(&user.group) {
        return Err(refused("group name", &user.group));
    }
    if !is_path(&user.home) || user.home == "/" {
        return Err(refused("home directory", &user.home));
    }
    let groups = user.groups.iter().filter(|group| is_account_name(group)).cloned().collect();
    Ok(Wanted {
        name: user.name.clone(),
        uid: user.uid,
        group: user.group.clone(),
        gid: user.gid,
        comment: user.comment.chars().filter(|c| *c != ':' && !c.is_control()).collect(),
        home: user.home.clone(),
        home_kind: if user.home_is_mounted { HomeKind::Mounted } else { HomeKind::Own },
        shell: if is_path(&user.shell) { user.shell.clone() } else { "/bin/sh".to_owned() },
        groups,
        power: if user.sudo { Power::Administrator } else { Power::Ordinary },
    })
}

fn refused(what: &str, value: &str) -> Failure {
    Failure::Request(format!("`{}` cannot be a {what}", crate::message::printable(value)))
}

fn is_account_name(name: &str) -> bool {
    (1..=MOST_BYTES_OF_A_NAME).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
        && !name.starts_with('-')
        && !matches!(name, "." | "..")
        && !name.bytes().all(|byte| byte.is_ascii_digit())
}

/// Whether `path` is absolute and can stand in a line of passwd(5).
fn is_path(path: &str) -> bool {
    path.starts_with('/')
        && path.len() < libc::PATH_MAX as usize
        && !path.chars().any(|c| c == ':' || c.is_control())
        && !path.split('/').any(|part| part == "..")
}

fn is_hostname(name: &str) -> bool {
    (1..=MOST_BYTES_OF_A_HOSTNAME).contains(&name.len())
        && name.split('.').all(|label| {
            !label.is_empty()
                && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
                && !label.starts_with('-')
                && !label.ends_with('-')
        })
}

fn is_zone(zone: &str) -> bool {
    let is_part = |part: &str| {
        !part.is_empty()
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_+-".contains(&byte))
    };
    zone.len() < 128 && zone.split('/').all(is_part)
}

fn is_locale_variable(name: &str) -> bool {
    name == "LANG"
        || name == "LANGUAGE"
        || name.strip_prefix("LC_").is_some_and(|rest| {
            !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_uppercase())
        })
}

/// Also a list of languages, as in `LANGUAGE=de:en`. Nothing that a shell would expand: the files
/// it goes into are read by shells too.
fn is_locale(value: &str) -> bool {
    value.len() < 256
        && value.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.@-:".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::setup::fixture;

    #[test]
    fn names_that_could_mean_something_else_in_a_file_of_roots_are_refused() {
        for good in ["dev", "a.b", "A_b-c", "_x", "x1", &"x".repeat(32)] {
            assert!(is_account_name(good), "{good}");
        }
        for bad in [
            "",
            "-x",
            "a:b",
            "a b",
            "a\nb",
            "1000",
            ".",
            "..",
            "a/b",
            "ü",
            "a$",
            "%wheel",
            "#1",
            "a,b",
            "a\"b",
            &"x".repeat(33),
        ] {
            assert!(!is_account_name(bad), "{bad}");
            let mut request = fixture::request();
            request.user.as_mut().expect("a user").name = bad.to_owned();
            assert!(matches!(check(&request), Err(Failure::Request(_))), "{bad}");
        }
    }

    #[test]
    fn root_needs_no_account_and_nobody_gets_none() {
        let mut request = fixture::request();
        request.user.as_mut().expect("a user").uid = 0;
        assert!(check(&request).expect("a good request").is_none());
        for uid in NO_USERS {
            request.user.as_mut().expect("a user").uid = *uid;
            assert!(check(&request).is_err(), "{uid}");
        }
    }

    #[test]
    fn paths_zones_locales_and_packages_stay_what_they_are() {
        type Spoil = fn(&mut SetupRequest);
        let spoilt: &[Spoil] = &[
            |request| request.user.as_mut().expect("a user").home = "relative".to_owned(),
            |request| request.user.as_mut().expect("a user").home = "/".to_owned(),
            |request| request.user.as_mut().expect("a user").home = "/home/../etc".to_owned(),
            |request| request.user.as_mut().expect("a user").home = "/home/a:b".to_owned(),
            |request| request.time_zone = Some("../etc/passwd".to_owned()),
            |request| request.time_zone = Some("/etc/passwd".to_owned()),
            |request| request.locale = vec![("LANG".to_owned(), "$(reboot)".to_owned())],
            |request| request.locale = vec![("PATH".to_owned(), "C".to_owned())],
            |request| request.packages = vec!["--force".to_owned()],
            |request| request.packages = vec!["a b".to_owned()],
            |request| request.hostname = "-x".to_owned(),
        ];
        assert!(check(&fixture::request()).is_ok());
        for (number, spoil) in spoilt.iter().enumerate() {
            let mut request = fixture::request();
            spoil(&mut request);
            assert!(matches!(check(&request), Err(Failure::Request(_))), "number {number}");
        }
    }

    #[test]
    fn a_comment_loses_what_would_end_its_field_and_a_strange_shell_becomes_sh() {
        let mut request = fixture::request();
        let user = request.user.as_mut().expect("a user");
        user.comment = "Dev: the\n0:0:,,".to_owned();
        user.shell = "zsh\n".to_owned();
        let wanted = check(&request).expect("a good request").expect("a user");
        assert_eq!((wanted.comment.as_str(), wanted.shell.as_str()), ("Dev the00,,", "/bin/sh"));
    }
}
