//! What a fake daemon does: by default what a healthy one does, and one thing or two that a test
//! has it do wrong.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use crate::wire;

/// How the program runs the command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Agent,
    Native,
}

/// What the program's stdin and stdout are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Pipes,
    Terminal,
}

/// Every mode on pipes and on a terminal.
pub const EACH_WAY: [(Mode, Way); 4] = [
    (Mode::Agent, Way::Pipes),
    (Mode::Agent, Way::Terminal),
    (Mode::Native, Way::Pipes),
    (Mode::Native, Way::Terminal),
];

/// What to do with a request, in place of what is usual.
#[derive(Clone, Debug)]
pub enum Act {
    /// This JSON.
    Answer(u16, Value),
    /// These bytes, then the connection is closed.
    Bytes(Vec<u8>),
    /// These bytes, then nothing more.
    BytesThenSilence(Vec<u8>),
    /// The first bytes once, the second ones until the client leaves.
    Flood(Vec<u8>, Vec<u8>),
    /// What is usual, after this time.
    Late(Duration),
    /// What is usual, one byte at a time.
    Dripping,
    /// Nothing, for ever.
    Silence,
    /// The first act with so many requests of the kind, the second one with those after them.
    Then(usize, Box<Act>, Box<Act>),
}

/// A step on a stream, once all streams are connected.
#[derive(Clone, Debug)]
pub enum Do {
    /// Sends bytes as they are.
    Send(Vec<u8>),
    /// Sends bytes until the client leaves.
    Flood(Vec<u8>),
    /// Waits.
    Pause(Duration),
    /// Pings every ten seconds, as incusd does, for ever.
    PingForEver,
    /// Ends the stream properly.
    End,
    /// Closes this connection without a word.
    Close,
    /// The operation ended, as [`Script::ends`] says.
    OperationEnds,
    /// The daemon is restarted: all connections go, new ones are served.
    Restart,
    /// The daemon is gone for good.
    Die,
}

/// What a fake daemon does.
#[derive(Clone, Debug)]
pub struct Script {
    pub mode: Mode,
    pub way: Way,
    pub acts: BTreeMap<String, Act>,
    pub steps: BTreeMap<String, Vec<Do>>,
    /// How the operation ended.
    pub end: Value,
    /// What the instance's status is when somebody asks.
    pub status: &'static str,
}

impl Script {
    /// A healthy daemon that runs `true`.
    pub fn new(mode: Mode, way: Way) -> Script {
        let mut script = Script {
            mode,
            way,
            acts: BTreeMap::new(),
            steps: BTreeMap::new(),
            end: wire::operation(200, "", 0),
            status: "Running",
        };
        let done = vec![Do::End, Do::OperationEnds];
        match mode {
            Mode::Agent => {
                let words = [wire::greeting(), wire::exited(0, 0)].concat();
                let mut steps = vec![Do::Send(words)];
                steps.extend(done);
                script.steps.insert("2".to_owned(), steps);
            }
            Mode::Native => {
                script.steps.insert(script.main_stream().to_owned(), done);
            }
        }
        for stream in script.streams() {
            script.steps.entry((*stream).to_owned()).or_insert_with(|| vec![Do::End]);
        }
        script
    }

    /// The streams that the program has to connect.
    pub fn streams(&self) -> &'static [&'static str] {
        match (self.mode, self.way) {
            (Mode::Agent, _) => &["0", "1", "2"],
            (Mode::Native, Way::Pipes) => &["0", "1", "2", "control"],
            (Mode::Native, Way::Terminal) => &["0", "control"],
        }
    }

    /// The stream that says how it goes.
    pub fn main_stream(&self) -> &'static str {
        match (self.mode, self.way) {
            (Mode::Agent, _) => "2",
            (Mode::Native, Way::Pipes) => "1",
            (Mode::Native, Way::Terminal) => "0",
        }
    }

    /// Does this with requests of a kind: see [`crate::fake::kind`].
    pub fn on(mut self, kind: &str, act: Act) -> Script {
        self.acts.insert(kind.to_owned(), act);
        self
    }

    /// Does this on a stream, and nothing else.
    pub fn stream(mut self, name: &str, steps: Vec<Do>) -> Script {
        self.steps.insert(name.to_owned(), steps);
        self
    }

    /// Runs a command until `steps` are done on the main stream; the other streams stay open.
    pub fn mid_run(self, steps: Vec<Do>) -> Script {
        let mut first = match self.mode {
            Mode::Agent => vec![Do::Send(wire::greeting())],
            Mode::Native => vec![Do::Send(wire::binary(b"it runs\r\n"))],
        };
        first.push(Do::Pause(Duration::from_millis(200)));
        first.extend(steps);
        self.main_steps(first)
    }

    /// Does this on the main stream; the other streams stay open.
    pub fn main_steps(mut self, steps: Vec<Do>) -> Script {
        self.steps.values_mut().for_each(Vec::clear);
        let name = self.main_stream();
        self.stream(name, steps)
    }

    /// The operation ends like this.
    pub fn ends(mut self, end: Value) -> Script {
        self.end = end;
        self
    }

    /// The instance has this status when somebody asks.
    pub fn status(mut self, status: &'static str) -> Script {
        self.status = status;
        self
    }
}
