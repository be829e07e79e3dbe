//! Running a program of the box: in a clean environment, its output line by line.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::exit::ExitStatus;
use crate::sys::poll::{Interest, PollSet};
use crate::sys::{pipes, process};

/// What a program finds, beside what its caller adds.
const ENVIRONMENT: &[(&str, &str)] = &[
    ("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
    ("HOME", "/root"),
    ("USER", "root"),
    ("LOGNAME", "root"),
    ("SHELL", "/bin/sh"),
    ("LANG", "C.UTF-8"),
    ("TERM", "dumb"),
];
/// Set in the instance's configuration (`environment.http_proxy`) where the network needs it.
const HANDED_ON: &[&str] = &["http_proxy", "https_proxy", "ftp_proxy", "all_proxy", "no_proxy"];
/// A program's end shows at once where it closes its output, and after this where a daemon that it
/// started keeps that open.
const BETWEEN_LOOKS: Duration = Duration::from_millis(200);
/// A line without an end is told in parts.
const MOST_BYTES_OF_A_LINE: usize = 4096;

/// A program to run.
#[derive(Clone, Debug, Default)]
pub struct Run<'a> {
    /// Program and arguments.
    pub argv: &'a [&'a str],
    /// Variables beside the usual ones.
    pub environment: &'a [(&'a str, &'a str)],
    /// It is killed after this time.
    pub limit: Option<Duration>,
}

impl Run<'_> {
    /// Runs it to its end; each line of stdout and stderr goes to `tell`.
    ///
    /// # Errors
    /// It could not be started, or ran longer than it may (`TimedOut`).
    pub fn run(&self, mut tell: impl FnMut(&[u8])) -> io::Result<ExitStatus> {
        let (read, write) = pipes::pipe()?;
        pipes::set_nonblocking(&read, true)?;
        let (program, arguments) = self.argv.split_first().ok_or(io::ErrorKind::InvalidInput)?;
        let mut command = Command::new(program);
        command.args(arguments).env_clear().envs(ENVIRONMENT.iter().copied());
        for name in HANDED_ON {
            for name in [(*name).to_owned(), name.to_ascii_uppercase()] {
                if let Some(value) = std::env::var_os(&name) {
                    command.env(name, value);
                }
            }
        }
        command.envs(self.environment.iter().copied()).current_dir("/").process_group(0);
        command.stdin(Stdio::null()).stdout(write.try_clone()?).stderr(write);
        let child = command.spawn()?;
        // It holds the write ends of the pipe, whose end would never come.
        drop(command);
        let deadline = self.limit.map(|limit| Instant::now() + limit);
        follow(child, File::from(read), deadline, &mut tell)
    }

    /// Runs it silently; whether it ended with status 0.
    pub fn succeeds(&self) -> bool {
        self.run(|_| {}).is_ok_and(|ended| ended == ExitStatus::Code(0))
    }

    /// Runs it; the first line that it wrote, empty if none.
    pub fn answer(&self) -> String {
        self.answers(1).pop().unwrap_or_default()
    }

    /// Runs it; the first lines that it wrote, at most `most`, none if it could not be run.
    pub fn answers(&self, most: usize) -> Vec<String> {
        let mut answers = Vec::new();
        let ended = self.run(|line| {
            if answers.len() < most {
                answers.push(String::from_utf8_lossy(line).trim().to_owned());
            }
        });
        ended.map(|_| answers).unwrap_or_default()
    }
}

fn follow(
    mut child: Child,
    mut output: File,
    deadline: Option<Instant>,
    tell: &mut dyn FnMut(&[u8]),
) -> io::Result<ExitStatus> {
    let mut pending = Vec::new();
    let mut buffer = [0; 16 << 10];
    let mut ended = None;
    loop {
        match output.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => {
                pending.extend_from_slice(&buffer[..count]);
                tell_lines(&mut pending, tell);
                continue;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        // All that was written before the end was read above.
        if ended.is_some() {
            break;
        }
        let mut look = Instant::now() + BETWEEN_LOOKS;
        if let Some(deadline) = deadline {
            if Instant::now() >= deadline {
                process::signal_group(child.id() as i32, libc::SIGKILL)?;
                child.wait()?;
                return Err(io::ErrorKind::TimedOut.into());
            }
            look = look.min(deadline);
        }
        let mut set = PollSet::new();
        set.add((), output.as_fd(), Interest::Read);
        set.wait(Some(look))?;
        ended = child.try_wait()?;
    }
    if !pending.is_empty() {
        tell(&pending);
    }
    let status = match ended {
        Some(status) => status,
        None => wait_until(&mut child, deadline)?,
    };
    Ok(match status.signal() {
        Some(signal) => ExitStatus::Signal(signal),
        None => ExitStatus::Code(status.code().unwrap_or(255).clamp(0, 255) as u8),
    })
}

/// Waits for a program that closed its output and may go on all the same.
fn wait_until(
    child: &mut Child,
    deadline: Option<Instant>,
) -> io::Result<std::process::ExitStatus> {
    let Some(deadline) = deadline else { return child.wait() };
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        if Instant::now() >= deadline {
            process::signal_group(child.id() as i32, libc::SIGKILL)?;
            child.wait()?;
            return Err(io::ErrorKind::TimedOut.into());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Takes the whole lines out of `pending`. A carriage return ends one too: bars of progress.
fn tell_lines(pending: &mut Vec<u8>, tell: &mut dyn FnMut(&[u8])) {
    let mut at = 0;
    for end in 0..pending.len() {
        if matches!(pending[end], b'\n' | b'\r') {
            if end > at {
                tell(&pending[at..end]);
            }
            at = end + 1;
        } else if end - at == MOST_BYTES_OF_A_LINE {
            tell(&pending[at..end]);
            at = end;
        }
    }
    pending.drain(..at);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, limit: Option<Duration>) -> (io::Result<ExitStatus>, Vec<String>) {
        let mut lines = Vec::new();
        let run = Run { argv: &["/bin/sh", "-c", script], environment: &[("A", "b")], limit };
        let ended = run.run(|line| lines.push(String::from_utf8_lossy(line).into_owned()));
        (ended, lines)
    }

    #[test]
    fn lines_of_both_streams_come_in_their_order_and_the_last_needs_no_end() {
        let (ended, lines) =
            shell("echo 1; echo 2 >&2; printf '10%%\\r20%%\\r\\nend'; exit 3", None);
        assert_eq!(ended.expect("an end"), ExitStatus::Code(3));
        assert_eq!(lines, ["1", "2", "10%", "20%", "end"]);
    }

    #[test]
    fn the_environment_is_clean_and_stdin_is_empty() {
        let (_, lines) = shell("cat; echo \"$A$HOME$CARGO_MANIFEST_DIR\"; pwd", None);
        assert_eq!(lines, ["b/root", "/"]);
    }

    #[test]
    fn a_daemon_that_keeps_the_output_open_does_not_keep_us() {
        let began = Instant::now();
        let (ended, lines) = shell("sleep 20 & echo started", None);
        assert_eq!(ended.expect("an end"), ExitStatus::Code(0));
        assert_eq!(lines, ["started"]);
        assert!(began.elapsed() < Duration::from_secs(10));
    }

    #[test]
    fn what_takes_too_long_is_killed_with_its_children() {
        let limit = Some(Duration::from_millis(100));
        let (ended, _) = shell("sleep 20; echo late", limit);
        assert_eq!(ended.expect_err("a time-out").kind(), io::ErrorKind::TimedOut);
        let (ended, _) = shell("exec >&- 2>&-; sleep 20", limit);
        assert_eq!(ended.expect_err("a time-out").kind(), io::ErrorKind::TimedOut);
        let (ended, _) = shell("kill -9 $$", None);
        assert_eq!(ended.expect("an end"), ExitStatus::Signal(9));
    }

    #[test]
    fn a_line_without_an_end_is_told_in_parts() {
        let (_, lines) = shell("head -c 10000 /dev/zero | tr '\\0' x", None);
        assert_eq!(lines.concat().len(), 10_000);
        assert!(lines.iter().all(|line| line.len() <= 2 * MOST_BYTES_OF_A_LINE));
    }
}
