//! IPv6 in Ethernet: UDP and ICMPv6, as much of them as our answers need.

use core::net::Ipv6Addr;

use crate::packet::{ETHERNET_BYTES, fold, sum, take};
use crate::wish::Mac;

const IPV6_BYTES: usize = 40;
const UDP_BYTES: usize = 8;
const UDP: u8 = 17;
const ICMPV6: u8 = 58;
/// Neighbour discovery is believed only from the link itself (RFC 4861, 7.1).
pub const ON_LINK_HOPS: u8 = 255;
const HOPS: u8 = 64;

/// A packet without extension headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet6<'a> {
    /// From which card.
    pub eth_src: Mac,
    /// To which card.
    pub eth_dst: Mac,
    /// From which address.
    pub ip_src: Ipv6Addr,
    /// To which address.
    pub ip_dst: Ipv6Addr,
    /// The rest: an UDP datagram or an ICMPv6 message with its header.
    pub payload: &'a [u8],
}

/// An UDP datagram in such a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Udp<'a> {
    /// From which port.
    pub src: u16,
    /// To which port.
    pub dst: u16,
    /// What it says.
    pub payload: &'a [u8],
}

impl<'a> Packet6<'a> {
    /// Reads an untagged frame with `protocol` right behind the header; None if it is anything else or cut off.
    fn parse(frame: &'a [u8], protocol: u8) -> Option<Self> {
        if take(frame, 12)? != [0x86, 0xdd] {
            return None;
        }
        let ip = frame.get(ETHERNET_BYTES..)?;
        let [version] = take(ip, 0)?;
        if version >> 4 != 6 || take(ip, 6)? != [protocol] {
            return None;
        }
        let payload_bytes = usize::from(u16::from_be_bytes(take(ip, 4)?));
        Some(Self {
            eth_dst: Mac(take(frame, 0)?),
            eth_src: Mac(take(frame, 6)?),
            ip_src: take::<16>(ip, 8)?.into(),
            ip_dst: take::<16>(ip, 24)?.into(),
            payload: ip.get(IPV6_BYTES..IPV6_BYTES + payload_bytes)?,
        })
    }

    /// Reads an UDP datagram.
    #[must_use]
    pub fn parse_udp(frame: &'a [u8]) -> Option<(Self, Udp<'a>)> {
        let packet = Self::parse(frame, UDP)?;
        let udp = packet.payload;
        let length = usize::from(u16::from_be_bytes(take(udp, 4)?));
        let (src, dst) = (u16::from_be_bytes(take(udp, 0)?), u16::from_be_bytes(take(udp, 2)?));
        Some((packet, Udp { src, dst, payload: udp.get(UDP_BYTES..length)? }))
    }

    /// Reads an ICMPv6 message.
    #[must_use]
    pub fn parse_icmp(frame: &'a [u8]) -> Option<Self> {
        Self::parse(frame, ICMPV6)
    }

    /// The frame of an ICMPv6 message, whose checksum is filled in. At most 65,535 bytes of payload.
    #[must_use]
    pub fn icmp_frame(&self, hops: u8) -> Vec<u8> {
        let mut frame = self.head(ICMPV6, hops, self.payload.len());
        let start = frame.len();
        frame.extend_from_slice(self.payload);
        let checksum = self.checksum(ICMPV6, &frame[start..]);
        frame[start + 2..start + 4].copy_from_slice(&checksum.to_be_bytes());
        frame
    }

    /// The frame of an UDP datagram; the packet's own payload is not looked at.
    #[must_use]
    pub fn udp_frame(&self, udp: &Udp<'_>) -> Vec<u8> {
        let length = UDP_BYTES + udp.payload.len();
        let mut frame = self.head(UDP, HOPS, length);
        let start = frame.len();
        for word in [udp.src, udp.dst, length as u16, 0] {
            frame.extend_from_slice(&word.to_be_bytes());
        }
        frame.extend_from_slice(udp.payload);
        let checksum = self.checksum(UDP, &frame[start..]);
        let checksum = if checksum == 0 { 0xffff } else { checksum };
        frame[start + 6..start + 8].copy_from_slice(&checksum.to_be_bytes());
        frame
    }

    fn head(&self, protocol: u8, hops: u8, payload_bytes: usize) -> Vec<u8> {
        let mut frame = Vec::with_capacity(ETHERNET_BYTES + IPV6_BYTES + payload_bytes);
        frame.extend_from_slice(&self.eth_dst.0);
        frame.extend_from_slice(&self.eth_src.0);
        frame.extend_from_slice(&[0x86, 0xdd, 0x60, 0, 0, 0]);
        frame.extend_from_slice(&(payload_bytes as u16).to_be_bytes());
        frame.extend_from_slice(&[protocol, hops]);
        frame.extend_from_slice(&self.ip_src.octets());
        frame.extend_from_slice(&self.ip_dst.octets());
        frame
    }

    /// The checksum over the pseudo header and `bytes` (RFC 8200, 8.1), whose own place for it is empty.
    fn checksum(&self, protocol: u8, bytes: &[u8]) -> u16 {
        let pseudo = sum(&self.ip_src.octets()) + sum(&self.ip_dst.octets()) + u32::from(protocol) + bytes.len() as u32;
        !fold(pseudo + sum(bytes))
    }
}

/// The group that the owner of an address listens to for questions about it (RFC 4291, 2.7.1), and its link-layer address.
#[must_use]
pub fn solicited_node(ip: Ipv6Addr) -> (Ipv6Addr, Mac) {
    let [.., a, b, c] = ip.octets();
    let group = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | u16::from(a), u16::from_be_bytes([b, c]));
    (group, Mac([0x33, 0x33, 0xff, a, b, c]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn packet(payload: &[u8]) -> Packet6<'_> {
        Packet6 {
            eth_src: Mac([2, 0, 0, 0, 0, 1]),
            eth_dst: Mac([2, 0, 0, 0, 0, 2]),
            ip_src: "fe80::1".parse().unwrap(),
            ip_dst: "ff02::1:2".parse().unwrap(),
            payload,
        }
    }

    #[test]
    fn the_solicited_node_is_made_of_the_last_three_octets() {
        let (group, mac) = solicited_node("fd00::12:3456".parse().unwrap());
        assert_eq!((group.to_string().as_str(), mac.to_string().as_str()), ("ff02::1:ff12:3456", "33:33:ff:12:34:56"));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_and_adds_up(payload in prop::collection::vec(any::<u8>(), 0..300)) {
            let udp = Udp { src: 546, dst: 547, payload: &payload };
            let frame = packet(&[]).udp_frame(&udp);
            let (read, said) = Packet6::parse_udp(&frame).unwrap();
            prop_assert_eq!(said, udp);
            prop_assert_eq!(read.checksum(UDP, read.payload), 0);
            let mut message = vec![133, 0, 0, 0];
            message.extend_from_slice(&payload);
            let frame = packet(&message).icmp_frame(ON_LINK_HOPS);
            let read = Packet6::parse_icmp(&frame).unwrap();
            prop_assert_eq!(read.checksum(ICMPV6, read.payload), 0);
            prop_assert_eq!(&read.payload[4..], &payload[..]);
        }

        #[test]
        fn any_bytes_are_survived(mut frame in prop::collection::vec(any::<u8>(), 0..120), protocol: bool) {
            let _ = (Packet6::parse_udp(&frame), Packet6::parse_icmp(&frame));
            if frame.len() > 24 {
                frame[12..15].copy_from_slice(&[0x86, 0xdd, 0x60]);
                frame[20] = if protocol { UDP } else { ICMPV6 };
                let _ = (Packet6::parse_udp(&frame), Packet6::parse_icmp(&frame));
            }
        }
    }
}
