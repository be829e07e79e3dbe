//! How a file is compressed, told from its first bytes, and reading it all the same.
//!
//! A few kilobytes can decompress to as many terabytes, so the reader gives up where the output is
//! large and out of all proportion to the input.

use std::io::{self, BufRead, BufReader, Read};

use ruzstd::decoding::StreamingDecoder;

/// Below this much output, in bytes, no ratio is suspicious: small images have holes too.
const UNSUSPICIOUS: u64 = 4 << 30;
/// The most bytes of output for one of input. Root directories have 2 to 5.
const MOST_RATIO: u64 = 100;
/// The most memory that an xz dictionary may need, in KiB: `xz -9` needs 65 MiB.
const MOST_XZ_KIB: u32 = 512 << 10;
/// The bytes that are read at once.
const CHUNK: usize = 256 << 10;

/// How a file is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// gzip (RFC 1952).
    Gzip,
    /// xz.
    Xz,
    /// Zstandard (RFC 8878).
    Zstd,
    /// bzip2.
    Bzip2,
}

impl Compression {
    /// Tells it from the first bytes of a file, at least 6 of them.
    pub fn of(head: &[u8]) -> Compression {
        // The first frame of a zstd file may be one to skip (RFC 8878, 3.1.2).
        let is_skippable =
            head.len() >= 4 && head[0] & 0xf0 == 0x50 && head[1..4] == *b"\x2a\x4d\x18";
        match head {
            [0x1f, 0x8b, ..] => Compression::Gzip,
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Compression::Xz,
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Compression::Zstd,
            [b'B', b'Z', b'h', b'1'..=b'9', ..] => Compression::Bzip2,
            _ if is_skippable => Compression::Zstd,
            _ => Compression::None,
        }
    }

    /// Reads what was compressed.
    pub fn reader<'r>(self, source: impl Read + 'r) -> Box<dyn Read + 'r> {
        if self == Compression::None {
            return Box::new(BufReader::with_capacity(CHUNK, source));
        }
        let taken = std::rc::Rc::new(std::cell::Cell::new(0));
        let counted = Counted { source, taken: std::rc::Rc::clone(&taken) };
        let source = BufReader::with_capacity(CHUNK, counted);
        let inner: Box<dyn Read + 'r> = match self {
            Compression::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(source)),
            Compression::Bzip2 => Box::new(bzip2::bufread::MultiBzDecoder::new(source)),
            Compression::Xz => {
                Box::new(lzma_rust2::XzReader::new_mem_limit(source, true, MOST_XZ_KIB))
            }
            Compression::Zstd | Compression::None => Box::new(Zstd::Between(source)),
        };
        Box::new(Bounded { inner, taken, given: 0 })
    }
}

/// Counts what is read.
struct Counted<R> {
    source: R,
    taken: std::rc::Rc<std::cell::Cell<u64>>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.source.read(buffer)?;
        self.taken.set(self.taken.get() + count as u64);
        Ok(count)
    }
}

/// Gives up where the ratio is absurd.
struct Bounded<'r> {
    inner: Box<dyn Read + 'r>,
    taken: std::rc::Rc<std::cell::Cell<u64>>,
    given: u64,
}

impl Read for Bounded<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.given += count as u64;
        if self.given > UNSUSPICIOUS && self.given / MOST_RATIO > self.taken.get() {
            let what = format!("it decompresses to more than {MOST_RATIO} times its size");
            return Err(io::Error::new(io::ErrorKind::InvalidData, what));
        }
        Ok(count)
    }
}

/// Zstandard with several frames: the crate decodes one, and layers of `zstd:chunked` have many,
/// with frames to skip between them.
enum Zstd<R: BufRead> {
    Between(R),
    Inside(Box<StreamingDecoder<R, ruzstd::decoding::FrameDecoder>>),
    Over,
}

impl<R: BufRead> Read for Zstd<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if let Zstd::Inside(decoder) = self {
                let count = decoder.read(buffer)?;
                if count > 0 || buffer.is_empty() {
                    return Ok(count);
                }
            }
            // Here nothing is open: an error on the way leaves it over.
            let mut source = match std::mem::replace(self, Zstd::Over) {
                Zstd::Between(source) => source,
                Zstd::Inside(decoder) => decoder.into_inner(),
                Zstd::Over => return Ok(0),
            };
            if skip_frames(&mut source)? {
                return Ok(0);
            }
            let decoder = StreamingDecoder::new(source).map_err(io::Error::other)?;
            *self = Zstd::Inside(Box::new(decoder));
        }
    }
}

/// Leaves out frames that carry no data; whether the end was reached.
fn skip_frames(source: &mut impl BufRead) -> io::Result<bool> {
    loop {
        if source.fill_buf()?.is_empty() {
            return Ok(true);
        }
        // The decoder reads the magic number itself, so it may only be looked at. At the edge of
        // the buffer fewer than 4 bytes may lie there; one tells the two kinds of frames apart.
        if source.fill_buf()?[0] & 0xf0 != 0x50 {
            return Ok(false);
        }
        let mut head = [0; 8];
        source.read_exact(&mut head)?;
        let length = u64::from(u32::from_le_bytes([head[4], head[5], head[6], head[7]]));
        if io::copy(&mut source.by_ref().take(length), &mut io::sink())? < length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).expect("a vector");
        encoder.finish().expect("a vector")
    }

    fn bzip2(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
        encoder.write_all(bytes).expect("a vector");
        encoder.finish().expect("a vector")
    }

    fn zstd(bytes: &[u8]) -> Vec<u8> {
        ruzstd::encoding::compress_to_vec(bytes, ruzstd::encoding::CompressionLevel::Fastest)
    }

    fn read(bytes: &[u8]) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        Compression::of(bytes).reader(bytes).read_to_end(&mut out)?;
        Ok(out)
    }

    #[test]
    fn each_kind_is_told_from_its_first_bytes_and_read_also_in_several_pieces() {
        let text = b"all the same ".repeat(40_000);
        for (compress, kind) in [
            (gzip as fn(&[u8]) -> Vec<u8>, Compression::Gzip),
            (bzip2, Compression::Bzip2),
            (zstd, Compression::Zstd),
        ] {
            let one = compress(&text);
            assert_eq!(Compression::of(&one), kind);
            assert!(read(&one).expect("well-formed") == text, "{kind:?}");
            let two = [one.clone(), one.clone()].concat();
            assert!(read(&two).expect("well-formed") == text.repeat(2), "{kind:?} twice");
            assert!(read(&one[..one.len() - 9]).is_err(), "{kind:?} cut off");
        }
        assert_eq!(read(b"not compressed").expect("well-formed"), b"not compressed");
        assert_eq!(read(b"").expect("well-formed"), b"");
    }

    #[test]
    fn xz_is_read() {
        // `printf hello | xz --check=crc32`
        let bytes = b"\xfd\x37\x7a\x58\x5a\x00\x00\x01\x69\x22\xde\x36\x02\x00\x21\x01\x16\x00\x00\x00\x74\x2f\xe5\xa3\x01\x00\x04\x68\x65\x6c\
              \x6c\x6f\x00\x00\x00\x00\x86\xa6\x10\x36\x00\x01\x19\x05\xbc\xe8\xec\xcb\x90\x42\x99\x0d\x01\x00\x00\x00\x00\x01\x59\x5a";
        assert_eq!(Compression::of(bytes), Compression::Xz);
        assert_eq!(read(bytes).expect("well-formed"), b"hello");
    }

    #[test]
    fn frames_without_data_between_those_of_zstd_are_left_out() {
        let skipped = b"\x5e\x2a\x4d\x18\x03\x00\x00\x00abc";
        let frame = zstd(b"data");
        let bytes = [skipped, &frame[..], skipped, &frame, skipped].concat();
        assert_eq!(Compression::of(&bytes), Compression::Zstd);
        assert_eq!(read(&bytes).expect("well-formed"), b"datadata");
    }

    #[test]
    fn an_absurd_ratio_is_refused() {
        let taken = std::rc::Rc::new(std::cell::Cell::new(1 << 20));
        let inner: Box<dyn Read> = Box::new(io::repeat(0));
        let mut bounded = Bounded { inner, taken, given: UNSUSPICIOUS };
        assert!(bounded.read(&mut [0; 16]).is_err());
        bounded.taken.set(1 << 30);
        assert!(bounded.read(&mut [0; 16]).is_ok());
    }
}
