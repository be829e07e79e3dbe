//! Boxes that lack what every system has: a shell, a home, /tmp, /proc, /dev/pts, the user. The
//! real daemon, with boxes of their own.

use std::process::Command;
use std::time::{Duration, Instant};

use crate::client::{Client, program};
use crate::directory::Directory;
use crate::script::Way;
use crate::testbox::{TestBox, incus, shared};

const SOON: Duration = Duration::from_secs(10);
const USER: &str = "ibxtest";
const BOTH_WAYS: [Way; 2] = [Way::Pipes, Way::Terminal];

#[test]
fn a_login_shell_that_does_not_exist_is_replaced_by_sh() {
    let tested = TestBox::new();
    tested.inside(&format!("sed -i '/^{USER}:/s|:[^:]*$|:/no/such/shell|' /etc/passwd"));
    let login = Client::new(&[&tested.name]).input(b"echo \"$0 in $PWD\"; exit 3\n");
    let seen = login.run(Way::Pipes);
    seen.assert_ended(SOON, 3);
    assert!(seen.stdout.starts_with("-sh in "), "{seen:#?}");
    for way in BOTH_WAYS {
        tested.client(&[], &["true"]).run(way).assert_ended(SOON, 0);
    }
    tested.assert_no_orphans("-sh");
}

#[test]
fn a_box_without_any_shell_still_runs_programs() {
    let tested = TestBox::new();
    tested.run(&[], &["true"]).assert_ended(SOON, 0);
    tested.inside(&format!(
        "sed -i '/^{USER}:/s|:[^:]*$|:/bin/sh|' /etc/passwd; mv /bin/sh /bin/off"
    ));
    let mut seen = Vec::new();
    for way in BOTH_WAYS {
        seen.push((tested.client(&[], &["true"]).run(way), Client::new(&[&tested.name]).run(way)));
    }
    tested.incus("exec", &["--", "/bin/off", "-c", "mv /bin/off /bin/sh"]);
    for (program, login) in seen {
        program.assert_ended(SOON, 0);
        login.assert_failed(SOON, 127, &["`/bin/sh`: command not found in box", &tested.name]);
    }
    tested.assert_no_orphans("no mark");
}

#[test]
fn a_box_without_tmp_runs_everything() {
    let tested = TestBox::new();
    tested.inside("umount -l /tmp 2>/dev/null || :; rm -rf /tmp");
    for way in BOTH_WAYS {
        tested.client(&[], &["true"]).run(way).assert_ended(SOON, 0);
        tested.client(&["--mode", "native"], &["true"]).run(way).assert_ended(SOON, 0);
    }
    tested.assert_no_orphans("no mark");
}

#[test]
#[allow(clippy::print_stderr)] // why it was not tested
fn a_box_without_proc_runs_everything() {
    let tested = TestBox::new();
    tested.inside("umount -l /proc");
    // An Incus that is in a box itself takes such a box for stopped.
    if !incus(&["exec", &tested.name, "--", "true"]).status.success() {
        eprintln!("not tested: Incus itself gets into no box without /proc here");
        return;
    }
    for way in BOTH_WAYS {
        for mode in ["agent", "native"] {
            let options = ["--mode", mode, "--root"];
            tested.client(&options, &["true"]).run(way).assert_ended(SOON, 0);
            tested.client(&options, &["sh", "-c", "exit 9"]).run(way).assert_ended(SOON, 9);
        }
        tested.client(&[], &["true"]).run(way).assert_ended(SOON, 0);
    }
    let seen = tested.run(&["--root"], &["no-such-program"]);
    seen.assert_failed(SOON, 127, &["`no-such-program`: command not found"]);
    leaves_the_rest_of_stdin(&tested);
    leaves_no_orphan(&tested);
}

/// Where nothing tells what the command has open.
fn leaves_the_rest_of_stdin(tested: &TestBox) {
    let text = r#"printf 'a\nb\nc\n' | { "$0" --root "$1" -- sh -c 'sleep 0.5; read -r x; echo "got $x"'; cat; }
        yes | "$0" --root "$1" -- head -n 1"#;
    let run = Command::new("sh").args(["-c", text, &program(), &tested.name]).output();
    let run = run.expect("sh starts");
    assert_eq!(String::from_utf8_lossy(&run.stdout), "got a\nb\nc\ny\n", "{run:?}");
}

/// Where nothing tells who is in the command's group; the host's /proc does.
fn leaves_no_orphan(tested: &TestBox) {
    let mark = format!("{}.77", 1000 + std::process::id());
    let is_there = || {
        let found = Command::new("pgrep").args(["-fx", &format!("sleep {mark}")]).output();
        !found.expect("pgrep starts").stdout.is_empty()
    };
    let await_it = |wanted: bool| {
        let began = Instant::now();
        while is_there() != wanted {
            assert!(began.elapsed() < SOON, "`sleep {mark}` is there: {}", !wanted);
            std::thread::sleep(Duration::from_millis(50));
        }
    };
    let text = format!("trap : HUP TERM; echo; while :; do sleep {mark}; done");
    let running = tested.client(&["--root"], &["sh", "-c", &text]).start(Way::Pipes);
    await_it(true);
    running.signal("KILL");
    // SIGTERM after 2 s ends only the sleep, and another follows; SIGKILL comes after 5 s.
    std::thread::sleep(Duration::from_millis(5500));
    await_it(false);
}

#[test]
fn a_box_without_terminals_says_how_to_do_without() {
    let tested = TestBox::new();
    tested.inside("umount -l /dev/pts");
    let seen = tested.client(&["--root"], &["true"]).run(Way::Terminal);
    seen.assert_failed(SOON, 125, &["no terminal to give", &tested.name, "/dev/pts", "-T"]);
    tested.client(&["--root", "-T"], &["true"]).run(Way::Terminal).assert_ended(SOON, 0);
    tested.run(&["--root"], &["true"]).assert_ended(SOON, 0);
    tested.assert_no_orphans("no mark");
}

#[test]
fn a_user_without_a_home_starts_in_the_root_directory() {
    let tested = TestBox::new();
    tested.inside(&format!("rm -rf /home/{USER}"));
    // Not in the box either.
    let here = Directory::new();
    for way in BOTH_WAYS {
        let client = tested.client(&[], &["pwd"]).within(&here.path);
        let seen = client.run(way);
        seen.assert_ended(SOON, 0);
        assert!(seen.stdout.contains("/\n") || seen.stdout.contains("/\r\n"), "{seen:#?}");
    }
    let seen = tested.client(&["--verbose"], &["pwd"]).within(&here.path).run(Way::Pipes);
    let hint = format!("the box has no `{}`, so it starts in /", here.path.display());
    assert!(seen.stderr.contains(&hint), "{seen:#?}");
    let login = Client::new(&[&tested.name]).within(&here.path).input(b"pwd; exit 3\n");
    let seen = login.run(Way::Pipes);
    assert_eq!((seen.status.code(), seen.stdout.as_str()), (Some(3), "/\n"), "{seen:#?}");
    tested.assert_no_orphans("no mark");
}

#[test]
fn a_user_who_is_not_in_the_box_is_told_how_to_run_all_the_same() {
    let tested = TestBox::new();
    tested.inside(&format!("loginctl kill-user {USER} 2>/dev/null || :; userdel {USER}"));
    for way in BOTH_WAYS {
        let seen = tested.client(&[], &["true"]).run(way);
        let words = [&tested.name, "has no user `ibxtest`", "--root", "useradd"];
        seen.assert_failed(SOON, 125, &words);
        Client::new(&[&tested.name]).run(way).assert_failed(SOON, 125, &words);
        for mode in ["agent", "native"] {
            let options = ["--mode", mode, "--user", "nosuchuser"];
            let seen = tested.client(&options, &["true"]).run(way);
            seen.assert_failed(SOON, 125, &[&tested.name, "has no user `nosuchuser`", "--root"]);
        }
        tested.client(&["--root"], &["true"]).run(way).assert_ended(SOON, 0);
    }
    tested.inside("rm /etc/passwd /etc/group");
    tested.run(&["--root"], &["true"]).assert_ended(SOON, 0);
    tested.run(&["--mode", "native"], &["true"]).assert_ended(SOON, 0);
    tested.assert_no_orphans("no mark");
}

#[test]
fn a_directory_that_was_asked_for_and_is_not_there_is_refused() {
    let name = shared();
    for way in BOTH_WAYS {
        let options = ["--cwd", "/no/such/dir", &name, "--", "true"];
        let seen = Client::new(&options).run(way);
        seen.assert_failed(SOON, 125, &["cannot enter `/no/such/dir`", &name, "No such file"]);
        let native = Client::new(&[&["--mode", "native"], &options[..]].concat()).run(way);
        // Nothing was started, and the program is not what is missing.
        native.assert_failed(SOON, 125, &["/no/such/dir", &name]);
    }
}

#[test]
fn what_cannot_be_executed_is_told_by_its_name_with_the_usual_status() {
    let tested = TestBox::new();
    tested.inside(
        "printf '#!/no/such/interpreter\\n' >/opt/lost; printf 'text' >/opt/text; : >/opt/plain;
         head -c 300 /bin/true >/opt/cut; chmod 755 /opt/lost /opt/cut; chmod 644 /opt/plain /opt/text",
    );
    let missing = [("no-such-program", 127), ("/no/such/program", 127)];
    let present = [("/opt/plain", 126), ("/etc", 126)];
    // Of these Incus says natively what it says of a program's own 127 and 255.
    let odd = [("/opt/lost", 127), ("/etc/passwd/x", 127)];
    for (mode, programs) in
        [("agent", [missing, present, odd].concat()), ("native", [missing, present].concat())]
    {
        for way in BOTH_WAYS {
            for (program, status) in &programs {
                let seen = tested.client(&["--mode", mode, "--root"], &[program]).run(way);
                seen.assert_failed(SOON, *status, &[program, &tested.name]);
            }
            for status in ["126", "127", "125", "255", "137"] {
                let command = ["sh", "-c", &format!("exit {status}")];
                let seen = tested.client(&["--mode", mode, "--root"], &command).run(way);
                seen.assert_ended(SOON, status.parse().expect("a number"));
            }
        }
    }
    tested.assert_no_orphans("/opt/");
}

#[test]
fn a_box_without_dev_null_is_told_or_served() {
    let tested = TestBox::new();
    tested.inside("umount -l /dev/null 2>/dev/null || :; rm -f /dev/null");
    let seen = tested.run(&["--root", "-n"], &["true"]);
    match seen.status.code() {
        Some(0) => seen.assert_ended(SOON, 0),
        _ => seen.assert_failed(SOON, 125, &["/dev/null", &tested.name]),
    }
}
