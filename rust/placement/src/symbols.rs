//! Names as small numbers, for good: a number is never given to another name.
use std::sync::Arc;

use rustc_hash::FxHashMap;

/// A resource class or a metric, by its place in the order of first mention.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct ClassId(pub(crate) u32);

/// A trait, a zone or an aggregate: they sort in that order, so that the many aggregates stand behind what all blocks share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct TagId(pub(crate) u32);

/// Where a tag's number says of which kind it is.
const KIND_SHIFT: u32 = 30;

/// What a tag's name means. Names of different kinds never meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum TagKind {
    Trait,
    Zone,
    Aggregate,
}

impl ClassId {
    /// Stands for a name that no host has mentioned.
    pub(crate) const UNKNOWN: Self = Self(u32::MAX);
}

impl TagId {
    /// Stands for a name that no host has mentioned: nothing bears it.
    pub(crate) const UNKNOWN: Self = Self(u32::MAX);
}

/// The names a table has met. Cloning shares them until one side meets a new one.
#[derive(Debug, Clone, Default)]
pub(crate) struct Symbols {
    classes: Arc<FxHashMap<Arc<str>, ClassId>>,
    class_names: Arc<Vec<Arc<str>>>,
    tags: Arc<[FxHashMap<Arc<str>, TagId>; 3]>,
    metrics: Arc<FxHashMap<Arc<str>, ClassId>>,
}

impl Symbols {
    pub(crate) fn class(&self, name: &str) -> ClassId {
        self.classes.get(name).copied().unwrap_or(ClassId::UNKNOWN)
    }

    pub(crate) fn add_class(&mut self, name: &str) -> ClassId {
        let known = self.class(name);
        if known != ClassId::UNKNOWN {
            return known;
        }
        let id = ClassId(self.class_names.len() as u32);
        let name: Arc<str> = name.into();
        Arc::make_mut(&mut self.class_names).push(name.clone());
        Arc::make_mut(&mut self.classes).insert(name, id);
        id
    }

    /// The name behind a number that this table gave.
    pub(crate) fn class_name(&self, id: ClassId) -> &Arc<str> {
        &self.class_names[id.0 as usize]
    }

    pub(crate) fn classes(&self) -> usize {
        self.class_names.len()
    }

    pub(crate) fn tag(&self, kind: TagKind, name: &str) -> TagId {
        self.tags[kind as usize].get(name).copied().unwrap_or(TagId::UNKNOWN)
    }

    pub(crate) fn add_tag(&mut self, kind: TagKind, name: &str) -> TagId {
        let known = self.tag(kind, name);
        if known != TagId::UNKNOWN {
            return known;
        }
        let id = TagId((kind as u32) << KIND_SHIFT | self.tags[kind as usize].len() as u32);
        Arc::make_mut(&mut self.tags)[kind as usize].insert(name.into(), id);
        id
    }

    pub(crate) fn metric(&self, name: &str) -> ClassId {
        self.metrics.get(name).copied().unwrap_or(ClassId::UNKNOWN)
    }

    pub(crate) fn add_metric(&mut self, name: &str) -> ClassId {
        let known = self.metric(name);
        if known != ClassId::UNKNOWN {
            return known;
        }
        let id = ClassId(self.metrics.len() as u32);
        Arc::make_mut(&mut self.metrics).insert(name.into(), id);
        id
    }
}
