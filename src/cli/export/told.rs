//! What was done for exports, in words.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::ArgMatches;
use serde_json::json;

use crate::boxes::error::Error;
use crate::cli::{PROGRAM, print, print_json};
use crate::export::kept::Kept;
use crate::export::offers::Left;
use crate::export::plan::{Content, Plan, Wanted};
use crate::export::sync::{Outcome, Whose, host};
use crate::message::{self, printable};
use crate::names::BoxName;

/// The most files that are named of those that are left out.
const MOST_LEFT: usize = 20;

/// Says what a plan would change.
pub fn tell_plan(
    matches: &ArgMatches,
    kept: &Kept,
    whose: &Whose,
    plan: &Plan,
) -> Result<(), Error> {
    let exports = kept.manifest.boxes.iter().find(|one| one.uuid == whose.uuid);
    let known: BTreeSet<&PathBuf> =
        exports.map(|one| one.files.keys().collect()).unwrap_or_default();
    let is_new = |(path, wanted): &(&PathBuf, &Wanted)| {
        let record = exports.and_then(|one| one.files.get(*path));
        match &wanted.content {
            Content::Same => false,
            Content::Bytes(bytes) => !record.is_some_and(|record| record.has(bytes)),
        }
    };
    let write: Vec<PathBuf> =
        plan.files.iter().filter(is_new).map(|(path, _)| path.clone()).collect();
    let gone = known.into_iter().filter(|path| !plan.files.contains_key(*path));
    let remove: Vec<PathBuf> = gone.cloned().collect();
    if matches.get_flag("json") {
        return print_json(&json!({
            "box": whose.name.as_str(),
            "would_write": texts(&write),
            "would_remove": texts(&remove),
            "would_refuse": reasons(&plan.refused),
            "left_out": left(&plan.left),
        }));
    }
    let mut text = String::new();
    for (word, paths) in [("write", write), ("remove", remove)] {
        for path in paths {
            text.push_str(&format!("would {word} {}\n", printable(&path.to_string_lossy())));
        }
    }
    for (what, why) in &plan.refused {
        text.push_str(&format!("would refuse {}: {}\n", printable(what), printable(why)));
    }
    if text.is_empty() {
        "nothing would change\n".clone_into(&mut text);
    }
    print(&text)
}

/// Says what was done for each box; the status is a failure if anything was left undone.
pub fn tell_all(matches: &ArgMatches, outcomes: &[(BoxName, Outcome)]) -> Result<ExitCode, Error> {
    let is_bad = |outcome: &Outcome| {
        !outcome.refused.is_empty()
            || !outcome.done.foreign.is_empty()
            || !outcome.done.of_others.is_empty()
    };
    let mut is_well = true;
    for (name, outcome) in outcomes {
        is_well &= !is_bad(outcome);
        tell(matches, name, outcome)?;
    }
    Ok(if is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Says what was done to the files of a box's.
pub fn tell(matches: &ArgMatches, name: &BoxName, outcome: &Outcome) -> Result<(), Error> {
    let done = &outcome.done;
    if matches.get_flag("json") {
        return print_json(&json!({
            "box": name.as_str(),
            "written": texts(&done.written),
            "removed": texts(&done.removed),
            "set_aside": done.aside.iter().map(|(path, now)| json!({ "path": path.to_string_lossy(), "now": now.to_string_lossy() })).collect::<Vec<_>>(),
            "in_the_way": texts(&done.foreign),
            "refused": reasons(&outcome.refused),
            "missing": outcome.missing,
            "left_out": left(&outcome.left),
        }));
    }
    let is_icon = |path: &&PathBuf| path.components().any(|part| part.as_os_str() == "hicolor");
    let mut text = String::new();
    for (word, paths) in [("wrote", &done.written), ("removed", &done.removed)] {
        for path in paths.iter().filter(|path| !is_icon(path)) {
            text.push_str(&format!("{word} {}\n", printable(&path.to_string_lossy())));
        }
        let icons = paths.iter().filter(is_icon).count();
        if icons > 0 {
            let what = if icons == 1 { "picture of an icon" } else { "pictures of icons" };
            text.push_str(&format!("{word} {icons} {what}\n"));
        }
    }
    print(&text)?;
    if done.is_nothing() && outcome.refused.is_empty() && outcome.missing.is_empty() {
        message::say(PROGRAM, format!("what `{name}` has on the host is as it should be"));
    }
    say_troubles(outcome);
    say_shadowed(done.written.iter().filter(|path| outcome.shims.contains(*path)));
    Ok(())
}

fn reasons(refused: &[(String, String)]) -> serde_json::Value {
    refused.iter().map(|(what, why)| json!({ "what": what, "why": why })).collect()
}

fn left(left: &[Left]) -> serde_json::Value {
    left.iter().map(|one| json!({ "path": one.path, "why": one.why })).collect()
}

fn texts(paths: &[PathBuf]) -> Vec<String> {
    paths.iter().map(|path| path.to_string_lossy().into_owned()).collect()
}

/// Notes that all was said.
pub fn told(kept: &mut Kept) -> Result<(), Error> {
    kept.told().map_err(host("writing the list of what is exported"))
}

/// Says what could not be done, or is not as one would think.
pub fn say_troubles(outcome: &Outcome) {
    let say = |text: String| message::say(PROGRAM, text);
    outcome.done.said_of_aside().for_each(say);
    for path in &outcome.done.foreign {
        say(format!(
            "`{}` is there and not incusbox's: it is left alone\nmove it away, or choose another place by --export-path",
            path.display()
        ));
    }
    for (path, name) in &outcome.done.of_others {
        say(format!("`{}` is the box `{name}`'s: it is left to that", path.display()));
    }
    for (what, why) in &outcome.refused {
        say(format!("`{what}` is not exported: {why}"));
    }
    for what in &outcome.missing {
        say(format!("`{what}` is not in the box now; it comes back once it is"));
    }
    for left in outcome.left.iter().take(MOST_LEFT) {
        say(format!("`{}` is left out: {}", left.path, left.why));
    }
    if let Some(more @ 1..) = outcome.left.len().checked_sub(MOST_LEFT) {
        say(format!("{more} more are left out; all that are no icons: incusbox apps BOX"));
    }
    outcome.notes.iter().for_each(|text| say(text.clone()));
}

/// Says where new shims stand in the search for commands.
fn say_shadowed<'a>(written: impl Iterator<Item = &'a PathBuf>) {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let directories: Vec<PathBuf> = std::env::split_paths(&path).collect();
    let mut unsearched = BTreeSet::new();
    for shim in written {
        let (Some(own), Some(file)) = (shim.parent(), shim.file_name()) else { continue };
        let at = directories.iter().position(|directory| directory == own);
        if at.is_none() {
            unsearched.insert(own);
        }
        let is_other = |path: &PathBuf| path != shim && path.is_file();
        let other = directories
            .iter()
            .map(|directory| directory.join(file))
            .position(|path| is_other(&path));
        if let (Some(at), Some(other)) = (at, other) {
            let which = if at < other { "comes before" } else { "is hidden by" };
            let other = directories[other].join(file);
            message::say(
                PROGRAM,
                format!("`{}` {which} `{}` in your PATH", shim.display(), other.display()),
            );
        }
    }
    for directory in unsearched {
        message::say(
            PROGRAM,
            format!(
                "`{}` is not in your PATH: log in anew if that adds it, or call the commands by their paths",
                directory.display()
            ),
        );
    }
}
