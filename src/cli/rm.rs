//! `incusbox rm`.

use std::process::ExitCode;

use clap::{Arg, ArgAction, ArgMatches, Command};

use super::lifecycle::catch;
use super::progress::Shown;
use super::{ask, connect, flag, the_box};
use crate::boxes::create::{Progress, remove};
use crate::boxes::error::Error;
use crate::incus::Client;
use crate::message::{self, printable};
use crate::names::BoxName;

pub fn define(command: Command) -> Command {
    command
        .about("Delete boxes")
        .long_about("Delete boxes with everything in them. What the host shares with a box, a home or a volume, stays.")
        .visible_alias("delete")
        .arg(
            Arg::new("boxes")
                .value_name("BOX")
                .required(true)
                .action(ArgAction::Append)
                .num_args(1..)
                .help("The boxes"),
        )
        .arg(flag("force", "Do not ask, and delete boxes that run").short('f'))
}

pub fn run(matches: &ArgMatches) -> Result<ExitCode, Error> {
    let names = matches.get_many::<String>("boxes").unwrap_or_default();
    let names = names.map(BoxName::new).collect::<Result<Vec<_>, _>>()?;
    let force = matches.get_flag("force");
    let mut client = connect(matches)?;
    let _cleanly = catch()?;
    let mut failed = false;
    for name in names {
        if let Err(error) = remove_one(&mut client, &name, force) {
            message::say(super::PROGRAM, error);
            failed = true;
        }
    }
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn remove_one(client: &mut Client, name: &BoxName, force: bool) -> Result<(), Error> {
    let there = the_box(client, name)?;
    if !force {
        let runs = if there.status == "Running" { ", which is running," } else { "" };
        let kept = match there.fact("home") {
            None | Some("none") => String::new(),
            Some(_) => " Your home on the host stays as it is.".to_owned(),
        };
        let question = format!("Delete the box `{name}`{runs} and everything in it?{kept}");
        match ask::yes(&printable(&question), false) {
            Some(true) => {}
            Some(false) => return Ok(()),
            None => {
                return Err(Error::Usage(format!(
                    "nobody can be asked whether to delete `{name}`\ndelete it without a question: incusbox rm --force {name}"
                )));
            }
        }
    }
    let mut shown = Shown::new(false);
    shown.step(&format!("deleting {name}"));
    Ok(remove(client, &there)?)
}
