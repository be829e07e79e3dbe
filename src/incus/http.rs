//! HTTP/1.1 as Incus speaks it over its socket: one request at a time on a kept connection.
//!
//! The head is parsed by `httparse`; what is ours is finding the end of the body, from whatever
//! bytes have arrived so far.

use std::fmt;

/// The most that any answer may have, head and body. Lists of hundreds of instances stay below.
pub const MOST_BYTES: usize = 16 << 20;
/// The most that a head may have.
const MOST_HEAD: usize = 64 << 10;

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// The `Sec-WebSocket-Accept` header, for a connection that was upgraded.
    pub accept: Option<String>,
    /// The `ETag` header: the state of what was asked about.
    pub etag: Option<String>,
    /// The body; empty for 101.
    pub body: Vec<u8>,
}

/// Bytes that are no HTTP answer; says what is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed(pub &'static str);

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// A request as bytes.
pub fn request(method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut out = format!("{method} {target} HTTP/1.1\r\nHost: incus\r\nUser-Agent: incusbox\r\n");
    for (name, value) in headers {
        out.push_str(name);
        out.push_str(": ");
        out.push_str(value);
        out.push_str("\r\n");
    }
    if !body.is_empty() || matches!(method, "POST" | "PUT" | "PATCH") {
        out.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    out.push_str("\r\n");
    let mut out = out.into_bytes();
    out.extend_from_slice(body);
    out
}

/// How the end of a body is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Length {
    Known(usize),
    Chunked,
}

/// Whether an answer may have a body: one to HEAD has none, whatever its headers say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    /// It has one, of the length that the headers tell.
    Expected,
    /// It has none.
    None,
}

/// Takes an answer off the front of `bytes`; also how many bytes it took. `None` while it is not
/// whole.
///
/// # Errors
/// For what is no HTTP answer, has no length, or is too large.
pub fn parse(bytes: &[u8], body: Body) -> Result<Option<(Response, usize)>, Malformed> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut head = httparse::Response::new(&mut headers);
    let head_length = match head.parse(&bytes[..bytes.len().min(MOST_HEAD)]) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) if bytes.len() >= MOST_HEAD => {
            return Err(Malformed("its headers have no end"));
        }
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(_) => return Err(Malformed("the answer is not HTTP")),
    };
    let status = head.code.ok_or(Malformed("the answer has no status"))?;
    let header = |name: &str| {
        let found = head.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name))?;
        std::str::from_utf8(found.value).ok().map(str::trim)
    };
    let accept = header("sec-websocket-accept").map(str::to_owned);
    let etag = header("etag").map(str::to_owned);
    if status == 101 || body == Body::None {
        return Ok(Some((Response { status, accept, etag, body: Vec::new() }, head_length)));
    }
    let rest = &bytes[head_length..];
    let body = match length(header)? {
        Length::Known(length) => rest.get(..length).map(|body| (body.to_vec(), length)),
        Length::Chunked => unchunk(rest)?,
    };
    Ok(body.map(|(body, used)| (Response { status, accept, etag, body }, head_length + used)))
}

fn length<'h>(header: impl Fn(&str) -> Option<&'h str>) -> Result<Length, Malformed> {
    if let Some(coding) = header("transfer-encoding") {
        return match coding.eq_ignore_ascii_case("chunked") {
            true => Ok(Length::Chunked),
            false => Err(Malformed("the answer's transfer coding is unknown")),
        };
    }
    let length = header("content-length").ok_or(Malformed("the answer has no length"))?;
    match length.parse::<usize>() {
        Ok(length) if length <= MOST_BYTES => Ok(Length::Known(length)),
        Ok(_) => Err(Malformed("the answer is too large")),
        Err(_) => Err(Malformed("the answer's length is no number")),
    }
}

/// Joins the chunks of a body; also how many bytes they took. `None` while they are not all there.
fn unchunk(bytes: &[u8]) -> Result<Option<(Vec<u8>, usize)>, Malformed> {
    let mut body = Vec::new();
    let mut at = 0;
    loop {
        let (line, size) = match httparse::parse_chunk_size(&bytes[at..]) {
            Ok(httparse::Status::Complete(found)) => found,
            Ok(httparse::Status::Partial) if bytes.len() > MOST_BYTES => {
                return Err(Malformed("the answer is too large"));
            }
            Ok(httparse::Status::Partial) => return Ok(None),
            Err(_) => return Err(Malformed("a chunk has no size")),
        };
        let size = usize::try_from(size).ok().filter(|size| body.len() + size <= MOST_BYTES);
        let size = size.ok_or(Malformed("the answer is too large"))?;
        let start = at + line;
        let Some(chunk) = bytes.get(start..start + size) else { return Ok(None) };
        let Some(end) = bytes.get(start + size..start + size + 2) else { return Ok(None) };
        // Incus sends no trailers: the last chunk is followed by an empty line.
        if end != b"\r\n" {
            return Err(Malformed("a chunk does not end where it should"));
        }
        body.extend_from_slice(chunk);
        at = start + size + 2;
        if size == 0 {
            return Ok(Some((body, at)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_with_a_length_is_whole_at_its_last_byte() {
        let bytes = b"HTTP/1.1 202 Accepted\r\nContent-Length: 3\r\n\r\nabcNEXT";
        for length in 0..bytes.len() - 4 {
            assert_eq!(parse(&bytes[..length], Body::Expected), Ok(None), "{length} bytes");
        }
        let (response, used) = parse(bytes, Body::Expected).expect("well-formed").expect("whole");
        assert_eq!((response.status, response.body.as_slice()), (202, &b"abc"[..]));
        assert_eq!(&bytes[used..], b"NEXT");
    }

    #[test]
    fn chunks_are_joined_and_end_where_they_say() {
        let bytes = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n";
        for length in 0..bytes.len() {
            assert_eq!(parse(&bytes[..length], Body::Expected), Ok(None), "{length} bytes");
        }
        let (response, used) = parse(bytes, Body::Expected).expect("well-formed").expect("whole");
        assert_eq!((response.body.as_slice(), used), (&b"abcde"[..], bytes.len()));
    }

    #[test]
    fn what_is_no_answer_is_refused() {
        for bad in [
            &b"SSH-2.0-OpenSSH_9.2\r\n\r\n"[..],
            b"HTTP/1.1 200 OK\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabcd",
        ] {
            assert!(parse(bad, Body::Expected).is_err(), "{:?}", String::from_utf8_lossy(bad));
        }
    }
}
