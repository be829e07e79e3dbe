//! What a box calls itself, when it gets another name.
//!
//! Incus changes only its own name for it. (Some images have a template for `/etc/hostname`, which
//! Incus writes at the next start: `volatile.apply_template`.) The box is stopped then, so its files
//! are written from here and it starts with the new name; what was called otherwise stays so.

use serde_json::{Value, json};

use crate::agent::protocol::hosts::with_name;
use crate::incus::objects::FullInstance;
use crate::incus::{Client, Error};

const HOSTNAME: &str = "/etc/hostname";
const HOSTS: &str = "/etc/hosts";
/// What Incus is to write anew when the instance starts.
const TEMPLATES: &str = "volatile.apply_template";

/// Has a stopped box that called itself by its name call itself by its new one. `before` is the box
/// as it was.
///
/// # Errors
/// Of the files.
pub fn renamed(client: &mut Client, before: &FullInstance, new: &str) -> Result<(), Error> {
    let old = client.read_file(new, HOSTNAME)?;
    let old = old.map(|name| String::from_utf8_lossy(&name).trim().to_owned());
    if is_chosen(before, old.as_deref()) {
        let nothing = json!({ "config": { TEMPLATES: "" } });
        return client.patch_instance(new, &nothing);
    }
    client.push_file(new, HOSTNAME, format!("{new}\n").as_bytes())?;
    let Some(hosts) = client.read_file(new, HOSTS)? else { return Ok(()) };
    match with_name(&String::from_utf8_lossy(&hosts), new) {
        Some(changed) => client.push_file(new, HOSTS, changed.as_bytes()),
        None => Ok(()),
    }
}

/// The host name that an option chose for a box.
pub fn chosen(there: &FullInstance) -> Option<String> {
    let options: Value = serde_json::from_str(there.fact("options")?).ok()?;
    options.get("hostname")?.as_str().map(str::to_owned)
}

/// Whether somebody chose what a box calls itself: by an option, or in the box.
fn is_chosen(before: &FullInstance, hostname: Option<&str>) -> bool {
    chosen(before).is_some() || hostname.is_some_and(|name| !name.is_empty() && name != before.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_name_is_chosen_by_an_option_or_where_it_is_not_the_boxs_name() {
        let text = r#"{"name":"a","status":"Stopped","config":{"user.incusbox.options":OPTIONS}}"#;
        let instance = |options: &str| -> FullInstance {
            let options = serde_json::to_string(options).expect("JSON");
            serde_json::from_str(&text.replace("OPTIONS", &options)).expect("an instance")
        };
        let plain = instance(r#"{"package":["vim"]}"#);
        for (name, is) in [(Some("a"), false), (None, false), (Some(""), false), (Some("b"), true)]
        {
            assert_eq!(is_chosen(&plain, name), is, "{name:?}");
        }
        assert!(is_chosen(&instance(r#"{"hostname":"a"}"#), Some("a")));
        assert!(!is_chosen(&instance(""), Some("a")));
    }
}
