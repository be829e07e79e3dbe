//! `incusbox watch`: what the user unit of this name runs.

use std::process::ExitCode;

use clap::{Arg, ArgMatches, Command};

use super::export::{daemon, say_troubles, sweep, take, told};
use super::lifecycle::{catch, while_running_as};
use super::{PROGRAM, connect, flag};
use crate::boxes::error::Error;
use crate::export::apply::Look;
use crate::export::sync::{self, Outcome, Whose, host};
use crate::incus::Client;
use crate::message;
use crate::names::BoxName;
use crate::watch;

pub fn define(command: Command) -> Command {
    command
        .about("Keep what is exported true while boxes change")
        .long_about("Keep what is exported true while boxes change: programs are installed, updated and removed in them, boxes are renamed, restored and deleted. The user unit incusbox-watch runs this while anything is exported; without such a unit it can be started with the session. It ends when nothing is exported any more.")
        .arg(Arg::new("box").long("box").value_name("BOX").hide(true).help("Bring this one up to date, if it runs, and end"))
        .arg(flag("start", "Also if it does not run").requires("box").hide(true))
        .arg(flag("sweep", "Take away what is left of boxes that are gone, and end").conflicts_with("box").hide(true))
}

pub fn run(matches: &ArgMatches) -> Result<ExitCode, Error> {
    super::export::refuse_sudo()?;
    let name = matches.get_one::<String>("box").map(BoxName::new).transpose()?;
    if name.is_none() && !matches.get_flag("sweep") {
        // With the default actions of signals, for this may wait.
        let _turn = watch::take_turn().map_err(host("looking whether another one is at work"))?;
        watch::serve(&mut catch()?)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut signals = catch()?;
    // Before there is a connection: one on which nothing is asked keeps Incus from answering others.
    let mut kept = take(&mut signals)?;
    let mut client = connect(matches)?;
    let daemon = daemon(&mut client)?;
    let (_, all) = sweep(&mut client, &mut kept, &daemon)?;
    let Some(name) = name else { return Ok(ExitCode::SUCCESS) };
    // It has a new name, or none: somebody else is told of that.
    let Some(there) = all.into_iter().find(|one| one.name == name.as_str()) else {
        return Ok(ExitCode::SUCCESS);
    };
    let whose = Whose::of(client.project_name(), &daemon, &there)?;
    let whose = Whose { is_followed: true, ..whose };
    let known = kept.manifest.boxes.iter().find(|one| one.uuid == whose.uuid);
    let Some(called) = known.map(|one| one.called.as_str()) else { return Ok(ExitCode::SUCCESS) };
    // A new name, to which nobody else saw meanwhile, is worth a start.
    let is_started = matches.get_flag("start") && called != name.as_str();
    if there.status != "Running" && !is_started {
        return Ok(ExitCode::SUCCESS);
    }
    let brought = while_running_as(&mut client, &mut signals, &name, &there, |client, signals| {
        let (offers, plan) = loop {
            let planned = sync::plan(client, signals, &mut kept, &whose, Look::Quick)?;
            if !kept.was_overtaken() {
                break planned;
            }
        };
        let outcome = sync::bring_about(&mut kept, &whose.uuid, plan, Look::Quick)?;
        kept.save().map_err(host("writing the list of what is exported"))?;
        tell(&name, &outcome);
        told(&mut kept)?;
        if let Some(why) = offers.unfollowed {
            let text = format!(
                "`{name}` does not tell what changes in it: {why}\nafter changes: incusbox export {name}"
            );
            message::say(PROGRAM, text);
        }
        Ok(())
    });
    match brought {
        // It was about to stop. It is looked at again when it starts.
        Err(Error::Incus(_)) if !is_running(&mut client, &name) => Ok(ExitCode::SUCCESS),
        other => other.map(|()| ExitCode::SUCCESS),
    }
}

fn is_running(client: &mut Client, name: &BoxName) -> bool {
    client.full_instance(name.as_str()).is_ok_and(|there| there.status == "Running")
}

/// A line for the log, if anything changed.
fn tell(name: &BoxName, outcome: &Outcome) {
    let done = &outcome.done;
    if done.is_nothing() {
        return;
    }
    let (written, removed) = (done.written.len(), done.removed.len());
    let files = if written == 1 { "file" } else { "files" };
    let text = format!("`{name}` changed: {written} {files} written, {removed} removed");
    message::say(PROGRAM, text);
    say_troubles(outcome);
}
