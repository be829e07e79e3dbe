//! Making, changing and listing instances: what `incusbox` asks that `incusbox-run` never does.
//!
//! Source of the shapes: lxc/incus 6.0.4, `shared/api/`, `doc/rest-api.yaml`.

use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::Value;

use super::client::{Client, percent_encode};
use super::error::Error;
use super::objects::{FullInstance, Profile, Server};
use super::types::Operation;
use crate::sys::poll::{Interest, PollSet};
use crate::sys::signals::Signals;

/// How long a change may take: a network waits for others that are being made, and each may look
/// for a free subnet for a minute.
const CHANGE_PATIENCE: Duration = Duration::from_secs(180);
/// How often an operation's progress is asked for.
const TICK: Duration = Duration::from_millis(250);
/// How often it is asked whether an operation is still known, where nothing else tells.
const LOOK: Duration = Duration::from_secs(2);
/// A daemon that was not there for so long is gone.
const GONE: Duration = Duration::from_secs(60);

/// Over how many connections states are asked for.
const STATE_CONNECTIONS: usize = 4;
/// How often a state that could not be read is asked for again.
const STATE_TRIES: usize = 5;
/// Between two of these.
const STATE_PAUSE: Duration = Duration::from_millis(100);

/// What to do to an instance's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Start it.
    Start,
    /// Stop it, or with force at once.
    Stop,
    /// Stop it and start it.
    Restart,
    /// Let it go on.
    Unfreeze,
}

/// Whether an instance gets the time to shut down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Force {
    /// It does, for this many seconds at most.
    No(u32),
    /// It does not.
    Yes,
}

/// Why waiting ended before the operation did.
#[derive(Debug)]
pub enum Interrupted {
    /// By a signal of this number.
    Signal(i32),
    /// By an error.
    Error(Error),
}

impl From<Error> for Interrupted {
    fn from(error: Error) -> Interrupted {
        Interrupted::Error(error)
    }
}

impl Client {
    /// What the daemon says of itself.
    ///
    /// # Errors
    /// Everything in [`Error`].
    pub fn server(&mut self) -> Result<Server, Error> {
        let target = self.target("/1.0", "");
        self.get("asking about the daemon", &target)
    }

    /// All instances of the project, without their states: one request.
    ///
    /// # Errors
    /// Everything in [`Error`].
    pub fn instances(&mut self) -> Result<Vec<FullInstance>, Error> {
        let target = self.target("/1.0/instances", "recursion=1");
        self.get_all("listing the boxes", &target)
    }

    /// Asks for the states of those that run, over several connections. Asked for together with
    /// the instances, states cost 3 ms for each that is stopped as well.
    pub fn add_states(&self, instances: &mut [FullInstance]) {
        let mut running: Vec<&mut FullInstance> =
            instances.iter_mut().filter(|instance| instance.status != "Stopped").collect();
        let share = running.len().div_ceil(STATE_CONNECTIONS).max(1);
        std::thread::scope(|scope| {
            for part in running.chunks_mut(share) {
                scope.spawn(|| {
                    let Ok(mut client) = Client::connect(self.project().map(str::to_owned)) else {
                        return;
                    };
                    for instance in part {
                        let path = format!("/1.0/instances/{}/state", instance.name);
                        let target = client.target(&path, "");
                        // One that has gone meanwhile has none.
                        instance.state = client.get("asking about the box", &target).ok();
                    }
                });
            }
        });
    }

    /// One instance with its state.
    ///
    /// # Errors
    /// [`Error::Refused`] with code 404 when there is none of this name.
    pub fn full_instance(&mut self, name: &str) -> Result<FullInstance, Error> {
        let target = self.target(&format!("/1.0/instances/{name}"), "recursion=1");
        let mut asked = self.get("asking about the box", &target);
        // Incus reads the state of an instance that starts or stops in several steps; one that
        // fails in between (`Invalid PID`) is right a moment later.
        for _ in 0..STATE_TRIES {
            if !matches!(&asked, Err(error) if error.code() == Some(500)) {
                break;
            }
            std::thread::sleep(STATE_PAUSE);
            asked = self.get("asking about the box", &target);
        }
        asked
    }

    /// Makes an instance; the path of the operation.
    ///
    /// # Errors
    /// [`Error::Refused`] with code 409 when the name is taken, and everything else in [`Error`].
    pub fn create_instance(&mut self, request: &Value) -> Result<String, Error> {
        let target = self.target("/1.0/instances", "");
        self.begin("making the box", "POST", &target, request)
    }

    /// Begins a change of an instance's state; the path of the operation.
    ///
    /// # Errors
    /// Everything in [`Error`].
    pub fn change_state(
        &mut self,
        name: &str,
        action: Action,
        force: Force,
    ) -> Result<String, Error> {
        let (doing, action) = match action {
            Action::Start => ("starting the box", "start"),
            Action::Stop => ("stopping the box", "stop"),
            Action::Restart => ("restarting the box", "restart"),
            Action::Unfreeze => ("waking the box", "unfreeze"),
        };
        let (force, timeout) = match force {
            Force::No(seconds) => (false, i64::from(seconds)),
            Force::Yes => (true, -1),
        };
        let request = serde_json::json!({ "action": action, "timeout": timeout, "force": force });
        let target = self.target(&format!("/1.0/instances/{name}/state"), "");
        self.begin(doing, "PUT", &target, &request)
    }

    /// Changes configuration and devices of an instance; what is not named stays.
    ///
    /// # Errors
    /// Everything in [`Error`].
    pub fn patch_instance(&mut self, name: &str, change: &Value) -> Result<(), Error> {
        let target = self.target(&format!("/1.0/instances/{name}"), "");
        self.tell("changing the box", "PATCH", &target, change)
    }

    /// Begins to replace all that is changeable of an instance; the path of the operation. Only
    /// this way a device or a key can be taken away.
    ///
    /// # Errors
    /// Everything in [`Error`].
    pub fn put_instance(&mut self, name: &str, whole: &Value) -> Result<String, Error> {
        let target = self.target(&format!("/1.0/instances/{name}"), "");
        self.begin("changing the box", "PUT", &target, whole)
    }

    /// Begins to rename a stopped instance; the path of the operation.
    ///
    /// # Errors
    /// Everything in [`Error`].
    pub fn rename_instance(&mut self, name: &str, new: &str) -> Result<String, Error> {
        let target = self.target(&format!("/1.0/instances/{name}"), "");
        self.begin("renaming the box", "POST", &target, &serde_json::json!({ "name": new }))
    }

    /// Begins to delete a stopped instance; the path of the operation.
    ///
    /// # Errors
    /// Everything in [`Error`].
    pub fn delete_instance(&mut self, name: &str) -> Result<String, Error> {
        let target = self.target(&format!("/1.0/instances/{name}"), "");
        self.begin("deleting the box", "DELETE", &target, &Value::Null)
    }

    /// A profile of the project.
    ///
    /// # Errors
    /// [`Error::Refused`] with code 404 when there is none of this name.
    pub fn profile(&mut self, name: &str) -> Result<Profile, Error> {
        let target = self.target(&format!("/1.0/profiles/{}", percent_encode(name)), "");
        self.get("asking about a profile", &target)
    }

    /// Makes a profile.
    ///
    /// # Errors
    /// [`Error::Refused`] with code 409 when there is one, and everything else in [`Error`].
    pub fn create_profile(&mut self, profile: &Profile) -> Result<(), Error> {
        let doing = "making a profile";
        let target = self.target("/1.0/profiles", "");
        let request = serde_json::to_value(profile)
            .map_err(|error| Error::Malformed { doing, what: error.to_string() })?;
        self.tell(doing, "POST", &target, &request)
    }

    /// Writes a profile that is there as a whole.
    ///
    /// # Errors
    /// Everything in [`Error`].
    pub fn put_profile(&mut self, profile: &Profile) -> Result<(), Error> {
        let doing = "changing a profile";
        let target = self.target(&format!("/1.0/profiles/{}", percent_encode(&profile.name)), "");
        let request = serde_json::to_value(profile)
            .map_err(|error| Error::Malformed { doing, what: error.to_string() })?;
        self.tell(doing, "PUT", &target, &request)
    }

    /// The running operations that concern an instance, as paths.
    ///
    /// # Errors
    /// Everything in [`Error`].
    pub fn operations_on(&mut self, name: &str) -> Result<Vec<String>, Error> {
        #[derive(Deserialize)]
        struct Running {
            id: String,
            #[serde(default)]
            resources: Option<BTreeMap<String, Vec<String>>>,
        }
        let target = self.target("/1.0/operations", "recursion=1");
        let by_status: BTreeMap<String, Vec<Running>> =
            self.get_all("asking what the daemon does", &target)?;
        let path = format!("/1.0/instances/{name}");
        let concerns = |running: &Running| {
            let all = running.resources.iter().flat_map(BTreeMap::values).flatten();
            all.into_iter().any(|url| url.split('?').next() == Some(path.as_str()))
        };
        let running = by_status.into_iter().filter(|(status, _)| status == "running");
        let running = running.flat_map(|(_, all)| all).filter(concerns);
        Ok(running.map(|running| format!("/1.0/operations/{}", running.id)).collect())
    }

    /// Reads something.
    ///
    /// # Errors
    /// Everything in [`Error`].
    pub fn get<T: serde::de::DeserializeOwned>(
        &mut self,
        doing: &'static str,
        target: &str,
    ) -> Result<T, Error> {
        let envelope = self.call::<T>(doing, "GET", target, b"")?;
        let what = || "its answer has no metadata".to_owned();
        envelope.metadata.ok_or_else(|| Error::Malformed { doing, what: what() })
    }

    /// Reads a list or a map: an empty one is `null`.
    ///
    /// # Errors
    /// Everything in [`Error`].
    pub fn get_all<T: serde::de::DeserializeOwned + Default>(
        &mut self,
        doing: &'static str,
        target: &str,
    ) -> Result<T, Error> {
        Ok(self.call::<T>(doing, "GET", target, b"")?.metadata.unwrap_or_default())
    }

    /// Makes a request that is done when it is answered.
    ///
    /// # Errors
    /// Everything in [`Error`].
    pub fn tell(
        &mut self,
        doing: &'static str,
        method: &str,
        target: &str,
        request: &Value,
    ) -> Result<(), Error> {
        let told = self.call_within::<serde::de::IgnoredAny>(
            CHANGE_PATIENCE,
            doing,
            method,
            target,
            &body(request),
        );
        told.map(|_| ())
    }

    /// Makes a request that an operation follows; its path.
    ///
    /// # Errors
    /// Everything in [`Error`].
    pub fn begin(
        &mut self,
        doing: &'static str,
        method: &str,
        target: &str,
        request: &Value,
    ) -> Result<String, Error> {
        let envelope = self.call::<serde::de::IgnoredAny>(doing, method, target, &body(request))?;
        Ok(envelope.operation)
    }

    /// Waits for an operation, for as long as it takes, and tells how far it is. A signal ends the
    /// waiting and cancels the operation where Incus can do that.
    ///
    /// # Errors
    /// The operation's own failure, too.
    pub fn watch(
        &mut self,
        doing: &'static str,
        operation: &str,
        signals: &mut Signals,
        tell: Option<&mut dyn FnMut(&str)>,
    ) -> Result<(), Interrupted> {
        self.send_wait(doing, operation)?;
        let mut second = None;
        let mut answered_at = Instant::now();
        let mut tell = tell;
        // incus-user does not pass on that the daemon is gone.
        let (tick, is_relayed) = match (tell.is_some(), self.daemon().restricted) {
            (true, is_relayed) => (Some(TICK), is_relayed),
            (false, true) => (Some(LOOK), true),
            (false, false) => (None, false),
        };
        loop {
            let mut set = PollSet::new();
            set.add(0, self.as_fd(), Interest::Read);
            set.add(1, signals.as_fd(), Interest::Read);
            set.wait(tick.map(|tick| Instant::now() + tick))
                .map_err(|source| Error::Io { doing, source })?;
            let (answered, signalled) = (set.ready(0).any(), set.ready(1).any());
            drop(set);
            if signalled {
                let taken = signals.take().map_err(|source| Error::Io { doing, source })?;
                if let Some(signal) = taken {
                    self.reconnect()?;
                    self.cancel(operation);
                    return Err(Interrupted::Signal(signal));
                }
            }
            if answered {
                if let Some(answer) = self.try_receive(doing)? {
                    let ended: Operation = self.ended(doing, operation, &answer)?;
                    return Ok(ended.success(doing)?);
                }
            } else if tick.is_some() && !signalled {
                if second.is_none() {
                    second = Client::connect(self.project().map(str::to_owned)).ok();
                }
                let progress = second.as_mut().map(|client| client.progress(operation));
                if matches!(progress, Some(Ok(_))) {
                    answered_at = Instant::now();
                } else if is_relayed && answered_at.elapsed() >= GONE {
                    return Err(Error::Closed { doing }.into());
                }
                match (progress, tell.as_mut()) {
                    (Some(Ok(Some(text))), Some(tell)) => tell(&text),
                    // It ended meanwhile, or the daemon knows nothing of it any more.
                    (Some(Err(error)), _) if is_relayed && error.code() == Some(404) => {
                        let answer = self.try_receive(doing)?;
                        let answer = answer.ok_or(Error::Closed { doing })?;
                        return Ok(self.ended(doing, operation, &answer)?.success(doing)?);
                    }
                    // Progress is a courtesy: its failure is nobody's business.
                    (Some(Err(_)), _) => second = None,
                    _ => {}
                }
            }
        }
    }

    /// How far an operation is, in Incus's words: `rootfs: 45% (3.20MB/s)`.
    fn progress(&mut self, operation: &str) -> Result<Option<String>, Error> {
        let target = self.target(operation, "");
        let whole: Value = self.get("asking for progress", &target)?;
        let metadata = whole.get("metadata").and_then(Value::as_object);
        let told = metadata.and_then(|all| all.iter().find(|(key, _)| key.ends_with("_progress")));
        Ok(told.and_then(|(_, told)| told.as_str()).map(str::to_owned))
    }

    /// Asks Incus to give an operation up; many kinds cannot be.
    fn cancel(&mut self, operation: &str) {
        let target = self.target(operation, "");
        let _many_kinds_cannot_be = self.tell("giving up", "DELETE", &target, &Value::Null);
    }
}

fn body(request: &Value) -> Vec<u8> {
    if request.is_null() { Vec::new() } else { request.to_string().into_bytes() }
}
