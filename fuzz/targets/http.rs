//! The HTTP reader on any bytes: no panic, no reading past the end, and the same answer however
//! much of the stream has arrived.
#![no_main]

use incusbox::incus::http::{Body, parse};
use libfuzzer_sys::fuzz_target;

/// Up to this many bytes every prefix is tried; of longer inputs, about as many.
const PREFIXES: usize = 256;

fuzz_target!(|bytes: &[u8]| {
    for body in [Body::Expected, Body::None] {
        check(bytes, body);
    }
});

fn check(bytes: &[u8], body: Body) {
    let whole = parse(bytes, body);
    if let Ok(Some((response, used))) = &whole {
        assert!(*used <= bytes.len());
        assert!(response.body.len() <= *used);
        assert!(body == Body::Expected || response.body.is_empty());
    }
    let step = bytes.len() / PREFIXES + 1;
    for length in (0..bytes.len()).step_by(step) {
        let prefix = parse(&bytes[..length], body);
        match (&prefix, &whole) {
            // Undecided is always allowed, unless the answer is already there.
            (Ok(None), Ok(Some((_, used)))) => assert!(length < *used, "{length} bytes suffice"),
            (Ok(None), _) => {}
            (Ok(Some(_)), _) => assert_eq!(prefix, whole, "changed after {length} bytes"),
            (Err(_), _) => assert!(whole.is_err(), "refused after {length} bytes only"),
        }
    }
}
