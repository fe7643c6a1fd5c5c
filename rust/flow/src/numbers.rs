//! Small numbers for networks, security groups and routers, which registers and tracking zones have room for.
//!
//! A number stays with its id for as long as that is in use, and across restarts: who keeps the state persists
//! [`Numbers::pairs`] before it sends flows that use them, and gives them back with [`Numbers::restore`] before the first wish. Numbers
//! are given round robin, so that one just freed isn't given again soon, while packets of its last owner may be on their way.

use std::collections::BTreeSet;

use rustc_hash::FxHashMap;

use crate::wish::Id;

/// The highest number of a network: tracking zones have 16 bits, and zone 0 is the host's own.
pub const NETWORK_MOST: u32 = 0xbfff;
/// The highest number of a router: its zone is above those of networks.
pub const ROUTER_MOST: u32 = 0x3fff;
/// The highest number of a group: two bits of a register are taken by how it is asked.
pub const GROUP_MOST: u32 = 0x3fff_ffff;

/// The tracking zone of the router of this number.
#[must_use]
pub fn router_zone(number: u32) -> u32 {
    NETWORK_MOST + number
}

/// Numbers out of 1 to a highest one.
#[derive(Debug)]
pub struct Pool {
    by_id: FxHashMap<Id, u32>,
    taken: BTreeSet<u32>,
    last: u32,
    most: u32,
}

impl Pool {
    fn new(most: u32) -> Self {
        Self { by_id: FxHashMap::default(), taken: BTreeSet::new(), last: 0, most }
    }

    /// The number of `id`, if it has one.
    #[must_use]
    pub fn get(&self, id: &str) -> Option<u32> {
        self.by_id.get(id).copied()
    }

    /// The number of `id`, a new one if it has none. None if all are taken. The flag says whether it is new.
    pub fn take(&mut self, id: &Id) -> Option<(u32, bool)> {
        if let Some(number) = self.by_id.get(id) {
            return Some((*number, false));
        }
        if self.taken.len() as u64 >= u64::from(self.most) {
            return None;
        }
        let number = self.free_from(self.last + 1, self.most).or_else(|| self.free_from(1, self.last))?;
        self.put(id.clone(), number);
        Some((number, true))
    }

    fn free_from(&self, low: u32, high: u32) -> Option<u32> {
        let mut taken = self.taken.range(low..).peekable();
        (low..=high).find(|number| taken.next_if(|taken| *taken == number).is_none())
    }

    fn put(&mut self, id: Id, number: u32) {
        self.taken.insert(number);
        self.by_id.insert(id, number);
        self.last = number;
    }

    /// Frees the numbers of the ids that `keep` doesn't want. Says whether there was one.
    fn retain(&mut self, keep: impl Fn(&Id) -> bool) -> bool {
        let before = self.by_id.len();
        let taken = &mut self.taken;
        self.by_id.retain(|id, number| keep(id) || !taken.remove(number));
        self.by_id.len() != before
    }
}

/// The numbers in use.
#[derive(Debug)]
pub struct Numbers {
    /// Of networks.
    pub networks: Pool,
    /// Of security groups.
    pub groups: Pool,
    /// Of routers.
    pub routers: Pool,
}

impl Default for Numbers {
    fn default() -> Self {
        Self { networks: Pool::new(NETWORK_MOST), groups: Pool::new(GROUP_MOST), routers: Pool::new(ROUTER_MOST) }
    }
}

/// Whose a number is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum NumberOf {
    Network,
    Group,
    Router,
}

impl Numbers {
    /// Every number in use, ordered.
    #[must_use]
    pub fn pairs(&self) -> Vec<(NumberOf, Id, u32)> {
        let of = |kind, pool: &Pool| pool.by_id.iter().map(move |(id, number)| (kind, id.clone(), *number)).collect();
        let mut all: Vec<_> = of(NumberOf::Network, &self.networks);
        all.extend::<Vec<_>>(of(NumberOf::Group, &self.groups));
        all.extend::<Vec<_>>(of(NumberOf::Router, &self.routers));
        all.sort_unstable();
        all
    }

    /// Takes a number that was in use before a restart; one that is taken or out of range is not.
    pub fn restore(&mut self, kind: NumberOf, id: Id, number: u32) {
        let pool = match kind {
            NumberOf::Network => &mut self.networks,
            NumberOf::Group => &mut self.groups,
            NumberOf::Router => &mut self.routers,
        };
        if number != 0 && number <= pool.most && !pool.taken.contains(&number) && !pool.by_id.contains_key(&id) {
            pool.put(id, number);
            pool.last = pool.taken.last().copied().unwrap_or_default();
        }
    }

    /// The tracking zone of a router.
    #[must_use]
    pub fn zone_of(&self, router: &str) -> Option<u32> {
        self.routers.get(router).map(router_zone)
    }

    /// Frees every number whose network, group or router is not kept. Says whether there was one.
    pub fn retain(
        &mut self,
        network: impl Fn(&Id) -> bool,
        group: impl Fn(&Id) -> bool,
        router: impl Fn(&Id) -> bool,
    ) -> bool {
        let networks = self.networks.retain(network);
        let groups = self.groups.retain(group);
        self.routers.retain(router) || groups || networks
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_go_round() {
        let mut pool = Pool::new(3);
        let take = |pool: &mut Pool, id: &str| pool.take(&id.into()).map(|(number, _)| number);
        assert_eq!(take(&mut pool, "a"), Some(1));
        assert_eq!(take(&mut pool, "b"), Some(2));
        assert_eq!(take(&mut pool, "a"), Some(1));
        assert!(pool.retain(|id| &**id == "b"));
        assert_eq!(take(&mut pool, "c"), Some(3));
        assert_eq!(take(&mut pool, "d"), Some(1));
        assert_eq!(take(&mut pool, "e"), None);
    }

    #[test]
    fn a_restored_number_is_kept_and_not_given_twice() {
        let mut numbers = Numbers::default();
        numbers.restore(NumberOf::Network, "n".into(), 7);
        numbers.restore(NumberOf::Network, "other".into(), 7);
        numbers.restore(NumberOf::Group, "g".into(), 7);
        assert_eq!(numbers.networks.get("n"), Some(7));
        assert_eq!(numbers.networks.get("other"), None);
        assert_eq!(numbers.networks.take(&"other".into()), Some((8, true)));
        assert_eq!(numbers.pairs().len(), 3);
    }
}
