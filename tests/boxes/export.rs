//! What a box puts onto the host: entries, icons and shims, and that they go with it.

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde_json::Value;

use crate::listed::the_list_tells_the_program;
use crate::support::{Name, Outcome, Scratch, command, finish, incus, incusbox, run};

/// Programs that write down how they were called, and their entries.
pub const PROGRAMS: &str = r#"cd /usr/share/applications
rm -rf ./*
printf '#!/bin/sh\nfor word; do printf "<%%s>" "$word"; done; pwd\n' >/usr/bin/stand-in
chmod +x /usr/bin/stand-in
entry() { printf '[Desktop Entry]\nType=Application\n%b' "$2" >"$1"; }
entry org.test.Edit.desktop 'Name=Edit\nName[de]=Bearbeiten\nComment=x\nIcon=edit\nPath=/usr\nTryExec=stand-in\nMimeType=text/plain;\nExec=stand-in --a "b c" "\\\\$HOME" %% %i %k %U\nActions=new;\nX-KDE-SubstituteUID=true\n[Desktop Action new]\nName=New\nExec=stand-in new %f\n'
entry hidden.desktop 'Name=Hidden\nNoDisplay=true\nIcon=/usr/share/icons/hicolor/48x48/apps/edit.png\nExec=stand-in hidden\n'
png() { printf '\211PNG\r\n\032\n\000\000\000\015IHDR\000\000\000%b\000\000\000%b\010\006' "$1" "$1"; }
for size in 16 48; do
    at=/usr/share/icons/hicolor/${size}x$size/apps
    mkdir -p $at
    png "\\$(printf %03o $size)" >$at/edit.png
done"#;

/// A data directory, a state directory and one of shims of a test's own.
pub struct Desktop(pub Scratch);

impl Desktop {
    pub fn new(what: &str) -> Desktop {
        Desktop(Scratch::new(what))
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path(name).into()
    }

    pub fn incusbox(&self, words: &[&str]) -> Outcome {
        run(self.command(words))
    }

    /// `incusbox` for this desktop, not started yet.
    pub fn command(&self, words: &[&str]) -> std::process::Command {
        let mut command = command("incusbox", words);
        command.env("XDG_DATA_HOME", self.path("share")).env("XDG_STATE_HOME", self.path("state"));
        // A directory of the host's that a test may write to.
        let host = format!("{}:/usr/local/share:/usr/share", self.path("host").display());
        command.env("XDG_DATA_DIRS", host);
        command
    }

    pub fn export(&self, name: &Name, words: &[&str]) -> Outcome {
        self.incusbox(&[&["export", name], words].concat())
    }

    /// The files below the data directory and of shims, without the caches that tools make there.
    pub fn files(&self) -> Vec<String> {
        let mut files = Vec::new();
        for below in ["share", "bin"] {
            walk(&self.path(below), &mut files);
        }
        let base = self.path("");
        let short = |path: PathBuf| path.strip_prefix(&base).unwrap_or(&path).display().to_string();
        let mut files: Vec<String> = files.into_iter().map(short).collect();
        files.retain(|file| !file.ends_with("/mimeinfo.cache"));
        files.sort();
        files
    }

    pub fn read(&self, file: &str) -> String {
        std::fs::read_to_string(self.path(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
    }

    /// Runs what an entry's `Exec` says, with words in the place of its code.
    pub fn launch(&self, file: &str, group: &str, opened: &[&str]) -> Outcome {
        let entry = self.read(file);
        let group = entry.split(&format!("[{group}]\n")).nth(1).expect("a group");
        let line = group.lines().find_map(|line| line.strip_prefix("Exec=")).expect("a line");
        // The escapes of a string, then the quotes of a command line.
        let words = shell_words::split(&line.replace("\\\\", "\\")).expect("words");
        let named = entry.lines().filter_map(|line| line.split_once('='));
        let mut named = named.filter(|(key, _)| key.trim() == "Name");
        let name = named.next().expect("a name").1.trim();
        let codes = ["%f", "%F", "%u", "%U"];
        let words: Vec<String> = words
            .into_iter()
            .flat_map(|word| match codes.contains(&&*word) {
                true => opened.iter().map(|text| (*text).to_owned()).collect(),
                false => vec![word.replace("%c", name).replace("%%", "%")],
            })
            .collect();
        let mut command = std::process::Command::new(&words[0]);
        command.args(&words[1..]).stdin(std::process::Stdio::null());
        run(command)
    }
}

fn walk(directory: &PathBuf, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).into_iter().flatten() {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            walk(&path, files);
        } else {
            files.push(path);
        }
    }
}

const EDIT: &str = "share/applications/org.test.Edit.desktop";

#[test]
fn a_program_of_a_box_is_a_program_of_the_host() {
    let desktop = Desktop::new("export-app");
    let name = Name::create("export", &[]);
    name.root(PROGRAMS).succeeds();
    desktop
        .export(&name, &["--app", "edti"])
        .fails(2, &["no program `edti`", "mean: Edit", "apps"]);
    desktop.export(&name, &[]).fails(2, &["nothing of", "--app NAME", "incusbox apps"]);
    for option in ["--label", "--extra-flags"] {
        desktop.export(&name, &["--bin", "true", option, "x"]).fails(2, &["--app"]);
    }
    let dry = desktop.export(&name, &["--app", "Edit", "--dry-run", "--json"]).succeeds();
    let dry: Value = serde_json::from_str(&dry.stdout).expect("JSON");
    assert!(dry["would_write"].as_array().is_some_and(|files| files.len() > 1), "{dry}");
    let dry = desktop.export(&name, &["--app", "Edit", "--dry-run"]).succeeds();
    assert!(dry.stdout.contains("would write") && dry.stdout.contains("org.test.Edit"), "{dry:#?}");
    assert_eq!(desktop.files(), [""; 0]);

    let told = desktop.export(&name, &["--app", "edit"]).succeeds();
    assert!(told.stdout.contains("org.test.Edit.desktop"), "{told:#?}");
    let files = desktop.files();
    assert_eq!((files.len(), &*files[0]), (3, EDIT), "{files:?}");
    assert!(
        files[1].contains("/16x16/apps/incusbox.") && files[2].contains("/48x48/"),
        "{files:?}"
    );
    let entry = desktop.read(EDIT);
    for kept in
        ["\nName[de]=Bearbeiten\n", "\nMimeType=text/plain;\n", "\nStartupWMClass=org.test.Edit\n"]
    {
        assert!(entry.contains(kept), "{kept}: {entry}");
    }
    assert!(!entry.contains("TryExec") && !entry.contains("SubstituteUID"), "{entry}");

    // It runs with its words, in its directory, with what is opened.
    let home = crate::support::home();
    let odd = home.join(".boxes odd 100% 'quo\"te' \u{fc}.txt");
    std::fs::write(&odd, "text").expect("a file");
    let odd_text = odd.to_str().expect("text").to_owned();
    let url = "https://example.org/?a=b&c=%20d";
    let ran = desktop.launch(EDIT, "Desktop Entry", &[&odd_text, url]);
    std::fs::remove_file(&odd).expect("a file");
    let own = "<--a><b c><$HOME><%><--icon><edit></usr/share/applications/org.test.Edit.desktop>";
    assert_eq!(ran.succeeds().stdout, format!("{own}<{odd_text}><{url}>/usr\n"));
    let action = desktop.launch(EDIT, "Desktop Action new", &[]).succeeds();
    assert_eq!(action.stdout, "<new>/usr\n");

    // A file that is another one there is not opened.
    for opened in ["/etc/hostname", "file:///etc/hostname"] {
        let refused = desktop.launch(EDIT, "Desktop Entry", &[opened]);
        assert_eq!((refused.status, &*refused.stdout), (Some(125), ""), "{refused:#?}");
        assert!(refused.stderr.contains("`/etc/hostname` is on the host"), "{refused:#?}");
    }

    let listed = desktop.incusbox(&["export", "--list", "--json"]).succeeds();
    let listed: Value = serde_json::from_str(&listed.stdout).expect("JSON");
    assert_eq!(listed[0]["what"], "org.test.Edit.desktop");
    let apps = desktop.incusbox(&["apps", &name, "--json"]).succeeds();
    let apps: Value = serde_json::from_str(&apps.stdout).expect("JSON");
    assert_eq!(apps[0]["exported"], "org.test.Edit.desktop");
    the_list_tells_the_program(&desktop, &name, "org.test.Edit.desktop");

    // A picture that another program has too, by another name.
    desktop.export(&name, &["--app", "hidden"]).succeeds();
    let hidden = desktop.read("share/applications/hidden.desktop");
    assert!(hidden.contains("\nIcon=incusbox."), "{hidden}");
    desktop.incusbox(&["unexport", &name, "--app", "hidden"]).succeeds();
    assert_eq!(desktop.files().len(), 3);

    desktop.incusbox(&["unexport", &name, "--app", "Edit"]).succeeds();
    assert_eq!(desktop.files(), [""; 0]);
    desktop.incusbox(&["unexport", &name, "--app", "Edit"]).fails(2, &["nothing of"]);
}

#[test]
fn what_is_exported_follows_the_box() {
    let desktop = Desktop::new("export-follow");
    let name = Name::create("follow", &["--home", "none"]);
    name.root(PROGRAMS).succeeds();
    desktop.export(&name, &["--all-apps"]).succeeds();
    assert_eq!(desktop.files().len(), 3, "what menus do not show is left out");

    // Nothing changed: nothing is written.
    let list = desktop.path("state/incusbox/exports.json");
    let before = std::fs::metadata(&list).and_then(|meta| meta.modified()).expect("a time");
    let again = desktop.export(&name, &["--json"]).succeeds();
    let again: Value = serde_json::from_str(&again.stdout).expect("JSON");
    assert_eq!(again["written"].as_array().map(Vec::len), Some(0), "{again}");
    let after = std::fs::metadata(&list).and_then(|meta| meta.modified()).expect("a time");
    assert_eq!(before, after);
    let list: Value =
        serde_json::from_str(&desktop.read("state/incusbox/exports.json")).expect("it");
    assert!(list["boxes"][0]["settled"].is_object(), "the box need not say all again: {list}");

    // What an entry depends on changed, itself did not.
    name.root("mv /usr/bin/stand-in /root").succeeds();
    desktop.export(&name, &[]).succeeds();
    assert_eq!(desktop.files(), [""; 0], "its program is not there");
    name.root("mv /root/stand-in /usr/bin").succeeds();
    desktop.export(&name, &[]).succeeds();
    assert_eq!(desktop.files().len(), 3);

    // An update, a new program, one that is gone.
    let update = "cd /usr/share/applications && sed 's/Edit/Draw/' org.test.Edit.desktop >draw.desktop && sed -i s/Comment=x/Comment=y/ org.test.Edit.desktop && cp /usr/share/icons/hicolor/16x16/apps/edit.png /tmp && printf more >>/usr/share/icons/hicolor/16x16/apps/edit.png";
    name.root(update).succeeds();
    desktop.export(&name, &[]).succeeds();
    assert!(desktop.read(EDIT).contains("Comment=y"), "{}", desktop.read(EDIT));
    assert!(desktop.files().contains(&"share/applications/draw.desktop".to_owned()));
    name.root("rm /usr/share/applications/draw.desktop").succeeds();
    desktop.export(&name, &[]).succeeds();
    assert!(!desktop.files().contains(&"share/applications/draw.desktop".to_owned()));

    // What somebody took away comes back, what somebody changed is kept aside.
    let picture = desktop.files().into_iter().find(|file| file.contains("48x48")).expect("one");
    std::fs::remove_file(desktop.path(&picture)).expect("a file");
    desktop.export(&name, &[]).succeeds();
    assert!(desktop.files().contains(&picture));
    std::fs::write(desktop.path(EDIT), "mine").expect("a file");
    std::fs::remove_file(desktop.path(&picture)).expect("a file");
    let told = desktop.incusbox(&["export", "--verify"]).succeeds();
    assert!(told.stderr.contains("was changed by somebody"), "{told:#?}");
    assert_eq!(desktop.read(&format!("{EDIT}.changed-1")), "mine");
    assert!(desktop.files().contains(&picture) && desktop.read(EDIT).contains("[Desktop Entry]"));
    std::fs::remove_file(desktop.path(&format!("{EDIT}.changed-1"))).expect("a file");

    // Another name.
    let new = Name::new("followed");
    desktop.incusbox(&["rename", &name, &new]).succeeds();
    assert!(desktop.read(EDIT).contains(&format!("X-Incusbox-Box={}\n", &*new)));
    assert!(desktop.files().iter().all(|file| !file.contains(&format!("{}.", &*name))));

    // Renamed, and deleted, behind our back. A dry run does nothing about it.
    let newer = Name::new("followed");
    incus(&["stop", "--force", &new]).succeeds();
    incus(&["rename", &new, &newer]).succeeds();
    desktop.export(&newer, &[]).succeeds();
    assert!(desktop.read(EDIT).contains(&format!("X-Incusbox-Box={}\n", &*newer)));
    let pictures =
        desktop.files().into_iter().filter(|file| file.contains(&format!("{}.", &*newer)));
    assert_eq!(pictures.count(), 2);
    incus(&["delete", "--force", &newer]).succeeds();
    desktop.incusbox(&["export", "--verify", "--dry-run"]).fails(1, &["there is no box"]);
    assert_eq!(desktop.files().len(), 3);
    let told = desktop.incusbox(&["unexport", &newer, "--all"]).succeeds();
    assert!(told.stderr.contains("is gone"), "{told:#?}");
    assert_eq!(desktop.files(), [""; 0]);
}

#[test]
fn two_boxes_with_one_program_are_told_apart_and_go_alone() {
    let desktop = Desktop::new("export-two");
    let first = Name::create("first", &["--home", "none"]);
    first.root(PROGRAMS).succeeds();
    desktop.export(&first, &["--app", "org.test.Edit"]).succeeds();
    let second = Name::create("second", &["--home", "none"]);
    second.root(PROGRAMS).succeeds();
    desktop.export(&second, &["--app", "org.test.Edit"]).succeeds();
    let files = desktop.files();
    let other = files.iter().find(|file| file.contains("incusbox.") && file.ends_with(".desktop"));
    let other = other.unwrap_or_else(|| panic!("{files:?}")).clone();
    let labelled = desktop.read(&other);
    assert!(labelled.contains(&format!("\nName=Edit ({})\n", &*second)), "{labelled}");
    assert!(!labelled.contains("StartupWMClass"), "windows are the first one's: {labelled}");
    // What stays is not touched, also if somebody changed it.
    std::fs::write(desktop.path(&other), "mine").expect("a file");
    desktop.export(&second, &["--app", "hidden"]).succeeds();
    std::fs::write(desktop.path(&other), "mine again").expect("a file");
    desktop.incusbox(&["unexport", &second, "--app", "hidden"]).succeeds();
    assert_eq!(desktop.read(&other), "mine again");
    std::fs::remove_file(desktop.path(&other)).expect("a file");
    std::fs::remove_file(desktop.path(&format!("{other}.changed-1"))).expect("a file");
    desktop.export(&second, &[]).succeeds();
    assert!(desktop.read(EDIT).contains("\nName=Edit\n"));
    // By its name, with or without what stands behind it.
    desktop.incusbox(&["unexport", &second, "--app", "edit"]).succeeds();
    assert!(!desktop.files().contains(&other));
    desktop.export(&second, &["--app", "Edit"]).succeeds();

    // One that never answers holds up no other.
    let mute = "cd /usr/local/lib/incusbox && for agent in agent-*; do mv $agent ../$agent && \
                printf '#!/bin/sh\\ntouch /run/asked\\nexec sleep 1000\\n' >$agent && \
                chmod +x $agent; done";
    second.root(mute).succeeds();
    let inside = |script: &str| incus(&["exec", &second, "--", "sh", "-c", script]);
    let mut waiting = desktop.command(&["export", &second]);
    let piped = waiting.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    let mut waits = piped.spawn().expect("incusbox");
    inside("timeout 60 sh -c 'until [ -e /run/asked ]; do sleep 0.1; done'").succeeds();
    desktop.export(&first, &["--app", "hidden"]).succeeds();
    assert!(waits.try_wait().expect("a child").is_none(), "it does not wait for its answer");
    let pid = waits.id().to_string();
    let mut kill = std::process::Command::new("kill");
    kill.args(["-INT", &pid]);
    run(kill).succeeds();
    let ended = finish(&waiting, waits);
    assert_ne!(ended.status, Some(0), "{ended:#?}");
    inside("cd /usr/local/lib && for agent in agent-*; do mv $agent incusbox/$agent; done")
        .succeeds();
    desktop.incusbox(&["unexport", &first, "--app", "hidden"]).succeeds();

    // A daemon that does not know a box of another one takes nothing away.
    let list = desktop.path("state/incusbox/exports.json");
    let ours = std::fs::read_to_string(&list).expect("a list");
    let parsed: Value = serde_json::from_str(&ours).expect("JSON");
    let text = |key: &str| parsed["boxes"][0][key].as_str().expect("text").to_owned();
    let theirs = ours.replace(&text("daemon"), "another").replace(&text("uuid"), "another");
    std::fs::write(&list, theirs).expect("a list");
    desktop.export(&second, &[]).succeeds();
    assert!(desktop.files().contains(&EDIT.to_owned()), "{:?}", desktop.files());
    std::fs::write(&list, ours).expect("a list");

    incusbox(&["stop", &second]).succeeds();
    desktop.incusbox(&["rm", "--force", &second]).succeeds();
    assert_eq!(desktop.files().len(), 3);
    desktop.incusbox(&["unexport", &first, "--all"]).succeeds();
    assert_eq!(desktop.files(), [""; 0]);
}

#[test]
fn a_shim_runs_its_command_wherever_it_is_called() {
    let desktop = Desktop::new("export-bin");
    let name = Name::create("bin", &[]);
    let other = Name::create("binother", &[]);
    name.root("printf '#!/bin/sh\\ncat; for word; do printf \"<%%s>\" \"$word\"; done; id -un; exit 7\\n' >/usr/bin/tool; chmod +x /usr/bin/tool").succeeds();
    let bin = desktop.path("bin").display().to_string();
    let export =
        |words: &[&str]| desktop.export(&name, &[words, &["--export-path", &bin]].concat());
    export(&["--bin", "no-tool"]).fails(2, &["no command `no-tool`"]);
    export(&["--bin", "tool"]).succeeds();
    export(&["--bin", "/usr/bin/id", "--sudo"]).succeeds();
    let path = desktop.path("bin/tool");
    let mut shim = std::process::Command::new(&path);
    shim.args(["a b", "", "$x"]).stdin(std::process::Stdio::null());
    let user = std::env::var("USER").expect("USER");
    let ran = run(shim);
    let said = format!("<a b><><$x>{user}\n");
    assert_eq!((ran.status, &*ran.stdout), (Some(7), &*said), "{ran:#?}");
    let mut as_root = std::process::Command::new(desktop.path("bin/id"));
    as_root.arg("-un").stdin(std::process::Stdio::null());
    assert_eq!(run(as_root).succeeds().stdout, "root\n");

    // In its own box it is the command, in another it says whose it is.
    let path = path.display();
    let inside = name.sh(&format!("echo in | {path} 'a b' '' '$x'"));
    assert_eq!((inside.status, inside.stdout), (Some(7), format!("in\n{said}")));
    let inside = name.sh(&format!("{bin}/id -un"));
    assert_eq!(inside.succeeds().stdout, "root\n");
    let elsewhere = other.sh(&format!("{path} x"));
    let whose = format!("is a command of the box `{}`, and this is the box `{}`", &*name, &*other);
    assert_eq!(elsewhere.status, Some(125), "{elsewhere:#?}");
    assert!(elsewhere.stderr.contains(&whose), "{elsewhere:#?}");

    // A file of the user's own is not touched, and a command that is gone has no shim.
    std::fs::write(desktop.path("bin/cat"), "mine").expect("a file");
    let refused = export(&["--bin", "cat"]);
    assert_eq!(refused.status, Some(1), "{refused:#?}");
    assert!(refused.stderr.contains("not incusbox's"), "{refused:#?}");
    name.root("rm /usr/bin/tool").succeeds();
    let told = desktop.export(&name, &[]);
    assert!(told.stderr.contains("`tool` is not in the box now"), "{told:#?}");
    assert_eq!(desktop.files(), ["bin/cat", "bin/id"]);
    assert_eq!(desktop.read("bin/cat"), "mine");
}

/// Everything that a box can do to hurt who exports from it.
const HOSTILE: &str = r#"cd /usr/share/applications
rm -rf ./*
entry() { printf '[Desktop Entry]\nType=Application\n%b' "$2" >"$1"; }
entry good.desktop 'Name=Good\nIcon=/etc/shadow\nExec=true\n'
entry icon.desktop 'Name=Icon\nIcon=../../../../evil\nExec=true\n'
entry fifo.desktop 'Name=Fifo\nIcon=/tmp/fifo\nExec=true\n'
entry device.desktop 'Name=Device\nIcon=/dev/zero\nExec=true\n'
entry big.desktop 'Name=Big\nIcon=/tmp/big.png\nExec=true\n'
entry exec.desktop 'Name=E\\nExec=rm -rf /\nExec=incusbox-run other -- x; rm -rf ~\nActions=a;\n[Desktop Action a]\nName=a\nExec=$(id)\n'
entry bidi.desktop "Name=a$(printf '\342\200\256')txt\nExec=true\n"
entry 'a$(id).desktop' 'Name=x\nExec=true\n'
printf '[Desktop Entry]\nType=Application\nName=Late\nExec=true\n[Desktop Entry][$i]\nExec=evil\n[X-Other]\nExec=evil\n' >late.desktop
mkfifo /tmp/fifo
head -c 9000000 /dev/zero >/tmp/big.png
mkdir many
python3 -c 'for at in range(50000): open(f"many/{at}.desktop", "w").write(f"[Desktop Entry]\nType=Application\nName=Many {at}\nNoDisplay=true\nExec=true\n")'"#;

#[test]
fn a_hostile_box_reaches_nothing_but_its_entries() {
    let desktop = Desktop::new("export-hostile");
    let name = Name::create("hostile", &["--home", "none"]);
    name.root(HOSTILE).succeeds();
    let told = desktop.export(&name, &["--all-apps"]);
    assert!(told.stderr.contains("is left out: there are too many entries"), "{told:#?}");
    let files: BTreeSet<String> = desktop.files().into_iter().collect();
    let entries = ["bidi", "big", "device", "exec", "fifo", "good", "icon", "late"];
    let entries: BTreeSet<String> =
        entries.iter().map(|id| format!("share/applications/{id}.desktop")).collect();
    assert_eq!(files, entries, "{told:#?}");
    for file in &files {
        let text = desktop.read(file);
        assert!(!text.contains("evil") && !text.contains('\u{202e}'), "{text}");
        for line in text.lines().filter(|line| line.starts_with("Exec")) {
            let words = shell_words::split(line.strip_prefix("Exec=").expect(line)).expect(line);
            assert!(words[0].ends_with("/incusbox-run") && words[0].starts_with('/'), "{line}");
            let at = words.iter().position(|word| word == "--").expect(line);
            assert_eq!(words[at - 1], *name, "{line}");
            // Nothing that a shell would act on stands outside of quotes.
            let bare: String = line.split('"').step_by(2).collect();
            assert!(!bare.contains(['$', '`', ';', '&', '|', '<', '>', '(']), "{line}");
        }
    }
    assert!(desktop.read("share/applications/exec.desktop").contains("\nName=E Exec=rm -rf /\n"));
    let told = desktop.incusbox(&["apps", "--all", &name]).succeeds();
    assert!(told.stderr.contains("there are too many entries"), "{}", told.stderr);
    assert!((10_000..20_100).contains(&told.stdout.lines().count()), "the first are there");

    // More than a process may have open.
    name.root("cd /usr/share/applications; mv many/1???.desktop .; rm -r many; sed -i /NoDisplay/d 1???.desktop").succeeds();
    let words = ["export", &name];
    let mut command = std::process::Command::new("sh");
    command.args(["-c", "ulimit -n 64; exec \"$0\" \"$@\""]);
    let own = desktop.command(&words);
    command.arg(own.get_program()).args(own.get_args()).stdin(std::process::Stdio::null());
    command.envs(own.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let told = run(command);
    assert_eq!(desktop.files().len(), entries.len() + 1000, "{told:#?}");
}
