//! `incusbox setup`: from Incus just installed to ready for boxes.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{ArgMatches, Command};

use super::{ask, calling, connect, flag, print};
use crate::boxes::doctor::{Patient, SYSCTL, Status, examine};
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
        .arg(flag("undo", "Take back the lines and the membership that setup added"))
}

/// How often it is looked again: one remedy makes the next check possible.
const ROUNDS: usize = 4;

pub fn run(matches: &ArgMatches) -> Result<ExitCode, Error> {
    let dry = matches.get_flag("dry-run");
    if matches.get_flag("undo") {
        return undo(dry);
    }
    let user = calling()?;
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
                    return Ok(ExitCode::FAILURE);
                }
                apply(&mut patient, &step)?;
                remember(&step)?;
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
    print(&match step {
        Remedy::Daemon(wish) => format!("{}\n", wish.sentence()),
        other => format!("{other}\n"),
    })
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
fn as_root(words: &[String]) -> Result<(), Error> {
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

/// The record of what was added to the host's files, for `--undo`: a command a line.
fn record() -> Result<PathBuf, Error> {
    xdg::BaseDirectories::with_prefix("incusbox").place_state_file("setup-undo").map_err(|source| {
        Error::Host { doing: "finding a place for the record of this setup", source }
    })
}

/// The command that takes a step back, where there is one.
fn opposite(step: &Remedy) -> Option<Vec<String>> {
    let Remedy::AsRoot(words) = step else { return None };
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    // usermod adds a range of root's, but takes none away while root has a process: always.
    let line_of = |ids: &str| format!("/^root:{}:1$/d", ids.split('-').next().unwrap_or(ids));
    let without = |ids: &str, file: &str| ["sed", "-i", &line_of(ids), file].map(str::to_owned);
    match words[..] {
        ["usermod", "--add-subuids", ids, "root"] => Some(without(ids, "/etc/subuid").into()),
        ["usermod", "--add-subgids", ids, "root"] => Some(without(ids, "/etc/subgid").into()),
        ["usermod", "--append", "--groups", group, who] => {
            Some(["gpasswd", "--delete", who, group].map(str::to_owned).into())
        }
        ["sh", "-c", command] if command.contains(SYSCTL) => {
            Some(["rm", "-f", SYSCTL].map(str::to_owned).into())
        }
        _ => None,
    }
}

fn remember(step: &Remedy) -> Result<(), Error> {
    let Some(back) = opposite(step) else { return Ok(()) };
    let path = record()?;
    let host = |source| Error::Host { doing: "writing the record of this setup", source };
    let mut file =
        std::fs::OpenOptions::new().create(true).append(true).open(path).map_err(host)?;
    writeln!(file, "{}", shell_words::join(back)).map_err(host)
}

fn undo(dry: bool) -> Result<ExitCode, Error> {
    let path = record()?;
    let text = std::fs::read_to_string(&path).unwrap_or_default();
    let mut lines: Vec<&str> = text.lines().collect();
    if lines.is_empty() {
        message::say(super::PROGRAM, "setup has added nothing to this host's files");
        return Ok(ExitCode::SUCCESS);
    }
    while let Some(line) = lines.pop() {
        print(&format!("sudo {line}\n"))?;
        if dry {
            continue;
        }
        let words = shell_words::split(line).map_err(|error| Error::Host {
            doing: "reading the record of the setup",
            source: std::io::Error::other(error),
        })?;
        as_root(&words)?;
        let rest: String = lines.iter().map(|line| format!("{line}\n")).collect();
        std::fs::write(&path, rest)
            .map_err(|source| Error::Host { doing: "writing the record of the setup", source })?;
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changes_the_hosts_files_has_an_opposite() {
        let back = |words: &[&str]| opposite(&Remedy::as_root(words)).map(shell_words::join);
        assert_eq!(
            back(&["usermod", "--add-subuids", "1000-1000", "root"]).as_deref(),
            Some("sed -i '/^root:1000:1$/d' /etc/subuid")
        );
        assert_eq!(
            back(&["usermod", "--append", "--groups", "incus-admin", "dev"]).as_deref(),
            Some("gpasswd --delete dev incus-admin")
        );
        assert_eq!(back(&["modprobe", "fuse"]), None);
    }
}
