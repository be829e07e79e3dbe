//! What a box has for a launcher, whatever it says of itself.

use serde_json::Value;

use crate::support::{Name, Scratch, home, incusbox};

/// Entries of every kind that a box may have, good and bad.
const ENTRIES: &str = r#"cd /usr/share/applications
entry() { printf '[Desktop Entry]\nType=Application\n%b' "$2" >"$1"; }
rm -rf ./*
entry good.desktop 'Name=Good\nName[de]=Gut\nComment=Does it\nIcon=good\nExec=good --x "a b" %U\n'
mkdir -p kde/more /usr/local/share/applications
entry kde/more/deep.desktop 'Name=Deep\nExec=deep\n'
entry first.desktop 'Name=Second\nExec=b\n'
entry /usr/local/share/applications/first.desktop 'Name=First\nExec=a\n'
entry covered.desktop 'Name=Covered\nExec=b\n'
entry /usr/local/share/applications/covered.desktop 'Name=Covered\nExec=b\nHidden=true\n'
entry try.desktop 'Name=Missing\nExec=b\nTryExec=/nowhere/program\n'
entry try2.desktop 'Name=There\nExec=sh\nTryExec=sh\n'
entry quiet.desktop 'Name=Quiet\nExec=b\nNoDisplay=true\n'
entry terminal.desktop "Name=A$(printf '\302\2332J\342\200\256')B\nExec=b\n"
entry escape.desktop 'Name=A\033[2J\nExec=b\n'
entry quote.desktop 'Name=Quote\nExec=b "x\n'
entry "$(printf 'odd\nname').desktop" 'Name=Odd\nExec=b\n'
ln -s good.desktop linked.desktop
ln -s /nowhere dangling.desktop
mkfifo fifo.desktop
mkdir directory.desktop
ln -s / root.desktop
head -c 130000 /dev/zero >zero.desktop
head -c 300000 /dev/zero | tr '\0' '#' >large.desktop
printf '[Desktop Entry]\nType=Link\nName=Link\nURL=x\n' >link.desktop
mkdir -p ~USER/.local/share/applications
entry ~USER/.local/share/applications/own.desktop 'Name=Own\nExec=own\n'
chown -R USER: ~USER/.local"#;

fn names(json: &str) -> Vec<String> {
    let all: Vec<Value> = serde_json::from_str(json).expect("JSON");
    let pair = |app: &Value| {
        format!("{} {}", app["id"].as_str().expect("an id"), app["name"].as_str().expect("a name"))
    };
    all.iter().map(pair).collect()
}

#[test]
fn a_box_tells_its_programs_and_cannot_trick_who_asks() {
    let own = Scratch::new("own-home");
    let name = Name::create("apps", &["--home", &own.path("")]);
    let user = std::env::var("USER").expect("USER");
    name.root(&ENTRIES.replace("USER", &user)).succeeds();
    let told = incusbox(&["apps", &name, "--json", "--all"]).succeeds();
    let expected = [
        "terminal.desktop A\u{fffd}2J\u{fffd}B",
        "kde-more-deep.desktop Deep",
        "first.desktop First",
        "good.desktop Good",
        "linked.desktop Good",
        "own.desktop Own",
        "quiet.desktop Quiet",
        "try2.desktop There",
    ];
    assert_eq!(names(&told.stdout), expected);

    let told = incusbox(&["apps", &name]).succeeds();
    assert!(told.stdout.starts_with("NAME "), "{told:#?}");
    let row = ["Good", "good.desktop", "good"];
    assert!(told.stdout.lines().any(|line| line.split_whitespace().eq(row)), "{told:#?}");
    assert!(!told.stdout.contains("Quiet") && !told.stdout.contains('\u{9b}'), "{told:#?}");
    for reason in [
        "quote.desktop` is left out: a quote in its `Exec` is not closed",
        "escape.desktop` is left out: it has no `Name`",
        "zero.desktop` is left out: it has a zero byte",
        "fifo.desktop` is left out: it is no regular file",
        "dangling.desktop` is left out: No such file",
        "large.desktop` is left out: it has more than 131072 bytes",
        "odd\u{fffd}name.desktop` is left out: its name has characters",
    ] {
        assert!(told.stderr.contains(reason), "{reason}: {told:#?}");
    }

    // A stopped box is started for it, and stopped again.
    incusbox(&["stop", &name]).succeeds();
    assert_eq!(names(&incusbox(&["apps", &name, "--json", "--all"]).succeeds().stdout), expected);
    let told = incusbox(&["list", "--json"]).succeeds().stdout;
    let all: Vec<Value> = serde_json::from_str(&told).expect("JSON");
    let state = all.iter().find(|one| one["name"] == *name).map(|one| one["state"].clone());
    assert_eq!(state, Some(Value::from("stopped")));
}

#[test]
fn entries_of_a_home_that_is_the_hosts_are_not_the_boxs() {
    let name = Name::create("hosts-apps", &[]);
    let id = format!("of-the-host-{}.desktop", std::process::id());
    let directory = home().join(".local/share/applications");
    std::fs::create_dir_all(&directory).expect("a directory in our own home");
    let entry = directory.join(&id);
    std::fs::write(&entry, "[Desktop Entry]\nType=Application\nName=Host's\nExec=x\n")
        .expect("a file in our own home");
    let seen = name.sh(&format!("test -e ~/.local/share/applications/{id}"));
    let told = incusbox(&["apps", &name, "--json"]).succeeds();
    std::fs::remove_file(&entry).expect("our own file");
    seen.succeeds();
    assert!(!told.stdout.contains(&id), "{told:#?}");
}
