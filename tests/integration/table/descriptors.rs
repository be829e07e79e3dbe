//! Which of 0, 1 and 2 the command sees as a terminal: all eight combinations, and what else they
//! may be meanwhile.

use crate::support::{Case, script};

/// Ends with 40 and the sum of 1, 2 and 4 for each of stdin, stdout and stderr that is a terminal.
const ASK: &str = r#"sh -c 'n=40; [ -t 0 ] && n=$((n+1)); [ -t 1 ] && n=$((n+2)); [ -t 2 ] && n=$((n+4)); exit $n'"#;

fn asked(redirections: &str) -> Case {
    script(&format!(r#""$@" {ASK} {redirections}; echo "is $?""#)).on_terminal()
}

fn piped(before: &str, after: &str) -> Case {
    script(&format!(r#"{before} "$@" {ASK} {after}; echo "is ${{PIPESTATUS[*]}}""#)).on_terminal()
}

cases! {
    terminals_everywhere => asked("").gives(0, "is 47\r\n");
    stdin_is_no_terminal => asked("</dev/null").gives(0, "is 46\r\n");
    stdout_is_no_terminal => asked(">$T/o").gives(0, "is 45\r\n");
    stdin_and_stdout_are_no_terminals => asked("</dev/null >$T/o").gives(0, "is 44\r\n");
    stderr_is_no_terminal => asked("2>$T/e").gives(0, "is 43\r\n");
    stdin_and_stderr_are_no_terminals => asked("</dev/null 2>$T/e").gives(0, "is 42\r\n");
    stdout_and_stderr_are_no_terminals => asked(">$T/o 2>$T/e").gives(0, "is 41\r\n");
    nothing_is_a_terminal => asked("</dev/null >$T/o 2>$T/e").gives(0, "is 40\r\n");

    a_pipe_before_it_is_no_terminal => piped("true |", "").gives(0, "is 0 46\r\n");
    a_pipe_behind_it_is_no_terminal => piped("", "| cat").gives(0, "is 45 0\r\n");
    pipes_on_both_sides_leave_stderr_a_terminal => piped("true |", "| cat").gives(0, "is 0 44 0\r\n");
    a_pipe_for_both_outputs_leaves_stdin_a_terminal => piped("", "2>&1 | cat").gives(0, "is 41 0\r\n");

    errors_go_to_their_file_beside_a_terminal =>
        script(r#""$@" sh -c 'echo out; echo err >&2' 2>$T/e; echo "[$(cat $T/e)]""#).on_terminal()
        .gives(0, "out\r\n[err]\r\n");
    output_goes_to_its_file_beside_a_terminal =>
        script(r#""$@" sh -c 'echo out; echo err >&2' >$T/o; echo "[$(cat $T/o)]""#).on_terminal()
        .gives(0, "err\r\n[out]\r\n");
    piped_output_is_unchanged_beside_a_terminal =>
        script(r#""$@" printf 'a\nb\r\n' | od -c"#).on_terminal();
    piped_input_is_read_beside_a_terminal =>
        script(r#"printf 'a\nb\n' | "$@" cat"#).on_terminal().gives(0, "a\r\nb\r\n");
    a_terminals_stdin_is_left_to_the_next_reader =>
        script(r#""$@" true; echo ready; read -r x; echo "read $x""#).typed("ready", "mine\n")
        .gives(0, "ready\r\nmine\r\nread mine\r\n");
    dev_tty_is_the_terminal_between_pipes =>
        script(r#"echo in | "$@" sh -c 'cat >/dev/null; echo to the terminal >/dev/tty' | cat"#).on_terminal()
        .gives(0, "to the terminal\r\n");
    dev_tty_is_there_although_nothing_is_a_terminal =>
        script(r#""$@" sh -c 'echo to the terminal >/dev/tty' </dev/null >$T/o 2>$T/e; echo $?"#).on_terminal()
        .gives(0, "to the terminal\r\n0\r\n");
    dev_tty_is_missing_where_there_is_no_terminal =>
        script(r#"setsid "$@" sh -c ': >/dev/tty' 2>/dev/null; echo $?"#).gives(0, "2\n");
    // The echo of the answer and what is made of it come on two streams, whose order the daemon does
    // not keep on a busy machine; so there is some time between them.
    a_question_on_dev_tty_is_answered_from_the_keyboard =>
        script(r#"echo in | "$@" bash -c 'printf "question? " >/dev/tty; read -r x </dev/tty; sleep 0.5; echo "answer $x"' | cat"#)
        .typed("question? ", "yes\n").gives(0, "question? yes\r\nanswer yes\r\n");
    the_terminal_has_a_name => script(r#""$@" tty | sed 's/[0-9]//g'"#).on_terminal();
}
