//! What comes from the kernel: netlink messages.

#![allow(clippy::unwrap_used, reason = "a panic here is a failed test")]

use core::net::IpAddr;

use ostro_flow::wish::Mac;
use ostro_fuzz::{bent, run};
use ostro_openflow::netlink::message::{read_fdb, read_link, read_neighbour};
use ostro_openflow::netlink::plan::{Change, How};
use ostro_openflow::netlink::request::Request;
use ostro_openflow::netlink::socket::{Answers, failure};
use ostro_openflow::netlink::{Fdb, Link, LinkKind, Neighbour};
use proptest::prelude::*;

/// Messages that we send have the shape of those that we get.
fn seeds() -> Vec<Vec<u8>> {
    let (mac, remote) = (Mac([2, 0, 0, 0, 0, 1]), IpAddr::from([192, 0, 2, 1]));
    let kind = LinkKind::Vxlan { vni: 7, local: Some(remote), port: 4789, learning: true };
    let link = |kind| Link { name: "o-vx".into(), kind, mtu: Some(1400), mac: Some(mac), master: None, up: true };
    let changes = [
        Change::MakeLink(link(kind)),
        Change::MakeLink(link(LinkKind::Veth { peer: "o-b".into() })),
        Change::SetLink {
            index: 7,
            name: "o-vx".into(),
            mtu: Some(9),
            mac: Some(mac),
            master: Some(8),
            up: Some(true),
        },
        Change::Fdb(How::Add, 7, Fdb { mac, remote, vni: Some(9), port: Some(1) }),
        Change::Neighbour(How::Add, 7, Neighbour { ip: remote, mac }),
    ];
    let write = |change: &Change| {
        let mut bytes = Vec::new();
        Request::from(change).write(1, true, &mut bytes);
        bytes
    };
    changes.iter().map(write).collect()
}

#[test]
fn netlink_datagrams() {
    let all = seeds().concat();
    run("netlink datagrams", &bent([vec![all], seeds()].concat()), |bytes| {
        let read: usize = Answers(&bytes).map(|answer| 16 + answer.body.len()).sum();
        prop_assert!(read <= bytes.len());
        for answer in Answers(&bytes) {
            let _ = failure(answer.body);
            let _ = read_link(answer.body);
            let _ = read_fdb(answer.body, 7);
            let _ = read_neighbour(answer.body, 7);
        }
        Ok(())
    });
}

#[test]
fn netlink_bodies() {
    let bodies: Vec<Vec<u8>> = seeds().into_iter().map(|bytes| bytes[16..].to_vec()).collect();
    assert_eq!(read_link(&bodies[0]).unwrap().unwrap().link.unwrap().name(), "vxlan");
    assert!(read_fdb(&bodies[3], 7).unwrap().is_some() && read_neighbour(&bodies[4], 7).unwrap().is_some());
    run("netlink bodies", &bent(bodies), |body| {
        let _ = failure(&body);
        let _ = read_link(&body);
        let _ = read_fdb(&body, 7);
        let _ = read_neighbour(&body, 7);
        Ok(())
    });
}
