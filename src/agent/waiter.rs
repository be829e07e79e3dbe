//! The process that incusd starts: reads the request, forks the supervisor, waits for its word.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use super::protocol::{self, Failure, FromAgent, PROTOCOL, Reason, Request, ToAgent};
use super::{exporter, init, login, shims, supervise, xdg_open};
use crate::exit::{self, ExitStatus};
use crate::sys::process::{self, Forked};
use crate::sys::{pipes, signals};

/// Runs the agent with the process's own arguments; returns its exit status.
pub fn main() -> u8 {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let called = arguments.first().map(Path::new).and_then(Path::file_name);
    if called.is_some_and(|name| name == xdg_open::NAME) {
        return xdg_open::main(&arguments);
    }
    if exporter::is_called(called) {
        return exporter::main(&arguments);
    }
    if called.is_some_and(|name| name == shims::NAME) {
        return shims::main(&arguments);
    }
    match arguments.get(1).and_then(|argument| argument.to_str()) {
        Some("exec") => end(run(&arguments[0])),
        Some("service") => end(super::service::run(&arguments[2..])),
        Some(work @ ("setup" | "upgrade" | "nvidia")) => {
            match install(&arguments[0], arguments.get(2)).map(|()| work) {
                Ok("setup") => super::setup::main(),
                Ok("nvidia") => super::setup::main_of_nvidia(),
                Ok(_) => super::setup::main_of_upgrade(),
                Err(error) => {
                    complain(&error);
                    exit::FAILURE
                }
            }
        }
        Some("apps") => {
            let told = install(&arguments[0], arguments.get(2));
            let agent = arguments.get(2).unwrap_or(&arguments[0]);
            match told.and_then(|()| super::apps::run(agent)) {
                Ok(()) => 0,
                Err(error) => {
                    complain(&error);
                    exit::FAILURE
                }
            }
        }
        Some("watch") => match super::watch::run(&arguments[2..], &arguments[0]) {
            Ok(()) => 0,
            Err(error) => {
                complain(&error);
                exit::FAILURE
            }
        },
        Some("print-environment") => match login::print_environment() {
            Ok(()) => 0,
            Err(_) => exit::FAILURE,
        },
        Some("probe") => match super::probe::run(&arguments[2..]) {
            Ok(()) => 0,
            Err(error) => {
                complain(&error);
                exit::FAILURE
            }
        },
        Some("dhcp") => {
            let interface = arguments.get(2).and_then(|name| name.to_str()).unwrap_or_default();
            match super::dhcp::run(interface) {
                Ok(()) => 0,
                Err(error) => {
                    complain(&error);
                    exit::FAILURE
                }
            }
        }
        Some("init") => match init::run() {
            Ok(()) => 0,
            Err(error) => {
                complain(&error);
                exit::FAILURE
            }
        },
        Some("--version") => {
            let version = format!("incusbox-agent {}\n", env!("CARGO_PKG_VERSION"));
            u8::from(io::stdout().write_all(version.as_bytes()).is_err())
        }
        _ => {
            complain(&io::Error::other("started by incusbox-run inside a box, never by hand"));
            exit::FAILURE
        }
    }
}

/// Ends as something did.
fn end(ended: io::Result<ExitStatus>) -> u8 {
    match ended {
        Ok(ExitStatus::Code(code)) => code,
        Ok(ExitStatus::Signal(signal)) => {
            signals::die_by(signal);
            ExitStatus::Signal(signal).shell_code()
        }
        Err(error) => {
            complain(&error);
            exit::FAILURE
        }
    }
}

/// Moves this program to its own path; it was copied under another name, so that nobody ever
/// executes half of it.
fn install(own_path: &OsString, target: Option<&OsString>) -> io::Result<()> {
    let Some(target) = target.map(Path::new) else { return Ok(()) };
    std::fs::rename(own_path, target)?;
    remove_old_agents(target);
    Ok(())
}

/// The client does not understand us (yet): plain words, which it shows when no greeting came.
fn complain(error: &io::Error) {
    let _nobody_to_tell = writeln!(io::stderr(), "incusbox-agent: {error}");
}

fn run(own_path: &OsString) -> io::Result<ExitStatus> {
    process::no_core_file();
    let mut from_host = File::from(process::take_standard(0)?);
    let (request, rest) = match read_request(&mut from_host) {
        Ok(read) => read,
        Err(error) => return refuse(Reason::Protocol, &error.to_string()),
    };
    if let Some(target) = &request.install_as {
        let target = Path::new(std::ffi::OsStr::from_bytes(target));
        std::fs::rename(own_path, target)?;
        remove_old_agents(target);
    }
    if request.desktop.as_ref().is_some_and(super::desktop::is_stale) {
        return refuse(Reason::Stale, "");
    }
    if request.desktop.as_ref().is_some_and(super::desktop::lacks_cookie) {
        return refuse(Reason::Cookie, "");
    }
    shims::offer(&request.runner);
    let agent = request.install_as.clone().map_or_else(|| own_path.clone(), OsString::from_vec);

    let (status_read, status_write) = pipes::pipe()?;
    match process::fork()? {
        Forked::Child => {
            drop(status_read);
            let to_host = [process::take_standard(1)?, process::take_standard(2)?];
            let code = match supervise::run(
                &request,
                &agent,
                from_host.into(),
                rest,
                to_host,
                status_write,
            ) {
                Ok(()) => 0,
                Err(error) => {
                    complain(&error);
                    1
                }
            };
            process::exit_now(code)
        }
        Forked::Parent(_) => {
            drop(status_write);
            drop(from_host);
            // Only the supervisor may hold the streams: their end is the end of the output.
            for number in 0..3 {
                drop(process::take_standard(number)?);
            }
            let mut status = [0; 2];
            File::from(status_read).read_exact(&mut status)?;
            Ok(match status {
                [0, code] => ExitStatus::Code(code),
                [_, signal] => ExitStatus::Signal(i32::from(signal)),
            })
        }
    }
}

/// Tells the client, in its own protocol, why its request is not carried out. Both messages in one
/// write: after a greeting alone the client would begin to send stdin.
fn refuse(reason: Reason, subject: &str) -> io::Result<ExitStatus> {
    let mut out = Vec::new();
    FromAgent::Hello(PROTOCOL).encode(&mut out);
    let subject = subject.as_bytes().to_vec();
    FromAgent::Failed(Failure { reason, errno: 0, subject }).encode(&mut out);
    io::stderr().write_all(&out)?;
    Ok(ExitStatus::Code(exit::FAILURE))
}

/// Reads the first frame, which must be the request, and what was read behind it.
fn read_request(from_host: &mut File) -> io::Result<(Box<Request>, Vec<u8>)> {
    let mut bytes = Vec::with_capacity(16 << 10);
    loop {
        let malformed = |error| io::Error::new(io::ErrorKind::InvalidData, error);
        if let Some((kind, payload, used)) = protocol::split(&bytes).map_err(malformed)? {
            return match protocol::decode_to_agent(kind, payload).map_err(malformed)? {
                ToAgent::Request(request) => Ok((request, bytes.split_off(used))),
                _ => Err(malformed(protocol::Malformed("first frame"))),
            };
        }
        let mut chunk = [0; 16 << 10];
        match from_host.read(&mut chunk) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => bytes.extend_from_slice(&chunk[..count]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// How many agents of other versions stay beside a new one: two users of one box may have
/// different versions of incusbox, and neither shall push its own at every run.
const KEPT_AGENTS: usize = 4;

/// Removes the oldest agents of other versions. A running one keeps its file until it ends.
fn remove_old_agents(own: &Path) {
    let (Some(directory), Some(own_name)) = (own.parent(), own.file_name()) else { return };
    let Ok(entries) = std::fs::read_dir(directory) else { return };
    let mut others: Vec<_> = entries
        .flatten()
        .filter(|entry| entry.file_name() != own_name)
        .filter(|entry| entry.file_name().as_bytes().starts_with(b"agent-"))
        .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
        .collect();
    others.sort();
    let surplus = others.len().saturating_sub(KEPT_AGENTS - 1);
    for (_, path) in &others[..surplus] {
        let _kept_then = std::fs::remove_file(path);
    }
}
