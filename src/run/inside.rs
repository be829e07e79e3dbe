//! A shim that is run in a box, where it is because host and boxes share a home: its own box runs the
//! command itself, any other says where to run it.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::process::Command;

use super::shim::Shim;
use crate::exit;

/// Why a shim does not run here.
#[derive(Debug)]
pub enum Hindrance {
    /// It is another box's.
    Elsewhere {
        /// The command.
        command: OsString,
        /// Whose it is.
        name: String,
        /// Where this is.
        here: String,
    },
    /// It has an option that holds on the host alone.
    Option(OsString),
    /// The command does not start.
    Start {
        /// The command.
        command: OsString,
        /// The reason.
        source: io::Error,
    },
}

impl Hindrance {
    /// The status that says so.
    pub fn exit_code(&self) -> u8 {
        match self {
            Hindrance::Start { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                exit::NOT_FOUND
            }
            Hindrance::Start { .. } => exit::NOT_EXECUTABLE,
            _ => exit::FAILURE,
        }
    }
}

impl fmt::Display for Hindrance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Hindrance::Elsewhere { command, name, here } => write!(
                f,
                "`{}` is a command of the box `{name}`, and this is the box `{here}`\n\
                 run it on the host or in `{name}`, or install it here",
                command.to_string_lossy()
            ),
            Hindrance::Option(option) => write!(
                f,
                "this shim has the option `{}`, which holds only on the host\nrun it there",
                option.to_string_lossy()
            ),
            Hindrance::Start { command, source } => {
                write!(f, "`{}`: {source}", command.to_string_lossy())
            }
        }
    }
}

/// Becomes the command of a shim, in the box `here`. Returns only with what went wrong.
pub fn run(shim: Shim, callers: impl IntoIterator<Item = OsString>, here: &OsStr) -> Hindrance {
    let program = shim.command.first().cloned().unwrap_or_default();
    if here != shim.name.as_str() {
        let (name, here) = (shim.name.to_string(), here.to_string_lossy().into_owned());
        return Hindrance::Elsewhere { command: program, name, here };
    }
    let mut words = Vec::new();
    for option in shim.options {
        match option.as_bytes() {
            b"--root" => words.extend(["sudo", "--non-interactive", "--"].map(OsString::from)),
            bytes if bytes.starts_with(b"--project=") => {}
            _ => return Hindrance::Option(option),
        }
    }
    words.extend(shim.command);
    words.extend(callers);
    let source = Command::new(&words[0]).args(&words[1..]).exec();
    Hindrance::Start { command: program, source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::shim;

    fn hindrance(options: &str, here: &str) -> String {
        let text = format!("#!x\nversion=1\nbox=dev\ncommand=/nonexistent/tool\n{options}");
        let shim = shim::parse(text.as_bytes()).expect("a shim");
        run(shim, [], here.as_ref()).to_string()
    }

    #[test]
    fn what_does_not_run_here_says_where() {
        assert!(hindrance("", "web").contains("the box `dev`, and this is the box `web`"));
        assert!(hindrance("option=--cwd=/srv\n", "dev").contains("only on the host"));
        assert!(hindrance("option=--project=x\n", "dev").contains("No such file"));
    }
}
