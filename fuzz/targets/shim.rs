//! The shim reader on any bytes: no panic, and what it accepts runs exactly the box and command
//! that it names, whatever its options and the caller's arguments say.
#![no_main]

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;

use incusbox::run::{arguments, shim};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(shim) = shim::parse(bytes) else { return };
    assert!(!shim.command.is_empty() && !shim.command[0].is_empty());
    assert!(shim.options.iter().all(|option| option.as_bytes().starts_with(b"-")));

    let callers = [OsString::from("--root"), "--".into(), "-t".into()];
    let line = shim.clone().command_line(callers.clone());
    let expected: Vec<OsString> = shim.command.iter().chain(&callers).cloned().collect();
    assert!(line.ends_with(&expected));
    assert_eq!(line.len(), shim.options.len() + expected.len() + 3);

    // An option may be refused. It must not turn the box or the command into something else.
    if let Ok(options) = arguments::parse(line) {
        assert_eq!(options.name, shim.name);
        assert_eq!(options.command, expected);
    }
});
