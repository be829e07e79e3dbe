//! The calls of a program that change files below a directory, and running it so that one of them is
//! its last, or fails.

use std::collections::BTreeMap;
use std::process::Command;

use crate::support::{Outcome, run};

/// What changes files, or says that it is on the disk. Not every machine has those with a `?`.
const CALLS: &str = "openat,write,pwrite64,fsync,fdatasync,syncfs,?rename,?renameat,renameat2,?unlink,unlinkat,?mkdir,mkdirat,?link,linkat,symlinkat,ftruncate,utimensat,fchmod,fchmodat";

const QUICK: [&str; 2] = ["-f", "--seccomp-bpf"];

/// A call, and which of its name it is among those below the directory.
#[derive(Clone, Debug)]
pub struct Point {
    /// The call's name.
    pub name: String,
    number: usize,
    /// The call as far as it is the same each time.
    pub call: String,
    /// Whether it did something.
    pub is_done: bool,
}

impl Point {
    /// Whether it changes what is there.
    pub fn changes(&self) -> bool {
        let is_flush = ["fsync", "fdatasync", "syncfs"].contains(&&*self.name);
        self.is_done && !is_flush && (self.name != "openat" || self.makes_file())
    }

    fn makes_file(&self) -> bool {
        self.call.contains("O_CREAT")
    }

    /// Whether a disk may have no room for it, or break at it.
    pub fn may_fail(&self) -> bool {
        // A time of change that could not be set is said, and no failure.
        self.is_done && (self.name != "openat" || self.makes_file()) && self.name != "utimensat"
    }

    pub fn flushes(&self) -> bool {
        self.name == "fsync"
    }
}

/// The calls of a program below a directory.
pub struct Trace {
    base: String,
    log: String,
    paths: Vec<String>,
    pub points: Vec<Point>,
}

impl Trace {
    /// Runs the program to its end.
    pub fn record(base: &str, log: &str, command: &Command) -> (Trace, Outcome) {
        let mut trace = Trace {
            base: base.to_owned(),
            log: log.to_owned(),
            paths: Vec::new(),
            points: Vec::new(),
        };
        let outcome = run(trace.wrap(command, &QUICK));
        trace.points = trace.read();
        let log = std::fs::read_to_string(log).expect("a trace");
        let texts = trace.lines(&log).flat_map(|line| line.split(['<', '>', '"']));
        let paths = texts.filter(|text| text.starts_with(base));
        trace.paths = paths.map(str::to_owned).collect();
        trace.paths.sort();
        trace.paths.dedup();
        (trace, outcome)
    }

    /// Runs the program so that `what` happens to it at this call: `signal=…` or `error=…`.
    pub fn run(&self, command: &Command, point: &Point, what: &str) -> Outcome {
        // Stopping at these calls alone is much quicker, but then strace 6 sends no signal.
        let is_quick = !what.starts_with("signal=");
        let mut words: Vec<&str> = if is_quick { QUICK.into() } else { Vec::new() };
        // Other calls are not counted, so the number is the same each time.
        let paths = self.paths.iter().flat_map(|path| ["-P", path]);
        words.extend(paths);
        let inject = format!("inject={}:{what}:when={}", point.name, point.number);
        words.extend(["-e", &inject]);
        let outcome = run(self.wrap(command, &words));
        let read = self.read();
        let hit = read.iter().find(|one| (&*one.name, one.number) == (&*point.name, point.number));
        let hit = hit.unwrap_or_else(|| panic!("{point:?} did not happen"));
        assert_eq!(hit.call, point.call);
        outcome
    }

    fn wrap(&self, command: &Command, words: &[&str]) -> Command {
        let mut wrapped = Command::new("strace");
        wrapped
            .args(["-y", "-s", "0", "--quiet=attach,path-resolution", "-o", &self.log, "-e"])
            .arg(format!("trace={CALLS}"));
        wrapped.args(words).arg("--").arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => wrapped.env(name, value),
                None => wrapped.env_remove(name),
            };
        }
        wrapped.current_dir(command.get_current_dir().expect("a directory"));
        wrapped.stdin(std::process::Stdio::null());
        wrapped
    }

    /// The lines about the directory, but not of programs that the program runs.
    fn lines<'a>(&'a self, log: &'a str) -> impl Iterator<Item = &'a str> {
        let process = |line: &str| line.split_once(' ')?.0.parse::<u32>().ok();
        let own = log.lines().next().and_then(process);
        log.lines().filter(move |line| process(line) == own && line.contains(&self.base))
    }

    fn read(&self) -> Vec<Point> {
        let log = std::fs::read_to_string(&self.log).expect("a trace");
        let mut numbers: BTreeMap<String, usize> = BTreeMap::new();
        let mut points = Vec::new();
        for line in self.lines(&log) {
            let Some((name, rest)) = line.split_once('(') else { continue };
            let name = name.trim_start_matches(|c: char| c.is_ascii_digit() || c == ' ');
            let ends = rest.match_indices(')').map(|(at, _)| at);
            let mut ends = ends.filter(|at| rest[at + 1..].trim_start().starts_with("= "));
            let arguments = &rest[..ends.next().expect("a result")];
            // What is written and the numbers of descriptors are not the same each time.
            let is_same = |part: &&str| {
                let is_name = part.starts_with(".incusbox-") || part.starts_with(&self.base);
                is_name || part.contains("O_CREAT")
            };
            let paths: Vec<&str> = arguments.split(['<', '>', '"']).filter(is_same).collect();
            let number = numbers.entry(name.to_owned()).or_default();
            *number += 1;
            points.push(Point {
                name: name.to_owned(),
                number: *number,
                call: format!("{name} {}", paths.join(" ")),
                is_done: !rest.contains(" = -1 "),
            });
        }
        points
    }
}
