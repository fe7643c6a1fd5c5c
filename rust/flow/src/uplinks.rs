//! The switch's ports that aren't guests', and which of them frames of a network leave by.

use core::net::Ipv4Addr;
use std::collections::BTreeMap;

use ipnet::Ipv4Net;

use crate::wish::Mac;

/// The port of the switch behind which this host's metadata server listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MetadataPort {
    /// Its OpenFlow number.
    pub port: u32,
    /// Its link-layer address.
    pub mac: Mac,
    /// The address that the server listens on.
    pub address: Ipv4Addr,
    /// The TCP port that it listens on.
    pub tcp_port: u16,
    /// The addresses that guests' requests come from, one for each.
    pub aliases: Ipv4Net,
}

/// The switch's ports that aren't guests'.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Uplinks {
    /// Where metadata requests go.
    pub metadata: Option<MetadataPort>,
    /// The VXLAN tunnel port.
    pub vxlan: Option<u32>,
    /// The GRE tunnel port.
    pub gre: Option<u32>,
    /// The Geneve tunnel port.
    pub geneve: Option<u32>,
    /// The patch port to the bridge of each physical network.
    pub physical: BTreeMap<String, u32>,
}

/// How frames of a network leave this host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carrier {
    /// By a tunnel port, with this key.
    Tunnel {
        /// The OpenFlow number of the port.
        port: u32,
        /// The tunnel key.
        key: u32,
    },
    /// By a patch port to a physical network, with this tag.
    Physical {
        /// The OpenFlow number of the port.
        port: u32,
        /// The VLAN; None for untagged.
        vlan: Option<u16>,
    },
    /// Not at all.
    None,
}
