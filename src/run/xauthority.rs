//! Xauthority files: the cookies that let a client in at an X server.
//!
//! A file is a row of entries: the family of an address in two bytes, then address, display
//! number, name of the protocol and data, each with its length in two bytes before it, all
//! big-endian (libXau, `Xau.h`). An entry for the host is keyed by the host's name, which a box
//! does not bear; with the family "wild" it holds wherever the file is read.

/// The largest file that is read: an entry has some fifty bytes.
pub const MOST_BYTES: u64 = 256 << 10;

const LOCAL: u16 = 256;
const WILD: u16 = 0xffff;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry<'a> {
    family: u16,
    address: &'a [u8],
    number: &'a [u8],
    name: &'a [u8],
    data: &'a [u8],
}

/// Takes an entry off `bytes`.
fn entry<'a>(bytes: &mut &'a [u8]) -> Option<Entry<'a>> {
    let family = u16::from_be_bytes(*take(bytes, 2)?.first_chunk()?);
    let mut field = || {
        let length = u16::from_be_bytes(*take(bytes, 2)?.first_chunk()?);
        take(bytes, usize::from(length))
    };
    Some(Entry { family, address: field()?, number: field()?, name: field()?, data: field()? })
}

fn take<'a>(bytes: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
    let (taken, rest) = bytes.split_at_checked(count)?;
    *bytes = rest;
    Some(taken)
}

/// The file for a box: the entries of `file` that let a client of this host in at display
/// `number`, valid on any host. Empty where there are none.
pub fn for_any_host(file: &[u8], host: &[u8], number: &str) -> Vec<u8> {
    let mut rest = file;
    let entries = std::iter::from_fn(|| entry(&mut rest));
    let is_ours = |entry: &Entry<'_>| {
        let is_here = entry.family == WILD || (entry.family == LOCAL && entry.address == host);
        is_here && (entry.number.is_empty() || entry.number == number.as_bytes())
    };
    let mut out = Vec::new();
    for entry in entries.filter(is_ours) {
        out.extend(WILD.to_be_bytes());
        for field in [b"", number.as_bytes(), entry.name, entry.data] {
            out.extend((field.len() as u16).to_be_bytes());
            out.extend(field);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(entries: &[(u16, &str, &str, &str)]) -> Vec<u8> {
        let mut out = Vec::new();
        for (family, address, number, data) in entries {
            out.extend(family.to_be_bytes());
            for field in [address, number, "MIT-MAGIC-COOKIE-1", data] {
                out.extend((field.len() as u16).to_be_bytes());
                out.extend(field.as_bytes());
            }
        }
        out
    }

    #[test]
    fn the_cookie_of_this_host_and_display_holds_anywhere() {
        let there = file(&[
            (LOCAL, "other", "0", "no"),
            (LOCAL, "here", "0", "yes"),
            (LOCAL, "here", "1", "no"),
            (0, "\x7f\0\0\x01", "0", "no"),
            (WILD, "", "", "any"),
        ]);
        let made = for_any_host(&there, b"here", "0");
        assert_eq!(made, file(&[(WILD, "", "0", "yes"), (WILD, "", "0", "any")]));
    }

    #[test]
    fn what_is_no_file_has_no_cookie() {
        for bytes in [&b""[..], b"\0", b"\xff\xff\0\xff", &[0xff; 300]] {
            assert_eq!(for_any_host(bytes, b"here", "0"), b"");
        }
        let whole = file(&[(WILD, "", "0", "a"), (WILD, "", "0", "b")]);
        let cut = for_any_host(&whole[..whole.len() - 1], b"here", "0");
        assert_eq!(cut, file(&[(WILD, "", "0", "a")]), "what comes before is whole");
    }
}
