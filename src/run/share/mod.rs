//! Showing a box files of the host that it does not see, for one run: `--share-files`.
//!
//! A file becomes a read-only disk of the box's, at a path of its own there, and the agent is asked
//! again: it proves that what is there is the file that was meant. A box that lies gets no other: Incus
//! is told what was opened as the user, not its path, wherever it can take that. Ids are never shifted
//! (`shift`): a mount with other ids can be made writable by root in the box, one without cannot
//! (measured: mount(2) says EPERM).

mod keeper;
mod owner;
mod refusal;
mod source;

use std::collections::BTreeMap;
use std::os::fd::{AsFd, AsRawFd};

use super::error::Error;
use super::opened::{self, Named};
use super::session::Session;
use crate::agent::protocol::{Command, FILES, Failure, Opened, Request};
use crate::incus;
use crate::incus::devices::Devices;
use crate::sys::process;
use keeper::Keeper;
pub use keeper::sweep;
use owner::Owner;
pub use owner::is_left;
pub use refusal::{Unshared, Why};
use source::Source;

/// Where files are in a box.
const DIRECTORY: &str = FILES;
/// The most files of a run: each costs the daemon some 20 ms.
const MOST_FILES: usize = 64;

/// What a run has shared.
#[derive(Debug, Default)]
pub struct Sharing {
    keeper: Option<Keeper>,
    /// The paths in the box, and what they are of the host's.
    places: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl Sharing {
    /// The command ended: what was shared may stay for a while.
    pub fn linger(self) {
        if let Some(keeper) = self.keeper {
            keeper.linger();
        }
    }
}

impl Session<'_> {
    /// Shares the files that the agent said are unseen, and has the request name them as the box
    /// sees them.
    pub fn share(
        &mut self,
        failure: &Failure,
        sharing: &mut Sharing,
        request: &mut Request,
    ) -> Result<(), Error> {
        let name = self.options.name.as_str().to_owned();
        let unshared = |path: &[u8], why| {
            Error::Unshared(Unshared { name: name.clone(), path: path.to_vec(), why })
        };
        let unseen: Vec<&[u8]> = failure.paths().collect();
        if sharing.keeper.is_some() {
            let path = unseen.first().copied().unwrap_or_default();
            let path = sharing.places.get(path).map_or(path, Vec::as_slice);
            let is_private = failure.errno == libc::EACCES;
            return Err(unshared(path, if is_private { Why::Private } else { Why::StillUnseen }));
        }
        let mut files: Vec<&Opened> = Vec::new();
        for opened in &request.opened {
            let is_new = !files.iter().any(|known| known.path == opened.path);
            if is_new && unseen.contains(&&*opened.path) {
                files.push(opened);
            }
        }
        let first = unseen.first().copied().unwrap_or_default();
        if files.len() > MOST_FILES {
            return Err(unshared(first, Why::TooMany(MOST_FILES)));
        }
        // As the user, before anything is said to who opens them as root.
        let mut found = Vec::new();
        for file in files {
            let source = source::find(file).map_err(|why| unshared(&file.path, why))?;
            found.push((file.clone(), source));
        }
        let refused = |source| unshared(first, Why::Refused(source));
        let told = self.client.told(&name).map_err(refused)?;
        if told.is_machine() {
            return Err(unshared(first, Why::Machine));
        }
        if told.devices().any(|device| is_left(device)) {
            self.trace.note("files that somebody left are taken away");
            sweep(&mut self.client, &name).map_err(refused)?;
        }
        let open: Vec<_> = found.iter().map(|(_, source)| source.file.as_fd()).collect();
        let keeper = Keeper::start(&name, self.client.project(), &open);
        let keeper = keeper.map_err(|source| {
            unshared(first, Why::Host("starting who takes it away again", source))
        })?;
        let owner = keeper.owner;
        sharing.keeper = Some(keeper);
        let mut shown = Vec::new();
        for (number, (file, source)) in found.into_iter().enumerate() {
            let device = owner.device(number);
            let own_name = source::name_in_box(file.to_path());
            let place = format!("{DIRECTORY}/{}/{own_name}", owner::id(&device));
            sharing.places.insert(place.clone().into_bytes(), file.path);
            shown.push(Shown { device, place, source });
        }
        self.add(&owner, &shown).map_err(|why| unshared(first, why))?;
        self.trace.note("Incus shows the box what it did not see");
        rename(request, self.named, &sharing.places);
        Ok(())
    }

    /// Has Incus show the box files: what the keeper has open, which is the very file whatever
    /// becomes of paths, or by their paths, for a daemon with mounts of its own or a project that
    /// allows directories.
    fn add(&mut self, owner: &Owner, shown: &[Shown]) -> Result<(), Why> {
        let name = self.options.name.as_str();
        let is_near = process::peer(&self.client).is_some_and(owner::has_our_ids);
        let open = |source: &Source| is_near.then(|| owner.descriptor(source.file.as_raw_fd()));
        if let Some(devices) = devices(shown, open) {
            match self.client.add_devices(name, &devices) {
                // A device that could not be mounted stays in the configuration; the next change
                // gives it another source, or the keeper takes it away.
                Err(incus::Error::Refused { text, .. }) => {
                    self.trace.note(&format!("Incus cannot show the box open files: {text}"));
                }
                other => return other.map_err(Why::Refused),
            }
        }
        let text = |source: &Source| source.path.to_str().map(str::to_owned);
        let devices = devices(shown, text).ok_or(Why::NotText)?;
        self.client.add_devices(name, &devices).map_err(Why::Refused)
    }

    /// A run by Incus alone asks nobody what the box sees.
    pub fn refuse_sharing(&self) -> Result<(), Error> {
        match self.named.first() {
            Some(named) if self.options.share_files => Err(Error::Unshared(Unshared {
                name: self.options.name.as_str().to_owned(),
                path: named.opened.path.clone(),
                why: Why::Native,
            })),
            _ => Ok(()),
        }
    }
}

/// A file that the box shall see.
struct Shown {
    device: String,
    place: String,
    source: Source,
}

/// Files as devices, if `path` has a path for each. `required=false`: the box starts without them
/// once they are gone.
fn devices(shown: &[Shown], path: impl Fn(&Source) -> Option<String>) -> Option<Devices> {
    let device = |one: &Shown| {
        let content = [
            ("type", "disk"),
            ("source", &path(&one.source)?),
            ("path", &one.place),
            ("readonly", "true"),
            ("required", "false"),
        ];
        let content = content.map(|(key, value)| (key.to_owned(), value.to_owned()));
        Some((one.device.clone(), content.into()))
    };
    shown.iter().map(device).collect()
}

/// Puts the paths in the box into the request, for those of the host.
fn rename(request: &mut Request, named: &[Named], places: &BTreeMap<Vec<u8>, Vec<u8>>) {
    let place_of = |path: &[u8]| places.iter().find(|(_, of)| **of == path).map(|(place, _)| place);
    if let Command::Argv(words) = &mut request.command {
        for Named { at, opened } in named {
            if let (Some(word), Some(place)) = (words.get_mut(*at), place_of(&opened.path)) {
                *word = opened::renamed(word, place);
            }
        }
    }
    for opened in &mut request.opened {
        if let Some(place) = place_of(&opened.path) {
            opened.path.clone_from(place);
        }
    }
}
