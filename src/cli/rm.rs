//! `incusbox rm`.

use std::process::ExitCode;

use clap::{Arg, ArgAction, ArgMatches, Command};

use super::export::{say_troubles, take, told};
use super::lifecycle::{catch, tell_of_unit};
use super::progress::Shown;
use super::{ask, connect, flag, the_box};
use crate::boxes::create::{Progress, remove};
use crate::boxes::error::Error;
use crate::export::manifest::{self, Exports};
use crate::export::sync::{self, host};
use crate::incus::Client;
use crate::incus::objects::FullInstance;
use crate::message::{self, printable};
use crate::names::BoxName;
use crate::sys::signals::Signals;

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
    let mut client = connect(matches)?;
    let mut signals = catch()?;
    let mut failed = false;
    for name in names {
        // What is begun is ended, with what the box has on the host; no other one is begun.
        let caught = signals.take();
        let caught = caught.map_err(|source| Error::Host { doing: "reading signals", source })?;
        if let Some(signal) = caught {
            return Err(Error::Signal(signal));
        }
        match remove_one(matches, &mut client, &mut signals, &name) {
            Ok(()) => {}
            Err(error @ Error::Signal(_)) => return Err(error),
            Err(error) => {
                message::say(super::PROGRAM, error);
                failed = true;
            }
        }
    }
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Takes away what the box has on the host.
fn forget(client: &Client, signals: &mut Signals, there: &FullInstance) -> Result<(), Error> {
    let uuid = there.uuid();
    let is_it = |one: &Exports| one.uuid == uuid && one.project == client.project_name();
    let doing = host("reading the list of what is exported");
    if !manifest::look().map_err(&doing)?.boxes.iter().any(is_it) {
        return Ok(());
    }
    let mut kept = take(signals)?;
    say_troubles(&sync::drop_all(&mut kept, uuid)?);
    told(&mut kept)
}

fn remove_one(
    matches: &ArgMatches,
    client: &mut Client,
    signals: &mut Signals,
    name: &BoxName,
) -> Result<(), Error> {
    let there = the_box(client, name)?;
    let force = matches.get_flag("force");
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
    remove(client, &there)?;
    drop(shown);
    tell_of_unit(matches, name, None);
    let forgotten = forget(client, signals, &there);
    if let Err(error) = &forgotten {
        message::say(
            super::PROGRAM,
            format!(
                "`{name}` is deleted, but not what it has on the host: {error}\ntry again: incusbox unexport {name} --all"
            ),
        );
    }
    match forgotten {
        Err(error @ Error::Signal(_)) => Err(error),
        _ => Ok(()),
    }
}
