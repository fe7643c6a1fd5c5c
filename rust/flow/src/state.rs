//! The wished state of this host's network, and its flows.

use core::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, PoisonError, RwLock};

use rustc_hash::FxHashMap;

use crate::compile;
use crate::dhcp::Offer;
use crate::ledger::{Diff, Flow, FlowMap, Ledger, Sink, Unit};
use crate::numbers::NumberOf;
use crate::view::{Uplinks, View};
use crate::wish::{Id, WishError, parse};
use crate::words::{FlowInWords, Names, in_words};

/// The nouns that the network is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Noun {
    Network,
    SecurityGroup,
    Port,
    Peer,
}

impl Noun {
    /// The noun of this name in the agent contract.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "network" => Some(Self::Network),
            "security_group" => Some(Self::SecurityGroup),
            "port" => Some(Self::Port),
            "peer" => Some(Self::Peer),
            _ => None,
        }
    }
}

/// What there is to answer to packets that the switch sends up, by the port that they came in by.
///
/// Shared with whoever talks to the switch; changes at each commit.
#[derive(Clone, Default)]
pub struct Directory(Arc<RwLock<FxHashMap<u32, Arc<Offer>>>>);

impl Directory {
    /// The answer to `frame` from the OpenFlow port `number`, to go out by that port.
    #[must_use]
    pub fn answer(&self, number: u32, frame: &[u8]) -> Option<Vec<u8>> {
        let offers = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let offer = offers.get(&number).cloned();
        drop(offers);
        offer?.answer(frame)
    }

    fn put(&self, number: u32, offer: Option<Offer>) {
        let mut offers = self.0.write().unwrap_or_else(PoisonError::into_inner);
        match offer {
            Some(offer) => offers.insert(number, Arc::new(offer)),
            None => offers.remove(&number),
        };
    }
}

/// How much has been computed so far. That incremental work is incremental shows here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Times that a unit's flows were computed.
    pub units_computed: u64,
    /// Flows computed in doing so.
    pub flows_computed: u64,
    /// Commits.
    pub commits: u64,
}

/// See the module. Not shared between threads by itself.
#[derive(Default)]
pub struct State {
    view: View,
    ledger: Ledger,
    directory: Directory,
    owners: FxHashMap<u32, Id>,
    told: FxHashMap<Id, u32>,
    stats: Stats,
    started: bool,
}

impl State {
    /// Nothing wished, nothing plugged in.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Holds `body` as the wish for `(noun, id)`, in the place of the one held before.
    ///
    /// # Errors
    /// The body is no wish of that noun, or names itself otherwise. The wish held before is kept.
    pub fn put(&mut self, noun: Noun, id: &str, body: &[u8]) -> Result<(), WishError> {
        match noun {
            Noun::Network => self.view.put_network(parse(id, body)?),
            Noun::SecurityGroup => self.view.put_group(parse(id, body)?),
            Noun::Port => self.view.put_port(parse(id, body)?),
            Noun::Peer => self.view.put_peer(parse(id, body)?),
        }
        Ok(())
    }

    /// Forgets the wish for `(noun, id)`, if there is one.
    pub fn drop_wish(&mut self, noun: Noun, id: &str) {
        match noun {
            Noun::Network => self.view.drop_network(id),
            Noun::SecurityGroup => self.view.drop_group(id),
            Noun::Port => self.view.drop_port(id),
            Noun::Peer => self.view.drop_peer(id),
        }
    }

    /// Says by which OpenFlow port a port is plugged in; None if it isn't.
    pub fn bind(&mut self, port: &str, number: Option<u32>) {
        self.view.bind(port, number);
    }

    /// Says which of the switch's ports aren't guests'.
    pub fn put_uplinks(&mut self, uplinks: Uplinks) {
        self.view.put_uplinks(uplinks);
    }

    /// Gives a number back that was in use before a restart. To be called before the first wish.
    pub fn restore_number(&mut self, kind: NumberOf, id: &str, number: u32) {
        self.view.numbers.restore(kind, id.into(), number);
    }

    /// The numbers in use. Whoever persists them does so before sending flows that use new ones.
    #[must_use]
    pub fn numbers(&self) -> Vec<(NumberOf, Id, u32)> {
        self.view.numbers.pairs()
    }

    /// The numbers in use, if they are others than when this was last called (or restored); see [`State::numbers`].
    pub fn take_changed_numbers(&mut self) -> Option<Vec<(NumberOf, Id, u32)>> {
        std::mem::take(&mut self.view.numbers_changed).then(|| self.numbers())
    }

    /// The tracking zones given to networks since this was last called, whose connections are of another life.
    pub fn take_fresh_zones(&mut self) -> Vec<u16> {
        std::mem::take(&mut self.view.fresh_zones)
    }

    /// Computes what has changed, and returns how the flows differ from those of the last commit.
    pub fn commit(&mut self) -> Diff {
        self.stats.commits += 1;
        if !self.started {
            self.started = true;
            self.view.touch_all();
        }
        self.view.prune_numbers();
        let mut dirty: Vec<Unit> = self.view.dirty.drain().collect();
        dirty.sort_unstable();
        let mut sink = Sink::default();
        for unit in &dirty {
            compile::unit(&self.view, unit, &mut sink);
            self.stats.flows_computed += self.ledger.replace(unit, &mut sink) as u64;
            if let Unit::Port(id) = unit {
                self.tell(id);
            }
        }
        self.stats.units_computed += dirty.len() as u64;
        self.ledger.commit()
    }

    /// Keeps the directory in step with one port.
    fn tell(&mut self, id: &Id) {
        let number = self.view.bound.get(id).copied();
        let known = self.view.ports.get(id).filter(|port| port.admin_up).zip(number);
        if let Some(old) = self.told.remove(id)
            && self.owners.get(&old) == Some(id)
        {
            self.owners.remove(&old);
            self.directory.put(old, None);
        }
        if let Some((port, number)) = known {
            let network = self.view.networks.get(&port.network_id);
            self.directory.put(number, network.and_then(|network| Offer::of(port, network)));
            self.owners.insert(number, id.clone());
            self.told.insert(id.clone(), number);
        }
    }

    /// What answers packets that the switch sends up.
    #[must_use]
    pub fn directory(&self) -> Directory {
        self.directory.clone()
    }

    /// Which port a metadata request from `alias` comes from, as of the last commit.
    #[must_use]
    pub fn port_at(&self, alias: Ipv4Addr) -> Option<&Id> {
        let metadata = self.view.uplinks.metadata?;
        if !metadata.aliases.contains(&alias) {
            return None;
        }
        let number = (u32::from(alias) - u32::from(metadata.aliases.network())) & 0xffff;
        let id = self.owners.get(&number)?;
        let port = self.view.ports.get(id)?;
        let addresses = port.fixed_ips.iter().filter(|fixed| matches!(fixed.ip, IpAddr::V4(_))).count();
        (0..addresses).any(|index| compile::alias(&metadata, number, index) == Some(alias)).then_some(id)
    }

    /// Which network a port is wished on, and the MTU of that network: what plugging it in needs to know.
    #[must_use]
    pub fn plug_facts(&self, port: &str) -> Option<PlugFacts<'_>> {
        let port = self.view.ports.get(port)?;
        let network = self.view.networks.get(&port.network_id)?;
        Some(PlugFacts { tap: &port.tap, mac: port.mac.to_string(), mtu: network.mtu })
    }

    /// Every flow of the last commit.
    #[must_use]
    pub fn flows(&self) -> FlowMap {
        self.ledger.flows().map(|flow| (flow.key, flow.instructions)).collect()
    }

    /// Every flow of the last commit in words, in the order in which packets meet them.
    #[must_use]
    pub fn flows_in_words(&self) -> Vec<FlowInWords> {
        let names = self.names();
        let mut flows: Vec<Flow> = self.ledger.flows().collect();
        flows.sort_unstable();
        flows.iter().map(|flow| in_words(flow, 0, &names)).collect()
    }

    /// How many flows there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ledger.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ledger.is_empty()
    }

    /// How much has been computed so far.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.stats
    }

    /// The names of what registers and ports stand for.
    #[must_use]
    pub fn names(&self) -> Names {
        Names::of(&self.view)
    }
}

/// What plugging a port in needs to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlugFacts<'a> {
    /// The name of the link device.
    pub tap: &'a str,
    /// The guest's link-layer address.
    pub mac: String,
    /// The largest IP packet of the network, in bytes.
    pub mtu: u16,
}
