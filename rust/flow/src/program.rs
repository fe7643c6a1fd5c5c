//! What a flow does: a list of actions and the table to go on in, kept as the bytes that go over the wire.
//!
//! The encoding is the one that Open vSwitch gives back in a dump (OpenFlow 1.5 with Nicira's extensions), so that reading the
//! switch back compares bytes. See ovs-actions(7) for what each action does.

use core::net::{Ipv4Addr, Ipv6Addr};

use smallvec::SmallVec;

use crate::field::Field;
use crate::tables::Table;
use crate::wish::Mac;

const OUTPUT: u16 = 0;
const PUSH_VLAN: u16 = 17;
const POP_VLAN: u16 = 18;
const GROUP: u16 = 22;
const DEC_TTL: u16 = 24;
const SET_FIELD: u16 = 25;
const COPY_FIELD: u16 = 28;
const EXPERIMENTER: u16 = 0xffff;
const NICIRA: u32 = 0x2320;

const NX_RESUBMIT_TABLE: u16 = 14;
const NX_OUTPUT_REG: u16 = 15;
const NX_CT: u16 = 35;
const NX_LEARN: u16 = 16;
const NX_NAT: u16 = 36;
const NX_CT_CLEAR: u16 = 43;

const GOTO_TABLE: u16 = 1;
const APPLY_ACTIONS: u16 = 4;

/// The port that a packet came in by, as an output.
pub const IN_PORT: u32 = 0xffff_fff8;
/// The controller, as an output.
pub const CONTROLLER: u32 = 0xffff_fffd;
/// The whole packet to the controller.
const NO_BUFFER: u16 = 0xffff;
/// `ct` without going on in a table.
const NO_RECIRCULATION: u8 = 0xff;
/// The largest instruction list: an OpenFlow message has a 16-bit length, and match and header need room in it.
pub const SIZE_MOST_BYTES: usize = 60_000;

/// Which address or port a NAT action puts in place of the packet's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nat {
    /// Undo or repeat what the connection's first packet got.
    Restore,
    /// Replace the source, with a port out of the range if there is one.
    Source(Ipv4Addr, Option<(u16, u16)>),
    /// Replace the destination.
    Destination(Ipv4Addr),
}

/// Actions in order, then at most one table to go on in. `Program::new()` drops the packet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Program {
    actions: SmallVec<[u8; 192]>,
    goto: Option<Table>,
}

impl Program {
    /// Does nothing: drops.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Goes on in `table` when the actions are done.
    #[must_use]
    pub fn goto(mut self, table: Table) -> Self {
        self.goto = Some(table);
        self
    }

    /// Does what `next` does after this.
    #[must_use]
    pub fn then(mut self, next: Self) -> Self {
        self.actions.extend_from_slice(&next.actions);
        self.goto = next.goto;
        self
    }

    /// The actions as they stand in a packet-out.
    #[must_use]
    pub fn actions(&self) -> &[u8] {
        &self.actions
    }

    /// The instructions as they stand in a flow mod. Empty for a drop.
    pub fn write(&self, out: &mut Vec<u8>) {
        debug_assert!(self.actions.len() <= SIZE_MOST_BYTES, "{} bytes of actions", self.actions.len());
        if !self.actions.is_empty() {
            out.extend_from_slice(&APPLY_ACTIONS.to_be_bytes());
            out.extend_from_slice(&(8 + self.actions.len() as u16).to_be_bytes());
            out.extend_from_slice(&[0; 4]);
            out.extend_from_slice(&self.actions);
        }
        if let Some(table) = self.goto {
            out.extend_from_slice(&GOTO_TABLE.to_be_bytes());
            out.extend_from_slice(&[0, 8, table.number(), 0, 0, 0]);
        }
    }

    /// One action: type, length, body padded to a multiple of 8.
    fn action(mut self, kind: u16, body: &[u8]) -> Self {
        let padded = (4 + body.len()).next_multiple_of(8);
        self.actions.extend_from_slice(&kind.to_be_bytes());
        self.actions.extend_from_slice(&(padded as u16).to_be_bytes());
        self.actions.extend_from_slice(body);
        self.actions.extend(std::iter::repeat_n(0, padded - 4 - body.len()));
        self
    }

    fn nicira(self, subtype: u16, body: &[u8]) -> Self {
        let mut whole: SmallVec<[u8; 96]> = SmallVec::new();
        whole.extend_from_slice(&NICIRA.to_be_bytes());
        whole.extend_from_slice(&subtype.to_be_bytes());
        whole.extend_from_slice(body);
        self.action(EXPERIMENTER, &whole)
    }

    /// Sends the packet out of `port`.
    #[must_use]
    pub fn output(self, port: u32) -> Self {
        let mut body = [0; 12];
        body[..4].copy_from_slice(&port.to_be_bytes());
        if port == CONTROLLER {
            body[4..6].copy_from_slice(&NO_BUFFER.to_be_bytes());
        }
        self.action(OUTPUT, &body)
    }

    /// Gives the packet to a group of the switch.
    #[must_use]
    pub fn group(self, number: u32) -> Self {
        self.action(GROUP, &number.to_be_bytes())
    }

    /// Sends the packet out of the port whose number is in the low 16 bits of `field`.
    #[must_use]
    pub fn output_field(self, field: Field) -> Self {
        let mut body = [0; 14];
        body[..2].copy_from_slice(&15_u16.to_be_bytes());
        body[2..6].copy_from_slice(&field.header().to_be_bytes());
        body[6..8].copy_from_slice(&NO_BUFFER.to_be_bytes());
        self.nicira(NX_OUTPUT_REG, &body)
    }

    /// Sets `field` to `value`, most significant byte first.
    #[must_use]
    pub fn set(self, field: Field, value: &[u8]) -> Self {
        debug_assert_eq!(value.len(), usize::from(field.spec().size_bytes));
        let mut body: SmallVec<[u8; 20]> = SmallVec::new();
        body.extend_from_slice(&field.header().to_be_bytes());
        body.extend_from_slice(value);
        self.action(SET_FIELD, &body)
    }

    /// Sets a 32-bit field.
    #[must_use]
    pub fn set_u32(self, field: Field, value: u32) -> Self {
        self.set(field, &value.to_be_bytes())
    }

    /// Sets a 16-bit field.
    #[must_use]
    pub fn set_u16(self, field: Field, value: u16) -> Self {
        self.set(field, &value.to_be_bytes())
    }

    /// Sets the bits of a 32-bit field that `mask` has.
    #[must_use]
    pub fn set_bits(self, field: Field, value: u32, mask: u32) -> Self {
        let mut body = [0; 12];
        body[..4].copy_from_slice(&field.masked_header().to_be_bytes());
        body[4..8].copy_from_slice(&(value & mask).to_be_bytes());
        body[8..].copy_from_slice(&mask.to_be_bytes());
        self.action(SET_FIELD, &body)
    }

    /// Sets a link-layer address.
    #[must_use]
    pub fn set_mac(self, field: Field, mac: Mac) -> Self {
        self.set(field, &mac.0)
    }

    /// Sets an IPv4 address.
    #[must_use]
    pub fn set_v4(self, field: Field, ip: Ipv4Addr) -> Self {
        self.set(field, &ip.octets())
    }

    /// Sets an IPv6 address.
    #[must_use]
    pub fn set_v6(self, field: Field, ip: Ipv6Addr) -> Self {
        self.set(field, &ip.octets())
    }

    /// Copies one field to another of the same width.
    #[must_use]
    pub fn copy(self, from: Field, to: Field) -> Self {
        let mut body = [0; 16];
        body[..2].copy_from_slice(&(u16::from(from.spec().size_bytes) * 8).to_be_bytes());
        body[8..12].copy_from_slice(&from.header().to_be_bytes());
        body[12..].copy_from_slice(&to.header().to_be_bytes());
        self.action(COPY_FIELD, &body)
    }

    /// Looks the packet up in `table` too, does what is found there, and comes back; registers keep what was set there.
    #[must_use]
    pub fn call(self, table: Table) -> Self {
        self.nicira(NX_RESUBMIT_TABLE, &[0xff, 0xf8, table.number(), 0, 0, 0])
    }

    /// Tracks the packet in the zone that is in the low 16 bits of `zone`, and goes on in `table` with its state known.
    #[must_use]
    pub fn track(self, zone: Field, table: Table) -> Self {
        self.conntrack(0, zone, table.number(), &[])
    }

    /// Tracks like `track`, with the connection's address translation applied.
    #[must_use]
    pub fn track_nat(self, zone: Field, table: Table, nat: Nat) -> Self {
        self.conntrack(0, zone, table.number(), &nat_action(nat))
    }

    /// Commits the packet's connection to the zone.
    #[must_use]
    pub fn commit(self, zone: Field) -> Self {
        self.conntrack(1, zone, NO_RECIRCULATION, &[])
    }

    /// Commits the packet's connection with an address translation, and goes on in `table` with the packet translated.
    #[must_use]
    pub fn commit_nat(self, zone: Field, table: Table, nat: Nat) -> Self {
        self.conntrack(1, zone, table.number(), &nat_action(nat))
    }

    fn conntrack(self, flags: u16, zone: Field, table: u8, nested: &[u8]) -> Self {
        let mut body: SmallVec<[u8; 48]> = SmallVec::new();
        body.extend_from_slice(&flags.to_be_bytes());
        body.extend_from_slice(&zone.header().to_be_bytes());
        body.extend_from_slice(&15_u16.to_be_bytes());
        body.extend_from_slice(&[table, 0, 0, 0, 0, 0]);
        body.extend_from_slice(nested);
        self.nicira(NX_CT, &body)
    }

    /// Has the switch learn a flow by itself, in `learnt.table`, each time that a packet comes here.
    #[must_use]
    pub fn learn(self, learnt: &Learnt) -> Self {
        let mut body: SmallVec<[u8; 96]> = SmallVec::new();
        body.extend_from_slice(&0_u16.to_be_bytes());
        body.extend_from_slice(&learnt.hard_timeout_s.to_be_bytes());
        body.extend_from_slice(&learnt.priority.to_be_bytes());
        body.extend_from_slice(&LEARNT_COOKIE.to_be_bytes());
        body.extend_from_slice(&DELETE_LEARNT.to_be_bytes());
        body.extend_from_slice(&[learnt.table.number(), 0, 0, 0, 0, 0]);
        for step in &learnt.steps {
            step.write(&mut body);
        }
        self.nicira(NX_LEARN, &body)
    }

    /// The packet has come in by no port, so that it may leave by the one that it did come in by.
    #[must_use]
    pub fn forget_port(self) -> Self {
        // The 16-bit field of OpenFlow 1.0, the one that may be set.
        self.action(SET_FIELD, &[0, 0, 0, 2, 0, 0])
    }

    /// Forgets what connection tracking found.
    #[must_use]
    pub fn untrack(self) -> Self {
        self.nicira(NX_CT_CLEAR, &[0; 6])
    }

    /// One hop less; a packet without hops left goes no further.
    #[must_use]
    pub fn dec_ttl(self) -> Self {
        self.action(DEC_TTL, &[0; 4])
    }

    /// Puts a VLAN tag on.
    #[must_use]
    pub fn push_vlan(self, vlan: u16) -> Self {
        self.action(PUSH_VLAN, &[0x81, 0, 0, 0]).set_u16(Field::VlanVid, vlan | VLAN_PRESENT)
    }

    /// Takes the VLAN tag off.
    #[must_use]
    pub fn pop_vlan(self) -> Self {
        self.action(POP_VLAN, &[0; 4])
    }
}

/// The cookie of flows that the switch has learnt: not ours to mend.
pub const LEARNT_COOKIE: u64 = 0x6f73_7472_6e00_0000;
/// Learnt flows go with the flow that learns.
const DELETE_LEARNT: u16 = 2;

/// A flow for the switch to learn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Learnt {
    /// In which table.
    pub table: Table,
    /// With which priority.
    pub priority: u16,
    /// For how long it stands.
    pub hard_timeout_s: u16,
    /// What it matches and does.
    pub steps: Vec<Learn>,
}

/// One part of a flow to learn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Learn {
    /// It matches `field` having this value.
    Match(Field, Vec<u8>),
    /// It matches `field` having the value that the second has in the packet at hand.
    MatchField(Field, Field),
    /// It sets the one to the value that the other has in the packet at hand.
    Set(Field, Field),
    /// It sets one bit of `field`.
    SetBit(Field, u16),
}

/// The header by which Open vSwitch itself names a field in what it learns: Nicira's (nicira-ext.h), even where OpenFlow has its own.
fn nicira_header(field: Field) -> u32 {
    match field {
        Field::EthDst => 0x0000_0206,
        Field::EthSrc => 0x0000_0406,
        Field::EthType => 0x0000_0602,
        Field::ArpSpa => 0x0000_2004,
        Field::ArpSha => 0x0001_2206,
        Field::NdTarget => 0x0001_2e10,
        other => other.header(),
    }
}

impl Learn {
    fn write(&self, out: &mut SmallVec<[u8; 96]>) {
        const IMMEDIATE: u16 = 1 << 13;
        const LOAD: u16 = 1 << 11;
        let field = |out: &mut SmallVec<[u8; 96]>, field: Field, bit: u16| {
            out.extend_from_slice(&nicira_header(field).to_be_bytes());
            out.extend_from_slice(&bit.to_be_bytes());
        };
        let bits = |field: Field| u16::from(field.spec().size_bytes) * 8;
        match self {
            Self::Match(to, value) => {
                out.extend_from_slice(&(bits(*to) | IMMEDIATE).to_be_bytes());
                out.extend_from_slice(value);
                field(out, *to, 0);
            }
            Self::MatchField(to, from) => {
                out.extend_from_slice(&bits(*to).to_be_bytes());
                field(out, *from, 0);
                field(out, *to, 0);
            }
            Self::Set(to, from) => {
                out.extend_from_slice(&(bits(*to) | LOAD).to_be_bytes());
                field(out, *from, 0);
                field(out, *to, 0);
            }
            Self::SetBit(to, bit) => {
                out.extend_from_slice(&(1 | IMMEDIATE | LOAD).to_be_bytes());
                out.extend_from_slice(&[0, 1]);
                field(out, *to, *bit);
            }
        }
    }
}

/// The bit of `vlan_vid` that says that there is a tag.
pub const VLAN_PRESENT: u16 = 0x1000;

fn nat_action(nat: Nat) -> SmallVec<[u8; 32]> {
    const SOURCE: u16 = 1;
    const DESTINATION: u16 = 2;
    const IPV4_MIN: u16 = 1;
    const PORTS: u16 = 1 << 4 | 1 << 5;
    let (flags, present, ip, ports) = match nat {
        Nat::Restore => (0, 0, None, None),
        Nat::Source(ip, ports) => (SOURCE, if ports.is_some() { IPV4_MIN | PORTS } else { IPV4_MIN }, Some(ip), ports),
        Nat::Destination(ip) => (DESTINATION, IPV4_MIN, Some(ip), None),
    };
    let mut body: SmallVec<[u8; 32]> = SmallVec::new();
    body.extend_from_slice(&NICIRA.to_be_bytes());
    body.extend_from_slice(&NX_NAT.to_be_bytes());
    body.extend_from_slice(&[0; 2]);
    body.extend_from_slice(&flags.to_be_bytes());
    body.extend_from_slice(&present.to_be_bytes());
    body.extend(ip.into_iter().flat_map(|ip| ip.octets()));
    body.extend(ports.into_iter().flat_map(|(low, high)| [low.to_be_bytes(), high.to_be_bytes()]).flatten());
    let padded = (4 + body.len()).next_multiple_of(8);
    let mut action: SmallVec<[u8; 32]> = SmallVec::new();
    action.extend_from_slice(&EXPERIMENTER.to_be_bytes());
    action.extend_from_slice(&(padded as u16).to_be_bytes());
    action.extend_from_slice(&body);
    action.resize(padded, 0);
    action
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(program: &Program) -> Vec<u8> {
        let mut out = Vec::new();
        program.write(&mut out);
        out
    }

    #[test]
    fn a_drop_is_no_instruction() {
        assert!(bytes(&Program::new()).is_empty());
    }

    #[test]
    fn every_action_is_padded_to_eight_bytes() {
        let program = Program::new()
            .output(7)
            .output_field(Field::Reg2)
            .set_mac(Field::EthSrc, Mac([2, 0, 0, 0, 0, 1]))
            .set_bits(Field::Reg3, 1, 3)
            .copy(Field::ArpSpa, Field::ArpTpa)
            .call(Table::Rules)
            .track(Field::Reg0, Table::SendFilter)
            .commit_nat(Field::Reg0, Table::Deliver, Nat::Source(Ipv4Addr::LOCALHOST, Some((1024, 65535))))
            .untrack()
            .dec_ttl()
            .push_vlan(5)
            .pop_vlan();
        let actions = &program.actions;
        let mut at = 0;
        while at < actions.len() {
            let length = usize::from(u16::from_be_bytes([actions[at + 2], actions[at + 3]]));
            assert!(length >= 8 && length % 8 == 0);
            at += length;
        }
        assert_eq!(at, actions.len());
    }

    #[test]
    fn goto_follows_the_actions() {
        let out = bytes(&Program::new().output(1).goto(Table::Output));
        assert_eq!(out.len(), 8 + 16 + 8);
        assert_eq!(out[24..26], [0, 1]);
        assert_eq!(out[28], Table::Output.number());
    }
}
