//! The two modes: that a box gets the agent by itself, and what native mode does and refuses.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use crate::support::{End, Invocation, Outcome, Pty, Way, ways};

#[test]
fn a_box_gets_the_agent_by_itself() {
    let command = ["sh", "-c", "echo $INCUSBOX_BOX; id -un"];
    let words = [&[ways::shared_box(), "--"][..], &command].concat();
    let expected = format!("{}\n{}\n", ways::shared_box(), ways::user());
    assert_eq!(Invocation::program(words).run(), Outcome::new(End::Code(0), expected));
}

#[test]
fn native_mode_is_root_unless_a_user_is_named_and_runs_no_agent() {
    let words = [
        "--mode=native",
        ways::shared_box(),
        "--",
        "sh",
        "-c",
        "id -un; echo ${INCUSBOX_BOX-none}",
    ];
    assert_eq!(Invocation::program(words).run(), Outcome::new(End::Code(0), "root\nnone\n"));
}

#[test]
fn native_mode_refuses_what_incus_cannot_carry() {
    let bad = OsStr::from_bytes(b"caf\xe9");
    let mut invocation = Invocation::by(Way::Native, ["echo"]);
    invocation.words.push(bad.to_owned());
    let outcome = invocation.run();
    assert_eq!((outcome.end, outcome.text().as_str()), (End::Code(125), ""));
    assert!(outcome.errors().contains("argument"), "{}", outcome.errors());
    let variables = [("IBXT".into(), bad.to_owned())];
    let mut words = Way::Native.prefix(&variables);
    words.push("true".into());
    let outcome = Invocation::new(words).run();
    assert_eq!(outcome.end, End::Code(125));
    assert!(outcome.errors().contains("`IBXT`"), "{}", outcome.errors());
}

#[test]
fn native_mode_has_a_terminal_only_with_a_person_at_both_ends() {
    let ask = r#""$@" sh -c '[ -t 1 ] && echo terminal || echo none'"#;
    let shown = |text: &str| Pty::start(&Invocation::script(Way::Native, text)).end().text();
    assert_eq!(shown(ask), "terminal\r\n");
    assert_eq!(shown(&format!("{ask} | cat")), "none\r\n");
    assert_eq!(shown(&format!("echo x | {ask}")), "none\r\n");
}

#[test]
fn a_native_run_on_a_terminal_takes_keys_and_ends() {
    let command = ["sh", "-c", "printf 'name? '; read -r x; echo \"hello $x\"; exit 3"];
    let mut pty = Pty::start(&Invocation::by(Way::Native, command));
    pty.wait_for("name? ").send("you\r");
    pty.wait_for("hello you\r\n");
    assert_eq!(pty.wait(), End::Code(3));
}

/// The command may have ended before its last stream is connected.
#[test]
fn a_hundred_native_runs_of_a_command_that_ends_at_once_all_succeed() {
    let text = r#"for i in $(seq 100); do "$@" true || echo "run $i: $?"; done; echo all"#;
    let outcome = Invocation::script(Way::Native, text).run();
    let difference = outcome.difference(&Outcome::new(End::Code(0), "all\n"));
    assert!(difference.is_empty(), "{difference}");
}
