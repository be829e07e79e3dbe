use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use super::*;
use crate::export::manifest::Chosen;

/// A home with a list of exports, removed at the end.
struct Home(PathBuf);

impl Home {
    fn new() -> Home {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path =
            std::env::temp_dir().join(format!("incusbox-apply-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a directory");
        Home(path)
    }

    fn kept(&self) -> Kept {
        let mut kept = Kept::take_in(&self.0).expect("a list").expect("nobody else has it");
        kept.manifest.exports("dev", "default", "u1").chosen.all = Some(Default::default());
        kept
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join("share").join(name)
    }

    fn plan(&self, files: &[(&str, &str)]) -> Plan {
        let wanted = |text: &str| Wanted {
            content: Content::Bytes(text.as_bytes().into()),
            mode: 0o644,
            users: BTreeSet::from(["app:a".to_owned()]),
            source: None,
        };
        let files = files.iter().map(|(name, text)| (self.path(name), wanted(text)));
        let mut plan = Plan::default();
        plan.files.extend(files);
        plan
    }

    fn make(&self, files: &[(&str, &str)]) -> Done {
        apply(&mut self.kept(), "u1", self.plan(files), Look::Quick).expect("applied")
    }

    fn read(&self, name: &str) -> Option<String> {
        std::fs::read_to_string(self.path(name)).ok()
    }

    /// Everything below the home but the list.
    fn names(&self) -> Vec<String> {
        let there = std::fs::read_dir(self.0.join("share"));
        let mut names: Vec<String> = there
            .into_iter()
            .flatten()
            .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let _leftovers_of_a_failed_test = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn files_are_made_changed_and_taken_away() {
    let home = Home::new();
    let done = home.make(&[("a.desktop", "1"), ("b.png", "2")]);
    assert_eq!(done.written, [home.path("b.png"), home.path("a.desktop")], "icons come first");
    assert!(home.make(&[("a.desktop", "1"), ("b.png", "2")]).is_nothing());
    assert_eq!(home.make(&[("a.desktop", "3"), ("b.png", "2")]).written, [home.path("a.desktop")]);
    assert_eq!(home.read("a.desktop").as_deref(), Some("3"));
    assert_eq!(home.make(&[]).removed, [home.path("a.desktop"), home.path("b.png")]);
    assert_eq!(home.names(), [""; 0]);
}

#[test]
fn nothing_is_written_where_nothing_changed() {
    let home = Home::new();
    home.make(&[("a", "1")]);
    let before =
        std::fs::metadata(home.0.join("exports.json")).expect("a list").modified().expect("a time");
    home.make(&[("a", "1")]);
    let after =
        std::fs::metadata(home.0.join("exports.json")).expect("a list").modified().expect("a time");
    assert_eq!(before, after);
}

#[test]
fn what_is_not_ours_is_left_alone() {
    let home = Home::new();
    std::fs::create_dir_all(home.path("")).expect("a directory");
    std::fs::write(home.path("a"), "theirs").expect("a file");
    std::os::unix::fs::symlink("/etc/passwd", home.path("b")).expect("a link");
    let done = home.make(&[("a", "1"), ("b", "2")]);
    assert_eq!(done.foreign, [home.path("a"), home.path("b")]);
    home.make(&[]);
    assert_eq!(home.read("a").as_deref(), Some("theirs"));
    assert_eq!(home.names(), ["a", "b"]);
}

#[test]
fn what_somebody_changed_is_set_aside() {
    let home = Home::new();
    home.make(&[("a", "1"), ("b", "1"), ("c", "1")]);
    for name in ["a", "b"] {
        std::fs::write(home.path(name), "changed").expect("a file");
    }
    std::fs::remove_file(home.path("c")).expect("a file");
    std::os::unix::fs::symlink("/etc/passwd", home.path("c")).expect("a link");
    let done = home.make(&[("a", "2"), ("c", "1")]);
    assert_eq!(done.aside.len(), 3, "{done:?}");
    assert_eq!(home.names(), ["a", "a.changed-1", "b.changed-1", "c", "c.changed-1"]);
    assert_eq!(home.read("a").as_deref(), Some("2"));
    assert_eq!(home.read("a.changed-1").as_deref(), Some("changed"));
    assert_eq!(home.read("c").as_deref(), Some("1"));
}

#[test]
fn what_was_lost_comes_back() {
    let home = Home::new();
    home.make(&[("a", "1")]);
    std::fs::remove_file(home.path("a")).expect("a file");
    assert_eq!(home.make(&[("a", "1")]).written, [home.path("a")]);
    assert_eq!(home.read("a").as_deref(), Some("1"));
}

#[test]
fn a_close_look_sees_what_a_quick_one_takes_for_the_same() {
    let home = Home::new();
    home.make(&[("a", "ours")]);
    // As an editor does that writes in place, with the time put back.
    let file = std::fs::File::options().write(true).open(home.path("a")).expect("a file");
    let before = file.metadata().and_then(|data| data.modified()).expect("a time");
    std::io::Write::write_all(&mut &file, b"evil").expect("a file");
    file.set_modified(before).expect("a time");
    assert!(home.make(&[("a", "ours")]).is_nothing());
    let plan = home.plan(&[("a", "ours")]);
    let done = apply(&mut home.kept(), "u1", plan, Look::Close).expect("applied");
    assert_eq!((done.written, done.aside.len()), (vec![home.path("a")], 1));
    assert_eq!(home.read("a").as_deref(), Some("ours"));
    assert_eq!(home.read("a.changed-1").as_deref(), Some("evil"));
}

#[test]
fn a_shim_that_cannot_be_run_any_more_is_made_anew() {
    let home = Home::new();
    let make = || {
        let mut plan = home.plan(&[("a", "1")]);
        plan.files.values_mut().for_each(|wanted| wanted.mode = 0o755);
        apply(&mut home.kept(), "u1", plan, Look::Quick).expect("applied")
    };
    make();
    assert!(make().is_nothing());
    let mode = |mode: u32| std::os::unix::fs::PermissionsExt::from_mode(mode);
    std::fs::set_permissions(home.path("a"), mode(0o644)).expect("a file");
    let done = make();
    assert_eq!((done.written, done.aside.len()), (vec![home.path("a")], 0));
    assert!(make().is_nothing());
}

#[test]
fn a_crash_between_the_list_and_the_files_is_gone_on_from() {
    let home = Home::new();
    home.make(&[("a", "old"), ("gone", "old")]);
    // As after a crash: the list says what was about to be, some of it is done.
    let mut kept = home.kept();
    for (name, text) in [("a", "new"), ("b", "new"), ("never", "new")] {
        let record =
            kept.manifest.exports("dev", "default", "u1").files.entry(home.path(name)).or_default();
        record.next = Some(digest(text.as_bytes()));
    }
    kept.save().expect("saved");
    drop(kept);
    for name in ["a", "b"] {
        std::fs::write(home.path(name), "new").expect("a file");
    }
    std::fs::write(home.path("never"), "somebody's").expect("a file");
    let done = home.make(&[("a", "new")]);
    assert!(done.aside.is_empty(), "{done:?}");
    assert_eq!(home.names(), ["a", "never"]);
    assert_eq!(home.read("never").as_deref(), Some("somebody's"));
}

#[test]
fn a_directory_that_cannot_be_written_leaves_all_as_it_was() {
    let home = Home::new();
    home.make(&[("a", "1")]);
    std::fs::write(home.path("file"), "").expect("a file");
    std::fs::write(home.path("a"), "changed").expect("a file");
    let plan = home.plan(&[("a", "2"), ("file/b", "2")]);
    assert!(apply(&mut home.kept(), "u1", plan, Look::Quick).is_err());
    assert_eq!(home.read("a").as_deref(), Some("changed"), "nothing takes its place");
    std::fs::write(home.path("a"), "1").expect("a file");
    let plan = home.plan(&[("a", "2"), ("file/b", "2")]);
    assert!(apply(&mut home.kept(), "u1", plan, Look::Quick).is_err());
    assert_eq!(home.read("a").as_deref(), Some("1"));
    assert_eq!(home.names(), ["a", "file"], "nothing half made is left");
    assert_eq!(home.make(&[("a", "2")]).written, [home.path("a")]);
}

#[test]
fn what_a_crash_left_beside_a_place_is_taken_away_and_no_other() {
    let home = Home::new();
    let mut kept = home.kept();
    let record = kept.manifest.exports("dev", "default", "u1").files.entry(home.path("a"));
    record.or_default().next = Some(digest(b"1"));
    kept.save().expect("saved");
    drop(kept);
    let (file, mark) = (home.path("a"), digest(b"1"));
    let mut tree = Tree::default();
    let new = New { path: &file, bytes: b"half", mark: &mark, mode: 0o644, is_new: true };
    tree.write([new]).expect("written");
    drop(tree);
    std::fs::write(home.path(".incusbox-1.tmp"), "somebody's").expect("a file");
    assert_eq!(home.names().len(), 2);
    // Another content has another name beside its place.
    home.make(&[("a", "2")]);
    assert_eq!(home.names(), [".incusbox-1.tmp", "a"]);
}

#[test]
fn a_file_of_another_boxs_is_not_taken() {
    let home = Home::new();
    home.make(&[("a", "1")]);
    let mut kept = home.kept();
    kept.manifest.exports("other", "default", "u2").chosen = Chosen::default();
    let done = apply(&mut kept, "u2", home.plan(&[("a", "2")]), Look::Quick).expect("applied");
    assert_eq!(done.of_others, [(home.path("a"), "dev".to_owned())]);
    assert_eq!(home.read("a").as_deref(), Some("1"));
}

#[test]
fn what_stays_as_it_is_is_not_touched_whatever_became_of_it() {
    let home = Home::new();
    home.make(&[("a", "1"), ("b", "1"), ("c", "1")]);
    std::fs::write(home.path("a"), "mine").expect("a file");
    std::fs::remove_file(home.path("b")).expect("a file");
    let mut plan = home.plan(&[("a", ""), ("b", "")]);
    for wanted in plan.files.values_mut() {
        wanted.content = Content::Same;
        wanted.users = ["app:b".to_owned()].into();
    }
    let mut kept = home.kept();
    let done = apply(&mut kept, "u1", plan, Look::Quick).expect("applied");
    assert_eq!((done.removed, done.aside), (vec![home.path("c")], Vec::new()));
    assert_eq!(home.names(), ["a"]);
    assert_eq!(home.read("a").as_deref(), Some("mine"));
    let files = &kept.manifest.exports("dev", "default", "u1").files;
    assert!(files.values().all(|record| record.users == ["app:b".to_owned()].into()), "{files:?}");
}

#[test]
fn only_one_has_the_list() {
    let home = Home::new();
    let _kept = home.kept();
    assert!(Kept::take_in(&home.0).expect("a list").is_none());
}

#[test]
fn a_list_of_another_version_is_not_touched() {
    let home = Home::new();
    let path = home.0.join("exports.json");
    for text in ["{\"version\":2,\"boxes\":[]}", "{", ""] {
        std::fs::write(&path, text).expect("a file");
        let error = Kept::take_in(&home.0).expect_err(text).to_string();
        assert!(error.contains("move it away"), "{error}");
        assert_eq!(std::fs::read_to_string(&path).expect("a file"), text);
    }
}

#[test]
fn a_file_is_ours_after_two_runs_that_came_to_no_end() {
    let home = Home::new();
    home.make(&[("a.desktop", "one")]);
    // The first put it there, and did not come to saying so.
    let mut kept = home.kept();
    let record = kept.manifest.boxes[0].files.get_mut(&home.path("a.desktop")).expect("a record");
    record.next = Some(digest(b"two"));
    kept.save().expect("saved");
    drop(kept);
    std::fs::write(home.path("a.desktop"), "two").expect("a file");
    // The second wanted another, which cannot be written.
    let other = [("a.desktop", "three"), ("gone/c.desktop", "x")];
    std::os::unix::fs::symlink("nowhere", home.path("gone")).expect("a link");
    let failed = apply(&mut home.kept(), "u1", home.plan(&other), Look::Quick);
    assert!(failed.is_err(), "{failed:?}");
    let done = home.make(&[("a.desktop", "three")]);
    assert!(done.foreign.is_empty() && done.aside.is_empty(), "{done:?}");
    assert_eq!(home.read("a.desktop").as_deref(), Some("three"));
}
