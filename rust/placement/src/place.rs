//! Choosing hosts for one server.
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use rustc_hash::{FxHashMap, FxHashSet};

use crate::block::LANES;
use crate::claim::Claim;
use crate::decision::Decision;
use crate::eligible::judge;
use crate::error::PlacementError;
use crate::kernel::{NO_SCORE, Seed, key, tie};
use crate::shape::{NO_SLOT, Shape};
use crate::solve::Fit;
use crate::spec::{AffinityPolicy, Request, ServerGroup};
use crate::table::{HostTable, Members};
use crate::view::{Candidate, Excluded};
use crate::views::reach;
use crate::weights::member_weight;

/// Whether a decision says why hosts were rejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Explain {
    /// If no host does.
    #[default]
    IfNone,
    /// In any case.
    Always,
    /// Never.
    Never,
}

/// What of a request concerns this one server only.
#[derive(Debug, Default)]
pub(crate) struct Overlay {
    /// The only hosts that do, if there are such.
    pub(crate) only: Option<FxHashSet<u32>>,
    pub(crate) without: Excluded,
    /// Members of the group, and what one of them adds to a host's score.
    soft: Option<(Arc<Members>, f32)>,
}

impl Overlay {
    pub(crate) fn excludes(&self, slot: u32) -> bool {
        let bits = self.without.get(&(slot / LANES as u32)).copied().unwrap_or(0);
        bits >> (slot % LANES as u32) & 1 == 1
    }

    fn exclude(&mut self, slot: u32) {
        *self.without.entry(slot / LANES as u32).or_default() |= 1 << (slot % LANES as u32);
    }

    fn restrict(&mut self, slots: impl Iterator<Item = u32>) {
        let slots: FxHashSet<u32> = slots.collect();
        self.only = Some(match self.only.take() {
            None => slots,
            Some(only) => only.intersection(&slots).copied().collect(),
        });
    }
}

/// What an exact look finds.
enum Look {
    /// The host is one provider and does.
    Simple,
    /// It is a tree, or takes from shared providers, and does like this.
    Tree(Fit),
    /// It doesn't do.
    Misfit,
}

/// A host chosen, and how the request fits if the host is a tree.
pub(crate) type Choice = (u32, Option<Fit>);

impl HostTable {
    /// At most `limit` hosts that can take the request, the best first, equal ones in an order drawn from `seed`.
    ///
    /// It claims nothing. The same table, request and seed give the same answer.
    ///
    /// # Errors
    /// [`PlacementError::Wrong`] if the request makes no sense.
    pub fn place(
        &mut self,
        request: &Request,
        seed: u64,
        limit: usize,
        explain: Explain,
    ) -> Result<Decision, PlacementError> {
        let shape = self.shape(request)?;
        let overlay = self.overlay(request, &shape);
        let choices = self.choose(&shape, &overlay, Seed::new(seed), limit);
        let mut decision = self.decision(&shape, request, choices);
        let wanted = match explain {
            Explain::Always => true,
            Explain::IfNone => decision.hosts.is_empty(),
            Explain::Never => false,
        };
        if wanted {
            decision.rejected = self.explain(request, &shape, &overlay);
        }
        Ok(decision)
    }

    pub(crate) fn shape(&self, request: &Request) -> Result<Arc<Shape>, PlacementError> {
        Shape::read(request, &self.symbols, |provider| self.tree_of(provider)).map(Arc::new)
    }

    pub(crate) fn overlay(&self, request: &Request, shape: &Shape) -> Overlay {
        let mut overlay = Overlay::default();
        request.not_hosts.iter().filter_map(|id| self.find(id)).for_each(|slot| overlay.exclude(slot));
        if let Some(only) = &request.only_hosts {
            overlay.restrict(only.iter().filter_map(|id| self.find(id)));
        }
        for slot in shape.trees() {
            if self.sharing.iter().all(|shared| shared.slot != slot) {
                overlay.restrict(std::iter::once(slot).filter(|slot| *slot != NO_SLOT));
            }
        }
        if let Some(group) = &request.server_group {
            self.overlay_group(request, group, &mut overlay);
        }
        overlay
    }

    fn overlay_group(&self, request: &Request, group: &ServerGroup, overlay: &mut Overlay) {
        let Some(members) = self.groups.get(group.id.as_str()) else { return };
        match group.policy {
            AffinityPolicy::Affinity => overlay.restrict(members.keys().copied()),
            AffinityPolicy::AntiAffinity => {
                let full = members.iter().filter(|(_, count)| **count >= group.max_per_host);
                full.for_each(|(slot, _)| overlay.exclude(*slot));
            }
            AffinityPolicy::SoftAffinity => {
                overlay.soft = Some((members.clone(), member_weight(request, "soft_affinity")));
            }
            AffinityPolicy::SoftAntiAffinity => {
                overlay.soft = Some((members.clone(), -member_weight(request, "soft_anti_affinity")));
            }
        }
    }

    /// The best hosts and how the request fits on those that are trees.
    pub(crate) fn choose(&mut self, shape: &Arc<Shape>, overlay: &Overlay, seed: Seed, limit: usize) -> Vec<Choice> {
        if let Some(only) = &overlay.only {
            let candidates = self.judge_each(shape, overlay, seed, only.iter().copied());
            return self.keep_fitting(shape, candidates, limit);
        }
        let Some((members, _)) = &overlay.soft else { return self.choose_viewed(shape, &overlay.without, seed, limit) };
        let mut without = overlay.without.clone();
        for slot in members.keys() {
            *without.entry(slot / LANES as u32).or_default() |= 1 << (slot % LANES as u32);
        }
        let with_members = self.judge_each(shape, overlay, seed, members.keys().copied());
        let mut found = self.keep_fitting(shape, with_members, limit);
        found.extend(self.choose_viewed(shape, &without, seed, limit));
        let mut order = self.judge_each(shape, overlay, seed, found.iter().map(|(slot, _)| *slot));
        self.order_equals(&mut order);
        let mut fits: FxHashMap<u32, Option<Fit>> = found.into_iter().collect();
        order.truncate(limit);
        order.into_iter().filter_map(|(_, slot)| Some((slot, fits.remove(&slot)?))).collect()
    }

    /// Keys of the hosts named, without their view.
    fn judge_each(
        &self,
        shape: &Shape,
        overlay: &Overlay,
        seed: Seed,
        slots: impl Iterator<Item = u32>,
    ) -> Vec<Candidate> {
        let reach = reach(shape, &self.blocks, &self.sharing);
        let mut candidates = Vec::new();
        for slot in slots.filter(|slot| !overlay.excludes(*slot)) {
            let (block, lane) = (&self.blocks[slot as usize / LANES], slot as usize % LANES);
            let mut score = judge(block, shape, &reach, lane);
            if score == NO_SCORE {
                continue;
            }
            if let Some((members, weight)) = &overlay.soft {
                score += weight * members.get(&slot).map_or(0.0, |count| *count as f32);
            }
            candidates.push((key(score, tie(seed, block.hashes[lane])), slot));
        }
        candidates.sort_unstable_by_key(|(key, _)| Reverse(*key));
        candidates
    }

    /// The first `limit` candidates that stand an exact look. They come in order of their keys.
    fn keep_fitting(&self, shape: &Shape, mut candidates: Vec<Candidate>, limit: usize) -> Vec<Choice> {
        self.order_equals(&mut candidates);
        let mut choices = Vec::new();
        for (_, slot) in candidates {
            if choices.len() == limit {
                break;
            }
            match self.look(shape, slot) {
                Look::Simple => choices.push((slot, None)),
                Look::Tree(fit) => choices.push((slot, Some(fit))),
                Look::Misfit => {}
            }
        }
        choices
    }

    /// An exact look at a host whose lanes say that it could do.
    fn look(&self, shape: &Shape, slot: u32) -> Look {
        let is_tree = self.host(slot).is_some_and(|host| host.extra.is_some());
        let is_odd = || shape.groups.iter().any(|group| group.asks.is_empty() || group.in_tree.is_some());
        if !is_tree && self.sharing.is_empty() && !is_odd() {
            return Look::Simple;
        }
        self.scene(shape).fit(slot).map_or(Look::Misfit, Look::Tree)
    }

    fn order_equals(&self, candidates: &mut [Candidate]) {
        for run in candidates.chunk_by_mut(|a, b| a.0 == b.0).filter(|run| run.len() > 1) {
            run.sort_by_key(|(_, slot)| self.id(*slot));
        }
    }

    fn choose_viewed(&mut self, shape: &Arc<Shape>, without: &Excluded, seed: Seed, limit: usize) -> Vec<Choice> {
        if limit == 0 {
            return Vec::new();
        }
        let at = self.views.current(shape, &self.blocks, &self.sharing);
        let mut wanted = limit;
        loop {
            let mut candidates = if wanted == 1 && without.is_empty() {
                self.views.get(at).first(seed, &self.blocks).into_iter().collect()
            } else {
                self.views.get(at).top(seed, wanted, &self.blocks, without)
            };
            self.order_equals(&mut candidates);
            let exhausted = candidates.len() < wanted;
            candidates.truncate(wanted);
            match self.look_viewed(shape, at, &candidates, limit, exhausted) {
                Some(choices) => return choices,
                None => wanted = (wanted * 2).min(self.blocks.len() * LANES),
            }
        }
    }

    /// The candidates that stand an exact look. `None`: some failed, so hosts further down may have a chance.
    fn look_viewed(
        &mut self,
        shape: &Shape,
        at: usize,
        candidates: &[Candidate],
        limit: usize,
        exhausted: bool,
    ) -> Option<Vec<Choice>> {
        let mut choices = Vec::with_capacity(limit.min(candidates.len()));
        let mut failed = false;
        for (_, slot) in candidates {
            if choices.len() == limit {
                break;
            }
            match self.look(shape, *slot) {
                Look::Simple => choices.push((*slot, None)),
                Look::Tree(fit) => choices.push((*slot, Some(fit))),
                Look::Misfit => {
                    failed = true;
                    self.views.get(at).rule_out(*slot);
                }
            }
        }
        (choices.len() == limit || !failed || exhausted).then_some(choices)
    }

    pub(crate) fn decision(&self, shape: &Arc<Shape>, request: &Request, choices: Vec<Choice>) -> Decision {
        let mut decision = self.no_decision(shape, request);
        for (slot, fit) in choices {
            self.add_choice(&mut decision, slot, fit.as_ref());
        }
        decision
    }

    pub(crate) fn no_decision(&self, shape: &Arc<Shape>, request: &Request) -> Decision {
        let known = shape.asks.iter().filter(|ask| (ask.class.0 as usize) < self.symbols.classes());
        Decision {
            hosts: Vec::new(),
            rejected: Vec::new(),
            trees: Vec::new(),
            shape: shape.clone(),
            classes: known.map(|ask| self.symbols.class_name(ask.class).clone()).collect(),
            server_group: request.server_group.as_ref().map(|group| group.id.as_str().into()),
        }
    }

    pub(crate) fn add_choice(&self, decision: &mut Decision, slot: u32, fit: Option<&Fit>) {
        let claim = fit.map(|fit| Box::new(self.claim_of(decision, slot, fit)));
        decision.hosts.push(self.id(slot));
        decision.trees.push(claim);
    }

    pub(crate) fn claim_of(&self, decision: &Decision, slot: u32, fit: &Fit) -> Claim {
        let mut claim = Claim {
            host: self.id(slot).to_string(),
            allocations: BTreeMap::new(),
            mappings: BTreeMap::new(),
            cells: fit.cells.clone(),
            server_group: decision.server_group.as_ref().map(ToString::to_string),
        };
        for take in &fit.takes {
            let amounts = claim.allocations.entry(self.provider_id(take.slot, take.place).to_string()).or_default();
            amounts.insert(self.symbols.class_name(take.class).to_string(), take.amount);
        }
        for (group, slot, place) in &fit.mappings {
            let providers = claim.mappings.entry(decision.shape.groups[*group].name.to_string()).or_default();
            providers.push(self.provider_id(*slot, *place).to_string());
        }
        claim
    }
}
