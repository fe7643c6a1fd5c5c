//! Whatever is wished in whatever order, incremental work ends where a full computation does, and the differences lead there.

#![allow(clippy::unwrap_used, reason = "a panic here is a failed test")]

use std::net::Ipv4Addr;

use ostro_flow::ledger::{apply, diff};
use ostro_flow::{FlowMap, MetadataPort, Noun, State, Uplinks};
use proptest::prelude::*;
use serde_json::{Value, json};

#[derive(Clone, Debug)]
enum Step {
    Put(Noun, String, Value),
    Drop(Noun, String),
    Bind(String, Option<u32>),
    Uplinks(bool),
    Commit,
}

fn pick(names: &'static [&'static str]) -> impl Strategy<Value = &'static str> {
    prop::sample::select(names)
}

const NETWORKS: &[&str] = &["net-a", "net-b"];
const GROUPS: &[&str] = &["group-a", "group-b", "group-c"];
const PORTS: &[&str] = &["port-a", "port-b", "port-c", "port-d"];
const PEERS: &[&str] = &["peer-a", "peer-b", "peer-c"];
const ROUTERS: &[&str] = &["router-a", "router-b"];
const FLOATINGS: &[&str] = &["floating-a", "floating-b"];
const IPS: &[&str] = &["10.0.0.5", "10.0.0.6", "10.0.0.7", "fd00::5"];
const MACS: &[&str] = &["02:00:00:00:00:01", "02:00:00:00:00:02", "02:00:00:00:00:03"];

fn groups() -> impl Strategy<Value = Vec<&'static str>> {
    prop::sample::subsequence(GROUPS, 0..=2)
}

fn network() -> impl Strategy<Value = Step> {
    let kind = pick(&["vxlan", "gre", "geneve", "vlan", "flat", "local"]);
    (pick(NETWORKS), kind, 1..3_u32, any::<bool>(), 1400..1402_u16).prop_map(|(id, kind, key, dhcp, mtu)| {
        let segment = json!({"type": kind, "id": key, "physical_network": "phys"});
        let subnet = json!({"id": "sub", "cidr": "10.0.0.0/24", "dhcp": dhcp, "service_ip": "10.0.0.2", "gateway_ip": "10.0.0.1"});
        let mode = if dhcp { "dhcpv6-stateful" } else { "slaac" };
        let six = json!({"id": "six", "cidr": "fd00::/64", "dhcp": dhcp, "ra_mode": mode, "address_mode": mode});
        let body = json!({"id": id, "name": id, "segment": segment, "mtu": mtu, "service_mac": "02:00:00:00:00:99",
            "subnets": [subnet, six]});
        Step::Put(Noun::Network, id.into(), body)
    })
}

fn rule() -> impl Strategy<Value = Value> {
    let remote = prop::option::of(pick(&["group-a", "group-b", "group-c", "group-far"]));
    let prefix = pick(&["", "10.0.0.0/8", "0.0.0.0/0"]);
    (pick(&["ingress", "egress"]), pick(&["", "tcp", "icmp", "sctp"]), 0..100, 0..50, remote, prefix).prop_map(
        |(direction, protocol, low, length, remote, prefix)| {
            json!({"id": "r", "direction": direction, "ethertype": "IPv4", "protocol": protocol, "port_min": low,
                "port_max": low + length, "remote_group_id": remote.unwrap_or(""), "remote_ip_prefix": prefix})
        },
    )
}

fn group() -> impl Strategy<Value = Step> {
    (pick(GROUPS), any::<bool>(), prop::collection::vec(rule(), 0..4)).prop_map(|(id, stateful, rules)| {
        let body = json!({"id": id, "name": id, "stateful": stateful, "rules": rules});
        Step::Put(Noun::SecurityGroup, id.into(), body)
    })
}

fn port() -> impl Strategy<Value = Step> {
    let pair = prop::option::of((pick(IPS), pick(MACS)));
    let flags = (prop::bool::weighted(0.8), prop::bool::weighted(0.9));
    (pick(PORTS), pick(NETWORKS), pick(MACS), pick(IPS), groups(), pair, flags).prop_map(
        |(id, network, mac, ip, groups, pair, (security, up))| {
            let pairs: Vec<Value> = pair.iter().map(|(ip, mac)| json!({"ip": ip, "mac": mac})).collect();
            let body = json!({"id": id, "network_id": network, "project_id": "x", "mac": mac, "tap": id,
                "fixed_ips": [{"subnet_id": "sub", "ip": ip}], "security_groups": groups, "address_pairs": pairs,
                "port_security": security, "admin_up": up});
            Step::Put(Noun::Port, id.into(), body)
        },
    )
}

fn peer() -> impl Strategy<Value = Step> {
    let ips = prop::sample::subsequence(IPS, 0..=2);
    let pair = prop::option::of(pick(IPS));
    (pick(PEERS), pick(NETWORKS), pick(MACS), pick(&["192.0.2.1", "192.0.2.2"]), ips, groups(), pair).prop_map(
        |(id, network, mac, host, ips, groups, pair)| {
            let pairs: Vec<Value> = pair.iter().map(|ip| json!({"ip": ip})).collect();
            let body = json!({"id": id, "network_id": network, "mac": mac, "tunnel_ip": host, "ips": ips,
                "security_groups": groups, "address_pairs": pairs});
            Step::Put(Noun::Peer, id.into(), body)
        },
    )
}

fn face() -> impl Strategy<Value = Value> {
    let ips = pick(&["10.0.0.1/24", "10.0.1.1/24", "fd00::1/64"]);
    (pick(NETWORKS), pick(&["02:00:00:00:aa:01", "02:00:00:00:aa:02"]), prop::collection::vec(ips, 0..3))
        .prop_map(|(network, mac, ips)| json!({"network_id": network, "mac": mac, "ips": ips}))
}

fn router() -> impl Strategy<Value = Step> {
    let gateway = prop::option::of((face(), any::<bool>(), pick(&["", "", "192.0.2.1"])));
    let routes = prop::collection::vec((pick(&["10.9.0.0/16", "0.0.0.0/0", "fd09::/48"]), pick(IPS)), 0..3);
    (pick(ROUTERS), prop::collection::vec(face(), 0..3), gateway, routes, prop::bool::weighted(0.9)).prop_map(
        |(id, interfaces, gateway, routes, up)| {
            let routes: Vec<Value> = routes.iter().map(|(to, by)| json!({"destination": to, "nexthop": by})).collect();
            let gateway = gateway.map(|(mut face, snat, host)| {
                face["next_hops"] = json!(["10.0.0.254"]);
                face["snat"] = json!(snat);
                face["tunnel_ip"] = json!(host);
                face
            });
            let body = json!({"id": id, "name": id, "admin_up": up, "interfaces": interfaces, "gateway": gateway, "routes": routes});
            Step::Put(Noun::Router, id.into(), body)
        },
    )
}

fn floating() -> impl Strategy<Value = Step> {
    (pick(FLOATINGS), pick(ROUTERS), pick(&["10.0.1.8", "10.0.1.9"]), pick(&["10.0.0.5", "10.0.0.6"])).prop_map(
        |(id, router, outer, inner)| {
            let body = json!({"id": id, "router_id": router, "floating_ip": outer, "fixed_ip": inner});
            Step::Put(Noun::Floating, id.into(), body)
        },
    )
}

fn dropped() -> impl Strategy<Value = Step> {
    prop_oneof![
        pick(NETWORKS).prop_map(|id| Step::Drop(Noun::Network, id.into())),
        pick(GROUPS).prop_map(|id| Step::Drop(Noun::SecurityGroup, id.into())),
        pick(PORTS).prop_map(|id| Step::Drop(Noun::Port, id.into())),
        pick(PEERS).prop_map(|id| Step::Drop(Noun::Peer, id.into())),
        pick(ROUTERS).prop_map(|id| Step::Drop(Noun::Router, id.into())),
        pick(FLOATINGS).prop_map(|id| Step::Drop(Noun::Floating, id.into())),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => network(),
        3 => group(),
        4 => port(),
        2 => peer(),
        3 => router(),
        2 => floating(),
        4 => dropped(),
        3 => (0..PORTS.len(), prop::option::weighted(0.8, prop::sample::select(&[1_u32, 11, 71, 131][..])))
            .prop_map(|(port, number)| Step::Bind(PORTS[port].into(), number.map(|number| number + port as u32))),
        1 => any::<bool>().prop_map(Step::Uplinks),
        2 => Just(Step::Commit),
    ]
}

fn uplinks(all: bool) -> Uplinks {
    let metadata = MetadataPort {
        port: 900,
        mac: "02:00:00:00:09:00".parse().unwrap(),
        address: Ipv4Addr::new(198, 18, 255, 254),
        tcp_port: 8775,
        aliases: "198.18.0.0/15".parse().unwrap(),
    };
    Uplinks {
        metadata: Some(metadata),
        vxlan: Some(901),
        gre: all.then_some(902),
        geneve: all.then_some(903),
        physical: all.then(|| ("phys".to_owned(), 904)).into_iter().collect(),
    }
}

fn take(state: &mut State, step: &Step) {
    match step {
        Step::Put(noun, id, body) => state.put(*noun, id, body.to_string().as_bytes()).unwrap(),
        Step::Drop(noun, id) => state.drop_wish(*noun, id),
        Step::Bind(id, number) => state.bind(id, *number),
        Step::Uplinks(all) => state.put_uplinks(uplinks(*all)),
        Step::Commit => {}
    }
}

/// A state that is told only how things stand at the end, in an order of its own.
fn from_scratch(steps: &[Step], old: &State) -> State {
    let mut fresh = State::new();
    for (kind, id, number) in old.numbers() {
        fresh.restore_number(kind, &id, number);
    }
    let mut last: Vec<(String, Step)> = Vec::new();
    for step in steps {
        let what = match step {
            Step::Put(noun, id, _) | Step::Drop(noun, id) => format!("{noun:?} {id}"),
            Step::Bind(id, _) => format!("bind {id}"),
            Step::Uplinks(_) => "uplinks".to_owned(),
            Step::Commit => continue,
        };
        last.retain(|(earlier, _)| *earlier != what);
        last.push((what, step.clone()));
    }
    last.sort_by(|a, b| b.0.cmp(&a.0));
    for (_, step) in &last {
        take(&mut fresh, step);
    }
    fresh.commit();
    fresh
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn incremental_ends_where_a_full_computation_does(steps in prop::collection::vec(step(), 1..60)) {
        let mut state = State::new();
        let mut switch = FlowMap::default();
        for step in &steps {
            take(&mut state, step);
            if matches!(step, Step::Commit) {
                apply(&state.commit(), &mut switch);
                prop_assert_eq!(&switch, &state.flows());
            }
        }
        apply(&state.commit(), &mut switch);
        prop_assert_eq!(&switch, &state.flows());
        prop_assert!(state.commit().is_empty());
        let fresh = from_scratch(&steps, &state);
        prop_assert_eq!(&switch, &fresh.flows());
    }

    #[test]
    fn a_difference_leads_from_one_table_to_the_other(
        before in prop::collection::vec(step(), 1..30),
        after in prop::collection::vec(step(), 1..30),
    ) {
        let build = |steps: &[Step]| {
            let mut state = State::new();
            steps.iter().for_each(|step| take(&mut state, step));
            state.commit();
            state.flows()
        };
        let (from, to) = (build(&before), build(&after));
        let mut moved = from.clone();
        apply(&diff(&from, &to), &mut moved);
        prop_assert_eq!(&moved, &to);
        prop_assert!(diff(&to, &to).is_empty());
    }

    #[test]
    fn everything_that_was_wished_can_go(steps in prop::collection::vec(step(), 1..40)) {
        let mut state = State::new();
        let bare = { let mut state = State::new(); state.commit(); state.flows() };
        steps.iter().for_each(|step| take(&mut state, step));
        state.commit();
        let all = [
            (Noun::Port, PORTS),
            (Noun::Peer, PEERS),
            (Noun::SecurityGroup, GROUPS),
            (Noun::Network, NETWORKS),
            (Noun::Router, ROUTERS),
            (Noun::Floating, FLOATINGS),
        ];
        for (noun, ids) in all {
            ids.iter().for_each(|id| state.drop_wish(noun, id));
        }
        state.put_uplinks(Uplinks::default());
        state.commit();
        prop_assert_eq!(state.flows(), bare);
        prop_assert!(state.numbers().is_empty());
    }
}

/// A cloud's worth: `ports` here and `peers` elsewhere in two routed networks, and as many floating addresses as ports.
fn routed(ports: u32, peers: u32) -> State {
    let mut state = State::new();
    state.put_uplinks(uplinks(true));
    let put =
        |state: &mut State, noun, id: &str, body: Value| state.put(noun, id, body.to_string().as_bytes()).unwrap();
    for (net, kind) in [("left", "vxlan"), ("right", "vxlan"), ("outside", "flat")] {
        let segment = json!({"type": kind, "id": net.len(), "physical_network": "phys"});
        let body = json!({"id": net, "name": net, "segment": segment, "mtu": 1450, "service_mac": "02:00:00:00:00:99"});
        put(&mut state, Noun::Network, net, body);
    }
    put(&mut state, Noun::Router, "r", router_between(&["left", "right"]));
    put(&mut state, Noun::SecurityGroup, "g", json!({"id": "g", "name": "g", "rules": []}));
    for index in 0..ports + peers {
        let (id, net) = (format!("p{index}"), if index % 2 == 0 { "left" } else { "right" });
        let (high, low) = (index >> 8, index & 255);
        let (mac, ip) = (format!("02:00:00:00:{high:02x}:{low:02x}"), format!("10.{}.{high}.{low}", index % 2));
        if index >= ports {
            let body = json!({"id": id, "network_id": net, "mac": mac, "tunnel_ip": "192.0.2.7", "ips": [ip]});
            put(&mut state, Noun::Peer, &id, body);
            continue;
        }
        let fixed = json!([{"subnet_id": net, "ip": ip}]);
        let body =
            json!({"id": id, "network_id": net, "tap": id, "mac": mac, "fixed_ips": fixed, "security_groups": ["g"]});
        put(&mut state, Noun::Port, &id, body);
        state.bind(&id, Some(index + 1));
        put(&mut state, Noun::Floating, &id, floating_to(&id, &format!("203.0.{high}.{low}"), &ip));
    }
    state
}

fn router_between(networks: &[&str]) -> Value {
    let face = |index: usize| {
        let net = networks[index];
        json!({"network_id": net, "mac": format!("02:00:00:00:aa:{index:02x}"), "ips": [format!("10.{index}.255.254/16")]})
    };
    let faces: Vec<Value> = (0..networks.len()).map(face).collect();
    let gateway = json!({"network_id": "outside", "mac": "02:00:00:00:aa:99", "ips": ["203.0.255.2/16"], "next_hops": ["203.0.255.1"]});
    json!({"id": "r", "name": "r", "interfaces": faces, "gateway": gateway})
}

fn floating_to(id: &str, outer: &str, inner: &str) -> Value {
    json!({"id": id, "router_id": "r", "floating_ip": outer, "fixed_ip": inner})
}

#[test]
fn one_change_is_computed_by_itself() {
    let mut state = routed(400, 400);
    state.commit();
    let (size, mut before) = (state.len(), state.stats());
    let mut computed = |state: &mut State, noun, id: &str, body: Value| {
        state.put(noun, id, body.to_string().as_bytes()).unwrap();
        let changes = state.commit().len() as u64;
        let now = state.stats();
        let units = now.units_computed - before.units_computed;
        before = now;
        (units, changes)
    };
    let (units, changes) = computed(&mut state, Noun::Floating, "p3", floating_to("p3", "203.0.200.3", "10.1.0.3"));
    assert_eq!(units, 1);
    assert!(changes <= 20, "{changes}");

    let mut router = router_between(&["left", "right"]);
    router["routes"] = json!([{"destination": "172.16.0.0/12", "nexthop": "10.0.0.2"}]);
    let (units, changes) = computed(&mut state, Noun::Router, "r", router);
    assert_eq!((units, changes), (1, 1), "a route");

    let peer = json!({"id": "p500", "network_id": "left", "mac": "02:00:00:00:01:f4", "tunnel_ip": "192.0.2.7", "ips": ["10.0.9.9"]});
    let (units, changes) = computed(&mut state, Noun::Peer, "p500", peer);
    assert_eq!(units, 1);
    assert!(changes <= 4, "{changes}");

    let rule = json!({"id": "x", "direction": "ingress", "ethertype": "IPv4", "protocol": "tcp", "port_min": 22, "port_max": 22});
    let group = json!({"id": "g", "name": "g", "rules": [rule]});
    let (units, changes) = computed(&mut state, Noun::SecurityGroup, "g", group);
    assert_eq!((units, changes), (1, 2), "a rule, and that there are any");
    assert!(state.len() > size);
}

#[test]
fn remote_groups_stay_linear() {
    let flows_with = |members: u32, rules: u32| {
        let mut state = State::new();
        state.put_uplinks(uplinks(true));
        let network = json!({"id": "n", "name": "n", "segment": {"type": "vxlan", "id": 7}, "mtu": 1450, "service_mac": "02:00:00:00:00:99"});
        state.put(Noun::Network, "n", network.to_string().as_bytes()).unwrap();
        for index in 0..members {
            let (id, high, low) = (format!("m{index}"), index >> 8, index & 255);
            let mac = format!("02:00:00:00:{high:02x}:{low:02x}");
            let body = if index % 2 == 0 {
                json!({"id": id, "network_id": "n", "mac": mac, "tunnel_ip": "192.0.2.7", "ips": [format!("10.0.{high}.{low}")],
                    "security_groups": ["g"]})
            } else {
                json!({"id": id, "network_id": "n", "mac": mac, "tap": id, "security_groups": ["g"],
                    "fixed_ips": [{"subnet_id": "s", "ip": format!("10.0.{high}.{low}")}]})
            };
            let noun = if index % 2 == 0 { Noun::Peer } else { Noun::Port };
            state.put(noun, &id, body.to_string().as_bytes()).unwrap();
            if noun == Noun::Port {
                state.bind(&id, Some(index + 1));
            }
        }
        let rule = |index: u32| {
            json!({"id": index.to_string(), "direction": "ingress", "ethertype": "IPv4", "protocol": "udp",
                "port_min": index + 1, "port_max": index + 1, "remote_group_id": "g"})
        };
        let rules: Vec<Value> = (0..rules).map(rule).collect();
        state
            .put(Noun::SecurityGroup, "g", json!({"id": "g", "name": "g", "rules": rules}).to_string().as_bytes())
            .unwrap();
        state.commit();
        let flows = state.flows_in_words();
        let of = |table: &str| flows.iter().filter(|flow| flow.1 == table).count() as u32;
        (of("members"), of("rules"), flows.len() as u32)
    };
    let (members, rules, all) = flows_with(1000, 100);
    assert_eq!((members, rules), (1000, 100), "one flow for each member and one for each rule");
    let (_, _, fewer_rules) = flows_with(1000, 50);
    let (_, _, fewer_members) = flows_with(500, 100);
    assert_eq!(all - fewer_rules, 50);
    let per_member = (all - fewer_members) / 500;
    assert!(per_member < 40, "{per_member} flows for each member");
}

#[test]
fn one_rule_is_one_flow_however_many_ports_use_its_group() {
    let mut state = State::new();
    state.put_uplinks(uplinks(true));
    let segment = json!({"type": "vxlan", "id": 7});
    let network = json!({"id": "n", "name": "n", "segment": segment, "mtu": 1450, "service_mac": "02:00:00:00:00:99"});
    state.put(Noun::Network, "n", network.to_string().as_bytes()).unwrap();
    for index in 0..500_u32 {
        let id = format!("p{index}");
        let body = json!({"id": id, "network_id": "n", "project_id": "x", "tap": id, "security_groups": ["g"],
            "mac": format!("02:00:00:00:{:02x}:{:02x}", index >> 8, index & 255),
            "fixed_ips": [{"subnet_id": "s", "ip": format!("10.0.{}.{}", index >> 8, index & 255)}]});
        state.put(Noun::Port, &id, body.to_string().as_bytes()).unwrap();
        state.bind(&id, Some(index + 1));
    }
    let group = |rules: usize| {
        let rule = |index: usize| {
            json!({"id": index.to_string(), "direction": "ingress", "ethertype": "IPv4", "protocol": "tcp",
            "port_min": index, "port_max": index, "remote_group_id": "g"})
        };
        let rules: Vec<Value> = (0..rules).map(rule).collect();
        json!({"id": "g", "name": "g", "rules": rules}).to_string()
    };
    state.put(Noun::SecurityGroup, "g", group(99).as_bytes()).unwrap();
    let first = state.commit().len();
    assert!(first < 500 * 40, "{first} flows");
    state.put(Noun::SecurityGroup, "g", group(100).as_bytes()).unwrap();
    let before = state.stats();
    assert_eq!(state.commit().len(), 1);
    assert_eq!(state.stats().units_computed - before.units_computed, 1);
}
