//! The conversation with a switch that is only bytes: whatever is lost and whenever, it ends up with the flows that it should have.

#![allow(clippy::unwrap_used, reason = "a panic here is a failed test")]

use std::time::{Duration, Instant};

use ostro_flow::ledger::apply;
use ostro_flow::matches::Match;
use ostro_flow::program::Program;
use ostro_flow::{Change, Diff, Directory, Flow, FlowMap, Key};
use ostro_openflow::group::{self, Bucket, Group, GroupChange, GroupMap, Kind};
use ostro_openflow::session::{Command, Counts, Event, Session};
use ostro_openflow::wire::{COOKIE, Message, VERSION, kind};
use proptest::prelude::*;

/// A switch: takes bytes, answers in bytes, keeps flows and groups. `refuses` are the tables whose flows it won't have.
#[derive(Default)]
struct Switch {
    flows: FlowMap,
    groups: GroupMap,
    staged: Vec<Mod>,
    refuses: Vec<u8>,
    bundle_is_bad: bool,
    bundles: usize,
    flow_mods: usize,
}

/// One change that it is asked for.
enum Mod {
    Flow(Change),
    Group(GroupChange),
}

fn message(kind: u8, xid: u32, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![VERSION, kind];
    bytes.extend_from_slice(&((8 + body.len()) as u16).to_be_bytes());
    bytes.extend_from_slice(&xid.to_be_bytes());
    bytes.extend_from_slice(body);
    bytes
}

fn padded_match(oxm: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, 1];
    bytes.extend_from_slice(&((4 + oxm.len()) as u16).to_be_bytes());
    bytes.extend_from_slice(oxm);
    bytes.resize(bytes.len().next_multiple_of(8), 0);
    bytes
}

fn flow_mod(body: &[u8]) -> Change {
    assert_eq!(body[..8], COOKIE.to_be_bytes());
    let (table, command) = (body[16], body[17]);
    let priority = u16::from_be_bytes([body[22], body[23]]);
    let length = usize::from(u16::from_be_bytes([body[42], body[43]]));
    let key = Key::new(table, priority, &Match::from_oxm(&body[44..40 + length]));
    let instructions = body[40 + length.next_multiple_of(8)..].into();
    if command == 4 { Change::Remove(key) } else { Change::Add(Flow { key, instructions }) }
}

impl Switch {
    /// Takes all that a session has to say, and has it hear the answers, until neither has more to say.
    fn talk(&mut self, session: &mut Session, now: Instant) {
        loop {
            let said = session.outgoing().pending().to_vec();
            if said.is_empty() {
                return;
            }
            session.outgoing().advance(said.len());
            let answer = self.hear(&said);
            for piece in answer.chunks(7) {
                session.receive(piece, now).unwrap();
            }
        }
    }

    /// Takes whole messages; what it answers.
    fn hear(&mut self, mut bytes: &[u8]) -> Vec<u8> {
        let mut answers = Vec::new();
        while let Some((message, length)) = Message::split(bytes).unwrap() {
            answers.extend(self.answer(&message));
            bytes = &bytes[length..];
        }
        assert!(bytes.is_empty());
        answers
    }

    fn answer(&mut self, asked: &Message<'_>) -> Vec<u8> {
        let answer = |kind: u8, body: &[u8]| message(kind, asked.xid, body);
        match asked.kind {
            kind::HELLO => answer(kind::HELLO, &[]),
            kind::FEATURES_REQUEST => answer(kind::FEATURES_REPLY, &[0; 24]),
            kind::ECHO_REQUEST => answer(kind::ECHO_REPLY, asked.body),
            kind::BARRIER_REQUEST => answer(kind::BARRIER_REPLY, &[]),
            kind::MULTIPART_REQUEST if asked.body[1] == 7 => self.dump_groups(asked.xid),
            kind::MULTIPART_REQUEST => self.dump(asked.xid),
            kind::BUNDLE_ADD => {
                let (inner, _) = Message::split(&asked.body[8..]).unwrap().unwrap();
                assert_eq!(inner.xid, asked.xid);
                let change = Self::read(&inner);
                self.bundle_is_bad |= self.is_refused(&change);
                self.staged.push(change);
                Vec::new()
            }
            kind::BUNDLE_CONTROL => self.bundle(asked),
            kind::FLOW_MOD | kind::GROUP_MOD => {
                self.flow_mods += usize::from(asked.kind == kind::FLOW_MOD);
                let change = Self::read(asked);
                if self.is_refused(&change) {
                    return answer(kind::ERROR, &[0, 5, 0, 3]);
                }
                self.carry_out(change);
                Vec::new()
            }
            _ => Vec::new(),
        }
    }

    fn read(asked: &Message<'_>) -> Mod {
        if asked.kind == kind::GROUP_MOD {
            return Mod::Group(GroupChange::read(asked.body).unwrap());
        }
        Mod::Flow(flow_mod(asked.body))
    }

    fn is_refused(&self, change: &Mod) -> bool {
        matches!(change, Mod::Flow(change) if self.refuses.contains(&change.key().table()))
    }

    /// Like Open vSwitch, it has no group twice and changes none that isn't there.
    fn carry_out(&mut self, change: Mod) {
        match change {
            Mod::Flow(change) => apply(&[change], &mut self.flows),
            Mod::Group(change) => {
                let there = self.groups.contains_key(&change.group());
                assert_eq!(there, !matches!(change, GroupChange::Add(..)), "{change:?}");
                group::apply(&[change], &mut self.groups);
            }
        }
    }

    fn bundle(&mut self, asked: &Message<'_>) -> Vec<u8> {
        let mut said = asked.body.to_vec();
        let commits = said[5] == 4;
        if commits && std::mem::take(&mut self.bundle_is_bad) {
            self.staged.clear();
            return message(kind::ERROR, asked.xid, &[0, 17, 0, 15]);
        }
        if commits {
            self.bundles += 1;
            std::mem::take(&mut self.staged).into_iter().for_each(|change| self.carry_out(change));
        }
        said[5] += 1;
        message(kind::BUNDLE_CONTROL, asked.xid, &said)
    }

    /// Its flows, a few in each part.
    fn dump(&self, xid: u32) -> Vec<u8> {
        let entries: Vec<Vec<u8>> = self.flows.iter().map(|(key, instructions)| entry(key, instructions)).collect();
        let mut parts: Vec<Vec<u8>> = entries.chunks(3).map(<[Vec<u8>]>::concat).collect();
        parts.push(Vec::new());
        let last = parts.len() - 1;
        let part = |(index, part): (usize, &Vec<u8>)| {
            let head = [0, 1, 0, u8::from(index < last), 0, 0, 0, 0];
            message(kind::MULTIPART_REPLY, xid, &[&head[..], part].concat())
        };
        parts.iter().enumerate().flat_map(part).collect()
    }

    /// Its groups, one in each part.
    fn dump_groups(&self, xid: u32) -> Vec<u8> {
        let part = |(number, group): (&u16, &Group)| {
            let mut entry = Vec::new();
            // A description lays buckets out as a group mod does.
            GroupChange::Add(*number, group.clone()).write(&mut entry);
            let mut described = vec![0, 7, 0, 1, 0, 0, 0, 0, 0, 0, group.kind() as u8, 0];
            described.extend_from_slice(&entry[4..10]);
            described.extend_from_slice(&[0; 6]);
            described.extend_from_slice(&entry[16..]);
            let length = described.len() as u16 - 8;
            described[8..10].copy_from_slice(&length.to_be_bytes());
            message(kind::MULTIPART_REPLY, xid, &described)
        };
        let mut parts: Vec<u8> = self.groups.iter().flat_map(part).collect();
        parts.extend(message(kind::MULTIPART_REPLY, xid, &[0, 7, 0, 0, 0, 0, 0, 0]));
        parts
    }

    /// What a crash leaves: nothing.
    fn restart(&mut self) {
        self.flows.clear();
        self.groups.clear();
        self.hang_up();
    }

    /// The connection is gone, and with it what was not committed.
    fn hang_up(&mut self) {
        self.staged.clear();
        self.bundle_is_bad = false;
    }
}

fn entry(key: &Key, instructions: &[u8]) -> Vec<u8> {
    let mut entry = vec![0, 0, 0, 0, key.table(), 0];
    entry.extend_from_slice(&key.priority().to_be_bytes());
    entry.extend_from_slice(&[0; 16]);
    entry.extend(padded_match(key.matches()));
    entry.extend_from_slice(&[0, 0, 0, 4, 0, 0, 0, 0]);
    entry.extend_from_slice(instructions);
    let length = entry.len() as u16;
    entry[..2].copy_from_slice(&length.to_be_bytes());
    entry
}

fn flow(table: u8, port: u32, does: u8) -> Flow {
    Flow { key: Key::new(table, 100, &Match::new().in_port(port)), instructions: [0, 1, 0, 8, does, 0, 0, 0].into() }
}

fn add(table: u8, port: u32, does: u8) -> Change {
    Change::Add(flow(table, port, does))
}

fn sync(ticket: u64, changes: Vec<Change>) -> Command {
    Command::Sync { ticket, changes, fresh_zones: vec![] }
}

fn session() -> (Session, Switch, Instant) {
    let now = Instant::now();
    (Session::new(Directory::default(), now), Switch::default(), now)
}

/// A session with a connected switch, which has flows in tables 0 and 1.
fn filled() -> (Session, Switch, Instant) {
    let (mut session, mut switch, now) = session();
    session.connected(now);
    switch.talk(&mut session, now);
    session.command(sync(1, vec![add(0, 1, 9), add(1, 1, 9)]));
    switch.talk(&mut session, now);
    session.take_events();
    (session, switch, now)
}

#[test]
fn connecting_alone_changes_nothing_and_the_first_sync_adopts() {
    let (mut session, mut switch, now) = session();
    apply(&[add(0, 1, 9), add(0, 2, 9)], &mut switch.flows);
    session.connected(now);
    switch.talk(&mut session, now);
    assert_eq!(session.take_events(), [Event::Connected]);
    assert_eq!((switch.flows.len(), switch.bundles), (2, 0));
    session.command(sync(1, vec![add(0, 1, 9)]));
    switch.talk(&mut session, now);
    let sent = Counts { added: 0, changed: 0, removed: 1 };
    assert_eq!(session.take_events(), [Event::Synced { ticket: 1, sent, refused: vec![] }]);
    assert_eq!((switch.flows.len(), switch.bundles), (1, 1));
}

#[test]
fn a_restarted_switch_is_refilled() {
    let (mut session, mut switch, now) = filled();
    session.disconnected("gone");
    switch.restart();
    session.connected(now);
    switch.talk(&mut session, now);
    let sent = Counts { added: 2, changed: 0, removed: 0 };
    let told = [Event::Disconnected("gone".into()), Event::Connected, Event::Refilled { sent, refused: vec![] }];
    assert_eq!(session.take_events(), told);
    assert_eq!(switch.flows.len(), 2);
}

#[test]
fn a_switch_that_kept_its_flows_is_sent_nothing() {
    let (mut session, mut switch, now) = filled();
    let before = switch.bundles;
    session.disconnected("gone");
    switch.hang_up();
    session.connected(now);
    switch.talk(&mut session, now);
    assert_eq!(switch.bundles, before);
    assert_eq!(session.take_events(), [Event::Disconnected("gone".into()), Event::Connected]);
}

#[test]
fn what_changes_while_the_switch_is_away_is_sent_when_it_is_back() {
    let (mut session, mut switch, now) = filled();
    session.disconnected("gone");
    session.command(sync(2, vec![add(2, 5, 9), Change::Remove(flow(0, 1, 9).key)]));
    assert!(session.take_events().contains(&Event::Away { ticket: 2 }));
    session.connected(now);
    switch.talk(&mut session, now);
    let expected: FlowMap =
        [flow(1, 1, 9), flow(2, 5, 9)].into_iter().map(|flow| (flow.key, flow.instructions)).collect();
    assert_eq!(switch.flows, expected);
}

#[test]
fn a_bundle_that_is_cut_off_is_sent_again() {
    let (mut session, mut switch, now) = filled();
    session.command(sync(2, vec![add(2, 5, 9)]));
    let said = session.outgoing().pending().to_vec();
    let (_, first) = Message::split(&said).unwrap().unwrap();
    switch.hear(&said[..first]);
    session.disconnected("gone");
    switch.hang_up();
    assert!(session.take_events().contains(&Event::Away { ticket: 2 }));
    session.connected(now);
    switch.talk(&mut session, now);
    assert_eq!(switch.flows.len(), 3);
}

#[test]
fn drift_is_told_and_mended() {
    let (mut session, mut switch, now) = filled();
    apply(&[Change::Remove(flow(0, 1, 9).key), add(1, 1, 7), add(3, 3, 3)], &mut switch.flows);
    for expected in [3, 0] {
        session.command(Command::Audit { ticket: 2 });
        switch.talk(&mut session, now);
        let [Event::Audited { ticket: 2, drift }] = &session.take_events()[..] else { panic!("an audit is answered") };
        assert_eq!(drift.len(), expected, "{drift:?}");
    }
    assert_eq!(switch.flows.len(), 2);
}

#[test]
fn a_flow_that_is_refused_holds_up_no_other() {
    let (mut session, mut switch, now) = filled();
    switch.refuses = vec![7];
    session.command(sync(2, vec![add(2, 5, 9), add(7, 1, 9), add(3, 5, 9)]));
    switch.talk(&mut session, now);
    let [Event::Synced { ticket: 2, refused, .. }] = &session.take_events()[..] else { panic!("a sync is answered") };
    assert_eq!(refused.len(), 1, "{refused:?}");
    assert_eq!((switch.flows.len(), switch.flow_mods), (4, 3));
}

#[test]
fn syncs_that_wait_go_together() {
    let (mut session, mut switch, now) = filled();
    let before = switch.bundles;
    for ticket in 2..6 {
        session.command(sync(ticket, vec![add(9, ticket as u32, 9)]));
    }
    switch.talk(&mut session, now);
    assert_eq!(switch.bundles - before, 2, "one under way, and the rest");
    assert_eq!(session.take_events().len(), 4);
}

fn fan(ports: &[u32]) -> Group {
    let bucket = |port: &u32| (*port, Bucket::new(&Program::new().output(*port)));
    Group::new(Kind::All, ports.iter().map(bucket).collect()).unwrap()
}

#[test]
fn groups_are_kept_as_flows_are() {
    let (mut session, mut switch, now) = filled();
    // What an earlier program left is there until somebody says which groups there should be.
    switch.groups = [(1, fan(&[9])), (5, fan(&[9]))].into();
    session.command(Command::Audit { ticket: 2 });
    switch.talk(&mut session, now);
    assert_eq!(session.take_events(), [Event::Audited { ticket: 2, drift: vec![] }]);
    let wanted: GroupMap = [(1, fan(&[1, 2, 3])), (2, fan(&[1]))].into();
    session.command(Command::Groups { ticket: 3, groups: wanted.clone() });
    switch.talk(&mut session, now);
    let sent = Counts { added: 1, changed: 1, removed: 1 };
    assert_eq!(session.take_events(), [Event::Synced { ticket: 3, sent, refused: vec![] }]);
    assert_eq!((&switch.groups, switch.flows.len()), (&wanted, 2));

    switch.groups = [(1, fan(&[1, 2])), (7, fan(&[1]))].into();
    session.command(Command::Audit { ticket: 4 });
    switch.talk(&mut session, now);
    let drift = ["different: group 1", "missing: group 2", "unwanted: group 7"].map(str::to_owned).into();
    assert_eq!(session.take_events(), [Event::Audited { ticket: 4, drift }]);
    assert_eq!(switch.groups, wanted);

    session.disconnected("gone");
    switch.restart();
    session.connected(now);
    switch.talk(&mut session, now);
    assert_eq!((&switch.groups, switch.flows.len()), (&wanted, 2));
    session.command(Command::Dump { ticket: 5 });
    switch.talk(&mut session, now);
    assert!(matches!(session.take_events().pop(), Some(Event::Dumped { ticket: 5, groups, .. }) if groups == wanted));
}

#[test]
fn a_silent_switch_is_asked_and_then_given_up() {
    let (mut session, _, now) = filled();
    session.tick(now + Duration::from_secs(6)).unwrap();
    let (asked, _) = Message::split(session.outgoing().pending()).unwrap().unwrap();
    assert_eq!(asked.kind, kind::ECHO_REQUEST);
    assert!(session.tick(now + Duration::from_secs(31)).is_err());
}

#[derive(Clone, Debug)]
enum Step {
    Sync(Vec<(u8, u32, Option<u8>)>),
    Groups(Vec<(u16, Vec<u32>)>),
    Audit,
    Talk,
    Lose,
    Crash,
    Meddle(u8, u32),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let change = (0..3_u8, 0..4_u32, prop::option::weighted(0.7, 0..3_u8));
    let step = prop_oneof![
        4 => prop::collection::vec(change, 0..4).prop_map(Step::Sync),
        2 => prop::collection::vec((0..4_u16, prop::collection::vec(0..6_u32, 0..5)), 0..4).prop_map(Step::Groups),
        1 => Just(Step::Audit),
        4 => Just(Step::Talk),
        1 => Just(Step::Lose),
        1 => Just(Step::Crash),
        1 => (0..3_u8, 0..4_u32).prop_map(|(table, port)| Step::Meddle(table, port)),
    ];
    prop::collection::vec(step, 0..40)
}

proptest! {
    #[test]
    fn whatever_is_lost_the_switch_ends_with_what_it_should_have(steps in steps()) {
        let (mut session, mut switch, now) = session();
        let (mut desired, mut groups) = (FlowMap::default(), GroupMap::new());
        session.connected(now);
        let mut ticket = 0;
        let mut next = || { ticket += 1; ticket };
        for step in steps {
            match step {
                Step::Sync(wanted) => {
                    let change = |(table, port, does): &(u8, u32, Option<u8>)| match does {
                        Some(does) => add(*table, *port, *does),
                        None => Change::Remove(flow(*table, *port, 0).key),
                    };
                    let changes: Diff = wanted.iter().map(change).collect();
                    apply(&changes, &mut desired);
                    session.command(sync(next(), changes));
                }
                Step::Groups(wanted) => {
                    groups = wanted.iter().map(|(number, ports)| (*number, fan(ports))).collect();
                    session.command(Command::Groups { ticket: next(), groups: groups.clone() });
                }
                Step::Audit => session.command(Command::Audit { ticket: next() }),
                Step::Talk => switch.talk(&mut session, now),
                Step::Lose => {
                    session.disconnected("lost");
                    switch.hang_up();
                    session.connected(now);
                }
                Step::Crash => {
                    session.disconnected("crashed");
                    switch.restart();
                    session.connected(now);
                }
                Step::Meddle(table, port) => apply(&[add(table, port, 77)], &mut switch.flows),
            }
        }
        session.command(sync(next(), vec![]));
        session.command(Command::Groups { ticket: next(), groups: groups.clone() });
        session.command(Command::Audit { ticket: next() });
        switch.talk(&mut session, now);
        prop_assert_eq!((&switch.flows, &switch.groups), (&desired, &groups));
        // Every command is answered, once.
        let answered = session.take_events().iter().filter(|event| {
            matches!(event, Event::Synced { .. } | Event::Audited { .. } | Event::Away { .. })
        }).count();
        prop_assert_eq!(answered as u64, ticket);
    }
}
