use super::*;
use crate::sys::terminal::{CONTROL_CHARACTERS, Settings};

fn request() -> Request {
    Request {
        box_name: b"dev".to_vec(),
        command: Command::Argv(vec![b"printf".to_vec(), b"\xff\x00\n".to_vec(), Vec::new()]),
        user: User::Host { uid: 1000, name: b"dev".to_vec() },
        directory: b"/home/dev".to_vec(),
        missing: Missing::Refuse,
        base: Base::Login,
        environment: vec![(b"A".to_vec(), b"\xfe".to_vec())],
        fds: [Fd::Terminal, Fd::Pipe, Fd::Closed],
        terminal: Some(Terminal {
            settings: Settings { flags: [1, 2, 3, 4], characters: [7; CONTROL_CHARACTERS] },
            size: Size { columns: 80, rows: 24, x_pixels: 0, y_pixels: 9 },
            watch: Watch::Yes,
        }),
        ignored_signals: 1,
        install_as: Some(b"/x".to_vec()),
        runner: b"/usr/bin/incusbox-run".to_vec(),
        opened: vec![Opened { path: b"/a".to_vec(), device: 1 << 40, inode: 7 }],
        desktop: Some(desktop::Desktop {
            uid: 1000,
            runtime: Some(desktop::Identity { device: 1 << 40, inode: 7 }),
            x11: None,
            cookie_mark: 1 << 63,
            cookie: vec![0, 255],
            environment: vec![(b"DISPLAY".to_vec(), b":1".to_vec())],
            insists: true,
        }),
    }
}

#[test]
fn every_message_to_the_agent_comes_back_as_it_was() {
    let messages = [
        ToAgent::Request(Box::new(request())),
        ToAgent::Stdin(b"\0\xff"),
        ToAgent::StdinEnd,
        ToAgent::Keys(b"\x03"),
        ToAgent::KeysEnd,
        ToAgent::Resize(Size { columns: 65535, rows: 1, x_pixels: 2, y_pixels: 3 }),
        ToAgent::Signal(15),
        ToAgent::Grant(Stream::Screen, 4096),
        ToAgent::OutputClosed(Fd1Or2::Stdout),
        ToAgent::Hangup,
        ToAgent::TerminalReady,
    ];
    let mut bytes = Vec::new();
    for message in &messages {
        message.encode(&mut bytes);
    }
    let mut rest = &bytes[..];
    for message in &messages {
        let (kind, payload, used) = split(rest).expect("well-formed").expect("whole");
        assert_eq!(&decode_to_agent(kind, payload).expect("decodes"), message);
        rest = &rest[used..];
    }
    assert!(rest.is_empty());
}

#[test]
fn every_message_from_the_agent_comes_back_as_it_was() {
    let exited = |status| {
        let (stdout_bytes, stdin_taken, signals_taken) = (1 << 40, 3, 2);
        let spoke = status == ExitStatus::Signal(9);
        FromAgent::Exited(Exited { status, stdout_bytes, stdin_taken, signals_taken, spoke })
    };
    let messages = [
        FromAgent::Hello(PROTOCOL),
        FromAgent::Started(Place::Home),
        FromAgent::Stderr(b"warning\n"),
        FromAgent::Screen(b"\x1b[2J"),
        FromAgent::Grant(Stream::Stdin, u32::MAX),
        FromAgent::InputClosed,
        FromAgent::Stopped(20),
        FromAgent::TerminalWanted(Output::Raw),
        exited(ExitStatus::Code(255)),
        exited(ExitStatus::Signal(9)),
        FromAgent::Failed(Failure { reason: Reason::Setup, errno: -1, subject: b"x".to_vec() }),
    ];
    let mut bytes = Vec::new();
    for message in &messages {
        message.encode(&mut bytes);
    }
    let mut rest = &bytes[..];
    for message in &messages {
        let (kind, payload, used) = split(rest).expect("well-formed").expect("whole");
        assert_eq!(&decode_from_agent(kind, payload).expect("decodes"), message);
        rest = &rest[used..];
    }
    assert!(rest.is_empty());
}

#[test]
fn a_frame_that_is_not_whole_yet_is_waited_for() {
    let mut bytes = Vec::new();
    ToAgent::Request(Box::new(request())).encode(&mut bytes);
    for length in 0..bytes.len() {
        assert_eq!(split(&bytes[..length]), Ok(None), "{length} bytes");
    }
}

#[test]
fn a_request_cut_at_any_byte_is_refused_and_never_panics() {
    let mut bytes = Vec::new();
    encode_request(&request(), &mut bytes);
    for length in 0..bytes.len() {
        assert!(decode_to_agent(1, &bytes[..length]).is_err(), "{length} bytes");
    }
}

#[test]
fn a_length_that_no_sender_would_choose_is_refused() {
    assert!(split(&[2, 0xff, 0xff, 0xff, 0x7f]).is_err());
    assert!(split(&[1, 0xff, 0xff, 0xff, 0x7f]).is_err());
}

#[test]
fn a_request_of_another_protocol_is_refused() {
    let mut bytes = Vec::new();
    encode_request(&request(), &mut bytes);
    bytes[0] = 99;
    assert_eq!(decode_to_agent(1, &bytes), Err(Malformed("protocol version")));
}

#[test]
fn the_header_for_data_read_into_place_is_that_of_a_stdin_frame() {
    let mut bytes = Vec::new();
    ToAgent::Stdin(&[0; 300]).encode(&mut bytes);
    assert_eq!(bytes[..HEADER], stdin_header(300));
}
