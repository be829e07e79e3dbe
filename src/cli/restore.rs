//! `incusbox create --image-file` with a backup: an instance comes back as it was, and becomes a box.
//!
//! Nothing can be sent with a backup that would stand in the instance from the beginning (Incus 6.0).
//! So it gets a name that tells whose it is, and its own one only with the mark of a box in the
//! making: whatever ends this in between, the next one knows what was left, and that it may go.

use clap::ArgMatches;
use serde_json::json;

use super::adopt::{adopt_one, keep_chosen, keep_isolated};
use super::create::{given, has};
use super::progress::Shown;
use crate::agent::protocol::setup::SetupResult;
use crate::boxes::change::apply;
use crate::boxes::create::Progress;
use crate::boxes::disks;
use crate::boxes::error::Error;
use crate::boxes::half_made;
use crate::boxes::host::HostUser;
use crate::boxes::images;
use crate::boxes::images::file::{Fault, ImageFile, Progress as FileProgress};
use crate::boxes::lock::Lock;
use crate::boxes::maker::Maker;
use crate::boxes::network;
use crate::boxes::options::Values;
use crate::boxes::settings::{Network, Settings};
use crate::config::Config;
use crate::incus::Client;
use crate::incus::objects::FullInstance;
use crate::names::BoxName;
use crate::sys::signals::Signals;

/// The options of a living instance that are set before it is started.
const LIMITS: &[&str] = &["cpus", "memory", "processes", "disk"];
/// The options of a new box that one which comes back has decided.
const DECIDED: &[&str] = &["display", "audio", "bus", "ssh-agent", "gpu", "themes"];

/// Makes a box of an instance that was exported.
pub fn restore(
    matches: &ArgMatches,
    client: &mut Client,
    signals: &mut Signals,
    shown: &mut Shown,
    name: &BoxName,
    (file, user): (&ImageFile, Option<&HostUser>),
) -> Result<SetupResult, Error> {
    let values = given(matches, |_| true);
    let all = Config::load()?.values_for(name.as_str());
    let is_box = file.backup().is_some_and(|backup| backup.is_box());
    may_be_restored(&values, is_box, has(matches, "dry-run"))?;
    let lock = Lock::take(client.project(), name.as_str());
    let lock = lock.map_err(|source| Error::Host { doing: "making a lock file", source })?;
    let Some(_lock) = lock else {
        return Err(Error::BeingMade { name: name.to_string(), is_known: true });
    };
    let maker = Maker::this();
    let mine = half_made::state(&maker);
    half_made::sweep_restored(client)?;
    make_room(client, name, &mine)?;
    // It may be from another machine.
    if file.backup().is_some_and(|backup| backup.networks().any(|one| one == network::BRIDGE)) {
        network::ensure_isolated(client)?;
    }
    shown.step("restoring the backup");
    let first_name = half_made::name_of_restored(&maker);
    let restored = unpack(client, signals, shown, file, &first_name)
        .and_then(|()| give_name(client, signals, &first_name, name, &mine));
    let finished =
        restored.and_then(|()| finish(client, signals, shown, (name, &values, &all), user));
    if finished.is_err() {
        shown.step("removing what was made");
        for (name, is_gone) in [
            (first_name.as_str(), half_made::clear_restored(client, &first_name)),
            (name.as_str(), half_made::clear(client, name.as_str(), &mine)),
        ] {
            tell_if_left(shown, is_gone, name);
        }
    }
    finished
}

/// What was asked for that cannot be done with a backup.
fn may_be_restored(values: &Values, is_box: bool, is_dry: bool) -> Result<(), Error> {
    let wanted = Settings::new(values)?;
    if wanted.isolated || wanted.network != Network::Shared {
        return Err(Error::Usage(
            "a backup comes back as it was, with all that it was shown\nleave out --isolated and --network, or make a box from an image".to_owned(),
        ));
    }
    if is_dry {
        return Err(Error::Usage(
            "a backup is sent to Incus as it is, so there is no request to write\nleave out --dry-run"
                .to_owned(),
        ));
    }
    if values.given("intercept").is_some() {
        return Err(Error::Usage(
            "a backup comes back as it was, and so do the system calls that Incus intercepts\nleave out --intercept, or set Incus's own keys: --set security.syscalls.intercept.mknod=true".to_owned(),
        ));
    }
    match DECIDED.iter().find(|option| is_box && values.given(option).is_some()) {
        Some(option) => Err(Error::Usage(format!(
            "the backup is one of a box, which comes back with what it was shown\nleave out --{option}, and change it afterwards: incusbox set BOX {option}=off"
        ))),
        None => Ok(()),
    }
}

/// Removes what a maker that is dead left under that name.
fn make_room(client: &mut Client, name: &BoxName, mine: &str) -> Result<(), Error> {
    match client.full_instance(name.as_str()) {
        Ok(there) => {
            half_made::take_over(client, &there, mine)?;
            half_made::clear(client, name.as_str(), mine);
            Ok(())
        }
        Err(error) if error.code() == Some(404) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Sends the backup and waits until it is an instance.
fn unpack(
    client: &mut Client,
    signals: &mut Signals,
    shown: &mut Shown,
    file: &ImageFile,
    name: &str,
) -> Result<(), Error> {
    let mut tell = |progress: FileProgress| {
        if let FileProgress::Sent(sent, Some(all)) = progress {
            shown.detail(&format!("{}% sent", sent * 100 / all.max(1)));
        }
    };
    file.restore(client, signals, (name, None), &mut tell).map_err(|error| match error.fault {
        Fault::Signal(signal) => Error::Signal(signal),
        _ => images::Error::from(error).into(),
    })
}

/// Marks the instance as a box in the making and gives it its name.
fn give_name(
    client: &mut Client,
    signals: &mut Signals,
    first: &str,
    name: &BoxName,
    mine: &str,
) -> Result<(), Error> {
    client.patch_instance(first, &json!({ "config": { half_made::STATE: mine } }))?;
    let named = client.rename_instance(first, name.as_str()).map_err(Error::from);
    let named = named
        .and_then(|operation| Ok(client.watch("naming the box", &operation, signals, None)?));
    match (named, client.full_instance(name.as_str())) {
        (Err(Error::Incus(_)), Ok(there)) if there.fact("state") != Some(mine) => {
            Err(Error::Exists { name: name.to_string(), is_box: there.is_box() })
        }
        (named, _) => named,
    }
}

/// Makes it a box, with what was asked for.
fn finish(
    client: &mut Client,
    signals: &mut Signals,
    shown: &mut Shown,
    (name, given, all): (&BoxName, &Values, &Values),
    user: Option<&HostUser>,
) -> Result<SetupResult, Error> {
    let mut there = client.full_instance(name.as_str())?;
    let mut values = given.clone();
    keep_isolated(&mut values, &there);
    keep_chosen(&mut values, &there, user);
    values.underlay(all);
    let settings = Settings::new(&values)?;
    if let (Some(user), true) = (user, given.one("home").is_some()) {
        disks::refuse_other_home(&there, user, &settings.home)?;
    }
    limit(&mut there, given)?;
    adopt_one(client, signals, shown, there, &settings, user)
}

/// Sets what the command line says of limits and of Incus's keys. What `incusbox.toml` says of them
/// is for new boxes.
fn limit(there: &mut FullInstance, given: &Values) -> Result<(), Error> {
    for option in LIMITS {
        if let Some(value) = given.given(option) {
            apply(there, option, value)?;
        }
    }
    for (key, value) in Settings::new(given)?.incus {
        apply(there, &key, &value)?;
    }
    Ok(())
}

fn tell_if_left(shown: &mut Shown, is_gone: bool, name: &str) {
    if !is_gone {
        shown.warning(&format!(
            "what was restored could not be removed\nremove it: incus delete --force {name}"
        ));
    }
}
