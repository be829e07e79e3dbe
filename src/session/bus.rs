//! The way to the session bus. Some services look at the program that asks them, as
//! xdg-desktop-portal does at its root directory; of a program in a box they may not, and refuse.
//! What comes by this way comes from a program of the host's.
//!
//! Bytes pass as they are, in both directions, descriptors with their message, but for calls of the
//! host's service manager. The bus asks who we are, and we are the same user.

use std::collections::VecDeque;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::sync::Mutex;
use std::time::Duration;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags,
};

use super::message::{HEAD, Head};
use crate::agent::protocol::hand_over::percent_decoded;

/// As many descriptors as one message of the kernel's may carry (SCM_MAX_FD).
const MOST_DESCRIPTORS: usize = 253;
/// How much is moved at once.
const CHUNK: usize = 64 << 10;
/// The longest line before the first message.
const MOST_LINE: usize = 16 << 10;
/// The host's service manager. Programs that open a window tell it their process ids, to have them
/// in a unit of their own; ids of a box are those of other programs on the host.
const SERVICE_MANAGER: &str = "org.freedesktop.systemd1";
const REFUSAL: &str = "the service manager of the host does not know the processes of a box";
/// How long a guest may take for each of its lines before the first message.
const PATIENCE: Duration = Duration::from_secs(30);
/// The line with which a guest begins to send messages.
const BEGIN: &[u8] = b"BEGIN\r\n";

/// The session bus.
#[derive(Debug)]
pub struct Bus {
    addresses: Vec<SocketAddr>,
}

impl Bus {
    /// The one of the session that this program runs in.
    ///
    /// # Errors
    /// Where none is named that is a socket of this machine.
    pub fn of_session() -> io::Result<Bus> {
        let named = std::env::var("DBUS_SESSION_BUS_ADDRESS").ok();
        let addresses = match named.filter(|named| !named.is_empty()) {
            Some(named) => named.split(';').filter_map(address).collect(),
            None => vec![SocketAddr::from_pathname(super::runtime_directory()?.join("bus"))?],
        };
        if addresses.is_empty() {
            return Err(io::Error::other(
                "DBUS_SESSION_BUS_ADDRESS names no socket of this machine",
            ));
        }
        Ok(Bus { addresses })
    }

    /// Moves everything between a guest and the bus until both have ended.
    pub fn relay(&self, guest: UnixStream) {
        let connected = self.addresses.iter().find_map(|at| UnixStream::connect_addr(at).ok());
        // The guest sees its connection closed, as by a bus that has gone.
        let Some(bus) = connected else { return };
        let whole = Mutex::new(());
        let there = Way { from: &guest, to: &bus, is_guests: true, guest: &whole };
        let back = Way { from: &bus, to: &guest, is_guests: false, guest: &whole };
        let begins = guest.set_read_timeout(Some(PATIENCE));
        std::thread::scope(|scope| {
            let spawned = std::thread::Builder::new().spawn_scoped(scope, || pass(&there));
            if spawned.is_ok() && begins.is_ok() {
                pass(&back);
            }
            let _already_gone = guest.shutdown(Shutdown::Both);
        });
    }
}

/// The socket that one address of D-Bus's names (D-Bus specification, "Server Addresses").
fn address(text: &str) -> Option<SocketAddr> {
    let keys = text.strip_prefix("unix:")?;
    keys.split(',').find_map(|pair| match pair.split_once('=')? {
        ("path", path) => SocketAddr::from_pathname(text_of(&percent_decoded(path)?)?).ok(),
        ("abstract", name) => SocketAddr::from_abstract_name(percent_decoded(name)?).ok(),
        _ => None,
    })
}

fn text_of(bytes: &[u8]) -> Option<&std::ffi::OsStr> {
    use std::os::unix::ffi::OsStrExt;
    (!bytes.is_empty()).then(|| std::ffi::OsStr::from_bytes(bytes))
}

/// One direction.
struct Way<'a> {
    from: &'a UnixStream,
    to: &'a UnixStream,
    /// Whether the guest's words come by it.
    is_guests: bool,
    /// Held while something whole is written to the guest, which both directions do.
    guest: &'a Mutex<()>,
}

/// Moves what comes from one end to the other. When it ends or fails, so does the other direction.
fn pass(way: &Way<'_>) {
    let moved = pass_all(way);
    // What a guest said before it left is still for the bus; a bus that is gone hears nothing more.
    let is_over = moved.is_err() || !way.is_guests;
    let side = if is_over { Shutdown::Both } else { Shutdown::Write };
    let _already_gone = way.to.shutdown(side);
    if is_over {
        let _already_gone = way.from.shutdown(Shutdown::Both);
    }
}

/// One message at a time: descriptors belong to a message, and a reader takes those that arrive with
/// its bytes for its own. Read in larger pieces, they would come with the message before.
fn pass_all(way: &Way<'_>) -> io::Result<()> {
    let mut chunk = vec![0; CHUNK];
    let mut line = Vec::new();
    let mut has_begun = false;
    loop {
        let waiting = rustix::io::retry_on_intr(|| {
            rustix::net::recv(way.from, &mut chunk[..MOST_LINE], RecvFlags::PEEK)
        })?;
        let waiting = &chunk[..waiting.0];
        let Some(first) = waiting.first() else { return Ok(()) };
        // The bus sends lines until the guest has begun, and no line of its begins like a message.
        if has_begun || (line.is_empty() && matches!(first, b'l' | b'B') && !is_begin(waiting)) {
            pass_message(way, &mut chunk)?;
            continue;
        }
        let end = waiting.iter().position(|byte| *byte == b'\n').map(|at| at + 1);
        let count = end.unwrap_or(waiting.len());
        line.extend_from_slice(&waiting[..count]);
        pass_exactly(way, count, &mut chunk)?;
        if line.len() > MOST_LINE {
            return Err(io::Error::other("a line is too long"));
        }
        if end.is_some() {
            has_begun = line == BEGIN;
            line.clear();
            if has_begun {
                way.from.set_read_timeout(None)?;
            }
        }
    }
}

/// Whether these bytes are, or may become, the line by which a guest begins.
fn is_begin(bytes: &[u8]) -> bool {
    let count = bytes.len().min(BEGIN.len());
    bytes[..count] == BEGIN[..count]
}

/// Moves a message, or answers it.
fn pass_message(way: &Way<'_>, chunk: &mut [u8]) -> io::Result<()> {
    let mut bytes = [0; HEAD];
    let mut descriptors = fill(way, &mut bytes)?;
    let head = Head::new(&bytes)?;
    let mut fields = vec![0; head.fields];
    descriptors.extend(fill(way, &mut fields)?);
    if descriptors.len() > MOST_DESCRIPTORS {
        return Err(io::Error::other("a message has too many descriptors"));
    }
    if way.is_guests && head.calls(SERVICE_MANAGER, &fields) {
        let mut rest = head.body;
        while rest > 0 {
            let most = rest.min(chunk.len());
            fill(way, &mut chunk[..most])?;
            rest -= most;
        }
        if head.wants_reply() {
            let refusal = head.refusal("org.freedesktop.DBus.Error.AccessDenied", REFUSAL);
            let _whole = way.guest.lock();
            send(way.from.as_fd(), &refusal, &VecDeque::new())?;
        }
        return Ok(());
    }
    let _whole = (!way.is_guests).then(|| way.guest.lock());
    send(way.to.as_fd(), &[&bytes, fields.as_slice()].concat(), &descriptors)?;
    pass_exactly(way, head.body, chunk)
}

/// Fills a buffer; what descriptors came with it.
fn fill(way: &Way<'_>, buffer: &mut [u8]) -> io::Result<VecDeque<OwnedFd>> {
    let mut all = VecDeque::new();
    let mut filled = 0;
    while filled < buffer.len() {
        let (count, descriptors) = receive(way.from.as_fd(), &mut buffer[filled..])?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        all.extend(descriptors);
        if all.len() > MOST_DESCRIPTORS {
            return Err(io::Error::other("a message has too many descriptors"));
        }
        filled += count;
    }
    Ok(all)
}

fn pass_exactly(way: &Way<'_>, count: usize, chunk: &mut [u8]) -> io::Result<()> {
    let mut rest = count;
    while rest > 0 {
        let most = rest.min(chunk.len());
        let (count, descriptors) = receive(way.from.as_fd(), &mut chunk[..most])?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        send(way.to.as_fd(), &chunk[..count], &descriptors)?;
        rest -= count;
    }
    Ok(())
}

/// Bytes, and the descriptors that came with them.
fn receive(from: BorrowedFd<'_>, chunk: &mut [u8]) -> io::Result<(usize, VecDeque<OwnedFd>)> {
    let mut space = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_DESCRIPTORS))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut slices = [IoSliceMut::new(chunk)];
    let received = rustix::io::retry_on_intr(|| {
        rustix::net::recvmsg(from, &mut slices, &mut ancillary, RecvFlags::CMSG_CLOEXEC)
    })?;
    let mut descriptors = VecDeque::new();
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(passed) = message {
            descriptors.extend(passed);
        }
    }
    if received.flags.contains(ReturnFlags::CTRUNC) {
        return Err(io::Error::other("descriptors were lost"));
    }
    Ok((received.bytes, descriptors))
}

fn send(to: BorrowedFd<'_>, bytes: &[u8], descriptors: &VecDeque<OwnedFd>) -> io::Result<()> {
    let borrowed: Vec<BorrowedFd<'_>> = descriptors.iter().map(AsFd::as_fd).collect();
    let mut space = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_DESCRIPTORS))];
    let mut rest = bytes;
    let mut is_first = true;
    while !rest.is_empty() {
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        if is_first && !borrowed.is_empty() {
            ancillary.push(SendAncillaryMessage::ScmRights(&borrowed));
        }
        let slices = [IoSlice::new(rest)];
        let sent = rustix::io::retry_on_intr(|| {
            rustix::net::sendmsg(to, &slices, &mut ancillary, SendFlags::NOSIGNAL)
        })?;
        is_first = false;
        rest = &rest[sent..];
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn an_address_names_a_socket() {
        let path =
            |text| address(text).and_then(|at| at.as_pathname().map(std::path::Path::to_owned));
        assert_eq!(path("unix:path=/run/user/1/bus,guid=ab"), Some("/run/user/1/bus".into()));
        assert_eq!(path("unix:guid=ab,path=/a%20b"), Some("/a b".into()));
        let named = address("unix:abstract=/tmp/x").expect("an address");
        assert_eq!(named.as_abstract_name(), Some(&b"/tmp/x"[..]));
        for other in ["", "tcp:host=x", "unix:", "unix:path=", "unix:path=%zz", "unix:path=%1"] {
            assert!(address(other).is_none(), "{other}");
        }
    }

    /// A relay between two sockets: the guest's and the bus's.
    fn relayed() -> (UnixStream, UnixStream, std::thread::JoinHandle<()>) {
        static COUNT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let name = format!("incusbox-test-{}-{number}", std::process::id());
        let at = SocketAddr::from_abstract_name(&name).expect("a name");
        let listener = UnixListener::bind_addr(&at).expect("a listener");
        let bus = Bus { addresses: vec![at] };
        let (guest, relayed) = UnixStream::pair().expect("a pair");
        let relay = std::thread::spawn(move || bus.relay(relayed));
        let (server, _) = listener.accept().expect("the relay");
        (guest, server, relay)
    }

    /// A message of this many bytes behind its head, one of them an odd number of header fields.
    fn message(order: u8, body: u32) -> Vec<u8> {
        let number = |n: u32| if order == b'l' { n.to_le_bytes() } else { n.to_be_bytes() };
        let mut out = vec![order, 1, 0, 1];
        for n in [body, 7, 13] {
            out.extend(number(n));
        }
        out.extend(vec![5; 16 + body as usize]);
        out
    }

    /// Reads this many bytes, in reads as large as they come; what came, with the place of each
    /// descriptor's read.
    fn take(from: &UnixStream, count: usize) -> (Vec<u8>, Vec<(usize, OwnedFd)>) {
        let (mut bytes, mut passed) = (Vec::new(), Vec::new());
        let mut chunk = vec![0; CHUNK];
        while bytes.len() < count {
            let (read, descriptors) = receive(from.as_fd(), &mut chunk).expect("a chunk");
            assert_ne!(read, 0, "the relay ended");
            passed.extend(descriptors.into_iter().map(|one| (bytes.len() + read, one)));
            bytes.extend_from_slice(&chunk[..read]);
        }
        (bytes, passed)
    }

    #[test]
    fn lines_messages_descriptors_and_the_end_pass_as_they_are() {
        let (guest, mut server, relay) = relayed();
        let (mut reader, writer) = std::io::pipe().expect("a pipe");
        // All at once, as a client does that waits for no answer.
        let lines = b"\0AUTH EXTERNAL 31\r\nNEGOTIATE_UNIX_FD\r\nBEGIN\r\n".to_vec();
        let first = [lines, message(b'l', 300_000)].concat();
        let second = message(b'B', 3);
        let sent = [first.clone(), second.clone(), message(b'l', 0)].concat();
        let sender = std::thread::spawn(move || {
            (&guest).write_all(&first).expect("bytes");
            send(guest.as_fd(), &second, &VecDeque::from([writer.into()])).expect("a descriptor");
            (&guest).write_all(&message(b'l', 0)).expect("bytes");
            let mut back = Vec::new();
            (&guest).read_to_end(&mut back).expect("an answer");
            (back, first.len())
        });
        let (bytes, mut passed) = take(&server, sent.len());
        assert_eq!(bytes, sent);
        let (at, descriptor) = passed.remove(0);
        let answer = [b"OK 1234\r\nAGREE_UNIX_FD\r\n".to_vec(), message(b'l', 9)].concat();
        server.write_all(&answer).expect("an answer");
        drop(server);
        let (back, second_begins) = sender.join().expect("a sender");
        assert_eq!(back, answer);
        assert!(passed.is_empty() && at > second_begins && at <= sent.len());
        std::fs::File::from(descriptor).write_all(b"through").expect("the pipe");
        let mut text = String::new();
        reader.read_to_string(&mut text).expect("the pipe");
        assert_eq!(text, "through");
        relay.join().expect("the relay ends with both");
    }

    #[test]
    fn a_descriptor_comes_with_its_own_message_although_one_waits_before_it() {
        let (guest, server, relay) = relayed();
        let (_reader, writer) = std::io::pipe().expect("a pipe");
        // The relay reads both together if it reads as much as it can.
        let both = [b"BEGIN\r\n".to_vec(), message(b'l', 0)].concat();
        (&guest).write_all(&both).expect("bytes");
        send(guest.as_fd(), &message(b'l', 1), &VecDeque::from([writer.into()])).expect("one");
        std::thread::sleep(std::time::Duration::from_millis(100));
        let mut head = vec![0; both.len()];
        let mut filled = 0;
        while filled < head.len() {
            let (count, early) = receive(server.as_fd(), &mut head[filled..]).expect("bytes");
            assert!(early.is_empty(), "the first message has none");
            filled += count;
        }
        let (_, passed) = take(&server, message(b'l', 1).len());
        assert_eq!(passed.len(), 1);
        drop((guest, server));
        relay.join().expect("the relay ends with both");
    }

    #[test]
    fn a_call_of_the_service_manager_is_answered_here() {
        let (mut guest, server, relay) = relayed();
        let name = SERVICE_MANAGER.as_bytes();
        let mut fields =
            [&[6, 1, b's', 0][..], &(name.len() as u32).to_le_bytes(), name, b"\0"].concat();
        fields.resize(fields.len().next_multiple_of(8), 0);
        let mut call = b"BEGIN\r\nl\x01\0\x01\x03\0\0\0\x09\0\0\0".to_vec();
        call.extend((8 + name.len() as u32 + 1).to_le_bytes());
        call.extend(fields);
        call.extend(b"xyz");
        guest.write_all(&[call, message(b'l', 4)].concat()).expect("two messages");
        // The bus sees only the second one.
        let rest = [BEGIN.to_vec(), message(b'l', 4)].concat();
        assert_eq!(take(&server, rest.len()).0, rest);
        drop(server);
        let mut answer = Vec::new();
        guest.read_to_end(&mut answer).expect("an answer");
        let head = Head::new(answer.first_chunk().expect("a head")).expect("a message");
        assert_eq!(answer.len(), HEAD + head.fields + head.body);
        assert!(String::from_utf8_lossy(&answer).contains("AccessDenied"));
        relay.join().expect("the relay ends");
    }

    #[test]
    fn what_is_no_message_ends_the_connection() {
        for wrong in [
            &b"BEGIN\r\nxxxxxxxxxxxxxxxx"[..],
            b"BEGIN\r\nl\x01\0\x01\xff\xff\xff\xff\0\0\0\0\xff\xff\xff\xff",
        ] {
            let (mut guest, server, relay) = relayed();
            guest.write_all(wrong).expect("bytes");
            let mut rest = Vec::new();
            guest.read_to_end(&mut rest).expect("an end");
            drop(server);
            relay.join().expect("the relay ends");
        }
    }
}
