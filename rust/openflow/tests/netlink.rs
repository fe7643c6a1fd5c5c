//! Against the real kernel, in a network namespace of the test's own.

#![allow(clippy::unwrap_used, reason = "a panic here is a failed test")]

use core::net::IpAddr;
use std::process::Command;

use ostro_flow::wish::Mac;
use ostro_openflow::netlink::{Fdb, Link, LinkKind, Neighbour, Netlink, NetlinkError, Report};

const INSIDE: &str = "OSTRO_TEST_NAMESPACE";

/// Runs the test of this name again in a namespace of its own, where `work` is done.
fn in_namespace(name: &str, work: fn()) {
    if std::env::var_os(INSIDE).is_some() {
        return work();
    }
    // Whoever isn't root is root in a user namespace of theirs.
    let unshare = ["--user", "--map-root-user", "--net", "--"];
    let options = if rustix::process::geteuid().is_root() { &unshare[2..] } else { &unshare[..] };
    let test = std::env::current_exe().unwrap();
    let mut command = Command::new("unshare");
    command.args(options).arg(test).args(["--exact", name, "--nocapture"]).env(INSIDE, "1");
    let done = command.output().unwrap();
    let said = String::from_utf8_lossy(&done.stdout).into_owned() + &String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success() && said.contains("1 passed"), "{said}");
}

fn mac(number: u32) -> Mac {
    let [_, a, b, c] = number.to_be_bytes();
    Mac([2, 0, 0, a, b, c])
}

fn remote(number: u8) -> IpAddr {
    IpAddr::from([192, 0, 2, number])
}

fn link(name: &str, kind: LinkKind) -> Link {
    Link { name: name.to_owned(), kind, mtu: Some(1400), mac: None, master: None, up: true }
}

fn vxlan(vni: u32) -> LinkKind {
    LinkKind::Vxlan { vni, local: Some(remote(1)), port: 4789, learning: false }
}

fn counts(report: &Report) -> (usize, usize, usize) {
    assert!(report.refused.is_empty(), "{:?}", report.refused);
    (report.added, report.changed, report.removed)
}

fn with_vxlan() -> Netlink {
    let mut netlink = Netlink::open().unwrap();
    let report = netlink.sync_links("o-", &[link("o-vx", vxlan(7))]).unwrap();
    assert_eq!(counts(&report), (1, 1, 0));
    netlink
}

#[test]
fn links_are_made_changed_and_removed() {
    in_namespace("links_are_made_changed_and_removed", || {
        let mut netlink = Netlink::open().unwrap();
        let port = |link: Link| Link { master: Some("o-br".to_owned()), ..link };
        let pair = LinkKind::Veth { peer: "o-b".to_owned() };
        let mut wanted = vec![
            link("o-br", LinkKind::Bridge),
            port(link("o-vx", vxlan(7))),
            port(link("o-a", pair)),
            link("o-b", LinkKind::Veth { peer: "o-a".to_owned() }),
            Link { mac: Some(mac(5)), up: false, ..link("o-idle", LinkKind::Bridge) },
        ];
        assert_eq!(counts(&netlink.sync_links("o-", &wanted).unwrap()), (4, 5, 0));
        assert_eq!(counts(&netlink.sync_links("o-", &wanted).unwrap()), (0, 0, 0));
        let held = netlink.links().unwrap();
        let bridge = held["o-br"].index;
        assert!(["o-vx", "o-a"].iter().all(|name| held[*name].master == bridge && held[*name].up));
        assert_eq!((held["o-idle"].mac, held["o-idle"].up, held["o-idle"].mtu), (Some(mac(5)), false, 1400));
        assert!(wanted.iter().all(|link| held[&link.name].link.as_ref() == Some(&link.kind)), "{held:?}");

        wanted[1].kind = vxlan(8);
        wanted[2].master = None;
        wanted.pop();
        assert_eq!(counts(&netlink.sync_links("o-", &wanted).unwrap()), (1, 2, 2));
        assert_eq!(netlink.links().unwrap()["o-a"].master, 0);
        assert_eq!(counts(&netlink.sync_links("o-", &[]).unwrap()), (0, 0, 3));
        assert_eq!(netlink.links().unwrap().into_keys().collect::<Vec<_>>(), ["lo"]);
        assert!(matches!(netlink.sync_links("o-", &[link("eth0", LinkKind::Bridge)]), Err(NetlinkError::Wrong(_))));
        assert!(matches!(netlink.sync_links("", &[]).map(|report| report.removed), Ok(0)));
    });
}

#[test]
fn a_forwarding_table_becomes_what_is_wished_and_no_more_is_sent() {
    in_namespace("a_forwarding_table_becomes_what_is_wished_and_no_more_is_sent", || {
        let mut netlink = with_vxlan();
        let to = |number: u32, host: u8| Fdb { mac: mac(number), remote: remote(host), vni: None, port: None };
        let flood = |host: u8| Fdb { mac: Mac::default(), ..to(0, host) };
        // More than one batch, and one that isn't like the others.
        let mut wanted: Vec<Fdb> = (1..1000).map(|number| to(number, 2 + number as u8 % 200)).collect();
        wanted.extend([flood(2), flood(3), Fdb { vni: Some(99), port: Some(8472), ..to(1000, 4) }]);
        assert_eq!(counts(&netlink.sync_fdb("o-vx", &wanted).unwrap()), (1002, 0, 0));
        let mut held = netlink.fdb("o-vx").unwrap();
        held.sort_unstable();
        wanted.sort_unstable();
        assert_eq!(held, wanted);
        assert_eq!(netlink.sync_fdb("o-vx", &wanted).unwrap(), Report::default());

        let wanted = [to(1, 9), to(2, 4), flood(3), flood(4)];
        assert_eq!(counts(&netlink.sync_fdb("o-vx", &wanted).unwrap()), (1, 1, 999));
        assert_eq!(netlink.fdb("o-vx").unwrap().len(), 4);
        assert_eq!(counts(&netlink.sync_fdb("o-vx", &[]).unwrap()), (0, 0, 4));
    });
}

#[test]
fn each_refusal_is_told_and_holds_up_no_other() {
    in_namespace("each_refusal_is_told_and_holds_up_no_other", || {
        let mut netlink = with_vxlan();
        let to = |number: u32, remote: IpAddr| Fdb { mac: mac(number), remote, vni: None, port: None };
        let v6 = IpAddr::from([0xfd00, 0, 0, 0, 0, 0, 0, 1]);
        // The device sends from an IPv4 address, so it can't send to IPv6. Every other one of more than a batch, and all of one.
        let mixed: Vec<Fdb> = (0..600).map(|at| to(at, if at % 2 == 0 { remote(2) } else { v6 })).collect();
        let report = netlink.sync_fdb("o-vx", &mixed).unwrap();
        assert_eq!((report.added, report.refused.len()), (300, 300));
        assert!(report.refused.iter().all(|refusal| refusal.what.contains(" to fd00::1")), "{:?}", report.refused[0]);
        assert!(report.refused.iter().all(|refusal| refusal.errno > 0 && !refusal.why.is_empty()));
        let all: Vec<Fdb> = (0..600).map(|at| to(at, v6)).collect();
        let report = netlink.sync_fdb("o-vx", &all).unwrap();
        assert_eq!(report.refused.len(), 600);
        assert!(matches!(netlink.sync_fdb("o-none", &[]), Err(NetlinkError::NoDevice(_))));
        assert!(matches!(netlink.fdb("a name that is too long for a device"), Err(NetlinkError::NoDevice(_))));
        let report = netlink.sync_fdb("lo", &[to(1, remote(2))]).unwrap();
        assert_eq!(report.refused.len(), 1);
    });
}

#[test]
fn neighbours_become_what_is_wished() {
    in_namespace("neighbours_become_what_is_wished", || {
        let mut netlink = with_vxlan();
        let v6 = IpAddr::from([0xfd00, 0, 0, 0, 0, 0, 0, 1]);
        let at = |ip: IpAddr, number: u32| Neighbour { ip, mac: mac(number) };
        let wanted = [at(remote(5), 5), at(remote(6), 6), at(v6, 7)];
        assert_eq!(counts(&netlink.sync_neighbours("o-vx", &wanted).unwrap()), (3, 0, 0));
        assert_eq!(netlink.sync_neighbours("o-vx", &wanted).unwrap(), Report::default());
        let wanted = [at(remote(5), 8), at(v6, 7)];
        assert_eq!(counts(&netlink.sync_neighbours("o-vx", &wanted).unwrap()), (0, 1, 1));
        let mut held = netlink.neighbours("o-vx").unwrap();
        held.sort_unstable();
        assert_eq!(held, wanted);
        assert!(netlink.neighbours("lo").unwrap().is_empty());
    });
}
