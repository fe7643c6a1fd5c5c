//! What flows are computed from: the wishes held, the switch's ports, and indexes over both.
//!
//! Changing the view says which units have to be computed anew; computing them is in `compile`.

use std::collections::BTreeSet;
use std::collections::hash_map::Entry;

use rustc_hash::{FxHashMap, FxHashSet};

use crate::compile::group;
use crate::floods::Floods;
use crate::ledger::{Sink, Unit};
use crate::numbers::{Numbers, router_zone};
use crate::router::Face;
use crate::tables::Lookup;
use crate::text::Patch;
use crate::uplinks::{Carrier, Uplinks};
use crate::wish::{Direction, Floating, Id, Network, Peer, Port, Router, SecurityGroup, SegmentType};

/// What a group no longer wants, and what it wants anew.
#[derive(Default)]
pub struct Amendment {
    pub gone: Sink,
    pub fresh: Sink,
}

/// See the module.
#[derive(Default)]
pub struct View {
    pub networks: FxHashMap<Id, Network>,
    pub groups: FxHashMap<Id, SecurityGroup>,
    pub ports: FxHashMap<Id, Port>,
    pub peers: FxHashMap<Id, Peer>,
    pub routers: FxHashMap<Id, Router>,
    pub floatings: FxHashMap<Id, Floating>,
    pub uplinks: Uplinks,
    pub numbers: Numbers,
    /// The OpenFlow number of each plugged port.
    pub bound: FxHashMap<Id, u32>,
    /// The same, the other way round.
    pub bound_to: FxHashMap<u32, Id>,
    /// The ports and peers of each network.
    pub residents: FxHashMap<Id, FxHashSet<Unit>>,
    /// The routers that stand in each network.
    pub standing: FxHashMap<Id, BTreeSet<Id>>,
    /// The floating addresses of each router.
    pub floatings_of: FxHashMap<Id, BTreeSet<Id>>,
    /// The ports and peers in each group.
    pub members: FxHashMap<Id, FxHashSet<Unit>>,
    /// How many rules ask for the members of each group, by how they look.
    pub lookups: FxHashMap<Id, [u32; 4]>,
    pub floods: FxHashMap<Id, Floods>,
    pub dirty: FxHashSet<Unit>,
    /// Groups of which only some flows are to be changed, unless they are dirty.
    pub amended: FxHashMap<Id, Amendment>,
    /// Numbers may have come out of use since that was last looked for.
    pub numbers_loose: bool,
    /// Numbers have been given or freed since they were last asked for.
    pub numbers_changed: bool,
    /// Numbers given to networks since they were last asked for.
    pub fresh_zones: Vec<u16>,
}

impl View {
    /// Holds a network.
    pub fn put_network(&mut self, wish: Network) {
        let id = wish.id.clone();
        if self.networks.get(&id) == Some(&wish) {
            return;
        }
        if let Some((number, true)) = self.numbers.networks.take(&id) {
            self.numbers_changed = true;
            self.fresh_zones.push(number as u16);
        }
        self.networks.insert(id.clone(), wish);
        self.touch_network(&id);
    }

    /// Forgets a network.
    pub fn drop_network(&mut self, id: &str) {
        if let Some((id, _)) = self.networks.remove_entry(id) {
            self.numbers_loose = true;
            self.touch_network(&id);
        }
    }

    fn touch_network(&mut self, id: &Id) {
        self.dirty.insert(Unit::Network(id.clone()));
        self.dirty.insert(Unit::Flood(id.clone()));
        self.touch_residents(id);
        for router in self.standing.get(id).cloned().into_iter().flatten() {
            self.touch_router(&router);
        }
        if let Some(floods) = self.floods.get(id) {
            self.dirty.extend(floods.ports.keys().map(|part| Unit::FloodPorts(id.clone(), *part)));
            self.dirty.extend(floods.open.keys().map(|part| Unit::FloodOpen(id.clone(), *part)));
            self.dirty.extend(floods.hosts.keys().map(|part| Unit::FloodHosts(id.clone(), *part)));
        }
    }

    fn touch_residents(&mut self, network: &Id) {
        if let Some(residents) = self.residents.get(network) {
            self.dirty.extend(residents.iter().cloned());
        }
    }

    /// Holds a security group.
    pub fn put_group(&mut self, wish: SecurityGroup) {
        let id = wish.id.clone();
        if self.groups.get(&id) == Some(&wish) {
            return;
        }
        let named = wish.rules.iter().map(|rule| &rule.remote_group_id).filter(|id| !id.is_empty());
        for id in named.chain([&id]) {
            self.numbers_changed |= self.numbers.groups.take(id).is_some_and(|(_, new)| new);
        }
        let stateful = wish.stateful;
        let asked = lookups_of(&wish);
        let old = self.groups.insert(id.clone(), wish);
        self.count_lookups(old.as_ref().map(lookups_of).unwrap_or_default(), asked);
        self.dirty.insert(Unit::Group(id.clone()));
        if old.is_none_or(|old| old.stateful != stateful) {
            self.touch_users(&id);
        }
    }

    /// Exchanges some rules of a group that is held.
    pub fn patch_group(&mut self, id: &str, patch: Patch) {
        let Some((id, mut group)) = self.groups.remove_entry(id) else { return };
        let asked = lookups_of(&group);
        let mut amendment = Amendment::default();
        group::asks(self, &id, &group, &mut amendment.gone);
        group::admits(self, &id, group.stateful, &group.rules[patch.gone.clone()], &mut amendment.gone);
        for remote in patch.fresh.iter().map(|rule| &rule.remote_group_id).filter(|id| !id.is_empty()) {
            self.numbers_changed |= self.numbers.groups.take(remote).is_some_and(|(_, new)| new);
        }
        group::admits(self, &id, group.stateful, &patch.fresh, &mut amendment.fresh);
        group.rules.splice(patch.gone, patch.fresh);
        group::asks(self, &id, &group, &mut amendment.fresh);
        let asks = lookups_of(&group);
        self.groups.insert(id.clone(), group);
        self.count_lookups(asked, asks);
        match self.amended.entry(id) {
            Entry::Vacant(entry) => {
                entry.insert(amendment);
            }
            Entry::Occupied(entry) => {
                self.dirty.insert(Unit::Group(entry.key().clone()));
            }
        }
    }

    /// Forgets a security group.
    pub fn drop_group(&mut self, id: &str) {
        if let Some((id, old)) = self.groups.remove_entry(id) {
            self.numbers_loose = true;
            self.count_lookups(lookups_of(&old), FxHashSet::default());
            self.dirty.insert(Unit::Group(id.clone()));
            self.touch_users(&id);
        }
    }

    /// Computes the ports here that use a group anew.
    fn touch_users(&mut self, group: &Id) {
        if let Some(members) = self.members.get(group) {
            self.dirty.extend(members.iter().filter(|unit| matches!(unit, Unit::Port(_))).cloned());
        }
    }

    fn count_lookups(&mut self, old: FxHashSet<(Id, Lookup)>, new: FxHashSet<(Id, Lookup)>) {
        for (group, lookup) in new.difference(&old) {
            let counts = self.lookups.entry(group.clone()).or_default();
            counts[*lookup as usize] += 1;
            if counts[*lookup as usize] == 1 {
                self.dirty.extend(self.members.get(group).into_iter().flatten().cloned());
            }
        }
        for (group, lookup) in old.difference(&new) {
            let Some(counts) = self.lookups.get_mut(group) else { continue };
            counts[*lookup as usize] -= 1;
            if counts[*lookup as usize] == 0 {
                self.dirty.extend(self.members.get(group).into_iter().flatten().cloned());
            }
            if *counts == [0; 4] {
                self.numbers_loose = true;
                self.lookups.remove(group);
            }
        }
    }

    /// Holds a port.
    pub fn put_port(&mut self, wish: Port) {
        let id = wish.id.clone();
        if self.ports.get(&id) == Some(&wish) {
            return;
        }
        let unit = Unit::Port(id.clone());
        let place = self.place(&id);
        let old = self.ports.insert(id.clone(), wish);
        if let Some(old) = old {
            self.leave(&unit, &old.network_id, &old.security_groups);
        }
        let wish = &self.ports[&id];
        let (network, groups) = (wish.network_id.clone(), wish.security_groups.clone());
        self.enter(&unit, network, groups);
        self.dirty.insert(unit);
        self.replace(place, self.place(&id));
    }

    /// Forgets a port.
    pub fn drop_port(&mut self, id: &str) {
        let place = self.place(id);
        if let Some((id, old)) = self.ports.remove_entry(id) {
            let unit = Unit::Port(id);
            self.leave(&unit, &old.network_id, &old.security_groups);
            self.dirty.insert(unit);
            self.replace(place, None);
        }
    }

    /// Says which OpenFlow port a port is plugged in by, or that it is not. A number belongs to the port that had it last.
    pub fn bind(&mut self, id: &str, number: Option<u32>) {
        if self.bound.get(id).copied() == number {
            return;
        }
        let owner = number.and_then(|number| self.bound_to.get(&number).cloned());
        if let Some(owner) = owner {
            self.bind(&owner, None);
        }
        let place = self.place(id);
        let old = match number {
            Some(number) => {
                self.bound_to.insert(number, id.into());
                self.bound.insert(id.into(), number)
            }
            None => self.bound.remove(id),
        };
        if let Some(old) = old {
            self.bound_to.remove(&old);
        }
        if self.ports.contains_key(id) {
            self.dirty.insert(Unit::Port(id.into()));
            self.replace(place, self.place(id));
        }
    }

    /// Holds a peer.
    pub fn put_peer(&mut self, wish: Peer) {
        let id = wish.id.clone();
        if self.peers.get(&id) == Some(&wish) {
            return;
        }
        self.drop_peer(&id);
        let unit = Unit::Peer(id.clone());
        self.enter(&unit, wish.network_id.clone(), wish.security_groups.clone());
        self.count_host(&wish.network_id, wish.tunnel_ip, true);
        self.peers.insert(id, wish);
        self.dirty.insert(unit);
    }

    /// Forgets a peer.
    pub fn drop_peer(&mut self, id: &str) {
        if let Some((id, old)) = self.peers.remove_entry(id) {
            let unit = Unit::Peer(id);
            self.leave(&unit, &old.network_id, &old.security_groups);
            self.count_host(&old.network_id, old.tunnel_ip, false);
            self.dirty.insert(unit);
        }
    }

    /// Holds a router.
    pub fn put_router(&mut self, wish: Router) {
        let id = wish.id.clone();
        if self.routers.get(&id) == Some(&wish) {
            return;
        }
        if let Some((number, true)) = self.numbers.routers.take(&id) {
            self.numbers_changed = true;
            self.fresh_zones.push(router_zone(number) as u16);
        }
        let old = self.routers.insert(id.clone(), wish.clone());
        self.dirty.insert(Unit::Router(id.clone()));
        if old.as_ref().is_none_or(|old| old.gateway != wish.gateway || old.admin_up != wish.admin_up) {
            self.touch_floatings(&id);
        }
        self.stand_in(&id, old.as_ref(), Some(&wish));
    }

    /// Forgets a router.
    pub fn drop_router(&mut self, id: &str) {
        if let Some((id, old)) = self.routers.remove_entry(id) {
            self.numbers_loose = true;
            self.touch_router(&id);
            self.stand_in(&id, Some(&old), None);
        }
    }

    /// Says where a router stands; who lives where that has changed is computed anew.
    fn stand_in(&mut self, id: &Id, old: Option<&Router>, new: Option<&Router>) {
        let before: FxHashSet<_> = old.into_iter().filter(|router| router.admin_up).flat_map(Router::faces).collect();
        let after: FxHashSet<_> = new.into_iter().filter(|router| router.admin_up).flat_map(Router::faces).collect();
        for (face, _) in before.difference(&after) {
            if let Some(routers) = self.standing.get_mut(&face.network_id) {
                routers.remove(id);
                if routers.is_empty() {
                    self.standing.remove(&face.network_id);
                }
            }
            self.touch_residents(&face.network_id);
        }
        for (face, _) in &after {
            self.standing.entry(face.network_id.clone()).or_default().insert(id.clone());
        }
        for (face, _) in after.difference(&before) {
            self.touch_residents(&face.network_id);
        }
    }

    fn touch_router(&mut self, id: &Id) {
        self.dirty.insert(Unit::Router(id.clone()));
        self.touch_floatings(id);
    }

    fn touch_floatings(&mut self, router: &Id) {
        self.dirty.extend(self.floatings_of.get(router).into_iter().flatten().cloned().map(Unit::Floating));
    }

    /// Holds a floating address.
    pub fn put_floating(&mut self, wish: Floating) {
        let id = wish.id.clone();
        if self.floatings.get(&id) == Some(&wish) {
            return;
        }
        self.drop_floating(&id);
        self.floatings_of.entry(wish.router_id.clone()).or_default().insert(id.clone());
        self.floatings.insert(id.clone(), wish);
        self.dirty.insert(Unit::Floating(id));
    }

    /// Forgets a floating address.
    pub fn drop_floating(&mut self, id: &str) {
        if let Some((id, old)) = self.floatings.remove_entry(id) {
            if let Some(all) = self.floatings_of.get_mut(&old.router_id) {
                all.remove(&id);
                if all.is_empty() {
                    self.floatings_of.remove(&old.router_id);
                }
            }
            self.dirty.insert(Unit::Floating(id));
        }
    }

    fn enter(&mut self, unit: &Unit, network: Id, groups: Vec<Id>) {
        self.residents.entry(network).or_default().insert(unit.clone());
        for group in groups {
            self.members.entry(group).or_default().insert(unit.clone());
        }
    }

    fn leave(&mut self, unit: &Unit, network: &Id, groups: &[Id]) {
        remove(&mut self.residents, network, unit);
        for group in groups {
            remove(&mut self.members, group, unit);
        }
    }

    /// Tells the switch's other ports; everything is computed anew if they differ.
    pub fn put_uplinks(&mut self, uplinks: Uplinks) {
        if self.uplinks != uplinks {
            self.uplinks = uplinks;
            self.touch_all();
        }
    }

    /// Everything is to be computed anew. Always right, merely slower.
    pub fn touch_all(&mut self) {
        self.dirty.insert(Unit::Base);
        let networks: Vec<Id> = self.networks.keys().cloned().collect();
        for id in &networks {
            self.touch_network(id);
        }
        self.dirty.extend(self.groups.keys().cloned().map(Unit::Group));
        self.dirty.extend(self.ports.keys().cloned().map(Unit::Port));
        self.dirty.extend(self.peers.keys().cloned().map(Unit::Peer));
        self.dirty.extend(self.routers.keys().cloned().map(Unit::Router));
        self.dirty.extend(self.floatings.keys().cloned().map(Unit::Floating));
    }

    /// Frees numbers that nothing uses any more.
    pub fn prune_numbers(&mut self) {
        if !std::mem::take(&mut self.numbers_loose) {
            return;
        }
        let Self { networks, groups, lookups, routers, numbers, .. } = self;
        let in_use = |id: &Id| groups.contains_key(id) || lookups.contains_key(id);
        self.numbers_changed |= numbers.retain(|id| networks.contains_key(id), in_use, |id| routers.contains_key(id));
    }

    /// Every place where a router that is up stands in a network, and whether that is its gateway's.
    pub fn faces_in(&self, network: &str) -> impl Iterator<Item = (&Router, &Face, bool)> {
        let routers = self.standing.get(network).into_iter().flatten().filter_map(|id| self.routers.get(id));
        routers.flat_map(move |router| {
            let here = router.faces().filter(move |(face, _)| &*face.network_id == network);
            here.map(move |(face, outside)| (router, face, outside))
        })
    }

    /// How frames of `network` leave this host.
    #[must_use]
    pub fn carrier(&self, network: &Network) -> Carrier {
        let key = network.segment.id;
        let tunnel = |port: Option<u32>| port.map_or(Carrier::None, |port| Carrier::Tunnel { port, key });
        let physical = |vlan| {
            let port = self.uplinks.physical.get(&network.segment.physical_network);
            port.map_or(Carrier::None, |port| Carrier::Physical { port: *port, vlan })
        };
        match network.segment.kind {
            SegmentType::Vxlan => tunnel(self.uplinks.vxlan),
            SegmentType::Gre => tunnel(self.uplinks.gre),
            SegmentType::Geneve => tunnel(self.uplinks.geneve),
            SegmentType::Vlan => physical(Some((key & 0xfff) as u16)),
            SegmentType::Flat => physical(None),
            SegmentType::Local => Carrier::None,
        }
    }
}

/// Which remote groups a group's rules ask for, and how.
fn lookups_of(group: &SecurityGroup) -> FxHashSet<(Id, Lookup)> {
    let named = group.rules.iter().filter(|rule| !rule.remote_group_id.is_empty());
    named.map(|rule| (rule.remote_group_id.clone(), lookup(group.stateful, rule.direction))).collect()
}

/// How the rules of a group look members of a remote group up.
#[must_use]
pub fn lookup(stateful: bool, direction: Direction) -> Lookup {
    match (stateful, direction) {
        (true, Direction::Ingress) => Lookup::Opener,
        (true, Direction::Egress) => Lookup::Opened,
        (false, Direction::Ingress) => Lookup::Source,
        (false, Direction::Egress) => Lookup::Destination,
    }
}

fn remove(index: &mut FxHashMap<Id, FxHashSet<Unit>>, id: &Id, unit: &Unit) {
    if let Some(units) = index.get_mut(id) {
        units.remove(unit);
        if units.is_empty() {
            index.remove(id);
        }
    }
}
