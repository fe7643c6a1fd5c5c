//! UDP in IPv4 in Ethernet: as much of packets as a DHCP server has to read and write.

use core::net::Ipv4Addr;

use crate::wish::Mac;

pub(crate) const ETHERNET_BYTES: usize = 14;
const IPV4_BYTES: usize = 20;
const UDP_BYTES: usize = 8;
const UDP: u8 = 17;

/// A UDP datagram with the addresses around it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Datagram<'a> {
    /// From which card.
    pub eth_src: Mac,
    /// To which card.
    pub eth_dst: Mac,
    /// From which address.
    pub ip_src: Ipv4Addr,
    /// To which address.
    pub ip_dst: Ipv4Addr,
    /// From which port.
    pub src: u16,
    /// To which port.
    pub dst: u16,
    /// What it says.
    pub payload: &'a [u8],
}

pub(crate) fn take<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

impl<'a> Datagram<'a> {
    /// Reads an untagged frame; None if it is anything else than an unfragmented UDP datagram, or cut off.
    ///
    /// Checksums are not looked at: the frame comes from a guest on this host by way of the switch, over no wire.
    #[must_use]
    pub fn parse(frame: &'a [u8]) -> Option<Self> {
        if take(frame, 12)? != [0x08, 0x00] {
            return None;
        }
        let ip = frame.get(ETHERNET_BYTES..)?;
        let [version] = take(ip, 0)?;
        let header_bytes = usize::from(version & 0xf) * 4;
        let [flags, offset] = take(ip, 6)?;
        let fragment = flags & 0x3f != 0 || offset != 0;
        if version >> 4 != 4 || header_bytes < IPV4_BYTES || fragment || take(ip, 9)? != [UDP] {
            return None;
        }
        let total_bytes = usize::from(u16::from_be_bytes(take(ip, 2)?));
        let udp = ip.get(header_bytes..total_bytes)?;
        let udp_bytes = usize::from(u16::from_be_bytes(take(udp, 4)?));
        Some(Self {
            eth_dst: Mac(take(frame, 0)?),
            eth_src: Mac(take(frame, 6)?),
            ip_src: take(ip, 12)?.into(),
            ip_dst: take(ip, 16)?.into(),
            src: u16::from_be_bytes(take(udp, 0)?),
            dst: u16::from_be_bytes(take(udp, 2)?),
            payload: udp.get(UDP_BYTES..udp_bytes)?,
        })
    }

    /// The frame, with checksums. The payload is at most 65,507 bytes long.
    #[must_use]
    pub fn to_frame(&self) -> Vec<u8> {
        let udp_bytes = (UDP_BYTES + self.payload.len()) as u16;
        let total_bytes = IPV4_BYTES as u16 + udp_bytes;
        let mut ip = [0; IPV4_BYTES];
        ip[0] = 0x45;
        ip[2..4].copy_from_slice(&total_bytes.to_be_bytes());
        ip[8..10].copy_from_slice(&[64, UDP]);
        ip[12..16].copy_from_slice(&self.ip_src.octets());
        ip[16..].copy_from_slice(&self.ip_dst.octets());
        let checksum = !fold(sum(&ip));
        ip[10..12].copy_from_slice(&checksum.to_be_bytes());

        let mut udp = [0; UDP_BYTES];
        udp[..2].copy_from_slice(&self.src.to_be_bytes());
        udp[2..4].copy_from_slice(&self.dst.to_be_bytes());
        udp[4..6].copy_from_slice(&udp_bytes.to_be_bytes());
        let pseudo = sum(&ip[12..]) + u32::from(UDP) + u32::from(udp_bytes);
        let checksum = !fold(pseudo + sum(&udp) + sum(self.payload));
        // 0 would say that there is no checksum (RFC 768).
        udp[6..].copy_from_slice(&if checksum == 0 { 0xffff } else { checksum }.to_be_bytes());

        let mut frame = Vec::with_capacity(ETHERNET_BYTES + usize::from(total_bytes));
        frame.extend_from_slice(&self.eth_dst.0);
        frame.extend_from_slice(&self.eth_src.0);
        frame.extend_from_slice(&[0x08, 0x00]);
        frame.extend_from_slice(&ip);
        frame.extend_from_slice(&udp);
        frame.extend_from_slice(self.payload);
        frame
    }
}

/// The sum of 16-bit words; an odd byte at the end counts as the high half of one. At most 65,535 bytes.
pub(crate) fn sum(bytes: &[u8]) -> u32 {
    let (words, rest) = bytes.as_chunks::<2>();
    let whole: u32 = words.iter().map(|word| u32::from(u16::from_be_bytes(*word))).sum();
    whole + rest.first().map_or(0, |byte| u32::from(*byte) << 8)
}

pub(crate) fn fold(mut sum: u32) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn datagram(payload: &[u8]) -> Datagram<'_> {
        Datagram {
            eth_src: Mac([2, 0, 0, 0, 0, 1]),
            eth_dst: Mac([0xff; 6]),
            ip_src: Ipv4Addr::UNSPECIFIED,
            ip_dst: Ipv4Addr::BROADCAST,
            src: 68,
            dst: 67,
            payload,
        }
    }

    #[test]
    fn checksums_add_up_to_nothing() {
        for payload in [&b""[..], b"odd", b"even"] {
            let frame = datagram(payload).to_frame();
            assert_eq!(fold(sum(&frame[14..34])), 0xffff);
            let pseudo = sum(&frame[26..34]) + 17 + (frame.len() - 34) as u32;
            assert_eq!(fold(pseudo + sum(&frame[34..])), 0xffff);
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(payload in prop::collection::vec(any::<u8>(), 0..600), pad in 0_usize..30) {
            let mut frame = datagram(&payload).to_frame();
            frame.extend(std::iter::repeat_n(0, pad));
            prop_assert_eq!(Datagram::parse(&frame), Some(datagram(&payload)));
        }

        #[test]
        fn any_bytes_are_survived(mut frame in prop::collection::vec(any::<u8>(), 0..120)) {
            let _ = Datagram::parse(&frame);
            if frame.len() > 24 {
                frame[12..15].copy_from_slice(&[8, 0, 0x45]);
                frame[20..24].copy_from_slice(&[0, 0, 64, 17]);
                let _ = Datagram::parse(&frame);
            }
        }
    }
}
