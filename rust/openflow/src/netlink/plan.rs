//! From how things are to how they should be, in the fewest changes. Pure.

use core::net::IpAddr;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use ostro_flow::wish::Mac;

use super::Report;
use super::message::{Fdb, Found, Link, LinkKind, Neighbour};

/// What becomes of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// It is new.
    Add,
    /// It takes the place of another.
    Replace,
    /// It goes.
    Remove,
}

/// One change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A link is made.
    MakeLink(Link),
    /// A link goes.
    RemoveLink {
        /// Its number.
        index: u32,
        /// Its name.
        name: String,
    },
    /// A link is set otherwise, where it differs.
    SetLink {
        /// Its number.
        index: u32,
        /// Its name.
        name: String,
        /// The largest packet in bytes.
        mtu: Option<u32>,
        /// Its address.
        mac: Option<Mac>,
        /// The number of its bridge, 0 for none.
        master: Option<u32>,
        /// Whether it takes part.
        up: Option<bool>,
    },
    /// An entry of the forwarding table of a device.
    Fdb(How, u32, Fdb),
    /// A neighbour on a device.
    Neighbour(How, u32, Neighbour),
}

impl Change {
    /// In words.
    #[must_use]
    pub fn what(&self) -> String {
        match self {
            Self::MakeLink(link) => format!("make {} {}", link.kind.name(), link.name),
            Self::RemoveLink { name, .. } => format!("remove link {name}"),
            Self::SetLink { name, .. } => format!("set link {name}"),
            Self::Fdb(how, _, entry) => format!("{} {} to {}", how.word(), entry.mac, entry.remote),
            Self::Neighbour(how, _, neighbour) => format!("{} {} at {}", how.word(), neighbour.ip, neighbour.mac),
        }
    }

    /// Where it counts.
    pub(crate) fn count_of<'a>(&self, report: &'a mut Report) -> &'a mut usize {
        match self {
            Self::MakeLink(_) | Self::Fdb(How::Add, ..) | Self::Neighbour(How::Add, ..) => &mut report.added,
            Self::RemoveLink { .. } | Self::Fdb(How::Remove, ..) | Self::Neighbour(How::Remove, ..) => {
                &mut report.removed
            }
            Self::SetLink { .. } | Self::Fdb(How::Replace, ..) | Self::Neighbour(How::Replace, ..) => {
                &mut report.changed
            }
        }
    }
}

impl How {
    const fn word(self) -> &'static str {
        match self {
            Self::Add => "add",
            Self::Replace => "change",
            Self::Remove => "remove",
        }
    }
}

/// Whether a link that is there can become this one without being made anew.
fn is_same_kind(found: &Found, link: &Link) -> bool {
    match (&found.link, &link.kind) {
        // The other end of a pair may be anywhere, under any name.
        (Some(LinkKind::Veth { .. }), LinkKind::Veth { .. }) => true,
        (Some(held), wanted) => held == wanted,
        (None, _) => false,
    }
}

/// Links that are not wanted, or not like this.
pub(crate) fn remove_links(prefix: &str, held: &BTreeMap<String, Found>, wanted: &[Link]) -> Vec<Change> {
    let wanted: HashMap<&str, &Link> = wanted.iter().map(|link| (link.name.as_str(), link)).collect();
    let ours = held.values().filter(|found| found.name.starts_with(prefix));
    let unfit = |found: &&Found| wanted.get(found.name.as_str()).is_none_or(|link| !is_same_kind(found, link));
    // One end of a pair takes the other with it.
    let mut gone: HashSet<&str> = HashSet::new();
    let mut changes = Vec::new();
    for found in ours.filter(unfit) {
        if gone.contains(found.name.as_str()) {
            continue;
        }
        if let Some(LinkKind::Veth { peer }) = &found.link {
            gone.insert(peer);
        }
        changes.push(Change::RemoveLink { index: found.index, name: found.name.clone() });
    }
    changes
}

/// Links that are missing once [`remove_links`] is done.
pub(crate) fn make_links(held: &BTreeMap<String, Found>, wanted: &[Link]) -> Vec<Change> {
    let mut there: BTreeSet<&str> = BTreeSet::new();
    for link in wanted {
        let found = held.get(&link.name).filter(|found| is_same_kind(found, link));
        there.extend(found.map(|found| found.name.as_str()));
    }
    let mut changes = Vec::new();
    for link in wanted {
        if !there.insert(&link.name) {
            continue;
        }
        if let LinkKind::Veth { peer } = &link.kind {
            there.insert(peer);
        }
        changes.push(Change::MakeLink(link.clone()));
    }
    changes
}

/// Settings that differ.
pub(crate) fn change_links(held: &BTreeMap<String, Found>, wanted: &[Link]) -> Vec<Change> {
    let index = |name: &Option<String>| name.as_ref().map_or(Some(0), |name| held.get(name).map(|found| found.index));
    let differing = |link: &Link| {
        let found = held.get(&link.name)?;
        let master = index(&link.master).filter(|master| *master != found.master);
        let mtu = link.mtu.filter(|mtu| *mtu != found.mtu);
        let mac = link.mac.filter(|mac| Some(*mac) != found.mac);
        let up = (link.up != found.up).then_some(link.up);
        let differs = mtu.is_some() || mac.is_some() || master.is_some() || up.is_some();
        let set = Change::SetLink { index: found.index, name: link.name.clone(), mtu, mac, master, up };
        differs.then_some(set)
    };
    wanted.iter().filter_map(differing).collect()
}

/// Entries of a forwarding table. An address has one destination, but all zeros have any number.
#[must_use]
pub fn fdb(device: u32, held: &[Fdb], wanted: &[Fdb]) -> Vec<Change> {
    let is_flood = |entry: &&Fdb| entry.mac == Mac::default();
    let keep: HashSet<&Fdb> = wanted.iter().collect();
    let have: HashSet<&Fdb> = held.iter().collect();
    let single: HashSet<Mac> = held.iter().filter(|entry| !is_flood(entry)).map(|entry| entry.mac).collect();
    let again: HashSet<Mac> = wanted.iter().filter(|entry| !is_flood(entry)).map(|entry| entry.mac).collect();
    let goes = |entry: &&Fdb| !keep.contains(entry) && (is_flood(entry) || !again.contains(&entry.mac));
    let removed = held.iter().filter(goes).map(|entry| Change::Fdb(How::Remove, device, *entry));
    let mut changes: Vec<Change> = removed.collect();
    let mut said: HashSet<&Fdb> = HashSet::new();
    for entry in wanted.iter().filter(|entry| !have.contains(entry)) {
        if said.insert(entry) {
            let how = if single.contains(&entry.mac) { How::Replace } else { How::Add };
            changes.push(Change::Fdb(how, device, *entry));
        }
    }
    changes
}

/// Neighbours. An address is at one place.
#[must_use]
pub fn neighbours(device: u32, held: &[Neighbour], wanted: &[Neighbour]) -> Vec<Change> {
    let have: HashMap<IpAddr, Mac> = held.iter().map(|neighbour| (neighbour.ip, neighbour.mac)).collect();
    let want: HashMap<IpAddr, Mac> = wanted.iter().map(|neighbour| (neighbour.ip, neighbour.mac)).collect();
    let removed = held.iter().filter(|neighbour| !want.contains_key(&neighbour.ip));
    let mut changes: Vec<Change> =
        removed.map(|neighbour| Change::Neighbour(How::Remove, device, *neighbour)).collect();
    let mut said: HashSet<IpAddr> = HashSet::new();
    for ip in wanted.iter().map(|neighbour| neighbour.ip) {
        let (before, now) = (have.get(&ip), want.get(&ip).copied().unwrap_or_default());
        if said.insert(ip) && before != Some(&now) {
            let how = if before.is_some() { How::Replace } else { How::Add };
            changes.push(Change::Neighbour(how, device, Neighbour { ip, mac: now }));
        }
    }
    changes
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What a kernel makes of changes.
    fn carry_out(changes: &[Change], table: &mut BTreeSet<Fdb>) {
        for change in changes {
            let Change::Fdb(how, 1, entry) = change else { panic!("{change:?}") };
            match how {
                How::Remove => assert!(table.remove(entry)),
                How::Add => {
                    let taken = table.iter().any(|held| held.mac == entry.mac && entry.mac != Mac::default());
                    assert!(!taken && table.insert(*entry));
                }
                How::Replace => {
                    assert!(entry.mac != Mac::default() && table.iter().any(|held| held.mac == entry.mac));
                    table.retain(|held| held.mac != entry.mac);
                    table.insert(*entry);
                }
            }
        }
    }

    fn entry() -> impl Strategy<Value = Fdb> {
        (0..4_u8, 1..4_u8, prop::option::of(1..3_u32)).prop_map(|(mac, remote, vni)| Fdb {
            mac: Mac([0, 0, 0, 0, 0, mac]),
            remote: IpAddr::from([192, 0, 2, remote]),
            vni,
            port: None,
        })
    }

    /// At most one entry of each address that isn't all zeros.
    fn table() -> impl Strategy<Value = BTreeSet<Fdb>> {
        prop::collection::vec(entry(), 0..8).prop_map(|entries| {
            let mut seen = HashSet::new();
            entries.into_iter().filter(|entry| entry.mac == Mac::default() || seen.insert(entry.mac)).collect()
        })
    }

    proptest! {
        #[test]
        fn changes_lead_from_one_forwarding_table_to_the_other(before in table(), after in table()) {
            let list = |table: &BTreeSet<Fdb>| table.iter().copied().collect::<Vec<_>>();
            let changes = fdb(1, &list(&before), &list(&after));
            let mut moved = before;
            carry_out(&changes, &mut moved);
            prop_assert_eq!(&moved, &after);
            prop_assert!(fdb(1, &list(&moved), &list(&after)).is_empty());
        }
    }

    fn found(index: u32, name: &str, link: LinkKind) -> (String, Found) {
        let kind = link.name().to_owned();
        let link = Some(link);
        let found =
            Found { index, name: name.to_owned(), kind, link, mtu: 1500, mac: None, master: 0, below: 0, up: false };
        (name.to_owned(), found)
    }

    fn link(name: &str, kind: LinkKind) -> Link {
        Link { name: name.to_owned(), kind, mtu: None, mac: None, master: None, up: false }
    }

    fn veth(peer: &str) -> LinkKind {
        LinkKind::Veth { peer: peer.to_owned() }
    }

    #[test]
    fn a_pair_is_made_and_removed_once() {
        let both = [link("o-a", veth("o-b")), link("o-b", veth("o-a"))];
        assert_eq!(make_links(&BTreeMap::new(), &both), [Change::MakeLink(both[0].clone())]);
        let held = [found(1, "o-a", veth("o-b")), found(2, "o-b", veth("o-a"))].into();
        assert!(make_links(&held, &both).is_empty() && change_links(&held, &both).is_empty());
        assert_eq!(remove_links("o-", &held, &[]), [Change::RemoveLink { index: 1, name: "o-a".to_owned() }]);
    }

    #[test]
    fn only_links_with_the_prefix_are_removed_and_other_kinds_are_made_anew() {
        let held = [found(1, "eth0", LinkKind::Bridge), found(2, "o-a", veth("o-b"))].into();
        let wanted = [link("o-a", LinkKind::Bridge)];
        assert_eq!(remove_links("o-", &held, &wanted), [Change::RemoveLink { index: 2, name: "o-a".to_owned() }]);
        assert_eq!(make_links(&held, &wanted), [Change::MakeLink(wanted[0].clone())]);
    }

    #[test]
    fn the_last_word_about_a_neighbour_counts() {
        let at = |mac: u8| Neighbour { ip: IpAddr::from([192, 0, 2, 1]), mac: Mac([mac; 6]) };
        assert_eq!(neighbours(1, &[], &[at(1), at(2)]), [Change::Neighbour(How::Add, 1, at(2))]);
        assert_eq!(neighbours(1, &[at(1)], &[at(2)]), [Change::Neighbour(How::Replace, 1, at(2))]);
        assert_eq!(neighbours(1, &[at(1)], &[]), [Change::Neighbour(How::Remove, 1, at(1))]);
        assert!(neighbours(1, &[at(1)], &[at(1)]).is_empty());
    }
}
