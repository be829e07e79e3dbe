//! The terminal as the command sees it: size, settings, titles; and that it shows every last line.

use std::time::Duration;

use rustix::termios::{InputModes, LocalModes, OutputModes, SpecialCodeIndex};

use crate::support::pty::Terminal;
use crate::support::{End, Invocation, Pty, Way, ways};

fn the_size_is_there_from_the_start(way: Way) {
    let terminal = Terminal::new();
    terminal.set_size(123, 45);
    let outcome = terminal.start(&Invocation::by(way, ["stty", "size"])).end();
    assert_eq!(outcome.text(), "45 123\r\n");
}

fn a_new_size_arrives_with_its_signal(way: Way) {
    // A key ends it.
    let code = r#"$SIG{WINCH} = sub { system "stty size" }; system "stty size";
        do { vec($in = "", 0, 1) = 1 } until select($in, undef, undef, 0.1) > 0"#;
    let mut pty = Pty::start(&Invocation::by(way, ["perl", "-e", code]));
    pty.wait_for("24 80\r\n");
    for (columns, rows) in [(100, 30), (40, 10), (250, 80)] {
        pty.resize(columns, rows);
        pty.wait_for(&format!("{rows} {columns}\r\n"));
    }
    pty.send("\n");
    assert_eq!(pty.wait(), End::Code(0));
}

in_ways! {
    the_size_is_there_from_the_start: Local Native Agent;
    a_new_size_arrives_with_its_signal: Local Native Agent;
}

#[test]
fn a_size_of_nothing_is_taken_over_too() {
    let terminal = Terminal::new();
    terminal.set_size(0, 0);
    let outcome = terminal.start(&Invocation::by(Way::Agent, ["stty", "size"])).end();
    assert_eq!(outcome.text(), "0 0\r\n");
}

/// `stty -a` of a command on a terminal of unusual settings.
fn stty_by(way: Way) -> String {
    let terminal = Terminal::new();
    terminal.change(|settings| {
        settings.input_modes.insert(InputModes::IUTF8 | InputModes::IXOFF);
        settings.input_modes.remove(InputModes::IXON);
        settings.output_modes.insert(OutputModes::TAB3);
        settings.local_modes.remove(LocalModes::ECHOK | LocalModes::ECHOCTL);
        settings.special_codes[SpecialCodeIndex::VERASE] = 8;
        settings.special_codes[SpecialCodeIndex::VINTR] = 24;
        settings.special_codes[SpecialCodeIndex::VSUSP] = 0;
    });
    terminal.start(&Invocation::by(way, ["stty", "-a"])).end().text()
}

#[test]
fn every_setting_of_the_terminal_is_taken_over() {
    let expected = stty_by(Way::Local);
    assert!(expected.contains("iutf8") && expected.contains("erase = ^H"), "{expected}");
    assert_eq!(stty_by(Way::Agent), expected);
}

#[test]
fn every_setting_of_a_terminal_that_is_only_stdout_is_taken_over() {
    let run = |way| {
        let terminal = Terminal::new();
        terminal.change(|settings| settings.special_codes[SpecialCodeIndex::VERASE] = 8);
        let text = r#""$@" stty -a -F /dev/tty </dev/null"#;
        terminal.start(&Invocation::script(way, text)).end().text()
    };
    assert_eq!(run(Way::Agent), run(Way::Local));
}

fn titles(invocation: Invocation) -> String {
    Pty::start(&invocation.variable("TERM", "xterm-256color")).end().text()
}

#[test]
fn an_interactive_run_tells_the_terminal_where_it_is() {
    let name = ways::shared_box();
    let push = format!("\x1b]777;container;push;{name};incusbox\x1b\\");
    let pop = "\x1b]777;container;pop;;\x1b\\";
    let shown = titles(Invocation::by(Way::Agent, ["echo", "inside"]));
    assert_eq!(shown, format!("{push}inside\r\n{pop}"));
    let shown = titles(Invocation::by(Way::Agent, ["sh", "-c", "kill -KILL $$"]));
    assert_eq!(shown, format!("{push}{pop}"));
}

#[test]
fn a_run_that_is_not_interactive_tells_the_terminal_nothing() {
    for text in [r#""$@" echo x | cat"#, r#"echo x | "$@" cat"#, r#""$@" ibx-no-such 2>/dev/null"#]
    {
        let shown = titles(Invocation::script(Way::Agent, text));
        assert!(!shown.contains("\x1b]777"), "{text}: {shown:?}");
    }
}

/// What of a script is shown, one after the other; `keys` are typed at "ready". What bash says of a job
/// has the words as they stand in the script.
fn shown_in_turn(script: &str, keys: &str) -> Vec<&'static str> {
    let invocation = Invocation::script(Way::Agent, script).variable("TERM", "xterm-256color");
    let mut pty = Pty::start(&invocation);
    // A child that shells make by vfork(2) must not stop before it is another program: then neither
    // stops for who waits for them, here or there.
    pty.wait_for("ready").idle(Duration::from_millis(200)).send(keys);
    let text = pty.end().text();
    let mut shown = Vec::new();
    for (at, _) in text.char_indices() {
        let marks = [";push;", ";pop;", "ready", "stopped", "more", "over"];
        shown.extend(marks.into_iter().find(|mark| text[at..].starts_with(mark)));
    }
    shown
}

#[test]
fn a_terminal_shows_no_box_while_the_run_there_is_stopped_or_in_the_background() {
    let stopped = r#"set -m; "$@" sh -c 'echo re""ady; sleep 1; echo mo""re'; echo stopped"#;
    let ctrl_z = crate::support::pty::CTRL_Z;
    let shown = shown_in_turn(&format!("{stopped}; fg >/dev/null; echo over"), ctrl_z);
    assert_eq!(shown, [";push;", "ready", ";pop;", "stopped", ";push;", "more", ";pop;", "over"]);
    let shown = shown_in_turn(&format!("{stopped}; bg >/dev/null; wait; echo over"), ctrl_z);
    assert_eq!(shown, [";push;", "ready", ";pop;", "stopped", "more", "over"]);
    let behind = r#"set -m; "$@" sh -c 'echo re""ady; sleep 1; echo mo""re' & wait; echo over"#;
    assert_eq!(shown_in_turn(behind, ""), ["ready", "more", "over"]);
    // It stops for the keyboard, and gets it.
    let asks = r#"set -m; "$@" sh -c 'echo re""ady; read -r x; echo mo""re' & wait %1; fg >/dev/null; echo over"#;
    assert_eq!(shown_in_turn(asks, "\n"), ["ready", ";push;", "more", ";pop;", "over"]);
}

/// A thousand, because a race that loses the last line may show once in hundreds.
#[test]
fn a_thousand_short_runs_lose_no_last_line() {
    let runs = |thread: u32| {
        let text = format!(
            r#"for i in $(seq 250); do "$@" echo "last line {thread} $i" || echo "status $?"; done"#
        );
        let mut pty = Pty::start(&Invocation::script(Way::Agent, &text));
        for number in 1..=250 {
            pty.wait_for(&format!("last line {thread} {number}\r\n"));
        }
        let outcome = pty.end();
        assert_eq!(outcome.end, End::Code(0));
        let expected: String = (1..=250).map(|n| format!("last line {thread} {n}\r\n")).collect();
        assert_eq!(outcome.text(), expected);
    };
    std::thread::scope(|scope| {
        for thread in 1..=4 {
            scope.spawn(move || runs(thread));
        }
    });
}
