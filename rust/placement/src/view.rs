//! One request shape's opinion of every host, kept current.
//!
//! A view holds a score for each host, the best score of each block, and which hosts still need an exact look.
//! It is built by one scan and then follows the table's change log: a change to a host costs one lane, so a
//! decision for a shape seen before costs a glance at the blocks' best scores and a look into a few blocks.
//! A full scan is always allowed and finds the same; views exist to save time only.
//!
//! Hosts of one provider are decided by the lanes alone. Hosts with nested providers, NUMA cells or shared
//! resources are judged by what is necessary, put in order, and looked at exactly ([`crate::solve`]) when
//! their turn comes; a failure is remembered until the host changes.
use std::cmp::Reverse;
use std::sync::Arc;

use rustc_hash::FxHashMap;

use crate::block::{Block, LANES, lanes, with_bit};
use crate::kernel::{NO_KEY, NO_SCORE, Seed, any_above, best_score, keys, score_block, score_lane, wide};
use crate::shape::{Ask, Shape};
use crate::sharing::Reach;
use crate::symbols::TagId;

/// A best key that hasn't been computed.
const UNKNOWN_KEY: i64 = i64::MAX;
/// Candidates that are gathered before they are thinned out.
const GATHER: usize = 256;

/// Hosts left out of one decision, as bits by block.
pub(crate) type Excluded = FxHashMap<u32, u64>;

/// A host and how it compares.
pub(crate) type Candidate = (i64, u32);

/// One request shape's opinion of every host.
#[derive(Debug)]
pub(crate) struct View {
    pub(crate) shape: Arc<Shape>,
    pub(crate) reach: Reach,
    /// How much of the change log it has seen.
    pub(crate) version: u64,
    /// When it was last asked, in calls.
    pub(crate) asked_at: u64,
    scores: Vec<[f32; LANES]>,
    best: Vec<f32>,
    /// Hosts that could do if they have room, by block.
    eligible: Vec<u64>,
    /// Hosts that failed an exact look.
    ruled_out: Vec<u32>,
    /// The best key of each block for `seed`.
    best_keys: Vec<i64>,
    seed: Option<Seed>,
}

impl View {
    pub(crate) fn new(shape: Arc<Shape>) -> Self {
        Self {
            shape,
            reach: Reach::default(),
            version: 0,
            asked_at: 0,
            scores: Vec::new(),
            best: Vec::new(),
            eligible: Vec::new(),
            ruled_out: Vec::new(),
            best_keys: Vec::new(),
            seed: None,
        }
    }

    /// Look at every block anew, perhaps for another shape.
    pub(crate) fn begin(&mut self, shape: Arc<Shape>, reach: Reach, blocks: &[Arc<Block>], version: u64) {
        self.scores.clear();
        self.best.clear();
        self.eligible.clear();
        self.ruled_out.clear();
        self.reach = reach;
        self.version = version;
        self.shape = shape;
        self.grow(blocks);
    }

    /// Look at blocks that are new.
    pub(crate) fn grow(&mut self, blocks: &[Arc<Block>]) {
        let seen = self.scores.len();
        if seen == blocks.len() {
            return;
        }
        self.scores.resize(blocks.len(), [NO_SCORE; LANES]);
        self.best.resize(blocks.len(), NO_SCORE);
        self.eligible.resize(blocks.len(), 0);
        self.seed = None;
        // First who could do at all: little is read of each block then, and the processor reads several at once.
        let mut guesses = Guesses::default();
        for (at, block) in blocks.iter().enumerate().skip(seen) {
            self.eligible[at] = eligible(block, &self.shape, &self.reach, &mut guesses);
        }
        let mut exempt = vec![0; self.shape.asks.len()];
        wide(
            #[inline(always)]
            || {
                for (at, block) in blocks.iter().enumerate().skip(seen) {
                    if !self.reach.is_empty() {
                        self.reach.exempt(block, &mut exempt);
                    }
                    score_block(block, &self.shape, self.eligible[at], &exempt, &mut self.scores[at]);
                    self.best[at] = best_score(&self.scores[at]);
                }
            },
        );
    }

    /// Follow a change of one host. `whole`: not only what is used of it.
    pub(crate) fn refresh(&mut self, slot: u32, whole: bool, blocks: &[Arc<Block>]) {
        let (at, lane) = (slot as usize / LANES, slot as usize % LANES);
        let block = &blocks[at];
        if whole {
            let now = eligible(block, &self.shape, &self.reach, &mut Guesses::default());
            self.eligible[at] = with_bit(self.eligible[at], lane, now >> lane & 1 == 1);
        }
        let score = if self.eligible[at] >> lane & 1 == 0 {
            NO_SCORE
        } else {
            let mut exempt = Vec::new();
            self.reach.exempt(block, &mut exempt);
            score_lane(block, &self.shape, lane, &exempt)
        };
        self.set_score(at, lane, score);
    }

    fn set_score(&mut self, at: usize, lane: usize, score: f32) {
        let before = std::mem::replace(&mut self.scores[at][lane], score);
        if score >= self.best[at] {
            self.best[at] = score;
        } else if before == self.best[at] {
            self.best[at] = best_score(&self.scores[at]);
        }
        if let Some(key) = self.best_keys.get_mut(at) {
            *key = UNKNOWN_KEY;
        }
    }

    /// An exact look found that the host doesn't do. That holds until the host or a shared provider changes.
    pub(crate) fn rule_out(&mut self, slot: u32) {
        if self.ruled_out.len() >= 2 * LANES * self.scores.len() {
            self.ruled_out.sort_unstable();
            self.ruled_out.dedup();
        }
        self.ruled_out.push(slot);
        self.set_score(slot as usize / LANES, slot as usize % LANES, NO_SCORE);
    }

    /// A shared provider changed: hosts that failed may do now.
    pub(crate) fn rule_in(&mut self, blocks: &[Arc<Block>]) {
        for slot in std::mem::take(&mut self.ruled_out) {
            self.refresh(slot, false, blocks);
        }
    }

    /// The best host, if any.
    pub(crate) fn first(&mut self, seed: Seed, blocks: &[Arc<Block>]) -> Option<Candidate> {
        if self.seed != Some(seed) {
            self.seed = Some(seed);
            self.best_keys.clear();
            self.best_keys.resize(self.scores.len(), UNKNOWN_KEY);
        }
        let Self { scores, best, best_keys, .. } = self;
        let winner = wide(
            #[inline(always)]
            || first_block(scores, best, best_keys, seed, blocks),
        );
        let (at, key) = winner?;
        let found = keys(&self.scores[at], &blocks[at].hashes, seed);
        let bearers = (0..LANES).filter(|lane| found[*lane] == key);
        let lane = bearers.min_by_key(|lane| blocks[at].hosts[*lane].as_ref().map(|host| &host.id))?;
        Some((key, (at * LANES + lane) as u32))
    }

    /// At most `limit` hosts, the best first, none of them excluded. Equal keys are left to the caller.
    pub(crate) fn top(&self, seed: Seed, limit: usize, blocks: &[Arc<Block>], without: &Excluded) -> Vec<Candidate> {
        let bar = self.bar(limit + without.len());
        wide(
            #[inline(always)]
            || {
                let mut gathered =
                    Gathered { limit, bar: NO_KEY, candidates: Vec::with_capacity(GATHER.min(4 * limit)) };
                for (at, best) in self.best.iter().enumerate() {
                    if *best < bar || *best == NO_SCORE {
                        continue;
                    }
                    let keys = keys(&self.scores[at], &blocks[at].hashes, seed);
                    if any_above(&keys, gathered.bar) {
                        gathered.take(&keys, at, without.get(&(at as u32)).copied().unwrap_or(0));
                    }
                }
                gathered.finish()
            },
        )
    }

    /// A score that the `count`th best host reaches at least: the `count`th best of the blocks' best.
    fn bar(&self, count: usize) -> f32 {
        if count == 0 || count > self.best.len() {
            return NO_SCORE;
        }
        let mut best = self.best.clone();
        *best.select_nth_unstable_by(count - 1, |a, b| b.total_cmp(a)).1
    }

    /// Bytes that it holds.
    pub(crate) fn bytes(&self) -> usize {
        self.scores.capacity() * size_of::<[f32; LANES]>()
            + self.best.capacity() * size_of::<f32>()
            + self.eligible.capacity() * size_of::<u64>()
            + self.best_keys.capacity() * size_of::<i64>()
    }
}

#[inline(always)]
fn first_block(
    scores: &[[f32; LANES]],
    best: &[f32],
    best_keys: &mut [i64],
    seed: Seed,
    blocks: &[Arc<Block>],
) -> Option<(usize, i64)> {
    let top = best.iter().fold(NO_SCORE, |top, score| if *score > top { *score } else { top });
    if top == NO_SCORE {
        return None;
    }
    let mut winner: Option<(usize, i64)> = None;
    for (at, score) in best.iter().enumerate() {
        if *score < top {
            continue;
        }
        if best_keys[at] == UNKNOWN_KEY {
            let keys = keys(&scores[at], &blocks[at].hashes, seed);
            best_keys[at] = keys.iter().fold(NO_KEY, |best, key| if *key > best { *key } else { best });
        }
        let better = winner.is_none_or(|(other, key)| {
            best_keys[at] > key || best_keys[at] == key && precedes(scores, blocks, seed, key, at, other)
        });
        if better {
            winner = Some((at, best_keys[at]));
        }
    }
    winner
}

/// Of two blocks whose best keys are equal (one in billions), the first by host id wins.
#[cold]
fn precedes(scores: &[[f32; LANES]], blocks: &[Arc<Block>], seed: Seed, key: i64, a: usize, b: usize) -> bool {
    let id = |at: usize| {
        let keys = keys(&scores[at], &blocks[at].hashes, seed);
        let bearers = (0..LANES).filter(|lane| keys[*lane] == key);
        bearers.filter_map(|lane| blocks[at].hosts[lane].as_ref().map(|host| host.id.clone())).min()
    };
    id(a) < id(b)
}

/// The best candidates so far.
struct Gathered {
    limit: usize,
    bar: i64,
    candidates: Vec<Candidate>,
}

impl Gathered {
    fn take(&mut self, keys: &[i64; LANES], at: usize, without: u64) {
        for (lane, key) in keys.iter().enumerate() {
            if *key > self.bar && without >> lane & 1 == 0 {
                self.candidates.push((*key, (at * LANES + lane) as u32));
            }
        }
        if self.candidates.len() >= GATHER.max(4 * self.limit) {
            self.thin();
        }
    }

    /// Keep the best, and all that equal the last of them.
    fn thin(&mut self) {
        if self.limit == 0 || self.candidates.len() <= self.limit {
            return;
        }
        self.candidates.select_nth_unstable_by(self.limit - 1, |a, b| b.0.cmp(&a.0));
        let last = self.candidates[self.limit - 1].0;
        self.bar = last - 1;
        self.candidates.retain(|(key, _)| *key >= last);
    }

    fn finish(mut self) -> Vec<Candidate> {
        self.thin();
        self.candidates.sort_unstable_by_key(|(key, _)| Reverse(*key));
        self.candidates
    }
}

/// The score of one host without a view.
pub(crate) fn judge(block: &Block, shape: &Shape, reach: &Reach, lane: usize) -> f32 {
    if eligible(block, shape, reach, &mut Guesses::default()) >> lane & 1 == 0 {
        return NO_SCORE;
    }
    let mut exempt = Vec::new();
    reach.exempt(block, &mut exempt);
    score_lane(block, shape, lane, &exempt)
}

/// Where the tags of a shape stood in the block before, in the order in which [`eligible`] asks for them.
#[derive(Default)]
struct Guesses {
    places: Vec<usize>,
    next: usize,
}

impl Guesses {
    fn tagged(&mut self, block: &Block, tag: TagId) -> u64 {
        if self.next == self.places.len() {
            self.places.push(0);
        }
        self.next += 1;
        block.tagged_near(tag, &mut self.places[self.next - 1])
    }

    fn tagged_any(&mut self, block: &Block, tags: &[TagId]) -> u64 {
        tags.iter().fold(0, |hosts, tag| hosts | self.tagged(block, *tag))
    }
}

/// Which hosts of a block could do if they have room. Of trees, and of hosts within reach of shared providers,
/// only what is necessary is asked.
fn eligible(block: &Block, shape: &Shape, reach: &Reach, guesses: &mut Guesses) -> u64 {
    guesses.next = 0;
    let reached = reach.reached(block);
    let loose = block.nested | reached;
    let mut eligible = block.enabled;
    if let Some(zone) = shape.zone {
        eligible &= guesses.tagged(block, zone);
    }
    for any in &shape.root_traits.any_of {
        eligible &= guesses.tagged_any(block, any);
    }
    for any in &shape.traits.any_of {
        eligible &= guesses.tagged_any(block, any) | reach.reached_with(block, any);
    }
    for any in &shape.aggregates.any_of {
        eligible &= guesses.tagged_any(block, any) | reached;
    }
    let forbidden = [&shape.traits, &shape.aggregates, &shape.root_traits];
    for tag in forbidden.iter().flat_map(|tags| tags.none_of.iter()) {
        eligible &= !guesses.tagged(block, *tag) | loose;
    }
    if shape.isolate {
        eligible &= loose;
    }
    if shape.numa.is_some() {
        eligible &= block.celled;
    }
    let cold = |ask: &Ask| block.cold.get(ask.class.0 as usize).map_or(0, |cold| cold.stepped);
    if eligible & block.stepped != 0 {
        let stepped = shape.asks.iter().fold(0, |hosts, ask| hosts | cold(ask));
        let bad = lanes(eligible & stepped & !loose).filter(|lane| !in_units(block, shape, *lane));
        eligible &= !bad.fold(0, |bad, lane| bad | 1 << lane);
    }
    for (metric, limit) in &shape.limits {
        let over = |lane: &usize| block.metric(*metric, *lane) > limit.value();
        eligible &= !lanes(eligible).filter(over).fold(0, |bad, lane| bad | 1 << lane);
    }
    eligible
}

/// Every amount asked for is one that the host gives.
fn in_units(block: &Block, shape: &Shape, lane: usize) -> bool {
    shape.asks.iter().all(|ask| {
        let Some(cold) = block.cold.get(ask.class.0 as usize) else { return true };
        let gives = |part: &i32| *part >= cold.min[lane] && part % cold.step[lane] == 0;
        cold.stepped >> lane & 1 == 0 || ask.parts.iter().all(gives)
    })
}
