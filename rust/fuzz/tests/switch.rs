//! What comes from the switch: OpenFlow messages, one by one and as a conversation.

#![allow(clippy::unwrap_used, reason = "a panic here is a failed test")]

use std::time::Instant;

use ostro_flow::matches::Match;
use ostro_flow::program::Program;
use ostro_flow::tables::Table;
use ostro_flow::{Change, Directory, Flow, Key};
use ostro_fuzz::{bent, run};
use ostro_openflow::group::{Bucket, Group, GroupChange, GroupMap, Kind, apply, diff, group_dump};
use ostro_openflow::session::{Command, Session};
use ostro_openflow::wire::{self, Bundle, Message, VERSION, Writer, kind};
use proptest::collection::vec;
use proptest::prelude::*;

fn flow() -> Flow {
    let mut instructions = Vec::new();
    Program::new().set_u32(ostro_flow::tables::register::OUT, 7).goto(Table::Guard).write(&mut instructions);
    Flow { key: Key::new(0, 100, &Match::new().in_port(7).eth_type(0x0800)), instructions: instructions.into() }
}

fn message(kind: u8, xid: u32, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![VERSION, kind];
    bytes.extend_from_slice(&((8 + body.len()) as u16).to_be_bytes());
    bytes.extend_from_slice(&xid.to_be_bytes());
    bytes.extend_from_slice(body);
    bytes
}

/// A flow dump with one flow, as the switch would send it.
fn dump() -> Vec<u8> {
    let flow = flow();
    let oxm = flow.key.matches();
    let mut entry = vec![0, 0, 0, 0, 0, 0, 0, 100];
    entry.extend_from_slice(&[0; 16]);
    entry.extend_from_slice(&[0, 1, 0, 4 + oxm.len() as u8]);
    entry.extend_from_slice(oxm);
    entry.resize(entry.len().next_multiple_of(8), 0);
    entry.extend_from_slice(&[0x80, 2, 0, 16, 0x80, 2, 8, 8, 0, 0, 0, 0, 0, 0, 0, 9]);
    entry.extend_from_slice(&flow.instructions);
    let length = entry.len() as u16;
    entry[..2].copy_from_slice(&length.to_be_bytes());
    [vec![0, 1, 0, 0, 0, 0, 0, 0], entry].concat()
}

/// A group as the switch describes it.
fn group_description() -> Vec<u8> {
    let mut body = vec![0, 7, 0, 0, 0, 0, 0, 0, 0, 56, 1, 0, 0x6f, 0x73, 0, 1, 0, 40, 0, 0, 0, 0, 0, 0];
    body.extend_from_slice(&[0, 40, 0, 16, 0, 0, 0, 3, 0, 0, 0, 16, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 0]);
    body.extend_from_slice(&[0, 0, 0, 8, 0, 5, 0, 0, 0, 1, 0, 8, 0, 0, 0, 9]);
    body
}

/// A packet-in with a frame of a DHCP discover's size.
fn packet_in() -> Vec<u8> {
    let mut body = vec![0xff, 0xff, 0xff, 0xff, 0, 60, 1, 0];
    body.extend_from_slice(&wire::COOKIE.to_be_bytes());
    body.extend_from_slice(&[0, 1, 0, 12, 0x80, 0, 0, 4, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0]);
    body.extend_from_slice(&[0x55; 60]);
    body
}

fn port_status() -> Vec<u8> {
    let mut body = vec![0; 8];
    body.extend_from_slice(&[0, 0, 0, 7, 0, 72, 0, 0, 2, 0, 0, 0, 0, 1, 0, 0]);
    body.extend_from_slice(b"tap0123456789ab\0");
    body.extend_from_slice(&[0; 32]);
    body
}

fn bodies() -> Vec<Vec<u8>> {
    let (bundle, error) = (vec![0, 0, 0, 1, 0, 5, 0, 3], vec![0, 17, 0, 1, 6, 14, 0, 8]);
    vec![dump(), packet_in(), port_status(), bundle, error, group_description()]
}

#[test]
fn openflow_messages() {
    run("OpenFlow messages", &bent(bodies()), |bytes| {
        let _ = wire::packet_in(&bytes);
        let _ = wire::port_status(&bytes);
        let _ = wire::bundle_control(&bytes);
        let _ = wire::error(&bytes);
        let mut flows = Vec::new();
        let _ = wire::flow_dump(&bytes, &mut flows);
        // What was read can be sent again.
        let mut writer = Writer::default();
        for held in flows {
            writer.flow_mod(1, &Change::Add(held.flow));
        }
        let mut rest = writer.pending();
        while let Some((_, length)) = Message::split(rest).unwrap() {
            rest = &rest[length..];
        }
        prop_assert!(rest.is_empty());
        Ok(())
    });
}

#[test]
fn openflow_groups() {
    let mut seeds = vec![group_description()];
    let mut known = GroupMap::new();
    assert!(!group_dump(&seeds[0], &mut known).unwrap());
    let group = known[&1].clone();
    assert_eq!((group.kind(), group.in_words()), (Kind::Select, vec![(3, "output 7".to_owned())]));
    let bucket = Bucket::new(&Program::new().output(7));
    let changes = [
        GroupChange::Add(1, group),
        GroupChange::Insert { group: (1, Kind::All), after: Some(3), number: 4, bucket },
        GroupChange::Take(1, 3),
        GroupChange::Remove(1),
    ];
    seeds.extend(changes.iter().map(|change| {
        let mut bytes = Vec::new();
        change.write(&mut bytes);
        bytes
    }));
    run("OpenFlow groups", &bent(seeds), |bytes| {
        let mut groups = GroupMap::new();
        let _ = group_dump(&bytes, &mut groups);
        // Whatever a switch says that it has can be turned into what it should have.
        let mut mended = groups.clone();
        apply(&diff(&groups, &known), &mut mended);
        prop_assert_eq!(&mended, &known);
        if let Ok(change) = GroupChange::read(&bytes) {
            let mut again = Vec::new();
            change.write(&mut again);
            prop_assert_eq!(GroupChange::read(&again).ok(), Some(change));
        }
        Ok(())
    });
}

#[test]
fn openflow_matches() {
    let oxm = flow().key.matches().to_vec();
    run("OpenFlow matches", &bent(vec![oxm, dump()]), |bytes| {
        // The canonical form is the canonical form of itself.
        let once = Match::from_oxm(&bytes);
        prop_assert_eq!(&Match::from_oxm(once.as_bytes()), &once);
        Ok(())
    });
}

#[test]
fn openflow_conversations() {
    let kinds = [kind::MULTIPART_REPLY, kind::PACKET_IN, kind::PORT_STATUS, kind::BUNDLE_CONTROL, kind::ERROR];
    let whole = kinds.into_iter().chain([kind::MULTIPART_REPLY]).zip(bodies());
    let seeds: Vec<Vec<u8>> =
        whole.flat_map(|(kind, body)| (1..12).map(move |xid| message(kind, xid, &body))).collect();
    run("OpenFlow conversations", &vec((bent(seeds), any::<bool>()), 1..12), |messages| {
        let now = Instant::now();
        let mut session = Session::new(Directory::default(), now);
        session.connected(now);
        session.receive(&message(kind::HELLO, 1, &[]), now).unwrap();
        session.receive(&message(kind::FEATURES_REPLY, 3, &[0; 24]), now).unwrap();
        session.command(Command::Sync { ticket: 1, changes: vec![Change::Add(flow())], fresh_zones: vec![1] });
        let groups = [(1, Group::new(Kind::All, [(1, Bucket::new(&Program::new().output(1)))].into()).unwrap())].into();
        session.command(Command::Groups { ticket: 3, groups });
        session.command(Command::Audit { ticket: 2 });
        for (bytes, finish) in messages {
            if session.receive(&bytes, now).is_err() {
                session.disconnected("it talks nonsense");
                session.connected(now);
            }
            if finish {
                let reply = [0, 0, 0, 1, 0, Bundle::Committed as u8, 0, 3];
                (1..12).try_for_each(|xid| session.receive(&message(kind::BUNDLE_CONTROL, xid, &reply), now)).ok();
            }
        }
        let _ = session.take_events();
        Ok(())
    });
}
