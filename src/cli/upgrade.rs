//! `incusbox upgrade`.

use std::process::ExitCode;

use clap::{Arg, ArgAction, ArgMatches, Command};

use super::lifecycle::{catch, while_running};
use super::progress::Shown;
use super::{connect, flag};
use crate::boxes::create::Progress;
use crate::boxes::error::Error;
use crate::boxes::setup;
use crate::incus::Client;
use crate::incus::objects::FullInstance;
use crate::message;
use crate::names::BoxName;
use crate::sys::signals::Signals;

pub fn define(command: Command) -> Command {
    command
        .about("Bring the packages of boxes up to date")
        .long_about("Bring the packages of boxes up to date, by the package manager of each. A box that is stopped is started for it, and stopped again.")
        .arg(
            Arg::new("boxes")
                .value_name("BOX")
                .action(ArgAction::Append)
                .num_args(1..)
                .required_unless_present("all")
                .help("The boxes"),
        )
        .arg(flag("all", "All boxes").short('a').conflicts_with("boxes"))
        .arg(flag("verbose", "Show what the package manager writes").short('v'))
}

/// Goes on after a failure: the other boxes can do nothing for it.
pub fn run(matches: &ArgMatches) -> Result<ExitCode, Error> {
    let mut client = connect(matches)?;
    let mut signals = catch()?;
    let names: Vec<String> = match matches.get_flag("all") {
        true => {
            let boxes = client.instances()?.into_iter().filter(FullInstance::is_box);
            boxes.map(|one| one.name).collect()
        }
        false => matches.get_many::<String>("boxes").unwrap_or_default().cloned().collect(),
    };
    let names = names.into_iter().map(BoxName::new).collect::<Result<Vec<_>, _>>()?;
    let mut failed = false;
    for name in names {
        let mut shown = Shown::new(matches.get_flag("verbose"));
        match upgrade(&mut client, &mut signals, &mut shown, &name) {
            Ok(()) => {
                shown.clear();
                message::say(super::PROGRAM, format!("`{name}` is up to date"));
            }
            Err(error @ Error::Signal(_)) => return Err(error),
            Err(error) => {
                shown.clear();
                message::say(super::PROGRAM, error);
                failed = true;
            }
        }
    }
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn upgrade(
    client: &mut Client,
    signals: &mut Signals,
    shown: &mut Shown,
    name: &BoxName,
) -> Result<(), Error> {
    let upgraded = while_running(client, signals, name, |client, signals| {
        shown.step(&format!("upgrading {name}"));
        setup::upgrade(client, signals, shown, name.as_str())
    });
    upgraded.map(|_| ())
}
