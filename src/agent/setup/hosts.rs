//! What the box calls itself, and that this name can be looked up: sudo(8) and many servers ask.

use super::failure::Failure;
use super::tree::{Access, Tree};
use crate::agent::protocol::hosts::with_name;

/// Writes `/etc/hostname` and the name's line in `/etc/hosts`.
///
/// # Errors
/// Of the files.
pub fn apply(tree: &Tree, hostname: &str) -> Result<(), Failure> {
    let old = tree.text("/etc/hostname");
    if old.trim() != hostname {
        tree.write("/etc/hostname", format!("{hostname}\n").as_bytes(), Access::root(0o644))?;
    }
    // A box without the file would ask DNS even for `localhost`.
    const LOOPBACK: &[u8] = b"127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n";
    let hosts = tree.read("/etc/hosts")?.unwrap_or_else(|| LOOPBACK.to_vec());
    if let Some(changed) = with_name(&String::from_utf8_lossy(&hosts), hostname) {
        tree.write("/etc/hosts", changed.as_bytes(), Access::root(0o644))?;
    }
    Ok(())
}

/// What stands in the way of looking up names, if anything: the box's network brings its own
/// resolver, and only a box that can have none is told of.
pub fn trouble_with_names(tree: &Tree) -> Option<String> {
    const RESOLVERS: &[&str] = &[
        "/usr/lib/systemd/systemd-resolved",
        "/lib/systemd/systemd-resolved",
        "/usr/sbin/NetworkManager",
        "/usr/bin/NetworkManager",
    ];
    const CLIENTS: &[&str] = &["resolvconf", "dhclient", "dhcpcd", "udhcpc"];
    let path = "/etc/resolv.conf";
    if tree.exists(path)
        || RESOLVERS.iter().any(|program| tree.is_executable(program))
        || CLIENTS.iter().any(|program| tree.program(program).is_some())
    {
        return None;
    }
    let what = match tree.link_target(path) {
        Some(target) => format!("leads to `{}`, which is missing", target.display()),
        None => "is missing".to_owned(),
    };
    Some(format!(
        "the box's `{path}` {what}, and it has no program that would write it: \
         names on the network will not be found"
    ))
}
