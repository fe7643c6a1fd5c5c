//! The error that a router sends about a packet that has no hops left (RFC 792, 1812, 4443): what `traceroute` lives on.

use core::net::{Ipv4Addr, Ipv6Addr};

use crate::packet::{ETHERNET_BYTES, fold, sum, take};
use crate::packet6::Packet6;
use crate::wish::Mac;

const IPV4_BYTES: usize = 20;
const ICMP: u8 = 1;
const UDP: u8 = 17;
const TCP: u8 = 6;
const ICMPV6: u8 = 58;
const TIME_EXCEEDED: u8 = 11;
const TIME_EXCEEDED_V6: u8 = 3;
const HOPS: u8 = 64;
/// As much of the packet as the error may quote (RFC 1812, 4.3.2.3).
const QUOTED_MOST_BYTES: usize = 548;
/// The same of IPv6, that the whole fits 1,280 bytes (RFC 4443, 2.4).
const QUOTED_MOST_BYTES_V6: usize = 1_232;
const NOBODY: Mac = Mac([0; 6]);

/// The error about the IPv4 packet in `frame`, from `from`; its link-layer addresses are for the router to fill in. None for packets
/// that no error is sent about: errors themselves, fragments but the first, and what wasn't sent by one to one.
#[must_use]
pub fn ipv4(frame: &[u8], from: Ipv4Addr) -> Option<Vec<u8>> {
    let packet = frame.get(ETHERNET_BYTES..).filter(|_| frame.get(12..14) == Some(&[0x08, 0x00]))?;
    let [version] = take(packet, 0)?;
    let header_bytes = usize::from(version & 0xf) * 4;
    let offset = u16::from_be_bytes(take(packet, 6)?) & 0x1fff;
    let [protocol] = take(packet, 9)?;
    let (src, dst): (Ipv4Addr, Ipv4Addr) = (take::<4>(packet, 12)?.into(), take::<4>(packet, 16)?.into());
    let body = packet.get(header_bytes..)?;
    let pings = matches!(body.first(), Some(0 | 8));
    let told = matches!(protocol, UDP | TCP) || (protocol == ICMP && pings);
    let many = |ip: Ipv4Addr| ip.is_multicast() || ip.is_broadcast() || ip.is_unspecified() || ip.is_loopback();
    if version >> 4 != 4 || header_bytes < IPV4_BYTES || offset != 0 || !told || many(src) || many(dst) {
        return None;
    }
    let total_bytes = usize::from(u16::from_be_bytes(take(packet, 2)?));
    let packet = packet.get(..total_bytes)?;
    let mut said = vec![TIME_EXCEEDED, 0, 0, 0, 0, 0, 0, 0];
    said.extend_from_slice(&packet[..packet.len().min(QUOTED_MOST_BYTES)]);
    let checksum = !fold(sum(&said));
    said[2..4].copy_from_slice(&checksum.to_be_bytes());

    let mut head = [0; IPV4_BYTES];
    head[0] = 0x45;
    head[2..4].copy_from_slice(&((IPV4_BYTES + said.len()) as u16).to_be_bytes());
    head[8..10].copy_from_slice(&[HOPS, ICMP]);
    head[12..16].copy_from_slice(&from.octets());
    head[16..].copy_from_slice(&src.octets());
    let checksum = !fold(sum(&head));
    head[10..12].copy_from_slice(&checksum.to_be_bytes());
    Some([&[0; 12][..], &[0x08, 0x00], &head, &said].concat())
}

/// The same for IPv6.
#[must_use]
pub fn ipv6(frame: &[u8], from: Ipv6Addr) -> Option<Vec<u8>> {
    let packet = frame.get(ETHERNET_BYTES..).filter(|_| frame.get(12..14) == Some(&[0x86, 0xdd]))?;
    let [version] = take(packet, 0)?;
    let [protocol] = take(packet, 6)?;
    let (src, dst): (Ipv6Addr, Ipv6Addr) = (take::<16>(packet, 8)?.into(), take::<16>(packet, 24)?.into());
    let pings = matches!(take(packet, 40), Some([128 | 129]));
    let told = matches!(protocol, UDP | TCP) || (protocol == ICMPV6 && pings);
    if version >> 4 != 6 || !told || src.is_multicast() || src.is_unspecified() || dst.is_multicast() {
        return None;
    }
    let mut said = vec![TIME_EXCEEDED_V6, 0, 0, 0, 0, 0, 0, 0];
    said.extend_from_slice(&packet[..packet.len().min(QUOTED_MOST_BYTES_V6)]);
    let error = Packet6 { eth_src: NOBODY, eth_dst: NOBODY, ip_src: from, ip_dst: src, payload: &said };
    Some(error.icmp_frame(HOPS))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::Datagram;
    use crate::packet6::Udp;
    use proptest::prelude::*;

    const ROUTER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);

    fn datagram(ip_dst: Ipv4Addr) -> Vec<u8> {
        let (eth_src, ip_src) = (Mac([2, 0, 0, 0, 0, 1]), Ipv4Addr::new(10, 0, 0, 5));
        Datagram { eth_src, eth_dst: Mac([2; 6]), ip_src, ip_dst, src: 5, dst: 33434, payload: b"probe" }.to_frame()
    }

    #[test]
    fn the_error_quotes_the_packet() {
        let probe = datagram(Ipv4Addr::new(10, 2, 0, 9));
        let error = ipv4(&probe, ROUTER).unwrap();
        assert_eq!(fold(sum(&error[14..34])), 0xffff);
        assert_eq!(fold(sum(&error[34..])), 0xffff);
        assert_eq!((&error[26..30], &error[30..34]), (&[10, 0, 0, 1][..], &[10, 0, 0, 5][..]));
        assert_eq!(error[34], TIME_EXCEEDED);
        assert_eq!(error[42..], probe[14..]);
        assert!(ipv4(&error, ROUTER).is_none(), "no error about an error");
        assert!(ipv4(&datagram(Ipv4Addr::BROADCAST), ROUTER).is_none());
    }

    #[test]
    fn of_ipv6_too() {
        let ip = |text: &str| text.parse::<Ipv6Addr>().unwrap();
        let packet =
            Packet6 { eth_src: NOBODY, eth_dst: NOBODY, ip_src: ip("fd00::5"), ip_dst: ip("fd01::5"), payload: &[] };
        let probe = packet.udp_frame(&Udp { src: 5, dst: 33434, payload: b"probe" });
        let error = ipv6(&probe, ip("fd00::1")).unwrap();
        let read = Packet6::parse_icmp(&error).unwrap();
        assert_eq!((read.ip_src, read.ip_dst), (ip("fd00::1"), ip("fd00::5")));
        assert_eq!(read.payload[8..], probe[14..]);
        assert!(ipv6(&error, ip("fd00::1")).is_none());
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(mut frame in prop::collection::vec(any::<u8>(), 0..120), six: bool) {
            if frame.len() > 14 {
                frame[12..15].copy_from_slice(if six { &[0x86, 0xdd, 0x60] } else { &[8, 0, 0x45] });
            }
            let _ = (ipv4(&frame, ROUTER), ipv6(&frame, Ipv6Addr::LOCALHOST));
        }
    }
}
