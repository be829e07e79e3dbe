//! Which files there shall be on the host for what was chosen of a box. Nothing here touches a file.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::ground::{Ground, UNITS};
use super::manifest::{Exports, Look, Settled, Sharing, Source};
use super::offers::{App, Left, Offers, Pictured, Program, Shown};
use super::{beside, service, shim};
use crate::agent::protocol::service::{Found, Service, ServiceName};
use crate::desktop::entry::SERVICES;
use crate::desktop::hosted::bus;
use crate::desktop::hosted::digest;
use crate::desktop::hosted::entry::{self, Subject};
use crate::desktop::hosted::mime::{self, Definitions};
use crate::desktop::picture::{self, Kind, Picture};
use crate::names::{BoxName, DesktopId};

/// The sizes in pixels that the theme of programs' icons has directories for.
///
/// Source: hicolor-icon-theme 0.17, `index.theme`.
const SIZES: [u32; 13] = [16, 22, 24, 32, 36, 48, 64, 72, 96, 128, 192, 256, 512];
/// The modes of what is read, and of what is run.
pub const READ: u32 = 0o644;
const RUN: u32 = 0o755;

/// What a file shall have in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// This.
    Bytes(Rc<[u8]>),
    /// What it has.
    Same,
}

/// A file that shall be there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// What is in it.
    pub content: Content,
    /// Its permissions.
    pub mode: u32,
    /// Whose it is.
    pub users: BTreeSet<String>,
    /// Which picture of the box's it is.
    pub source: Option<Source>,
}

/// Everything that shall be there.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// The files, by their paths.
    pub files: BTreeMap<PathBuf, Wanted>,
    /// What was chosen and cannot be, by what the user calls it, and why.
    pub refused: Vec<(String, String)>,
    /// What was chosen and is not in the box at present.
    pub missing: Vec<String>,
    /// What the box has that offers nothing although it looks as if it did, and why.
    pub left: Vec<Left>,
    /// What the box is called in the files; `None` where they are those of before.
    pub called: Option<String>,
    /// What it follows from; `None` where something stands in the way of a part of it.
    pub settled: Option<Settled>,
    /// Whether pictures have to be sent that the host was thought to have.
    pub is_short: bool,
    /// The MIME types that programs open and the host does not know.
    pub types: BTreeSet<String>,
    /// The icons of the box's that were looked at: what each is called on the host, and its files.
    icons: BTreeMap<String, (Option<String>, Vec<PathBuf>)>,
}

/// Who uses the files of a program's.
pub fn user_of_app(id: &str) -> String {
    format!("app:{id}")
}

/// Who uses a unit.
pub fn user_of_service(name: &ServiceName) -> String {
    format!("service:{name}")
}

/// Who uses a shim.
pub fn user_of_command(path: &Path) -> String {
    format!("command:{}", path.display())
}

/// What a plan is made from.
struct Basis<'a> {
    name: &'a BoxName,
    exports: &'a Exports,
    offers: &'a Offers,
    ground: &'a Ground,
    /// Where pictures are that the host has.
    places: BTreeMap<&'a Source, &'a Path>,
    /// What the box says of MIME types.
    definitions: Definitions,
}

/// Makes the plan.
pub fn plan(name: &BoxName, exports: &Exports, offers: &Offers, ground: &Ground) -> Plan {
    let mut plan = Plan { called: Some(name.to_string()), ..Plan::default() };
    let chosen = &exports.chosen;
    let files = exports.files.iter();
    let places = files.filter_map(|(path, record)| Some((record.source.as_ref()?, path.as_path())));
    let places = places.collect();
    let mut definitions = Definitions::default();
    for package in &offers.packages {
        definitions.read(package, &|name| exports.types.contains(name));
    }
    let from = Basis { name, exports, offers, ground, places, definitions };
    for app in &offers.apps {
        let own = chosen.apps.get(app.id.as_str());
        let is_meant =
            app.shown == Shown::Yes && chosen.all_means(app.id.as_str(), &app.plain_name);
        let Some(look) = own.or(chosen.all.as_ref().filter(|_| is_meant)) else { continue };
        if let Err(why) = plan.add_app(&from, app, look) {
            plan.refused.push((app.id.as_str().to_owned(), why));
        }
    }
    // Those of programs that were refused.
    plan.files.retain(|_, wanted| !wanted.users.is_empty());
    let is_there = |id: &String| offers.apps.iter().any(|app| app.id.as_str() == id);
    plan.missing.extend(chosen.apps.keys().filter(|id| !is_there(id)).cloned());
    for (path, shimmed) in &chosen.commands {
        let Some(command) = offers.programs.get(&shimmed.command) else {
            plan.missing.push(shimmed.command.clone());
            continue;
        };
        let (project, own) = (ground.project.as_deref(), &*command.path);
        match shim::text(&ground.runner, name, project, own, shimmed.sudo) {
            Ok(bytes) => {
                plan.add(path, bytes, RUN, user_of_command(path));
                plan.add_beside(&from, path, command);
            }
            Err(why) => plan.refused.push((shimmed.command.clone(), why.to_owned())),
        }
    }
    for wanted in &chosen.services {
        match offers.services.get(wanted) {
            Some(Found::There(service)) => plan.add_service(&from, wanted, service),
            Some(Found::Unknown) => plan.keep(exports, user_of_service(wanted)),
            Some(Found::Absent) | None => plan.missing.push(wanted.to_string()),
        }
    }
    plan
}

impl Plan {
    /// What this user has stays as it is.
    fn keep(&mut self, exports: &Exports, user: String) {
        let own = exports.files.iter().filter(|(_, record)| record.users.contains(&user));
        for (path, record) in own {
            let (users, source) = ([user.clone()].into(), record.source.clone());
            let wanted = Wanted { content: Content::Same, mode: READ, users, source };
            self.files.insert(path.clone(), wanted);
        }
    }

    /// Its name is the box's, unless the host has a unit of that name.
    fn add_service(&mut self, from: &Basis<'_>, wanted: &ServiceName, service: &Service) {
        let Basis { name, exports, ground, .. } = *from;
        let user = user_of_service(wanted);
        let project = ground.project.as_deref();
        let prefix = project.map(|project| format!("{project}_")).unwrap_or_default();
        let units = ground.data.join(UNITS);
        let [own, other] = [wanted.to_string(), format!("incusbox.{prefix}{name}.{wanted}")]
            .map(|file| units.join(file));
        let has_other =
            exports.files.get(&other).is_some_and(|record| record.users.contains(&user));
        let path = if has_other || ground.has_unit(wanted) { other } else { own };
        let bytes = service::text(&ground.runner, name, project, service);
        self.add(&path, bytes, READ, user);
    }

    /// The manual page and the completions of a command, where nobody else has any there.
    fn add_beside(&mut self, from: &Basis<'_>, shim: &Path, command: &Program) {
        let Basis { name, ground, .. } = *from;
        let Some(called) = shim.file_name().and_then(|file| file.to_str()) else { return };
        if ground.second.contains(shim) {
            return;
        }
        let project = ground.project.as_deref();
        let (runner, path) = (&*ground.runner, &*command.path);
        let subject = beside::Subject { called, name, project, runner, command: path };
        let mut files = match command.is_completed {
            true => beside::completions(&subject),
            false => Vec::new(),
        };
        let mut files: Vec<(PathBuf, Vec<u8>)> =
            files.drain(..).map(|(path, text)| (path, text.into_bytes())).collect();
        if let Some((file, bytes)) = &command.manual {
            files.extend(beside::manual(called, file, bytes).map(|path| (path, bytes.clone())));
        }
        for (path, bytes) in files {
            let path = ground.data.join(path);
            let is_shut = path.parent().is_some_and(|parent| ground.beside.contains(parent));
            if is_shut || ground.beside.contains(&path) {
                continue;
            }
            match self.files.get_mut(&path) {
                // Of two shims of one command.
                Some(wanted) => wanted.users.extend([user_of_command(shim)]),
                None => self.add(&path, bytes, READ, user_of_command(shim)),
            }
        }
    }

    fn add_app(&mut self, from: &Basis<'_>, app: &App, look: &Look) -> Result<(), String> {
        let Basis { name, ground, .. } = *from;
        let user = user_of_app(app.id.as_str());
        let applications = ground.data.join("applications");
        let own_id = own_id(from, app, &user, &applications)?;
        // A class that the host has a program for is left to that.
        let has_windows = own_id == app.id && !app.class_is_of(&ground.ids);
        let label = match &look.label {
            Some(label) => label.as_str(),
            None if own_id != app.id => name.as_str(),
            None => "",
        };
        let on_bus = match own_id == app.id {
            true => bus_file(from, app, look),
            false => Err("its id is another one on the host".to_owned()),
        };
        if let (true, Err(why)) = (app.is_only_on_bus, &on_bus) {
            return Err(format!("it has no `Exec`, only the bus starts it, and {why}"));
        }
        let subject = Subject {
            name,
            is_on_bus: on_bus.is_ok(),
            project: ground.project.as_deref(),
            id: &app.id,
            path: &app.path,
            runner: &ground.runner,
            has_windows,
            label,
            flags: &look.flags,
            shares_files: look.files == Sharing::PerRun,
        };
        for icon in &app.icons {
            self.add_icon(from, icon);
        }
        let on_host = |icon: &str| self.icons.get(icon).and_then(|(own, _)| own.clone());
        let bytes = entry::rewritten(&app.bytes, &subject, &on_host)?;
        for path in
            app.icons.iter().filter_map(|icon| self.icons.get(icon)).flat_map(|(_, all)| all)
        {
            if let Some(wanted) = self.files.get_mut(path) {
                wanted.users.insert(user.clone());
            }
        }
        self.add(&applications.join(own_id.as_str()), bytes, READ, user.clone());
        if let Ok((path, bytes)) = on_bus {
            self.add(&path, bytes, READ, user.clone());
        }
        self.add_types(from, app, user);
        Ok(())
    }

    /// What the program opens and the host does not know.
    fn add_types(&mut self, from: &Basis<'_>, app: &App, user: String) {
        let Basis { name, ground, .. } = *from;
        let Some(known) = &ground.types else { return };
        let own: BTreeSet<String> =
            app.types.iter().filter(|name| known.lacks(name)).cloned().collect();
        if let Some(bytes) = from.definitions.package(&own, known) {
            let own = own_name(name, ground.project.as_deref(), app.id.as_str());
            let path = ground.data.join(mime::PACKAGES).join(format!("{own}.xml"));
            self.add(&path, bytes, READ, user);
        }
        self.types.extend(own);
    }

    /// Looks at an icon's pictures, once.
    fn add_icon(&mut self, from: &Basis<'_>, icon: &str) {
        if self.icons.contains_key(icon) {
            return;
        }
        let own = icon_name(from.name, from.ground.project.as_deref(), icon);
        let (files, is_short) = pictures(from, icon, &own);
        self.is_short |= is_short;
        let paths: Vec<PathBuf> = files.keys().cloned().collect();
        for (path, wanted) in files {
            // Of two names of one icon.
            self.files.entry(path).or_insert(wanted);
        }
        let own = (!paths.is_empty()).then_some(own);
        self.icons.insert(icon.to_owned(), (own, paths));
    }

    fn add(&mut self, path: &Path, bytes: Vec<u8>, mode: u32, user: String) {
        let users = [user].into();
        let wanted = Wanted { content: Content::Bytes(bytes.into()), mode, users, source: None };
        self.files.insert(path.to_owned(), wanted);
    }
}

/// The file by which the host's session bus starts the program, and where it goes.
fn bus_file(from: &Basis<'_>, app: &App, look: &Look) -> Result<(PathBuf, Vec<u8>), String> {
    let Basis { name, offers, ground, .. } = *from;
    let (project, runner, flags) = (ground.project.as_deref(), &*ground.runner, &*look.flags);
    let own = bus::name(&app.id)?;
    let file = offers.buses.get(app.id.as_str()).ok_or("the bus there knows no service for it")?;
    match &ground.buses {
        None => Err("the box is not on the host's bus (the switch `bus`)".to_owned()),
        Some(known) if known.contains(own) => {
            Err("the host's bus starts something else by its name".to_owned())
        }
        Some(_) => {
            let bytes = bus::rewritten(file, own, &bus::Subject { name, project, runner, flags })?;
            Ok((ground.data.join(SERVICES).join(format!("{own}.service")), bytes))
        }
    }
}

/// The files of an icon that is called `own` on the host, of each size the best picture; and whether
/// one has to be sent that the host was thought to have.
fn pictures(from: &Basis<'_>, icon: &str, own: &str) -> (BTreeMap<PathBuf, Wanted>, bool) {
    let mut is_short = false;
    let theme = from.ground.data.join("icons/hicolor");
    // By directory: one picture for each size, however far off it is.
    let mut best: BTreeMap<PathBuf, (u32, PathBuf, Wanted)> = BTreeMap::new();
    for Pictured { path, stamp, bytes } in from.offers.pictures.get(icon).into_iter().flatten() {
        let (icon, path, stamp) = (icon.to_owned(), path.clone(), stamp.clone());
        let source = Source { icon, path, stamp };
        let (place, off, content) = match bytes {
            Some(bytes) => {
                let Ok(seen) = picture::look(bytes) else { continue };
                let (directory, off) = directory(own, seen);
                let file = format!("{directory}/apps/{own}.{}", seen.kind.ending());
                (theme.join(file), off, Content::Bytes(bytes.clone()))
            }
            // Known by the record alone, which says where it went.
            None => {
                let is_own = |file: &&Path| file.file_stem().is_some_and(|stem| stem == own);
                let Some(file) = from.places.get(&source).copied().filter(is_own) else {
                    is_short = true;
                    continue;
                };
                (file.to_owned(), 0, Content::Same)
            }
        };
        let wanted = Wanted { content, mode: READ, users: BTreeSet::new(), source: Some(source) };
        let size = place.parent().unwrap_or(&theme).to_owned();
        match best.get(&size) {
            Some((known, _, _)) if *known <= off => {}
            _ => drop(best.insert(size, (off, place, wanted))),
        }
    }
    (best.into_values().map(|(_, place, wanted)| (place, wanted)).collect(), is_short)
}

/// The directory of the theme's for a picture of the icon `own`, and how far its size is off.
fn directory(own: &str, seen: Picture) -> (String, u32) {
    match seen.size {
        None if own.ends_with("-symbolic") => ("symbolic".to_owned(), 0),
        None => ("scalable".to_owned(), 0),
        Some((width, height)) => {
            let side = width.max(height);
            let size = nearest(side);
            // Pixels as C have no transparency but all or nothing.
            let is_old = u32::from(seen.kind == Kind::Xpm);
            (format!("{size}x{size}"), 2 * size.abs_diff(side) + is_old)
        }
    }
}

/// The id on the host: the box's, for then windows, pinned programs and defaults belong to it; where
/// the host or another box has it, one with the box's name. What a program has it keeps.
fn own_id(
    from: &Basis<'_>,
    app: &App,
    user: &str,
    applications: &Path,
) -> Result<DesktopId, String> {
    let Basis { name, exports, ground, .. } = *from;
    let box_name = match &ground.project {
        // No name of a box has an underscore, so no two programs get one id.
        Some(project) => format!("{project}_{name}"),
        None => name.to_string(),
    };
    let other = DesktopId::new(&format!("incusbox.{box_name}.{}", app.id.as_str()));
    let other = other.map_err(|error| error.to_string())?;
    let has = |id: &DesktopId| {
        let record = exports.files.get(&applications.join(id.as_str()));
        record.is_some_and(|record| record.users.contains(user))
    };
    let free = |id: &DesktopId| !ground.ids.contains(id.as_str());
    match () {
        () if free(&other) && has(&other) => Ok(other),
        () if free(&app.id) => Ok(app.id.clone()),
        () if free(&other) => Ok(other),
        () => {
            Err(format!("the host has entries called {} and {}", app.id.as_str(), other.as_str()))
        }
    }
}

/// What an icon of the box's is called on the host: what no other is called.
fn icon_name(name: &BoxName, project: Option<&str>, icon: &str) -> String {
    let stem =
        icon.strip_suffix(".png").or(icon.strip_suffix(".svg")).or(icon.strip_suffix(".xpm"));
    match stem.filter(|stem| is_plain(stem)) {
        Some(stem) => own_name(name, project, stem),
        None => own_name(name, project, icon),
    }
}

fn is_plain(name: &str) -> bool {
    name.len() <= 150 && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.+".contains(&b))
}

/// The name of a file for something of the box's, without an ending.
fn own_name(name: &BoxName, project: Option<&str>, thing: &str) -> String {
    let own = match is_plain(thing) {
        true => thing.to_owned(),
        false => digest(thing.as_bytes())[..16].to_owned(),
    };
    let project = project.map(|project| format!("{project}_")).unwrap_or_default();
    format!("incusbox.{project}{name}.{own}")
}

/// The size of the theme's that is the nearest.
fn nearest(side: u32) -> u32 {
    SIZES.into_iter().min_by_key(|size| size.abs_diff(side)).unwrap_or(SIZES[0])
}

#[cfg(test)]
mod tests;
