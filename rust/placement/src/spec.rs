//! What a caller says: hosts and requests as plain values, with names instead of numbers.
use std::collections::BTreeMap;

use serde::Deserialize;

const fn one() -> i64 {
    1
}

const fn one_member() -> u32 {
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

/// More of anything than this counts as this, and less than its opposite likewise: so sums over a host's providers and pages overflow nowhere.
pub(crate) const AMOUNT_MAX: i64 = 1 << 46;

/// An amount that sums of may be made.
pub(crate) fn bounded(amount: i64) -> i64 {
    amount.clamp(-AMOUNT_MAX, AMOUNT_MAX)
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
        bounded((self.total.saturating_sub(self.reserved) as f64 * self.allocation_ratio) as i64)
    }
}

/// Inventories by resource class.
pub type Inventories = BTreeMap<String, Inventory>;

/// A host as the control plane knows it: a tree of providers whose root has the host's id.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostSpec {
    /// Inventories of the root provider.
    #[serde(default)]
    pub inventories: Inventories,
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
    /// Is about to be worked on: taken only if no other host is left (see the weight `maintenance`).
    #[serde(default)]
    pub maintenance: bool,
    /// Any measured numbers to weigh or limit by, such as `io_ops` or `servers`.
    #[serde(default)]
    pub metrics: BTreeMap<String, f64>,
    /// Nested providers: device pools, bandwidth of interfaces. A parent comes before its children.
    #[serde(default)]
    pub providers: Vec<ProviderSpec>,
    /// NUMA cells, for pinned CPUs and huge pages.
    #[serde(default)]
    pub numa: Vec<CellSpec>,
}

/// A nested provider.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProviderSpec {
    /// Its id, different from every other provider's.
    pub id: String,
    /// The provider it is in; the root unless given.
    #[serde(default)]
    pub parent: Option<String>,
    /// What it has.
    #[serde(default)]
    pub inventories: Inventories,
    /// Its traits.
    #[serde(default)]
    pub traits: Vec<String>,
    /// Its aggregates.
    #[serde(default)]
    pub aggregates: Vec<String>,
    /// The NUMA cell that it is near, for devices.
    #[serde(default)]
    pub numa_cell: Option<u16>,
}

/// A NUMA cell of a host.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CellSpec {
    /// Its number on the host.
    pub id: u16,
    /// The socket it is on.
    #[serde(default)]
    pub socket: u16,
    /// CPUs that servers may be pinned to: one list of thread siblings for each core, at most 8 in each.
    #[serde(default)]
    pub cores: Vec<Vec<u16>>,
    /// How many virtual CPUs may float over the cell's other CPUs.
    #[serde(default)]
    pub shared_vcpus: i64,
    /// Pages by their size in KiB.
    #[serde(default)]
    pub pages: BTreeMap<u64, i64>,
}

/// What one group of a request asks of one provider (or, in the group without a name, of a tree).
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// Amounts by resource class.
    #[serde(default)]
    pub resources: BTreeMap<String, i64>,
    /// Traits: `NAME` (has it), `!NAME` (hasn't), `in:A,B` (has one of them); all must hold.
    #[serde(default)]
    pub required: Vec<String>,
    /// Aggregates: `ID`, `!ID`, `in:A,B`, `!in:A,B`; all must hold.
    #[serde(default)]
    pub member_of: Vec<String>,
    /// A provider in whose tree this must be found.
    #[serde(default)]
    pub in_tree: Option<String>,
    /// How near a device must be to the server's NUMA cells.
    #[serde(default)]
    pub numa_policy: NumaPolicy,
}

/// How near a device must be to the server's NUMA cells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NumaPolicy {
    /// Anywhere.
    #[default]
    Preferred,
    /// On one of them.
    Required,
    /// On the socket of one of them.
    Socket,
    /// On one of them if the device says where it is.
    Legacy,
}

/// Whether named groups may share a provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GroupPolicy {
    /// They may.
    #[default]
    None,
    /// Each needs one of its own.
    Isolate,
}

/// How the members of a server group lie to each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AffinityPolicy {
    /// All on one host.
    Affinity,
    /// At most `max_per_host` on one host.
    AntiAffinity,
    /// Together if possible.
    SoftAffinity,
    /// Apart if possible.
    SoftAntiAffinity,
}

/// The server group of the server to be placed.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServerGroup {
    /// Its id.
    pub id: String,
    /// Its policy.
    pub policy: AffinityPolicy,
    /// For [`AffinityPolicy::AntiAffinity`].
    #[serde(default = "one_member")]
    pub max_per_host: u32,
}

/// How pinned CPUs use the threads of a core.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ThreadPolicy {
    /// Siblings together where they are free.
    #[default]
    Prefer,
    /// A core for each, its other threads kept idle.
    Isolate,
    /// Whole cores, all of their threads.
    Require,
}

/// Which pages a server's memory lies in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PageAsk {
    /// The smallest there are.
    #[default]
    Small,
    /// The biggest that has room, but not the smallest.
    Large,
    /// The biggest that has room.
    Any,
    /// Of this size in KiB.
    Kb(u64),
}

/// One cell of the server's own NUMA topology.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CellAsk {
    /// Virtual CPUs with a CPU each to themselves.
    #[serde(default)]
    pub pinned: u16,
    /// Virtual CPUs that float.
    #[serde(default)]
    pub shared: u16,
    /// Memory in MiB.
    pub memory_mb: u64,
}

/// A server's NUMA topology: each of its cells goes to a host cell of its own.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NumaAsk {
    /// Its cells, at most 16.
    pub cells: Vec<CellAsk>,
    /// For pinned CPUs.
    #[serde(default)]
    pub thread_policy: ThreadPolicy,
    /// For its memory.
    #[serde(default)]
    pub page: PageAsk,
}

/// What is asked for. The fields up to `in_tree` are the group without a name.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// Amounts by resource class.
    #[serde(default)]
    pub resources: BTreeMap<String, i64>,
    /// Traits, as in [`Group::required`].
    #[serde(default)]
    pub required: Vec<String>,
    /// Aggregates, as in [`Group::member_of`].
    #[serde(default)]
    pub member_of: Vec<String>,
    /// A provider in whose tree this must be found.
    #[serde(default)]
    pub in_tree: Option<String>,
    /// The groups with a name.
    #[serde(default)]
    pub groups: BTreeMap<String, Group>,
    /// Whether they may share a provider.
    #[serde(default)]
    pub group_policy: GroupPolicy,
    /// In each list, groups whose providers must all be below one of them.
    #[serde(default)]
    pub same_subtree: Vec<Vec<String>>,
    /// Traits of the root provider: `NAME`, `!NAME`.
    #[serde(default)]
    pub root_required: Vec<String>,
    /// Only hosts of this availability zone.
    #[serde(default)]
    pub az: Option<String>,
    /// Only these hosts.
    #[serde(default)]
    pub only_hosts: Option<Vec<String>>,
    /// None of these hosts.
    #[serde(default)]
    pub not_hosts: Vec<String>,
    /// The server group.
    #[serde(default)]
    pub server_group: Option<ServerGroup>,
    /// The NUMA topology.
    #[serde(default)]
    pub numa: Option<NumaAsk>,
    /// Metrics that must not be above these.
    #[serde(default)]
    pub limits: BTreeMap<String, f64>,
    /// What makes a host better; see [`crate::Weights`] for the names.
    #[serde(default)]
    pub weights: Option<BTreeMap<String, f64>>,
}

/// A trait or aggregate expression taken apart: the names, and whether they are forbidden.
pub(crate) struct Expression<'a> {
    pub(crate) names: Vec<&'a str>,
    pub(crate) forbidden: bool,
}

/// Take `NAME`, `!NAME`, `in:A,B` or `!in:A,B` apart.
pub(crate) fn expression(text: &str) -> Expression<'_> {
    let (forbidden, rest) = text.strip_prefix('!').map_or((false, text), |rest| (true, rest));
    let names = match rest.strip_prefix("in:") {
        Some(list) => list.split(',').map(str::trim).collect(),
        None => vec![rest],
    };
    Expression { names, forbidden }
}
