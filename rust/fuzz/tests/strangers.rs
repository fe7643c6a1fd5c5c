//! What comes from users and from disks: images, states of hashers, queries, wishes.

#![allow(clippy::unwrap_used, reason = "a panic here is a failed test")]

use ostro_chunk::image::inspect;
use ostro_chunk::{Algorithm, Hasher};
use ostro_flow::{Noun, State};
use ostro_fuzz::{bent, run};
use ostro_placement::{HostTable, Query};
use proptest::prelude::*;

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
    run("states of hashers", &bent(vec![hasher.state(), Hasher::new(&[]).state()]), |state| {
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
            let _ = HostTable::new().place(&query.request, 1, 1, ostro_placement::Explain::Always);
        }
        Ok(())
    });
}

#[test]
fn wishes() {
    const PORT: &str = r#"{"id":"p","network_id":"n","mac":"02:00:00:00:00:01","tap":"p","security_groups":["g"],"port_security":true,
        "fixed_ips":[{"subnet_id":"s","ip":"10.0.0.5"}],"address_pairs":[{"ip":"10.0.0.0/8","mac":""}],"admin_up":true}"#;
    const GROUP: &str = r#"{"id":"p","name":"g","rules":[{"id":"r","direction":"ingress","ethertype":"IPv4","protocol":"tcp",
        "port_min":-1,"port_max":70000,"remote_ip_prefix":"10.0.0.0/33","remote_group_id":"p"}]}"#;
    let seeds = [PORT, GROUP].map(|text| text.as_bytes().to_vec()).to_vec();
    run("wishes", &bent(seeds), |body| {
        let mut state = State::new();
        for noun in [Noun::Network, Noun::SecurityGroup, Noun::Port, Noun::Peer] {
            let _ = state.put(noun, "p", &body);
        }
        state.bind("p", Some(3));
        state.commit();
        Ok(())
    });
}
