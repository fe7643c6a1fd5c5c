//! The exact look at one host: which provider gives what.
//!
//! The group without a name may take each class from another provider of the tree, or from a shared one; each
//! group with a name takes all from one provider. Choices are tried depth first in the order that providers
//! were given in, so the same table gives the same answer; the number tried is bounded.
use std::sync::Arc;

use crate::block::{Block, Host, LANES};
use crate::numa::{self, CellFit};
use crate::shape::{GroupShape, Shape, Tags};
use crate::sharing::Shared;
use crate::symbols::{ClassId, TagId};
use crate::tree::{Provider, Stock};

/// Choices tried on one host.
const STEPS_MAX: u32 = 50_000;

/// Why a host that has enough in sum doesn't do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Misfit {
    /// The root hasn't the traits asked of it.
    Root,
    /// No provider can answer this group by itself.
    Group(Arc<str>),
    /// Each can be answered, but not all at once.
    Together,
    /// The NUMA cells don't fit.
    Cells,
    /// Too many choices.
    Tangled,
}

/// A class taken from a provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Take {
    pub(crate) slot: u32,
    pub(crate) place: u16,
    pub(crate) class: ClassId,
    pub(crate) amount: i64,
}

/// How a request fits on a host.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Fit {
    pub(crate) takes: Vec<Take>,
    /// Which provider answers each group: place in the shape's groups, slot, place in the tree.
    pub(crate) mappings: Vec<(usize, u32, u16)>,
    pub(crate) cells: Vec<CellFit>,
}

/// A provider as the solver sees it: one of a tree, or a host that is one provider.
#[derive(Clone, Copy)]
enum Source<'a> {
    Lane(&'a Block, usize),
    Tree(&'a Provider),
}

#[derive(Clone, Copy)]
struct Seen<'a> {
    source: Source<'a>,
    slot: u32,
    place: u16,
    shared: bool,
}

impl Seen<'_> {
    fn stock(&self, class: ClassId) -> Option<Stock> {
        match self.source {
            Source::Tree(provider) => provider.stock(class).copied(),
            Source::Lane(block, lane) => {
                let cold = block.cold.get(class.0 as usize)?;
                (cold.present >> lane & 1 == 1).then(|| Stock {
                    class,
                    capacity: cold.capacity[lane],
                    used: cold.used[lane],
                    min: i64::from(cold.min[lane]),
                    max: i64::from(cold.max[lane]),
                    step: i64::from(cold.step[lane]),
                })
            }
        }
    }

    fn bears(&self, tag: TagId) -> bool {
        match self.source {
            Source::Tree(provider) => provider.traits.contains(&tag) || provider.aggregates.contains(&tag),
            Source::Lane(block, lane) => block.tagged(tag) >> lane & 1 == 1,
        }
    }

    fn meets(&self, tags: &Tags) -> bool {
        tags.hold(|tag| self.bears(tag))
    }

    fn in_any(&self, tags: &Tags) -> bool {
        tags.any_of.iter().all(|any| any.iter().any(|tag| self.bears(*tag)))
    }

    fn in_none(&self, tags: &Tags) -> bool {
        !tags.none_of.iter().any(|tag| self.bears(*tag))
    }
}

/// Something to be found one provider for.
struct Need<'a> {
    group: usize,
    named: bool,
    asks: &'a [(ClassId, i64)],
    options: Vec<usize>,
}

/// What the solver looks at.
#[derive(Clone, Copy)]
pub(crate) struct Scene<'a> {
    pub(crate) shape: &'a Shape,
    pub(crate) blocks: &'a [Arc<Block>],
    pub(crate) sharing: &'a [Shared],
}

impl<'a> Scene<'a> {
    /// How the request fits on the host in `slot`, in the first way found.
    pub(crate) fn fit(&self, slot: u32) -> Result<Fit, Misfit> {
        let mut found = None;
        self.each_fit(slot, &mut |fit| {
            found = Some(fit);
            false
        })?;
        found.ok_or(Misfit::Together)
    }

    /// Every way in which it fits, until `visit` says it has seen enough.
    pub(crate) fn each_fit(&self, slot: u32, visit: &mut dyn FnMut(Fit) -> bool) -> Result<(), Misfit> {
        let seen = self.providers(slot);
        let Some(root) = seen.first().copied() else { return Err(Misfit::Together) };
        if !root.meets(&self.shape.root_traits) {
            return Err(Misfit::Root);
        }
        let needs = self.needs(&seen, root)?;
        let cells = self.host(slot).and_then(|host| host.extra.as_ref()).map_or(&[][..], |extra| &extra.cells);
        let mut search = Search {
            scene: *self,
            shape: self.shape,
            seen: &seen,
            needs: &needs,
            cells,
            chosen: Vec::with_capacity(needs.len()),
            steps: 0,
            cells_failed: false,
            visited: false,
        };
        let finished = search.step(visit);
        match search {
            Search { visited: true, .. } => Ok(()),
            _ if !finished => Err(Misfit::Tangled),
            Search { cells_failed: true, .. } => Err(Misfit::Cells),
            _ => Err(Misfit::Together),
        }
    }

    fn host(&self, slot: u32) -> Option<&'a Host> {
        self.blocks[slot as usize / LANES].hosts[slot as usize % LANES].as_ref()
    }

    /// The place of the provider above one.
    fn parent(&self, slot: u32, place: u16) -> Option<u16> {
        self.host(slot)?.extra.as_ref()?.providers.get(usize::from(place))?.parent
    }

    /// The host's own providers, the root first, then shared ones within reach in the order of their ids.
    fn providers(&self, slot: u32) -> Vec<Seen<'a>> {
        let (block, lane) = (&*self.blocks[slot as usize / LANES], slot as usize % LANES);
        let Some(host) = self.host(slot) else { return Vec::new() };
        let mut seen: Vec<Seen<'a>> = match &host.extra {
            None => vec![Seen { source: Source::Lane(block, lane), slot, place: 0, shared: false }],
            Some(extra) => {
                let own = extra.providers.iter().enumerate();
                own.map(|(place, own)| Seen { source: Source::Tree(own), slot, place: place as u16, shared: false })
                    .collect()
            }
        };
        for shared in self.sharing.iter().filter(|shared| shared.slot != slot) {
            let extra = self.host(shared.slot).and_then(|host| host.extra.as_ref());
            let Some(provider) = extra.map(|extra| &extra.providers[usize::from(shared.place)]) else { continue };
            if block.tagged_any(&provider.aggregates) >> lane & 1 == 1 {
                let Shared { slot, place, .. } = *shared;
                seen.push(Seen { source: Source::Tree(provider), slot, place, shared: true });
            }
        }
        seen
    }

    fn needs(&self, seen: &[Seen<'_>], root: Seen<'_>) -> Result<Vec<Need<'a>>, Misfit> {
        let mut needs = Vec::new();
        for (place, group) in self.shape.groups.iter().enumerate() {
            let named = !group.name.is_empty();
            let asked: Vec<&[(ClassId, i64)]> = if named { vec![&group.asks] } else { group.asks.chunks(1).collect() };
            for asks in asked {
                let can =
                    |at: &usize| if named { answers(group, &seen[*at]) } else { joins(group, asks, &seen[*at], root) };
                let options: Vec<usize> = (0..seen.len()).filter(can).collect();
                if options.is_empty() {
                    return Err(Misfit::Group(group.name.clone()));
                }
                needs.push(Need { group: place, named, asks, options });
            }
        }
        Ok(needs)
    }
}

fn gives(seen: &Seen<'_>, asks: &[(ClassId, i64)]) -> bool {
    asks.iter().all(|(class, amount)| seen.stock(*class).is_some_and(|stock| stock.gives(*amount)))
}

/// A provider that can answer a group with a name. One that asks for nothing must at least say what it wants.
fn answers(group: &GroupShape, seen: &Seen<'_>) -> bool {
    let in_tree = group.in_tree.is_none_or(|slot| slot == seen.slot);
    let says = !group.asks.is_empty() || !group.traits.any_of.is_empty() || !group.aggregates.any_of.is_empty();
    says && in_tree && gives(seen, &group.asks) && seen.meets(&group.traits) && seen.meets(&group.aggregates)
}

/// A provider that can give a class to the group without a name. An aggregate of the root spans its tree.
fn joins(group: &GroupShape, asks: &[(ClassId, i64)], seen: &Seen<'_>, root: Seen<'_>) -> bool {
    let in_tree = group.in_tree.is_none_or(|slot| slot == seen.slot && !seen.shared);
    let inside = seen.in_any(&group.aggregates) || (!seen.shared && root.in_any(&group.aggregates));
    let outside = seen.in_none(&group.aggregates) && root.in_none(&group.aggregates);
    in_tree && inside && outside && gives(seen, asks)
}

struct Search<'a> {
    scene: Scene<'a>,
    shape: &'a Shape,
    seen: &'a [Seen<'a>],
    needs: &'a [Need<'a>],
    cells: &'a [crate::tree::Cell],
    chosen: Vec<usize>,
    steps: u32,
    cells_failed: bool,
    visited: bool,
}

impl Search<'_> {
    /// Try every choice for the next need. False once enough was seen or tried.
    fn step(&mut self, visit: &mut dyn FnMut(Fit) -> bool) -> bool {
        let Some(need) = self.needs.get(self.chosen.len()) else { return self.finish(visit) };
        for option in &need.options {
            self.steps += 1;
            if self.steps > STEPS_MAX {
                return false;
            }
            if !self.is_free(need, *option) {
                continue;
            }
            self.chosen.push(*option);
            let go_on = self.step(visit);
            self.chosen.pop();
            if !go_on {
                return false;
            }
        }
        true
    }

    /// The choice leaves no provider over-committed and groups apart that must be.
    fn is_free(&self, need: &Need<'_>, option: usize) -> bool {
        let before = || self.needs.iter().zip(&self.chosen).filter(|(_, at)| **at == option).map(|(other, _)| other);
        if self.shape.isolate && need.named && before().any(|other| other.named) {
            return false;
        }
        need.asks.iter().all(|(class, amount)| {
            let same = before().flat_map(|other| other.asks.iter()).filter(|(known, _)| known == class);
            let total = amount + same.map(|(_, amount)| amount).sum::<i64>();
            let stock = self.seen[option].stock(*class);
            stock.is_some_and(|stock| total <= stock.max && stock.used + total <= stock.capacity)
        })
    }

    fn finish(&mut self, visit: &mut dyn FnMut(Fit) -> bool) -> bool {
        if !self.unnamed_traits_hold() || !self.subtrees_hold() {
            return true;
        }
        let cells = match &self.shape.numa {
            None => Vec::new(),
            Some(ask) => match numa::fit(self.cells, ask, &self.devices()) {
                Some(cells) => cells,
                None => {
                    self.cells_failed = true;
                    return true;
                }
            },
        };
        self.visited = true;
        visit(self.fit(cells))
    }

    /// The providers of the group without a name have its traits between them, and none has a forbidden one.
    fn unnamed_traits_hold(&self) -> bool {
        let Some(group) = self.shape.groups.first().filter(|group| group.name.is_empty()) else { return true };
        let used =
            || self.needs.iter().zip(&self.chosen).filter(|(need, _)| !need.named).map(|(_, at)| &self.seen[*at]);
        group.traits.hold(|tag| used().any(|seen| seen.bears(tag)))
    }

    /// In each list, one of the providers is above all others (or is them all).
    fn subtrees_hold(&self) -> bool {
        self.shape.same_subtree.iter().all(|groups| {
            let members: Vec<usize> = self
                .needs
                .iter()
                .zip(&self.chosen)
                .filter_map(|(need, at)| groups.contains(&need.group).then_some(*at))
                .collect();
            members.is_empty() || members.iter().any(|top| members.iter().all(|member| self.is_below(*member, *top)))
        })
    }

    /// Whether a provider is the other one or stands below it. Those between them need not be within reach, so the tree itself is asked.
    fn is_below(&self, member: usize, top: usize) -> bool {
        let (at, top) = (&self.seen[member], &self.seen[top]);
        let mut place = Some(at.place);
        while let Some(below) = place.filter(|place| at.slot == top.slot && *place != top.place) {
            place = self.scene.parent(at.slot, below);
        }
        at.slot == top.slot && place == Some(top.place)
    }

    fn devices(&self) -> Vec<numa::Device> {
        let chosen = self.needs.iter().zip(&self.chosen).filter(|(need, _)| need.named);
        let device = chosen.map(|(need, at)| {
            let near = match self.seen[*at].source {
                Source::Tree(provider) => provider.cell,
                Source::Lane(..) => None,
            };
            (self.shape.groups[need.group].numa_policy, near)
        });
        device.collect()
    }

    fn fit(&self, cells: Vec<CellFit>) -> Fit {
        let mut fit = Fit { takes: Vec::new(), mappings: Vec::new(), cells };
        for (need, at) in self.needs.iter().zip(&self.chosen) {
            let Seen { slot, place, .. } = self.seen[*at];
            for (class, amount) in need.asks {
                let known =
                    fit.takes.iter_mut().find(|take| (take.slot, take.place, take.class) == (slot, place, *class));
                match known {
                    Some(take) => take.amount += amount,
                    None => fit.takes.push(Take { slot, place, class: *class, amount: *amount }),
                }
            }
            if !fit.mappings.contains(&(need.group, slot, place)) {
                fit.mappings.push((need.group, slot, place));
            }
        }
        fit
    }
}
