//! Questions and changes as netlink messages, written by the netlink-packet crates.

use core::net::IpAddr;

use netlink_packet_core::NetlinkSerializable;
use netlink_packet_core::{
    NLM_F_ACK, NLM_F_APPEND, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, NLM_F_REPLACE, NLM_F_REQUEST,
};
use netlink_packet_route::link::{
    InfoData, InfoKind, InfoVeth, InfoVxlan, LinkAttribute, LinkExtentMask, LinkFlags, LinkInfo, LinkMessage,
};
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use ostro_flow::wish::Mac;

use super::message::{Fdb, Link, LinkKind, Neighbour};
use super::plan::{Change, How};

const HEADER_BYTES: usize = 16;

/// One message to the kernel, without its number.
#[derive(Clone, Debug)]
pub struct Request {
    message: RouteNetlinkMessage,
    flags: u16,
}

impl Request {
    /// Asks for every link.
    #[must_use]
    pub fn links() -> Self {
        let mut message = LinkMessage::default();
        message.attributes.push(LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]));
        Self { message: RouteNetlinkMessage::GetLink(message), flags: NLM_F_DUMP }
    }

    /// Asks for one link.
    #[must_use]
    pub fn link(name: &str) -> Self {
        let mut message = LinkMessage::default();
        message.attributes.push(LinkAttribute::IfName(name.to_owned()));
        Self { message: RouteNetlinkMessage::GetLink(message), flags: NLM_F_ACK }
    }

    /// Asks for the forwarding table of a device.
    #[must_use]
    pub fn fdb(device: u32) -> Self {
        let mut message = NeighbourMessage::default();
        message.header.family = AddressFamily::Bridge;
        message.header.ifindex = device;
        Self { message: RouteNetlinkMessage::GetNeighbour(message), flags: NLM_F_DUMP }
    }

    /// Asks for the neighbours on a device.
    #[must_use]
    pub fn neighbours(device: u32) -> Self {
        let mut message = NeighbourMessage::default();
        message.attributes.push(NeighbourAttribute::IfIndex(device));
        Self { message: RouteNetlinkMessage::GetNeighbour(message), flags: NLM_F_DUMP }
    }

    /// Writes the message behind others, `asked` to be acknowledged even if it succeeds.
    pub fn write(&self, number: u32, asked: bool, out: &mut Vec<u8>) {
        let start = out.len();
        let length = HEADER_BYTES + self.message.buffer_len();
        out.resize(start + length.next_multiple_of(4), 0);
        let flags = NLM_F_REQUEST | self.flags | if asked { NLM_F_ACK } else { 0 };
        let header = &mut out[start..start + HEADER_BYTES];
        header[..4].copy_from_slice(&(length as u32).to_ne_bytes());
        header[4..6].copy_from_slice(&self.message.message_type().to_ne_bytes());
        header[6..8].copy_from_slice(&flags.to_ne_bytes());
        header[8..12].copy_from_slice(&number.to_ne_bytes());
        self.message.serialize(&mut out[start + HEADER_BYTES..start + length]);
    }
}

impl From<&Change> for Request {
    fn from(change: &Change) -> Self {
        match change {
            Change::MakeLink(link) => make(link),
            Change::RemoveLink { index, .. } => {
                let mut message = LinkMessage::default();
                message.header.index = *index;
                Self { message: RouteNetlinkMessage::DelLink(message), flags: 0 }
            }
            Change::SetLink { index, mtu, mac, master, up, .. } => {
                let mut message = LinkMessage::default();
                message.header.index = *index;
                message.attributes.extend(mtu.map(LinkAttribute::Mtu));
                message.attributes.extend(mac.map(|mac| LinkAttribute::Address(mac.0.to_vec())));
                message.attributes.extend(master.map(LinkAttribute::Controller));
                if let Some(up) = up {
                    message.header.change_mask = LinkFlags::Up;
                    message.header.flags = if *up { LinkFlags::Up } else { LinkFlags::empty() };
                }
                Self { message: RouteNetlinkMessage::NewLink(message), flags: 0 }
            }
            Change::Fdb(how, device, entry) => fdb(*how, *device, entry),
            Change::Neighbour(how, device, neighbour) => self::neighbour(*how, *device, neighbour),
        }
    }
}

fn make(link: &Link) -> Request {
    let (kind, data) = match &link.kind {
        LinkKind::Bridge => (InfoKind::Bridge, None),
        LinkKind::Veth { peer } => {
            let mut other = LinkMessage::default();
            other.attributes.push(LinkAttribute::IfName(peer.clone()));
            (InfoKind::Veth, Some(InfoData::Veth(InfoVeth::Peer(other))))
        }
        LinkKind::Vxlan { vni, local, port, learning } => {
            let mut data = vec![InfoVxlan::Id(*vni), InfoVxlan::Port(*port), InfoVxlan::Learning(*learning)];
            data.extend(local.map(|local| match local {
                IpAddr::V4(local) => InfoVxlan::Local(local),
                IpAddr::V6(local) => InfoVxlan::Local6(local),
            }));
            (InfoKind::Vxlan, Some(InfoData::Vxlan(data)))
        }
    };
    let mut info = vec![LinkInfo::Kind(kind)];
    info.extend(data.map(LinkInfo::Data));
    let mut message = LinkMessage::default();
    message.attributes.push(LinkAttribute::IfName(link.name.clone()));
    message.attributes.push(LinkAttribute::LinkInfo(info));
    Request { message: RouteNetlinkMessage::NewLink(message), flags: NLM_F_CREATE | NLM_F_EXCL }
}

fn address(ip: IpAddr) -> NeighbourAddress {
    NeighbourAddress::from(ip)
}

fn entry(family: AddressFamily, device: u32, ip: IpAddr, mac: Mac) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = family;
    message.header.ifindex = device;
    message.header.state = NeighbourState::Permanent;
    message.attributes = Vec::with_capacity(4);
    message.attributes.push(NeighbourAttribute::Destination(address(ip)));
    message.attributes.push(NeighbourAttribute::LinkLayerAddress(mac.0.to_vec()));
    message
}

fn fdb(how: How, device: u32, wanted: &Fdb) -> Request {
    let mut message = entry(AddressFamily::Bridge, device, wanted.remote, wanted.mac);
    message.header.flags = NeighbourFlags::Own;
    message.attributes.extend(wanted.vni.map(NeighbourAttribute::Vni));
    message.attributes.extend(wanted.port.map(NeighbourAttribute::Port));
    let flags = match how {
        How::Add if wanted.mac == Mac::default() => NLM_F_CREATE | NLM_F_APPEND,
        How::Add => NLM_F_CREATE | NLM_F_EXCL,
        How::Replace => NLM_F_CREATE | NLM_F_REPLACE,
        How::Remove => return Request { message: RouteNetlinkMessage::DelNeighbour(message), flags: 0 },
    };
    Request { message: RouteNetlinkMessage::NewNeighbour(message), flags }
}

fn neighbour(how: How, device: u32, wanted: &Neighbour) -> Request {
    let family = if wanted.ip.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let message = entry(family, device, wanted.ip, wanted.mac);
    match how {
        How::Remove => Request { message: RouteNetlinkMessage::DelNeighbour(message), flags: 0 },
        // What the kernel has learned gives way to what is said.
        How::Add | How::Replace => {
            Request { message: RouteNetlinkMessage::NewNeighbour(message), flags: NLM_F_CREATE | NLM_F_REPLACE }
        }
    }
}
