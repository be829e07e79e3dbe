//! The three standard descriptors: what they are, and reading and writing them without blocking
//! and without touching flags that other processes share.
//!
//! O_NONBLOCK belongs to the open file description, which the caller's shell and its other
//! children hold too, so it is never set on an inherited descriptor. A pipe or terminal is opened
//! anew through `/proc/self/fd`, which gives a description of our own; a socket has MSG_DONTWAIT;
//! a regular file never makes anybody wait. Where a pipe cannot be opened anew (it belongs to
//! another user, or /proc is missing), poll(2) is asked before each small write: room for
//! PIPE_BUF bytes is what POLLOUT promises.
#![allow(unsafe_code)]

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};
use rustix::pipe::SpliceFlags;

use super::startup;

/// What a standard descriptor is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FdKind {
    /// A terminal, in the sense of isatty(3).
    Terminal,
    /// A regular file: has an offset, never makes a reader wait.
    File,
    /// A pipe or fifo.
    Pipe,
    /// A socket.
    Socket,
    /// `/dev/null`.
    Null,
    /// Any other device.
    Device,
    /// Not open when the program started.
    Closed,
}

/// The number of a standard descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standard {
    /// Descriptor 0.
    Stdin = 0,
    /// Descriptor 1.
    Stdout = 1,
    /// Descriptor 2.
    Stderr = 2,
}

impl Standard {
    /// The descriptor, for as long as the process lives.
    pub fn fd(self) -> BorrowedFd<'static> {
        match self {
            Standard::Stdin => rustix::stdio::stdin(),
            Standard::Stdout => rustix::stdio::stdout(),
            Standard::Stderr => rustix::stdio::stderr(),
        }
    }

    /// Its usual name.
    pub fn name(self) -> &'static str {
        match self {
            Standard::Stdin => "stdin",
            Standard::Stdout => "stdout",
            Standard::Stderr => "stderr",
        }
    }

    /// What the caller put there.
    pub fn kind(self) -> FdKind {
        if startup::was_closed(self as i32) { FdKind::Closed } else { kind_of(self.fd()) }
    }

    /// Lets go of what the caller put there, so that the process at its other end notices;
    /// `/dev/null` takes the number, lest a later open(2) gets it.
    ///
    /// # Errors
    /// When `/dev/null` cannot be opened.
    pub fn release(self) -> io::Result<()> {
        let null = open_null()?;
        match self {
            Standard::Stdin => rustix::stdio::dup2_stdin(null),
            Standard::Stdout => rustix::stdio::dup2_stdout(null),
            Standard::Stderr => rustix::stdio::dup2_stderr(null),
        }?;
        Ok(())
    }
}

/// Whether two standard descriptors are one open file description, as after `2>&1`.
pub fn is_same(one: Standard, other: Standard) -> bool {
    let (Ok(a), Ok(b)) = (rustix::fs::fstat(one.fd()), rustix::fs::fstat(other.fd())) else {
        return false;
    };
    if (a.st_dev, a.st_ino) != (b.st_dev, b.st_ino) {
        return false;
    }
    let own = std::process::id();
    let (one, other) = (one as i32, other as i32);
    // KCMP_FILE is 0, see kcmp(2).
    // SAFETY: kcmp(2) only compares; it takes no pointers.
    match unsafe { libc::syscall(libc::SYS_kcmp, own, own, 0, one, other) } {
        0 => true,
        1..=3 => false,
        // A kernel without it, or one that does not tell: two openings of a pipe are as good as
        // one, two of a regular file have an offset each.
        _ => FileType::from_raw_mode(a.st_mode) != FileType::RegularFile,
    }
}

/// Opens `/dev/null` for reading and writing, closed on exec.
///
/// # Errors
/// open(2)'s.
pub fn open_null() -> io::Result<OwnedFd> {
    rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
        .map_err(|errno| io::Error::other(format!("opening /dev/null: {errno}")))
}

fn kind_of(fd: BorrowedFd<'_>) -> FdKind {
    let Ok(stat) = rustix::fs::fstat(fd) else { return FdKind::Closed };
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => FdKind::File,
        FileType::Fifo => FdKind::Pipe,
        FileType::Socket => FdKind::Socket,
        FileType::CharacterDevice if rustix::termios::isatty(fd) => FdKind::Terminal,
        FileType::CharacterDevice if stat.st_rdev == rustix::fs::makedev(1, 3) => FdKind::Null,
        _ => FdKind::Device,
    }
}

/// Opens what `fd` refers to once more, with an open file description of its own.
fn reopen(fd: BorrowedFd<'_>, access: OFlags) -> io::Result<OwnedFd> {
    use std::os::fd::AsRawFd;
    let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
    let flags = access | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    Ok(rustix::fs::open(path, flags, Mode::empty())?)
}

/// How to read or write without blocking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    /// A description of our own, with O_NONBLOCK.
    Own,
    /// A socket: MSG_DONTWAIT on each call.
    Socket,
    /// Ask poll(2) first.
    AskFirst,
    /// Never waits for long: a regular file or a plain device.
    Straight,
}

fn manner(fd: BorrowedFd<'_>, access: OFlags) -> io::Result<(OwnedFd, Manner)> {
    let dup = || rustix::io::fcntl_dupfd_cloexec(fd, 3);
    Ok(match kind_of(fd) {
        // A fifo that is opened anew after its last writer left never tells of its end: poll(2)
        // counts writers since the open (`fifo_open` in fs/pipe.c).
        FdKind::Pipe if access == OFlags::RDONLY && !is_anonymous(fd) => (dup()?, Manner::AskFirst),
        FdKind::Pipe | FdKind::Terminal => match reopen(fd, access) {
            Ok(own) => (own, Manner::Own),
            Err(_) => (dup()?, Manner::AskFirst),
        },
        FdKind::Socket => (dup()?, Manner::Socket),
        FdKind::Device => (dup()?, Manner::AskFirst),
        FdKind::File | FdKind::Null | FdKind::Closed => (dup()?, Manner::Straight),
    })
}

/// Whether a pipe is one of pipe(2) and not a fifo with a name.
fn is_anonymous(pipe: BorrowedFd<'_>) -> bool {
    /// PIPEFS_MAGIC of linux/magic.h.
    const PIPEFS: i64 = 0x5049_5045;
    rustix::fs::fstatfs(pipe).is_ok_and(|fs| fs.f_type == PIPEFS)
}

fn ready_now(fd: BorrowedFd<'_>, flags: PollFlags) -> io::Result<bool> {
    let mut set = [PollFd::from_borrowed_fd(fd, flags)];
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    match rustix::event::poll(&mut set, Some(&at_once)) {
        Ok(count) => Ok(count > 0),
        Err(Errno::INTR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// The most that is written at once where POLLOUT is the only promise: PIPE_BUF, see pipe(7).
const PIPE_BUF: usize = 4096;

/// What a read gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Got {
    /// This many bytes, at least one.
    Bytes(usize),
    /// Nothing for now.
    Nothing,
    /// The end: no data will come any more.
    End,
}

/// Something to read from.
#[derive(Debug)]
pub struct Source {
    fd: OwnedFd,
    manner: Manner,
}

impl Source {
    /// A source over what `fd` refers to; `fd` itself stays as it is.
    ///
    /// # Errors
    /// When the descriptor cannot be duplicated.
    pub fn new(fd: BorrowedFd<'_>) -> io::Result<Source> {
        let (fd, manner) = manner(fd, OFlags::RDONLY)?;
        Ok(Source { fd, manner })
    }

    /// Appends what is there, at most `most` bytes, to `bytes`. A terminal that hung up and a reset
    /// connection count as the end.
    ///
    /// # Errors
    /// Any other error of read(2).
    pub fn read(&mut self, bytes: &mut Vec<u8>, most: usize) -> io::Result<Got> {
        let fd = &self.fd;
        let result = match self.manner {
            Manner::Socket => append(bytes, most, |room| {
                rustix::net::recv(fd, room, RecvFlags::DONTWAIT).map(|((got, _), _)| got.len())
            }),
            Manner::AskFirst if !ready_now(fd.as_fd(), PollFlags::IN)? => Err(Errno::AGAIN),
            _ => append(bytes, most, |room| rustix::io::read(fd, room).map(|(got, _)| got.len())),
        };
        match result {
            Ok(0) | Err(Errno::CONNRESET) => Ok(Got::End),
            Ok(n) => Ok(Got::Bytes(n)),
            Err(Errno::AGAIN | Errno::INTR) => Ok(Got::Nothing),
            // A terminal whose other side went away.
            Err(Errno::IO) if kind_of(self.fd.as_fd()) != FdKind::File => Ok(Got::End),
            Err(error) => Err(error.into()),
        }
    }
}

impl AsFd for Source {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Lets `read` fill up to `most` bytes behind what `bytes` holds, without clearing them first.
fn append(
    bytes: &mut Vec<u8>,
    most: usize,
    read: impl FnOnce(&mut [MaybeUninit<u8>]) -> Result<usize, Errno>,
) -> Result<usize, Errno> {
    bytes.reserve(most);
    let room = &mut bytes.spare_capacity_mut()[..most];
    let count = read(room)?;
    assert!(count <= most);
    // SAFETY: the capacity is reserved, and the kernel initialised the first `count` bytes of it.
    unsafe { bytes.set_len(bytes.len() + count) };
    Ok(count)
}

/// Appends what a non-blocking descriptor of ours has, at most `most` bytes, to `bytes`.
///
/// # Errors
/// Any error of read(2) but "nothing for now".
pub fn read_own(fd: impl AsFd, bytes: &mut Vec<u8>, most: usize) -> io::Result<Got> {
    match append(bytes, most, |room| rustix::io::read(&fd, room).map(|(got, _)| got.len())) {
        Ok(0) => Ok(Got::End),
        Ok(count) => Ok(Got::Bytes(count)),
        Err(Errno::AGAIN | Errno::INTR) => Ok(Got::Nothing),
        Err(error) => Err(error.into()),
    }
}

/// Writes to a non-blocking descriptor of ours.
///
/// # Errors
/// Any error of write(2) that does not mean "no room" or "nobody reads".
pub fn write_own(fd: impl AsFd, data: &[u8]) -> io::Result<Put> {
    match rustix::io::write(fd, data) {
        Ok(count) => Ok(Put::Bytes(count)),
        Err(Errno::AGAIN | Errno::INTR) => Ok(Put::Full),
        Err(Errno::PIPE | Errno::IO | Errno::CONNRESET) => Ok(Put::Gone),
        Err(error) => Err(error.into()),
    }
}

/// What a write did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Put {
    /// This many bytes were taken.
    Bytes(usize),
    /// No room for now.
    Full,
    /// Nobody will ever read it.
    Gone,
}

/// Something to write to.
#[derive(Debug)]
pub struct Sink {
    fd: OwnedFd,
    manner: Manner,
}

impl Sink {
    /// A sink over what `fd` refers to; `fd` itself stays as it is. A regular file keeps sharing
    /// its offset and append mode with everybody who holds the same description.
    ///
    /// # Errors
    /// When the descriptor cannot be duplicated.
    pub fn new(fd: BorrowedFd<'_>) -> io::Result<Sink> {
        let (fd, manner) = manner(fd, OFlags::WRONLY)?;
        Ok(Sink { fd, manner })
    }

    /// Writes as much of `data` as there is room for.
    ///
    /// # Errors
    /// Any error of write(2) that does not mean "nobody reads": a full disk, a quota.
    pub fn write(&mut self, data: &[u8]) -> io::Result<Put> {
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        let result = match self.manner {
            Manner::Socket => rustix::net::send(&self.fd, data, flags),
            Manner::AskFirst => match ready_now(self.fd.as_fd(), PollFlags::OUT)? {
                true => rustix::io::write(&self.fd, &data[..data.len().min(PIPE_BUF)]),
                false => Err(Errno::AGAIN),
            },
            Manner::Own | Manner::Straight => rustix::io::write(&self.fd, data),
        };
        match result {
            Ok(n) => Ok(Put::Bytes(n)),
            Err(Errno::AGAIN | Errno::INTR) => Ok(Put::Full),
            Err(Errno::PIPE | Errno::CONNRESET) => Ok(Put::Gone),
            Err(Errno::IO) if kind_of(self.fd.as_fd()) == FdKind::Terminal => Ok(Put::Gone),
            Err(error) => Err(error.into()),
        }
    }
}

impl Sink {
    /// Whether `splice_from` works on it.
    pub fn is_pipe(&self) -> bool {
        kind_of(self.fd.as_fd()) == FdKind::Pipe
    }

    /// Moves up to `most` bytes from a socket into this pipe without copying them through this
    /// process. `Full` means that the pipe has no room; nothing there yet is `Bytes(0)`, and so is
    /// the socket's end, which the next read shows.
    ///
    /// # Errors
    /// splice(2)'s.
    pub fn splice_from(&mut self, socket: impl AsFd, most: usize) -> io::Result<Put> {
        let flags = SpliceFlags::NONBLOCK | SpliceFlags::MOVE;
        match rustix::pipe::splice(&socket, None, &self.fd, None, most, flags) {
            Ok(count) => Ok(Put::Bytes(count)),
            Err(Errno::AGAIN) if rustix::io::ioctl_fionread(&socket)? > 0 => Ok(Put::Full),
            Err(Errno::AGAIN | Errno::INTR) => Ok(Put::Bytes(0)),
            Err(Errno::PIPE) => Ok(Put::Gone),
            Err(error) => Err(error.into()),
        }
    }
}

impl AsFd for Sink {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
