//! What is known to come out otherwise than locally, by name and with the reason. Where it is
//! certain to, the tests assert it, so that this list stays true.

use crate::support::Way;

/// Cases that come out otherwise for one reason.
pub struct Known {
    /// The reason.
    pub why: &'static str,
    /// Whether they always do.
    pub is_certain: bool,
    ways: &'static [Way],
    cases: &'static [&'static str],
}

/// The known failure of a case, if there is one.
pub fn failure(way: Way, case: &str) -> Option<&'static Known> {
    KNOWN.iter().find(|known| known.ways.contains(&way) && known.cases.contains(&case))
}

/// The limits of Incus's own exec, which native mode shares.
const INCUS: &[Way] = &[Way::IncusExec, Way::Native];
/// What only Incus's client does.
const CLIENT: &[Way] = &[Way::IncusExec];

const fn always(ways: &'static [Way], why: &'static str, cases: &'static [&'static str]) -> Known {
    Known { why, is_certain: true, ways, cases }
}

const fn at_times(
    ways: &'static [Way],
    why: &'static str,
    cases: &'static [&'static str],
) -> Known {
    Known { why, is_certain: false, ways, cases }
}

const KNOWN: &[Known] = &[
    always(
        INCUS,
        "Incus tells a death by signal N as the status 128 + N",
        &[
            "a_death_by_hup_is_one",
            "a_death_by_int_is_one",
            "a_death_by_quit_is_one",
            "a_death_by_abrt_is_one",
            "a_death_by_kill_is_one",
            "a_death_by_usr1_is_one",
            "a_death_by_segv_is_one",
            "a_death_by_pipe_is_one",
            "a_death_by_term_is_one",
            "a_death_by_a_real_time_signal_is_one",
            "a_death_by_signal_on_a_terminal_is_one",
            "a_shell_sees_a_death_as_128_and_the_number",
            "output_before_a_death_is_not_lost",
            "the_last_word_before_a_death_is_shown",
            "ctrl_c_kills",
            "ctrl_backslash_kills",
            "ctrl_c_ends_a_loop_of_the_callers_shell",
        ],
    ),
    always(
        CLIENT,
        "a status of 126 or 127 is a failure to Incus, whoever chose it",
        &[
            "a_status_of_126_of_the_commands_own_arrives_without_a_word",
            "a_status_of_127_of_the_commands_own_arrives_without_a_word",
            "a_status_of_127_after_output_arrives_without_a_word",
        ],
    ),
    always(
        INCUS,
        "the request is JSON, which carries no bytes that are not UTF-8",
        &["arguments_that_are_not_utf_8_arrive", "a_variable_that_is_not_utf_8_arrives"],
    ),
    always(
        INCUS,
        "Incus gives one terminal for all three descriptors or none",
        &[
            "stdin_is_no_terminal",
            "stdout_is_no_terminal",
            "stdin_and_stdout_are_no_terminals",
            "stderr_is_no_terminal",
            "stdin_and_stderr_are_no_terminals",
            "stdout_and_stderr_are_no_terminals",
            "a_pipe_before_it_is_no_terminal",
            "a_pipe_behind_it_is_no_terminal",
            "pipes_on_both_sides_leave_stderr_a_terminal",
            "a_pipe_for_both_outputs_leaves_stdin_a_terminal",
            "errors_go_to_their_file_beside_a_terminal",
            "dev_tty_is_the_terminal_between_pipes",
            "dev_tty_is_there_although_nothing_is_a_terminal",
            "a_question_on_dev_tty_is_answered_from_the_keyboard",
            "the_terminal_has_a_name",
        ],
    ),
    always(
        INCUS,
        "Incus always gives three open descriptors, and none of them is /dev/null",
        &[
            "a_closed_stdin_is_closed",
            "a_closed_stdout_is_closed",
            "a_closed_stderr_is_closed",
            "dev_null_is_a_character_device",
        ],
    ),
    always(
        INCUS,
        "the pipes are root's, and opening one anew asks for permission",
        &[
            "dev_stdin_can_be_opened",
            "dev_stdout_can_be_opened",
            "dev_stderr_can_be_opened",
            "dev_fd_can_be_opened",
            "tee_writes_to_dev_stderr",
        ],
    ),
    always(
        INCUS,
        "stdin is read ahead: Incus does not tell what the command took",
        &[
            "a_files_rest_is_left",
            "a_large_files_rest_is_left",
            "a_file_is_untouched_by_a_command_that_does_not_read",
            "what_others_read_of_a_file_meanwhile_stays_read",
            "a_loop_over_a_file_loses_no_line",
            "a_loop_over_a_pipe_loses_no_line",
            "a_loop_whose_command_takes_a_line_gives_it_that_line",
            "a_pipes_rest_is_left",
            "a_large_pipes_rest_is_left",
            "two_commands_share_a_pipe",
        ],
    ),
    always(
        INCUS,
        "Incus starts every command with all signals at their default",
        &["what_the_caller_ignores_stays_ignored", "nohup_keeps_the_command_from_a_hangup"],
    ),
    always(INCUS, "Incus sets no SHELL", &["the_shell_is_the_users_own"]),
    always(CLIENT, "the client takes no locale over", &["the_locale_variables_are_the_callers"]),
    always(
        CLIENT,
        "the client does not tell that it could not write",
        &["a_full_disk_is_not_a_success_for_a_short_output_either"],
    ),
    always(
        CLIENT,
        "the client goes on reading when nobody reads from it, or dies and leaves the command",
        &["the_commands_shell_sees_the_sigpipe"],
    ),
    at_times(
        INCUS,
        "stdout and stderr are two streams that race",
        &["both_into_one_pipe_keep_their_order", "both_into_one_file_keep_their_order"],
    ),
    always(
        &[Way::IncusExec, Way::Native, Way::Agent],
        "the command's stdin is a pipe: it cannot seek back in the caller's file",
        &["a_reader_that_seeks_back_leaves_the_next_line"],
    ),
    always(
        &[Way::IncusExec, Way::Native, Way::Agent],
        "the command's stdin is a pipe: the error of reading a directory stays on the host",
        &["a_directory_as_stdin_is_an_error"],
    ),
];
