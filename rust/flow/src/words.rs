//! Flows as a person reads them: tables, ports, networks and groups by name, registers by what they hold.
//!
//! Reads bytes as they come from a switch: what it doesn't know it shows in hexadecimal, and it never fails.

use core::net::{Ipv4Addr, Ipv6Addr};
use std::fmt::Write;

use rustc_hash::FxHashMap;

use crate::field::{Field, Shape};
use crate::ledger::{Flow, Key};
use crate::matches::{Term, Terms};
use crate::numbers::NumberOf;
use crate::program;
use crate::tables::{Table, ct_state, flag, register};
use crate::view::View;
use crate::wish::Mac;

/// Gives names to numbers.
pub trait Lexicon {
    /// The name of an OpenFlow port.
    fn port(&self, number: u32) -> String;
    /// The name of a network.
    fn network(&self, number: u32) -> String;
    /// The name of a security group.
    fn group(&self, number: u32) -> String;
    /// The name of the router of a tracking zone.
    fn router(&self, zone: u32) -> String;
}

/// Numbers only.
pub struct NoNames;

impl Lexicon for NoNames {
    fn port(&self, number: u32) -> String {
        number.to_string()
    }

    fn network(&self, number: u32) -> String {
        number.to_string()
    }

    fn group(&self, number: u32) -> String {
        number.to_string()
    }

    fn router(&self, zone: u32) -> String {
        zone.to_string()
    }
}

/// The names that the wishes give.
#[derive(Clone, Debug, Default)]
pub struct Names {
    ports: FxHashMap<u32, String>,
    networks: FxHashMap<u32, String>,
    groups: FxHashMap<u32, String>,
    routers: FxHashMap<u32, String>,
}

impl Names {
    pub(crate) fn of(view: &View) -> Self {
        let mut names = Self::default();
        for (id, number) in &view.bound {
            let name = view.ports.get(id).map_or_else(|| id.to_string(), |port| port.tap.clone());
            names.ports.insert(*number, name);
        }
        let uplinks = &view.uplinks;
        let known = [("vxlan", uplinks.vxlan), ("gre", uplinks.gre), ("geneve", uplinks.geneve)];
        let known = known.into_iter().chain([("metadata", uplinks.metadata.map(|metadata| metadata.port))]);
        names.ports.extend(known.filter_map(|(name, number)| Some((number?, name.to_owned()))));
        names.ports.extend(uplinks.physical.iter().map(|(name, number)| (*number, name.clone())));
        for network in view.networks.values() {
            if let Some(number) = view.numbers.networks.get(&network.id) {
                names.networks.insert(number, network.name.clone());
            }
        }
        for router in view.routers.values() {
            if let Some(zone) = view.numbers.zone_of(&router.id) {
                names.routers.insert(zone, router.name.clone());
            }
        }
        for (kind, id, number) in view.numbers.pairs() {
            if kind != NumberOf::Group {
                continue;
            }
            if let Some(group) = view.groups.get(&id) {
                names.groups.insert(number, format!("{}({:.8})", group.name, id));
            } else {
                names.groups.insert(number, format!("{id:.8}"));
            }
        }
        names
    }
}

fn named(names: &FxHashMap<u32, String>, number: u32) -> String {
    names.get(&number).filter(|name| !name.is_empty()).cloned().unwrap_or_else(|| number.to_string())
}

impl Lexicon for Names {
    fn port(&self, number: u32) -> String {
        named(&self.ports, number)
    }

    fn network(&self, number: u32) -> String {
        named(&self.networks, number)
    }

    fn group(&self, number: u32) -> String {
        named(&self.groups, number)
    }

    fn router(&self, zone: u32) -> String {
        named(&self.routers, zone)
    }
}

/// A flow in words: table number and name, priority, match, actions, packets.
pub type FlowInWords = (u8, String, u16, String, String, u64);

/// Says a flow in words.
#[must_use]
pub fn in_words(flow: &Flow, packets: u64, names: &impl Lexicon) -> FlowInWords {
    let key = &flow.key;
    let table = Table::name_of(key.table()).to_owned();
    (
        key.table(),
        table,
        key.priority(),
        matches(key.matches(), names),
        instructions(&flow.instructions, names),
        packets,
    )
}

/// Table, priority and match of a flow in one line.
#[must_use]
pub fn key(key: &Key, names: &impl Lexicon) -> String {
    format!("{}:{} {}", Table::name_of(key.table()), key.priority(), matches(key.matches(), names))
}

/// What a flow matches; "any" for everything.
#[must_use]
pub fn matches(bytes: &[u8], names: &impl Lexicon) -> String {
    let terms: Vec<String> = Terms::new(bytes).map(|term| term_words(&term, names)).collect();
    if terms.is_empty() { "any".to_owned() } else { terms.join(" ") }
}

fn term_words(term: &Term<'_>, names: &impl Lexicon) -> String {
    let Some(field) = term.field else { return format!("{:#010x}={}", term.header, hex(term.value)) };
    if term.mask.is_none()
        && let Some(words) = known_value(field, term.value)
    {
        return words.to_owned();
    }
    assignment(field, term.value, term.mask, names)
}

/// Ethernet types and protocols say themselves.
fn known_value(field: Field, value: &[u8]) -> Option<&'static str> {
    match (field, number(value)) {
        (Field::EthType, 0x0800) => Some("ip"),
        (Field::EthType, 0x86dd) => Some("ipv6"),
        (Field::EthType, 0x0806) => Some("arp"),
        (Field::IpProto, 1) => Some("icmp"),
        (Field::IpProto, 6) => Some("tcp"),
        (Field::IpProto, 17) => Some("udp"),
        (Field::IpProto, 58) => Some("icmpv6"),
        (Field::IpProto, 132) => Some("sctp"),
        (Field::VlanVid, 0) => Some("untagged"),
        _ => None,
    }
}

fn assignment(field: Field, value: &[u8], mask: Option<&[u8]>, names: &impl Lexicon) -> String {
    let word = number(value) as u32;
    match field {
        Field::InPort => format!("from={}", names.port(word)),
        register::NETWORK => format!("network={}", names.network(word)),
        register::ROUTER => format!("router={}", names.router(word)),
        register::NEXT_HOP if mask.is_none() => format!("next_hop={}", Ipv4Addr::from(word)),
        register::OUT => format!("to={}", names.port(word)),
        register::PART => format!("part={word}"),
        register::GROUP => {
            let direction = if word & 1 == 0 { "ingress" } else { "egress" };
            format!("group={}.{direction}", names.group(word >> 1))
        }
        register::REMOTE if word == 0 => "remote=any".to_owned(),
        register::REMOTE => {
            let side = ["opener", "opened", "source", "destination"][(word & 3) as usize];
            format!("remote={}.{side}", names.group(word >> 2))
        }
        register::FLAGS => format!("flags={}", bits(word, mask, &FLAG_NAMES)),
        Field::CtState => format!("ct={}", bits(word, mask, &CT_NAMES)),
        _ => {
            let spec = field.spec();
            let shaped = shape(spec.shape, value);
            match mask {
                None => format!("{}={shaped}", spec.name),
                Some(mask) => match prefix_len(spec.shape, mask) {
                    Some(length) => format!("{}={shaped}/{length}", spec.name),
                    None => format!("{}={shaped}/{:#x}", spec.name, number(mask)),
                },
            }
        }
    }
}

const FLAG_NAMES: [(u32, &str); 4] = [
    (flag::FROM_HOST, "from-host"),
    (flag::ALLOWED, "allowed"),
    (flag::COMMIT, "commit"),
    (flag::RESOLVED, "resolved"),
];
const CT_NAMES: [(u32, &str); 6] = [
    (ct_state::NEW, "new"),
    (ct_state::ESTABLISHED, "est"),
    (ct_state::RELATED, "rel"),
    (ct_state::REPLY, "rpl"),
    (ct_state::INVALID, "inv"),
    (ct_state::TRACKED, "trk"),
];

/// Bits by name, each with whether it is to be there.
fn bits(value: u32, mask: Option<&[u8]>, names: &[(u32, &str)]) -> String {
    let mask = mask.map_or(u32::MAX, |mask| number(mask) as u32);
    let mut words = String::new();
    for (bit, name) in names.iter().filter(|(bit, _)| mask & bit != 0) {
        words.push(if value & bit == 0 { '-' } else { '+' });
        words.push_str(name);
    }
    words
}

fn number(value: &[u8]) -> u128 {
    value.iter().take(16).fold(0, |number, byte| number << 8 | u128::from(*byte))
}

fn hex(value: &[u8]) -> String {
    let mut words = String::from("0x");
    for byte in value {
        let _ = write!(words, "{byte:02x}");
    }
    words
}

fn shape(shape: Shape, value: &[u8]) -> String {
    match (shape, value.len()) {
        (Shape::Ipv4, 4) => Ipv4Addr::from(number(value) as u32).to_string(),
        (Shape::Ipv6, 16) => Ipv6Addr::from(number(value)).to_string(),
        (Shape::Mac, 6) => {
            let mut octets = [0; 6];
            octets.copy_from_slice(value);
            Mac(octets).to_string()
        }
        (Shape::Hex, _) => format!("{:#x}", number(value)),
        _ => number(value).to_string(),
    }
}

fn prefix_len(shape: Shape, mask: &[u8]) -> Option<u32> {
    if !matches!(shape, Shape::Ipv4 | Shape::Ipv6) {
        return None;
    }
    let ones: u32 = mask.iter().map(|byte| byte.count_ones()).sum();
    let leading = mask.len() as u32 * 8 - number(mask).trailing_zeros().min(mask.len() as u32 * 8);
    (ones == leading).then_some(ones)
}

/// What a flow does; "drop" for nothing.
#[must_use]
pub fn instructions(bytes: &[u8], names: &impl Lexicon) -> String {
    let mut words = Vec::new();
    for (kind, body) in Blocks(bytes) {
        match (kind, body) {
            (4, [_, _, _, _, actions @ ..]) => {
                words.push(self::actions(actions, names));
            }
            (1, [table, ..]) => words.push(format!("goto {}", table_name(*table))),
            _ => words.push(format!("instruction {kind} {}", hex(body))),
        }
    }
    if words.is_empty() { "drop".to_owned() } else { words.join(", ") }
}

/// What actions do, in order.
#[must_use]
pub fn actions(bytes: &[u8], names: &impl Lexicon) -> String {
    let words: Vec<String> = Blocks(bytes).map(|(kind, body)| action(kind, body, names)).collect();
    words.join(", ")
}

/// Walks over instructions or actions: type, length of the whole, body.
struct Blocks<'a>(&'a [u8]);

impl<'a> Iterator for Blocks<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let [a, b, c, d] = *self.0.first_chunk()?;
        let length = usize::from(u16::from_be_bytes([c, d]));
        let body = self.0.get(4..length)?;
        self.0 = &self.0[length..];
        Some((u16::from_be_bytes([a, b]), body))
    }
}

fn table_name(number: u8) -> String {
    match Table::name_of(number) {
        "" => number.to_string(),
        name => name.to_owned(),
    }
}

fn action(kind: u16, body: &[u8], names: &impl Lexicon) -> String {
    let shown = match kind {
        0 => output(body, names),
        17 => Some("push vlan".to_owned()),
        18 => Some("pop vlan".to_owned()),
        22 => body.first_chunk().map(|number| format!("group {:#x}", u32::from_be_bytes(*number))),
        24 => Some("ttl-1".to_owned()),
        25 if body.starts_with(&[0, 0, 0, 2]) => Some("forget port".to_owned()),
        25 => set_field(body, names),
        28 => copy_field(body),
        0xffff => nicira(body, names),
        _ => None,
    };
    shown.unwrap_or_else(|| format!("action {kind} {}", hex(body)))
}

fn output(body: &[u8], names: &impl Lexicon) -> Option<String> {
    Some(match u32::from_be_bytes(*body.first_chunk()?) {
        program::IN_PORT => "answer".to_owned(),
        program::CONTROLLER => "to controller".to_owned(),
        port => format!("output {}", names.port(port)),
    })
}

fn set_field(body: &[u8], names: &impl Lexicon) -> Option<String> {
    let term = Terms::new(body).next()?;
    Some(format!("set {}", assignment(term.field?, term.value, term.mask, names)))
}

fn copy_field(body: &[u8]) -> Option<String> {
    let name = |at: usize| {
        let header = u32::from_be_bytes(*body.get(at..)?.first_chunk()?);
        Some(match Field::from_header(header)? {
            register::OUT => "aside",
            field => field.spec().name,
        })
    };
    Some(format!("copy {} to {}", name(8)?, name(12)?))
}

fn nicira(body: &[u8], names: &impl Lexicon) -> Option<String> {
    let [_, _, _, _, high, low, rest @ ..] = body else { return None };
    match (u16::from_be_bytes([*high, *low]), rest) {
        (14, [_, _, table, ..]) => Some(format!("call {}", table_name(*table))),
        (15, _) => Some("output to".to_owned()),
        (16, [_, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, table, ..]) => {
            Some(format!("learn {}", table_name(*table)))
        }
        (35, [_, flags, _, _, _, _, _, _, table, _, _, _, _, _, nested @ ..]) => {
            let verb = if flags & 1 == 0 { "track" } else { "commit" };
            let nat: String = Blocks(nested).map(|(kind, body)| format!(" {}", action(kind, body, names))).collect();
            let then = if *table == 0xff { String::new() } else { format!(" then {}", table_name(*table)) };
            Some(format!("{verb}{nat}{then}"))
        }
        (36, [_, _, _, flags, _, present, range @ ..]) => Some(nat(*flags, *present, range)),
        (43, _) => Some("untrack".to_owned()),
        _ => None,
    }
}

fn nat(flags: u8, present: u8, range: &[u8]) -> String {
    let mut words = match flags & 3 {
        1 => "source".to_owned(),
        2 => "destination".to_owned(),
        _ => return "nat".to_owned(),
    };
    if present & 1 != 0
        && let Some(ip) = range.first_chunk::<4>()
    {
        let _ = write!(words, "={}", Ipv4Addr::from(*ip));
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::matches::Match;
    use crate::program::{Nat, Program};
    use proptest::prelude::*;

    fn does(program: &Program) -> String {
        let mut bytes = Vec::new();
        program.write(&mut bytes);
        instructions(&bytes, &NoNames)
    }

    #[test]
    fn a_match_reads_as_a_line() {
        let rule = Match::new()
            .u32(register::GROUP, 7)
            .u32(register::REMOTE, 4 << 2)
            .bits(Field::CtState, 0x20, 0x30)
            .ipv4()
            .u8(Field::CtProto, 6)
            .u16(Field::CtPortDst, 80);
        let words = matches(rule.as_bytes(), &NoNames);
        assert_eq!(words, "group=3.egress remote=4.opener ct=-inv+trk ip ct_proto=6 ct_port_dst=80");
        assert_eq!(matches(&[], &NoNames), "any");
        let net = Match::new().ipv4().masked(Field::Ipv4Src, &[10, 0, 0, 0], &[255, 0, 0, 0]);
        assert_eq!(matches(net.as_bytes(), &NoNames), "ip ip_src=10.0.0.0/8");
    }

    #[test]
    fn actions_read_in_order() {
        let program = Program::new()
            .set_u32(register::NETWORK, 5)
            .set_bits(register::FLAGS, 1, 1)
            .copy(Field::ArpSpa, Field::ArpTpa)
            .call(Table::Rules)
            .track(register::NETWORK, Table::SendFilter)
            .commit(register::NETWORK)
            .commit_nat(register::NETWORK, Table::Deliver, Nat::Source(Ipv4Addr::LOCALHOST, None))
            .output_field(register::OUT)
            .output(program::IN_PORT)
            .output(3)
            .group(0x6f73_0001)
            .goto(Table::Guard);
        assert_eq!(
            does(&program),
            "set network=5, set flags=+from-host, copy arp_spa to arp_tpa, call rules, track then send-filter, commit, \
             commit source=127.0.0.1 then deliver, output to, answer, output 3, group 0x6f730001, goto guard"
        );
        assert_eq!(does(&Program::new()), "drop");
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_stumble(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            let _ = matches(&bytes, &NoNames);
            let _ = instructions(&bytes, &NoNames);
            let mut nested = vec![0, 4, 0, 8 + bytes.len() as u8, 0, 0, 0, 0];
            nested.extend_from_slice(&bytes);
            let _ = instructions(&nested, &NoNames);
            for action in [0, 22, 24, 25, 28, 0xffff] {
                let _ = super::action(action, &bytes, &NoNames);
            }
        }
    }
}
