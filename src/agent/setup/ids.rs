//! Which ids the box has: the id map of its user namespace, see user_namespaces(7).

/// One line of `/proc/self/uid_map`: ids that stand together on both sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// The first id inside.
    pub first: u32,
    /// How many there are.
    pub count: u32,
}

impl Extent {
    /// The id behind the last.
    pub fn end(self) -> u64 {
        u64::from(self.first) + u64::from(self.count)
    }
}

/// The ids of a box.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdMap {
    extents: Vec<Extent>,
}

impl IdMap {
    /// Reads the text of `/proc/self/uid_map` or `gid_map`; with none, every id is there.
    pub fn parse(text: &str) -> IdMap {
        let mut extents: Vec<Extent> = text
            .lines()
            .filter_map(|line| {
                let mut fields = line.split_ascii_whitespace().map(str::parse);
                let (first, _, count) = (fields.next()?, fields.next()?, fields.next()?);
                Some(Extent { first: first.ok()?, count: count.ok()? })
            })
            .collect();
        if extents.is_empty() {
            extents.push(Extent { first: 0, count: u32::MAX });
        }
        extents.sort_by_key(|extent| extent.first);
        IdMap { extents }
    }

    /// Whether the box has `id`.
    pub fn has(&self, id: u32) -> bool {
        self.extents.iter().any(|extent| extent.first <= id && u64::from(id) < extent.end())
    }

    /// The extents, the lowest first. They are not joined: a map inside the box must lie in one of
    /// them (`map_id_range_down` in kernel/user_namespace.c).
    pub fn extents(&self) -> &[Extent] {
        &self.extents
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_with_a_hole_for_the_user_has_the_ids_on_all_sides() {
        let map = IdMap::parse(
            "         0    1000000       1000\n      1000       1000          1\n   1001 1001001 64535\n",
        );
        assert_eq!(map.extents().len(), 3);
        assert!([0, 999, 1000, 1001, 65535].into_iter().all(|id| map.has(id)));
        assert!(!map.has(65536));
        assert!(IdMap::parse("").has(4_000_000_000));
    }
}
