//! A claim: what one server takes, by name, to be stored, applied and given back.
use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::block::LANES;
use crate::error::PlacementError;
use crate::numa::CellFit;
use crate::spec::bounded;
use crate::symbols::ClassId;
use crate::table::HostTable;
use crate::tree::{Cell, Extra};

/// What one server takes.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Claim {
    /// The host.
    pub host: String,
    /// Amounts by provider and resource class; a provider outside the host's tree is a shared one.
    pub allocations: BTreeMap<String, BTreeMap<String, i64>>,
    /// Which providers answer each group (the empty name is the group without one).
    #[serde(default)]
    pub mappings: BTreeMap<String, Vec<String>>,
    /// NUMA cells, in the order of the server's own.
    #[serde(default)]
    pub cells: Vec<CellFit>,
    /// The server group that it is a member of.
    #[serde(default)]
    pub server_group: Option<String>,
}

/// One provider's class with the place to change it at.
struct Entry {
    slot: u32,
    place: usize,
    class: ClassId,
    amount: i64,
}

impl HostTable {
    /// Take what a claim says, all or nothing.
    ///
    /// # Errors
    /// [`PlacementError::NoRoom`] if it doesn't fit any more, [`PlacementError::NotFound`] if a provider is gone.
    /// Then nothing changed.
    pub fn claim(&mut self, claim: &Claim) -> Result<(), PlacementError> {
        let slot = self.slot(&claim.host)?;
        let entries = self.entries(claim)?;
        for entry in &entries {
            if !self.has_room(entry) {
                let class = self.symbols.class_name(entry.class);
                return Err(no_room(claim, format!("not enough {class} (asked {})", entry.amount)));
            }
        }
        if !self.cells_free(slot, &claim.cells) {
            return Err(no_room(claim, "its NUMA cells are taken"));
        }
        self.apply(slot, &entries, claim, 1);
        Ok(())
    }

    /// Give back what a claim took. Giving back twice leaves less used than is: don't.
    ///
    /// # Errors
    /// [`PlacementError::NotFound`] if the host or a provider is gone; then nothing changed.
    pub fn release(&mut self, claim: &Claim) -> Result<(), PlacementError> {
        let slot = self.slot(&claim.host)?;
        let entries = self.entries(claim)?;
        self.apply(slot, &entries, claim, -1);
        Ok(())
    }

    fn entries(&mut self, claim: &Claim) -> Result<Vec<Entry>, PlacementError> {
        let mut entries = Vec::with_capacity(claim.allocations.len());
        for (provider, amounts) in &claim.allocations {
            let slot = self.tree_of(provider).ok_or_else(|| PlacementError::no_provider(provider))?;
            let extra = self.host(slot).and_then(|host| host.extra.as_ref());
            let place = extra.and_then(|extra| extra.place(provider)).unwrap_or(0);
            for (class, amount) in amounts {
                let class = self.symbols.add_class(class);
                entries.push(Entry { slot, place, class, amount: *amount });
            }
        }
        Ok(entries)
    }

    fn has_room(&self, entry: &Entry) -> bool {
        let total = entry.amount;
        let (block, lane) = (&self.blocks[entry.slot as usize / LANES], entry.slot as usize % LANES);
        if let Some(extra) = self.host(entry.slot).and_then(|host| host.extra.as_ref()) {
            let stock = extra.providers[entry.place].stock(entry.class);
            return stock.is_some_and(|stock| stock.used.saturating_add(total) <= stock.capacity);
        }
        let cold = block.cold.get(entry.class.0 as usize);
        cold.is_some_and(|cold| {
            cold.present >> lane & 1 == 1 && cold.used[lane].saturating_add(total) <= cold.capacity[lane]
        })
    }

    fn cells_free(&self, slot: u32, fits: &[CellFit]) -> bool {
        let Some(extra) = self.host(slot).and_then(|host| host.extra.as_ref()) else { return fits.is_empty() };
        fits.iter().all(|fit| extra.cells.iter().any(|cell| cell.id == fit.cell && is_free(cell, fit)))
    }

    fn apply(&mut self, slot: u32, entries: &[Entry], claim: &Claim, sign: i64) {
        for entry in entries {
            self.change_class(entry.slot, entry.place, entry.class, |used| {
                used.saturating_add(entry.amount.saturating_mul(sign))
            });
            self.views.change(entry.slot, false);
        }
        self.apply_cells(slot, &claim.cells, sign);
        if let Some(group) = &claim.server_group {
            self.add_member_at(group, slot, sign as i32);
        }
    }

    /// Take (or give back) what cells give.
    pub(crate) fn apply_cells(&mut self, slot: u32, fits: &[CellFit], sign: i64) {
        if fits.is_empty() {
            return;
        }
        let block = Arc::make_mut(&mut self.blocks[slot as usize / LANES]);
        let host = block.hosts[slot as usize % LANES].as_mut();
        let Some(extra) = host.and_then(|host| host.extra.as_mut()) else { return };
        take_cells(Arc::make_mut(extra), fits, sign);
        self.views.change(slot, false);
    }

    /// Say what is taken of a host's NUMA cells, all of it: what isn't named is free.
    ///
    /// # Errors
    /// [`PlacementError::NotFound`] if the host isn't there, [`PlacementError::Wrong`] if it has no such cell.
    pub fn set_cells_used(&mut self, id: &str, taken: &[CellFit]) -> Result<(), PlacementError> {
        let slot = self.slot(id)?;
        let known = self.host(slot).and_then(|host| host.extra.as_ref()).map_or(&[][..], |extra| &extra.cells);
        if let Some(fit) = taken.iter().find(|fit| known.iter().all(|cell| cell.id != fit.cell)) {
            return Err(PlacementError::wrong(format!("host {id:?} has no NUMA cell {}", fit.cell)));
        }
        let block = Arc::make_mut(&mut self.blocks[slot as usize / LANES]);
        let host = block.hosts[slot as usize % LANES].as_mut();
        if let Some(extra) = host.and_then(|host| host.extra.as_mut()) {
            let extra = Arc::make_mut(extra);
            extra.cells.iter_mut().for_each(free_cell);
            take_cells(extra, taken, 1);
        }
        self.views.change(slot, false);
        Ok(())
    }
}

fn no_room(claim: &Claim, why: impl Into<String>) -> PlacementError {
    PlacementError::NoRoom { host: claim.host.clone(), why: why.into() }
}

fn is_free(cell: &Cell, fit: &CellFit) -> bool {
    let cpu_free = |cpu: &u16| cell.thread(*cpu).is_some_and(|(core, bit)| cell.cores[core].free & bit != 0);
    let pages_free = || {
        let pages = cell.pages.iter().find(|pages| pages.kb == fit.page_kb);
        pages.is_some_and(|pages| pages.used.saturating_add(fit.pages) <= pages.total)
    };
    fit.pinned.iter().chain(&fit.blocked).all(cpu_free)
        && cell.shared_used + i64::from(fit.shared) <= cell.shared_total.max(cell.shared_used)
        && (fit.pages == 0 || pages_free())
}

fn free_cell(cell: &mut Cell) {
    cell.shared_used = 0;
    cell.pages.iter_mut().for_each(|pages| pages.used = 0);
    for core in &mut cell.cores {
        core.free = (0xff_u16 >> (8 - core.threads.len())) as u8;
    }
}

fn take_cells(extra: &mut Extra, fits: &[CellFit], sign: i64) {
    for fit in fits {
        let Some(cell) = extra.cells.iter_mut().find(|cell| cell.id == fit.cell) else { continue };
        cell.shared_used += sign * i64::from(fit.shared);
        if let Some(pages) = cell.pages.iter_mut().find(|pages| pages.kb == fit.page_kb) {
            pages.used = bounded(pages.used.saturating_add(fit.pages.saturating_mul(sign)));
        }
        for cpu in fit.pinned.iter().chain(&fit.blocked) {
            let Some((core, bit)) = cell.thread(*cpu) else { continue };
            let core = &mut cell.cores[core];
            core.free = if sign > 0 { core.free & !bit } else { core.free | bit };
        }
    }
}
