//! A service of the box for the host's service manager: started, reloaded, followed and stopped by
//! the box's own systemd, which knows its user, its sandbox, its sockets and its rules for restarts.

mod log;

use std::ffi::OsString;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use self::log::Log;
use super::account::{self, Account};
use super::protocol::User;
use super::protocol::service::{Found, Scope, Service, ServiceName};
use crate::exit::{self, ExitStatus};
use crate::sys::poll::{Interest, PollSet};
use crate::sys::signals::Signals;

/// Between looks at a service of which the log says nothing.
const LOOK: Duration = Duration::from_secs(30);
/// How long a manager may be silent about a service that is followed.
const SILENCE: Duration = Duration::from_secs(20);
/// How long a box that starts may take until its service manager answers.
const BOOT: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(100);
/// How long a service is over that is only started anew.
const GAP: Duration = Duration::from_millis(300);
/// systemd's own program for the last steps of a shutdown, as /proc names it.
const SHUTDOWN: &str = "systemd-shutdow";

/// Does what is said of a service: `start`, `follow`, `reload` or `stop`, its scope and its name. Who
/// stops it says whom the host ends with it; where that has ended by itself, somebody may have started
/// the service anew.
///
/// # Errors
/// When systemd cannot be asked.
pub fn run(words: &[OsString]) -> io::Result<ExitStatus> {
    let text = |at: usize| words.get(at).and_then(|word| word.to_str()).unwrap_or_default();
    let none = || io::Error::other(format!("`{}` is no service", text(2)));
    let name = ServiceName::new(text(2)).ok_or_else(none)?;
    let manager = Manager::of(Scope::of(text(1)).ok_or_else(none)?)?;
    match text(0) {
        "start" => manager.start(&name),
        "stop" if words.len() < 4 => Ok(ExitStatus::Code(0)),
        word @ ("reload" | "stop") => {
            Ok(status(manager.systemctl(&[word, "--", name.as_str()]).status()?))
        }
        "follow" => manager.follow(&name),
        _ => Err(none()),
    }
}

/// What the host asks of a service.
pub fn look(wanted: &ServiceName, uid: u32) -> Found {
    let mut is_sure = true;
    for scope in [Scope::System, Scope::User(uid)] {
        let shown = Manager::of(scope).and_then(|manager| manager.show(wanted));
        let Ok(shown) = shown else {
            // It may be about to start, and say so the next time.
            is_sure = false;
            continue;
        };
        let name = ServiceName::new(shown.get("Id")).filter(|_| shown.get("LoadState") == "loaded");
        let Some(name) = name else { continue };
        return Found::There(Service {
            name,
            scope,
            description: shown.get("Description").to_owned(),
            can_reload: shown.get("CanReload") == "yes",
            restarts: !["", "no"].contains(&shown.get("Restart")),
        });
    }
    if is_sure { Found::Absent } else { Found::Unknown }
}

/// A service's end with its box: SIGTERM's, which the host's unit takes for no failure.
const STOPPED_WITH_BOX: ExitStatus = ExitStatus::Code(128 + libc::SIGTERM as u8);

struct Manager {
    /// Whose it is, if not the system's.
    account: Option<Account>,
}

/// What systemd says of a unit.
struct Shown(String);

impl Shown {
    fn get(&self, key: &str) -> &str {
        let pairs = self.0.lines().filter_map(|line| line.split_once('='));
        pairs.into_iter().find(|(own, _)| *own == key).map_or("", |(_, value)| value)
    }

    fn is_over(&self) -> bool {
        ["inactive", "failed"].contains(&self.get("ActiveState"))
    }

    /// As what the host shall see it end: never by a signal, nor as if the connection was lost, for
    /// then it would be started again. The box's systemd decided about that.
    fn ending(&self) -> ExitStatus {
        let number: i32 = self.get("ExecMainStatus").parse().unwrap_or(1);
        let number = match (self.get("Result"), self.get("ExecMainCode")) {
            ("success", _) => 0,
            // CLD_KILLED, CLD_DUMPED
            (_, "2" | "3") => 128 + number,
            _ => number.max(1),
        };
        let code = u8::try_from(number).ok().filter(|code| *code != exit::LOST);
        ExitStatus::Code(code.unwrap_or(1))
    }
}

fn status(status: std::process::ExitStatus) -> ExitStatus {
    use std::os::unix::process::ExitStatusExt;
    match (status.code(), status.signal()) {
        (Some(code), _) => ExitStatus::Code(code as u8),
        (None, signal) => ExitStatus::Signal(signal.unwrap_or(libc::SIGKILL)),
    }
}

impl Manager {
    fn of(scope: Scope) -> io::Result<Manager> {
        let account = match scope {
            Scope::System => None,
            Scope::User(uid) => {
                let found = account::find(&User::Host { uid, name: Vec::new() });
                Some(found.ok_or_else(|| io::Error::other("the user has no account here"))?)
            }
        };
        Ok(Manager { account })
    }

    fn systemctl(&self, words: &[&str]) -> Command {
        let mut command = Command::new("systemctl");
        // Times are told in the box's zone, as journalctl takes them.
        command.env_remove("TZ");
        if let Some(account) = &self.account {
            let runtime = format!("/run/user/{}", account.uid);
            command.arg("--user").uid(account.uid).gid(account.gid).env_clear();
            command.env("XDG_RUNTIME_DIR", runtime).env("HOME", &account.home);
            command.env("PATH", "/usr/local/bin:/usr/bin:/bin");
        }
        command.args(["--no-pager", "--no-ask-password"]).args(words).stdin(Stdio::null());
        command
    }

    fn show(&self, name: &ServiceName) -> io::Result<Shown> {
        let properties = "Id,LoadState,Description,CanReload,Restart,ActiveState,Result,ExecMainCode,ExecMainStatus,InactiveExitTimestamp";
        let mut command = self.systemctl(&["show", "--property", properties, "--", name.as_str()]);
        let output = command.env("LC_ALL", "C").stderr(Stdio::null()).output()?;
        match output.status.success() {
            true => Ok(Shown(String::from_utf8_lossy(&output.stdout).into_owned())),
            false => Err(io::Error::other("systemd does not answer")),
        }
    }

    /// Starts it and returns once it is up, as its `Type` has it; what it said goes along if not.
    fn start(&self, name: &ServiceName) -> io::Result<ExitStatus> {
        // A box that has just started for this may have no manager yet.
        let deadline = Instant::now() + BOOT;
        while self.show(name).is_err() && Instant::now() < deadline {
            std::thread::sleep(PAUSE);
        }
        let caught = [libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGCHLD];
        let mut signals = Signals::catch(&caught)?;
        let mut child = self.systemctl(&["start", "--", name.as_str()]).spawn()?;
        let started = loop {
            if let Some(status) = child.try_wait()? {
                break status;
            }
            let mut set = PollSet::new();
            set.add(0, signals.as_fd(), Interest::Read);
            set.wait(None)?;
            drop(set);
            // Nobody waits for it any more, so it shall not come up.
            if signals.take()?.is_some_and(|signal| signal != libc::SIGCHLD) {
                self.systemctl(&["stop", "--", name.as_str()]).status()?;
            }
        };
        if !started.success() {
            log::show_end(self.account.as_ref(), name);
        }
        Ok(status(started))
    }

    /// The same, in spite of a manager that does not answer for a while; nothing if that is because
    /// the box stops.
    fn show_surely(&self, name: &ServiceName) -> io::Result<Option<Shown>> {
        let deadline = Instant::now() + SILENCE;
        loop {
            match self.show(name) {
                Ok(shown) => return Ok(Some(shown)),
                Err(_) if is_shutting_down() => return Ok(None),
                Err(error) if Instant::now() >= deadline => return Err(error),
                Err(_) => std::thread::sleep(PAUSE),
            }
        }
    }

    /// Passes on its log until it is over. SIGTERM, SIGINT and SIGHUP, which also says that the host
    /// is gone, stop it; SIGUSR1 and SIGUSR2 are for its main process.
    fn follow(&self, name: &ServiceName) -> io::Result<ExitStatus> {
        let mut signals = Signals::catch(&[
            libc::SIGTERM,
            libc::SIGINT,
            libc::SIGHUP,
            libc::SIGUSR1,
            libc::SIGUSR2,
            libc::SIGCHLD,
        ])?;
        let Some(mut shown) = self.show_surely(name)? else { return Ok(STOPPED_WITH_BOX) };
        let since = shown.get("InactiveExitTimestamp").to_owned();
        let mut log = Log::of(self.account.as_ref(), name, since);
        let mut stopping: Option<Child> = None;
        let mut over: Option<Instant> = None;
        loop {
            over = shown.is_over().then(|| over.unwrap_or_else(|| Instant::now() + GAP));
            let is_over = over.is_some_and(|at| at <= Instant::now());
            if is_over {
                // Somebody may have started it again.
                let Some(again) = self.show_surely(name)? else { return Ok(STOPPED_WITH_BOX) };
                shown = again;
                if !shown.is_over() {
                    continue;
                }
                log.pass_on_rest()?;
                if let Some(mut stopping) = stopping {
                    stopping.wait()?;
                }
                return Ok(shown.ending());
            }
            let mut set = PollSet::new();
            set.add(0, signals.as_fd(), Interest::Read);
            let resumes = log.go_on()?;
            if let Some(out) = log.output() {
                set.add(1, out.as_fd(), Interest::Read);
            }
            let look = over.unwrap_or_else(|| Instant::now() + LOOK);
            set.wait(Some(resumes.map_or(look, |at| at.min(look))))?;
            let [signalled, said] = [0, 1].map(|key| set.ready(key).any());
            drop(set);
            // To look again, for nothing was said for long, or something that may be the end.
            let mut is_news = !said && !signalled;
            if signalled {
                match signals.take()? {
                    Some(signal @ (libc::SIGUSR1 | libc::SIGUSR2)) => {
                        let signal = format!("--signal={signal}");
                        let words = ["kill", &signal, "--kill-who=main", "--", name.as_str()];
                        self.systemctl(&words).status()?;
                    }
                    Some(libc::SIGCHLD) => {
                        let ended = stopping.as_mut().map(Child::try_wait).transpose()?.flatten();
                        is_news |= ended.is_some();
                        stopping = stopping.filter(|_| ended.is_none());
                    }
                    Some(_) if stopping.is_none() => {
                        let mut stop = self.systemctl(&["stop", "--", name.as_str()]);
                        stopping = Some(stop.process_group(0).spawn()?);
                    }
                    _ => {}
                }
            }
            is_news |= said && log.pass_on()?;
            if is_news {
                let Some(now) = self.show_surely(name)? else { return Ok(STOPPED_WITH_BOX) };
                shown = now;
            }
        }
    }
}

/// Whether the box is on its way down, in which its managers go before all of its processes have.
fn is_shutting_down() -> bool {
    let first = std::fs::read_to_string("/proc/1/comm").unwrap_or_default();
    if first.trim_end() == SHUTDOWN {
        return true;
    }
    let state = Command::new("systemctl").arg("is-system-running").stdin(Stdio::null()).output();
    state.is_ok_and(|state| state.stdout.trim_ascii() == b"stopping")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_a_service_ended_is_how_its_main_process_did() {
        let ending = |text: &str| Shown(text.to_owned()).ending();
        let killed = "ActiveState=failed\nResult=signal\nExecMainCode=2\nExecMainStatus=9\n";
        assert_eq!(ending(killed), ExitStatus::Code(137));
        let odd = "Result=exit-code\nExecMainCode=1\nExecMainStatus=75";
        assert_eq!(ending(odd), ExitStatus::Code(1));
        let failed = "Result=exit-code\nExecMainCode=1\nExecMainStatus=3";
        assert_eq!(ending(failed), ExitStatus::Code(3));
        assert_eq!(
            ending("Result=success\nExecMainCode=2\nExecMainStatus=15"),
            ExitStatus::Code(0)
        );
        assert_eq!(ending("Result=timeout\nExecMainCode=0\nExecMainStatus=0"), ExitStatus::Code(1));
    }
}
