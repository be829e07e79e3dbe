//! A run by the agent: the request to Incus, and what to do when a first try shows that the box is
//! stopped or has no agent yet. Nothing is asked before the first try.

use std::time::{Duration, Instant};

use super::agent_file::{AgentFile, PLACES};
use super::arguments::{Mode, Options};
use super::error::{Error, Lost};
use super::opened::Named;
use super::plan::Plan;
use super::relay::{Outcome, Relay};
use super::share::Sharing;
use super::trace::Trace;
use crate::agent::protocol::desktop::Desktop;
use crate::agent::protocol::{Failure, Reason, Request};
use crate::exit::ExitStatus;
use crate::incus::client::Started;
use crate::incus::instances::near;
use crate::incus::types::Exec;
use crate::incus::{self, Client};
use crate::message;
use crate::sys::terminal::Terminal;

/// How long a box may take from the end of its streams to another status. All of a box that is stopped
/// by force or deleted is killed, which takes its time on a machine under load.
const SETTLING: Duration = Duration::from_secs(6);
/// The same for who follows a service, which is told by that whether it failed, and has the time.
const STOPPING: Duration = Duration::from_secs(15);
/// The same where the agent says that the box goes down, which may take minutes, and where a command was
/// killed, by which most boxes are not meant.
const GOING: Duration = Duration::from_secs(2);

/// One run.
pub struct Session<'a> {
    /// What was asked for.
    pub options: &'a Options,
    /// The connection to the daemon.
    pub client: Client,
    /// What a launcher opens.
    pub named: &'a [Named],
    /// Where steps are told.
    pub trace: &'a Trace,
}

/// What to do after a try that ran nothing.
enum Next {
    /// Run it natively: this is no box.
    Native,
    /// Try once more, with an agent at this place that has to move to its own path.
    Pushed { temporary: String, path: String },
    /// Try once more with the agent that is at this path.
    Elsewhere(String),
}

/// How a run through the agent ended.
pub enum Finished {
    /// The command ended.
    Status(ExitStatus),
    /// It has to be run natively.
    Native,
}

impl Session<'_> {
    fn name(&self) -> &str {
        self.options.name.as_str()
    }

    /// Runs the command by the agent.
    ///
    /// # Errors
    /// Everything in [`Error`].
    pub fn run(
        &mut self,
        plan: &Plan,
        terminal: impl Fn() -> Option<Terminal>,
    ) -> Result<Finished, Error> {
        let agent = AgentFile::find()?;
        let mut path = agent.path_in(PLACES[0]);
        let mut request = plan.request.clone();
        let mut sharing = Sharing::default();
        // At most: agent missing, agent found to be in another place, agent pushed, and then the
        // box found to see an old session of the user's, to lack the display's cookie, and not to
        // see what shall be opened.
        for last in [false, false, true, true, true, true] {
            // Nothing of the command is in it: arguments and environment of an exec show in the
            // host's list of processes.
            let started = self.exec(&Exec::as_root(&[&path, "exec"]))?;
            self.trace.note("Incus runs the agent");
            let streams = self.client.open_streams(&started, ["0", "1", "2"])?;
            self.trace.note("the streams are connected");
            let relay = Relay::new(plan, terminal(), streams, self.trace).map_err(host_error)?;
            let outcome = relay.run(request.clone()).map_err(host_error)?;
            match outcome {
                Outcome::Ended(exited) => {
                    sharing.linger();
                    return Ok(Finished::Status(exited.status));
                }
                Outcome::Failed(Failure { reason: Reason::Stale, .. }) if may_renew(&request) => {
                    self.renew_session(&mut request);
                    has_moved(&mut request, &mut path);
                }
                Outcome::Failed(Failure { reason: Reason::Cookie, .. })
                    if lacks_cookie(&request) =>
                {
                    self.give_cookie(&mut request);
                    has_moved(&mut request, &mut path);
                }
                Outcome::Failed(failure)
                    if failure.reason == Reason::Unseen && self.options.share_files =>
                {
                    self.share(&failure, &mut sharing, &mut request)?;
                    has_moved(&mut request, &mut path);
                }
                Outcome::Failed(failure) => {
                    return Err(Error::Agent { name: self.name().to_owned(), failure });
                }
                Outcome::Alien(why) => {
                    return Err(Error::AgentAlien { name: self.name().to_owned(), why });
                }
                Outcome::Broken(what) => return Err(broken(what)),
                Outcome::Lost => return Err(self.lost(Some(&started.operation))),
                Outcome::Truncated => {
                    return Err(Error::Lost { name: self.name().to_owned(), why: Lost::Output });
                }
                Outcome::Silent(seconds) => {
                    return Err(Error::Lost {
                        name: self.name().to_owned(),
                        why: Lost::Silent(seconds),
                    });
                }
                Outcome::NoAgent(said) => match self.next(&started, &said, &agent, &path, last)? {
                    Next::Native => return Ok(Finished::Native),
                    Next::Pushed { temporary, path: final_path } => {
                        path = temporary;
                        request.install_as = Some(final_path.into_bytes());
                    }
                    Next::Elsewhere(other) => path = other,
                },
            }
        }
        Err(self.mute("it is not where it was put", b""))
    }

    /// Asks Incus to run a command; starts the box first if it is stopped.
    ///
    /// # Errors
    /// Everything in [`Error`].
    pub fn exec(&mut self, request: &Exec) -> Result<Started, Error> {
        let name = self.name().to_owned();
        let error = match self.client.exec(&name, request) {
            Ok(started) => return Ok(started),
            Err(error) => error,
        };
        match (error.code(), error.text()) {
            (Some(404), _) => Err(self.no_box()),
            (Some(400), Some("Instance is frozen")) => Err(Error::Frozen { name }),
            (Some(400), Some("Instance is not running")) if self.options.no_start => {
                Err(Error::Stopped { name })
            }
            (Some(400), Some("Instance is not running")) => {
                self.start()?;
                Ok(self.client.exec(&name, request)?)
            }
            _ => Err(error.into()),
        }
    }

    fn no_box(&mut self) -> Error {
        let names = self.client.instance_names().unwrap_or_default();
        let project = self.client.project().map(str::to_owned);
        Error::NoBox { name: self.name().to_owned(), project, near: near(self.name(), &names) }
    }

    fn start(&mut self) -> Result<(), Error> {
        let name = self.name().to_owned();
        if rustix::termios::isatty(rustix::stdio::stderr()) {
            message::say(super::PROGRAM, format!("starting box `{name}` …"));
        }
        let result = self.client.start(&name);
        self.trace.note("the box is started");
        match result {
            Ok(()) => Ok(()),
            // Another client was faster.
            Err(_)
                if self
                    .client
                    .instance(&name)
                    .is_ok_and(|instance| instance.status == "Running") =>
            {
                Ok(())
            }
            Err(source) => Err(Error::Start { name, source }),
        }
    }

    /// Finds out why no agent greeted, and mends it where it is only missing.
    fn next(
        &mut self,
        started: &Started,
        said: &[u8],
        agent: &AgentFile,
        path: &str,
        last: bool,
    ) -> Result<Next, Error> {
        let doing = "asking how the agent ended";
        let operation = match self.client.wait(doing, &started.operation, incus::client::PATIENCE) {
            Ok(operation) => operation,
            // The operation is gone with the daemon or the box.
            Err(_) => return Err(self.lost(Some(&started.operation))),
        };
        let is_missing = operation.exit_status() == Some(127) && said.is_empty();
        if !is_missing || last {
            return Err(self.mute(&operation.err, said));
        }
        self.trace.note("the box has no agent of this version");
        let instance = self.client.instance(self.options.name.as_str())?;
        if !instance.is_box() && self.options.mode == Mode::Auto {
            self.trace.hint("it is not marked as a box of incusbox: running natively");
            return Ok(Next::Native);
        }
        if path == agent.path_in(PLACES[0]) {
            // A box whose root is read-only keeps it in another place.
            for place in &PLACES[1..] {
                let other = agent.path_in(place);
                if self.client.file_exists(self.options.name.as_str(), &other).unwrap_or(false) {
                    return Ok(Next::Elsewhere(other));
                }
            }
        }
        let (temporary, path) = agent.push(&mut self.client, self.options.name.as_str())?;
        self.trace.note("the agent is copied into the box");
        Ok(Next::Pushed { temporary, path })
    }

    fn mute(&self, incus: &str, said: &[u8]) -> Error {
        Error::AgentMute {
            name: self.name().to_owned(),
            said: message::printable_bytes(said.trim_ascii()),
            incus: message::printable(incus),
        }
    }

    /// Finds out why the streams of an exec, if it is known which, ended.
    pub fn lost(&mut self, operation: Option<&str>) -> Error {
        let name = self.options.name.as_str().to_owned();
        let why = self.what_happened(operation, SETTLING);
        Error::Lost { name, why }
    }

    /// A box that is being stopped or deleted still runs for a moment after its streams ended, or for
    /// minutes if something in it takes its time. Its agents have been told to end then.
    fn what_happened(&mut self, operation: Option<&str>, settling: Duration) -> Lost {
        let doing = "asking how the agent ended";
        let terminated = i32::from(ExitStatus::Signal(libc::SIGTERM).shell_code());
        let began = Instant::now();
        // The agent's exit status, once its end is known.
        let mut ended: Option<Option<i32>> = None;
        loop {
            // The connection may have gone with the daemon; a new one tells.
            let mut is_known = true;
            let asked =
                Client::connect(self.client.project().map(str::to_owned)).and_then(|mut client| {
                    let instance = client.instance(self.options.name.as_str())?;
                    let asked = operation.filter(|_| ended.is_none());
                    match asked.map(|operation| client.operation(doing, operation)) {
                        Some(Ok(now)) if now.has_ended() => ended = Some(now.exit_status()),
                        Some(Err(error)) => is_known = error.code() != Some(404),
                        _ => {}
                    }
                    Ok(instance)
                });
            let is_terminated = ended == Some(Some(terminated));
            let patience = match self.options.is_agents {
                _ if is_terminated => GOING,
                true => STOPPING,
                false => settling,
            };
            match asked {
                Ok(instance) if instance.status != "Running" => {
                    return Lost::NotRunning(instance.status);
                }
                Err(error) if error.code() == Some(404) => return Lost::Deleted,
                Err(_) => return Lost::Daemon,
                // The daemon was restarted meanwhile, and knows nothing of what it ran before.
                Ok(_) if self.client.was_cut() || !is_known => return Lost::Daemon,
                Ok(_) if began.elapsed() >= patience => {
                    return if is_terminated { Lost::Terminated } else { Lost::Agent };
                }
                Ok(_) => std::thread::sleep(Duration::from_millis(100)),
            }
        }
    }

    /// Whether the box is gone or on its way to be.
    pub fn is_box_gone(&mut self) -> Option<Error> {
        match self.what_happened(None, GOING) {
            Lost::Agent => None,
            why => Some(Error::Lost { name: self.options.name.as_str().to_owned(), why }),
        }
    }
}

/// What came over a stream is not what Incus sends.
pub fn broken(what: String) -> Error {
    Error::Incus(incus::Error::Malformed {
        doing: "passing data between the host and the box",
        what,
    })
}

fn host_error(source: std::io::Error) -> Error {
    Error::Host { doing: "passing data between the host and the box", source }
}

fn lacks_cookie(request: &Request) -> bool {
    let lacks = |session: &Desktop| session.cookie_mark != 0 && session.cookie.is_empty();
    request.desktop.as_ref().is_some_and(lacks)
}

/// Where the agent had to move to, it is once it has answered.
fn has_moved(request: &mut Request, path: &mut String) {
    if let Some(moved) = request.install_as.take() {
        *path = String::from_utf8_lossy(&moved).into_owned();
    }
}

/// Once a run: an agent that still has a word against the session then is not ours.
fn may_renew(request: &Request) -> bool {
    request.desktop.as_ref().is_some_and(|session| !session.insists)
}
