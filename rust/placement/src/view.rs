//! One request shape's opinion of every host, kept current.
//!
//! A view holds the scores of the blocks that may hold the best hosts, and which hosts still need an exact look.
//! It is built by one scan, which finds who could do at all and, roughly, how good the best of each block can be at
//! most. Only blocks that promise more than the best hosts known are then `shown`, which is to say scored; most never are.
//! It then follows the table's change log: a change to a host costs one lane, so a decision for a shape
//! seen before costs a glance at the blocks' best scores and a look into a few blocks.
//! A full scan is always allowed and finds the same; views exist to save time only.
//!
//! Hosts of one provider are decided by the lanes alone. Hosts with nested providers, NUMA cells or shared
//! resources are judged by what is necessary, put in order, and looked at exactly ([`crate::solve`]) when
//! their turn comes; a failure is remembered until the host changes.
use std::cmp::Reverse;
use std::sync::Arc;

use rustc_hash::FxHashMap;

use crate::block::{Block, LANES, with_bit};
use crate::eligible::{Guesses, eligible};
use crate::kernel::{NO_KEY, NO_SCORE, Seed, any_above, best_score, bound_block, keys, score_block, score_lane, wide};
use crate::shape::Shape;
use crate::sharing::Reach;

/// A best key that hasn't been computed.
const UNKNOWN_KEY: i64 = i64::MAX;
/// Candidates that are gathered before they are thinned out.
const GATHER: usize = 256;
/// The row of a block that isn't shown.
const HIDDEN: u32 = u32::MAX;

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
    /// Scores of the blocks that are shown.
    rows: Vec<[f32; LANES]>,
    /// Where in `rows` each block's are.
    row_of: Vec<u32>,
    /// The best score of each block that is shown.
    best: Vec<f32>,
    /// What no host of a block is above, of blocks that aren't shown and may have a host that does.
    bounds: Vec<f32>,
    /// How many blocks have such a bound.
    hidden: usize,
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
            rows: Vec::new(),
            row_of: Vec::new(),
            best: Vec::new(),
            bounds: Vec::new(),
            hidden: 0,
            eligible: Vec::new(),
            ruled_out: Vec::new(),
            best_keys: Vec::new(),
            seed: None,
        }
    }

    /// Look at every block anew, perhaps for another shape.
    pub(crate) fn begin(&mut self, shape: Arc<Shape>, reach: Reach, blocks: &[Arc<Block>], version: u64) {
        self.rows.clear();
        self.row_of.clear();
        self.best.clear();
        self.bounds.clear();
        self.hidden = 0;
        self.eligible.clear();
        self.ruled_out.clear();
        self.reach = reach;
        self.version = version;
        self.shape = shape;
        self.grow(blocks);
    }

    /// Look at blocks that are new.
    pub(crate) fn grow(&mut self, blocks: &[Arc<Block>]) {
        let seen = self.row_of.len();
        if seen == blocks.len() {
            return;
        }
        self.row_of.resize(blocks.len(), HIDDEN);
        self.best.resize(blocks.len(), NO_SCORE);
        self.bounds.resize(blocks.len(), NO_SCORE);
        self.eligible.resize(blocks.len(), 0);
        self.seed = None;
        // First who could do at all: little is read of each block then, and the processor reads several at once.
        let mut guesses = Guesses::default();
        for (at, block) in blocks.iter().enumerate().skip(seen) {
            self.eligible[at] = eligible(block, &self.shape, &self.reach, &mut guesses);
        }
        let exact = !self.reach.is_empty();
        let Self { shape, eligible, bounds, hidden, .. } = self;
        wide(
            #[inline(always)]
            || {
                for (at, block) in blocks.iter().enumerate().skip(seen).filter(|(at, _)| eligible[*at] != 0) {
                    bounds[at] = if exact { f32::INFINITY } else { bound_block(block, shape, eligible[at]) };
                    *hidden += usize::from(bounds[at] > NO_SCORE);
                }
            },
        );
    }

    /// Show as many blocks as it takes for the `count` best hosts to be in them.
    fn show(&mut self, count: usize, blocks: &[Arc<Block>]) {
        let mut most = count.max(1);
        while self.hidden > 0 {
            let bar = self.bar(count);
            if bar > NO_SCORE {
                self.show_from(bar, usize::MAX, count == 1, blocks);
                return;
            }
            // Those that promise most, ever more of them: on a full cloud few keep what they promise.
            self.show_from(nth_best(&self.bounds, most), most, false, blocks);
            most *= 2;
        }
    }

    /// Show at most `most` blocks whose bound isn't below `bar`. `rising`: nor below the best of those shown on the way.
    fn show_from(&mut self, mut bar: f32, mut most: usize, rising: bool, blocks: &[Arc<Block>]) {
        let promising = self.bounds.iter().fold(NO_SCORE, |best, bound| if *bound > best { *bound } else { best });
        if promising < bar {
            return;
        }
        let mut exempt = vec![0; self.shape.asks.len()];
        wide(
            #[inline(always)]
            || {
                for (at, block) in blocks.iter().enumerate() {
                    if self.bounds[at] < bar || self.bounds[at] == NO_SCORE || most == 0 {
                        continue;
                    }
                    most -= 1;
                    if !self.reach.is_empty() {
                        self.reach.exempt(block, &mut exempt);
                    }
                    let mut scores = [NO_SCORE; LANES];
                    score_block(block, &self.shape, self.eligible[at], &exempt, &mut scores);
                    self.best[at] = best_score(&scores);
                    self.bounds[at] = NO_SCORE;
                    self.hidden -= 1;
                    self.row_of[at] = self.rows.len() as u32;
                    self.rows.push(scores);
                    if let Some(key) = self.best_keys.get_mut(at) {
                        *key = UNKNOWN_KEY;
                    }
                    if rising && self.best[at] > bar {
                        bar = self.best[at];
                    }
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
        let Some(row) = self.rows.get_mut(self.row_of[at] as usize) else {
            if score > self.bounds[at] {
                self.hidden += usize::from(self.bounds[at] == NO_SCORE);
                self.bounds[at] = score;
            }
            return;
        };
        let before = std::mem::replace(&mut row[lane], score);
        if score >= self.best[at] {
            self.best[at] = score;
        } else if before == self.best[at] {
            self.best[at] = best_score(row);
        }
        if let Some(key) = self.best_keys.get_mut(at) {
            *key = UNKNOWN_KEY;
        }
    }

    /// An exact look found that the host doesn't do. That holds until the host or a shared provider changes.
    pub(crate) fn rule_out(&mut self, slot: u32) {
        if self.ruled_out.len() >= 2 * LANES * self.row_of.len() {
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
        self.show(1, blocks);
        if self.seed != Some(seed) {
            self.seed = Some(seed);
            self.best_keys.clear();
            self.best_keys.resize(self.row_of.len(), UNKNOWN_KEY);
        }
        let winner = wide(
            #[inline(always)]
            || self.first_block(seed, blocks),
        );
        let (at, key) = winner?;
        let found = self.keys(at, seed, blocks);
        let bearers = (0..LANES).filter(|lane| found[*lane] == key);
        let lane = bearers.min_by_key(|lane| blocks[at].hosts[*lane].as_ref().map(|host| &host.id))?;
        Some((key, (at * LANES + lane) as u32))
    }

    /// The keys of a block that is shown.
    #[inline(always)]
    fn keys(&self, at: usize, seed: Seed, blocks: &[Arc<Block>]) -> [i64; LANES] {
        keys(&self.rows[self.row_of[at] as usize], &blocks[at].hashes, seed)
    }

    #[inline(always)]
    fn first_block(&mut self, seed: Seed, blocks: &[Arc<Block>]) -> Option<(usize, i64)> {
        let top = self.best.iter().fold(NO_SCORE, |top, score| if *score > top { *score } else { top });
        if top == NO_SCORE {
            return None;
        }
        let mut winner: Option<(usize, i64)> = None;
        for at in 0..self.best.len() {
            if self.best[at] < top {
                continue;
            }
            if self.best_keys[at] == UNKNOWN_KEY {
                let keys = self.keys(at, seed, blocks);
                self.best_keys[at] = keys.iter().fold(NO_KEY, |best, key| if *key > best { *key } else { best });
            }
            let best = self.best_keys[at];
            let better = winner.is_none_or(|(other, key)| {
                best > key || best == key && self.id_of(key, at, seed, blocks) < self.id_of(key, other, seed, blocks)
            });
            if better {
                winner = Some((at, best));
            }
        }
        winner
    }

    /// The id of the host with this key: of two blocks whose best keys are equal (one in billions), the first by id wins.
    #[cold]
    fn id_of(&self, key: i64, at: usize, seed: Seed, blocks: &[Arc<Block>]) -> Option<Arc<str>> {
        let keys = self.keys(at, seed, blocks);
        let bearers = (0..LANES).filter(|lane| keys[*lane] == key);
        bearers.filter_map(|lane| blocks[at].hosts[lane].as_ref().map(|host| host.id.clone())).min()
    }

    /// At most `limit` hosts, the best first, none of them excluded. Equal keys are left to the caller.
    pub(crate) fn top(
        &mut self,
        seed: Seed,
        limit: usize,
        blocks: &[Arc<Block>],
        without: &Excluded,
    ) -> Vec<Candidate> {
        let count = limit + without.len();
        self.show(count, blocks);
        let bar = self.bar(count);
        wide(
            #[inline(always)]
            || {
                let mut gathered =
                    Gathered { limit, bar: NO_KEY, candidates: Vec::with_capacity(GATHER.min(4 * limit)) };
                for (at, best) in self.best.iter().enumerate() {
                    if *best < bar || *best == NO_SCORE {
                        continue;
                    }
                    let keys = self.keys(at, seed, blocks);
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
        if count > self.best.len() { NO_SCORE } else { nth_best(&self.best, count) }
    }

    /// Bytes that it holds.
    pub(crate) fn bytes(&self) -> usize {
        self.rows.capacity() * size_of::<[f32; LANES]>()
            + (self.best.capacity() + self.bounds.capacity() + self.row_of.capacity()) * size_of::<f32>()
            + self.eligible.capacity() * size_of::<u64>()
            + self.best_keys.capacity() * size_of::<i64>()
    }
}

/// The `count`th best of more scores than that, or [`NO_SCORE`].
fn nth_best(scores: &[f32], count: usize) -> f32 {
    match count {
        0 => NO_SCORE,
        1 => scores.iter().fold(NO_SCORE, |best, score| if *score > best { *score } else { best }),
        _ if count >= scores.len() => NO_SCORE,
        _ => {
            let mut scores = scores.to_vec();
            *scores.select_nth_unstable_by(count - 1, |a, b| b.total_cmp(a)).1
        }
    }
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
