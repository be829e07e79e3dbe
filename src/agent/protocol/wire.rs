//! The parts that messages are made of: numbers (little-endian), byte strings with their length.

use std::fmt;

use super::Stream;
use super::request::{Fd, Terminal, Watch};
use crate::sys::terminal::{CONTROL_CHARACTERS, Settings, Size};

/// Bytes that are no message of this protocol; says which part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed(pub &'static str);

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "malformed {}", self.0)
    }
}

impl std::error::Error for Malformed {}

/// Appends a byte string: its length, then the bytes.
pub(super) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
    out.extend_from_slice(bytes);
}

/// Appends a terminal's size.
pub(super) fn put_size(out: &mut Vec<u8>, size: Size) {
    for number in [size.columns, size.rows, size.x_pixels, size.y_pixels] {
        out.extend_from_slice(&number.to_le_bytes());
    }
}

/// Appends a grant.
pub(super) fn put_grant(out: &mut Vec<u8>, stream: Stream, bytes: u32) {
    out.push(stream as u8);
    out.extend_from_slice(&bytes.to_le_bytes());
}

/// Reads a payload from its front.
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn take(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(Malformed("frame: too short"))?;
        self.0 = rest;
        Ok(taken)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        self.take(N)?.try_into().map_err(|_| Malformed("frame: too short"))
    }

    pub(super) fn byte(&mut self) -> Result<u8, Malformed> {
        Ok(self.array::<1>()?[0])
    }

    pub(super) fn flag(&mut self) -> Result<bool, Malformed> {
        match self.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Malformed("flag")),
        }
    }

    pub(super) fn u16(&mut self) -> Result<u16, Malformed> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    pub(super) fn u32(&mut self) -> Result<u32, Malformed> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    pub(super) fn u64(&mut self) -> Result<u64, Malformed> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    pub(super) fn bytes(&mut self) -> Result<&'a [u8], Malformed> {
        let length = self.u32()? as usize;
        self.take(length)
    }

    pub(super) fn list<T>(
        &mut self,
        mut item: impl FnMut(&mut Self) -> Result<T, Malformed>,
    ) -> Result<Vec<T>, Malformed> {
        let count = self.u32()?;
        // Nothing is reserved by a number that the other side chose.
        (0..count).map(|_| item(self)).collect()
    }

    pub(super) fn signal(&mut self) -> Result<i32, Malformed> {
        match self.byte()? {
            signal @ 1..=64 => Ok(i32::from(signal)),
            _ => Err(Malformed("signal number")),
        }
    }

    pub(super) fn fd(&mut self) -> Result<Fd, Malformed> {
        Ok(match self.byte()? {
            0 => Fd::Terminal,
            1 => Fd::Pipe,
            2 => Fd::Null,
            3 => Fd::Closed,
            4 => Fd::Stdout,
            _ => return Err(Malformed("descriptor")),
        })
    }

    pub(super) fn size(&mut self) -> Result<Size, Malformed> {
        let (columns, rows) = (self.u16()?, self.u16()?);
        Ok(Size { columns, rows, x_pixels: self.u16()?, y_pixels: self.u16()? })
    }

    pub(super) fn grant(&mut self) -> Result<(Stream, u32), Malformed> {
        Ok((Stream::from_byte(self.byte()?)?, self.u32()?))
    }

    pub(super) fn terminal(&mut self) -> Result<Terminal, Malformed> {
        let flags = [self.u32()?, self.u32()?, self.u32()?, self.u32()?];
        let characters = self.array::<CONTROL_CHARACTERS>()?;
        let size = self.size()?;
        let watch = if self.flag()? { Watch::Yes } else { Watch::No };
        Ok(Terminal { settings: Settings { flags, characters }, size, watch })
    }

    pub(super) fn end(&self) -> Result<(), Malformed> {
        if self.0.is_empty() { Ok(()) } else { Err(Malformed("frame: too long")) }
    }
}
