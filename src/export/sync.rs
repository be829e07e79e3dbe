//! Makes the host what was chosen of a box.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::apply::{self, Done, Look};
use super::defaults;
use super::ground::{self, Ground};
use super::kept::Kept;
use super::manifest::{Chosen, Exports, Settled};
use super::offers::{self, Left, Offers};
use super::plan::{self, Content, Plan, READ, Wanted};
use super::refresh;
use super::tree::{Seen, There, Tree};
use crate::agent::protocol::apps::{Icons, Question};
use crate::agent::protocol::desktop::Switch;
use crate::boxes::desktop;
use crate::boxes::error::Error;
use crate::boxes::host::HostUser;
use crate::incus::Client;
use crate::incus::instances::PAUSE;
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
    /// The fingerprint of its daemon.
    pub daemon: String,
    /// Incus's id of it.
    pub uuid: String,
    /// Whose login in the box says where programs are.
    pub uid: u32,
    /// Whether that user's home is the one on the host.
    pub home_is_hosts: bool,
    /// Whether programs in it are on the host's session bus.
    pub is_on_bus: bool,
    /// Whether it runs anyhow, and was not started for what is done with it.
    pub is_running: bool,
    /// Whether it is to tell of changes from now on.
    pub is_followed: bool,
}

/// What came of it.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// What was done to files.
    pub done: Done,
    /// The shims that there shall be.
    pub shims: BTreeSet<PathBuf>,
    /// What was chosen and cannot be, and why.
    pub refused: Vec<(String, String)>,
    /// What was chosen and is not in the box at present.
    pub missing: Vec<String>,
    /// What the box has that offers nothing although it looks as if it did, and why.
    pub left: Vec<Left>,
    /// What else is to be known, in sentences.
    pub notes: Vec<String>,
}

impl Whose {
    /// The box, as Incus describes it, for who calls.
    ///
    /// # Errors
    /// When it cannot be told who calls, or the name is none of a box.
    pub fn of(project: &str, daemon: &str, there: &FullInstance) -> Result<Whose, Error> {
        let user = HostUser::calling().map_err(host("finding out who you are"))?;
        Ok(Whose {
            name: BoxName::new(&there.name)?,
            project: project.to_owned(),
            daemon: daemon.to_owned(),
            uuid: there.uuid().to_owned(),
            uid: user.as_ref().map_or(0, |user| user.uid),
            home_is_hosts: user.is_some_and(|user| user.has_home_of(there)),
            is_on_bus: desktop::on(there).is_some_and(|on| on.contains(&Switch::Bus)),
            is_running: there.status == "Running",
            is_followed: false,
        })
    }

    /// What it has on the host.
    pub fn exports<'a>(&self, kept: &'a mut Kept) -> &'a mut Exports {
        let exports = kept.manifest.exports(self.name.as_str(), &self.project, &self.uuid);
        exports.daemon.clone_from(&self.daemon);
        exports
    }

    /// What the agent is asked.
    pub fn question(&self, exports: &Exports, look: Look) -> Question {
        let Chosen { all, apps, commands, services, .. } = &exports.chosen;
        let icons = match all {
            Some(_) => Icons::All,
            None if apps.is_empty() => Icons::None,
            None => Icons::Of(apps.keys().cloned().collect()),
        };
        let mut known: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
        let mut tree = Tree::default();
        // Looked at closely, every picture may be needed anew; else those that are not as they were.
        for (file, record) in exports.files.iter().filter(|_| look == Look::Quick) {
            let is_there = record.seen.as_ref().is_some_and(|seen| is_there(&mut tree, file, seen));
            if let (Some(source), true) = (record.source.clone(), is_there) {
                known.entry(source.icon).or_default().insert(source.path, source.stamp);
            }
        }
        let services = services.iter().cloned().collect();
        let programs = commands.values().map(|one| one.command.clone()).collect();
        let types = exports.types.clone();
        let (uid, home_is_hosts, is_followed) = (self.uid, self.home_is_hosts, self.is_followed);
        Question {
            uid,
            home_is_hosts,
            icons,
            known,
            programs,
            services,
            types,
            is_followed,
            answered: None,
        }
    }
}

/// Asks a running box what it offers, with what is chosen of it. A box may take its time for the answer,
/// and it is not the other boxes' fault: they have the list meanwhile. (But not where it was started for
/// this: nobody shall rely on that it runs.)
///
/// # Errors
/// Everything in [`Error`].
pub fn ask(
    client: &mut Client,
    signals: &mut Signals,
    kept: &mut Kept,
    whose: &Whose,
    question: &Question,
) -> Result<Offers, Error> {
    let ask = |client, signals: &mut _| offers::ask(client, signals, whose.name.as_str(), question);
    if !whose.is_running {
        return ask(client, signals);
    }
    let listing = host("reading the list of what is exported");
    kept.let_go().map_err(&listing)?;
    let asked = ask(client, signals);
    while !kept.take_again(&whose.uuid).map_err(&listing)? {
        if let Some(signal) = signals.take().map_err(host("catching signals"))? {
            return Err(Error::Signal(signal));
        }
        std::thread::sleep(PAUSE);
    }
    asked
}

/// Asks a running box, and plans what is chosen of it. If [`Kept::was_overtaken`] meanwhile, the plan is
/// good for nothing.
///
/// # Errors
/// Everything in [`Error`].
pub fn plan(
    client: &mut Client,
    signals: &mut Signals,
    kept: &mut Kept,
    whose: &Whose,
    look: Look,
) -> Result<(Offers, Plan), Error> {
    let mut exports = whose.exports(kept).clone();
    let look_around = |client: &Client, kept: &Kept, exports: &Exports| {
        ground::look(client, &kept.manifest, exports, whose.is_on_bus)
            .map_err(host("looking at the desktop"))
    };
    let mut ground = look_around(client, kept, &exports)?;
    let of_box = (whose.name.as_str(), whose.uid, whose.home_is_hosts);
    let fingerprint =
        |exports: &Exports, ground: &Ground| ground::fingerprint(ground, exports, &of_box);
    let mut question = whose.question(&exports, look);
    let settled = exports.settled.as_ref().filter(|_| look == Look::Quick && is_in_place(&exports));
    if let Some(settled) = settled {
        let is_same = fingerprint(&exports, &ground).as_ref() == Some(&settled.asked);
        question.answered = is_same.then_some(settled.answered);
    }
    let mut offers = ask(client, signals, kept, whose, &question)?;
    if kept.has_news() {
        ground = look_around(client, kept, &exports)?;
        let is_same = settled
            .is_some_and(|settled| fingerprint(&exports, &ground).as_ref() == Some(&settled.asked));
        if offers.is_same && !is_same {
            question.answered = None;
            offers = ask(client, signals, kept, whose, &question)?;
            ground = look_around(client, kept, &exports)?;
        }
    }
    if offers.is_same {
        let mut plan = remaining(&exports, |_| true);
        plan.called = Some(whose.name.to_string());
        plan.settled.clone_from(&exports.settled);
        return Ok((offers, plan));
    }
    ground.types = ground.type_files.read();
    let mut plan = plan::plan(&whose.name, &exports, &offers, &ground);
    if plan.is_short || !plan.types.is_subset(&exports.types) {
        let look = if plan.is_short { Look::Close } else { look };
        exports.types.clone_from(&plan.types);
        offers = ask(client, signals, kept, whose, &whose.question(&exports, look))?;
        if kept.has_news() {
            ground = look_around(client, kept, &exports)?;
            ground.types = ground.type_files.read();
        }
        plan = plan::plan(&whose.name, &exports, &offers, &ground);
    }
    plan.left.clone_from(&offers.left);
    // What others brought meanwhile may need to be asked for, the next time.
    let is_whole = !plan.is_short && plan.types.is_subset(&exports.types);
    if is_whole && plan.refused.is_empty() && plan.missing.is_empty() {
        let answered = offers.answered;
        exports.types.clone_from(&plan.types);
        plan.settled = fingerprint(&exports, &ground).map(|asked| Settled { asked, answered });
    }
    whose.exports(kept).types.clone_from(&plan.types);
    Ok((offers, plan))
}

/// Whether all files are as they were put in their places.
fn is_in_place(exports: &Exports) -> bool {
    let mut tree = Tree::default();
    exports.files.iter().all(|(path, record)| {
        record.next.is_none()
            && record.seen.as_ref().is_some_and(|seen| is_there(&mut tree, path, seen))
    })
}

fn is_there(tree: &mut Tree, path: &Path, seen: &Seen) -> bool {
    tree.look(path, Some(seen)).is_ok_and(|there| there == There::File(seen.clone()))
}

/// Brings about a plan, and tells the desktop.
///
/// # Errors
/// [`Error::Host`].
pub fn bring_about(kept: &mut Kept, uuid: &str, plan: Plan, look: Look) -> Result<Outcome, Error> {
    let (refused, missing) = (plan.refused.clone(), plan.missing.clone());
    let left = plan.left.clone();
    let writing = host("writing what is exported");
    let mut notes = Vec::new();
    if let Some(own) = kept.manifest.boxes.iter().find(|one| one.uuid == uuid) {
        // What is away for a while stays enabled.
        let is_chosen = |user: &String| {
            own.chosen.services.iter().any(|name| *user == plan::user_of_service(name))
        };
        let units = own.files.iter().filter(|(path, record)| {
            ground::is_unit(path)
                && !plan.files.contains_key(*path)
                && !record.users.iter().any(is_chosen)
        });
        refresh::stop(units.map(|(path, _)| path));
    }
    let (called, settled) = (plan.called.clone(), plan.settled.clone());
    let shims = plan.files.iter().filter(|(_, wanted)| wanted.mode != READ);
    let shims = shims.map(|(path, _)| path.clone()).collect();
    let mut done = apply::apply(kept, uuid, plan, look).map_err(&writing)?;
    let own = kept.manifest.boxes.iter_mut().find(|one| one.uuid == uuid);
    if let Some(own) = own {
        own.called = called.unwrap_or(std::mem::take(&mut own.called));
        let is_whole = done.foreign.is_empty() && done.of_others.is_empty();
        own.settled = settled.filter(|_| is_whole);
    }
    let lists = kept.manifest.boxes.iter().find(|one| one.uuid == defaults::OWNER);
    let is_amiss = lists.is_some_and(|lists| look == Look::Close || !is_in_place(lists));
    if kept.manifest.defaults_are_due || is_amiss {
        kept.manifest.exports("", "", defaults::OWNER);
        let plan = defaults::plan(&kept.manifest);
        let lists = apply::apply(kept, defaults::OWNER, plan, look).map_err(&writing)?;
        done.written.extend(lists.written);
        done.removed.extend(lists.removed);
        notes.extend(lists.foreign.iter().map(|path| {
            format!(
                "`{}` is not incusbox's and stays as it is; so programs of boxes may come before the host's where you chose no default",
                path.display()
            )
        }));
        kept.manifest.defaults_are_due = false;
    }
    let data = ground::data_home().map_err(host("looking at the desktop"))?;
    notes.extend(refresh::refresh(&data, kept.manifest.untold.iter().map(PathBuf::as_path)));
    kept.manifest.untold.clear();
    kept.save().map_err(&writing)?;
    // Also what one who crashed had no time to say.
    let is_so = |(now, path): (&PathBuf, &PathBuf)| {
        now.symlink_metadata().is_ok().then(|| (path.clone(), now.clone()))
    };
    done.aside = kept.manifest.aside.iter().filter_map(is_so).collect();
    Ok(Outcome { done, shims, refused, missing, left, notes })
}

/// Does what one who crashed did not come to: no file of that is in the way, and the desktop knows
/// what there is.
///
/// # Errors
/// [`Error::Host`].
pub fn finish(kept: &mut Kept) -> Result<Outcome, Error> {
    kept.sweep().map_err(host("taking away what a crash left"))?;
    match kept.is_unfinished() {
        true => bring_about(kept, "", Plan::default(), Look::Quick),
        false => Ok(Outcome::default()),
    }
}

/// What is left of a box's files when only these users' are kept.
pub fn remaining(exports: &Exports, is_kept: impl Fn(&str) -> bool) -> Plan {
    let mut plan = Plan::default();
    for (path, record) in &exports.files {
        let users: BTreeSet<String> =
            record.users.iter().filter(|user| is_kept(user)).cloned().collect();
        if !users.is_empty() {
            let source = record.source.clone();
            let wanted = Wanted { content: Content::Same, mode: READ, users, source };
            plan.files.insert(path.clone(), wanted);
        }
    }
    plan
}

/// Takes away what is there of boxes of this daemon and project that are gone, and gives those that
/// are called otherwise now their names. `live` are the ids and names of all that there are.
///
/// # Errors
/// [`Error::Host`].
pub fn sweep(
    kept: &mut Kept,
    daemon: &str,
    project: &str,
    live: &BTreeMap<String, String>,
) -> Result<Vec<(String, Outcome)>, Error> {
    let mut gone = Vec::new();
    for one in &mut kept.manifest.boxes {
        if one.daemon != daemon || one.project != project {
            continue;
        }
        match live.get(&one.uuid) {
            Some(name) => one.name.clone_from(name),
            None => gone.push((one.name.clone(), one.uuid.clone())),
        }
    }
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
    kept.save().map_err(host("writing the list of what is exported"))?;
    Ok(outcome)
}

/// An error of the host's.
pub fn host(doing: &'static str) -> impl Fn(std::io::Error) -> Error {
    move |source| Error::Host { doing, source }
}
