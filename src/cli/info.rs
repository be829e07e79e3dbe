//! `incusbox info`.

use std::process::ExitCode;

use clap::{ArgMatches, Command};
use serde_json::{Value, json};

use super::list::{Exported, described};
use super::{box_argument, box_name, connect, json_flag, print, print_json, the_instance};
use crate::agent::protocol::desktop::Switch;
use crate::boxes::desktop;
use crate::boxes::error::Error;
use crate::boxes::network;
use crate::boxes::options::{OPTIONS, When};
use crate::incus::objects::{FullInstance, root_disk};
use crate::message::printable;

pub fn define(command: Command) -> Command {
    command.about("Show what a box is like").arg(box_argument()).arg(json_flag())
}

pub fn run(matches: &ArgMatches) -> Result<ExitCode, Error> {
    let name = box_name(matches)?;
    let mut client = connect(matches)?;
    let there = the_instance(&mut client, &name)?;
    let mut all = described(&there, &Exported::read());
    all["options"] = options(&there);
    all["devices"] = json!(there.expanded_devices);
    match matches.get_flag("json") {
        true => print_json(&all)?,
        false => print(&text(&all, &there))?,
    }
    Ok(ExitCode::SUCCESS)
}

/// The options as they are in effect, with the table's words about each.
fn options(there: &FullInstance) -> Value {
    let config = |key: &str| there.expanded_config.get(key).cloned();
    let root_size = || root_disk(&there.expanded_devices)?.1.get("size").cloned();
    let is_on = |key: &str| config(key).is_some_and(|value| value == "true");
    let on = |key: &str| json!(if is_on(key) { "on" } else { "off" });
    let recorded: Value =
        there.fact("options").and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    let given = |name: &str, otherwise| recorded.get(name).cloned().unwrap_or(otherwise);
    let all = OPTIONS.iter().filter_map(|option| {
        let value = match option.name {
            "volume" => json!(volumes(there)),
            "package" | "pre-init-hook" | "init-hook" => given(option.name, json!([])),
            "hostname" => given(option.name, json!(there.name)),
            "sudo" if there.is_box() => given(option.name, json!("on")),
            "sudo" => Value::Null,
            "cpus" => json!(config("limits.cpu")),
            "memory" => json!(config("limits.memory")),
            "processes" => json!(config("limits.processes")),
            "disk" => json!(root_size()),
            "nesting" => on("security.nesting"),
            "intercept" => on("security.syscalls.intercept.mknod"),
            name if Switch::ALL.iter().any(|switch| switch.name() == name) => switch(there, name),
            "isolated" if there.is_box() => {
                json!(if there.fact("isolated").is_some() { "on" } else { "off" })
            }
            "network" => json!(network::of(there).to_string()),
            "image" | "home" | "shell" => json!(there.fact(option.name)),
            _ => return None,
        };
        let changeable = option.when == When::Always;
        Some((
            option.name,
            json!({ "value": value, "changeable": changeable, "help": option.help }),
        ))
    });
    all.map(|(name, value)| (name.to_owned(), value)).collect::<serde_json::Map<_, _>>().into()
}

fn switch(there: &FullInstance, name: &str) -> Value {
    let Some(on) = desktop::on(there) else { return Value::Null };
    json!(if on.iter().any(|switch| switch.name() == name) { "on" } else { "off" })
}

/// The directories of the host that it shows, as one would write them for `create`.
fn volumes(there: &FullInstance) -> Vec<String> {
    let of = |device: &std::collections::BTreeMap<String, String>| {
        let read_only = device.get("readonly").is_some_and(|value| value == "true");
        let (source, path) = (device.get("source")?, device.get("path")?);
        Some(format!("{source}:{path}{}", if read_only { ":ro" } else { "" }))
    };
    let named = there.devices.iter().filter(|(name, _)| name.starts_with("volume-"));
    named.filter_map(|(_, device)| of(device)).collect()
}

fn text(all: &Value, there: &FullInstance) -> String {
    let mut out = String::new();
    let mut line = |name: &str, value: &str| {
        if !value.is_empty() {
            out.push_str(&format!("{:14}{}\n", format!("{name}:"), printable(value)));
        }
    };
    let word = |value: &Value| match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        Value::Array(all) => {
            let words: Vec<&str> = all.iter().filter_map(Value::as_str).collect();
            words.join(", ")
        }
        other => other.to_string(),
    };
    for key in ["name", "state", "type", "image", "distribution", "user", "shell"] {
        line(key, &word(&all[key]));
    }
    line("addresses", &there.addresses().join(", "));
    let exports = all["exports"].as_array().into_iter().flatten();
    let exports: Vec<&str> = exports.filter_map(|one| one["what"].as_str()).collect();
    line("exports", &exports.join(", "));
    line("profiles", &there.profiles.join(", "));
    if let Some(options) = all["options"].as_object() {
        for (name, option) in
            options.iter().filter(|(name, _)| !["image", "shell"].contains(&name.as_str()))
        {
            line(name, &word(&option["value"]));
        }
    }
    if !there.is_box() {
        line("note", "an instance of Incus, not a box of incusbox");
    }
    out
}
