//! The budget of netlink: entries of a VXLAN device's forwarding table, against the kernel's own limit.
//!
//! The limit is how fast the kernel takes the same messages, built beforehand, from a bare socket. Both fill a device of their own, in turn,
//! in a network namespace that ends with the bench.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a bench that can't go on says why and ends")]

use core::net::IpAddr;
use std::process::{Command, exit};

use netlink_sys::Socket;
use netlink_sys::protocols::NETLINK_ROUTE;
use ostro_bench::{Figure, median, times, wanted};
use ostro_flow::wish::Mac;
use ostro_openflow::netlink::plan::{Change, How};
use ostro_openflow::netlink::request::Request;
use ostro_openflow::netlink::{Fdb, Link, LinkKind, Netlink};

const INSIDE: &str = "OSTRO_BENCH_NAMESPACE";
const ENTRIES: usize = 100_000;
const BATCH: usize = 256;
const ROUNDS: usize = 3;

fn entry(at: usize) -> Fdb {
    let [a, b, c, d] = (at as u32).to_be_bytes();
    Fdb { mac: Mac([2, 0, a, b, c, d]), remote: IpAddr::from([192, 0, 2, d % 250 + 1]), vni: None, port: None }
}

fn device(name: &str, vni: u32) -> Link {
    let kind = LinkKind::Vxlan { vni, local: None, port: 4789, learning: false };
    Link { name: name.to_owned(), kind, mtu: None, mac: None, master: None, up: false }
}

/// The messages that add every entry, so many to a buffer.
fn prebuilt(index: u32, entries: &[Fdb]) -> Vec<Vec<u8>> {
    let batch = |batch: &[Fdb]| {
        let mut out = Vec::new();
        for (at, entry) in batch.iter().enumerate() {
            let request = Request::from(&Change::Fdb(How::Add, index, *entry));
            request.write(at as u32 + 1, at + 1 == batch.len(), &mut out);
        }
        out
    };
    entries.chunks(BATCH).map(batch).collect()
}

fn main() {
    let figure = Figure::promised("netlink.fdb", "entries/s", 100_000.0);
    if !wanted(figure.name) {
        return;
    }
    if std::env::var_os(INSIDE).is_none() {
        let mut again = Command::new("unshare");
        again.args(["--net", "--"]).arg(std::env::current_exe().unwrap()).args(std::env::args().skip(1));
        let done = again.env(INSIDE, "1").status().expect("unshare runs");
        exit(done.code().unwrap_or(1));
    }
    let mut netlink = Netlink::open().unwrap();
    let raw = Socket::new(NETLINK_ROUTE).unwrap();
    let entries: Vec<Fdb> = (0..ENTRIES).map(entry).collect();
    let (mut values, mut floors, mut agains) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let made = netlink.sync_links("o-", &[device("o-ours", 1), device("o-raw", 2)]).unwrap();
        assert!(made.refused.is_empty(), "{:?}", made.refused);
        values.extend(times(1, |_| assert_eq!(netlink.sync_fdb("o-ours", &entries).unwrap().added, ENTRIES)));
        let buffers = prebuilt(netlink.links().unwrap()["o-raw"].index, &entries);
        let mut answer = Vec::with_capacity(4096);
        floors.extend(times(1, |_| {
            for buffer in &buffers {
                raw.send(buffer, 0).unwrap();
                answer.clear();
                raw.recv(&mut answer, 0).unwrap();
                assert_eq!(answer[16..20], [0; 4], "the kernel took them all");
            }
        }));
        agains.extend(times(1, |_| assert_eq!(netlink.sync_fdb("o-ours", &entries).unwrap().added, 0)));
        netlink.sync_links("o-", &[]).unwrap();
    }
    let rate = |times: &mut Vec<f64>| ENTRIES as f64 * 1e9 / median(times);
    let limit = rate(&mut floors);
    figure.tell(rate(&mut values), limit);
    Figure::new("netlink.fdb_unchanged", "entries/s").tell(rate(&mut agains), limit);
}
