//! Who gets the keys where only some of a run's descriptors are the terminal: the pager behind it,
//! or the program in the box that asks for them.

use crate::support::{End, Invocation, Pty, Way};

fn script(way: Way, text: &str) -> Pty {
    let invocation = Invocation::script(way, text).variable("TERM", "xterm");
    Pty::start(&invocation.variable("LESS", "").variable("FZF_DEFAULT_OPTS", ""))
}

fn a_pager_behind_it_gets_the_keys(way: Way) {
    let mut pty = script(way, r#""$@" seq 1000 | less; echo "${PIPESTATUS[*]}""#);
    pty.wait_for("\r\n23").send(" ");
    pty.wait_for("\r\n46").send("G");
    pty.wait_for("\r\n1000").send("q");
    pty.wait_for("0 0\r\n");
    assert_eq!(pty.wait(), End::Code(0));
}

fn a_pager_behind_a_command_that_goes_on_gets_the_keys(way: Way) {
    let mut pty = script(way, r#""$@" yes line | less; echo "${PIPESTATUS[*]}""#);
    pty.wait_for("line\r\n").wait_for(":").send(" ");
    pty.wait_for("line").wait_for(":").send("q");
    pty.wait_for("141 0\r\n");
    assert_eq!(pty.wait(), End::Code(0));
}

/// It reads them late, as a pager that waits for more to show.
fn a_key_for_a_program_behind_it_that_wants_single_ones_stays(way: Way) {
    let behind = r#"stty -icanon -echo; echo ready; sleep 1; read -rn 1 key; echo "key $key""#;
    let text = format!(r#""$@" sleep 3 | bash -c '{behind}' </dev/tty"#);
    let mut pty = script(way, &text);
    pty.wait_for("ready\r\n").send("k");
    pty.wait_for("key k\r\n");
    assert_eq!(pty.wait(), End::Code(0));
}

fn a_menu_in_the_box_picks_a_line_of_the_callers(way: Way) {
    let mut pty = script(
        way,
        r#"seq 20 | "$@" fzf >$HOME/picked-$$; cat $HOME/picked-$$; rm $HOME/picked-$$"#,
    );
    // After the first key there are three: no count that ends as the one that is waited for.
    pty.wait_for("20/20").send("20");
    pty.wait_for("1/20").send("\r");
    let outcome = pty.end();
    assert_eq!(outcome.end, End::Code(0));
    assert!(outcome.text().ends_with("20\r\n"), "{}", outcome.text());
}

fn a_menu_in_the_box_feeds_a_pipe(way: Way) {
    let mut pty = script(way, r#"seq 20 | "$@" fzf | sed 's/^/picked /'"#);
    pty.wait_for("20/20").send("\x1b[A");
    std::thread::sleep(std::time::Duration::from_millis(300));
    pty.send("\r");
    // First the menu leaves the screen, then the line appears, or it would leave with the menu.
    pty.wait_for("\x1b[?1049l").wait_for("picked 2");
    assert_eq!(pty.wait(), End::Code(0));
}

fn a_pager_in_the_box_reads_a_pipe_and_the_keys(way: Way) {
    let mut pty = script(way, r#"seq 1000 | "$@" less; echo "status $?""#);
    pty.wait_for("23").send("G");
    pty.wait_for("1000").send("q");
    pty.wait_for("status 0\r\n");
    assert_eq!(pty.wait(), End::Code(0));
}

fn a_password_prompt_on_dev_tty_is_answered(way: Way) {
    let text = r#"echo data | "$@" bash -c 'read -rsp "Password: " x </dev/tty 2>/dev/tty; echo "got $x and $(cat)"' | cat"#;
    let mut pty = script(way, text);
    pty.wait_for("Password: ").idle(std::time::Duration::from_millis(400)).send("secret\n");
    pty.wait_for("got secret and data\r\n");
    assert!(!String::from_utf8_lossy(pty.seen()).contains("Password: secret"));
    assert_eq!(pty.wait(), End::Code(0));
}

fn two_runs_in_a_pipeline_leave_the_keys_to_the_one_that_asks(way: Way) {
    let mut pty = script(way, r#""$@" seq 20 | "$@" fzf | "$@" sed 's/^/picked /'"#);
    pty.wait_for("20/20").send("20");
    pty.wait_for("1/20").send("\r");
    pty.wait_for("picked 20\r\n");
    assert_eq!(pty.wait(), End::Code(0));
}

in_ways! {
    a_pager_behind_it_gets_the_keys: Local Native Agent;
    a_pager_behind_a_command_that_goes_on_gets_the_keys: Local Agent;
    a_key_for_a_program_behind_it_that_wants_single_ones_stays: Local Native Agent;
    a_menu_in_the_box_picks_a_line_of_the_callers: Local Agent;
    a_menu_in_the_box_feeds_a_pipe: Local Agent;
    a_pager_in_the_box_reads_a_pipe_and_the_keys: Local Agent;
    a_password_prompt_on_dev_tty_is_answered: Local Agent;
    two_runs_in_a_pipeline_leave_the_keys_to_the_one_that_asks: Local Agent;
}
