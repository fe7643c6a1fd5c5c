//! What routers say on their links: IPv6 router advertisements and neighbour discovery (RFC 4861, 8106), and ARP requests.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv6Net};

use crate::packet6::{ON_LINK_HOPS, Packet6, solicited_node};
use crate::view::View;
use crate::wish::{DNS_MOST, Ipv6Mode, Mac, Port};

const ROUTER_SOLICITATION: u8 = 133;
const ROUTER_ADVERTISEMENT: u8 = 134;
const NEIGHBOUR_SOLICITATION: u8 = 135;
const NEIGHBOUR_ADVERTISEMENT: u8 = 136;
const SOURCE_ADDRESS: u8 = 1;
const TARGET_ADDRESS: u8 = 2;
const PREFIX: u8 = 3;
const MTU: u8 = 5;
const NAME_SERVERS: u8 = 25;
const HOPS: u8 = 64;
/// The router's own lifetime, three times and more the pause between advertisements.
const ROUTER_S: u16 = 1_800;
/// A day, as addresses by DHCP.
const VALID_S: u32 = 86_400;
const PREFERRED_S: u32 = 14_400;
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
const ALL_NODES_MAC: Mac = Mac([0x33, 0x33, 0, 0, 0, 1]);

/// What a router advertises to the guest behind one port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advert {
    mac: Mac,
    managed: bool,
    other: bool,
    mtu: u16,
    prefixes: Vec<(Ipv6Net, bool)>,
    dns: Vec<Ipv6Addr>,
}

impl Advert {
    /// What the first router with an advertised subnet says to a port. None if there is none.
    #[must_use]
    pub(crate) fn of(view: &View, port: &Port) -> Option<Self> {
        let network = view.networks.get(&port.network_id)?;
        view.faces_in(&port.network_id).filter(|(_, _, outside)| !outside).find_map(|(_, face, _)| {
            let advertised = network.subnets.iter().filter_map(|subnet| match subnet.cidr {
                IpNet::V6(net) if subnet.ra_mode != Ipv6Mode::None => {
                    face.ips.iter().any(|ip| net.contains_addr(ip.0.addr())).then_some((subnet, net))
                }
                _ => None,
            });
            let mut advert = Self {
                mac: face.mac,
                managed: false,
                other: false,
                mtu: network.mtu,
                prefixes: Vec::new(),
                dns: Vec::new(),
            };
            for (subnet, net) in advertised {
                advert.managed |= subnet.ra_mode == Ipv6Mode::Stateful;
                advert.other |= subnet.ra_mode != Ipv6Mode::Slaac;
                advert.prefixes.push((net, subnet.ra_mode != Ipv6Mode::Stateful));
                advert.dns.extend(subnet.dns.iter().filter_map(|dns| match dns {
                    IpAddr::V6(ip) => Some(*ip),
                    IpAddr::V4(_) => None,
                }));
            }
            advert.dns.truncate(DNS_MOST);
            (!advert.prefixes.is_empty()).then_some(advert)
        })
    }

    /// The advertisement, if `frame` is a guest's question for it.
    #[must_use]
    pub fn answer(&self, frame: &[u8]) -> Option<Vec<u8>> {
        let asked = Packet6::parse_icmp(frame)?;
        (asked.payload.first() == Some(&ROUTER_SOLICITATION)).then(|| self.to_all())
    }

    /// The advertisement to whoever listens.
    #[must_use]
    pub fn to_all(&self) -> Vec<u8> {
        let flags = u8::from(self.managed) << 7 | u8::from(self.other) << 6;
        let mut said = vec![ROUTER_ADVERTISEMENT, 0, 0, 0, HOPS, flags];
        said.extend_from_slice(&ROUTER_S.to_be_bytes());
        said.extend_from_slice(&[0; 8]);
        said.extend_from_slice(&link_layer(SOURCE_ADDRESS, self.mac));
        said.extend_from_slice(&[MTU, 1, 0, 0]);
        said.extend_from_slice(&u32::from(self.mtu).to_be_bytes());
        for (net, autonomous) in &self.prefixes {
            said.extend_from_slice(&[PREFIX, 4, net.prefix_len(), 0x80 | u8::from(*autonomous) << 6]);
            said.extend_from_slice(&VALID_S.to_be_bytes());
            said.extend_from_slice(&PREFERRED_S.to_be_bytes());
            said.extend_from_slice(&[0; 4]);
            said.extend_from_slice(&net.network().octets());
        }
        if !self.dns.is_empty() {
            said.extend_from_slice(&[NAME_SERVERS, 1 + 2 * self.dns.len() as u8, 0, 0]);
            said.extend_from_slice(&u32::from(ROUTER_S).to_be_bytes());
            said.extend(self.dns.iter().flat_map(Ipv6Addr::octets));
        }
        let packet = Packet6 {
            eth_src: self.mac,
            eth_dst: ALL_NODES_MAC,
            ip_src: self.mac.link_local(),
            ip_dst: ALL_NODES,
            payload: &said,
        };
        packet.icmp_frame(ON_LINK_HOPS)
    }
}

/// Whether a prefix contains an address of either family.
trait ContainsAddr {
    fn contains_addr(&self, ip: IpAddr) -> bool;
}

impl ContainsAddr for Ipv6Net {
    fn contains_addr(&self, ip: IpAddr) -> bool {
        matches!(ip, IpAddr::V6(ip) if self.contains(&ip))
    }
}

fn link_layer(kind: u8, mac: Mac) -> [u8; 8] {
    let [a, b, c, d, e, f] = mac.0;
    [kind, 1, a, b, c, d, e, f]
}

/// The address that a neighbour solicitation asks for.
#[must_use]
pub fn solicited(frame: &[u8]) -> Option<Ipv6Addr> {
    let asked = Packet6::parse_icmp(frame)?;
    let kind = asked.payload.first() == Some(&NEIGHBOUR_SOLICITATION);
    let target: [u8; 16] = *asked.payload.get(8..24)?.first_chunk()?;
    kind.then_some(target.into())
}

/// Answers a neighbour solicitation for `target`: it is at `mac`.
#[must_use]
pub fn neighbour_advertisement(frame: &[u8], target: Ipv6Addr, mac: Mac) -> Option<Vec<u8>> {
    let asked = Packet6::parse_icmp(frame)?;
    // A router, asked, and to be believed; to all if the asker has no address yet (RFC 4861, 7.2.4).
    let (flags, ip_dst, eth_dst) = if asked.ip_src.is_unspecified() {
        (0xa0, ALL_NODES, ALL_NODES_MAC)
    } else {
        (0xe0, asked.ip_src, asked.eth_src)
    };
    let mut said = vec![NEIGHBOUR_ADVERTISEMENT, 0, 0, 0, flags, 0, 0, 0];
    said.extend_from_slice(&target.octets());
    said.extend_from_slice(&link_layer(TARGET_ADDRESS, mac));
    let packet = Packet6 { eth_src: mac, eth_dst, ip_src: target, ip_dst, payload: &said };
    Some(packet.icmp_frame(ON_LINK_HOPS))
}

/// Asks who has `target`.
#[must_use]
pub fn neighbour_solicitation(mac: Mac, ip: Ipv6Addr, target: Ipv6Addr) -> Vec<u8> {
    let (group, eth_dst) = solicited_node(target);
    let mut said = vec![NEIGHBOUR_SOLICITATION, 0, 0, 0, 0, 0, 0, 0];
    said.extend_from_slice(&target.octets());
    said.extend_from_slice(&link_layer(SOURCE_ADDRESS, mac));
    let packet = Packet6 { eth_src: mac, eth_dst, ip_src: ip, ip_dst: group, payload: &said };
    packet.icmp_frame(ON_LINK_HOPS)
}

/// Asks who has `target`, over IPv4.
#[must_use]
pub fn arp_request(mac: Mac, ip: Ipv4Addr, target: Ipv4Addr) -> Vec<u8> {
    let mut frame = vec![0xff; 6];
    frame.extend_from_slice(&mac.0);
    frame.extend_from_slice(&[0x08, 0x06, 0, 1, 0x08, 0, 6, 4, 0, 1]);
    frame.extend_from_slice(&mac.0);
    frame.extend_from_slice(&ip.octets());
    frame.extend_from_slice(&[0; 6]);
    frame.extend_from_slice(&target.octets());
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: Mac = Mac([0xfa, 0x16, 0x3e, 0, 0, 1]);

    #[test]
    fn an_advertisement_is_laid_out_as_specified() {
        let advert = Advert {
            mac: MAC,
            managed: false,
            other: true,
            mtu: 1450,
            prefixes: vec![("fd00::/64".parse().unwrap(), true)],
            dns: vec!["fd00::53".parse().unwrap()],
        };
        let frame = advert.to_all();
        let packet = Packet6::parse_icmp(&frame).unwrap();
        assert_eq!((packet.ip_src, packet.ip_dst), (MAC.link_local(), ALL_NODES));
        assert_eq!(frame[21], 255);
        assert_eq!(packet.payload[4..8], [64, 0x40, 7, 8]);
        let mut options = &packet.payload[16..];
        let mut kinds = Vec::new();
        while !options.is_empty() {
            kinds.push(options[0]);
            options = &options[usize::from(options[1]) * 8..];
        }
        assert_eq!(kinds, [SOURCE_ADDRESS, MTU, PREFIX, NAME_SERVERS]);
    }

    #[test]
    fn a_solicitation_is_answered_by_the_target() {
        let target = "fd00::1".parse().unwrap();
        let asked = neighbour_solicitation(Mac([2, 0, 0, 0, 0, 9]), "fd00::9".parse().unwrap(), target);
        assert_eq!(solicited(&asked), Some(target));
        let answer = neighbour_advertisement(&asked, target, MAC).unwrap();
        let packet = Packet6::parse_icmp(&answer).unwrap();
        assert_eq!((packet.ip_src, packet.eth_dst), (target, Mac([2, 0, 0, 0, 0, 9])));
        assert_eq!(packet.payload[4], 0xe0);
        assert_eq!(solicited(&answer), None);
    }

    #[test]
    fn an_arp_request_is_42_bytes() {
        assert_eq!(arp_request(MAC, Ipv4Addr::LOCALHOST, Ipv4Addr::BROADCAST).len(), 42);
    }
}
