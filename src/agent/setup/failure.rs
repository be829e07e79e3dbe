//! Why a box could not be set up: facts in fields, the wording in one place.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use crate::exit::ExitStatus;

/// What stood in the way.
#[derive(Debug)]
pub enum Failure {
    /// The request is not one, or asks for something that cannot be.
    Request(String),
    /// Nobody reads what we say any more.
    Unheard,
    /// The box's root cannot be written.
    ReadOnly(PathBuf),
    /// Something else is where a file should be.
    NotAFile {
        /// Where.
        path: PathBuf,
        /// What is there, with its article.
        what: &'static str,
    },
    /// A call of the kernel's failed.
    Io {
        /// What was tried, as in "reading".
        doing: &'static str,
        /// With which file.
        path: PathBuf,
        /// Its answer.
        error: io::Error,
    },
    /// Another program kept the account files locked.
    AccountsLocked {
        /// How long we waited.
        seconds: u64,
    },
    /// The user's id belongs to a system account.
    IdOfSystemAccount {
        /// The host's user.
        name: String,
        /// Its id.
        id: u32,
        /// Who has it in the box.
        holder: String,
    },
    /// The user's name is that of a system account with another id.
    NameOfSystemAccount {
        /// The name.
        name: String,
        /// The host's id.
        id: u32,
        /// The box's.
        held: u32,
    },
    /// The box has no such id.
    IdNotMapped {
        /// `user` or `group`.
        kind: &'static str,
        /// The id.
        id: u32,
    },
    /// No id is left that an account of the image could move to.
    NoFreeId,
    /// The box did not boot.
    InitNeverUp {
        /// Its init system.
        init: String,
        /// How long we waited.
        seconds: u64,
        /// What it last said.
        state: String,
    },
    /// The box has no package manager that we know.
    NoPackageManager {
        /// The distribution.
        distribution: String,
    },
    /// Another program kept the package manager's lock.
    PackagesLocked {
        /// The lock.
        path: PathBuf,
        /// How long we waited.
        seconds: u64,
    },
    /// A command of a package manager failed.
    Command {
        /// The command, as one would type it.
        command: String,
        /// How it ended; `None` when it could not be started.
        ended: Result<ExitStatus, io::Error>,
        /// The last lines of its output.
        last: Vec<String>,
    },
    /// A hook failed.
    Hook {
        /// Which kind of hook.
        kind: &'static str,
        /// The hook.
        hook: String,
        /// How it ended.
        ended: Result<ExitStatus, io::Error>,
    },
}

impl Failure {
    /// A function that makes a `Failure` of what the kernel said when `doing` something to `path`.
    pub fn io<E: Into<io::Error>>(
        doing: &'static str,
        path: impl AsRef<Path>,
    ) -> impl FnOnce(E) -> Failure {
        let path = path.as_ref().to_owned();
        move |error| {
            let error: io::Error = error.into();
            match error.raw_os_error() {
                Some(libc::EROFS) => Failure::ReadOnly(path),
                _ => Failure::Io { doing, path, error },
            }
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Request(why) => write!(f, "the request cannot be carried out: {why}"),
            Failure::Unheard => f.write_str("nobody reads the answers any more"),
            Failure::ReadOnly(path) => write!(
                f,
                "`{}` cannot be written, for the box's root is read-only: \
                 set the box up while it is not",
                path.display()
            ),
            Failure::NotAFile { path, what } => write!(
                f,
                "`{}` in the box is {what}, not a file: put it right, then try again",
                path.display()
            ),
            Failure::Io { doing, path, error } => {
                write!(f, "{doing} `{}` in the box failed: {error}", path.display())
            }
            Failure::AccountsLocked { seconds } => write!(
                f,
                "another program in the box kept its account files locked for {seconds} s \
                 (`/etc/.pwd.lock`): try again"
            ),
            Failure::IdOfSystemAccount { name, id, holder } => write!(
                f,
                "the user id {id} of `{name}` belongs to the box's system account `{holder}`: \
                 use another image, or another user"
            ),
            Failure::NameOfSystemAccount { name, id, held } => write!(
                f,
                "`{name}` has the user id {id} on the host and is the system account of id {held} \
                 in the box: use another image, or another user"
            ),
            Failure::IdNotMapped { kind, id } => write!(
                f,
                "the {kind} id {id} does not exist in this box, whose id map leaves it out: \
                 give the box a map that has it (`raw.idmap`)"
            ),
            Failure::NoFreeId => f.write_str(
                "the box has no free id between 1000 and 59999 for an account of its image",
            ),
            Failure::InitNeverUp { init, seconds, state } => write!(
                f,
                "the box's {init} did not come up in {seconds} s (it says: {state}), so no package \
                 and no hook could be run"
            ),
            Failure::NoPackageManager { distribution } => write!(
                f,
                "packages were asked for, and the box (`{distribution}`) has none of apt, dnf, \
                 pacman, zypper and apk"
            ),
            Failure::PackagesLocked { path, seconds } => write!(
                f,
                "another program in the box kept the packages locked for {seconds} s (`{}`): \
                 try again when it is done",
                path.display()
            ),
            Failure::Command { command, ended, last } => {
                write!(f, "`{command}` {}", how(ended))?;
                last.iter().try_for_each(|line| write!(f, "\n{line}"))
            }
            Failure::Hook { kind, hook, ended } => {
                let by = if ended.is_err() { " is for a shell: `/bin/sh`" } else { "" };
                write!(f, "the {kind} hook `{hook}`{by} {}", how(ended))
            }
        }
    }
}

impl std::error::Error for Failure {}

fn how(ended: &Result<ExitStatus, io::Error>) -> String {
    match ended {
        Ok(ExitStatus::Code(code)) => format!("ended with status {code}"),
        Ok(ExitStatus::Signal(signal)) => format!("was killed by signal {signal}"),
        Err(error) => format!("could not be run: {error}"),
    }
}
