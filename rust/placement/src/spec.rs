//! What a caller says: hosts and requests as plain values, with names instead of numbers.
use std::collections::BTreeMap;

use serde::Deserialize;

const fn one() -> i64 {
    1
}

const fn unbounded() -> i64 {
    i32::MAX as i64
}

const fn ratio_one() -> f64 {
    1.0
}

const fn yes() -> bool {
    true
}

/// How much of one resource class a provider has, in Placement's own terms.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Inventory {
    /// All there is.
    pub total: i64,
    /// What is kept back.
    #[serde(default)]
    pub reserved: i64,
    /// An allocation takes at least this.
    #[serde(default = "one")]
    pub min_unit: i64,
    /// An allocation takes at most this.
    #[serde(default = "unbounded")]
    pub max_unit: i64,
    /// An allocation takes a multiple of this.
    #[serde(default = "one")]
    pub step_size: i64,
    /// Capacity is `(total - reserved) * allocation_ratio`, rounded down.
    #[serde(default = "ratio_one")]
    pub allocation_ratio: f64,
}

impl Inventory {
    /// What may be allocated in all.
    pub fn capacity(&self) -> i64 {
        ((self.total - self.reserved) as f64 * self.allocation_ratio) as i64
    }
}

/// A host as the control plane knows it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostSpec {
    /// Inventories of the root provider by resource class.
    pub inventories: BTreeMap<String, Inventory>,
    /// Traits of the root provider.
    #[serde(default)]
    pub traits: Vec<String>,
    /// Aggregates of the root provider.
    #[serde(default)]
    pub aggregates: Vec<String>,
    /// Its availability zone.
    #[serde(default)]
    pub az: Option<String>,
    /// Takes new servers.
    #[serde(default = "yes")]
    pub enabled: bool,
}

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// Amounts by resource class.
    #[serde(default)]
    pub resources: BTreeMap<String, i64>,
    /// Traits: `NAME` (has it), `!NAME` (hasn't), `in:A,B` (has one of them); all must hold.
    #[serde(default)]
    pub required: Vec<String>,
    /// Aggregates: `ID`, `!ID`, `in:A,B`, `!in:A,B`; all must hold.
    #[serde(default)]
    pub member_of: Vec<String>,
    /// Only hosts of this availability zone.
    #[serde(default)]
    pub az: Option<String>,
    /// Only these hosts.
    #[serde(default)]
    pub only_hosts: Option<Vec<String>>,
    /// None of these hosts.
    #[serde(default)]
    pub not_hosts: Vec<String>,
}
