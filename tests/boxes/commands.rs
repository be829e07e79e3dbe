//! What comes with a command of a box: its manual page, and what Tab says in the host's shell.

use std::process::Command;

use crate::export::Desktop;
use crate::support::{Name, Outcome, run};

/// A command, its page, and a completion that says more than a shell should believe.
const TOOL: &str = r#"apt-get install --quiet=2 --yes bash-completion >/dev/null
printf '#!/bin/sh\n' >/usr/bin/tool
chmod +x /usr/bin/tool
mkdir -p /usr/share/man/man1
printf '.TH TOOL 1\n.SH NAME\ntool \\- a tool\n' | gzip >/usr/share/man/man1/tool.1.gz
cat >/usr/share/bash-completion/completions/tool <<'END'
_tool() {
    local cur prev words cword
    _init_completion || return
    [ "$cur" = broken ] && exit 3
    compopt -o nospace
    COMPREPLY=($(compgen -W "--name= --number=" -- "$cur"))
    [ "$cur" ] || COMPREPLY+=("of:$prev" '$(touch /tmp/ran)' 'a;b' $'a\eb' "$(id -un)")
}
complete -F _tool tool
END"#;

#[test]
fn a_command_brings_its_manual_page_and_completions() {
    let desktop = Desktop::new("export-beside");
    let name = Name::create("beside", &["--home", "none"]);
    if !name.reaches_packages() {
        return;
    }
    name.root(TOOL).succeeds();
    let bin = desktop.path("bin").display().to_string();
    desktop.export(&name, &["--bin", "tool", "--export-path", &bin]).succeeds();
    let (bash, fish) =
        ("share/bash-completion/completions/tool", "share/fish/vendor_completions.d/tool.fish");
    let manual = "share/man/man1/tool.1.gz";
    assert_eq!(desktop.files(), ["bin/tool", bash, fish, manual]);
    let page = std::fs::read(desktop.path(manual)).expect("a page");
    assert!(page.starts_with(b"\x1f\x8b"), "as it is in the box");

    let ask = |words: &[&str]| -> Outcome {
        let script = format!(
            "compopt() {{ echo \"$@\"; }}; . {}; COMP_LINE=\"$*\" COMP_POINT=${{#COMP_LINE}} COMP_WORDS=(\"$@\") COMP_CWORD=$(($# - 1)); _incusbox_tool; printf '<%s>' \"${{COMPREPLY[@]}}\"",
            desktop.path(bash).display()
        );
        let mut command = Command::new("bash");
        command
            .args(["--norc", "-c", &script, "bash"])
            .args(words)
            .stdin(std::process::Stdio::null());
        run(command).succeeds()
    };
    let user = std::env::var("USER").expect("USER");
    assert_eq!(ask(&["tool", "--na"]).stdout, "-o nospace\n<--name=>");
    let told = ask(&["tool", "first", ""]).stdout;
    assert_eq!(told, format!("-o nospace\n<--name=><--number=><of:first><{user}>"));
    assert_eq!(ask(&["tool", "broken"]).stdout, "<>");
    name.sh("test ! -e /tmp/ran").succeeds();
    assert!(!std::path::Path::new("/tmp/ran").exists(), "nothing ran here");

    // Its own box has its own, also where the home is shared.
    let own =
        format!("INCUSBOX_BOX={} bash -c '. \"$0\"' {}", &*name, desktop.path(bash).display());
    let mut inside = Command::new("sh");
    inside.args(["-c", &own]).stdin(std::process::Stdio::null());
    assert_eq!(run(inside).status, Some(1), "the next is looked for");
    // A name that means a pattern to bash.
    name.root("cp /usr/bin/tool /usr/bin/t++; cp /usr/share/bash-completion/completions/tool /usr/share/bash-completion/completions/t++").succeeds();
    desktop.export(&name, &["--bin", "t++", "--export-path", &bin]).succeeds();
    let odd = format!("{}/share/bash-completion/completions/t++", desktop.path("").display());
    let mut read = Command::new("bash");
    read.args(["-O", "extglob", &odd]).stdin(std::process::Stdio::null());
    assert_eq!(run(read).succeeds().stderr, "");

    // What the user has stays, and everything goes with the command.
    desktop.export(&name, &["--sudo", "--bin", "tool", "--export-path", &bin]).succeeds();
    desktop.incusbox(&["unexport", &name, "--all"]).succeeds();
    assert_eq!(desktop.files(), [""; 0]);
    std::fs::write(desktop.path(bash), "mine").expect("a file");
    desktop.export(&name, &["--bin", "tool", "--export-path", &bin]).succeeds();
    assert_eq!(desktop.read(bash), "mine");
    assert_eq!(desktop.files(), ["bin/tool", bash, fish, manual]);
    // Of a command that the host has, only if it is the one that is meant by its name.
    desktop.export(&name, &["--bin", "cat", "--export-path", &bin]).succeeds();
    assert_eq!(desktop.files(), ["bin/cat", "bin/tool", bash, fish, manual]);
    // A stopped box is not started for a Tab.
    std::fs::remove_file(desktop.path(bash)).expect("a file");
    desktop.export(&name, &[]).succeeds();
    desktop.incusbox(&["stop", &name]).succeeds();
    assert_eq!(ask(&["tool", "--na"]).stdout, "<>");
    let state = desktop.incusbox(&["list", "--json"]).succeeds().stdout;
    let state: serde_json::Value = serde_json::from_str(&state).expect("JSON");
    let own = state.as_array().into_iter().flatten().find(|one| one["name"] == *name);
    assert_eq!(own.map(|one| &one["state"]), Some(&"stopped".into()), "{own:?}");
}
