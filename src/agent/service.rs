//! A service of the box for the host's service manager: started, reloaded, followed and stopped by
//! the box's own systemd, which knows its user, its sandbox, its sockets and its rules for restarts.

use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde::Deserialize;

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
/// How long the log may lag behind the end of what it is about.
const LAG: Duration = Duration::from_millis(300);
/// The most lines of the time before, of a service that runs already.
const MOST_LINES: &str = "200";
/// The most bytes of a line of the log's that are read at once.
const CHUNK: usize = 16 << 10;
/// A line of the log's that is longer is passed over.
const MOST_LINE: usize = 1 << 20;

/// Does what is said of a service: `start`, `follow` or `reload`, its scope and its name.
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
        "reload" => Ok(status(manager.systemctl(&["reload", "--", name.as_str()]).status()?)),
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

    /// The log of the unit, also what systemd says of it.
    fn journal(&self, name: &ServiceName) -> Command {
        let mut command = Command::new("journalctl");
        command.args(["--no-pager", "--quiet"]).stdin(Stdio::null());
        match &self.account {
            None => {
                command.args([format!("_SYSTEMD_UNIT={name}"), "+".to_owned()]);
                command.args(["_PID=1".to_owned(), format!("UNIT={name}")]);
            }
            Some(account) => {
                let uid = format!("_UID={}", account.uid);
                command.args([format!("_SYSTEMD_USER_UNIT={name}"), uid.clone(), "+".to_owned()]);
                command.args([format!("USER_UNIT={name}"), uid]);
            }
        }
        command
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
            let mut log = self.journal(name);
            log.args(["--lines=10", "--output=cat"]).stdout(io::stderr());
            let _there_may_be_none = log.status();
        }
        Ok(status(started))
    }

    /// The same, in spite of a manager that does not answer for a while: as the box stops, its bus goes
    /// before whoever follows a service.
    fn show_surely(&self, name: &ServiceName) -> io::Result<Shown> {
        let deadline = Instant::now() + SILENCE;
        loop {
            match self.show(name) {
                Err(_) if Instant::now() < deadline => std::thread::sleep(PAUSE),
                other => return other,
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
        ])?;
        let mut shown = self.show_surely(name)?;
        let mut log = self.journal(name);
        log.args(["--follow", "--output=json", "--output-fields=MESSAGE,PRIORITY,_PID"]);
        log.arg(format!("--lines={MOST_LINES}"));
        if !shown.get("InactiveExitTimestamp").is_empty() {
            log.arg(format!("--since={}", shown.get("InactiveExitTimestamp")));
        }
        let log = log.stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
        let mut log = Log(log?, Vec::new());
        let mut stopping: Option<Child> = None;
        let mut over: Option<Instant> = None;
        loop {
            over = shown.is_over().then(|| over.unwrap_or_else(|| Instant::now() + LAG));
            if over.is_some_and(|at| at <= Instant::now()) {
                // Somebody may have started it again.
                shown = self.show_surely(name)?;
                if !shown.is_over() {
                    continue;
                }
                if let Some(mut stopping) = stopping {
                    stopping.wait()?;
                }
                return Ok(shown.ending());
            }
            let mut set = PollSet::new();
            set.add(0, signals.as_fd(), Interest::Read);
            if let Some(out) = &log.0.stdout {
                set.add(1, out.as_fd(), Interest::Read);
            }
            set.wait(Some(over.unwrap_or_else(|| Instant::now() + LOOK)))?;
            let [signalled, said] = [0, 1].map(|key| set.ready(key).any());
            drop(set);
            if signalled {
                match signals.take()? {
                    Some(signal @ (libc::SIGUSR1 | libc::SIGUSR2)) => {
                        let signal = format!("--signal={signal}");
                        let words = ["kill", &signal, "--kill-who=main", "--", name.as_str()];
                        self.systemctl(&words).status()?;
                    }
                    Some(_) if stopping.is_none() => {
                        stopping = Some(self.systemctl(&["stop", "--", name.as_str()]).spawn()?);
                    }
                    _ => {}
                }
            }
            // What systemd says of the unit may be that it is over.
            let is_news = said && log.pass_on()?;
            if is_news || !said && !signalled {
                shown = self.show_surely(name)?;
            }
        }
    }
}

/// What follows the log, ended with this.
struct Log(Child, Vec<u8>);

impl Drop for Log {
    fn drop(&mut self) {
        let _ended_by_itself = self.0.kill();
        let _so = self.0.wait();
    }
}

/// An entry of the log.
#[derive(Deserialize)]
struct Line {
    #[serde(rename = "MESSAGE", default)]
    message: Message,
    #[serde(rename = "PRIORITY", default)]
    priority: Option<String>,
    /// There where it is systemd that says it.
    #[serde(rename = "UNIT")]
    unit: Option<serde::de::IgnoredAny>,
    #[serde(rename = "_PID", default)]
    pid: Option<String>,
}

/// Text, or bytes where it is none.
#[derive(Default, Deserialize)]
#[serde(untagged)]
enum Message {
    #[default]
    None,
    Text(String),
    Bytes(Vec<u8>),
    Other(serde::de::IgnoredAny),
}

impl Log {
    /// Passes on what is there; whether systemd itself said anything.
    fn pass_on(&mut self) -> io::Result<bool> {
        let Log(child, buffer) = self;
        let Some(out) = &mut child.stdout else { return Ok(true) };
        let mut chunk = [0; CHUNK];
        let count = out.read(&mut chunk)?;
        if count == 0 {
            // Without a log the service is looked at now and then.
            child.stdout = None;
            return Ok(true);
        }
        buffer.extend_from_slice(&chunk[..count]);
        let mut is_news = false;
        let mut text = Vec::new();
        while let Some(end) = buffer.iter().position(|byte| *byte == b'\n') {
            if let Ok(line) = serde_json::from_slice::<Line>(&buffer[..end]) {
                is_news |= line.say(&mut text);
            }
            buffer.drain(..=end);
        }
        if buffer.len() > MOST_LINE {
            buffer.clear();
        }
        io::stdout().write_all(&text)?;
        Ok(is_news)
    }
}

impl Line {
    /// Writes it as the host's journal takes it: each line with its priority (sd-daemon(3)).
    fn say(self, out: &mut Vec<u8>) -> bool {
        let bytes = match self.message {
            Message::Text(text) => text.into_bytes(),
            Message::Bytes(bytes) => bytes,
            Message::None | Message::Other(_) => Vec::new(),
        };
        let priority = self.priority.filter(|text| text.len() == 1).unwrap_or_default();
        for line in bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            if let Some(digit @ '0'..='7') = priority.chars().next() {
                out.extend_from_slice(format!("<{digit}>").as_bytes());
            }
            out.extend_from_slice(line);
            out.push(b'\n');
        }
        self.unit.is_some() || self.pid.as_deref() == Some("1")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_of_the_log_keeps_its_priority_and_its_bytes() {
        let said = |json: &str| {
            let mut out = Vec::new();
            let line: Line = serde_json::from_str(json).expect("an entry");
            let is_news = line.say(&mut out);
            (is_news, out)
        };
        let own = said(r#"{"MESSAGE":"a\nb","PRIORITY":"3","_PID":"77"}"#);
        assert_eq!(own, (false, b"<3>a\n<3>b\n".to_vec()));
        let odd = said(r#"{"MESSAGE":[97,255],"_PID":"1"}"#);
        assert_eq!(odd, (true, b"a\xff\n".to_vec()));
        assert_eq!(said(r#"{"MESSAGE":null,"PRIORITY":"x"}"#), (false, Vec::new()));
    }

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
