//! The decoder of websocket frames on any bytes: no panic, and the same events in whatever pieces
//! the bytes arrive and are consumed.
//!
//! The input's first byte is the number of piece lengths that follow it; the rest is the stream.
#![no_main]

use incusbox::incus::websocket::{Decoder, Event};
use libfuzzer_sys::fuzz_target;

/// All that a decoder told of a stream.
#[derive(Debug, Default, PartialEq, Eq)]
struct Told {
    data: Vec<u8>,
    /// Each ping with the number of data bytes before it.
    pings: Vec<(usize, Vec<u8>)>,
    ended: bool,
    refused: bool,
}

fuzz_target!(|input: &[u8]| {
    let Some((count, rest)) = input.split_first() else { return };
    let (pieces, stream) = rest.split_at(rest.len().min(usize::from(*count)));

    let mut decoder = Decoder::new(stream);
    let mut at_once = Told::default();
    take(&mut decoder, &mut at_once, usize::MAX);
    assert_eq!(decoder.has_ended(), at_once.ended);

    let mut decoder = Decoder::new(b"");
    let mut in_pieces = Told::default();
    let mut lengths = pieces.iter().map(|length| usize::from(*length)).chain(std::iter::repeat(13));
    let mut left = stream;
    while !left.is_empty() {
        let length = lengths.next().unwrap_or(1);
        let (piece, rest) = left.split_at(left.len().min(length));
        left = rest;
        decoder.tail().extend_from_slice(piece);
        take(&mut decoder, &mut in_pieces, length + 1);
    }
    assert_eq!(in_pieces, at_once);
});

/// Takes every event that is there, and no more than `most` bytes of data at a time.
fn take(decoder: &mut Decoder, told: &mut Told, most: usize) {
    while !told.refused && !told.ended {
        let before = decoder.waiting();
        match decoder.event() {
            Ok(Some(Event::Data(data))) => {
                assert!(!data.is_empty(), "no data is no event");
                let count = data.len().min(most);
                told.data.extend_from_slice(&data[..count]);
                decoder.consume(count);
                assert_eq!(decoder.waiting() + count, before_data(before, decoder, count));
            }
            Ok(Some(Event::Ping(payload))) => {
                assert!(payload.len() <= 125);
                told.pings.push((told.data.len(), payload));
            }
            Ok(Some(Event::End)) => told.ended = true,
            Ok(None) => return,
            Err(_) => told.refused = true,
        }
    }
}

/// What waited when the data was given: a header before it may have been consumed since.
fn before_data(before: usize, decoder: &Decoder, count: usize) -> usize {
    before.min(decoder.waiting() + count)
}
