use super::*;

const FULL: &str = "# Translations by hand.
[Desktop Entry]
Version=1.0
Type=Application
Name=Edit
Name[de]=Bearbeiten
Keywords=text;a\\;b;
Exec=/usr/bin/edit --caption %c %i --file %U
TryExec=edit
Icon=edit
Path=/srv/my data
Terminal=0
Categories=Qt;KDE;
MimeType=text/plain;inode/directory;x-scheme-handler/edit;
StartupNotify=true
DBusActivatable=true
X-KDE-SubstituteUID=true
TerminalOptions=-e sh
Actions=new;ghost;bad name;

# A window more.
[Desktop Action new]
Name=New Window
Name[de]=Neues Fenster
Icon=edit-new
Exec=edit \"--new window\" @@ %f
OnlyShowIn=KDE;

[Desktop Action hidden]
Name=Hidden
Exec=rm -rf /

[Other]
Exec=x
";

fn subject<'a>(name: &'a BoxName, id: &'a DesktopId) -> Subject<'a> {
    Subject {
        name,
        project: None,
        id,
        path: "/usr/share/applications/org.edit.desktop",
        runner: "/usr/bin/incusbox-run",
        has_windows: true,
        is_on_bus: false,
        label: "",
        flags: &[],
        shares_files: false,
    }
}

fn of(file: &str, change: impl Fn(&mut Subject<'_>)) -> Result<String, String> {
    let name = BoxName::new("dev").expect("a name");
    let id = DesktopId::new("org.edit.desktop").expect("an id");
    let mut subject = subject(&name, &id);
    change(&mut subject);
    let icon = |name: &str| (name != "gone").then(|| format!("incusbox.dev.{name}"));
    rewritten(file.as_bytes(), &subject, &icon).map(|bytes| String::from_utf8(bytes).expect("text"))
}

#[test]
fn an_entry_keeps_its_lines_and_runs_in_the_box() {
    let expected = format!(
        "# Translations by hand.
[Desktop Entry]
Version=1.0
Type=Application
Name=Edit
Name[de]=Bearbeiten
Keywords=text;a\\;b;
Exec=/usr/bin/incusbox-run --notify \"--cwd=/srv/my data\" --opened=@@ dev -- /usr/bin/edit --caption %c --icon edit --file @@ %U @@
Icon=incusbox.dev.edit
Terminal=false
Categories=Qt;KDE;
MimeType=text/plain;inode/directory;x-scheme-handler/edit;
StartupNotify=true
Actions=new;
StartupWMClass=org.edit
X-Incusbox-Box=dev
X-Incusbox-Id=org.edit.desktop
X-Incusbox-Hash={}

# A window more.
[Desktop Action new]
Name=New Window
Name[de]=Neues Fenster
Icon=incusbox.dev.edit-new
Exec=/usr/bin/incusbox-run --notify \"--cwd=/srv/my data\" --opened=@@@ dev -- edit \"--new window\" @@ @@@ %f @@@

",
        digest(FULL.as_bytes())
    );
    assert_eq!(of(FULL, |_| ()).expect("an entry"), expected);
}

#[test]
fn label_project_and_flags_are_put_in() {
    let flags = ["--ozone-platform=wayland".to_owned(), "a b".to_owned()];
    let made = of(
        "[Desktop Entry]\nType=Application\nName=Edit\nName[de]=Bearbeiten\nExec=edit %U --x\nIcon=gone\n",
        |subject| {
            subject.label = "dev";
            subject.project = Some("work");
            subject.flags = Box::leak(Box::new(flags.clone()));
        },
    )
    .expect("an entry");
    assert!(made.contains("Name=Edit (dev)\nName[de]=Bearbeiten (dev)\n"), "{made}");
    assert!(made.contains("Exec=/usr/bin/incusbox-run --notify --project=work --opened=@@ dev -- edit --ozone-platform=wayland \"a b\" @@ %U @@ --x\n"), "{made}");
    assert!(made.contains("Icon=application-x-executable\n"), "{made}");
}

#[test]
fn only_what_opens_files_has_them_shared() {
    let exec = |words: &str| {
        let file = format!("[Desktop Entry]\nType=Application\nName=x\nExec={words}\n");
        let made = of(&file, |subject| subject.shares_files = true).expect("an entry");
        made.lines().find(|line| line.starts_with("Exec=")).expect("a line").to_owned()
    };
    let expected =
        "Exec=/usr/bin/incusbox-run --notify --opened=@@ --share-files dev -- edit @@ %U @@";
    assert_eq!(exec("edit %U"), expected);
    assert_eq!(exec("edit"), "Exec=/usr/bin/incusbox-run --notify dev -- edit");
}

#[test]
fn nothing_that_an_entry_says_reaches_the_host_but_as_words_of_incusbox_run() {
    for exec in [
        "sh -c \"rm -rf ~; echo `id`\"",
        "incusbox-run other -- x",
        "a --mode=native -- b",
        "env X=1 app",
        "a;b|c&d>e<f*g?h#i$(j)",
        "%%f",
        "a\\nb",
    ] {
        let file = format!("[Desktop Entry]\nType=Application\nName=x\nExec={exec}\n");
        let made = of(&file, |_| ()).expect(exec);
        let line = made.lines().find_map(|line| line.strip_prefix("Exec=")).expect("a line");
        let words = Exec::parse(&unescape(line.as_bytes())).expect("a command line").0;
        let all = ["/usr/bin/incusbox-run", "--notify", "dev", "--"].map(Word::plain);
        assert_eq!(words[..4], all, "{line}");
        let value = unescape(exec.as_bytes());
        assert_eq!(words[4..], Exec::parse(&value).expect("one").0, "{line}");
    }
}

#[test]
fn text_that_would_turn_or_break_a_line_is_made_plain() {
    let made = of(
        "[Desktop Entry]\nType=Application\nName=a\\nb\u{202e}c\nName[fa]=می\u{200c}خواهم\nComment[x]=\u{2066}y\nKeywords=\u{202e};\nExec=x\nCategories=A;$B;\n",
        |_| (),
    )
    .expect("an entry");
    assert!(made.contains("Name=a b c\nName[fa]=می\u{200c}خواهم\nComment[x]=y\n"), "{made}");
    assert!(!made.contains("Keywords") && !made.contains("Categories"), "{made}");
}

#[test]
fn what_cannot_be_run_says_why() {
    let reason =
        |rest: &str| of(&format!("[Desktop Entry]\nType=Application\nName=x\n{rest}\n"), |_| ());
    assert_eq!(reason("Exec=a \"b").expect_err("no"), "a quote in its `Exec` is not closed");
    let bus = reason("DBusActivatable=true").expect_err("no");
    assert_eq!(bus, "it has no `Exec`, only the bus starts it");
    assert_eq!(reason("Exec=a\nPath=b").expect_err("no"), "its `Path` is no path");
}

#[test]
fn what_only_the_bus_starts_is_started_by_it() {
    let file = "[Desktop Entry]\nType=Application\nName=x\nDBusActivatable=true\nImplements=org.x.Y;a b;\nActions=new;\nExec[de]=rm\n[Desktop Action new]\nName=New\n";
    let made = of(file, |subject| subject.is_on_bus = true).expect("an entry");
    assert!(!made.contains("Exec"), "{made}");
    for line in ["DBusActivatable=true", "Implements=org.x.Y;", "[Desktop Action new]"] {
        assert!(made.lines().any(|own| own == line), "{line}: {made}");
    }
    // Found by fuzzing: an empty command is none, also behind another (of which the last counts).
    let empty = file.replace("Name=x\n", "Name=x\nExec=rm -rf /\nExec=\n");
    let empty = of(&empty, |subject| subject.is_on_bus = true).expect("an entry");
    assert!(!empty.contains("Exec"), "{empty}");
    let with = of(&format!("{file}Exec=y\n").replace("Name=x\n", "Name=x\nExec=x\n"), |subject| {
        subject.is_on_bus = true;
    });
    let with = with.expect("an entry");
    assert!(with.contains("Exec=") && !with.contains("DBusActivatable"), "{with}");
}

#[test]
fn types_that_are_none_are_taken_out() {
    let made = of(
        "[Desktop Entry]\nType=Application\nName=x\nExec=x\nMimeType=text/plain;x;a/b/c;a\\sb/c;image/svg+xml;\n",
        |_| (),
    );
    let made = made.expect("an entry");
    assert!(made.contains("\nMimeType=text/plain;image/svg+xml;\n"), "{made}");
}
