//! Placement's query language.

#![allow(clippy::unwrap_used, reason = "a panic here is a failed test")]

use ostro_placement::{GroupPolicy, Query};

const A: &str = "9323b2b1-82c9-4e91-bdff-e95e808ef954";
const B: &str = "8592a199-7d73-4465-8df6-ab00a6243c82";

fn read(text: &str) -> Result<Query, String> {
    Query::read(text.split('&').map(|pair| pair.split_once('=').unwrap())).map_err(|error| error.to_string())
}

#[test]
fn the_whole_language_is_read() {
    let text = format!(
        "resources=VCPU:2,MEMORY_MB:1024&required=HW_CPU_X86_VMX,!CUSTOM_SLOW&required=in:CUSTOM_A,CUSTOM_B&member_of={A}\
         &member_of=!in:{A},{B}&in_tree={B}&resources_NET1=SRIOV_NET_VF:1&required_NET1=CUSTOM_PHYSNET_A\
         &required_ROOT=CUSTOM_NIC&same_subtree=_NET1,_ROOT&group_policy=isolate&root_required=CUSTOM_R,!CUSTOM_S&limit=7"
    );
    let Query { request, limit } = read(&text).unwrap();
    assert_eq!(limit, Some(7));
    assert_eq!(request.resources["MEMORY_MB"], 1024);
    assert_eq!(request.required, ["HW_CPU_X86_VMX", "!CUSTOM_SLOW", "in:CUSTOM_A,CUSTOM_B"]);
    assert_eq!(request.member_of, [A.to_owned(), format!("!in:{A},{B}")]);
    assert_eq!(request.in_tree.as_deref(), Some(B));
    assert_eq!(request.groups["_NET1"].resources["SRIOV_NET_VF"], 1);
    assert_eq!(request.groups["_ROOT"].required, ["CUSTOM_NIC"]);
    assert_eq!(request.same_subtree, [["_NET1", "_ROOT"]]);
    assert_eq!(request.group_policy, GroupPolicy::Isolate);
    assert_eq!(request.root_required, ["CUSTOM_R", "!CUSTOM_S"]);
}

#[test]
fn what_is_wrong_is_said() {
    let cases = [
        ("required=CUSTOM_A", "at least one resources"),
        ("resources=VCPU", "Badly formed resources"),
        ("resources=VCPU:x", "expected positive integer"),
        ("resources=VCPU:0", "requires amount >= 1"),
        ("resources=VCPU:1&required=in:A,!B", "does not support forbidden"),
        ("resources=VCPU:1&required=A,,B", "empty trait"),
        ("resources=VCPU:1&required=A,!A", "Conflicting required and forbidden"),
        ("resources=VCPU:1&required=in:A,B&required=!A,!B", "Conflicting required and forbidden"),
        ("resources=VCPU:1&root_required=A,!A", "root_required"),
        ("resources=VCPU:1&root_required=A&root_required=B", "only once"),
        ("resources=VCPU:1&root_required=in:A,B", "empty trait"),
        ("resources=VCPU:1&member_of=x", "valid UUID"),
        ("resources=VCPU:1&member_of=a,b", "must be prefixed"),
        ("resources=VCPU:1&in_tree=x", "valid UUID"),
        ("resources=VCPU:1&group_policy=maybe", "group_policy"),
        ("resources=VCPU:1&limit=0", "limit"),
        ("resources=VCPU:1&colour=red", "unknown"),
        ("resources=VCPU:1&required_X=A", "same_subtree"),
        ("resources=VCPU:1&same_subtree=_X", "not found"),
        ("resources=VCPU:1&same_subtree=_X,", "Empty string"),
        ("resources=VCPU:1&resources~=VCPU:1", "unknown"),
    ];
    for (text, expected) in cases {
        let error = read(text).unwrap_err();
        assert!(error.contains(expected), "{text}: {error}");
    }
}
