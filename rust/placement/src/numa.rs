//! Fitting a server's NUMA cells to a host's: pinned CPUs, pages, devices nearby.
use serde::{Deserialize, Serialize};

use crate::spec::{CellAsk, NumaAsk, NumaPolicy, PageAsk, ThreadPolicy};
use crate::tree::{Cell, Core};

/// Orders of host cells that are tried for one server.
const STEPS_MAX: u32 = 20_000;

/// What one cell of a server takes from a host cell.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CellFit {
    /// The host cell's number.
    pub cell: u16,
    /// CPUs that virtual CPUs are pinned to, in their order.
    pub pinned: Vec<u16>,
    /// CPUs kept idle because their siblings are pinned to.
    pub blocked: Vec<u16>,
    /// Virtual CPUs that float.
    pub shared: u16,
    /// Size of its pages in KiB; 0 without memory.
    pub page_kb: u64,
    /// Number of its pages.
    pub pages: i64,
}

/// A device that a request takes: how near it must be, and the cell it is near, if known.
pub(crate) type Device = (NumaPolicy, Option<u16>);

/// A host cell for each of the server's cells, with devices as near as their policies want.
///
/// Devices that would like to be near get their wish if that is possible at all.
pub(crate) fn fit(cells: &[Cell], ask: &NumaAsk, devices: &[Device]) -> Option<Vec<CellFit>> {
    let wishes = devices.iter().any(|(policy, _)| *policy == NumaPolicy::Preferred);
    let near = |strict: bool| Search { cells, ask, devices, strict, steps: 0 }.run();
    wishes.then(|| near(true)).flatten().or_else(|| near(false))
}

struct Search<'a> {
    cells: &'a [Cell],
    ask: &'a NumaAsk,
    devices: &'a [Device],
    /// Devices that would like to be near must be.
    strict: bool,
    steps: u32,
}

impl Search<'_> {
    fn run(mut self) -> Option<Vec<CellFit>> {
        let mut chosen = Vec::with_capacity(self.ask.cells.len());
        self.choose(&mut chosen).then(|| {
            let takes = chosen.iter().zip(&self.ask.cells).map(|(place, ask)| take(&self.cells[*place], ask, self.ask));
            takes.collect::<Option<Vec<_>>>()
        })?
    }

    /// The cells with the fewest free CPUs that do are tried first, so that big holes stay whole.
    fn choose(&mut self, chosen: &mut Vec<usize>) -> bool {
        let Some(ask) = self.ask.cells.get(chosen.len()) else { return self.devices_near(chosen) };
        let mut options: Vec<usize> = (0..self.cells.len()).filter(|place| !chosen.contains(place)).collect();
        options.retain(|place| take(&self.cells[*place], ask, self.ask).is_some());
        options.sort_by_key(|place| (free_threads(&self.cells[*place]), self.cells[*place].id));
        for place in options {
            self.steps += 1;
            if self.steps > STEPS_MAX {
                return false;
            }
            chosen.push(place);
            if self.choose(chosen) {
                return true;
            }
            chosen.pop();
        }
        false
    }

    fn devices_near(&self, chosen: &[usize]) -> bool {
        self.devices.iter().all(|(policy, near)| {
            let on_cell = || near.is_some_and(|near| chosen.iter().any(|place| self.cells[*place].id == near));
            match policy {
                NumaPolicy::Preferred => !self.strict || near.is_none() || on_cell(),
                NumaPolicy::Required => on_cell(),
                NumaPolicy::Legacy => near.is_none() || on_cell(),
                NumaPolicy::Socket => near.is_some_and(|near| self.on_socket(near, chosen)),
            }
        })
    }

    fn on_socket(&self, near: u16, chosen: &[usize]) -> bool {
        let device = self.cells.iter().find(|cell| cell.id == near);
        device.is_some_and(|device| chosen.iter().any(|place| self.cells[*place].socket == device.socket))
    }
}

fn free_threads(cell: &Cell) -> u32 {
    cell.cores.iter().map(|core| core.free.count_ones()).sum()
}

fn take(cell: &Cell, ask: &CellAsk, numa: &NumaAsk) -> Option<CellFit> {
    if cell.shared_used + i64::from(ask.shared) > cell.shared_total && ask.shared > 0 {
        return None;
    }
    let (pinned, blocked) = pin(&cell.cores, usize::from(ask.pinned), numa.thread_policy)?;
    let (page_kb, pages) = pages(cell, ask.memory_mb, numa.page)?;
    Some(CellFit { cell: cell.id, pinned, blocked, shared: ask.shared, page_kb, pages })
}

/// CPUs for `count` virtual ones, and those that must stay idle.
fn pin(cores: &[Core], count: usize, policy: ThreadPolicy) -> Option<(Vec<u16>, Vec<u16>)> {
    if count == 0 {
        return Some((Vec::new(), Vec::new()));
    }
    match policy {
        ThreadPolicy::Isolate => isolate(cores, count),
        ThreadPolicy::Require => require(cores, count).map(|pinned| (pinned, Vec::new())),
        ThreadPolicy::Prefer => prefer(cores, count).map(|pinned| (pinned, Vec::new())),
    }
}

fn is_whole(core: &Core) -> bool {
    core.free.count_ones() as usize == core.threads.len()
}

fn isolate(cores: &[Core], count: usize) -> Option<(Vec<u16>, Vec<u16>)> {
    let whole: Vec<&Core> = cores.iter().filter(|core| is_whole(core)).take(count).collect();
    if whole.len() < count {
        return None;
    }
    let pinned = whole.iter().map(|core| core.threads[0]).collect();
    let blocked = whole.iter().flat_map(|core| core.threads[1..].iter().copied()).collect();
    Some((pinned, blocked))
}

fn require(cores: &[Core], count: usize) -> Option<Vec<u16>> {
    let whole = cores.iter().filter(|core| core.threads.len() > 1 && is_whole(core));
    let pinned: Vec<u16> = whole.flat_map(|core| core.threads.iter().copied()).take(count).collect();
    (pinned.len() == count).then_some(pinned)
}

/// Whole cores while they are filled, the rest from cores already broken, then from whatever is free.
fn prefer(cores: &[Core], count: usize) -> Option<Vec<u16>> {
    let mut pinned = Vec::with_capacity(count);
    let whole: Vec<&Core> = cores.iter().filter(|core| is_whole(core)).collect();
    let mut unused = Vec::new();
    for core in whole {
        if pinned.len() + core.threads.len() <= count {
            pinned.extend_from_slice(&core.threads);
        } else {
            unused.extend_from_slice(&core.threads);
        }
    }
    let broken = cores.iter().filter(|core| !is_whole(core)).flat_map(free_cpus);
    let rest: Vec<u16> = broken.chain(unused).take(count - pinned.len()).collect();
    pinned.extend(rest);
    (pinned.len() == count).then_some(pinned)
}

fn free_cpus(core: &Core) -> impl Iterator<Item = u16> + '_ {
    let free = |(bit, cpu): (usize, &u16)| (core.free >> bit & 1 == 1).then_some(*cpu);
    core.threads.iter().enumerate().filter_map(free)
}

/// The page size and the number of pages that hold `memory_mb`.
fn pages(cell: &Cell, memory_mb: u64, ask: PageAsk) -> Option<(u64, i64)> {
    if memory_mb == 0 {
        return Some((0, 0));
    }
    let smallest = cell.pages.first()?.kb;
    let fits = |kb: u64, free: i64| {
        let memory_kb = memory_mb.checked_mul(1024)?;
        let count = i64::try_from(memory_kb / kb.max(1)).ok()?;
        (memory_kb % kb.max(1) == 0 && count <= free).then_some((kb, count))
    };
    let wanted = |kb: u64| match ask {
        PageAsk::Small => kb == smallest,
        PageAsk::Large => kb != smallest,
        PageAsk::Any => true,
        PageAsk::Kb(size) => kb == size,
    };
    let sizes = cell.pages.iter().rev().filter(|pages| wanted(pages.kb));
    sizes.filter_map(|pages| fits(pages.kb, pages.total - pages.used)).next()
}
