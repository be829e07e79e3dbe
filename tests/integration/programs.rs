//! Real programs on a terminal: shells, editors, pagers, multiplexers.

use std::time::Duration;

use crate::support::{End, Invocation, Pty, Scratch, Way, scratch, ways};

fn on_terminal(command: &[&str]) -> Pty {
    let words = [&["env", "LESS=", "FZF_DEFAULT_OPTS="], command].concat();
    Pty::start(&Invocation::by(Way::Agent, words).variable("TERM", "xterm-256color"))
}

/// Runs a command in the box without a terminal.
fn inside(text: &str) -> String {
    let outcome = Invocation::by(Way::Agent, ["sh", "-c", text]).run();
    assert_eq!(outcome.end, End::Code(0), "{text}: {}", outcome.errors());
    outcome.text()
}

/// A directory of the box that a test has for itself, under the home.
fn directory() -> String {
    let name =
        format!("{}/ibxt-{}-{}", ways::home().display(), std::process::id(), scratch::unique());
    inside(&format!("mkdir {name}"));
    name
}

#[test]
fn vim_edits_and_saves_a_file() {
    let directory = directory();
    let file = format!("{directory}/text");
    inside(&format!("printf 'one\\ntwo\\nthree\\n' >{file}"));
    let mut pty = on_terminal(&["vim", "-u", "NONE", "-N", &file]);
    pty.wait_for("three").idle(Duration::from_millis(300));
    pty.send("ggA changed\x1bGobelow äö\x1b");
    pty.wait_for("below").send(":2d\r:wq\r");
    assert_eq!(pty.wait(), End::Code(0));
    assert_eq!(inside(&format!("cat {file}; rm -r {directory}")), "one changed\nthree\nbelow äö\n");
}

#[test]
fn vim_redraws_for_a_new_size() {
    let mut pty = on_terminal(&[
        "vim",
        "-u",
        "NONE",
        "-N",
        "-c",
        "set laststatus=2 statusline=%{&columns}x%{&lines}",
    ]);
    pty.wait_for("80x24");
    pty.resize(100, 30);
    pty.wait_for("100x30").send(":q!\r");
    assert_eq!(pty.wait(), End::Code(0));
}

#[test]
fn less_pages_and_quits() {
    let mut pty = on_terminal(&["sh", "-c", "seq 500 | less; echo left"]);
    pty.wait_for("23").send("G");
    pty.wait_for("500").send("?^77$\r");
    pty.wait_for("77").send("q");
    pty.wait_for("left\r\n");
    assert_eq!(pty.wait(), End::Code(0));
}

#[test]
fn fzf_picks_inside() {
    let mut pty = on_terminal(&["sh", "-c", "seq 30 | fzf"]);
    pty.wait_for("30/30").send("28");
    pty.wait_for("1/30").send("\r");
    let outcome = pty.end();
    assert_eq!(outcome.end, End::Code(0));
    assert!(outcome.text().contains("28"), "{}", outcome.text());
}

#[test]
fn fzf_that_is_left_ends_with_130() {
    let mut pty = on_terminal(&["sh", "-c", "seq 30 | fzf"]);
    pty.wait_for("30/30").send("\x1b");
    assert_eq!(pty.wait(), End::Code(130));
}

#[test]
fn tmux_runs_detaches_and_attaches() {
    let socket = format!("ibxt{}", std::process::id());
    let mut pty =
        on_terminal(&["tmux", "-L", &socket, "-f", "/dev/null", "new", "env", "PS1=pane> ", "sh"]);
    pty.wait_for("pane> ").send("echo in $((40 + 2))\r");
    pty.wait_for("in 42").idle(Duration::from_millis(200)).send("\x02d");
    pty.wait_for("detached");
    assert_eq!(pty.wait(), End::Code(0));
    let mut pty = on_terminal(&["tmux", "-L", &socket, "attach"]);
    pty.wait_for("in 42").idle(Duration::from_millis(200)).send("exit\r");
    pty.wait_for("exited");
    assert_eq!(pty.wait(), End::Code(0));
}

#[test]
fn top_draws_and_quits() {
    let mut pty = on_terminal(&["top", "-d", "1"]);
    pty.wait_for("load average").wait_for("load average").send("q");
    assert_eq!(pty.wait(), End::Code(0));
}

#[test]
fn an_interactive_bash_edits_lines_and_remembers_them() {
    let mut pty = on_terminal(&["env", "PS1=box> ", "bash", "--norc", "--noprofile", "-i"]);
    pty.wait_for("box> ").send("echo wrong\x1b[D\x1b[D\x1b[D\x1b[D\x1b[D\x0bright\r");
    pty.wait_for("\rright\r\n").wait_for("box> ").send("\x1b[A\r");
    pty.wait_for("\rright\r\n").wait_for("box> ").send("ech\t again\r");
    pty.wait_for("\ragain\r\n").wait_for("box> ").send("\x04");
    assert_eq!(pty.wait(), End::Code(0));
}

#[test]
fn an_interactive_zsh_works() {
    let mut pty = on_terminal(&["env", "PS1=box> ", "zsh", "-f", "-i"]);
    pty.wait_for("box> ").send("print $((6 * 7)); stty size\r");
    pty.wait_for("42\r\n").wait_for("24 80").wait_for("box> ").send("exit 5\r");
    assert_eq!(pty.wait(), End::Code(5));
}

#[test]
fn a_python_prompt_answers() {
    // The prompt that 3.13 brought draws each key anew.
    let mut pty = on_terminal(&["env", "PYTHON_BASIC_REPL=1", "python3", "-q"]);
    pty.wait_for(">>> ").send("6 * 7\r");
    pty.wait_for("42\r\n").wait_for(">>> ").send("import time; time.sleep(100)\r");
    pty.wait_for("sleep(100)\r\n").idle(Duration::from_millis(300)).send("\x03");
    pty.wait_for("KeyboardInterrupt").wait_for(">>> ").send("exit(3)\r");
    assert_eq!(pty.wait(), End::Code(3));
}

#[test]
fn sudo_becomes_root() {
    let mut pty = on_terminal(&["sudo", "id", "-un"]);
    pty.wait_for("root\r\n");
    assert_eq!(pty.wait(), End::Code(0));
}

#[test]
fn a_commit_is_written_in_an_editor() {
    let directory = directory();
    inside(&format!("cd {directory}; git init -q .; echo x >file; git add file"));
    let commit =
        "git -c user.name=Dev -c user.email=dev@localhost commit; git log --format=%s >done";
    let text = format!("cd {directory}; export EDITOR='vim -u NONE -N'; {commit}");
    let mut pty = on_terminal(&["sh", "-c", &text]);
    pty.wait_for("Changes to be committed").idle(Duration::from_millis(300));
    pty.send("ia fine subject\x1b");
    pty.wait_for("fine subject").send(":wq\r");
    pty.wait_for("1 file changed");
    assert_eq!(pty.wait(), End::Code(0));
    assert_eq!(inside(&format!("cat {directory}/done; rm -rf {directory}")), "a fine subject\n");
}

#[test]
fn git_pages_its_log() {
    let directory = directory();
    let commit = "git -c user.name=Dev -c user.email=dev@localhost commit -q --allow-empty -m";
    inside(&format!(
        "cd {directory}; git init -q .; for i in $(seq 60); do {commit} \"commit $i\"; done"
    ));
    let text = format!("cd {directory}; git log --format=%s; echo \"status $?\"");
    let mut pty = on_terminal(&["env", "PAGER=less", "sh", "-c", &text]);
    pty.wait_for("commit 60").send("G");
    pty.wait_for("commit 1").send("q");
    pty.wait_for("status 0\r\n");
    assert_eq!(pty.wait(), End::Code(0));
    inside(&format!("rm -rf {directory}"));
}

#[test]
fn script_records_a_run() {
    let scratch = Scratch::new();
    let mut command = String::new();
    for word in Invocation::by(Way::Agent, ["echo", "recorded"]).words {
        command += &format!("'{}' ", word.to_str().expect("text"));
    }
    let log = scratch.path().join("log");
    let words = ["script", "-qec", &command, log.to_str().expect("a path")];
    let outcome = Pty::start(&Invocation::new(words)).end();
    assert_eq!((outcome.end, outcome.text().as_str()), (End::Code(0), "recorded\r\n"));
    assert!(String::from_utf8_lossy(&scratch.read("log")).contains("recorded"));
}
