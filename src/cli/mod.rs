//! The program `incusbox`: one file for each subcommand.
//!
//! [`main`] reads top-down: the command line, the subcommand, its end. What the subcommands share
//! is here: the connection, and the voices on stdout and stderr.

mod adopt;
mod apps;
mod ask;
mod complete;
mod create;
mod doctor;
mod enter;
mod export;
mod info;
mod lifecycle;
mod list;
mod progress;
mod restore;
mod rm;
mod session;
mod set;
mod setup;
mod table;
mod undo;
mod unexport;
mod upgrade;
mod watch;

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use clap::{Arg, ArgAction, ArgMatches, Command};

use crate::boxes::error::Error;
use crate::boxes::host::HostUser;
use crate::exit;
use crate::incus::instances::near;
use crate::incus::objects::FullInstance;
use crate::incus::{self, Client};
use crate::message;
use crate::names::{BoxName, distance};
use crate::sys::signals;

/// The name that messages begin with.
const PROGRAM: &str = "incusbox";
/// The status for a command line that is wrong, as clap and most programs have it.
const USAGE: u8 = 2;

/// A subcommand.
struct Subcommand {
    name: &'static str,
    define: fn(Command) -> Command,
    run: fn(&ArgMatches) -> Result<ExitCode, Error>,
}

/// All subcommands, in the order of the help.
const SUBCOMMANDS: &[Subcommand] = &[
    Subcommand { name: "create", define: create::define, run: create::run },
    Subcommand { name: "enter", define: enter::define_enter, run: enter::enter },
    Subcommand { name: "run", define: enter::define_run, run: enter::run },
    Subcommand { name: "list", define: list::define, run: list::run },
    Subcommand { name: "info", define: info::define, run: info::run },
    Subcommand { name: "start", define: lifecycle::define_start, run: lifecycle::start },
    Subcommand { name: "stop", define: lifecycle::define_stop, run: lifecycle::stop },
    Subcommand { name: "restart", define: lifecycle::define_restart, run: lifecycle::restart },
    Subcommand { name: "rename", define: lifecycle::define_rename, run: lifecycle::rename },
    Subcommand { name: "rm", define: rm::define, run: rm::run },
    Subcommand { name: "set", define: set::define, run: set::run },
    Subcommand { name: "adopt", define: adopt::define, run: adopt::run },
    Subcommand { name: "apps", define: apps::define, run: apps::run },
    Subcommand { name: "export", define: export::define, run: export::run },
    Subcommand { name: "unexport", define: unexport::define, run: unexport::run },
    Subcommand { name: "watch", define: watch::define, run: watch::run },
    Subcommand { name: "upgrade", define: upgrade::define, run: upgrade::run },
    Subcommand { name: "setup", define: setup::define, run: setup::run },
    Subcommand { name: "doctor", define: doctor::define, run: doctor::run },
    Subcommand { name: "complete", define: complete::define, run: complete::run },
    Subcommand { name: "session", define: session::define, run: session::run },
];

/// Those that are installed as `incusbox-NAME` too.
pub const LINKS: [&str; 5] = ["create", "enter", "export", "list", "rm"];

/// The whole command line.
pub fn definition() -> Command {
    defined(|_| true)
}

/// The same, without the subcommands that are for programs.
pub fn shown() -> Command {
    defined(|subcommand| !subcommand.is_hide_set())
}

fn defined(is_wanted: impl Fn(&Command) -> bool) -> Command {
    let subcommands = SUBCOMMANDS.iter().map(|one| (one.define)(Command::new(one.name)));
    let subcommands = subcommands.filter(is_wanted);
    Command::new(PROGRAM)
        .version(env!("CARGO_PKG_VERSION"))
        .about("Make and keep boxes: containers whose programs behave as if installed here")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .disable_help_subcommand(true)
        .arg(
            Arg::new("project")
                .long("project")
                .value_name("PROJECT")
                .global(true)
                .help("The Incus project [default: $INCUS_PROJECT, or the socket's own]"),
        )
        .subcommands(subcommands)
}

/// Runs the program with the process's own arguments.
pub fn main() -> ExitCode {
    let arguments = with_subcommand(std::env::args_os().collect());
    let matches = match definition().try_get_matches_from(arguments) {
        Ok(matches) => matches,
        Err(error) => return explain(&error),
    };
    let Some((name, own)) = matches.subcommand() else { return USAGE.into() };
    let Some(subcommand) = SUBCOMMANDS.iter().find(|one| one.name == name) else {
        return USAGE.into();
    };
    match (subcommand.run)(own) {
        Ok(code) => code,
        Err(error) => {
            message::say(PROGRAM, &error);
            match error {
                Error::Signal(signal) => {
                    signals::die_by(signal);
                    exit::ExitStatus::Signal(signal).shell_code().into()
                }
                Error::Usage(_) | Error::Name(_) | Error::Value(_) | Error::Config(_) => {
                    USAGE.into()
                }
                _ => ExitCode::FAILURE,
            }
        }
    }
}

/// `incusbox-create x` is `incusbox create x`.
fn with_subcommand(mut arguments: Vec<OsString>) -> Vec<OsString> {
    let called = arguments.first().map(Path::new).and_then(Path::file_name);
    let called =
        called.and_then(|name| name.to_str()).and_then(|name| name.strip_prefix("incusbox-"));
    if let Some(subcommand) = SUBCOMMANDS.iter().find(|one| Some(one.name) == called) {
        arguments.insert(1, subcommand.name.into());
    }
    arguments
}

/// Help and version go to stdout, a mistake to stderr in our own voice.
fn explain(error: &clap::Error) -> ExitCode {
    use clap::error::ErrorKind;
    let text = error.render().to_string();
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        return match print(&text) {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::FAILURE,
        };
    }
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        let _nobody_to_tell = io::stderr().write_all(text.as_bytes());
        return USAGE.into();
    }
    let text = text.trim_end().trim_start_matches("error: ");
    let what = text.split("\n\n").next().unwrap_or(text);
    let lines: Vec<&str> = what.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let usage = text.lines().find_map(|line| line.strip_prefix("Usage: "));
    let command = usage.map(|usage| {
        let words: Vec<&str> = usage
            .split(' ')
            .take_while(|word| word.starts_with(|c: char| c.is_ascii_lowercase()))
            .collect();
        words.join(" ")
    });
    let command = command.unwrap_or_else(|| PROGRAM.to_owned());
    let meant =
        meant(error).map(|name| format!("\ndid you mean: {PROGRAM} {name}")).unwrap_or_default();
    message::say(PROGRAM, format!("{}{meant}\nsee: {command} --help", lines.join(" ")));
    USAGE.into()
}

/// The subcommand most like one that does not exist.
fn meant(error: &clap::Error) -> Option<&'static str> {
    use clap::error::{ContextKind, ContextValue};
    let Some(ContextValue::String(wrong)) = error.get(ContextKind::InvalidSubcommand) else {
        return None;
    };
    let near = SUBCOMMANDS.iter().map(|one| (distance(wrong, one.name), one.name)).min()?;
    (near.0 <= 1 + wrong.len() / 3).then_some(near.1)
}

/// Writes to stdout. A reader that left is no failure of ours.
fn print(text: &str) -> Result<(), Error> {
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Error::Host { doing: "writing stdout", source: error })
        }
        _ => Ok(()),
    }
}

/// Writes JSON to stdout.
fn print_json(value: &serde_json::Value) -> Result<(), Error> {
    let text = serde_json::to_string_pretty(value)
        .map_err(|error| Error::Host { doing: "writing JSON", source: error.into() })?;
    print(&(text + "\n"))
}

/// Connects to the daemon, in the project that was named.
fn connect(matches: &ArgMatches) -> Result<Client, Error> {
    let named = matches.get_one::<String>("project").cloned();
    let project =
        named.or_else(|| std::env::var("INCUS_PROJECT").ok().filter(|name| !name.is_empty()));
    Ok(Client::connect(project)?)
}

/// The argument that names a box.
fn box_argument() -> Arg {
    Arg::new("box").value_name("BOX").required(true).help("The box")
}

/// A flag.
fn flag(name: &'static str, help: &'static str) -> Arg {
    Arg::new(name).long(name).action(ArgAction::SetTrue).help(help)
}

/// `--json`.
fn json_flag() -> Arg {
    flag("json", "Write JSON")
}

/// The box that an argument names.
fn box_name(matches: &ArgMatches) -> Result<BoxName, Error> {
    let name = matches.get_one::<String>("box").map(String::as_str).unwrap_or_default();
    Ok(BoxName::new(name)?)
}

/// The instance of this name, which must be a box.
fn the_box(client: &mut Client, name: &BoxName) -> Result<FullInstance, Error> {
    let there = the_instance(client, name)?;
    match there.is_box() {
        true => Ok(there),
        false => Err(Error::NotABox { name: name.to_string() }),
    }
}

/// Who calls; `None` for root.
fn calling() -> Result<Option<HostUser>, Error> {
    HostUser::calling().map_err(|source| Error::Host { doing: "finding out who you are", source })
}

/// The instance of this name, box or not.
fn the_instance(client: &mut Client, name: &BoxName) -> Result<FullInstance, Error> {
    match client.full_instance(name.as_str()) {
        Err(error) if error.code() == Some(404) => Err(no_box(client, name.as_str())),
        other => Ok(other?),
    }
}

fn no_box(client: &mut Client, name: &str) -> Error {
    let names = client.instance_names().unwrap_or_default();
    Error::NoBox { name: name.to_owned(), near: near(name, &names) }
}

/// What Incus says of a missing instance, in our words.
fn missing(client: &mut Client, name: &BoxName, error: incus::Error) -> Error {
    if error.code() == Some(404) { no_box(client, name.as_str()) } else { error.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_is_sound() {
        definition().debug_assert();
    }

    #[test]
    fn a_subcommand_may_be_the_programs_name() {
        let words = |all: &[&str]| with_subcommand(all.iter().map(OsString::from).collect());
        assert_eq!(
            words(&["/usr/bin/incusbox-list", "-q"]),
            ["/usr/bin/incusbox-list", "list", "-q"]
        );
        assert_eq!(words(&["incusbox", "list"]), ["incusbox", "list"]);
        assert_eq!(words(&["incusbox-nonsense"]), ["incusbox-nonsense"]);
    }
}
