//! What passes in bulk: every byte of it, and in no more memory than a little takes, however slow
//! whoever reads at the other end.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal};

use crate::support::{End, Invocation, Marker, Pty, Scratch, Way};

/// Several times what may be taken for it, so that a queue of all that comes is seen.
const MUCH: usize = 32 << 20;
/// For 300 MB it may be 16 MiB; this is half of it for a tenth.
const MOST_KIB: usize = 8 << 10;
/// How long a reader does nothing at first.
const REST: Duration = Duration::from_millis(400);
/// Then it takes this much at a time, with a pause between.
const BITE: usize = 64 << 10;
const PAUSE: Duration = Duration::from_micros(500);

/// The most memory that a process has had since its exec. (The figure of wait4(2) begins with what
/// its parent had.)
fn peak_kib(pid: u32) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the run goes on");
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("its peak");
    peak.trim().trim_end_matches(" kB").parse().expect("a number")
}

/// The client, and what stands behind the command in the box: the parent of the perl that `mark` is an
/// argument of.
fn assert_small(way: Way, client: u32, mark: &str) {
    let peak = peak_kib(client);
    assert!(peak < MOST_KIB, "{way:?}: the client took {peak} KiB");
    if way == Way::Agent {
        let peak = peak_kib(parent_of(mark));
        assert!(peak < MOST_KIB, "the agent took {peak} KiB");
    }
}

fn parent_of(mark: &str) -> u32 {
    let own = |words: Vec<u8>| {
        words.starts_with(b"perl\0") && words.ends_with(format!("\0{mark}\0").as_bytes())
    };
    let pids = std::fs::read_dir("/proc").expect("/proc").flatten().map(|entry| entry.path());
    let mut commands = pids.filter(|path| std::fs::read(path.join("cmdline")).is_ok_and(own));
    let status = commands.next().expect("the command runs").join("status");
    let status = std::fs::read_to_string(status).expect("the command runs");
    let parent = status.lines().find_map(|line| line.strip_prefix("PPid:")).expect("its parent");
    parent.trim().parse().expect("a number")
}

/// Looks at a run when everything has passed, and ends it.
fn look_and_end(way: Way, mut child: Child, mark: &Marker) {
    assert_small(way, child.id(), &mark.to_string());
    let pid = Pid::from_child(&child);
    rustix::process::kill_process(pid, Signal::TERM).expect("the run goes on");
    assert_eq!(End::from(child.wait().expect("its end")), End::Signal(libc::SIGTERM), "{way:?}");
}

/// Writes so much on a descriptor, then stays.
fn writer(way: Way, to: &str, bytes: usize, mark: &Marker) -> Invocation {
    let code = format!(
        "$x = \"x\" x 65536; $left = {bytes}; while ($left) {{ $n = syswrite {to}, $x, $left; \
         defined $n or die $!; $left -= $n }} sleep 100"
    );
    Invocation::by(way, ["perl", "-e", &code, &mark.to_string()])
}

fn read_slowly(mut from: impl Read, bytes: usize) {
    std::thread::sleep(REST);
    let (mut bite, mut left) = (vec![0; BITE], bytes);
    while left > 0 {
        let most = left.min(BITE);
        let count = from.read(&mut bite[..most]).expect("read");
        assert!(count > 0, "the end {left} bytes too early");
        left -= count;
        std::thread::sleep(PAUSE);
    }
}

fn a_slow_reader_of_stdout_costs_no_memory(way: Way) {
    let mark = Marker::new();
    let mut command = writer(way, "STDOUT", MUCH, &mark).command(&[]);
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("incusbox-run starts");
    read_slowly(child.stdout.take().expect("a pipe"), MUCH);
    look_and_end(way, child, &mark);
}

fn a_slow_reader_of_stderr_costs_no_memory(way: Way) {
    let mark = Marker::new();
    let mut command = writer(way, "STDERR", MUCH, &mark).command(&[]);
    let mut child =
        command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().expect("incusbox-run starts");
    read_slowly(child.stderr.take().expect("a pipe"), MUCH);
    look_and_end(way, child, &mark);
}

fn a_slow_terminal_costs_no_memory(way: Way) {
    let mark = Marker::new();
    let mut pty = Pty::start(&writer(way, "STDOUT", MUCH, &mark));
    std::thread::sleep(REST);
    let mut left = MUCH;
    while left > 0 {
        left -= pty.pass_over(left.min(BITE));
        std::thread::sleep(PAUSE);
    }
    assert_small(way, pty.pid() as u32, &mark.to_string());
    pty.signal(Signal::TERM);
    assert_eq!(pty.wait(), End::Signal(libc::SIGTERM));
}

/// Runs what takes all of `stdin` slowly and then stays. It rests when the agent has seen that it reads.
fn sends_to_a_slow_command(way: Way, stdin: impl Into<Stdio>) {
    let code = format!(
        "while ($got < {MUCH}) {{ $n = sysread STDIN, $x, 65536; $n or die; $got += $n; \
         select undef, undef, undef, $got > 99999 && !$rested++ ? 0.4 : 0.0005 }} $| = 1; print $got; sleep 100"
    );
    let mark = Marker::new();
    let words = ["perl", "-e", &code, &mark.to_string()];
    let mut command = Invocation::by(way, words).command(&[]);
    let child = command.stdin(stdin).stdout(Stdio::piped()).spawn();
    let mut child = child.expect("incusbox-run starts");
    let mut told = [0; 8];
    child.stdout.as_mut().expect("a pipe").read_exact(&mut told).expect("what it got");
    assert_eq!(told, MUCH.to_string().as_bytes());
    look_and_end(way, child, &mark);
}

fn a_slow_command_behind_a_pipe_costs_no_memory(way: Way) {
    let (read, write): (OwnedFd, OwnedFd) =
        rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).expect("a pipe");
    let mut write = File::from(write);
    std::thread::scope(|scope| {
        let filled = scope.spawn(|| {
            let bite = vec![0; BITE];
            (0..MUCH / BITE).try_for_each(|_| write.write_all(&bite))
        });
        sends_to_a_slow_command(way, read);
        filled.join().expect("a thread").expect("the run reads its stdin");
    });
}

fn a_slow_command_behind_a_file_costs_no_memory(way: Way) {
    let scratch = Scratch::new();
    let path = scratch.file("much", "");
    let file = File::options().read(true).write(true).open(path).expect("the file");
    file.set_len(MUCH as u64).expect("its size");
    sends_to_a_slow_command(way, file);
}

fn sixty_four_mebibytes_go_through_both_ways(way: Way) {
    let text = format!(
        r#"head -c {} /dev/urandom >$T/sent; md5sum <$T/sent; cat $T/sent | "$@" cat | md5sum"#,
        64 << 20
    );
    let scratch = Scratch::new();
    let outcome = Invocation::script(way, &text).variable("T", scratch.path()).run();
    let told = outcome.text();
    let sums: Vec<&str> = told.lines().collect();
    assert_eq!((outcome.end, sums.len()), (End::Code(0), 2), "{}", outcome.errors());
    assert_eq!(sums[0], sums[1]);
}

in_ways! {
    a_slow_reader_of_stdout_costs_no_memory: Native Agent;
    a_slow_reader_of_stderr_costs_no_memory: Native Agent;
    a_slow_terminal_costs_no_memory: Native Agent;
    a_slow_command_behind_a_pipe_costs_no_memory: Native Agent;
    a_slow_command_behind_a_file_costs_no_memory: Native Agent;
    sixty_four_mebibytes_go_through_both_ways: Native Agent;
}
