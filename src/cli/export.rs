//! `incusbox export`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Arg, ArgAction, ArgGroup, ArgMatches, Command};
use serde_json::json;

use super::lifecycle::{catch, while_running_as};
use super::table::table;
use super::{calling, connect, flag, json_flag, print, print_json, the_box};
use crate::boxes::error::Error;
use crate::export::apply::Look as Closeness;
use crate::export::ground;
use crate::export::kept::Kept;
use crate::export::manifest::{self, Chosen, Exports, Look, Sharing, Shimmed};
use crate::export::sync::{self, Outcome, Whose, host};
use crate::incus::Client;
use crate::incus::instances::PAUSE;
use crate::incus::objects::FullInstance;
use crate::message::{self, printable};
use crate::names::BoxName;
use crate::run::share;
use crate::session::FOR_A_BOX;
use crate::sys::signals::Signals;
use crate::watch;

mod named;
mod told;

pub use named::service_name;
use named::{check_commands, found};
pub use told::{say_troubles, tell, told};
use told::{tell_all, tell_plan};

pub fn define(command: Command) -> Command {
    let many = |name: &'static str, value: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name(value).action(ArgAction::Append).help(help)
    };
    command
        .about("Put programs, commands and services of a box onto the host")
        .long_about("Put programs, commands and services of a box onto the host: launcher entries with their icons into ~/.local/share, shims into ~/.local/bin, and units for services. What was exported before stays as it was chosen, but for what is said anew, and is brought up to date. A box that is stopped is started for it, and stopped again.")
        .after_help("`incusbox apps BOX` lists what a box has; `incusbox unexport` takes it away again.")
        .arg(Arg::new("box").value_name("BOX").required_unless_present_any(["list", "verify"]).help("The box"))
        .arg(many("app", "NAME|ID|PATH", "A program with a launcher entry, by what `incusbox apps` lists"))
        .arg(flag("all-apps", "All programs that menus show, also those of the future"))
        .arg(many("only", "PATTERN", "Of these only those with such an id or name, as 'org.kde.*'").requires("all-apps"))
        .arg(many("except", "PATTERN", "Of these all but those with such an id or name").requires("all-apps"))
        .arg(many("bin", "COMMAND", "A command, by its name or path in the box"))
        .arg(many("service", "SERVICE", "A service of the box's systemd, or of the user's there: a user unit that starts it"))
        .arg(Arg::new("export-path").long("export-path").value_name("DIR").requires("bin").help("Where shims go [default: ~/.local/bin]"))
        .arg(flag("sudo", "Run the commands as root in the box").requires("bin"))
        .arg(Arg::new("label").long("label").value_name("TEXT").requires("programs").help("What stands behind the names in menus; '' for nothing [default: the box's name, if the host has the program too]"))
        .arg(Arg::new("extra-flags").long("extra-flags").value_name("WORDS").requires("programs").allow_hyphen_values(true).help("More arguments for the programs"))
        .arg(flag("share-files", "Show the box what the programs shall open and it does not see, read-only while they run").requires("programs"))
        .arg(flag("no-share-files", "Have such files refused again").requires("programs").conflicts_with("share-files"))
        .group(ArgGroup::new("programs").args(["app", "all-apps"]).multiple(true))
        .arg(flag("list", "List what is exported, of one box or of all").conflicts_with_all(["app", "all-apps", "bin", "service", "verify", "dry-run"]))
        .arg(flag("verify", "Look at every byte of what is exported, of one box or of all of the project, and mend it").conflicts_with_all(["app", "all-apps", "bin", "service"]))
        .arg(flag("dry-run", "Say what would be done, and do nothing"))
        .arg(json_flag())
}

pub fn run(matches: &ArgMatches) -> Result<ExitCode, Error> {
    let name = matches.get_one::<String>("box").map(BoxName::new).transpose()?;
    if matches.get_flag("list") {
        return list(matches, name.as_ref());
    }
    refuse_sudo()?;
    let mut signals = catch()?;
    // Before there is a connection: one on which nothing is asked keeps Incus from answering others.
    let mut kept = take(&mut signals)?;
    let mut client = connect(matches)?;
    let daemon = daemon(&mut client)?;
    let mut there = Vec::new();
    if !matches.get_flag("dry-run") {
        there = sweep(&mut client, &mut kept, &daemon)?.1;
    }
    if !matches.get_flag("dry-run") && !is_for_a_box() {
        kept.manifest.environment = ground::environment();
    }
    let is_one = name.is_some();
    let names = match name {
        Some(name) => vec![name],
        None => known(&client, &kept, &daemon)?,
    };
    let mut outcomes = Vec::new();
    let (is_only, mut has_failed) = (names.len() == 1, false);
    for name in names {
        // While another box was asked, somebody may have taken this one's away.
        if !is_one && !known(&client, &kept, &daemon)?.contains(&name) {
            continue;
        }
        let mut one = || {
            let there = match there.iter().find(|one| one.name == name.as_str() && one.is_box()) {
                Some(there) => there.clone(),
                None => the_box(&mut client, &name)?,
            };
            let whose = Whose::of(client.project_name(), &daemon, &there)?;
            export(matches, &mut client, &mut signals, &mut kept, &whose, &there)
        };
        match one() {
            Ok(one) => outcomes.extend(one.map(|outcome| (name, outcome))),
            Err(error) if is_only || matches!(error, Error::Signal(_)) => return Err(error),
            // The others shall not lack for it.
            Err(error) => {
                message::say(super::PROGRAM, format!("box `{name}`: {error}"));
                has_failed = true;
            }
        }
    }
    if matches.get_flag("dry-run") {
        return Ok(ExitCode::SUCCESS);
    }
    // What a run before this one did not come to, of boxes that are not spoken of.
    say_troubles(&sync::finish(&mut kept)?);
    let is_followed = watch::wake().map_err(host("looking whether boxes are followed"))?;
    let is_new = |(_, outcome): &(BoxName, Outcome)| !outcome.done.written.is_empty();
    if !is_followed && outcomes.iter().any(is_new) {
        message::say(
            super::PROGRAM,
            "what changes in the box is not followed, for the user unit incusbox-watch cannot be started here\nfollow it as long as you are logged in: incusbox watch &\nor after changes: incusbox export BOX",
        );
    }
    let status = tell_all(matches, &outcomes)?;
    told(&mut kept)?;
    Ok(if has_failed { ExitCode::FAILURE } else { status })
}

/// Whether a service runs this for a program in a box, with an environment of its own.
fn is_for_a_box() -> bool {
    std::env::var_os(FOR_A_BOX).is_some()
}

/// Takes the list, once nobody else has it.
pub fn take(signals: &mut Signals) -> Result<Kept, Error> {
    let mut tries = 0;
    loop {
        if let Some(kept) = Kept::take().map_err(host("reading the list of what is exported"))? {
            return Ok(kept);
        }
        // What it does is mostly done in a moment.
        if tries == 3 {
            message::say(super::PROGRAM, "another incusbox is exporting; waiting for it");
        }
        if let Some(signal) = signals.take().map_err(host("catching signals"))? {
            return Err(Error::Signal(signal));
        }
        std::thread::sleep(PAUSE);
        tries += 1;
    }
}

/// What tells the daemon from others.
pub fn daemon(client: &mut Client) -> Result<String, Error> {
    Ok(client.server()?.environment.certificate_fingerprint)
}

/// The names of the boxes that have something on the host.
fn known(client: &Client, kept: &Kept, daemon: &str) -> Result<Vec<BoxName>, Error> {
    let project = client.project_name();
    let is_here = |one: &&Exports| one.daemon == daemon && one.project == project;
    let here = kept.manifest.boxes.iter().filter(is_here);
    Ok(here.map(|one| BoxName::new(&one.name)).collect::<Result<_, _>>()?)
}

/// Root's files in a user's home would be in that user's way.
pub fn refuse_sudo() -> Result<(), Error> {
    match std::env::var_os("SUDO_UID") {
        Some(_) if calling()?.is_some() && crate::sys::process::own_ids().0 == 0 => {
            Err(Error::Usage(
                "launcher entries and shims are a user's own\nrun it without sudo".to_owned(),
            ))
        }
        _ => Ok(()),
    }
}

/// Takes away what is there of boxes that are gone, and says so. Returns their names, and all that
/// there is.
pub fn sweep(
    client: &mut Client,
    kept: &mut Kept,
    daemon: &str,
) -> Result<(Vec<String>, Vec<FullInstance>), Error> {
    let all = client.instances()?;
    let live = all.iter().map(|one| (one.uuid().to_owned(), one.name.clone())).collect();
    let project = client.project_name().to_owned();
    let mut names = Vec::new();
    for (name, outcome) in sync::sweep(kept, daemon, &project, &live)? {
        let text = format!("the box `{name}` is gone: what it had on the host is taken away");
        message::say(super::PROGRAM, text);
        say_troubles(&outcome);
        told(kept)?;
        names.push(name);
    }
    // Files that were shown to a box for a run whose end nobody saw.
    for one in all.iter().filter(|one| one.devices.keys().any(|device| share::is_left(device))) {
        let _is_tried_again = share::sweep(client, &one.name);
    }
    Ok((names, all))
}

/// Exports of one box. `None` for a dry run, which told already.
fn export(
    matches: &ArgMatches,
    client: &mut Client,
    signals: &mut Signals,
    kept: &mut Kept,
    whose: &Whose,
    there: &FullInstance,
) -> Result<Option<Outcome>, Error> {
    let name = &whose.name;
    let look = if matches.get_flag("verify") { Closeness::Close } else { Closeness::Quick };
    while_running_as(client, signals, name, there, |client, signals| {
        let (before, offers, plan) = loop {
            let before = whose.exports(kept).chosen.commands.clone();
            let chosen = choose(matches, client, signals, kept, whose)?;
            if kept.was_overtaken() {
                continue;
            }
            whose.exports(kept).chosen = chosen;
            let (offers, plan) = sync::plan(client, signals, kept, whose, look)?;
            if !kept.was_overtaken() {
                break (before, offers, plan);
            }
        };
        check_commands(matches, &offers, name)?;
        if matches.get_flag("dry-run") {
            tell_plan(matches, kept, whose, &plan)?;
            return Ok(None);
        }
        let outcome = sync::bring_about(kept, &whose.uuid, plan, look)?;
        // A shim that cannot be there is not tried again and again.
        let done = &outcome.done;
        let taken = done.foreign.iter().chain(done.of_others.iter().map(|(path, _)| path));
        let chosen = &mut whose.exports(kept).chosen;
        for path in taken.filter(|path| !before.contains_key(*path)) {
            chosen.commands.remove(path);
        }
        kept.save().map_err(host("writing the list of what is exported"))?;
        Ok(Some(outcome))
    })
}

/// Takes the list, if the box has something on the host.
pub fn take_of(signals: &mut Signals, uuid: &str) -> Result<Option<Kept>, Error> {
    let manifest = manifest::look().map_err(host("reading the list of what is exported"))?;
    let is_listed = manifest.boxes.iter().any(|one| one.uuid == uuid);
    is_listed.then(|| take(signals)).transpose()
}

/// Brings what a box has on the host up to date, for a box that is called otherwise now.
pub fn renew(
    client: &mut Client,
    signals: &mut Signals,
    mut kept: Kept,
    name: &BoxName,
) -> Result<(), Error> {
    let daemon = daemon(client)?;
    let there = the_box(client, name)?;
    let whose = Whose::of(client.project_name(), &daemon, &there)?;
    while_running_as(client, signals, name, &there, |client, signals| {
        let plan = loop {
            let (_, plan) = sync::plan(client, signals, &mut kept, &whose, Closeness::Quick)?;
            if !kept.was_overtaken() {
                break plan;
            }
        };
        say_troubles(&sync::bring_about(&mut kept, &whose.uuid, plan, Closeness::Quick)?);
        kept.save().map_err(host("writing the list of what is exported"))?;
        told(&mut kept)
    })
}

/// What is chosen, with what the command line adds.
fn choose(
    matches: &ArgMatches,
    client: &mut Client,
    signals: &mut Signals,
    kept: &mut Kept,
    whose: &Whose,
) -> Result<Chosen, Error> {
    let mut exports = whose.exports(kept).clone();
    let look = look(matches)?;
    let all = exports.chosen.all.clone();
    let wanted: Vec<&String> = matches.get_many("app").unwrap_or_default().collect();
    if !wanted.is_empty() {
        let question = whose.question(&Exports::default(), Closeness::Quick);
        let offers = sync::ask(client, signals, kept, whose, &question)?;
        for wanted in wanted {
            let id = found(wanted, &offers, &whose.name)?.id.as_str().to_owned();
            exports.chosen.except.remove(&id);
            let before = exports.chosen.apps.get(&id).or(all.as_ref());
            let now = look(before.cloned().unwrap_or_default());
            exports.chosen.apps.insert(id, now);
        }
    }
    if matches.get_flag("all-apps") {
        let patterns =
            |name: &str| matches.get_many::<String>(name).unwrap_or_default().cloned().collect();
        (exports.chosen.only, exports.chosen.except) = (patterns("only"), patterns("except"));
        exports.chosen.all = Some(look(all.unwrap_or_default()));
    }
    let directory = shims_directory(matches)?;
    for command in matches.get_many::<String>("bin").unwrap_or_default() {
        let file = Path::new(command).file_name().filter(|file| !file.is_empty());
        let file = file.ok_or_else(|| Error::Usage(format!("`{command}` is no command")))?;
        let shimmed = Shimmed { command: command.clone(), sudo: matches.get_flag("sudo") };
        exports.chosen.commands.insert(directory.join(file), shimmed);
    }
    for service in matches.get_many::<String>("service").unwrap_or_default() {
        exports.chosen.services.insert(service_name(service)?);
    }
    let has_nothing = exports.chosen == Chosen::default() && exports.files.is_empty();
    if has_nothing && !matches.get_flag("verify") {
        let name = &whose.name;
        return Err(Error::Usage(format!(
            "nothing of `{name}` is exported, and nothing was named\nsee what it has: incusbox apps {name}\nexport it: incusbox export {name} --app NAME, --all-apps, --bin COMMAND or --service SERVICE"
        )));
    }
    Ok(exports.chosen)
}

/// What becomes of how a program was exported before: what is not said stays.
fn look(matches: &ArgMatches) -> Result<impl Fn(Look) -> Look, Error> {
    let text = |name: &str| matches.get_one::<String>(name).cloned();
    let label = text("label");
    if label.as_ref().is_some_and(|label| printable(label) != *label || label.chars().count() > 60)
    {
        return Err(Error::Usage(
            "the label has characters that no name should have, or is longer than 60".to_owned(),
        ));
    }
    let flags = text("extra-flags").map(|flags| shell_words::split(&flags)).transpose();
    let flags =
        flags.map_err(|_| Error::Usage("a quote in --extra-flags is not closed".to_owned()))?;
    if flags.iter().flatten().any(|word| word.chars().any(char::is_control)) {
        return Err(Error::Usage("--extra-flags has control characters".to_owned()));
    }
    let sharing = [("share-files", Sharing::PerRun), ("no-share-files", Sharing::No)];
    let files =
        sharing.into_iter().find(|(name, _)| matches.get_flag(name)).map(|(_, files)| files);
    Ok(move |before: Look| Look {
        label: label.clone().or(before.label),
        flags: flags.clone().unwrap_or(before.flags),
        files: files.unwrap_or(before.files),
    })
}

/// Where shims go.
fn shims_directory(matches: &ArgMatches) -> Result<PathBuf, Error> {
    if let Some(named) = matches.get_one::<String>("export-path") {
        return std::path::absolute(named).map_err(host("looking at --export-path"));
    }
    let home = xdg::BaseDirectories::new().get_data_home();
    let home = home.and_then(|_| std::env::home_dir());
    let home = home.ok_or_else(|| Error::Usage("the variable HOME is not set".to_owned()))?;
    Ok(home.join(".local/bin"))
}

fn list(matches: &ArgMatches, name: Option<&BoxName>) -> Result<ExitCode, Error> {
    let manifest = manifest::look().map_err(host("reading the list of what is exported"))?;
    let boxes =
        manifest.boxes.iter().filter(|one| name.is_none_or(|name| name.as_str() == one.name));
    let mut rows = Vec::new();
    // Lists of defaults are of no box.
    for one in boxes.filter(|one| !one.name.is_empty()) {
        for (path, record) in &one.files {
            // Icons come with what uses them.
            if record.source.is_some() {
                continue;
            }
            for user in &record.users {
                let (kind, what) = one.named(user);
                rows.push(
                    [one.name.as_str(), kind, what, &path.to_string_lossy()]
                        .map(printable)
                        .to_vec(),
                );
            }
        }
    }
    if matches.get_flag("json") {
        let all = rows
            .iter()
            .map(|row| json!({ "box": row[0], "kind": row[1], "what": row[2], "path": row[3] }));
        print_json(&all.collect())?;
    } else {
        print(&table(&["BOX", "KIND", "WHAT", "FILE"], &rows))?;
    }
    Ok(ExitCode::SUCCESS)
}
