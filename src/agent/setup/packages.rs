//! Installing and upgrading packages by the box's own manager (table: `managers`).

use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, OFlags};

use super::command::Run;
use super::failure::Failure;
use super::managers::{Lock, Manager};
use super::report::Report;
use super::tree::Tree;
use crate::exit::ExitStatus;

/// As long as we wait for others that install: `apt-daily` at boot has been seen to take a minute.
const PATIENCE: Duration = Duration::from_secs(120);
const BETWEEN_LOOKS: Duration = Duration::from_millis(500);
/// What is shown of a failed command; its whole output went by as events.
const LAST_LINES: usize = 8;

/// Installs those of `packages` that the box lacks.
///
/// # Errors
/// The manager's.
pub fn install(
    tree: &Tree,
    manager: &Manager,
    packages: &[String],
    report: &mut Report<'_>,
) -> Result<(), Failure> {
    let missing: Vec<&str> =
        packages.iter().map(String::as_str).filter(|name| !has(manager, name)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    prepare(tree, manager, report)?;
    // One source that does not answer is no reason not to try; if a package is missing then, that
    // is why.
    let refreshed = refresh(manager, report);
    perform(manager, &[manager.install, &missing].concat(), report)
        .map_err(|failure| refreshed.err().unwrap_or(failure))
}

/// Brings all packages up to date.
///
/// # Errors
/// The manager's.
pub fn upgrade(tree: &Tree, manager: &Manager, report: &mut Report<'_>) -> Result<(), Failure> {
    prepare(tree, manager, report)?;
    refresh(manager, report)?;
    perform(manager, manager.upgrade, report)
}

fn has(manager: &Manager, package: &str) -> bool {
    let argv = [manager.has, &[package]].concat();
    let run = Run { argv: &argv, environment: manager.environment, limit: None };
    match manager.has_answer {
        Some(answer) => run.answer() == answer,
        None => run.succeeds(),
    }
}

fn prepare(tree: &Tree, manager: &Manager, report: &mut Report<'_>) -> Result<(), Failure> {
    wait_for_others(tree, manager, report)?;
    if !manager.mend.is_empty() {
        perform(manager, manager.mend, report)?;
    }
    if let Some((path, commands)) = manager.first {
        if !tree.exists(path) {
            commands.iter().try_for_each(|argv| perform(manager, argv, report))?;
        }
    }
    Ok(())
}

fn refresh(manager: &Manager, report: &mut Report<'_>) -> Result<(), Failure> {
    match manager.refresh {
        [] => Ok(()),
        refresh => perform(manager, refresh, report),
    }
}

fn wait_for_others(tree: &Tree, manager: &Manager, report: &mut Report<'_>) -> Result<(), Failure> {
    let mut deadline = None;
    while let Some(path) = taken(tree, &manager.lock) {
        if deadline.is_none() {
            report.output(format!("waiting for another {} ({path})", manager.name).as_bytes());
        }
        let deadline = *deadline.get_or_insert_with(|| Instant::now() + PATIENCE);
        if Instant::now() >= deadline {
            let path = Path::new(path).to_owned();
            return Err(Failure::PackagesLocked { path, seconds: PATIENCE.as_secs() });
        }
        std::thread::sleep(BETWEEN_LOOKS);
    }
    Ok(())
}

/// A lock that somebody holds at this moment.
fn taken(tree: &Tree, lock: &Lock) -> Option<&'static str> {
    match lock {
        Lock::Waits => None,
        Lock::File(path) => tree.exists(path).then_some(path),
        Lock::Records(paths) => paths.iter().copied().find(|path| {
            let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::NOCTTY;
            let Ok(file) = tree.open_path(Path::new(path), flags) else { return false };
            // Let go again with the descriptor; whoever starts in between waits or is waited for.
            rustix::fs::fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive).is_err()
        }),
    }
}

fn perform(manager: &Manager, argv: &[&str], report: &mut Report<'_>) -> Result<(), Failure> {
    let mut last: Vec<String> = Vec::new();
    let run = Run { argv, environment: manager.environment, limit: None };
    let ended = run.run(|line| {
        report.output(line);
        if last.len() == LAST_LINES {
            last.remove(0);
        }
        last.push(String::from_utf8_lossy(line).into_owned());
    });
    match ended {
        Ok(ExitStatus::Code(0)) => Ok(()),
        Ok(ExitStatus::Code(code)) if manager.fine.contains(&code) => Ok(()),
        ended => {
            // Options by the dozen, all the same in each run, would hide the rest.
            let words = argv.iter().filter(|word| !word.starts_with("--option="));
            let command = words.copied().collect::<Vec<_>>().join(" ");
            Err(Failure::Command { command, ended, last })
        }
    }
}
