//! What can stop a run, in facts; the wording is in one `Display`: what happened, to what, why, and
//! the next command to type.

use std::fmt;
use std::io;
use std::path::PathBuf;

use super::inside::Hindrance;
use super::share::Unshared;
use crate::agent::protocol::{Failure, Reason};
use crate::exit::{self, ExitStatus};
use crate::incus;
use crate::message::printable_bytes;
use crate::run::shim::BadShim;

/// A reason why the command did not run to its end.
#[derive(Debug)]
pub enum Error {
    /// The command line is wrong.
    Usage(String),
    /// A shim cannot be read.
    ShimFile { path: PathBuf, source: io::Error },
    /// A shim is not of the form.
    Shim { path: PathBuf, bad: BadShim },
    /// Talking to the daemon failed.
    Incus(incus::Error),
    /// There is no such box.
    NoBox { name: String, project: Option<String>, near: Vec<String> },
    /// The box is stopped and must not be started.
    Stopped { name: String },
    /// The box is frozen.
    Frozen { name: String },
    /// A stopped box could not be started.
    Start { name: String, source: incus::Error },
    /// The agent that belongs to this program is missing on the host.
    AgentFile { tried: Vec<PathBuf> },
    /// The agent could not be put into the box.
    Push { name: String, source: incus::Error },
    /// The agent did not greet.
    AgentMute { name: String, said: String, incus: String },
    /// What answered is no agent, or one of another version.
    AgentAlien { name: String, why: String },
    /// The agent could not run the command.
    Agent { name: String, failure: Failure },
    /// A file cannot be shown to the box.
    Unshared(Unshared),
    /// A shim in a box does not run.
    Inside(Hindrance),
    /// The box has no such user (native mode).
    NoUser { name: String, user: String },
    /// The box has no such directory (native mode).
    NoDirectory { name: String, directory: String },
    /// An argument or variable cannot be passed natively.
    NotText { what: String },
    /// Incus could not run the command (native mode).
    Native { name: String, command: String, text: String, code: u8 },
    /// The connection ended before the command did.
    Lost { name: String, why: Lost },
    /// Something on the host failed.
    Host { doing: &'static str, source: io::Error },
}

/// Why a running command was lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lost {
    /// The daemon is not there any more.
    Daemon,
    /// The box does not exist any more.
    Deleted,
    /// The box is not running any more; holds its status.
    NotRunning(String),
    /// The box runs, and something in it has told the agent to end, as its shutdown does.
    Terminated,
    /// The box runs; only the agent or the connection is gone.
    Agent,
    /// The command ended, but not all of its output came.
    Output,
    /// The daemon does not answer any more; holds for how many seconds.
    Silent(u64),
}

impl Error {
    /// The exit status for it in a unit of the host's, where the service manager acts by it.
    pub fn unit_exit_code(&self) -> u8 {
        match self {
            Error::Lost { why: Lost::Daemon, .. } => exit::LOST,
            Error::Lost { why: Lost::NotRunning(status), .. } if status == "Frozen" => {
                exit::FAILURE
            }
            // Somebody stopped the box, and with it what ran there: no failure. (By the signal itself
            // it would be one before the service is up.)
            Error::Lost { why: Lost::NotRunning(_) | Lost::Terminated | Lost::Deleted, .. }
            | Error::Stopped { .. } => ExitStatus::Signal(libc::SIGTERM).shell_code(),
            _ => self.exit_code(),
        }
    }

    /// The exit status for it.
    pub fn exit_code(&self) -> u8 {
        match self {
            Error::Agent { failure, .. } => failure.code(),
            Error::Native { code, .. } => *code,
            Error::Inside(hindrance) => hindrance.exit_code(),
            _ => exit::FAILURE,
        }
    }
}

impl From<incus::Error> for Error {
    fn from(error: incus::Error) -> Error {
        Error::Incus(error)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Usage(text) => f.write_str(text),
            Error::ShimFile { path, source } => {
                write!(f, "cannot read the shim `{}`: {source}", path.display())
            }
            Error::Shim { path, bad } => write!(
                f,
                "`{}` is not a shim that can be run: {bad}\nremove it, or have it written anew by incusbox",
                path.display()
            ),
            Error::Incus(error) => error.fmt(f),
            Error::Inside(hindrance) => hindrance.fmt(f),
            Error::Unshared(unshared) => unshared.fmt(f),
            Error::NoBox { name, project, near } => no_box(f, name, project.as_deref(), near),
            Error::Stopped { name } => write!(
                f,
                "box `{name}` is stopped, and --no-start was given\nstart it: incus start {name}"
            ),
            Error::Frozen { name } => {
                write!(f, "box `{name}` is frozen\nlet it go on: incus resume {name}")
            }
            Error::Start { name, source } => {
                write!(f, "box `{name}` could not be started: {source}")?;
                match source.lets_start(name) {
                    Some(mends) => write!(f, "\n{mends}"),
                    None => write!(f, "\nsee: incus info {name} --show-log"),
                }
            }
            Error::AgentFile { tried } => {
                write!(
                    f,
                    "the program `incusbox-agent`, which belongs beside this one, is missing; looked for"
                )?;
                for path in tried {
                    write!(f, " `{}`", path.display())?;
                }
                write!(f, "\ninstall incusbox again, or run natively: --mode native")
            }
            Error::Push { name, source } => write!(
                f,
                "the agent could not be copied into box `{name}`: {source}\n\
                 make room for 2 MB in its /usr/local/lib, /run or /dev/shm, or run natively: --mode native"
            ),
            Error::AgentMute { name, said, incus } => agent_mute(f, name, said, incus),
            Error::AgentAlien { name, why } => write!(
                f,
                "what answered in box `{name}` is not our agent: {why}\n\
                 have it copied anew: incus exec {name} -- rm -r /usr/local/lib/incusbox"
            ),
            Error::Agent { name, failure } => agent_failure(f, name, failure),
            Error::NoUser { name, user } => {
                write!(f, "box `{name}` has no user `{user}`\nrun as root: --root")
            }
            Error::NoDirectory { name, directory } => {
                write!(f, "cannot enter `{directory}` in `{name}`: there is no such directory")
            }
            Error::NotText { what } => write!(
                f,
                "{what} is not UTF-8, which Incus's own exec cannot pass\nrun by the agent of a box, which passes any bytes: --mode agent"
            ),
            Error::Native { name, command, text, code } => match *code {
                exit::NOT_FOUND => write!(f, "`{command}`: command not found in `{name}`"),
                exit::NOT_EXECUTABLE => write!(f, "`{command}`: cannot be executed in `{name}`"),
                _ => write!(
                    f,
                    "Incus reports a failure in `{name}`: {text}; whether `{command}` ran is not \
                     known, so it was not tried again\nsee whether it did before you run it again"
                ),
            },
            Error::Lost { name, why } => lost(f, name, why),
            Error::Host { doing, source } => write!(f, "{doing}: {source}"),
        }
    }
}

fn no_box(
    f: &mut fmt::Formatter<'_>,
    name: &str,
    project: Option<&str>,
    near: &[String],
) -> fmt::Result {
    write!(f, "there is no box `{name}`")?;
    if let Some(project) = project {
        write!(f, " in project `{project}`")?;
    }
    match near {
        [] => write!(f, "\nsee which there are: incus list"),
        [one] => write!(f, "\ndid you mean `{one}`?"),
        more => write!(f, "\ndid you mean one of: `{}`?", more.join("`, `")),
    }
}

fn agent_mute(f: &mut fmt::Formatter<'_>, name: &str, said: &str, incus: &str) -> fmt::Result {
    write!(f, "the agent did not start in box `{name}`")?;
    for text in [incus, said].into_iter().filter(|text| !text.is_empty()) {
        write!(f, ": {text}")?;
    }
    write!(
        f,
        "; whether the command ran is not known, so it was not tried again\n\
         run natively: --mode native; or have the agent copied anew: \
         incus exec {name} -- rm -r /usr/local/lib/incusbox"
    )
}

fn agent_failure(f: &mut fmt::Formatter<'_>, name: &str, failure: &Failure) -> fmt::Result {
    let subject = printable_bytes(&failure.subject);
    let cause = io::Error::from_raw_os_error(failure.errno);
    match failure.reason {
        Reason::NotFound => write!(f, "`{subject}`: command not found in box `{name}`"),
        Reason::NotExecutable => {
            write!(f, "`{subject}`: cannot be executed in box `{name}`: {cause}")
        }
        Reason::NoUser => write!(
            f,
            "box `{name}` has no user `{subject}`\n\
             run as root: --root; or add the user: incusbox-run --root {name} -- useradd -m -u UID {subject}"
        ),
        Reason::Directory => write!(f, "cannot enter `{subject}` in box `{name}`: {cause}"),
        Reason::Pty => write!(
            f,
            "box `{name}` has no terminal to give: {cause}\nsee that /dev/pts is mounted in it, or run without one: -T"
        ),
        Reason::Protocol => {
            write!(f, "the agent in box `{name}` does not understand us: {subject}")
        }
        Reason::Setup => write!(f, "box `{name}`: {subject} failed: {cause}"),
        Reason::Unseen => unseen(f, name, failure),
        Reason::Cookie => {
            write!(f, "the agent in box `{name}` wants the cookie of the display once more")
        }
        Reason::Stale => write!(
            f,
            "box `{name}` sees an old session of the host's, and its agent insists on a new one"
        ),
    }
}

fn unseen(f: &mut fmt::Formatter<'_>, name: &str, failure: &Failure) -> fmt::Result {
    let mut paths = failure.paths();
    write!(f, "`{}` ", printable_bytes(paths.next().unwrap_or_default()))?;
    match paths.count() {
        0 => write!(f, "is on the host, and box `{name}` does not see it")?,
        more => write!(f, "and {more} more are on the host, and box `{name}` does not see them")?,
    }
    write!(
        f,
        "\ncopy it to where both see it: your home, if the box shares that, or a volume \
         (incusbox info shows them)\n\
         or have this program shown what it opens: incusbox export {name} --app NAME --share-files"
    )
}

fn lost(f: &mut fmt::Formatter<'_>, name: &str, why: &Lost) -> fmt::Result {
    match why {
        Lost::Daemon => write!(
            f,
            "the Incus daemon went away while the command ran in box `{name}`\n\
             see: journalctl -u incus"
        ),
        Lost::Deleted => write!(
            f,
            "box `{name}` was deleted while the command ran\nsee which there are: incus list"
        ),
        Lost::NotRunning(status) if status == "Frozen" => {
            write!(f, "box `{name}` is frozen\nlet it go on: incus resume {name}")
        }
        Lost::NotRunning(status) => write!(
            f,
            "box `{name}` is not running any more ({})\nstart it again: incus start {name}",
            status.to_lowercase()
        ),
        Lost::Terminated => write!(
            f,
            "the command in box `{name}` was lost: the box is shutting down, or something in it \
             ended incusbox-agent\nsee: incus info {name}"
        ),
        Lost::Agent => write!(
            f,
            "the command in box `{name}` was lost: its connection was cut\n\
             see: incus info {name} --show-log"
        ),
        Lost::Output => write!(
            f,
            "the command in box `{name}` ended, but not all of its output came\n\
             see: journalctl -u incus"
        ),
        Lost::Silent(seconds) => write!(
            f,
            "no sign of life from the Incus daemon for {seconds} s; gave up on the command in \
             box `{name}`\nsee: journalctl -u incus"
        ),
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gpu_that_is_gone_is_told_with_the_way_out() {
        let start = |text: &str| Error::Start {
            name: "dev".to_owned(),
            source: incus::Error::Refused { doing: "starting", code: 400, text: text.to_owned() },
        };
        let text = "Failed to start device \"gpu\": Failed to detect requested GPU device";
        assert!(start(text).to_string().ends_with("incusbox set dev gpu=off"));
        assert!(start("anything").to_string().ends_with("--show-log"));
    }
}
