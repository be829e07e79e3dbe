//! `incusbox set`.

use std::process::ExitCode;

use clap::{Arg, ArgAction, ArgMatches, Command};

use super::lifecycle::catch;
use super::progress::Shown;
use super::{box_argument, box_name, calling, connect, the_box};
use crate::agent::protocol::desktop::{CONFIGURATION, ON, Switch};
use crate::boxes::change::{apply, whole};
use crate::boxes::desktop;
use crate::boxes::error::Error;
use crate::boxes::gpu;
use crate::boxes::host;
use crate::boxes::nesting::Allowed;
use crate::boxes::nvidia;
use crate::boxes::options::{OPTIONS, When};
use crate::boxes::request::Mapping;
use crate::boxes::settings::on_or_off;
use crate::boxes::setup;
use crate::incus::Client;
use crate::incus::objects::{Devices, FullInstance};
use crate::names::BoxName;
use crate::session;

pub fn define(command: Command) -> Command {
    let living =
        OPTIONS.iter().filter(|option| option.when == When::Always && option.name != "set");
    let mut table = "Options:\n".to_owned();
    for option in living {
        table.push_str(&format!("  {:12}{}\n", option.name, option.help));
    }
    table.push_str("  KEY         Configuration of Incus's own, such as boot.autostart\n\nNothing behind the `=` takes a setting away, and puts a switch as in a new box.");
    command.about("Change options of a box").after_help(table).arg(box_argument()).arg(
        Arg::new("changes")
            .value_name("OPTION=VALUE")
            .required(true)
            .action(ArgAction::Append)
            .num_args(1..)
            .help("What to change"),
    )
}

pub fn run(matches: &ArgMatches) -> Result<ExitCode, Error> {
    let name = box_name(matches)?;
    let mut client = connect(matches)?;
    let mut there = the_box(&mut client, &name)?;
    let mut turned = Vec::new();
    let had_libraries = nvidia::is_shown(&there);
    for change in matches.get_many::<String>("changes").unwrap_or_default() {
        let (option, value) = change.split_once('=').ok_or_else(|| {
            Error::Usage(format!(
                "`{change}` is no change\nwrite OPTION=VALUE: incusbox set {name} memory=4GiB"
            ))
        })?;
        match Switch::ALL.into_iter().find(|switch| switch.name() == option) {
            Some(Switch::Gpu) => turned.push(turn_gpu(&mut client, &mut there, value)?),
            Some(switch) => turned.push(turn(&mut there, switch, value, Allowed::of(&client))?),
            None => apply(&mut there, option, value)?,
        }
    }
    let mut signals = catch()?;
    let operation = client.put_instance(name.as_str(), &whole(&there))?;
    client.watch("changing the box", &operation, &mut signals, None)?;
    // The agent looks at files, which it can without asking anybody. The directory says that
    // somebody decided, and a box of an earlier version has none.
    if !turned.is_empty() {
        client.make_directory(name.as_str(), CONFIGURATION)?;
        client.make_directory(name.as_str(), ON)?;
    }
    for (switch, is_on) in &turned {
        let path = format!("{ON}/{}", switch.name());
        if *is_on {
            client.push_file(name.as_str(), &path, b"")?;
        } else if client.file_exists(name.as_str(), &path)? {
            client.remove_file(name.as_str(), &path)?;
        }
        if (*switch, *is_on) == (Switch::Themes, false) {
            remove_places(&mut client, &name);
        }
    }
    // A box that starts looks by itself.
    let is_concerned = had_libraries || nvidia::is_shown(&there);
    let has_turned = turned.iter().any(|(switch, _)| *switch == Switch::Gpu);
    if has_turned && is_concerned && there.status == "Running" {
        let mut shown = Shown::new(false);
        setup::link_drivers(&mut client, &mut signals, &mut shown, name.as_str())?;
        shown.clear();
    }
    Ok(ExitCode::SUCCESS)
}

/// Incus (7.0) leaves the place of what it mounted in a living box with mode 0, and fc-cache(1)
/// fails for a directory that is there and cannot be read.
fn remove_places(client: &mut Client, name: &BoxName) {
    for (_, _, inside) in desktop::shares() {
        let _was_not_there = client.remove_file(name.as_str(), &inside);
    }
}

/// What a switch shall be; with nothing behind the `=`, what it is in a new box of this kind.
fn wanted(there: &FullInstance, switch: Switch, value: &str) -> Result<bool, Error> {
    match value {
        "" => Ok(there.fact("isolated").is_none()),
        value => Ok(on_or_off(switch.name(), value)?),
    }
}

/// Turns a switch; on only where that can do anything.
fn turn(
    there: &mut FullInstance,
    switch: Switch,
    value: &str,
    allowed: Allowed,
) -> Result<(Switch, bool), Error> {
    let is_on = wanted(there, switch, value)?;
    let Some(user) = calling()? else {
        return Err(Error::Usage(format!(
            "root has no desktop to show a box, so `{}` cannot be changed\nask as the user whose box it is",
            switch.name()
        )));
    };
    let is_mapped = there.config.get("raw.idmap").is_some_and(|map| host::is_mapped(map, user.uid));
    let mapping = if is_mapped { Mapping::Ids } else { Mapping::None };
    if is_on && allowed == Allowed::Restricted {
        return Err(Error::Usage(format!(
            "`{}` shows the box directories of the host, which Incus does not allow you",
            switch.name()
        )));
    }
    let is_possible = desktop::is_possible(switch, mapping, allowed);
    if is_on && !is_possible && there.fact("isolated").is_some() {
        return Err(Error::Usage(format!(
            "`{}` needs your user id in the box, and `{}` was made isolated, without it\nmake another one: incusbox create --isolated --{} NAME",
            switch.name(),
            there.name,
            switch.name()
        )));
    }
    if is_on && !is_possible {
        return Err(Error::Usage(format!(
            "`{}` needs your user id in the box, and `{}` has it not\nmake that possible for new boxes: incusbox setup",
            switch.name(),
            there.name
        )));
    }
    if is_on && session::SERVED.contains(&switch) {
        session::wake(user.uid);
    }
    desktop::turn(there, switch, is_on, user.uid);
    Ok((switch, is_on))
}

/// The same for the GPU, which the host may not have; then it is only a wish.
fn turn_gpu(
    client: &mut Client,
    there: &mut FullInstance,
    value: &str,
) -> Result<(Switch, bool), Error> {
    let is_on = wanted(there, Switch::Gpu, value)?;
    if is_on {
        let devices = gpu::look(client, &there.name, calling()?.as_ref())?;
        gpu::give(there, devices);
        nvidia::replace(there, nvidia::look("/".as_ref(), Allowed::of(client)));
    } else {
        gpu::take(there);
        nvidia::replace(there, Devices::new());
    }
    desktop::turn(there, Switch::Gpu, is_on, 0);
    Ok((Switch::Gpu, is_on))
}
