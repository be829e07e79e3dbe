//! Pictures for icons, told by their first bytes and not decoded: a decoder is the likeliest place
//! to be hurt by a picture, and the desktop has one of its own.

use std::fmt;

/// The most bytes. The largest icons of distributions, of 512 pixels, have less than a tenth.
pub const MOST_BYTES: usize = 4 << 20;
/// The most pixels of a side. Icon themes end at 1024.
const MOST_PIXELS: u32 = 4096;
/// In how many bytes from the start an SVG's element must begin; licences stand before it.
const SEARCHED: usize = 64 << 10;

/// What kind of picture it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Pixels.
    Png,
    /// Text that is drawn at any size.
    Svg,
    /// Pixels as C, of old programs.
    Xpm,
}

/// A picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Picture {
    /// Its kind.
    pub kind: Kind,
    /// Width and height in pixels; an SVG has none.
    pub size: Option<(u32, u32)>,
}

/// Why bytes are no picture for an icon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadPicture {
    /// It has more than [`MOST_BYTES`].
    TooLarge,
    /// Width or height is 0, or more than anyone shows.
    OddSize,
    /// It is none of the three kinds.
    Unknown,
}

impl Kind {
    /// The ending of a file's name.
    pub fn ending(self) -> &'static str {
        match self {
            Kind::Png => "png",
            Kind::Svg => "svg",
            Kind::Xpm => "xpm",
        }
    }
}

impl fmt::Display for BadPicture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BadPicture::TooLarge => write!(f, "it has more than {MOST_BYTES} bytes"),
            BadPicture::OddSize => f.write_str("its width or height is out of range"),
            BadPicture::Unknown => f.write_str("it is no PNG, SVG or XPM picture"),
        }
    }
}

impl std::error::Error for BadPicture {}

/// Tells what picture `bytes` are, whatever the file is called.
///
/// # Errors
/// [`BadPicture`].
pub fn look(bytes: &[u8]) -> Result<Picture, BadPicture> {
    if bytes.len() > MOST_BYTES {
        return Err(BadPicture::TooLarge);
    }
    let of_kind = |kind, size| Picture { kind, size };
    let picture = match png(bytes).or_else(|| xpm(bytes)) {
        Some((kind, size)) => of_kind(kind, Some(size)),
        None if is_svg(bytes) => of_kind(Kind::Svg, None),
        None => return Err(BadPicture::Unknown),
    };
    let fits = |side: u32| (1..=MOST_PIXELS).contains(&side);
    match picture.size.is_none_or(|(width, height)| fits(width) && fits(height)) {
        true => Ok(picture),
        false => Err(BadPicture::OddSize),
    }
}

/// Source: Portable Network Graphics, 5.2 and 11.2.1: signature, then `IHDR` of 13 bytes.
fn png(bytes: &[u8]) -> Option<(Kind, (u32, u32))> {
    let header = bytes.strip_prefix(b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR")?;
    let side = |at: usize| Some(u32::from_be_bytes(header.get(at..at + 4)?.try_into().ok()?));
    Some((Kind::Png, (side(0)?, side(4)?)))
}

/// The first string says `width height colours characters`.
fn xpm(bytes: &[u8]) -> Option<(Kind, (u32, u32))> {
    let text = bytes.trim_ascii_start().strip_prefix(b"/*")?.trim_ascii_start();
    let text = text.strip_prefix(b"XPM")?.trim_ascii_start().strip_prefix(b"*/")?;
    let text = &text[..text.len().min(SEARCHED)];
    let string = text.split(|b| *b == b'"').nth(1)?;
    let mut numbers =
        std::str::from_utf8(string).ok()?.split_ascii_whitespace().map(str::parse::<u32>);
    Some((Kind::Xpm, (numbers.next()?.ok()?, numbers.next()?.ok()?)))
}

/// Whether the first element is `svg`, of any prefix.
fn is_svg(bytes: &[u8]) -> bool {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let mut rest = &bytes[..bytes.len().min(SEARCHED)];
    loop {
        rest = rest.trim_ascii_start();
        rest = match rest {
            [b'<', b'?', after @ ..] => match behind(after, b"?>") {
                Some(rest) => rest,
                None => return false,
            },
            [b'<', b'!', b'-', b'-', after @ ..] => match behind(after, b"-->") {
                Some(rest) => rest,
                None => return false,
            },
            [b'<', b'!', after @ ..] => match behind_doctype(after) {
                Some(rest) => rest,
                None => return false,
            },
            [b'<', after @ ..] => return is_named_svg(after),
            _ => return false,
        };
    }
}

fn is_named_svg(element: &[u8]) -> bool {
    let is_name = |b: &u8| b.is_ascii_alphanumeric() || b"-_.:".contains(b);
    let end = element.iter().position(|b| !is_name(b)).unwrap_or(element.len());
    element[..end].rsplit(|b| *b == b':').next() == Some(b"svg")
}

fn behind<'a>(bytes: &'a [u8], end: &[u8]) -> Option<&'a [u8]> {
    let at = bytes.windows(end.len()).position(|window| window == end)?;
    Some(&bytes[at + end.len()..])
}

/// A document type may have declarations between brackets, with `>` in them.
fn behind_doctype(bytes: &[u8]) -> Option<&[u8]> {
    match bytes.iter().position(|b| b"[>".contains(b))? {
        at if bytes[at] == b'>' => Some(&bytes[at + 1..]),
        at => behind(behind(&bytes[at..], b"]")?, b">"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn png(width: u32, height: u32) -> Vec<u8> {
        let header = b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR";
        [&header[..], &width.to_be_bytes(), &height.to_be_bytes(), b"\x08\x06\0\0\0rest"].concat()
    }

    #[test]
    fn a_picture_is_known_by_its_bytes() {
        let of = |kind, size| Ok(Picture { kind, size });
        for (bytes, expected) in [
            (png(48, 64), of(Kind::Png, Some((48, 64)))),
            (b"/* XPM */\nstatic char * x[] = {\n\"32 16 5 1\",\n".to_vec(), of(Kind::Xpm, Some((32, 16)))),
            (b"<svg width='1'/>".to_vec(), of(Kind::Svg, None)),
            (b"\xef\xbb\xbf<?xml version=\"1.0\"?>\n<!-- <x> -->\n<!DOCTYPE svg PUBLIC \"-//W3C\" \"x\" [\n<!ENTITY a \"b\">\n]>\n<svg:svg>".to_vec(), of(Kind::Svg, None)),
            (b"<!DOCTYPE svg><svg>".to_vec(), of(Kind::Svg, None)),
        ] {
            assert_eq!(look(&bytes), expected, "{:?}", String::from_utf8_lossy(&bytes));
        }
    }

    #[test]
    fn what_is_none_is_refused() {
        for bytes in [
            &b""[..],
            b"<",
            b"<html><svg>",
            b"<svgx>",
            b"<!-- <svg>",
            b"<?xml",
            b"<!DOCTYPE svg [",
            b"GIF89a",
            b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR\0\0",
            b"/* XPM */ \"a b\"",
            b"#!/bin/sh",
        ] {
            assert_eq!(look(bytes), Err(BadPicture::Unknown), "{bytes:?}");
        }
        assert_eq!(look(&png(0, 1)), Err(BadPicture::OddSize));
        assert_eq!(look(&png(1, u32::MAX)), Err(BadPicture::OddSize));
        assert_eq!(look(&vec![b' '; MOST_BYTES + 1]), Err(BadPicture::TooLarge));
    }
}
