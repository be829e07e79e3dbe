//! Boxes that are broken, bare or set as a trap.

use crate::agent::protocol::setup::SetupEvent;
use std::path::Path;

use crate::agent::setup::fixture::{self, Scratch};
use crate::agent::setup::tree::Access;

#[test]
fn a_tree_without_any_file_gets_an_account_beside_root() {
    let scratch = Scratch::new();
    let (_, result) = scratch.set_up(&fixture::request());
    let result = result.expect("a set-up");
    assert_eq!((result.distribution.as_str(), result.package_manager), ("linux", None));
    assert_eq!(
        scratch.text("etc/passwd"),
        "root:x:0:0:root:/root:/bin/sh\ndev:!:1000:1000:Dev Eloper,,,:/home/dev:/bin/sh\n"
    );
    assert_eq!(scratch.text("etc/group"), "root:x:0:\ndev:x:1000:\n");
    assert!(!scratch.has("etc/shadow") && !scratch.has("etc/gshadow"));
}

#[test]
fn files_without_a_last_newline_with_carriage_returns_and_lines_of_nis_are_kept() {
    let scratch = Scratch::new();
    scratch.file("etc/passwd", "root:x:0:0::/root:/bin/sh\r\nbroken\n\n# x\n+::::::");
    scratch.file("etc/group", "root:x:0:");
    scratch.set_up(&fixture::request()).1.expect("a set-up");
    assert_eq!(
        scratch.text("etc/passwd"),
        "root:x:0:0::/root:/bin/sh\r\nbroken\n\n# x\n\
         dev:!:1000:1000:Dev Eloper,,,:/home/dev:/bin/sh\n+::::::"
    );
    assert_eq!(scratch.text("etc/group"), "root:x:0:\ndev:x:1000:\n");
}

#[test]
fn what_is_no_file_is_neither_read_nor_written() {
    let scratch = Scratch::of("debian-12");
    std::fs::remove_file(scratch.path.join("etc/passwd")).expect("a file");
    scratch.directory("etc/passwd");
    let text = scratch.set_up(&fixture::request()).1.expect_err("a refusal");
    assert!(text.contains("`/etc/passwd` in the box is a directory"), "{text}");

    let scratch = Scratch::of("debian-12");
    std::fs::remove_file(scratch.path.join("etc/group")).expect("a file");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        scratch.path.join("fifo"),
        rustix::fs::FileType::Fifo,
        0o600.into(),
        0,
    )
    .expect("a fifo");
    scratch.link("etc/group", "../fifo");
    let text = scratch.set_up(&fixture::request()).1.expect_err("a refusal");
    assert!(text.contains("`/etc/group` in the box is a fifo"), "{text}");
}

#[test]
fn a_link_is_followed_inside_the_box_only_and_one_to_nowhere_is_told() {
    let scratch = Scratch::of("debian-12");
    std::fs::rename(scratch.path.join("etc/passwd"), scratch.path.join("passwd")).expect("mv");
    scratch.link("etc/passwd", "/passwd");
    scratch.set_up(&fixture::request()).1.expect("a set-up");
    assert!(scratch.text("passwd").contains("\ndev:x:1000:"));
    assert!(scratch.path.join("etc/passwd").is_symlink());

    let scratch = Scratch::of("debian-12");
    let outside = Scratch::new();
    outside.file("hostname", "outside\n");
    std::fs::remove_file(scratch.path.join("etc/hosts")).expect("a file");
    scratch.link("etc/hosts", outside.path.join("hostname").to_str().expect("text"));
    let text = scratch.set_up(&fixture::request()).1.expect_err("a refusal");
    assert!(text.contains("`/etc/hosts` in the box is a link that leads nowhere"), "{text}");
    assert_eq!(outside.text("hostname"), "outside\n");
}

#[test]
fn mode_and_owner_of_a_file_are_kept() {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    let scratch = Scratch::of("debian-12");
    let shadow = scratch.path.join("etc/shadow");
    std::fs::set_permissions(&shadow, PermissionsExt::from_mode(0o640)).expect("chmod");
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(&shadow, Some(0), Some(42)).expect("chown");
    }
    let before = shadow.metadata().expect("metadata");
    scratch.set_up(&fixture::request()).1.expect("a set-up");
    let after = shadow.metadata().expect("metadata");
    assert_eq!((before.mode(), before.gid()), (after.mode(), after.gid()));
    assert_ne!(before.ino(), after.ino());
}

#[test]
fn while_another_holds_the_lock_nothing_is_written() {
    let scratch = Scratch::of("debian-12");
    let lock = scratch.path.join("etc/.pwd.lock");
    // Locks of fcntl(2) are a process's own, so the other has to be another.
    let script = "import fcntl,sys,time; f=open(sys.argv[1],'w'); fcntl.lockf(f,fcntl.LOCK_EX); \
                  print(flush=True); time.sleep(0.5)";
    let python = std::process::Command::new("python3")
        .args(["-c", script])
        .arg(&lock)
        .stdout(std::process::Stdio::piped())
        .spawn();
    let Ok(mut python) = python else { return };
    let mut line = [0];
    let mut out = python.stdout.take().expect("a pipe");
    std::io::Read::read_exact(&mut out, &mut line).expect("a line");
    let began = std::time::Instant::now();
    scratch.set_up(&fixture::request()).1.expect("a set-up");
    assert!(began.elapsed() >= std::time::Duration::from_millis(300));
    python.wait().expect("an end");
}

#[test]
fn ids_that_the_box_does_not_have_are_refused_before_anything_changes() {
    let scratch = Scratch::of("debian-12");
    let before = scratch.text("etc/passwd");
    let mut request = fixture::request();
    request.user.as_mut().expect("a user").uid = 2_000_000_000;
    let text = scratch.set_up(&request).1.expect_err("a refusal");
    assert!(text.contains("the user id 2000000000 does not exist in this box"), "{text}");
    assert_eq!(scratch.text("etc/passwd"), before);
}

#[test]
fn when_nobody_listens_the_next_step_is_not_begun() {
    let scratch = Scratch::of("debian-12");
    let mut said = 0;
    let result = scratch.set_up_telling(&fixture::request(), &mut |event| {
        said += 1;
        !matches!(event, SetupEvent::Step(step) if step == "home")
    });
    assert!(result.is_err());
    assert_eq!(said, 2);
    assert!(scratch.text("etc/passwd").contains("\ndev:") && !scratch.has("home/dev"));
}

#[test]
fn packages_without_a_manager_are_a_failure_that_names_the_distribution() {
    let mut request = fixture::request();
    request.packages = vec!["vim".to_owned()];
    let text = Scratch::new().set_up(&request).1.expect_err("a refusal");
    assert!(text.contains("`Linux`") && text.contains("apt, dnf"), "{text}");
}

/// systemd runs a generator of the user's session while the set-up goes on.
#[test]
fn a_program_can_be_run_before_all_files_are_synced() {
    let scratch = Scratch::new();
    let tree = scratch.tree();
    tree.sync_at_the_end();
    tree.write(Path::new("/program"), b"#!/bin/sh\nexit 7\n", Access::root(0o755)).expect("a file");
    let ended = std::process::Command::new(scratch.path.join("program")).status();
    assert_eq!(ended.expect("a program that nobody writes to").code(), Some(7));
    tree.sync().expect("files on the disk");
}
