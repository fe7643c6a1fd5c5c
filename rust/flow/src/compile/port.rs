//! A port of this host: whether it may send, who may reach it, and where its frames go.

use core::net::IpAddr;

use ipnet::IpNet;

use super::network::{answer_arp, arp_request, share_arp};
use super::peer::members;
use super::router::neighbour;
use super::{Match, ask_groups, guard, metadata, numbered, of_network, rank, tracked};
use crate::field::Field;
use crate::ledger::Sink;
use crate::matches::eth_type;
use crate::program::Program;
use crate::tables::{Table, ct_state, register};
use crate::view::View;
use crate::wish::{Id, Port};

pub fn flows(view: &View, id: &Id, sink: &mut Sink) {
    let Some(port) = view.ports.get(id).filter(|port| port.admin_up) else { return };
    let Some(number) = view.bound.get(id).copied() else { return };
    let Some((network, net)) = numbered(view, &port.network_id) else { return };

    let ips: Vec<IpNet> = port.fixed_ips.iter().map(|fixed| IpNet::from(fixed.ip)).collect();
    let pairs = port.address_pairs.iter().map(|pair| pair.ip);
    let all: Vec<IpNet> = ips.iter().copied().chain(pairs).collect();
    members(view, &port.security_groups, &all, sink);

    enter(port, number, net, sink);
    addresses(port, number, net, sink);
    if view.standing.contains_key(&port.network_id) {
        for fixed in &port.fixed_ips {
            neighbour(net, fixed.ip, port.mac, sink);
        }
    }
    metadata::flows(view, port, number, network, sink);
    let here = Program::new().set_u32(register::OUT, number).goto(Table::ReceiveTrack);
    sink.flow(Table::Deliver, rank::USUAL, &of_network(net).eth_dst(port.mac), &here);
    if port.port_security {
        guard::flows(port, number, sink);
        filter(view, port, number, sink);
    } else {
        let sends = Match::new().in_port(number);
        sink.flow(Table::SendFilter, rank::USUAL, &sends, &Program::new().goto(Table::Deliver));
        let receives = Match::new().u32(register::OUT, number);
        sink.flow(Table::ReceiveFilter, rank::USUAL, &receives, &Program::new().goto(Table::Commit));
    }
}

/// Frames that the port sends. A filtered port sends none with a tag.
fn enter(port: &Port, number: u32, net: u32, sink: &mut Sink) {
    let sends = Match::new().in_port(number);
    let (sends, next) =
        if port.port_security { (sends.u16(Field::VlanVid, 0), Table::Guard) } else { (sends, Table::Arp) };
    let program = Program::new().set_u32(register::NETWORK, net).goto(next);
    sink.flow(Table::Classify, rank::USUAL, &sends, &program);
}

/// Who answers when the port's addresses are asked for: the switch for fixed ones, the guests that share them for pairs, and
/// nobody when the port asks for its own, as it does to find out whether someone else has it.
fn addresses(port: &Port, number: u32, net: u32, sink: &mut Sink) {
    for fixed in &port.fixed_ips {
        let IpAddr::V4(ip) = fixed.ip else { continue };
        answer_arp(sink, net, ip, port.mac);
        let own = arp_request(of_network(net).in_port(number)).v4(Field::ArpTpa, ip);
        sink.flow(Table::Arp, rank::SPECIAL, &own, &Program::new());
    }
    share_arp(&port.address_pairs, net, sink);
}

/// What the port's groups let it send and receive. A port without groups does neither.
fn filter(view: &View, port: &Port, number: u32, sink: &mut Sink) {
    let groups = &port.security_groups;
    let sends = Match::new().in_port(number);
    let receives = Match::new().u32(register::OUT, number);
    let stateful = groups.iter().filter_map(|id| view.groups.get(id)).any(|group| group.stateful);
    if !stateful {
        say(view, groups, true, false, &sends, sink);
        say(view, groups, false, false, &receives, sink);
        return;
    }
    for ether in [eth_type::IPV4, eth_type::IPV6] {
        let lookup = |table| Program::new().track(register::NETWORK, table);
        sink.flow(Table::SendTrack, rank::USUAL, &sends.clone().eth_type(ether), &lookup(Table::SendFilter));
        let unknown = receives.clone().eth_type(ether).bits(Field::CtState, 0, ct_state::TRACKED);
        sink.flow(Table::ReceiveTrack, rank::USUAL, &unknown, &lookup(Table::ReceiveFilter));
    }
    for reply in [false, true] {
        say(view, groups, true, reply, &tracked(sends.clone(), reply), sink);
        say(view, groups, false, reply, &tracked(receives.clone(), reply), sink);
    }
}

fn say(view: &View, groups: &[Id], sending: bool, reply: bool, matches: &Match, sink: &mut Sink) {
    let (table, verdict) =
        if sending { (Table::SendFilter, Table::SendVerdict) } else { (Table::ReceiveFilter, Table::ReceiveVerdict) };
    if let Some(program) = ask_groups(view, groups, sending, reply) {
        sink.flow(table, rank::USUAL, matches, &program.goto(verdict));
    }
}
