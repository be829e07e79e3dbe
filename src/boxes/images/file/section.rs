//! A part of a file that is read by position, so that several parts can be read in any order from
//! one descriptor.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;

/// `at..end` of a file, in bytes.
#[derive(Clone, Debug)]
pub struct Section<'f> {
    file: &'f File,
    at: u64,
    end: u64,
}

impl<'f> Section<'f> {
    /// The part from `at` on of `length` bytes.
    pub fn new(file: &'f File, at: u64, length: u64) -> Section<'f> {
        Section { file, at, end: at.saturating_add(length) }
    }

    /// The whole file.
    ///
    /// # Errors
    /// fstat(2)'s.
    pub fn whole(file: &'f File) -> io::Result<Section<'f>> {
        Ok(Section::new(file, 0, file.metadata()?.len()))
    }

    /// Where in the file the next byte is.
    pub fn position(&self) -> u64 {
        self.at
    }

    /// Leaves `count` bytes out.
    ///
    /// # Errors
    /// `UnexpectedEof` where there are not so many.
    pub fn skip(&mut self, count: u64) -> io::Result<()> {
        match self.at.checked_add(count) {
            Some(at) if at <= self.end => self.at = at,
            _ => return Err(io::ErrorKind::UnexpectedEof.into()),
        }
        Ok(())
    }
}

impl Read for Section<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.end - self.at).unwrap_or(usize::MAX);
        let length = buffer.len().min(left);
        let count = self.file.read_at(&mut buffer[..length], self.at)?;
        self.at += count as u64;
        Ok(count)
    }
}
