//! podman and docker inside: what their defaults get wrong in a box.
//!
//! Three things, each found out and not assumed:
//!
//! - podman 4.3 (Debian 12) copies whole images for an ordinary user (`vfs`) unless told to use
//!   overlay, although the kernel lets it; whether it does is tried by a mount.
//! - A home that is shared with the host holds the host's containers (`~/.local/share/containers`),
//!   whose owners and locks are the host's; the box's go elsewhere.
//! - Where the cgroup2 tree offers no `pids` controller, root's podman cannot start anything with its
//!   default limit of processes.
//!
//! Only files that are not there, or that begin with our mark, are written.

use std::path::Path;

use super::failure::Failure;
use super::sudo::{MARK, is_ours};
use super::surroundings::Life;
use super::tree::{Access, Tree};
use super::wanted::{HomeKind, Wanted};
use crate::sys::namespaces;

const STORAGE: &str = "/etc/containers/storage.conf";
const SHIPPED_STORAGE: &str = "/usr/share/containers/storage.conf";
const LIMITS: &str = "/etc/containers/containers.conf.d/50-incusbox.conf";
/// Where containers of users are whose home is the host's.
const OWN_STORAGE: &str = "/var/lib/incusbox/containers";

/// How an ordinary user's podman can stack the layers of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Overlay {
    Native,
    Fuse,
    None,
}

/// Writes what is needed. Returns what is odd about it.
///
/// # Errors
/// Of the files.
pub fn settle(tree: &Tree, user: Option<&Wanted>, life: Life) -> Result<Option<String>, Failure> {
    let controllers = "/sys/fs/cgroup/cgroup.controllers";
    let has_pids = |text: &str| text.split_ascii_whitespace().any(|name| name == "pids");
    if life == Life::Running && tree.exists(controllers) && !has_pids(&tree.text(controllers)) {
        let text = "[containers]\n# This box cannot count processes (no `pids` controller).\npids_limit = 0\n";
        write_own(tree, LIMITS, text)?;
    }
    let Some(user) = user else { return Ok(None) };
    let old = tree.text(STORAGE);
    let plan = plan(Facts {
        home: user.home_kind,
        overlay: ability(tree, user, life),
        ships_overlay: ships_overlay(tree),
        old: match tree.exists(STORAGE) {
            false => Old::None,
            true if !is_ours(tree, Path::new(STORAGE)) => Old::Foreign,
            true if old.contains(OWN_STORAGE) => Old::Elsewhere,
            true => Old::InHomes,
        },
    });
    if plan.place == Place::Elsewhere {
        // As /var/tmp is: accounts that are made later, by whatever, need room there too.
        tree.make_directory(OWN_STORAGE, Access::root(0o1777))?;
        let access = Access { mode: 0o700, uid: user.uid, gid: user.gid };
        tree.make_directory(Path::new(OWN_STORAGE).join(user.uid.to_string()), access)?;
    }
    if let Some(text) = plan.text {
        write_own(tree, STORAGE, &text)?;
    }
    Ok(plan.warning)
}

/// What decides about `storage.conf`.
#[derive(Clone, Copy, Debug)]
struct Facts {
    home: HomeKind,
    overlay: Overlay,
    /// Whether the distribution's own defaults say overlay.
    ships_overlay: bool,
    old: Old,
}

/// The `storage.conf` that is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Old {
    None,
    /// Somebody else's.
    Foreign,
    /// Ours, for users whose containers are elsewhere.
    Elsewhere,
    /// Ours, for users whose containers are in their homes.
    InHomes,
}

/// Where containers of ordinary users are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Elsewhere,
    InHomes,
}

/// What to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Plan {
    place: Place,
    text: Option<String>,
    warning: Option<String>,
}

/// Where containers are is decided once: the file is for all users of a box, and the first one's
/// containers must not vanish because of the second.
fn plan(facts: Facts) -> Plan {
    let is_shared = facts.home == HomeKind::Mounted;
    let place = match facts.old {
        Old::Elsewhere => Place::Elsewhere,
        Old::None if is_shared => Place::Elsewhere,
        _ => Place::InHomes,
    };
    let is_good = facts.ships_overlay && facts.overlay == Overlay::Native;
    let text = match (facts.old, place) {
        (Old::Foreign, _) => None,
        (Old::None, Place::InHomes) if is_good => None,
        _ => storage(facts.overlay, place == Place::Elsewhere),
    };
    let warning = if is_shared && place == Place::InHomes {
        Some(format!(
            "the home is the host's, and `{STORAGE}` in the box keeps containers in homes: \
             podman of both will be in each other's way until it has \
             `rootless_storage_path = \"{OWN_STORAGE}/$UID\"`"
        ))
    } else if facts.overlay == Overlay::None && facts.old != Old::Foreign {
        Some(
            "this box can neither mount overlays for ordinary users nor has it \
             `fuse-overlayfs`: their podman will copy images whole"
                .to_owned(),
        )
    } else {
        None
    };
    Plan { place, text, warning }
}

/// `storage.conf`; `None` where there is nothing to say.
fn storage(overlay: Overlay, elsewhere: bool) -> Option<String> {
    if overlay == Overlay::None && !elsewhere {
        return None;
    }
    let driver = if overlay == Overlay::None { "vfs" } else { "overlay" };
    // Root's podman does not know its own defaults once this file is there.
    let mut text = format!(
        "[storage]\ndriver = \"{driver}\"\nrunroot = \"/run/containers/storage\"\n\
         graphroot = \"/var/lib/containers/storage\"\n"
    );
    if elsewhere {
        text.push_str("# The home is the host's, and so are the containers in it.\n");
        text.push_str(&format!("rootless_storage_path = \"{OWN_STORAGE}/$UID\"\n"));
    }
    if overlay == Overlay::Fuse {
        text.push_str("\n[storage.options.overlay]\nmount_program = \"/usr/bin/fuse-overlayfs\"\n");
    }
    Some(text)
}

fn ability(tree: &Tree, user: &Wanted, life: Life) -> Overlay {
    if life == Life::Running && namespaces::user_can_mount_overlay(user.uid, user.gid) {
        Overlay::Native
    } else if tree.is_executable("/usr/bin/fuse-overlayfs") && tree.exists("/dev/fuse") {
        Overlay::Fuse
    } else {
        Overlay::None
    }
}

fn ships_overlay(tree: &Tree) -> bool {
    tree.text(SHIPPED_STORAGE).lines().any(|line| {
        let line: String = line.chars().filter(|c| !c.is_whitespace()).collect();
        line == "driver=\"overlay\""
    })
}

fn write_own(tree: &Tree, path: &str, text: &str) -> Result<(), Failure> {
    if !tree.exists(path) || is_ours(tree, Path::new(path)) {
        let text = format!("# {MARK}; yours as soon as this line is gone.\n{text}");
        tree.write(path, text.as_bytes(), Access::root(0o644))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(home: HomeKind, old: Old) -> Facts {
        Facts { home, overlay: Overlay::Native, ships_overlay: false, old }
    }

    #[test]
    fn containers_of_a_shared_home_go_elsewhere_unless_somebodys_are_in_the_homes_already() {
        let place = |home, old| plan(facts(home, old)).place;
        assert_eq!(place(HomeKind::Mounted, Old::None), Place::Elsewhere);
        assert_eq!(place(HomeKind::Own, Old::Elsewhere), Place::Elsewhere);
        assert_eq!(place(HomeKind::Own, Old::None), Place::InHomes);
        for old in [Old::InHomes, Old::Foreign] {
            let plan = plan(facts(HomeKind::Mounted, old));
            assert_eq!(plan.place, Place::InHomes);
            assert!(plan.warning.expect("a warning").contains("in each other's way"));
        }
    }

    #[test]
    fn a_file_of_somebody_elses_and_a_good_default_are_left_alone() {
        assert_eq!(plan(facts(HomeKind::Own, Old::Foreign)).text, None);
        let good = Facts { ships_overlay: true, ..facts(HomeKind::Own, Old::None) };
        assert_eq!(plan(good), Plan { place: Place::InHomes, text: None, warning: None });
        assert!(plan(facts(HomeKind::Own, Old::None)).text.is_some());
    }

    #[test]
    fn storage_is_told_only_what_differs_from_a_good_default() {
        assert_eq!(storage(Overlay::None, false), None);
        let native = storage(Overlay::Native, false).expect("text");
        assert!(native.contains("driver = \"overlay\"") && !native.contains("rootless"));
        let fuse = storage(Overlay::Fuse, true).expect("text");
        assert!(fuse.contains("mount_program") && fuse.contains("/incusbox/containers/$UID"));
        assert!(storage(Overlay::None, true).expect("text").contains("driver = \"vfs\""));
    }
}
