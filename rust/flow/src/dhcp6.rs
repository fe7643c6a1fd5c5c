//! DHCPv6, answered on the spot (RFC 8415, 3646).
//!
//! As with DHCPv4 every answer is a function of the question and of the port that it came in by: a guest of a stateful subnet is
//! told its addresses, and one of a stateless subnet the rest.

use core::net::{IpAddr, Ipv6Addr};

use dhcproto::v6::{DhcpOption, DhcpOptions, IAAddr, IANA, Message, MessageType, OptionCode, Status, StatusCode};
use dhcproto::{Decodable, Encodable};

use crate::packet6::{Packet6, Udp};
use crate::wish::{DNS_MOST, Ipv6Mode, Mac, Network, Port};

const SERVER: u16 = 547;
const CLIENT: u16 = 546;
/// As with DHCPv4: the address stays the guest's for as long as the port lives.
const VALID_S: u32 = 86_400;

/// What there is to tell the guest behind one port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer6 {
    mac: Mac,
    server_mac: Mac,
    addresses: Vec<Ipv6Addr>,
    dns: Vec<Ipv6Addr>,
}

impl Offer6 {
    /// What a port is told about its IPv6 addresses. None if none of its subnets is asked about by DHCPv6.
    #[must_use]
    pub fn of(port: &Port, network: &Network) -> Option<Self> {
        let mut offer = Self { mac: port.mac, server_mac: network.service_mac, addresses: vec![], dns: vec![] };
        let mut speaks = false;
        for fixed in &port.fixed_ips {
            let IpAddr::V6(ip) = fixed.ip else { continue };
            let subnet = network.subnets.iter().find(|subnet| subnet.id == fixed.subnet_id);
            let Some(subnet) = subnet.filter(|subnet| subnet.speaks_dhcpv6()) else { continue };
            speaks = true;
            if subnet.address_mode == Ipv6Mode::Stateful {
                offer.addresses.push(ip);
            }
            offer.dns.extend(subnet.dns.iter().filter_map(|dns| match dns {
                IpAddr::V6(ip) => Some(*ip),
                IpAddr::V4(_) => None,
            }));
        }
        offer.dns.truncate(DNS_MOST);
        speaks.then_some(offer)
    }

    /// The frame that answers `frame`, or None if it asks for nothing that is ours to answer.
    #[must_use]
    pub fn answer(&self, frame: &[u8]) -> Option<Vec<u8>> {
        let (packet, udp) = Packet6::parse_udp(frame).filter(|(_, udp)| udp.src == CLIENT && udp.dst == SERVER)?;
        if packet.eth_src != self.mac {
            return None;
        }
        let question = Message::from_bytes(&essence(udp.payload)?).ok()?;
        let answer = self.message(&question)?.to_vec().ok()?;
        let reply = Packet6 {
            eth_src: self.server_mac,
            eth_dst: packet.eth_src,
            ip_src: self.server_mac.link_local(),
            ip_dst: packet.ip_src,
            payload: &[],
        };
        Some(reply.udp_frame(&Udp { src: SERVER, dst: CLIENT, payload: &answer }))
    }

    /// Our name: the link-layer address of the network's services (RFC 8415, 11.4).
    fn duid(&self) -> Vec<u8> {
        let mut duid = vec![0, 3, 0, 1];
        duid.extend_from_slice(&self.server_mac.0);
        duid
    }

    fn message(&self, question: &Message) -> Option<Message> {
        let options = question.opts();
        let server = match options.get(OptionCode::ServerId) {
            Some(DhcpOption::ServerId(duid)) => Some(*duid == self.duid()),
            _ => None,
        };
        let rapid = options.get(OptionCode::RapidCommit).is_some();
        // Which questions must name us and which must not: RFC 8415, 16.
        let kind = match (question.msg_type(), server) {
            (MessageType::Solicit, None) if rapid => MessageType::Reply,
            (MessageType::Solicit, None) => MessageType::Advertise,
            (MessageType::Request | MessageType::Renew | MessageType::Release | MessageType::Decline, Some(true))
            | (MessageType::Confirm | MessageType::Rebind, None)
            | (MessageType::InformationRequest, None | Some(true)) => MessageType::Reply,
            _ => return None,
        };
        let mut answer = Message::new_with_id(kind, question.xid());
        let said = answer.opts_mut();
        said.insert(DhcpOption::ServerId(self.duid()));
        match options.get(OptionCode::ClientId) {
            Some(DhcpOption::ClientId(duid)) => said.insert(DhcpOption::ClientId(duid.clone())),
            _ if question.msg_type() == MessageType::InformationRequest => {}
            _ => return None,
        }
        match question.msg_type() {
            MessageType::Solicit | MessageType::Request | MessageType::Renew | MessageType::Rebind => {
                let Some(DhcpOption::IANA(asked)) = options.get(OptionCode::IANA) else { return None };
                if self.addresses.is_empty() {
                    return None;
                }
                if kind == MessageType::Reply && rapid && question.msg_type() == MessageType::Solicit {
                    said.insert(DhcpOption::RapidCommit);
                }
                said.insert(DhcpOption::IANA(self.association(asked)));
            }
            MessageType::Confirm => said.insert(DhcpOption::StatusCode(self.confirmed(options)?)),
            MessageType::Release | MessageType::Decline => {
                said.insert(DhcpOption::StatusCode(StatusCode { status: Status::Success, msg: String::new() }));
            }
            _ => {}
        }
        if !self.dns.is_empty() {
            said.insert(DhcpOption::DomainNameServers(self.dns.clone()));
        }
        Some(answer)
    }

    /// The port's addresses, and those asked for that aren't its, which it is to give up.
    fn association(&self, asked: &IANA) -> IANA {
        let mut opts = DhcpOptions::new();
        let granted = self.addresses.iter().map(|ip| (*ip, VALID_S));
        let refused = addresses_in(asked).filter(|ip| !self.addresses.contains(ip)).map(|ip| (ip, 0));
        for (addr, valid_life) in granted.chain(refused.take(ADDRESSES_MOST)) {
            let preferred_life = valid_life;
            opts.insert(DhcpOption::IAAddr(IAAddr { addr, preferred_life, valid_life, opts: DhcpOptions::new() }));
        }
        IANA { id: asked.id, t1: VALID_S / 2, t2: VALID_S / 8 * 7, opts }
    }

    /// Whether a guest that was away may keep its addresses. None if it doesn't say which.
    fn confirmed(&self, options: &DhcpOptions) -> Option<StatusCode> {
        let Some(DhcpOption::IANA(asked)) = options.get(OptionCode::IANA) else { return None };
        addresses_in(asked).next()?;
        let ours = addresses_in(asked).all(|ip| self.addresses.contains(&ip));
        let status = if ours { Status::Success } else { Status::NotOnLink };
        Some(StatusCode { status, msg: String::new() })
    }
}

/// Addresses of a question that are looked at; a guest has one or two.
const ADDRESSES_MOST: usize = 16;

fn addresses_in(asked: &IANA) -> impl Iterator<Item = Ipv6Addr> {
    asked.opts.iter().filter_map(|option| match option {
        DhcpOption::IAAddr(address) => Some(address.addr),
        _ => None,
    })
}

const CLIENT_ID: u16 = 1;
const SERVER_ID: u16 = 2;
const IA_NA: u16 = 3;
const IA_ADDR: u16 = 5;
const RAPID_COMMIT: u16 = 14;
/// The longest name of a client or server (RFC 8415, 11.1).
const DUID_MOST: usize = 130;
const IA_NA_FIXED_BYTES: usize = 12;
const IA_ADDR_FIXED_BYTES: usize = 24;

/// A message with the options alone that matter here, as with DHCPv4: what isn't looked at isn't parsed.
fn essence(payload: &[u8]) -> Option<Vec<u8>> {
    let (head, options) = payload.split_at_checked(4)?;
    let mut essence = head.to_vec();
    let mut associations = 0;
    for option in Options(options) {
        let (code, value) = option?;
        match code {
            CLIENT_ID | SERVER_ID if value.len() <= DUID_MOST => put(&mut essence, code, value),
            RAPID_COMMIT if value.is_empty() => put(&mut essence, code, value),
            IA_NA if associations == 0 => {
                associations += 1;
                let (fixed, nested) = value.split_at_checked(IA_NA_FIXED_BYTES)?;
                let mut kept = fixed.to_vec();
                for option in Options(nested).take(ADDRESSES_MOST) {
                    let (code, value) = option?;
                    if let (IA_ADDR, Some(fixed)) = (code, value.get(..IA_ADDR_FIXED_BYTES)) {
                        put(&mut kept, code, fixed);
                    }
                }
                put(&mut essence, code, &kept);
            }
            _ => {}
        }
    }
    Some(essence)
}

fn put(out: &mut Vec<u8>, code: u16, value: &[u8]) {
    out.extend_from_slice(&code.to_be_bytes());
    out.extend_from_slice(&(value.len() as u16).to_be_bytes());
    out.extend_from_slice(value);
}

/// The options in some bytes; None in the place of one that is cut off.
struct Options<'a>(&'a [u8]);

impl<'a> Iterator for Options<'a> {
    type Item = Option<(u16, &'a [u8])>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let [high, low, long, short, rest @ ..] = std::mem::take(&mut self.0) else { return Some(None) };
        let length = usize::from(u16::from_be_bytes([*long, *short]));
        let Some((value, rest)) = rest.split_at_checked(length) else { return Some(None) };
        self.0 = rest;
        Some(Some((u16::from_be_bytes([*high, *low]), value)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const IP: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 5);

    fn offer(mode: &str) -> Offer6 {
        let network = serde_json::json!({
            "id": "n", "name": "net", "segment": {"type": "vxlan", "id": 5}, "mtu": 1450, "service_mac": "fa:16:3e:00:00:99",
            "subnets": [{"id": "s", "cidr": "fd00::/64", "dhcp": true, "address_mode": mode, "dns": ["fd00::53", "9.9.9.9"]}],
        });
        let port = serde_json::json!({
            "id": "p", "network_id": "n", "mac": "fa:16:3e:00:00:01", "tap": "tap1",
            "fixed_ips": [{"subnet_id": "s", "ip": IP.to_string()}],
        });
        Offer6::of(&serde_json::from_value(port).unwrap(), &serde_json::from_value(network).unwrap()).unwrap()
    }

    fn ask(kind: MessageType, edit: impl FnOnce(&mut DhcpOptions)) -> Vec<u8> {
        let mut message = Message::new_with_id(kind, [1, 2, 3]);
        message.opts_mut().insert(DhcpOption::ClientId(vec![0, 3, 0, 1, 9, 9]));
        edit(message.opts_mut());
        let mac = offer("dhcpv6-stateful").mac;
        let all: Ipv6Addr = "ff02::1:2".parse().unwrap();
        let packet = Packet6 {
            eth_src: mac,
            eth_dst: Mac([0x33, 0x33, 0, 1, 0, 2]),
            ip_src: mac.link_local(),
            ip_dst: all,
            payload: &[],
        };
        packet.udp_frame(&Udp { src: CLIENT, dst: SERVER, payload: &message.to_vec().unwrap() })
    }

    fn iana(ip: Option<Ipv6Addr>) -> DhcpOption {
        let mut opts = DhcpOptions::new();
        if let Some(addr) = ip {
            let (preferred_life, valid_life) = (0, 0);
            opts.insert(DhcpOption::IAAddr(IAAddr { addr, preferred_life, valid_life, opts: DhcpOptions::new() }));
        }
        DhcpOption::IANA(IANA { id: 7, t1: 0, t2: 0, opts })
    }

    fn answer(frame: &[u8], mode: &str) -> Option<Message> {
        let answer = offer(mode).answer(frame)?;
        let (packet, udp) = Packet6::parse_udp(&answer).unwrap();
        assert_eq!(packet.ip_dst, offer(mode).mac.link_local());
        Message::from_bytes(udp.payload).ok()
    }

    fn granted(message: &Message) -> Vec<(Ipv6Addr, u32)> {
        let Some(DhcpOption::IANA(iana)) = message.opts().get(OptionCode::IANA) else { return vec![] };
        assert_eq!(iana.id, 7);
        iana.opts
            .iter()
            .filter_map(|option| match option {
                DhcpOption::IAAddr(address) => Some((address.addr, address.valid_life)),
                _ => None,
            })
            .collect()
    }

    fn named(options: &mut DhcpOptions) {
        options.insert(DhcpOption::ServerId(offer("dhcpv6-stateful").duid()));
    }

    #[test]
    fn a_guest_is_told_its_address() {
        let solicit = ask(MessageType::Solicit, |options| options.insert(iana(None)));
        let advertised = answer(&solicit, "dhcpv6-stateful").unwrap();
        assert_eq!((advertised.msg_type(), advertised.xid()), (MessageType::Advertise, [1, 2, 3]));
        assert_eq!(granted(&advertised), [(IP, VALID_S)]);
        let dns = DhcpOption::DomainNameServers(vec!["fd00::53".parse().unwrap()]);
        assert_eq!(advertised.opts().get(OptionCode::DomainNameServers), Some(&dns));
        let request = ask(MessageType::Request, |options| {
            options.insert(iana(Some("fd00::66".parse().unwrap())));
            named(options);
        });
        let reply = answer(&request, "dhcpv6-stateful").unwrap();
        assert_eq!(reply.msg_type(), MessageType::Reply);
        let mut told = granted(&reply);
        told.sort_unstable();
        assert_eq!(told, [(IP, VALID_S), ("fd00::66".parse().unwrap(), 0)]);
        let rapid = ask(MessageType::Solicit, |options| {
            options.insert(iana(None));
            options.insert(DhcpOption::RapidCommit);
        });
        assert_eq!(answer(&rapid, "dhcpv6-stateful").unwrap().msg_type(), MessageType::Reply);
    }

    #[test]
    fn a_stateless_subnet_tells_the_rest_only() {
        let solicit = ask(MessageType::Solicit, |options| options.insert(iana(None)));
        assert!(answer(&solicit, "dhcpv6-stateless").is_none());
        let inform = ask(MessageType::InformationRequest, |_| {});
        let reply = answer(&inform, "dhcpv6-stateless").unwrap();
        assert!(reply.opts().get(OptionCode::DomainNameServers).is_some() && granted(&reply).is_empty());
    }

    #[test]
    fn an_address_is_confirmed_or_not() {
        for (ip, status) in [(IP, Status::Success), ("fd00::66".parse().unwrap(), Status::NotOnLink)] {
            let confirm = ask(MessageType::Confirm, |options| options.insert(iana(Some(ip))));
            let reply = answer(&confirm, "dhcpv6-stateful").unwrap();
            let Some(DhcpOption::StatusCode(said)) = reply.opts().get(OptionCode::StatusCode) else { panic!() };
            assert_eq!(said.status, status);
        }
    }

    #[test]
    fn what_is_for_others_gets_no_answer() {
        let request = |duid: &[u8]| {
            let duid = duid.to_vec();
            ask(MessageType::Request, |options| {
                options.insert(iana(None));
                options.insert(DhcpOption::ServerId(duid));
            })
        };
        assert!(answer(&request(&[0, 3, 0, 1, 1]), "dhcpv6-stateful").is_none());
        assert!(answer(&ask(MessageType::Renew, |options| options.insert(iana(None))), "dhcpv6-stateful").is_none());
        assert!(answer(&ask(MessageType::Reply, |_| {}), "dhcpv6-stateful").is_none());
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_stumble(
            noise in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..12),
            cut in any::<prop::sample::Index>(),
        ) {
            let mut frame = ask(MessageType::Rebind, |options| options.insert(iana(Some(IP))));
            for (at, byte) in noise {
                let at = 62 + at.index(frame.len() - 62);
                frame[at] = byte;
            }
            let _ = offer("dhcpv6-stateful").answer(&frame);
            frame.truncate(cut.index(frame.len()));
            let _ = offer("dhcpv6-stateful").answer(&frame);
        }
    }
}
