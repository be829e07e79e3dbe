//! The request: everything that the agent needs to know to start a command.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::PROTOCOL;
use super::desktop::{self, Desktop};
use super::wire::{Malformed, Reader, put_bytes, put_size};
use crate::sys::terminal::{Settings, Size};

/// What a standard descriptor of the command shall be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fd {
    /// The terminal.
    Terminal = 0,
    /// A pipe to or from the host.
    Pipe = 1,
    /// `/dev/null`.
    Null = 2,
    /// Closed.
    Closed = 3,
    /// For stderr: the same pipe as stdout, so that what is written to both keeps its order.
    Stdout = 4,
}

/// What to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// The user's login shell.
    LoginShell,
    /// A program and its arguments; never empty.
    Argv(Vec<Vec<u8>>),
    /// The agent's own program, with these arguments; never empty.
    Own(Vec<Vec<u8>>),
}

/// As whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum User {
    /// The account of the box with this user id, else the one of this name.
    Host {
        /// The user's id on the host.
        uid: u32,
        /// The user's name on the host; empty where it has none.
        name: Vec<u8>,
    },
    /// An account of the box, by name or number.
    Named(Vec<u8>),
}

/// Whether a missing working directory matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// Go on in the user's home.
    UseHome = 0,
    /// Refuse.
    Refuse = 1,
}

/// The environment below the variables that the request names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Base {
    /// What a login shell of the user exports.
    Login = 0,
    /// Only HOME, USER, LOGNAME, SHELL and PATH.
    Clean = 1,
}

/// The command's terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terminal {
    /// The settings to start with: the host's.
    pub settings: Settings,
    /// The size to start with.
    pub size: Size,
    /// Whether the agent has to say when a program waits for the keyboard.
    pub watch: Watch,
}

/// Whether the agent has to say when a program waits for the keyboard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Watch {
    /// The host forwards the keyboard from the start.
    No = 0,
    /// The host leaves its terminal to others (a pager at the end of the pipe) until asked.
    Yes = 1,
}

/// Where a box has files that it is shown for one run. Nobody but root makes anything there.
pub const FILES: &str = "/run/incusbox/files";

/// A file of the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    /// Its path.
    pub path: Vec<u8>,
    /// Its device, which is the same in all mounts of a file system.
    pub device: u64,
    /// Its inode.
    pub inode: u64,
}

impl Opened {
    /// Its path.
    pub fn to_path(&self) -> &Path {
        Path::new(OsStr::from_bytes(&self.path))
    }
}

/// All that the agent needs to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The box's name, for `INCUSBOX_BOX`.
    pub box_name: Vec<u8>,
    /// What to run.
    pub command: Command,
    /// As whom.
    pub user: User,
    /// Where: an absolute path; empty for the user's home.
    pub directory: Vec<u8>,
    /// What to do when that is missing.
    pub missing: Missing,
    /// The environment below `environment`.
    pub base: Base,
    /// Variables to set, in order.
    pub environment: Vec<(Vec<u8>, Vec<u8>)>,
    /// What stdin, stdout and stderr shall be.
    pub fds: [Fd; 3],
    /// The terminal, when one of them is one, or the command may open `/dev/tty`.
    pub terminal: Option<Terminal>,
    /// Signals to ignore: bit N-1 for signal N.
    pub ignored_signals: u64,
    /// Where to move the agent's own file before anything else: it was just pushed under a
    /// temporary name.
    pub install_as: Option<Vec<u8>>,
    /// Where `incusbox-run` is on the host, for shims; empty where that is not known.
    pub runner: Vec<u8>,
    /// Files that the command shall open: each must be in the box what it is on the host.
    pub opened: Vec<Opened>,
    /// The host's desktop session; `None` where the command shall have nothing of it.
    pub desktop: Option<Desktop>,
}

/// Appends a request's payload.
pub(super) fn encode_request(request: &Request, out: &mut Vec<u8>) {
    out.extend_from_slice(&PROTOCOL.to_le_bytes());
    put_bytes(out, &request.box_name);
    let (argv, is_own): (&[Vec<u8>], bool) = match &request.command {
        Command::LoginShell => (&[], false),
        Command::Argv(argv) => (argv, false),
        Command::Own(argv) => (argv, true),
    };
    out.push(u8::from(is_own));
    out.extend_from_slice(&(argv.len() as u32).to_le_bytes());
    for argument in argv {
        put_bytes(out, argument);
    }
    match &request.user {
        User::Host { uid, name } => {
            out.push(0);
            out.extend_from_slice(&uid.to_le_bytes());
            put_bytes(out, name);
        }
        User::Named(name) => {
            out.push(1);
            put_bytes(out, name);
        }
    }
    put_bytes(out, &request.directory);
    out.extend_from_slice(&[request.missing as u8, request.base as u8]);
    out.extend_from_slice(&(request.environment.len() as u32).to_le_bytes());
    for (name, value) in &request.environment {
        put_bytes(out, name);
        put_bytes(out, value);
    }
    out.extend(request.fds.map(|fd| fd as u8));
    out.push(u8::from(request.terminal.is_some()));
    if let Some(terminal) = &request.terminal {
        for flags in terminal.settings.flags {
            out.extend_from_slice(&flags.to_le_bytes());
        }
        out.extend_from_slice(&terminal.settings.characters);
        put_size(out, terminal.size);
        out.push(terminal.watch as u8);
    }
    out.extend_from_slice(&request.ignored_signals.to_le_bytes());
    put_bytes(out, request.install_as.as_deref().unwrap_or_default());
    put_bytes(out, &request.runner);
    out.extend_from_slice(&(request.opened.len() as u32).to_le_bytes());
    for Opened { path, device, inode } in &request.opened {
        put_bytes(out, path);
        out.extend_from_slice(&device.to_le_bytes());
        out.extend_from_slice(&inode.to_le_bytes());
    }
    out.push(u8::from(request.desktop.is_some()));
    if let Some(session) = &request.desktop {
        desktop::encode(session, out);
    }
}

/// Reads a request's payload.
pub(super) fn decode_request(reader: &mut Reader<'_>) -> Result<Request, Malformed> {
    if reader.u16()? != PROTOCOL {
        return Err(Malformed("protocol version"));
    }
    let box_name = reader.bytes()?.to_vec();
    let is_own = reader.flag()?;
    let argv = reader.list(|reader| Ok(reader.bytes()?.to_vec()))?;
    let command = match (argv.is_empty(), is_own) {
        (true, false) => Command::LoginShell,
        (true, true) => return Err(Malformed("command")),
        (false, false) => Command::Argv(argv),
        (false, true) => Command::Own(argv),
    };
    let user = match reader.byte()? {
        0 => User::Host { uid: reader.u32()?, name: reader.bytes()?.to_vec() },
        1 => User::Named(reader.bytes()?.to_vec()),
        _ => return Err(Malformed("user")),
    };
    let directory = reader.bytes()?.to_vec();
    let missing = if reader.flag()? { Missing::Refuse } else { Missing::UseHome };
    let base = if reader.flag()? { Base::Clean } else { Base::Login };
    let environment =
        reader.list(|reader| Ok((reader.bytes()?.to_vec(), reader.bytes()?.to_vec())))?;
    let fds = [reader.fd()?, reader.fd()?, reader.fd()?];
    let terminal = if reader.flag()? { Some(reader.terminal()?) } else { None };
    let ignored_signals = reader.u64()?;
    let install_as = Some(reader.bytes()?.to_vec()).filter(|path| !path.is_empty());
    let runner = reader.bytes()?.to_vec();
    let opened = reader.list(|reader| {
        let path = reader.bytes()?.to_vec();
        Ok(Opened { path, device: reader.u64()?, inode: reader.u64()? })
    })?;
    let desktop = if reader.flag()? { Some(desktop::decode(reader)?) } else { None };
    Ok(Request {
        box_name,
        command,
        user,
        directory,
        missing,
        base,
        environment,
        fds,
        terminal,
        ignored_signals,
        install_as,
        runner,
        opened,
        desktop,
    })
}
