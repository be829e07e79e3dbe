//! The user's account in the box's tables: which lines there have to be.
//!
//! What matters is the numbers: files in a shared home carry ids, not names. So the user's uid and
//! gid are the host's, whatever the image thought of them:
//!
//! - An *ordinary* account or group of the image (id 1000 and up, as `ubuntu` or `debian` in cloud
//!   images) that has the user's id keeps everything but that id: it moves to the highest free one
//!   below 60000, and its home with it. It is not removed, since nobody can know what an image
//!   does with it.
//! - An ordinary account of the user's own name becomes the user's.
//! - An account of the *system* is never touched. If it has the user's name or uid, the two cannot
//!   live in one box. A group of the system that has the user's gid simply is the user's primary
//!   group (`users`, 100), whatever it is called; if it has only the name, the user's group gets
//!   another name.
//!
//! Pure: from tables to tables.

use std::collections::BTreeSet;

use super::failure::Failure;
use super::ids::IdMap;
use super::table::{Table, number};
use super::wanted::{FIRST_ORDINARY_ID, Wanted, is_ordinary};

/// Below this are accounts of people; above, those that systemd makes (`uids-gids.md` there).
const LAST_ORDINARY_ID: u32 = 59_999;

/// Fields of passwd(5).
pub mod passwd {
    /// The password, or where it is.
    pub const PASSWORD: usize = 1;
    /// User id.
    pub const UID: usize = 2;
    /// Primary group.
    pub const GID: usize = 3;
    /// Comment.
    pub const COMMENT: usize = 4;
    /// Home directory.
    pub const HOME: usize = 5;
    /// Login shell.
    pub const SHELL: usize = 6;
}

/// Fields of group(5).
pub mod group {
    /// Group id.
    pub const GID: usize = 2;
    /// Members; also in gshadow(5).
    pub const MEMBERS: usize = 3;
}

/// Fields of shadow(5).
mod shadow {
    pub const LAST_CHANGE: usize = 2;
    pub const EXPIRY: usize = 7;
}

/// The tables of a box. Those that not every box has are `None` where they are missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tables {
    /// `/etc/passwd`
    pub passwd: Table,
    /// `/etc/group`
    pub group: Table,
    /// `/etc/shadow`
    pub shadow: Option<Table>,
    /// `/etc/gshadow`
    pub gshadow: Option<Table>,
}

/// The ids that a box has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ids {
    /// Of users.
    pub users: IdMap,
    /// Of groups.
    pub groups: IdMap,
}

/// An account whose ids have changed, with the home whose files have to follow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moved {
    /// Its home directory.
    pub home: String,
    /// The user id before and after.
    pub uid: (u32, u32),
    /// The primary group's id before and after.
    pub gid: (u32, u32),
}

/// What else is to be done or said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Accounts that moved.
    pub moved: Vec<Moved>,
    /// What is not as one would expect.
    pub warnings: Vec<String>,
}

/// Makes the user's account and primary group; `shell` is one that the box has.
///
/// # Errors
/// The name or the id belongs to a system account, or the box does not have the ids.
pub fn admit(
    tables: &mut Tables,
    user: &Wanted,
    shell: &str,
    ids: &Ids,
) -> Result<Outcome, Failure> {
    for (kind, id, map) in [("user", user.uid, &ids.users), ("group", user.gid, &ids.groups)] {
        if !map.has(id) {
            return Err(Failure::IdNotMapped { kind, id });
        }
    }
    refuse_system_accounts(tables, user)?;
    let mut outcome = Outcome::default();
    let before: Vec<_> = people(&tables.passwd);
    settle_group(tables, user, ids, &mut outcome.warnings)?;
    settle_user(tables, user, shell, ids, &mut outcome.warnings)?;
    settle_shadow(tables, &user.name);
    for (name, home, uid, gid) in before {
        let now = people(&tables.passwd).into_iter().find(|(other, ..)| *other == name);
        if let Some((_, _, new_uid, new_gid)) = now {
            if (uid, gid) != (new_uid, new_gid) && is_ordinary(uid) {
                outcome.moved.push(Moved { home, uid: (uid, new_uid), gid: (gid, new_gid) });
            }
        }
    }
    Ok(outcome)
}

/// Name, home, uid and gid of every account.
fn people(passwd: &Table) -> Vec<(String, String, u32, u32)> {
    let text = |field: &[u8]| String::from_utf8_lossy(field).into_owned();
    passwd
        .entries()
        .filter_map(|(_, fields)| {
            let [name, _, uid, gid, _, home, ..] = fields[..] else { return None };
            Some((text(name), text(home), number(uid)?, number(gid)?))
        })
        .collect()
}

fn refuse_system_accounts(tables: &Tables, user: &Wanted) -> Result<(), Failure> {
    for (name, _, uid, _) in people(&tables.passwd) {
        let is_theirs = !is_ordinary(uid);
        if name == user.name && uid != user.uid && is_theirs {
            return Err(Failure::NameOfSystemAccount { name, id: user.uid, held: uid });
        }
        if name != user.name && uid == user.uid && is_theirs {
            return Err(Failure::IdOfSystemAccount {
                name: user.name.clone(),
                id: uid,
                holder: name,
            });
        }
    }
    Ok(())
}

/// Sees to it that the gid is a group's, called as on the host where that can be.
fn settle_group(
    tables: &mut Tables,
    user: &Wanted,
    ids: &Ids,
    warnings: &mut Vec<String>,
) -> Result<(), Failure> {
    let gid_of = |fields: &[&[u8]]| number(fields.get(group::GID)?);
    // Two groups of one id are odd but no obstacle, if one of them is the wanted one.
    let holder = tables
        .group
        .entries()
        .filter(|(_, fields)| gid_of(fields) == Some(user.gid))
        .min_by_key(|(_, fields)| fields[0] != user.group.as_bytes())
        .map(|(at, fields)| (at, String::from_utf8_lossy(fields[0]).into_owned()));
    match holder {
        Some((_, name)) if name == user.group => return Ok(()),
        Some((_, name)) if !is_ordinary(user.gid) => {
            warnings.push(format!(
                "the primary group of `{}`, `{}` ({}) on the host, is called `{name}` in the box",
                user.name, user.group, user.gid
            ));
            return Ok(());
        }
        Some((at, name)) => {
            let free = free_id(used(&tables.group, group::GID), &ids.groups)?;
            move_group(tables, at, user.gid, free, &user.name);
            warnings.push(format!(
                "the image's group `{name}` had the id {} and has {free} now",
                user.gid
            ));
        }
        None => {}
    }
    match tables.group.find(&user.group) {
        None => add_group(tables, &user.group, user.gid),
        Some(at) => match tables.group.number(at, group::GID) {
            Some(old) if !is_ordinary(old) => {
                let name = free_group_name(&tables.group, user);
                add_group(tables, &name, user.gid);
                warnings.push(format!(
                    "the box has a system group `{}` ({old}), so the primary group of `{}` ({}) \
                     is called `{name}`",
                    user.group, user.name, user.gid
                ));
            }
            old => {
                if let Some(old) = old {
                    warnings.push(format!(
                        "the image's group `{}` had the id {old} and has {} now",
                        user.group, user.gid
                    ));
                }
                move_group(tables, at, old.unwrap_or(user.gid), user.gid, "");
            }
        },
    }
    Ok(())
}

/// Gives a group another id; whoever has it as the primary group follows, but for `except`.
fn move_group(tables: &mut Tables, at: usize, from: u32, to: u32, except: &str) {
    tables.group.set(at, group::GID, &to.to_string());
    let followers: Vec<usize> = tables
        .passwd
        .entries()
        .filter(|(_, fields)| fields[0] != except.as_bytes())
        .filter(|(_, fields)| fields.get(passwd::GID).and_then(|gid| number(gid)) == Some(from))
        .map(|(line, _)| line)
        .collect();
    for line in followers {
        tables.passwd.set(line, passwd::GID, &to.to_string());
    }
}

fn add_group(tables: &mut Tables, name: &str, gid: u32) {
    tables.group.add(&format!("{name}:x:{gid}:"));
    if let Some(gshadow) = &mut tables.gshadow {
        if gshadow.find(name).is_none() {
            gshadow.add(&format!("{name}:!::"));
        }
    }
}

fn free_group_name(groups: &Table, user: &Wanted) -> String {
    let candidates = [user.name.clone(), format!("{}-host", user.group), format!("g{}", user.gid)];
    let free = candidates.into_iter().find(|name| groups.find(name).is_none());
    free.unwrap_or_else(|| format!("incusbox-{}", user.gid))
}

fn settle_user(
    tables: &mut Tables,
    user: &Wanted,
    shell: &str,
    ids: &Ids,
    warnings: &mut Vec<String>,
) -> Result<(), Failure> {
    let others: Vec<(usize, String)> = tables
        .passwd
        .entries()
        .filter(|(_, fields)| fields[0] != user.name.as_bytes())
        .filter(|(_, fields)| fields.get(passwd::UID).and_then(|f| number(f)) == Some(user.uid))
        .map(|(at, fields)| (at, String::from_utf8_lossy(fields[0]).into_owned()))
        .collect();
    for (at, name) in others {
        let free = free_id(used(&tables.passwd, passwd::UID), &ids.users)?;
        tables.passwd.set(at, passwd::UID, &free.to_string());
        warnings.push(format!(
            "the image's account `{name}` had the user id {} and has {free} now",
            user.uid
        ));
    }
    let Some(at) = tables.passwd.find(&user.name) else {
        let password = if tables.shadow.is_some() { "x" } else { "!" };
        tables.passwd.add(&format!(
            "{}:{password}:{}:{}:{}:{}:{shell}",
            user.name, user.uid, user.gid, user.comment, user.home
        ));
        return Ok(());
    };
    if let Some(old) = tables.passwd.number(at, passwd::UID).filter(|old| *old != user.uid) {
        warnings.push(format!(
            "the image's account `{}` had the user id {old} and has {} now",
            user.name, user.uid
        ));
    }
    if tables.passwd.field(at, passwd::PASSWORD).is_empty() {
        // An empty password would let anybody in.
        tables.passwd.set(at, passwd::PASSWORD, if tables.shadow.is_some() { "x" } else { "!" });
    }
    let (uid, gid) = (user.uid.to_string(), user.gid.to_string());
    for (field, value) in [
        (passwd::UID, uid.as_str()),
        (passwd::GID, &gid),
        (passwd::COMMENT, &user.comment),
        (passwd::HOME, &user.home),
        (passwd::SHELL, shell),
    ] {
        tables.passwd.set(at, field, value);
    }
    Ok(())
}

/// A locked password and no ageing: without an age nothing can be "expired", by whatever clock,
/// and the account checks of su(1), sudo(8) and systemd's user manager pass.
fn settle_shadow(tables: &mut Tables, name: &str) {
    let Some(table) = &mut tables.shadow else { return };
    match table.find(name) {
        None => table.add(&format!("{name}:!:::::::")),
        Some(at) => {
            // 0 means "must be changed at the next login".
            if table.number(at, shadow::LAST_CHANGE) == Some(0) {
                table.set(at, shadow::LAST_CHANGE, "");
            }
            table.set(at, shadow::EXPIRY, "");
        }
    }
}

fn used(table: &Table, field: usize) -> BTreeSet<u32> {
    table.entries().filter_map(|(_, fields)| number(fields.get(field)?)).collect()
}

fn free_id(used: BTreeSet<u32>, map: &IdMap) -> Result<u32, Failure> {
    (FIRST_ORDINARY_ID..=LAST_ORDINARY_ID)
        .rev()
        .find(|id| map.has(*id) && !used.contains(id))
        .ok_or(Failure::NoFreeId)
}
