//! The views of a table and the log of changes that they follow.
use std::sync::Arc;

use rustc_hash::FxHashMap;

use crate::block::{Block, LANES};
use crate::shape::Shape;
use crate::sharing::{Reach, Shared};
use crate::tree::Provider;
use crate::view::View;

/// Views kept at once; each holds about 4.5 bytes a host. The one asked longest ago makes room.
const VIEWS_MAX: usize = 32;
/// Changes kept; a view that missed more is built anew.
const LOG_MAX: usize = 4096;
/// Set in the log for a change of more than what is used.
const WHOLE: u32 = 1 << 31;

/// The views of a table and the log of changes that they follow.
#[derive(Debug, Default)]
pub(crate) struct Views {
    views: Vec<View>,
    by_shape: FxHashMap<Arc<Shape>, usize>,
    /// Slots in the order of their changes; the first is change number `base`.
    log: Vec<u32>,
    base: u64,
    calls: u64,
}

impl Views {
    /// A host changed. `whole`: not only what is used of it.
    pub(crate) fn change(&mut self, slot: u32, whole: bool) {
        if self.views.is_empty() {
            return;
        }
        if self.log.len() >= LOG_MAX {
            self.log.drain(..LOG_MAX / 2);
            self.base += LOG_MAX as u64 / 2;
        }
        self.log.push(if whole { slot | WHOLE } else { slot });
    }

    /// The place of the view of this shape, current as of now.
    pub(crate) fn current(&mut self, shape: &Arc<Shape>, blocks: &[Arc<Block>], sharing: &[Shared]) -> usize {
        self.calls += 1;
        let now = self.base + self.log.len() as u64;
        let reach = reach(shape, blocks, sharing);
        let Some(at) = self.by_shape.get(shape).copied() else {
            let at = self.room_for(shape);
            self.views[at].begin(shape.clone(), reach, blocks, now);
            self.views[at].asked_at = self.calls;
            return at;
        };
        let view = &mut self.views[at];
        view.asked_at = self.calls;
        let missed = now - view.version;
        if view.reach != reach || view.version < self.base || missed as usize > blocks.len() * LANES / 8 {
            view.begin(shape.clone(), reach, blocks, now);
            return at;
        }
        view.grow(blocks);
        for entry in &self.log[(view.version - self.base) as usize..] {
            let slot = entry & !WHOLE;
            view.refresh(slot, entry & WHOLE != 0, blocks);
            if sharing.iter().any(|shared| shared.slot == slot) {
                view.rule_in(blocks);
            }
        }
        view.version = now;
        at
    }

    /// A view that may be made this shape's: a new one, or the one asked longest ago, whose memory is used again.
    fn room_for(&mut self, shape: &Arc<Shape>) -> usize {
        let at = if self.views.len() < VIEWS_MAX {
            self.views.push(View::new(shape.clone()));
            self.views.len() - 1
        } else {
            let oldest = self.views.iter().enumerate().min_by_key(|(_, view)| view.asked_at);
            let at = oldest.map_or(0, |(at, _)| at);
            self.by_shape.remove(&self.views[at].shape);
            at
        };
        self.by_shape.insert(shape.clone(), at);
        at
    }

    pub(crate) fn get(&mut self, at: usize) -> &mut View {
        &mut self.views[at]
    }

    pub(crate) fn bytes(&self) -> usize {
        self.views.iter().map(View::bytes).sum::<usize>() + self.log.capacity() * size_of::<u32>()
    }
}

/// What the shared providers mean for a shape now.
pub(crate) fn reach(shape: &Shape, blocks: &[Arc<Block>], sharing: &[Shared]) -> Reach {
    Reach::new(shape, sharing.iter().filter_map(|shared| shared_provider(blocks, shared)))
}

fn shared_provider<'a>(blocks: &'a [Arc<Block>], shared: &Shared) -> Option<&'a Provider> {
    let host = blocks[shared.slot as usize / LANES].hosts[shared.slot as usize % LANES].as_ref()?;
    host.extra.as_ref()?.providers.get(usize::from(shared.place))
}
