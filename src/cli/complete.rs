//! `incusbox complete`: what a shim's completion says, which asks the command's own in the box.
//!
//! The box's scripts run in the box. What they say is a box's: a shell puts a candidate into the
//! command line as it is, so one that means more to a shell than itself is left out.

use std::ffi::OsString;
use std::io::Read;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use clap::builder::OsStringValueParser;
use clap::{Arg, ArgAction, ArgMatches};

use super::enter::{program, project};
use super::{flag, print};
use crate::boxes::error::Error;
use crate::export::sync::host;
use crate::message::printable;

/// What runs in the box.
const SCRIPT: &str = include_str!("../../shims/complete.bash");
/// How long somebody who pressed Tab waits.
const PATIENCE: Duration = Duration::from_secs(5);
/// The most bytes of an answer.
const MOST_BYTES: u64 = 256 << 10;
/// The most candidates.
const MOST: usize = 2000;
/// What bash does with candidates that a box may say.
const OPTIONS: [&str; 4] = ["filenames", "noquote", "nosort", "nospace"];

pub fn define(command: clap::Command) -> clap::Command {
    command
        .hide(true)
        .about("Complete a command of a box; for the completions of shims")
        .arg(flag("plain", "Only the candidates"))
        .arg(Arg::new("box").value_name("BOX").required(true))
        .arg(
            Arg::new("words")
                .value_name("COMMAND CWORD POINT LINE WORD…")
                .num_args(4..)
                .action(ArgAction::Append)
                .trailing_var_arg(true)
                .allow_hyphen_values(true)
                .value_parser(OsStringValueParser::new())
                .required(true),
        )
}

pub fn run(matches: &ArgMatches) -> Result<ExitCode, Error> {
    let mut command = Command::new(program());
    command.args(project(matches)).args(["--no-start", "--tty=never", "-n"]);
    command
        .args(matches.get_one::<String>("box"))
        .args(["--", "bash", "--norc", "-c", SCRIPT, "-"]);
    command.args(matches.get_many::<OsString>("words").unwrap_or_default());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let child = command.spawn().map_err(host("asking the box"))?;
    let said = answer(child).map_err(host("asking the box"))?;
    print(&checked(&said, matches.get_flag("plain")))?;
    Ok(ExitCode::SUCCESS)
}

/// What it says within the time that there is.
fn answer(mut child: Child) -> std::io::Result<Vec<u8>> {
    let out = child.stdout.take();
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let mut said = Vec::new();
        let read = out.map(|out| out.take(MOST_BYTES).read_to_end(&mut said));
        let _nobody_waits = sender.send(read.transpose().map(|_| said));
    });
    let said = receiver.recv_timeout(PATIENCE);
    let _ended_already = child.kill();
    child.wait()?;
    said.unwrap_or_else(|_| Ok(Vec::new()))
}

/// The lines that a shell may have.
fn checked(said: &[u8], is_plain: bool) -> String {
    // What was cut off is none.
    let end = said.iter().rposition(|b| *b == b'\n').unwrap_or_default();
    let said = String::from_utf8_lossy(&said[..end]);
    let lines = said.lines().take(MOST);
    let options: Vec<&str> = lines.clone().filter_map(|line| line.strip_prefix(':')).collect();
    let has_names = options.contains(&"filenames");
    let mut text = String::new();
    if !is_plain {
        for option in
            OPTIONS.into_iter().filter(|option| *option != "noquote" && options.contains(option))
        {
            text.push_str(&format!(":{option}\n"));
        }
    }
    for candidate in lines.filter_map(|line| line.strip_prefix('=')) {
        if !is_harmless(candidate, has_names || is_plain) {
            continue;
        }
        match is_plain {
            true => text.push_str(&format!("{}\n", candidate.trim_end())),
            false => text.push_str(&format!("={candidate}\n")),
        }
    }
    text
}

/// Whether a shell takes it for what it is. Names of files are quoted by the shell, other candidates
/// may end with a blank, but not have one.
fn is_harmless(candidate: &str, is_quoted: bool) -> bool {
    let is_bad = |c: char| c == '\u{fffd}' || "$`!\\\"';&|<>()*?[]{}~^".contains(c);
    let core = if is_quoted { "" } else { candidate.trim_end_matches(' ') };
    !candidate.is_empty()
        && !candidate.chars().any(is_bad)
        && printable(candidate) == candidate
        && !candidate.starts_with('#')
        && !core.contains(' ')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_a_shell_would_run_is_a_candidate() {
        let said = b":nospace\n:dirnames\n=--colour=\n=a b\n=main \n=$(id)\n=`id`\n=a;b\n=!x\n=\x1b[2J\n=#x\nnoise\n=\xff\n={1..9}\n=~/x\n=\xe2\x80\xaex\n=cut";
        assert_eq!(checked(said, false), ":nospace\n=--colour=\n=main \n");
        assert_eq!(checked(b":filenames\n=a b\n=a$(id)\n", false), ":filenames\n=a b\n");
        assert_eq!(checked(b":nospace\n=a b\n=main \n=$(id)\n", true), "a b\nmain\n");
    }
}
