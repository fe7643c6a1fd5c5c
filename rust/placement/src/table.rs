//! The host table.
use std::collections::BTreeMap;
use std::hash::BuildHasher;

use rustc_hash::FxBuildHasher;

use crate::spec::{HostSpec, Request};

/// Why a call can't be answered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlacementError {
    /// No host of that id.
    #[error("no host {host:?} in the table")]
    NoSuchHost {
        /// The id.
        host: String,
    },
}

/// Hosts in order of preference, and why the others aren't among them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Decision {
    /// The best first.
    pub hosts: Vec<String>,
    /// How many hosts were rejected for which first reason, the most frequent first.
    pub rejected: Vec<(String, usize)>,
}

#[derive(Debug, Clone)]
struct Host {
    spec: HostSpec,
    used: BTreeMap<String, i64>,
}

/// Every host this process knows.
#[derive(Debug, Clone, Default)]
pub struct HostTable {
    hosts: BTreeMap<String, Host>,
}

impl HostTable {
    /// Hosts in the table.
    pub fn len(&self) -> usize {
        self.hosts.len()
    }

    /// No hosts.
    pub fn is_empty(&self) -> bool {
        self.hosts.is_empty()
    }

    /// Add a host or change what it has. What is used on it stays.
    pub fn set_host(&mut self, id: &str, spec: HostSpec) {
        let used = self.hosts.remove(id).map(|host| host.used).unwrap_or_default();
        self.hosts.insert(id.to_owned(), Host { spec, used });
    }

    /// Forget a host. Says whether it was there.
    pub fn remove_host(&mut self, id: &str) -> bool {
        self.hosts.remove(id).is_some()
    }

    /// Say what is used of some classes.
    ///
    /// # Errors
    /// [`PlacementError::NoSuchHost`].
    pub fn set_used(&mut self, id: &str, used: &BTreeMap<String, i64>) -> Result<(), PlacementError> {
        let host = self.host(id)?;
        host.used.extend(used.iter().map(|(class, amount)| (class.clone(), *amount)));
        Ok(())
    }

    /// Add to (or take from) what is used of some classes.
    ///
    /// # Errors
    /// [`PlacementError::NoSuchHost`].
    pub fn add_used(&mut self, id: &str, delta: &BTreeMap<String, i64>) -> Result<(), PlacementError> {
        let host = self.host(id)?;
        for (class, amount) in delta {
            *host.used.entry(class.clone()).or_default() += amount;
        }
        Ok(())
    }

    fn host(&mut self, id: &str) -> Result<&mut Host, PlacementError> {
        self.hosts.get_mut(id).ok_or_else(|| PlacementError::NoSuchHost { host: id.to_owned() })
    }

    /// At most `limit` hosts that can take the request, the best first; equal ones in an order drawn from `seed`.
    pub fn place(&self, request: &Request, seed: u64, limit: usize) -> Decision {
        let mut fitting: Vec<(f64, u64, &String)> = Vec::new();
        let mut rejected: BTreeMap<String, usize> = BTreeMap::new();
        for (id, host) in &self.hosts {
            match reason(id, host, request) {
                Some(reason) => *rejected.entry(reason).or_default() += 1,
                None => fitting.push((-score(host, request), FxBuildHasher.hash_one((seed, id)), id)),
            }
        }
        fitting.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        let mut rejected: Vec<(String, usize)> = rejected.into_iter().collect();
        rejected.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        Decision { hosts: fitting.into_iter().take(limit).map(|(_, _, id)| id.clone()).collect(), rejected }
    }
}

fn score(host: &Host, request: &Request) -> f64 {
    let free = |class: &String| {
        let capacity = host.spec.inventories.get(class).map_or(0, |inventory| inventory.capacity());
        let used = host.used.get(class).copied().unwrap_or_default();
        if capacity > 0 { (capacity - used) as f64 / capacity as f64 } else { 0.0 }
    };
    request.resources.keys().map(free).sum()
}

fn reason(id: &String, host: &Host, request: &Request) -> Option<String> {
    if !host.spec.enabled {
        return Some("disabled".to_owned());
    }
    if request.only_hosts.as_ref().is_some_and(|only| !only.contains(id)) || request.not_hosts.contains(id) {
        return Some("ruled out by the request".to_owned());
    }
    if request.az.is_some() && request.az != host.spec.az {
        return Some(format!("not in availability zone {}", request.az.as_deref().unwrap_or_default()));
    }
    let failed = request.required.iter().find(|expression| !holds(expression, &host.spec.traits));
    if let Some(expression) = failed {
        return Some(format!("traits don't satisfy {expression}"));
    }
    let failed = request.member_of.iter().find(|expression| !holds(expression, &host.spec.aggregates));
    if let Some(expression) = failed {
        return Some(format!("aggregates don't satisfy {expression}"));
    }
    request.resources.iter().find_map(|(class, asked)| lacks(host, class, *asked))
}

fn lacks(host: &Host, class: &str, asked: i64) -> Option<String> {
    let Some(inventory) = host.spec.inventories.get(class) else {
        return Some(format!("no {class}"));
    };
    let used = host.used.get(class).copied().unwrap_or_default();
    if used + asked > inventory.capacity() {
        return Some(format!("not enough {class} (asked {asked})"));
    }
    let in_steps = asked % inventory.step_size == 0;
    let in_bounds = (inventory.min_unit..=inventory.max_unit).contains(&asked);
    (!in_steps || !in_bounds).then(|| format!("{class} isn't given in amounts of {asked}"))
}

fn holds(expression: &str, has: &[String]) -> bool {
    let (negated, rest) = expression.strip_prefix('!').map_or((false, expression), |rest| (true, rest));
    let names = rest.strip_prefix("in:").unwrap_or(rest);
    names.split(',').any(|name| has.iter().any(|known| known == name)) != negated
}
