//! A request with numbers for names: what two requests have in common when they can share a [view](crate::view).
//!
//! Everything that depends on one server only (its group, hosts ruled in or out, the seed) stays outside.
use std::collections::BTreeMap;
use std::sync::Arc;

use crate::error::PlacementError;
use crate::spec::{Group, GroupPolicy, NumaAsk, NumaPolicy, Request, expression};
use crate::symbols::{ClassId, Symbols, TagId, TagKind};
use crate::weights::{Bits, Weights};

/// Cells of a server's NUMA topology.
const CELLS_MAX: usize = 16;
/// Groups with a name.
const GROUPS_MAX: usize = 64;

/// One class asked for, over all groups.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Ask {
    pub(crate) class: ClassId,
    pub(crate) total: i32,
    /// What each group asks.
    pub(crate) parts: Vec<i32>,
}

/// Conditions on the tags of one kind: of each list in `any_of` one, and none of `none_of`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(crate) struct Tags {
    pub(crate) any_of: Vec<Vec<TagId>>,
    pub(crate) none_of: Vec<TagId>,
}

impl Tags {
    fn read(expressions: &[String], kind: TagKind, symbols: &Symbols) -> Self {
        let mut tags = Self::default();
        for text in expressions {
            let parsed = expression(text);
            let known = parsed.names.iter().map(|name| symbols.tag(kind, name));
            if parsed.forbidden {
                tags.none_of.extend(known);
            } else {
                tags.any_of.push(known.collect());
            }
        }
        tags
    }

    fn extend(&mut self, other: &Self) {
        self.any_of.extend_from_slice(&other.any_of);
        self.none_of.extend_from_slice(&other.none_of);
    }

    /// They hold for a bearer of just these.
    pub(crate) fn hold(&self, has: impl Fn(TagId) -> bool) -> bool {
        self.any_of.iter().all(|any| any.iter().any(|tag| has(*tag))) && !self.none_of.iter().any(|tag| has(*tag))
    }
}

/// One group of a request.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct GroupShape {
    /// Empty for the group without a name, which may spread over a tree.
    pub(crate) name: Arc<str>,
    pub(crate) asks: Vec<(ClassId, i64)>,
    pub(crate) traits: Tags,
    pub(crate) aggregates: Tags,
    /// The slot of the only tree that will do.
    pub(crate) in_tree: Option<u32>,
    pub(crate) numa_policy: NumaPolicy,
}

/// A request with numbers for names.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Shape {
    pub(crate) asks: Vec<Ask>,
    /// The group without a name first, if it is there.
    pub(crate) groups: Vec<GroupShape>,
    /// All groups' conditions, as a host that is one provider must meet them.
    pub(crate) traits: Tags,
    pub(crate) aggregates: Tags,
    pub(crate) root_traits: Tags,
    pub(crate) zone: Option<TagId>,
    /// Groups with a name need a provider each.
    pub(crate) isolate: bool,
    /// Places in `groups`.
    pub(crate) same_subtree: Vec<Vec<usize>>,
    pub(crate) numa: Option<NumaAsk>,
    pub(crate) limits: Vec<(ClassId, Bits)>,
    pub(crate) weights: Weights,
}

impl Shape {
    /// Number a request's names. `slot_of` finds the tree that a provider is in.
    pub(crate) fn read(
        request: &Request,
        symbols: &Symbols,
        slot_of: impl Fn(&str) -> Option<u32>,
    ) -> Result<Self, PlacementError> {
        check(request)?;
        let mut groups = Vec::with_capacity(request.groups.len() + 1);
        let unnamed = unnamed_group(request);
        if !unnamed.resources.is_empty() {
            groups.push(group_shape("", &unnamed, symbols, &slot_of));
        }
        groups.extend(request.groups.iter().map(|(name, group)| group_shape(name, group, symbols, &slot_of)));
        let (mut traits, mut aggregates) = (Tags::default(), Tags::default());
        for group in &groups {
            traits.extend(&group.traits);
            aggregates.extend(&group.aggregates);
        }
        let named = groups.iter().filter(|group| !group.name.is_empty()).count();
        let place = |name: &String| groups.iter().position(|group| *group.name == **name);
        let same_subtree = request.same_subtree.iter().map(|names| names.iter().filter_map(place).collect());
        let limit = |(name, limit): (&String, &f64)| (symbols.metric(name), Bits::new(*limit as f32));
        Ok(Self {
            asks: asks(request, symbols),
            traits,
            aggregates,
            root_traits: Tags::read(&request.root_required, TagKind::Trait, symbols),
            zone: request.az.as_ref().map(|zone| symbols.tag(TagKind::Zone, zone)),
            isolate: request.group_policy == GroupPolicy::Isolate && named > 1,
            same_subtree: same_subtree.collect(),
            numa: request.numa.clone(),
            limits: request.limits.iter().map(limit).collect(),
            weights: Weights::read(request, symbols)?,
            groups,
        })
    }

    /// The only slot that will do, if the request names one by `in_tree`.
    pub(crate) fn trees(&self) -> impl Iterator<Item = u32> + '_ {
        self.groups.iter().filter_map(|group| group.in_tree)
    }
}

/// A slot that no tree has.
pub(crate) const NO_SLOT: u32 = u32::MAX;

fn unnamed_group(request: &Request) -> Group {
    Group {
        resources: request.resources.clone(),
        required: request.required.clone(),
        member_of: request.member_of.clone(),
        in_tree: request.in_tree.clone(),
        numa_policy: NumaPolicy::default(),
    }
}

fn group_shape(name: &str, group: &Group, symbols: &Symbols, slot_of: &impl Fn(&str) -> Option<u32>) -> GroupShape {
    GroupShape {
        name: name.into(),
        asks: group.resources.iter().map(|(class, amount)| (symbols.class(class), *amount)).collect(),
        traits: Tags::read(&group.required, TagKind::Trait, symbols),
        aggregates: Tags::read(&group.member_of, TagKind::Aggregate, symbols),
        in_tree: group.in_tree.as_ref().map(|provider| slot_of(provider).unwrap_or(NO_SLOT)),
        numa_policy: group.numa_policy,
    }
}

fn asks(request: &Request, symbols: &Symbols) -> Vec<Ask> {
    let mut parts: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
    let named = request.groups.values().flat_map(|group| group.resources.iter());
    for (class, amount) in request.resources.iter().chain(named) {
        parts.entry(class).or_default().push(*amount as i32);
    }
    let total = |parts: &[i32]| parts.iter().fold(0_i32, |sum, part| sum.saturating_add(*part));
    let asks = parts.into_iter();
    asks.map(|(class, parts)| Ask { class: symbols.class(class), total: total(&parts), parts }).collect()
}

/// Refuse what makes no sense whatever the table holds.
fn check(request: &Request) -> Result<(), PlacementError> {
    let named = request.groups.values().flat_map(|group| group.resources.iter());
    for (class, amount) in request.resources.iter().chain(named) {
        if !(1..=i64::from(i32::MAX)).contains(amount) {
            return Err(PlacementError::wrong(format!("{class}: an amount is 1 to {}, not {amount}", i32::MAX)));
        }
    }
    if request.groups.len() > GROUPS_MAX {
        return Err(PlacementError::wrong(format!("a request has at most {GROUPS_MAX} groups")));
    }
    if request.resources.is_empty() && request.groups.values().all(|group| group.resources.is_empty()) {
        return Err(PlacementError::wrong("a request asks for at least one resource"));
    }
    let bare = request.required.is_empty() && request.member_of.is_empty() && request.in_tree.is_none();
    if request.resources.is_empty() && !bare {
        return Err(PlacementError::wrong("the group without a name has conditions but asks for no resource"));
    }
    check_subtrees(request)?;
    let Some(numa) = &request.numa else { return Ok(()) };
    if numa.cells.is_empty() || numa.cells.len() > CELLS_MAX {
        return Err(PlacementError::wrong(format!("a NUMA topology has 1 to {CELLS_MAX} cells")));
    }
    Ok(())
}

fn check_subtrees(request: &Request) -> Result<(), PlacementError> {
    for name in request.same_subtree.iter().flatten() {
        if !request.groups.contains_key(name) {
            return Err(PlacementError::wrong(format!("same_subtree names {name:?}, which is no group")));
        }
    }
    let listed = |name: &String| request.same_subtree.iter().any(|names| names.contains(name));
    for (name, group) in &request.groups {
        if name.is_empty() {
            return Err(PlacementError::wrong("a group's name isn't empty"));
        }
        if group.resources.is_empty() && !listed(name) {
            return Err(PlacementError::wrong(format!("group {name:?} asks for nothing and is in no same_subtree")));
        }
    }
    Ok(())
}
