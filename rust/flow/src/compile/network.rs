//! A network's own flows: its frames from other hosts, its service addresses, and its floods.

use core::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;

use super::{Match, from_here, mark_for, numbered, of_network, rank};
use crate::field::Field;
use crate::floods::Floods;
use crate::ledger::Sink;
use crate::matches::ip_proto;
use crate::program::{CONTROLLER, IN_PORT, Program, VLAN_PRESENT};
use crate::tables::{Table, flag, register};
use crate::uplinks::Carrier;
use crate::view::View;
use crate::wish::{AddressPair, Id, Mac, Network};

/// Where guests look for their metadata.
pub const METADATA_IP: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);

const ECHO_REQUEST: u8 = 8;
const ECHO_REPLY: u8 = 0;
const ARP_REQUEST: u16 = 1;
const ARP_REPLY: u16 = 2;
/// The lowest bit of the first octet of an address of many.
const GROUP_BIT: [u8; 6] = [1, 0, 0, 0, 0, 0];

pub fn flows(view: &View, id: &Id, sink: &mut Sink) {
    let Some((network, number)) = numbered(view, id) else { return };
    arrivals(view, network, number, sink);
    services(network, number, sink);
    let own = of_network(number).eth_dst(network.service_mac);
    sink.flow(Table::Deliver, rank::USUAL, &own, &Program::new());
}

/// Frames of the network that come from other hosts.
fn arrivals(view: &View, network: &Network, number: u32, sink: &mut Sink) {
    let enter = |program: Program| {
        program
            .set_u32(register::NETWORK, number)
            .set_bits(register::FLAGS, flag::FROM_HOST, flag::FROM_HOST)
            .goto(Table::Deliver)
    };
    match view.carrier(network) {
        Carrier::Tunnel { port, key } => {
            let ours = Match::new().in_port(port).exact(Field::TunId, &u64::from(key).to_be_bytes());
            sink.flow(Table::Classify, rank::USUAL, &ours, &enter(Program::new()));
        }
        Carrier::Physical { port, vlan } => {
            let tag = vlan.map_or(0, |vlan| vlan | VLAN_PRESENT);
            let ours = Match::new().in_port(port).u16(Field::VlanVid, tag);
            let bare = if vlan.is_some() { Program::new().pop_vlan() } else { Program::new() };
            sink.flow(Table::Classify, rank::USUAL, &ours, &enter(bare));
            if let Some(vlan) = vlan {
                let leaving = of_network(number).u32(register::OUT, port);
                let tagged = Program::new().push_vlan(vlan).output_field(register::OUT);
                sink.flow(Table::Output, rank::USUAL, &leaving, &tagged);
            }
        }
        Carrier::None => {}
    }
}

/// What the network answers by itself, under its service address.
fn services(network: &Network, number: u32, sink: &mut Sink) {
    let mac = network.service_mac;
    answer_arp(sink, number, METADATA_IP, mac);
    for subnet in &network.subnets {
        let Some(IpAddr::V4(ip)) = subnet.service_ip else { continue };
        answer_arp(sink, number, ip, mac);
        answer_echo(sink, number, ip, mac);
    }
    if network.subnets.iter().any(|subnet| subnet.dhcp && matches!(subnet.service_ip, Some(IpAddr::V4(_)))) {
        let ask = of_network(number).ipv4().ip_proto(ip_proto::UDP).u16(Field::UdpSrc, 68).u16(Field::UdpDst, 67);
        sink.flow(Table::Services, rank::USUAL, &ask, &Program::new().output(CONTROLLER));
    }
    if network.subnets.iter().any(|subnet| subnet.speaks_dhcpv6()) {
        let ask = of_network(number).ipv6().ip_proto(ip_proto::UDP).u16(Field::UdpSrc, 546).u16(Field::UdpDst, 547);
        sink.flow(Table::Services, rank::USUAL, &ask, &Program::new().output(CONTROLLER));
    }
}

/// Answers ARP requests for `ip`: it is at `mac`.
pub fn answer_arp(sink: &mut Sink, number: u32, ip: Ipv4Addr, mac: Mac) {
    sink.flow(Table::Arp, rank::USUAL, &arp_request(of_network(number)).v4(Field::ArpTpa, ip), &arp_answer(ip, mac));
}

/// Leaves requests for addresses that several guests may share to those guests.
pub fn share_arp(pairs: &[AddressPair], number: u32, sink: &mut Sink) {
    for pair in pairs.iter().filter(|pair| matches!(pair.ip, IpNet::V4(_))) {
        let shared = arp_request(of_network(number)).prefix(Field::ArpTpa, Field::Ipv6Dst, pair.ip);
        sink.flow(Table::Arp, rank::EXCEPTION, &shared, &Program::new().goto(Table::Deliver));
    }
}

/// ARP requests among `matches`.
pub fn arp_request(matches: Match) -> Match {
    matches.arp().u16(Field::ArpOp, ARP_REQUEST)
}

/// Turns an ARP request round into the answer that `ip` is at `mac`.
fn arp_answer(ip: Ipv4Addr, mac: Mac) -> Program {
    turn_arp(mac).set_v4(Field::ArpSpa, ip).output(IN_PORT)
}

/// Turns an ARP request round into an answer from `mac`, all but the address that it speaks for.
pub fn turn_arp(mac: Mac) -> Program {
    Program::new()
        .copy(Field::EthSrc, Field::EthDst)
        .set_mac(Field::EthSrc, mac)
        .set_u16(Field::ArpOp, ARP_REPLY)
        .copy(Field::ArpSha, Field::ArpTha)
        .copy(Field::ArpSpa, Field::ArpTpa)
        .set_mac(Field::ArpSha, mac)
}

/// Answers pings of `ip`.
fn answer_echo(sink: &mut Sink, number: u32, ip: Ipv4Addr, mac: Mac) {
    let ping = of_network(number)
        .ipv4()
        .v4(Field::Ipv4Dst, ip)
        .ip_proto(ip_proto::ICMP)
        .u8(Field::Icmpv4Type, ECHO_REQUEST)
        .u8(Field::Icmpv4Code, 0);
    let pong = Program::new()
        .copy(Field::EthSrc, Field::EthDst)
        .set_mac(Field::EthSrc, mac)
        .copy(Field::Ipv4Src, Field::Ipv4Dst)
        .set_v4(Field::Ipv4Src, ip)
        .set(Field::IpTtl, &[64])
        .set(Field::Icmpv4Type, &[ECHO_REPLY])
        .output(IN_PORT);
    sink.flow(Table::Services, rank::USUAL, &ping, &pong);
}

/// Whom floods reach: the parts, each of which is a flow of its own.
pub fn flood(view: &View, id: &Id, sink: &mut Sink) {
    let Some((network, number)) = numbered(view, id) else { return };
    let nobody = Floods::default();
    let floods = view.floods.get(id).unwrap_or(&nobody);
    let outside = outside_parts(view.carrier(network), floods);
    let many = |matches: Match| matches.masked(Field::EthDst, &GROUP_BIT, &GROUP_BIT);
    let each = |program: Program, parts: &mut dyn Iterator<Item = u16>, table| {
        parts.fold(program, |program, part| program.set_u32(register::PART, u32::from(part)).call(table))
    };
    let ports = each(Program::new(), &mut floods.ports.keys().copied(), Table::FloodPorts);
    let open = each(Program::new(), &mut floods.open.keys().copied(), Table::FloodOpen);
    let every = each(ports.clone(), &mut outside.iter().copied(), Table::FloodHosts);
    let unknown = each(open.clone(), &mut outside.iter().copied(), Table::FloodHosts);

    sink.flow(Table::Deliver, rank::USUAL, &many(of_network(number)), &Program::new().goto(Table::Flood));
    sink.flow(Table::Deliver, rank::REST, &of_network(number), &Program::new().goto(Table::Flood));
    sink.flow(Table::Flood, rank::SPECIAL, &many(from_here(number)), &every);
    sink.flow(Table::Flood, rank::USUAL, &many(of_network(number)), &ports);
    sink.flow(Table::Flood, rank::USUAL - 1, &from_here(number), &unknown);
    sink.flow(Table::Flood, rank::REST, &of_network(number), &open);
    if let Carrier::Physical { port, .. } = view.carrier(network) {
        let copy = Program::new().set_u32(register::OUT, port).call(Table::Commit);
        sink.flow(Table::FloodHosts, rank::USUAL, &part_of(number, PHYSICAL_PART), &copy);
    }
}

/// A part of a network's floods.
fn part_of(number: u32, part: u16) -> Match {
    of_network(number).u32(register::PART, u32::from(part))
}

fn outside_parts(carrier: Carrier, floods: &Floods) -> Vec<u16> {
    match carrier {
        Carrier::Tunnel { .. } => floods.hosts.keys().copied().collect(),
        Carrier::Physical { .. } => vec![PHYSICAL_PART],
        Carrier::None => vec![],
    }
}

/// The part of a flood that is a physical network.
const PHYSICAL_PART: u16 = u16::MAX;

/// A part of the ports here.
pub fn flood_ports(view: &View, id: &Id, part: u16, open: bool, sink: &mut Sink) {
    let (Some((_, number)), Some(floods)) = (numbered(view, id), view.floods.get(id)) else { return };
    let (parts, table) = if open { (&floods.open, Table::FloodOpen) } else { (&floods.ports, Table::FloodPorts) };
    let Some(ports) = parts.get(&part) else { return };
    let copies = ports
        .iter()
        .fold(Program::new(), |program, port| program.set_u32(register::OUT, *port).call(Table::ReceiveTrack));
    sink.flow(table, rank::USUAL, &part_of(number, part), &copies);
}

/// A part of the other hosts, each by a tunnel.
pub fn flood_hosts(view: &View, id: &Id, part: u16, sink: &mut Sink) {
    let (Some((network, number)), Some(floods)) = (numbered(view, id), view.floods.get(id)) else { return };
    let carrier = view.carrier(network);
    let (Carrier::Tunnel { .. }, Some(hosts)) = (carrier, floods.hosts.get(&part)) else { return };
    let Some(marked) = mark_for(carrier, Program::new()) else { return };
    let send = |program: Program, host: &Ipv4Addr| program.set_v4(Field::TunDst, *host).call(Table::Commit);
    sink.flow(Table::FloodHosts, rank::USUAL, &part_of(number, part), &hosts.keys().fold(marked, send));
}
