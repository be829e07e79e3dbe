//! The agent's file in a box: removed, replaced, cut short, without room or right to be put there.
//! The real daemon, with boxes of their own.

use std::time::Duration;

use crate::client::Seen;
use crate::script::Way;
use crate::testbox::{TestBox, incus};

const SOON: Duration = Duration::from_secs(10);
const FIRST: &str = "/usr/local/lib/incusbox/";

/// A box that has its agent, and the agent's path.
fn with_agent() -> (TestBox, String) {
    let made = TestBox::new();
    made.run(&["--root"], &["true"]).assert_ended(SOON, 0);
    let agents = made.agents();
    assert_eq!(agents.len(), 1, "{agents:?}");
    (made, agents[0].clone())
}

/// Runs `true`, on pipes and on a terminal, and checks each.
fn each_way(tested: &TestBox, check: impl Fn(&Seen)) {
    for way in [Way::Pipes, Way::Terminal] {
        check(&tested.client(&["--root"], &["true"]).run(way));
    }
}

/// A run with `--verbose`, which must succeed: what it told.
fn steps(tested: &TestBox) -> String {
    let seen = tested.run(&["--root", "--verbose"], &["true"]);
    assert_eq!(seen.status.code(), Some(0), "{seen:#?}");
    seen.stderr
}

#[test]
fn an_agent_that_was_removed_between_two_runs_is_copied_anew() {
    let (tested, agent) = with_agent();
    assert!(agent.starts_with(FIRST), "{agent}");
    for script in ["rm -r /usr/local/lib/incusbox", &format!("rm {agent}")] {
        tested.inside(script);
        each_way(&tested, |seen| seen.assert_ended(SOON, 0));
        assert_eq!(tested.agents(), [agent.as_str()]);
    }
    tested.assert_no_orphans("no mark");
}

#[test]
fn a_file_in_the_agents_place_that_is_no_agent_is_told_and_not_run_again() {
    let (tested, agent) = with_agent();
    tested.inside(&format!("cp {agent} /root/agent"));
    for (name, script, words) in [
        ("prints garbage", "echo 'sh: syntax error' >&2", "syntax error"),
        ("prints on stdout", "echo nonsense", "agent did not start"),
        ("ends well", "exit 0", "agent did not start"),
        ("ends badly", "exit 3", "agent did not start"),
        ("dies", "kill -SEGV $$", "agent did not start"),
    ] {
        let put = format!(
            "rm -f /tmp/count; printf '%s\\n' '#!/bin/sh' 'echo run >>/tmp/count' {} >{agent}; chmod 755 {agent}",
            quoted(script)
        );
        tested.inside(&put);
        each_way(&tested, |seen| {
            let next = format!("incus exec {} -- rm -r /usr/local/lib/incusbox", tested.name);
            assert!(!seen.stderr.is_empty(), "{name}: {seen:#?}");
            seen.assert_failed(SOON, 125, &[&tested.name, words, &next]);
        });
        assert_eq!(tested.inside("cat /tmp/count"), "run\nrun\n", "{name}: once for each run");
    }
    // The way out that the message names.
    tested.inside("rm -r /usr/local/lib/incusbox");
    each_way(&tested, |seen| seen.assert_ended(SOON, 0));
    tested.assert_no_orphans("no mark");
}

#[test]
fn a_file_in_the_agents_place_that_cannot_run_is_told() {
    let (tested, agent) = with_agent();
    tested.inside(&format!("cp {agent} /root/agent"));
    for spoil in [
        "head -c 100000 /root/agent >$a",
        "head -c 100 /root/agent >$a",
        ": >$a",
        "chmod 644 $a",
        "rm $a; mkdir $a",
        "rm $a; ln -s $a $a",
    ] {
        tested.inside(&format!("a={agent}; rm -rf $a; cp /root/agent $a; {spoil}"));
        each_way(&tested, |seen| {
            assert!(!seen.stderr.is_empty(), "{spoil}: {seen:#?}");
            seen.assert_failed(SOON, 125, &[&tested.name, "agent"]);
        });
    }
    // A link that leads nowhere is as good as nothing.
    tested.inside(&format!("rm -rf {agent}; ln -s /no/such/file {agent}"));
    each_way(&tested, |seen| seen.assert_ended(SOON, 0));
    tested.assert_no_orphans("no mark");
}

#[test]
fn a_file_in_the_agents_place_that_writes_without_end_is_given_up() {
    let (tested, agent) = with_agent();
    tested.inside(&format!("printf '%s\\n' '#!/bin/sh' 'exec yes >&2' >{agent}"));
    let seen = tested.run(&["--root"], &["true"]);
    seen.assert_failed(Duration::from_secs(40), 125, &[&tested.name, "agent"]);
    tested.assert_no_orphans("yes");
}

#[test]
fn a_box_without_room_for_the_agent_is_told_and_nothing_is_left_behind() {
    let tested = TestBox::new();
    tested.inside(
        "for d in /usr/local/lib /run/incusbox /dev/shm/incusbox; do
             mkdir -p $d; mount -t tmpfs -o size=64k tmpfs $d; done",
    );
    each_way(&tested, |seen| {
        let words = [
            "could not be copied into box",
            &tested.name,
            "no space left",
            "room for 2 MB",
            "--mode native",
        ];
        seen.assert_failed(SOON, 125, &words);
    });
    assert_eq!(tested.agents(), Vec::<String>::new());
    tested.run(&["--mode", "native"], &["true"]).assert_ended(SOON, 0);
    // With room in the second place it goes there, and stays there.
    tested.inside("umount /run/incusbox");
    assert!(steps(&tested).contains("the agent is copied"));
    let agents = tested.agents();
    assert!(agents.len() == 1 && agents[0].starts_with("/run/incusbox/"), "{agents:?}");
    assert!(!steps(&tested).contains("the agent is copied"));
    tested.assert_no_orphans("no mark");
}

#[test]
fn a_box_whose_usr_local_is_read_only_keeps_its_agent_in_memory() {
    let tested = TestBox::new();
    tested.inside("mount --bind /usr/local /usr/local; mount -o remount,bind,ro /usr/local");
    assert_kept_in_memory(&tested);
}

#[test]
fn a_box_with_a_read_only_root_keeps_its_agent_in_memory() {
    let tested = TestBox::new();
    tested.incus("stop", &["--force"]);
    let set = incus(&["config", "device", "override", &tested.name, "root", "readonly=true"]);
    assert!(set.status.success(), "{set:?}");
    tested.incus("start", &[]);
    // While it boots, /run is mounted over.
    tested.inside("systemctl is-system-running --wait >/dev/null || :; ! touch /x 2>/dev/null");
    assert_kept_in_memory(&tested);
}

/// The agent goes to /run, is found there by every later run, and works.
fn assert_kept_in_memory(tested: &TestBox) {
    assert!(steps(tested).contains("the agent is copied"));
    let agents = tested.agents();
    assert!(agents.len() == 1 && agents[0].starts_with("/run/incusbox/"), "{agents:?}");
    let again = steps(tested);
    assert!(!again.contains("the agent is copied"), "{again}");
    each_way(tested, |seen| seen.assert_ended(SOON, 0));
    tested.run(&[], &["true"]).assert_ended(SOON, 0);
    tested.assert_no_orphans("no mark");
}

#[test]
fn a_place_from_which_nothing_may_be_executed_is_told_or_passed_over() {
    let tested = TestBox::new();
    tested.inside("mkdir -p /usr/local/lib; mount -t tmpfs -o noexec tmpfs /usr/local/lib");
    let seen = tested.run(&["--root"], &["true"]);
    match seen.status.code() {
        Some(0) => seen.assert_ended(SOON, 0),
        _ => seen.assert_failed(SOON, 125, &["agent did not start", &tested.name]),
    }
    tested.assert_no_orphans("no mark");
}

#[test]
fn a_file_where_the_agents_directory_should_be_is_left_alone() {
    let tested = TestBox::new();
    tested.inside("echo mine >/usr/local/lib/incusbox");
    // Incus reports "not a directory" with a status that says nothing, so it may be told only.
    each_way(&tested, |seen| match seen.status.code() {
        Some(0) => seen.assert_ended(SOON, 0),
        _ => seen.assert_failed(SOON, 125, &["agent did not start in box", &tested.name]),
    });
    assert_eq!(tested.inside("cat /usr/local/lib/incusbox"), "mine\n");
    tested.assert_no_orphans("no mark");
}

#[test]
fn ten_first_runs_at_once_leave_one_agent() {
    let tested = TestBox::new();
    let runs: Vec<_> =
        (0..10).map(|_| tested.client(&["--root"], &["true"]).start(Way::Pipes)).collect();
    for run in runs {
        run.wait().assert_ended(Duration::from_secs(30), 0);
    }
    assert_eq!(tested.agents().len(), 1, "{:?}", tested.agents());
    tested.assert_no_orphans("no mark");
}

/// A word for the shell.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}
