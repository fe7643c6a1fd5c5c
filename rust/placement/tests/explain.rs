//! Why hosts are rejected, in words.

#![allow(clippy::unwrap_used, reason = "a panic here is a failed test")]

use std::collections::BTreeMap;

use ostro_placement::{Explain, HostTable, PlacementError, Request};

fn host(memory_mb: i64, rest: &str) -> ostro_placement::HostSpec {
    let text = format!(
        r#"{{"inventories": {{"VCPU": {{"total": 4, "max_unit": 2}}, "MEMORY_MB": {{"total": {memory_mb}, "step_size": 8}}}}{rest}}}"#
    );
    serde_json::from_str(&text).unwrap()
}

fn request(text: &str) -> Request {
    serde_json::from_str(text).unwrap()
}

fn table() -> HostTable {
    let mut table = HostTable::new();
    table.set_host("a", &host(1024, r#", "traits": ["T"], "az": "z1""#)).unwrap();
    table.set_host("b", &host(2048, r#", "az": "z1""#)).unwrap();
    table.set_host("c", &host(4096, r#", "az": "z2", "aggregates": ["G"]"#)).unwrap();
    table.set_host("d", &host(8192, r#", "enabled": false"#)).unwrap();
    table
}

fn sentences(table: &mut HostTable, text: &str) -> Vec<String> {
    let decision = table.place(&request(text), 0, 10, Explain::IfNone).unwrap();
    decision.rejected.iter().map(ostro_placement::Rejection::sentence).collect()
}

#[test]
fn each_host_counts_once_for_its_first_reason() {
    let mut table = table();
    let disabled = "1 host: disabled".to_owned();
    let cases = [
        (r#"{"resources": {"MEMORY_MB": 4104}}"#, vec!["3 hosts: not enough MEMORY_MB (asked 4104)"]),
        (r#"{"resources": {"DISK_GB": 1}}"#, vec!["3 hosts: no DISK_GB"]),
        (r#"{"resources": {"VCPU": 3}}"#, vec!["3 hosts: VCPU isn't given in amounts of 3"]),
        (r#"{"resources": {"MEMORY_MB": 12}}"#, vec!["3 hosts: MEMORY_MB isn't given in amounts of 12"]),
        (
            r#"{"resources": {"VCPU": 1}, "required": ["T", "!T"]}"#,
            vec!["2 hosts: traits don't satisfy T", "1 host: traits don't satisfy !T"],
        ),
        (
            r#"{"resources": {"MEMORY_MB": 2048}, "az": "z1", "required": ["in:T,U"]}"#,
            vec![
                "1 host: not enough MEMORY_MB (asked 2048)",
                "1 host: not in availability zone z1",
                "1 host: traits don't satisfy in:T,U",
            ],
        ),
        (r#"{"resources": {"VCPU": 1}, "only_hosts": ["d", "x"]}"#, vec!["3 hosts: ruled out by the request"]),
        (
            r#"{"resources": {"VCPU": 1}, "member_of": ["G"], "not_hosts": ["c"]}"#,
            vec!["2 hosts: aggregates don't satisfy G", "1 host: ruled out by the request"],
        ),
        (r#"{"resources": {"VCPU": 1}, "in_tree": "nobody"}"#, vec!["3 hosts: not the tree asked for"]),
        (r#"{"resources": {"VCPU": 1}, "limits": {"io_ops": -1}}"#, vec!["3 hosts: io_ops above -1"]),
    ];
    for (text, mut expected) in cases {
        let mut found = sentences(&mut table, text);
        expected.push(&disabled);
        expected.sort_unstable();
        found.sort_unstable();
        assert_eq!(found, expected, "{text}");
    }
}

#[test]
fn server_groups_say_who_is_there() {
    let mut table = table();
    let all: BTreeMap<String, u32> = ["a", "b", "c"].map(|host| (host.to_owned(), 1)).into();
    table.set_group("web", &all).unwrap();
    let text = r#"{"resources": {"VCPU": 1}, "server_group": {"id": "web", "policy": "anti-affinity"}}"#;
    assert_eq!(sentences(&mut table, text)[0], "3 hosts: already 1 member(s) of server group web");
    let text = r#"{"resources": {"VCPU": 1}, "az": "z2", "server_group": {"id": "web", "policy": "affinity"}}"#;
    table.add_member("web", "c", -1).unwrap();
    assert!(sentences(&mut table, text).contains(&"1 host: no member of server group web".to_owned()));
}

#[test]
fn an_answer_needs_no_reasons_unless_asked() {
    let mut table = table();
    let any = request(r#"{"resources": {"VCPU": 1}}"#);
    assert!(table.place(&any, 0, 10, Explain::IfNone).unwrap().rejected.is_empty());
    assert_eq!(table.place(&any, 0, 10, Explain::Always).unwrap().rejected.len(), 1);
}

#[test]
fn nonsense_is_refused() {
    let mut table = table();
    for text in [
        r#"{}"#,
        r#"{"resources": {"VCPU": 0}}"#,
        r#"{"resources": {"VCPU": 1}, "groups": {"_a": {}}}"#,
        r#"{"resources": {"VCPU": 1}, "same_subtree": [["_a"]]}"#,
        r#"{"required": ["T"], "groups": {"_a": {"resources": {"VCPU": 1}}}}"#,
        r#"{"resources": {"VCPU": 1}, "numa": {"cells": []}}"#,
        r#"{"resources": {"VCPU": 1}, "weights": {"colour:red": 1}}"#,
    ] {
        let error = table.place(&request(text), 0, 1, Explain::IfNone).unwrap_err();
        assert!(matches!(error, PlacementError::Wrong { .. }), "{text}: {error}");
    }
}

#[test]
fn a_drain_shows_where_servers_could_go() {
    let mut table = table();
    let big = request(r#"{"resources": {"MEMORY_MB": 2048}}"#);
    let order = ostro_placement::Order { request: &big, count: 3 };
    let batch = table.drain("c", &[order], 0).unwrap();
    assert!(!batch.complete);
    assert_eq!(batch.orders[0].hosts.iter().map(ToString::to_string).collect::<Vec<_>>(), ["b"]);
    assert_eq!(table.how_many(&big, 100).unwrap(), 3);
    assert_eq!(table.place(&big, 0, 10, Explain::Never).unwrap().hosts.len(), 2);
}
