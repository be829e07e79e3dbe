//! `incusbox adopt`.

use std::process::ExitCode;

use clap::{ArgMatches, Command};
use serde_json::json;

use super::create::{define_options, given, has};
use super::lifecycle::{SHUTDOWN_SECONDS, catch, change};
use super::progress::Shown;
use super::{ask, box_argument, box_name, calling, connect, flag, the_instance};
use crate::agent::protocol::desktop::Switch;
use crate::agent::protocol::setup::SetupResult;
use crate::boxes::change::{adopt, back, shares_home, whole};
use crate::boxes::create::Progress;
use crate::boxes::desktop;
use crate::boxes::disks;
use crate::boxes::error::{Error, PutBack};
use crate::boxes::gpu;
use crate::boxes::host::HostUser;
use crate::boxes::naming;
use crate::boxes::nesting::{Allowed, ensure_profile};
use crate::boxes::network;
use crate::boxes::nvidia;
use crate::boxes::options::{Values, named};
use crate::boxes::request;
use crate::boxes::settings::{Network, Settings};
use crate::boxes::setup;
use crate::config::Config;
use crate::incus::Client;
use crate::incus::manage::{Action, Force};
use crate::incus::objects::FullInstance;
use crate::message;
use crate::names::BoxName;
use crate::sys::signals::Signals;

/// The options of `create` that make sense for what exists.
const OPTIONS: &[&str] = &[
    "home",
    "volume",
    "package",
    "pre-init-hook",
    "init-hook",
    "hostname",
    "shell",
    "sudo",
    "nesting",
];

pub fn define(command: Command) -> Command {
    let command = command
        .about("Make a box of an instance that exists")
        .long_about("Make a box of an instance of Incus that exists, or give a box that somebody else made an account and home of yours. Adds what is missing and takes nothing away. An instance that runs is restarted if its ids have to be mapped anew. Where something fails, it gets back the configuration, devices and state that it had.")
        .arg(box_argument());
    define_options(command, |option| OPTIONS.contains(&option.name))
        .arg(flag("yes", "Restart it without a question if that is needed").short('y'))
        .arg(flag("verbose", "Say every step, and what programs in the box write").short('v'))
}

pub fn run(matches: &ArgMatches) -> Result<ExitCode, Error> {
    let name = box_name(matches)?;
    let mut values = given(matches, |option| OPTIONS.contains(&option.name));
    let mut client = connect(matches)?;
    let there = the_instance(&mut client, &name)?;
    let user = calling()?;
    let says_home = values.one("home").is_some();
    keep_isolated(&mut values, &there);
    keep_chosen(&mut values, &there, user.as_ref());
    values.underlay(&Config::load()?.values_for(name.as_str()));
    let settings = Settings::new(&values)?;
    let mut signals = catch()?;
    if there.kind != "container" {
        return Err(Error::Usage(format!(
            "`{name}` is a virtual machine; only containers can be boxes"
        )));
    }
    if let (Some(user), true) = (&user, says_home) {
        disks::refuse_other_home(&there, user, &settings.home)?;
    }
    let planned = adopt(there.clone(), user.as_ref(), &settings, Allowed::of(&client))?;
    if planned.restart && !has(matches, "yes") && !may_restart(&name)? {
        return Ok(ExitCode::FAILURE);
    }
    let mut shown = Shown::new(has(matches, "verbose"));
    let before = there.clone();
    adopt_one(&mut client, &mut signals, &mut shown, there, &settings, user.as_ref())
        .map_err(|cause| not_adopted(&mut client, &mut signals, &mut shown, &before, cause))?;
    shown.clear();
    message::say(super::PROGRAM, format!("`{name}` is a box: incusbox enter {name}"));
    Ok(ExitCode::SUCCESS)
}

/// An isolated box stays one unless it is said otherwise.
pub fn keep_isolated(values: &mut Values, there: &FullInstance) {
    let mut own = Values::default();
    if let (Some(_), Some(option)) = (there.fact("isolated"), named("isolated")) {
        own.set(option, vec!["on".to_owned()]);
    }
    values.underlay(&own);
    let network = network::of(there);
    if let (true, Network::None, Some(option)) = (values.is_isolated(), network, named("network")) {
        values.set_default(option, network.to_string());
    }
}

/// Whether the user agrees to a restart.
fn may_restart(name: &BoxName) -> Result<bool, Error> {
    let question = format!("`{name}` has to be restarted for that; programs in it end. Go on?");
    ask::yes(&question, true).ok_or_else(|| {
        Error::Usage(format!(
            "`{name}` has to be restarted, and nobody can be asked\nallow it: incusbox adopt --yes {name}"
        ))
    })
}

/// A box keeps the home and host name that were chosen for it, unless it is said otherwise.
pub fn keep_chosen(values: &mut Values, there: &FullInstance, user: Option<&HostUser>) {
    let is_its_user = user.is_some_and(|user| there.fact("user") == Some(&user.name));
    let home = there.fact("home").filter(|_| is_its_user).map(str::to_owned);
    let mut own = Values::default();
    for (name, value) in [("home", home), ("hostname", naming::chosen(there))] {
        if let (Some(option), Some(value)) = (named(name), value) {
            own.set(option, vec![value]);
        }
    }
    values.underlay(&own);
}

/// Undoes what was begun, and says what has become of it.
fn not_adopted(
    client: &mut Client,
    signals: &mut Signals,
    shown: &mut Shown,
    before: &FullInstance,
    cause: Error,
) -> Error {
    shown.step("putting back what was there");
    let state = give_back(client, signals, before).map_err(Box::new);
    shown.clear();
    let put_back = PutBack { name: before.name.clone(), state };
    match cause {
        // Whoever dies by it says only that.
        Error::Signal(signal) => {
            message::say(super::PROGRAM, put_back);
            Error::Signal(signal)
        }
        cause => Error::NotAdopted { cause: Box::new(cause), put_back },
    }
}

/// Gives an instance the configuration, devices and state that it had; the state. What the agent made
/// in it stays: accounts and files that hinder nobody.
fn give_back(
    client: &mut Client,
    signals: &mut Signals,
    before: &FullInstance,
) -> Result<String, Error> {
    let name = BoxName::new(&before.name)?;
    let now = client.full_instance(name.as_str())?;
    // Ids are mapped when an instance starts.
    let has_other_ids = now.config.get("raw.idmap") != before.config.get("raw.idmap");
    let shall_run = before.status != "Stopped";
    if now.status != "Stopped" && (!shall_run || has_other_ids) {
        change(client, signals, &name, Action::Stop, Force::No(SHUTDOWN_SECONDS))?;
    }
    let put = back(&now, before).map_or(Ok(()), |back| put(client, signals, &back));
    if shall_run {
        change(client, signals, &name, Action::Start, Force::Yes)?;
    }
    put?;
    Ok(client.full_instance(name.as_str())?.status)
}

fn put(client: &mut Client, signals: &mut Signals, instance: &FullInstance) -> Result<(), Error> {
    let operation = client.put_instance(&instance.name, &whole(instance))?;
    Ok(client.watch("changing the box", &operation, signals, None)?)
}

/// Makes a box of an instance, restarting it if that is needed.
pub fn adopt_one(
    client: &mut Client,
    signals: &mut Signals,
    shown: &mut Shown,
    there: FullInstance,
    settings: &Settings,
    user: Option<&HostUser>,
) -> Result<SetupResult, Error> {
    let name = BoxName::new(&there.name)?;
    let was_running = there.status == "Running";
    let allowed = Allowed::of(client);
    let mut adoption = adopt(there, user, settings, allowed)?;
    if let Some(warning) = &adoption.warning {
        shown.warning(warning);
    }
    if settings.nesting {
        ensure_profile(client)?;
    }
    if adoption.restart {
        change(client, signals, &name, Action::Stop, Force::No(SHUTDOWN_SECONDS))?;
    }
    let on = desktop::on(&adoption.instance).unwrap_or_default();
    if on.contains(&Switch::Gpu) {
        nvidia::replace(&mut adoption.instance, nvidia::look("/".as_ref(), allowed));
        // With a device for a GPU that this machine has not, as in a backup, it would not start.
        let is_new_here = !was_running && adoption.instance.devices.contains_key(gpu::DEVICE);
        if is_new_here && !gpu::is_there(client)? {
            gpu::take(&mut adoption.instance);
        }
    }
    put(client, signals, &adoption.instance)?;
    if adoption.restart || !was_running {
        change(client, signals, &name, Action::Start, Force::Yes)?;
    }
    let settings = Settings { home: adoption.home.clone(), ..settings.clone() };
    let request = request::setup(name.as_str(), &settings, user, &on);
    let result = setup::run(client, signals, shown, name.as_str(), &request)?;
    if let (Some(user), true) = (user, shares_home(&settings, adoption.mapping)) {
        setup::check_owners(client, signals, name.as_str(), user, &settings.home)?;
    }
    if on.contains(&Switch::Gpu) {
        gpu::add(client, shown, name.as_str(), user, &adoption.instance.devices);
    }
    let facts = json!({ "config": {
        "user.incusbox.state": "ready",
        "user.incusbox.distribution": result.distribution,
    }});
    client.patch_instance(name.as_str(), &facts)?;
    Ok(result)
}
