//! The way to this host's metadata server and back.
//!
//! A request to 169.254.169.254 is rewritten, packet by packet and without tracking, to one from an **alias** address to the server's
//! own address on a port of the switch that only this host has. The alias is made of the number of the port that asks, so the server
//! knows who asks by the source address alone, overlapping tenants or not, and the host's own 169.254.169.254 is not touched.

use core::net::{IpAddr, Ipv4Addr};

use super::network::{METADATA_IP, arp_request, turn_arp};
use super::{Match, rank};
use crate::field::Field;
use crate::ledger::Sink;
use crate::matches::ip_proto;
use crate::program::{IN_PORT, Program};
use crate::tables::{Table, register};
use crate::uplinks::MetadataPort;
use crate::view::View;
use crate::wish::{Mac, Network, Port};

/// The link-layer address under which guests appear to the host.
const ALIAS_MAC: Mac = Mac([0x02, 0x6f, 0x73, 0x74, 0x72, 0x6f]);
/// The port that metadata is asked for on.
const HTTP: u16 = 80;

/// The alias of the `index`-th IPv4 address of the port with an OpenFlow number; None if there is no room for it.
#[must_use]
pub fn alias(metadata: &MetadataPort, number: u32, index: usize) -> Option<Ipv4Addr> {
    let offset = u32::try_from(index).ok()?.checked_mul(1 << 16)?.checked_add(number)?;
    let ip = Ipv4Addr::from(u32::from(metadata.aliases.network()).checked_add(offset)?);
    (metadata.aliases.contains(&ip) && ip != metadata.address).then_some(ip)
}

/// The server's port: it finds every alias by ARP, and what it sends goes back to who asked.
pub fn base(view: &View, sink: &mut Sink) {
    let Some(metadata) = view.uplinks.metadata else { return };
    let server = Match::new().in_port(metadata.port);
    sink.flow(Table::Classify, rank::USUAL, &server, &Program::new().goto(Table::Metadata));
    // The address asked for and the asker's change places by way of a register.
    let aside = Program::new().copy(Field::ArpTpa, register::OUT);
    let answer = aside.then(turn_arp(ALIAS_MAC)).copy(register::OUT, Field::ArpSpa).output(IN_PORT);
    sink.flow(Table::Metadata, rank::USUAL, &arp_request(Match::new()), &answer);
}

/// One port's way there and back.
pub fn flows(view: &View, port: &Port, number: u32, network: &Network, sink: &mut Sink) {
    let Some(metadata) = view.uplinks.metadata else { return };
    let ips = port.fixed_ips.iter().filter_map(|fixed| match fixed.ip {
        IpAddr::V4(ip) => Some(ip),
        IpAddr::V6(_) => None,
    });
    for (index, ip) in ips.enumerate() {
        let Some(alias) = alias(&metadata, number, index) else { continue };
        let asks = Match::new()
            .in_port(number)
            .ipv4()
            .v4(Field::Ipv4Src, ip)
            .v4(Field::Ipv4Dst, METADATA_IP)
            .ip_proto(ip_proto::TCP)
            .u16(Field::TcpDst, HTTP);
        let there = Program::new()
            .set_mac(Field::EthSrc, ALIAS_MAC)
            .set_mac(Field::EthDst, metadata.mac)
            .set_v4(Field::Ipv4Src, alias)
            .set_v4(Field::Ipv4Dst, metadata.address)
            .set_u16(Field::TcpDst, metadata.tcp_port)
            .output(metadata.port);
        sink.flow(Table::Services, rank::SPECIAL, &asks, &there);
        let answers =
            Match::new().ipv4().v4(Field::Ipv4Dst, alias).ip_proto(ip_proto::TCP).u16(Field::TcpSrc, metadata.tcp_port);
        let back = Program::new()
            .set_mac(Field::EthSrc, network.service_mac)
            .set_mac(Field::EthDst, port.mac)
            .set_v4(Field::Ipv4Src, METADATA_IP)
            .set_v4(Field::Ipv4Dst, ip)
            .set_u16(Field::TcpSrc, HTTP)
            .output(number);
        sink.flow(Table::Metadata, rank::USUAL, &answers, &back);
    }
}
