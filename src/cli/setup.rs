//! `incusbox setup`: from Incus just installed to ready for boxes.

use std::io::Write;
use std::process::ExitCode;

use clap::{ArgMatches, Command};

use super::undo::{remember, undo};
use super::{ask, calling, connect, flag, print};
use crate::boxes::doctor::{Patient, Status, examine};
use crate::boxes::error::Error;
use crate::boxes::host::HostUser;
use crate::boxes::remedy::Remedy;
use crate::incus::{self, Client};
use crate::message;

pub fn define(command: Command) -> Command {
    command
        .about("Make the host ready for boxes")
        .long_about("Make the host ready for boxes: the daemon runs and has storage and a network, you may use it, and your ids can be mapped. Each step is told before it is done; what root has to do is done by sudo. What is right already is left alone.")
        .arg(flag("dry-run", "Only say what would be done"))
        .arg(flag("yes", "Do not ask").short('y'))
        .arg(flag("undo", "Take back the lines and the membership that setup added, by root for you too"))
}

/// How often it is looked again: one remedy makes the next check possible.
const ROUNDS: usize = 4;

pub fn run(matches: &ArgMatches) -> Result<ExitCode, Error> {
    let dry = matches.get_flag("dry-run");
    let user = calling()?;
    if matches.get_flag("undo") {
        return undo(user.as_ref(), dry);
    }
    let mut done: Vec<Remedy> = Vec::new();
    for _ in 0..ROUNDS {
        let mut patient = patient(matches, user.clone())?;
        let steps = steps(&mut patient, &done)?;
        if steps.is_empty() {
            return finish(&mut patient, &done, dry);
        }
        for step in steps {
            tell(&step)?;
            if !dry {
                if !agreed(matches) {
                    message::say(super::PROGRAM, refused(&step, &done));
                    return Ok(ExitCode::FAILURE);
                }
                apply(&mut patient, &step)?;
                remember(&step, user.as_ref())?;
            }
            done.push(step);
        }
        if dry {
            return finish(&mut patient, &done, dry);
        }
    }
    let mut last = patient(matches, user)?;
    finish(&mut last, &done, dry)
}

fn patient(matches: &ArgMatches, user: Option<HostUser>) -> Result<Patient, Error> {
    match connect(matches) {
        Ok(client) => Ok(Patient::new(user, Ok(client))),
        Err(Error::Incus(error)) => Ok(Patient::new(user, Err(error))),
        Err(error) => Err(error),
    }
}

/// What is to be done: every remedy that can be done and was not yet.
fn steps(patient: &mut Patient, done: &[Remedy]) -> Result<Vec<Remedy>, Error> {
    let findings = examine(patient);
    let wanted = findings.into_iter().filter(|finding| finding.status != Status::Ok);
    let doable = |remedy: &Remedy| !matches!(remedy, Remedy::Advice(_)) && !done.contains(remedy);
    let mut steps: Vec<Remedy> =
        wanted.flat_map(|finding| finding.remedies).filter(doable).collect();
    let is_mute = |client: &Client| client.daemon().restricted && patient.server.is_none();
    let rest = Remedy::AsRoot(rest_as_root()?);
    match &patient.client {
        _ if done.contains(&rest) => {}
        // A new member of the group is one only from the next login on; root need not wait.
        Err(incus::Error::Permission { .. }) => steps.push(rest),
        // What a confined user needs is chosen when the daemon has what all need.
        Ok(client) if is_mute(client) => steps = vec![rest],
        _ => {}
    }
    Ok(steps)
}

/// This program as root, where the daemon is.
fn rest_as_root() -> Result<Vec<String>, Error> {
    let own = std::env::current_exe()
        .map_err(|source| Error::Host { doing: "finding this program", source })?;
    let mut words = Vec::new();
    let set = ["INCUS_SOCKET", "INCUS_DIR", "INCUS_PROJECT"]
        .into_iter()
        .filter_map(|name| Some(format!("{name}={}", std::env::var(name).ok()?)));
    words.extend(set);
    if !words.is_empty() {
        words.insert(0, "env".to_owned());
    }
    words.push(own.to_string_lossy().into_owned());
    words.extend(["setup", "--yes"].map(str::to_owned));
    Ok(words)
}

fn tell(step: &Remedy) -> Result<(), Error> {
    print(&format!("{}\n", sentence(step)))
}

fn sentence(step: &Remedy) -> String {
    match step {
        Remedy::Daemon(wish) => wish.sentence(),
        other => other.to_string(),
    }
}

/// What is said when the user does not agree to a step.
fn refused(step: &Remedy, done: &[Remedy]) -> String {
    let before = match done.len() {
        0 => "nothing was changed".to_owned(),
        1 => "the step before it was done, and none after it".to_owned(),
        count => format!("the {count} steps before it were done, and none after it"),
    };
    format!(
        "not done: {}; {before}\nsee what does not work without it: incusbox doctor\ngo on: incusbox setup",
        sentence(step)
    )
}

fn agreed(matches: &ArgMatches) -> bool {
    // Without a terminal there is nobody to ask, and the command itself was the wish.
    matches.get_flag("yes") || ask::yes("Do this?", true) != Some(false)
}

fn apply(patient: &mut Patient, step: &Remedy) -> Result<(), Error> {
    match step {
        Remedy::AsRoot(words) => as_root(words),
        Remedy::Daemon(wish) => match &mut patient.client {
            Ok(client) => Ok(wish.fulfil(client)?),
            // Its check had a connection.
            Err(_) => Ok(()),
        },
        Remedy::Advice(_) => Ok(()),
    }
}

/// Runs a command as root: itself, or by sudo, doas or run0, whichever there is.
pub(super) fn as_root(words: &[String]) -> Result<(), Error> {
    let is_root = rustix::process::geteuid().is_root();
    let found = ["sudo", "doas", "run0"].iter().find(|name| is_on_path(name));
    let mut argv: Vec<&str> = Vec::new();
    match (is_root, found) {
        (true, _) => {}
        (false, Some(name)) => argv.push(name),
        (false, None) => {
            return Err(Error::Usage(format!(
                "this needs root, and there is no sudo\nrun as root: {}",
                shell_words::join(words)
            )));
        }
    }
    argv.extend(words.iter().map(String::as_str));
    let _nobody_to_tell = std::io::stdout().flush();
    let status = std::process::Command::new(argv[0]).args(&argv[1..]).status();
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(Error::Host {
            doing: "setting up the host",
            source: std::io::Error::other(format!(
                "`{}` ended with {status}",
                shell_words::join(&argv)
            )),
        }),
        Err(source) => Err(Error::Host { doing: "running a command as root", source }),
    }
}

fn is_on_path(name: &str) -> bool {
    let all = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&all).any(|at| at.join(name).exists())
}

fn finish(patient: &mut Patient, done: &[Remedy], dry: bool) -> Result<ExitCode, Error> {
    if dry {
        if done.is_empty() {
            print("nothing has to be done\n")?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let findings = examine(patient);
    // All is well for the next login; only this one is too old to be in the group.
    let group = match &patient.client {
        Err(incus::Error::Permission { group: Some(group), is_member: true, .. }) => Some(group),
        _ => None,
    };
    let mut failed = false;
    for finding in findings.iter().filter(|finding| finding.status == Status::Failed) {
        if group.is_some() && finding.check == "daemon" {
            continue;
        }
        failed = true;
        let remedies: Vec<String> = finding.remedies.iter().map(ToString::to_string).collect();
        let next =
            if remedies.is_empty() { String::new() } else { format!("\n{}", remedies.join("\n")) };
        message::say(super::PROGRAM, format!("{}: {}{next}", finding.check, finding.text));
    }
    if failed {
        return Ok(ExitCode::FAILURE);
    }
    if let Some(group) = group {
        message::say(
            super::PROGRAM,
            format!(
                "the host is ready, and you are in the group `{group}` from your next login on\n\
                 log out and in again, or begin here: newgrp {group}"
            ),
        );
        return Ok(ExitCode::SUCCESS);
    }
    let text = if done.is_empty() { "everything is set up already" } else { "the host is ready" };
    message::say(super::PROGRAM, format!("{text}: incusbox create NAME"));
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_that_is_not_wanted_is_named_with_what_was_done_before_it() {
        let step = Remedy::as_root(&["modprobe", "fuse"]);
        let told = refused(&step, &[]);
        assert!(told.starts_with("not done: sudo modprobe fuse; nothing was changed\n"), "{told}");
        let told = refused(&step, &[step.clone(), step.clone()]);
        assert!(told.contains("the 2 steps before it were done"), "{told}");
    }
}
