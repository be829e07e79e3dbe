//! What `incusbox-run` and `incusbox-agent` say to each other.
//!
//! incusd carries three byte streams between them: to the agent's stdin, from its stdout and from
//! its stderr. The agent's *stdout* stays raw: the command's own stdout, nothing added, so that bulk
//! data costs no framing. The other two carry frames: one byte of kind, four bytes of payload
//! length (little-endian), the payload.
//!
//! Several things share a framed stream, and none may wait behind another: a signal must pass
//! although the command reads no stdin. So each kind of data has a window (as in SSH, RFC 4254
//! section 5.2): the sender never has more bytes under way than the receiver granted, and the
//! receiver keeps room for all of them.
//!
//! Both sides come from one build: the agent's path in the box names its version, so there is
//! nothing to negotiate. `PROTOCOL` is checked all the same, in case a file was tampered with.

pub mod apps;
pub mod desktop;
pub mod hand_over;
#[cfg(any(feature = "agent", feature = "cli"))]
pub mod hosts;
#[cfg(any(feature = "agent", feature = "cli"))]
pub mod nvidia;
mod request;
pub mod service;
#[cfg(any(feature = "agent", feature = "cli"))]
pub mod setup;
mod wire;

pub use request::{Base, Command, FILES, Fd, Missing, Opened, Request, Terminal, User, Watch};
pub use wire::Malformed;

use crate::exit::{self, ExitStatus};
use crate::sys::terminal::Size;
use request::{decode_request, encode_request};
use wire::{Reader, put_bytes, put_grant, put_size};

/// The variable that says in which box a command runs.
pub const BOX: &str = "INCUSBOX_BOX";
/// The version of what stands in this file.
pub const PROTOCOL: u16 = 5;
/// The first bytes of the agent's `Hello`: no shell and no dynamic linker says this by chance.
pub const MAGIC: &[u8] = b"incusbox-agent\0";

/// Bytes of a frame before its payload.
pub const HEADER: usize = 5;
/// The largest payload of a request: arguments and environment, which execve(2) limits to 6 MiB.
pub const MAX_REQUEST: usize = 8 << 20;
/// The largest payload of any other frame.
pub const MAX_PAYLOAD: usize = 128 << 10;

/// The window of stdin at first. A grant says then that the command *took* so many bytes: what is
/// under way can still be left for whoever reads the host's stdin next.
pub const STDIN_FIRST_WINDOW: usize = 64 << 10;
/// A command that took this much of its stdin is a reader of streams. From then on a grant only
/// says that there is room, and the host reads ahead.
pub const STDIN_READER: usize = 32 << 10;
/// The window of a reader's stdin.
pub const STDIN_WINDOW: usize = 1 << 20;
/// The window of keyboard input.
pub const KEYS_WINDOW: usize = 64 << 10;
/// The window of the command's stderr.
pub const STDERR_WINDOW: usize = 256 << 10;
/// The window of what the command's terminal shows.
pub const SCREEN_WINDOW: usize = 256 << 10;

/// How much of a window is used up before more is granted, but for stdin's. A grant for each key and
/// for its echo would wake daemon and peer twice more, just when the echo is on its way.
pub const fn grant_from(window: usize) -> usize {
    window / 4
}

/// A kind of data that has a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Host to box: the command's stdin.
    Stdin = 0,
    /// Host to box: the keyboard.
    Keys = 1,
    /// Box to host: the command's stderr.
    Stderr = 2,
    /// Box to host: the command's terminal.
    Screen = 3,
}

impl Stream {
    fn from_byte(byte: u8) -> Result<Stream, Malformed> {
        Ok(match byte {
            0 => Stream::Stdin,
            1 => Stream::Keys,
            2 => Stream::Stderr,
            3 => Stream::Screen,
            _ => return Err(Malformed("stream")),
        })
    }
}

/// From `incusbox-run` to the agent, on its stdin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToAgent<'a> {
    /// The first frame.
    Request(Box<Request>),
    /// Bytes for the command's stdin.
    Stdin(&'a [u8]),
    /// The end of the command's stdin.
    StdinEnd,
    /// Bytes for the command's terminal.
    Keys(&'a [u8]),
    /// The end of keyboard input: the terminal's end-of-file character is due.
    KeysEnd,
    /// The terminal has a new size.
    Resize(Size),
    /// A signal for the command's process group.
    Signal(i32),
    /// More bytes of this stream may be sent.
    Grant(Stream, u32),
    /// Nobody on the host reads this output any more.
    OutputClosed(Fd1Or2),
    /// The host's terminal is gone.
    Hangup,
    /// The host's terminal is as the last `TerminalWanted` asked for: output may go on.
    TerminalReady,
}

/// One of the two outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fd1Or2 {
    /// stdout.
    Stdout = 1,
    /// stderr.
    Stderr = 2,
}

/// Why the agent could not run the command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The program was not found.
    NotFound = 0,
    /// The program cannot be executed.
    NotExecutable = 1,
    /// The box has no such user.
    NoUser = 2,
    /// The working directory that was asked for cannot be entered.
    Directory = 3,
    /// No pty could be made.
    Pty = 4,
    /// The request was not understood: another protocol.
    Protocol = 5,
    /// A step of the set-up failed.
    Setup = 6,
    /// The box sees other directories of the host's session than there are now; nothing was done.
    Stale = 7,
    /// The box lacks the cookie of the display; nothing was done.
    Cookie = 8,
    /// Files to open are not in the box, or others there; see [`Failure::paths`].
    Unseen = 9,
}

/// Why and with what the agent could not run the command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Which step.
    pub reason: Reason,
    /// The error number, 0 for none.
    pub errno: i32,
    /// What it happened to: a program, a user, a directory, a step.
    pub subject: Vec<u8>,
}

impl Failure {
    /// The exit status that stands for it.
    pub fn code(&self) -> u8 {
        match self.reason {
            Reason::NotFound => exit::NOT_FOUND,
            Reason::NotExecutable => exit::NOT_EXECUTABLE,
            _ => exit::FAILURE,
        }
    }

    /// The files, of [`Reason::Unseen`]: the subject has a zero byte between two.
    pub fn paths(&self) -> impl Iterator<Item = &[u8]> {
        self.subject.split(|byte| *byte == 0)
    }
}

/// The last word on a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exited {
    /// How it ended.
    pub status: ExitStatus,
    /// Bytes that were written to the raw stdout stream.
    pub stdout_bytes: u64,
    /// Bytes of stdin that the command took.
    pub stdin_taken: u64,
    /// Signals that came while it ran.
    pub signals_taken: u64,
    /// It wrote something after it got the signal that it died of.
    pub spoke: bool,
}

/// Where the command started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In the directory asked for.
    Asked = 0,
    /// In the user's home: the box has no such directory.
    Home = 1,
    /// In `/`: there is no home either.
    Root = 2,
}

/// How the command's terminal treats output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// As a shell leaves it: a line feed gets its carriage return.
    Processed = 0,
    /// Not at all (OPOST is off): the program places the cursor itself.
    Raw = 1,
}

/// From the agent to `incusbox-run`, on its stderr.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FromAgent<'a> {
    /// The first frame: the agent lives and speaks this protocol.
    Hello(u16),
    /// The command runs.
    Started(Place),
    /// Bytes of the command's stderr.
    Stderr(&'a [u8]),
    /// Bytes that the command's terminal shows.
    Screen(&'a [u8]),
    /// More bytes of this stream may be sent.
    Grant(Stream, u32),
    /// Nobody reads the command's stdin any more.
    InputClosed,
    /// The command was stopped by this signal.
    Stopped(i32),
    /// A program waits for the keyboard or changed the terminal's settings; later: it changed how
    /// output is treated.
    TerminalWanted(Output),
    /// The command ended, after all its output.
    Exited(Exited),
    /// The command was not run.
    Failed(Failure),
}

/// Appends one frame.
fn frame(out: &mut Vec<u8>, kind: u8, payload: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[kind, 0, 0, 0, 0]);
    payload(out);
    let length = (out.len() - start - HEADER) as u32;
    out[start + 1..start + HEADER].copy_from_slice(&length.to_le_bytes());
}

/// The header of a `Stdin` frame of `length` bytes, for a caller that read them into place.
pub fn stdin_header(length: usize) -> [u8; HEADER] {
    let [a, b, c, d] = (length as u32).to_le_bytes();
    [2, a, b, c, d]
}

impl ToAgent<'_> {
    /// Appends the frame to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            ToAgent::Request(request) => frame(out, 1, |out| encode_request(request, out)),
            ToAgent::Stdin(data) => frame(out, 2, |out| out.extend_from_slice(data)),
            ToAgent::StdinEnd => frame(out, 3, |_| ()),
            ToAgent::Keys(data) => frame(out, 4, |out| out.extend_from_slice(data)),
            ToAgent::KeysEnd => frame(out, 5, |_| ()),
            ToAgent::Resize(size) => frame(out, 6, |out| put_size(out, *size)),
            ToAgent::Signal(signal) => frame(out, 7, |out| out.push(*signal as u8)),
            ToAgent::Grant(stream, bytes) => frame(out, 8, |out| put_grant(out, *stream, *bytes)),
            ToAgent::OutputClosed(fd) => frame(out, 9, |out| out.push(*fd as u8)),
            ToAgent::Hangup => frame(out, 10, |_| ()),
            ToAgent::TerminalReady => frame(out, 11, |_| ()),
        }
    }
}

impl FromAgent<'_> {
    /// Appends the frame to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            FromAgent::Hello(protocol) => frame(out, 0xb0, |out| {
                out.extend_from_slice(MAGIC);
                out.extend_from_slice(&protocol.to_le_bytes());
            }),
            FromAgent::Started(place) => frame(out, 0xb1, |out| out.push(*place as u8)),
            FromAgent::Stderr(data) => frame(out, 0xb2, |out| out.extend_from_slice(data)),
            FromAgent::Screen(data) => frame(out, 0xb3, |out| out.extend_from_slice(data)),
            FromAgent::Grant(stream, bytes) => {
                frame(out, 0xb4, |out| put_grant(out, *stream, *bytes));
            }
            FromAgent::InputClosed => frame(out, 0xb5, |_| ()),
            FromAgent::Stopped(signal) => frame(out, 0xb6, |out| out.push(*signal as u8)),
            FromAgent::TerminalWanted(output) => frame(out, 0xb7, |out| out.push(*output as u8)),
            FromAgent::Exited(exited) => frame(out, 0xb8, |out| {
                let (kind, number) = match exited.status {
                    ExitStatus::Code(code) => (0, code),
                    ExitStatus::Signal(signal) => (1, signal as u8),
                };
                out.extend_from_slice(&[kind, number]);
                out.extend_from_slice(&exited.stdout_bytes.to_le_bytes());
                out.extend_from_slice(&exited.stdin_taken.to_le_bytes());
                out.extend_from_slice(&exited.signals_taken.to_le_bytes());
                out.push(u8::from(exited.spoke));
            }),
            FromAgent::Failed(failure) => frame(out, 0xb9, |out| {
                out.push(failure.reason as u8);
                out.extend_from_slice(&failure.errno.to_le_bytes());
                put_bytes(out, &failure.subject);
            }),
        }
    }
}

/// A frame's kind, its payload, and how many bytes it took in all.
pub type Split<'a> = (u8, &'a [u8], usize);

/// Takes the first frame off `bytes`: its kind, its payload and how many bytes it took. `None`
/// while it is not whole yet.
///
/// # Errors
/// A length above the limit for its kind: the stream is not ours.
pub fn split(bytes: &[u8]) -> Result<Option<Split<'_>>, Malformed> {
    let Some((header, rest)) = bytes.split_first_chunk::<HEADER>() else { return Ok(None) };
    let [kind, a, b, c, d] = *header;
    let length = u32::from_le_bytes([a, b, c, d]) as usize;
    let limit = if kind == 1 { MAX_REQUEST } else { MAX_PAYLOAD };
    if length > limit {
        return Err(Malformed("frame length"));
    }
    Ok(rest.get(..length).map(|payload| (kind, payload, HEADER + length)))
}

/// Reads the payload of a frame to the agent.
///
/// # Errors
/// An unknown kind or a payload that is not of its form.
pub fn decode_to_agent(kind: u8, payload: &[u8]) -> Result<ToAgent<'_>, Malformed> {
    let mut reader = Reader(payload);
    let message = match kind {
        1 => ToAgent::Request(Box::new(decode_request(&mut reader)?)),
        2 => return Ok(ToAgent::Stdin(payload)),
        3 => ToAgent::StdinEnd,
        4 => return Ok(ToAgent::Keys(payload)),
        5 => ToAgent::KeysEnd,
        6 => ToAgent::Resize(reader.size()?),
        7 => ToAgent::Signal(reader.signal()?),
        8 => {
            let (stream, bytes) = reader.grant()?;
            ToAgent::Grant(stream, bytes)
        }
        9 => ToAgent::OutputClosed(match reader.byte()? {
            1 => Fd1Or2::Stdout,
            2 => Fd1Or2::Stderr,
            _ => return Err(Malformed("output number")),
        }),
        10 => ToAgent::Hangup,
        11 => ToAgent::TerminalReady,
        _ => return Err(Malformed("kind of frame")),
    };
    reader.end()?;
    Ok(message)
}

/// Reads the payload of a frame from the agent.
///
/// # Errors
/// An unknown kind or a payload that is not of its form.
pub fn decode_from_agent(kind: u8, payload: &[u8]) -> Result<FromAgent<'_>, Malformed> {
    let mut reader = Reader(payload);
    let message = match kind {
        0xb0 => {
            if reader.take(MAGIC.len())? != MAGIC {
                return Err(Malformed("greeting"));
            }
            FromAgent::Hello(reader.u16()?)
        }
        0xb1 => FromAgent::Started(match reader.byte()? {
            0 => Place::Asked,
            1 => Place::Home,
            2 => Place::Root,
            _ => return Err(Malformed("place")),
        }),
        0xb2 => return Ok(FromAgent::Stderr(payload)),
        0xb3 => return Ok(FromAgent::Screen(payload)),
        0xb4 => {
            let (stream, bytes) = reader.grant()?;
            FromAgent::Grant(stream, bytes)
        }
        0xb5 => FromAgent::InputClosed,
        0xb6 => FromAgent::Stopped(reader.signal()?),
        0xb7 => {
            FromAgent::TerminalWanted(if reader.flag()? { Output::Raw } else { Output::Processed })
        }
        0xb8 => {
            let status = match reader.byte()? {
                0 => ExitStatus::Code(reader.byte()?),
                1 => ExitStatus::Signal(reader.signal()?),
                _ => return Err(Malformed("exit status")),
            };
            let [stdout_bytes, stdin_taken, signals_taken] =
                [reader.u64()?, reader.u64()?, reader.u64()?];
            let spoke = reader.flag()?;
            FromAgent::Exited(Exited { status, stdout_bytes, stdin_taken, signals_taken, spoke })
        }
        0xb9 => {
            let reason = Reason::from_byte(reader.byte()?)?;
            let errno = reader.u32()? as i32;
            FromAgent::Failed(Failure { reason, errno, subject: reader.bytes()?.to_vec() })
        }
        _ => return Err(Malformed("kind of frame")),
    };
    reader.end()?;
    Ok(message)
}

impl Reason {
    /// The reason of this number.
    ///
    /// # Errors
    /// For a number that is none.
    pub fn from_byte(byte: u8) -> Result<Reason, Malformed> {
        use Reason::*;
        [NotFound, NotExecutable, NoUser, Directory, Pty, Protocol, Setup, Stale, Cookie, Unseen]
            .get(usize::from(byte))
            .copied()
            .ok_or(Malformed("reason"))
    }
}

#[cfg(test)]
mod tests;
