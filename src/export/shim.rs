//! What is in a shim (`shims/README.md`).

use crate::names::BoxName;
use crate::run::shim;

/// The shim for `command`, a path in the box.
///
/// # Errors
/// The reason why there can be none.
pub fn text(
    runner: &str,
    name: &BoxName,
    project: Option<&str>,
    command: &str,
    sudo: bool,
) -> Result<Vec<u8>, &'static str> {
    let is_line = |text: &str| !text.contains(['\n', '\0']);
    if !is_line(command) || !is_line(runner) || !command.starts_with('/') {
        return Err("its path is none that a shim can have");
    }
    // The kernel reads no more of a first line, and splits it at blanks.
    if runner.len() > 120 || runner.contains([' ', '\t']) {
        return Err("the path of incusbox-run is too long for a shim, or has blanks");
    }
    let mut text = format!(
        "#!{runner} --shim\n# Made by incusbox; what is changed here is set aside.\nversion=1\nbox={name}\ncommand={command}\n"
    );
    for (option, value) in [("project", project), ("root", sudo.then_some(""))] {
        match value {
            Some("") => text.push_str(&format!("option=--{option}\n")),
            Some(value) if is_line(value) => text.push_str(&format!("option=--{option}={value}\n")),
            Some(_) => return Err("the project's name is none that a shim can have"),
            None => {}
        }
    }
    match shim::parse(text.as_bytes()) {
        Ok(_) => Ok(text.into_bytes()),
        Err(_) => Err("a shim cannot say it"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shim_is_what_incusbox_run_reads() {
        let name = BoxName::new("dev").expect("a name");
        let made = text("/usr/bin/incusbox-run", &name, Some("work"), "/usr/bin/my tool", true);
        let read = shim::parse(&made.expect("a shim")).expect("a shim");
        let words: Vec<_> = read.command_line([]);
        let expected =
            ["incusbox-run", "--project=work", "--root", "dev", "--", "/usr/bin/my tool"];
        assert_eq!(words, expected);
    }

    #[test]
    fn a_path_cannot_add_a_line() {
        let name = BoxName::new("dev").expect("a name");
        for (runner, command) in [
            ("/usr/bin/incusbox-run", "/a\noption=--root"),
            ("/usr/bin/incusbox-run", "relative"),
            ("/home/a b/incusbox-run", "/a"),
        ] {
            assert!(text(runner, &name, None, command, false).is_err(), "{command:?}");
        }
    }
}
