//! The wished state of this host's network, and its flows.

use core::net::{IpAddr, Ipv4Addr};

use rustc_hash::FxHashMap;

use crate::advert::Advert;
use crate::compile;
use crate::dhcp::Offer;
use crate::dhcp6::Offer6;
use crate::directory::{Directory, Stand, Voice};
use crate::ledger::{Diff, Flow, FlowMap, Ledger, Sink, Unit};
use crate::numbers::NumberOf;
use crate::text::Text;
use crate::uplinks::Uplinks;
use crate::view::{Amendment, View};
use crate::wish::{Id, Router, WishError, parse};
use crate::words::{FlowInWords, Names, in_words};

/// The nouns that the network is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Noun {
    Network,
    SecurityGroup,
    Port,
    Peer,
    Router,
    Floating,
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
            "router" => Some(Self::Router),
            "floating_ip" => Some(Self::Floating),
            _ => None,
        }
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
    /// What the groups in the view were read from.
    texts: FxHashMap<Id, Text>,
    ledger: Ledger,
    directory: Directory,
    owners: FxHashMap<u32, Id>,
    told: FxHashMap<Id, u32>,
    zones_told: FxHashMap<Id, u32>,
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
            Noun::SecurityGroup => self.put_group(id, body)?,
            Noun::Port => self.view.put_port(parse(id, body)?),
            Noun::Peer => self.view.put_peer(parse(id, body)?),
            Noun::Router => self.view.put_router(parse(id, body)?),
            Noun::Floating => self.view.put_floating(parse(id, body)?),
        }
        Ok(())
    }

    /// Holds a security group; of one that is held, only what differs is read and computed.
    fn put_group(&mut self, id: &str, body: &[u8]) -> Result<(), WishError> {
        if let Some(text) = self.texts.get_mut(id) {
            if text.is(body) {
                return Ok(());
            }
            if let Some(patch) = text.patch(body) {
                self.view.patch_group(id, patch);
                return Ok(());
            }
        }
        let (group, text) = Text::read(id, body)?;
        self.texts.insert(group.id.clone(), text);
        self.view.put_group(group);
        Ok(())
    }

    /// Forgets the wish for `(noun, id)`, if there is one.
    pub fn drop_wish(&mut self, noun: Noun, id: &str) {
        match noun {
            Noun::Network => self.view.drop_network(id),
            Noun::SecurityGroup => {
                self.texts.remove(id);
                self.view.drop_group(id);
            }
            Noun::Port => self.view.drop_port(id),
            Noun::Peer => self.view.drop_peer(id),
            Noun::Router => self.view.drop_router(id),
            Noun::Floating => self.view.drop_floating(id),
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
        self.view.numbers_loose = true;
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
            match unit {
                Unit::Port(id) => self.tell(id),
                Unit::Router(id) => self.tell_router(id),
                _ => {}
            }
        }
        self.stats.units_computed += dirty.len() as u64;
        for (id, Amendment { gone, fresh }) in self.view.amended.drain() {
            let unit = Unit::Group(id);
            if dirty.binary_search(&unit).is_err() {
                self.stats.units_computed += 1;
                self.stats.flows_computed += self.ledger.amend(&unit, gone, fresh) as u64;
            }
        }
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
            let voice = self.view.networks.get(&port.network_id).map(|network| Voice {
                dhcp: Offer::of(port, network),
                dhcp6: Offer6::of(port, network),
                advert: Advert::of(&self.view, port),
            });
            self.directory.put(number, voice);
            self.owners.insert(number, id.clone());
            self.told.insert(id.clone(), number);
        }
    }

    /// Keeps the directory in step with one router.
    fn tell_router(&mut self, id: &Id) {
        let zone = self.view.numbers.zone_of(id);
        if let Some(old) = self.zones_told.remove(id)
            && Some(old) != zone
        {
            self.directory.stand_in(old, Vec::new());
        }
        let Some(zone) = zone else { return };
        let router = self.view.routers.get(id).filter(|router| router.admin_up);
        let here = |outside: bool| !outside || router.is_some_and(|router| router.gateway_here().is_some());
        let faces = router.into_iter().flat_map(Router::faces).filter(|(_, outside)| here(*outside));
        let stands = faces.filter_map(|(face, _)| {
            let network = self.view.numbers.networks.get(&face.network_id)?;
            Some((network, Stand { router: zone, mac: face.mac, ipv4: face.ipv4(), ipv6: face.ipv6() }))
        });
        self.directory.stand_in(zone, stands.collect());
        self.zones_told.insert(id.clone(), zone);
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
        let mut flows = FlowMap::with_capacity_and_hasher(self.ledger.len(), Default::default());
        flows.extend(self.ledger.flows().map(|flow| (flow.key, flow.instructions)));
        flows
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
