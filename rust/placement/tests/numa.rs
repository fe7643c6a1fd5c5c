//! NUMA cells: pinned CPUs, pages, devices nearby.

#![allow(clippy::unwrap_used, reason = "a panic here is a failed test")]

use std::collections::{BTreeMap, BTreeSet};

use ostro_placement::{
    CellAsk, CellFit, CellSpec, Explain, Group, HostSpec, HostTable, Inventory, NumaAsk, NumaPolicy, PageAsk,
    ProviderSpec, Request, ThreadPolicy,
};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

fn inventory(total: i64) -> Inventory {
    Inventory { total, reserved: 0, min_unit: 1, max_unit: total, step_size: 1, allocation_ratio: 1.0 }
}

fn inventories(of: &[(&str, i64)]) -> BTreeMap<String, Inventory> {
    of.iter().map(|(class, total)| ((*class).to_owned(), inventory(*total))).collect()
}

/// Two cells of four cores with two threads, 1 GiB of small pages and 1 GiB of 2 MiB pages each, a GPU on cell 1.
fn host() -> HostSpec {
    let cell = |id: u16| CellSpec {
        id,
        socket: id,
        cores: (0..4).map(|core| vec![id * 8 + core, id * 8 + core + 4]).collect(),
        shared_vcpus: 16,
        pages: BTreeMap::from([(4, 262_144), (2048, 512)]),
    };
    let gpu = ProviderSpec {
        id: "gpu".to_owned(),
        parent: None,
        inventories: inventories(&[("PGPU", 2)]),
        traits: Vec::new(),
        aggregates: Vec::new(),
        numa_cell: Some(1),
    };
    HostSpec {
        inventories: inventories(&[("PCPU", 16), ("VCPU", 32)]),
        traits: Vec::new(),
        aggregates: Vec::new(),
        az: None,
        enabled: true,
        maintenance: false,
        metrics: BTreeMap::new(),
        providers: vec![gpu],
        numa: vec![cell(0), cell(1)],
    }
}

fn table() -> HostTable {
    let mut table = HostTable::new();
    table.set_host("host", &host()).unwrap();
    table
}

fn request(pinned: &[u16], memory_mb: u64, thread_policy: ThreadPolicy, page: PageAsk) -> Request {
    let cells = pinned.iter().map(|pinned| CellAsk { pinned: *pinned, shared: 0, memory_mb }).collect();
    Request {
        resources: BTreeMap::from([("PCPU".to_owned(), pinned.iter().map(|count| i64::from(*count)).sum())]),
        numa: Some(NumaAsk { cells, thread_policy, page }),
        ..Request::default()
    }
}

fn fit(table: &mut HostTable, request: &Request) -> Result<Vec<CellFit>, String> {
    let decision = table.place(request, 0, 1, Explain::IfNone).unwrap();
    let claim = decision.claim(0).ok_or_else(|| decision.rejected[0].sentence())?;
    table.claim(&claim).unwrap();
    Ok(claim.cells)
}

#[test]
fn siblings_lie_together_and_cells_are_packed() {
    let mut table = table();
    let cells = fit(&mut table, &request(&[2], 256, ThreadPolicy::Prefer, PageAsk::Small)).unwrap();
    assert_eq!((cells[0].cell, cells[0].pinned.clone()), (0, vec![0, 4]));
    assert_eq!((cells[0].page_kb, cells[0].pages), (4, 65_536));
    // The cell that is already broken is filled first.
    let cells = fit(&mut table, &request(&[3], 256, ThreadPolicy::Prefer, PageAsk::Any)).unwrap();
    assert_eq!((cells[0].cell, cells[0].pinned.clone()), (0, vec![1, 5, 2]));
    assert_eq!((cells[0].page_kb, cells[0].pages), (2048, 128));
}

#[test]
fn isolation_keeps_siblings_idle() {
    let mut table = table();
    let cells = fit(&mut table, &request(&[3], 0, ThreadPolicy::Isolate, PageAsk::Small)).unwrap();
    assert_eq!(cells[0].pinned, [0, 1, 2]);
    assert_eq!(cells[0].blocked, [4, 5, 6]);
    let error = fit(&mut table, &request(&[5], 0, ThreadPolicy::Isolate, PageAsk::Small)).unwrap_err();
    assert_eq!(error, "1 host: NUMA topology of 1 cell(s) doesn't fit");
}

#[test]
fn each_of_a_server_s_cells_has_one_of_its_own() {
    let mut table = table();
    let cells = fit(&mut table, &request(&[8, 8], 0, ThreadPolicy::Require, PageAsk::Small)).unwrap();
    assert_eq!(cells.iter().map(|cell| cell.cell).collect::<BTreeSet<_>>(), BTreeSet::from([0, 1]));
    assert!(fit(&mut table, &request(&[1], 0, ThreadPolicy::Prefer, PageAsk::Small)).is_err());
}

#[test]
fn pages_run_out() {
    let mut table = table();
    let huge = request(&[1], 768, ThreadPolicy::Prefer, PageAsk::Large);
    assert_eq!(fit(&mut table, &huge).unwrap()[0].page_kb, 2048);
    assert_eq!(fit(&mut table, &huge).unwrap()[0].cell, 1);
    assert!(fit(&mut table, &huge).is_err());
    let gigantic = request(&[1], 1024, ThreadPolicy::Prefer, PageAsk::Kb(1_048_576));
    assert!(fit(&mut table, &gigantic).is_err());
}

#[test]
fn a_device_draws_the_server_to_its_cell() {
    for (policy, expected) in [(NumaPolicy::Required, 1), (NumaPolicy::Preferred, 1), (NumaPolicy::Socket, 1)] {
        let mut request = request(&[2], 0, ThreadPolicy::Prefer, PageAsk::Small);
        let gpu =
            Group { resources: BTreeMap::from([("PGPU".to_owned(), 1)]), numa_policy: policy, ..Group::default() };
        request.groups.insert("_gpu".to_owned(), gpu);
        let cells = fit(&mut table(), &request).unwrap();
        assert_eq!(cells[0].cell, expected, "{policy:?}");
        // Where there is no room nearby, only a wish gives way.
        let mut full = table();
        let all =
            vec![CellFit { cell: 1, pinned: (8..16).collect(), blocked: Vec::new(), shared: 0, page_kb: 0, pages: 0 }];
        full.set_cells_used("host", &all).unwrap();
        assert_eq!(fit(&mut full, &request).is_ok(), policy == NumaPolicy::Preferred, "{policy:?}");
    }
}

#[test]
fn what_is_released_is_free_again() {
    let mut table = table();
    let request = request(&[8], 512, ThreadPolicy::Prefer, PageAsk::Any);
    let first = table.place(&request, 0, 1, Explain::Never).unwrap().claim(0).unwrap();
    table.claim(&first).unwrap();
    assert!(table.claim(&first).is_err(), "the same CPUs twice");
    table.release(&first).unwrap();
    let again = table.place(&request, 0, 1, Explain::Never).unwrap().claim(0).unwrap();
    assert_eq!(again, first);
}

#[test]
fn what_is_taken_survives_a_new_description_of_the_host() {
    let mut table = table();
    let claim = table
        .place(&request(&[8], 0, ThreadPolicy::Prefer, PageAsk::Small), 0, 1, Explain::Never)
        .unwrap()
        .claim(0)
        .unwrap();
    table.claim(&claim).unwrap();
    table.set_host("host", &host()).unwrap();
    let both = request(&[8, 1], 0, ThreadPolicy::Prefer, PageAsk::Small);
    assert!(fit(&mut table, &both).is_err());
    table.release(&claim).unwrap();
    assert!(fit(&mut table, &both).is_ok());
}

/// (threads of a core, how many cores) for each cell.
fn cells() -> impl Strategy<Value = Vec<(usize, usize)>> {
    vec((1..=3_usize, 0..4_usize), 1..4)
}

/// A cell could serve so many pinned CPUs if it were alone.
fn room(cell: &CellSpec, taken: &BTreeSet<u16>, policy: ThreadPolicy) -> usize {
    let whole = |core: &&Vec<u16>| core.iter().all(|cpu| !taken.contains(cpu));
    match policy {
        ThreadPolicy::Prefer => cell.cores.iter().flatten().filter(|cpu| !taken.contains(cpu)).count(),
        ThreadPolicy::Isolate => cell.cores.iter().filter(whole).count(),
        ThreadPolicy::Require => cell.cores.iter().filter(|core| core.len() > 1).filter(whole).map(Vec::len).sum(),
    }
}

/// Some order of host cells serves the asks.
fn possible(rooms: &[usize], asks: &[u16]) -> bool {
    let Some((ask, rest)) = asks.split_first() else { return true };
    (0..rooms.len()).any(|at| {
        let mut others = rooms.to_vec();
        let room = others.remove(at);
        room >= usize::from(*ask) && possible(&others, rest)
    })
}

proptest! {
    #[test]
    fn cpus_are_given_once_and_whenever_it_is_possible(
        layout in cells(),
        asks in vec((vec(1..5_u16, 1..3), select(vec![ThreadPolicy::Prefer, ThreadPolicy::Isolate, ThreadPolicy::Require])), 1..8),
    ) {
        let mut next = 0;
        let mut core = |threads: usize| (0..threads).map(|_| { next += 1; next }).collect::<Vec<u16>>();
        let cells: Vec<CellSpec> = layout.iter().enumerate().map(|(id, (threads, count))| CellSpec {
            id: id as u16,
            socket: 0,
            cores: (0..*count).map(|_| core(*threads)).collect(),
            shared_vcpus: 0,
            pages: BTreeMap::new(),
        }).collect();
        let mut table = HostTable::new();
        let spec = HostSpec { inventories: inventories(&[("PCPU", 1000)]), providers: Vec::new(), numa: cells.clone(), ..host() };
        table.set_host("host", &spec).unwrap();
        let mut taken: BTreeSet<u16> = BTreeSet::new();
        for (pinned, policy) in asks {
            let rooms: Vec<usize> = cells.iter().map(|cell| room(cell, &taken, policy)).collect();
            let fitted = fit(&mut table, &request(&pinned, 0, policy, PageAsk::Small));
            prop_assert_eq!(fitted.is_ok(), possible(&rooms, &pinned), "{:?} {:?}", rooms, pinned);
            for (cell, ask) in fitted.unwrap_or_default().iter().zip(&pinned) {
                prop_assert_eq!(cell.pinned.len(), usize::from(*ask));
                for cpu in cell.pinned.iter().chain(&cell.blocked) {
                    prop_assert!(taken.insert(*cpu), "{} twice", cpu);
                    prop_assert!(cells[usize::from(cell.cell)].cores.iter().flatten().any(|own| own == cpu));
                }
            }
        }
    }
}
