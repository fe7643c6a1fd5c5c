//! The flows that are wanted, who wants each, and what has changed since the last commit.
//!
//! Flows are made by **units** (one network, port, peer, group, part of a flood...), each recomputed as a whole. Several
//! units may want one flow (two ports that share an address); then the unit that sorts first has its way, whatever the order in
//! which they came, so that the table is a function of the units alone.

use std::cmp::Ordering;
use std::collections::hash_map::Entry;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use rustc_hash::{FxHashMap, FxHasher};
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

/// What identifies a flow: table, priority and match. Sorts by them. Knows its own hash: tables of flows grow without reading keys.
#[derive(Clone)]
pub struct Key {
    hash: u64,
    bytes: Arc<[u8]>,
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.hash == other.hash && self.bytes == other.bytes
    }
}

impl Eq for Key {}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Key {
    fn cmp(&self, other: &Self) -> Ordering {
        self.bytes.cmp(&other.bytes)
    }
}

impl Key {
    /// The key of a flow.
    #[must_use]
    pub fn new(table: u8, priority: u16, matches: &Match) -> Self {
        let mut bytes: SmallVec<[u8; 128]> = SmallVec::new();
        bytes.push(table);
        bytes.extend_from_slice(&(u16::MAX - priority).to_be_bytes());
        bytes.extend_from_slice(matches.as_bytes());
        let mut hasher = FxHasher::default();
        hasher.write(&bytes);
        Self { hash: hasher.finish(), bytes: Arc::from(&*bytes) }
    }

    /// The number of its table.
    #[must_use]
    pub fn table(&self) -> u8 {
        self.bytes[0]
    }

    /// Its priority. Flows of one table sort from high to low.
    #[must_use]
    pub fn priority(&self) -> u16 {
        u16::MAX - u16::from_be_bytes([self.bytes[1], self.bytes[2]])
    }

    /// Its match, as OXM bytes.
    #[must_use]
    pub fn matches(&self) -> &[u8] {
        &self.bytes[3..]
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

/// The difference between two tables of flows, each flow at most once.
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
        // Flows that follow each other often do the same.
        let same = self.flows.last().filter(|flow| *flow.instructions == *self.scratch);
        let instructions = same.map_or_else(|| Arc::from(&*self.scratch), |flow| flow.instructions.clone());
        self.flows.push(Flow { key, instructions });
    }
}

type Claims = SmallVec<[(Unit, Instructions); 1]>;

/// A flow that somebody wants, or wanted at the last commit.
struct Held {
    key: Key,
    claims: Claims,
    /// What it did at the last commit (None: it wasn't there), if that has changed since.
    before: Option<Option<Instructions>>,
}

impl Held {
    fn winner(&self) -> Option<&Instructions> {
        self.claims.first().map(|(_, instructions)| instructions)
    }
}

/// The wanted flows. They lie in slots, so that what refers to one is a number.
#[derive(Default)]
pub struct Ledger {
    held: Vec<Held>,
    free_slots: Vec<u32>,
    slots: FxHashMap<Key, u32>,
    /// The slots of each unit's flows, one as often as the unit wants it.
    units: FxHashMap<Unit, Vec<u32>>,
    /// Slots whose `before` is set.
    touched: Vec<u32>,
    wanted: usize,
}

impl Ledger {
    /// Makes `unit` want exactly the flows in `sink`, which is empty afterwards. Returns how many those are.
    pub fn replace(&mut self, unit: &Unit, sink: &mut Sink) -> usize {
        sink.flows.sort_unstable();
        let mut programs: Vec<Instructions> = Vec::with_capacity(sink.flows.len());
        let mut slots: Vec<u32> = Vec::with_capacity(sink.flows.len());
        for Flow { key, instructions } in sink.flows.drain(..) {
            let slot = self.slot(key);
            // Wanted twice, the first has its way.
            let instructions =
                if slots.last() == Some(&slot) { programs[slots.len() - 1].clone() } else { instructions };
            slots.push(slot);
            programs.push(instructions);
        }
        let old = self.units.remove(unit).unwrap_or_default();
        if !old.is_empty() {
            let mut kept = slots.clone();
            kept.sort_unstable();
            let gone = old.into_iter().filter(|slot| kept.binary_search(slot).is_err());
            gone.for_each(|slot| self.change(slot, |claims| claims.retain(|(owner, _)| owner != unit)));
        }
        for (slot, instructions) in slots.iter().zip(programs) {
            self.claim(*slot, unit, instructions);
        }
        let count = slots.len();
        if count > 0 {
            self.units.insert(unit.clone(), slots);
        }
        count
    }

    /// Makes `unit` want the flows in `fresh`, and those in `gone` no more, each as often as it stands there. A flow of one key must do
    /// the same in all of them. Returns how many flows those are.
    pub fn amend(&mut self, unit: &Unit, gone: Sink, fresh: Sink) -> usize {
        let count = gone.flows.len() + fresh.flows.len();
        let mut slots = self.units.remove(unit).unwrap_or_default();
        for Flow { key, instructions } in fresh.flows {
            let slot = self.slot(key);
            slots.push(slot);
            self.claim(slot, unit, instructions);
        }
        for Flow { key, .. } in gone.flows {
            let Some(slot) = self.slots.get(&key).copied() else { continue };
            let Some(at) = slots.iter().position(|known| *known == slot) else { continue };
            slots.swap_remove(at);
            if !slots.contains(&slot) {
                self.change(slot, |claims| claims.retain(|(owner, _)| owner != unit));
            }
        }
        if !slots.is_empty() {
            self.units.insert(unit.clone(), slots);
        }
        count
    }

    /// The slot of a flow, a new one if nobody wants it yet.
    fn slot(&mut self, key: Key) -> u32 {
        match self.slots.entry(key) {
            Entry::Occupied(entry) => *entry.get(),
            Entry::Vacant(entry) => {
                let held = Held { key: entry.key().clone(), claims: Claims::new(), before: None };
                let slot = match self.free_slots.pop() {
                    Some(slot) => {
                        self.held[slot as usize] = held;
                        slot
                    }
                    None => {
                        self.held.push(held);
                        self.held.len() as u32 - 1
                    }
                };
                *entry.insert(slot)
            }
        }
    }

    fn claim(&mut self, slot: u32, unit: &Unit, instructions: Instructions) {
        let claims = &self.held[slot as usize].claims;
        match claims.binary_search_by(|(owner, _)| owner.cmp(unit)) {
            Ok(at) if claims[at].1 == instructions => {}
            Ok(at) => self.change(slot, |claims| claims[at].1 = instructions),
            Err(at) => self.change(slot, |claims| claims.insert(at, (unit.clone(), instructions))),
        }
    }

    /// Changes who wants a flow, and remembers what it did before if that changes.
    fn change(&mut self, slot: u32, change: impl FnOnce(&mut Claims)) {
        let held = &mut self.held[slot as usize];
        let before = held.winner().cloned();
        change(&mut held.claims);
        self.wanted = self.wanted + usize::from(!held.claims.is_empty()) - usize::from(before.is_some());
        if held.before.is_none() && held.winner() != before.as_ref() {
            held.before = Some(before);
            self.touched.push(slot);
        }
    }

    /// What has changed since this was last called, unit by unit: what a unit no longer wants, then what it wants anew.
    pub fn commit(&mut self) -> Diff {
        let mut diff: Diff = Vec::with_capacity(self.touched.len());
        for slot in std::mem::take(&mut self.touched) {
            let held = &mut self.held[slot as usize];
            let Some(before) = held.before.take() else { continue };
            let flow = |instructions: &Instructions| Flow { key: held.key.clone(), instructions: instructions.clone() };
            match (&before, held.winner()) {
                (None, Some(now)) => diff.push(Change::Add(flow(now))),
                (Some(before), Some(now)) if before != now => diff.push(Change::Modify(flow(now))),
                (Some(_), None) => diff.push(Change::Remove(held.key.clone())),
                _ => {}
            }
            if held.claims.is_empty() {
                self.slots.remove(&held.key);
                self.free_slots.push(slot);
            }
        }
        diff
    }

    /// Every wanted flow, in no particular order.
    pub fn flows(&self) -> impl Iterator<Item = Flow> {
        let flow = |held: &Held| {
            let instructions = held.winner()?.clone();
            Some(Flow { key: held.key.clone(), instructions })
        };
        self.held.iter().filter_map(flow)
    }

    /// How many flows are wanted.
    #[must_use]
    pub fn len(&self) -> usize {
        self.wanted
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.wanted == 0
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
    let mut added = 0;
    for (key, instructions) in to {
        let flow = || Flow { key: key.clone(), instructions: instructions.clone() };
        match from.get(key) {
            None => {
                added += 1;
                diff.push(Change::Add(flow()));
            }
            Some(present) if present != instructions => diff.push(Change::Modify(flow())),
            Some(_) => {}
        }
    }
    // Where all that was there has been found, nothing is to be removed.
    if to.len() - added < from.len() {
        diff.extend(from.keys().filter(|key| !to.contains_key(*key)).cloned().map(Change::Remove));
    }
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
