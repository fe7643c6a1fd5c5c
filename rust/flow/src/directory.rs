//! What there is to answer to the packets that the switch sends up, shared with whoever talks to the switch.
//!
//! A packet comes up from one of four tables: `services` (a guest asks for its address or its router), `deliver` (someone asks for
//! a router's link-layer address), `route-local` (a packet has no hops left) and `forward` (a next hop is not known).

use core::net::{Ipv4Addr, Ipv6Addr};
use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use rustc_hash::FxHashMap;

use crate::advert::{self, Advert};
use crate::dhcp::Offer;
use crate::dhcp6::Offer6;
use crate::exceeded;
use crate::program::Program;
use crate::tables::{Table, register};
use crate::wish::Mac;

/// A packet that the switch has sent up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Question<'a> {
    /// The table of the flow that sent it.
    pub table: u8,
    /// The port that it came in by.
    pub in_port: u32,
    /// The number of its network.
    pub network: u32,
    /// The zone of the router that has it.
    pub router: u32,
    /// The next hop, in its registers.
    pub next_hop: [u8; 16],
    /// The whole frame.
    pub frame: &'a [u8],
}

/// A frame to send, and what the switch is to do with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The frame.
    pub frame: Vec<u8>,
    /// What happens to it.
    pub program: Program,
}

/// What the guest behind one port is told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Voice {
    /// By DHCP.
    pub dhcp: Option<Offer>,
    /// By DHCPv6.
    pub dhcp6: Option<Offer6>,
    /// By router advertisements.
    pub advert: Option<Advert>,
}

impl Voice {
    fn answer(&self, frame: &[u8]) -> Option<Vec<u8>> {
        let by_dhcp = self.dhcp.as_ref().and_then(|offer| offer.answer(frame));
        let by_dhcp6 = || self.dhcp6.as_ref().and_then(|offer| offer.answer(frame));
        let by_router = || self.advert.as_ref().and_then(|advert| advert.answer(frame));
        by_dhcp.or_else(by_dhcp6).or_else(by_router)
    }
}

/// A router in one network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stand {
    pub router: u32,
    pub mac: Mac,
    pub ipv4: Option<Ipv4Addr>,
    /// Link-local ones last.
    pub ipv6: Vec<Ipv6Addr>,
}

#[derive(Default)]
struct Book {
    voices: FxHashMap<u32, Arc<Voice>>,
    stands: FxHashMap<u32, Vec<Stand>>,
    /// The networks that each router stands in.
    networks: FxHashMap<u32, Vec<u32>>,
    /// Ports whose guests are to hear of their router at once.
    news: BTreeSet<u32>,
}

/// See the module. Changes at each commit.
#[derive(Clone, Default)]
pub struct Directory(Arc<RwLock<Book>>);

impl Directory {
    fn read(&self) -> RwLockReadGuard<'_, Book> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Book> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// The answer to `frame` from the guest at the OpenFlow port `number`, to go out by that port.
    #[must_use]
    pub fn answer(&self, number: u32, frame: &[u8]) -> Option<Vec<u8>> {
        let voice = self.read().voices.get(&number).cloned();
        voice?.answer(frame)
    }

    /// What to do about a packet that was sent up.
    #[must_use]
    pub fn reply(&self, question: &Question<'_>) -> Option<Reply> {
        const SERVICES: u8 = Table::Services as u8;
        const DELIVER: u8 = Table::Deliver as u8;
        const ROUTE_LOCAL: u8 = Table::RouteLocal as u8;
        const FORWARD: u8 = Table::Forward as u8;
        match question.table {
            SERVICES => {
                let frame = self.answer(question.in_port, question.frame)?;
                Some(Reply { frame, program: Program::new().output(question.in_port) })
            }
            DELIVER => self.name(question),
            ROUTE_LOCAL => self.complain(question),
            FORWARD => self.ask(question),
            _ => None,
        }
    }

    fn stand(&self, network: u32, wanted: impl Fn(&Stand) -> bool) -> Option<Stand> {
        self.read().stands.get(&network)?.iter().find(|stand| wanted(stand)).cloned()
    }

    /// Says which link-layer address a router has.
    fn name(&self, question: &Question<'_>) -> Option<Reply> {
        let target = advert::solicited(question.frame)?;
        let stand = self.stand(question.network, |stand| stand.ipv6.contains(&target))?;
        let frame = advert::neighbour_advertisement(question.frame, target, stand.mac)?;
        let program = Program::new()
            .set_u32(register::NETWORK, question.network)
            .set_u32(register::OUT, question.in_port)
            .call(Table::Output);
        Some(Reply { frame, program })
    }

    /// Says that a packet went no further.
    fn complain(&self, question: &Question<'_>) -> Option<Reply> {
        let stand = self.stand(question.network, |stand| stand.router == question.router)?;
        let by_v4 = stand.ipv4.and_then(|ip| exceeded::ipv4(question.frame, ip));
        let frame = by_v4.or_else(|| exceeded::ipv6(question.frame, *stand.ipv6.first()?))?;
        let program = Program::new()
            .set_u32(register::NETWORK, question.network)
            .set_u32(register::ROUTER, question.router)
            .call(Table::Route);
        Some(Reply { frame, program })
    }

    /// Asks who the next hop is. The packet is lost; the switch learns the answer.
    fn ask(&self, question: &Question<'_>) -> Option<Reply> {
        let stand = self.stand(question.network, |stand| stand.router == question.router)?;
        let frame = match question.frame.get(12..14)? {
            [0x08, 0x00] => {
                let [a, b, c, d, ..] = question.next_hop;
                advert::arp_request(stand.mac, stand.ipv4?, Ipv4Addr::new(a, b, c, d))
            }
            [0x86, 0xdd] => advert::neighbour_solicitation(stand.mac, stand.mac.link_local(), question.next_hop.into()),
            _ => return None,
        };
        let program = Program::new().set_u32(register::NETWORK, question.network).call(Table::Flood);
        Some(Reply { frame, program })
    }

    /// The advertisements that are due: to every guest that has a router if `all`, else to those whose router has news.
    #[must_use]
    pub fn adverts(&self, all: bool) -> Vec<(u32, Vec<u8>)> {
        if !all && self.read().news.is_empty() {
            return Vec::new();
        }
        let news = std::mem::take(&mut self.write().news);
        let book = self.read();
        let due = book.voices.iter().filter(|(number, _)| all || news.contains(number));
        due.filter_map(|(number, voice)| Some((*number, voice.advert.as_ref()?.to_all()))).collect()
    }

    pub(crate) fn put(&self, number: u32, voice: Option<Voice>) {
        let mut book = self.write();
        let voice = voice.filter(|voice| *voice != Voice::default());
        let advert = voice.as_ref().and_then(|voice| voice.advert.clone());
        let old = match voice {
            Some(voice) => book.voices.insert(number, Arc::new(voice)),
            None => book.voices.remove(&number),
        };
        if advert.is_some() && advert != old.and_then(|old| old.advert.clone()) {
            book.news.insert(number);
        }
    }

    /// Says where a router stands now, by network.
    pub(crate) fn stand_in(&self, router: u32, stands: Vec<(u32, Stand)>) {
        let mut book = self.write();
        for network in book.networks.remove(&router).into_iter().flatten() {
            if let Some(there) = book.stands.get_mut(&network) {
                there.retain(|stand| stand.router != router);
                if there.is_empty() {
                    book.stands.remove(&network);
                }
            }
        }
        if !stands.is_empty() {
            book.networks.insert(router, stands.iter().map(|(network, _)| *network).collect());
        }
        for (network, stand) in stands {
            book.stands.entry(network).or_default().push(stand);
        }
    }
}
