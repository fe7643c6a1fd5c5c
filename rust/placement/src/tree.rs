//! Hosts that are more than one provider: nested providers and NUMA cells.
use std::collections::BTreeMap;
use std::sync::Arc;

use crate::block::TreeSum;
use crate::error::PlacementError;
use crate::spec::{CellSpec, HostSpec, Inventories, ProviderSpec, bounded};
use crate::symbols::{ClassId, Symbols, TagId, TagKind};

/// One class of one provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stock {
    pub(crate) class: ClassId,
    pub(crate) capacity: i64,
    pub(crate) used: i64,
    pub(crate) min: i64,
    pub(crate) max: i64,
    pub(crate) step: i64,
}

impl Stock {
    /// A request for `amount` by itself is one that this stock may answer.
    pub(crate) fn gives(&self, amount: i64) -> bool {
        self.in_units(amount) && amount <= self.max && self.used.saturating_add(amount) <= self.capacity
    }

    /// `amount` is one that this stock is given in.
    pub(crate) fn in_units(&self, amount: i64) -> bool {
        amount >= self.min && amount % self.step == 0
    }
}

/// One provider of a tree.
#[derive(Debug, Clone)]
pub(crate) struct Provider {
    pub(crate) id: Arc<str>,
    /// Its parent's place in the tree.
    pub(crate) parent: Option<u16>,
    pub(crate) stocks: Vec<Stock>,
    pub(crate) traits: Vec<TagId>,
    pub(crate) aggregates: Vec<TagId>,
    pub(crate) cell: Option<u16>,
}

impl Provider {
    pub(crate) fn stock(&self, class: ClassId) -> Option<&Stock> {
        self.stocks.iter().find(|stock| stock.class == class)
    }

    fn stock_mut(&mut self, class: ClassId) -> &mut Stock {
        let place = self.stocks.iter().position(|stock| stock.class == class).unwrap_or_else(|| {
            // Usage of a class that has no inventory (yet): nothing is given from it.
            self.stocks.push(Stock { class, capacity: 0, used: 0, min: 1, max: 0, step: 1 });
            self.stocks.len() - 1
        });
        &mut self.stocks[place]
    }
}

/// CPUs of a cell that servers may be pinned to.
#[derive(Debug, Clone)]
pub(crate) struct Core {
    /// Thread siblings.
    pub(crate) threads: Vec<u16>,
    /// Which of them are free, one bit each.
    pub(crate) free: u8,
}

/// Pages of one size.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pages {
    pub(crate) kb: u64,
    pub(crate) total: i64,
    pub(crate) used: i64,
}

/// One NUMA cell.
#[derive(Debug, Clone)]
pub(crate) struct Cell {
    pub(crate) id: u16,
    pub(crate) socket: u16,
    pub(crate) cores: Vec<Core>,
    pub(crate) shared_total: i64,
    pub(crate) shared_used: i64,
    /// The smallest first.
    pub(crate) pages: Vec<Pages>,
}

impl Cell {
    /// The core and the bit of a CPU of this cell.
    pub(crate) fn thread(&self, cpu: u16) -> Option<(usize, u8)> {
        self.cores.iter().enumerate().find_map(|(place, core)| {
            let bit = core.threads.iter().position(|thread| *thread == cpu)?;
            Some((place, 1 << bit))
        })
    }
}

/// Everything about a host that doesn't fit in one lane. `providers[0]` is the root.
#[derive(Debug, Clone)]
pub(crate) struct Extra {
    pub(crate) providers: Vec<Provider>,
    pub(crate) cells: Vec<Cell>,
}

impl Extra {
    /// Read a host's tree. What is used in `before` stays used where the provider and the class are still there.
    pub(crate) fn read(
        id: &Arc<str>,
        spec: &HostSpec,
        symbols: &mut Symbols,
        before: Option<&Extra>,
    ) -> Result<Self, PlacementError> {
        let root = Provider {
            id: id.clone(),
            parent: None,
            stocks: stocks(&spec.inventories, symbols),
            traits: tags(&spec.traits, TagKind::Trait, symbols),
            aggregates: tags(&spec.aggregates, TagKind::Aggregate, symbols),
            cell: None,
        };
        let mut extra = Self { providers: vec![root], cells: cells(&spec.numa)? };
        for provider in &spec.providers {
            extra.add_provider(provider, symbols)?;
        }
        if let Some(before) = before {
            extra.keep_used(before);
        }
        Ok(extra)
    }

    fn add_provider(&mut self, spec: &ProviderSpec, symbols: &mut Symbols) -> Result<(), PlacementError> {
        let parent = match &spec.parent {
            None => 0,
            Some(parent) => self.place(parent).ok_or_else(|| {
                PlacementError::wrong(format!("provider {:?} comes before its parent {parent:?}", spec.id))
            })?,
        };
        if self.place(&spec.id).is_some() || self.providers.len() > usize::from(u16::MAX) {
            return Err(PlacementError::wrong(format!("provider {:?} is there twice, or too many are", spec.id)));
        }
        self.providers.push(Provider {
            id: spec.id.as_str().into(),
            parent: Some(parent as u16),
            stocks: stocks(&spec.inventories, symbols),
            traits: tags(&spec.traits, TagKind::Trait, symbols),
            aggregates: tags(&spec.aggregates, TagKind::Aggregate, symbols),
            cell: spec.numa_cell,
        });
        Ok(())
    }

    fn keep_used(&mut self, before: &Extra) {
        for old in &before.providers {
            let Some(place) = self.place(&old.id) else { continue };
            for stock in old.stocks.iter().filter(|stock| stock.used != 0) {
                self.providers[place].stock_mut(stock.class).used = stock.used;
            }
        }
        for old in &before.cells {
            if let Some(cell) = self.cells.iter_mut().find(|cell| cell.id == old.id) {
                keep_cell(cell, old);
            }
        }
    }

    /// Where in the tree a provider is.
    pub(crate) fn place(&self, id: &str) -> Option<usize> {
        self.providers.iter().position(|provider| &*provider.id == id)
    }

    /// The sum of a class over the tree, if any provider has it.
    pub(crate) fn sum(&self, class: ClassId) -> Option<TreeSum> {
        let stocks = self.providers.iter().filter_map(|provider| provider.stock(class));
        stocks.fold(None, |sum, stock| {
            let sum = sum.unwrap_or_default();
            Some(TreeSum {
                capacity: sum.capacity + stock.capacity,
                used: sum.used + stock.used,
                room: sum.room + (stock.capacity - stock.used).max(0),
            })
        })
    }

    /// Every class that the tree mentions.
    pub(crate) fn classes(&self) -> Vec<ClassId> {
        let mut classes: Vec<ClassId> =
            self.providers.iter().flat_map(|provider| provider.stocks.iter().map(|stock| stock.class)).collect();
        classes.sort_unstable();
        classes.dedup();
        classes
    }

    /// Bytes that it holds, nearly.
    pub(crate) fn bytes(&self) -> usize {
        let provider = |provider: &Provider| {
            size_of::<Provider>()
                + provider.id.len()
                + provider.stocks.capacity() * size_of::<Stock>()
                + (provider.traits.capacity() + provider.aggregates.capacity()) * size_of::<TagId>()
        };
        let cell = |cell: &Cell| {
            let cores = cell.cores.iter().map(|core| size_of::<Core>() + core.threads.capacity() * size_of::<u16>());
            size_of::<Cell>() + cores.sum::<usize>() + cell.pages.capacity() * size_of::<Pages>()
        };
        self.providers.iter().map(provider).sum::<usize>() + self.cells.iter().map(cell).sum::<usize>()
    }

    pub(crate) fn used_mut(&mut self, place: usize, class: ClassId) -> &mut i64 {
        &mut self.providers[place].stock_mut(class).used
    }
}

fn keep_cell(cell: &mut Cell, old: &Cell) {
    cell.shared_used = old.shared_used;
    for pages in &mut cell.pages {
        pages.used = old.pages.iter().find(|known| known.kb == pages.kb).map_or(0, |known| known.used);
    }
    for core in &mut cell.cores {
        for (bit, cpu) in core.threads.iter().enumerate() {
            let taken = old.thread(*cpu).is_some_and(|(place, mask)| old.cores[place].free & mask == 0);
            core.free &= !(u8::from(taken) << bit);
        }
    }
}

pub(crate) fn stocks(inventories: &Inventories, symbols: &mut Symbols) -> Vec<Stock> {
    let read = inventories.iter().map(|(class, inventory)| Stock {
        class: symbols.add_class(class),
        capacity: inventory.capacity(),
        used: 0,
        min: inventory.min_unit,
        max: inventory.max_unit,
        step: inventory.step_size.max(1),
    });
    read.collect()
}

pub(crate) fn tags(names: &[String], kind: TagKind, symbols: &mut Symbols) -> Vec<TagId> {
    names.iter().map(|name| symbols.add_tag(kind, name)).collect()
}

fn cells(specs: &[CellSpec]) -> Result<Vec<Cell>, PlacementError> {
    let mut seen = BTreeMap::new();
    for spec in specs {
        if seen.insert(spec.id, ()).is_some() {
            return Err(PlacementError::wrong(format!("NUMA cell {} is there twice", spec.id)));
        }
        if spec.cores.iter().any(|core| core.is_empty() || core.len() > 8) {
            return Err(PlacementError::wrong(format!("NUMA cell {}: a core has 1 to 8 threads", spec.id)));
        }
    }
    let core = |threads: &Vec<u16>| Core { threads: threads.clone(), free: (0xff_u16 >> (8 - threads.len())) as u8 };
    let read = specs.iter().map(|spec| Cell {
        id: spec.id,
        socket: spec.socket,
        cores: spec.cores.iter().map(core).collect(),
        shared_total: bounded(spec.shared_vcpus),
        shared_used: 0,
        pages: spec.pages.iter().map(|(kb, total)| Pages { kb: *kb, total: bounded(*total), used: 0 }).collect(),
    });
    Ok(read.collect())
}
