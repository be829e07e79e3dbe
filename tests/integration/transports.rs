//! `incusbox-run` as a remote shell: rsync, git, and what speaks through ssh's arguments.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use crate::support::{End, Invocation, Scratch, Way, scratch, ways};

/// A program that takes ssh's arguments: HOST COMMAND…, where the words are joined for a shell.
fn remote_shell(scratch: &Scratch) -> PathBuf {
    let program = ways::program().to_str().expect("a path");
    let text = format!(
        "#!/bin/sh\nwhile getopts 46o:p:l: x; do :; done; shift $((OPTIND - 1))\n\
         box=$1; shift\nexec '{program}' \"$box\" -- sh -c \"$*\"\n"
    );
    let path = scratch.file("remote-shell", text);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("chmod");
    path
}

/// Runs a script of the host's; `$RSH` is the remote shell, `$BOX` the box, `$D` a directory name
/// that may be made in the box's home.
fn run(text: &str) -> String {
    let scratch = Scratch::new();
    let name = format!("ibxt-{}-{}", std::process::id(), scratch::unique());
    let directory = format!("{}/{name}", ways::home().display());
    let outcome = Invocation::new(["bash", "-euc", text])
        .variable("T", scratch.path())
        .variable("RSH", remote_shell(&scratch))
        .variable("BOX", ways::shared_box())
        .variable("D", &directory)
        .variable("GIT_CONFIG_GLOBAL", "/dev/null")
        .run();
    Invocation::by(Way::Agent, ["rm", "-rf", &directory]).run();
    assert_eq!(outcome.end, End::Code(0), "{}", outcome.errors());
    outcome.text()
}

#[test]
fn rsync_copies_to_and_from_the_box() {
    let text = r#"
        mkdir -p $T/in/sub; seq 5000 >$T/in/a; head -c 500000 /dev/urandom >$T/in/sub/b
        touch "$T/in/a file with spaces"; ln -s a $T/in/link
        rsync -a -e $RSH $T/in/ $BOX:$D/
        rsync -a -e $RSH $BOX:$D/ $T/out/
        diff -r --no-dereference $T/in $T/out && echo same
        echo more >>$T/in/a; rsync -ai -e $RSH $T/in/ $BOX:$D/ | grep -c 'a$'"#;
    assert_eq!(run(text), "same\n1\n");
}

#[test]
fn rsync_deletes_and_reports_errors_of_the_far_side() {
    let text = r#"
        mkdir $T/in; touch $T/in/a $T/in/b; rsync -a -e $RSH $T/in/ $BOX:$D/
        rm $T/in/b; rsync -a --delete -e $RSH $T/in/ $BOX:$D/; $RSH $BOX ls $D
        rsync -a -e $RSH $BOX:/nowhere/ $T/x 2>/dev/null || echo "failed $?""#;
    assert_eq!(run(text), "a\nfailed 23\n");
}

const REPOSITORY: &str = r#"
    $RSH $BOX "git init -q $D; cd $D; seq 20000 >numbers; git add .; git -c user.name=Dev -c user.email=dev@localhost commit -qm first; git config receive.denyCurrentBranch ignore"
"#;

#[test]
fn git_clones_fetches_and_pushes_over_a_remote_shell() {
    let text = format!(
        r#"{REPOSITORY}
        export GIT_SSH_COMMAND=$RSH GIT_SSH_VARIANT=ssh
        git clone -q $BOX:$D $T/clone; cd $T/clone; git log --format=%s; wc -l <numbers
        echo more >>numbers; git -c user.name=Dev -c user.email=dev@localhost commit -qam second
        git push -q origin HEAD; $RSH $BOX "cd $D && git log -1 --format=%s"
        git fetch -q && git status -sb | head -1 | cut -c1-3"#
    );
    assert_eq!(run(&text), "first\n20000\nsecond\n## \n");
}

#[test]
fn git_clones_over_an_external_transport() {
    let program = ways::program().to_str().expect("a path");
    let text = format!(
        r#"{REPOSITORY}
        git -c protocol.ext.allow=always clone -q "ext::{program} $BOX -- %S $D" $T/clone
        md5sum <$T/clone/numbers; seq 20000 | md5sum"#
    );
    let told = run(&text);
    let sums: Vec<&str> = told.lines().collect();
    assert_eq!((sums.len(), sums[0]), (2, sums[1]));
}

#[test]
fn a_remote_shell_keeps_quoting_and_status() {
    assert_eq!(run(r#"$RSH $BOX 'echo "a  b"; exit 6' || echo "status $?""#), "a  b\nstatus 6\n");
}

#[test]
fn scp_like_copies_through_cat_are_exact() {
    let text = r#"head -c 1000000 /dev/urandom >$T/a; $RSH $BOX "cat >$D" <$T/a; $RSH $BOX "cat $D" >$T/b
        cmp $T/a $T/b && echo same"#;
    assert_eq!(run(text), "same\n");
}
