//! The box's init system, and waiting for it.
//!
//! Asked only where a later step needs a box that is up: a package's script restarts services, a
//! hook may be anything, both want the network. Files need nobody.

use std::time::{Duration, Instant};

use super::command::Run;
use super::failure::Failure;
use super::surroundings::{Life, Surroundings};
use super::tree::Tree;

/// A box boots in two seconds, on a slow disk in ten; a unit that waits for a network that never
/// comes has its own limit beyond this.
const PATIENCE: Duration = Duration::from_secs(60);
/// DHCP answers within a second or never.
const PATIENCE_FOR_NETWORK: Duration = Duration::from_secs(20);
const BETWEEN_QUESTIONS: Duration = Duration::from_millis(100);
const LIMIT_OF_A_QUESTION: Duration = Duration::from_secs(10);

/// An init system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Init {
    /// systemd.
    Systemd,
    /// OpenRC, under whatever process 1.
    OpenRc,
    /// Another one that boots a system: `runit`, `s6-svscan`, `dinit`, `init`.
    Other(String),
    /// Process 1 is just a program: the box is up as soon as it runs.
    None,
}

impl Init {
    /// Its name in a result.
    pub fn name(&self) -> &str {
        match self {
            Init::Systemd => "systemd",
            Init::OpenRc => "openrc",
            Init::Other(name) => name,
            Init::None => "none",
        }
    }
}

/// Which one the box has.
pub fn find(tree: &Tree, surroundings: &Surroundings) -> Init {
    let first = surroundings.first_process.as_str();
    let leads_to_systemd = || {
        tree.link_target("/sbin/init").is_some_and(|target| target.ends_with("systemd"))
            || tree.link_target("/usr/sbin/init").is_some_and(|target| target.ends_with("systemd"))
    };
    match first {
        "systemd" => Init::Systemd,
        // Early in its life systemd bears the name that it was called by.
        "init" if leads_to_systemd() => Init::Systemd,
        "init" | "openrc-init" if tree.is_executable("/sbin/openrc") => Init::OpenRc,
        "init" | "runit" | "s6-svscan" | "dinit" => Init::Other(first.to_owned()),
        _ => Init::None,
    }
}

/// Waits until the box is up far enough for packages and hooks. Returns what is odd about it.
///
/// # Errors
/// It does not come up.
pub fn wait(tree: &Tree, init: &Init, life: Life) -> Result<Option<String>, Failure> {
    if life == Life::Files {
        return Ok(None);
    }
    let deadline = Instant::now() + PATIENCE;
    loop {
        let state = match init {
            Init::Systemd => systemd_state(tree),
            Init::OpenRc => openrc_state(tree),
            Init::Other(_) | Init::None => State::Up,
        };
        let said = match state {
            State::Up => return Ok(None),
            State::Ending(said) => return Err(never_up(init, Duration::ZERO, said)),
            State::Booting(said) => said,
        };
        if Instant::now() >= deadline {
            // A job that hangs (a network that never is online) does not make the rest unusable.
            if *init == Init::Systemd && is_active("basic.target") {
                return Ok(Some(format!(
                    "the box is still booting after {} s (systemd says `{said}`): \
                     `systemctl list-jobs` in it tells what it waits for",
                    PATIENCE.as_secs()
                )));
            }
            let hangs = if *init == Init::Systemd { running_jobs() } else { Vec::new() };
            let said = match hangs.is_empty() {
                true => said,
                false => format!("{said}, waiting for {}", hangs.join(", ")),
            };
            return Err(never_up(init, PATIENCE, said));
        }
        std::thread::sleep(BETWEEN_QUESTIONS);
    }
}

/// Waits for a way out of the box; one that has none after a while is offline.
pub fn wait_for_network(tree: &Tree, life: Life) {
    let deadline = Instant::now() + PATIENCE_FOR_NETWORK;
    while life == Life::Running && !has_route(tree) && Instant::now() < deadline {
        std::thread::sleep(BETWEEN_QUESTIONS);
    }
}

/// How far the box's init is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Far enough.
    Up,
    /// Not yet; with its own word for it.
    Booting(String),
    /// It will not be, with its own word.
    Ending(String),
}

fn never_up(init: &Init, waited: Duration, state: String) -> Failure {
    Failure::InitNeverUp { init: init.name().to_owned(), seconds: waited.as_secs(), state }
}

fn systemctl(arguments: &[&str], most_lines: usize) -> Vec<String> {
    let argv = [&["systemctl"], arguments].concat();
    Run { argv: &argv, environment: &[], limit: Some(LIMIT_OF_A_QUESTION) }.answers(most_lines)
}

/// systemctl(1) talks to process 1 directly, so this works without a bus too.
fn systemd_state(tree: &Tree) -> State {
    if !tree.exists("/run/systemd/private") {
        return State::Booting("nothing yet".to_owned());
    }
    let state = systemctl(&["is-system-running"], 1).pop().unwrap_or_default();
    match state.as_str() {
        "running" | "degraded" => State::Up,
        "maintenance" | "stopping" => State::Ending(state),
        _ => State::Booting(state),
    }
}

/// The units whose start has begun and not ended; the first few.
fn running_jobs() -> Vec<String> {
    let jobs = systemctl(&["list-jobs", "--plain", "--no-legend", "--no-pager"], 1000);
    jobs.iter().filter_map(|job| unit_that_runs(job)).take(3).collect()
}

/// Of a line as `12 hang.service start running`.
fn unit_that_runs(job: &str) -> Option<String> {
    match job.split_ascii_whitespace().collect::<Vec<_>>()[..] {
        [_, unit, _, "running"] => Some(unit.to_owned()),
        _ => None,
    }
}

/// Whether systemd has reached a target, or started another unit.
pub fn is_active(unit: &str) -> bool {
    systemctl(&["is-active", unit], 1) == ["active"]
}

/// OpenRC keeps `rc.starting` for as long as it changes its runlevel.
pub fn openrc_state(tree: &Tree) -> State {
    let level = tree.text("/run/openrc/softlevel");
    match level.trim() {
        "default" if !tree.exists("/run/openrc/rc.starting") => State::Up,
        "shutdown" | "reboot" => State::Ending(level.trim().to_owned()),
        "" => State::Booting("nothing yet".to_owned()),
        other => State::Booting(format!("runlevel {other}")),
    }
}

/// A default route, in the two tables of proc(5) (`/proc/net`).
pub fn has_route(tree: &Tree) -> bool {
    let v4 = tree.text("/proc/self/net/route");
    let v6 = tree.text("/proc/self/net/ipv6_route");
    let default_v4 = |line: &str| line.split_ascii_whitespace().nth(1) == Some("00000000");
    let default_v6 = |line: &str| {
        line.starts_with("00000000000000000000000000000000 00 ") && !line.ends_with(" lo")
    };
    v4.lines().any(default_v4) || v6.lines().any(default_v6)
}
