//! Makes the host what was chosen of a box.

use std::collections::BTreeMap;

use super::apply::{self, Done, Look};
use super::defaults;
use super::ground;
use super::manifest::{Chosen, Exports, Kept};
use super::offers::{self, Offers};
use super::plan::{Content, Plan, Wanted, plan};
use super::refresh;
use crate::agent::protocol::apps::{Icons, Question};
use crate::boxes::error::Error;
use crate::incus::Client;
use crate::incus::objects::FullInstance;
use crate::names::BoxName;
use crate::sys::signals::Signals;

/// A box that is spoken of.
#[derive(Clone, Debug)]
pub struct Whose {
    /// Its name.
    pub name: BoxName,
    /// Its project.
    pub project: String,
    /// Incus's id of it.
    pub uuid: String,
    /// Whose login in the box says where programs are.
    pub uid: u32,
    /// Whether that user's home is the one on the host.
    pub home_is_hosts: bool,
}

/// What came of it.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// What was done to files.
    pub done: Done,
    /// What was chosen and cannot be, and why.
    pub refused: Vec<(String, String)>,
    /// What was chosen and is not in the box at present.
    pub missing: Vec<String>,
    /// What else is to be known, in sentences.
    pub notes: Vec<String>,
}

impl Whose {
    /// The box, as Incus describes it.
    pub fn of(
        client: &Client,
        there: &FullInstance,
        name: &BoxName,
        uid: u32,
        home_is_hosts: bool,
    ) -> Whose {
        Whose {
            name: name.clone(),
            project: client.project().unwrap_or("default").to_owned(),
            uuid: there.config.get("volatile.uuid").cloned().unwrap_or_default(),
            uid,
            home_is_hosts,
        }
    }

    /// What the agent is asked.
    fn question(&self, exports: &Exports, look: Look) -> Question {
        let Chosen { all, apps, commands, .. } = &exports.chosen;
        let icons = match all {
            Some(_) => Icons::All,
            None if apps.is_empty() => Icons::None,
            None => Icons::Of(apps.keys().cloned().collect()),
        };
        // Looked at closely, every picture may be needed anew.
        let records = exports.files.values().filter(|_| look == Look::Quick);
        let known: BTreeMap<String, String> =
            records.filter_map(|record| record.source.clone()).collect();
        let programs = commands.values().map(|one| one.command.clone()).collect();
        Question { uid: self.uid, home_is_hosts: self.home_is_hosts, icons, known, programs }
    }
}

/// Asks a running box what it offers, with what is chosen of it.
///
/// # Errors
/// Everything in [`Error`].
pub fn ask(
    client: &mut Client,
    signals: &mut Signals,
    whose: &Whose,
    exports: &Exports,
    look: Look,
) -> Result<Offers, Error> {
    offers::ask(client, signals, whose.name.as_str(), &whose.question(exports, look))
}

/// The plan for what a box offers.
///
/// # Errors
/// [`Error::Host`].
pub fn planned(
    client: &Client,
    kept: &mut Kept,
    whose: &Whose,
    offers: &Offers,
) -> Result<Plan, Error> {
    let exports = kept.manifest.exports(whose.name.as_str(), &whose.project, &whose.uuid).clone();
    let ground =
        ground::look(client, &kept.manifest, &exports).map_err(host("looking at the desktop"))?;
    Ok(plan(&whose.name, &exports, offers, &ground))
}

/// Brings about a plan, and tells the desktop.
///
/// # Errors
/// [`Error::Host`].
pub fn bring_about(kept: &mut Kept, uuid: &str, plan: Plan, look: Look) -> Result<Outcome, Error> {
    let (refused, missing) = (plan.refused.clone(), plan.missing.clone());
    let writing = host("writing what is exported");
    let mut notes = Vec::new();
    let mut done = apply::apply(kept, uuid, plan, look).map_err(&writing)?;
    if done.changed().any(apply::is_entry) {
        kept.manifest.exports("", "", defaults::OWNER);
        let plan = defaults::plan(&kept.manifest);
        let lists = apply::apply(kept, defaults::OWNER, plan, look).map_err(&writing)?;
        done.aside.extend(lists.aside);
        notes.extend(lists.foreign.iter().map(|path| {
            format!(
                "`{}` is not incusbox's and stays as it is; so programs of boxes may come before the host's where you chose no default",
                path.display()
            )
        }));
        kept.manifest.tidy();
    }
    let data = ground::data_home().map_err(host("looking at the desktop"))?;
    notes.extend(refresh::refresh(&data, done.changed()));
    Ok(Outcome { done, refused, missing, notes })
}

/// What is left of a box's files when only these users' are kept.
pub fn remaining(exports: &Exports, is_kept: impl Fn(&str) -> bool) -> Plan {
    let mut plan = Plan::default();
    for (path, record) in &exports.files {
        let users: std::collections::BTreeSet<String> =
            record.users.iter().filter(|user| is_kept(user)).cloned().collect();
        if !users.is_empty() {
            let source = record.source.clone();
            let wanted = Wanted { content: Content::Same, mode: 0, users, source };
            plan.files.insert(path.clone(), wanted);
        }
    }
    plan
}

/// Takes away what is there of boxes that are gone. `uuids` are those of all boxes of the project.
///
/// # Errors
/// [`Error::Host`].
pub fn sweep(
    kept: &mut Kept,
    project: &str,
    uuids: &[String],
) -> Result<Vec<(String, Outcome)>, Error> {
    let is_gone = |one: &&Exports| one.project == project && !uuids.contains(&one.uuid);
    let gone: Vec<(String, String)> = kept
        .manifest
        .boxes
        .iter()
        .filter(is_gone)
        .map(|one| (one.name.clone(), one.uuid.clone()))
        .collect();
    gone.into_iter().map(|(name, uuid)| Ok((name, drop_all(kept, &uuid)?))).collect()
}

/// Takes away everything of a box's, and what was chosen of it.
///
/// # Errors
/// [`Error::Host`].
pub fn drop_all(kept: &mut Kept, uuid: &str) -> Result<Outcome, Error> {
    if let Some(one) = kept.manifest.boxes.iter_mut().find(|one| one.uuid == uuid) {
        one.chosen = Chosen::default();
    }
    let outcome = bring_about(kept, uuid, Plan::default(), Look::Quick)?;
    kept.manifest.tidy();
    kept.save().map_err(host("writing the list of what is exported"))?;
    Ok(outcome)
}

/// An error of the host's.
pub fn host(doing: &'static str) -> impl Fn(std::io::Error) -> Error {
    move |source| Error::Host { doing, source }
}
