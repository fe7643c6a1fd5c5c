//! Why hosts are rejected: each host counts once, for the first thing that speaks against it.
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use crate::block::{Block, LANES, lanes};
use crate::decision::Rejection;
use crate::place::Overlay;
use crate::shape::{Shape, Tags};
use crate::sharing::Reach;
use crate::solve::Misfit;
use crate::spec::{AffinityPolicy, Request, ServerGroup};
use crate::symbols::ClassId;
use crate::table::HostTable;
use crate::views::reach;

/// Counts by reason.
#[derive(Default)]
struct Tally(BTreeMap<String, usize>);

impl Tally {
    /// Count the hosts of `remaining` that aren't in `pass`; returns those that are.
    fn reject(&mut self, remaining: u64, pass: u64, reason: impl FnOnce() -> String) -> u64 {
        let rejected = remaining & !pass;
        if rejected != 0 {
            *self.0.entry(reason()).or_default() += rejected.count_ones() as usize;
        }
        remaining & pass
    }
}

impl HostTable {
    /// The first reason against each host, most hosts first.
    pub(crate) fn explain(&self, request: &Request, shape: &Shape, overlay: &Overlay) -> Vec<Rejection> {
        let reach = reach(shape, &self.blocks, &self.sharing);
        let mut tally = Tally::default();
        for (at, block) in self.blocks.iter().enumerate() {
            let taken = (0..LANES).fold(0, |taken, lane| taken | u64::from(block.hosts[lane].is_some()) << lane);
            let mut remaining = tally.reject(taken, block.enabled, || "disabled".to_owned());
            remaining = self.explain_overlay(&mut tally, remaining, at, request, overlay);
            remaining = explain_tags(&mut tally, remaining, block, request, shape, &reach);
            remaining = explain_amounts(&mut tally, remaining, block, request, shape, &reach);
            remaining = explain_limits(&mut tally, remaining, block, request, shape);
            self.explain_looks(&mut tally, remaining, at, shape);
        }
        let mut rejected: Vec<Rejection> =
            tally.0.into_iter().map(|(reason, hosts)| Rejection { reason, hosts }).collect();
        rejected.sort_by_key(|rejection| Reverse(rejection.hosts));
        rejected
    }

    fn explain_overlay(
        &self,
        tally: &mut Tally,
        mut remaining: u64,
        at: usize,
        request: &Request,
        overlay: &Overlay,
    ) -> u64 {
        let slot = |lane: usize| (at * LANES + lane) as u32;
        let some = |test: &dyn Fn(u32) -> bool| {
            lanes(remaining).filter(|lane| test(slot(*lane))).fold(0, |hosts, lane| hosts | 1 << lane)
        };
        let named = |ids: &[String], slot: u32| ids.iter().any(|id| **id == *self.id(slot));
        let ruled_in = match &request.only_hosts {
            None => remaining,
            Some(only) => some(&|slot| named(only, slot)),
        };
        let ruled_out = if request.not_hosts.is_empty() { 0 } else { some(&|slot| named(&request.not_hosts, slot)) };
        remaining = tally.reject(remaining, ruled_in & !ruled_out, || "ruled out by the request".to_owned());
        if let Some(group) = &request.server_group {
            let pass = self.group_pass(group, remaining, at);
            remaining = tally.reject(remaining, pass, || group_reason(group));
        }
        let in_tree = match &overlay.only {
            None => remaining,
            Some(only) => {
                lanes(remaining).filter(|lane| only.contains(&slot(*lane))).fold(0, |hosts, lane| hosts | 1 << lane)
            }
        };
        tally.reject(remaining, in_tree, || "not the tree asked for".to_owned())
    }

    fn group_pass(&self, group: &ServerGroup, remaining: u64, at: usize) -> u64 {
        let Some(members) = self.groups.get(group.id.as_str()) else { return remaining };
        let count = |lane: usize| members.get(&((at * LANES + lane) as u32)).copied().unwrap_or(0);
        let pass = |lane: &usize| match group.policy {
            AffinityPolicy::Affinity => count(*lane) > 0,
            AffinityPolicy::AntiAffinity => count(*lane) < group.max_per_host,
            AffinityPolicy::SoftAffinity | AffinityPolicy::SoftAntiAffinity => true,
        };
        lanes(remaining).filter(pass).fold(0, |hosts, lane| hosts | 1 << lane)
    }

    /// Hosts that have enough in sum: look at them exactly.
    fn explain_looks(&self, tally: &mut Tally, remaining: u64, at: usize, shape: &Shape) {
        for lane in lanes(remaining) {
            let Err(misfit) = self.scene(shape).fit((at * LANES + lane) as u32) else { continue };
            tally.reject(1, 0, || misfit_reason(&misfit, shape));
        }
    }
}

fn group_reason(group: &ServerGroup) -> String {
    match group.policy {
        AffinityPolicy::Affinity => format!("no member of server group {}", group.id),
        _ => format!("already {} member(s) of server group {}", group.max_per_host, group.id),
    }
}

fn misfit_reason(misfit: &Misfit, shape: &Shape) -> String {
    match misfit {
        Misfit::Root => "the root provider's traits don't satisfy the request".to_owned(),
        Misfit::Group(name) if name.is_empty() => "no provider of the host gives what is asked".to_owned(),
        Misfit::Group(name) => format!("no provider of the host gives what group {name} asks"),
        Misfit::Together => "what the groups ask isn't there all at once".to_owned(),
        Misfit::Cells => {
            let cells = shape.numa.as_ref().map_or(0, |numa| numa.cells.len());
            format!("NUMA topology of {cells} cell(s) doesn't fit")
        }
        Misfit::Tangled => "too many combinations of providers to try".to_owned(),
    }
}

fn explain_tags(
    tally: &mut Tally,
    mut remaining: u64,
    block: &Block,
    request: &Request,
    shape: &Shape,
    reach: &Reach,
) -> u64 {
    if let Some(zone) = shape.zone {
        let name = || format!("not in availability zone {}", request.az.as_deref().unwrap_or_default());
        remaining = tally.reject(remaining, block.tagged(zone), name);
    }
    let loose = block.nested | reach.reached(block);
    let groups = request.groups.values();
    let required = || std::iter::once(&request.required).chain(groups.clone().map(|group| &group.required)).flatten();
    let member_of =
        || std::iter::once(&request.member_of).chain(groups.clone().map(|group| &group.member_of)).flatten();
    let kinds: [(&str, &Tags, Vec<&String>); 3] = [
        ("root provider's traits", &shape.root_traits, request.root_required.iter().collect()),
        ("traits", &shape.traits, required().collect()),
        ("aggregates", &shape.aggregates, member_of().collect()),
    ];
    for (what, tags, texts) in kinds {
        let exempt = if what == "root provider's traits" { 0 } else { reach.reached(block) };
        let mut any_of = tags.any_of.iter();
        let (wanted, unwanted): (Vec<&String>, Vec<&String>) =
            texts.into_iter().partition(|text| !text.starts_with('!'));
        for text in wanted {
            let Some(any) = any_of.next() else { continue };
            let pass = block.tagged_any(any) | exempt;
            remaining = tally.reject(remaining, pass, || format!("{what} don't satisfy {text}"));
        }
        let bearing = tags.none_of.iter().fold(0, |hosts, tag| hosts | block.tagged(*tag));
        let names: Vec<&str> = unwanted.iter().map(|text| text.as_str()).collect();
        remaining = tally.reject(remaining, !bearing | loose, || format!("{what} don't satisfy {}", names.join(", ")));
    }
    remaining
}

fn explain_amounts(
    tally: &mut Tally,
    mut remaining: u64,
    block: &Block,
    request: &Request,
    shape: &Shape,
    reach: &Reach,
) -> u64 {
    let named = request.groups.values().flat_map(|group| group.resources.keys());
    let names: BTreeSet<&String> = request.resources.keys().chain(named).collect();
    let mut exempt = Vec::new();
    reach.exempt(block, &mut exempt);
    for ((ask, name), exempt) in shape.asks.iter().zip(names).zip(&exempt) {
        let present = block.cold.get(ask.class.0 as usize).map_or(0, |cold| cold.present);
        remaining = tally.reject(remaining, present | exempt, || format!("no {name}"));
        let parts = ask.parts.iter().map(ToString::to_string).collect::<Vec<_>>().join(" + ");
        let pass = lanes(remaining).filter(|lane| has_room(block, ask.class, *lane, ask.total));
        let pass = pass.fold(0, |hosts, lane| hosts | 1 << lane);
        remaining = tally.reject(remaining, pass | exempt, || format!("not enough {name} (asked {parts})"));
        let loose = block.nested | exempt;
        let pass = lanes(remaining & !loose).filter(|lane| in_units(block, ask.class, *lane, &ask.parts));
        let pass = pass.fold(0, |hosts, lane| hosts | 1 << lane);
        remaining = tally.reject(remaining, pass | loose, || format!("{name} isn't given in amounts of {parts}"));
    }
    let apart = if shape.isolate { block.nested | reach.reached(block) } else { u64::MAX };
    remaining = tally.reject(remaining, apart, || "one provider, but the groups must be apart".to_owned());
    let celled = if shape.numa.is_some() { block.celled } else { u64::MAX };
    tally.reject(remaining, celled, || "no NUMA cells".to_owned())
}

/// There is enough free, whatever a single server may take.
fn has_room(block: &Block, class: ClassId, lane: usize, total: i32) -> bool {
    if block.nested >> lane & 1 == 1 {
        return block.hot.get(class.0 as usize).is_some_and(|hot| hot.room[lane] >= total);
    }
    let cold = block.cold.get(class.0 as usize);
    cold.is_some_and(|cold| cold.used[lane] + i64::from(total) <= cold.capacity[lane])
}

fn in_units(block: &Block, class: ClassId, lane: usize, parts: &[i32]) -> bool {
    let Some(cold) = block.cold.get(class.0 as usize) else { return false };
    let total = parts.iter().fold(0_i32, |sum, part| sum.saturating_add(*part));
    let gives = |part: &i32| *part >= cold.min[lane] && part % cold.step[lane] == 0;
    total <= cold.max[lane] && parts.iter().all(gives)
}

fn explain_limits(tally: &mut Tally, mut remaining: u64, block: &Block, request: &Request, shape: &Shape) -> u64 {
    for ((metric, limit), name) in shape.limits.iter().zip(request.limits.keys()) {
        let under = lanes(remaining).filter(|lane| block.metric(*metric, *lane) <= limit.value());
        let pass = under.fold(0, |hosts, lane| hosts | 1 << lane);
        remaining = tally.reject(remaining, pass, || format!("{name} above {}", limit.value()));
    }
    remaining
}
