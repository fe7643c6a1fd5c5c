//! Placement as plainly as it can be said: every rule a loop over names, nothing kept, nothing clever.
//!
//! Only the score is computed in the same steps as the engine documents, because its last bits decide ties.
use std::collections::{BTreeMap, BTreeSet};

use ostro_placement::{
    AffinityPolicy, Claim, Group, GroupPolicy, HostSpec, Inventories, NumaPolicy, ProviderSpec, Request,
};

pub type Used = BTreeMap<(String, String), i64>;

#[derive(Debug, Clone, Default)]
pub struct Naive {
    pub hosts: BTreeMap<String, HostSpec>,
    /// (provider, class) -> used.
    pub used: Used,
    pub groups: BTreeMap<String, BTreeMap<String, u32>>,
}

#[derive(Debug, Clone)]
struct Provider {
    id: String,
    parent: Option<String>,
    inventories: Inventories,
    traits: BTreeSet<String>,
    aggregates: BTreeSet<String>,
}

const SHARES: &str = "MISC_SHARES_VIA_AGGREGATE";

fn set(names: &[String]) -> BTreeSet<String> {
    names.iter().cloned().collect()
}

fn tree(id: &str, host: &HostSpec) -> Vec<Provider> {
    let root = Provider {
        id: id.to_owned(),
        parent: None,
        inventories: host.inventories.clone(),
        traits: set(&host.traits),
        aggregates: set(&host.aggregates),
    };
    let nested = |spec: &ProviderSpec| Provider {
        id: spec.id.clone(),
        parent: Some(spec.parent.clone().unwrap_or_else(|| id.to_owned())),
        inventories: spec.inventories.clone(),
        traits: set(&spec.traits),
        aggregates: set(&spec.aggregates),
    };
    std::iter::once(root).chain(host.providers.iter().map(nested)).collect()
}

fn holds(expressions: &[String], has: &dyn Fn(&str) -> bool) -> bool {
    wanted(expressions, has) && unwanted(expressions, has)
}

fn names(expression: &str) -> Vec<&str> {
    let rest = expression.trim_start_matches('!');
    rest.strip_prefix("in:").unwrap_or(rest).split(',').collect()
}

fn wanted(expressions: &[String], has: &dyn Fn(&str) -> bool) -> bool {
    expressions.iter().filter(|text| !text.starts_with('!')).all(|text| names(text).iter().any(|name| has(name)))
}

fn unwanted(expressions: &[String], has: &dyn Fn(&str) -> bool) -> bool {
    expressions.iter().filter(|text| text.starts_with('!')).all(|text| !names(text).iter().any(|name| has(name)))
}

/// One way to answer a request on a tree: (group, classes and amounts, provider).
type Part = (String, Vec<(String, i64)>, Provider);

impl Naive {
    fn used(&self, provider: &str, class: &str) -> i64 {
        self.used.get(&(provider.to_owned(), class.to_owned())).copied().unwrap_or(0)
    }

    fn gives(&self, provider: &Provider, class: &str, amount: i64) -> bool {
        provider.inventories.get(class).is_some_and(|inventory| {
            amount >= inventory.min_unit
                && amount <= inventory.max_unit
                && amount % inventory.step_size == 0
                && self.used(&provider.id, class) + amount <= inventory.capacity()
        })
    }

    /// Shared providers of other trees that have an aggregate in common with any provider of this one.
    fn reach(&self, id: &str) -> Vec<Provider> {
        let own: BTreeSet<String> =
            tree(id, &self.hosts[id]).into_iter().flat_map(|provider| provider.aggregates).collect();
        let others = self.hosts.iter().filter(|(other, _)| *other != id);
        let providers = others.flat_map(|(other, host)| tree(other, host));
        let mut shared: Vec<Provider> = providers
            .filter(|provider| provider.traits.contains(SHARES) && !provider.aggregates.is_disjoint(&own))
            .collect();
        shared.sort_by(|a, b| a.id.cmp(&b.id));
        shared
    }

    fn tree_of(&self, provider: &str) -> Option<&String> {
        self.hosts.iter().find(|(id, host)| tree(id, host).iter().any(|own| own.id == provider)).map(|(id, _)| id)
    }

    fn parts(&self, id: &str, request: &Request) -> Vec<Vec<Part>> {
        let own = tree(id, &self.hosts[id]);
        let shared = self.reach(id);
        let root = own[0].clone();
        let mut parts = Vec::new();
        for (class, amount) in &request.resources {
            let in_root = |provider: &Provider| {
                let itself = |name: &str| provider.aggregates.contains(name);
                let above = |name: &str| root.aggregates.contains(name);
                unwanted(&request.member_of, &itself) && unwanted(&request.member_of, &above)
            };
            let member = |provider: &Provider| wanted(&request.member_of, &|name| provider.aggregates.contains(name));
            let mut options: Vec<Provider> = own.iter().filter(|p| member(p) || member(&root)).cloned().collect();
            match &request.in_tree {
                None => options.extend(shared.iter().filter(|p| member(p)).cloned()),
                Some(wanted) if self.tree_of(wanted).is_none_or(|tree| tree != id) => options.clear(),
                Some(_) => {}
            }
            options.retain(|provider| in_root(provider) && self.gives(provider, class, *amount));
            let part = |provider| (String::new(), vec![(class.clone(), *amount)], provider);
            parts.push(options.into_iter().map(part).collect());
        }
        for (name, group) in &request.groups {
            let options = own.iter().chain(&shared).filter(|provider| self.answers(group, provider));
            let asks: Vec<(String, i64)> = group.resources.iter().map(|(c, n)| (c.clone(), *n)).collect();
            parts.push(options.map(|provider| (name.clone(), asks.clone(), provider.clone())).collect());
        }
        parts
    }

    fn answers(&self, group: &Group, provider: &Provider) -> bool {
        let positive = |texts: &[String]| texts.iter().any(|text| !text.starts_with('!'));
        let says = !group.resources.is_empty() || positive(&group.required) || positive(&group.member_of);
        let in_tree = group
            .in_tree
            .as_ref()
            .is_none_or(|wanted| self.tree_of(wanted).is_some_and(|tree| self.tree_of(&provider.id) == Some(tree)));
        says && in_tree
            && group.resources.iter().all(|(class, amount)| self.gives(provider, class, *amount))
            && holds(&group.required, &|name| provider.traits.contains(name))
            && holds(&group.member_of, &|name| provider.aggregates.contains(name))
    }

    /// Every way the request fits on a host, as sets of (provider, class, amount).
    pub fn fits(&self, id: &str, request: &Request) -> Vec<Vec<(String, String, i64)>> {
        let mut ways: Vec<Vec<Part>> = vec![Vec::new()];
        for options in self.parts(id, request) {
            ways = ways
                .into_iter()
                .flat_map(|way| options.iter().map(move |part| [way.clone(), vec![part.clone()]].concat()))
                .collect();
        }
        ways.retain(|way| self.way_holds(request, way));
        ways.iter().map(|way| sums(way).into_iter().map(|((p, c), n)| (p, c, n)).collect()).collect()
    }

    fn way_holds(&self, request: &Request, way: &[Part]) -> bool {
        let unnamed: Vec<&Provider> = way.iter().filter(|(name, ..)| name.is_empty()).map(|(_, _, p)| p).collect();
        let has = |name: &str| unnamed.iter().any(|provider| provider.traits.contains(name));
        let named: Vec<&String> = way.iter().filter(|(name, ..)| !name.is_empty()).map(|(_, _, p)| &p.id).collect();
        let apart =
            request.group_policy != GroupPolicy::Isolate || named.iter().collect::<BTreeSet<_>>().len() == named.len();
        let room = sums(way).iter().all(|((provider, class), amount)| {
            let provider = way.iter().map(|(_, _, p)| p).find(|p| p.id == *provider).unwrap();
            let inventory = &provider.inventories[class];
            *amount <= inventory.max_unit && self.used(&provider.id, class) + amount <= inventory.capacity()
        });
        let below = |groups: &Vec<String>| {
            let members: Vec<&Provider> =
                way.iter().filter(|(name, ..)| groups.contains(name)).map(|(_, _, p)| p).collect();
            members.is_empty() || members.iter().any(|top| members.iter().all(|p| self.is_below(p, &top.id)))
        };
        holds(&request.required, &has) && apart && room && request.same_subtree.iter().all(below)
    }

    fn is_below(&self, provider: &Provider, top: &str) -> bool {
        if provider.id == top {
            return true;
        }
        let Some(parent) = &provider.parent else { return false };
        let id = self.tree_of(&provider.id).unwrap();
        let parent = tree(id, &self.hosts[id]).into_iter().find(|other| other.id == *parent).unwrap();
        self.is_below(&parent, top)
    }

    /// The host does, apart from NUMA.
    pub fn does(&self, id: &str, request: &Request) -> bool {
        let host = &self.hosts[id];
        let members = request.server_group.as_ref().and_then(|group| self.groups.get(&group.id));
        let count = members.and_then(|members| members.get(id)).copied().unwrap_or(0);
        let group = request.server_group.as_ref().is_none_or(|group| match group.policy {
            AffinityPolicy::Affinity => members.is_none_or(BTreeMap::is_empty) || count > 0,
            AffinityPolicy::AntiAffinity => count < group.max_per_host,
            _ => true,
        });
        let metric =
            |(name, limit): (&String, &f64)| host.metrics.get(name).copied().unwrap_or(0.0) as f32 <= *limit as f32;
        host.enabled
            && group
            && request.az.as_ref().is_none_or(|az| host.az.as_ref() == Some(az))
            && request.only_hosts.as_ref().is_none_or(|only| only.iter().any(|name| name == id))
            && !request.not_hosts.iter().any(|name| name == id)
            && request.limits.iter().all(metric)
            && holds(&request.root_required, &|name| host.traits.iter().any(|own| own == name))
            && !self.fits(id, request).is_empty()
    }

    pub fn score(&self, id: &str, request: &Request) -> f32 {
        let host = &self.hosts[id];
        let own = tree(id, host);
        let weights = request.weights.clone();
        let one = |name: &String| (name.clone(), 1.0);
        let classes: BTreeMap<String, f64> = match &weights {
            None => request.resources.keys().map(one).collect(),
            Some(weights) => weights.clone().into_iter().filter(|(name, _)| name.to_uppercase() == *name).collect(),
        };
        let mut score = 0.0_f32;
        for (class, weight) in classes {
            let stocks = || own.iter().filter(|provider| provider.inventories.contains_key(&class));
            let capacity: i64 = stocks().map(|provider| provider.inventories[&class].capacity()).sum();
            let used: i64 = own.iter().map(|provider| self.used_listed(provider, &class)).sum();
            let inverse = if capacity > 0 { 1.0 / capacity as f32 } else { 0.0 };
            let share = (capacity - used) as f32 * inverse;
            let asked = request.resources.get(&class).copied().unwrap_or(0) as f32;
            score += weight as f32 * (share - asked * inverse);
        }
        score += 0.0;
        let weight =
            |name: &str, default: f32| weights.as_ref().and_then(|w| w.get(name)).map_or(default, |w| *w as f32);
        if host.maintenance {
            score += weight("maintenance", -1000.0);
        }
        let is_tree = !host.providers.is_empty() || !host.numa.is_empty() || own[0].traits.contains(SHARES);
        if is_tree && request.groups.is_empty() && weight("devices", -1.0) != 0.0 {
            score += weight("devices", -1.0);
        }
        let given: Vec<(String, f64)> = weights.clone().unwrap_or_default().into_iter().collect();
        for (name, weight) in &given {
            let trait_name = name.strip_prefix("trait:");
            if trait_name.is_some_and(|name| own.iter().any(|provider| provider.traits.contains(name))) {
                score += *weight as f32;
            }
        }
        for (name, weight) in &given {
            if let Some(metric) = name.strip_prefix("metric:") {
                score += *weight as f32 * host.metrics.get(metric).copied().unwrap_or(0.0) as f32;
            }
        }
        score + self.soft(id, request, weight("soft_affinity", 1.0), weight("soft_anti_affinity", 1.0))
    }

    fn used_listed(&self, provider: &Provider, class: &str) -> i64 {
        self.used(&provider.id, class)
    }

    fn soft(&self, id: &str, request: &Request, together: f32, apart: f32) -> f32 {
        let Some(group) = &request.server_group else { return 0.0 };
        let count = self.groups.get(&group.id).and_then(|members| members.get(id)).copied().unwrap_or(0) as f32;
        match group.policy {
            AffinityPolicy::SoftAffinity => together * count,
            AffinityPolicy::SoftAntiAffinity => -apart * count,
            _ => 0.0,
        }
    }

    pub fn claim(&mut self, claim: &Claim, sign: i64) {
        for (provider, class, amount) in flat(claim) {
            *self.used.entry((provider, class)).or_default() += sign * amount;
        }
        if let Some(group) = &claim.server_group {
            let count = self.groups.entry(group.clone()).or_default().entry(claim.host.clone()).or_default();
            *count = count.saturating_add_signed(sign as i32);
            self.groups.get_mut(group).unwrap().retain(|_, count| *count > 0);
        }
    }

    pub fn remove(&mut self, id: &str) {
        let Some(host) = self.hosts.remove(id) else { return };
        for provider in tree(id, &host) {
            self.used.retain(|(known, _), _| *known != provider.id);
        }
        for members in self.groups.values_mut() {
            members.remove(id);
        }
    }

    /// Replace a host; what is used of providers that are gone is forgotten.
    pub fn set(&mut self, id: &str, spec: HostSpec) {
        if let Some(before) = self.hosts.insert(id.to_owned(), spec.clone()) {
            let now: BTreeSet<String> = tree(id, &spec).into_iter().map(|provider| provider.id).collect();
            for provider in tree(id, &before).into_iter().filter(|provider| !now.contains(&provider.id)) {
                self.used.retain(|(known, _), _| *known != provider.id);
            }
        }
    }

    /// No provider gives more than it has.
    pub fn overcommitted(&self) -> Option<(String, String)> {
        let providers = self.hosts.iter().flat_map(|(id, host)| tree(id, host));
        for provider in providers {
            for (class, inventory) in &provider.inventories {
                if self.used(&provider.id, class) > inventory.capacity().max(0) {
                    return Some((provider.id, class.clone()));
                }
            }
        }
        None
    }
}

/// (provider, class, amount), in order.
pub fn flat(claim: &Claim) -> Vec<(String, String, i64)> {
    let provider = |(provider, amounts): (&String, &BTreeMap<String, i64>)| {
        amounts.iter().map(|(class, n)| (provider.clone(), class.clone(), *n)).collect::<Vec<_>>()
    };
    claim.allocations.iter().flat_map(provider).collect()
}

fn sums(way: &[Part]) -> BTreeMap<(String, String), i64> {
    let mut sums = BTreeMap::new();
    for (_, asks, provider) in way {
        for (class, amount) in asks {
            *sums.entry((provider.id.clone(), class.clone())).or_default() += amount;
        }
    }
    sums
}

/// The default of a device's policy, for groups in tests.
pub const ANYWHERE: NumaPolicy = NumaPolicy::Preferred;
