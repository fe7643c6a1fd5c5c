//! The wish of a security group and its rules, read from their JSON and made exact; see [`crate::wish`] and [`crate::text`].

use ipnet::IpNet;
use serde::Deserialize;
use serde::de::{Deserializer, Error as _};

use crate::wish::{Id, prefix_or_none};

/// Which way a rule looks, from the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// Connections made to the guest.
    Ingress,
    /// Connections made by the guest.
    Egress,
}

/// The address family of a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[allow(missing_docs)]
pub enum Family {
    #[serde(alias = "ipv4")]
    IPv4,
    #[serde(alias = "ipv6")]
    IPv6,
}

/// One security group rule: what it admits.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Rule {
    /// Its id.
    pub id: Id,
    /// Which way it looks.
    pub direction: Direction,
    /// Its address family.
    pub ethertype: Family,
    /// A name or number; empty for any.
    #[serde(default)]
    pub protocol: Protocol,
    /// The first port, or the ICMP type; -1 for any.
    #[serde(default = "any_port")]
    pub port_min: i32,
    /// The last port, or the ICMP code; -1 for any.
    #[serde(default = "any_port")]
    pub port_max: i32,
    /// The other side's prefix.
    #[serde(default, deserialize_with = "prefix_or_none")]
    pub remote_ip_prefix: Option<IpNet>,
    /// The group that the other side must be a member of; empty for any.
    #[serde(default)]
    pub remote_group_id: Id,
}

fn any_port() -> i32 {
    -1
}

/// An IP protocol in a rule; None for any.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Protocol(pub Option<u8>);

/// The names that the networking API knows (IANA's protocol numbers).
const PROTOCOLS: [(&str, u8); 23] = [
    ("icmp", 1),
    ("igmp", 2),
    ("ipip", 4),
    ("tcp", 6),
    ("egp", 8),
    ("udp", 17),
    ("dccp", 33),
    ("ipv6-encap", 41),
    ("ipv6-route", 43),
    ("ipv6-frag", 44),
    ("rsvp", 46),
    ("gre", 47),
    ("esp", 50),
    ("ah", 51),
    ("icmpv6", 58),
    ("ipv6-icmp", 58),
    ("ipv6-nonxt", 59),
    ("ipv6-opts", 60),
    ("ospf", 89),
    ("vrrp", 112),
    ("pgm", 113),
    ("sctp", 132),
    ("udplite", 136),
];

impl<'de> Deserialize<'de> for Protocol {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(input)?;
        if text.is_empty() || text == "any" {
            return Ok(Self(None));
        }
        let named = PROTOCOLS.iter().find(|(name, _)| *name == text).map(|(_, number)| *number);
        let number = named.or_else(|| text.parse().ok());
        number.map(|number| Self(Some(number))).ok_or_else(|| D::Error::custom(format!("{text:?} is no IP protocol")))
    }
}

/// A security group that a port on this host uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecurityGroup {
    /// Its id.
    pub id: Id,
    /// What its tenant calls it.
    pub name: String,
    /// Whether answers to an admitted connection are admitted with it.
    pub stateful: bool,
    /// What it admits.
    pub rules: Vec<Rule>,
}
