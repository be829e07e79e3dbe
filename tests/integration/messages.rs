//! Our own failures: the right status, one clear line that begins with the program's name, and the
//! next step; nothing where the command speaks for itself.

#[path = "../faults/form.rs"]
mod form;

use crate::support::{End, Invocation, Way, ways};

/// Runs it; checks the status and that stderr begins as it should.
fn fails(invocation: &Invocation, code: i32) -> String {
    let outcome = invocation.run();
    let errors = outcome.errors();
    let shown = invocation.shown();
    assert_eq!(outcome.end, End::Code(code), "{shown}: {errors}");
    assert_eq!(outcome.text(), "", "{shown}");
    assert!(errors.ends_with('\n') && !errors.contains("\n\n"), "{shown}: {errors:?}");
    assert_eq!(form::fault(&errors), None, "{shown}: {errors:?}");
    errors
}

#[test]
fn usage_errors_are_125_with_one_clear_line() {
    for (arguments, says) in [
        (&["--no-such-option", "dev", "--", "true"][..], "--no-such-option"),
        (&["--mode=fast", "dev", "--", "true"], "fast"),
        (&["--tty=perhaps", "dev", "--", "true"], "perhaps"),
        (&["--root", "--user=dev", "dev", "--", "true"], "--root"),
        (&["--env==x", "dev", "--", "true"], "--env"),
        (&["--cwd=relative", "dev", "--", "true"], "relative"),
        (&["--cwd"], "--cwd"),
        (&[], "BOX"),
        (&["a/b", "--", "true"], "a/b"),
        (&["", "--", "true"], ""),
        (&["--shim"], "--shim"),
    ] {
        let errors = fails(&Invocation::program(arguments), 125);
        assert!(errors.contains(says), "{arguments:?}: {errors}");
        assert!(errors.lines().count() <= 3, "{errors}");
    }
}

#[test]
fn forgotten_hyphens_are_pointed_out() {
    let errors = fails(&Invocation::program(["dev", "true"]), 125);
    assert!(errors.contains("put `--` between"), "{errors}");
}

#[test]
fn a_box_that_does_not_exist_is_125_with_near_names() {
    let name = ways::shared_box();
    let near = format!("{name}x");
    let errors = fails(&Invocation::program([near.as_str(), "--", "true"]), 125);
    assert!(errors.contains(&format!("there is no box `{near}`")), "{errors}");
    assert!(errors.contains(&format!("`{name}`")) || errors.contains(name), "{errors}");
    let errors = fails(&Invocation::program(["zzzzzzzzzzzz", "--", "true"]), 125);
    assert!(errors.contains("incus list"), "{errors}");
}

#[test]
fn a_daemon_that_is_not_there_is_125() {
    let invocation = Invocation::program(["any", "--", "true"]);
    let errors = fails(&invocation.variable("INCUS_DIR", "/nowhere/at/all"), 125);
    assert!(errors.contains("/nowhere/at/all"), "{errors}");
}

fn a_command_that_was_not_found_is_named_once(way: Way) {
    let errors = fails(&Invocation::by(way, ["ibx-no-such-command", "argument"]), 127);
    assert!(errors.contains("`ibx-no-such-command`"), "{errors}");
    assert!(errors.contains(ways::shared_box()), "{errors}");
    assert_eq!(errors.matches("ibx-no-such-command").count(), 1, "{errors}");
}

fn a_command_that_cannot_be_executed_is_named_with_the_reason(way: Way) {
    let errors = fails(&Invocation::by(way, ["/etc/passwd"]), 126);
    assert!(errors.contains("`/etc/passwd`"), "{errors}");
}

fn a_program_that_chooses_our_statuses_is_left_to_speak_for_itself(way: Way) {
    for code in [125, 126, 127] {
        let text = format!("echo own words >&2; exit {code}");
        let outcome = Invocation::by(way, ["sh", "-c", &text]).run();
        assert_eq!(outcome.end, End::Code(code));
        assert_eq!(outcome.errors(), "own words\n");
    }
}

in_ways! {
    a_command_that_was_not_found_is_named_once: Native Agent;
    a_command_that_cannot_be_executed_is_named_with_the_reason: Native Agent;
    a_program_that_chooses_our_statuses_is_left_to_speak_for_itself: Native Agent;
}

#[test]
fn a_missing_interpreter_is_told_from_a_missing_command() {
    let text = "printf '#!/nowhere/interpreter\\n' >~/ibxt-bad; chmod +x ~/ibxt-bad";
    Invocation::by(Way::Agent, ["sh", "-c", text]).run();
    let path = ways::home().join("ibxt-bad");
    let local = crate::support::Scratch::new();
    let script = local.file("bad", "#!/nowhere/interpreter\n");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&script, mode).expect("chmod");
    let expected = Invocation::by(Way::Local, [&script]).run().end;
    let outcome = Invocation::by(Way::Agent, [&path]).run();
    assert_eq!(outcome.end, expected, "{}", outcome.errors());
}

#[test]
fn control_characters_in_a_name_do_not_reach_the_terminal() {
    let errors = fails(&Invocation::by(Way::Agent, ["no\x1b]0;title\x07such\u{202e}command"]), 127);
    assert!(!errors.contains(['\x1b', '\x07', '\u{202e}']), "{errors:?}");
}

#[test]
fn messages_on_a_terminal_end_with_a_return() {
    let invocation = Invocation::by(Way::Agent, ["ibx-no-such-command"]);
    let text = crate::support::Pty::start(&invocation).end().text();
    assert!(text.starts_with("incusbox-run: ") && text.ends_with("\r\n"), "{text:?}");
    assert_eq!(text.matches('\n').count(), text.matches("\r\n").count());
}
