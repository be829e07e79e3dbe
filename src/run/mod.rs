//! The exec path: what `incusbox-run` does, from its arguments to its exit status.
//!
//! [`main`] reads top-down: arguments ([`arguments`], [`shim`]), what the caller handed us and what
//! follows from it ([`plan`], pure), a session with the daemon (`session`), the relay in the middle
//! (`relay` with the agent, `native` without), the end.

pub mod arguments;
pub mod environment;
pub mod inside;
pub mod plan;
pub mod shim;

pub(crate) mod agent_file;
pub(crate) mod desktop;
mod downlink;
mod error;
mod input;
mod native;
mod native_relay;
mod notice;
mod opened;
mod output;
mod relay;
mod relayed;
mod renewal;
mod screen;
mod session;
pub(crate) mod share;
mod title;
mod trace;
mod uplink;
mod xauthority;

use std::ffi::OsString;
use std::io::{self, Write};
use std::os::fd::BorrowedFd;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use crate::agent::protocol::{self, Opened};
use crate::exit::ExitStatus;
use crate::incus::{self, Client};
use crate::message;
use crate::sys::fds::{self, FdKind, Standard};
use crate::sys::terminal::{self, Terminal};
use crate::sys::{process, signals, startup};
use arguments::{Mode, Options, Stop, Tty};
pub(crate) use error::Error;
use plan::{Seen, Surroundings};
use session::{Finished, Session};
use trace::Trace;

/// The name that messages begin with.
const PROGRAM: &str = "incusbox-run";
/// How long what starts a service waits for the daemon.
const BOOT: Duration = Duration::from_secs(120);
const PAUSE: Duration = Duration::from_millis(500);

/// Runs the program with the process's own arguments, and ends as the command did.
pub fn main() -> ExitCode {
    match with_terminal_restored(run) {
        Ok(ExitStatus::Code(code)) => code.into(),
        Ok(ExitStatus::Signal(signal)) => {
            signals::die_by(signal);
            ExitStatus::Signal(signal).shell_code().into()
        }
        Err(error) => {
            message::say(PROGRAM, &error);
            error.exit_code().into()
        }
    }
}

/// Does `work`. The program aborts on a panic, so guards do not run; the terminal must not stay raw.
fn with_terminal_restored<T>(work: impl FnOnce() -> T) -> T {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        terminal::restore_saved();
        usual(info);
    }));
    work()
}

fn run() -> Result<ExitStatus, Error> {
    let options = match arguments::parse(command_line()?) {
        Ok(options) => options,
        Err(Stop::Print(text)) => return print(&text),
        Err(Stop::Mistake(text)) => return Err(Error::Usage(text)),
    };
    let (is_launched, is_unit) = (options.notify, options.is_agents);
    let done = run_in(options);
    if let (Err(error), true) = (&done, is_unit) {
        message::say(PROGRAM, error);
        return Ok(ExitStatus::Code(error.unit_exit_code()));
    }
    if let (Err(error), true) = (&done, is_launched) {
        notice::show(&error.to_string());
    }
    done
}

fn run_in(mut options: Options) -> Result<ExitStatus, Error> {
    let trace = Trace::new(options.verbose);
    let mark = options.opened.take();
    let named = mark.map(|mark| opened::take(&mut options.command, &mark)).unwrap_or_default();
    let around = surroundings(&options, named.iter().map(|named| named.opened.clone()).collect());
    let plan = plan::plan(&options, &around, |name| std::env::var_os(name));
    let project = options.project.clone().or_else(|| std::env::var("INCUS_PROJECT").ok());
    let client = connect(&options, project.filter(|project| !project.is_empty()))?;
    trace.note("connected to Incus");
    let mut session = Session { options: &options, client, named: &named, trace: &trace };
    if options.mode != Mode::Native {
        match session.run(&plan, || host_terminal(&options))? {
            Finished::Status(status) => return Ok(status),
            Finished::Native => {}
        }
    }
    session.refuse_sharing()?;
    native::run(&mut session, &plan, host_terminal(&options))
}

/// Connects to the daemon. What starts a service waits for one that is being restarted, or comes up
/// later than the user's units at boot.
fn connect(options: &Options, project: Option<String>) -> Result<Client, incus::Error> {
    use incus::Error::{NoSocket, NotRunning};
    let is_start = options.is_agents && options.command.get(1).is_some_and(|word| word == "start");
    let began = Instant::now();
    let mut is_told = false;
    loop {
        match Client::connect(project.clone()) {
            Err(NoSocket { .. } | NotRunning { .. }) if is_start && began.elapsed() < BOOT => {
                if !std::mem::replace(&mut is_told, true) {
                    message::say(PROGRAM, "waiting for the Incus daemon …");
                }
                std::thread::sleep(PAUSE);
            }
            other => return other,
        }
    }
}

/// The command line, with a shim's content in place of `--shim FILE`.
fn command_line() -> Result<Vec<OsString>, Error> {
    let mut arguments = std::env::args_os();
    let (program, first) = (arguments.next(), arguments.next());
    if first.as_deref() != Some("--shim".as_ref()) {
        return Ok(program.into_iter().chain(first).chain(arguments).collect());
    }
    let path = arguments.next().map(PathBuf::from);
    let path = path.ok_or_else(|| Error::Usage("--shim needs the path of a shim".to_owned()))?;
    let bytes =
        read_shim(&path).map_err(|source| Error::ShimFile { path: path.clone(), source })?;
    let shim = match shim::parse(&bytes) {
        Ok(shim) => shim,
        Err(bad) => return Err(Error::Shim { path, bad }),
    };
    // In a box that shares the directory of this program, too.
    match std::env::var_os(protocol::BOX).filter(|_| incus::socket::has_no_socket()) {
        Some(here) => Err(Error::Inside(inside::run(shim, arguments, &here))),
        None => Ok(shim.command_line(arguments)),
    }
}

fn read_shim(path: &PathBuf) -> io::Result<Vec<u8>> {
    use io::Read;
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(shim::MOST_BYTES as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn print(text: &str) -> Result<ExitStatus, Error> {
    match io::stdout().write_all(text.as_bytes()) {
        Ok(()) => Ok(ExitStatus::Code(0)),
        Err(source) => Err(Error::Host { doing: "writing stdout", source }),
    }
}

/// The first standard descriptor that is a terminal.
fn terminal_fd(kinds: [FdKind; 3]) -> Option<BorrowedFd<'static>> {
    let standards = [Standard::Stdin, Standard::Stdout, Standard::Stderr];
    let at = kinds.iter().position(|kind| *kind == FdKind::Terminal)?;
    Some(standards[at].fd())
}

fn kinds() -> [FdKind; 3] {
    [Standard::Stdin.kind(), Standard::Stdout.kind(), Standard::Stderr.kind()]
}

/// The terminal to work with, unless the command shall have none.
fn host_terminal(options: &Options) -> Option<Terminal> {
    if options.tty == Tty::Never {
        return None;
    }
    match terminal_fd(kinds()) {
        Some(fd) => Terminal::new(fd).ok(),
        // A program may ask on /dev/tty although all three are redirected.
        None if options.tty == Tty::Auto => Terminal::controlling().ok(),
        None => None,
    }
}

/// The working directory by the name that the caller knows it by: a shell's PWD keeps symbolic
/// links, getcwd(3) does not. `None` where it was removed.
fn working_directory() -> Option<PathBuf> {
    use std::os::unix::fs::MetadataExt;
    let place =
        |path: &std::path::Path| std::fs::metadata(path).ok().map(|meta| (meta.dev(), meta.ino()));
    let told = std::env::var_os("PWD").map(PathBuf::from).filter(|path| path.is_absolute());
    let told =
        told.filter(|path| place(path).is_some_and(|told| Some(told) == place(".".as_ref())));
    told.or_else(|| std::env::current_dir().ok())
}

fn surroundings(options: &Options, opened: Vec<Opened>) -> Surroundings {
    let terminal = host_terminal(options).map(|terminal| Seen {
        settings: *terminal.before(),
        size: terminal::size(&terminal).unwrap_or_default(),
        is_foreground: terminal.is_ours(),
    });
    let (uid, _) = process::own_ids();
    Surroundings {
        fds: kinds(),
        stderr_is_stdout: fds::is_same(Standard::Stdout, Standard::Stderr),
        terminal,
        uid,
        user: std::env::var_os("USER")
            .filter(|name| !name.is_empty())
            .or_else(|| process::user_name(uid)),
        directory: working_directory().map(PathBuf::into_os_string),
        ignored_signals: startup::ignored_signals(),
        desktop: desktop::look(uid, |name| std::env::var_os(name)),
        runner: std::env::current_exe().ok().map(PathBuf::into_os_string),
        opened,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Set for the process that panics, which is this test again.
    const PANICS: &str = "INCUSBOX_TEST_PANICS";

    /// Leaves nothing but the hook to put its terminal back.
    fn panic_in_raw_mode() {
        with_terminal_restored(|| {
            let mut terminal = Terminal::new(Standard::Stdin.fd()).expect("a terminal");
            terminal.make_raw(true).expect("raw mode");
            let is_raw = terminal::settings(&terminal).expect("settings") != *terminal.before();
            std::mem::forget(terminal);
            io::stderr()
                .write_all(if is_raw { b"it is raw" } else { b"it is not" })
                .expect("stderr");
            panic!("on purpose");
        });
    }

    #[test]
    fn a_panic_puts_the_terminal_back() {
        if std::env::var_os(PANICS).is_some() {
            return panic_in_raw_mode();
        }
        let (_master, slave) = crate::sys::pty::open().expect("a terminal");
        let before = terminal::settings(&slave).expect("settings");
        let run = std::process::Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", "run::tests::a_panic_puts_the_terminal_back", "--nocapture"])
            .env(PANICS, "yes")
            .stdin(slave.try_clone().expect("a duplicate"))
            .output()
            .expect("it starts");
        let told = String::from_utf8_lossy(&run.stderr);
        assert!(!run.status.success() && told.contains("it is raw"), "{run:?}");
        assert!(told.contains("on purpose"), "{told}");
        assert_eq!(terminal::settings(&slave).expect("settings"), before);
    }
}
