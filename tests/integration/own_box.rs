//! What needs a box of its own: a stopped one, one that is not marked, one that never saw an agent.
//! Making one takes seconds, so several steps share it, in order.

use std::time::{Duration, Instant};

use crate::support::{End, Input, Invocation, Outcome, Pty, home, scratch, ways};

/// A box that is deleted at the end.
pub struct OwnBox(pub String);

impl OwnBox {
    /// Makes one; `what` is in its name.
    pub fn new(what: &str) -> OwnBox {
        let name = format!("itest-{}-{what}{}", std::process::id(), scratch::unique());
        let own = OwnBox(name);
        succeeds(Invocation::new([ways::box_script().as_os_str(), own.0.as_ref()]));
        own
    }

    /// Runs a command in it.
    pub fn run(&self, options: &[&str], command: &[&str]) -> Outcome {
        self.invocation(options, command).run()
    }

    fn invocation(&self, options: &[&str], command: &[&str]) -> Invocation {
        let words = [options, &[self.0.as_str(), "--"], command].concat();
        Invocation::program(words)
    }

    fn incus(&self, words: &[&str]) {
        succeeds(Invocation::new([&["incus"], words].concat()));
    }

    fn stop(&self) {
        self.incus(&["stop", "--force", &self.0]);
    }

    /// Makes it a box that never saw an agent.
    fn forget_agent(&self) {
        self.incus(&["exec", &self.0, "--", "rm", "-rf", "/usr/local/lib/incusbox"]);
    }
}

impl Drop for OwnBox {
    fn drop(&mut self) {
        let mut words = vec![ways::box_script().into_os_string()];
        words.extend(["--rm", &self.0].map(Into::into));
        let _said_by_the_script = Invocation::new(words).patience(60).run();
    }
}

fn succeeds(invocation: Invocation) {
    let outcome = invocation.clone().patience(60).run();
    assert_eq!(outcome.end, End::Code(0), "{}: {}", invocation.shown(), outcome.errors());
}

#[test]
fn a_box_that_never_saw_an_agent() {
    let own = OwnBox::new("fresh");
    an_instance_that_is_not_marked_is_left_alone_by_the_agent(&own);
    the_first_run_in_a_box_brings_the_agent_and_the_second_does_not(&own);
    twenty_first_runs_at_once_all_bring_the_agent_and_all_work(&own);
    the_first_run_of_all_may_be_on_a_terminal(&own);
    profiles_of_the_box_are_heeded(&own);
}

#[test]
fn a_box_that_does_not_run() {
    let own = OwnBox::new("stopped");
    a_stopped_box_is_not_started_where_that_is_refused(&own);
    a_stopped_box_is_started_without_a_word_where_nobody_looks(&own);
    a_stopped_box_is_started_with_a_word_on_a_terminal(&own);
    a_stopped_instance_is_started_in_native_mode_too(&own);
    ten_runs_at_once_start_a_stopped_box_once(&own);
    a_frozen_box_is_our_failure(&own);
}

fn an_instance_that_is_not_marked_is_left_alone_by_the_agent(own: &OwnBox) {
    own.incus(&["config", "unset", &own.0, "user.incusbox.box"]);
    let text = "echo ${INCUSBOX_BOX-native}; ls -d /usr/local/lib/incusbox 2>/dev/null; exit 3";
    let ask = ["sh", "-c", text];
    // Twice: the first run must not have left anything behind that changes the second.
    for _ in 0..2 {
        assert_eq!(own.run(&[], &ask), Outcome::new(End::Code(3), "native\n"));
    }
    assert_eq!(own.run(&["--mode=native"], &ask), Outcome::new(End::Code(3), "native\n"));
    let outcome = own.run(&["-v"], &["true"]);
    assert!(outcome.errors().contains("not marked"), "{}", outcome.errors());
    // Who insists gets the agent.
    let outcome = own.run(&["--mode=agent"], &["sh", "-c", "echo $INCUSBOX_BOX"]);
    assert_eq!(outcome, Outcome::new(End::Code(0), format!("{}\n", own.0)));
    own.incus(&["config", "set", &own.0, "user.incusbox.box=true"]);
}

fn the_first_run_in_a_box_brings_the_agent_and_the_second_does_not(own: &OwnBox) {
    own.forget_agent();
    let input = Input::Bytes(b"through\n".to_vec());
    let outcome = own.invocation(&["-v"], &["cat"]).run_with(input);
    assert_eq!((outcome.end, outcome.text().as_str()), (End::Code(0), "through\n"));
    assert!(outcome.errors().contains("copied"), "{}", outcome.errors());
    let outcome = own.run(&["-v"], &["true"]);
    assert!(!outcome.errors().contains("copied"), "{}", outcome.errors());
}

fn twenty_first_runs_at_once_all_bring_the_agent_and_all_work(own: &OwnBox) {
    own.forget_agent();
    std::thread::scope(|scope| {
        for number in 0..20 {
            scope.spawn(move || {
                let number = number.to_string();
                let outcome = own.run(&[], &["echo", &number]);
                assert_eq!(outcome, Outcome::new(End::Code(0), format!("{number}\n")));
            });
        }
    });
}

fn the_first_run_of_all_may_be_on_a_terminal(own: &OwnBox) {
    own.forget_agent();
    let text = "stty size; read -r x; echo \"<$x>\"";
    let mut pty = Pty::start(&own.invocation(&[], &["sh", "-c", text]));
    pty.wait_for("24 80\r\n").send("typed\n");
    pty.wait_for("<typed>\r\n");
    assert_eq!(pty.wait(), End::Code(0));
}

fn profiles_of_the_box_are_heeded(own: &OwnBox) {
    let file = "/etc/profile.d/ibxt.sh";
    let root = |text: &str| succeeds(own.invocation(&["--root"], &["sh", "-c", text]));
    root(&format!("echo 'export IBXT=seen; PATH=$HOME/ibxt-bin:$PATH' >{file}"));
    let outcome = own.run(&[], &["sh", "-c", "echo $IBXT; echo $PATH"]);
    let expected = format!("seen\n{}/ibxt-bin:", home().display());
    assert!(outcome.text().starts_with(&expected), "{}", outcome.text());
    root(&format!("rm {file}"));
    let outcome = own.run(&[], &["sh", "-c", "echo ${IBXT-gone}"]);
    assert_eq!(outcome, Outcome::new(End::Code(0), "gone\n"));
}

fn a_stopped_box_is_not_started_where_that_is_refused(own: &OwnBox) {
    own.stop();
    for mode in ["--mode=agent", "--mode=native", "--mode=auto"] {
        let outcome = own.run(&["--no-start", mode], &["true"]);
        assert_eq!(outcome.end, End::Code(125));
        let errors = outcome.errors();
        assert!(errors.contains(&format!("box `{}` is stopped", own.0)), "{errors}");
        assert!(errors.contains("incus start"), "{errors}");
    }
}

fn a_stopped_box_is_started_without_a_word_where_nobody_looks(own: &OwnBox) {
    assert_eq!(own.run(&[], &["echo", "up"]), Outcome::new(End::Code(0), "up\n"));
}

fn a_stopped_box_is_started_with_a_word_on_a_terminal(own: &OwnBox) {
    own.stop();
    let shown = Pty::start(&own.invocation(&[], &["echo", "up"])).end();
    let said = format!("incusbox-run: starting box `{}` …\r\n", own.0);
    assert_eq!((shown.end, shown.text()), (End::Code(0), format!("{said}up\r\n")));
}

fn a_stopped_instance_is_started_in_native_mode_too(own: &OwnBox) {
    own.stop();
    let outcome = own.run(&["--mode=native"], &["echo", "up"]);
    assert_eq!(outcome, Outcome::new(End::Code(0), "up\n"));
}

fn ten_runs_at_once_start_a_stopped_box_once(own: &OwnBox) {
    own.stop();
    std::thread::scope(|scope| {
        for _ in 0..10 {
            scope.spawn(|| {
                assert_eq!(own.run(&[], &["echo", "up"]), Outcome::new(End::Code(0), "up\n"));
            });
        }
    });
}

fn a_frozen_box_is_our_failure(own: &OwnBox) {
    own.incus(&["pause", &own.0]);
    let began = Instant::now();
    let outcome = own.run(&[], &["true"]);
    let took = began.elapsed();
    own.incus(&["resume", &own.0]);
    assert_eq!(outcome.end, End::Code(125));
    assert!(outcome.errors().contains("is frozen"), "{}", outcome.errors());
    assert!(took < Duration::from_secs(5), "took {took:?}");
}
