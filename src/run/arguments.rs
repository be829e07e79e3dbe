//! The command line of `incusbox-run`: one definition for the parser, `--help`, the man page and
//! the completions.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use clap::builder::{OsStringValueParser, PossibleValuesParser};
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};

use crate::names::BoxName;

/// Whether the command gets a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tty {
    /// Where the caller has one.
    Auto,
    /// In any case.
    Always,
    /// Never.
    Never,
}

/// How to run the command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// By the agent in a box, natively in any other instance.
    Auto,
    /// By Incus alone.
    Native,
    /// By the agent.
    Agent,
}

/// Which user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WhichUser {
    /// The one who calls.
    Own,
    /// The box's user of this name or number.
    Named(OsString),
}

/// What was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// The box.
    pub name: BoxName,
    /// The command; empty for the login shell.
    pub command: Vec<OsString>,
    /// As whom.
    pub user: WhichUser,
    /// Where; `None` for the same directory as here.
    pub directory: Option<OsString>,
    /// Variables: with a value to set, without one to take over from here.
    pub environment: Vec<(OsString, Option<OsString>)>,
    /// No variables of the host, no login environment.
    pub clean_environment: bool,
    /// Whether there is a terminal.
    pub tty: Tty,
    /// stdin is empty.
    pub no_stdin: bool,
    /// How to run it.
    pub mode: Mode,
    /// The Incus project.
    pub project: Option<String>,
    /// Refuse to start a stopped box.
    pub no_start: bool,
    /// Say how long each step took.
    pub verbose: bool,
    /// The word around what is opened.
    pub opened: Option<OsString>,
    /// What is opened and not seen is shown to the box.
    pub share_files: bool,
    /// Failures are shown on the desktop.
    pub notify: bool,
    /// The command is one of the agent's own.
    pub is_agents: bool,
}

/// Why the command line is not one of ours, or what to print instead of running.
#[derive(Debug)]
pub enum Stop {
    /// `--help` or `--version`: the text.
    Print(String),
    /// A mistake: what is wrong.
    Mistake(String),
}

/// The definition.
pub fn definition() -> Command {
    let flag = |name: &'static str| Arg::new(name).long(name).action(ArgAction::SetTrue);
    let value =
        |name: &'static str, value: &'static str| Arg::new(name).long(name).value_name(value);
    Command::new("incusbox-run")
        .version(env!("CARGO_PKG_VERSION"))
        .about("Run a command in a box as if it ran here")
        .override_usage("incusbox-run [OPTIONS] BOX [-- COMMAND [ARGUMENT]...]\n       incusbox-run --shim FILE [ARGUMENT]...")
        .after_help("Without a command, the login shell runs.\nThe exit status is the command's; 125 is a failure of incusbox-run itself, 126 a command\nthat cannot be executed, 127 one that was not found.")
        .arg(Arg::new("box").value_name("BOX").required(true).value_parser(OsStringValueParser::new()).help("The box to run in"))
        .arg(Arg::new("command").value_name("COMMAND").last(true).num_args(0..).value_parser(OsStringValueParser::new()).help("The command and its arguments"))
        .arg(value("user", "NAME").short('u').value_parser(OsStringValueParser::new()).conflicts_with("root").help("Run as this user of the box (name or number)"))
        .arg(flag("root").help("Run as root in the box"))
        .arg(value("cwd", "DIR").value_parser(OsStringValueParser::new()).help("Run in this directory [default: the same as here, else the home]"))
        .arg(value("env", "NAME[=VALUE]").short('e').action(ArgAction::Append).value_parser(OsStringValueParser::new()).help("Set a variable, or take it over from here"))
        .arg(flag("clean-env").help("Take over no variables and no login environment"))
        .arg(value("tty", "WHEN").value_parser(PossibleValuesParser::new(["auto", "always", "never"])).default_value("auto").help("Give the command a terminal"))
        .arg(Arg::new("t").short('t').action(ArgAction::SetTrue).overrides_with_all(["T", "tty"]).help("The same as --tty always"))
        .arg(Arg::new("T").short('T').action(ArgAction::SetTrue).overrides_with_all(["t", "tty"]).help("The same as --tty never"))
        .arg(flag("no-stdin").short('n').help("Give the command an empty stdin; read none of ours"))
        .arg(value("mode", "MODE").value_parser(PossibleValuesParser::new(["auto", "native", "agent"])).default_value("auto").help("Run by the agent (boxes) or by Incus alone (any instance)"))
        .arg(value("project", "PROJECT").value_parser(value_parser!(String)).help("The Incus project [default: $INCUS_PROJECT, or the socket's own]"))
        .arg(flag("no-start").help("Refuse to start a stopped box"))
        .arg(flag("verbose").short('v').help("Say on stderr what is done and how long each step took"))
        .arg(value("opened", "MARK").value_parser(OsStringValueParser::new()).help("Refuse files between two words MARK that the box does not see; for launchers"))
        .arg(flag("share-files").requires("opened").conflicts_with("agent").help("Show the box files that it does not see instead, read-only and for this run"))
        .arg(flag("notify").help("Show a failure of incusbox-run on the desktop too, if nobody reads stderr; for launchers"))
        .arg(flag("agent").hide(true).help("The command is one of the agent's own; for units"))
        .arg(value("shim", "FILE").value_parser(OsStringValueParser::new()).hide(true).help("Run what the shim FILE says"))
}

/// Parses a command line, the program's name first.
///
/// # Errors
/// [`Stop`]: there is something to print instead.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Options, Stop> {
    let matches = definition().try_get_matches_from(arguments).map_err(|error| {
        let text = error.render().to_string();
        match error.kind() {
            clap::error::ErrorKind::DisplayHelp | clap::error::ErrorKind::DisplayVersion => {
                Stop::Print(text)
            }
            kind => Stop::Mistake(explain(&text, kind)),
        }
    })?;
    options(&matches)
}

/// clap's words without its prefix, with the usual remedy for a forgotten `--`.
fn explain(text: &str, kind: clap::error::ErrorKind) -> String {
    let text = text.trim_end().trim_start_matches("error: ");
    let text = text.split("\n\nUsage:").next().unwrap_or(text).trim_end();
    let next = if kind == clap::error::ErrorKind::UnknownArgument && !text.contains("'-") {
        "put `--` between the box and the command: incusbox-run BOX -- COMMAND"
    } else {
        "see: incusbox-run --help"
    };
    let text: Vec<&str> =
        text.lines().filter(|line| !line.trim().is_empty() && !line.contains("tip:")).collect();
    format!("{}\n{next}", text.join(" "))
}

fn options(matches: &ArgMatches) -> Result<Options, Stop> {
    let text = |name: &str| matches.get_one::<OsString>(name).cloned();
    let word = |name: &str| matches.get_one::<String>(name).map(String::as_str);
    let name = text("box").unwrap_or_default();
    let name = BoxName::new(name).map_err(|error| Stop::Mistake(error.to_string()))?;
    let command: Vec<OsString> = matches.get_many("command").unwrap_or_default().cloned().collect();
    let user = if matches.get_flag("root") {
        WhichUser::Named("root".into())
    } else {
        text("user").map_or(WhichUser::Own, WhichUser::Named)
    };
    let tty = match word("tty") {
        _ if matches.get_flag("t") => Tty::Always,
        _ if matches.get_flag("T") => Tty::Never,
        Some("always") => Tty::Always,
        Some("never") => Tty::Never,
        _ => Tty::Auto,
    };
    let mode = match word("mode") {
        Some("native") => Mode::Native,
        Some("agent") => Mode::Agent,
        _ => Mode::Auto,
    };
    let variables = matches.get_many::<OsString>("env").unwrap_or_default();
    let environment = variables.map(variable).collect::<Result<Vec<_>, Stop>>()?;
    let directory = text("cwd");
    if let Some(directory) =
        directory.as_ref().filter(|directory| !directory.as_bytes().starts_with(b"/"))
    {
        let shown = directory.to_string_lossy();
        return Err(Stop::Mistake(format!(
            "`--cwd {shown}` is not an absolute path\nname a directory of the box, beginning with `/`"
        )));
    }
    Ok(Options {
        name,
        command,
        user,
        directory,
        environment,
        clean_environment: matches.get_flag("clean-env"),
        tty,
        no_stdin: matches.get_flag("no-stdin"),
        mode,
        project: matches.get_one::<String>("project").cloned(),
        no_start: matches.get_flag("no-start"),
        verbose: matches.get_flag("verbose"),
        opened: text("opened"),
        share_files: matches.get_flag("share-files"),
        notify: matches.get_flag("notify"),
        is_agents: matches.get_flag("agent"),
    })
}

fn variable(text: &OsString) -> Result<(OsString, Option<OsString>), Stop> {
    let bytes = text.as_bytes();
    let (name, value) = match bytes.iter().position(|byte| *byte == b'=') {
        Some(at) => (&bytes[..at], Some(OsString::from_vec(bytes[at + 1..].to_vec()))),
        None => (bytes, None),
    };
    if name.is_empty() {
        let shown = text.to_string_lossy();
        return Err(Stop::Mistake(format!(
            "`--env {shown}` has no name\nwrite --env NAME=VALUE, or --env NAME"
        )));
    }
    Ok((OsString::from_vec(name.to_vec()), value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Options, Stop> {
        parse(line.split(' ').map(OsString::from))
    }

    #[test]
    fn the_definition_is_sound() {
        definition().debug_assert();
    }

    #[test]
    fn everything_behind_the_two_hyphens_belongs_to_the_command() {
        let options = parsed("incusbox-run -v dev -n -- ls --root -- -t").expect("parses");
        assert_eq!(options.command, ["ls", "--root", "--", "-t"]);
        assert!(options.verbose && options.no_stdin);
        assert_eq!((options.user, options.tty), (WhichUser::Own, Tty::Auto));
    }

    #[test]
    fn the_last_word_on_the_terminal_counts() {
        assert_eq!(parsed("x -t -T dev").expect("parses").tty, Tty::Never);
        assert_eq!(parsed("x -T -t dev").expect("parses").tty, Tty::Always);
        assert_eq!(parsed("x --tty never dev").expect("parses").tty, Tty::Never);
    }

    #[test]
    fn variables_have_a_name_and_perhaps_a_value() {
        let options = parsed("x -e A=b=c -e D -e E= dev").expect("parses");
        let expected = [("A", Some("b=c")), ("D", None), ("E", Some(""))];
        let expected = expected.map(|(name, value)| (name.into(), value.map(Into::into)));
        assert_eq!(options.environment, expected);
        assert!(matches!(parsed("x -e =b dev"), Err(Stop::Mistake(_))));
    }

    #[test]
    fn mistakes_say_what_to_write_instead() {
        let mistake = |line: &str| match parsed(line) {
            Err(Stop::Mistake(text)) => text,
            other => panic!("{line}: {other:?}"),
        };
        assert!(mistake("x dev ls").contains("put `--` between"), "{}", mistake("x dev ls"));
        assert!(mistake("x --bogus dev").contains("--help"), "{}", mistake("x --bogus dev"));
        assert!(mistake("x -- ls").contains("BOX"), "{}", mistake("x -- ls"));
        assert!(mistake("x de/v").contains("letters"));
        assert!(mistake("x --cwd rel dev").contains("absolute"));
    }
}
