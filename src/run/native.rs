//! A run by Incus alone, for any instance: plain exec, with what that can and cannot do.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;

use super::arguments::{Tty, WhichUser};
use super::error::{Error, Lost};
use super::native_relay::{Ended, NativeRelay, Outcome, Streams};
use super::plan::{Keyboard, Plan};
use super::session::{Session, broken};
use crate::agent::protocol::Fd;
use crate::agent::protocol::desktop::Switch;
use crate::exit::{self, ExitStatus};
use crate::incus::types::{CANCELLED, Exec, Operation};
use crate::message;
use crate::sys::terminal::Terminal;

/// Where Incus looks for programs; see `instance_exec.go`.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Who the command runs as: what `/etc/passwd` of the instance says.
struct Account {
    uid: u32,
    gid: u32,
    name: String,
    home: String,
    shell: String,
}

/// Runs the command natively.
///
/// # Errors
/// Everything in [`Error`].
pub fn run(
    session: &mut Session<'_>,
    plan: &Plan,
    terminal: Option<Terminal>,
) -> Result<ExitStatus, Error> {
    let request = request(session, plan, terminal.is_some())?;
    check_directory(session, &request.cwd)?;
    let started = session.exec(&request)?;
    session.trace.note("Incus runs the command");
    session.client.send_wait("waiting for the command's end", &started.operation)?;
    // The command begins when all but this one are there, and may end at once. What has ended takes
    // no more streams, and one that comes in that very moment may hang the operation, or end the
    // daemon: `Connect` and `Do` in `instance_exec.go`, `Connect` in `operations.go`, Incus 6.0 to
    // 7.0. So this one is waited for, although that costs half a millisecond.
    let [control] = session.client.open_streams(&started, ["control"])?;
    let streams = if request.interactive {
        let [terminal] = session.client.open_streams(&started, ["0"])?;
        Streams::Terminal { terminal, control }
    } else {
        let [stdin, stdout, stderr] = session.client.open_streams(&started, ["0", "1", "2"])?;
        Streams::Pipes { stdin, stdout, stderr, control }
    };
    session.trace.note("the streams are connected");
    let host = |source| Error::Host { doing: "passing data between the host and the box", source };
    let operation = started.operation;
    let relay = NativeRelay::new(plan, terminal, operation.clone(), streams).map_err(host)?;
    let name = session.options.name.as_str().to_owned();
    let ended = match relay.run(&mut session.client).map_err(host)? {
        Outcome::Ended(ended) => ended,
        Outcome::Killed(signal) => return Ok(ExitStatus::Signal(signal)),
        Outcome::Lost => return Err(session.lost(Some(&operation))),
        Outcome::Silent(seconds) => return Err(Error::Lost { name, why: Lost::Silent(seconds) }),
        Outcome::Broken(what) => return Err(broken(what)),
    };
    session.trace.note("the command ended");
    let status = conclude(session, &request, &operation, &ended)?;
    Ok(if ended.lost_output { status.with_lost_output() } else { status })
}

fn request(session: &mut Session<'_>, plan: &Plan, has_terminal: bool) -> Result<Exec, Error> {
    let options = session.options;
    let interactive = match options.tty {
        Tty::Always => true,
        Tty::Never => false,
        // Without keys a person is at one end only.
        Tty::Auto => plan.is_interactive && has_terminal && plan.request.fds[0] == Fd::Terminal,
    };
    let account = account(session)?;
    let mut environment = BTreeMap::new();
    if let Some(account) = &account {
        for (name, value) in
            [("HOME", &account.home), ("USER", &account.name), ("LOGNAME", &account.name)]
        {
            environment.insert(name.to_owned(), value.clone());
        }
    }
    let session = plan.request.desktop.iter().flat_map(|session| &session.environment);
    // The bus of the host is none of an instance's that nobody set up for it.
    let session = session.filter(|(name, _)| Switch::of_variable(name) != Some(Switch::Bus));
    for (name, value) in session.chain(&plan.request.environment) {
        let what = format!("variable `{}`", message::printable_bytes(name));
        let text = |bytes: &Vec<u8>| {
            String::from_utf8(bytes.clone()).map_err(|_| Error::NotText { what: what.clone() })
        };
        environment.insert(text(name)?, text(value)?);
    }
    let text = |word: &OsString| {
        let what = format!("argument `{}`", message::printable(&word.to_string_lossy()));
        word.to_str().map(str::to_owned).ok_or(Error::NotText { what })
    };
    let command = match options.command.as_slice() {
        [] => {
            let shell = account.as_ref().map_or("/bin/sh", |account| account.shell.as_str());
            vec![shell.to_owned(), "-l".to_owned()]
        }
        words => words.iter().map(text).collect::<Result<_, _>>()?,
    };
    let size = plan.request.terminal.map(|terminal| terminal.size).unwrap_or_default();
    Ok(Exec {
        command,
        environment,
        wait_for_websocket: true,
        interactive,
        width: size.columns,
        height: size.rows,
        user: account.as_ref().map_or(0, |account| account.uid),
        group: account.as_ref().map_or(0, |account| account.gid),
        cwd: options.directory.as_ref().map(text).transpose()?.unwrap_or_default(),
    })
}

/// Incus runs a command in `/` when its directory is missing or none, which is no place for `rm -r *`.
fn check_directory(session: &mut Session<'_>, directory: &str) -> Result<(), Error> {
    let name = session.options.name.as_str().to_owned();
    // A stopped box is started by the exec; until then its files are reached just as well.
    if directory.is_empty() || session.client.file_exists(&name, &format!("{directory}/."))? {
        return Ok(());
    }
    // The answer for a missing instance is the same: the exec will tell which it is.
    match session.client.instance(&name) {
        Ok(_) => Err(Error::NoDirectory { name, directory: message::printable(directory) }),
        Err(_) => Ok(()),
    }
}

/// The account to run as; `None` for root as Incus sets it up. Only a user that was named, or a
/// login shell, is worth a look into the instance.
fn account(session: &mut Session<'_>) -> Result<Option<Account>, Error> {
    let (wanted, is_named) = match &session.options.user {
        WhichUser::Named(name) if name != "root" && name != "0" => (name.clone(), true),
        _ if session.options.command.is_empty() => (OsString::from("root"), false),
        _ => return Ok(None),
    };
    let name = session.options.name.as_str().to_owned();
    let passwd = session.client.read_file(&name, "/etc/passwd")?.unwrap_or_default();
    let found = find(&passwd, wanted.as_bytes());
    if found.is_none() && is_named {
        let user = message::printable(&wanted.to_string_lossy());
        return Err(Error::NoUser { name, user });
    }
    Ok(found)
}

fn find(passwd: &[u8], wanted: &[u8]) -> Option<Account> {
    let accounts =
        || String::from_utf8_lossy(passwd).lines().filter_map(account_of).collect::<Vec<_>>();
    let by_name = accounts().into_iter().find(|account| account.name.as_bytes() == wanted);
    by_name.or_else(|| {
        let uid = std::str::from_utf8(wanted).ok()?.parse().ok()?;
        let bare = || Account {
            uid,
            gid: uid,
            name: uid.to_string(),
            home: "/".to_owned(),
            shell: "/bin/sh".to_owned(),
        };
        Some(accounts().into_iter().find(|account| account.uid == uid).unwrap_or_else(bare))
    })
}

fn account_of(line: &str) -> Option<Account> {
    let mut fields = line.split(':');
    let name = fields.next()?.to_owned();
    let (_password, uid, gid) =
        (fields.next()?, fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    let (_comment, home) = (fields.next()?, fields.next()?);
    let shell = fields.next().filter(|shell| !shell.is_empty()).unwrap_or("/bin/sh").to_owned();
    Some(Account { uid, gid, name, home: home.to_owned(), shell })
}

/// Turns what Incus says of the end into an exit status.
fn conclude(
    session: &mut Session<'_>,
    request: &Exec,
    operation: &str,
    ended: &Ended,
) -> Result<ExitStatus, Error> {
    let Operation { status_code, err, .. } = &ended.operation;
    let status = ended.operation.exit_status();
    let command = || message::printable(&request.command[0]);
    let native = |session: &Session<'_>, code| Error::Native {
        name: session.options.name.as_str().to_owned(),
        command: command(),
        text: message::printable(match (err.as_str(), *status_code) {
            ("", CANCELLED) => "it was cancelled",
            ("", _) => "it gives no reason",
            (words, _) => words,
        }),
        code,
    };
    match status.and_then(|status| u8::try_from(status).ok()) {
        // A daemon that goes down cancels what it runs (Incus 7), and so may anybody.
        _ if *status_code == CANCELLED && err.is_empty() => match session.lost(Some(operation)) {
            Error::Lost { why: Lost::Agent, .. } => Err(native(session, exit::FAILURE)),
            lost => Err(lost),
        },
        // Incus calls a program's own 126 and 127 a failure too. Its text is right only where no
        // program ran.
        Some(code @ (exit::NOT_EXECUTABLE | exit::NOT_FOUND)) if *status_code >= 400 => {
            if ended.had_output || program_ran(session, request, code)? {
                return Ok(ExitStatus::Code(code));
            }
            Err(native(session, code))
        }
        // SIGKILL that was not ours may be the end of the whole box.
        Some(137) if *status_code < 400 && !ended.forwarded.contains(&libc::SIGKILL) => {
            session.is_box_gone().map_or(Ok(ExitStatus::Code(137)), Err)
        }
        Some(code) if *status_code < 400 => Ok(match code.checked_sub(128) {
            // 128 + N may be a status of the command's own. Where we passed that very signal on,
            // a shell has to see it.
            Some(signal) if ended.forwarded.contains(&i32::from(signal)) => {
                ExitStatus::Signal(i32::from(signal))
            }
            _ => ExitStatus::Code(code),
        }),
        _ => Err(native(session, exit::FAILURE)),
    }
}

/// Whether a program that ended with 126 or 127 without a word was there to choose that status.
fn program_ran(session: &mut Session<'_>, request: &Exec, code: u8) -> Result<bool, Error> {
    let program = &request.command[0];
    if code == exit::NOT_EXECUTABLE && program.contains('/') {
        return Ok(false);
    }
    let name = session.options.name.as_str().to_owned();
    let path = request.environment.get("PATH").map_or(PATH, String::as_str);
    let candidates: Vec<String> = match program.contains('/') {
        true if program.starts_with('/') => vec![program.clone()],
        // Relative to a directory that Incus chose: not worth guessing.
        true => return Ok(true),
        false => path.split(':').map(|directory| format!("{directory}/{program}")).collect(),
    };
    for candidate in candidates {
        if session.client.file_exists(&name, &candidate)? {
            return Ok(true);
        }
    }
    Ok(false)
}

impl Plan {
    /// Whether stdin is to be read in a native run.
    pub fn reads_stdin_natively(&self) -> bool {
        self.keyboard == Keyboard::Stdin || self.request.fds[0] == Fd::Pipe
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_found_by_name_and_by_number_and_a_number_needs_no_account() {
        let passwd = b"root:x:0:0::/root:/bin/bash\nbroken\ndev:x:1000:1001::/home/dev:\n";
        let dev = find(passwd, b"dev").expect("dev");
        assert_eq!((dev.uid, dev.gid, dev.shell.as_str()), (1000, 1001, "/bin/sh"));
        assert_eq!(find(passwd, b"1000").expect("dev").name, "dev");
        assert_eq!(find(passwd, b"77").expect("bare").gid, 77);
        assert!(find(passwd, b"nobody").is_none());
    }
}
