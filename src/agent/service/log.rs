//! What a service writes and what systemd says of it, from the box's journal to the host's.

use std::io::{self, Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use serde::Deserialize;

use super::ServiceName;
use crate::agent::account::Account;

/// The most lines of the time before, of a service that runs already.
const MOST_LINES: &str = "200";
/// The most bytes of a line of the log's that are read at once.
const CHUNK: usize = 16 << 10;
/// A line of the log's that is longer is passed over.
const MOST_LINE: usize = 1 << 20;
/// A log that ends sooner than this after its begin cannot be followed for now.
const SHORT: Duration = Duration::from_secs(1);
/// Until it is tried again then.
const RETRY: Duration = Duration::from_secs(10);

/// The last lines, for the terminal of who started it in vain.
pub fn show_end(account: Option<&Account>, name: &ServiceName) {
    let mut command = journal(account, name);
    command.args(["--lines=10", "--output=cat"]).stdout(io::stderr());
    let _there_may_be_none = synchronize().and_then(|()| command.status());
}

/// Waits for what was said before and may still be on its way to the journal.
fn synchronize() -> io::Result<()> {
    let mut sync = Command::new("journalctl");
    sync.arg("--sync").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let _journal_is_down = sync.status()?;
    Ok(())
}

/// The log of a unit, also what systemd says of it.
fn journal(account: Option<&Account>, name: &ServiceName) -> Command {
    let mut command = Command::new("journalctl");
    // A signal is for the whole group of who follows; this one ends with its output.
    command.env_remove("TZ").process_group(0);
    command.args(["--no-pager", "--quiet"]).stdin(Stdio::null());
    match account {
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

/// The log of a service that is followed.
pub struct Log<'a> {
    account: Option<&'a Account>,
    name: &'a ServiceName,
    /// When the service began, as journalctl(1) takes it; empty if it never did.
    since: String,
    /// Where the last entry is that was passed on.
    cursor: Option<String>,
    follower: Option<Follower>,
    began: Instant,
    /// When who followed it has ended: when to go on.
    resumes: Option<Instant>,
    /// The begin of an entry.
    buffer: Vec<u8>,
}

/// A journalctl(1), ended with this.
struct Follower(Child, ChildStdout);

impl Drop for Follower {
    fn drop(&mut self) {
        let _ended_by_itself = self.0.kill();
        let _so = self.0.wait();
    }
}

impl<'a> Log<'a> {
    /// Of a service that began at `since`.
    pub fn of(account: Option<&'a Account>, name: &'a ServiceName, since: String) -> Log<'a> {
        let began = Instant::now();
        let (cursor, follower, buffer) = (None, None, Vec::new());
        Log { account, name, since, cursor, follower, began, resumes: Some(began), buffer }
    }

    /// What to wait for.
    pub fn output(&self) -> Option<&ChildStdout> {
        self.follower.as_ref().map(|follower| &follower.1)
    }

    /// Follows it from where it was, if who did has ended and it is time to. Returns when it is
    /// otherwise.
    ///
    /// # Errors
    /// When there is no journalctl.
    pub fn go_on(&mut self) -> io::Result<Option<Instant>> {
        let now = Instant::now();
        if self.resumes.is_some_and(|at| at <= now) {
            (self.began, self.resumes) = (now, None);
            self.follower = Some(self.read_on(&["--follow"])?);
        }
        Ok(self.resumes)
    }

    fn read_on(&mut self, how: &[&str]) -> io::Result<Follower> {
        let mut command = journal(self.account, self.name);
        let fields = "--output-fields=MESSAGE,PRIORITY,UNIT,USER_UNIT,_PID";
        command.args(["--output=json", fields]).args(how);
        match &self.cursor {
            Some(cursor) => {
                command.args(["--lines=all".to_owned(), format!("--after-cursor={cursor}")]);
            }
            None => {
                command.arg(format!("--lines={MOST_LINES}"));
                if !self.since.is_empty() {
                    command.arg(format!("--since={}", self.since));
                }
            }
        }
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
        let output = child.stdout.take().ok_or_else(|| io::Error::other("it has no output"))?;
        self.buffer.clear();
        Ok(Follower(child, output))
    }

    /// Passes on what is there; whether systemd itself said anything, or the log has ended.
    ///
    /// # Errors
    /// When it cannot be read or passed on.
    pub fn pass_on(&mut self) -> io::Result<bool> {
        let Some(Follower(_, output)) = &mut self.follower else { return Ok(true) };
        let mut chunk = [0; CHUNK];
        let count = output.read(&mut chunk)?;
        if count == 0 {
            self.follower = None;
            let is_short = self.began.elapsed() < SHORT;
            self.resumes = Some(Instant::now() + if is_short { RETRY } else { Duration::ZERO });
            return Ok(true);
        }
        self.buffer.extend_from_slice(&chunk[..count]);
        let mut is_news = false;
        let mut text = Vec::new();
        while let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
            if let Ok(mut line) = serde_json::from_slice::<Line>(&self.buffer[..end]) {
                self.cursor = line.cursor.take().or(self.cursor.take());
                is_news |= line.say(&mut text);
            }
            self.buffer.drain(..=end);
        }
        if self.buffer.len() > MOST_LINE {
            self.buffer.clear();
        }
        io::stdout().write_all(&text)?;
        Ok(is_news)
    }

    /// Passes on all that there is of a service that is over.
    ///
    /// # Errors
    /// When it cannot be read or passed on.
    pub fn pass_on_rest(mut self) -> io::Result<()> {
        if let Some(follower) = &mut self.follower {
            let _has_ended = follower.0.kill();
        }
        while self.follower.is_some() {
            self.pass_on()?;
        }
        synchronize()?;
        self.follower = Some(self.read_on(&["--boot"])?);
        while self.follower.is_some() {
            self.pass_on()?;
        }
        Ok(())
    }
}

/// An entry of the log.
#[derive(Deserialize)]
struct Line {
    #[serde(rename = "__CURSOR", default)]
    cursor: Option<String>,
    #[serde(rename = "MESSAGE", default)]
    message: Message,
    #[serde(rename = "PRIORITY", default)]
    priority: Option<String>,
    /// One of these is there where it is a manager that says it.
    #[serde(rename = "UNIT")]
    unit: Option<serde::de::IgnoredAny>,
    #[serde(rename = "USER_UNIT")]
    user_unit: Option<serde::de::IgnoredAny>,
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

impl Line {
    /// Writes it as the host's journal takes it: each line with its priority (sd-daemon(3)). Whether
    /// it is systemd that says it.
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
        self.unit.is_some() || self.user_unit.is_some() || self.pid.as_deref() == Some("1")
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
        let users = said(r#"{"MESSAGE":"Stopped","USER_UNIT":"mine.service","_PID":"88"}"#);
        assert_eq!(users, (true, b"Stopped\n".to_vec()));
    }
}
