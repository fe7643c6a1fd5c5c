//! A security group: which remote groups its rules name, and what each rule admits.

use std::collections::BTreeSet;

use super::{rank, valid};
use crate::field::Field;
use crate::ledger::Sink;
use crate::matches::{Match, eth_type, ip_proto};
use crate::program::Program;
use crate::tables::{Table, ct_state, flag, group_key, register, remote_key};
use crate::view::{View, lookup};
use crate::wish::{Direction, Family, Id, Rule, SecurityGroup};

pub fn flows(view: &View, id: &Id, sink: &mut Sink) {
    if let Some(group) = view.groups.get(id) {
        asks(view, id, group, sink);
        admits(view, id, group.stateful, &group.rules, sink);
    }
}

/// The flows that a group has of its own.
pub fn asks(view: &View, id: &Id, group: &SecurityGroup, sink: &mut Sink) {
    let Some(number) = view.numbers.groups.get(id) else { return };
    for direction in [Direction::Ingress, Direction::Egress] {
        ask(view, group, number, direction, sink);
    }
}

/// The flows that some rules of a group want.
pub fn admits(view: &View, id: &Id, stateful: bool, rules: &[Rule], sink: &mut Sink) {
    let Some(number) = view.numbers.groups.get(id) else { return };
    for rule in rules {
        admit(view, stateful, number, rule, sink);
    }
}

/// One direction of the group: looks at the rules for all, and at those of each remote group if the other side is in it.
fn ask(view: &View, group: &SecurityGroup, number: u32, direction: Direction, sink: &mut Sink) {
    let rules = || group.rules.iter().filter(|rule| rule.direction == direction);
    let mut program = Program::new();
    if rules().any(|rule| rule.remote_group_id.is_empty()) {
        program = program.set_u32(register::REMOTE, 0).call(Table::Rules);
    }
    let named: BTreeSet<&Id> = rules().map(|rule| &rule.remote_group_id).filter(|id| !id.is_empty()).collect();
    for remote in named.into_iter().filter_map(|id| view.numbers.groups.get(id)) {
        let key = remote_key(remote, lookup(group.stateful, direction));
        program = program.set_u32(register::REMOTE, key).call(Table::Members);
    }
    if program != Program::new() {
        let asked = Match::new().u32(register::GROUP, group_key(number, direction));
        sink.flow(Table::Groups, rank::USUAL, &asked, &program);
    }
}

/// The flows of one rule: all that it admits.
fn admit(view: &View, stateful: bool, number: u32, rule: &Rule, sink: &mut Sink) {
    let remote = if rule.remote_group_id.is_empty() {
        0
    } else {
        let Some(remote) = view.numbers.groups.get(&rule.remote_group_id) else { return };
        remote_key(remote, lookup(stateful, rule.direction))
    };
    let ether = match rule.ethertype {
        Family::IPv4 => eth_type::IPV4,
        Family::IPv6 => eth_type::IPV6,
    };
    let asked = Match::new()
        .u32(register::GROUP, group_key(number, rule.direction))
        .u32(register::REMOTE, remote)
        .eth_type(ether);
    let sides = if stateful { Sides::OF_CONNECTION } else { Sides::OF_PACKET };
    let asked = match rule.remote_ip_prefix {
        Some(prefix) if prefix.prefix_len() == 0 => asked,
        Some(prefix) => match rule.direction {
            Direction::Ingress => asked.prefix(sides.ipv4_src, sides.ipv6_src, prefix),
            Direction::Egress => asked.prefix(sides.ipv4_dst, sides.ipv6_dst, prefix),
        },
        None => asked,
    };
    let (asked, marks) = if stateful { (valid(asked), flag::ALLOWED | flag::COMMIT) } else { (asked, flag::ALLOWED) };
    let allow = Program::new().set_bits(register::FLAGS, marks, marks);
    for matches in protocols(asked, stateful, rule) {
        sink.flow(Table::Rules, rank::USUAL, &matches, &allow);
    }
}

/// Where addresses are read: from the connection's first packet, or from this one.
struct Sides {
    ipv4_src: Field,
    ipv4_dst: Field,
    ipv6_src: Field,
    ipv6_dst: Field,
}

impl Sides {
    const OF_CONNECTION: Self = Self {
        ipv4_src: Field::CtIpv4Src,
        ipv4_dst: Field::CtIpv4Dst,
        ipv6_src: Field::CtIpv6Src,
        ipv6_dst: Field::CtIpv6Dst,
    };
    const OF_PACKET: Self =
        Self { ipv4_src: Field::Ipv4Src, ipv4_dst: Field::Ipv4Dst, ipv6_src: Field::Ipv6Src, ipv6_dst: Field::Ipv6Dst };
}

/// Narrows to the rule's protocol, and to its ports or its ICMP type and code.
fn protocols(asked: Match, stateful: bool, rule: &Rule) -> Vec<Match> {
    let proto = match (rule.protocol.0, rule.ethertype) {
        (None, _) => return vec![asked],
        (Some(ip_proto::ICMP), Family::IPv6) => ip_proto::ICMPV6,
        (Some(number), _) => number,
    };
    let is_icmp = matches!(proto, ip_proto::ICMP | ip_proto::ICMPV6);
    let asked = if stateful { asked.u8(Field::CtProto, proto) } else { asked.ip_proto(proto) };
    if is_icmp {
        return vec![icmp(asked, stateful, proto, rule)];
    }
    if rule.port_min < 0 {
        return vec![asked];
    }
    let low = rule.port_min.clamp(0, 0xffff) as u16;
    let high = if rule.port_max < 0 { low } else { rule.port_max.clamp(0, 0xffff) as u16 };
    let ports = prefixes_of(low, high);
    let on = |field: Field| {
        let asked = asked.clone();
        ports.iter().map(move |(value, mask)| asked.clone().masked(field, &value.to_be_bytes(), &mask.to_be_bytes()))
    };
    match (proto, stateful) {
        (ip_proto::TCP, false) => on(Field::TcpDst).collect(),
        (ip_proto::UDP, false) => on(Field::UdpDst).collect(),
        (ip_proto::SCTP, false) => on(Field::SctpDst).collect(),
        (ip_proto::SCTP, true) => sctp(&asked, &ports),
        (_, true) => on(Field::CtPortDst).collect(),
        (_, false) => vec![asked],
    }
}

/// Not every datapath tracks the ports of SCTP: they are read from the packet, from its other end in replies.
fn sctp(asked: &Match, ports: &[(u16, u16)]) -> Vec<Match> {
    // `asked` has been narrowed by `valid`; narrowing it by direction as well needs one term in the place of that one.
    let rest: Match = asked.without(Field::CtState).ip_proto(ip_proto::SCTP);
    let mut both = Vec::with_capacity(ports.len() * 2);
    for (value, mask) in ports {
        for (reply, field) in [(false, Field::SctpDst), (true, Field::SctpSrc)] {
            let wanted = ct_state::TRACKED | if reply { ct_state::REPLY } else { 0 };
            let mask_of_state = ct_state::TRACKED | ct_state::INVALID | ct_state::REPLY;
            both.push(rest.clone().bits(Field::CtState, wanted, mask_of_state).masked(
                field,
                &value.to_be_bytes(),
                &mask.to_be_bytes(),
            ));
        }
    }
    both
}

/// `port_min` is the type and `port_max` the code, as in Neutron.
fn icmp(asked: Match, stateful: bool, proto: u8, rule: &Rule) -> Match {
    let kind = u8::try_from(rule.port_min).ok();
    let code = u8::try_from(rule.port_max).ok();
    let (kind_field, code_field) = match (stateful, proto) {
        (true, _) => (Field::CtPortSrc, Field::CtPortDst),
        (false, ip_proto::ICMP) => (Field::Icmpv4Type, Field::Icmpv4Code),
        (false, _) => (Field::Icmpv6Type, Field::Icmpv6Code),
    };
    let narrow = |matches: Match, field: Field, value: Option<u8>| match value {
        Some(value) if stateful => matches.u16(field, u16::from(value)),
        Some(value) => matches.u8(field, value),
        None => matches,
    };
    narrow(narrow(asked, kind_field, kind), code_field, code.filter(|_| kind.is_some()))
}

/// A range of ports as values and masks: at most 30 of them.
fn prefixes_of(low: u16, high: u16) -> Vec<(u16, u16)> {
    let mut prefixes = Vec::new();
    let (mut low, high) = (u32::from(low), u32::from(high));
    while low <= high {
        let aligned = if low == 0 { 1 << 16 } else { 1 << low.trailing_zeros() };
        let mut size: u32 = aligned;
        while size > high - low + 1 {
            size >>= 1;
        }
        prefixes.push((low as u16, (0x1_0000 - size) as u16));
        low += size;
    }
    prefixes
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn one_port_and_all_ports_are_one_prefix() {
        assert_eq!(prefixes_of(80, 80), [(80, 0xffff)]);
        assert_eq!(prefixes_of(0, 0xffff), [(0, 0)]);
        assert_eq!(prefixes_of(1, 0xffff).len(), 16);
        assert!(prefixes_of(81, 80).is_empty());
    }

    proptest! {
        #[test]
        fn prefixes_cover_the_range_and_nothing_else(low: u16, high: u16, port: u16) {
            let prefixes = prefixes_of(low, high);
            prop_assert!(prefixes.len() <= 30);
            let within = low <= port && port <= high;
            let covering = prefixes.iter().filter(|(value, mask)| port & mask == *value).count();
            prop_assert_eq!(covering, usize::from(within));
        }
    }
}
