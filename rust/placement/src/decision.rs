//! What a decision says: hosts, what a server would take of each, and why the others don't do.
use std::sync::Arc;

use crate::claim::Claim;
use crate::shape::Shape;

/// Why some hosts were rejected: the first reason of each, and of how many.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// The reason, to stand after "3 hosts: ".
    pub reason: String,
    /// How many hosts.
    pub hosts: usize,
}

impl Rejection {
    /// `3 hosts: not enough MEMORY_MB (asked 4096)`.
    pub fn sentence(&self) -> String {
        let noun = if self.hosts == 1 { "host" } else { "hosts" };
        format!("{} {noun}: {}", self.hosts, self.reason)
    }
}

/// Hosts in order of preference, or the hosts of N servers in the order they were placed.
#[derive(Debug, Clone)]
pub struct Decision {
    /// The hosts.
    pub hosts: Vec<Arc<str>>,
    /// Why others don't do, most hosts first: filled if no host does or if it was asked for.
    pub rejected: Vec<Rejection>,
    /// Of hosts that are trees, what is taken.
    pub(crate) trees: Vec<Option<Box<Claim>>>,
    pub(crate) shape: Arc<Shape>,
    /// Names of `shape.asks`.
    pub(crate) classes: Vec<Arc<str>>,
    pub(crate) server_group: Option<Arc<str>>,
}

impl Decision {
    /// What the server takes if it goes to `hosts[at]`; `None` past the end.
    pub fn claim(&self, at: usize) -> Option<Claim> {
        let host = self.hosts.get(at)?;
        if let Some(Some(claim)) = self.trees.get(at) {
            return Some((**claim).clone());
        }
        let asked = self.shape.asks.iter().zip(&self.classes);
        let groups = self.shape.groups.iter();
        Some(Claim {
            host: host.to_string(),
            allocations: [(
                host.to_string(),
                asked.map(|(ask, class)| (class.to_string(), i64::from(ask.total))).collect(),
            )]
            .into(),
            mappings: groups.map(|group| (group.name.to_string(), vec![host.to_string()])).collect(),
            cells: Vec::new(),
            server_group: self.server_group.as_ref().map(ToString::to_string),
        })
    }
}
