//! What a flow matches: a conjunction of terms, kept as the bytes that go over the wire.
//!
//! Terms stand in the order of [`Field`], each at most once, a mask only where it is partial, and no bit of a value outside its
//! mask. So two matches are the same match exactly if their bytes are equal: hashing, comparing and sending need no conversion.

use core::net::{Ipv4Addr, Ipv6Addr};

use smallvec::SmallVec;

use crate::field::Field;
use crate::wish::Mac;

/// Ethernet types that our flows name.
pub mod eth_type {
    #![allow(missing_docs)]
    pub const IPV4: u16 = 0x0800;
    pub const ARP: u16 = 0x0806;
    pub const IPV6: u16 = 0x86dd;
}

/// IP protocols that our flows name.
pub mod ip_proto {
    #![allow(missing_docs)]
    pub const ICMP: u8 = 1;
    pub const TCP: u8 = 6;
    pub const UDP: u8 = 17;
    pub const ICMPV6: u8 = 58;
    pub const SCTP: u8 = 132;
}

/// A match in canonical form. `Match::new()` matches every packet; each method narrows it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Match(SmallVec<[u8; 96]>);

/// One term of a match: a field, the value it must have, and the mask if it is partial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Term<'a> {
    /// The OXM header as it stands in the bytes.
    pub header: u32,
    /// The field, if it is one that we know.
    pub field: Option<Field>,
    /// The value, most significant byte first.
    pub value: &'a [u8],
    /// The mask, as long as the value; None for an exact match.
    pub mask: Option<&'a [u8]>,
}

/// Walks over the terms in OXM bytes; stops at the first that is cut off.
pub struct Terms<'a>(&'a [u8]);

impl<'a> Terms<'a> {
    /// The terms in `bytes`.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }
}

impl<'a> Iterator for Terms<'a> {
    type Item = Term<'a>;

    fn next(&mut self) -> Option<Term<'a>> {
        let (head, rest) = self.0.split_first_chunk::<4>()?;
        let header = u32::from_be_bytes(*head);
        let body = rest.get(..(header & 0xff) as usize)?;
        self.0 = &rest[body.len()..];
        let (value, mask) = if header & 0x100 == 0 {
            (body, None)
        } else {
            let (value, mask) = body.split_at(body.len() / 2);
            (value, Some(mask))
        };
        // A field of ours with a value of another size is none of ours.
        let is_whole = |field: &Field| {
            let size = usize::from(field.spec().size_bytes);
            value.len() == size && mask.is_none_or(|mask| mask.len() == size)
        };
        Some(Term { header, field: Field::from_header(header).filter(is_whole), value, mask })
    }
}

impl Match {
    /// Matches every packet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The canonical OXM bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Reads OXM bytes in any order, as a switch sends them, into canonical form. Fields that we don't know are kept, at the end; so is what is
    /// said of a field again, which no switch does.
    #[must_use]
    pub fn from_oxm(bytes: &[u8]) -> Self {
        let mut canonical = Self::new();
        let mut foreign: SmallVec<[Term<'_>; 4]> = SmallVec::new();
        for term in Terms::new(bytes) {
            canonical = match (term.field, term.mask) {
                (Some(field), _) if canonical.has(field) => {
                    foreign.push(term);
                    canonical
                }
                (Some(field), None) => canonical.insert(field, term.header, term.value, &[]),
                (Some(field), Some(mask)) => canonical.masked(field, term.value, mask),
                (None, _) => match canonical.with_register_pair(&term) {
                    Some(with) => with,
                    None => {
                        foreign.push(term);
                        canonical
                    }
                },
            };
        }
        foreign.sort_by_key(|term| term.header);
        for term in foreign {
            canonical.0.extend_from_slice(&term.header.to_be_bytes());
            canonical.0.extend_from_slice(term.value);
            canonical.0.extend_from_slice(term.mask.unwrap_or_default());
        }
        canonical
    }

    /// OpenFlow 1.5 has registers of 64 bits, each of which is two of Nicira's: Open vSwitch takes either and shows the wide ones.
    fn with_register_pair(&self, term: &Term<'_>) -> Option<Self> {
        const PACKET_REGISTERS: u32 = 0x8001;
        const PAIRS: [(Field, Field); 4] = [
            (Field::Reg0, Field::Reg1),
            (Field::Reg2, Field::Reg3),
            (Field::Reg4, Field::Reg5),
            (Field::Reg6, Field::Reg7),
        ];
        if term.header >> 16 != PACKET_REGISTERS
            || term.value.len() != 8
            || term.mask.is_some_and(|mask| mask.len() != 8)
        {
            return None;
        }
        let (high, low) = PAIRS.get((term.header >> 9 & 0x7f) as usize)?;
        if self.has(*high) || self.has(*low) {
            return None;
        }
        let mask = term.mask.unwrap_or(&[0xff; 8]);
        let halves = self.clone().masked(*high, &term.value[..4], &mask[..4]);
        Some(halves.masked(*low, &term.value[4..], &mask[4..]))
    }

    /// Narrows to packets whose `field` equals `value`, most significant byte first.
    #[must_use]
    pub fn exact(self, field: Field, value: &[u8]) -> Self {
        debug_assert_eq!(value.len(), usize::from(field.spec().size_bytes));
        self.insert(field, field.header(), value, &[])
    }

    /// Narrows to packets whose `field` equals `value` in the bits of `mask`. A mask of all ones or of none is as good as exact or nothing.
    #[must_use]
    pub fn masked(self, field: Field, value: &[u8], mask: &[u8]) -> Self {
        if mask.iter().all(|byte| *byte == 0xff) {
            return self.exact(field, value);
        }
        if mask.iter().all(|byte| *byte == 0) {
            return self;
        }
        let value: SmallVec<[u8; 16]> = value.iter().zip(mask).map(|(value, mask)| value & mask).collect();
        self.insert(field, field.masked_header(), &value, mask)
    }

    fn insert(mut self, field: Field, header: u32, value: &[u8], mask: &[u8]) -> Self {
        let at = self.place_of(field);
        if at == self.0.len() {
            self.0.extend_from_slice(&header.to_be_bytes());
            self.0.extend_from_slice(value);
            self.0.extend_from_slice(mask);
        } else {
            let mut term: SmallVec<[u8; 36]> = SmallVec::new();
            term.extend_from_slice(&header.to_be_bytes());
            term.extend_from_slice(value);
            term.extend_from_slice(mask);
            self.0.insert_from_slice(at, &term);
        }
        self
    }

    /// The same without a condition on `field`.
    #[must_use]
    pub fn without(&self, field: Field) -> Self {
        let mut wider = Self::new();
        for term in Terms::new(&self.0).filter(|term| term.field != Some(field)) {
            wider.0.extend_from_slice(&term.header.to_be_bytes());
            wider.0.extend_from_slice(term.value);
            wider.0.extend_from_slice(term.mask.unwrap_or_default());
        }
        wider
    }

    fn has(&self, field: Field) -> bool {
        Terms::new(&self.0).any(|term| term.field == Some(field))
    }

    /// Where a term of `field` belongs: behind every term of a field before it.
    fn place_of(&self, field: Field) -> usize {
        let mut at = 0;
        for term in Terms::new(&self.0) {
            if term.field.is_some_and(|present| present > field) {
                break;
            }
            debug_assert_ne!(term.field, Some(field), "a field is matched once");
            at += 4 + (term.header & 0xff) as usize;
        }
        at
    }

    /// A 32-bit field.
    #[must_use]
    pub fn u32(self, field: Field, value: u32) -> Self {
        self.exact(field, &value.to_be_bytes())
    }

    /// A 16-bit field.
    #[must_use]
    pub fn u16(self, field: Field, value: u16) -> Self {
        self.exact(field, &value.to_be_bytes())
    }

    /// An 8-bit field.
    #[must_use]
    pub fn u8(self, field: Field, value: u8) -> Self {
        self.exact(field, &[value])
    }

    /// Bits of a 32-bit field.
    #[must_use]
    pub fn bits(self, field: Field, value: u32, mask: u32) -> Self {
        self.masked(field, &value.to_be_bytes(), &mask.to_be_bytes())
    }

    /// Packets that came in by an OpenFlow port.
    #[must_use]
    pub fn in_port(self, port: u32) -> Self {
        self.u32(Field::InPort, port)
    }

    /// Packets from a link-layer address.
    #[must_use]
    pub fn eth_src(self, mac: Mac) -> Self {
        self.exact(Field::EthSrc, &mac.0)
    }

    /// Packets to a link-layer address.
    #[must_use]
    pub fn eth_dst(self, mac: Mac) -> Self {
        self.exact(Field::EthDst, &mac.0)
    }

    /// Packets of an Ethernet type.
    #[must_use]
    pub fn eth_type(self, value: u16) -> Self {
        self.u16(Field::EthType, value)
    }

    /// IPv4 packets.
    #[must_use]
    pub fn ipv4(self) -> Self {
        self.eth_type(eth_type::IPV4)
    }

    /// IPv6 packets.
    #[must_use]
    pub fn ipv6(self) -> Self {
        self.eth_type(eth_type::IPV6)
    }

    /// ARP packets.
    #[must_use]
    pub fn arp(self) -> Self {
        self.eth_type(eth_type::ARP)
    }

    /// Packets of an IP protocol; the Ethernet type must be matched as well.
    #[must_use]
    pub fn ip_proto(self, value: u8) -> Self {
        self.u8(Field::IpProto, value)
    }

    /// An IPv4 address field.
    #[must_use]
    pub fn v4(self, field: Field, ip: Ipv4Addr) -> Self {
        self.exact(field, &ip.octets())
    }

    /// An IPv6 address field.
    #[must_use]
    pub fn v6(self, field: Field, ip: Ipv6Addr) -> Self {
        self.exact(field, &ip.octets())
    }

    /// An address field, by prefix; `v4` and `v6` are the fields of either family.
    #[must_use]
    pub fn prefix(self, v4: Field, v6: Field, prefix: ipnet::IpNet) -> Self {
        match prefix {
            ipnet::IpNet::V4(net) => self.masked(v4, &net.network().octets(), &net.netmask().octets()),
            ipnet::IpNet::V6(net) => self.masked(v6, &net.network().octets(), &net.netmask().octets()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_of_building_does_not_matter() {
        let one = Match::new().in_port(3).ipv4().ip_proto(6).u16(Field::TcpDst, 80);
        let other = Match::new().u16(Field::TcpDst, 80).ip_proto(6).ipv4().in_port(3);
        assert_eq!(one, other);
        assert_eq!(Match::from_oxm(other.as_bytes()), one);
    }

    #[test]
    fn a_full_mask_is_none_and_an_empty_mask_no_term() {
        let exact = Match::new().bits(Field::Reg3, 5, u32::MAX);
        assert_eq!(exact, Match::new().u32(Field::Reg3, 5));
        assert_eq!(Match::new().bits(Field::Reg3, 5, 0), Match::new());
    }

    #[test]
    fn bits_outside_the_mask_vanish() {
        assert_eq!(Match::new().bits(Field::Reg3, 7, 1), Match::new().bits(Field::Reg3, 1, 1));
    }

    #[test]
    fn a_wide_register_is_two() {
        let mut wide = 0x8001_0110_u32.to_be_bytes().to_vec();
        wide.extend_from_slice(&[0, 0, 0, 7, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0]);
        assert_eq!(Match::from_oxm(&wide), Match::new().u32(Field::Reg0, 7));
        let mut both = 0x8001_0208_u32.to_be_bytes().to_vec();
        both.extend_from_slice(&[0, 0, 0, 7, 0, 0, 0, 1]);
        assert_eq!(Match::from_oxm(&both), Match::new().u32(Field::Reg2, 7).u32(Field::Reg3, 1));
    }

    #[test]
    fn what_is_said_again_is_kept_at_the_end() {
        let [one, other] = [7, 8].map(|value| Match::new().u32(Field::Reg0, value).as_bytes().to_vec());
        let both = Match::from_oxm(&[one.clone(), other.clone()].concat());
        assert_eq!(both.as_bytes(), [one, other].concat());
        assert_eq!(Match::from_oxm(both.as_bytes()), both);
    }

    #[test]
    fn cut_off_bytes_end_the_walk() {
        let bytes = Match::new().in_port(3).as_bytes().to_vec();
        assert_eq!(Terms::new(&bytes[..6]).count(), 0);
        assert_eq!(Terms::new(&[]).count(), 0);
    }
}
