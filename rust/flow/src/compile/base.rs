//! The flows that are always there: what happens to packets that nothing more particular is said about.

use super::rank;
use crate::field::Field;
use crate::ledger::Sink;
use crate::matches::{Match, eth_type, ip_proto};
use crate::program::Program;
use crate::tables::{Table, ct_state, flag, register};
use crate::view::View;

/// ICMPv6 types that IPv6 itself is made of: multicast listeners, router and neighbour discovery. Never filtered by groups;
/// what may not be sent of them is stopped by the guard.
const NEIGHBOURHOOD: [u8; 8] = [130, 131, 132, 133, 134, 135, 136, 143];
const ROUTER_ADVERTISEMENT: u8 = 134;
const NEIGHBOUR_ADVERTISEMENT: u8 = 136;
const REDIRECT: u8 = 137;

pub fn flows(view: &View, sink: &mut Sink) {
    guard(sink);
    passage(sink);
    filters(sink);
    super::metadata::base(view, sink);
    super::router::base(sink);
}

/// What no filtered port may send, whatever its groups say: answers of DHCP servers and routers, and foreign neighbours.
fn guard(sink: &mut Sink) {
    let udp = |ether, from, to| {
        let udp = Match::new().eth_type(ether).ip_proto(ip_proto::UDP);
        udp.u16(Field::UdpSrc, from).u16(Field::UdpDst, to)
    };
    let icmpv6 = |kind| Match::new().ipv6().ip_proto(ip_proto::ICMPV6).u8(Field::Icmpv6Type, kind);
    let drop = Program::new();
    sink.flow(Table::Guard, rank::FORBIDDEN, &udp(eth_type::IPV4, 67, 68), &drop);
    sink.flow(Table::Guard, rank::FORBIDDEN, &udp(eth_type::IPV6, 547, 546), &drop);
    sink.flow(Table::Guard, rank::FORBIDDEN, &icmpv6(ROUTER_ADVERTISEMENT), &drop);
    sink.flow(Table::Guard, rank::FORBIDDEN, &icmpv6(REDIRECT), &drop);
    sink.flow(Table::Guard, rank::SPECIAL, &icmpv6(NEIGHBOUR_ADVERTISEMENT), &drop);
}

/// From table to table.
fn passage(sink: &mut Sink) {
    let onward = |table| Program::new().goto(table);
    sink.flow(Table::Arp, rank::REST, &Match::new().arp(), &onward(Table::Deliver));
    sink.flow(Table::Arp, rank::ELSE, &Match::new(), &onward(Table::Services));
    sink.flow(Table::Services, rank::ELSE, &Match::new(), &onward(Table::SendTrack));
    sink.flow(Table::SendTrack, rank::ELSE, &Match::new(), &onward(Table::SendFilter));
    sink.flow(Table::ReceiveTrack, rank::FORBIDDEN, &Match::new().arp(), &onward(Table::Commit));
    sink.flow(Table::ReceiveTrack, rank::ELSE, &Match::new(), &onward(Table::ReceiveFilter));
    for kind in NEIGHBOURHOOD {
        let discovery = Match::new().ipv6().ip_proto(ip_proto::ICMPV6).u8(Field::Icmpv6Type, kind);
        sink.flow(Table::SendTrack, rank::FORBIDDEN, &discovery, &onward(Table::Deliver));
        sink.flow(Table::ReceiveTrack, rank::FORBIDDEN, &discovery, &onward(Table::Commit));
    }
    let out = Program::new().output_field(register::OUT);
    sink.flow(Table::Output, rank::ELSE, &Match::new(), &out);
}

/// The verdicts, and the commit of what stateful rules have let by.
fn filters(sink: &mut Sink) {
    let allowed = Match::new().bits(register::FLAGS, flag::ALLOWED, flag::ALLOWED);
    let forget = Program::new().set_bits(register::FLAGS, 0, flag::ALLOWED);
    sink.flow(Table::SendVerdict, rank::USUAL, &allowed, &forget.clone().goto(Table::Deliver));
    sink.flow(Table::ReceiveVerdict, rank::USUAL, &allowed, &forget.goto(Table::Commit));
    for ether in [eth_type::IPV4, eth_type::IPV6] {
        let new = ct_state::NEW | ct_state::TRACKED;
        let fresh = Match::new()
            .bits(register::FLAGS, flag::COMMIT, flag::COMMIT)
            .bits(Field::CtState, new, new)
            .eth_type(ether);
        let commit = Program::new().commit(register::NETWORK).goto(Table::Output);
        sink.flow(Table::Commit, rank::USUAL, &fresh, &commit);
    }
    sink.flow(Table::Commit, rank::ELSE, &Match::new(), &Program::new().goto(Table::Output));
}
