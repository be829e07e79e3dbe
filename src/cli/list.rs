//! `incusbox list`.
//!
//! What boxes have on the host is in the host's own list; the daemon is asked nothing more for it.

use std::collections::HashMap;
use std::process::ExitCode;

use clap::{ArgMatches, Command};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::table::table;
use super::{PROGRAM, connect, flag, json_flag, print, print_json};
use crate::boxes::create::is_half_made;
use crate::boxes::error::Error;
use crate::export::manifest::{self, Manifest};
use crate::incus::objects::FullInstance;
use crate::message::{self, printable};

pub fn define(command: Command) -> Command {
    command
        .about("List boxes")
        .long_about("List boxes: name, state, image, for how long it has been running, how many programs, commands and services of it are exported to this host (for --json their names), and addresses.")
        .visible_alias("ls")
        .arg(flag("all", "List every instance of the project, boxes or not").short('a'))
        .arg(flag("quiet", "Write names only").short('q'))
        .arg(json_flag().conflicts_with("quiet"))
}

pub fn run(matches: &ArgMatches) -> Result<ExitCode, Error> {
    let mut client = connect(matches)?;
    let all = matches.get_flag("all");
    if matches.get_flag("quiet") && all {
        let names = client.instance_names()?;
        return print(&lines(names.iter().map(String::as_str))).map(|()| ExitCode::SUCCESS);
    }
    let mut found = client.instances()?;
    found.retain(|instance| all || instance.is_box());
    if !matches.get_flag("quiet") {
        client.add_states(&mut found);
    }
    found.sort_by(|one, other| one.name.cmp(&other.name));
    if matches.get_flag("json") {
        let exported = Exported::read();
        print_json(&found.iter().map(|one| described(one, &exported)).collect())?;
    } else if matches.get_flag("quiet") {
        print(&lines(found.iter().map(|instance| instance.name.as_str())))?;
    } else {
        let exported = Exported::read();
        let rows: Vec<_> = found.iter().map(|one| row(one, &exported)).collect();
        print(&table(&HEADING, &rows))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Addresses come last: there may be many, and where they wrap the rest stays in its columns.
const HEADING: [&str; 6] = ["NAME", "STATE", "IMAGE", "UP", "EXPORTS", "ADDRESSES"];

/// What boxes have on the host, by Incus's ids of them.
pub struct Exported(Option<HashMap<String, Vec<(String, String)>>>);

impl Exported {
    /// Reads the host's list. One that cannot be read is told and hides no box.
    pub fn read() -> Exported {
        match manifest::look() {
            Ok(manifest) => Exported(Some(by_id(&manifest))),
            Err(source) => {
                let doing = "reading the list of what is exported";
                message::say(PROGRAM, format!("warning: {}", Error::Host { doing, source }));
                Exported(None)
            }
        }
    }

    /// Kind and name of each; `None` when nobody knows.
    fn of(&self, instance: &FullInstance) -> Option<&[(String, String)]> {
        let known = self.0.as_ref()?;
        Some(known.get(instance.uuid()).map_or(&[], Vec::as_slice))
    }
}

fn by_id(manifest: &Manifest) -> HashMap<String, Vec<(String, String)>> {
    // Lists of defaults are of no box.
    let boxes = manifest.boxes.iter().filter(|one| !one.name.is_empty());
    let owned = |(kind, what): (&str, &str)| (kind.to_owned(), what.to_owned());
    boxes.map(|one| (one.uuid.clone(), one.what().into_iter().map(owned).collect())).collect()
}

fn lines<'a>(names: impl Iterator<Item = &'a str>) -> String {
    names.map(|name| format!("{name}\n")).collect()
}

fn row(instance: &FullInstance, exported: &Exported) -> Vec<String> {
    let uptime = uptime_seconds(instance).map_or(String::new(), duration);
    let exports = exported.of(instance).map_or(String::new(), |all| all.len().to_string());
    let addresses = instance.addresses().join(", ");
    [instance.name.clone(), state(instance), image(instance), uptime, exports, addresses]
        .map(|cell| printable(&cell))
        .to_vec()
}

/// The state as a word.
pub fn state(instance: &FullInstance) -> String {
    match is_half_made(instance) {
        true => "creating".to_owned(),
        false => instance.status.to_lowercase(),
    }
}

/// What the box was made from, as the user named it, else as the image describes itself.
pub fn image(instance: &FullInstance) -> String {
    let config = |key: &str| instance.config.get(key).cloned();
    let described = || match (config("image.os"), config("image.release")) {
        (Some(os), Some(release)) => Some(format!("{os} {release}")),
        (os, _) => os.or_else(|| config("image.description")),
    };
    instance.fact("image").map(str::to_owned).or_else(described).unwrap_or_default()
}

/// For how long the instance has been running, in seconds.
fn uptime_seconds(instance: &FullInstance) -> Option<i64> {
    let state = instance.state.as_ref().filter(|_| instance.status == "Running")?;
    let started: Timestamp = state.started_at.parse().ok()?;
    let seconds = Timestamp::now().as_second() - started.as_second();
    // A state that was never set is told as the year 1.
    (started.as_second() > 0 && seconds >= 0).then_some(seconds)
}

/// `45s`, `12m`, `3h 5m`, `2d 4h`.
fn duration(seconds: i64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m"),
        (0, _, _) => format!("{hours}h {}m", minutes % 60),
        _ => format!("{days}d {}h", hours % 24),
    }
}

/// A box as JSON, for `list --json` and `info --json`.
pub fn described(instance: &FullInstance, exported: &Exported) -> Value {
    let export = |(kind, what): &(String, String)| json!({ "kind": kind, "what": what });
    let exports = exported.of(instance).map(|all| all.iter().map(export).collect::<Vec<_>>());
    let text = |name: &str| instance.fact(name);
    json!({
        "name": instance.name,
        "state": state(instance),
        "box": instance.is_box(),
        "type": instance.kind,
        "image": image(instance),
        "distribution": text("distribution"),
        "user": text("user"),
        "home": text("home"),
        "shell": text("shell"),
        "addresses": instance.addresses(),
        "exports": exports,
        "uptime_seconds": uptime_seconds(instance),
        "created_at": instance.created_at,
        "architecture": instance.architecture,
        "profiles": instance.profiles,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_told_in_their_two_largest_units() {
        let told = [0, 59, 60, 3599, 3600, 86399, 86400, 187_200].map(duration);
        assert_eq!(told, ["0s", "59s", "1m", "59m", "1h 0m", "23h 59m", "1d 0h", "2d 4h"]);
    }
}
