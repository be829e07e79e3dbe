//! Having the agent set a box up, from the host's side.

use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::create::Progress;
use super::error::Error;
use super::host::HostUser;
use super::settings::Home;
use crate::agent::protocol::setup::{SetupEvent, SetupRequest, SetupResult};
use crate::exit;
use crate::incus::Client;
use crate::incus::command::Ended;
use crate::message::printable;
use crate::run::agent_file::{AgentFile, PLACES};
use crate::session;
use crate::sys::signals::Signals;

/// Puts the agent into the running box `name` and has it do what `request` says.
///
/// # Errors
/// Everything in [`Error`].
pub fn run(
    client: &mut Client,
    signals: &mut Signals,
    progress: &mut dyn Progress,
    name: &str,
    request: &SetupRequest,
) -> Result<SetupResult, Error> {
    let is_served = |name: &String| session::SERVED.iter().any(|switch| switch.name() == name);
    let mut switches = request.switches.iter().flatten();
    if let (Some(user), true) = (&request.user, switches.any(is_served)) {
        session::wake(user.uid);
    }
    let request = serde_json::to_vec(request)
        .map_err(|error| Error::Host { doing: "writing a request", source: error.into() })?;
    work(client, signals, progress, name, "setup", &request)
}

/// Has the agent bring the box's packages up to date.
///
/// # Errors
/// Everything in [`Error`].
pub fn upgrade(
    client: &mut Client,
    signals: &mut Signals,
    progress: &mut dyn Progress,
    name: &str,
) -> Result<SetupResult, Error> {
    work(client, signals, progress, name, "upgrade", b"")
}

/// Has the agent link the libraries of the host's NVIDIA driver, or take the links away.
///
/// # Errors
/// Everything in [`Error`].
pub fn link_drivers(
    client: &mut Client,
    signals: &mut Signals,
    progress: &mut dyn Progress,
    name: &str,
) -> Result<SetupResult, Error> {
    work(client, signals, progress, name, "nvidia", b"")
}

fn work(
    client: &mut Client,
    signals: &mut Signals,
    progress: &mut dyn Progress,
    name: &str,
    verb: &str,
    request: &[u8],
) -> Result<SetupResult, Error> {
    let copying = || progress.step("copying the agent into the box");
    let command = command(client, name, verb, copying)?;
    let mut end = None;
    let mut take = |line: &[u8]| match serde_json::from_slice(line) {
        Ok(SetupEvent::Step(text)) => progress.step(&printable(&text)),
        Ok(SetupEvent::Output(line)) => progress.output(&printable(&line)),
        Ok(SetupEvent::Warning(text)) => progress.warning(&printable(&text)),
        Ok(last @ (SetupEvent::Done(_) | SetupEvent::Failed { .. })) => end = Some(last),
        // What is no event was written by something that the agent started.
        Err(_) => progress.output(&printable(&String::from_utf8_lossy(line))),
    };
    let ended = client.run_helper(name, &words(&command), request, None, signals, &mut take)?;
    match end {
        Some(SetupEvent::Done(result)) => Ok(result),
        Some(SetupEvent::Failed { step, text }) => {
            Err(Error::Setup { name: name.to_owned(), step, text })
        }
        _ => Err(Error::Mute {
            name: name.to_owned(),
            status: ended.status,
            stderr: String::from_utf8_lossy(&ended.stderr).trim().to_owned(),
        }),
    }
}

/// Runs the agent as root in the running box `name`, which gets it first where it lacks it.
///
/// # Errors
/// Everything in [`Error`]; also when it is not done after `patience`.
pub fn ask(
    client: &mut Client,
    signals: &mut Signals,
    name: &str,
    verb: &str,
    request: &[u8],
    patience: Option<Duration>,
    line: &mut dyn FnMut(&[u8]),
) -> Result<Ended, Error> {
    // Not asked first whether it is there: for seconds after a question about files Incus
    // refuses to restore a snapshot ("In use").
    let path = AgentFile::find()?.path_in(PLACES[0]);
    let ended = client.run_helper(name, &[&path, verb], request, patience, signals, line)?;
    if ended.status != Some(exit::NOT_FOUND.into()) {
        return Ok(ended);
    }
    let command = command(client, name, verb, || ())?;
    Ok(client.run_helper(name, &words(&command), request, patience, signals, line)?)
}

/// The agent with what it shall do; it is copied where the box has it not, and moves to its place
/// itself.
fn command(
    client: &mut Client,
    name: &str,
    verb: &str,
    copying: impl FnOnce(),
) -> Result<Vec<String>, Error> {
    let agent = AgentFile::find()?;
    let path = agent.path_in(PLACES[0]);
    if client.file_exists(name, &path)? {
        return Ok(vec![path, verb.to_owned()]);
    }
    copying();
    let (temporary, path) = agent.push(client, name)?;
    Ok(vec![temporary, verb.to_owned(), path])
}

fn words(command: &[String]) -> Vec<&str> {
    command.iter().map(String::as_str).collect()
}

/// A file of ours in the home, removed when this goes.
struct Probe(PathBuf);

impl Drop for Probe {
    fn drop(&mut self) {
        let _somebody_was_faster = std::fs::remove_file(&self.0);
    }
}

/// Makes a file on either side of the home and looks at its owner from the other.
///
/// # Errors
/// [`Error::WrongOwner`] when they differ.
pub fn check_owners(
    client: &mut Client,
    signals: &mut Signals,
    name: &str,
    user: &HostUser,
    home: &Home,
) -> Result<(), Error> {
    let own = match home {
        Home::Directory(path) => Path::new(path),
        _ => Path::new(&user.home),
    };
    let (uid, _) = crate::sys::process::own_ids();
    if uid != user.uid {
        // As root a file of the user's cannot be made the way that the user would.
        return Ok(());
    }
    let host = |source| Error::Host {
        doing: "making a file in the home, to see how it looks in the box",
        source,
    };
    let file = format!(".incusbox-probe-{}", std::process::id());
    let mine = Probe(own.join(format!("{file}-host")));
    let theirs = Probe(own.join(format!("{file}-box")));
    std::fs::OpenOptions::new()
        .create_new(true)
        .write(true)
        .mode(0o600)
        .open(&mine.0)
        .map_err(host)?;
    let inside = |probe: &Probe| {
        let name = probe.0.file_name().unwrap_or_default().to_string_lossy().into_owned();
        format!("{}/{name}", user.home)
    };
    let agent = AgentFile::find()?.path_in(PLACES[0]);
    let ids = [user.uid.to_string(), user.gid.to_string()];
    let (seen_by_box, made_by_box) = (inside(&mine), inside(&theirs));
    let command = [&agent, "probe", &ids[0], &ids[1], &seen_by_box, &made_by_box];
    let mut said = Vec::new();
    let ended = client
        .run_helper(name, &command, b"", None, signals, &mut |line| said.extend_from_slice(line))?;
    let wrong =
        |path: &str, seen| Error::WrongOwner { path: path.to_owned(), seen, wanted: user.uid };
    let said = String::from_utf8_lossy(&said).trim().to_owned();
    match said.parse::<u32>() {
        Ok(seen) if seen != user.uid => return Err(wrong(&user.home, seen)),
        Ok(_) if ended.status == Some(0) => {}
        _ => {
            let stderr = String::from_utf8_lossy(&ended.stderr).trim().to_owned();
            return Err(Error::Mute { name: name.to_owned(), status: ended.status, stderr });
        }
    }
    let seen = std::fs::symlink_metadata(&theirs.0).map_err(host)?.uid();
    if seen == user.uid { Ok(()) } else { Err(wrong(&own.to_string_lossy(), seen)) }
}
