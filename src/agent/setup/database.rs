//! The account files: read, changed and written under their lock.

use super::accounts::{self, Ids, Outcome, Tables};
use super::failure::Failure;
use super::lock;
use super::membership;
use super::table::Table;
use super::tree::{Access, Tree};
use super::wanted::Wanted;

/// Gives the user an account with this shell. What is as wanted already is not written.
///
/// # Errors
/// Names or ids in the way, or files that cannot be read or written.
pub fn settle(
    tree: &Tree,
    user: &Wanted,
    shell: &str,
    ids: &Ids,
    was_administrator: bool,
) -> Result<Outcome, Failure> {
    let _lock = lock::lock_accounts(tree)?;
    let mut tables = load(tree)?;
    let outcome = accounts::admit(&mut tables, user, shell, ids)?;
    membership::join(&mut tables, user, was_administrator);
    store(tree, &tables)?;
    Ok(outcome)
}

/// Reads the tables; an image without any gets at least root, whom programs expect to find.
pub fn load(tree: &Tree) -> Result<Tables, Failure> {
    let optional = |path| Ok(tree.read(path)?.map(|bytes| Table::parse(&bytes)));
    let needed = |path, root| {
        let mut table = optional(path)?.unwrap_or_else(|| Table::parse(b""));
        if table.entries().next().is_none() {
            table.add(root);
        }
        Ok(table)
    };
    Ok(Tables {
        passwd: needed("/etc/passwd", "root:x:0:0:root:/root:/bin/sh")?,
        group: needed("/etc/group", "root:x:0:")?,
        shadow: optional("/etc/shadow")?,
        gshadow: optional("/etc/gshadow")?,
    })
}

/// The account itself comes last: whoever reads in between finds no user without a group.
fn store(tree: &Tree, tables: &Tables) -> Result<(), Failure> {
    let files = [
        ("/etc/group", Some(&tables.group), 0o644),
        ("/etc/gshadow", tables.gshadow.as_ref(), 0o600),
        ("/etc/shadow", tables.shadow.as_ref(), 0o600),
        ("/etc/passwd", Some(&tables.passwd), 0o644),
    ];
    for (path, table, mode) in files {
        if let Some(table) = table {
            tree.write(path, &table.bytes(), Access::root(mode))?;
        }
    }
    Ok(())
}
