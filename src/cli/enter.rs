//! `incusbox enter` and `incusbox run`: both become `incusbox-run`.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::builder::OsStringValueParser;
use clap::{Arg, ArgMatches, Command};

use super::{ask, connect, create, flag};
use crate::boxes::error::Error;
use crate::config::Config;
use crate::exit;
use crate::incus::objects::FullInstance;
use crate::names::BoxName;

pub fn define_enter(command: Command) -> Command {
    command
        .about("Open a shell in a box")
        .long_about("Open a login shell in a box, in the same directory if the box has it. Without a name: the only box, or the one that incusbox.toml calls the default; where there is none yet, one is made after a question.")
        .arg(Arg::new("box").value_name("BOX").help("The box"))
        .arg(flag("root", "As root"))
        .arg(flag("yes", "Make the default box without a question if there is none").short('y'))
        .arg(command_argument("Run this instead of a shell"))
}

pub fn define_run(command: Command) -> Command {
    command
        .about("Run a command in a box")
        .long_about("Run a command in a box: the same as incusbox-run, which see for all options.")
        .arg(
            Arg::new("words")
                .value_name("OPTION|BOX|COMMAND")
                .required(true)
                .num_args(1..)
                .trailing_var_arg(true)
                .allow_hyphen_values(true)
                .value_parser(OsStringValueParser::new())
                .help("As for incusbox-run: [OPTION]... BOX -- COMMAND [ARGUMENT]..."),
        )
}

fn command_argument(help: &'static str) -> Arg {
    Arg::new("command")
        .value_name("COMMAND")
        .last(true)
        .num_args(0..)
        .value_parser(OsStringValueParser::new())
        .help(help)
}

pub fn run(matches: &ArgMatches) -> Result<ExitCode, Error> {
    let mut words: Vec<OsString> = project(matches);
    words.extend(matches.get_many::<OsString>("words").unwrap_or_default().cloned());
    Ok(become_run(words))
}

pub fn enter(matches: &ArgMatches) -> Result<ExitCode, Error> {
    let name = match matches.get_one::<String>("box") {
        Some(name) => BoxName::new(name)?,
        None => match default_box(matches)? {
            Some(name) => name,
            None => return Ok(ExitCode::FAILURE),
        },
    };
    let mut words = project(matches);
    if matches.get_flag("root") {
        words.push("--root".into());
    }
    words.push(name.as_str().into());
    let command: Vec<OsString> = matches.get_many("command").unwrap_or_default().cloned().collect();
    if !command.is_empty() {
        words.push("--".into());
        words.extend(command);
    }
    Ok(become_run(words))
}

pub fn project(matches: &ArgMatches) -> Vec<OsString> {
    let named = matches.get_one::<String>("project");
    named.map(|name| format!("--project={name}").into()).into_iter().collect()
}

/// The box that is meant where none is named; made if there is none and the user agrees.
fn default_box(matches: &ArgMatches) -> Result<Option<BoxName>, Error> {
    let config = Config::load()?;
    let mut client = connect(matches)?;
    let boxes: Vec<FullInstance> =
        client.instances()?.into_iter().filter(FullInstance::is_box).collect();
    let has = |name: &str| boxes.iter().any(|known| known.name == name);
    match (&config.default_box, &boxes[..]) {
        (Some(name), _) if has(name) => return Ok(Some(BoxName::new(name)?)),
        (None, [only]) => return Ok(Some(BoxName::new(&only.name)?)),
        (None, [_, _, ..]) => {
            let names: Vec<&str> = boxes.iter().map(|known| known.name.as_str()).collect();
            return Err(Error::Usage(format!(
                "there are several boxes: {}\nname one: incusbox enter {}",
                names.join(", "),
                names[0]
            )));
        }
        _ => {}
    }
    let name = BoxName::new(config.default_box.clone().unwrap_or_else(|| "box".to_owned()))?;
    let image = create::default_image(&config, &name);
    let question = match boxes.is_empty() {
        true => format!("There is no box yet. Make the box `{name}` from {image}?"),
        false => format!("The default box `{name}` is not there. Make it from {image}?"),
    };
    let agreed = match matches.get_flag("yes") {
        true => Some(true),
        false => ask::yes(&question, true),
    };
    match agreed {
        Some(true) => create::make_default(matches, &config, &name).map(|()| Some(name)),
        Some(false) => Ok(None),
        None => Err(Error::Usage(nobody_agrees(&name, &boxes))),
    }
}

fn nobody_agrees(name: &BoxName, boxes: &[FullInstance]) -> String {
    let Some(other) = boxes.first() else {
        return "there is no box yet\nmake one: incusbox create NAME, or incusbox enter --yes"
            .to_owned();
    };
    let names: Vec<&str> = boxes.iter().map(|known| known.name.as_str()).collect();
    format!(
        "the default box `{name}` is not there; there are: {}\nname one: incusbox enter {}\nor make the default one: incusbox enter --yes",
        names.join(", "),
        other.name
    )
}

/// Becomes `incusbox-run`; comes back only when it cannot be executed.
fn become_run(words: Vec<OsString>) -> ExitCode {
    let program = program();
    let error = std::process::Command::new(&program).args(words).exec();
    crate::message::say(
        super::PROGRAM,
        format!(
            "cannot execute `{}`: {error}\nit belongs beside incusbox: is the installation whole?",
            program.display()
        ),
    );
    exit::FAILURE.into()
}

/// `incusbox-run` beside this program, else on the PATH.
pub fn program() -> PathBuf {
    let own = std::env::current_exe().ok();
    let beside = own.as_deref().and_then(|own| own.parent()).map(|at| at.join("incusbox-run"));
    beside.filter(|path| path.exists()).unwrap_or_else(|| PathBuf::from("incusbox-run"))
}
