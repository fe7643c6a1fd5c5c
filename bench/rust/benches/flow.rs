//! The budgets of compiling flows and of getting a change to the switch.
//!
//! What computes is measured in the processor's time; what waits for a thread at the other end of a socket, by the clock. The floor of
//! a compilation is the bare table of its flows, filled from flows that are there.
//!
//! The state: 1,000 local ports and 10,000 peers on 100 networks, 500 security groups of 100 rules each. The wire: the real
//! [`Link`] over a Unix socket to a switch that answers and takes everything, so what is measured ends where the switch's work begins.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a bench that can't go on says why and ends")]

use std::hint::black_box;
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use ostro_bench::{Figure, median, percentile, processor_time, wanted};
use ostro_flow::ledger::diff;
use ostro_flow::{FlowMap, Noun, State, Uplinks};
use ostro_openflow::link::Link;
use ostro_openflow::wire::{Bundle, Message, VERSION, bundle_control, kind};
use serde_json::json;

const NETWORKS: usize = 100;
const PORTS: usize = 1000;
const PEERS: usize = 10_000;
const GROUPS: usize = 500;
const RULES: usize = 100;
const ROUNDS: usize = 5;
const CHANGES: usize = 300;
const PATIENCE: Duration = Duration::from_secs(20);

type Wish = (Noun, String, Vec<u8>);

fn mac(kind: u8, at: usize) -> String {
    format!("02:{kind:02x}:00:{:02x}:{:02x}:{:02x}", at >> 16 & 255, at >> 8 & 255, at & 255)
}

fn network(at: usize) -> Wish {
    let id = format!("net-{at}");
    let subnet = json!({"id": format!("sub-{at}"), "cidr": format!("10.{at}.0.0/16"), "dhcp": true,
        "service_ip": format!("10.{at}.0.2"), "gateway_ip": format!("10.{at}.0.1")});
    let body = json!({"id": id, "name": id, "segment": {"type": "vxlan", "id": 1000 + at}, "mtu": 1450,
        "service_mac": mac(9, at), "subnets": [subnet]});
    (Noun::Network, id, body.to_string().into_bytes())
}

/// A group whose rules admit single ports, every tenth of them from the members of the group itself. `shift` makes one differ.
fn group(at: usize, shift: usize) -> Wish {
    let id = format!("group-{at}");
    let rule = |rule: usize| {
        let port = if rule == RULES - 1 { 10_000 + shift } else { 1000 + rule };
        json!({"id": format!("{at}-{rule}"), "direction": if rule.is_multiple_of(3) { "egress" } else { "ingress" }, "ethertype": "IPv4",
            "protocol": "tcp", "port_min": port, "port_max": port,
            "remote_group_id": if rule.is_multiple_of(10) { id.as_str() } else { "" },
            "remote_ip_prefix": if rule.is_multiple_of(10) { "".to_owned() } else { format!("192.{}.0.0/16", rule) }})
    };
    let rules: Vec<_> = (0..RULES).map(rule).collect();
    (Noun::SecurityGroup, id.clone(), json!({"id": id, "name": id, "rules": rules}).to_string().into_bytes())
}

fn port(at: usize) -> Wish {
    let (id, network) = (format!("port-{at}"), at % NETWORKS);
    let body = json!({"id": id, "network_id": format!("net-{network}"), "mac": mac(1, at), "tap": format!("tap{at}"),
        "fixed_ips": [{"subnet_id": format!("sub-{network}"), "ip": format!("10.{network}.{}.{}", 1 + at / 25_600, 3 + at / NETWORKS % 250)}],
        "security_groups": [format!("group-{}", at % GROUPS)]});
    (Noun::Port, id, body.to_string().into_bytes())
}

fn peer(at: usize) -> Wish {
    let (id, network) = (format!("peer-{at}"), at % NETWORKS);
    let body = json!({"id": id, "network_id": format!("net-{network}"), "mac": mac(2, at),
        "tunnel_ip": format!("198.51.{}.{}", at % 4, 1 + at % 250), "ips": [format!("10.{network}.100.{}", at / NETWORKS % 250)],
        "security_groups": [format!("group-{}", at % GROUPS)]});
    (Noun::Peer, id, body.to_string().into_bytes())
}

fn wishes() -> Vec<Wish> {
    let groups = (0..GROUPS).map(|at| group(at, 0));
    (0..NETWORKS).map(network).chain(groups).chain((0..PORTS).map(port)).chain((0..PEERS).map(peer)).collect()
}

fn wished(wishes: &[Wish]) -> State {
    let mut state = State::new();
    state.put_uplinks(Uplinks { vxlan: Some(1), ..Uplinks::default() });
    wishes.iter().for_each(|(noun, id, body)| state.put(*noun, id, body).unwrap());
    (0..PORTS).for_each(|at| state.bind(&format!("port-{at}"), Some(100 + at as u32)));
    state
}

fn milliseconds(mut nanoseconds: Vec<f64>) -> f64 {
    median(&mut nanoseconds) / 1e6
}

fn compiling(wishes: &[Wish]) {
    let names = ["flow.read_wishes", "flow.compile", "flow.compile_and_diff", "flow.flows"];
    if !names.into_iter().any(wanted) {
        return;
    }
    let held: FlowMap = {
        let mut state = wished(wishes);
        state.commit();
        let flows = state.flows();
        flows.into_iter().filter(|(key, _)| key.priority() % 97 != 5).collect()
    };
    let (mut reads, mut compiles, mut boths, mut copies) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut flows = 0;
    for _ in 0..ROUNDS {
        let mut state = State::new();
        reads.push(processor_time(|| state = wished(wishes)));
        let mut all = Vec::new();
        let compiled = processor_time(|| all = state.commit());
        let mut differences = Vec::new();
        boths.push(compiled + processor_time(|| differences = diff(&held, &state.flows())));
        compiles.push(compiled);
        assert!(differences.len() <= all.len());
        flows = state.len();
        copies.push(processor_time(|| {
            let mut map = FlowMap::default();
            held.iter().for_each(|(key, instructions)| drop(map.insert(key.clone(), instructions.clone())));
            map
        }));
    }
    let bytes: usize = wishes.iter().map(|(_, _, body)| body.len()).sum();
    let copy = milliseconds(copies);
    let mut sink = vec![0_u8; bytes];
    let whole: Vec<u8> = wishes.iter().flat_map(|(_, _, body)| body.iter().copied()).collect();
    let raw =
        milliseconds((0..ROUNDS).map(|_| processor_time(|| black_box(&mut sink).copy_from_slice(&whole))).collect());
    Figure::new("flow.flows", "flows").tell(flows as f64, 100_000.0);
    Figure::new("flow.read_wishes", "ms").tell(milliseconds(reads), raw);
    Figure::promised("flow.compile", "ms", 200.0).tell(milliseconds(compiles), copy);
    Figure::promised("flow.compile_and_diff", "ms", 200.0).tell(milliseconds(boths), copy);
}

/// A switch that agrees to everything and says when it has read a bundle to its end.
fn switch(stream: &mut UnixStream, commits: &Sender<Instant>) -> std::io::Result<()> {
    let mut buffer = vec![0; 1 << 18];
    let mut received: Vec<u8> = Vec::new();
    loop {
        let count = stream.read(&mut buffer)?;
        if count == 0 {
            return Ok(());
        }
        received.extend_from_slice(&buffer[..count]);
        let mut at = 0;
        while let Some((message, length)) = Message::split(&received[at..]).expect("OpenFlow") {
            at += length;
            answer(stream, &message, commits)?;
        }
        received.drain(..at);
    }
}

fn answer(stream: &mut UnixStream, message: &Message<'_>, commits: &Sender<Instant>) -> std::io::Result<()> {
    let reply = |kind: u8, body: &[u8]| {
        let mut bytes = vec![VERSION, kind];
        bytes.extend_from_slice(&((8 + body.len()) as u16).to_be_bytes());
        bytes.extend_from_slice(&message.xid.to_be_bytes());
        bytes.extend_from_slice(body);
        bytes
    };
    match message.kind {
        kind::HELLO => stream.write_all(&reply(kind::HELLO, &[])),
        kind::FEATURES_REQUEST => stream.write_all(&reply(kind::FEATURES_REPLY, &[0; 24])),
        // No flows, or no groups.
        kind::MULTIPART_REQUEST => {
            stream.write_all(&reply(kind::MULTIPART_REPLY, &[0, message.body[1], 0, 0, 0, 0, 0, 0]))
        }
        kind::BUNDLE_CONTROL => {
            let (id, what) = bundle_control(message.body).expect("a bundle");
            if what != Bundle::Commit as u16 {
                return Ok(());
            }
            // Whoever waits no longer needs no time.
            let _ = commits.send(Instant::now());
            let [a, b, c, d] = id.to_be_bytes();
            stream.write_all(&reply(kind::BUNDLE_CONTROL, &[a, b, c, d, 0, Bundle::Committed as u8, 0, 3]))
        }
        _ => Ok(()),
    }
}

fn serve(path: &Path) -> (JoinHandle<()>, Receiver<Instant>) {
    let listener = UnixListener::bind(path).unwrap();
    let (tell, commits) = channel();
    let serve = move || {
        let (mut stream, _) = listener.accept().unwrap();
        switch(&mut stream, &tell).unwrap();
    };
    (std::thread::spawn(serve), commits)
}

/// Wakes the thread at the other end of a socket, and says how long that took, in nanoseconds.
struct Wake {
    near: UnixStream,
    woken: Receiver<Instant>,
}

impl Wake {
    fn new() -> Self {
        let (near, mut far) = UnixStream::pair().unwrap();
        let (tell, woken) = channel();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while far.read(&mut buffer).is_ok_and(|count| count > 0) && tell.send(Instant::now()).is_ok() {}
        });
        Self { near, woken }
    }

    fn time(&mut self) -> f64 {
        let start = Instant::now();
        self.near.write_all(&[0; 200]).unwrap();
        self.woken.recv_timeout(PATIENCE).unwrap().duration_since(start).as_nanos() as f64
    }
}

fn wire(wishes: &[Wish]) {
    let names = ["flow.one_port_to_the_wire", "flow.one_rule_to_the_wire"];
    if !names.into_iter().any(wanted) {
        return;
    }
    let home = std::env::temp_dir().join(format!("ostro-bench-flow-{}", std::process::id()));
    std::fs::create_dir_all(&home).unwrap();
    let path = home.join("switch");
    let (served, commits) = serve(&path);
    let mut state = wished(wishes);
    let mut link = Link::open(path, state.directory()).unwrap();
    link.sync(state.commit(), Vec::new());
    commits.recv_timeout(PATIENCE).unwrap();
    let mut wake = Wake::new();
    let mut floors = Vec::new();
    let mut change = |change: &mut dyn FnMut(&mut State, usize)| {
        let mut values = Vec::new();
        for at in 0..CHANGES {
            let start = Instant::now();
            change(&mut state, at);
            link.sync(state.commit(), Vec::new());
            let arrived = commits.recv_timeout(PATIENCE).unwrap();
            values.push(arrived.duration_since(start).as_nanos() as f64 / 1e3);
            floors.push(wake.time() / 1e3);
            drop(link.take_events());
        }
        values
    };
    // A port that isn't there yet: its wish, then the plug.
    let new: Vec<Wish> = (0..CHANGES).map(|at| port(PORTS + at)).collect();
    let mut ports = change(&mut |state, at| {
        let (noun, id, body) = &new[at];
        state.put(*noun, id, body).unwrap();
        state.bind(id, Some((100 + PORTS + at) as u32));
    });
    let changed: Vec<Wish> = (0..CHANGES).map(|at| group(at % GROUPS, 1 + at)).collect();
    let mut rules = change(&mut |state, at| {
        let (noun, id, body) = &changed[at];
        state.put(*noun, id, body).unwrap();
    });
    let floor = median(&mut floors);
    for (what, values) in [("port", &mut ports), ("rule", &mut rules)] {
        let name = format!("flow.one_{what}_to_the_wire");
        Figure::promised(&name, "us", 200.0).tell(median(values), floor);
        Figure::promised(&format!("{name}.p99"), "us", 200.0)
            .tell(percentile(values, 0.99), percentile(&mut floors.clone(), 0.99));
    }
    drop(link);
    served.join().unwrap();
    std::fs::remove_dir_all(&home).unwrap();
}

fn main() {
    let wishes = wishes();
    compiling(&wishes);
    wire(&wishes);
}
