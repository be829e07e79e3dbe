//! Boxes from files.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::{Name, Scratch, image, incus, incusbox, run};

/// A root directory whose only program is busybox; the file is called by the scratch directory.
pub fn busybox_root(scratch: &Scratch) -> String {
    let directory = scratch.path("");
    let name = Path::new(&directory).file_name().expect("a name").to_string_lossy().into_owned();
    let (root, file) = (scratch.path("root"), scratch.path(&format!("root{name}.tar.gz")));
    let script = format!(
        "mkdir -p {root}/bin {root}/etc {root}/usr {root}/root && cp /bin/busybox {root}/bin/ && \
         for tool in sh id cat ls stat touch ip ps grep; do ln -s busybox {root}/bin/$tool; done && \
         echo 'root:x:0:0:root:/root:/bin/sh' >{root}/etc/passwd && echo 'root:x:0:' >{root}/etc/group && \
         tar -C {root} --owner=0 --group=0 -czf {file} ."
    );
    let mut shell = Command::new("sh");
    shell.args(["-c", &script]).stdin(Stdio::null());
    run(shell).succeeds();
    file
}

/// How many images are made from a file, whose name they have. Other tests have images of theirs.
pub fn images_of(file: &str) -> usize {
    let name = Path::new(file).file_name().expect("a name").to_string_lossy();
    let listed = incus(&["image", "list", "--format", "csv", "--columns", "d"]).succeeds().stdout;
    listed.lines().filter(|description| *description == name).count()
}

#[test]
fn a_box_comes_from_a_root_directory_without_any_init_account_or_tool() {
    let scratch = Scratch::new("root");
    let file = busybox_root(&scratch);
    let name = Name::new("file");
    let dry = incusbox(&["create", &name, "--image-file", &file, "--dry-run"]).succeeds();
    let request: serde_json::Value = serde_json::from_str(&dry.stdout).expect("JSON");
    assert_eq!(request["source"]["fingerprint"], "FINGERPRINT", "nothing was brought in for that");
    incusbox(&["create", &name, "--image-file", &file, "--no-nesting"]).succeeds();
    let uid = rustix::process::getuid().as_raw();
    assert_eq!(name.sh("id -u; cat /proc/1/comm").succeeds().stdout, format!("{uid}\ninit\n"));
    assert_eq!(images_of(&file), 0, "the image was for this box alone");
    has_a_network(&name);
    incusbox(&["restart", &name]).succeeds();
    assert_eq!(name.sh("id -u").succeeds().stdout, format!("{uid}\n"));
    has_a_network(&name);
}

#[test]
fn a_box_without_any_shell_is_made_and_says_so() {
    let scratch = Scratch::new("no-shell");
    let root = scratch.path("root");
    let script = format!(
        "mkdir -p {root}/bin {root}/etc {root}/usr && cp /bin/busybox {root}/bin/ && \
         echo 'root:x:0:0:root:/root:/bin/sh' >{root}/etc/passwd && echo 'root:x:0:' >{root}/etc/group && \
         tar -C {root} --owner=0 --group=0 -cf {root}.tar ."
    );
    let mut shell = Command::new("sh");
    shell.args(["-c", &script]).stdin(Stdio::null());
    run(shell).succeeds();
    let (name, file) = (Name::new("noshell"), format!("{root}.tar"));
    let words =
        ["create", &name, "--image-file", &file, "--no-nesting", "--home", "none", "--init-hook"];
    incusbox(&[&words[..], &["echo hi"]].concat()).fails(1, &["`/bin/sh` could not be run"]);
    assert!(!name.exists());
    let made = incusbox(&words[..words.len() - 1]).succeeds();
    assert!(made.stderr.contains("no shell at all"), "{made:#?}");
    let told = incusbox(&["run", &name, "--", "/bin/busybox", "echo", "works"]).succeeds();
    assert_eq!(told.stdout, "works\n");
    incusbox(&["enter", &name]).fails(127, &["`/bin/sh`"]);
}

/// The image has no program that could ask for an address, so it is our init that did.
fn has_a_network(name: &Name) {
    let devices = incus(&["profile", "device", "list", "default"]).succeeds().stdout;
    if !devices.contains("eth0") {
        eprintln!("not tested: boxes of this machine have no network");
        return;
    }
    let deadline = Instant::now() + Duration::from_secs(30);
    while incus(&["list", "--format", "csv", "--columns", "4", name]).succeeds().stdout.trim() == ""
    {
        assert!(
            Instant::now() < deadline,
            "no address: {:#?}",
            incus(&["console", "--show-log", name])
        );
        std::thread::sleep(Duration::from_millis(200));
    }
    let told =
        name.root("cat /etc/resolv.conf; ip route; ps | grep -c '[d]hcp eth0'").succeeds().stdout;
    assert!(told.contains("\nnameserver ") && told.contains("default via "), "{told}");
    assert!(told.ends_with("\n1\n"), "one client: {told}");
}

#[test]
fn a_box_comes_back_from_a_backup_as_it_was() {
    let scratch = Scratch::new("backup");
    let file = scratch.path("backup.tar");
    let first = Name::new("first");
    let user = std::env::var("USER").expect("a user");
    let facts = ["box=true", "home=none", &format!("user={user}")];
    let facts = facts.map(|fact| format!("--config=user.incusbox.{fact}"));
    let facts: Vec<&str> = facts.iter().map(String::as_str).collect();
    incus(&[&["init", &image(), &first], &facts[..]].concat()).succeeds();
    incus(&["export", &first, &file, "--compression", "none", "--instance-only"]).succeeds();
    let second = Name::new("second");
    for refused in [&["--dry-run"][..], &["--intercept", "on"]] {
        let words = [&["create", &second, "--image-file", &file], refused].concat();
        incusbox(&words).fails(2, &["a backup", "leave out", refused[0]]);
        assert!(!second.exists());
    }
    let limits = ["--json", "--memory", "1GiB", "--set", "user.kept=yes"];
    let told = incusbox(&[&["create", &second, "--image-file", &file], &limits[..]].concat());
    let told: serde_json::Value = serde_json::from_str(&told.succeeds().stdout).expect("JSON");
    assert_eq!((&told["name"], &told["state"]), (&(*second).into(), &"ready".into()));
    for (key, value) in [("limits.memory", "1GiB"), ("user.kept", "yes")] {
        assert_eq!(incus(&["config", "get", &second, key]).stdout.trim(), value);
    }
    let uid = rustix::process::getuid().as_raw();
    assert_eq!(second.sh("id -u").succeeds().stdout, format!("{uid}\n"));
    let devices = incus(&["config", "device", "list", &second]).succeeds().stdout;
    assert!(!devices.contains("home"), "it had none of the host's: {devices}");
    assert!(first.exists());
}

#[test]
fn a_file_that_is_no_image_is_told_and_nothing_is_left() {
    let scratch = Scratch::new("no-image");
    let file = scratch.path("hello");
    std::fs::write(&file, "hello\n").expect("a file");
    let name = Name::new("nofile");
    incusbox(&["create", &name, "--image-file", &file]).fails(1, &[&file]);
    incusbox(&["create", &name, "--image-file", "/no/such/file"]).fails(1, &["/no/such/file"]);
    assert_eq!(images_of(&file), 0);
    assert!(!name.exists());
}

#[test]
fn a_backup_of_an_isolated_box_and_a_copy_come_back_isolated() {
    let scratch = Scratch::new("isolated");
    let first = Name::create("alone", &["--isolated", "--network", "none"]);
    incusbox(&["stop", &first]).succeeds();
    let file = scratch.path("alone.tar");
    incus(&["export", &first, &file, "--compression", "none", "--instance-only"]).succeeds();
    let (back, copy) = (Name::new("alone-back"), Name::new("alone-copy"));
    incusbox(&["create", &back, "--image-file", &file]).succeeds();
    incusbox(&["create", &copy, "--clone", &first]).succeeds();
    for name in [&back, &copy] {
        let told = incusbox(&["info", name, "--json"]).succeeds().stdout;
        let info: serde_json::Value = serde_json::from_str(&told).expect("JSON");
        let value = |option: &str| info["options"][option]["value"].clone();
        let values = ["isolated", "home", "network", "nesting", "display", "themes"].map(value);
        let wanted = ["on", "none", "none", "off", "off", "off"];
        assert_eq!(values, wanted.map(serde_json::Value::from));
        let map = name.root("cat /proc/self/uid_map; ls -A /home /mnt").succeeds().stdout;
        assert_eq!(map.lines().next().map(|line| line.split_whitespace().count()), Some(3));
        assert!(
            !map.contains(".incusbox")
                && map.lines().filter(|line| line.contains("65536")).count() == 1,
            "{map}"
        );
        let devices = incus(&["config", "device", "list", name]).succeeds().stdout;
        assert_eq!(devices.trim(), "eth0", "what stands in the place of the profile's interface");
    }
    let refused = incusbox(&["create", "never", "--image-file", &file, "--isolated"]);
    refused.fails(2, &["comes back as it was"]);
    let refused = incusbox(&["create", "never", "--image-file", &file, "--no-themes"]);
    refused.fails(2, &["leave out --themes", "incusbox set"]);
}
