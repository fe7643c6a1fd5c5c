//! DHCPv4, answered on the spot (RFC 2131, 2132, 3442).
//!
//! The address of a port is known before its guest asks, so there is nothing to lease out and nothing to remember: every
//! answer is a function of the question and of the port that it came in by. Guests are told their one address or nothing.

use core::net::{IpAddr, Ipv4Addr};

use dhcproto::v4::{DhcpOption, Message, MessageType, Opcode, OptionCode};
use dhcproto::{Decodable, Encodable};
use ipnet::{IpNet, Ipv4Net};

use crate::compile::METADATA_IP;
use crate::packet::Datagram;
use crate::wish::{DNS_MOST, Mac, Network, Port};

const SERVER: u16 = 67;
const CLIENT: u16 = 68;
/// Guests are told for how long they may keep their address, but it stays theirs for as long as the port lives. A day, as Neutron's default.
const LEASE_S: u32 = 86_400;
/// The most routes in an answer; with them it stays below the 576 bytes that every client takes, but for long host names.
const ROUTES_MOST: usize = 20;

/// What there is to tell the guest behind one port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    mac: Mac,
    ip: Ipv4Addr,
    net: Ipv4Net,
    server_mac: Mac,
    server_ip: Ipv4Addr,
    router: Option<Ipv4Addr>,
    dns: Vec<Ipv4Addr>,
    routes: Vec<(Ipv4Net, Ipv4Addr)>,
    mtu: u16,
    hostname: String,
}

impl Offer {
    /// What a port is told: about its first IPv4 address in a subnet with DHCP. None if it has no such address.
    #[must_use]
    pub fn of(port: &Port, network: &Network) -> Option<Self> {
        port.fixed_ips.iter().find_map(|fixed| {
            let IpAddr::V4(ip) = fixed.ip else { return None };
            let (subnet, net) = network.subnet_v4(&fixed.subnet_id).filter(|(subnet, _)| subnet.dhcp)?;
            let server_ip = v4(subnet.service_ip?)?;
            let router = subnet.gateway_ip.and_then(v4);
            let routes = subnet.host_routes.iter().filter_map(|route| match (route.destination, route.nexthop) {
                (IpNet::V4(to), IpAddr::V4(by)) => Some((to, by)),
                _ => None,
            });
            let metadata = (Ipv4Net::from(METADATA_IP), server_ip);
            let default = router.map(|router| (Ipv4Net::default(), router));
            Some(Self {
                mac: port.mac,
                ip,
                net,
                server_mac: network.service_mac,
                server_ip,
                router,
                dns: subnet.dns.iter().copied().filter_map(v4).take(DNS_MOST).collect(),
                // A client that takes these routes ignores option 3, so the default route is among them (RFC 3442).
                routes: [metadata].into_iter().chain(default).chain(routes).take(ROUTES_MOST).collect(),
                mtu: network.mtu,
                hostname: port.hostname.clone(),
            })
        })
    }

    /// The frame that answers `frame`, or None if it asks for nothing that is ours to answer.
    #[must_use]
    pub fn answer(&self, frame: &[u8]) -> Option<Vec<u8>> {
        let asked = Datagram::parse(frame).filter(|asked| asked.src == CLIENT && asked.dst == SERVER)?;
        let question = Message::from_bytes(&essence(asked.payload)?).ok()?;
        let relayed = !question.giaddr().is_unspecified();
        // `hlen` first: `chaddr` would read past its 16 bytes for a larger one.
        if question.opcode() != Opcode::BootRequest
            || question.hlen() != 6
            || question.chaddr() != self.mac.0
            || relayed
        {
            return None;
        }
        let kind = self.verdict(&question)?;
        let answer = self.message(&question, kind).to_vec().ok()?;
        let (eth_dst, ip_dst) = self.reach(&question, kind);
        let reply = Datagram {
            eth_src: self.server_mac,
            eth_dst,
            ip_src: self.server_ip,
            ip_dst,
            src: SERVER,
            dst: CLIENT,
            payload: &answer,
        };
        Some(reply.to_frame())
    }

    /// The kind of answer; None if the question wants none, or was for another server.
    fn verdict(&self, question: &Message) -> Option<MessageType> {
        let options = question.opts();
        let for_other = matches!(options.get(OptionCode::ServerIdentifier),
            Some(DhcpOption::ServerIdentifier(ip)) if *ip != self.server_ip);
        if for_other {
            return None;
        }
        match options.msg_type()? {
            MessageType::Discover => Some(MessageType::Offer),
            MessageType::Inform => Some(MessageType::Ack),
            MessageType::Request => {
                let wanted = match options.get(OptionCode::RequestedIpAddress) {
                    Some(DhcpOption::RequestedIpAddress(ip)) => *ip,
                    _ => question.ciaddr(),
                };
                Some(if wanted == self.ip { MessageType::Ack } else { MessageType::Nak })
            }
            _ => None,
        }
    }

    fn message(&self, question: &Message, kind: MessageType) -> Message {
        let unspecified = Ipv4Addr::UNSPECIFIED;
        let mut answer =
            Message::new_with_id(question.xid(), unspecified, unspecified, unspecified, unspecified, &self.mac.0);
        answer.set_opcode(Opcode::BootReply).set_flags(question.flags());
        let options = answer.opts_mut();
        options.insert(DhcpOption::MessageType(kind));
        options.insert(DhcpOption::ServerIdentifier(self.server_ip));
        if kind == MessageType::Nak {
            return answer;
        }
        options.insert(DhcpOption::SubnetMask(self.net.netmask()));
        options.insert(DhcpOption::BroadcastAddr(self.net.broadcast()));
        options.insert(DhcpOption::InterfaceMtu(self.mtu));
        options.insert(DhcpOption::ClasslessStaticRoute(self.routes.clone()));
        if let Some(router) = self.router {
            options.insert(DhcpOption::Router(vec![router]));
        }
        if !self.dns.is_empty() {
            options.insert(DhcpOption::DomainNameServer(self.dns.clone()));
        }
        if !self.hostname.is_empty() {
            options.insert(DhcpOption::Hostname(self.hostname.clone()));
        }
        let informed = question.opts().msg_type() == Some(MessageType::Inform);
        if informed {
            answer.set_ciaddr(question.ciaddr());
        } else {
            options.insert(DhcpOption::AddressLeaseTime(LEASE_S));
            options.insert(DhcpOption::Renewal(LEASE_S / 2));
            options.insert(DhcpOption::Rebinding(LEASE_S / 8 * 7));
            answer.set_ciaddr(question.ciaddr()).set_yiaddr(self.ip);
        }
        answer
    }

    /// Where to send an answer (RFC 2131, 4.1): to an address that the guest has, else to all if it asks for that or is refused.
    fn reach(&self, question: &Message, kind: MessageType) -> (Mac, Ipv4Addr) {
        let all = (Mac([0xff; 6]), Ipv4Addr::BROADCAST);
        if kind == MessageType::Nak {
            all
        } else if !question.ciaddr().is_unspecified() {
            (self.mac, question.ciaddr())
        } else if question.flags().broadcast() {
            all
        } else {
            (self.mac, self.ip)
        }
    }
}

/// Where the options of a message begin: behind 236 bytes of fixed fields and the magic cookie.
const OPTIONS_AT: usize = 240;
const MAGIC: [u8; 4] = [99, 130, 83, 99];
const PAD: u8 = 0;
const END: u8 = 255;
/// The options that an answer depends on, with their lengths: requested address, message type, server.
const ESSENTIAL: [(u8, u8); 3] = [(50, 4), (53, 1), (54, 4)];

/// A message with the options alone that matter here.
///
/// The parser asserts what it expects of some exotic options, and these bytes come from a guest: what isn't looked at isn't parsed.
fn essence(payload: &[u8]) -> Option<Vec<u8>> {
    let (fixed, mut options) = payload.split_at_checked(OPTIONS_AT)?;
    if fixed.last_chunk() != Some(&MAGIC) {
        return None;
    }
    let mut essence = fixed.to_vec();
    loop {
        options = match options {
            [] | [END, ..] => break,
            [PAD, rest @ ..] => rest,
            [code, length, rest @ ..] => {
                let (value, rest) = rest.split_at_checked(usize::from(*length))?;
                if ESSENTIAL.contains(&(*code, *length)) {
                    essence.extend_from_slice(&[*code, *length]);
                    essence.extend_from_slice(value);
                }
                rest
            }
            [_] => return None,
        };
    }
    essence.push(END);
    Some(essence)
}

fn v4(ip: IpAddr) -> Option<Ipv4Addr> {
    match ip {
        IpAddr::V4(ip) => Some(ip),
        IpAddr::V6(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dhcproto::v4::Flags;
    use proptest::prelude::*;

    fn offer() -> Offer {
        let network = serde_json::json!({
            "id": "n", "name": "net", "segment": {"type": "vxlan", "id": 5}, "mtu": 1450, "service_mac": "fa:16:3e:00:00:99",
            "subnets": [{"id": "s", "cidr": "10.0.0.0/24", "gateway_ip": "10.0.0.1", "dhcp": true, "service_ip": "10.0.0.2",
                "dns": ["9.9.9.9"], "host_routes": [{"destination": "10.9.0.0/16", "nexthop": "10.0.0.7"}]}],
        });
        let port = serde_json::json!({
            "id": "p", "network_id": "n", "mac": "fa:16:3e:00:00:01", "tap": "tap1", "hostname": "host-a",
            "fixed_ips": [{"subnet_id": "s", "ip": "10.0.0.5"}],
        });
        Offer::of(&serde_json::from_value(port).unwrap(), &serde_json::from_value(network).unwrap()).unwrap()
    }

    fn ask(kind: MessageType, edit: impl FnOnce(&mut Message)) -> Vec<u8> {
        let mac = offer().mac;
        let none = Ipv4Addr::UNSPECIFIED;
        let mut message = Message::new_with_id(7, none, none, none, none, &mac.0);
        message.opts_mut().insert(DhcpOption::MessageType(kind));
        edit(&mut message);
        let payload = message.to_vec().unwrap();
        let frame = Datagram {
            eth_src: mac,
            eth_dst: Mac([0xff; 6]),
            ip_src: none,
            ip_dst: Ipv4Addr::BROADCAST,
            src: 68,
            dst: 67,
            payload: &payload,
        };
        frame.to_frame()
    }

    fn answer(frame: &[u8]) -> Option<(Datagram<'static>, Message)> {
        let answer: &'static [u8] = offer().answer(frame)?.leak();
        let datagram = Datagram::parse(answer).unwrap();
        Some((datagram, Message::from_bytes(datagram.payload).unwrap()))
    }

    #[test]
    fn a_discover_is_offered_the_address() {
        let (frame, message) = answer(&ask(MessageType::Discover, |_| {})).unwrap();
        assert_eq!((frame.eth_dst, frame.ip_dst), (offer().mac, offer().ip));
        assert_eq!((message.yiaddr(), message.xid()), (offer().ip, 7));
        assert!(message.opts().has_msg_type(MessageType::Offer));
        let expected = [
            DhcpOption::SubnetMask(Ipv4Addr::new(255, 255, 255, 0)),
            DhcpOption::Router(vec![Ipv4Addr::new(10, 0, 0, 1)]),
            DhcpOption::DomainNameServer(vec![Ipv4Addr::new(9, 9, 9, 9)]),
            DhcpOption::Hostname("host-a".into()),
            DhcpOption::InterfaceMtu(1450),
            DhcpOption::AddressLeaseTime(86_400),
            DhcpOption::ServerIdentifier(Ipv4Addr::new(10, 0, 0, 2)),
            DhcpOption::ClasslessStaticRoute(vec![
                ("169.254.169.254/32".parse().unwrap(), Ipv4Addr::new(10, 0, 0, 2)),
                ("0.0.0.0/0".parse().unwrap(), Ipv4Addr::new(10, 0, 0, 1)),
                ("10.9.0.0/16".parse().unwrap(), Ipv4Addr::new(10, 0, 0, 7)),
            ]),
        ];
        for option in expected {
            assert_eq!(message.opts().get(OptionCode::from(&option)), Some(&option));
        }
    }

    #[test]
    fn a_request_is_acknowledged_for_the_own_address_only() {
        let request = |ip: [u8; 4]| {
            ask(MessageType::Request, |message| {
                message.opts_mut().insert(DhcpOption::RequestedIpAddress(ip.into()));
            })
        };
        assert!(answer(&request([10, 0, 0, 5])).unwrap().1.opts().has_msg_type(MessageType::Ack));
        let (frame, refusal) = answer(&request([10, 0, 0, 6])).unwrap();
        assert!(refusal.opts().has_msg_type(MessageType::Nak));
        assert_eq!((frame.ip_dst, refusal.yiaddr()), (Ipv4Addr::BROADCAST, Ipv4Addr::UNSPECIFIED));
    }

    #[test]
    fn a_renewal_is_answered_to_the_address() {
        let frame = ask(MessageType::Request, |message| {
            message.set_ciaddr([10, 0, 0, 5]).set_flags(Flags::default().set_broadcast());
        });
        let (frame, message) = answer(&frame).unwrap();
        assert_eq!(frame.ip_dst, Ipv4Addr::new(10, 0, 0, 5));
        assert!(message.opts().has_msg_type(MessageType::Ack));
    }

    #[test]
    fn an_inform_gets_options_and_no_lease() {
        let (_, message) = answer(&ask(MessageType::Inform, |message| {
            message.set_ciaddr([10, 0, 0, 5]);
        }))
        .unwrap();
        assert!(message.opts().get(OptionCode::AddressLeaseTime).is_none());
        assert!(message.opts().get(OptionCode::SubnetMask).is_some());
        assert!(message.yiaddr().is_unspecified());
    }

    #[test]
    fn a_message_without_the_magic_cookie_is_none() {
        let mut frame = ask(MessageType::Discover, |_| {});
        frame[42 + 236] = 0;
        assert!(answer(&frame).is_none());
    }

    #[test]
    fn what_is_not_ours_gets_no_answer() {
        assert!(answer(&ask(MessageType::Release, |_| {})).is_none());
        assert!(answer(&ask(MessageType::Decline, |_| {})).is_none());
        assert!(
            answer(&ask(MessageType::Discover, |message| {
                message.set_chaddr(&[2, 0, 0, 0, 0, 9]);
            }))
            .is_none()
        );
        assert!(
            answer(&ask(MessageType::Request, |message| {
                message.opts_mut().insert(DhcpOption::ServerIdentifier(Ipv4Addr::new(10, 0, 0, 66)));
            }))
            .is_none()
        );
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_stumble(noise in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..12), cut in any::<prop::sample::Index>()) {
            let mut frame = ask(MessageType::Discover, |message| {
                message.opts_mut().insert(DhcpOption::Hostname("guest".into()));
            });
            for (at, byte) in noise {
                let at = 42 + at.index(frame.len() - 42);
                frame[at] = byte;
            }
            let _ = offer().answer(&frame);
            frame.truncate(cut.index(frame.len()));
            let _ = offer().answer(&frame);
        }
    }
}
