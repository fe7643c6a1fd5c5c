//! Which hosts could do if they have room.
use crate::block::{Block, lanes};
use crate::kernel::{NO_SCORE, score_lane};
use crate::shape::{Ask, Shape};
use crate::sharing::Reach;
use crate::symbols::TagId;

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
pub(crate) struct Guesses {
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
pub(crate) fn eligible(block: &Block, shape: &Shape, reach: &Reach, guesses: &mut Guesses) -> u64 {
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
