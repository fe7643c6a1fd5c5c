//! The wishes of routers and floating addresses, read from their JSON and made exact; see [`crate::wish`].

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use serde::Deserialize;
use serde::de::{Deserializer, Error as _};

use crate::wish::{Id, Mac, parsed, parsed_or_none, prefix, yes};

/// An address in its subnet, host bits kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
pub struct Interface(#[serde(deserialize_with = "interface")] pub IpNet);

fn interface<'de, D: Deserializer<'de>>(input: D) -> Result<IpNet, D::Error> {
    let text = <std::borrow::Cow<'de, str>>::deserialize(input)?;
    text.parse().map_err(|error| D::Error::custom(format!("{text:?}: {error}")))
}

/// Where a router stands in a network.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Deserialize)]
pub struct Face {
    /// The network.
    pub network_id: Id,
    /// The router's link-layer address there; no other router's and no other network's.
    #[serde(deserialize_with = "parsed")]
    pub mac: Mac,
    /// Its addresses there, each with the prefix of its subnet.
    #[serde(default)]
    pub ips: Vec<Interface>,
}

/// The way of a router to the outside.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Gateway {
    /// Where the router stands in the external network.
    #[serde(flatten)]
    pub face: Face,
    /// The next hops to everywhere else, at most one of each family.
    #[serde(default)]
    pub next_hops: Vec<IpAddr>,
    /// Whether what has no floating address goes out under the router's own.
    #[serde(default = "yes")]
    pub snat: bool,
    /// The tunnel address of the host that the router goes out by; None if it is this one.
    #[serde(default, deserialize_with = "parsed_or_none")]
    pub tunnel_ip: Option<Ipv4Addr>,
}

/// A route beyond the subnets that a router stands in.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Route {
    /// Where to.
    #[serde(deserialize_with = "prefix")]
    pub destination: IpNet,
    /// By which neighbour.
    #[serde(deserialize_with = "parsed")]
    pub nexthop: IpAddr,
}

/// A router between networks that have ports on this host.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Router {
    /// Its id.
    pub id: Id,
    /// What its tenant calls it.
    #[serde(default)]
    pub name: String,
    /// Whether it forwards at all.
    #[serde(default = "yes")]
    pub admin_up: bool,
    /// Where it stands.
    #[serde(default)]
    pub interfaces: Vec<Face>,
    /// Its way out, if it has one.
    #[serde(default)]
    pub gateway: Option<Gateway>,
    /// Further routes.
    #[serde(default)]
    pub routes: Vec<Route>,
}

/// An address of an external network that stands for a port's own.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Floating {
    /// Its id.
    pub id: Id,
    /// The router that translates it.
    pub router_id: Id,
    /// The address outside.
    #[serde(deserialize_with = "parsed")]
    pub floating_ip: Ipv4Addr,
    /// The address inside.
    #[serde(deserialize_with = "parsed")]
    pub fixed_ip: Ipv4Addr,
}

impl Face {
    /// Its first IPv4 address.
    #[must_use]
    pub fn ipv4(&self) -> Option<Ipv4Addr> {
        self.ips.iter().find_map(|ip| match ip.0 {
            IpNet::V4(net) => Some(net.addr()),
            IpNet::V6(_) => None,
        })
    }

    /// Its IPv6 addresses, and the link-local one that its MAC makes if there is any other.
    #[must_use]
    pub fn ipv6(&self) -> Vec<Ipv6Addr> {
        let mut all: Vec<Ipv6Addr> = self
            .ips
            .iter()
            .filter_map(|ip| match ip.0 {
                IpNet::V6(net) => Some(net.addr()),
                IpNet::V4(_) => None,
            })
            .collect();
        if !all.is_empty() {
            all.push(self.mac.link_local());
        }
        all
    }

    /// Whether an address is in one of its subnets.
    #[must_use]
    pub fn reaches(&self, ip: IpAddr) -> bool {
        let link_local = matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local());
        link_local || self.ips.iter().any(|own| own.0.contains(&ip))
    }
}

impl Router {
    /// Where it stands, inside first, and whether that is outside.
    pub fn faces(&self) -> impl Iterator<Item = (&Face, bool)> {
        let outside = self.gateway.iter().map(|gateway| (&gateway.face, true));
        self.interfaces.iter().map(|face| (face, false)).chain(outside)
    }

    /// Its gateway, if it is on this host.
    #[must_use]
    pub fn gateway_here(&self) -> Option<&Gateway> {
        self.gateway.as_ref().filter(|gateway| gateway.tunnel_ip.is_none())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wish::parse;

    #[test]
    fn a_router_reads_with_its_defaults() {
        let body = br#"{"id":"r","interfaces":[{"network_id":"n","mac":"02:00:00:00:00:01","ips":["10.0.0.1/24","fd00::1/64"]}],
            "gateway":{"network_id":"x","mac":"02:00:00:00:00:02","ips":["203.0.113.9/24"],"next_hops":["203.0.113.1"],
            "tunnel_ip":"192.0.2.1"},"routes":[{"destination":"10.9.0.0/16","nexthop":"10.0.0.7"}]}"#;
        let router: Router = parse("r", body).unwrap();
        let face = &router.interfaces[0];
        assert_eq!(face.ipv4(), Some(Ipv4Addr::new(10, 0, 0, 1)));
        assert_eq!(face.ipv6(), ["fd00::1".parse::<Ipv6Addr>().unwrap(), face.mac.link_local()]);
        assert!(face.reaches("10.0.0.77".parse().unwrap()) && !face.reaches("10.0.1.1".parse().unwrap()));
        assert!(router.admin_up && router.gateway_here().is_none());
        assert_eq!(router.faces().count(), 2);
    }
}
