//! `incusbox start`, `stop`, `restart` and `rename`.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::{Arg, ArgAction, ArgMatches, Command};

use super::progress::Shown;
use super::{box_name, connect, flag, missing, the_box, the_instance};
use crate::boxes::create::Progress;
use crate::boxes::error::Error;
use crate::boxes::naming;
use crate::incus::Client;
use crate::incus::instances::{PAUSE, UNAVAILABLE};
use crate::incus::manage::{Action, Force};
use crate::incus::objects::FullInstance;
use crate::message;
use crate::names::BoxName;
use crate::sys::signals::{self, Signals};

/// How long a box may take to shut down. systemd gives a service 90 s.
const SHUTDOWN: Duration = Duration::from_secs(100);
/// How long it is waited for before it is told again, in seconds.
pub const SHUTDOWN_SECONDS: u32 = 15;

fn boxes_argument() -> Arg {
    Arg::new("boxes")
        .value_name("BOX")
        .required(true)
        .action(ArgAction::Append)
        .num_args(1..)
        .help("The boxes")
}

fn force_flag() -> Arg {
    flag("force", "Do not wait for it to shut down").short('f')
}

pub fn define_start(command: Command) -> Command {
    command.about("Start boxes").arg(boxes_argument())
}

pub fn define_stop(command: Command) -> Command {
    command.about("Stop boxes").arg(boxes_argument()).arg(force_flag())
}

pub fn define_restart(command: Command) -> Command {
    command.about("Restart boxes").arg(boxes_argument()).arg(force_flag())
}

pub fn define_rename(command: Command) -> Command {
    command
        .about("Rename a box")
        .long_about("Rename a box. It is stopped for that if it runs, and started again. It calls itself by its new name then, unless another host name was chosen for it.")
        .arg(super::box_argument())
        .arg(Arg::new("new").value_name("NEW").required(true).help("Its new name"))
}

pub fn start(matches: &ArgMatches) -> Result<ExitCode, Error> {
    change_all(matches, Action::Start)
}

pub fn stop(matches: &ArgMatches) -> Result<ExitCode, Error> {
    change_all(matches, Action::Stop)
}

pub fn restart(matches: &ArgMatches) -> Result<ExitCode, Error> {
    change_all(matches, Action::Restart)
}

/// Goes on after a failure: the other boxes can do nothing for it.
fn change_all(matches: &ArgMatches, action: Action) -> Result<ExitCode, Error> {
    let names = matches.get_many::<String>("boxes").unwrap_or_default();
    let names = names.map(BoxName::new).collect::<Result<Vec<_>, _>>()?;
    let has_force = matches.try_get_one::<bool>("force").ok().flatten().copied().unwrap_or(false);
    let force = if has_force { Force::Yes } else { Force::No(SHUTDOWN_SECONDS) };
    let mut client = connect(matches)?;
    let mut signals = catch()?;
    let mut failed = false;
    for name in names {
        match change(&mut client, &mut signals, &name, action, force) {
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

/// Signals that end waiting.
pub fn catch() -> Result<Signals, Error> {
    Signals::catch(&signals::ENDING)
        .map_err(|source| Error::Host { doing: "catching signals", source })
}

/// Changes the state of one box; one that is in that state already is left alone. A frozen one goes on
/// first.
pub fn change(
    client: &mut Client,
    signals: &mut Signals,
    name: &BoxName,
    action: Action,
    force: Force,
) -> Result<(), Error> {
    let (doing, verb) = match action {
        Action::Start => ("starting the box", "starting"),
        Action::Stop => ("stopping the box", "stopping"),
        Action::Restart => ("restarting the box", "restarting"),
        Action::Unfreeze => ("waking the box", "waking"),
    };
    let mut shown = Shown::new(false);
    shown.step(&format!("{verb} {name}"));
    if thaw(client, signals, name)? && action == Action::Start {
        shown.clear();
        return Ok(());
    }
    let began = Instant::now();
    let mut action = action;
    let ended = loop {
        let operation = match client.change_state(name.as_str(), action, force) {
            Ok(operation) => operation,
            Err(error) => return Err(missing(client, name, error)),
        };
        let ended = client.watch(doing, &operation, signals, None).map_err(Error::from);
        let timed_out = matches!(&ended, Err(Error::Incus(error))
            if error.text().is_some_and(|text| text.contains("deadline exceeded")));
        let unavailable = matches!(&ended, Err(Error::Incus(error)) if error.is_unavailable());
        if unavailable && action != Action::Stop && began.elapsed() < UNAVAILABLE {
            if let Some(signal) = pause(signals)? {
                return Err(Error::Signal(signal));
            }
            // What was to be restarted is stopped by now.
            action = Action::Start;
            continue;
        }
        // An init that is just starting does not hear that it shall stop, so it is told again.
        if !timed_out || began.elapsed() >= SHUTDOWN {
            break ended;
        }
    };
    shown.clear();
    match ended {
        Err(Error::Incus(error)) => {
            let text = error.text().unwrap_or_default().to_lowercase();
            if action != Action::Restart
                && (text.contains("already running") || text.contains("already stopped"))
            {
                return Ok(());
            }
            if action == Action::Restart
                && (text.contains("not running") || text.contains("already stopped"))
            {
                return change(client, signals, name, Action::Start, force);
            }
            if action != Action::Stop {
                let log = client.start_log(name.as_str());
                return Err(Error::Start {
                    name: name.to_string(),
                    source: error,
                    log,
                    is_new: false,
                });
            }
            Err(error.into())
        }
        other => other,
    }
}

/// Has a frozen box go on: for Incus it runs, though it does not even hear that it shall stop.
fn thaw(client: &mut Client, signals: &mut Signals, name: &BoxName) -> Result<bool, Error> {
    let there = client.instance(name.as_str()).map_err(|error| missing(client, name, error))?;
    if there.status != "Frozen" {
        return Ok(false);
    }
    let operation = client.change_state(name.as_str(), Action::Unfreeze, Force::Yes)?;
    client.watch("waking the box", &operation, signals, None)?;
    Ok(true)
}

/// Does something in a box, which is started for it if it is stopped, and stopped again.
pub fn while_running<T>(
    client: &mut Client,
    signals: &mut Signals,
    name: &BoxName,
    work: impl FnOnce(&mut Client, &mut Signals) -> Result<T, Error>,
) -> Result<T, Error> {
    let there = the_box(client, name)?;
    while_running_as(client, signals, name, &there, work)
}

/// The same for a box that is as Incus described it a moment ago.
pub fn while_running_as<T>(
    client: &mut Client,
    signals: &mut Signals,
    name: &BoxName,
    there: &FullInstance,
    work: impl FnOnce(&mut Client, &mut Signals) -> Result<T, Error>,
) -> Result<T, Error> {
    if there.status != "Stopped" {
        return work(client, signals);
    }
    change(client, signals, name, Action::Start, Force::Yes)?;
    let done = work(client, signals);
    let stopped = change(client, signals, name, Action::Stop, Force::No(SHUTDOWN_SECONDS));
    // What went wrong first counts.
    done.and_then(|done| stopped.map(|()| done))
}

/// Waits a moment; a signal that came meanwhile.
fn pause(signals: &mut Signals) -> Result<Option<i32>, Error> {
    std::thread::sleep(PAUSE);
    signals.take().map_err(|source| Error::Host { doing: "catching signals", source })
}

pub fn rename(matches: &ArgMatches) -> Result<ExitCode, Error> {
    let name = box_name(matches)?;
    let new = BoxName::new(matches.get_one::<String>("new").cloned().unwrap_or_default())?;
    let mut client = connect(matches)?;
    let mut signals = catch()?;
    let there = the_instance(&mut client, &name)?;
    if client.instance_names()?.iter().any(|known| known == new.as_str()) {
        let is_box = client.full_instance(new.as_str())?.is_box();
        return Err(Error::Exists { name: new.to_string(), is_box });
    }
    let was_running = there.status == "Running";
    // Who follows boxes leaves what it has on the host to us.
    let kept = super::export::take_of(&mut signals, there.uuid())?;
    if was_running {
        change(&mut client, &mut signals, &name, Action::Stop, Force::No(SHUTDOWN_SECONDS))?;
    }
    let operation = client.rename_instance(name.as_str(), new.as_str())?;
    let renamed = client.watch("renaming the box", &operation, &mut signals, None);
    if renamed.is_ok() && there.is_box() {
        if let Err(error) = naming::renamed(&mut client, &there, new.as_str()) {
            message::say(
                super::PROGRAM,
                format!(
                    "warning: the box still calls itself `{name}`: {error}\nset that right: incusbox adopt {new}"
                ),
            );
        }
    }
    if was_running {
        let now = if renamed.is_ok() { &new } else { &name };
        change(&mut client, &mut signals, now, Action::Start, Force::Yes)?;
    }
    renamed?;
    tell_of_unit(matches, &name, Some(&new));
    if let Some(kept) = kept {
        super::export::renew(&mut client, &mut signals, kept, &new)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Tells of the user unit that starts a box at login when the box has another name, or is gone. It is
/// the user's own, so it is not changed. It names no project, so it is not one for a box of a project
/// that was named here.
pub fn tell_of_unit(matches: &ArgMatches, old: &BoxName, new: Option<&BoxName>) {
    if matches.contains_id("project") {
        return;
    }
    let Some(config) = xdg::BaseDirectories::new().get_config_home() else { return };
    let unit = format!("incusbox-box@{old}.service");
    let wanted = config.join("systemd/user/default.target.wants").join(&unit);
    if wanted.symlink_metadata().is_err() {
        return;
    }
    let disable = format!("systemctl --user disable {unit}");
    let text = match new {
        Some(new) => format!(
            "the user unit {unit}, which starts the box at login, has its old name\nchange that: {disable} && systemctl --user enable incusbox-box@{new}.service"
        ),
        None => format!(
            "the user unit {unit} still starts the box at login, which is gone\nend that: {disable}"
        ),
    };
    message::say(super::PROGRAM, text);
}
