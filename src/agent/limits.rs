//! Resource limits: what a login in the box would set, not what incusd happens to have.
//!
//! A process started by incusd inherits the daemon's limits, among them a soft limit of open files
//! so high that old programs (select(2), close-everything loops) misbehave. A login starts from
//! systemd's defaults and `pam_limits` changes them by limits.conf(5); so does this.

use std::path::PathBuf;

use super::account::{self, Account};
use crate::sys::process;

/// systemd's DefaultLimitNOFILE (systemd-system.conf(5)).
const OPEN_FILES: (u64, u64) = (1024, 524_288);

/// The items of limits.conf(5) that are resource limits, with the kernel's number and unit in
/// bytes or pieces. Priorities (`nice`, `priority`) are not limits and stay as they are.
const ITEMS: &[(&str, i32, u64)] = &[
    ("core", libc::RLIMIT_CORE as i32, 1024),
    ("data", libc::RLIMIT_DATA as i32, 1024),
    ("fsize", libc::RLIMIT_FSIZE as i32, 1024),
    ("memlock", libc::RLIMIT_MEMLOCK as i32, 1024),
    ("nofile", libc::RLIMIT_NOFILE as i32, 1),
    ("rss", libc::RLIMIT_RSS as i32, 1024),
    ("stack", libc::RLIMIT_STACK as i32, 1024),
    ("cpu", libc::RLIMIT_CPU as i32, 60),
    ("nproc", libc::RLIMIT_NPROC as i32, 1),
    ("as", libc::RLIMIT_AS as i32, 1024),
    ("locks", libc::RLIMIT_LOCKS as i32, 1),
    ("sigpending", libc::RLIMIT_SIGPENDING as i32, 1),
    ("msgqueue", libc::RLIMIT_MSGQUEUE as i32, 1),
    ("rtprio", libc::RLIMIT_RTPRIO as i32, 1),
];

/// The limits to set for one user: resource, soft, hard.
pub type Limits = Vec<(i32, u64, u64)>;

/// Reads limits.conf(5) and its directory for `account`.
pub fn of(account: &Account, inherited: impl Fn(i32) -> Option<(u64, u64)>) -> Limits {
    let mut text = std::fs::read_to_string("/etc/security/limits.conf").unwrap_or_default();
    let mut files: Vec<PathBuf> = std::fs::read_dir("/etc/security/limits.d")
        .map(|entries| entries.flatten().map(|entry| entry.path()).collect())
        .unwrap_or_default();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "conf"));
    files.sort();
    for file in files {
        text.push('\n');
        text.push_str(&std::fs::read_to_string(file).unwrap_or_default());
    }
    let group_name = |gid| String::from_utf8(account::group_name(gid)?).ok();
    let names: Vec<String> = account.groups.iter().filter_map(|gid| group_name(*gid)).collect();
    from_text(&text, account, &names, inherited)
}

fn from_text(
    text: &str,
    account: &Account,
    group_names: &[String],
    inherited: impl Fn(i32) -> Option<(u64, u64)>,
) -> Limits {
    let mut limits: Limits = vec![(libc::RLIMIT_NOFILE as i32, OPEN_FILES.0, OPEN_FILES.1)];
    // limits.conf(5): a user's line wins over a group's, and that over the wildcard's.
    for rank in 0..3 {
        for line in text.lines() {
            let line = line.split('#').next().unwrap_or_default();
            let fields: Vec<&str> = line.split_ascii_whitespace().collect();
            let [domain, kind, item, value] = fields[..] else { continue };
            if rank_of(domain, account, group_names) != Some(rank) {
                continue;
            }
            let Some((_, resource, unit)) = ITEMS.iter().find(|(name, ..)| *name == item) else {
                continue;
            };
            let Some(value) = value_of(value, *unit) else { continue };
            set(&mut limits, *resource, kind, value, &inherited);
        }
    }
    limits
}

/// 0 for the wildcard, 1 for a group, 2 for the user; `None` for somebody else's line.
fn rank_of(domain: &str, account: &Account, group_names: &[String]) -> Option<u8> {
    if account.uid == 0 {
        // Root is not meant by groups and the wildcard.
        return (domain == "root").then_some(2);
    }
    match domain.strip_prefix('@') {
        Some(group) => group_names.iter().any(|name| name == group).then_some(1),
        None if domain == "*" => Some(0),
        None => (account.name == domain).then_some(2),
    }
}

fn value_of(value: &str, unit: u64) -> Option<u64> {
    match value {
        "unlimited" | "infinity" | "-1" => Some(u64::MAX),
        _ => value.parse::<u64>().ok().map(|value| value.saturating_mul(unit)),
    }
}

fn set(
    limits: &mut Limits,
    resource: i32,
    kind: &str,
    value: u64,
    inherited: impl Fn(i32) -> Option<(u64, u64)>,
) {
    let at = match limits.iter().position(|(known, ..)| *known == resource) {
        Some(at) => at,
        None => {
            let Some((soft, hard)) = inherited(resource) else { return };
            limits.push((resource, soft, hard));
            limits.len() - 1
        }
    };
    let (_, soft, hard) = &mut limits[at];
    match kind {
        "soft" => *soft = value,
        "hard" => *hard = value,
        "-" => (*soft, *hard) = (value, value),
        _ => {}
    }
}

/// Sets the limits of this process; one that is refused stays as it is.
pub fn apply(limits: &Limits) {
    for (resource, soft, hard) in limits {
        let Ok((_, most)) = process::limit(*resource) else { continue };
        // Root in a box may not raise a hard limit that the daemon was given.
        if process::set_limit(*resource, *soft, *hard).is_err() {
            let _stays = process::set_limit(*resource, *soft, (*hard).min(most));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dev() -> Account {
        Account {
            name: "dev".into(),
            uid: 1000,
            gid: 1000,
            home: "/home/dev".into(),
            shell: "/bin/sh".into(),
            groups: vec![1000],
        }
    }

    #[test]
    fn a_users_line_wins_over_a_groups_and_the_wildcards_wherever_it_stands() {
        let text = "dev soft nofile 5000\n@video hard nofile 9000\n* - nofile 100 # all\n";
        let limits = from_text(text, &dev(), &["video".to_owned()], |_| None);
        assert_eq!(limits, [(libc::RLIMIT_NOFILE as i32, 5000, 9000)]);
    }

    #[test]
    fn sizes_are_in_kibibytes_and_words_mean_no_limit() {
        let text = "* hard core 1\n* soft core unlimited\n* soft nonsense 5\ndev soft core\n";
        let limits = from_text(text, &dev(), &[], |_| Some((0, 0)));
        assert!(limits.contains(&(libc::RLIMIT_CORE as i32, u64::MAX, 1024)));
        assert_eq!(limits.len(), 2);
    }
}
