//! The options of `incusbox-run`, one by one.

use crate::support::{End, Input, Invocation, Outcome, Pty, home, ways};

/// `incusbox-run` with these options and command in the shared box.
fn with(options: &[&str], command: &[&str]) -> Invocation {
    let mut words: Vec<&str> = options.to_vec();
    words.push(ways::shared_box());
    if !command.is_empty() {
        words.push("--");
        words.extend(command);
    }
    Invocation::program(words)
}

fn gives(options: &[&str], command: &[&str], stdout: &str) {
    let invocation = with(options, command);
    let difference = invocation.run().difference(&Outcome::new(End::Code(0), stdout));
    assert!(difference.is_empty(), "{}\n{difference}", invocation.shown());
}

const WHO: [&str; 3] = ["sh", "-c", "id -un; echo $HOME $USER; pwd"];

#[test]
fn root_is_root_with_roots_home_and_environment() {
    for mode in ["--mode=agent", "--mode=native"] {
        gives(&["--root", mode, "--cwd=/"], &WHO[..], &["root", "/root root", "/", ""].join("\n"));
    }
}

#[test]
fn a_user_by_name_and_by_number_is_that_user_of_the_box() {
    let other = format!("{}2", ways::user());
    let id = with(&["--user", &other], &["id", "-u"]).run().text();
    let expected = format!("{other}\n/home/{other} {other}\n/\n");
    for user in [other.as_str(), id.trim()] {
        for mode in ["--mode=agent", "--mode=native"] {
            gives(&["--user", user, "--cwd=/", mode], &WHO, &expected);
        }
    }
}

#[test]
fn a_number_without_an_account_runs_as_that_number() {
    for mode in ["--mode=agent", "--mode=native"] {
        gives(&["-u", "4242", mode], &["id", "-u"], "4242\n");
    }
}

#[test]
fn a_user_that_the_box_lacks_is_our_failure_with_the_next_step() {
    for mode in ["--mode=agent", "--mode=native"] {
        let outcome = with(&["--user=ibx-nobody-here", mode], &["true"]).run();
        assert_eq!(outcome.end, End::Code(125));
        let errors = outcome.errors();
        assert!(errors.contains("has no user `ibx-nobody-here`"), "{errors}");
        assert!(errors.contains("--root"), "{errors}");
    }
}

#[test]
fn env_sets_and_takes_over() {
    let show = ["sh", "-c", "echo \"$A|$B|${C-unset}|$D\""];
    let invocation = with(&["--env=A=1=2", "-e", "B", "-e", "C", "--env", "D="], &show);
    let outcome = invocation.variable("B", "from here").run();
    assert_eq!(outcome, Outcome::new(End::Code(0), "1=2|from here|unset|\n"));
}

#[test]
fn env_wins_over_the_login_environment_and_the_last_one_over_the_first() {
    gives(&["-e", "HOME=/x", "-e", "A=1", "-e", "A=2"], &["sh", "-c", "echo $HOME $A"], "/x 2\n");
    gives(&["-e", "PATH=/bin"], &["sh", "-c", "echo $PATH"], "/bin\n");
}

#[test]
fn a_clean_environment_has_the_users_own_and_what_was_asked_for() {
    let names = ["sh", "-c", "env | cut -d= -f1 | grep -v -e PWD -e SHLVL -e ^_ | sort | xargs"];
    let invocation = with(&["--clean-env", "--env=A=1"], &names).variable("LC_ALL", "C");
    let text = invocation.run().text();
    let left: Vec<&str> = text.split_whitespace().collect();
    for name in ["A", "HOME", "LOGNAME", "PATH", "SHELL", "USER"] {
        assert!(left.contains(&name), "{text}");
    }
    assert!(!left.contains(&"LC_ALL") && !left.contains(&"LANG"), "{text}");
}

#[test]
fn cwd_is_where_the_command_starts() {
    for mode in ["--mode=agent", "--mode=native"] {
        gives(&["--cwd", "/usr/share", mode], &["pwd"], "/usr/share\n");
    }
}

#[test]
fn a_cwd_that_does_not_exist_is_our_failure() {
    let outcome = with(&["--cwd=/nowhere/at all"], &["true"]).run();
    assert_eq!(outcome.end, End::Code(125));
    assert!(outcome.errors().contains("cannot enter `/nowhere/at all`"), "{}", outcome.errors());
    let outcome = with(&["--cwd=/root"], &["true"]).run();
    assert_eq!(outcome.end, End::Code(125));
    assert!(outcome.errors().contains("Permission denied"), "{}", outcome.errors());
}

/// Incus itself runs the command in `/` then.
#[test]
fn a_cwd_that_is_no_directory_is_our_failure() {
    with(&["--root"], &["ln", "-sfn", "/nowhere", "/tmp/dangling"]).run();
    for mode in ["--mode=agent", "--mode=native"] {
        for directory in ["/etc/passwd", "/etc/passwd/below", "/tmp/dangling"] {
            let outcome = with(&["--cwd", directory, mode], &["pwd"]).run();
            assert_eq!(outcome.end, End::Code(125), "{directory} {mode}: {outcome:?}");
            let words = format!("cannot enter `{directory}`");
            assert!(outcome.errors().contains(&words), "{}", outcome.errors());
        }
        gives(&["--cwd", "/usr/../bin/", mode], &["sh", "-c", "pwd -P"], "/usr/bin\n");
    }
}

/// Which of its descriptors the command sees as terminals.
const TERMINALS: [&str; 3] =
    ["sh", "-c", "for i in 0 1 2; do [ -t $i ] && printf '%s ' $i; done; echo end"];

#[test]
fn a_terminal_can_be_had_without_one() {
    for options in [["--tty=always"], ["-t"]] {
        let outcome = with(&options, &TERMINALS).run();
        assert_eq!(outcome, Outcome::new(End::Code(0), "0 1 2 end\r\n"));
    }
}

#[test]
fn a_terminal_without_one_takes_its_keys_from_stdin() {
    for mode in ["--mode=agent", "--mode=native"] {
        let command = ["sh", "-c", "stty -echo; read -r x; echo \"<$x>\"; cat; echo end"];
        let invocation = with(&["-t", mode], &command);
        let input = Input::Bytes(b"one\ntwo\n".to_vec());
        let text = invocation.run_with(input).text();
        assert!(text.ends_with("<one>\r\ntwo\r\nend\r\n"), "{mode}: {text:?}");
    }
}

#[test]
fn the_end_of_a_stdin_that_is_typed_ends_the_input() {
    let cat = ["sh", "-c", "cat; echo end"];
    for mode in ["--mode=agent", "--mode=native"] {
        let run = |input| with(&["-t", mode], &cat).run_with(input).text();
        assert_eq!(run(Input::Null), "end\r\n", "{mode}");
        for (keys, shown) in [("", "end\r\n"), ("ab", "abend\r\n"), ("a\nb\n", "b\r\nend\r\n")] {
            let text = run(Input::Bytes(keys.into()));
            assert!(text.ends_with(shown), "{mode}, {keys:?}: {text:?}");
        }
        let mut closed = Invocation::new(["bash", "-c", "\"$@\" <&-", "x"]);
        closed.words.extend(with(&["-t", mode], &cat).words);
        assert_eq!(closed.run().text(), "end\r\n", "{mode}");
    }
}

#[test]
fn the_end_of_a_stdin_that_is_typed_is_there_for_every_reader() {
    let run = |command: &[&str], keys: &str| {
        with(&["-t", "--mode=agent"], command).run_with(Input::Bytes(keys.into()))
    };
    let text = run(&["sh", "-c", "cat; cat; sleep 0.3; cat; echo end"], "ab").text();
    assert!(text.ends_with("abend\r\n"), "{text:?}");
    // A shell that edits lines reads single keys, and drops an end that was typed before.
    for keys in ["", "cat\n"] {
        assert_eq!(run(&["bash", "--norc", "-i"], keys).end, End::Code(0), "{keys:?}");
    }
}

#[test]
fn a_stdin_that_is_typed_may_end_while_stdout_is_a_terminal() {
    for mode in ["--mode=agent", "--mode=native"] {
        let text = r#"printf abc | "$@"; echo "status $?""#;
        let mut script = Invocation::new(["bash", "-c", text, "x"]);
        script.words.extend(with(&["-t", mode], &["sh", "-c", "cat; echo end"]).words);
        let mut pty = Pty::start(&script);
        pty.wait_for("abcend\r\n").wait_for("status 0\r\n");
        assert_eq!(pty.wait(), End::Code(0), "{mode}");
    }
}

#[test]
fn a_terminal_without_one_has_the_usual_size() {
    let outcome = with(&["-t"], &["stty", "size"]).run();
    assert_eq!(outcome.text(), "24 80\r\n");
}

#[test]
fn a_terminal_can_be_refused_on_one() {
    for options in [["--tty=never"], ["-T"]] {
        let outcome = Pty::start(&with(&options, &TERMINALS)).end();
        assert_eq!(outcome.text(), "end\r\n");
    }
}

#[test]
fn without_a_terminal_the_lines_of_the_callers_are_read() {
    let mut pty = Pty::start(&with(&["-T"], &["sh", "-c", "echo ready; read -r x; echo \"<$x>\""]));
    pty.wait_for("ready\r\n").send("line\n");
    pty.wait_for("<line>\r\n");
    assert_eq!(pty.wait(), End::Code(0));
}

#[test]
fn n_gives_an_empty_stdin_and_leaves_the_callers() {
    let input = || Input::Bytes(b"unread\n".to_vec());
    for mode in ["--mode=agent", "--mode=native"] {
        let outcome = with(&["-n", mode], &["wc", "-c"]).run_with(input());
        assert_eq!(outcome, Outcome::new(End::Code(0), "0\n"), "{mode}");
    }
    for options in [&["-n"][..], &["-n", "-t"], &["-n", "-t", "--mode=native"]] {
        let text = "while read -r l; do \"$@\"; echo \"$l\"; done";
        let mut script = Invocation::new(["bash", "-c", text, "x"]);
        script.words.extend(with(options, &["cat"]).words);
        let outcome = script.run_with(Input::Bytes(b"1\n2\n3\n".to_vec()));
        assert_eq!(outcome, Outcome::new(End::Code(0), "1\n2\n3\n"), "{options:?}");
    }
}

#[test]
fn n_on_a_terminal_leaves_the_keys_to_the_shell() {
    for options in
        [&["-n"][..], &["-n", "-t"], &["-n", "--mode=native"], &["-n", "-t", "--mode=native"]]
    {
        let text = "\"$@\"; read -r x; echo \"read $x\"";
        let mut script = Invocation::new(["bash", "-c", text, "x"]);
        script.words.extend(with(options, &["sh", "-c", "cat; echo ready; sleep 1"]).words);
        let mut pty = Pty::start(&script);
        pty.wait_for("ready\r\n").send("mine\n");
        pty.wait_for("read mine\r\n");
    }
}

#[test]
fn without_a_command_the_login_shell_reads_stdin() {
    let invocation = with(&["--mode=agent"], &[]);
    let input =
        Input::Bytes(b"echo \"$0\"; shopt -q login_shell && echo login; pwd; exit 4\n".to_vec());
    let outcome = invocation.run_with(input);
    let expected = format!("-bash\nlogin\n{}\n", home().display());
    assert_eq!(outcome, Outcome::new(End::Code(4), expected));
}

#[test]
fn without_a_command_a_person_gets_an_interactive_login_shell() {
    for options in [&["--mode=agent"][..], &["--mode=native", "--root"]] {
        let mut pty = Pty::start(&with(options, &[]).variable("TERM", "xterm"));
        pty.wait_for(if options.len() == 1 { "$ " } else { "# " });
        pty.send("shopt login_shell; echo $-\r");
        pty.wait_for("on\r\n").wait_for("i");
        pty.send("exit 6\r");
        assert_eq!(pty.wait(), End::Code(6));
    }
}

#[test]
fn verbose_tells_each_step_on_stderr_only() {
    let outcome = with(&["--verbose"], &["echo", "x"]).run();
    assert_eq!((outcome.end, outcome.text().as_str()), (End::Code(0), "x\n"));
    let errors = outcome.errors();
    assert!(errors.contains("ms") && errors.lines().count() >= 4, "{errors}");
    assert!(errors.lines().all(|line| line.starts_with("incusbox-run: ")), "{errors}");
}

#[test]
fn verbose_hints_at_a_directory_that_the_box_lacks() {
    let scratch = crate::support::Scratch::new();
    let outcome = with(&["-v"], &["true"]).directory(scratch.path()).run();
    let shown = scratch.path().display().to_string();
    assert!(outcome.errors().contains(&shown), "{}", outcome.errors());
}

#[test]
fn a_project_can_be_named() {
    let project = std::env::var("INCUS_PROJECT").expect("the test bed's project");
    let invocation = with(&["--project", &project], &["echo", "x"]).variable("INCUS_PROJECT", "");
    assert_eq!(invocation.run(), Outcome::new(End::Code(0), "x\n"));
    let outcome = with(&["--project=ibx-no-such-project"], &["true"]).run();
    assert_eq!(outcome.end, End::Code(125));
    assert!(outcome.errors().contains("ibx-no-such-project"), "{}", outcome.errors());
}

#[test]
fn help_and_version_go_to_stdout() {
    let help = Invocation::program(["--help"]).run();
    assert_eq!((help.end, help.errors().as_str()), (End::Code(0), ""));
    for option in [
        "--user",
        "--root",
        "--cwd",
        "--env",
        "--clean-env",
        "--tty",
        "-T",
        "-n",
        "--mode",
        "--no-start",
        "--verbose",
    ] {
        assert!(help.text().contains(option), "{option}");
    }
    let version = Invocation::program(["--version"]).run();
    assert!(version.text().starts_with("incusbox-run "), "{}", version.text());
}
