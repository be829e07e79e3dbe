//! What is read of an init system and of the network.

use crate::agent::setup::fixture::Scratch;
use crate::agent::setup::init::{self, State};

#[test]
fn openrc_is_up_when_it_has_reached_its_default_runlevel() {
    let scratch = Scratch::of("alpine-3.22");
    let state = |scratch: &Scratch| init::openrc_state(&scratch.tree());
    assert_eq!(state(&scratch), State::Booting("nothing yet".to_owned()));
    scratch.file("run/openrc/softlevel", "boot\n");
    assert_eq!(state(&scratch), State::Booting("runlevel boot".to_owned()));
    scratch.file("run/openrc/softlevel", "default\n").file("run/openrc/rc.starting", "");
    assert_eq!(state(&scratch), State::Booting("runlevel default".to_owned()));
    std::fs::remove_file(scratch.path.join("run/openrc/rc.starting")).expect("a file");
    assert_eq!(state(&scratch), State::Up);
    scratch.file("run/openrc/softlevel", "shutdown");
    assert_eq!(state(&scratch), State::Ending("shutdown".to_owned()));
}

#[test]
fn a_way_out_is_a_default_route_of_either_protocol() {
    const HEAD: &str = "Iface\tDestination\tGateway \tFlags\n";
    let zeroes = "0".repeat(32);
    for (v4, v6, has) in [
        (HEAD.to_owned(), String::new(), false),
        (format!("{HEAD}eth0\t0000A8C0\t00000000\t0001\n"), String::new(), false),
        (format!("{HEAD}eth0\t00000000\t0100A8C0\t0003\n"), String::new(), true),
        (
            HEAD.to_owned(),
            format!("{zeroes} 00 {zeroes} 00 {zeroes} ffffffff 1 0 200200       lo\n"),
            false,
        ),
        (HEAD.to_owned(), format!("{zeroes} 00 {zeroes} 00 fe80 00000400 1 0 3     eth0\n"), true),
    ] {
        let scratch = Scratch::new();
        scratch.file("proc/self/net/route", &v4).file("proc/self/net/ipv6_route", &v6);
        assert_eq!(init::has_route(&scratch.tree()), has, "{v4}{v6}");
    }
}
