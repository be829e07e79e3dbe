//! `incusbox apps`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{ArgMatches, Command};
use serde_json::json;

use super::lifecycle::{catch, while_running};
use super::table::table;
use super::{
    box_argument, box_name, calling, connect, flag, json_flag, print, print_json, the_box,
};
use crate::agent::protocol::apps::Question;
use crate::boxes::error::Error;
use crate::export::manifest::{self, Record};
use crate::export::offers::{self, App, Offers, Shown};
use crate::export::sync::host;
use crate::message::{self, printable};

pub fn define(command: Command) -> Command {
    command
        .about("List the programs that a box has for a launcher")
        .long_about("List the programs that a box has for a launcher: those with a desktop entry. A box that is stopped is started for it, and stopped again.")
        .arg(box_argument())
        .arg(flag("all", "Those that menus do not show, too").short('a'))
        .arg(json_flag())
}

pub fn run(matches: &ArgMatches) -> Result<ExitCode, Error> {
    let name = box_name(matches)?;
    let mut client = connect(matches)?;
    let mut signals = catch()?;
    let there = the_box(&mut client, &name)?;
    let user = calling()?;
    let question = Question {
        uid: user.as_ref().map_or(0, |user| user.uid),
        home_is_hosts: user.is_some_and(|user| user.has_home_of(&there)),
        ..Question::default()
    };
    let exported = exported(there.uuid())?;
    while_running(&mut client, &mut signals, &name, |client, signals| {
        show(matches, offers::ask(client, signals, name.as_str(), &question)?, &exported)
    })?;
    Ok(ExitCode::SUCCESS)
}

fn show(
    matches: &ArgMatches,
    mut offers: Offers,
    exported: &BTreeMap<String, String>,
) -> Result<(), Error> {
    let has_all = matches.get_flag("all");
    offers.apps.retain(|app| has_all || app.shown == Shown::Yes);
    for left in &offers.left {
        message::say(super::PROGRAM, format!("`{}` is left out: {}", left.path, left.why));
    }
    if matches.get_flag("json") {
        return print_json(&offers.apps.iter().map(|app| described(app, exported)).collect());
    }
    let rows: Vec<_> = offers.apps.iter().map(|app| row(app, exported)).collect();
    print(&table(&["NAME", "ID", "ICON", "ON THE HOST"], &rows))
}

/// The entries on the host of the box's programs, by the ids of these.
fn exported(uuid: &str) -> Result<BTreeMap<String, String>, Error> {
    let manifest = manifest::look().map_err(host("reading the list of what is exported"))?;
    let own = manifest.boxes.into_iter().find(|one| one.uuid == uuid).unwrap_or_default();
    let entry = |(path, record): (PathBuf, Record)| {
        let file = path.file_name()?.to_str()?.to_owned();
        let id = record.users.first()?.strip_prefix("app:")?.to_owned();
        (path.extension()? == "desktop").then_some((id, file))
    };
    Ok(own.files.into_iter().filter_map(entry).collect())
}

fn row(app: &App, exported: &BTreeMap<String, String>) -> Vec<String> {
    let on_host = exported.get(app.id.as_str()).map(String::as_str).unwrap_or_default();
    [app.name.as_str(), app.id.as_str(), &app.icon, on_host].map(printable).to_vec()
}

fn described(app: &App, exported: &BTreeMap<String, String>) -> serde_json::Value {
    json!({
        "exported": exported.get(app.id.as_str()),
        "id": app.id.as_str(),
        "name": app.name,
        "comment": app.comment,
        "icon": app.icon,
        "path": app.path,
        "shown": app.shown == Shown::Yes,
    })
}
