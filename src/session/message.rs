//! The little that has to be known of a message of D-Bus's (specification, "Message Format"): how
//! long it is, whom it is for, and how an error answers it.

use std::io;

/// The bytes before the header's fields.
pub const HEAD: usize = 16;
/// The most bytes of fields: names and paths, none of them long.
const MOST_FIELDS: u64 = 64 << 10;
/// The longest message.
const MOST_BYTES: u64 = 128 << 20;

const METHOD_CALL: u8 = 1;
const ERROR: u8 = 3;
const NO_REPLY_EXPECTED: u8 = 1;
const ERROR_NAME: u8 = 4;
const REPLY_SERIAL: u8 = 5;
const DESTINATION: u8 = 6;
const SIGNATURE: u8 = 8;

/// The first bytes of a message.
#[derive(Clone, Copy, Debug)]
pub struct Head {
    kind: u8,
    flags: u8,
    serial: u32,
    is_little: bool,
    /// How many bytes of fields follow, with what pads them.
    pub fields: usize,
    /// How many bytes of body follow them.
    pub body: usize,
}

impl Head {
    /// Reads it.
    ///
    /// # Errors
    /// For what is no message.
    pub fn new(bytes: &[u8; HEAD]) -> io::Result<Head> {
        let is_little = match bytes[0] {
            b'l' => true,
            b'B' => false,
            _ => return Err(io::Error::other("this is no message")),
        };
        let number = |at| number(&bytes[at..], is_little).map_or(0, u64::from);
        let (body, fields) = (number(4), number(12).next_multiple_of(8));
        match (usize::try_from(fields), usize::try_from(body)) {
            (Ok(fields), Ok(body)) if number(12) <= MOST_FIELDS && number(4) <= MOST_BYTES => {
                let (kind, flags) = (bytes[1], bytes[2]);
                let serial = number(8) as u32;
                Ok(Head { kind, flags, serial, is_little, fields, body })
            }
            _ => Err(io::Error::other("a message is too long")),
        }
    }

    /// Whether it calls a method of somebody of this name.
    pub fn calls(&self, name: &str, fields: &[u8]) -> bool {
        self.kind == METHOD_CALL && self.destination(fields) == Some(name.as_bytes())
    }

    /// Whether whoever sent it waits for an answer.
    pub fn wants_reply(&self) -> bool {
        self.flags & NO_REPLY_EXPECTED == 0
    }

    /// Each field is a structure, and so aligned to eight bytes, of its code and a variant.
    fn destination<'a>(&self, fields: &'a [u8]) -> Option<&'a [u8]> {
        let mut at = 0_usize;
        loop {
            at = at.next_multiple_of(8);
            let [code, 1, kind, 0] = *fields.get(at..at + 4)? else { return None };
            at += 4;
            match kind {
                b's' | b'o' => {
                    let length = number(fields.get(at..)?, self.is_little)? as usize;
                    let text = fields.get(at + 4..)?.get(..length)?;
                    if code == DESTINATION {
                        return Some(text);
                    }
                    at += 4 + length + 1;
                }
                b'g' => at += usize::from(*fields.get(at)?) + 2,
                b'u' => at += 4,
                _ => return None,
            }
        }
    }

    /// An error that answers it.
    pub fn refusal(&self, name: &str, text: &str) -> Vec<u8> {
        let mut fields = Vec::new();
        let mut field = |code, kind, value: &[u8]| {
            fields.resize(fields.len().next_multiple_of(8), 0);
            fields.extend([code, 1, kind, 0]);
            fields.extend(value);
        };
        field(REPLY_SERIAL, b'u', &self.serial.to_le_bytes());
        field(ERROR_NAME, b's', &string(name));
        field(SIGNATURE, b'g', b"\x01s\0");
        let body = string(text);
        let mut out = vec![b'l', ERROR, NO_REPLY_EXPECTED, 1];
        // Any serial but zero: nobody answers an error.
        for number in [body.len() as u32, u32::MAX, fields.len() as u32] {
            out.extend(number.to_le_bytes());
        }
        out.extend(&fields);
        out.resize(out.len().next_multiple_of(8), 0);
        out.extend(body);
        out
    }
}

fn number(bytes: &[u8], is_little: bool) -> Option<u32> {
    let bytes = *bytes.first_chunk()?;
    Some(if is_little { u32::from_le_bytes(bytes) } else { u32::from_be_bytes(bytes) })
}

fn string(text: &str) -> Vec<u8> {
    [&(text.len() as u32).to_le_bytes(), text.as_bytes(), b"\0"].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As `busctl call org.example /a org.example.I M` writes it, in either byte order.
    fn call(is_little: bool) -> (Vec<u8>, Vec<u8>) {
        let number = |n: u32| if is_little { n.to_le_bytes() } else { n.to_be_bytes() };
        let mut fields = Vec::new();
        for (code, kind, text) in [(1, b'o', "/a"), (8, b'g', "s"), (6, b's', "org.example")] {
            fields.resize(usize::next_multiple_of(fields.len(), 8), 0);
            fields.extend([code, 1, kind, 0]);
            match kind {
                b'g' => fields.push(text.len() as u8),
                _ => fields.extend(number(text.len() as u32)),
            }
            fields.extend(text.bytes());
            fields.push(0);
        }
        let order = if is_little { b'l' } else { b'B' };
        let mut head = vec![order, METHOD_CALL, 0, 1];
        for n in [5, 77, fields.len() as u32] {
            head.extend(number(n));
        }
        (head, fields)
    }

    #[test]
    fn a_call_tells_how_long_it_is_and_whom_it_is_for() {
        for is_little in [true, false] {
            let (bytes, fields) = call(is_little);
            let head = Head::new(bytes.first_chunk().expect("a head")).expect("a message");
            assert_eq!((head.fields, head.body), (fields.len().next_multiple_of(8), 5));
            assert!(head.calls("org.example", &fields) && head.wants_reply());
            assert!(!head.calls("org.exampl", &fields));
            for cut in 0..fields.len() - 1 {
                assert!(!head.calls("org.example", &fields[..cut]), "{cut}");
            }
        }
    }

    #[test]
    fn a_refusal_is_a_message_that_names_the_call() {
        let (bytes, _) = call(true);
        let call = Head::new(bytes.first_chunk().expect("a head")).expect("a message");
        let bytes = call.refusal("org.example.No", "no");
        let head = Head::new(bytes.first_chunk().expect("a head")).expect("a message");
        assert_eq!(bytes.len(), HEAD + head.fields + head.body);
        assert_eq!((head.kind, head.wants_reply()), (ERROR, false));
        assert_eq!(bytes[HEAD + 4..HEAD + 8], 77_u32.to_le_bytes());
        assert_eq!(bytes[HEAD + head.fields..], *b"\x02\0\0\0no\0");
    }

    #[test]
    fn what_is_no_message_or_too_long_is_refused() {
        let mut bytes = [0; HEAD];
        assert!(Head::new(&bytes).is_err());
        bytes[0] = b'l';
        assert!(Head::new(&bytes).is_ok());
        bytes[15] = 1;
        assert!(Head::new(&bytes).is_err());
        bytes[15] = 0;
        bytes[7] = 0x10;
        assert!(Head::new(&bytes).is_err());
    }
}
