//! Sixty-four hosts side by side: the unit of scanning, of copying and of change.
//!
//! Numbers of one resource class lie in [`Hot`] and [`Cold`] lanes, one lane a host; yes-or-no facts are bits
//! of a `u64`, one bit a host. A scan touches the hot lanes of the classes asked for and a few words of bits.
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

/// Sixty-four hosts.
#[derive(Debug, Clone)]
pub(crate) struct Block {
    pub(crate) hot: Vec<Hot>,
    pub(crate) cold: Vec<Cold>,
    /// The tags that a host here bears, in order; of a tree, any provider counts.
    tags: Vec<TagId>,
    /// Which hosts bear each.
    bearers: Vec<u64>,
    pub(crate) metrics: Vec<[f32; LANES]>,
    pub(crate) enabled: u64,
    /// Hosts that may give a class only in certain amounts, and all that do.
    pub(crate) stepped: u64,
    pub(crate) maintenance: u64,
    /// Hosts that are more than one provider.
    pub(crate) nested: u64,
    /// Hosts with NUMA cells.
    pub(crate) celled: u64,
    pub(crate) hashes: [u32; LANES],
    pub(crate) hosts: [Option<Host>; LANES],
}

impl Block {
    pub(crate) fn new() -> Self {
        Self {
            hot: Vec::new(),
            cold: Vec::new(),
            tags: Vec::new(),
            bearers: Vec::new(),
            metrics: Vec::new(),
            enabled: 0,
            stepped: 0,
            maintenance: 0,
            nested: 0,
            celled: 0,
            hashes: [0; LANES],
            hosts: [const { None }; LANES],
        }
    }

    /// Hosts that bear a tag.
    pub(crate) fn tagged(&self, tag: TagId) -> u64 {
        self.tags.binary_search(&tag).map_or(0, |place| self.bearers[place])
    }

    /// The same, with a guess where the tag stands, made better. Blocks hold much the same traits and zones, in the same places, and
    /// looking where the block before had one keeps a scan from waiting for a search in each.
    #[inline]
    pub(crate) fn tagged_near(&self, tag: TagId, guess: &mut usize) -> u64 {
        if self.tags.get(*guess) == Some(&tag) {
            return self.bearers[*guess];
        }
        let Ok(place) = self.tags.binary_search(&tag) else { return 0 };
        *guess = place;
        self.bearers[place]
    }

    /// Hosts that bear any of these.
    pub(crate) fn tagged_any(&self, tags: &[TagId]) -> u64 {
        tags.iter().fold(0, |hosts, tag| hosts | self.tagged(*tag))
    }

    pub(crate) fn add_tag(&mut self, lane: usize, tag: TagId) {
        match self.tags.binary_search(&tag) {
            Ok(place) => self.bearers[place] |= 1 << lane,
            Err(place) => {
                self.tags.insert(place, tag);
                self.bearers.insert(place, 1 << lane);
            }
        }
    }

    fn drop_tags(&mut self, lane: usize) {
        self.bearers.iter_mut().for_each(|hosts| *hosts &= !(1 << lane));
        let mut bearers = self.bearers.iter();
        self.tags.retain(|_| bearers.next().is_some_and(|hosts| *hosts != 0));
        self.bearers.retain(|hosts| *hosts != 0);
    }

    /// Make lanes for a class if there are none.
    pub(crate) fn make_class(&mut self, class: ClassId) {
        while self.hot.len() <= class.0 as usize {
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
        let hot = &mut self.hot[class.0 as usize];
        hot.room[lane] = sum.room.clamp(i64::from(i32::MIN), i64::from(i32::MAX)) as i32;
        hot.inverse[lane] = if sum.capacity > 0 { 1.0 / sum.capacity as f32 } else { 0.0 };
        hot.share[lane] = (sum.capacity - sum.used) as f32 * hot.inverse[lane];
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
        self.tags.capacity() * size_of::<TagId>() + self.bearers.capacity() * size_of::<u64>()
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
