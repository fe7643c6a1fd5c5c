//! Changes that are sent together, in the order in which they may be carried out: a flow that names a group needs it to be there.

use ostro_flow::Diff;

use crate::event::{Counts, in_words};
use crate::group::GroupChange;
use crate::wire::Writer;

/// See the module.
#[derive(Default)]
pub struct Batch {
    /// Groups that come or change.
    groups: Vec<GroupChange>,
    flows: Diff,
    /// Groups that go.
    gone: Vec<GroupChange>,
}

impl Batch {
    /// Orders them.
    pub fn new(groups: Vec<GroupChange>, flows: Diff) -> Self {
        let (gone, groups) = groups.into_iter().partition(|change| matches!(change, GroupChange::Remove(_)));
        Self { groups, flows, gone }
    }

    pub fn is_empty(&self) -> bool {
        self.groups.is_empty() && self.flows.is_empty() && self.gone.is_empty()
    }

    /// Writes each change by `put`, which is given what writes it.
    pub fn each(&self, mut put: impl FnMut(&dyn Fn(&mut Writer, u32))) {
        self.groups.iter().for_each(|change| put(&|out, xid| out.group_mod(xid, change)));
        self.flows.iter().for_each(|change| put(&|out, xid| out.flow_mod(xid, change)));
        self.gone.iter().for_each(|change| put(&|out, xid| out.group_mod(xid, change)));
    }

    /// The change that was written as number `index`, in words.
    pub fn words(&self, index: usize) -> Option<String> {
        let flow = |index: usize| self.flows.get(index).map(in_words);
        let gone = |index: usize| self.gone.get(index.checked_sub(self.flows.len())?).map(group_in_words);
        let Some(later) = index.checked_sub(self.groups.len()) else {
            return self.groups.get(index).map(group_in_words);
        };
        flow(later).or_else(|| gone(later))
    }

    pub fn counts(&self) -> Counts {
        let counts = Counts::of(&self.flows);
        let added = self.groups.iter().filter(|change| matches!(change, GroupChange::Add(..))).count();
        Counts {
            added: counts.added + added as u64,
            changed: counts.changed + (self.groups.len() - added) as u64,
            removed: counts.removed + self.gone.len() as u64,
        }
    }

    /// What differs, in words, seen from the switch: lines for groups, then for flows.
    pub fn drift(&self) -> Vec<String> {
        let line = |change: &GroupChange| {
            let how = match change {
                GroupChange::Add(..) => "missing",
                GroupChange::Remove(_) => "unwanted",
                GroupChange::Replace(..) | GroupChange::Insert { .. } | GroupChange::Take(..) => "different",
            };
            format!("{how}: {}", group_in_words(change))
        };
        let mut lines: Vec<String> = self.groups.iter().chain(&self.gone).map(line).collect();
        lines.dedup();
        lines.extend(crate::event::drift(&self.flows));
        lines
    }
}

fn group_in_words(change: &GroupChange) -> String {
    format!("group {}", change.group())
}
