//! Boxes that are frozen, stopped or deleted, before and while a command runs: the real daemon.

use std::time::Duration;

use crate::client::Client;
use crate::script::{EACH_WAY, Mode, Way};
use crate::testbox::{TestBox, incus};

const SOON: Duration = Duration::from_secs(10);

fn mode(mode: Mode) -> &'static str {
    match mode {
        Mode::Agent => "agent",
        Mode::Native => "native",
    }
}

#[test]
fn a_frozen_box_is_not_waited_for() {
    let frozen = TestBox::new();
    frozen.incus("pause", &[]);
    for (m, way) in EACH_WAY {
        let seen = frozen.client(&["--mode", mode(m)], &["true"]).run(way);
        let name = &frozen.name;
        seen.assert_failed(
            SOON,
            125,
            &[&format!("box `{name}` is frozen"), &format!("incus resume {name}")],
        );
    }
    frozen.incus("resume", &[]);
    frozen.run(&[], &["true"]).assert_ended(SOON, 0);
    frozen.assert_no_orphans("no mark");
}

#[test]
fn a_stopped_box_is_left_alone_on_request_and_started_otherwise() {
    let stopped = TestBox::new();
    stopped.incus("stop", &["--force"]);
    for (m, way) in EACH_WAY {
        let seen = stopped.client(&["--no-start", "--mode", mode(m)], &["true"]).run(way);
        let next = format!("incus start {}", stopped.name);
        seen.assert_failed(SOON, 125, &["is stopped", "--no-start", &next]);
    }
    assert_eq!(status(&stopped.name), "STOPPED");
    // Two at once: whoever comes second finds it started.
    let first = stopped.client(&["--root"], &["echo", "one"]).start(Way::Pipes);
    let second = stopped.client(&["--root"], &["echo", "two"]).start(Way::Pipes);
    for (seen, word) in [(first.wait(), "one\n"), (second.wait(), "two\n")] {
        seen.assert_ended(Duration::from_secs(30), 0);
        assert_eq!(seen.stdout, word);
    }
}

#[test]
fn a_box_that_cannot_start_is_told_with_where_to_look() {
    let broken = TestBox::new();
    broken.incus("stop", &["--force"]);
    let config = "raw.lxc=lxc.hook.pre-start = /bin/false";
    let set = incus(&["config", "set", &broken.name, config]);
    assert!(set.status.success(), "{set:?}");
    for (m, way) in EACH_WAY {
        let seen = broken.client(&["--mode", mode(m)], &["true"]).run(way);
        let next = format!("incus info {} --show-log", broken.name);
        seen.assert_failed(Duration::from_secs(30), 125, &["could not be started", &next]);
    }
}

#[test]
fn a_box_that_is_stopped_mid_run_is_said_to_be() {
    for (m, way) in EACH_WAY {
        let stopped = TestBox::new();
        let run = stopped.client(&["--mode", mode(m), "--root"], &["sleep", "4711"]).start(way);
        stopped.await_process("sleep 4711");
        stopped.incus("stop", &["--force"]);
        let seen = run.wait();
        let words = [
            format!("box `{}` is not running any more", stopped.name),
            format!("incus start {}", stopped.name),
        ];
        seen.assert_failed(Duration::from_secs(40), 125, &[&words[0], &words[1]]);
    }
}

#[test]
fn a_box_that_is_deleted_mid_run_is_said_to_be() {
    for (m, way) in EACH_WAY {
        let deleted = TestBox::new();
        let run = deleted.client(&["--mode", mode(m), "--root"], &["sleep", "4711"]).start(way);
        deleted.await_process("sleep 4711");
        deleted.incus("delete", &["--force"]);
        let seen = run.wait();
        // Between stop and deletion it is stopped.
        seen.assert_failed(Duration::from_secs(40), 125, &[&format!("box `{}`", deleted.name)]);
        let told = ["was deleted while the command ran", "is not running any more"];
        assert!(told.iter().any(|words| seen.stderr.contains(words)), "{seen:#?}");
    }
}

#[test]
fn a_box_that_is_shut_down_from_inside_mid_run_is_said_to_have_stopped() {
    let stopped = TestBox::new();
    let run = stopped.client(&["--root"], &["sleep", "4711"]).start(Way::Terminal);
    stopped.await_process("sleep 4711");
    let _goes_with_the_box =
        incus(&["exec", &stopped.name, "--", "systemctl", "poweroff", "--force"]);
    let seen = run.wait();
    seen.assert_failed(Duration::from_secs(60), 125, &[&format!("box `{}`", stopped.name)]);
}

#[test]
fn a_box_that_is_frozen_mid_run_goes_on_where_it_was() {
    let frozen = TestBox::new();
    for m in [Mode::Agent, Mode::Native] {
        let command = "echo 4711 4711; sleep 2; echo done";
        let run =
            frozen.client(&["--mode", mode(m), "--root"], &["sh", "-c", command]).start(Way::Pipes);
        frozen.await_process("4711 4711");
        frozen.incus("pause", &[]);
        std::thread::sleep(Duration::from_secs(3));
        frozen.incus("resume", &[]);
        let seen = run.wait();
        seen.assert_ended(Duration::from_secs(20), 0);
        assert_eq!(seen.stdout, "4711 4711\ndone\n");
    }
    frozen.assert_no_orphans("4711 4711");
}

#[test]
fn an_instance_that_is_no_box_is_served_natively_without_a_trace() {
    let plain = TestBox::new();
    let unset = incus(&["config", "unset", &plain.name, "user.incusbox.box"]);
    assert!(unset.status.success(), "{unset:?}");
    let seen = plain.run(&[], &["id", "-u"]);
    seen.assert_ended(SOON, 0);
    assert_eq!(seen.stdout, "0\n", "natively a command is root's");
    assert_eq!(plain.agents(), Vec::<String>::new());
    // Whoever asks for the agent by name gets it.
    plain.run(&["--mode", "agent", "--root"], &["true"]).assert_ended(SOON, 0);
    assert_eq!(plain.agents().len(), 1);
    plain.assert_no_orphans("no mark");
}

#[test]
fn a_client_that_is_killed_leaves_no_process_in_the_box() {
    let survivor = TestBox::new();
    for way in [Way::Pipes, Way::Terminal] {
        let command = "sleep 4711 & sleep 4712; wait";
        let run = survivor.client(&["--root"], &["sh", "-c", command]).start(way);
        survivor.await_process("sleep 4712");
        run.signal("KILL");
        let seen = run.wait();
        assert_eq!(seen.stderr, "");
        survivor.assert_no_orphans("sleep 471");
    }
}

fn status(name: &str) -> String {
    let output = incus(&["list", "--format", "csv", "--columns", "s", &format!("^{name}$")]);
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

#[test]
fn the_agent_is_missing_on_the_host() {
    let shared = crate::testbox::shared();
    let client = Client::new(&[&shared, "--", "true"]).env("INCUSBOX_AGENT", "/no/such/agent");
    let seen = client.run(Way::Pipes);
    seen.assert_failed(SOON, 125, &["incusbox-agent", "/no/such/agent", "--mode native"]);
}
