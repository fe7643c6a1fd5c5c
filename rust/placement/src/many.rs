//! Choosing hosts for many servers against one consistent table, and questions of "what if".
use std::sync::Arc;

use crate::block::{LANES, lanes, with_bit};
use crate::decision::{Decision, Rejection};
use crate::eligible::judge;
use crate::error::PlacementError;
use crate::kernel::Seed;
use crate::place::{Choice, Overlay};
use crate::shape::Shape;
use crate::solve::Fit;
use crate::spec::{AffinityPolicy, Request};
use crate::table::HostTable;
use crate::views::reach;

/// What to do if not all servers can be placed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Place none.
    AllOrNothing,
    /// Place those that can be.
    BestEffort,
}

/// Some servers alike.
#[derive(Debug, Clone, Copy)]
pub struct Order<'a> {
    /// What each asks for.
    pub request: &'a Request,
    /// How many.
    pub count: usize,
}

/// What became of orders.
#[derive(Debug, Clone)]
pub struct Batch {
    /// For each order, the hosts of its servers in the order they were placed, and why no more were.
    pub orders: Vec<Decision>,
    /// Every server has a host.
    pub complete: bool,
}

/// What was taken for one server, to be given back.
struct Taken {
    order: usize,
    choice: Choice,
}

impl HostTable {
    /// Place each order's servers one after another, each seeing what those before it took.
    ///
    /// The outcome is that of calling [`HostTable::place`] with a limit of one and claiming, again and again.
    /// The table is as before afterwards, unless `keep` says that what was placed stays taken.
    ///
    /// # Errors
    /// [`PlacementError::Wrong`] if a request makes no sense; then nothing changed.
    pub fn place_many(
        &mut self,
        orders: &[Order<'_>],
        seed: u64,
        mode: Mode,
        keep: bool,
    ) -> Result<Batch, PlacementError> {
        let shapes = orders.iter().map(|order| self.shape(order.request)).collect::<Result<Vec<_>, _>>()?;
        let decisions = shapes.iter().zip(orders).map(|(shape, order)| self.no_decision(shape, order.request));
        let mut batch = Batch { orders: decisions.collect(), complete: true };
        let mut taken = Vec::new();
        for (at, (order, shape)) in orders.iter().zip(&shapes).enumerate() {
            let placed = self.place_order(order, shape, Seed::new(seed), |table, choice| {
                table.add_choice(&mut batch.orders[at], choice.0, choice.1.as_ref());
                taken.push(Taken { order: at, choice });
            });
            if placed < order.count {
                let overlay = self.overlay(order.request, shape);
                batch.orders[at].rejected = self.explain(order.request, shape, &overlay);
                batch.complete = false;
                if mode == Mode::AllOrNothing {
                    break;
                }
            }
        }
        let nothing = !batch.complete && mode == Mode::AllOrNothing;
        if nothing || !keep {
            taken
                .iter()
                .rev()
                .for_each(|taken| self.take(orders[taken.order].request, &shapes[taken.order], &taken.choice, -1));
        }
        if nothing {
            for decision in &mut batch.orders {
                decision.hosts.clear();
                decision.trees.clear();
            }
        }
        Ok(batch)
    }

    /// Place an order's servers until one can't be; returns how many.
    fn place_order(
        &mut self,
        order: &Order<'_>,
        shape: &Arc<Shape>,
        seed: Seed,
        mut placed: impl FnMut(&Self, Choice),
    ) -> usize {
        for count in 0..order.count {
            let overlay = self.overlay(order.request, shape);
            let Some(choice) = self.choose_one(shape, &overlay, seed) else { return count };
            self.take(order.request, shape, &choice, 1);
            placed(self, choice);
        }
        order.count
    }

    fn choose_one(&mut self, shape: &Arc<Shape>, overlay: &Overlay, seed: Seed) -> Option<Choice> {
        self.choose(shape, overlay, seed, 1).pop()
    }

    /// Take what a choice takes, or give it back.
    fn take(&mut self, request: &Request, shape: &Shape, (slot, fit): &Choice, sign: i64) {
        match fit {
            None => {
                for ask in &shape.asks {
                    self.change_class(*slot, 0, ask.class, |used| used + sign * i64::from(ask.total));
                }
                self.views.change(*slot, false);
            }
            Some(fit) => self.take_fit(*slot, fit, sign),
        }
        if let Some(group) = &request.server_group {
            self.add_member_at(&group.id, *slot, sign as i32);
        }
    }

    fn take_fit(&mut self, slot: u32, fit: &Fit, sign: i64) {
        for take in &fit.takes {
            self.change_class(take.slot, usize::from(take.place), take.class, |used| used + sign * take.amount);
            self.views.change(take.slot, false);
        }
        self.apply_cells(slot, &fit.cells, sign);
    }

    /// Take a host out of service or put it back.
    ///
    /// # Errors
    /// [`PlacementError::NotFound`].
    pub fn set_enabled(&mut self, id: &str, enabled: bool) -> Result<(), PlacementError> {
        let slot = self.slot(id)?;
        let block = Arc::make_mut(&mut self.blocks[slot as usize / LANES]);
        block.enabled = with_bit(block.enabled, slot as usize % LANES, enabled);
        self.views.change(slot, true);
        Ok(())
    }

    /// Where the servers of a host could go if it were drained: best effort, on a copy.
    ///
    /// # Errors
    /// [`PlacementError::NotFound`], or [`PlacementError::Wrong`] if a request makes no sense.
    pub fn drain(&self, id: &str, orders: &[Order<'_>], seed: u64) -> Result<Batch, PlacementError> {
        let mut copy = self.snapshot();
        copy.set_enabled(id, false)?;
        copy.place_many(orders, seed, Mode::BestEffort, false)
    }

    /// How many servers like this fit in all, counted up to `limit`.
    ///
    /// Hosts that are one provider are reckoned; trees, shared providers and NUMA cells are filled on a copy.
    ///
    /// # Errors
    /// [`PlacementError::Wrong`] if the request makes no sense.
    pub fn how_many(&self, request: &Request, limit: usize) -> Result<usize, PlacementError> {
        let mut copy = self.snapshot();
        let shape = copy.shape(request)?;
        let overlay = copy.overlay(request, &shape);
        let hard = request.server_group.as_ref().map(|group| (group, group.policy));
        let mut total = 0_usize;
        let mut best = 0_usize;
        for at in 0..copy.blocks.len() {
            let reach = reach(&shape, &copy.blocks, &copy.sharing);
            let taken = copy.blocks[at].enabled;
            for lane in lanes(taken) {
                let slot = (at * LANES + lane) as u32;
                let ruled_out =
                    overlay.excludes(slot) || overlay.only.as_ref().is_some_and(|only| !only.contains(&slot));
                if ruled_out || judge(&copy.blocks[at], &shape, &reach, lane) == f32::NEG_INFINITY {
                    continue;
                }
                let most = match hard {
                    Some((group, AffinityPolicy::AntiAffinity)) => {
                        copy.members_left(&group.id, slot, group.max_per_host)
                    }
                    _ => limit.saturating_sub(total),
                };
                let count = copy.fill(request, &shape, slot, most);
                total = total.saturating_add(count);
                best = best.max(count);
            }
            if total >= limit {
                break;
            }
        }
        let alone =
            matches!(hard, Some((group, AffinityPolicy::Affinity)) if !copy.groups.contains_key(group.id.as_str()));
        Ok(if alone { best.min(limit) } else { total.min(limit) })
    }

    fn members_left(&self, group: &str, slot: u32, most: u32) -> usize {
        let members = self.groups.get(group).and_then(|members| members.get(&slot)).copied().unwrap_or(0);
        most.saturating_sub(members) as usize
    }

    /// How many servers, up to `most`, one host takes. What a tree gives stays taken.
    fn fill(&mut self, request: &Request, shape: &Arc<Shape>, slot: u32, most: usize) -> usize {
        let is_tree = self.host(slot).is_some_and(|host| host.extra.is_some());
        if !is_tree && self.sharing.is_empty() {
            let (block, lane) = (&self.blocks[slot as usize / LANES], slot as usize % LANES);
            let fits = shape.asks.iter().map(|ask| {
                let cold = &block.cold[ask.class.0 as usize];
                (cold.capacity[lane] - cold.used[lane]) / i64::from(ask.total)
            });
            return fits.min().and_then(|fits| usize::try_from(fits).ok()).unwrap_or(0).min(most);
        }
        let bare = Request { server_group: None, ..request.clone() };
        for count in 0..most {
            let Ok(fit) = self.scene(shape).fit(slot) else { return count };
            self.take(&bare, shape, &(slot, Some(fit)), 1);
        }
        most
    }

    /// Every way in which a request fits on hosts in order of preference, at most `limit` of them.
    ///
    /// Each is a [`crate::Claim`]; this is what Placement calls allocation candidates.
    ///
    /// # Errors
    /// [`PlacementError::Wrong`] if the request makes no sense.
    pub fn candidates(
        &mut self,
        request: &Request,
        seed: u64,
        limit: usize,
    ) -> Result<(Vec<crate::Claim>, Vec<Rejection>), PlacementError> {
        let decision = self.place(request, seed, limit, crate::Explain::IfNone)?;
        let mut claims = Vec::new();
        for (at, host) in decision.hosts.iter().enumerate() {
            let Some(Some(_)) = decision.trees.get(at) else {
                claims.extend(decision.claim(at));
                continue;
            };
            let Some(slot) = self.find(host) else { continue };
            // A misfit can't be: the host was chosen just now.
            let _ = self.scene(&decision.shape).each_fit(slot, &mut |fit| {
                claims.push(self.claim_of(&decision, slot, &fit));
                claims.len() < limit
            });
            if claims.len() >= limit {
                break;
            }
        }
        claims.truncate(limit);
        Ok((claims, decision.rejected))
    }
}
