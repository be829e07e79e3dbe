//! The list of what is exported, as who changes it has it.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;

use super::failed::at;
use super::manifest::{FILE, MARK, Manifest, directory, read};
use super::tree::{New, Tree};

/// The list, which nobody else changes as long as this is there.
#[derive(Debug)]
pub struct Kept {
    path: PathBuf,
    tree: Tree,
    /// What is in the file.
    saved: Vec<u8>,
    /// What it says.
    pub manifest: Manifest,
    lock: File,
    /// The file as it was when others were let have it.
    stamp: Option<Stamp>,
    is_let_go: bool,
    has_news: bool,
    is_overtaken: bool,
}

/// What tells a file from the one that comes in its place: the list is never written but anew.
type Stamp = (u64, i64, i64);

fn stamp(path: &Path) -> Option<Stamp> {
    let there = std::fs::symlink_metadata(path).ok()?;
    Some((there.ino(), there.mtime(), there.mtime_nsec()))
}

impl Kept {
    /// Takes the list; `None` when somebody else has it.
    ///
    /// # Errors
    /// Of the file, and for one that is none of ours.
    pub fn take() -> io::Result<Option<Kept>> {
        Kept::take_in(&directory()?)
    }

    /// Takes the list in this directory; `None` when somebody else has it.
    ///
    /// # Errors
    /// Of the file, and for one that is none of ours.
    pub fn take_in(directory: &Path) -> io::Result<Option<Kept>> {
        let (lock, path) = (directory.join("exports.lock"), directory.join(FILE));
        let opened =
            OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&lock);
        let lock = opened.map_err(at(&lock))?;
        if !lock_now(&lock)? {
            return Ok(None);
        }
        let manifest = read(&path)?;
        let saved = serde_json::to_vec(&manifest)?;
        let tree = Tree::default();
        Ok(Some(Kept {
            path,
            tree,
            saved,
            manifest,
            lock,
            stamp: None,
            is_let_go: false,
            has_news: false,
            is_overtaken: false,
        }))
    }

    /// Lets others have the list, while something takes its time.
    ///
    /// # Errors
    /// flock(2)'s.
    pub fn let_go(&mut self) -> io::Result<()> {
        self.is_held()?;
        self.is_let_go = true;
        self.stamp = stamp(&self.path);
        Ok(rustix::fs::flock(&self.lock, FlockOperation::Unlock)?)
    }

    /// Takes it again; false when somebody else has it. What others changed is so here, too; of what is
    /// not saved here that leaves alone what the box with the id `uuid` has, if it was not changed.
    ///
    /// # Errors
    /// Of the file, and for one that is none of ours.
    pub fn take_again(&mut self, uuid: &str) -> io::Result<bool> {
        if !lock_now(&self.lock)? {
            return Ok(false);
        }
        self.has_news = stamp(&self.path) != self.stamp;
        if !self.has_news {
            self.is_let_go = false;
            return Ok(true);
        }
        let before: Manifest = serde_json::from_slice(&self.saved)?;
        let now = read(&self.path)?;
        self.is_let_go = false;
        self.saved = serde_json::to_vec(&now)?;
        self.tree = Tree::default();
        let ours = std::mem::replace(&mut self.manifest, now);
        if ours.environment != before.environment {
            self.manifest.environment = ours.environment;
        }
        let own = |manifest: &Manifest| manifest.boxes.iter().position(|one| one.uuid == uuid);
        let (then, now) = (own(&before), own(&self.manifest));
        if then.map(|at| &before.boxes[at]) != now.map(|at| &self.manifest.boxes[at]) {
            self.is_overtaken = true;
            return Ok(true);
        }
        if let Some(own) = ours.boxes.into_iter().find(|one| one.uuid == uuid) {
            match now {
                Some(at) => self.manifest.boxes[at] = own,
                None => self.manifest.boxes.push(own),
            }
        }
        Ok(true)
    }

    /// Nothing may be changed after others had the list and it could not be taken again.
    fn is_held(&self) -> io::Result<()> {
        match self.is_let_go {
            true => Err(io::Error::other("it could not be read again after others had it")),
            false => Ok(()),
        }
    }

    /// Whether others changed anything while they were let have the list last.
    pub fn has_news(&self) -> bool {
        self.has_news
    }

    /// Whether somebody changed what a box has while others were let have the list, and what was made
    /// up meanwhile is to be made up anew. It is said once.
    pub fn was_overtaken(&mut self) -> bool {
        std::mem::take(&mut self.is_overtaken)
    }

    /// Writes the list, if anything in it changed. One of nothing is no file: that there is one is
    /// what the service that follows boxes is started by.
    ///
    /// # Errors
    /// Of the file; it is as it was then.
    pub fn save(&mut self) -> io::Result<()> {
        self.is_held()?;
        self.manifest.tidy();
        let bytes = serde_json::to_vec(&self.manifest)?;
        let Manifest { boxes, untold, aside, .. } = &self.manifest;
        if boxes.is_empty() && untold.is_empty() && aside.is_empty() {
            self.tree.remove(&self.path)?;
            self.saved = bytes;
            return self.tree.flush_directories();
        }
        if bytes != self.saved {
            let list =
                New { path: &self.path, bytes: &bytes, mark: MARK, mode: 0o600, is_new: false };
            self.tree.write([list])?;
            self.tree.put()?;
            self.saved = bytes;
        }
        Ok(())
    }

    /// Takes away the temporary files of one who crashed. That is to be done before the list forgets
    /// what was to be.
    ///
    /// # Errors
    /// Of the files.
    pub fn sweep(&mut self) -> io::Result<()> {
        self.is_held()?;
        for (path, record) in self.manifest.boxes.iter().flat_map(|one| &one.files) {
            if let Some(next) = &record.next {
                self.tree.remove_temporary(path, next)?;
            }
        }
        self.tree.remove_temporary(&self.path, MARK)?;
        self.tree.flush_directories()
    }

    /// Whether somebody crashed before all was done.
    pub fn is_unfinished(&self) -> bool {
        let Manifest { defaults_are_due, untold, aside, .. } = &self.manifest;
        *defaults_are_due || !untold.is_empty() || !aside.is_empty()
    }

    /// Notes that the user knows what was set aside.
    ///
    /// # Errors
    /// Of the file.
    pub fn told(&mut self) -> io::Result<()> {
        match std::mem::take(&mut self.manifest.aside).is_empty() {
            true => Ok(()),
            false => self.save(),
        }
    }
}

/// Locks the list; false when somebody else has it.
fn lock_now(lock: &File) -> io::Result<bool> {
    match rustix::fs::flock(lock, FlockOperation::NonBlockingLockExclusive) {
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(false),
        other => Ok(other.map(|()| true)?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::manifest::{Chosen, Look};

    struct Home(PathBuf);

    impl Home {
        fn new() -> Home {
            let path = std::env::temp_dir().join(format!("incusbox-kept-{}", std::process::id()));
            std::fs::create_dir(&path).expect("a new directory");
            Home(path)
        }

        fn take(&self) -> Kept {
            Kept::take_in(&self.0).expect("a list").expect("nobody else has it")
        }
    }

    impl Drop for Home {
        fn drop(&mut self) {
            let _left_in_tmp = std::fs::remove_dir_all(&self.0);
        }
    }

    fn choose(kept: &mut Kept, uuid: &str, app: &str) {
        let chosen = &mut kept.manifest.exports(uuid, "", uuid).chosen;
        chosen.apps.insert(app.to_owned(), Look::default());
    }

    fn chosen(kept: &mut Kept, uuid: &str) -> Vec<String> {
        let Chosen { apps, .. } = &kept.manifest.exports(uuid, "", uuid).chosen;
        apps.keys().cloned().collect()
    }

    #[test]
    fn what_others_did_to_other_boxes_meanwhile_is_kept_and_to_the_same_one_is_told() {
        let home = Home::new();
        let mut slow = home.take();
        choose(&mut slow, "slow", "a");
        slow.save().expect("a list");
        choose(&mut slow, "slow", "b");
        assert!(Kept::take_in(&home.0).expect("a list").is_none(), "it is taken");
        slow.let_go().expect("a lock");
        let mut quick = home.take();
        assert_eq!(
            chosen(&mut quick, "slow"),
            ["a"],
            "what is not saved is nobody else's business"
        );
        assert!(!slow.take_again("slow").expect("a list"), "somebody else has it");
        choose(&mut quick, "quick", "c");
        quick.save().expect("a list");
        drop(quick);
        assert!(slow.take_again("slow").expect("a list"));
        assert!(slow.has_news() && !slow.was_overtaken());
        assert_eq!(chosen(&mut slow, "slow"), ["a", "b"]);
        assert_eq!(chosen(&mut slow, "quick"), ["c"]);

        slow.let_go().expect("a lock");
        assert!(slow.take_again("slow").expect("a list"));
        assert!(!slow.has_news());
        assert_eq!(chosen(&mut slow, "slow"), ["a", "b"]);

        slow.let_go().expect("a lock");
        slow.save().expect_err("others may have it");
        let mut quick = home.take();
        quick.manifest.environment.insert("NAME".to_owned(), "new".to_owned());
        choose(&mut quick, "slow", "d");
        quick.save().expect("a list");
        drop(quick);
        assert!(slow.take_again("slow").expect("a list"));
        assert_eq!(chosen(&mut slow, "slow"), ["a", "d"], "what others brought about counts");
        assert!(slow.was_overtaken() && !slow.was_overtaken(), "it is said once");
        assert_eq!(slow.manifest.environment["NAME"], "new");

        let list = home.0.join(FILE);
        let whole = std::fs::read(&list).expect("a list");
        slow.let_go().expect("a lock");
        std::fs::write(&list, "{").expect("a file");
        slow.take_again("slow").expect_err("it is damaged");
        slow.let_go().expect_err("it was not taken");
        slow.save().expect_err("it was not taken");
        assert_eq!(std::fs::read(&list).expect("a file"), b"{");
        std::fs::write(&list, &whole).expect("a file");
        assert!(slow.take_again("slow").expect("a list"));
        slow.save().expect("a list");
    }
}
