//! Who the command runs as: the box's own account files.
//!
//! The agent is a static program, so the C library's name services (which load plug-ins) are not
//! to be had; `/etc/passwd` and `/etc/group` are read directly, and `getent` of the box is asked
//! for an account that stands in neither.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::process::{Command, Stdio};

use super::protocol::User;

/// A user of the box.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Login name.
    pub name: OsString,
    /// User id.
    pub uid: u32,
    /// Primary group.
    pub gid: u32,
    /// Home directory.
    pub home: OsString,
    /// Login shell.
    pub shell: OsString,
    /// Supplementary groups, the primary one among them.
    pub groups: Vec<u32>,
}

/// Finds the account for `user`; `None` when the box has none.
pub fn find(user: &User) -> Option<Account> {
    let passwd = std::fs::read("/etc/passwd").unwrap_or_default();
    let group = std::fs::read("/etc/group").unwrap_or_default();
    let mut account = match user {
        User::Host { uid, name } => by_uid(&passwd, *uid)
            .or_else(|| getent(uid.to_string().as_bytes()))
            .or_else(|| by_name(&passwd, name))
            .or_else(|| (*uid == 0).then(|| bare(0))),
        User::Named(name) => {
            let number = std::str::from_utf8(name).ok().and_then(|name| name.parse().ok());
            by_name(&passwd, name)
                .or_else(|| by_uid(&passwd, number?))
                .or_else(|| getent(name))
                .or_else(|| (name == b"root").then(|| bare(0)))
                .or_else(|| number.map(bare))
        }
    }?;
    account.groups = groups_of(&group, account.name.as_bytes(), account.gid);
    Some(account)
}

/// The id of the group that owns terminals, where the box has one.
pub fn tty_group() -> Option<u32> {
    let group = std::fs::read("/etc/group").ok()?;
    lines(&group).find(|fields| fields[0] == b"tty").and_then(|fields| number(fields.get(2)?))
}

/// The name of a group.
pub fn group_name(gid: u32) -> Option<Vec<u8>> {
    let group = std::fs::read("/etc/group").ok()?;
    let found = lines(&group).find(|fields| fields.get(2).and_then(|id| number(id)) == Some(gid));
    found.map(|fields| fields[0].to_vec())
}

/// A user id without an account: no home, no shell of its own, no groups.
fn bare(uid: u32) -> Account {
    let (name, home) = if uid == 0 { ("root", "/root") } else { ("", "/") };
    let name = if name.is_empty() { uid.to_string() } else { name.to_owned() };
    let shell = OsString::from("/bin/sh");
    Account { name: name.into(), uid, gid: uid, home: home.into(), shell, groups: vec![uid] }
}

fn lines(file: &[u8]) -> impl Iterator<Item = Vec<&[u8]>> {
    file.split(|byte| *byte == b'\n').map(|line| line.split(|byte| *byte == b':').collect())
}

fn number(field: &[u8]) -> Option<u32> {
    std::str::from_utf8(field).ok()?.parse().ok()
}

fn account(fields: &[&[u8]]) -> Option<Account> {
    let [name, _, uid, gid, _, home, shell, ..] = fields else { return None };
    let text = |field: &[u8]| OsString::from_vec(field.to_vec());
    Some(Account {
        name: text(name),
        uid: number(uid)?,
        gid: number(gid)?,
        home: if home.is_empty() { "/".into() } else { text(home) },
        // passwd(5): an empty field means /bin/sh.
        shell: if shell.is_empty() { "/bin/sh".into() } else { text(shell) },
        groups: Vec::new(),
    })
}

fn by_uid(passwd: &[u8], uid: u32) -> Option<Account> {
    lines(passwd).filter_map(|fields| account(&fields)).find(|account| account.uid == uid)
}

fn by_name(passwd: &[u8], name: &[u8]) -> Option<Account> {
    if name.is_empty() {
        return None;
    }
    lines(passwd).filter(|fields| fields[0] == name).find_map(|fields| account(&fields))
}

/// Asks the box's own name services.
fn getent(key: &[u8]) -> Option<Account> {
    let output = Command::new("getent")
        .args(["passwd", "--"])
        .arg(std::ffi::OsStr::from_bytes(key))
        .env_clear()
        .env("PATH", "/usr/bin:/bin:/run/current-system/sw/bin")
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    lines(&output.stdout).find_map(|fields| account(&fields))
}

fn groups_of(group: &[u8], name: &[u8], primary: u32) -> Vec<u32> {
    let mut groups = vec![primary];
    for fields in lines(group) {
        let [_, _, gid, members, ..] = fields[..] else { continue };
        let is_member = members.split(|byte| *byte == b',').any(|member| member == name);
        if let (true, Some(gid)) = (is_member, number(gid)) {
            if !groups.contains(&gid) {
                groups.push(gid);
            }
        }
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &[u8] = b"root:x:0:0:root:/root:/bin/bash\n\
        broken line\n\
        dev:x:1000:1001:Dev,,,:/home/dev:\n\
        nohome:x:7:7:::/bin/false\n\
        bad:x:minus:7::/:/bin/sh\n";

    #[test]
    fn an_account_is_found_by_id_and_by_name_among_broken_lines() {
        let dev = by_uid(PASSWD, 1000).expect("dev");
        assert_eq!(
            (dev.name.as_bytes(), dev.gid, dev.shell.as_bytes()),
            (&b"dev"[..], 1001, &b"/bin/sh"[..])
        );
        assert_eq!(by_name(PASSWD, b"dev"), Some(dev));
        assert_eq!(by_name(PASSWD, b"nohome").expect("nohome").home, "/");
        assert_eq!(by_name(PASSWD, b"bad"), None);
        assert_eq!(by_name(PASSWD, b"broken line"), None);
        assert_eq!(by_name(b"::0:0:::\n", b""), None);
    }

    #[test]
    fn groups_are_those_that_list_the_user_and_the_primary_one_once() {
        let group = b"dev:x:1001:dev\nvideo:x:44:a,dev\naudio:x:29:develop\nempty:x:5:\njunk\n";
        assert_eq!(groups_of(group, b"dev", 1001), [1001, 44]);
    }
}
