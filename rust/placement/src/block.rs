//! Sixty-four hosts side by side: the unit of scanning, of copying and of change.
//!
//! Numbers of one resource class lie in [`Hot`] and [`Cold`] lanes, one lane a host; yes-or-no facts are bits
//! of a `u64`, one bit a host. A scan touches a few words of bits and the [`Rough`] lanes of the classes that are
//! weighed; only of blocks that may hold the best hosts it goes on to their hot lanes.
//! A snapshot of the table shares its blocks; whoever changes a shared block first gets a copy of that block.
use std::sync::Arc;

use crate::symbols::{ClassId, TagId};
use crate::tree::Extra;

/// Hosts in a block.
pub(crate) const LANES: usize = 64;

/// What a scan reads of one class.
#[derive(Debug, Clone)]
pub(crate) struct Hot {
    /// The most that one server can still take: free, but at most `max_unit`. `i32::MIN` without an inventory.
    pub(crate) room: [i32; LANES],
    /// Free over capacity.
    pub(crate) share: [f32; LANES],
    /// One over capacity; 0 without capacity.
    pub(crate) inverse: [f32; LANES],
}

/// What a scan reads first of one class: it says how good the hosts are at best, from a tenth of the memory.
#[derive(Debug, Clone)]
pub(crate) struct Rough {
    /// The share of [`Hot`] in steps of [`STEP`], rounded up.
    pub(crate) share: [u8; LANES],
    /// Hosts whose share is more than a step below none.
    pub(crate) below: u64,
    /// Hosts whose share is above the last step.
    pub(crate) above: u64,
    /// The least and the greatest `inverse` of hosts that can have room. The range may be wider than that.
    pub(crate) inverse: (f32, f32),
}

/// A step of [`Rough::share`].
pub(crate) const STEP: f32 = 1.0 / 254.0;

impl Rough {
    fn new() -> Self {
        Self { share: [0; LANES], below: 0, above: 0, inverse: (0.0, 0.0) }
    }

    /// `share` is above `steps - 1` steps and at most `steps` steps, unless it is marked to be outside of what steps say.
    fn note(&mut self, lane: usize, share: f32) {
        let mut steps = (share / STEP).ceil().clamp(0.0, 255.0);
        if steps < 255.0 && steps * STEP < share {
            steps += 1.0;
        }
        if steps > 0.0 && (steps - 1.0) * STEP >= share {
            steps -= 1.0;
        }
        self.share[lane] = steps as u8;
        self.below = with_bit(self.below, lane, share < -STEP);
        self.above = with_bit(self.above, lane, share > 255.0 * STEP);
    }

    /// A host without capacity has room if its tree holds both more than nothing and less.
    fn range(hot: &Hot) -> (f32, f32) {
        let lanes = hot.inverse.iter().zip(&hot.room).filter(|(inverse, room)| **inverse > 0.0 || **room > 0);
        lanes
            .map(|(inverse, _)| *inverse)
            .fold(None, |range: Option<(f32, f32)>, inverse| {
                let (least, most) = range.unwrap_or((inverse, inverse));
                Some((least.min(inverse), most.max(inverse)))
            })
            .unwrap_or_default()
    }
}

/// A tag and which hosts of a block bear it. They lie together because who reads one reads the other.
#[derive(Debug, Clone, Copy)]
struct Tagged {
    tag: TagId,
    bearers: u64,
}

/// What a scan doesn't read of one class.
#[derive(Debug, Clone)]
pub(crate) struct Cold {
    pub(crate) capacity: [i64; LANES],
    pub(crate) used: [i64; LANES],
    pub(crate) min: [i32; LANES],
    pub(crate) max: [i32; LANES],
    pub(crate) step: [i32; LANES],
    /// Hosts with an inventory.
    pub(crate) present: u64,
    /// Hosts that give the class only in certain amounts.
    pub(crate) stepped: u64,
}

/// The sum of a class over a tree of providers.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct TreeSum {
    pub(crate) capacity: i64,
    pub(crate) used: i64,
    pub(crate) room: i64,
}

/// One host of a block.
#[derive(Debug, Clone)]
pub(crate) struct Host {
    pub(crate) id: Arc<str>,
    /// Nested providers and NUMA cells, for hosts that have any.
    pub(crate) extra: Option<Arc<Extra>>,
}

/// Sixty-four hosts. What every scan reads of a block stands first, so that it comes from memory at once.
#[derive(Debug, Clone)]
#[repr(C)]
pub(crate) struct Block {
    pub(crate) enabled: u64,
    /// Hosts that may give a class only in certain amounts, and all that do.
    pub(crate) stepped: u64,
    pub(crate) maintenance: u64,
    /// Hosts that are more than one provider.
    pub(crate) nested: u64,
    /// Hosts with NUMA cells.
    pub(crate) celled: u64,
    /// The tags that a host here bears, in order; of a tree, any provider counts.
    tags: Vec<Tagged>,
    pub(crate) rough: Vec<Rough>,
    pub(crate) hot: Vec<Hot>,
    pub(crate) cold: Vec<Cold>,
    pub(crate) metrics: Vec<[f32; LANES]>,
    pub(crate) hashes: [u32; LANES],
    pub(crate) hosts: [Option<Host>; LANES],
}

impl Block {
    pub(crate) fn new() -> Self {
        Self {
            enabled: 0,
            stepped: 0,
            maintenance: 0,
            nested: 0,
            celled: 0,
            tags: Vec::new(),
            rough: Vec::new(),
            hot: Vec::new(),
            cold: Vec::new(),
            metrics: Vec::new(),
            hashes: [0; LANES],
            hosts: [const { None }; LANES],
        }
    }

    fn place_of(&self, tag: TagId) -> Result<usize, usize> {
        self.tags.binary_search_by_key(&tag, |tagged| tagged.tag)
    }

    /// Hosts that bear a tag.
    pub(crate) fn tagged(&self, tag: TagId) -> u64 {
        self.place_of(tag).map_or(0, |place| self.tags[place].bearers)
    }

    /// The same, with a guess where the tag stands, made better. Blocks hold much the same traits and zones, in the same places, and
    /// looking where the block before had one keeps a scan from waiting for a search in each.
    #[inline]
    pub(crate) fn tagged_near(&self, tag: TagId, guess: &mut usize) -> u64 {
        if let Some(tagged) = self.tags.get(*guess).filter(|tagged| tagged.tag == tag) {
            return tagged.bearers;
        }
        let Ok(place) = self.place_of(tag) else { return 0 };
        *guess = place;
        self.tags[place].bearers
    }

    /// Hosts that bear any of these.
    pub(crate) fn tagged_any(&self, tags: &[TagId]) -> u64 {
        tags.iter().fold(0, |hosts, tag| hosts | self.tagged(*tag))
    }

    pub(crate) fn add_tag(&mut self, lane: usize, tag: TagId) {
        match self.place_of(tag) {
            Ok(place) => self.tags[place].bearers |= 1 << lane,
            Err(place) => self.tags.insert(place, Tagged { tag, bearers: 1 << lane }),
        }
    }

    fn drop_tags(&mut self, lane: usize) {
        self.tags.iter_mut().for_each(|tagged| tagged.bearers &= !(1 << lane));
        self.tags.retain(|tagged| tagged.bearers != 0);
    }

    /// Make lanes for a class if there are none.
    pub(crate) fn make_class(&mut self, class: ClassId) {
        while self.hot.len() <= class.0 as usize {
            self.rough.push(Rough::new());
            self.hot.push(Hot { room: [i32::MIN; LANES], share: [0.0; LANES], inverse: [0.0; LANES] });
            self.cold.push(Cold {
                capacity: [0; LANES],
                used: [0; LANES],
                min: [1; LANES],
                max: [i32::MAX; LANES],
                step: [1; LANES],
                present: 0,
                stepped: 0,
            });
        }
    }

    /// Recompute what a scan reads, after `cold` changed.
    pub(crate) fn settle(&mut self, class: ClassId, lane: usize) {
        let cold = &self.cold[class.0 as usize];
        let present = cold.present >> lane & 1 == 1;
        let free = cold.capacity[lane] - cold.used[lane];
        let room = if present { free.min(i64::from(cold.max[lane])) } else { i64::from(i32::MIN) };
        self.write(class, lane, TreeSum { capacity: cold.capacity[lane], used: cold.used[lane], room });
    }

    /// Set a class of a nested host to the sum over its tree.
    pub(crate) fn settle_sum(&mut self, class: ClassId, lane: usize, sum: Option<TreeSum>) {
        self.make_class(class);
        let cold = &mut self.cold[class.0 as usize];
        cold.present = with_bit(cold.present, lane, sum.is_some());
        cold.stepped = with_bit(cold.stepped, lane, false);
        let absent = TreeSum { room: i64::from(i32::MIN), ..TreeSum::default() };
        let sum = sum.unwrap_or(absent);
        cold.capacity[lane] = sum.capacity;
        cold.used[lane] = sum.used;
        self.write(class, lane, sum);
    }

    fn write(&mut self, class: ClassId, lane: usize, sum: TreeSum) {
        let (hot, rough) = (&mut self.hot[class.0 as usize], &mut self.rough[class.0 as usize]);
        let inverse = if sum.capacity > 0 { 1.0 / sum.capacity as f32 } else { 0.0 };
        let before = std::mem::replace(&mut hot.inverse[lane], inverse);
        hot.room[lane] = sum.room.clamp(i64::from(i32::MIN), i64::from(i32::MAX)) as i32;
        hot.share[lane] = (sum.capacity - sum.used) as f32 * inverse;
        rough.note(lane, hot.share[lane]);
        if before != inverse || (inverse == 0.0 && sum.room > 0) {
            rough.inverse = Rough::range(hot);
        }
    }

    /// Forget everything about a host.
    pub(crate) fn clear(&mut self, lane: usize) {
        self.drop_tags(lane);
        let clear = !(1 << lane);
        self.enabled &= clear;
        self.stepped &= clear;
        self.maintenance &= clear;
        self.nested &= clear;
        self.celled &= clear;
        for metric in &mut self.metrics {
            metric[lane] = 0.0;
        }
        for class in 0..self.cold.len() {
            let cold = &mut self.cold[class];
            cold.capacity[lane] = 0;
            cold.used[lane] = 0;
            (cold.min[lane], cold.max[lane], cold.step[lane]) = (1, i32::MAX, 1);
            cold.present &= clear;
            cold.stepped &= clear;
            self.settle(ClassId(class as u32), lane);
        }
        self.hosts[lane] = None;
    }

    pub(crate) fn tag_bytes(&self) -> usize {
        self.tags.capacity() * size_of::<Tagged>()
    }

    pub(crate) fn set_metric(&mut self, metric: ClassId, lane: usize, value: f32) {
        while self.metrics.len() <= metric.0 as usize {
            self.metrics.push([0.0; LANES]);
        }
        self.metrics[metric.0 as usize][lane] = value;
    }

    /// A metric of a host; 0 if it never said.
    pub(crate) fn metric(&self, metric: ClassId, lane: usize) -> f32 {
        self.metrics.get(metric.0 as usize).map_or(0.0, |values| values[lane])
    }
}

/// `bits` with one of them set or cleared.
pub(crate) const fn with_bit(bits: u64, lane: usize, on: bool) -> u64 {
    if on { bits | 1 << lane } else { bits & !(1 << lane) }
}

/// The places of the bits that are set.
pub(crate) fn lanes(mut bits: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let lane = bits.trailing_zeros() as usize;
        (bits != 0).then(|| {
            bits &= bits - 1;
            lane
        })
    })
}
