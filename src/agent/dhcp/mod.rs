//! `incusbox-agent dhcp INTERFACE`: an IPv4 address for a box whose image has nobody to ask for
//! one. Started by our init; runs as long as the box does, for leases have to be renewed.
//!
//! RFC 2131 as far as one interface of a box needs it: one server's first offer is taken, and the
//! lease is renewed at half its time by broadcast. IPv6 needs nobody: the kernel sees to that.

mod message;

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::sys::interface::Interface;
use message::{Answer, Client, Lease, MOST_BYTES, Question};

const CLIENT_PORT: u16 = 68;
const SERVER_PORT: u16 = 67;
/// Between tries: doubled each time (RFC 2131, 4.1).
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(32);
/// A server that gives leases for less has them renewed as if it gave this.
const SHORTEST_LEASE: u32 = 60;
/// The first line of a resolv.conf that is ours.
const MARK: &str = "# incusbox: from DHCP; yours as soon as this line is gone.";
const RESOLV_CONF: &str = "/etc/resolv.conf";

/// Sees to the address of the interface called `name`.
///
/// # Errors
/// What makes it useless to go on: there is no such interface, or sockets are refused.
pub fn run(name: &str) -> io::Result<()> {
    let interface = Interface::named(name)?;
    interface.bring_up()?;
    let client = Client {
        transaction: transaction()?,
        hardware: interface.hardware_address()?,
        host_name: host_name(),
    };
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, CLIENT_PORT))?;
    socket.set_broadcast(true)?;
    interface.confine(&socket)?;
    let exchange = Exchange { client, socket };
    loop {
        let lease = acquire(&exchange, &interface)?;
        take(&interface, &lease)?;
        keep(&exchange, &interface, lease)?;
        interface.clear_address()?;
    }
}

struct Exchange {
    client: Client,
    socket: UdpSocket,
}

impl Exchange {
    /// Asks, and waits for the answer that `wanted` takes until `patience` is over.
    fn ask<T>(
        &self,
        question: Question,
        patience: Duration,
        wanted: impl Fn(Answer) -> Option<T>,
    ) -> io::Result<Option<T>> {
        let everybody = SocketAddrV4::new(Ipv4Addr::BROADCAST, SERVER_PORT);
        let asked = self.socket.send_to(&self.client.ask(question), everybody);
        match asked {
            // The bridge may not be there yet; it is tried again.
            Err(error) if is_passing(&error) => {}
            Err(error) => return Err(error),
            Ok(_) => {}
        }
        let deadline = Instant::now() + patience;
        let mut bytes = [0; MOST_BYTES * 3];
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            self.socket.set_read_timeout(Some(left))?;
            match self.socket.recv_from(&mut bytes) {
                Ok((length, from)) if from.port() == SERVER_PORT => {
                    let answer = self.client.understand(&bytes[..length]);
                    if let Some(found) = answer.and_then(&wanted) {
                        return Ok(Some(found));
                    }
                }
                Ok(_) => {}
                Err(error) if is_passing(&error) => {}
                Err(error) => return Err(error),
            }
        }
    }
}

fn is_passing(error: &io::Error) -> bool {
    use io::ErrorKind::{
        HostUnreachable, Interrupted, NetworkDown, NetworkUnreachable, TimedOut, WouldBlock,
    };
    matches!(
        error.kind(),
        WouldBlock | TimedOut | Interrupted | NetworkDown | NetworkUnreachable | HostUnreachable
    )
}

/// Asks until somebody gives an address.
fn acquire(exchange: &Exchange, interface: &Interface) -> io::Result<Lease> {
    // Without a route the kernel takes every answer for one that came in by the wrong door
    // (rp_filter), whatever it is addressed to.
    interface.add_route(None)?;
    let mut pause = FIRST_PAUSE;
    let lease = loop {
        let offer = exchange.ask(Question::Discover, pause, |answer| match answer {
            Answer::Offer(lease) => Some(lease),
            _ => None,
        })?;
        if let Some(offer) = offer {
            let question = Question::Take { address: offer.address, server: offer.server };
            match exchange.ask(question, pause, settled)? {
                Some(Some(lease)) => break lease,
                Some(None) => std::thread::sleep(pause),
                None => {}
            }
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    };
    interface.remove_direct_route()?;
    Ok(lease)
}

/// What ends a request: a lease, or a refusal.
fn settled(answer: Answer) -> Option<Option<Lease>> {
    match answer {
        Answer::Ack(lease) => Some(Some(lease)),
        Answer::Nak => Some(None),
        Answer::Offer(_) => None,
    }
}

/// Uses a lease: address, way out, name servers.
fn take(interface: &Interface, lease: &Lease) -> io::Result<()> {
    interface.set_address(lease.address, lease.mask)?;
    if let Some(router) = lease.router {
        interface.add_route(Some(router))?;
    }
    if let Err(error) = write_name_servers(Path::new(RESOLV_CONF), lease) {
        super::init::complain(&format!("cannot write {RESOLV_CONF}: {error}"));
    }
    Ok(())
}

/// Renews the lease as long as its server does; comes back when it is over.
fn keep(exchange: &Exchange, interface: &Interface, lease: Lease) -> io::Result<()> {
    let mut lease = lease;
    loop {
        let whole = Duration::from_secs(u64::from(lease.seconds.max(SHORTEST_LEASE)));
        let over = Instant::now() + whole;
        std::thread::sleep(whole / 2);
        let mut pause = FIRST_PAUSE;
        let renewed = loop {
            match exchange.ask(Question::Keep(lease.address), pause, settled)? {
                Some(Some(renewed)) => break renewed,
                Some(None) => return Ok(()),
                None if Instant::now() >= over => return Ok(()),
                None => pause = (pause * 2).min(LONGEST_PAUSE),
            }
        };
        if renewed != lease {
            // The old address takes its routes along.
            interface.clear_address()?;
            take(interface, &renewed)?;
        }
        lease = renewed;
    }
}

/// Writes resolv.conf, unless it is somebody's: it names servers and has not our first line.
fn write_name_servers(path: &Path, lease: &Lease) -> io::Result<()> {
    let old = std::fs::read_to_string(path).unwrap_or_default();
    let names_some = old.lines().any(|line| line.trim_start().starts_with("nameserver"));
    if lease.name_servers.is_empty() || (names_some && !old.starts_with(MARK)) {
        return Ok(());
    }
    let mut text = format!("{MARK}\n");
    if let Some(domain) = &lease.domain {
        text.push_str(&format!("search {domain}\n"));
    }
    for server in &lease.name_servers {
        text.push_str(&format!("nameserver {server}\n"));
    }
    // A link to what another resolver would have made leads nowhere here, and is replaced.
    let temporary = path.with_extension("incusbox");
    std::fs::write(&temporary, text)?;
    std::fs::rename(&temporary, path)
}

fn transaction() -> io::Result<u32> {
    let mut random = [0; 4];
    io::Read::read_exact(&mut std::fs::File::open("/dev/urandom")?, &mut random)?;
    Ok(u32::from_ne_bytes(random))
}

fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    name.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_servers_are_written_over_nothing_and_our_own_alone() {
        let directory = std::env::temp_dir().join(format!("incusbox-dhcp-{}", std::process::id()));
        std::fs::create_dir_all(&directory).expect("a directory");
        let path = directory.join("resolv.conf");
        let lease = Lease {
            address: Ipv4Addr::new(10, 0, 0, 7),
            mask: Ipv4Addr::new(255, 255, 255, 0),
            router: None,
            name_servers: vec![Ipv4Addr::new(10, 0, 0, 1)],
            domain: Some("incus".to_owned()),
            server: Ipv4Addr::new(10, 0, 0, 1),
            seconds: 60,
        };
        let ours = format!("{MARK}\nsearch incus\nnameserver 10.0.0.1\n");
        let after = |before: Option<&str>| {
            let _none_there = std::fs::remove_file(&path);
            if let Some(text) = before {
                std::fs::write(&path, text).expect("a file");
            }
            write_name_servers(&path, &lease).expect("written");
            std::fs::read_to_string(&path).expect("text")
        };
        assert_eq!(after(None), ours);
        assert_eq!(after(Some("# empty\n")), ours);
        assert_eq!(after(Some(&format!("{MARK}\nnameserver 1.1.1.1\n"))), ours);
        assert_eq!(after(Some("nameserver 1.1.1.1\n")), "nameserver 1.1.1.1\n");
        let _none_there = std::fs::remove_file(&path);
        std::os::unix::fs::symlink("/run/no/such", &path).expect("a link");
        write_name_servers(&path, &lease).expect("written");
        assert_eq!(std::fs::read_to_string(&path).expect("text"), ours);
        std::fs::remove_dir_all(&directory).expect("our own directory");
    }
}
