//! Making a box: an instance, the agent in it, and what the agent makes of it.
//!
//! Until the end the instance says of itself `user.incusbox.state=creating TOKEN`. Whatever goes
//! wrong before, a signal too, removes it again. What a killed `incusbox` left behind is known by
//! that state, whose token tells that its maker is dead, and is removed by the next `create` of that name.

use serde_json::{Value, json};

use super::change::{shares_home, whole};
use super::copy;
use super::desktop;
use super::error::Error;
use super::gpu;
use super::half_made::{self, CLEANING, PAUSE};
use super::host::{self, HostUser, Machine};
use super::lock::Lock;
use super::maker::Maker;
use super::nesting::{self, Allowed, NESTED, ensure_profile};
use super::network;
use super::nvidia;
use super::request::{self, CREATING, Mapping, Wanted};
use super::settings::{Home, Network, Settings};
use super::setup;
use crate::agent::protocol::desktop::Switch;
use crate::agent::protocol::setup::{SetupRequest, SetupResult};
use crate::incus::manage::{Action, Force};
use crate::incus::objects::{FullInstance, Profile};
use crate::incus::{self, Client};
use crate::names::BoxName;
use crate::run::agent_file::AgentFile;
use crate::sys::signals::Signals;

/// How often the instance is tried to be made: without its profile, over what a dead try left.
const TRIES: usize = 4;
/// How often it is asked what is left of a box that could not be made.
const LOOKS: u32 = 10;

/// Where the steps are told.
pub trait Progress {
    /// A step begins.
    fn step(&mut self, text: &str);
    /// How far the step is.
    fn detail(&mut self, text: &str);
    /// A line that a program in the box wrote.
    fn output(&mut self, line: &str);
    /// Something is not as it was asked for.
    fn warning(&mut self, text: &str);
}

/// What a box is made from.
#[derive(Clone, Debug)]
pub struct Origin {
    /// `source` of the request.
    pub source: Value,
    /// As the user named it.
    pub name: String,
    /// Whether it has an init.
    pub init: Init,
    /// The box that it is a copy of.
    pub copied: Option<FullInstance>,
}

/// Whether what a box is made from has an init.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Init {
    /// It has.
    Own,
    /// It has none and gets the agent as one, before it is started for the first time.
    Agents,
    /// Nobody knows: the instance tells.
    Unknown,
}

/// Where the agent is an init.
const INIT: &str = "/usr/local/lib/incusbox/init";

/// Everything that is needed to make a box.
pub struct Creation<'a> {
    /// The connection to the daemon.
    pub client: &'a mut Client,
    /// Signals end it.
    pub signals: &'a mut Signals,
    /// Where the steps are told.
    pub progress: &'a mut dyn Progress,
    /// The box's name.
    pub name: &'a BoxName,
    /// What it shall be like.
    pub settings: &'a Settings,
    /// Whom it is for.
    pub user: Option<&'a HostUser>,
    /// What it is made from.
    pub origin: Origin,
}

/// How the user's ids get into a box, and what to warn of.
///
/// # Errors
/// [`Error::NoMapping`] where they cannot.
pub fn mapping(
    user: Option<&HostUser>,
    settings: &Settings,
    allowed: Allowed,
) -> Result<(Mapping, Option<String>), Error> {
    let Some(user) = user else { return Ok((Mapping::None, None)) };
    let shows_files = settings.home != Home::None || !settings.volumes.is_empty();
    // A process in the box with an id of the host's is, to the kernel, one of that user's.
    let needs_session = settings.switches.iter().any(|switch| switch.needs_session());
    if settings.isolated && !shows_files && !needs_session {
        return Ok((Mapping::None, None));
    }
    let missing = host::missing_sub_ids("/".as_ref(), user);
    if missing.is_empty() {
        return Ok((Mapping::Ids, left_out(settings, Mapping::Ids, allowed)));
    }
    if !shows_files {
        return Ok((Mapping::None, left_out(settings, Mapping::None, allowed)));
    }
    if allowed == Allowed::Restricted {
        return Err(Error::NoMapping { user: user.name.clone(), missing });
    }
    let risk = "the host does not let ids be mapped, so files are shifted: whoever is root in the \
                box can make programs in the shared home that run as root on the host";
    let warning = left_out(settings, Mapping::Shift, allowed)
        .map_or_else(|| format!("{risk}\n{SET_UP}"), |left_out| format!("{risk}\n{left_out}"));
    Ok((Mapping::Shift, Some(warning)))
}

/// What helps where ids may not be mapped.
const SET_UP: &str = "mend that for the next box: incusbox setup";

/// What to say of switches that are wanted and can do nothing.
fn left_out(settings: &Settings, mapping: Mapping, allowed: Allowed) -> Option<String> {
    let impossible = |switch: &&Switch| {
        switch.needs_session() && !desktop::is_possible(**switch, mapping, allowed)
    };
    let names: Vec<&str> =
        settings.switches.iter().filter(impossible).map(|switch| switch.name()).collect();
    let (why, mend) = match allowed {
        Allowed::Restricted => (
            "Incus does not let you show it directories of the host",
            "mend that for the next box: have yourself added to the group incus-admin",
        ),
        Allowed::All => ("it does not know your user id", SET_UP),
    };
    let list = names.join(", ");
    (!names.is_empty())
        .then(|| format!("the box gets nothing of your desktop session ({list}): {why}\n{mend}"))
}

impl Creation<'_> {
    /// The request as it would be made.
    ///
    /// # Errors
    /// [`Error::NoMapping`], and what asking for the profile may meet.
    pub fn request(&mut self) -> Result<Value, Error> {
        let (mapping, _) = mapping(self.user, self.settings, self.allowed())?;
        let profile = self.profile()?;
        let token = "TOKEN".to_owned();
        Ok(self.instance(&self.wanted(mapping, profile, &token)))
    }

    /// Makes the box.
    ///
    /// # Errors
    /// Everything in [`Error`]; then nothing of the box is left.
    pub fn run(mut self) -> Result<SetupResult, Error> {
        let name = self.name.as_str();
        let lock = Lock::take(self.client.project(), name);
        let lock = lock.map_err(|source| Error::Host { doing: "making a lock file", source })?;
        let Some(_lock) = lock else {
            return Err(Error::BeingMade { name: name.to_owned(), is_known: true });
        };
        let (mapping, warning) = mapping(self.user, self.settings, self.allowed())?;
        let intercepting = nesting::warning(self.settings.intercept, Machine::here());
        for warning in warning.into_iter().chain(intercepting) {
            self.progress.warning(&warning);
        }
        let profile = self.profile()?;
        if self.settings.network == Network::Isolated {
            network::ensure_isolated(self.client)?;
        }
        let maker = Maker::this();
        let (token, mine) = (maker.to_string(), half_made::state(&maker));
        let wanted = self.wanted(mapping, profile, &token);
        let request = self.instance(&wanted);
        let switches = wanted.switches();
        let setup = request::setup(name, self.settings, self.user, &switches);
        let setup = SetupRequest { is_new: true, ..setup };
        // What a profile has of that name would come in the place of nothing. What others than these
        // two have is not known.
        let is_usual = |name: &&str| ["default", NESTED].contains(name);
        let has_others = !copy::profiles(&wanted).iter().all(is_usual);
        let is_hidden = |name: &&str| {
            let of_default = wanted.profile.as_ref().map(|profile| &profile.devices);
            has_others || of_default.is_some_and(|devices| devices.contains_key(*name))
        };
        let left = copy::left_behind(&wanted).into_iter().filter(|name| !is_hidden(name));
        let left: Vec<String> = left.map(str::to_owned).collect();
        self.progress.step(&format!("making the box from {}", self.origin.name));
        let made = self.make(&request, &mine).map_err(|error| self.explained(error, mapping));
        let result = made
            .and_then(|()| self.forget_devices(&left))
            .and_then(|()| self.set_up(&setup, mapping, &switches));
        if result.is_err() {
            self.progress.step("removing what was made");
            self.remove_half_made(&mine);
        }
        result
    }

    /// Not every file system can be shifted: then there is no way left to show the user's files.
    fn explained(&self, error: Error, mapping: Mapping) -> Error {
        let cannot_shift = |source: &incus::Error| {
            source.text().is_some_and(|text| text.to_lowercase().contains("idmapping abilities"))
        };
        match (error, self.user) {
            (Error::Start { source, .. }, Some(user))
                if mapping == Mapping::Shift && cannot_shift(&source) =>
            {
                let missing = host::missing_sub_ids("/".as_ref(), user);
                Error::NoMapping { user: user.name.clone(), missing }
            }
            (error, _) => error,
        }
    }

    fn allowed(&self) -> Allowed {
        Allowed::of(self.client)
    }

    fn wanted<'w>(
        &'w self,
        mapping: Mapping,
        profile: Option<Profile>,
        token: &'w str,
    ) -> Wanted<'w> {
        Wanted {
            name: self.name.as_str(),
            settings: self.settings,
            user: self.user,
            mapping,
            source: self.origin.source.clone(),
            profile,
            libraries: nvidia::look("/".as_ref(), self.allowed()),
            copied: self.origin.copied.as_ref(),
            image: &self.origin.name,
            allowed: self.allowed(),
            token,
        }
    }

    fn instance(&self, wanted: &Wanted<'_>) -> Value {
        let mut request = request::instance(wanted);
        if self.origin.init != Init::Own {
            request["start"] = json!(false);
        }
        request
    }

    /// The default profile, asked for only when a device of it is to be another one.
    fn profile(&mut self) -> Result<Option<Profile>, Error> {
        let settings = self.settings;
        let is_as_it_is = !settings.isolated
            && settings.disk.is_none()
            && settings.network == Network::Shared
            && self.origin.copied.is_none();
        if is_as_it_is {
            return Ok(None);
        }
        Ok(Some(self.client.profile("default")?))
    }

    /// Makes and starts the instance. Whether its profile is there and its name is free is not
    /// asked first: the refusal says so.
    fn make(&mut self, request: &Value, mine: &str) -> Result<(), Error> {
        for _ in 0..TRIES {
            let source = match self.try_to_make(request) {
                Err(Error::Incus(source)) => source,
                result => return result,
            };
            if source.text().is_some_and(|text| text.contains(NESTED)) {
                ensure_profile(self.client)?;
                continue;
            }
            let name = self.name.as_str().to_owned();
            let Some(there) = self.what_is_left(&name) else { return Err(source.into()) };
            if there.fact("state") == Some(mine) {
                let log = self.client.start_log(&name);
                return Err(Error::Start { name, source, log, is_new: true });
            }
            half_made::take_over(self.client, &there, mine)?;
            self.progress.step("removing what an earlier try left");
            self.remove_half_made(mine);
        }
        let name = self.name.as_str().to_owned();
        Err(Error::BeingMade { name, is_known: true })
    }

    /// The instance that could not be made, if there is one. Right after a failed start the daemon may
    /// be unable to say.
    fn what_is_left(&mut self, name: &str) -> Option<FullInstance> {
        for _ in 0..LOOKS {
            match self.client.full_instance(name) {
                Ok(there) => return Some(there),
                Err(error) if error.code() == Some(404) => return None,
                Err(_) => std::thread::sleep(PAUSE),
            }
        }
        None
    }

    fn try_to_make(&mut self, request: &Value) -> Result<(), Error> {
        let operation = self.client.create_instance(request)?;
        let progress = &mut *self.progress;
        let mut tell = |text: &str| progress.detail(text);
        let watched =
            self.client.watch("making the box", &operation, self.signals, Some(&mut tell));
        watched?;
        if self.origin.init == Init::Own {
            return Ok(());
        }
        let name = self.name.as_str();
        let needs_one =
            self.origin.init == Init::Agents || !self.client.file_exists(name, "/sbin/init")?;
        if needs_one {
            self.progress.step("giving the box an init");
            AgentFile::find()?.push_as_init(self.client, name, INIT)?;
            let change = json!({ "config": { "raw.lxc": request::INIT_LINE } });
            let given = self.client.patch_instance(name, &change);
            given.map_err(|source| match source.text() {
                Some(text) if text.contains("forbidden") => Error::NoInit { source },
                _ => Error::Incus(source),
            })?;
        }
        let operation = self.client.change_state(name, Action::Start, Force::Yes)?;
        self.client.watch("starting the box", &operation, self.signals, None)?;
        Ok(())
    }

    /// A copy was made with devices that stand for nothing, in place of the original's. They go, so
    /// that others can have their names.
    fn forget_devices(&mut self, names: &[String]) -> Result<(), Error> {
        if names.is_empty() {
            return Ok(());
        }
        let mut there = self.client.full_instance(self.name.as_str())?;
        there.devices.retain(|name, _| !names.contains(name));
        let operation = self.client.put_instance(self.name.as_str(), &whole(&there))?;
        Ok(self.client.watch("changing the box", &operation, self.signals, None)?)
    }

    fn set_up(
        &mut self,
        request: &SetupRequest,
        mapping: Mapping,
        switches: &[Switch],
    ) -> Result<SetupResult, Error> {
        let name = self.name.as_str().to_owned();
        let result = setup::run(self.client, self.signals, self.progress, &name, request)?;
        if let (Some(user), true) = (self.user, shares_home(self.settings, mapping)) {
            setup::check_owners(self.client, self.signals, &name, user, &self.settings.home)?;
        }
        // Only now the box has the groups that its packages brought.
        if switches.contains(&Switch::Gpu) {
            // A copy has what the original had, which may be one card of several.
            let known = self.origin.copied.as_ref().map(|copied| copied.devices.clone());
            let known = known.unwrap_or_default();
            gpu::add(self.client, self.progress, &name, self.user, &known);
        }
        let facts = json!({ "config": {
            "user.incusbox.state": "ready",
            "user.incusbox.distribution": result.distribution,
            "user.incusbox.shell": result.shell,
        }});
        self.client.patch_instance(&name, &facts)?;
        Ok(result)
    }

    /// Removes the instance if its state is still `mine`.
    fn remove_half_made(&mut self, mine: &str) {
        let name = self.name.as_str();
        if !half_made::clear(self.client, name, mine) {
            self.progress.warning(&format!(
                "the half-made box `{name}` could not be removed\nremove it: incus delete --force {name}"
            ));
        }
    }
}

/// Stops and deletes an instance, without asking anybody.
///
/// # Errors
/// Everything in [`incus::Error`].
pub fn remove(client: &mut Client, there: &FullInstance) -> Result<(), incus::Error> {
    if there.status != "Stopped" {
        let operation = client.change_state(&there.name, Action::Stop, Force::Yes)?;
        client.wait("stopping the box", &operation, CLEANING)?.success("stopping the box")?;
    }
    let operation = client.delete_instance(&there.name)?;
    client.wait("deleting the box", &operation, CLEANING)?.success("deleting the box")
}

/// Whether an instance is a box that was never finished.
pub fn is_half_made(instance: &FullInstance) -> bool {
    instance.fact("state").is_some_and(|state| state.starts_with(CREATING))
}
