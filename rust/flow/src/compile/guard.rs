//! Which addresses a filtered port may use as its own.

use core::net::{Ipv4Addr, Ipv6Addr};
use std::collections::BTreeSet;

use ipnet::IpNet;

use super::network::arp_request;
use super::rank;
use crate::field::Field;
use crate::ledger::Sink;
use crate::matches::{Match, ip_proto};
use crate::program::Program;
use crate::tables::Table;
use crate::wish::{Mac, Port};

const ROUTER_SOLICITATION: u8 = 133;
const NEIGHBOUR_SOLICITATION: u8 = 135;
const NEIGHBOUR_ADVERTISEMENT: u8 = 136;
const LISTENER_REPORT: u8 = 143;

/// Every address that a port may use, with its link-layer address: fixed ones, pairs, and the link-local ones of each.
pub fn identities(port: &Port) -> BTreeSet<(Mac, IpNet)> {
    let fixed = port.fixed_ips.iter().map(|fixed| (port.mac, IpNet::from(fixed.ip)));
    let pairs = port.address_pairs.iter().map(|pair| (pair.mac.unwrap_or(port.mac), pair.ip));
    let mut all: BTreeSet<(Mac, IpNet)> = fixed.chain(pairs).collect();
    let macs: BTreeSet<Mac> = all.iter().map(|(mac, _)| *mac).chain([port.mac]).collect();
    all.extend(macs.into_iter().map(|mac| (mac, IpNet::from(core::net::IpAddr::V6(mac.link_local())))));
    all
}

/// Lets by what the port sends under its own addresses; nothing else passes.
pub fn flows(port: &Port, number: u32, sink: &mut Sink) {
    let identities = identities(port);
    for (mac, ip) in &identities {
        let from = Match::new().in_port(number).eth_src(*mac);
        match ip {
            IpNet::V4(_) => speaks_v4(&from, *mac, *ip, sink),
            IpNet::V6(_) => speaks_v6(&from, *ip, sink),
        }
    }
    let macs: BTreeSet<Mac> = identities.iter().map(|(mac, _)| *mac).collect();
    for mac in macs {
        asks_for_address(&Match::new().in_port(number).eth_src(mac), mac, sink);
    }
}

fn speaks_v4(from: &Match, mac: Mac, ip: IpNet, sink: &mut Sink) {
    let any = Field::Ipv6Src;
    let arp = from.clone().arp().exact(Field::ArpSha, &mac.0).prefix(Field::ArpSpa, any, ip);
    sink.flow(Table::Guard, rank::USUAL, &arp, &Program::new().goto(Table::Arp));
    let packet = from.clone().ipv4().prefix(Field::Ipv4Src, any, ip);
    sink.flow(Table::Guard, rank::USUAL, &packet, &Program::new().goto(Table::Services));
}

fn speaks_v6(from: &Match, ip: IpNet, sink: &mut Sink) {
    let onward = Program::new().goto(Table::Services);
    let packet = from.clone().ipv6().prefix(Field::Ipv4Src, Field::Ipv6Src, ip);
    sink.flow(Table::Guard, rank::USUAL, &packet, &onward);
    let about = |kind| icmpv6(from, kind).prefix(Field::Ipv4Src, Field::NdTarget, ip);
    sink.flow(Table::Guard, rank::EXCEPTION, &about(NEIGHBOUR_ADVERTISEMENT), &onward);
    let claim = about(NEIGHBOUR_SOLICITATION).v6(Field::Ipv6Src, Ipv6Addr::UNSPECIFIED);
    sink.flow(Table::Guard, rank::USUAL, &claim, &onward);
}

/// What a guest says before it has an address: a DHCP request, an ARP probe, IPv6 discovery.
fn asks_for_address(from: &Match, mac: Mac, sink: &mut Sink) {
    let dhcp = from
        .clone()
        .ipv4()
        .v4(Field::Ipv4Src, Ipv4Addr::UNSPECIFIED)
        .v4(Field::Ipv4Dst, Ipv4Addr::BROADCAST)
        .ip_proto(ip_proto::UDP)
        .u16(Field::UdpSrc, 68)
        .u16(Field::UdpDst, 67);
    sink.flow(Table::Guard, rank::USUAL, &dhcp, &Program::new().goto(Table::Services));
    let probe = arp_request(from.clone()).v4(Field::ArpSpa, Ipv4Addr::UNSPECIFIED).exact(Field::ArpSha, &mac.0);
    sink.flow(Table::Guard, rank::USUAL, &probe, &Program::new().goto(Table::Arp));
    for kind in [ROUTER_SOLICITATION, LISTENER_REPORT] {
        let unnamed = icmpv6(from, kind).v6(Field::Ipv6Src, Ipv6Addr::UNSPECIFIED);
        sink.flow(Table::Guard, rank::USUAL, &unnamed, &Program::new().goto(Table::Services));
    }
}

fn icmpv6(from: &Match, kind: u8) -> Match {
    from.clone().ipv6().ip_proto(ip_proto::ICMPV6).u8(Field::Icmpv6Type, kind)
}
