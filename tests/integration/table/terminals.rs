//! Commands on a terminal, typed to and looked at, byte for byte as locally.

use crate::support::{argv, script};

cases! {
    lines_end_with_a_return_on_a_terminal => argv(["printf", "a\\nb\\n"]).on_terminal().gives(0, "a\r\nb\r\n");
    a_line_without_its_end_stays_one => argv(["printf", "prompt> "]).on_terminal().gives(0, "prompt> ");
    escape_sequences_pass => argv(["printf", "\\033[31mred\\033[0m\\n\\007"]).on_terminal();
    unicode_passes_on_a_terminal => argv(["echo", "grün 日本語 🦀"]).on_terminal();
    ten_thousand_lines_arrive_on_a_terminal => argv(["seq", "10000"]).on_terminal();
    stdout_and_stderr_keep_their_order_on_a_terminal =>
        argv(["sh", "-c", "for i in 1 2 3; do echo o$i; echo e$i >&2; done"]).on_terminal();
    what_is_typed_is_shown_and_read =>
        argv(["sh", "-c", "printf 'name? '; read -r x; echo \"hello $x\""]).typed("name? ", "you\n")
        .gives(0, "name? you\r\nhello you\r\n");
    unicode_is_typed =>
        argv(["bash", "-c", "printf 'name? '; read -r x; echo \"hello $x\""]).typed("name? ", "grün 🦀\n");
    a_return_key_ends_a_line =>
        argv(["sh", "-c", "printf 'name? '; read -r x; echo \"hello $x\""]).typed("name? ", "you\r");
    ctrl_d_ends_the_input => argv(["sh", "-c", "echo ready; cat; echo end"]).typed("ready\r\n", "line\n\x04")
        .gives(0, "ready\r\nline\r\nline\r\nend\r\n");
    ctrl_c_kills => argv(["sh", "-c", "echo ready; sleep 100"]).typed("ready\r\n", "\x03");
    ctrl_backslash_kills => argv(["sh", "-c", "ulimit -c 0; echo ready; exec sleep 100"]).typed("ready\r\n", "\x1c");
    ctrl_c_is_caught =>
        argv(["sh", "-c", "trap 'echo caught; exit 3' INT; echo ready; while :; do sleep 0.1; done"])
        .typed("ready\r\n", "\x03");
    ctrl_c_ends_a_loop_of_the_callers_shell =>
        script(r#"for i in 1 2 3; do "$@" sh -c 'echo ready; sleep 100'; done; echo after"#).typed("ready\r\n", "\x03");
    backspace_erases =>
        argv(["sh", "-c", "printf 'name? '; read -r x; echo \"hello $x\""]).typed("name? ", "yox\x7fu\n");
    ctrl_u_erases_the_line =>
        argv(["sh", "-c", "printf 'name? '; read -r x; echo \"hello $x\""]).typed("name? ", "wrong\x15right\n");
    ctrl_w_erases_a_word =>
        argv(["sh", "-c", "printf 'name? '; read -r x; echo \"hello $x\""]).typed("name? ", "a word\x17name\n");
    ctrl_v_takes_the_next_key_as_it_is =>
        argv(["sh", "-c", "printf 'name? '; read -r x; printf %s \"$x\" | od -An -c"]).typed("name? ", "a\x16\x03b\n");
    a_password_is_not_shown =>
        argv(["bash", "-c", "read -rsp 'Password: ' x; echo; echo \"got $x\""]).typed("Password: ", "secret\n")
        .gives(0, "Password: \r\ngot secret\r\n");
    echo_turned_off_by_stty_is_off =>
        argv(["sh", "-c", "stty -echo; printf 'key? '; read -r x; stty echo; echo; echo \"got $x\""])
        .typed("key? ", "secret\n").gives(0, "key? \r\ngot secret\r\n");
    single_keys_are_read =>
        argv(["bash", "-c", "printf 'key? '; read -rsn1 x; echo; echo \"got $x\""]).typed("key? ", "k")
        .gives(0, "key? \r\ngot k\r\n");
    raw_keys_are_read_unchanged =>
        argv(["bash", "-c", "stty raw -echo; printf 'keys? '; head -c 5 | od -An -tx1; stty sane"])
        .typed("keys? ", "\x03\x1a\r\x1b[");
    stdin_is_a_terminal_and_stdout_a_file =>
        script(r#""$@" sh -c 'echo "ready" >&2; read -r x; echo "$x"' >$T/o; cat $T/o"#).typed("ready\r\n", "typed\n");
    the_last_word_before_a_death_is_shown => argv(["sh", "-c", "echo last; kill -KILL $$"]).on_terminal();
    the_foreground_group_is_the_commands =>
        argv(["sh", "-c", "ps -o stat= -p $$ | grep -c +"]).on_terminal().gives(0, "1\r\n");
    a_command_in_the_background_of_the_box_may_write =>
        argv(["bash", "-c", "exec 2>/dev/null; set -m; (echo from behind) & wait"]).on_terminal();
    the_speed_and_modes_are_a_terminals => argv(["stty", "speed"]).on_terminal();
}
