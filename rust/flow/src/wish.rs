//! The network nouns of the agent contract (`ostro.model.wishes`), read from their JSON and made exact.
//!
//! Each wish has the wire form (`serde`, unknown fields ignored, missing ones defaulted) and here the parsed form, in
//! which addresses are addresses and what can't be is refused. Parsing is the only place where a wish can be found wrong; behind
//! it every function is total.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use ipnet::{IpNet, Ipv4Net};
use serde::Deserialize;
use serde::de::{Deserializer, Error as _};

pub use crate::router::{Face, Floating, Gateway, Route, Router};
pub use crate::security_group::{Direction, Family, Protocol, Rule, SecurityGroup};

/// The id of an object of the control plane.
pub type Id = Arc<str>;

/// A wish that can't be.
#[derive(Debug, thiserror::Error)]
pub enum WishError {
    /// The JSON isn't of this noun's shape, or a value in it is impossible.
    #[error("{0}")]
    Malformed(#[from] serde_json::Error),
    /// Its id isn't the one that it was put under.
    #[error("the wish put as {put} calls itself {own}")]
    OtherId {
        /// The id that it was put under.
        put: String,
        /// The id in the body.
        own: String,
    },
}

/// A link-layer address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// The IPv6 link-local address that a card makes of its own address (RFC 4291, appendix A).
    #[must_use]
    pub fn link_local(self) -> Ipv6Addr {
        let [a, b, c, d, e, f] = self.0;
        let mut octets = [0; 16];
        octets[..2].copy_from_slice(&[0xfe, 0x80]);
        octets[8..].copy_from_slice(&[a ^ 2, b, c, 0xff, 0xfe, d, e, f]);
        octets.into()
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, f] = self.0;
        write!(out, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}")
    }
}

impl FromStr for Mac {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut octets = [0; 6];
        let mut parts = text.split([':', '-']);
        for octet in &mut octets {
            let part = parts.next().filter(|part| part.len() == 2);
            *octet = part
                .and_then(|part| u8::from_str_radix(part, 16).ok())
                .ok_or_else(|| format!("{text:?} is not a MAC address"))?;
        }
        if parts.next().is_some() {
            return Err(format!("{text:?} is not a MAC address"));
        }
        Ok(Self(octets))
    }
}

/// Reads a string by `FromStr`; empty is the type's default where the field is optional.
pub(crate) fn parsed<'de, D: Deserializer<'de>, T: FromStr<Err: fmt::Display>>(input: D) -> Result<T, D::Error> {
    let text = <std::borrow::Cow<'de, str>>::deserialize(input)?;
    text.parse().map_err(|error| D::Error::custom(format!("{text:?}: {error}")))
}

pub(crate) fn parsed_or_none<'de, D: Deserializer<'de>, T: FromStr<Err: fmt::Display>>(
    input: D,
) -> Result<Option<T>, D::Error> {
    let text = <std::borrow::Cow<'de, str>>::deserialize(input)?;
    if text.is_empty() {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|error| D::Error::custom(format!("{text:?}: {error}")))
}

/// Reads an address or a prefix, as a prefix, its host bits cleared.
pub(crate) fn prefix<'de, D: Deserializer<'de>>(input: D) -> Result<IpNet, D::Error> {
    prefix_or_none(input)?.ok_or_else(|| D::Error::custom("an address or prefix is missing"))
}

pub(crate) fn prefix_or_none<'de, D: Deserializer<'de>>(input: D) -> Result<Option<IpNet>, D::Error> {
    let text = <std::borrow::Cow<'de, str>>::deserialize(input)?;
    if text.is_empty() {
        return Ok(None);
    }
    let net = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
    net.map(|net| Some(net.trunc())).map_err(|error| D::Error::custom(format!("{text:?}: {error}")))
}

pub(crate) fn addresses<'de, D: Deserializer<'de>>(input: D) -> Result<Vec<IpNet>, D::Error> {
    #[derive(Deserialize)]
    struct Item(#[serde(deserialize_with = "prefix")] IpNet);
    Ok(Vec::<Item>::deserialize(input)?.into_iter().map(|item| item.0).collect())
}

pub(crate) fn yes() -> bool {
    true
}

/// How a network's frames travel between hosts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum SegmentType {
    Vxlan,
    Gre,
    Geneve,
    Vlan,
    Flat,
    Local,
}

/// The segment that carries a network.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Segment {
    /// Its kind.
    #[serde(rename = "type")]
    pub kind: SegmentType,
    /// The tunnel key or VLAN number.
    #[serde(default)]
    pub id: u32,
    /// The physical network under a VLAN or flat one.
    #[serde(default)]
    pub physical_network: String,
}

/// A route that DHCP hands out.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct HostRoute {
    /// Where to.
    #[serde(deserialize_with = "prefix")]
    pub destination: IpNet,
    /// By which router.
    #[serde(deserialize_with = "parsed")]
    pub nexthop: IpAddr,
}

/// One subnet of a network.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Subnet {
    /// Its id.
    pub id: Id,
    /// Its prefix.
    #[serde(deserialize_with = "prefix")]
    pub cidr: IpNet,
    /// Its router, if it has one.
    #[serde(default, deserialize_with = "parsed_or_none")]
    pub gateway_ip: Option<IpAddr>,
    /// Whether its ports get their addresses by DHCP.
    #[serde(default)]
    pub dhcp: bool,
    /// The address of DHCP and next hop to metadata.
    #[serde(default, deserialize_with = "parsed_or_none")]
    pub service_ip: Option<IpAddr>,
    /// Name servers, at most [`DNS_MOST`] of which are used.
    #[serde(default)]
    pub dns: Vec<IpAddr>,
    /// Further routes.
    #[serde(default)]
    pub host_routes: Vec<HostRoute>,
    /// What routers advertise, if it is IPv6.
    #[serde(default)]
    pub ra_mode: Ipv6Mode,
    /// How its ports get their IPv6 addresses.
    #[serde(default)]
    pub address_mode: Ipv6Mode,
}

/// How ports of an IPv6 subnet learn their address and what else there is to know.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ipv6Mode {
    /// Not by our doing.
    #[default]
    #[serde(rename = "")]
    None,
    /// The address is made of the advertised prefix.
    Slaac,
    /// The same, and the rest is asked for by DHCPv6.
    #[serde(rename = "dhcpv6-stateless")]
    Stateless,
    /// Everything is asked for by DHCPv6.
    #[serde(rename = "dhcpv6-stateful")]
    Stateful,
}

/// A network that has ports on this host.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Network {
    /// Its id.
    pub id: Id,
    /// What its tenant calls it.
    pub name: String,
    /// What carries it.
    pub segment: Segment,
    /// The largest IP packet, in bytes.
    pub mtu: u16,
    /// The owner of every service address.
    #[serde(deserialize_with = "parsed")]
    pub service_mac: Mac,
    /// Its subnets.
    #[serde(default)]
    pub subnets: Vec<Subnet>,
}

/// An address of a port in one subnet.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct FixedIp {
    /// The subnet.
    pub subnet_id: Id,
    /// The address.
    #[serde(deserialize_with = "parsed")]
    pub ip: IpAddr,
}

/// A further source address that a port may use.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct AddressPair {
    /// The address or prefix.
    #[serde(deserialize_with = "prefix")]
    pub ip: IpNet,
    /// With which link-layer address; None for the port's own.
    #[serde(default, deserialize_with = "parsed_or_none")]
    pub mac: Option<Mac>,
}

/// A port on this host.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Port {
    /// Its id.
    pub id: Id,
    /// Its network.
    pub network_id: Id,
    /// Its link-layer address.
    #[serde(deserialize_with = "parsed")]
    pub mac: Mac,
    /// The name of its link device.
    pub tap: String,
    /// Its addresses.
    #[serde(default)]
    pub fixed_ips: Vec<FixedIp>,
    /// The groups that it is a member of.
    #[serde(default)]
    pub security_groups: Vec<Id>,
    /// What else it may send as.
    #[serde(default)]
    pub address_pairs: Vec<AddressPair>,
    /// Whether it is filtered at all.
    #[serde(default = "yes")]
    pub port_security: bool,
    /// Whether it may send and receive.
    #[serde(default = "yes")]
    pub admin_up: bool,
    /// The server that it belongs to.
    #[serde(default)]
    pub server_id: String,
    /// The name that DHCP gives it.
    #[serde(default)]
    pub hostname: String,
}

/// A port on another host.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Peer {
    /// Its id.
    pub id: Id,
    /// Its network.
    pub network_id: Id,
    /// Its link-layer address.
    #[serde(deserialize_with = "parsed")]
    pub mac: Mac,
    /// The tunnel address of its host.
    #[serde(deserialize_with = "parsed")]
    pub tunnel_ip: Ipv4Addr,
    /// Its addresses.
    #[serde(default, deserialize_with = "addresses")]
    pub ips: Vec<IpNet>,
    /// The groups that it is a member of.
    #[serde(default)]
    pub security_groups: Vec<Id>,
    /// What else it may send as.
    #[serde(default)]
    pub address_pairs: Vec<AddressPair>,
}

/// The most name servers that go into a DHCP answer.
pub const DNS_MOST: usize = 8;

impl Subnet {
    /// Whether its ports may ask for anything by DHCPv6.
    #[must_use]
    pub fn speaks_dhcpv6(&self) -> bool {
        let by_dhcp = matches!(self.address_mode, Ipv6Mode::Stateful | Ipv6Mode::Stateless);
        self.dhcp && by_dhcp && matches!(self.cidr, IpNet::V6(_))
    }
}

impl Network {
    /// Its IPv4 subnet of this id, if it is one.
    #[must_use]
    pub fn subnet_v4(&self, id: &str) -> Option<(&Subnet, Ipv4Net)> {
        let subnet = self.subnets.iter().find(|subnet| &*subnet.id == id)?;
        match subnet.cidr {
            IpNet::V4(net) => Some((subnet, net)),
            IpNet::V6(_) => None,
        }
    }
}

/// Reads the wish `body` that was put under `id`.
///
/// # Errors
/// The body is no wish of type `T`, or names itself otherwise.
pub fn parse<T: serde::de::DeserializeOwned + Named>(id: &str, body: &[u8]) -> Result<T, WishError> {
    let wish: T = serde_json::from_slice(body)?;
    if wish.id() != id {
        return Err(WishError::OtherId { put: id.to_owned(), own: wish.id().to_owned() });
    }
    Ok(wish)
}

/// What has an id.
pub trait Named {
    /// The id.
    fn id(&self) -> &str;
}

macro_rules! named {
    ($($wish:ty),*) => { $(impl Named for $wish { fn id(&self) -> &str { &self.id } })* };
}
named!(Network, Port, Peer, Router, Floating);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_reads_with_its_defaults() {
        let body = br#"{"id":"p","network_id":"n","project_id":"x","mac":"FA:16:3e:00:00:01","tap":"tap1","later":1}"#;
        let port: Port = parse("p", body).unwrap();
        assert_eq!(port.mac.to_string(), "fa:16:3e:00:00:01");
        assert!(port.port_security && port.admin_up && port.fixed_ips.is_empty());
    }

    #[test]
    fn an_address_pair_may_be_a_prefix_or_an_address() {
        let pair: AddressPair = serde_json::from_str(r#"{"ip":"10.0.0.7/24","mac":""}"#).unwrap();
        assert_eq!(pair.ip.to_string(), "10.0.0.0/24");
        let pair: AddressPair = serde_json::from_str(r#"{"ip":"10.0.0.7"}"#).unwrap();
        assert_eq!(pair.ip.to_string(), "10.0.0.7/32");
    }

    #[test]
    fn protocols_are_names_or_numbers() {
        let read = |text: &str| serde_json::from_str::<Protocol>(text).map(|protocol| protocol.0).ok();
        assert_eq!(read(r#""tcp""#), Some(Some(6)));
        assert_eq!(read(r#""132""#), Some(Some(132)));
        assert_eq!(read(r#""""#), Some(None));
        assert_eq!(read(r#""tpc""#), None);
    }

    #[test]
    fn nonsense_is_refused() {
        assert!(parse::<Peer>("p", br#"{"id":"p","network_id":"n","mac":"zz","tunnel_ip":"1.2.3.4"}"#).is_err());
        assert!(
            parse::<Peer>("p", br#"{"id":"q","network_id":"n","mac":"02:00:00:00:00:01","tunnel_ip":"1.2.3.4"}"#)
                .is_err()
        );
        assert!("02:00:00:00:00:01:02".parse::<Mac>().is_err());
        assert!("02:00:00:00:0001".parse::<Mac>().is_err());
    }

    #[test]
    fn the_link_local_address_is_made_of_the_mac() {
        let mac: Mac = "fa:16:3e:01:02:03".parse().unwrap();
        assert_eq!(mac.link_local().to_string(), "fe80::f816:3eff:fe01:203");
    }
}
