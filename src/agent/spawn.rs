//! Starting the command: as its user, in its directory, with its descriptors.

use std::ffi::{CString, OsStr, OsString};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use super::account::Account;
use super::desktop;
use super::limits::{self, Limits};
use super::login::{self, Variables};
use rustix::fs::Access;

use super::protocol::{
    BOX, Base, Command, FILES, Failure, Fd, Missing, Opened, Place, Reason, Request,
};
use super::stdin::keep_reader;
use super::umask;
use crate::sys::process::{self, Forked};
use crate::sys::{fds, pipes, pty, signals};

/// A command as the supervisor sees it.
#[derive(Debug)]
pub struct Child {
    /// Its process id, which is also its process group.
    pub pid: i32,
    /// Where it started.
    pub place: Place,
    /// The write end of its stdin, when that is a pipe.
    pub stdin: Option<OwnedFd>,
    /// A read end of that pipe, if one had to be kept.
    pub stdin_reader: Option<OwnedFd>,
    /// The read end of its stdout, when that is a pipe.
    pub stdout: Option<OwnedFd>,
    /// The read end of its stderr, when that is a pipe.
    pub stderr: Option<OwnedFd>,
    /// Master and slave of its terminal. The slave stays open here: a command may close all its
    /// descriptors of the terminal and open `/dev/tty` later.
    pub terminal: Option<(OwnedFd, OwnedFd)>,
}

/// What to execute, worked out before the fork.
struct Program {
    account: Account,
    argv: Vec<Vec<u8>>,
    /// A path for a login shell, whose first argument is not its name.
    path: Option<Vec<u8>>,
    variables: Variables,
    umask: u32,
    limits: Limits,
}

/// A failure of one step of the set-up.
fn setup(step: &str) -> impl FnOnce(io::Error) -> Failure {
    let subject = step.as_bytes().to_vec();
    move |error| failure(Reason::Setup, &error, subject)
}

fn failure(reason: Reason, error: &io::Error, subject: Vec<u8>) -> Failure {
    Failure { reason, errno: error.raw_os_error().unwrap_or(0), subject }
}

/// Starts the command that `request` names. This process must lead its session.
///
/// # Errors
/// Whatever stands in the way, down to the failed exec itself.
pub fn start(request: &Request, agent: &OsStr) -> Result<Child, Failure> {
    let account = super::account::find(&request.user).ok_or_else(|| no_user(request))?;
    let program = plan(request, account, agent);

    let (mut master, mut slave) = (None, None);
    if let Some(wanted) = &request.terminal {
        let pty = |error| failure(Reason::Pty, &error, Vec::new());
        let (m, s) = pty::open().map_err(pty)?;
        pty::give_to(&s, program.account.uid, super::account::tty_group()).map_err(pty)?;
        crate::sys::terminal::apply(&s, &wanted.settings).map_err(pty)?;
        crate::sys::terminal::set_size(&s, wanted.size).map_err(pty)?;
        pty::make_controlling(&s).map_err(pty)?;
        (master, slave) = (Some(m), Some(s));
    }

    let mut ours: [Option<OwnedFd>; 3] = [None, None, None];
    let mut theirs: [Option<OwnedFd>; 3] = [None, None, None];
    let mut stdin_reader = None;
    for number in 0..3 {
        theirs[number] = match request.fds[number] {
            Fd::Closed => None,
            Fd::Null => Some(fds::open_null().map_err(setup("opening /dev/null"))?),
            Fd::Stdout => match &theirs[1] {
                Some(stdout) => Some(stdout.try_clone().map_err(setup("duplicating stdout"))?),
                None => None,
            },
            Fd::Terminal => {
                let slave = slave.as_ref().ok_or_else(|| Failure {
                    reason: Reason::Pty,
                    errno: 0,
                    subject: b"no terminal was described".to_vec(),
                })?;
                Some(slave.try_clone().map_err(setup("duplicating the terminal"))?)
            }
            Fd::Pipe => {
                let (read, write) = pipes::pipe().map_err(setup("making a pipe"))?;
                let (own, other) = if number == 0 { (write, read) } else { (read, write) };
                if number == 0 {
                    stdin_reader = keep_reader(&other, &own);
                }
                give_pipe(&other, program.account.uid, program.account.gid);
                pipes::set_nonblocking(&own, true).map_err(setup("setting up a pipe"))?;
                ours[number] = Some(own);
                Some(other)
            }
        };
    }

    let (report, report_write) = pipes::pipe().map_err(setup("making a pipe"))?;
    match process::fork().map_err(setup("fork"))? {
        Forked::Child => {
            drop(report);
            let mut report = File::from(report_write);
            let failure = become_command(request, &program, theirs, slave, &mut report);
            let mut out = vec![b'F'];
            out.push(failure.reason as u8);
            out.extend_from_slice(&failure.errno.to_le_bytes());
            out.extend_from_slice(&failure.subject);
            let _parent_is_gone = report.write_all(&out);
            process::exit_now(127)
        }
        Forked::Parent(pid) => {
            drop((report_write, theirs));
            // Also done by the child: whoever is first, nobody signals the wrong group.
            let _child_was_faster = process::own_group(pid);
            let place = read_report(File::from(report))?;
            let ([stdin, stdout, stderr], terminal) = (ours, master.zip(slave));
            Ok(Child { pid, place, stdin, stdin_reader, stdout, stderr, terminal })
        }
    }
}

fn no_user(request: &Request) -> Failure {
    let subject = match &request.user {
        super::protocol::User::Host { name, .. } if !name.is_empty() => name.clone(),
        super::protocol::User::Host { uid, .. } => uid.to_string().into_bytes(),
        super::protocol::User::Named(name) => name.clone(),
    };
    Failure { reason: Reason::NoUser, errno: 0, subject }
}

/// A pipe belongs to the command's user, so that `echo >/dev/stderr` may open it again.
fn give_pipe(pipe: &OwnedFd, uid: u32, gid: u32) {
    use rustix::process::{Gid, Uid};
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    let _only_reopening_fails = rustix::fs::fchown(pipe, Some(uid), Some(gid));
}

fn plan(request: &Request, account: Account, agent: &OsStr) -> Program {
    let (argv, path, mut variables, umask) = match &request.command {
        Command::LoginShell => {
            // The shell reads the profile itself: a leading `-` is how login(1) says so.
            let shell = usable_shell(&account);
            let name = shell.rsplit(|byte| *byte == b'/').next().unwrap_or(b"sh");
            let argv = vec![[b"-", name].concat()];
            (argv, Some(shell), login::base(&account), None)
        }
        Command::Own(words) => {
            let path = agent.as_bytes().to_vec();
            let argv = [vec![path.clone()], words.clone()].concat();
            (argv, Some(path), login::base(&account), None)
        }
        Command::Argv(argv) if request.base == Base::Clean => {
            (argv.clone(), None, login::base(&account), None)
        }
        Command::Argv(argv) => {
            let login = login::of(&account, agent);
            (argv.clone(), None, login.variables, Some(login.umask))
        }
    };
    let text = |bytes: &[u8]| OsString::from_vec(bytes.to_vec());
    login::set(&mut variables, BOX.into(), text(&request.box_name));
    if let Some(session) = &request.desktop {
        desktop::enter(session, &account, &mut variables);
    }
    for (name, value) in &request.environment {
        login::set(&mut variables, text(name), text(value));
    }
    let limits = limits::of(&account, |resource| process::limit(resource).ok());
    let umask = umask.unwrap_or_else(|| umask::of(&account));
    Program { account, argv, path, variables, umask, limits }
}

/// The user's shell, or `/bin/sh` where that does not exist.
fn usable_shell(account: &Account) -> Vec<u8> {
    if std::path::Path::new(&account.shell).exists() {
        account.shell.as_bytes().to_vec()
    } else {
        b"/bin/sh".to_vec()
    }
}

/// In the child: takes every step towards the command. Returns only with what went wrong.
fn become_command(
    request: &Request,
    program: &Program,
    theirs: [Option<OwnedFd>; 3],
    slave: Option<OwnedFd>,
    report: &mut File,
) -> Failure {
    let become_it = || -> Result<Place, Failure> {
        process::own_group(0).map_err(setup("setpgid"))?;
        if let Some(slave) = &slave {
            // From outside the foreground group this would stop us: SIGTTOU is ignored here.
            pty::set_foreground(slave, std::process::id() as i32).map_err(setup("tcsetpgrp"))?;
        }
        install_fds(theirs).map_err(setup("dup2"))?;
        reset_signals(request.ignored_signals);
        process::set_umask(program.umask);
        limits::apply(&program.limits);
        let account = &program.account;
        process::become_user(account.uid, account.gid, &account.groups)
            .map_err(setup("becoming the user"))?;
        let place = enter_directory(request, account)?;
        see(&request.opened)?;
        Ok(place)
    };
    let place = match become_it() {
        Ok(place) => place,
        Err(failure) => return failure,
    };
    if let Err(error) = report.write_all(&[b'P', place as u8]) {
        return failure(Reason::Setup, &error, b"reporting".to_vec());
    }
    let mut variables = program.variables.clone();
    if place == Place::Asked && !request.directory.is_empty() {
        let directory = OsString::from_vec(request.directory.clone());
        login::set(&mut variables, "PWD".into(), directory);
    }
    let argv: Vec<&[u8]> = program.argv.iter().map(Vec::as_slice).collect();
    let error = match &program.path {
        Some(path) => exec(path, &argv, &variables),
        None => exec_searching(&argv, &variables),
    };
    let reason = match error.raw_os_error() {
        Some(libc::ENOENT | libc::ENOTDIR) => Reason::NotFound,
        _ => Reason::NotExecutable,
    };
    let subject = program.path.clone().unwrap_or_else(|| program.argv[0].clone());
    failure(reason, &error, subject)
}

fn install_fds(theirs: [Option<OwnedFd>; 3]) -> io::Result<()> {
    // Everything of the supervisor's is above 2, so no number is overwritten before its turn.
    for (number, fd) in (0..).zip(theirs) {
        match fd {
            Some(fd) => process::install_fd(fd, number)?,
            None => process::close_number(number),
        }
    }
    Ok(())
}

/// Every signal at its default, but for those that the caller's command would find ignored.
pub fn reset_signals(ignored: u64) {
    for signal in 1..=31 {
        let result = if ignored & (1 << (signal - 1)) != 0 {
            signals::set_ignored(signal)
        } else {
            signals::set_default(signal)
        };
        // KILL and STOP refuse, as they should.
        let _kill_and_stop = result;
    }
    signals::unblock_all();
}

fn enter_directory(request: &Request, account: &Account) -> Result<Place, Failure> {
    if !request.directory.is_empty() {
        match std::env::set_current_dir(OsStr::from_bytes(&request.directory)) {
            Ok(()) => return Ok(Place::Asked),
            Err(error) if request.missing == Missing::Refuse => {
                return Err(failure(Reason::Directory, &error, request.directory.clone()));
            }
            Err(_) => {}
        }
    }
    if std::env::set_current_dir(&account.home).is_ok() {
        return Ok(if request.directory.is_empty() { Place::Asked } else { Place::Home });
    }
    std::env::set_current_dir("/").map_err(setup("entering /"))?;
    Ok(Place::Root)
}

/// The most bytes of paths that are told: some hundred at least, a path has 4096 at most.
const MOST_UNSEEN: usize = 64 << 10;

/// Whether files of the host's are in the box what they are there.
fn see(opened: &[Opened]) -> Result<(), Failure> {
    let unseen: Vec<(&[u8], i32)> = opened
        .iter()
        .filter_map(|opened| is_seen(opened).err().map(|errno| (&*opened.path, errno)))
        .collect();
    let Some((_, errno)) = unseen.first() else { return Ok(()) };
    let mut subject = Vec::new();
    for (path, _) in &unseen {
        // More are too many for whoever reads it, and for a frame.
        if subject.len() + path.len() > MOST_UNSEEN {
            break;
        }
        subject.extend((!subject.is_empty()).then_some(0));
        subject.extend_from_slice(path);
    }
    Err(Failure { reason: Reason::Unseen, errno: *errno, subject })
}

/// An error number, or 0 for another file.
fn is_seen(opened: &Opened) -> Result<(), i32> {
    let path = opened.to_path();
    let stat = rustix::fs::stat(path).map_err(|error| error.raw_os_error())?;
    if (stat.st_dev, stat.st_ino) != (opened.device, opened.inode) {
        return Err(0);
    }
    // One that is shown for this run is there to be read, and has its owner's id of the host.
    if !path.starts_with(FILES) {
        return Ok(());
    }
    rustix::fs::access(path, Access::READ_OK).map_err(|error| error.raw_os_error())
}

/// Reads what the child reports until its exec closes the pipe.
fn read_report(mut report: File) -> Result<Place, Failure> {
    let mut bytes = Vec::new();
    report.read_to_end(&mut bytes).map_err(setup("starting the command"))?;
    let mut place = Place::Asked;
    let mut rest = &bytes[..];
    if let [b'P', number, after @ ..] = rest {
        place = match number {
            1 => Place::Home,
            2 => Place::Root,
            _ => Place::Asked,
        };
        rest = after;
    }
    match rest {
        [b'F', reason, a, b, c, d, subject @ ..] => Err(Failure {
            reason: Reason::from_byte(*reason).unwrap_or(Reason::Setup),
            errno: i32::from_le_bytes([*a, *b, *c, *d]),
            subject: subject.to_vec(),
        }),
        _ => Ok(place),
    }
}

/// execve(2) of `path`; returns with the reason why it failed.
pub fn exec(path: &[u8], argv: &[&[u8]], variables: &Variables) -> io::Error {
    let list = |items: &mut dyn Iterator<Item = Vec<u8>>| {
        items.map(CString::new).collect::<Result<Vec<CString>, _>>()
    };
    let words = list(&mut argv.iter().map(|word| word.to_vec()));
    let environment = list(
        &mut variables
            .iter()
            .map(|(name, value)| [name.as_bytes(), b"=", value.as_bytes()].concat()),
    );
    let (Ok(path), Ok(mut words), Ok(environment)) = (CString::new(path), words, environment)
    else {
        return io::Error::from_raw_os_error(libc::EINVAL);
    };
    let error = process::exec(&path, &words, &environment);
    if error.raw_os_error() != Some(libc::ENOEXEC) {
        return error;
    }
    // As execvp(3): a file without `#!` is a script for sh.
    let shell = c"/bin/sh".to_owned();
    words.splice(..words.len().min(1), [shell.clone(), path]);
    process::exec(&shell, &words, &environment)
}

/// execvp(3) with the PATH of `variables`.
fn exec_searching(argv: &[&[u8]], variables: &Variables) -> io::Error {
    let name = argv[0];
    if name.contains(&b'/') {
        return exec(name, argv, variables);
    }
    let mut worst = io::Error::from_raw_os_error(libc::ENOENT);
    if name.is_empty() {
        return worst;
    }
    let path = variables.iter().rev().find(|(name, _)| name == "PATH");
    let path = path.map_or(&b"/usr/local/bin:/usr/bin:/bin"[..], |(_, value)| value.as_bytes());
    for directory in path.split(|byte| *byte == b':') {
        let directory = if directory.is_empty() { b"." } else { directory };
        let error = exec(&[directory, b"/", name].concat(), argv, variables);
        match error.raw_os_error() {
            Some(libc::ENOENT | libc::ENOTDIR | libc::ENAMETOOLONG) => {}
            // Go on: a later directory may have one that may be executed.
            Some(libc::EACCES) => worst = error,
            _ => return error,
        }
    }
    worst
}
