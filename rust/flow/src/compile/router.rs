//! A router: who talks to it, what it answers itself, where it sends what it forwards.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use super::network::{answer_arp, arp_request, turn_arp};
use super::{from_here, mark_for, numbered, of_network, rank, tracked};
use crate::field::Field;
use crate::ledger::Sink;
use crate::matches::{Match, eth_type, ip_proto};
use crate::program::{CONTROLLER, IN_PORT, Learn, Learnt, Nat, Program};
use crate::router::{Face, Gateway, Router};
use crate::tables::{Table, ct_state, flag, register};
use crate::uplinks::Carrier;
use crate::view::View;
use crate::wish::{Id, Mac, Network};

const ECHO: [(u8, u8); 2] = [(8, 0), (128, 129)];
const ROUTER_SOLICITATION: u8 = 133;
const NEIGHBOUR_SOLICITATION: u8 = 135;
const NEIGHBOUR_ADVERTISEMENT: u8 = 136;
const HOPS: u8 = 64;
/// For how long the switch remembers who has an address that no wish tells of. Linux itself asks again every 30 s or so.
const LEARNT_S: u16 = 600;
const RESOLVED_BIT: u16 = flag::RESOLVED.trailing_zeros() as u16;

/// One face on a network that is held.
struct Side<'a> {
    face: &'a Face,
    network: &'a Network,
    net: u32,
    /// Whether it is the gateway's.
    outside: bool,
}

pub fn flows(view: &View, id: &Id, sink: &mut Sink) {
    let Some(router) = view.routers.get(id).filter(|router| router.admin_up) else { return };
    let Some(zone) = view.numbers.zone_of(id) else { return };
    let gateway_is_here = router.gateway_here().is_some();
    let sides: Vec<Side<'_>> = router
        .faces()
        .filter(|(_, outside)| !outside || gateway_is_here)
        .filter_map(|(face, outside)| {
            let (network, net) = numbered(view, &face.network_id)?;
            Some(Side { face, network, net, outside })
        })
        .collect();
    for side in &sides {
        enter(side, zone, sink);
        answer(view, side, zone, sink);
        learn(side, sink);
    }
    routes(router, &sides, zone, sink);
    match &router.gateway {
        Some(gateway) if gateway_is_here => translate(gateway, &sides, zone, sink),
        Some(gateway) => hand_over(view, gateway, &sides, zone, sink),
        None => {}
    }
}

/// Packets that a router has.
fn of_router(zone: u32) -> Match {
    Match::new().u32(register::ROUTER, zone)
}

/// Frames to the router's own link-layer address.
fn enter(side: &Side<'_>, zone: u32, sink: &mut Sink) {
    let program = Program::new().set_u32(register::ROUTER, zone).call(Table::RouteEnter);
    sink.flow(Table::Deliver, rank::USUAL, &of_network(side.net).eth_dst(side.face.mac), &program);
}

/// What the router answers for its own addresses: ARP, neighbour and router discovery, pings.
fn answer(view: &View, side: &Side<'_>, zone: u32, sink: &mut Sink) {
    let Side { face, net, outside, .. } = *side;
    for ip in &face.ips {
        if let IpNet::V4(own) = ip.0 {
            answer_arp(sink, net, own.addr(), face.mac);
            if outside {
                answer_arp_outside(view, side.network, net, own.addr(), face.mac, sink);
            }
        }
        neighbour(net, ip.0.addr(), face.mac, sink);
        pong(ip.0.addr(), face.mac, net, zone, sink);
        if !outside || matches!(ip.0, IpNet::V6(_)) {
            let own = to(of_router(zone), IpNet::from(ip.0.addr()));
            sink.flow(Table::RouteLocal, rank::EXCEPTION - 1, &own, &Program::new());
        }
    }
    let asked = if outside { of_network(net) } else { from_here(net) };
    for ip in face.ipv6() {
        let solicited = icmpv6(asked.clone(), NEIGHBOUR_SOLICITATION).v6(Field::NdTarget, ip);
        sink.flow(Table::Deliver, rank::SPECIAL, &solicited, &Program::new().output(CONTROLLER));
        if ip.is_unicast_link_local() {
            pong(IpAddr::V6(ip), face.mac, net, zone, sink);
        }
    }
    if !outside && !face.ipv6().is_empty() {
        let solicited = icmpv6(of_network(net), ROUTER_SOLICITATION);
        sink.flow(Table::Services, rank::SPECIAL, &solicited, &Program::new().output(CONTROLLER));
    }
}

fn icmpv6(matches: Match, kind: u8) -> Match {
    matches.ipv6().ip_proto(ip_proto::ICMPV6).u8(Field::Icmpv6Type, kind)
}

/// Answers pings of `ip`: on its own network straight back, in others by way of the routes.
fn pong(ip: IpAddr, mac: Mac, net: u32, zone: u32, sink: &mut Sink) {
    let (asked, answer) = match ip {
        IpAddr::V4(ip) => {
            let asked = of_router(zone).ipv4().v4(Field::Ipv4Dst, ip).ip_proto(ip_proto::ICMP);
            let turned = Program::new().copy(Field::Ipv4Src, Field::Ipv4Dst).set_v4(Field::Ipv4Src, ip);
            let asked = asked.u8(Field::Icmpv4Type, ECHO[0].0).u8(Field::Icmpv4Code, 0);
            (asked, turned.set(Field::Icmpv4Type, &[ECHO[0].1]))
        }
        IpAddr::V6(ip) => {
            let asked = icmpv6(of_router(zone).v6(Field::Ipv6Dst, ip), ECHO[1].0).u8(Field::Icmpv6Code, 0);
            let turned = Program::new().copy(Field::Ipv6Src, Field::Ipv6Dst).set_v6(Field::Ipv6Src, ip);
            (asked, turned.set(Field::Icmpv6Type, &[ECHO[1].1]))
        }
    };
    let answer = answer.set(Field::IpTtl, &[HOPS]);
    let back = answer.clone().copy(Field::EthSrc, Field::EthDst).set_mac(Field::EthSrc, mac).goto(Table::Deliver);
    sink.flow(Table::RouteLocal, rank::EXCEPTION + 1, &asked.clone().u32(register::NETWORK, net), &back);
    if !matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local()) {
        sink.flow(Table::RouteLocal, rank::EXCEPTION, &asked, &answer.call(Table::Route));
    }
}

/// Answers ARP requests that come from a physical network, back into it.
pub fn answer_arp_outside(view: &View, network: &Network, net: u32, ip: Ipv4Addr, mac: Mac, sink: &mut Sink) {
    let Carrier::Physical { vlan, .. } = view.carrier(network) else { return };
    let foreign = of_network(net).bits(register::FLAGS, flag::FROM_HOST, flag::FROM_HOST);
    let asked = arp_request(foreign).v4(Field::ArpTpa, ip);
    let turned = turn_arp(mac).set_v4(Field::ArpSpa, ip);
    let tagged = if let Some(vlan) = vlan { turned.push_vlan(vlan) } else { turned };
    sink.flow(Table::Deliver, rank::EXCEPTION, &asked, &tagged.output(IN_PORT));
}

/// Which link-layer address the neighbour `ip` of a routed network has.
pub fn neighbour(net: u32, ip: IpAddr, mac: Mac, sink: &mut Sink) {
    let matches = match ip {
        IpAddr::V4(ip) => of_network(net).ipv4().u32(register::NEXT_HOP, ip.into()),
        IpAddr::V6(ip) => {
            let octets = ip.octets();
            let words = register::NEXT_HOP_WORDS.iter().zip(octets.as_chunks::<4>().0);
            words.fold(of_network(net).ipv6(), |matches, (word, value)| matches.exact(*word, value))
        }
    };
    let known = Program::new().set_mac(Field::EthDst, mac).set_bits(register::FLAGS, flag::RESOLVED, flag::RESOLVED);
    sink.flow(Table::Neighbours, rank::USUAL, &matches, &known);
}

/// Learns neighbours that no wish tells of from what they say to the router or to all. What guests here say is passed on to other
/// hosts, whose routers have the same address and may be the ones that asked.
fn learn(side: &Side<'_>, sink: &mut Sink) {
    let by_arp = Program::new().learn(&learnt(eth_type::IPV4, register::NEXT_HOP, Field::ArpSpa, Field::ArpSha));
    let by_nd = Program::new().learn(&learnt(eth_type::IPV6, register::NEXT_HOP_V6, Field::NdTarget, Field::EthSrc));
    let advertised = |matches: Match| icmpv6(matches, NEIGHBOUR_ADVERTISEMENT);
    let all = of_network(side.net).eth_dst(Mac([0xff; 6])).arp();
    sink.flow(Table::Deliver, rank::SPECIAL, &all, &by_arp.clone().goto(Table::Flood));
    for (said, program) in [(of_network(side.net).arp(), &by_arp), (advertised(of_network(side.net)), &by_nd)] {
        let said = said.eth_dst(side.face.mac);
        sink.flow(Table::Deliver, rank::SPECIAL - 1, &said, program);
        let here = said.bits(register::FLAGS, 0, flag::FROM_HOST);
        sink.flow(Table::Deliver, rank::SPECIAL, &here, &program.clone().goto(Table::Flood));
    }
}

fn learnt(ether: u16, next_hop: Field, ip: Field, mac: Field) -> Learnt {
    let steps = vec![
        Learn::MatchField(register::NETWORK, register::NETWORK),
        Learn::Match(Field::EthType, ether.to_be_bytes().to_vec()),
        Learn::MatchField(next_hop, ip),
        Learn::Set(Field::EthDst, mac),
        Learn::SetBit(register::FLAGS, RESOLVED_BIT),
    ];
    Learnt { table: Table::Neighbours, priority: rank::REST, hard_timeout_s: LEARNT_S, steps }
}

/// Narrows to packets to a prefix.
fn to(matches: Match, prefix: IpNet) -> Match {
    let ether = if matches!(prefix, IpNet::V4(_)) { eth_type::IPV4 } else { eth_type::IPV6 };
    matches.eth_type(ether).prefix(Field::Ipv4Dst, Field::Ipv6Dst, prefix)
}

/// The longest prefix comes first; of equal ones the subnet that the router stands in.
fn route_rank(prefix: IpNet, connected: bool) -> u16 {
    rank::ROUTE + 2 * u16::from(prefix.prefix_len()) + u16::from(connected)
}

fn routes(router: &Router, sides: &[Side<'_>], zone: u32, sink: &mut Sink) {
    for side in sides {
        for ip in &side.face.ips {
            let direct = match ip.0 {
                IpNet::V4(_) => Program::new().copy(Field::Ipv4Dst, register::NEXT_HOP),
                IpNet::V6(_) => Program::new().copy(Field::Ipv6Dst, register::NEXT_HOP_V6),
            };
            let net = ip.0.trunc();
            sink.flow(Table::Route, route_rank(net, true), &to(of_router(zone), net), &leave(direct, side));
        }
    }
    let further = router.routes.iter().map(|route| (route.destination, route.nexthop));
    let default = router.gateway.iter().flat_map(|gateway| &gateway.next_hops).map(|hop| (everywhere(*hop), *hop));
    for (destination, hop) in further.chain(default) {
        let same_family = matches!((destination, hop), (IpNet::V4(_), IpAddr::V4(_)) | (IpNet::V6(_), IpAddr::V6(_)));
        let program = match sides.iter().find(|side| side.face.reaches(hop)) {
            _ if !same_family => continue,
            Some(side) => leave(by(hop), side),
            None if elsewhere(router, hop) => Program::new().goto(Table::RouteOut),
            None => continue,
        };
        sink.flow(Table::Route, route_rank(destination, false), &to(of_router(zone), destination), &program);
    }
    if let Some(gateway) = router.gateway.as_ref().filter(|gateway| gateway.tunnel_ip.is_some()) {
        for ip in &gateway.face.ips {
            let net = ip.0.trunc();
            let program = Program::new().goto(Table::RouteOut);
            sink.flow(Table::Route, route_rank(net, true), &to(of_router(zone), net), &program);
        }
    }
}

/// Whether a next hop is to be found by a gateway on another host.
fn elsewhere(router: &Router, hop: IpAddr) -> bool {
    router.gateway.as_ref().is_some_and(|gateway| gateway.tunnel_ip.is_some() && gateway.face.reaches(hop))
}

fn everywhere(hop: IpAddr) -> IpNet {
    match hop {
        IpAddr::V4(_) => IpNet::V4(ipnet::Ipv4Net::default()),
        IpAddr::V6(_) => IpNet::V6(ipnet::Ipv6Net::default()),
    }
}

fn by(hop: IpAddr) -> Program {
    match hop {
        IpAddr::V4(ip) => Program::new().set_u32(register::NEXT_HOP, ip.into()),
        IpAddr::V6(ip) => Program::new().set_v6(register::NEXT_HOP_V6, ip),
    }
}

/// Into the network of a side.
fn leave(program: Program, side: &Side<'_>) -> Program {
    let next = if side.outside { Table::RouteOut } else { Table::NextHop };
    program.set_u32(register::NETWORK, side.net).set_mac(Field::EthSrc, side.face.mac).goto(next)
}

/// The gateway is on another host: what goes out is sent there as it came, for that host's router to take.
fn hand_over(view: &View, gateway: &Gateway, sides: &[Side<'_>], zone: u32, sink: &mut Sink) {
    let Some(host) = gateway.tunnel_ip else { return };
    for side in sides {
        let carrier = view.carrier(side.network);
        if let (Carrier::Tunnel { .. }, Some(marked)) = (carrier, mark_for(carrier, Program::new())) {
            let from = of_router(zone).u32(register::NETWORK, side.net);
            let program = marked.set_v4(Field::TunDst, host).goto(Table::Commit);
            sink.flow(Table::RouteOut, rank::USUAL, &from, &program);
        }
    }
}

/// Packets of new connections.
pub fn new(matches: Match) -> Match {
    let wanted = ct_state::TRACKED | ct_state::NEW;
    matches.bits(Field::CtState, wanted, wanted | ct_state::INVALID)
}

/// Packets of known connections, in one of the directions.
pub fn known(matches: Match, reply: bool) -> Match {
    let wanted = ct_state::TRACKED | if reply { ct_state::REPLY } else { 0 };
    let mask = ct_state::TRACKED | ct_state::INVALID | ct_state::NEW | ct_state::REPLY;
    matches.bits(Field::CtState, wanted, mask)
}

/// The gateway is here: addresses are translated.
fn translate(gateway: &Gateway, sides: &[Side<'_>], zone: u32, sink: &mut Sink) {
    let Some(outside) = sides.iter().find(|side| side.outside) else { return };
    let from_outside = of_router(zone).u32(register::NETWORK, outside.net).ipv4();
    if let Some(own) = gateway.face.ipv4() {
        let ours = from_outside.clone().v4(Field::Ipv4Dst, own);
        let look_up = Program::new().track_nat(register::ROUTER, Table::RouteIn, Nat::Restore);
        sink.flow(Table::RouteLocal, rank::USUAL, &ours, &look_up);
        let under_own = known(of_router(zone).ipv4(), false).v4(Field::Ipv4Src, own);
        sink.flow(Table::Translate, rank::USUAL, &under_own, &Program::new().goto(Table::NextHop));
    }
    let answers = tracked(of_router(zone).ipv4(), true);
    sink.flow(Table::RouteIn, rank::USUAL, &answers, &Program::new().goto(Table::Route));
    let opened = new(of_router(zone).ipv4());
    match gateway.face.ipv4().filter(|_| gateway.snat) {
        Some(own) => {
            let hide = Program::new().commit_nat(register::ROUTER, Table::NextHop, Nat::Source(own, None));
            sink.flow(Table::Translate, rank::REST, &opened, &hide);
            // Nobody outside opens a connection to what is hidden.
            sink.flow(Table::RouteLocal, rank::REST, &from_outside, &Program::new());
        }
        None => sink.flow(Table::Translate, rank::REST, &opened, &Program::new().goto(Table::NextHop)),
    }
}

/// The flows that are there with or without routers: from table to table.
pub fn base(sink: &mut Sink) {
    let afresh = || Program::new().untrack().set_bits(register::FLAGS, 0, flag::ALL).forget_port();
    for ether in [eth_type::IPV4, eth_type::IPV6] {
        let wanted = ct_state::NEW | ct_state::TRACKED;
        let opened = Match::new()
            .bits(register::FLAGS, flag::COMMIT, flag::COMMIT)
            .bits(Field::CtState, wanted, wanted)
            .eth_type(ether);
        let commit = Program::new().commit(register::NETWORK).then(afresh()).goto(Table::RouteLocal);
        sink.flow(Table::RouteEnter, rank::USUAL, &opened, &commit);
        let of = || Match::new().eth_type(ether);
        for hops in [0, 1] {
            let last = of().u8(Field::IpTtl, hops);
            sink.flow(Table::RouteLocal, rank::SPECIAL, &last, &Program::new().output(CONTROLLER));
        }
        let hop = Program::new().dec_ttl().call(Table::Neighbours).goto(Table::Forward);
        sink.flow(Table::NextHop, rank::USUAL, &of(), &hop);
        sink.flow(Table::Forward, rank::REST, &of(), &Program::new().output(CONTROLLER));
    }
    sink.flow(Table::RouteEnter, rank::ELSE, &Match::new(), &afresh().goto(Table::RouteLocal));
    sink.flow(Table::RouteLocal, rank::ELSE, &Match::new(), &Program::new().goto(Table::Route));
    let look_up = Program::new().track_nat(register::ROUTER, Table::Translate, Nat::Restore);
    sink.flow(Table::RouteOut, rank::REST, &Match::new().ipv4(), &look_up);
    sink.flow(Table::RouteOut, rank::REST, &Match::new().ipv6(), &Program::new().goto(Table::NextHop));
    let resolved = Match::new().bits(register::FLAGS, flag::RESOLVED, flag::RESOLVED);
    let on = Program::new().untrack().set_bits(register::FLAGS, 0, flag::ALL).goto(Table::Deliver);
    sink.flow(Table::Forward, rank::USUAL, &resolved, &on);
    for never in NEVER_ROUTED {
        let (ip, length) = never;
        if let Ok(prefix) = IpNet::new(ip, length) {
            sink.flow(Table::Route, rank::NEVER, &to(Match::new(), prefix), &Program::new());
        }
    }
}

/// Addresses that mean something on their own link only.
const NEVER_ROUTED: [(IpAddr, u8); 5] = [
    (IpAddr::V4(Ipv4Addr::new(169, 254, 0, 0)), 16),
    (IpAddr::V4(Ipv4Addr::new(224, 0, 0, 0)), 4),
    (IpAddr::V4(Ipv4Addr::BROADCAST), 32),
    (IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0)), 10),
    (IpAddr::V6(Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0)), 8),
];
