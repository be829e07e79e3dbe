//! Real programs without a terminal: batch runs, filters, interpreters, tools of the host's that
//! run others.

use crate::support::{End, Input, Invocation, Outcome, Scratch, Way};

fn agent(command: &[&str]) -> Invocation {
    Invocation::by(Way::Agent, command)
}

#[test]
fn top_in_batch_mode_lists_processes() {
    let outcome = agent(&["top", "-b", "-n", "1"]).run();
    assert_eq!(outcome.end, End::Code(0), "{}", outcome.errors());
    assert!(outcome.text().contains("PID USER"));
}

#[test]
fn sudo_works_without_a_terminal() {
    assert_eq!(agent(&["sudo", "-n", "id", "-u"]).run(), Outcome::new(End::Code(0), "0\n"));
}

#[test]
fn tar_streams_through_both_ways() {
    let text = r#"mkdir $T/in $T/out; seq 1000 >$T/in/a; head -c 300000 /dev/urandom >$T/in/b
        tar -C $T/in -c . | "$@" sh -c 'd=$(mktemp -d); tar -C $d -x; tar -C $d -c .; rm -r $d' | tar -C $T/out -x
        diff -r $T/in $T/out && echo same"#;
    let scratch = Scratch::new();
    let outcome = Invocation::script(Way::Agent, text).variable("T", scratch.path()).run();
    assert_eq!(outcome, Outcome::new(End::Code(0), "same\n"));
}

#[test]
fn xargs_runs_it_for_every_item() {
    let outcome =
        Invocation::script(Way::Agent, r#"seq 8 | xargs -n 2 -P 2 "$@" echo | sort"#).run();
    assert_eq!(outcome, Outcome::new(End::Code(0), "1 2\n3 4\n5 6\n7 8\n"));
}

#[test]
fn find_runs_it_for_every_file() {
    let text = r#"touch $T/a $T/b; cd $T; find . -type f -exec "$@" basename {} \; | sort"#;
    let scratch = Scratch::new();
    let outcome = Invocation::script(Way::Agent, text).variable("T", scratch.path()).run();
    assert_eq!(outcome, Outcome::new(End::Code(0), "a\nb\n"));
}

#[test]
fn make_runs_it_in_recipes_and_fails_with_it() {
    let scratch = Scratch::new();
    scratch.file("Makefile", "all:\n\t@$(RUN) echo built\n\t@$(RUN) sh -c 'exit 3'\n");
    let text = r#"command -v make >/dev/null || { echo built; exit 2; }; make -s -C $T RUN="$*""#;
    let outcome = Invocation::script(Way::Agent, text).variable("T", scratch.path()).run();
    assert_eq!((outcome.end, outcome.text().as_str()), (End::Code(2), "built\n"));
}

#[test]
fn python_reads_its_program_from_stdin() {
    let program = b"import sys\nprint(sys.argv[1:])\nsys.exit(7)\n".to_vec();
    let outcome = agent(&["python3", "-", "a b"]).run_with(Input::Bytes(program));
    assert_eq!(outcome, Outcome::new(End::Code(7), "['a b']\n"));
}

#[test]
fn an_interpreter_as_a_coprocess_answers_line_by_line() {
    let text = r#"coproc "$@" python3 -uc 'import sys
for line in sys.stdin: print(eval(line), flush=True)'
        for sum in 1+1 2*21 10**20; do echo "$sum" >&${COPROC[1]}; read -r x <&${COPROC[0]}; echo "$x"; done"#;
    let outcome = Invocation::script(Way::Agent, text).run();
    assert_eq!(outcome, Outcome::new(End::Code(0), "2\n42\n100000000000000000000\n"));
}

#[test]
fn a_subprocess_of_pythons_captures_it() {
    let code = "import subprocess, sys; r = subprocess.run(sys.argv[1:], input=b'in', capture_output=True); print(r.returncode, r.stdout, r.stderr)";
    let mut words = vec!["python3".into(), "-c".into(), code.into()];
    words.extend(agent(&["sh", "-c", "cat; echo err >&2; kill -TERM $$"]).words);
    let outcome = Invocation::new(words).run();
    assert_eq!(outcome, Outcome::new(End::Code(0), "-15 b'in' b'err\\n'\n"));
}

#[test]
fn a_hundred_runs_one_after_another_leave_nothing_behind() {
    let outcome = Invocation::script(
        Way::Agent,
        r#"for i in $(seq 100); do "$@" true || echo "run $i: $?"; done; echo all"#,
    )
    .run();
    assert_eq!(outcome, Outcome::new(End::Code(0), "all\n"));
}

#[test]
fn fifty_runs_at_once_all_succeed() {
    let outcome = Invocation::script(
        Way::Agent,
        r#"for i in $(seq 50); do "$@" echo "$i" & done | sort -n | md5sum; wait; seq 50 | md5sum"#,
    )
    .run();
    let text = outcome.text();
    let sums: Vec<&str> = text.lines().collect();
    assert_eq!((sums.len(), sums[0]), (2, sums[1]));
}

/// Both are shown the same line, and one finds it taken when it takes what its command read.
#[test]
fn two_runs_at_once_on_one_pipe_both_end() {
    let text = r#"exec 3< <(echo line; exec sleep 100); writer=$!
        for i in 1 2; do "$@" sh -c 'sleep 1; read -r x; echo "$x"; sleep 1' <&3 & runs+=($!); done
        wait "${runs[@]}"; kill $writer"#;
    let outcome = Invocation::script(Way::Agent, text).run();
    assert_eq!(outcome, Outcome::new(End::Code(0), "line\nline\n"));
}
