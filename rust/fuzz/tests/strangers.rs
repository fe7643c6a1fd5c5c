//! What comes from users and from disks: images, states of hashers, queries, wishes.

#![allow(clippy::unwrap_used, reason = "a panic here is a failed test")]

use ostro_chunk::image::inspect;
use ostro_chunk::{Algorithm, Hasher};
use ostro_flow::{Noun, State};
use ostro_fuzz::{bent, run};
use ostro_placement::{Claim, Explain, HostSpec, HostTable, Mode, Order, Query, Request};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

fn written(base: usize, parts: &[(usize, &[u8])]) -> Vec<u8> {
    let mut bytes = vec![0; base];
    for (at, with) in parts {
        bytes[*at..at + with.len()].copy_from_slice(with);
    }
    bytes
}

fn images() -> Vec<Vec<u8>> {
    let size = (5_u64 << 30).to_be_bytes();
    let descriptor =
        b"# Disk DescriptorFile\nCID=1\nparentCID=ffffffff\ncreateType=\"monolithicSparse\"\nRW 9 SPARSE \"a\"\n";
    vec![
        written(512, &[(0, b"QFI\xfb\0\0\0\x02"), (24, &size)]),
        written(
            512,
            &[(0, b"QFI\xfb\0\0\0\x03"), (24, &size), (103, &[104]), (104, &[0xe2, 0x79, 0x2a, 0xca, 0, 0, 0, 5])],
        ),
        written(512, &[(0, b"QFI\xfb\0\0\0\x03"), (24, &size), (103, &[112]), (112, b"DATA\0\0\0\x01x")]),
        written(512, &[(0, b"QFI\xfb\0\0\0\x01"), (24, &size)]),
        written(512, &[(0, b"QED\0"), (48, &[9])]),
        written(1024, &[(0, b"KDMV\x01"), (12, &[8]), (28, &[1]), (36, &[1]), (512, descriptor)]),
        descriptor.to_vec(),
        written(512, &[(0, b"conectix"), (63, &[3])]),
        written(512, &[(64, &[0x7f, 0x10, 0xda, 0xbe]), (76, &[1])]),
        written(512, &[(0, b"LUKS\xba\xbe\0\x01")]),
        written(512, &[(0, b"WithoutFreeSpace"), (36, &[4])]),
    ]
}

#[test]
fn disk_images() {
    run("disk images", &bent(images()), |bytes| {
        let info = inspect(&bytes);
        prop_assert!(!info.is_safe() || !(info.backing_file || info.data_file), "{:?}", info);
        Ok(())
    });
}

#[test]
fn states_of_hashers() {
    let mut hasher = Hasher::new(&Algorithm::ALL);
    hasher.update(&[7; 5000]);
    // Half of them with the sum that their bytes have, because few bent ones get past it.
    let states = (bent(vec![hasher.state(), Hasher::new(&[]).state()]), any::<bool>());
    run("states of hashers", &states, |(mut state, summed)| {
        if let Some((body, _)) = state.split_last_chunk::<4>().filter(|_| summed) {
            let mut sum = Hasher::new(&[Algorithm::Crc32c]);
            sum.update(body);
            let mut sum = sum.digest(Algorithm::Crc32c).unwrap();
            sum.reverse();
            let at = body.len();
            state[at..].copy_from_slice(&sum);
        }
        if let Ok(mut hasher) = Hasher::from_state(&state) {
            hasher.update(&[1; 300]);
            hasher.digests();
            prop_assert!(Hasher::from_state(&hasher.state()).is_ok());
        }
        Ok(())
    });
}

#[test]
fn placement_queries() {
    const QUERY: &str = "resources=VCPU:1,MEMORY_MB:5&required=!A,B&required=in:C,D&member_of=!in:a,b&in_tree=x&resources_N=E:1\
        &required_N=F&group_policy=isolate&same_subtree=_N,_M&root_required=G,!H&limit=5&required_M=Z&in_tree1=9";
    run("placement queries", &bent(vec![QUERY.as_bytes().to_vec()]), |bytes| {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let pairs = text.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        if let Ok(query) = Query::read(pairs) {
            let _ = HostTable::new().place(&query.request, 1, 1, Explain::Always);
        }
        Ok(())
    });
}

/// Text with some of its numbers exchanged for others, mostly for the ends of what numbers can be.
fn renumbered(text: &'static str) -> impl Strategy<Value = String> {
    let number = prop_oneof![
        Just("0".to_owned()),
        Just("-1".to_owned()),
        select(vec![i64::MIN, i64::MAX, i64::from(i32::MAX), i64::from(i32::MAX) + 1])
            .prop_map(|number| number.to_string()),
        select(vec!["1e308", "-1e308", "1e-308", "0.5", "65535"]).prop_map(str::to_owned),
        any::<i16>().prop_map(|number| number.to_string()),
    ];
    vec((any::<prop::sample::Index>(), number), 0..6).prop_map(move |changes| {
        let mut parts: Vec<String> = text.split('#').map(str::to_owned).collect();
        // What stands between two marks is a number.
        let numbers = parts.len() / 2;
        for (at, number) in changes {
            parts[2 * at.index(numbers) + 1] = number;
        }
        parts.concat()
    })
}

/// What providers say of themselves comes from their operators, what is asked of them from everybody.
#[test]
fn placement_hosts_and_requests() {
    const HOST: &str = r##"{"inventories":{"VCPU":{"total":#8#,"reserved":#1#,"min_unit":#1#,"max_unit":#8#,"step_size":#1#,
        "allocation_ratio":#4.0#},"PCPU":{"total":#4#}},"traits":["A"],"aggregates":["a"],"az":"z","metrics":{"io":#3#},
        "providers":[{"id":"n","inventories":{"VGPU":{"total":#4#,"step_size":#2#},"VCPU":{"total":#-3#}},"traits":["B"],"numa_cell":#0#}],
        "numa":[{"id":#0#,"socket":#0#,"cores":[[#0#,#1#],[#2#,#3#]],"shared_vcpus":#4#,"pages":{"4":#100000#,"2048":#10#}}]}"##;
    const PLAIN: &str = r##"{"inventories":{"VCPU":{"total":#8#,"reserved":#1#,"min_unit":#1#,"max_unit":#8#,"step_size":#1#,
        "allocation_ratio":#4.0#},"VGPU":{"total":#5#}},"metrics":{"io":#3#}}"##;
    const ASKED: &str = r##"{"resources":{"VCPU":#2#},"groups":{"_a":{"resources":{"VGPU":#1#},"required":["!A"]},
        "_b":{"resources":{"VGPU":#2#}}},"limits":{"io":#5#},"weights":{"VCPU":#-1.5#,"metric:io":#2#,"maintenance":#1#},
        "numa":{"cells":[{"pinned":#2#,"shared":#1#,"memory_mb":#20#}],"page":"any"},"server_group":{"id":"g","policy":"anti-affinity","max_per_host":#2#}}"##;
    const SIMPLE: &str = r##"{"resources":{"VCPU":#2#,"VGPU":#1#},"weights":{"VCPU":#-1.5#,"VGPU":#2#}}"##;
    let hosts = (renumbered(HOST), renumbered(PLAIN));
    let used = vec((any::<bool>(), prop_oneof![Just(i64::MIN), Just(i64::MAX), -9..9_i64]), 0..4);
    let all = (hosts, prop_oneof![renumbered(ASKED), renumbered(SIMPLE)], used, any::<u64>());
    run("placement hosts and requests", &all, |((tree, plain), request, used, seed)| {
        let mut table = HostTable::new();
        for (id, text) in [("t", &tree), ("p", &plain)] {
            if let Ok(spec) = serde_json::from_str::<HostSpec>(text) {
                let _ = table.set_host(id, &spec);
            }
        }
        for (on_tree, amount) in used {
            let _ = table.add_used(if on_tree { "t" } else { "p" }, None, &[("VCPU", amount)]);
        }
        let Ok(request) = serde_json::from_str::<Request>(&request) else { return Ok(()) };
        let Ok(decision) = table.place(&request, seed, 5, Explain::Always) else { return Ok(()) };
        prop_assert_eq!(
            decision.hosts.len() + decision.rejected.iter().map(|rejection| rejection.hosts).sum::<usize>(),
            table.len()
        );
        let order = Order { request: &request, count: 3 };
        let _ = table.place_many(&[order], seed, Mode::BestEffort, false);
        let _ = table.how_many(&request, 10);
        for claim in (0..decision.hosts.len()).filter_map(|at| decision.claim(at)) {
            prop_assert!(table.claim(&claim).is_ok());
            prop_assert!(table.release(&claim).is_ok());
        }
        let _ = table.claim(&Claim { host: "t".to_owned(), ..Claim::default() });
        Ok(())
    });
}

#[test]
fn wishes() {
    const PORT: &str = r#"{"id":"p","network_id":"n","mac":"02:00:00:00:00:01","tap":"p","security_groups":["g"],"port_security":true,
        "fixed_ips":[{"subnet_id":"s","ip":"10.0.0.5"}],"address_pairs":[{"ip":"10.0.0.0/8","mac":""}],"admin_up":true}"#;
    const GROUP: &str = r#"{"id":"p","name":"g","rules":[{"id":"r","direction":"ingress","ethertype":"IPv4","protocol":"tcp",
        "port_min":-1,"port_max":70000,"remote_ip_prefix":"10.0.0.0/33","remote_group_id":"p"}]}"#;
    const NETWORK: &str = r#"{"id":"p","name":"n","segment":{"type":"vxlan","id":4000},"mtu":1450,"service_mac":"02:00:00:00:00:09","subnets":[
        {"id":"s","cidr":"10.0.0.0/16","dhcp":true,"service_ip":"10.0.0.2","gateway_ip":"10.0.0.1","dns":["8.8.8.8"]}]}"#;
    const PEER: &str =
        r#"{"id":"p","network_id":"p","mac":"02:00:00:00:00:02","tunnel_ip":"198.51.100.1","ips":["10.0.0.9"]}"#;
    const ROUTER: &str = r#"{"id":"p","interfaces":[{"network_id":"p","mac":"02:00:00:00:00:03","ips":["10.0.0.1/16"]}],
        "gateway":{"network_id":"p","mac":"02:00:00:00:00:04","ips":["203.0.113.4/24"],"next_hops":["203.0.113.1"],"snat":true},
        "routes":[{"destination":"10.9.0.0/16","nexthop":"10.0.0.7"}]}"#;
    const FLOATING: &str = r#"{"id":"p","router_id":"p","floating_ip":"203.0.113.5","fixed_ip":"10.0.0.5"}"#;
    const NOUNS: [Noun; 6] = [Noun::Network, Noun::SecurityGroup, Noun::Port, Noun::Peer, Noun::Router, Noun::Floating];
    let seeds = [PORT, GROUP, NETWORK, PEER, ROUTER, FLOATING].map(|text| text.as_bytes().to_vec()).to_vec();
    // The second is read as a change of the first.
    run("wishes", &(bent(seeds.clone()), bent(seeds)), |(first, second)| {
        let mut state = State::new();
        for body in [GROUP.as_bytes(), &first, &second] {
            for noun in NOUNS {
                let _ = state.put(noun, "p", body);
            }
            state.commit();
        }
        state.bind("p", Some(3));
        state.commit();
        Ok(())
    });
}
