//! Bytes that wait to be passed on, in order.

/// A queue of bytes: appended at the end, consumed from the front.
#[derive(Debug, Default)]
pub struct Buffer {
    bytes: Vec<u8>,
    start: usize,
}

impl Buffer {
    /// What waits.
    pub fn as_slice(&self) -> &[u8] {
        &self.bytes[self.start..]
    }

    /// How many bytes wait.
    pub fn len(&self) -> usize {
        self.bytes.len() - self.start
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Appends `data`.
    pub fn push(&mut self, data: &[u8]) {
        self.tail().extend_from_slice(data);
    }

    /// The vector to append to; what it held before must stay.
    pub fn tail(&mut self) -> &mut Vec<u8> {
        // Moving a small rest to the front is cheaper than growing for ever.
        if self.start > 0 && (self.start == self.bytes.len() || self.start >= 64 << 10) {
            self.bytes.drain(..self.start);
            self.start = 0;
        }
        &mut self.bytes
    }

    /// Forgets the first `count` bytes.
    pub fn consume(&mut self, count: usize) {
        self.start += count;
        debug_assert!(self.start <= self.bytes.len());
        if self.start >= self.bytes.len() {
            self.bytes.clear();
            self.start = 0;
        }
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.start = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_out_in_the_order_they_went_in() {
        let mut buffer = Buffer::default();
        let mut expected = 0_u32;
        for number in 0_u32..40_000 {
            buffer.push(&number.to_le_bytes());
            if number % 3 == 0 {
                assert_eq!(buffer.as_slice()[..4], expected.to_le_bytes());
                buffer.consume(4);
                expected += 1;
            }
        }
        assert_eq!(buffer.len() as u32, (40_000 - expected) * 4);
    }
}
