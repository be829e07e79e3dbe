//! `incusbox export` and `unexport` in a box: the host's session is asked to do it.

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::Path;

use super::protocol::BOX;
use super::protocol::hand_over::{Answer, Verb, Wish};
use super::xdg_open::hand_over;
use crate::exit;
use crate::message;

/// The names that it is called by.
pub const NAMES: [&str; 2] = ["incusbox", "incusbox-export"];
/// The status for a command line that is wrong.
const USAGE: u8 = 2;

/// Whether the agent was called by one of them.
pub fn is_called(name: Option<&std::ffi::OsStr>) -> bool {
    name.is_some_and(|name| NAMES.iter().any(|own| name == *own))
}

/// Asks for what the command line says.
pub fn main(arguments: &[OsString]) -> u8 {
    let called = arguments.first().map(Path::new).and_then(Path::file_name);
    let mut words = Vec::new();
    for word in arguments.iter().skip(1) {
        match word.to_str() {
            Some(word) => words.push(word.to_owned()),
            None => {
                message::say(NAMES[0], "an argument is not UTF-8");
                return USAGE;
            }
        }
    }
    let name = std::env::var(BOX).unwrap_or_default();
    let verb = match called.and_then(|called| called.to_str()) {
        Some("incusbox-export") => Some(Verb::Export),
        _ if words.is_empty() => None,
        _ => match words.remove(0).as_str() {
            "export" => Some(Verb::Export),
            "unexport" => Some(Verb::Unexport),
            _ => None,
        },
    };
    let Some(verb) = verb else {
        message::say(
            NAMES[0],
            format!(
                "in a box there are: incusbox export, incusbox unexport\nelse this is for the host, and this is the box `{name}`"
            ),
        );
        return USAGE;
    };
    match hand_over(&Wish::Export { verb, words }) {
        Ok(Answer::Said { status, stdout, stderr }) => {
            let _nobody_reads = io::stdout().write_all(stdout.as_bytes());
            let _nobody_reads = io::stderr().write_all(stderr.as_bytes());
            status
        }
        Ok(Answer::Refused(text)) => {
            message::say(NAMES[0], text);
            USAGE
        }
        Ok(Answer::Ended(_) | Answer::NotHere) | Err(_) => {
            message::say(
                NAMES[0],
                format!(
                    "the host's session cannot be asked; is somebody logged in there, and the switch `bus` on?\non the host: incusbox export {name}, incusbox info {name}"
                ),
            );
            exit::FAILURE
        }
    }
}
