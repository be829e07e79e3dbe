//! A box is the user's own: identity, home, root, packages, hooks; and a failure leaves nothing.

use std::os::unix::fs::MetadataExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::support::{Name, Scratch, command, finish, home, image, incus, incusbox, run};

fn own_ids() -> (u32, u32) {
    (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw())
}

fn user() -> String {
    std::env::var("USER").expect("USER")
}

#[test]
fn a_box_is_the_users_own() {
    let name = Name::new("own");
    let made = incusbox(&["create", &name, "--image", &image()]).succeeds();
    // Where the user's ids may not be mapped, what has to know them is off.
    let is_mapped =
        !incus(&["config", "get", &name, "raw.idmap"]).succeeds().stdout.trim().is_empty();
    let told = "nothing of your desktop session (display, audio, bus, ssh-agent)";
    assert_eq!(made.stderr.contains(told), !is_mapped, "{made:#?}");
    let (uid, gid) = own_ids();
    let user = user();
    let told = name.sh("id -u; id -g; id -un; pwd; echo $HOME; sudo -n id -u; hostname").succeeds();
    let home = home().display().to_string();
    let expected = format!("{uid}\n{gid}\n{user}\n{home}\n{home}\n0\n{}\n", &*name);
    assert_eq!(told.stdout, expected);
    assert_eq!(told.stderr, "", "sudo has nothing to complain of");
    files_have_the_right_owner_on_either_side(&name);
    the_umask_is_what_pam_gives(&name, &user);
    a_restart_changes_nothing(&name, &expected);
}

fn files_have_the_right_owner_on_either_side(name: &Name) {
    let (uid, _) = own_ids();
    let mine = home().join(format!(".{}-mine", &**name));
    let theirs = home().join(format!(".{}-theirs", &**name));
    let roots = home().join(format!(".{}-roots", &**name));
    std::fs::write(&mine, "x").expect("a file of ours");
    let script = format!(
        "stat -c %u {}; touch {}; sudo -n touch {}",
        mine.display(),
        theirs.display(),
        roots.display()
    );
    let seen = name.sh(&script).succeeds();
    let owner = |path| std::fs::symlink_metadata(path).expect("a file of the box's").uid();
    let owners = (owner(&theirs), owner(&roots));
    for path in [&mine, &theirs, &roots] {
        std::fs::remove_file(path).expect("a file in our own home can be removed");
    }
    assert_eq!(seen.stdout, format!("{uid}\n"));
    assert_eq!(owners.0, uid);
    let ids = incus(&["config", "get", name, "raw.idmap"]).succeeds().stdout;
    if ids.trim().is_empty() {
        // The user's ids may not be mapped, so the kernel shifts: `create` warned of that.
        assert_eq!(owners.1, 0);
    } else {
        assert!(owners.1 != 0 && owners.1 != uid, "the box's root is nobody here: {owners:?}");
    }
}

/// Debian 12 gives 022 and Debian 13 002, as it comes; either may be told otherwise.
fn the_umask_is_what_pam_gives(name: &Name, user: &str) {
    let agrees = |masks: &mut Vec<String>| {
        let by_pam = name.root(&format!("su - {user} -c umask")).succeeds().stdout;
        assert_eq!(name.sh("umask").succeeds().stdout, by_pam);
        masks.push(by_pam);
    };
    let mut masks = Vec::new();
    agrees(&mut masks);
    for line in
        ["session optional pam_umask.so umask=027", "session optional pam_umask.so usergroups"]
    {
        let stack = "/etc/pam.d/common-session";
        name.root(&format!("sed -i /pam_umask/d {stack} && echo '{line}' >>{stack}")).succeeds();
        agrees(&mut masks);
    }
    assert_ne!(masks[1], masks[2], "the files decide");
}

fn a_restart_changes_nothing(name: &Name, expected: &str) {
    incusbox(&["restart", name]).succeeds();
    let told = name.sh("id -u; id -g; id -un; pwd; echo $HOME; sudo -n id -u; hostname");
    assert_eq!(told.succeeds().stdout, expected);
    // A session of the user's is up for the first command, too.
    let session = name.sh("echo $XDG_RUNTIME_DIR; systemctl --user is-system-running --wait");
    assert_eq!(session.succeeds().stdout, format!("/run/user/{}\nrunning\n", own_ids().0));
}

#[test]
fn a_home_of_the_boxs_own_holds_nothing_of_the_hosts() {
    let name = Name::create("none", &["--home", "none", "--no-sudo"]);
    let told = name.sh(
        "stat -c '%u %a' $HOME; ls -A $HOME | grep -c profile; sudo -n true 2>/dev/null; echo $?",
    );
    let told = told.succeeds().stdout;
    let lines: Vec<&str> = told.lines().collect();
    assert!(lines[0].starts_with(&format!("{} 7", own_ids().0)), "{told}");
    assert_eq!(
        (lines[1], lines[2]),
        ("1", "1"),
        "a profile from /etc/skel, and no way to become root"
    );
    let seen = incusbox(&["info", &name]).succeeds().stdout;
    assert!(seen.lines().any(|line| line.split_whitespace().eq(["home:", "none"])), "{seen}");
}

#[test]
fn options_come_from_the_command_line_and_from_the_file() {
    let config = std::env::temp_dir().join(format!("incusbox-boxes-{}", std::process::id()));
    std::fs::create_dir_all(config.join("incusbox")).expect("a directory");
    let text = format!(
        "[defaults]\nimage = '{}'\nhome = 'none'\nprocesses = 700\ninit-hook = ['echo one >>/root/hooks']\n",
        image()
    );
    std::fs::write(config.join("incusbox/incusbox.toml"), text).expect("a configuration");
    let name = Name::new("conf");
    let mut create = command(
        "incusbox-create",
        &[
            &name,
            "--memory",
            "1GiB",
            "--cpus",
            "1",
            "--disk",
            "5GiB",
            "--shell",
            "/bin/dash",
            "--init-hook",
            "echo two >>/root/hooks",
            "--hostname",
            "other.example",
            "--json",
        ],
    );
    let made = crate::support::run({
        create.env("XDG_CONFIG_HOME", &config);
        create
    })
    .succeeds();
    std::fs::remove_dir_all(&config).expect("our own directory");
    assert!(made.stdout.contains("\"state\": \"ready\""), "{made:?}");
    assert_eq!(
        name.root("cat /root/hooks; hostname").succeeds().stdout,
        "one\ntwo\nother.example\n"
    );
    let info = incusbox(&["info", "--json", &name]).succeeds().stdout;
    let info: serde_json::Value = serde_json::from_str(&info).expect("JSON");
    let value = |option: &str| info["options"][option]["value"].clone();
    assert_eq!(
        (value("memory"), value("processes"), value("home")),
        ("1GiB".into(), "700".into(), "none".into())
    );
    assert_eq!(
        (value("cpus"), value("disk"), value("shell")),
        ("1".into(), "5GiB".into(), "/bin/dash".into())
    );
    let (key, devices) =
        (["config", "get", &name, "limits.cpu"], ["config", "device", "list", &name]);
    assert_eq!(incus(&key).succeeds().stdout, "1\n");
    assert_eq!(incus(&devices).succeeds().stdout.matches("root").count(), 1);
    let account = format!("getent passwd {} | cut -d: -f7; echo $SHELL", user());
    assert_eq!(name.sh(&account).succeeds().stdout, "/bin/dash\n/bin/dash\n");
    let hooks = serde_json::json!(["echo one >>/root/hooks", "echo two >>/root/hooks"]);
    assert_eq!((value("init-hook"), value("hostname")), (hooks, "other.example".into()));
    assert_eq!((value("volume"), value("sudo")), (serde_json::json!([]), "on".into()));
}

#[test]
fn a_dry_run_makes_nothing() {
    let name = Name::new("dry");
    let told = incusbox(&["create", &name, "--image", &image(), "--dry-run"]).succeeds();
    let request: serde_json::Value = serde_json::from_str(&told.stdout).expect("JSON");
    assert_eq!(request["name"], &*name);
    assert_eq!(request["config"]["raw.idmap"], {
        let (uid, gid) = own_ids();
        if uid == gid {
            format!("both {uid} {uid}")
        } else {
            format!("uid {uid} {uid}\ngid {gid} {gid}")
        }
    });
    assert!(request["config"]["security.privileged"].is_null());
    assert!(!name.exists());
}

#[test]
fn a_name_that_is_taken_is_left_alone() {
    let name = Name::create("taken", &["--home", "none"]);
    name.root("echo kept >/root/kept").succeeds();
    incusbox(&["create", &name, "--image", &image()])
        .fails(1, &["already", "nothing was changed", "incusbox enter"]);
    incusbox(&["create", &name, "--image", "images:no-such-image"]).fails(1, &["already"]);
    assert_eq!(name.root("cat /root/kept").succeeds().stdout, "kept\n");
}

#[test]
fn two_creates_of_one_name_at_once_make_one_box() {
    let name = Name::new("twice");
    let create = || {
        let mut create =
            command("incusbox", &["create", &name, "--image", &image(), "--home", "none"]);
        let child = create.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("incusbox");
        (create, child)
    };
    let outcomes = [create(), create(), create()].map(|(create, child)| finish(&create, child));
    let good = outcomes.iter().filter(|outcome| outcome.status == Some(0)).count();
    assert_eq!(good, 1, "{outcomes:#?}");
    for outcome in outcomes.iter().filter(|outcome| outcome.status != Some(0)) {
        let words = ["another incusbox is making", "already"];
        assert!(words.iter().any(|word| outcome.stderr.contains(word)), "{outcome:#?}");
    }
    assert_eq!(name.sh("echo works").succeeds().stdout, "works\n");
}

#[test]
fn an_interrupted_create_leaves_nothing() {
    for (signal, after_ms) in [(Signal::INT, 60), (Signal::TERM, 700), (Signal::HUP, 1500)] {
        let name = Name::new("cut");
        let mut create =
            command("incusbox", &["create", &name, "--image", &image(), "--init-hook", "sleep 60"]);
        let child = create.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("incusbox");
        std::thread::sleep(Duration::from_millis(after_ms));
        kill_process(Pid::from_child(&child), signal).expect("incusbox still runs");
        let outcome = finish(&create, child);
        assert_eq!(outcome.status, None, "it dies by {signal:?}: {outcome:?}");
        assert!(outcome.stderr.contains("interrupted"), "{outcome:?}");
        std::thread::sleep(Duration::from_millis(500));
        assert!(!name.exists(), "after {signal:?}");
    }
}

#[test]
fn a_create_that_was_killed_is_made_anew_by_the_next() {
    for after_ms in [80, 900] {
        let name = Name::new("killed");
        let mut create =
            command("incusbox", &["create", &name, "--image", &image(), "--init-hook", "sleep 60"]);
        let child = create.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("incusbox");
        std::thread::sleep(Duration::from_millis(after_ms));
        kill_process(Pid::from_child(&child), Signal::KILL).expect("incusbox still runs");
        finish(&create, child);
        incusbox(&["create", &name, "--image", &image(), "--home", "none"]).succeeds();
        assert_eq!(name.sh("echo works").succeeds().stdout, "works\n");
    }
}

/// `create` as another user or cron runs it: with other directories for its lock.
fn create_elsewhere(directory: &str, name: &Name, words: &[&str]) -> Command {
    let image = image();
    let words = [&["create", name, "--image", &image, "--home", "none"], words].concat();
    let mut create = command("incusbox", &words);
    create.env("XDG_RUNTIME_DIR", directory).env("XDG_STATE_HOME", directory);
    create
}

fn state(name: &Name) -> String {
    incus(&["config", "get", name, "user.incusbox.state"]).stdout.trim().to_owned()
}

fn begin(create: &mut Command) -> Child {
    create.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("incusbox")
}

#[test]
fn what_is_being_made_is_left_alone_by_who_has_another_lock() {
    let scratch = Scratch::new("other-lock");
    let name = Name::new("rival");
    let mut create =
        command("incusbox", &["create", &name, "--image", &image(), "--init-hook", "sleep 6"]);
    let child = begin(&mut create);
    let until = Instant::now() + Duration::from_secs(60);
    while !name.exists() || name.root("pgrep -x sleep").status != Some(0) {
        assert!(Instant::now() < until, "the hook does not begin");
        std::thread::sleep(Duration::from_millis(100));
    }
    run(create_elsewhere(&scratch.path("state"), &name, &[]))
        .fails(1, &["another incusbox is making"]);
    finish(&create, child).succeeds();
    assert_eq!(state(&name), "ready");
}

#[test]
fn several_who_find_what_a_killed_create_left_make_one_box() {
    let scratch = Scratch::new("several");
    let name = Name::new("heirs");
    let mut create = create_elsewhere(&scratch.path("first"), &name, &["--init-hook", "sleep 60"]);
    let mut child = begin(&mut create);
    while !state(&name).starts_with("creating ") {
        std::thread::sleep(Duration::from_millis(50));
    }
    child.kill().expect("incusbox still runs");
    finish(&create, child);
    let heirs = ["a", "b", "c"].map(|what| {
        let mut create = create_elsewhere(&scratch.path(what), &name, &[]);
        let child = begin(&mut create);
        (create, child)
    });
    let outcomes = heirs.map(|(create, child)| finish(&create, child));
    let good = outcomes.iter().filter(|outcome| outcome.status == Some(0)).count();
    assert_eq!((good, state(&name).as_str()), (1, "ready"), "{outcomes:#?}");
}

#[test]
fn what_somebody_may_be_making_elsewhere_is_left_alone() {
    let name = Name::new("far");
    incus(&["init", &image(), &name]).succeeds();
    for token in ["1-2-f0000000-4-5-6", "of-another-version"] {
        let mark = format!("user.incusbox.state=creating {token}");
        incus(&["config", "set", &name, &mark]).succeeds();
        let told = incusbox(&["create", &name, "--image", &image()]);
        told.fails(1, &["nothing was changed", &format!("incus delete --force {}", &*name)]);
        assert_eq!(state(&name), format!("creating {token}"));
    }
}

#[test]
fn a_hook_that_fails_is_named_and_nothing_is_left() {
    let name = Name::new("hook");
    let words = ["create", &name, "--image", &image(), "--pre-init-hook", "echo says; exit 3"];
    incusbox(&words).fails(1, &["echo says; exit 3", "status 3"]);
    assert!(!name.exists());
}

#[test]
fn a_package_that_does_not_exist_is_named_and_nothing_is_left() {
    let name = Name::new("package");
    let words = ["create", &name, "--image", &image(), "--package", "no-such-package-anywhere"];
    incusbox(&words).fails(1, &["no-such-package-anywhere"]);
    assert!(!name.exists());
}

#[test]
fn a_volume_is_there_and_what_is_to_be_read_only_is() {
    let directory = home().join(format!(".volume-{}", std::process::id()));
    std::fs::create_dir_all(&directory).expect("a directory");
    let path = directory.display().to_string();
    let volumes = [format!("{path}:/data"), format!("{path}:/data-ro:ro")];
    let name = Name::create(
        "volume",
        &["--home", "none", "--volume", &volumes[0], "--volume", &volumes[1]],
    );
    let told =
        name.sh("echo x >/data/new; cat /data-ro/new; echo y 2>/dev/null >/data-ro/other; echo $?");
    let owner = std::fs::metadata(directory.join("new")).expect("the box's file").uid();
    std::fs::remove_dir_all(&directory).expect("our own directory");
    assert_eq!(told.stdout, "x\n2\n");
    assert_eq!(owner, own_ids().0);
}

#[test]
fn a_copy_of_a_box_has_its_own_name_and_the_same_content() {
    let profile = Profile::new();
    let first = Name::create("first", &["--home", "none"]);
    incus(&["profile", "add", &first, &profile.0]).succeeds();
    first.root("echo content >/root/content").succeeds();
    incusbox(&["stop", &first]).succeeds();
    let second = Name::new("second");
    incusbox(&["create", &second, "--clone", &first, "--home", "none"]).succeeds();
    let told = second.root("cat /root/content; hostname; cat /etc/hostname").succeeds();
    assert_eq!(told.stdout, format!("content\n{0}\n{0}\n", &*second));
    assert!(incus(&["config", "get", &second, "user.incusbox.state"]).stdout.contains("ready"));
    let key = ["config", "get", "--expanded", &second, "user.by-profile"];
    assert_eq!(incus(&key).succeeds().stdout, "yes\n");
}

/// A profile that goes away, when no box has it any more.
struct Profile(String);

impl Profile {
    fn new() -> Profile {
        let name = Name::new("profile").to_string();
        incus(&["profile", "create", &name]).succeeds();
        incus(&["profile", "set", &name, "user.by-profile=yes"]).succeeds();
        Profile(name)
    }
}

impl Drop for Profile {
    fn drop(&mut self) {
        let _said_by_incus = incus(&["profile", "delete", &self.0]);
    }
}

#[test]
fn a_copy_gets_nothing_of_what_it_shall_not_have() {
    let first = Name::create("shown", &[]);
    let devices = |name: &Name| incus(&["config", "device", "list", name]).succeeds().stdout;
    let before = devices(&first);
    for device in ["home-", "session-", "x11", "share-"] {
        assert!(before.contains(device), "{before}");
    }
    let second = Name::new("hidden");
    let off = ["--no-display", "--no-audio", "--no-bus", "--no-ssh-agent", "--no-gpu"];
    let all = [&["create", &second, "--clone", &first, "--home", "none"], &off[..]].concat();
    incusbox(&all).succeeds();
    let after = devices(&second);
    assert!(after.contains("share-"), "{after}");
    for device in ["home-", "session-", "x11", "gpu"] {
        assert!(!after.contains(device), "{after}");
    }
    incusbox(&["set", &second, "themes=off"]).succeeds();
    assert_eq!(devices(&second).trim(), "");
}

/// What the box's root does to files while they are looked at is as if a file system lied about them.
#[test]
fn a_home_in_which_files_have_other_owners_is_found_at_once_and_no_box_is_left() {
    let shown = Scratch::new("owners");
    let name = Name::new("owners");
    let probes = home().join(".incusbox-probe-*").display().to_string();
    let program = format!("alarm 120; while (1) {{ chown 1, 1, glob \"{probes}\" }}");
    let hook = format!("setsid perl -e '{program}' </dev/null >/dev/null 2>&1 &");
    let place = shown.path("");
    let words = ["--home", place.trim_end_matches('/'), "--init-hook", &hook];
    let told = incusbox(&[&["create", &name, "--image", &image()][..], &words].concat());
    told.fails(1, &["files in `", "have the owner 1", &format!("where {}", own_ids().0), "doctor"]);
    assert!(!name.exists());
    let left = std::fs::read_dir(&place).expect("a directory");
    let left: Vec<_> = left.map(|one| one.expect("an entry").file_name()).collect();
    assert!(!left.iter().any(|one| one.to_string_lossy().contains("probe")), "{left:?}");
}
