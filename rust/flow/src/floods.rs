//! Whom a network's floods reach: its ports here and the other hosts, in parts of which each is a flow of its own.

use core::net::Ipv4Addr;
use std::collections::{BTreeMap, BTreeSet};

use crate::ledger::Unit;
use crate::view::View;
use crate::wish::Id;

/// Where a port stands in its network's floods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub network: Id,
    pub number: u32,
    /// Whether frames to addresses that nobody knows go to it.
    pub open: bool,
}

/// How many ports share a part of a flood: a change of one resends that part.
const PORTS_IN_PART_BITS: u32 = 6;
/// Over how many parts other hosts are spread. 16 parts of at most 1,800 hosts.
const HOST_PARTS: u16 = 16;

/// Whom a network's floods reach.
#[derive(Default)]
pub struct Floods {
    pub ports: BTreeMap<u16, BTreeSet<u32>>,
    pub open: BTreeMap<u16, BTreeSet<u32>>,
    pub hosts: BTreeMap<u16, BTreeMap<Ipv4Addr, u32>>,
}

impl View {
    /// Where a port stands in floods; None while it isn't plugged in or is down.
    pub fn place(&self, id: &str) -> Option<Place> {
        let port = self.ports.get(id).filter(|port| port.admin_up)?;
        let number = *self.bound.get(id)?;
        let borrows = port.address_pairs.iter().any(|pair| pair.mac.is_some_and(|mac| mac != port.mac));
        Some(Place { network: port.network_id.clone(), number, open: !port.port_security || borrows })
    }

    /// A port that stood in one place stands in another.
    pub fn replace(&mut self, old: Option<Place>, new: Option<Place>) {
        if old == new {
            return;
        }
        if let Some(place) = old {
            self.stand(&place, false);
        }
        if let Some(place) = new {
            self.stand(&place, true);
        }
    }

    fn stand(&mut self, place: &Place, here: bool) {
        let part = (place.number >> PORTS_IN_PART_BITS) as u16;
        let network = &place.network;
        let floods = self.floods.entry(network.clone()).or_default();
        let mut parts_changed = toggle(&mut floods.ports, part, place.number, here);
        self.dirty.insert(Unit::FloodPorts(network.clone(), part));
        if place.open {
            parts_changed |= toggle(&mut floods.open, part, place.number, here);
            self.dirty.insert(Unit::FloodOpen(network.clone(), part));
        }
        if parts_changed {
            self.dirty.insert(Unit::Flood(network.clone()));
        }
        self.forget_empty(network);
    }

    fn forget_empty(&mut self, network: &Id) {
        let empty = |floods: &Floods| floods.ports.is_empty() && floods.open.is_empty() && floods.hosts.is_empty();
        if self.floods.get(network).is_some_and(empty) {
            self.floods.remove(network);
        }
    }

    /// One port more or less of a network is on another host.
    pub fn count_host(&mut self, network: &Id, host: Ipv4Addr, here: bool) {
        let part = host_part(host);
        let floods = self.floods.entry(network.clone()).or_default();
        let was_empty = !floods.hosts.contains_key(&part);
        let hosts = floods.hosts.entry(part).or_default();
        let count = hosts.entry(host).or_default();
        let before = *count;
        *count = if here { before + 1 } else { before.saturating_sub(1) };
        let after = *count;
        if after == 0 {
            hosts.remove(&host);
        }
        let is_empty = hosts.is_empty();
        if is_empty {
            floods.hosts.remove(&part);
        }
        if (before == 0) != (after == 0) {
            self.dirty.insert(Unit::FloodHosts(network.clone(), part));
        }
        if was_empty != is_empty {
            self.dirty.insert(Unit::Flood(network.clone()));
        }
        self.forget_empty(network);
    }
}

/// Puts `number` into a part or takes it out. Says whether the part came or went with it.
fn toggle(parts: &mut BTreeMap<u16, BTreeSet<u32>>, part: u16, number: u32, here: bool) -> bool {
    let known = parts.contains_key(&part);
    let numbers = parts.entry(part).or_default();
    if here {
        numbers.insert(number);
    } else {
        numbers.remove(&number);
    }
    let empty = numbers.is_empty();
    if empty {
        parts.remove(&part);
    }
    known == empty
}

/// Spreads hosts over parts by all bits of their address (Fibonacci hashing).
fn host_part(host: Ipv4Addr) -> u16 {
    let spread = u32::from(host).wrapping_mul(0x9e37_79b1) >> 16;
    spread as u16 % HOST_PARTS
}
