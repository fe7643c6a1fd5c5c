//! What comes from guests: the frames that the switch sends up to be answered.

#![allow(clippy::unwrap_used, reason = "a panic here is a failed test")]

use ostro_flow::{Directory, Noun, Question, State, Uplinks};
use ostro_fuzz::{bent, run};
use proptest::prelude::*;
use serde_json::json;

const PORT: u32 = 7;
const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];

/// A port with an IPv4 and an IPv6 address on a network that answers all that there is to answer.
fn directory() -> Directory {
    let mut state = State::new();
    state.put_uplinks(Uplinks { vxlan: Some(1), ..Uplinks::default() });
    let v4 = json!({"id": "s4", "cidr": "10.0.0.0/24", "dhcp": true, "service_ip": "10.0.0.2", "gateway_ip": "10.0.0.1",
        "dns": ["192.0.2.53"], "host_routes": [{"destination": "192.0.2.0/24", "nexthop": "10.0.0.9"}]});
    let v6 = json!({"id": "s6", "cidr": "fd00::/64", "dhcp": true, "service_ip": "fd00::2", "gateway_ip": "fd00::1",
        "dns": ["fd00::53"]});
    let network = json!({"id": "n", "name": "n", "segment": {"type": "vxlan", "id": 9}, "mtu": 1450,
        "service_mac": "02:00:00:00:00:99", "subnets": [v4, v6]});
    let port = json!({"id": "p", "network_id": "n", "mac": "02:00:00:00:00:01", "tap": "p", "hostname": "guest",
        "fixed_ips": [{"subnet_id": "s4", "ip": "10.0.0.5"}, {"subnet_id": "s6", "ip": "fd00::5"}]});
    state.put(Noun::Network, "n", network.to_string().as_bytes()).unwrap();
    state.put(Noun::Port, "p", port.to_string().as_bytes()).unwrap();
    state.bind("p", Some(PORT));
    state.commit();
    state.directory()
}

/// The one's complement sum of 16-bit words.
fn sum(bytes: &[u8]) -> u32 {
    bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0))).sum()
}

fn folded(mut sum: u32) -> [u8; 2] {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    (!(sum as u16)).to_be_bytes()
}

/// A broadcast IPv4 frame with UDP; no checksum over it, which IPv4 allows.
fn dhcp4(kind: u8) -> Vec<u8> {
    let mut message = vec![1, 1, 6, 0, 0xde, 0xad, 0xbe, 0xef];
    message.resize(28, 0);
    message.extend_from_slice(&MAC);
    message.resize(236, 0);
    message.extend_from_slice(&[99, 130, 83, 99, 53, 1, kind, 55, 6, 1, 3, 6, 26, 121, 51]);
    message.extend_from_slice(&[50, 4, 10, 0, 0, 5, 54, 4, 10, 0, 0, 2, 12, 2, b'a', b'b', 255]);
    let mut ip = vec![0x45, 0, 0, 0, 0, 0, 0, 0, 64, 17, 0, 0, 0, 0, 0, 0, 255, 255, 255, 255];
    ip[2..4].copy_from_slice(&((28 + message.len()) as u16).to_be_bytes());
    let check = folded(sum(&ip));
    ip[10..12].copy_from_slice(&check);
    let mut frame = [[0xff; 6], MAC].concat();
    frame.extend_from_slice(&[8, 0]);
    frame.extend(ip);
    frame.extend_from_slice(&[0, 68, 0, 67]);
    frame.extend_from_slice(&((8 + message.len()) as u16).to_be_bytes());
    frame.extend_from_slice(&[0, 0]);
    frame.extend(message);
    frame
}

/// An IPv6 frame to a multicast group.
fn ipv6(next: u8, group: u8, payload: &mut [u8], checksum_at: usize) -> Vec<u8> {
    let source = [0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xfe, 0, 0, 1];
    let mut destination = [0; 16];
    (destination[0], destination[1], destination[15]) = (0xff, 2, group);
    let pseudo = sum(&source) + sum(&destination) + payload.len() as u32 + u32::from(next);
    let check = folded(pseudo + sum(payload));
    payload[checksum_at..checksum_at + 2].copy_from_slice(&check);
    let mut frame = vec![0x33, 0x33, 0, 0, 0, group];
    frame.extend_from_slice(&MAC);
    frame.extend_from_slice(&[0x86, 0xdd, 0x60, 0, 0, 0]);
    frame.extend_from_slice(&(payload.len() as u16).to_be_bytes());
    frame.extend_from_slice(&[next, 255]);
    frame.extend_from_slice(&source);
    frame.extend_from_slice(&destination);
    frame.extend_from_slice(payload);
    frame
}

fn dhcp6(kind: u8) -> Vec<u8> {
    let mut message = vec![kind, 1, 2, 3, 0, 1, 0, 10, 0, 3, 0, 1];
    message.extend_from_slice(&MAC);
    message.extend_from_slice(&[
        0, 3, 0, 12, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 6, 0, 4, 0, 23, 0, 24, 0, 8, 0, 2, 0, 0,
    ]);
    let mut udp = vec![2, 34, 2, 35];
    udp.extend_from_slice(&((8 + message.len()) as u16).to_be_bytes());
    udp.extend_from_slice(&[0, 0]);
    udp.extend(message);
    ipv6(17, 2, &mut udp, 6)
}

fn router_solicitation() -> Vec<u8> {
    let mut message = vec![133, 0, 0, 0, 0, 0, 0, 0, 1, 1];
    message.extend_from_slice(&MAC);
    ipv6(58, 2, &mut message, 2)
}

fn frames() -> Vec<Vec<u8>> {
    let v4 = [1, 3, 8].map(dhcp4);
    let v6 = [1, 3, 11].map(dhcp6);
    v4.into_iter().chain(v6).chain([router_solicitation()]).collect()
}

#[test]
fn frames_of_guests() {
    let directory = directory();
    assert!(directory.answer(PORT, &dhcp4(1)).is_some(), "a good question is answered");
    run("frames of guests", &bent(frames()), |frame| {
        if let Some(answer) = directory.answer(PORT, &frame) {
            // It goes back to the guest, as one frame, in the protocol of the question.
            prop_assert!((14..=1514).contains(&answer.len()));
            prop_assert_eq!(&answer[12..14], &frame[12..14]);
        }
        prop_assert_eq!(directory.answer(PORT + 1, &frame), None);
        for table in 0..64 {
            let frame = frame.as_slice();
            let question = Question { table, in_port: PORT, network: 1, router: 1, next_hop: [0; 16], frame };
            let _ = directory.reply(&question);
        }
        Ok(())
    });
}
