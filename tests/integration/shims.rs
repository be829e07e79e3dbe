//! Shims: files whose interpreter is `incusbox-run --shim`.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use crate::support::{End, Input, Invocation, Outcome, Scratch, ways};

/// An executable shim of the shared box with these lines.
fn shim(scratch: &Scratch, lines: &str) -> PathBuf {
    let program = ways::program().to_str().expect("a path in UTF-8");
    let text = format!("#!{program} --shim\nversion=1\nbox={}\n{lines}", ways::shared_box());
    let path = scratch.file("shim", text);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("chmod");
    path
}

#[test]
fn a_shim_runs_as_a_command_with_the_callers_arguments() {
    let scratch = Scratch::new();
    let path = shim(&scratch, "# a comment\n\ncommand=printf\nargument=<%s>\\n\nargument=a = b\n");
    let words = [path.as_os_str(), "c d".as_ref(), "".as_ref(), "--root".as_ref(), "--".as_ref()];
    let outcome = Invocation::new(words).run();
    assert_eq!(outcome, Outcome::new(End::Code(0), "<a = b>\n<c d>\n<>\n<--root>\n<-->\n"));
}

#[test]
fn a_shim_passes_stdin_and_status() {
    let scratch = Scratch::new();
    let path = shim(&scratch, "command=sh\nargument=-c\nargument=cat; exit 9\n");
    let outcome = Invocation::new([path]).run_with(Input::Bytes(b"in\n".to_vec()));
    assert_eq!(outcome, Outcome::new(End::Code(9), "in\n"));
}

#[test]
fn a_shims_options_count() {
    let scratch = Scratch::new();
    let lines =
        "command=sh\nargument=-c\nargument=id -un; echo $A\noption=--root\noption=--env=A=b c\n";
    let outcome = Invocation::new([shim(&scratch, lines)]).run();
    assert_eq!(outcome, Outcome::new(End::Code(0), "root\nb c\n"));
}

#[test]
fn a_shim_is_found_on_the_path() {
    let scratch = Scratch::new();
    shim(&scratch, "command=echo\nargument=from the box\n");
    let path = format!("{}:/usr/bin:/bin", scratch.path().display());
    let outcome =
        Invocation::new(["sh", "-c", "shim && shim | tr a-z A-Z"]).variable("PATH", path).run();
    assert_eq!(outcome, Outcome::new(End::Code(0), "from the box\nFROM THE BOX\n"));
}

#[test]
fn a_shim_works_through_a_link() {
    let scratch = Scratch::new();
    let path = shim(&scratch, "command=echo\nargument=linked\n");
    let link = scratch.path().join("link");
    std::os::unix::fs::symlink(path, &link).expect("a link");
    assert_eq!(Invocation::new([link]).run(), Outcome::new(End::Code(0), "linked\n"));
}

#[test]
fn a_file_that_is_not_exactly_a_shim_is_refused_with_its_line() {
    for (lines, says) in [
        ("command=true\nboks=dev\n", "line 5"),
        ("rm -rf /\n", "line 4"),
        ("", "no command"),
        ("command=true\noption=dev\n", "line 5"),
        ("command=true\nbox=other\n", "line 5"),
    ] {
        let scratch = Scratch::new();
        let outcome = Invocation::new([shim(&scratch, lines)]).run();
        assert_eq!(outcome.end, End::Code(125), "{lines:?}");
        assert_eq!(outcome.text(), "");
        assert!(outcome.errors().contains(says), "{lines:?}: {}", outcome.errors());
    }
}

#[test]
fn a_shim_that_is_not_there_is_our_failure() {
    let outcome = Invocation::program(["--shim", "/nowhere/shim"]).run();
    assert_eq!(outcome.end, End::Code(125));
    assert!(outcome.errors().contains("/nowhere/shim"), "{}", outcome.errors());
}
