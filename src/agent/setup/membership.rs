//! Supplementary groups: those that the host's user has, as far as they mean something in a box.
//!
//! By name: the numbers of `video` or `audio` differ between distributions, and the box's own
//! rules (udev, tmpfiles) go by its own. No group is made: one that a package brings along
//! (`docker`, `libvirt`) comes with the package, and making it before would fix a wrong id.

use super::accounts::{Tables, group};
use super::wanted::{Power, Wanted};

/// Who may use devices that the box was given. Harmless where it was given none.
const DEVICES: &[&str] = &[
    "audio", "video", "render", "input", "kvm", "dialout", "uucp", "plugdev", "cdrom", "optical",
    "lp", "scanner",
];
/// Who may become root, or read what root's programs log; for those that may do so anyhow.
const ADMINISTRATORS: &[&str] = &["sudo", "wheel", "admin", "adm", "systemd-journal"];
/// Whoever is in one of these is as good as root in the box.
const LIKE_ROOT: &[&str] = &[
    "root",
    "shadow",
    "disk",
    "kmem",
    "docker",
    "incus",
    "incus-admin",
    "lxd",
    "libvirt",
    "sudo",
    "wheel",
    "admin",
];

/// Makes the user a member. `was_administrator`: whether an earlier request made the user one.
pub fn join(tables: &mut Tables, user: &Wanted, was_administrator: bool) {
    let is_administrator = user.power == Power::Administrator;
    let asked = user
        .groups
        .iter()
        .map(String::as_str)
        .filter(|name| is_administrator || !LIKE_ROOT.contains(name));
    let administrators = ADMINISTRATORS.iter().copied().filter(|_| is_administrator);
    let names: Vec<&str> = DEVICES.iter().copied().chain(administrators).chain(asked).collect();
    for name in names {
        let Some(at) = tables.group.find(name) else { continue };
        // The primary group needs no list.
        if tables.group.number(at, group::GID) == Some(user.gid) {
            continue;
        }
        tables.group.add_member(at, group::MEMBERS, &user.name);
        if let Some(gshadow) = &mut tables.gshadow {
            if let Some(at) = gshadow.find(name) {
                gshadow.add_member(at, group::MEMBERS, &user.name);
            }
        }
    }
    if was_administrator && !is_administrator {
        for name in ADMINISTRATORS.iter().chain(LIKE_ROOT) {
            leave(tables, name, &user.name);
        }
    }
}

fn leave(tables: &mut Tables, name: &str, member: &str) {
    for table in [Some(&mut tables.group), tables.gshadow.as_mut()].into_iter().flatten() {
        if let Some(at) = table.find(name) {
            table.remove_member(at, group::MEMBERS, member);
        }
    }
}
