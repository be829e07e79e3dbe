//! Listing, stopping, renaming, changing and deleting boxes.

use std::process::Command;
use std::time::{Duration, Instant};

use crate::support::{Name, Scratch, command, home, incus, incusbox, run};

#[test]
fn the_life_of_a_box() {
    let name = Name::create("life", &[]);
    it_is_listed(&name);
    it_stops_and_starts_and_says_nothing_when_it_is_so_already(&name);
    it_goes_on_when_it_was_frozen(&name);
    it_keeps_what_the_first_command_wrote(&name);
    it_is_entered_where_the_caller_is(&name);
    it_is_changed_while_it_runs(&name);
    it_is_renamed_and_back(&name);
    it_is_not_deleted_without_being_asked(&name);
    deleting_it_leaves_the_home_alone(&name);
}

fn it_is_listed(name: &Name) {
    let table = incusbox(&["list"]).succeeds().stdout;
    assert!(table.starts_with("NAME"), "{table}");
    let line = table.lines().find(|line| line.starts_with(&format!("{} ", &**name)));
    assert!(line.expect("its line").contains("running"), "{table}");
    let quiet = run(command("incusbox-list", &["--quiet"])).succeeds().stdout;
    assert!(quiet.lines().any(|line| line == &**name), "{quiet}");
    let json = incusbox(&["list", "--json"]).succeeds().stdout;
    let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    let own = json.as_array().expect("a list").iter().find(|one| one["name"] == **name);
    let own = own.expect("its entry");
    assert_eq!((&own["state"], &own["home"]), (&"running".into(), &"shared".into()));
    assert!(
        own["uptime_seconds"].as_i64().is_some_and(|seconds| (0..600).contains(&seconds)),
        "{own}"
    );
}

fn it_stops_and_starts_and_says_nothing_when_it_is_so_already(name: &Name) {
    let silent = |words: &[&str]| {
        let told = incusbox(words).succeeds();
        assert_eq!((told.stdout.as_str(), told.stderr.as_str()), ("", ""), "{words:?}");
    };
    silent(&["stop", name]);
    silent(&["stop", name]);
    silent(&["start", name]);
    silent(&["start", name]);
    silent(&["restart", "--force", name]);
    silent(&["stop", "--force", name]);
    // `enter` and `run` start it.
    assert_eq!(run(command("incusbox", &["run", name, "--", "echo", "up"])).stdout, "up\n");
}

fn it_goes_on_when_it_was_frozen(name: &Name) {
    for words in [&["start"][..], &["restart"], &["restart", "--force"], &["stop"]] {
        incus(&["pause", name]).succeeds();
        let began = Instant::now();
        incusbox(&[words, &[name]].concat()).succeeds();
        assert!(began.elapsed() < Duration::from_secs(12), "{words:?}: Incus waits for 15 s");
        let listed = incus(&["list", "--format", "csv", "--columns", "s", name]).succeeds();
        let state = if words == ["stop"] { "STOPPED" } else { "RUNNING" };
        assert_eq!(listed.stdout.trim(), state, "{words:?}");
    }
    incusbox(&["start", name]).succeeds();
}

/// A boot empties /tmp, on a busy machine after the box was said to run.
fn it_keeps_what_the_first_command_wrote(name: &Name) {
    name.root(
        "cd /etc/systemd/system; mkdir systemd-tmpfiles-setup.service.d
        printf '[Service]\\nExecStartPre=sleep 1\\n' >systemd-tmpfiles-setup.service.d/slow.conf",
    )
    .succeeds();
    for (who, words) in [("root", &["--root"][..]), ("nobody", &["--user", "nobody"]), ("us", &[])]
    {
        incusbox(&["stop", name]).succeeds();
        let script = format!("echo kept >/tmp/{who}");
        run(command("incusbox-run", &[words, &[name, "--", "sh", "-c", &script]].concat()))
            .succeeds();
        let script = format!(
            "until systemctl is-active --quiet sysinit.target; do sleep 0.1; done; cat /tmp/{who}"
        );
        assert_eq!(name.root(&script).succeeds().stdout, "kept\n", "{who}");
    }
}

fn it_is_entered_where_the_caller_is(name: &Name) {
    let directory = home().join(format!(".enter-{}", std::process::id()));
    std::fs::create_dir_all(&directory).expect("a directory");
    let mut enter = command("incusbox", &["enter", name, "--", "pwd"]);
    enter.current_dir(&directory).env("PWD", &directory);
    let told = run(enter).succeeds().stdout;
    std::fs::remove_dir(&directory).expect("our own directory");
    assert_eq!(told, format!("{}\n", directory.display()));
    assert_eq!(incusbox(&["enter", name, "--root", "--", "id", "-u"]).succeeds().stdout, "0\n");
    assert_eq!(incusbox(&["enter", name, "--", "sh", "-c", "exit 42"]).status, Some(42));
}

fn it_is_changed_while_it_runs(name: &Name) {
    incusbox(&["set", name, "processes=600", "user.note=mine"]).succeeds();
    let key = |key: &str| incus(&["config", "get", name, key]).succeeds().stdout;
    assert_eq!((key("limits.processes").as_str(), key("user.note").as_str()), ("600\n", "mine\n"));
    incusbox(&["set", name, "processes="]).succeeds();
    assert_eq!(key("limits.processes"), "\n");
    incusbox(&["set", name, "proceses=5"]).fails(2, &["`processes` is one"]);
    incusbox(&["set", name, "image=x"]).fails(2, &["when a box is made"]);
    incusbox(&["set", name, "cpus=many"]).fails(1, &["CPU"]);
}

fn it_is_renamed_and_back(name: &Name) {
    let new = Name::new("renamed");
    its_unit_is_told_of(name, command("incusbox", &["rename", name, &new]));
    it_calls_itself(&new, &new);
    assert!(!name.exists());
    incusbox(&["stop", &new]).succeeds();
    assert_eq!(incusbox(&["rename", &new, name]).succeeds().stderr, "");
    it_calls_itself(name, name);
    incusbox(&["rename", &new, name]).fails(1, &["there is no box"]);
}

/// Where a user unit starts it at login.
fn its_unit_is_told_of(name: &Name, mut changing: Command) {
    let config = Scratch::new("unit");
    let wants = config.path("systemd/user/default.target.wants");
    std::fs::create_dir_all(&wants).expect("a directory");
    let unit = format!("incusbox-box@{}.service", &**name);
    std::os::unix::fs::symlink("/nowhere", format!("{wants}/{unit}")).expect("a link");
    changing.env("XDG_CONFIG_HOME", config.path(""));
    let told = run(changing).succeeds().stderr;
    assert!(told.contains(&format!("systemctl --user disable {unit}")), "{told}");
}

/// sudo looks its host's name up, and says so where there is none.
fn it_calls_itself(name: &Name, hostname: &str) {
    let told = name.sh("hostname; cat /etc/hostname; sudo -n true; grep incusbox /etc/hosts");
    let told = told.succeeds();
    assert_eq!(told.stdout, format!("{hostname}\n{hostname}\n127.0.1.1\t{hostname}\t# incusbox\n"));
    assert_eq!(told.stderr, "");
}

#[test]
fn a_host_name_that_was_chosen_outlives_a_new_name() {
    for hostname in ["by-option", "by-hand"] {
        let name = match hostname {
            "by-hand" => Name::create("named", &["--home", "none"]),
            _ => Name::create("named", &["--home", "none", "--hostname", hostname]),
        };
        if hostname == "by-hand" {
            name.root("echo by-hand >/etc/hostname; sed -i s/.*incusbox$/'127.0.1.1\tby-hand\t# incusbox'/ /etc/hosts")
                .succeeds();
        }
        let new = Name::new("newname");
        incusbox(&["rename", &name, &new]).succeeds();
        it_calls_itself(&new, hostname);
        if hostname == "by-option" {
            incusbox(&["adopt", "--yes", &new]).succeeds();
            it_calls_itself(&new, hostname);
        }
    }
}

fn it_is_not_deleted_without_being_asked(name: &Name) {
    incusbox(&["rm", name]).fails(1, &["nobody can be asked", "--force"]);
    assert!(name.exists());
}

fn deleting_it_leaves_the_home_alone(name: &Name) {
    let file = home().join(format!(".kept-{}", std::process::id()));
    std::fs::write(&file, "kept").expect("a file");
    its_unit_is_told_of(name, command("incusbox-rm", &["--force", name]));
    let kept = std::fs::read_to_string(&file);
    std::fs::remove_file(&file).expect("our own file");
    assert_eq!(kept.expect("the home is as it was"), "kept");
    assert!(!name.exists());
}

#[test]
fn what_is_no_box_is_not_deleted() {
    let name = Name::new("plain");
    incus(&["init", &crate::support::image(), &name]).succeeds();
    incusbox(&["rm", "--force", &name]).fails(1, &["not a box", "incusbox adopt"]);
    assert!(name.exists());
    let listed = incusbox(&["list", "--quiet"]).succeeds().stdout;
    assert!(!listed.lines().any(|line| line == &*name));
    let all = incusbox(&["list", "--all", "--quiet"]).succeeds().stdout;
    assert!(all.lines().any(|line| line == &*name));
}
