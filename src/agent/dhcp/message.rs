//! Messages of DHCP (RFC 2131, RFC 2132) as a client writes and reads them.

use std::net::Ipv4Addr;

/// The largest message that everybody must take (RFC 2131, 2).
pub const MOST_BYTES: usize = 576;
/// Older relays and servers drop what is shorter than BOOTP's message.
const LEAST_BYTES: usize = 300;
/// The fixed part, before the options.
const HEADER_BYTES: usize = 236;
const MAGIC: [u8; 4] = [99, 130, 83, 99];

const BOOT_REQUEST: u8 = 1;
const BOOT_REPLY: u8 = 2;
const ETHERNET: u8 = 1;

/// Options, by the names of RFC 2132.
mod option {
    pub const PAD: u8 = 0;
    pub const SUBNET_MASK: u8 = 1;
    pub const ROUTER: u8 = 3;
    pub const DOMAIN_NAME_SERVER: u8 = 6;
    pub const HOST_NAME: u8 = 12;
    pub const DOMAIN_NAME: u8 = 15;
    pub const REQUESTED_ADDRESS: u8 = 50;
    pub const LEASE_TIME: u8 = 51;
    pub const MESSAGE_TYPE: u8 = 53;
    pub const SERVER_IDENTIFIER: u8 = 54;
    pub const PARAMETER_REQUEST_LIST: u8 = 55;
    pub const END: u8 = 255;
}

const DISCOVER: u8 = 1;
const OFFER: u8 = 2;
const REQUEST: u8 = 3;
const ACK: u8 = 5;
const NAK: u8 = 6;

/// What a client says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    /// Who has an address?
    Discover,
    /// I take the one that this server offered.
    Take {
        /// The address.
        address: Ipv4Addr,
        /// The server that offered it.
        server: Ipv4Addr,
    },
    /// I want to keep the one that I have.
    Keep(Ipv4Addr),
}

/// Who asks.
#[derive(Clone, Debug)]
pub struct Client {
    /// Tells the answers to this client's questions from others.
    pub transaction: u32,
    /// Hardware address of the interface.
    pub hardware: [u8; 6],
    /// The name that the network may know it by.
    pub host_name: String,
}

/// What a server gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The address.
    pub address: Ipv4Addr,
    /// The mask of its network.
    pub mask: Ipv4Addr,
    /// The way out of it.
    pub router: Option<Ipv4Addr>,
    /// Name servers.
    pub name_servers: Vec<Ipv4Addr>,
    /// The domain that names are looked for in.
    pub domain: Option<String>,
    /// Who gives it.
    pub server: Ipv4Addr,
    /// For how many seconds.
    pub seconds: u32,
}

/// What a server says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It could give this.
    Offer(Lease),
    /// It gives this.
    Ack(Lease),
    /// It does not give what was asked for.
    Nak,
}

impl Client {
    /// The message for a question. Answers are wanted by broadcast: there is no address yet that
    /// they could be sent to.
    pub fn ask(&self, question: Question) -> Vec<u8> {
        let kept = match question {
            Question::Keep(address) => address,
            _ => Ipv4Addr::UNSPECIFIED,
        };
        let mut out = vec![BOOT_REQUEST, ETHERNET, self.hardware.len() as u8, 0];
        out.extend(self.transaction.to_be_bytes());
        // Seconds since the start: none; then the flag for broadcast.
        out.extend([0, 0, 0x80, 0]);
        out.extend(kept.octets());
        out.resize(28, 0);
        out.extend(self.hardware);
        out.resize(HEADER_BYTES, 0);
        out.extend(MAGIC);
        let kind = if question == Question::Discover { DISCOVER } else { REQUEST };
        put(&mut out, option::MESSAGE_TYPE, &[kind]);
        if let Question::Take { address, server } = question {
            put(&mut out, option::REQUESTED_ADDRESS, &address.octets());
            put(&mut out, option::SERVER_IDENTIFIER, &server.octets());
        }
        if !self.host_name.is_empty() {
            put(&mut out, option::HOST_NAME, self.host_name.as_bytes());
        }
        let wanted =
            [option::SUBNET_MASK, option::ROUTER, option::DOMAIN_NAME_SERVER, option::DOMAIN_NAME];
        put(&mut out, option::PARAMETER_REQUEST_LIST, &wanted);
        out.push(option::END);
        out.resize(out.len().max(LEAST_BYTES), 0);
        out
    }

    /// Reads an answer; `None` for what is none, or is for somebody else.
    pub fn understand(&self, message: &[u8]) -> Option<Answer> {
        let fixed = message.get(..HEADER_BYTES)?;
        let is_mine = fixed[0] == BOOT_REPLY
            && fixed[4..8] == self.transaction.to_be_bytes()
            && fixed[28..34] == self.hardware;
        let options = message.get(HEADER_BYTES..)?.strip_prefix(&MAGIC)?;
        if !is_mine {
            return None;
        }
        let kind = *find(options, option::MESSAGE_TYPE)?.first()?;
        if kind == NAK {
            return Some(Answer::Nak);
        }
        let lease = lease(address(&fixed[16..20])?, options)?;
        match kind {
            OFFER => Some(Answer::Offer(lease)),
            ACK => Some(Answer::Ack(lease)),
            _ => None,
        }
    }
}

fn put(out: &mut Vec<u8>, kind: u8, value: &[u8]) {
    let value = &value[..value.len().min(255)];
    out.extend([kind, value.len() as u8]);
    out.extend(value);
}

/// The value of the first option of a kind. What runs over the end is no option.
fn find(options: &[u8], kind: u8) -> Option<&[u8]> {
    let mut rest = options;
    loop {
        match *rest.first()? {
            option::PAD => rest = &rest[1..],
            option::END => return None,
            here => {
                let length = usize::from(*rest.get(1)?);
                let value = rest.get(2..2 + length)?;
                if here == kind {
                    return Some(value);
                }
                rest = &rest[2 + length..];
            }
        }
    }
}

fn address(bytes: &[u8]) -> Option<Ipv4Addr> {
    Some(Ipv4Addr::from(<[u8; 4]>::try_from(bytes.get(..4)?).ok()?))
}

fn lease(own: Ipv4Addr, options: &[u8]) -> Option<Lease> {
    let is_usable = |address: &Ipv4Addr| !address.is_unspecified() && !address.is_broadcast();
    if !is_usable(&own) || own.is_multicast() || own.is_loopback() {
        return None;
    }
    let one = |kind| find(options, kind).and_then(address);
    let name_servers = find(options, option::DOMAIN_NAME_SERVER).unwrap_or_default();
    let domain = find(options, option::DOMAIN_NAME).and_then(|name| std::str::from_utf8(name).ok());
    let is_name = |name: &&str| {
        !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b))
    };
    Some(Lease {
        address: own,
        mask: one(option::SUBNET_MASK).unwrap_or(Ipv4Addr::new(255, 255, 255, 0)),
        router: one(option::ROUTER).filter(is_usable),
        name_servers: name_servers.chunks_exact(4).filter_map(address).filter(is_usable).collect(),
        domain: domain.map(|name| name.trim_end_matches('\0')).filter(is_name).map(str::to_owned),
        server: one(option::SERVER_IDENTIFIER)?,
        seconds: u32::from_be_bytes(find(options, option::LEASE_TIME)?.try_into().ok()?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client() -> Client {
        let hardware = [0x10, 0x66, 0x6a, 1, 2, 3];
        Client { transaction: 0x1234_5678, hardware, host_name: "dev".to_owned() }
    }

    /// A server's answer to `question`.
    fn answer(question: &[u8], kind: u8, options: &[(u8, &[u8])]) -> Vec<u8> {
        let mut out = question[..HEADER_BYTES].to_vec();
        out[0] = BOOT_REPLY;
        out[16..20].copy_from_slice(&[10, 0, 0, 7]);
        out.extend(MAGIC);
        put(&mut out, option::MESSAGE_TYPE, &[kind]);
        out.push(option::PAD);
        options.iter().for_each(|(kind, value)| put(&mut out, *kind, value));
        out.push(option::END);
        out
    }

    const WHOLE: &[(u8, &[u8])] = &[
        (option::SERVER_IDENTIFIER, &[10, 0, 0, 1]),
        (option::LEASE_TIME, &[0, 0, 14, 16]),
        (option::SUBNET_MASK, &[255, 255, 0, 0]),
        (option::ROUTER, &[10, 0, 0, 1, 10, 0, 0, 2]),
        (option::DOMAIN_NAME_SERVER, &[10, 0, 0, 1, 9, 9, 9, 9]),
        (option::DOMAIN_NAME, b"incus"),
    ];

    #[test]
    fn a_question_is_a_message_of_bootp_with_options() {
        let asked = client().ask(Question::Discover);
        assert!(asked.len() >= LEAST_BYTES && asked.len() <= MOST_BYTES);
        assert_eq!(asked[..12], [1, 1, 6, 0, 0x12, 0x34, 0x56, 0x78, 0, 0, 0x80, 0]);
        assert_eq!(asked[28..34], [0x10, 0x66, 0x6a, 1, 2, 3]);
        let options = &asked[HEADER_BYTES + 4..];
        assert_eq!(find(options, option::MESSAGE_TYPE), Some(&[DISCOVER][..]));
        assert_eq!(find(options, option::HOST_NAME), Some(&b"dev"[..]));
        let (address, server) = (Ipv4Addr::new(10, 0, 0, 7), Ipv4Addr::new(10, 0, 0, 1));
        let asked = client().ask(Question::Take { address, server });
        let options = &asked[HEADER_BYTES + 4..];
        assert_eq!(find(options, option::REQUESTED_ADDRESS), Some(&[10, 0, 0, 7][..]));
        assert_eq!(find(options, option::SERVER_IDENTIFIER), Some(&[10, 0, 0, 1][..]));
        let asked = client().ask(Question::Keep(address));
        assert_eq!(asked[12..16], [10, 0, 0, 7]);
        assert_eq!(find(&asked[HEADER_BYTES + 4..], option::REQUESTED_ADDRESS), None);
    }

    #[test]
    fn an_offer_is_read_with_all_that_is_used_of_it() {
        let asked = client().ask(Question::Discover);
        let Some(Answer::Offer(lease)) = client().understand(&answer(&asked, OFFER, WHOLE)) else {
            panic!("no offer");
        };
        assert_eq!(lease.address, Ipv4Addr::new(10, 0, 0, 7));
        assert_eq!(lease.mask, Ipv4Addr::new(255, 255, 0, 0));
        assert_eq!(lease.router, Some(Ipv4Addr::new(10, 0, 0, 1)));
        assert_eq!(lease.name_servers.len(), 2);
        assert_eq!((lease.domain.as_deref(), lease.seconds), (Some("incus"), 3600));
        let answered = client().understand(&answer(&asked, ACK, WHOLE));
        assert_eq!(answered, Some(Answer::Ack(lease)));
        assert_eq!(client().understand(&answer(&asked, NAK, &[])), Some(Answer::Nak));
    }

    #[test]
    fn what_is_for_others_cut_short_or_nonsense_is_no_answer() {
        let asked = client().ask(Question::Discover);
        let good = answer(&asked, ACK, WHOLE);
        let other = Client { transaction: 1, ..client() };
        assert_eq!(other.understand(&good), None);
        let other = Client { hardware: [0; 6], ..client() };
        assert_eq!(other.understand(&good), None);
        assert_eq!(client().understand(&asked), None, "a question");
        assert_eq!(client().understand(&answer(&asked, ACK, &WHOLE[1..])), None, "no server");
        assert_eq!(client().understand(&answer(&asked, 77, WHOLE)), None);
        for length in 0..good.len() {
            // Whatever is cut off, nothing panics, and nothing is made up.
            if let Some(Answer::Ack(lease)) = client().understand(&good[..length]) {
                assert_eq!(lease.address, Ipv4Addr::new(10, 0, 0, 7));
            }
        }
        let mut evil = good.clone();
        evil[16..20].copy_from_slice(&[127, 0, 0, 1]);
        assert_eq!(client().understand(&evil), None);
        let name: &[(u8, &[u8])] = &[(option::DOMAIN_NAME, b"a\nnameserver 6.6.6.6")];
        let Some(Answer::Ack(lease)) =
            client().understand(&answer(&asked, ACK, &[&WHOLE[..5], name].concat()))
        else {
            panic!("no lease");
        };
        assert_eq!(lease.domain, None);
    }
}
