//! Setting a box up from within: what its own programs make of the account afterwards.

use std::time::Duration;

use crate::own_box::OwnBox;
use crate::support::{End, Input, Invocation, Outcome, wait_until};

/// A user whom the box does not know, with a name that must be escaped in file names.
const REQUEST: &str = r#"{
    "box_name": "setup", "hostname": "other-name",
    "user": {
        "name": "guest.x", "uid": 3000, "group": "guest.x", "gid": 3000, "comment": "A guest",
        "home": "/home/guest.x", "home_is_mounted": false, "shell": "/bin/zsh",
        "groups": ["users"], "sudo": true
    },
    "locale": [["LANG", "C.UTF-8"]], "time_zone": "Europe/Berlin", "nesting": true,
    "packages": [], "pre_init_hooks": ["echo before $INCUSBOX_USER"],
    "init_hooks": ["hostname; exit HOOK_STATUS"]
}"#;

fn set_up(own: &OwnBox, hook_status: u8) -> Outcome {
    let request = REQUEST.replace("HOOK_STATUS", &hook_status.to_string());
    let agent = "exec /usr/local/lib/incusbox/agent-* setup";
    Invocation::new(["incus", "exec", &own.0, "--", "sh", "-c", agent])
        .patience(120)
        .run_with(Input::Bytes(request.into_bytes()))
}

fn in_box(own: &OwnBox, text: &str) -> String {
    let words = ["incus", "exec", &own.0, "--", "su", "-", "guest.x", "-c", text];
    Invocation::new(words).patience(60).run().text()
}

#[test]
fn a_box_is_set_up_for_a_user_by_its_agent() {
    let own = OwnBox::new("setup");
    // It brings the agent.
    assert_eq!(own.run(&[], &["true"]).end, End::Code(0));
    everything_asked_for_is_there(&own);
    a_second_time_changes_nothing(&own);
    a_hook_that_fails_is_named(&own);
}

fn everything_asked_for_is_there(own: &OwnBox) {
    let outcome = set_up(own, 0);
    assert_eq!(outcome.end, End::Code(0), "{}", outcome.text());
    let said = outcome.text();
    assert!(said.contains(r#"{"output":"before guest.x"}"#), "{said}");
    assert!(said.contains(r#"{"output":"other-name"}"#), "{said}");
    assert!(said.lines().last().is_some_and(|line| line.starts_with(r#"{"done":"#)), "{said}");

    assert_eq!(
        in_box(own, "id -un; id -u; id -g; pwd; echo $SHELL"),
        "guest.x\n3000\n3000\n/home/guest.x\n/bin/zsh\n"
    );
    assert_eq!(in_box(own, "date +%Z"), zone());
    assert_eq!(
        in_box(own, "sudo -n id -u; sudo -n cat /etc/hostname; hostname"),
        "0\nother-name\nother-name\n"
    );
    assert_eq!(in_box(own, "ls -A ~ | grep -c profile; stat -c %a ~"), "1\n700\n");
    assert_eq!(
        in_box(own, "getent hosts other-name | cut -d' ' -f1; grep -c guest.x /etc/subuid"),
        "127.0.1.1\n1\n"
    );
    // The session comes up by itself, at once or as soon as the machine has room for it.
    wait_until("the user's manager runs", Duration::from_secs(30), || {
        in_box(own, "XDG_RUNTIME_DIR=/run/user/3000 systemctl --user is-active default.target")
            == "active\n"
    });
}

/// The abbreviation that the machine itself has for Berlin's time.
fn zone() -> String {
    Invocation::new(["env", "TZ=Europe/Berlin", "date", "+%Z"]).run().text()
}

fn a_second_time_changes_nothing(own: &OwnBox) {
    let list = "find /etc /home /var/lib/systemd/linger -xdev -printf '%p %i %T@\n' | sort";
    let look = || Invocation::new(["incus", "exec", &own.0, "--", "sh", "-c", list]).run().text();
    let before = look();
    assert_eq!(set_up(own, 0).end, End::Code(0));
    assert_eq!(before, look());
}

fn a_hook_that_fails_is_named(own: &OwnBox) {
    let outcome = set_up(own, 7);
    assert_eq!(outcome.end, End::Code(1));
    let said = outcome.text();
    assert!(said.contains(r#""failed":{"step":"init hooks""#), "{said}");
    assert!(said.contains("exit 7` ended with status 7"), "{said}");
}
