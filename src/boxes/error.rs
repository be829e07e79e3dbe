//! What can go wrong with boxes, in facts; the wording is in one `Display`.

use std::fmt;
use std::io;

use super::images;
use super::settings::BadValue;
use crate::config::BadConfig;
use crate::incus;
use crate::incus::manage::Interrupted;
use crate::message::printable;
use crate::names::BadName;
use crate::run;

/// A reason why something was not done.
#[derive(Debug)]
pub enum Error {
    /// The command line is wrong.
    Usage(String),
    /// A name is none.
    Name(BadName),
    /// An option's value is none.
    Value(BadValue),
    /// `incusbox.toml` is wrong.
    Config(BadConfig),
    /// Talking to the daemon failed.
    Incus(incus::Error),
    /// The agent could not be found or copied.
    Agent(run::Error),
    /// The image cannot be had.
    Image(images::Error),
    /// There is no such box.
    NoBox { name: String, near: Vec<String> },
    /// The instance is not one of incusbox's.
    NotABox { name: String },
    /// There is an instance of this name.
    Exists { name: String, is_box: bool },
    /// Somebody else is making a box of this name, or may be, where that cannot be known.
    BeingMade { name: String, is_known: bool },
    /// An instance shows something else at a path.
    OtherDisk { name: String, device: String, path: String, source: String, read_only: bool },
    /// An instance did not become a box.
    NotAdopted { cause: Box<Error>, put_back: PutBack },
    /// The user's ids cannot be mapped.
    NoMapping { user: String, missing: Vec<(&'static str, String)> },
    /// The image has no init, and the box may not be given one.
    NoInit { source: incus::Error },
    /// The network of isolated boxes cannot be made.
    NoIsolation { source: incus::Error },
    /// The box does not start; a new one is removed again.
    Start { name: String, source: incus::Error, log: Option<String>, is_new: bool },
    /// A step of the set-up in the box failed.
    Setup { name: String, step: String, text: String },
    /// The agent in the box ended without a last word.
    Mute { name: String, status: Option<i32>, stderr: String },
    /// The agent in the box does not answer.
    Slow { name: String, seconds: u64 },
    /// Files have wrong owners although ids are mapped.
    WrongOwner { path: String, seen: u32, wanted: u32 },
    /// Something on the host failed.
    Host { doing: &'static str, source: io::Error },
    /// A signal ended it.
    Signal(i32),
}

/// What became of an instance that could not be made a box.
#[derive(Debug)]
pub struct PutBack {
    /// Its name.
    pub name: String,
    /// Its state, if it has what it had before; else what was in the way of that.
    pub state: Result<String, Box<Error>>,
}

impl std::error::Error for Error {}

macro_rules! from {
    ($source:ty, $variant:ident) => {
        impl From<$source> for Error {
            fn from(source: $source) -> Error {
                Error::$variant(source)
            }
        }
    };
}

from!(BadName, Name);
from!(BadValue, Value);
from!(BadConfig, Config);
from!(incus::Error, Incus);
from!(run::Error, Agent);
from!(images::Error, Image);

impl From<Interrupted> for Error {
    fn from(interrupted: Interrupted) -> Error {
        match interrupted {
            Interrupted::Signal(signal) => Error::Signal(signal),
            Interrupted::Error(error) => Error::Incus(error),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Usage(text) => f.write_str(text),
            Error::Name(error) => error.fmt(f),
            Error::Value(error) => error.fmt(f),
            Error::Config(error) => error.fmt(f),
            Error::Incus(error) => {
                error.fmt(f)?;
                hint(f, error.text().unwrap_or_default())
            }
            Error::Agent(error) => error.fmt(f),
            Error::Image(error) => error.fmt(f),
            Error::NoBox { name, near } => {
                write!(f, "there is no box `{name}`")?;
                match near.is_empty() {
                    true => f.write_str("\nsee which there are: incusbox list"),
                    false => write!(f, "\ndid you mean: {}", near.join(", ")),
                }
            }
            Error::NotABox { name } => write!(
                f,
                "`{name}` is an instance of Incus, but not a box of incusbox\nmake it one: incusbox adopt {name}"
            ),
            Error::Exists { name, is_box: true } => write!(
                f,
                "there is a box `{name}` already, and nothing was changed\ngo into it: incusbox enter {name}\nor take another name"
            ),
            Error::Exists { name, is_box: false } => write!(
                f,
                "there is an instance `{name}` already, which is not a box of incusbox; nothing was changed\ntake another name, or make it a box: incusbox adopt {name}"
            ),
            Error::BeingMade { name, is_known: false } => write!(
                f,
                "the box `{name}` is half made by an incusbox of another machine, container or version, which may be at work; nothing was changed\nif it is not: incus delete --force {name}"
            ),
            Error::BeingMade { name, is_known: true } => write!(
                f,
                "another incusbox is making the box `{name}` at this moment\nwait for it: incusbox list"
            ),
            Error::OtherDisk { name, device, path, source, read_only } => write!(
                f,
                "`{name}` shows `{}` at `{}` already{}, and nothing was changed: adopting takes nothing away\nshow yours at another path, or take that away before: incus config device remove {name} {device}",
                printable(source),
                printable(path),
                if *read_only { ", read-only" } else { "" },
            ),
            Error::NotAdopted { cause, put_back } => write!(f, "{cause}\n{put_back}"),
            Error::NoMapping { user, missing } => no_mapping(f, user, missing),
            Error::NoInit { source } => write!(
                f,
                "the image has no init, and a box of this project may not be given one: {source}\ntake an image that has one, such as debian:13\n{WHO_MAY}"
            ),
            Error::NoIsolation { source } => write!(
                f,
                "an isolated box needs a network of its own, and that cannot be made: {source}\nmake the box without any network: --network none"
            ),
            Error::Start { name, source, log, is_new } => {
                let removed = if *is_new { ", and was removed again" } else { "" };
                write!(f, "the box `{name}` does not start{removed}: {source}")?;
                if let Some(line) = log {
                    write!(f, "\nits log says: {}", printable(line))?;
                }
                match source.lets_start(name) {
                    Some(_) if *is_new => f.write_str("\nmake it without a GPU: --no-gpu"),
                    Some(mends) => write!(f, "\n{mends}"),
                    None => hint(f, source.text().unwrap_or_default()),
                }
            }
            Error::Setup { name, step, text } => {
                write!(f, "setting up the box `{name}` failed ({}): ", printable(step))?;
                let lines: Vec<String> = text.lines().map(printable).collect();
                f.write_str(&lines.join("\n  "))?;
                hint(f, text)
            }
            Error::Mute { name, status, stderr } => {
                write!(f, "the agent in the box `{name}` ended without a result")?;
                if let Some(status) = status {
                    write!(f, ", with status {status}")?;
                }
                match stderr.is_empty() {
                    true => Ok(()),
                    false => write!(f, ": {}", printable(stderr)),
                }
            }
            Error::Slow { name, seconds } => write!(
                f,
                "the box `{name}` did not say within {seconds} s what it has\nsee what it is busy with: incusbox run {name} -- top"
            ),
            Error::WrongOwner { path, seen, wanted } => write!(
                f,
                "files in `{path}` have the owner {seen} where {wanted} was expected, so home and box do not fit together\nlook at what is set up: incusbox doctor"
            ),
            Error::Host { doing, source } => write!(f, "{doing}: {source}"),
            Error::Signal(_) => f.write_str("interrupted"),
        }
    }
}

/// What to do about it, where the words of Incus or of the box do not say.
fn hint(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    let text = text.to_lowercase();
    let known = |words: &[&str]| words.iter().any(|words| text.contains(words));
    if known(&["out of disk space", "no space left"]) {
        f.write_str("\nsee how much is left: incusbox doctor")
    } else if known(&["has no \"limits.memory\" config"]) {
        f.write_str("\nthe project wants a limit for each box: --memory 4GiB")
    } else if let Some(way_out) = way_out(&text) {
        write!(f, "\nthe project is restricted: {way_out}\n{WHO_MAY}")
    } else {
        Ok(())
    }
}

impl fmt::Display for PutBack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = &self.name;
        match &self.state {
            Ok(state) => write!(
                f,
                "`{name}` has the configuration and devices that it had before, and is {}",
                state.to_lowercase()
            ),
            Err(error) => write!(
                f,
                "`{name}` could not be put back as it was before: {error}\nsee what it has now: incus config show {name}"
            ),
        }
    }
}

/// Who need not take the way out.
const WHO_MAY: &str =
    "members of the group incus-admin may do it, in a project that is not restricted";

/// What works in place of what a restricted project forbids. The words are those of
/// `internal/server/project/permissions.go`, the same in Incus 6.0 and 7.0.
fn way_out(text: &str) -> Option<&'static str> {
    const ALL: &[(&[&str], &str)] = &[
        (
            &["disk source path", "not allowed"],
            "its boxes are shown only directories that it names, for users of the group incus their home; give one in there",
        ),
        (
            &["restricted source path"],
            "files are not shifted in it; have ids mapped: incusbox setup",
        ),
        (
            &["disks not backed by a pool", "forbidden"],
            "make a box that sees no files: --home none",
        ),
        (&["disk devices are forbidden"], "make a box that sees no files: --home none"),
        (&["raw.idmap", "forbidden"], "make a box with a home of its own: --home none"),
        (&["interception is forbidden"], "leave system calls alone: --intercept auto"),
        (&["nesting is forbidden"], "make a box without containers inside: --no-nesting"),
        (&["gpu devices are forbidden"], "make a box without it: --no-gpu"),
        (&["is forbidden"], "leave that out"),
        (&["are forbidden"], "leave that out"),
    ];
    let says = |(words, _): &&(&[&str], &str)| words.iter().all(|word| text.contains(word));
    ALL.iter().find(says).map(|(_, way_out)| *way_out)
}

fn no_mapping(
    f: &mut fmt::Formatter<'_>,
    user: &str,
    missing: &[(&'static str, String)],
) -> fmt::Result {
    write!(f, "the files of `{user}` cannot be shown in a box: ")?;
    for (at, (file, line)) in missing.iter().enumerate() {
        let separator = if at > 0 { ", and " } else { "" };
        write!(f, "{separator}{file} lacks the line `{line}`")?;
    }
    f.write_str(
        "\nadd what is missing: incusbox setup\nor make a box with a home of its own: --home none",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What Incus 6.0 answered to a user of the restricted socket.
    const REFUSALS: [(&str, &str); 5] = [
        (
            "Invalid device \"v\" on container \"b\" of project \"user-1\": Disk source path \"/srv\" not allowed",
            "their home; give one in there",
        ),
        (
            "Use of low-level config \"raw.lxc\" on container \"b\" of project \"user-1\" is forbidden",
            "leave that out",
        ),
        (
            "Use of low-level \"raw.idmap\" element 0 on container \"b\" of project \"user-1\" is forbidden",
            "--home none",
        ),
        ("Invalid value \"true\": Container syscall interception is forbidden", "--intercept auto"),
        ("Invalid value \"true\": Privileged containers are forbidden", "leave that out"),
    ];

    #[test]
    fn what_a_restricted_project_forbids_is_told_with_the_way_out() {
        let refused = |text: &str| incus::Error::Refused {
            doing: "making the box",
            code: 403,
            text: text.to_owned(),
        };
        for (text, way_out) in REFUSALS {
            let told = Error::Incus(refused(text)).to_string();
            assert!(told.contains("the project is restricted: "), "{told}");
            assert!(told.contains(way_out) && told.ends_with(WHO_MAY), "{told}");
        }
        let told = Error::NoInit { source: refused(REFUSALS[1].0) }.to_string();
        assert!(told.starts_with("the image has no init") && told.ends_with(WHO_MAY), "{told}");
        let told = Error::Incus(refused("Instance not found")).to_string();
        assert!(!told.contains('\n'), "{told}");
    }
}
