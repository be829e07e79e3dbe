//! What a tired newcomer reads.

use crate::support::{Name, command, incusbox, run};

#[test]
fn mistakes_say_what_to_write_instead() {
    incusbox(&["crate", "x"]).fails(2, &["did you mean: incusbox create"]);
    incusbox(&["create", "a_b"]).fails(2, &["letters, digits and hyphens"]);
    incusbox(&["create", "x", "--home", "somewhere"]).fails(2, &["shared, none"]);
    incusbox(&["create", "x", "--no-such"]).fails(2, &["incusbox create --help"]);
    incusbox(&["info", "no-such-box"])
        .fails(1, &["there is no box `no-such-box`", "incusbox list"]);
    incusbox(&["stop", "no-such-box"]).fails(1, &["there is no box `no-such-box`"]);
    incusbox(&["set", "no-such-box", "cpus=1"]).fails(1, &["there is no box"]);
}

#[test]
fn an_image_that_nobody_knows_is_told() {
    let name = Name::new("image");
    incusbox(&["create", &name, "--image", "no-such-image"]).fails(1, &["no-such-image"]);
    incusbox(&["create", &name, "--image", "no-such-remote:x"]).fails(1, &["no-such-remote"]);
}

#[test]
fn no_daemon_is_told_and_the_doctor_says_so_too() {
    let mut list = command("incusbox", &["list"]);
    list.env("INCUS_SOCKET", "/no/such/socket");
    run(list).fails(1, &["/no/such/socket"]);
    let mut doctor = command("incusbox", &["doctor"]);
    doctor.env("INCUS_SOCKET", "/no/such/socket");
    let told = run(doctor);
    assert_eq!(told.status, Some(1), "{told:?}");
    assert!(told.stdout.contains("FAILED") && told.stdout.contains("daemon"), "{told:?}");
}

#[test]
fn a_wrong_configuration_is_told_with_its_file() {
    let config = std::env::temp_dir().join(format!("incusbox-wrong-{}", std::process::id()));
    std::fs::create_dir_all(config.join("incusbox")).expect("a directory");
    std::fs::write(config.join("incusbox/incusbox.toml"), "[defaults]\nimge = 'x'\n")
        .expect("a file");
    let mut create = command("incusbox", &["create", "x"]);
    create.env("XDG_CONFIG_HOME", &config);
    let told = run(create);
    std::fs::remove_dir_all(&config).expect("our own directory");
    told.fails(2, &["incusbox.toml", "`image` is one"]);
}

#[test]
fn the_doctor_finds_a_box_well() {
    let name = Name::create("well", &[]);
    let told = incusbox(&["doctor", "--json", &name]);
    let findings: serde_json::Value = serde_json::from_str(&told.stdout).expect("JSON");
    let findings = findings.as_array().expect("a list");
    let status = |check: &str| {
        let one = findings.iter().find(|finding| finding["check"] == check);
        one.unwrap_or_else(|| panic!("no {check} in {findings:#?}"))["status"].clone()
    };
    for check in ["daemon", "storage", "network", "ids", "state", "box ids", "home", "box agent"] {
        assert_eq!(status(check), "ok", "{check}: {findings:#?}");
    }
    assert_eq!(told.status, Some(0));
}
