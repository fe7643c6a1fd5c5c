//! From the view to flows: one function per kind of unit, each total and looking at the view alone.

mod base;
mod floating;
pub mod group;
mod guard;
mod metadata;
mod network;
mod peer;
mod port;
mod router;

use crate::field::Field;
use crate::ledger::{Sink, Unit};
use crate::matches::Match;
use crate::program::Program;
use crate::tables::{ct_state, flag, register};
use crate::uplinks::Carrier;
use crate::view::View;
use crate::wish::{Direction, Id, Network};

pub use metadata::alias;
pub use network::METADATA_IP;

/// Priorities. Within a table, higher ones are looked at first; equal ones never disagree.
mod rank {
    /// What goes before every route.
    pub const NEVER: u16 = 2000;
    /// Routes: this and more, by how long their prefix is.
    pub const ROUTE: u16 = 1000;
    /// What nobody may do.
    pub const FORBIDDEN: u16 = 200;
    /// An exception to an exception.
    pub const EXCEPTION: u16 = 150;
    /// An exception to what is usual.
    pub const SPECIAL: u16 = 140;
    /// What is usual.
    pub const USUAL: u16 = 100;
    /// What happens to the rest of a network's packets.
    pub const REST: u16 = 10;
    /// What happens to all the rest.
    pub const ELSE: u16 = 0;
}

/// Computes the flows that `unit` wants.
pub fn unit(view: &View, unit: &Unit, sink: &mut Sink) {
    match unit {
        Unit::Base => base::flows(view, sink),
        Unit::Network(id) => network::flows(view, id, sink),
        Unit::Flood(id) => network::flood(view, id, sink),
        Unit::FloodPorts(id, part) => network::flood_ports(view, id, *part, false, sink),
        Unit::FloodOpen(id, part) => network::flood_ports(view, id, *part, true, sink),
        Unit::FloodHosts(id, part) => network::flood_hosts(view, id, *part, sink),
        Unit::Group(id) => group::flows(view, id, sink),
        Unit::Port(id) => port::flows(view, id, sink),
        Unit::Peer(id) => peer::flows(view, id, sink),
        Unit::Router(id) => router::flows(view, id, sink),
        Unit::Floating(id) => floating::flows(view, id, sink),
    }
}

/// A network that is held, with its number.
fn numbered<'a>(view: &'a View, id: &Id) -> Option<(&'a Network, u32)> {
    Some((view.networks.get(id)?, view.numbers.networks.get(id)?))
}

/// Packets of a network.
fn of_network(number: u32) -> Match {
    Match::new().u32(register::NETWORK, number)
}

/// Packets of a network that come from this host.
fn from_here(number: u32) -> Match {
    of_network(number).bits(register::FLAGS, 0, flag::FROM_HOST)
}

/// Packets with a connection that tracking found valid, in one of the directions.
fn tracked(matches: Match, reply: bool) -> Match {
    let wanted = ct_state::TRACKED | if reply { ct_state::REPLY } else { 0 };
    matches.bits(Field::CtState, wanted, ct_state::TRACKED | ct_state::INVALID | ct_state::REPLY)
}

/// Packets with a connection that tracking found valid.
fn valid(matches: Match) -> Match {
    matches.bits(Field::CtState, ct_state::TRACKED, ct_state::TRACKED | ct_state::INVALID)
}

/// Asks the groups of a port whether they let a packet by. `sending` is whether the port sends it or is to receive it.
fn ask_groups(view: &View, groups: &[Id], sending: bool, reply: bool) -> Option<Program> {
    let mut program = Program::new();
    let mut asked = false;
    let mut ordered: Vec<&Id> = groups.iter().collect();
    ordered.sort_unstable();
    for id in ordered {
        let (Some(group), Some(number)) = (view.groups.get(id), view.numbers.groups.get(id)) else { continue };
        // A reply is judged by the rules of the connection that it answers; a stateless group knows no connections.
        let outward = if group.stateful { sending != reply } else { sending };
        let direction = if outward { Direction::Egress } else { Direction::Ingress };
        program = program
            .set_u32(register::GROUP, crate::tables::group_key(number, direction))
            .call(crate::tables::Table::Groups);
        asked = true;
    }
    asked.then_some(program)
}

/// The port by which frames of a network leave this host, and how they are marked for it.
fn mark_for(carrier: Carrier, program: Program) -> Option<Program> {
    match carrier {
        Carrier::Tunnel { port, key } => {
            Some(program.set(Field::TunId, &u64::from(key).to_be_bytes()).set_u32(register::OUT, port))
        }
        Carrier::Physical { port, .. } => Some(program.set_u32(register::OUT, port)),
        Carrier::None => None,
    }
}
