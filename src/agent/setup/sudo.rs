//! Root without a password, for as long as the request says so.
//!
//! Files of our own in the directories that the programs read, so that nothing of the
//! distribution's is changed and what we wrote can be told from what the user wrote: by the first
//! line. They name the user by id, which no name can be mistaken for (`ALL` is a name too).

use std::path::{Path, PathBuf};

use super::failure::Failure;
use super::tree::{Access, Tree};
use super::wanted::{Power, Wanted};

/// Stands in the first line of every file that is ours.
pub const MARK: &str = "Written by incusbox";

/// A file that makes its user root.
struct Rule {
    path: PathBuf,
    text: String,
    access: Access,
    /// Where the program that reads it keeps its files; nothing is written where it has none.
    needs: Needs,
}

/// When a rule is written.
enum Needs {
    /// Always, and the directory is made: the program may be installed later.
    Nothing,
    /// Only where this directory is.
    Directory(&'static str),
}

/// Whether an earlier request made the user an administrator.
pub fn was_granted(tree: &Tree, user: &Wanted) -> bool {
    rules(user).iter().any(|rule| is_ours(tree, &rule.path))
}

/// Writes or removes the rules.
///
/// # Errors
/// Of the files.
pub fn apply(tree: &Tree, user: &Wanted) -> Result<(), Failure> {
    for rule in rules(user) {
        let exists = tree.exists(&rule.path);
        if exists && !is_ours(tree, &rule.path) {
            continue;
        }
        match user.power {
            Power::Ordinary if exists => {
                tree.remove(&rule.path)?;
            }
            Power::Ordinary => {}
            Power::Administrator => {
                let is_wanted = match rule.needs {
                    Needs::Nothing => true,
                    Needs::Directory(path) => tree.is_directory(path),
                };
                if is_wanted {
                    if let Some(parent) = rule.path.parent() {
                        tree.make_directory(parent, Access::root(0o750))?;
                    }
                    tree.write(&rule.path, rule.text.as_bytes(), rule.access)?;
                }
            }
        }
    }
    Ok(())
}

fn rules(user: &Wanted) -> Vec<Rule> {
    // sudo skips names with a dot (sudoers(5), "Including other files"); polkit and doas want one.
    let file = user.name.replace('.', "%2e");
    let (name, uid) = (&user.name, user.uid);
    let head = format!("{MARK} for {name}.\n");
    vec![
        Rule {
            path: PathBuf::from(format!("/etc/sudoers.d/incusbox-{file}")),
            text: format!("# {head}#{uid} ALL=(ALL:ALL) NOPASSWD: ALL\n"),
            access: Access::root(0o440),
            needs: Needs::Nothing,
        },
        Rule {
            path: PathBuf::from(format!("/etc/doas.d/incusbox-{file}.conf")),
            text: format!("# {head}permit nopass {uid}\n"),
            access: Access::root(0o600),
            needs: Needs::Directory("/etc/doas.d"),
        },
        // run0(1), pkexec(1), systemctl(1) ask polkit.
        Rule {
            path: PathBuf::from(format!("/etc/polkit-1/rules.d/49-incusbox-{file}.rules")),
            text: format!(
                "// {head}polkit.addRule(function(action, subject) {{\n    \
                 if (subject.user == \"{name}\") return polkit.Result.YES;\n}});\n"
            ),
            access: Access::root(0o644),
            needs: Needs::Directory("/etc/polkit-1/rules.d"),
        },
    ]
}

/// Whether the first line of a file says that we wrote it.
pub fn is_ours(tree: &Tree, path: &Path) -> bool {
    tree.text(path).lines().next().is_some_and(|line| line.contains(MARK))
}
