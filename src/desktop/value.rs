//! Strings as values of keys.
//!
//! Source: Desktop Entry Specification 1.5, "Possible value types".

/// The string of a value: `\s`, `\n`, `\t`, `\r` and `\\` stand for what they say. Others stay.
pub fn unescape(value: &[u8]) -> Vec<u8> {
    let mut string = Vec::with_capacity(value.len());
    let mut rest = value;
    while let [first, others @ ..] = rest {
        let (byte, after) = match (first, others) {
            (b'\\', [next, after @ ..]) if meant(*next).is_some() => (meant(*next), after),
            _ => (Some(*first), others),
        };
        string.extend(byte);
        rest = after;
    }
    string
}

fn meant(letter: u8) -> Option<u8> {
    Some(match letter {
        b's' => b' ',
        b'n' => b'\n',
        b't' => b'\t',
        b'r' => b'\r',
        b'\\' => b'\\',
        _ => return None,
    })
}

/// The value of a string; [`unescape`] of it is the string, without control characters that have no
/// escape.
pub fn escape(string: &[u8]) -> Vec<u8> {
    let is_kept = |b: &&u8| !b.is_ascii_control() || b"\n\r\t".contains(b);
    let string: Vec<u8> = string.iter().filter(is_kept).copied().collect();
    let mut value = Vec::with_capacity(string.len());
    for (at, byte) in string.iter().enumerate() {
        let is_at_an_end = at == 0 || at + 1 == string.len();
        match byte {
            b'\\' => value.extend(b"\\\\"),
            b'\n' => value.extend(b"\\n"),
            b'\r' => value.extend(b"\\r"),
            b'\t' => value.extend(b"\\t"),
            b' ' if is_at_an_end => value.extend(b"\\s"),
            byte => value.push(*byte),
        }
    }
    value
}

/// A value with the escapes of the specification alone: any other backslash stands for itself.
pub fn mended(value: &[u8]) -> Vec<u8> {
    let mut mended = Vec::with_capacity(value.len());
    let mut rest = value;
    while let [first, others @ ..] = rest {
        rest = match (first, others) {
            (b'\\', [next, after @ ..]) if *next == b';' || meant(*next).is_some() => {
                mended.extend([*first, *next]);
                after
            }
            (b'\\', _) => {
                mended.extend(b"\\\\");
                others
            }
            _ => {
                mended.push(*first);
                others
            }
        };
    }
    mended
}
