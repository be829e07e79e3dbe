//! What an entry says of a program, as far as host and box both have to know it.

use std::collections::BTreeSet;

use super::keyfile::KeyFile;

/// The group that says what a program is.
pub const MAIN: &[u8] = b"Desktop Entry";
/// What the groups of actions are called, before the action's name.
pub const ACTION: &[u8] = b"Desktop Action ";
/// Whether the session bus starts it, by the name that its id is.
pub const BY_BUS: &[u8] = b"DBusActivatable";
/// Where files are that say how, below a data directory.
pub const SERVICES: &str = "dbus-1/services";
/// The most actions that are kept. The most in Debian are 14.
const MOST_ACTIONS: usize = 30;
/// The icons that an entry names, of its actions too.
pub fn icons(file: &KeyFile) -> Vec<String> {
    let actions = actions(file).into_iter().map(|action| [ACTION, &action].concat());
    let groups = std::iter::once(MAIN.to_vec()).chain(actions);
    groups.filter_map(|group| icon(file, &group)).collect()
}

/// The icon of a group, as the box calls it: a name or a path.
pub fn icon(file: &KeyFile, group: &[u8]) -> Option<String> {
    let icon = String::from_utf8(file.get(group, b"Icon")?).ok()?;
    Some(icon).filter(|icon| !icon.is_empty() && !icon.chars().any(char::is_control))
}

/// Whether the session bus starts the program, and nothing else can.
pub fn is_only_on_bus(file: &KeyFile) -> bool {
    let has_command = file.get(MAIN, b"Exec").is_some_and(|value| !value.is_empty());
    !has_command && file.is_true(MAIN, BY_BUS)
}

/// The actions that can be run, by their names.
pub fn actions(file: &KeyFile) -> Vec<Vec<u8>> {
    let mut actions: Vec<Vec<u8>> = Vec::new();
    let groups: BTreeSet<&[u8]> = file.groups().into_iter().collect();
    let is_on_bus = is_only_on_bus(file);
    for name in names(file, b"Actions") {
        let group = [ACTION, &name].concat();
        if actions.len() == MOST_ACTIONS || !groups.contains(&*group) {
            continue;
        }
        let has = |key: &[u8]| file.get(&group, key).is_some_and(|value| !value.is_empty());
        let is_plain = name.iter().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(b));
        if is_plain && (has(b"Exec") || is_on_bus) && has(b"Name") && !actions.contains(&name) {
            actions.push(name);
        }
    }
    actions
}

/// The members of a list without those that are empty. None that is a name has an escape.
pub fn names(file: &KeyFile, key: &[u8]) -> Vec<Vec<u8>> {
    let value = file.raw(MAIN, key).unwrap_or_default();
    let members = value.split(|b| *b == b';').map(<[u8]>::trim_ascii);
    members.filter(|name| !name.is_empty()).map(<[u8]>::to_vec).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn icons_of_actions_that_can_be_run_are_named_too() {
        let file = "[Desktop Entry]\nIcon=a\nActions=new;old;no;\n[Desktop Action new]\nName=x\nExec=x\nIcon=b\n[Desktop Action old]\nName=x\nIcon=c\n[Desktop Action else]\nName=x\nExec=x\nIcon=d\n";
        let file = KeyFile::parse(file.as_bytes()).expect("a file");
        assert_eq!(actions(&file), [b"new"]);
        assert_eq!(icons(&file), ["a", "b"]);
    }
}
