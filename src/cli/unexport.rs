//! `incusbox unexport`.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::ExitCode;

use clap::{Arg, ArgAction, ArgMatches, Command};

use super::export::{daemon, refuse_sudo, say_troubles, service_name, sweep, take, tell, told};
use super::lifecycle::catch;
use super::{box_argument, box_name, connect, flag, json_flag};
use crate::boxes::error::Error;
use crate::desktop::entry::MAIN;
use crate::desktop::keyfile::KeyFile;
use crate::export::apply::Look;
use crate::export::manifest::{Chosen, Exports};
use crate::export::plan::{user_of_app, user_of_command, user_of_service};
use crate::export::sync::{self, host};
use crate::names::BoxName;

pub fn define(command: Command) -> Command {
    let many = |name: &'static str, value: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name(value).action(ArgAction::Append).help(help)
    };
    command
        .about("Take programs and commands of a box away from the host")
        .long_about("Take programs and commands of a box away from the host. The box is not asked, and need not run or be there.")
        .arg(box_argument())
        .arg(many("app", "NAME|ID", "A program, by what `incusbox export --list` lists, or by its name"))
        .arg(flag("all-apps", "All programs"))
        .arg(many("bin", "COMMAND", "A command, by its name or path, or by the path of its shim"))
        .arg(many("service", "SERVICE", "A service, which is stopped"))
        .arg(flag("all", "Everything").conflicts_with_all(["app", "all-apps", "bin", "service"]))
        .arg(json_flag())
}

pub fn run(matches: &ArgMatches) -> Result<ExitCode, Error> {
    let name = box_name(matches)?;
    refuse_sudo()?;
    let mut signals = catch()?;
    let mut kept = take(&mut signals)?;
    let at = match connect(matches) {
        Ok(mut client) => {
            let daemon = daemon(&mut client)?;
            if sweep(&mut client, &mut kept, &daemon)?.0.iter().any(|gone| gone == name.as_str()) {
                return Ok(ExitCode::SUCCESS);
            }
            let project = client.project_name().to_owned();
            let is_it = |one: &Exports| {
                one.name == name.as_str() && one.project == project && one.daemon == daemon
            };
            kept.manifest.boxes.iter().position(is_it)
        }
        // Without a daemon, too, things can be taken away: if the name alone says of which box.
        Err(_) => {
            let boxes = kept.manifest.boxes.iter().enumerate();
            let all: Vec<usize> =
                boxes.filter(|(_, one)| one.name == name.as_str()).map(|(at, _)| at).collect();
            if all.len() > 1 {
                return Err(Error::Usage(format!(
                    "there are several boxes `{name}`, and Incus cannot be asked which is meant\ntry again once it answers"
                )));
            }
            all.first().copied()
        }
    };
    let Some(at) = at else {
        // A run before this one may not have come to its end.
        say_troubles(&sync::finish(&mut kept)?);
        told(&mut kept)?;
        return Err(Error::Usage(format!(
            "nothing of `{name}` is exported\nsee: incusbox export --list"
        )));
    };
    let gone = gone(matches, &name, &mut kept.manifest.boxes[at])?;
    let uuid = kept.manifest.boxes[at].uuid.clone();
    let plan = sync::remaining(&kept.manifest.boxes[at], |user| !gone.contains(user));
    let outcome = sync::bring_about(&mut kept, &uuid, plan, Look::Quick)?;
    kept.save().map_err(host("writing the list of what is exported"))?;
    tell(matches, &name, &outcome)?;
    told(&mut kept)?;
    Ok(ExitCode::SUCCESS)
}

/// Takes from what is chosen what the command line says, and returns whose files go.
fn gone(
    matches: &ArgMatches,
    name: &BoxName,
    exports: &mut Exports,
) -> Result<BTreeSet<String>, Error> {
    let users: BTreeSet<String> =
        exports.files.values().flat_map(|record| record.users.iter().cloned()).collect();
    let of_kind = |kind: &str| {
        users.iter().filter(|user| user.starts_with(kind)).cloned().collect::<BTreeSet<_>>()
    };
    if matches.get_flag("all") {
        exports.chosen = Chosen::default();
        return Ok(users);
    }
    let mut gone = BTreeSet::new();
    if matches.get_flag("all-apps") {
        exports.chosen.all = None;
        exports.chosen.apps.clear();
        exports.chosen.except.clear();
        exports.chosen.only.clear();
        gone.extend(of_kind("app:"));
    }
    let none = |what: &str| {
        Error::Usage(format!(
            "nothing of `{name}` is exported as `{what}`\nsee: incusbox export --list {name}"
        ))
    };
    for wanted in matches.get_many::<String>("app").unwrap_or_default() {
        let id = app(wanted, exports).ok_or_else(|| none(wanted))?;
        exports.chosen.apps.remove(&id);
        if exports.chosen.all.is_some() {
            exports.chosen.except.insert(id.clone());
        }
        gone.insert(user_of_app(&id));
    }
    for wanted in matches.get_many::<String>("bin").unwrap_or_default() {
        let meant = |path: &Path, command: &str| {
            command == wanted
                || path == Path::new(wanted)
                || path.file_name().is_some_and(|file| file == wanted.as_str())
        };
        let commands = &exports.chosen.commands;
        let path = commands.iter().find(|(path, one)| meant(path, &one.command));
        let path = path.map(|(path, _)| path.clone()).ok_or_else(|| none(wanted))?;
        exports.chosen.commands.remove(&path);
        gone.insert(user_of_command(&path));
    }
    for wanted in matches.get_many::<String>("service").unwrap_or_default() {
        let service = service_name(wanted)?;
        if !exports.chosen.services.remove(&service) {
            return Err(none(wanted));
        }
        gone.insert(user_of_service(&service));
    }
    if gone.is_empty() && !matches.get_flag("all-apps") {
        return Err(Error::Usage(format!(
            "nothing was named\ntake everything away: incusbox unexport {name} --all\nor name it: --app NAME, --all-apps, --bin COMMAND, --service SERVICE"
        )));
    }
    Ok(gone)
}

/// The id in the box of an exported program, by that, by the entry on the host or by its name there.
fn app(wanted: &str, exports: &Exports) -> Option<String> {
    let with_ending = format!("{wanted}.desktop");
    let ids = exports.files.iter().flat_map(|(path, record)| {
        let users = record.users.iter().filter_map(|user| user.strip_prefix("app:"));
        users.map(move |id| (path, id))
    });
    let is_it = |(path, id): &(&std::path::PathBuf, &str)| {
        let file = path.file_name().unwrap_or_default();
        *id == wanted
            || *id == with_ending
            || file == wanted
            || file == with_ending.as_str()
            || is_named(path, wanted)
    };
    let chosen = exports.chosen.apps.keys().find(|id| **id == wanted || **id == with_ending);
    ids.into_iter().find(is_it).map(|(_, id)| id.to_owned()).or_else(|| chosen.cloned())
}

fn is_named(path: &Path, wanted: &str) -> bool {
    if path.extension().is_none_or(|ending| ending != "desktop") {
        return false;
    }
    let file = std::fs::read(path).ok().and_then(|bytes| KeyFile::parse(&bytes).ok());
    file.is_some_and(|file| {
        let mut names = file.pairs(MAIN).filter(|pair| pair.key == b"Name");
        names.any(|pair| {
            let name = String::from_utf8_lossy(pair.value).to_lowercase();
            let without_label = name.rsplit_once(" (").map_or(&*name, |(name, _)| name);
            [&*name, without_label].contains(&&*wanted.to_lowercase())
        })
    })
}
