//! Shims: files that stand for one command of one box.
//!
//! A shim's first line makes `incusbox-run --shim` its interpreter, so that no shell stands between
//! the caller and the command. The format is described in `shims/README.md`. It is read strictly:
//! a line that is not understood is an error, because it may be what keeps a command from running
//! as root.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use crate::names::BoxName;

/// No shim is larger than this, in bytes.
pub const MOST_BYTES: usize = 64 << 10;

/// What a shim says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shim {
    /// The box.
    pub name: BoxName,
    /// The command and its fixed arguments; the caller's follow.
    pub command: Vec<OsString>,
    /// Options of `incusbox-run`.
    pub options: Vec<OsString>,
}

/// Why a file is no shim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadShim {
    /// Which line, from 1; 0 for the file as a whole.
    pub line: usize,
    /// What is wrong with it.
    pub why: String,
}

impl fmt::Display for BadShim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => f.write_str(&self.why),
            line => write!(f, "line {line}: {}", self.why),
        }
    }
}

impl std::error::Error for BadShim {}

/// Reads a shim.
///
/// # Errors
/// For anything that is not exactly of the form.
pub fn parse(bytes: &[u8]) -> Result<Shim, BadShim> {
    let bad = |line: usize, why: &str| BadShim { line, why: why.to_owned() };
    if bytes.len() > MOST_BYTES {
        return Err(bad(0, "it is larger than 64 KiB"));
    }
    if bytes.contains(&0) {
        return Err(bad(0, "it has a NUL byte in it"));
    }
    let text = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    let mut lines = (1..).zip(text.split(|byte| *byte == b'\n'));
    if !lines.next().is_some_and(|(_, line)| line.starts_with(b"#!")) {
        return Err(bad(1, "a shim begins with `#!`"));
    }
    let (mut version, mut name, mut command) = (None, None, None);
    let (mut arguments, mut options) = (Vec::new(), Vec::new());
    for (number, line) in lines {
        if line.is_empty() || line.starts_with(b"#") {
            continue;
        }
        let equals = line.iter().position(|byte| *byte == b'=');
        let (key, value) =
            line.split_at(equals.ok_or_else(|| bad(number, "there is no `=` in it"))?);
        let value = OsString::from_vec(value[1..].to_vec());
        let once = |slot: &mut Option<OsString>| match slot.replace(value.clone()) {
            None => Ok(()),
            Some(_) => Err(bad(number, "this was said before")),
        };
        match key {
            b"version" => once(&mut version)?,
            b"box" => once(&mut name)?,
            b"command" => once(&mut command)?,
            b"argument" => arguments.push(value),
            b"option" if value.as_bytes().starts_with(b"-") => options.push(value),
            b"option" => return Err(bad(number, "an option begins with `-`")),
            _ => {
                return Err(bad(
                    number,
                    "the key is none of version, box, command, argument, option",
                ));
            }
        }
    }
    match version.as_deref().map(OsStr::as_bytes) {
        Some(b"1") => {}
        Some(_) => return Err(bad(0, "it is of a version that this incusbox-run does not know")),
        None => return Err(bad(0, "it says no version")),
    }
    let name = name.ok_or_else(|| bad(0, "it names no box"))?;
    let name = BoxName::new(name).map_err(|error| bad(0, &error.to_string()))?;
    let command = command.filter(|command| !command.is_empty());
    let command = command.ok_or_else(|| bad(0, "it names no command"))?;
    Ok(Shim { name, command: std::iter::once(command).chain(arguments).collect(), options })
}

impl Shim {
    /// The command line of `incusbox-run` that this shim stands for.
    pub fn command_line(self, callers: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
        let mut line = vec![OsString::from("incusbox-run")];
        line.extend(self.options);
        line.extend([self.name.as_str().into(), "--".into()]);
        line.extend(self.command);
        line.extend(callers);
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHIM: &str = "#!/usr/bin/incusbox-run --shim\n# Made by incusbox.\n\nversion=1\nbox=dev\n\
        command=/usr/bin/my tool\nargument=--a=b\noption=--root\noption=--env=A=b c\n";

    #[test]
    fn a_shim_becomes_a_command_line_with_the_callers_arguments_last() {
        let line = parse(SHIM.as_bytes()).expect("a shim").command_line(["-x".into()]);
        let expected = [
            "incusbox-run",
            "--root",
            "--env=A=b c",
            "dev",
            "--",
            "/usr/bin/my tool",
            "--a=b",
            "-x",
        ];
        assert_eq!(line, expected);
    }

    #[test]
    fn what_is_not_exactly_of_the_form_is_refused_with_its_line() {
        for (text, line) in [
            ("version=1\n", 1),
            ("#!x\nversion=1\nbox=dev\ncommand=a\nboks=dev\n", 5),
            ("#!x\nversion=1\nbox=dev\ncommand=a\nrm -rf /\n", 5),
            ("#!x\nversion=1\nbox=dev\nbox=dev\ncommand=a\n", 4),
            ("#!x\nversion=1\nbox=dev\ncommand=a\noption=dev\n", 5),
            ("#!x\nversion=2\nbox=dev\ncommand=a\n", 0),
            ("#!x\nbox=dev\ncommand=a\n", 0),
            ("#!x\nversion=1\ncommand=a\n", 0),
            ("#!x\nversion=1\nbox=--root\ncommand=a\n", 0),
            ("#!x\nversion=1\nbox=dev\ncommand=\n", 0),
            ("#!x\nversion=1\nbox=dev\ncommand=a\0b\n", 0),
            ("", 1),
        ] {
            assert_eq!(parse(text.as_bytes()).map_err(|bad| bad.line), Err(line), "{text:?}");
        }
    }
}
