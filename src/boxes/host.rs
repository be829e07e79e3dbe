//! Facts of the host that a box needs: who the user is, which ids may be mapped, locale, time zone.

use std::ffi::OsString;
use std::io;
use std::path::Path;

use nix::unistd::{Gid, Group, Uid, User};

use super::disks;
use super::settings::Home;
use crate::incus::objects::FullInstance;

/// The user that a box is for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostUser {
    /// Login name.
    pub name: String,
    /// User id.
    pub uid: u32,
    /// Name of the primary group.
    pub group: String,
    /// Id of the primary group.
    pub gid: u32,
    /// The comment field.
    pub comment: String,
    /// Home directory.
    pub home: String,
    /// Login shell.
    pub shell: String,
    /// Names of all groups.
    pub groups: Vec<String>,
}

impl HostUser {
    /// Who calls; below sudo, who called sudo. `None` for root itself.
    ///
    /// # Errors
    /// When there is no account for the id, or one with a name that is no text.
    pub fn calling() -> io::Result<Option<HostUser>> {
        let own = Uid::effective();
        let uid = match (own.is_root(), sudo_caller()) {
            (true, Some(caller)) => caller,
            _ => own,
        };
        if uid.is_root() {
            return Ok(None);
        }
        let none = || io::Error::other(format!("the user id {uid} has no account"));
        let user = User::from_uid(uid)?.ok_or_else(none)?;
        let group = Group::from_gid(user.gid)?;
        let text = |value: OsString| {
            value.into_string().map_err(|_| io::Error::other("its account is not all text"))
        };
        Ok(Some(HostUser {
            groups: groups_of(&user),
            // Directory services have groups such as `domain users`, which no group file may hold.
            group: group
                .map(|group| group.name)
                .filter(|name| is_portable(name))
                .unwrap_or_else(|| user.name.clone()),
            uid: user.uid.as_raw(),
            gid: user.gid.as_raw(),
            comment: user.gecos.to_string_lossy().into_owned(),
            home: text(user.dir.into_os_string())?,
            shell: text(user.shell.into_os_string())?,
            name: user.name,
        }))
    }

    /// Whether the box's home is the user's own, and not another directory or none of the host's.
    pub fn has_home_of(&self, there: &FullInstance) -> bool {
        disks::home(there, self) == Some(Home::Shared)
    }
}

/// Whether a name may stand in the account files of any system (POSIX, 3.281, and at most 32).
fn is_portable(name: &str) -> bool {
    let is_one = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
    !name.is_empty() && name.len() <= 32 && !name.starts_with('-') && name.bytes().all(is_one)
}

fn sudo_caller() -> Option<Uid> {
    let uid = std::env::var("SUDO_UID").ok()?.parse().ok()?;
    (uid != 0).then(|| Uid::from_raw(uid))
}

fn groups_of(user: &User) -> Vec<String> {
    let Ok(name) = std::ffi::CString::new(user.name.as_str()) else { return Vec::new() };
    let ids = nix::unistd::getgrouplist(&name, user.gid).unwrap_or_default();
    let name_of = |gid: Gid| Group::from_gid(gid).ok().flatten().map(|group| group.name);
    ids.into_iter().filter_map(name_of).collect()
}

/// Whether root may map `id` of the host into a box: subuid(5) and subgid(5) list it for root.
pub fn may_map(sub_ids: &str, id: u32) -> bool {
    sub_ids.lines().any(|line| {
        let mut fields = line.trim().split(':');
        let owner = fields.next();
        let mut number = || fields.next()?.parse::<u64>().ok();
        let (Some("root" | "0"), Some(first), Some(count)) = (owner, number(), number()) else {
            return false;
        };
        (first..first.saturating_add(count)).contains(&u64::from(id))
    })
}

/// The ids that root may not map although a box for `user` needs them, as the lines that are
/// missing: `(file, line)`.
pub fn missing_sub_ids(root: &Path, user: &HostUser) -> Vec<(&'static str, String)> {
    let files = [("/etc/subuid", user.uid), ("/etc/subgid", user.gid)];
    let missing = files.into_iter().filter(|(file, id)| {
        let text = std::fs::read_to_string(root.join(&file[1..])).unwrap_or_default();
        !may_map(&text, *id)
    });
    missing.map(|(file, id)| (file, format!("root:{id}:1"))).collect()
}

/// The host's locale, as the variables that are set for the caller.
pub fn locale() -> Vec<(String, String)> {
    let is_locale = |name: &str| name == "LANG" || name == "LANGUAGE" || name.starts_with("LC_");
    let mut found: Vec<_> = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .filter(|(name, value)| is_locale(name) && !value.is_empty())
        .collect();
    found.sort();
    found
}

/// The host's time zone by its name, e.g. `Europe/Berlin`.
pub fn time_zone() -> Option<String> {
    let link = std::fs::read_link("/etc/localtime").ok();
    let from_link = link.and_then(|target| {
        let text = target.to_str()?.to_owned();
        text.split_once("zoneinfo/").map(|(_, zone)| zone.to_owned())
    });
    let from_file = || {
        let text = std::fs::read_to_string("/etc/timezone").ok()?;
        let zone = text.trim().to_owned();
        (!zone.is_empty()).then_some(zone)
    };
    from_link.or_else(from_file)
}

/// Whether `raw.idmap` maps this user id to itself.
pub fn is_mapped(map: &str, uid: u32) -> bool {
    let uid = uid.to_string();
    map.lines().any(|line| match line.split_whitespace().collect::<Vec<_>>()[..] {
        ["both" | "uid", host, inside] => host == uid && inside == uid,
        _ => false,
    })
}

/// What of the host decides what a profile may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Machine {
    /// Whether the kernel has a security module that confines system calls of containers. Without
    /// one, Incus's interception of mknod and setxattr makes exec fail at random.
    pub has_security_module: bool,
    /// Whether this is an unprivileged container itself. Incus cannot make device nodes there, and
    /// refuses a device with a mode of its own.
    pub is_container: bool,
}

impl Machine {
    /// This machine.
    pub fn here() -> Machine {
        let modules = std::fs::read_to_string("/sys/kernel/security/lsm").unwrap_or_default();
        let is_one = |name: &str| matches!(name, "apparmor" | "selinux");
        // A user namespace of one's own maps less than all ids: user_namespaces(7).
        let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
        let whole = ["0", "0", "4294967295"];
        Machine {
            has_security_module: modules.trim().split(',').any(is_one),
            is_container: !map.split_whitespace().eq(whole),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_mapped_by_a_line_of_its_own() {
        assert!(is_mapped("uid 7 7\ngid 8 8", 7) && is_mapped("both 8 8", 8));
        assert!(!is_mapped("uid 7 7\ngid 8 8", 8) && !is_mapped("both 7 8", 7));
    }

    #[test]
    fn an_id_may_be_mapped_when_a_line_of_roots_covers_it() {
        let file = "# comment\ndev:1000:1\nroot:1000000:65536\nroot:1000:1\nbroken\nroot:x:1\n";
        assert!(may_map(file, 1000));
        assert!(may_map(file, 1_065_535));
        assert!(!may_map(file, 1001));
        assert!(!may_map("dev:1000:1\n", 1000));
        assert!(may_map("0:4294967295:4294967295", u32::MAX));
    }
}
