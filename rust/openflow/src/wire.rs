//! OpenFlow 1.5 as bytes: the messages that we send, and ([`crate::reading`]) those that we receive, no more.
//!
//! Numbers and layouts from the OpenFlow 1.5.1 specification; `NX` from Open vSwitch's nicira-ext.h.

use ostro_flow::Change;
use ostro_flow::matches::Match;
use ostro_flow::program::Program;

use crate::group::GroupChange;

pub use crate::reading::{
    HeldFlow, Message, PacketIn, PortStatus, bundle_control, error, flow_dump, packet_in, port_status,
};

/// The version byte of OpenFlow 1.5.
pub const VERSION: u8 = 6;
/// Bytes of every message's header.
pub const HEADER_BYTES: usize = 8;
/// The cookie of every flow that is ours: "ostro" and three bytes to spare.
pub const COOKIE: u64 = 0x6f73_7472_6f00_0000;
/// The bits of a cookie that say whose a flow is.
pub const COOKIE_MASK: u64 = 0xffff_ffff_ff00_0000;

const NO_BUFFER: u32 = u32::MAX;
const ANY: u32 = u32::MAX;
const ALL_TABLES: u8 = 0xff;
const OXM: u16 = 1;
const NICIRA: u32 = 0x2320;
const NXT_CT_FLUSH_ZONE: u32 = 29;
const ALL_GROUPS: u32 = 0xffff_fffc;
pub(crate) const FLOW_DESC: u16 = 1;
pub(crate) const GROUP_DESC: u16 = 7;
pub(crate) const MORE: u16 = 1;

/// Message types.
pub mod kind {
    #![allow(missing_docs)]
    pub const HELLO: u8 = 0;
    pub const ERROR: u8 = 1;
    pub const ECHO_REQUEST: u8 = 2;
    pub const ECHO_REPLY: u8 = 3;
    pub const EXPERIMENTER: u8 = 4;
    pub const FEATURES_REQUEST: u8 = 5;
    pub const FEATURES_REPLY: u8 = 6;
    pub const SET_CONFIG: u8 = 9;
    pub const PACKET_IN: u8 = 10;
    pub const PORT_STATUS: u8 = 12;
    pub const PACKET_OUT: u8 = 13;
    pub const FLOW_MOD: u8 = 14;
    pub const GROUP_MOD: u8 = 15;
    pub const MULTIPART_REQUEST: u8 = 18;
    pub const MULTIPART_REPLY: u8 = 19;
    pub const BARRIER_REQUEST: u8 = 20;
    pub const BARRIER_REPLY: u8 = 21;
    pub const BUNDLE_CONTROL: u8 = 33;
    pub const BUNDLE_ADD: u8 = 34;
}

/// What a bundle control message says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
#[allow(missing_docs)]
pub enum Bundle {
    Open = 0,
    Opened = 1,
    Commit = 4,
    Committed = 5,
}

/// Apply in order, all at once.
const ATOMIC_ORDERED: u16 = 3;

/// Bytes on their way out.
#[derive(Default)]
pub struct Writer {
    bytes: Vec<u8>,
    sent: usize,
}

impl Writer {
    /// What is still to be sent.
    #[must_use]
    pub fn pending(&self) -> &[u8] {
        &self.bytes[self.sent..]
    }

    /// Says that `count` bytes of it have been sent.
    pub fn advance(&mut self, count: usize) {
        self.sent += count;
        if self.sent == self.bytes.len() {
            self.bytes.clear();
            self.bytes.shrink_to(1 << 20);
            self.sent = 0;
        }
    }

    fn message(&mut self, kind: u8, xid: u32, body: impl FnOnce(&mut Vec<u8>)) {
        let start = self.bytes.len();
        self.header(kind, xid);
        body(&mut self.bytes);
        set_length(&mut self.bytes, start);
    }

    fn header(&mut self, kind: u8, xid: u32) {
        self.bytes.extend_from_slice(&[VERSION, kind, 0, 0]);
        self.bytes.extend_from_slice(&xid.to_be_bytes());
    }

    /// The first message of either side, for OpenFlow 1.5 alone.
    pub fn hello(&mut self, xid: u32) {
        self.message(kind::HELLO, xid, |_| {});
    }

    /// Asks what the switch can do.
    pub fn features(&mut self, xid: u32) {
        self.message(kind::FEATURES_REQUEST, xid, |_| {});
    }

    /// Asks for packets to be sent up whole. Open vSwitch sends a connection like ours nothing unasked before this.
    pub fn set_config(&mut self, xid: u32) {
        self.message(kind::SET_CONFIG, xid, |out| out.extend_from_slice(&[0, 0, 0xff, 0xff]));
    }

    /// Asks whether the switch is there.
    pub fn echo(&mut self, xid: u32) {
        self.message(kind::ECHO_REQUEST, xid, |_| {});
    }

    /// Answers that we are.
    pub fn echo_reply(&mut self, xid: u32, payload: &[u8]) {
        self.message(kind::ECHO_REPLY, xid, |out| out.extend_from_slice(payload));
    }

    /// Asks for an answer when all before it is done.
    pub fn barrier(&mut self, xid: u32) {
        self.message(kind::BARRIER_REQUEST, xid, |_| {});
    }

    /// Opens or commits a bundle, atomic and in order.
    pub fn bundle(&mut self, xid: u32, id: u32, what: Bundle) {
        self.message(kind::BUNDLE_CONTROL, xid, |out| bundle_head(out, id, what as u16));
    }

    /// Puts what `message` writes, in the transaction that it is given, into a bundle.
    pub fn bundle_add(&mut self, xid: u32, id: u32, message: impl FnOnce(&mut Self, u32)) {
        let start = self.bytes.len();
        self.header(kind::BUNDLE_ADD, xid);
        bundle_head(&mut self.bytes, id, 0);
        message(self, xid);
        set_length(&mut self.bytes, start);
    }

    /// Changes one group.
    pub fn group_mod(&mut self, xid: u32, change: &GroupChange) {
        self.message(kind::GROUP_MOD, xid, |out| change.write(out));
    }

    /// Changes one flow.
    pub fn flow_mod(&mut self, xid: u32, change: &Change) {
        const ADD: u8 = 0;
        const DELETE_STRICT: u8 = 4;
        let (command, key, instructions, mask) = match change {
            // An add of a flow that is there replaces what it does and keeps its counters.
            Change::Add(flow) | Change::Modify(flow) => (ADD, &flow.key, Some(&flow.instructions), 0),
            Change::Remove(key) => (DELETE_STRICT, key, None, COOKIE_MASK),
        };
        self.message(kind::FLOW_MOD, xid, |out| {
            out.extend_from_slice(&COOKIE.to_be_bytes());
            out.extend_from_slice(&mask.to_be_bytes());
            out.extend_from_slice(&[key.table(), command, 0, 0, 0, 0]);
            out.extend_from_slice(&key.priority().to_be_bytes());
            for word in [NO_BUFFER, ANY, ANY, 0] {
                out.extend_from_slice(&word.to_be_bytes());
            }
            put_match(out, key.matches());
            out.extend_from_slice(instructions.map_or(&[], |instructions| instructions));
        });
    }

    /// Asks for every flow that is ours.
    pub fn dump_flows(&mut self, xid: u32) {
        self.message(kind::MULTIPART_REQUEST, xid, |out| {
            out.extend_from_slice(&FLOW_DESC.to_be_bytes());
            out.extend_from_slice(&[0; 6]);
            out.extend_from_slice(&[ALL_TABLES, 0, 0, 0]);
            out.extend_from_slice(&ANY.to_be_bytes());
            out.extend_from_slice(&ANY.to_be_bytes());
            out.extend_from_slice(&[0; 4]);
            out.extend_from_slice(&COOKIE.to_be_bytes());
            out.extend_from_slice(&COOKIE_MASK.to_be_bytes());
            put_match(out, &[]);
        });
    }

    /// Asks for every group.
    pub fn dump_groups(&mut self, xid: u32) {
        self.message(kind::MULTIPART_REQUEST, xid, |out| {
            out.extend_from_slice(&GROUP_DESC.to_be_bytes());
            out.extend_from_slice(&[0; 6]);
            out.extend_from_slice(&ALL_GROUPS.to_be_bytes());
            out.extend_from_slice(&[0; 4]);
        });
    }

    /// Has `frame`, which comes from us, done to what `program` says; its table to go on in doesn't count.
    pub fn packet_out(&mut self, xid: u32, program: &Program, frame: &[u8]) {
        let from = Match::new().in_port(ostro_flow::program::CONTROLLER);
        self.message(kind::PACKET_OUT, xid, |out| {
            out.extend_from_slice(&NO_BUFFER.to_be_bytes());
            out.extend_from_slice(&(program.actions().len() as u16).to_be_bytes());
            out.extend_from_slice(&[0; 2]);
            put_match(out, from.as_bytes());
            out.extend_from_slice(program.actions());
            out.extend_from_slice(frame);
        });
    }

    /// Forgets every connection of a tracking zone.
    pub fn flush_zone(&mut self, xid: u32, zone: u16) {
        self.message(kind::EXPERIMENTER, xid, |out| {
            out.extend_from_slice(&NICIRA.to_be_bytes());
            out.extend_from_slice(&NXT_CT_FLUSH_ZONE.to_be_bytes());
            out.extend_from_slice(&[0; 6]);
            out.extend_from_slice(&zone.to_be_bytes());
        });
    }
}

fn bundle_head(out: &mut Vec<u8>, id: u32, what: u16) {
    out.extend_from_slice(&id.to_be_bytes());
    out.extend_from_slice(&what.to_be_bytes());
    out.extend_from_slice(&ATOMIC_ORDERED.to_be_bytes());
}

fn set_length(bytes: &mut [u8], start: usize) {
    let length = (bytes.len() - start) as u16;
    bytes[start + 2..start + 4].copy_from_slice(&length.to_be_bytes());
}

fn put_match(out: &mut Vec<u8>, oxm: &[u8]) {
    let length = 4 + oxm.len();
    out.extend_from_slice(&OXM.to_be_bytes());
    out.extend_from_slice(&(length as u16).to_be_bytes());
    out.extend_from_slice(oxm);
    out.extend(std::iter::repeat_n(0, length.next_multiple_of(8) - length));
}

#[cfg(test)]
mod tests {
    use super::*;
    use ostro_flow::tables::Table;
    use ostro_flow::{Flow, Key};
    use proptest::prelude::*;

    fn flow() -> Flow {
        let mut instructions = Vec::new();
        Program::new().goto(Table::Guard).write(&mut instructions);
        Flow { key: Key::new(0, 100, &Match::new().in_port(7)), instructions: instructions.into() }
    }

    #[test]
    fn a_flow_mod_is_laid_out_as_specified() {
        let mut writer = Writer::default();
        writer.flow_mod(9, &Change::Add(flow()));
        let bytes = writer.pending();
        let (message, length) = Message::split(bytes).unwrap().unwrap();
        assert_eq!((message.kind, message.xid, length), (kind::FLOW_MOD, 9, bytes.len()));
        assert_eq!(bytes.len(), 8 + 40 + 16 + 8);
        assert_eq!(message.body[16..18], [0, 0]);
        assert_eq!(message.body[22..24], [0, 100]);
        assert_eq!(message.body[40..44], [0, 1, 0, 12]);
    }

    #[test]
    fn a_bundled_message_has_the_transaction_of_its_envelope() {
        let mut writer = Writer::default();
        writer.bundle_add(9, 3, |out, xid| out.flow_mod(xid, &Change::Remove(flow().key)));
        let (message, _) = Message::split(writer.pending()).unwrap().unwrap();
        let (inner, _) = Message::split(&message.body[8..]).unwrap().unwrap();
        assert_eq!((message.xid, inner.xid, inner.kind), (9, 9, kind::FLOW_MOD));
        assert_eq!(inner.body[17], 4);
    }

    #[test]
    fn sent_bytes_are_forgotten() {
        let mut writer = Writer::default();
        writer.hello(1);
        writer.advance(3);
        assert_eq!(writer.pending().len(), 5);
        writer.advance(5);
        writer.echo(2);
        assert_eq!(writer.pending().len(), 8);
    }

    #[test]
    fn a_dumped_flow_is_the_flow() {
        let flow = flow();
        let mut entry = vec![0, 0, 0, 0, 0, 0, 0, 100];
        entry.extend_from_slice(&[0; 16]);
        put_match(&mut entry, flow.key.matches());
        entry.extend_from_slice(&[0, 0, 0, 16]);
        entry.extend_from_slice(&0x8002_0808_u32.to_be_bytes());
        entry.extend_from_slice(&42_u64.to_be_bytes());
        entry.extend_from_slice(&flow.instructions);
        let length = entry.len() as u16;
        entry[..2].copy_from_slice(&length.to_be_bytes());
        let mut body = vec![0, 1, 0, 1, 0, 0, 0, 0];
        body.extend_from_slice(&entry);
        let mut flows = Vec::new();
        assert!(flow_dump(&body, &mut flows).unwrap());
        assert_eq!(flows, [HeldFlow { flow, packets: 42 }]);
    }

    #[test]
    fn another_version_is_refused() {
        assert!(Message::split(&[4, kind::ECHO_REQUEST, 0, 8, 0, 0, 0, 0]).is_err());
        assert!(Message::split(&[4, kind::HELLO, 0, 8, 0, 0, 0, 0]).is_ok());
        assert!(Message::split(&[6, 0, 0, 7, 0, 0, 0, 0]).is_err());
        assert_eq!(Message::split(&[6, 0, 0, 9, 0, 0, 0, 0]).unwrap(), None);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_stumble(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Message::split(&bytes);
            let _ = packet_in(&bytes);
            let _ = port_status(&bytes);
            let _ = bundle_control(&bytes);
            let _ = error(&bytes);
            let _ = flow_dump(&bytes, &mut Vec::new());
            let mut dump = vec![0, 1, 0, 0, 0, 0, 0, 0];
            dump.extend_from_slice(&bytes);
            let _ = flow_dump(&dump, &mut Vec::new());
        }
    }
}
