//! Runs that go on when the daemon of a real host goes away.

use crate::host::Host;

/// Runs in `dev` by the agent and natively, in pipes and on terminals. It fails where a terminal has
/// other settings than before.
const SCRIPT: &str = r#"export TERM=dumb; rm -rf ~/lost; mkdir ~/lost; cd ~/lost
    piped() { incusbox-run --mode $1 dev -- sleep $2 </dev/null >$2 2>&1; echo "status $?" >>$2; }
    shown() { script -qec "stty -g >$2.before; incusbox-run --mode $1 dev -- sleep $2; echo status \$?; stty -g >$2.after" /dev/null </dev/null >$2; }
    piped agent 7001 & piped native 7002 & shown agent 7003 & shown native 7004 & wait
    cmp 7003.before 7003.after && cmp 7004.before 7004.after && tail -n +1 700?"#;

/// `event` befalls the daemon meanwhile: each of them ends with 125, one message and the terminal as it was, and leaves nothing in the box.
pub fn ends_runs(host: &Host, who: &str, event: &str) {
    let all =
        r#"timeout 30 sh -c 'until [ "$(pgrep -cfx "sleep 700[1-4]")" = 4 ]; do sleep 0.1; done'"#;
    let told = std::thread::scope(|scope| {
        let runs = scope.spawn(|| host.sh(who, SCRIPT));
        host.root(all).succeeds();
        host.root(event).succeeds();
        runs.join().expect("the runs").succeeds().stdout
    });
    let each: Vec<&str> = told.split("==> 700").skip(1).collect();
    assert_eq!(each.len(), 4, "{told}");
    for run in each {
        let lines: Vec<&str> = run.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        let [_, cause, what_to_do, status] = lines[..] else { panic!("{run}") };
        // A terminal may show what was typed before.
        let message = "incusbox-run: the Incus daemon went away while the command ran in box `dev`";
        assert!(cause.ends_with(message), "{run}");
        assert_eq!(
            (what_to_do, status),
            ("incusbox-run: see: journalctl -u incus", "status 125"),
            "{run}"
        );
    }
    // Incus itself leaves what it runs in pipes.
    let left = "pkill -fx 'sleep 7002'; timeout 10 sh -c 'while pgrep -afx \"sleep 700[1-4]\" >&2; do sleep 0.1; done'";
    host.root(left).succeeds();
}
