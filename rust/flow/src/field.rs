//! The packet fields that our flows match and set: one table with their wire headers, widths and names.
//!
//! A field's header is its OXM header as Open vSwitch itself writes it when dumping flows in OpenFlow 1.5, so that what
//! we send and what we read back compare as bytes. The order of the enum is the canonical order of the terms of a match;
//! it puts every field behind those it requires (`eth_type` before `ip_proto` before `tcp_dst`).

/// A field of a packet or of its metadata.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
#[allow(missing_docs)]
pub enum Field {
    TunId,
    TunDst,
    InPort,
    Reg0,
    Reg1,
    Reg2,
    Reg3,
    Reg4,
    Reg5,
    Reg6,
    Reg7,
    CtState,
    EthDst,
    EthSrc,
    EthType,
    VlanVid,
    IpProto,
    IpTtl,
    Ipv4Src,
    Ipv4Dst,
    Ipv6Src,
    Ipv6Dst,
    TcpSrc,
    TcpDst,
    UdpSrc,
    UdpDst,
    SctpSrc,
    SctpDst,
    Icmpv4Type,
    Icmpv4Code,
    Icmpv6Type,
    Icmpv6Code,
    NdTarget,
    ArpOp,
    ArpSpa,
    ArpTpa,
    ArpSha,
    ArpTha,
    CtProto,
    CtIpv4Src,
    CtIpv4Dst,
    CtIpv6Src,
    CtIpv6Dst,
    CtPortSrc,
    CtPortDst,
    XxReg1,
}

/// How a person writes a field's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// A decimal number.
    Number,
    /// A number in hexadecimal.
    Hex,
    /// A link-layer address.
    Mac,
    /// An IPv4 address.
    Ipv4,
    /// An IPv6 address.
    Ipv6,
}

/// What there is to know of one field.
#[derive(Clone, Copy, Debug)]
pub struct Spec {
    /// Which field.
    pub field: Field,
    /// The OXM class: 0x8000 for OpenFlow's own, 1 for Nicira's.
    pub class: u16,
    /// The number within its class.
    pub number: u8,
    /// Width in bytes.
    pub size_bytes: u8,
    /// As it is written in flow tables.
    pub name: &'static str,
    /// How its value is written.
    pub shape: Shape,
}

const OPENFLOW: u16 = 0x8000;
const NICIRA: u16 = 1;

const fn spec(field: Field, class: u16, number: u8, size_bytes: u8, name: &'static str, shape: Shape) -> Spec {
    Spec { field, class, number, size_bytes, name, shape }
}

/// Every field, in the order of the enum. Numbers from the OpenFlow 1.5.1 specification and ovs-fields(7).
pub const FIELDS: [Spec; 46] = [
    spec(Field::TunId, OPENFLOW, 38, 8, "tun_id", Shape::Number),
    spec(Field::TunDst, NICIRA, 32, 4, "tun_dst", Shape::Ipv4),
    spec(Field::InPort, OPENFLOW, 0, 4, "in_port", Shape::Number),
    spec(Field::Reg0, NICIRA, 0, 4, "reg0", Shape::Number),
    spec(Field::Reg1, NICIRA, 1, 4, "reg1", Shape::Number),
    spec(Field::Reg2, NICIRA, 2, 4, "reg2", Shape::Number),
    spec(Field::Reg3, NICIRA, 3, 4, "reg3", Shape::Hex),
    spec(Field::Reg4, NICIRA, 4, 4, "reg4", Shape::Number),
    spec(Field::Reg5, NICIRA, 5, 4, "reg5", Shape::Number),
    spec(Field::Reg6, NICIRA, 6, 4, "reg6", Shape::Number),
    spec(Field::Reg7, NICIRA, 7, 4, "reg7", Shape::Number),
    spec(Field::CtState, NICIRA, 105, 4, "ct_state", Shape::Hex),
    spec(Field::EthDst, OPENFLOW, 3, 6, "eth_dst", Shape::Mac),
    spec(Field::EthSrc, OPENFLOW, 4, 6, "eth_src", Shape::Mac),
    spec(Field::EthType, OPENFLOW, 5, 2, "eth_type", Shape::Hex),
    spec(Field::VlanVid, OPENFLOW, 6, 2, "vlan_vid", Shape::Hex),
    spec(Field::IpProto, OPENFLOW, 10, 1, "ip_proto", Shape::Number),
    spec(Field::IpTtl, NICIRA, 29, 1, "ip_ttl", Shape::Number),
    spec(Field::Ipv4Src, OPENFLOW, 11, 4, "ip_src", Shape::Ipv4),
    spec(Field::Ipv4Dst, OPENFLOW, 12, 4, "ip_dst", Shape::Ipv4),
    spec(Field::Ipv6Src, OPENFLOW, 26, 16, "ipv6_src", Shape::Ipv6),
    spec(Field::Ipv6Dst, OPENFLOW, 27, 16, "ipv6_dst", Shape::Ipv6),
    spec(Field::TcpSrc, OPENFLOW, 13, 2, "tcp_src", Shape::Number),
    spec(Field::TcpDst, OPENFLOW, 14, 2, "tcp_dst", Shape::Number),
    spec(Field::UdpSrc, OPENFLOW, 15, 2, "udp_src", Shape::Number),
    spec(Field::UdpDst, OPENFLOW, 16, 2, "udp_dst", Shape::Number),
    spec(Field::SctpSrc, OPENFLOW, 17, 2, "sctp_src", Shape::Number),
    spec(Field::SctpDst, OPENFLOW, 18, 2, "sctp_dst", Shape::Number),
    spec(Field::Icmpv4Type, OPENFLOW, 19, 1, "icmp_type", Shape::Number),
    spec(Field::Icmpv4Code, OPENFLOW, 20, 1, "icmp_code", Shape::Number),
    spec(Field::Icmpv6Type, OPENFLOW, 29, 1, "icmpv6_type", Shape::Number),
    spec(Field::Icmpv6Code, OPENFLOW, 30, 1, "icmpv6_code", Shape::Number),
    spec(Field::NdTarget, OPENFLOW, 31, 16, "nd_target", Shape::Ipv6),
    spec(Field::ArpOp, OPENFLOW, 21, 2, "arp_op", Shape::Number),
    spec(Field::ArpSpa, OPENFLOW, 22, 4, "arp_spa", Shape::Ipv4),
    spec(Field::ArpTpa, OPENFLOW, 23, 4, "arp_tpa", Shape::Ipv4),
    spec(Field::ArpSha, OPENFLOW, 24, 6, "arp_sha", Shape::Mac),
    spec(Field::ArpTha, OPENFLOW, 25, 6, "arp_tha", Shape::Mac),
    spec(Field::CtProto, NICIRA, 119, 1, "ct_proto", Shape::Number),
    spec(Field::CtIpv4Src, NICIRA, 120, 4, "ct_src", Shape::Ipv4),
    spec(Field::CtIpv4Dst, NICIRA, 121, 4, "ct_dst", Shape::Ipv4),
    spec(Field::CtIpv6Src, NICIRA, 122, 16, "ct_ipv6_src", Shape::Ipv6),
    spec(Field::CtIpv6Dst, NICIRA, 123, 16, "ct_ipv6_dst", Shape::Ipv6),
    spec(Field::CtPortSrc, NICIRA, 124, 2, "ct_port_src", Shape::Number),
    spec(Field::CtPortDst, NICIRA, 125, 2, "ct_port_dst", Shape::Number),
    spec(Field::XxReg1, NICIRA, 112, 16, "next_hop", Shape::Ipv6),
];

/// The fields of OpenFlow's class and of Nicira's, by number.
const BY_NUMBER: [[Option<Field>; 128]; 2] = {
    let mut found = [[None; 128]; 2];
    let mut row = 0;
    while row < FIELDS.len() {
        let spec = FIELDS[row];
        found[(spec.class == NICIRA) as usize][spec.number as usize] = Some(spec.field);
        row += 1;
    }
    found
};

impl Field {
    /// The field's row in [`FIELDS`].
    #[must_use]
    pub fn spec(self) -> &'static Spec {
        &FIELDS[self as usize]
    }

    /// The OXM header without a mask: class, number, length.
    #[must_use]
    pub fn header(self) -> u32 {
        let spec = self.spec();
        u32::from(spec.class) << 16 | u32::from(spec.number) << 9 | u32::from(spec.size_bytes)
    }

    /// The OXM header of a value followed by a mask.
    #[must_use]
    pub fn masked_header(self) -> u32 {
        let header = self.header();
        header & !0xff | 0x100 | (header & 0xff) << 1
    }

    /// The field that an OXM header (masked or not) names, if it is one of ours.
    #[must_use]
    pub fn from_header(header: u32) -> Option<Self> {
        let number = (header >> 9 & 0x7f) as usize;
        match (header >> 16) as u16 {
            OPENFLOW => BY_NUMBER[0][number],
            NICIRA => BY_NUMBER[1][number],
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_follows_the_enum() {
        for (index, spec) in FIELDS.iter().enumerate() {
            assert_eq!(spec.field as usize, index, "{}", spec.name);
            assert_eq!(Field::from_header(spec.field.header()), Some(spec.field));
            assert_eq!(Field::from_header(spec.field.masked_header()), Some(spec.field));
        }
    }

    #[test]
    fn headers_are_those_of_the_specification() {
        assert_eq!(Field::InPort.header(), 0x8000_0004);
        assert_eq!(Field::EthType.header(), 0x8000_0a02);
        assert_eq!(Field::Ipv4Src.masked_header(), 0x8000_1708);
        assert_eq!(Field::Reg0.header(), 0x0001_0004);
    }
}
