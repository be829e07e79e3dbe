//! What the box calls itself, and that this name can be looked up: sudo(8) and many servers ask.

use super::failure::Failure;
use super::tree::{Access, Tree};

/// Debian's address for the own name (debian-reference, 5.1.1): 127.0.0.1 stays `localhost`.
const ADDRESS: &str = "127.0.1.1";
/// Stands behind our line, so that a later name finds it.
const MARK: &str = "# incusbox";

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

/// The file with a line for `hostname`; `None` when it has one.
fn with_name(text: &str, hostname: &str) -> Option<String> {
    let names = match hostname.split_once('.') {
        Some((short, _)) => format!("{hostname} {short}"),
        None => hostname.to_owned(),
    };
    let ours = format!("{ADDRESS}\t{names}\t{MARK}");
    let is_ours = |line: &str| line.starts_with(ADDRESS) && line.trim_end().ends_with(MARK);
    let has_name = |line: &str| {
        let line = line.split('#').next().unwrap_or("");
        let mut words = line.split_ascii_whitespace();
        words.next().is_some() && words.any(|name| name == hostname)
    };
    if text.lines().any(|line| line == ours || (!is_ours(line) && has_name(line))) {
        return None;
    }
    let mut lines: Vec<&str> = text.lines().collect();
    match lines.iter().position(|line| is_ours(line)) {
        Some(at) => lines[at] = &ours,
        None => {
            let after = lines.iter().rposition(|line| line.starts_with("127."));
            lines.insert(after.map_or(0, |at| at + 1), &ours);
        }
    }
    let mut changed = lines.join("\n");
    changed.push('\n');
    Some(changed)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_gets_a_line_of_its_own_and_nothing_else_moves() {
        let text = "127.0.0.1 localhost\n::1 localhost\n10.0.0.1 nas";
        let once = with_name(text, "mybox").expect("a change");
        assert_eq!(
            once,
            "127.0.0.1 localhost\n127.0.1.1\tmybox\t# incusbox\n::1 localhost\n10.0.0.1 nas\n"
        );
        assert_eq!(with_name(&once, "mybox"), None);
        let other = with_name(&once, "b.example.org").expect("a change");
        assert_eq!(other.matches("127.0.1.1").count(), 1);
        assert!(other.contains("127.0.1.1\tb.example.org b\t# incusbox\n"));
    }

    #[test]
    fn a_name_that_has_a_line_already_gets_no_second_one() {
        assert_eq!(with_name("127.0.1.1 debian mybox\n", "mybox"), None);
        assert_eq!(with_name("10.0.3.2 mybox\n", "mybox"), None);
        assert!(with_name("#127.0.1.1 mybox\n127.0.0.1 mybox2\n", "mybox").is_some());
        assert!(with_name("", "mybox").is_some());
    }
}
