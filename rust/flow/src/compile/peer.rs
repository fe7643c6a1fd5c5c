//! A port on another host: where it is, and which groups it is a member of.

use ipnet::IpNet;

use super::network::{answer_arp, share_arp};
use super::router::neighbour;
use super::{from_here, mark_for, numbered, rank, valid};
use crate::field::Field;
use crate::ledger::Sink;
use crate::matches::{Match, eth_type};
use crate::program::Program;
use crate::tables::{Lookup, Table, register, remote_key};
use crate::uplinks::Carrier;
use crate::view::View;
use crate::wish::Id;

pub fn flows(view: &View, id: &Id, sink: &mut Sink) {
    let Some(peer) = view.peers.get(id) else { return };
    let all: Vec<IpNet> = peer.ips.iter().copied().chain(peer.address_pairs.iter().map(|pair| pair.ip)).collect();
    members(view, &peer.security_groups, &all, sink);
    let Some((network, number)) = numbered(view, &peer.network_id) else { return };
    let routed = view.standing.contains_key(&peer.network_id);
    for ip in &peer.ips {
        if let IpNet::V4(net) = ip
            && net.prefix_len() == 32
        {
            answer_arp(sink, number, net.addr(), peer.mac);
        }
        if routed && ip.prefix_len() == ip.max_prefix_len() {
            neighbour(number, ip.addr(), peer.mac, sink);
        }
    }
    share_arp(&peer.address_pairs, number, sink);
    let carrier = view.carrier(network);
    if let Some(marked) = mark_for(carrier, Program::new()) {
        let sent = match carrier {
            Carrier::Tunnel { .. } => marked.set_v4(Field::TunDst, peer.tunnel_ip),
            _ => marked,
        };
        sink.flow(Table::Deliver, rank::USUAL, &from_here(number).eth_dst(peer.mac), &sent.goto(Table::Commit));
    }
}

/// The membership of some addresses in the groups of their port, for each way in which rules ask for it.
pub fn members(view: &View, groups: &[Id], ips: &[IpNet], sink: &mut Sink) {
    const LOOKUPS: [Lookup; 4] = [Lookup::Opener, Lookup::Opened, Lookup::Source, Lookup::Destination];
    for group in groups {
        let (Some(counts), Some(number)) = (view.lookups.get(group), view.numbers.groups.get(group)) else { continue };
        for lookup in LOOKUPS.into_iter().filter(|lookup| counts[*lookup as usize] > 0) {
            for ip in ips {
                sink.flow(
                    Table::Members,
                    rank::USUAL,
                    &member(number, lookup, *ip),
                    &Program::new().call(Table::Rules),
                );
            }
        }
    }
}

fn member(number: u32, lookup: Lookup, ip: IpNet) -> Match {
    let asked = Match::new().u32(register::REMOTE, remote_key(number, lookup));
    let ether = if matches!(ip, IpNet::V4(_)) { eth_type::IPV4 } else { eth_type::IPV6 };
    match lookup {
        Lookup::Opener => valid(asked).eth_type(ether).prefix(Field::CtIpv4Src, Field::CtIpv6Src, ip),
        Lookup::Opened => valid(asked).eth_type(ether).prefix(Field::CtIpv4Dst, Field::CtIpv6Dst, ip),
        Lookup::Source => asked.eth_type(ether).prefix(Field::Ipv4Src, Field::Ipv6Src, ip),
        Lookup::Destination => asked.eth_type(ether).prefix(Field::Ipv4Dst, Field::Ipv6Dst, ip),
    }
}
