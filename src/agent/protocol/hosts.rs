//! The line of `/etc/hosts` with which a box finds its own name: written by the agent when a box is
//! set up, and from the host when it gets another name.

/// Debian's address for the own name (debian-reference, 5.1.1): 127.0.0.1 stays `localhost`.
const ADDRESS: &str = "127.0.1.1";
/// Stands behind our line, so that a later name finds it.
const MARK: &str = "# incusbox";

/// The file with a line for `hostname`; `None` when it has one.
pub fn with_name(text: &str, hostname: &str) -> Option<String> {
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
