//! The flows that are wanted, who wants each, and what has changed since the last commit.
//!
//! Flows are made by **units** (one network, port, peer, group, part of a flood...), each recomputed as a whole. Several
//! units may want one flow (two ports that share an address); then the unit that sorts first has its way, whatever the order in
//! which they came, so that the table is a function of the units alone.

use std::fmt;
use std::sync::Arc;

use rustc_hash::FxHashMap;
use smallvec::SmallVec;

use crate::matches::Match;
use crate::program::Program;
use crate::tables::Table;
use crate::wish::Id;

/// What flows are computed from at one go.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Unit {
    /// The flows that are always there.
    Base,
    /// A network's own.
    Network(Id),
    /// Whom a network's floods reach, in parts.
    Flood(Id),
    /// One part of a network's ports here.
    FloodPorts(Id, u16),
    /// One part of a network's unfiltered ports here.
    FloodOpen(Id, u16),
    /// One part of the other hosts of a network.
    FloodHosts(Id, u16),
    /// A security group.
    Group(Id),
    /// A port here.
    Port(Id),
    /// A port on another host.
    Peer(Id),
    /// A router.
    Router(Id),
    /// A floating address.
    Floating(Id),
}

/// What identifies a flow: table, priority and match. Sorts by them.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(Arc<[u8]>);

impl Key {
    /// The key of a flow.
    #[must_use]
    pub fn new(table: u8, priority: u16, matches: &Match) -> Self {
        let mut bytes: SmallVec<[u8; 128]> = SmallVec::new();
        bytes.push(table);
        bytes.extend_from_slice(&(u16::MAX - priority).to_be_bytes());
        bytes.extend_from_slice(matches.as_bytes());
        Self(Arc::from(&*bytes))
    }

    /// The number of its table.
    #[must_use]
    pub fn table(&self) -> u8 {
        self.0[0]
    }

    /// Its priority. Flows of one table sort from high to low.
    #[must_use]
    pub fn priority(&self) -> u16 {
        u16::MAX - u16::from_be_bytes([self.0[1], self.0[2]])
    }

    /// Its match, as OXM bytes.
    #[must_use]
    pub fn matches(&self) -> &[u8] {
        &self.0[3..]
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}", crate::words::key(self, &crate::words::NoNames))
    }
}

/// The instructions of a flow, as bytes.
pub type Instructions = Arc<[u8]>;

/// A flow: what it is and what it does.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Flow {
    /// Table, priority and match.
    pub key: Key,
    /// What it does.
    pub instructions: Instructions,
}

/// One step from an old table to a new one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A flow that wasn't there.
    Add(Flow),
    /// A flow that does something else now.
    Modify(Flow),
    /// A flow that is no longer wanted.
    Remove(Key),
}

/// The difference between two commits, ordered by key.
pub type Diff = Vec<Change>;

/// Collects the flows that one unit wants.
#[derive(Default)]
pub struct Sink {
    flows: Vec<Flow>,
    scratch: Vec<u8>,
}

impl Sink {
    /// Wants a flow.
    pub fn flow(&mut self, table: Table, priority: u16, matches: &Match, program: &Program) {
        self.scratch.clear();
        program.write(&mut self.scratch);
        let key = Key::new(table.number(), priority, matches);
        self.flows.push(Flow { key, instructions: Arc::from(&*self.scratch) });
    }
}

type Claims = SmallVec<[(Unit, Instructions); 1]>;

/// The wanted flows.
#[derive(Default)]
pub struct Ledger {
    flows: FxHashMap<Key, Claims>,
    units: FxHashMap<Unit, Vec<Key>>,
    before: FxHashMap<Key, Option<Instructions>>,
}

impl Ledger {
    /// Makes `unit` want exactly the flows in `sink`, which is empty afterwards. Returns how many those are.
    pub fn replace(&mut self, unit: &Unit, sink: &mut Sink) -> usize {
        sink.flows.sort_unstable();
        sink.flows.dedup_by(|later, earlier| later.key == earlier.key);
        let wanted: Vec<Key> = sink.flows.iter().map(|flow| flow.key.clone()).collect();
        let old =
            if wanted.is_empty() { self.units.remove(unit) } else { self.units.insert(unit.clone(), wanted.clone()) };
        for key in old.into_iter().flatten() {
            if wanted.binary_search(&key).is_err() {
                self.release(unit, key);
            }
        }
        for flow in sink.flows.drain(..) {
            self.claim(unit, flow);
        }
        wanted.len()
    }

    fn claim(&mut self, unit: &Unit, flow: Flow) {
        let claims = self.flows.entry(flow.key.clone()).or_default();
        let winner = claims.first().map(|(_, instructions)| instructions.clone());
        match claims.binary_search_by(|(owner, _)| owner.cmp(unit)) {
            Ok(at) if claims[at].1 == flow.instructions => return,
            Ok(at) => claims[at].1 = flow.instructions,
            Err(at) => claims.insert(at, (unit.clone(), flow.instructions)),
        }
        let changed = winner.as_ref() != Some(&claims[0].1);
        if changed {
            self.before.entry(flow.key).or_insert(winner);
        }
    }

    fn release(&mut self, unit: &Unit, key: Key) {
        let Some(claims) = self.flows.get_mut(&key) else { return };
        let winner = claims.first().map(|(_, instructions)| instructions.clone());
        claims.retain(|(owner, _)| owner != unit);
        let changed = claims.first().map(|(_, instructions)| instructions) != winner.as_ref();
        if claims.is_empty() {
            self.flows.remove(&key);
        }
        if changed {
            self.before.entry(key).or_insert(winner);
        }
    }

    /// What has changed since this was last called.
    pub fn commit(&mut self) -> Diff {
        let mut diff: Diff = Vec::with_capacity(self.before.len());
        for (key, before) in self.before.drain() {
            let now = self.flows.get(&key).map(|claims| claims[0].1.clone());
            match (before, now) {
                (None, Some(instructions)) => diff.push(Change::Add(Flow { key, instructions })),
                (Some(before), Some(now)) if before != now => {
                    diff.push(Change::Modify(Flow { key, instructions: now }))
                }
                (Some(_), None) => diff.push(Change::Remove(key)),
                _ => {}
            }
        }
        diff.sort_unstable_by(|a, b| a.key().cmp(b.key()));
        diff
    }

    /// Every wanted flow, in no particular order.
    pub fn flows(&self) -> impl Iterator<Item = Flow> {
        self.flows.iter().map(|(key, claims)| Flow { key: key.clone(), instructions: claims[0].1.clone() })
    }

    /// How many flows are wanted.
    #[must_use]
    pub fn len(&self) -> usize {
        self.flows.len()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.flows.is_empty()
    }
}

impl Change {
    /// Which flow it is about.
    #[must_use]
    pub fn key(&self) -> &Key {
        match self {
            Self::Add(flow) | Self::Modify(flow) => &flow.key,
            Self::Remove(key) => key,
        }
    }
}

/// A table of flows, as a switch holds it.
pub type FlowMap = FxHashMap<Key, Instructions>;

/// Carries `diff` out on `flows`.
pub fn apply(diff: &[Change], flows: &mut FlowMap) {
    for change in diff {
        match change {
            Change::Add(flow) | Change::Modify(flow) => {
                flows.insert(flow.key.clone(), flow.instructions.clone());
            }
            Change::Remove(key) => {
                flows.remove(key);
            }
        }
    }
}

/// The smallest difference that turns `from` into `to`, ordered by key.
#[must_use]
pub fn diff(from: &FlowMap, to: &FlowMap) -> Diff {
    let mut diff: Diff = Vec::new();
    for (key, instructions) in to {
        let flow = || Flow { key: key.clone(), instructions: instructions.clone() };
        match from.get(key) {
            None => diff.push(Change::Add(flow())),
            Some(present) if present != instructions => diff.push(Change::Modify(flow())),
            Some(_) => {}
        }
    }
    diff.extend(from.keys().filter(|key| !to.contains_key(*key)).cloned().map(Change::Remove));
    diff.sort_unstable_by(|a, b| a.key().cmp(b.key()));
    diff
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit(name: &str) -> Unit {
        Unit::Port(name.into())
    }

    fn sink(flows: &[(u32, u32)]) -> Sink {
        let mut sink = Sink::default();
        for (port, out) in flows {
            sink.flow(Table::Classify, 1, &Match::new().in_port(*port), &Program::new().output(*out));
        }
        sink
    }

    #[test]
    fn a_commit_tells_only_what_changed() {
        let mut ledger = Ledger::default();
        ledger.replace(&unit("a"), &mut sink(&[(1, 1), (2, 2)]));
        assert_eq!(ledger.commit().len(), 2);
        ledger.replace(&unit("a"), &mut sink(&[(2, 2), (3, 3)]));
        assert!(matches!(ledger.commit().as_slice(), [Change::Remove(_), Change::Add(_)]));
        ledger.replace(&unit("a"), &mut sink(&[(2, 2), (3, 4)]));
        assert!(matches!(ledger.commit().as_slice(), [Change::Modify(_)]));
        ledger.replace(&unit("a"), &mut sink(&[(2, 2)]));
        ledger.replace(&unit("a"), &mut sink(&[(2, 2), (3, 4)]));
        assert!(ledger.commit().is_empty());
    }

    #[test]
    fn the_first_unit_wins_in_any_order() {
        for order in [["a", "b"], ["b", "a"]] {
            let mut ledger = Ledger::default();
            for name in order {
                ledger.replace(&unit(name), &mut sink(&[(1, if name == "a" { 10 } else { 11 })]));
            }
            let only = ledger.flows().next().unwrap();
            assert_eq!(only.instructions, ledger_of("a", 10).flows().next().unwrap().instructions);
            ledger.commit();
            ledger.replace(&unit("a"), &mut Sink::default());
            assert!(matches!(ledger.commit().as_slice(), [Change::Modify(_)]));
        }
    }

    fn ledger_of(name: &str, out: u32) -> Ledger {
        let mut ledger = Ledger::default();
        ledger.replace(&unit(name), &mut sink(&[(1, out)]));
        ledger
    }
}
