//! What netlink messages say, as values. Numbers from the kernel's `rtnetlink.h`, `if_link.h` and `neighbour.h`.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::collections::BTreeMap;

use ostro_flow::wish::Mac;

/// The error number of a device that isn't there.
pub(crate) const NO_DEVICE: i32 = 19;
/// Bytes of a link message before its attributes.
const LINK_HEADER_BYTES: usize = 16;
/// Bytes of a neighbour message before its attributes.
const NEIGHBOUR_HEADER_BYTES: usize = 12;
const PERMANENT: u16 = 0x80;
const OWN: u8 = 2;
const UP: u32 = 1;
const AF_BRIDGE: u8 = 7;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;

/// A link that should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its name, at most 15 bytes.
    pub name: String,
    /// What it is.
    pub kind: LinkKind,
    /// The largest packet in bytes; None leaves it as it is.
    pub mtu: Option<u32>,
    /// Its address; None leaves it as it is.
    pub mac: Option<Mac>,
    /// The bridge that it is a port of.
    pub master: Option<String>,
    /// Whether it takes part.
    pub up: bool,
}

/// The kinds of links that a back end on the kernel's own bridge needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkKind {
    /// Forwards between its ports.
    Bridge,
    /// One end of a pair; the other is called `peer`.
    Veth {
        /// The other end.
        peer: String,
    },
    /// A tunnel whose destinations are in its forwarding table.
    Vxlan {
        /// The number of the network.
        vni: u32,
        /// The address to send from.
        local: Option<IpAddr>,
        /// The UDP port.
        port: u16,
        /// Whether it learns from what it receives.
        learning: bool,
    },
}

impl LinkKind {
    /// Its name.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Bridge => "bridge",
            Self::Veth { .. } => "veth",
            Self::Vxlan { .. } => "vxlan",
        }
    }
}

/// A link as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The kernel's number for it.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// The name of what it is; empty for hardware and the loopback.
    pub kind: String,
    /// What it is, if it is of a kind that we make. The peer of a pair is empty if it is elsewhere.
    pub link: Option<LinkKind>,
    /// The largest packet in bytes.
    pub mtu: u32,
    /// Its address, if it has one of six bytes.
    pub mac: Option<Mac>,
    /// The number of the bridge that it is a port of, 0 for none.
    pub master: u32,
    /// The number of its other end or of what it lies on, 0 for none.
    pub below: u32,
    /// Whether it takes part.
    pub up: bool,
}

/// Where a VXLAN device sends frames for an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fdb {
    /// The address of the frames; all zeros for those that no other entry names.
    pub mac: Mac,
    /// Where to.
    pub remote: IpAddr,
    /// In which network, if not in the device's own.
    pub vni: Option<u32>,
    /// To which UDP port, if not to the device's own.
    pub port: Option<u16>,
}

/// Who has an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Neighbour {
    /// The address.
    pub ip: IpAddr,
    /// Whose it is.
    pub mac: Mac,
}

/// Goes over attributes: type and value. Ends early where they are cut off.
pub(crate) struct Attributes<'a>(pub(crate) &'a [u8]);

impl<'a> Iterator for Attributes<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        const TYPE_MASK: u16 = 0x3fff;
        let length = usize::from(u16::from_ne_bytes(*self.0.first_chunk()?));
        let kind = u16::from_ne_bytes(*self.0.get(2..)?.first_chunk()?) & TYPE_MASK;
        let value = self.0.get(4..length)?;
        self.0 = self.0.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    }
}

fn number(value: &[u8]) -> Option<u32> {
    value.first_chunk().map(|bytes| u32::from_ne_bytes(*bytes))
}

fn port(value: &[u8]) -> Option<u16> {
    value.first_chunk().map(|bytes| u16::from_be_bytes(*bytes))
}

fn text(value: &[u8]) -> String {
    let end = value.iter().position(|byte| *byte == 0).unwrap_or(value.len());
    String::from_utf8_lossy(&value[..end]).into_owned()
}

fn address(value: &[u8]) -> Option<IpAddr> {
    match value.len() {
        4 => value.first_chunk::<4>().map(|bytes| Ipv4Addr::from(*bytes).into()),
        16 => value.first_chunk::<16>().map(|bytes| Ipv6Addr::from(*bytes).into()),
        _ => None,
    }
}

fn mac(value: &[u8]) -> Option<Mac> {
    value.first_chunk().filter(|_| value.len() == 6).map(|bytes| Mac(*bytes))
}

/// Reads the body of a link message. None if it is cut off, Some(None) if it has no name.
pub fn read_link(body: &[u8]) -> Option<Option<Found>> {
    const ADDRESS: u16 = 1;
    const NAME: u16 = 3;
    const MTU: u16 = 4;
    const BELOW: u16 = 5;
    const MASTER: u16 = 10;
    const INFO: u16 = 18;

    let header = body.first_chunk::<LINK_HEADER_BYTES>()?;
    let (index, flags) = (number(&header[4..8])?, number(&header[8..12])?);
    let mut found = Found {
        index,
        name: String::new(),
        kind: String::new(),
        link: None,
        mtu: 0,
        mac: None,
        master: 0,
        below: 0,
        up: flags & UP != 0,
    };
    for (kind, value) in Attributes(&body[LINK_HEADER_BYTES..]) {
        match kind {
            ADDRESS => found.mac = mac(value),
            NAME => found.name = text(value),
            MTU => found.mtu = number(value)?,
            BELOW => found.below = number(value)?,
            MASTER => found.master = number(value)?,
            INFO => (found.kind, found.link) = read_info(value),
            _ => {}
        }
    }
    Some((!found.name.is_empty()).then_some(found))
}

/// Reads what kind of link it is.
fn read_info(info: &[u8]) -> (String, Option<LinkKind>) {
    const KIND: u16 = 1;
    const DATA: u16 = 2;
    let of = |wanted| Attributes(info).find(|(kind, _)| *kind == wanted).map(|(_, value)| value);
    let kind = of(KIND).map(text).unwrap_or_default();
    let link = match kind.as_str() {
        "bridge" => Some(LinkKind::Bridge),
        "veth" => Some(LinkKind::Veth { peer: String::new() }),
        "vxlan" => Some(read_vxlan(of(DATA).unwrap_or_default())),
        _ => None,
    };
    (kind, link)
}

fn read_vxlan(data: &[u8]) -> LinkKind {
    const ID: u16 = 1;
    const LOCAL: u16 = 4;
    const LEARNING: u16 = 7;
    const PORT: u16 = 15;
    const LOCAL6: u16 = 17;
    let of = |wanted| Attributes(data).find(|(kind, _)| *kind == wanted).map(|(_, value)| value);
    LinkKind::Vxlan {
        vni: of(ID).and_then(number).unwrap_or(0),
        local: of(LOCAL).or_else(|| of(LOCAL6)).and_then(address).filter(|address| !address.is_unspecified()),
        port: of(PORT).and_then(port).unwrap_or(0),
        learning: of(LEARNING).is_some_and(|value| value.first().is_some_and(|byte| *byte != 0)),
    }
}

/// Links by name, each end of a pair knowing the other's.
pub(crate) fn named(found: Vec<Found>) -> BTreeMap<String, Found> {
    let names: BTreeMap<u32, String> = found.iter().map(|found| (found.index, found.name.clone())).collect();
    let with_peer = |mut found: Found| {
        if let Some(LinkKind::Veth { peer }) = &mut found.link {
            *peer = names.get(&found.below).cloned().unwrap_or_default();
        }
        (found.name.clone(), found)
    };
    found.into_iter().map(with_peer).collect()
}

/// The header of a neighbour message: family, device, state, flags.
fn neighbour_header(body: &[u8]) -> Option<(u8, u32, u16, u8)> {
    let header = body.first_chunk::<NEIGHBOUR_HEADER_BYTES>()?;
    Some((header[0], number(&header[4..8])?, u16::from_ne_bytes([header[8], header[9]]), header[10]))
}

/// Reads the body of a neighbour message as an entry of a forwarding table. None if it is cut off, Some(None) if it is no
/// entry of this device that was set.
pub fn read_fdb(body: &[u8], device: u32) -> Option<Option<Fdb>> {
    const REMOTE: u16 = 1;
    const MAC: u16 = 2;
    const PORT: u16 = 6;
    const VNI: u16 = 7;
    let (family, index, state, flags) = neighbour_header(body)?;
    if family != AF_BRIDGE || index != device || state & PERMANENT == 0 || flags & OWN == 0 {
        return Some(None);
    }
    let of = |wanted| {
        let mut attributes = Attributes(&body[NEIGHBOUR_HEADER_BYTES..]);
        attributes.find(|(kind, _)| *kind == wanted).map(|(_, value)| value)
    };
    let (mac, remote) = (of(MAC).and_then(mac), of(REMOTE).and_then(address));
    let entry = |(mac, remote)| Fdb { mac, remote, vni: of(VNI).and_then(number), port: of(PORT).and_then(port) };
    Some(mac.zip(remote).map(entry))
}

/// Reads the body of a neighbour message. None if it is cut off, Some(None) if it is no neighbour of this device that was set.
pub fn read_neighbour(body: &[u8], device: u32) -> Option<Option<Neighbour>> {
    const IP: u16 = 1;
    const MAC: u16 = 2;
    let (family, index, state, _) = neighbour_header(body)?;
    if ![AF_INET, AF_INET6].contains(&family) || index != device || state & PERMANENT == 0 {
        return Some(None);
    }
    let of = |wanted| {
        let mut attributes = Attributes(&body[NEIGHBOUR_HEADER_BYTES..]);
        attributes.find(|(kind, _)| *kind == wanted).map(|(_, value)| value)
    };
    Some(of(IP).and_then(address).zip(of(MAC).and_then(mac)).map(|(ip, mac)| Neighbour { ip, mac }))
}
