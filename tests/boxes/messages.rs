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
