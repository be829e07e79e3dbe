//! The protocol between program and agent on any bytes, both directions: no panic, a frame that is
//! not whole is waited for, and what was understood is written again as the same bytes.
#![no_main]

use incusbox::agent::protocol::{HEADER, decode_from_agent, decode_to_agent, split};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let mut rest = bytes;
    while let Ok(Some((kind, payload, used))) = split(rest) {
        assert_eq!(used, HEADER + payload.len());
        assert_eq!(split(&rest[..used - 1]), Ok(None));
        let frame = &rest[..used];
        assert!(matches!(split(frame), Ok(Some((k, p, u))) if (k, p, u) == (kind, payload, used)));

        let mut again = Vec::new();
        if let Ok(message) = decode_to_agent(kind, payload) {
            message.encode(&mut again);
            assert_eq!(again, frame, "{message:?}");
        }
        again.clear();
        if let Ok(message) = decode_from_agent(kind, payload) {
            message.encode(&mut again);
            assert_eq!(again, frame, "{message:?}");
        }
        rest = &rest[used..];
    }
});
