//! What Tab says in the host's shell for incusbox's own programs, with boxes of a real daemon.

use std::process::{Command, Stdio};

use crate::support::{Name, incus, program, run};

/// Loads the file of the command's name, as bash does, and asks the function that is named there.
const ASK: &str = r#"
    . "$0" || exit
    function=$(complete -p -- "$1") || exit
    function=${function##* -F } function=${function%% *}
    COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMP_LINE=$* COMP_POINT=${#COMP_LINE}
    "$function" "$1" "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
    for word in "${COMPREPLY[@]}"; do echo "$word"; done"#;

/// What bash offers for the last of these words.
fn offered(words: &[&str]) -> Vec<String> {
    let mut bash = Command::new("/bin/bash");
    let file = format!("../share/bash-completion/completions/{}", words[0]);
    bash.args(["--norc", "-uc", ASK]).arg(program(&file)).args(words);
    // No program but ours, above all no `incus`.
    bash.env("PATH", program("incusbox").parent().expect("a directory")).stdin(Stdio::null());
    let told = run(bash).succeeds();
    assert_eq!(told.stderr, "", "{words:?}");
    told.stdout.lines().map(str::to_owned).collect()
}

#[test]
fn tab_offers_boxes_by_every_name_of_the_programs_and_needs_no_incus() {
    let (is_box, is_none) = (Name::new("tab"), Name::new("tab"));
    incus(&["create", "--empty", &is_box, "--config", "user.incusbox.state=ready"]).succeeds();
    incus(&["create", "--empty", &is_none]).succeeds();
    let both = |typed: &str| is_box.starts_with(typed) && is_none.starts_with(typed);
    let typed = is_box.trim_end_matches(|c: char| c.is_ascii_digit());
    assert!(both(typed), "{typed}");

    for before in [
        &["incusbox-run"][..],
        &["incusbox-run", "--tty", "=", "never", "--root"],
        &["incusbox", "enter"],
        &["incusbox", "start", "another"],
        &["incusbox", "delete"],
        &["incusbox-enter"],
        &["incusbox-export"],
        &["incusbox-rm", "--force"],
    ] {
        assert_eq!(offered(&[before, &[typed]].concat()), [&*is_box], "{before:?}");
    }
    let mut instances = [&*is_box, &*is_none];
    instances.sort_unstable();
    assert_eq!(offered(&["incusbox", "adopt", typed]), instances);

    // The project that the line names, and no boxes where no box can be meant.
    for before in [
        &["incusbox-run", "--project", "=", "nowhere"][..],
        &["incusbox", "--project", "nowhere", "enter"],
        &["incusbox", "rm", "--project", "=", "nowhere"],
        &["incusbox-enter", "--project", "nowhere"],
        &["incusbox-run", &is_box, "--"],
        &["incusbox", "run", &is_box, "--"],
    ] {
        assert_eq!(offered(&[before, &[typed]].concat()), [""; 0], "{before:?}");
    }
    assert!(offered(&["incusbox-rm", "--fo"]).contains(&"--force".to_owned()));
    assert!(offered(&["incusbox-create", "--ima"]).contains(&"--image".to_owned()));
    assert!(offered(&["incusbox", "ex"]).contains(&"export".to_owned()));
}
