//! How a command ends: every status, the commands that cannot be run, the deaths by signal.

use crate::support::{argv, script};

cases! {
    a_status_of_0_arrives => argv(["true"]).gives(0, "");
    a_status_of_1_arrives => argv(["false"]).gives(1, "");
    a_status_of_2_arrives => argv(["sh", "-c", "exit 2"]).gives(2, "");
    a_status_of_125_of_the_commands_own_arrives => argv(["sh", "-c", "exit 125"]).gives(125, "");
    a_status_of_126_of_the_commands_own_arrives_without_a_word =>
        argv(["sh", "-c", "exit 126"]).gives(126, "");
    a_status_of_127_of_the_commands_own_arrives_without_a_word =>
        argv(["sh", "-c", "exit 127"]).gives(127, "");
    a_status_of_127_after_output_arrives_without_a_word =>
        argv(["sh", "-c", "echo out; exit 127"]).gives(127, "out\n");
    a_status_of_128_arrives => argv(["sh", "-c", "exit 128"]).gives(128, "");
    a_status_of_130_is_not_a_death_by_signal => argv(["sh", "-c", "exit 130"]).gives(130, "");
    a_status_of_143_is_not_a_death_by_signal => argv(["sh", "-c", "exit 143"]).gives(143, "");
    a_status_of_255_arrives => argv(["sh", "-c", "exit 255"]).gives(255, "");

    a_command_that_does_not_exist_is_127 =>
        argv(["ibx-no-such-command"]).whatever_stderr().gives(127, "");
    a_path_that_does_not_exist_is_127 =>
        argv(["/nowhere/ibx-no-such-command"]).whatever_stderr().gives(127, "");
    an_empty_name_is_127 => argv([""]).whatever_stderr().gives(127, "");
    a_file_that_is_not_executable_is_126 => argv(["/etc/passwd"]).whatever_stderr().gives(126, "");
    a_directory_is_126 => argv(["/etc"]).whatever_stderr().gives(126, "");
    a_shell_goes_on_after_127 =>
        script(r#""$@" ibx-no-such-command 2>/dev/null || echo "alternative after $?""#)
        .gives(0, "alternative after 127\n");

    a_death_by_hup_is_one => argv(["sh", "-c", "kill -HUP $$"]).dies_by(1);
    a_death_by_int_is_one => argv(["sh", "-c", "kill -INT $$"]).dies_by(2);
    a_death_by_quit_is_one => argv(["sh", "-c", "ulimit -c 0; kill -QUIT $$"]).dies_by(3);
    a_death_by_abrt_is_one => argv(["sh", "-c", "ulimit -c 0; kill -ABRT $$"]).dies_by(6);
    a_death_by_kill_is_one => argv(["sh", "-c", "kill -KILL $$"]).dies_by(9);
    a_death_by_usr1_is_one => argv(["sh", "-c", "kill -USR1 $$"]).dies_by(10);
    a_death_by_segv_is_one => argv(["sh", "-c", "ulimit -c 0; kill -SEGV $$"]).dies_by(11);
    a_death_by_pipe_is_one => argv(["sh", "-c", "kill -PIPE $$"]).dies_by(13);
    a_death_by_term_is_one => argv(["sh", "-c", "kill -TERM $$"]).dies_by(15);
    a_death_by_a_real_time_signal_is_one => argv(["bash", "-c", "kill -40 $$"]).dies_by(40);
    output_before_a_death_is_not_lost =>
        argv(["sh", "-c", "echo out; echo err >&2; kill -KILL $$"]);
    a_shell_sees_a_death_as_128_and_the_number =>
        script(r#""$@" sh -c 'kill -TERM $$'; echo "status $?""#);
    a_loop_ends_with_a_command_that_died_of_int =>
        script(r#"for i in 1 2 3; do echo "$i"; "$@" sh -c 'kill -INT $$'; done; echo after"#);
    a_death_by_signal_on_a_terminal_is_one => argv(["sh", "-c", "kill -TERM $$"])
        .on_terminal().dies_by(15);
    a_status_on_a_terminal_arrives => argv(["sh", "-c", "exit 42"]).on_terminal().gives(42, "");
    a_command_that_does_not_exist_is_127_on_a_terminal =>
        script(r#""$@" ibx-no-such-command 2>/dev/null; echo $?"#).on_terminal();
}
