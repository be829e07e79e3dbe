//! The same daemon behind something that does as incus-user does for users of the restricted socket:
//! it passes on what the daemon says, but not that the daemon left; and when something is sent to a
//! daemon that left, it leaves too, with all that it had not passed on yet.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use serde_json::json;

use crate::answers::arguments;
use crate::client::Client;
use crate::directory::Directory;
use crate::fake::Fake;
use crate::script::{Act, Do, EACH_WAY, Mode, Script, Way};
use crate::wire;

const SOON: Duration = Duration::from_secs(15);
/// How long it takes to pass on what the daemon says.
const LAG: Duration = Duration::from_millis(200);

/// The restricted socket before a daemon.
struct Restricted {
    socket: PathBuf,
    _directory: Directory,
}

impl Restricted {
    fn before(fake: &Fake, lag: Duration) -> Restricted {
        let directory = Directory::new();
        let socket = directory.path.join("unix.socket.user");
        let listener = UnixListener::bind(&socket).expect("binding a socket");
        let daemon = fake.socket().clone();
        thread::spawn(move || {
            for client in listener.incoming() {
                let (Ok(client), Ok(daemon)) = (client, UnixStream::connect(&daemon)) else {
                    continue;
                };
                relay(client, daemon, lag);
            }
        });
        Restricted { socket, _directory: directory }
    }

    fn client(&self, fake: &Fake, mode: Mode) -> Client {
        Client::of(fake, &arguments(mode)).env("INCUS_SOCKET", &self.socket)
    }
}

fn relay(client: UnixStream, daemon: UnixStream, lag: Duration) {
    let copies = [&client, &daemon].map(|stream| stream.try_clone().expect("a descriptor"));
    let [mut to_client, mut from_daemon] = copies;
    thread::spawn(move || {
        let mut chunk = [0; 4096];
        while let Ok(count @ 1..) = from_daemon.read(&mut chunk) {
            thread::sleep(lag);
            if to_client.write_all(&chunk[..count]).is_err() {
                return;
            }
        }
    });
    let (mut client, mut daemon) = (client, daemon);
    thread::spawn(move || {
        let mut chunk = [0; 4096];
        while let Ok(count @ 1..) = client.read(&mut chunk) {
            if daemon.write_all(&chunk[..count]).is_err() {
                break;
            }
        }
        for stream in [client, daemon] {
            let _gone_already = stream.shutdown(Shutdown::Both);
        }
    });
}

#[test]
fn a_daemon_that_goes_away_behind_it_is_noticed() {
    let forgotten = Act::Answer(404, wire::refusal(404, "Operation not found"));
    for (mode, way) in EACH_WAY {
        for step in [Do::Die, Do::Restart] {
            let script = Script::new(mode, way).mid_run(vec![step]);
            let fake = Fake::new(script.on("operation", forgotten.clone()));
            let seen = Restricted::before(&fake, Duration::ZERO).client(&fake, mode).run(way);
            let words = ["Incus daemon went away", "while the command ran", "journalctl -u incus"];
            seen.assert_failed(SOON, 125, &words);
            assert_eq!(fake.count("exec"), 1, "{mode:?} on {way:?}: {:?}", fake.asked());
        }
    }
}

#[test]
fn an_exec_that_incus_gives_up_before_it_began_is_told() {
    let end = wire::operation(400, "Timed out waiting for websockets to connect", -1);
    let refused = Act::Answer(200, json!({"type": "sync", "status_code": 200, "metadata": end}));
    for way in [Way::Pipes, Way::Terminal] {
        let closed = |script: Script, one: &&str| script.stream(one, vec![Do::Close]);
        let script = ["0", "1"].iter().fold(Script::new(Mode::Agent, way), closed);
        let script = script.stream("2", vec![Do::OperationEnds, Do::Close]);
        let fake = Fake::new(script.ends(end.clone()).on("operation", refused.clone()));
        let seen = Restricted::before(&fake, Duration::ZERO).client(&fake, Mode::Agent).run(way);
        seen.assert_failed(SOON, 125, &["Timed out waiting for websockets"]);
    }
}

#[test]
fn what_the_daemon_said_before_it_closed_arrives_also_when_it_pinged() {
    for mode in [Mode::Agent, Mode::Native] {
        let mut script = Script::new(mode, Way::Pipes);
        let says = |text: &[u8], last: Do| {
            let ping = Do::Send(wire::ping());
            // The ping comes when the answer to the upgrade is on its way, and the rest and the end while
            // the ping is.
            vec![
                Do::Pause(LAG / 4),
                ping,
                Do::Pause(LAG + LAG / 4),
                Do::Send(text.to_vec()),
                Do::OperationEnds,
                last,
            ]
        };
        let out = [wire::binary(b"all of it\n"), wire::end()].concat();
        let err = match mode {
            Mode::Agent => [wire::greeting(), wire::exited(0, 10)].concat(),
            Mode::Native => wire::end(),
        };
        script = script.stream("1", says(&out, Do::Close)).stream("2", says(&err, Do::Close));
        let fake = Fake::new(script);
        let seen = Restricted::before(&fake, LAG).client(&fake, mode).run(Way::Pipes);
        seen.assert_ended(SOON, 0);
        assert_eq!(seen.stdout, "all of it\n", "{mode:?}");
    }
}
