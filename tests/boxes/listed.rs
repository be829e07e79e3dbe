//! What `incusbox list` says of exports.

use serde_json::{Value, json};

use crate::export::Desktop;
use crate::support::{Name, Outcome, run};

/// Asserts that this program is told to be on the host, as all that the box has there.
pub fn the_list_tells_the_program(desktop: &Desktop, name: &Name, id: &str) {
    let table = desktop.incusbox(&["list"]).succeeds().stdout;
    let row = table.lines().find(|line| line.starts_with(&format!("{} ", &**name)));
    let cells: Vec<&str> = row.expect("its line").split_whitespace().collect();
    assert_eq!(cells[4], "1", "{table}");
    let told = desktop.incusbox(&["list", "--json"]).succeeds();
    assert_eq!(exports(&told, name), json!([{ "kind": "app", "what": id }]));
    let told = desktop.incusbox(&["info", name]).succeeds().stdout;
    assert!(told.lines().any(|line| line == format!("exports:      {id}")), "{told}");
    a_list_of_exports_that_cannot_be_read_hides_no_box(desktop, name);
}

fn a_list_of_exports_that_cannot_be_read_hides_no_box(desktop: &Desktop, name: &Name) {
    std::fs::create_dir_all(desktop.path("bad/incusbox")).expect("a directory");
    std::fs::write(desktop.path("bad/incusbox/exports.json"), "{").expect("a file");
    let mut list = desktop.command(&["list", "--json"]);
    list.env("XDG_STATE_HOME", desktop.path("bad"));
    let told = run(list).succeeds();
    assert!(told.stderr.contains("warning: reading the list of what is exported"), "{told:#?}");
    assert_eq!(exports(&told, name), Value::Null);
}

fn exports(told: &Outcome, name: &Name) -> Value {
    let all: Value = serde_json::from_str(&told.stdout).expect("JSON");
    let own = all.as_array().into_iter().flatten().find(|one| one["name"] == **name);
    own.expect("its entry")["exports"].clone()
}
