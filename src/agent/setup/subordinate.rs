//! Subordinate ids, of which a user makes the containers in the box: subuid(5), subgid(5).
//!
//! useradd would take 65536 from 100000 on; a box's own map may end before that, or have a hole for
//! the user. A range must lie in one extent of the map (newuidmap(1) would be refused by the kernel
//! else), overlap nobody else's, and hold no account's id.

use std::collections::BTreeSet;

use super::accounts::{Ids, group, passwd};
use super::database;
use super::failure::Failure;
use super::ids::{Extent, IdMap};
use super::lock;
use super::table::{Table, number};
use super::tree::{Access, Tree};
use super::wanted::Wanted;

/// What images expect: ids up to 65535, `nobody` among them.
const ENOUGH: u32 = 65_536;
/// Where shadow's useradd begins (SUB_UID_MIN in login.defs(5)).
const FIRST: u64 = 100_000;
/// In a map that ends before that: above the accounts of people, below those that systemd makes.
const FIRST_IN_A_SMALL_MAP: u64 = 10_000;
const LAST_IN_A_SMALL_MAP: u64 = 60_000;
/// A range of fewer ids is of no use.
const LEAST: u32 = 1_000;

/// What becomes of one file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Choice {
    /// The user has a range.
    Has(u32),
    /// The user gets this one.
    Add(Extent),
    /// There is none.
    Nothing,
}

/// Gives the user ranges in both files. Returns what is odd about it.
///
/// # Errors
/// Of the files.
pub fn settle(tree: &Tree, user: &Wanted, ids: &Ids) -> Result<Option<String>, Failure> {
    let _lock = lock::lock_accounts(tree)?;
    let tables = database::load(tree)?;
    let taken = |table: &Table, field: usize| -> BTreeSet<u32> {
        table.entries().filter_map(|(_, fields)| number(fields.get(field)?)).collect()
    };
    let mut counts = Vec::new();
    for (path, map, taken) in [
        ("/etc/subuid", &ids.users, taken(&tables.passwd, passwd::UID)),
        ("/etc/subgid", &ids.groups, taken(&tables.group, group::GID)),
    ] {
        let mut table = Table::parse(&tree.read(path)?.unwrap_or_default());
        match choose(&table, user, map, &taken) {
            Choice::Has(count) => counts.push(count),
            Choice::Nothing => counts.push(0),
            Choice::Add(range) => {
                counts.push(range.count);
                table.add(&format!("{}:{}:{}", user.name, range.first, range.count));
                tree.write(path, &table.bytes(), Access::root(0o644))?;
            }
        }
    }
    let least = counts.into_iter().min().unwrap_or(0);
    Ok((least < ENOUGH).then(|| {
        format!(
            "the box has room for {least} subordinate ids of `{}`, and images of containers \
             expect {ENOUGH}: some will not unpack",
            user.name
        )
    }))
}

fn choose(table: &Table, user: &Wanted, map: &IdMap, taken: &BTreeSet<u32>) -> Choice {
    let uid = user.uid.to_string();
    let mut ranges = Vec::new();
    let mut own = 0;
    for (_, fields) in table.entries() {
        let [name, first, count, ..] = fields[..] else { continue };
        let (Some(first), Some(count)) = (number(first), number(count)) else { continue };
        let range = Extent { first, count };
        let is_own = name == user.name.as_bytes() || name == uid.as_bytes();
        if is_own && map.extents().iter().any(|extent| is_within(range, *extent)) {
            own += count;
        }
        ranges.push(range);
    }
    if own > 0 {
        return Choice::Has(own);
    }
    ranges.extend(taken.iter().map(|id| Extent { first: *id, count: 1 }));
    ranges.sort_by_key(|range| range.first);
    let gaps = |from: u64, to: u64| -> Vec<Extent> {
        map.extents().iter().flat_map(|extent| free(*extent, &ranges, from, to)).collect()
    };
    let large = gaps(FIRST, u64::from(u32::MAX) - 1);
    if let Some(gap) = large.iter().find(|gap| gap.count >= ENOUGH) {
        return Choice::Add(Extent { first: gap.first, count: ENOUGH });
    }
    let small = gaps(FIRST_IN_A_SMALL_MAP, LAST_IN_A_SMALL_MAP);
    let best = large.into_iter().chain(small).max_by_key(|gap| gap.count);
    match best {
        Some(gap) if gap.count >= LEAST => Choice::Add(gap),
        _ => Choice::Nothing,
    }
}

fn is_within(range: Extent, extent: Extent) -> bool {
    extent.first <= range.first && range.end() <= extent.end()
}

/// The parts of `extent` between `from` and `to` that no range (sorted) covers.
fn free(extent: Extent, ranges: &[Extent], from: u64, to: u64) -> Vec<Extent> {
    let mut at = u64::from(extent.first).max(from);
    let end = extent.end().min(to);
    let mut gaps = Vec::new();
    let mut gap = |from: u64, to: u64| {
        if let (true, Ok(first), Ok(count)) =
            (from < to, u32::try_from(from), u32::try_from(to.saturating_sub(from)))
        {
            gaps.push(Extent { first, count });
        }
    };
    for range in ranges {
        gap(at, u64::from(range.first).min(end));
        at = at.max(range.end());
    }
    gap(at, end);
    gaps
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::setup::{fixture, wanted};

    fn choice(table: &str, map: &str, taken: &[u32]) -> Choice {
        let user = wanted::check(&fixture::request()).expect("good").expect("a user");
        let taken = taken.iter().copied().collect();
        choose(&Table::parse(table.as_bytes()), &user, &IdMap::parse(map), &taken)
    }

    fn add(first: u32, count: u32) -> Choice {
        Choice::Add(Extent { first, count })
    }

    #[test]
    fn in_a_wide_map_the_range_is_useradds_or_the_next_free_one() {
        assert_eq!(choice("", "0 1000000 1000000000", &[0, 1000]), add(100_000, 65_536));
        assert_eq!(
            choice("ubuntu:100000:65536\n", "0 1000000 1000000000", &[]),
            add(165_536, 65_536)
        );
        let hole = "0 1000000 1000\n1000 1000 1\n1001 1001001 999998999\n";
        assert_eq!(choice("", hole, &[1000]), add(100_000, 65_536));
        assert_eq!(choice("x:100010:10\n", "0 1 1000000000", &[]), add(100_020, 65_536));
    }

    #[test]
    fn in_a_map_of_65536_ids_the_widest_gap_between_accounts_is_taken() {
        let map = "0 1000000 65536";
        assert_eq!(choice("", map, &[0, 1000, 59_999]), add(10_000, 49_999));
        assert_eq!(choice("", map, &[12_000]), add(12_001, 47_999));
        assert_eq!(choice("ann:10000:50000\n", map, &[]), Choice::Nothing);
        assert_eq!(choice("ann:100000:65536\n", "0 1000000 10500", &[]), Choice::Nothing);
    }

    #[test]
    fn a_range_that_the_user_has_counts_only_if_the_box_has_those_ids() {
        let wide = "0 1000000 1000000000";
        assert_eq!(choice("dev:200000:65536\n", wide, &[]), Choice::Has(65_536));
        assert_eq!(choice("1000:200000:65536\n", wide, &[]), Choice::Has(65_536));
        assert_eq!(choice("dev:200000:65536\n", "0 1 65536", &[]), add(10_000, 50_000));
    }
}
