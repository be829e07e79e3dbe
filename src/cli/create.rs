//! `incusbox create`.

use std::path::Path;
use std::process::ExitCode;

use clap::{Arg, ArgAction, ArgMatches, Command};
use serde_json::{Value, json};

use super::adopt::keep_isolated;
use super::lifecycle::catch;
use super::progress::Shown;
use super::restore::restore;
use super::{calling, connect, flag, json_flag, print_json, the_instance};
use crate::agent::protocol::setup::SetupResult;
use crate::boxes::create::{Creation, Init, Origin, Progress};
use crate::boxes::error::Error;
use crate::boxes::images::file::{ImageFile, Init as FileInit, Progress as FileProgress, sweep};
use crate::boxes::images::{self, Remotes, Source};
use crate::boxes::options::{BoxOption, Kind, OPTIONS, Values};
use crate::boxes::settings::Settings;
use crate::config::Config;
use crate::incus::Client;
use crate::incus::images::Novelty;
use crate::incus::objects::FullInstance;
use crate::message;
use crate::names::BoxName;

pub fn define(command: Command) -> Command {
    let command = command
        .about("Make a box")
        .long_about("Make a box and start it. Options may also stand in incusbox.toml, for all new boxes or for one of a certain name.")
        .arg(Arg::new("name").value_name("NAME").required(true).help("The box's name"));
    define_options(command, |_| true)
        .arg(
            Arg::new("clone")
                .long("clone")
                .value_name("BOX")
                .conflicts_with("image")
                .help("Copy this box instead of an image"),
        )
        .arg(
            Arg::new("image-file")
                .long("image-file")
                .value_name("FILE")
                .conflicts_with_all(["image", "clone"])
                .help("Make it from a file: a root directory, an image or backup of Incus's, or what `docker save` wrote. A backup comes back as it was, with the limits that the command line gives"),
        )
        .arg(flag("dry-run", "Only write the request to Incus that would be made"))
        .arg(flag("verbose", "Say every step, and what programs in the box write").short('v'))
        .arg(json_flag())
}

/// The options of the table that `is_one` says yes to.
pub fn define_options(command: Command, is_one: fn(&BoxOption) -> bool) -> Command {
    let mut command = command;
    for option in OPTIONS.iter().filter(|option| is_one(option)) {
        let argument = Arg::new(option.name).long(option.name).value_name(option.value);
        let help = match option.default {
            Some(default) => format!("{} [default: {default}]", option.help),
            None => option.help.to_owned(),
        };
        let argument = argument.help(help);
        command = match option.kind {
            Kind::Text => command.arg(argument),
            Kind::List => command.arg(argument.action(ArgAction::Append)),
            Kind::Switch => command
                .arg(argument.num_args(0..=1).require_equals(true).default_missing_value("on")),
        };
        if let (Kind::Switch, Some(name)) = (option.kind, no_name(option.name)) {
            let off = Arg::new(name).long(name).action(ArgAction::SetTrue);
            command = command.arg(
                off.overrides_with(option.name).help(format!("The same as --{}=off", option.name)),
            );
        }
    }
    command
}

/// `no-NAME` for a switch.
fn no_name(name: &str) -> Option<&'static str> {
    const ALL: &[&str] = &[
        "no-isolated",
        "no-sudo",
        "no-nesting",
        "no-display",
        "no-audio",
        "no-bus",
        "no-ssh-agent",
        "no-gpu",
        "no-themes",
    ];
    ALL.iter().copied().find(|no| &no[3..] == name)
}

pub fn run(matches: &ArgMatches) -> Result<ExitCode, Error> {
    let name = BoxName::new(matches.get_one::<String>("name").cloned().unwrap_or_default())?;
    let config = Config::load()?;
    let mut values = given(matches, |_| true);
    let mut client = connect(matches)?;
    let copied = match matches.get_one::<String>("clone") {
        Some(other) => Some(the_instance(&mut client, &BoxName::new(other)?)?),
        None => None,
    };
    if let Some(copied) = &copied {
        keep_isolated(&mut values, copied);
    }
    values.underlay(&config.values_for(name.as_str()));
    make(matches, &mut client, &name, &values, copied).map(|()| ExitCode::SUCCESS)
}

/// The image of the default box.
pub fn default_image(config: &Config, name: &BoxName) -> String {
    let values = config.values_for(name.as_str());
    values.one("image").map_or_else(host_image, str::to_owned)
}

/// Makes the default box.
pub fn make_default(matches: &ArgMatches, config: &Config, name: &BoxName) -> Result<(), Error> {
    make(matches, &mut connect(matches)?, name, &config.values_for(name.as_str()), None)
}

/// The image that matches the host.
fn host_image() -> String {
    let read = |path: &str| std::fs::read_to_string(path).ok();
    let told = read("/etc/os-release").or_else(|| read("/usr/lib/os-release")).unwrap_or_default();
    images::names::for_host(&told).map_or_else(|| "debian".to_owned(), |name| name.to_string())
}

/// What the command line says of the options that `is_one` says yes to.
pub fn given(matches: &ArgMatches, is_one: fn(&BoxOption) -> bool) -> Values {
    let mut values = Values::default();
    for option in OPTIONS.iter().filter(|option| is_one(option)) {
        let off = no_name(option.name).is_some_and(|no| matches.get_flag(no));
        if off {
            values.set(option, vec!["off".to_owned()]);
        } else if let Some(all) = matches.get_many::<String>(option.name) {
            values.set(option, all.cloned().collect());
        }
    }
    values
}

/// Whether a flag is given; false where the subcommand has none of this name.
pub fn has(matches: &ArgMatches, name: &str) -> bool {
    matches.try_get_one::<bool>(name).ok().flatten().copied().unwrap_or(false)
}

fn make(
    matches: &ArgMatches,
    client: &mut Client,
    name: &BoxName,
    values: &Values,
    copied: Option<FullInstance>,
) -> Result<(), Error> {
    let settings = Settings::new(values)?;
    let user = calling()?;
    let mut signals = catch()?;
    let mut shown = Shown::new(has(matches, "verbose"));
    let mut opened = None;
    if let Some(path) = matches.try_get_one::<String>("image-file").ok().flatten() {
        // Reading a file may take long, and Incus 6.0 answers nobody as long as there is a connection
        // on which nothing was asked.
        client.server()?;
        let file = ImageFile::open(Path::new(path)).map_err(images::Error::from)?;
        if file.backup().is_some() {
            let told =
                restore(matches, client, &mut signals, &mut shown, name, (&file, user.as_ref()))?;
            return ready(matches, name, &told, &mut shown);
        }
        opened = Some((file, path.as_str()));
    }
    let is_dry = has(matches, "dry-run");
    let Chosen { origin, temporary } = match opened {
        Some((file, path)) if is_dry => looked_at(&file, client, path)?,
        Some((file, path)) => import(&file, client, path, &mut shown)?,
        None => choose(client, &settings, copied)?,
    };
    let mut creation = Creation {
        client,
        signals: &mut signals,
        progress: &mut shown,
        name,
        settings: &settings,
        user: user.as_ref(),
        origin,
    };
    if is_dry {
        return print_json(&creation.request()?);
    }
    let result = creation.run();
    forget(client, temporary);
    ready(matches, name, &result?, &mut shown)
}

fn ready(
    matches: &ArgMatches,
    name: &BoxName,
    result: &SetupResult,
    shown: &mut Shown,
) -> Result<(), Error> {
    shown.clear();
    if has(matches, "json") {
        return print_json(&told(name, result));
    }
    message::say(super::PROGRAM, format!("the box `{name}` is ready: incusbox enter {name}"));
    Ok(())
}

/// Deletes an image that was brought in for this box alone; the box does not need it any more.
fn forget(client: &mut Client, image: Option<String>) {
    if let Some(Err(error)) = image.map(|fingerprint| client.delete_image(&fingerprint)) {
        message::say(super::PROGRAM, format!("warning: the image could not be deleted: {error}"));
    }
}

fn told(name: &BoxName, result: &SetupResult) -> Value {
    json!({
        "name": name.as_str(),
        "state": "ready",
        "distribution": result.distribution,
        "shell": result.shell,
        "init": result.init,
    })
}

/// What the box is made from, and the image that goes again when it is made.
struct Chosen {
    origin: Origin,
    temporary: Option<String>,
}

fn choose(
    client: &mut Client,
    settings: &Settings,
    copied: Option<FullInstance>,
) -> Result<Chosen, Error> {
    if let Some(other) = copied {
        let source = json!({ "type": "copy", "source": other.name });
        let name = format!("a copy of {}", other.name);
        let origin = Origin { source, name, init: Init::Own, copied: Some(other) };
        return Ok(Chosen { origin, temporary: None });
    }
    let image = settings.image.clone().unwrap_or_else(host_image);
    let found = images::find(client, &Remotes::load()?, &image)?;
    let origin =
        Origin { source: value(&found.source)?, name: image, init: Init::Own, copied: None };
    Ok(Chosen { origin, temporary: None })
}

/// What a file would be brought to Incus as: which image that is, is known when it is there.
fn looked_at(file: &ImageFile, client: &mut Client, path: &str) -> Result<Chosen, Error> {
    let init = file.init(client).map_err(images::Error::from)?;
    Ok(Chosen { origin: of_file(path, "FINGERPRINT", init)?, temporary: None })
}

fn of_file(path: &str, fingerprint: &str, init: FileInit) -> Result<Origin, Error> {
    let name = Path::new(path).file_name().unwrap_or_default().to_string_lossy().into_owned();
    let init = match init {
        FileInit::Present => Init::Own,
        FileInit::Missing => Init::Agents,
        FileInit::Unknown => Init::Unknown,
    };
    Ok(Origin { source: value(&Source::here(fingerprint))?, name, init, copied: None })
}

/// Brings a file to Incus as an image.
fn import(
    file: &ImageFile,
    client: &mut Client,
    path: &str,
    shown: &mut Shown,
) -> Result<Chosen, Error> {
    // What others left is not worth failing for.
    let _the_next_one_tries_again = sweep(client);
    shown.step(&format!("reading {path}"));
    let mut tell = |progress: FileProgress| match progress {
        FileProgress::Layers(read, all) => shown.detail(&format!("layer {read} of {all}")),
        FileProgress::Sent(sent, Some(all)) if all > 0 => {
            shown.detail(&format!("{}% sent", sent * 100 / all));
        }
        FileProgress::Sent(sent, _) => shown.detail(&format!("{} MB sent", sent / 1_000_000)),
    };
    let imported = file.import(client, &mut tell).map_err(images::Error::from)?;
    let origin = of_file(path, &imported.fingerprint, imported.init)?;
    let temporary = (imported.novelty == Novelty::New).then_some(imported.fingerprint);
    Ok(Chosen { origin, temporary })
}

fn value(source: &Source) -> Result<Value, Error> {
    serde_json::to_value(source)
        .map_err(|error| Error::Host { doing: "writing a request", source: error.into() })
}
