//! A daemon or an agent that stops answering. These tests wait, so each runs its cases side by side.

use std::thread;
use std::time::Duration;

use crate::answers::arguments;
use crate::client::{Client, Seen};
use crate::fake::Fake;
use crate::script::{Act, Do, EACH_WAY, Mode, Script, Way};
use crate::wire;

/// No answer to a request for this long is the end of our patience, and some time to notice.
const PATIENCE: (Duration, Duration) = (Duration::from_secs(28), Duration::from_secs(40));
/// The same for silence while a command runs.
const SILENCE: (Duration, Duration) = (Duration::from_secs(55), Duration::from_secs(80));

type Check = Box<dyn Fn(&Seen, &Fake) + Sync>;
/// A name, a daemon, and what the program has to make of it.
type Case = (String, Script, Check);

/// Runs all of these at once, and checks each as soon as all are over.
fn at_once(cases: Vec<Case>) {
    let runs = thread::scope(|scope| {
        let threads: Vec<_> = cases
            .iter()
            .map(|(_, script, _)| {
                scope.spawn(|| {
                    let fake = Fake::new(script.clone());
                    let way = script.way;
                    let seen = Client::of(&fake, &arguments(script.mode)).run(way);
                    (seen, fake)
                })
            })
            .collect();
        threads.into_iter().map(thread::ScopedJoinHandle::join).collect::<Vec<_>>()
    });
    let mut failures = Vec::new();
    for ((name, _, check), run) in cases.iter().zip(runs) {
        let checked = run.and_then(|(seen, fake)| {
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| check(&seen, &fake)))
        });
        if checked.is_err() {
            failures.push(name);
        }
    }
    assert!(failures.is_empty(), "see above for: {failures:#?}");
}

#[test]
fn no_answer_to_a_request_is_given_up_after_half_a_minute() {
    let mut cases: Vec<Case> = Vec::new();
    for (mode, way) in EACH_WAY {
        for (kind, act) in [
            ("connect", Act::Silence),
            ("exec", Act::Silence),
            ("exec", Act::BytesThenSilence(b"HTTP/1.1 202 Acc".to_vec())),
            (
                "exec",
                Act::BytesThenSilence(b"HTTP/1.1 202 A\r\nContent-Length: 9\r\n\r\n{".to_vec()),
            ),
            // The socket that never comes.
            ("stream 0", Act::Silence),
            ("stream 0", Act::BytesThenSilence(b"HTTP/1.1 101 Switch".to_vec())),
        ] {
            let script = Script::new(mode, way).on(kind, act.clone());
            let check = move |seen: &Seen, fake: &Fake| {
                assert!(seen.elapsed > PATIENCE.0, "{seen:#?}");
                let words = ["no answer from the Incus daemon for 30 s", "journalctl -u incus"];
                seen.assert_failed(PATIENCE.1, 125, &words);
                assert!(fake.count("exec") <= 1, "{:?}", fake.asked());
            };
            cases.push((format!("{mode:?} {way:?} {kind} {act:?}"), script, Box::new(check)));
        }
    }
    at_once(cases);
}

#[test]
fn a_stall_of_ten_seconds_is_waited_for() {
    let mut cases: Vec<Case> = Vec::new();
    let ten = Duration::from_secs(10);
    for (mode, way) in EACH_WAY {
        for kind in ["exec", "stream 0"] {
            // A stream cannot come late in the fake: it stalls before its first frame instead.
            let script = match kind {
                "exec" => Script::new(mode, way).on(kind, Act::Late(ten)),
                _ => {
                    let mut script = Script::new(mode, way);
                    let main = script.main_stream();
                    let steps = script.steps.get_mut(main).expect("steps");
                    steps.insert(0, Do::Pause(ten));
                    script
                }
            };
            let check = move |seen: &Seen, fake: &Fake| {
                assert!(seen.elapsed > Duration::from_secs(9), "{seen:#?}");
                seen.assert_ended(Duration::from_secs(18), 0);
                assert_eq!(fake.count("exec"), 1, "{:?}", fake.asked());
            };
            cases.push((format!("{mode:?} {way:?} {kind}"), script, Box::new(check)));
        }
    }
    at_once(cases);
}

#[test]
fn a_minute_without_a_sign_of_life_ends_a_run() {
    let mut cases: Vec<Case> = Vec::new();
    for (mode, way) in EACH_WAY {
        // incusd's first ping comes after ten seconds; then it hangs.
        let mut script = Script::new(mode, way).mid_run(vec![Do::Send(wire::ping())]);
        let main = script.main_stream();
        for stream in script.streams().iter().filter(|stream| **stream != main) {
            script = script.stream(stream, vec![Do::Send(wire::ping())]);
        }
        let check = move |seen: &Seen, fake: &Fake| {
            assert!(seen.elapsed > SILENCE.0, "{seen:#?}");
            let words = ["no sign of life from the Incus daemon for 60 s", "journalctl -u incus"];
            seen.assert_failed(SILENCE.1, 125, &words);
            assert_eq!(fake.count("exec"), 1, "{:?}", fake.asked());
        };
        cases.push((format!("{mode:?} {way:?} silent"), script, Box::new(check)));
    }
    for way in [Way::Pipes, Way::Terminal] {
        // Alive and well, but for the agent: a file that only waits, a frozen disk.
        let silent = Script::new(Mode::Agent, way).main_steps(vec![Do::PingForEver]);
        let chatty = vec![Do::Send(wire::binary(b"loading ...\n")), Do::PingForEver];
        let chatty = Script::new(Mode::Agent, way).main_steps(chatty);
        for (name, script) in [("never greets", silent), ("says something else", chatty)] {
            let check = move |seen: &Seen, fake: &Fake| {
                seen.assert_failed(SILENCE.1, 125, &["agent", "box `dev`"]);
                assert_eq!(fake.count("exec"), 1, "{:?}", fake.asked());
            };
            cases.push((format!("{way:?} {name}"), script, Box::new(check)));
        }
    }
    // The last word was said, and the output that it announces never comes nor ends.
    let words = [wire::greeting(), wire::exited(0, 1_000_000)].concat();
    let steps = vec![Do::Send(words), Do::OperationEnds, Do::PingForEver];
    let script = Script::new(Mode::Agent, Way::Pipes).main_steps(steps);
    let check = move |seen: &Seen, _: &Fake| {
        seen.assert_failed(SILENCE.1, 125, &["box `dev`"]);
    };
    cases.push(("output that never comes".to_owned(), script, Box::new(check)));
    at_once(cases);
}

#[test]
fn a_command_that_is_silent_for_long_is_not_given_up_while_the_daemon_lives() {
    let seconds = Duration::from_secs(70);
    let mut cases: Vec<Case> = Vec::new();
    for (mode, way) in EACH_WAY {
        let mut pings = Vec::new();
        for _ in 0..7 {
            pings.extend([Do::Pause(seconds / 7), Do::Send(wire::ping())]);
        }
        let mut script = Script::new(mode, way);
        let main = script.main_stream();
        for (name, steps) in &mut script.steps {
            let greets = mode == Mode::Agent && name == main;
            let first = if greets { vec![Do::Send(wire::greeting())] } else { Vec::new() };
            let last = if greets { vec![Do::Send(wire::exited(0, 0))] } else { Vec::new() };
            let end = if name == main { vec![Do::End, Do::OperationEnds] } else { vec![Do::End] };
            *steps = [first, pings.clone(), last, end].concat();
        }
        let check = move |seen: &Seen, _: &Fake| {
            assert!(seen.elapsed >= seconds, "{seen:#?}");
            seen.assert_ended(seconds + Duration::from_secs(10), 0);
        };
        cases.push((format!("{mode:?} {way:?}"), script, Box::new(check)));
    }
    at_once(cases);
}

/// All of it is on this side of the daemon when the command ended. The times are longer than those after
/// which a daemon that says nothing is given up.
#[test]
fn a_reader_that_takes_its_time_loses_nothing() {
    let script =
        r#""$1" --mode "$2" "$3" -- seq 50000 | (sleep "$4"; wc -c); echo "${PIPESTATUS[0]}""#;
    let name = std::env::var("IBX_BOX").expect("IBX_BOX names a box");
    let run = |mode: &str, time: &str| {
        let mut command = std::process::Command::new("bash");
        command.args(["-c", script, "script", &crate::client::program(), mode, &name, time]);
        let seen = command.output().expect("bash");
        let [stdout, stderr] = [seen.stdout, seen.stderr].map(String::from_utf8);
        assert_eq!(
            (stdout.as_deref(), stderr.as_deref()),
            (Ok("288894\n0\n"), Ok("")),
            "{mode} {time}"
        );
    };
    std::thread::scope(|scope| {
        for time in ["8", "8", "8", "35", "65"] {
            scope.spawn(move || run("agent", time));
            scope.spawn(move || run("native", time));
        }
    });
}
