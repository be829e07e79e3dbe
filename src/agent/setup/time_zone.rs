//! The host's time zone: `/etc/localtime`, a link into the zone data base.

use std::path::{Path, PathBuf};

use super::failure::Failure;
use super::tree::{Access, Tree};

const DATABASE: &str = "/usr/share/zoneinfo";

/// Sets the zone; returns whether the box knows it.
///
/// # Errors
/// Of the files.
pub fn apply(tree: &Tree, zone: &str) -> Result<bool, Failure> {
    let file = format!("{DATABASE}/{zone}");
    // UTC is what a box without a data base has anyway.
    if !tree.exists(&file) || tree.is_directory(&file) {
        return Ok(is_utc(zone) && !tree.exists("/etc/localtime"));
    }
    if linked_zone(tree).as_deref() != Some(zone) {
        // As localtime(5) has it, and as systemd-timedated writes it.
        tree.link("/etc/localtime", &PathBuf::from(format!("..{file}")))?;
    }
    // Debian's, which tzdata's own scripts read.
    if tree.exists("/etc/timezone") {
        tree.write("/etc/timezone", format!("{zone}\n").as_bytes(), Access::root(0o644))?;
    }
    Ok(true)
}

fn linked_zone(tree: &Tree) -> Option<String> {
    let target = tree.link_target("/etc/localtime")?;
    let target = Path::new("/etc").join(target);
    let text = target.to_str()?;
    let at = text.find("/zoneinfo/")? + "/zoneinfo/".len();
    Some(text[at..].to_owned())
}

fn is_utc(zone: &str) -> bool {
    matches!(zone, "UTC" | "Etc/UTC" | "Etc/UCT" | "Zulu" | "Universal" | "GMT" | "Etc/GMT")
}
