//! A home with files of its own, what is exported into it, and what may be there after a run that was
//! broken off.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use super::trace::Trace;
use crate::export::Desktop;
use crate::support::{Name, Outcome, run};

/// A program with an icon, and one that is a command.
const BEFORE: &str = r#"cd /usr/share/applications
rm -rf ./*
printf '#!/bin/sh\n' >/usr/bin/stand-in
chmod +x /usr/bin/stand-in
printf '[Desktop Entry]\nType=Application\nName=Edit\nIcon=edit\nMimeType=text/x-torn;\nExec=stand-in %%U\n' >org.test.Edit.desktop
mkdir -p /usr/share/icons/hicolor/16x16/apps
cd /usr/share/icons/hicolor/16x16/apps
printf '\211PNG\r\n\032\n\000\000\000\015IHDR\000\000\000\020\000\000\000\020\010\006' >edit.png"#;
/// An update: another text, another icon.
const AFTER: &str = "sed -i 's/=edit/=draw/; s/Name=Edit/Name=Draw/' /usr/share/applications/org.test.Edit.desktop; mv /usr/share/icons/hicolor/16x16/apps/edit.png /usr/share/icons/hicolor/16x16/apps/draw.png";

/// Files of the user's, which nothing may touch.
const OWN: [(&str, &str); 4] = [
    ("share/applications/own.desktop", "[Desktop Entry]\nName=Own\nIcon=own\n"),
    ("share/applications/.incusbox-1-0.tmp", "looks like one of ours"),
    ("bin/own", "#!/bin/sh\n"),
    ("bin/.stand-in.tmp", "own"),
];
/// What the host has, so that a list of defaults is needed.
const HOST: [(&str, &str); 3] = [
    ("usr/applications/mimeinfo.cache", "[MIME Cache]\ntext/x-torn=view.desktop;\n"),
    ("usr/applications/view.desktop", "[Desktop Entry]\nType=Application\nName=View\nExec=view\n"),
    // Says of what the desktop was told last.
    ("tools/update-desktop-database", "#!/bin/sh\ncat \"$2\"/*.desktop >\"${0%/*}/../told\"\n"),
];
const SHIM: &str = "bin/stand-in";
const MINE: &[u8] = b"#!/bin/sh\n# mine\n";

/// A directory in memory, that goes away: hundreds of runs flush dozens of files each.
pub struct Memory(String);

impl Memory {
    pub fn new(what: &str) -> Memory {
        let path = format!("/dev/shm/boxes-{}-{what}", std::process::id());
        std::fs::create_dir(&path).expect("a directory");
        Memory(path)
    }

    pub fn path(&self) -> String {
        self.0.clone()
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        let _is_left = std::fs::remove_dir_all(&self.0);
    }
}

/// Files by their names, with what is in them and whether they can be run.
pub type Files = BTreeMap<String, (Vec<u8>, bool)>;

/// What is exported of a box, and how.
pub struct Ground {
    desktop: Desktop,
    name: Name,
    base: String,
}

/// A command, and what is there before and after it.
pub struct Step {
    pub words: Vec<String>,
    pub old: Files,
    pub new: Files,
    /// What it comes to if it is called again after it was broken off.
    again: Vec<String>,
    pub trace: Trace,
}

impl Ground {
    /// With its home in this directory.
    pub fn new(what: &str, base: String) -> Ground {
        let desktop = Desktop::new(&format!("torn-{what}"));
        let name = Name::create(&format!("torn{what}"), &["--home", "none"]);
        name.root(BEFORE).succeeds();
        let ground = Ground { desktop, name, base };
        let host = HOST.map(|(path, text)| (path.to_owned(), (text.into(), true)));
        write(&ground.beside(""), &host.into());
        ground.restore(&ground.own());
        ground
    }

    pub fn path(&self, name: &str) -> String {
        format!("{}/{name}", self.base)
    }

    /// A file that is none of the home's.
    fn beside(&self, name: &str) -> String {
        self.desktop.0.path(name)
    }

    fn own(&self) -> Files {
        OWN.map(|(path, text)| (path.to_owned(), (text.into(), false))).into()
    }

    fn update_box(&self) {
        self.name.root(AFTER).succeeds();
    }

    /// Has the user change what is exported as a command.
    fn change(&self) {
        write(&self.base, &[(SHIM.to_owned(), (MINE.to_vec(), true))].into());
    }

    fn first(&self) -> Vec<String> {
        let bin = self.path("bin");
        let words = ["export", &self.name, "--app", "org.test.Edit", "--bin", "stand-in"];
        [&words[..], &["--export-path", &bin]].concat().into_iter().map(str::to_owned).collect()
    }

    fn again(&self) -> Vec<String> {
        ["export", &self.name].map(str::to_owned).into()
    }

    fn away(&self) -> Vec<String> {
        ["unexport", &self.name, "--all"].map(str::to_owned).into()
    }

    pub fn command(&self, words: &[String]) -> Command {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let mut command = self.desktop.command(&words);
        let path = std::env::var("PATH").expect("PATH");
        command.env("PATH", format!("{}:{path}", self.beside("tools")));
        for (name, place) in [
            ("XDG_DATA_HOME", self.path("share")),
            ("XDG_STATE_HOME", self.path("state")),
            ("XDG_DATA_DIRS", self.beside("usr")),
            ("XDG_CONFIG_HOME", self.beside("config")),
            ("XDG_CONFIG_DIRS", self.beside("config")),
        ] {
            command.env(name, place);
        }
        command.env("XDG_CURRENT_DESKTOP", "test").env_remove("XDG_RUNTIME_DIR");
        command
    }

    pub fn run(&self, words: &[String]) -> Outcome {
        run(self.command(words))
    }

    /// Does it once, from what is there now, to see what it does.
    fn step(&self, words: Vec<String>) -> Step {
        let old = self.files();
        let log = self.beside("trace");
        let (trace, outcome) = Trace::record(&self.base, &log, &self.command(&words));
        outcome.succeeds();
        let new = self.files();
        let again = if words[0] == "export" { self.again() } else { words.clone() };
        Step { words, old, new, again, trace }
    }

    /// Tries something with a first export, one after an update in the box with a file that the user
    /// changed, and with the end of all; returns how often it did.
    pub fn in_each_step<N>(&self, tries: impl Fn(&Ground, &Step) -> N) -> [N; 3] {
        let first = self.step(self.first());
        let with_first = tries(self, &first);
        self.restore(&first.new);
        self.change();
        self.update_box();
        let again = self.step(self.again());
        let with_again = tries(self, &again);
        self.restore(&again.new);
        let away = self.step(self.away());
        [with_first, with_again, tries(self, &away)]
    }

    /// Everything that is exported, the user's own among it, and the list of it.
    pub fn files(&self) -> Files {
        let mut files = Files::new();
        for below in ["share", "bin", "state"] {
            read(Path::new(&self.base), below, &mut files);
        }
        files.retain(|file, _| !file.ends_with(".lock"));
        files
    }

    /// Makes these the files that there are.
    pub fn restore(&self, files: &Files) {
        let _is_none_yet = std::fs::remove_file(self.beside("told"));
        for below in ["share", "bin", "state"].map(|below| self.path(below)) {
            if Path::new(&below).exists() {
                std::fs::remove_dir_all(&below).expect("a directory");
            }
        }
        write(&self.base, files);
    }

    /// Asserts that what is there may be there when `step` was broken off.
    pub fn is_whole(&self, step: &Step, may_have_temporaries: bool, when: &str) {
        let there = self.files();
        let list = self.listed(&there, when);
        for (file, content) in &there {
            let is_temporary = is_temporary(file);
            assert!(may_have_temporaries || !is_temporary, "{when}: {file} is left");
            if is_temporary || file.starts_with("state/") {
                continue;
            }
            let known = [step.old.get(file), step.new.get(file)];
            assert!(known.contains(&Some(content)), "{when}: {file} is neither old nor new");
            let is_own = self.own().contains_key(file) || file.ends_with(".changed-1");
            assert!(is_own || list.contains(&self.path(file)), "{when}: {file} is not in the list");
            if let Some(icon) = icon(file, &content.0) {
                let has_icon = there.keys().any(|file| file.ends_with(&format!("/{icon}.png")));
                assert!(has_icon, "{when}: {file} comes before its icon");
            }
        }
        for file in step.old.keys().filter(|file| step.new.contains_key(*file)) {
            // What is set aside makes room at once.
            let is_aside = there.contains_key(&format!("{file}.changed-1"));
            assert!(there.contains_key(file) || is_aside, "{when}: {file} is gone");
        }
        let is_mine = |(file, content): (&String, &(Vec<u8>, bool))| {
            file.starts_with(SHIM) && content.0 == MINE
        };
        assert!(
            there.iter().any(is_mine) || !step.old.iter().any(is_mine),
            "{when}: what the user changed is gone"
        );
    }

    /// The paths in the list.
    fn listed(&self, files: &Files, when: &str) -> Vec<String> {
        let Some((list, _)) = files.get("state/incusbox/exports.json") else { return Vec::new() };
        let list: Value = serde_json::from_slice(list)
            .unwrap_or_else(|error| panic!("{when}: the list is torn: {error}"));
        let boxes = list["boxes"].as_array().expect("boxes");
        let files = boxes.iter().flat_map(|one| one["files"].as_object().expect("files").keys());
        files.cloned().collect()
    }

    /// Has a later run finish `step`, and asserts that all is as if it had not been broken off.
    pub fn recovers(&self, step: &Step, broken: &Outcome, when: &str) {
        let is_begun = self.files().contains_key("state/incusbox/exports.json");
        let mut outcome = self.run(&step.again);
        let nothing = outcome.status == Some(2) && outcome.stderr.contains("nothing of");
        if nothing && step.words[0] == "export" {
            assert!(!is_begun, "{when}: {outcome:#?}");
            outcome = self.run(&step.words);
        }
        assert!(
            outcome.status == Some(0) || nothing && step.words[0] == "unexport",
            "{when}: {outcome:#?}"
        );
        let (mut there, mut new) = (self.files(), step.new.clone());
        let list = "state/incusbox/exports.json";
        let lists = [there.remove(list), new.remove(list)];
        let [there_list, new_list] = lists.map(|list| list.map(|list| without_stamps(&list.0)));
        let names = |files: &Files| files.keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(&there), names(&new), "{when}");
        assert!(there == new, "{when}: not all is as it should be");
        assert_eq!(there_list, new_list, "{when}");
        let aside = format!("{SHIM}.changed-1");
        if there.contains_key(&aside) && !step.old.contains_key(&aside) {
            let said = format!("{}{}", broken.stderr, outcome.stderr);
            assert!(said.contains("was changed by somebody"), "{when}: {said}");
        }
        let entry = |file: &&String| file.ends_with(".desktop");
        let entries: Vec<u8> =
            there.keys().filter(entry).flat_map(|file| there[file].0.clone()).collect();
        let told = std::fs::read(self.beside("told")).unwrap_or_default();
        assert!(told == entries, "{when}: the desktop knows {}", String::from_utf8_lossy(&told));
    }

    /// Takes everything away, and asserts that nothing is left but what is the user's.
    pub fn goes(&self, when: &str) {
        let outcome = self.run(&self.away());
        let nothing = outcome.status == Some(2) && outcome.stderr.contains("nothing of");
        assert!(nothing || outcome.status == Some(0), "{when}: {outcome:#?}");
        let mut there = self.files();
        there.retain(|file, _| !file.ends_with(".changed-1"));
        let names: Vec<&String> = there.keys().collect();
        assert!(there == self.own(), "{when}, then taken away: {names:?}");
    }

    /// Asserts that `--verify` finds everything in order.
    pub fn is_verified(&self, when: &str) {
        let before = self.files();
        let outcome = self.run(&["export".to_owned(), "--verify".to_owned()]).succeeds();
        let is_well =
            outcome.stderr.contains("as it should be") || self.listed(&before, when).is_empty();
        assert!(is_well && self.files() == before, "{when}: {outcome:#?}");
    }
}

fn is_temporary(file: &str) -> bool {
    let name = file.rsplit('/').next().unwrap_or_default();
    name.starts_with(".incusbox-") && OWN.iter().all(|(own, _)| *own != file)
}

/// The copy of a picture that an entry names.
fn icon(file: &str, bytes: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(bytes);
    let icon = text.lines().find_map(|line| line.strip_prefix("Icon="))?;
    (file.ends_with(".desktop") && icon.starts_with("incusbox.")).then(|| icon.to_owned())
}

/// The list without what is another each time.
fn without_stamps(list: &[u8]) -> Value {
    let mut list: Value = serde_json::from_slice(list).expect("a list");
    for one in list["boxes"].as_array_mut().expect("boxes") {
        for record in one["files"].as_object_mut().expect("files").values_mut() {
            record["seen"]["stamp"] = Value::Null;
        }
    }
    list
}

fn read(base: &Path, name: &str, files: &mut Files) {
    for entry in std::fs::read_dir(base.join(name)).into_iter().flatten() {
        let entry = entry.expect("an entry");
        let name = format!("{name}/{}", entry.file_name().to_string_lossy());
        let meta = entry.metadata().expect("what it is");
        if meta.is_dir() {
            read(base, &name, files);
        } else {
            let is_run = meta.permissions().mode() & 0o100 != 0;
            files.insert(name, (std::fs::read(entry.path()).expect("a file"), is_run));
        }
    }
}

fn write(base: &str, files: &Files) {
    for (name, (bytes, is_run)) in files {
        let path = Path::new(base).join(name);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect(name);
        std::fs::write(&path, bytes).expect(name);
        let mode = if *is_run { 0o755 } else { 0o644 };
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect(name);
    }
}
