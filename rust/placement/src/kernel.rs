//! The loops over lanes. They are plain loops over arrays of 64, compiled for the widest vectors that the
//! processor at hand has: [`wide`] runs a closure compiled for them.
use multiversion::multiversion;

use crate::block::{Block, LANES, STEP, lanes};
use crate::shape::{Ask, Shape};
use crate::symbols::ClassId;
use crate::weights::Weights;

/// Lanes that are worked on in registers at once.
const STRIP: usize = 16;

/// Run `work` compiled for the widest vectors there are. What it calls must be `#[inline(always)]`.
#[multiversion(targets("x86_64+avx2+bmi1+bmi2+lzcnt+popcnt", "aarch64+neon"), dispatcher = "direct")]
pub(crate) fn wide<R, F: FnOnce() -> R>(work: F) -> R {
    work()
}

/// A score that no host has.
pub(crate) const NO_SCORE: f32 = f32::NEG_INFINITY;

/// Scores of the hosts in `eligible` that have room, [`NO_SCORE`] for the others.
///
/// `exempt` says, for each ask, which hosts may take it from a provider outside their tree.
#[inline(always)]
pub(crate) fn score_block(block: &Block, shape: &Shape, eligible: u64, exempt: &[u64], out: &mut [f32; LANES]) {
    if eligible == 0 || shape.asks.iter().zip(exempt).any(|(ask, exempt)| !offered(block, ask.class, *exempt)) {
        *out = [NO_SCORE; LANES];
        return;
    }
    for strip in 0..LANES / STRIP {
        score_strip(block, shape, eligible >> (strip * STRIP), exempt, strip * STRIP, out);
    }
    adjust_block(block, &shape.weights, eligible, out);
}

fn offered(block: &Block, class: ClassId, exempt: u64) -> bool {
    (class.0 as usize) < block.hot.len() || exempt != 0
}

#[inline(always)]
fn score_strip(block: &Block, shape: &Shape, eligible: u64, exempt: &[u64], from: usize, out: &mut [f32; LANES]) {
    let mut bits = [0_u32; STRIP];
    for (lane, bit) in bits.iter_mut().enumerate() {
        *bit = (eligible as u32) >> lane & 1;
    }
    for (ask, exempt) in shape.asks.iter().zip(exempt) {
        let excused = (*exempt >> from) as u32;
        if let Some(hot) = block.hot.get(ask.class.0 as usize) {
            let room: &[i32] = &hot.room[from..from + STRIP];
            for (lane, bit) in bits.iter_mut().enumerate() {
                *bit &= u32::from(room[lane] >= ask.total) | excused >> lane;
            }
        } else {
            for (lane, bit) in bits.iter_mut().enumerate() {
                *bit &= excused >> lane;
            }
        }
    }
    let mut scores = [0.0_f32; STRIP];
    for weight in &shape.weights.classes {
        let Some(hot) = block.hot.get(weight.class.0 as usize) else { continue };
        let (asked, weight) = (weight.asked.value(), weight.weight.value());
        let (share, inverse) = (&hot.share[from..from + STRIP], &hot.inverse[from..from + STRIP]);
        for (lane, score) in scores.iter_mut().enumerate() {
            *score += weight * (share[lane] - asked * inverse[lane]);
        }
    }
    let out: &mut [f32] = &mut out[from..from + STRIP];
    for (lane, score) in scores.iter().enumerate() {
        out[lane] = if bits[lane] != 0 { score + 0.0 } else { NO_SCORE };
    }
}

/// A score that no host in `eligible` is above, from what is rough: infinite where that says nothing.
///
/// It goes through the same steps as [`score_block`] with numbers that aren't smaller (of what is taken away, not bigger), and each step
/// rounds the bigger of two numbers to no less than the smaller, so the bound holds to the last bit. No host may be exempt.
#[inline(always)]
pub(crate) fn bound_block(block: &Block, shape: &Shape, eligible: u64) -> f32 {
    if eligible == 0 || shape.asks.iter().any(|ask| !offered(block, ask.class, 0)) {
        return NO_SCORE;
    }
    let mut bounds = [0.0_f32; LANES];
    for weight in &shape.weights.classes {
        let Some(rough) = block.rough.get(weight.class.0 as usize) else { continue };
        let (asked, weight) = (weight.asked.value(), weight.weight.value());
        let (outside, inverse, shift) =
            if weight < 0.0 { (rough.below, rough.inverse.1, -1.0) } else { (rough.above, rough.inverse.0, 0.0) };
        if outside & eligible != 0 {
            return f32::INFINITY;
        }
        let less = asked * inverse;
        for (bound, steps) in bounds.iter_mut().zip(&rough.share) {
            *bound += weight * ((f32::from(*steps) + shift) * STEP - less);
        }
    }
    let mut out = [NO_SCORE; LANES];
    for (lane, (out, bound)) in out.iter_mut().zip(&bounds).enumerate() {
        *out = if eligible >> lane & 1 == 1 { bound + 0.0 } else { NO_SCORE };
    }
    adjust_block(block, &shape.weights, eligible, &mut out);
    best_score(&out)
}

/// The adjustments that few hosts have.
#[inline(always)]
fn adjust_block(block: &Block, weights: &Weights, eligible: u64, out: &mut [f32; LANES]) {
    let mut add = |hosts: u64, value: f32| {
        if value != 0.0 {
            lanes(hosts & eligible).for_each(|lane| out[lane] += value);
        }
    };
    add(block.maintenance, weights.maintenance.value());
    add(block.nested, weights.devices.value());
    for (tag, weight) in &weights.traits {
        add(block.tagged(*tag), weight.value());
    }
    for (metric, weight) in &weights.metrics {
        lanes(eligible).for_each(|lane| out[lane] += weight.value() * block.metric(*metric, lane));
    }
}

/// The score of one host, the same bits as [`score_block`] finds.
pub(crate) fn score_lane(block: &Block, shape: &Shape, lane: usize, exempt: &[u64]) -> f32 {
    let has_room = |(ask, exempt): (&Ask, &u64)| {
        let room = block.hot.get(ask.class.0 as usize).map(|hot| hot.room[lane]);
        room.is_some_and(|room| room >= ask.total) || exempt >> lane & 1 == 1
    };
    if !shape.asks.iter().zip(exempt).all(has_room) {
        return NO_SCORE;
    }
    let mut score = 0.0_f32;
    for weight in &shape.weights.classes {
        if let Some(hot) = block.hot.get(weight.class.0 as usize) {
            score += weight.weight.value() * (hot.share[lane] - weight.asked.value() * hot.inverse[lane]);
        }
    }
    score += 0.0;
    let weights = &shape.weights;
    let bears = |hosts: u64| hosts >> lane & 1 == 1;
    let adjust = |score: f32, hosts: u64, value: f32| if value != 0.0 && bears(hosts) { score + value } else { score };
    score = adjust(score, block.maintenance, weights.maintenance.value());
    score = adjust(score, block.nested, weights.devices.value());
    for (tag, weight) in &weights.traits {
        score = adjust(score, block.tagged(*tag), weight.value());
    }
    weights.metrics.iter().fold(score, |score, (metric, weight)| score + weight.value() * block.metric(*metric, lane))
}

/// The best score of a block.
#[inline(always)]
pub(crate) fn best_score(scores: &[f32; LANES]) -> f32 {
    let mut best = [NO_SCORE; STRIP];
    for strip in scores.as_chunks::<STRIP>().0 {
        for (best, score) in best.iter_mut().zip(strip) {
            *best = if *score > *best { *score } else { *best };
        }
    }
    best.iter().fold(NO_SCORE, |best, score| if *score > best { *score } else { best })
}

/// A seed taken apart for [`tie`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seed(u32, u32);

impl Seed {
    pub(crate) fn new(seed: u64) -> Self {
        let mixed = (seed ^ seed >> 33).wrapping_mul(0xff51_afd7_ed55_8ccd);
        let mixed = (mixed ^ mixed >> 33).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
        Self((mixed >> 32) as u32, mixed as u32)
    }
}

/// A number for a host that depends on the seed and on the host's id only: equals are ordered by it.
#[inline(always)]
pub(crate) fn tie(seed: Seed, hash: u32) -> u32 {
    let mut mixed = hash ^ seed.0;
    mixed = (mixed ^ mixed >> 16).wrapping_mul(0x7feb_352d);
    mixed = (mixed ^ mixed >> 15).wrapping_mul(0x846c_a68b).wrapping_add(seed.1);
    mixed ^ mixed >> 16
}

/// Score and tie in one number that orders as they do, the best biggest.
#[inline(always)]
pub(crate) fn key(score: f32, tie: u32) -> i64 {
    let bits = score.to_bits() as i32;
    let ordered = bits ^ ((bits >> 31) as u32 >> 1) as i32;
    i64::from(ordered) << 32 | i64::from(tie)
}

/// The key of no host.
pub(crate) const NO_KEY: i64 = i64::MIN;

/// The keys of a block.
#[inline(always)]
pub(crate) fn keys(scores: &[f32; LANES], hashes: &[u32; LANES], seed: Seed) -> [i64; LANES] {
    let mut keys = [NO_KEY; LANES];
    for (lane, slot) in keys.iter_mut().enumerate() {
        let key = key(scores[lane], tie(seed, hashes[lane]));
        *slot = if scores[lane] > NO_SCORE { key } else { NO_KEY };
    }
    keys
}

/// Any of the keys is above `bar`.
#[inline(always)]
pub(crate) fn any_above(keys: &[i64; LANES], bar: i64) -> bool {
    let mut above = [false; STRIP];
    for strip in keys.as_chunks::<STRIP>().0 {
        for (above, key) in above.iter_mut().zip(strip) {
            *above |= *key > bar;
        }
    }
    above.iter().any(|above| *above)
}
