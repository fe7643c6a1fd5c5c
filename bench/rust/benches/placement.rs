//! Placement's budgets: decisions, batches, deltas, memory.
//!
//! The table: four resource classes, 12 of 40 traits on each host, three zones, hosts up to 80% full. The requests: 24 flavors
//! times traits. Before each decision a host changes, as it would when servers come and go, and each has a seed of its own.
//! The floor of a decision is a copy of the columns that a full scan would have to read, of every host, once.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a bench that can't go on says why and ends")]

use std::collections::BTreeMap;
use std::hint::black_box;

use ostro_bench::{Bench, Figure, Numbers, ROUNDS, median, percentile, processor_time, resident_bytes, wanted};
use ostro_placement::{Explain, HostSpec, HostTable, Inventory, Mode, Order, Request};

const CLASSES: [(&str, i64, f64); 4] = [
    ("VCPU", 64, 4.0),
    ("MEMORY_MB", 524_288, 1.0),
    ("DISK_GB", 4000, 1.0),
    ("NET_BW_EGR_KILOBIT_PER_SEC", 10_000_000, 1.0),
];
const TRAITS: usize = 40;
const DECISIONS: usize = 20_000;

fn id(host: usize) -> String {
    format!("3f2b8c1e-5a4d-4e6f-9a7b-{host:012}")
}

fn host(numbers: &mut Numbers) -> HostSpec {
    let inventory = |(class, total, ratio): (&str, i64, f64)| {
        let inventory = Inventory {
            total,
            reserved: total / 32,
            min_unit: 1,
            max_unit: total,
            step_size: 1,
            allocation_ratio: ratio,
        };
        (class.to_owned(), inventory)
    };
    let mut traits: Vec<String> = (0..12).map(|_| format!("CUSTOM_T{}", numbers.below(TRAITS as u64))).collect();
    traits.sort();
    traits.dedup();
    HostSpec {
        inventories: CLASSES.into_iter().map(inventory).collect(),
        traits,
        aggregates: vec![format!("rack-{}", numbers.below(200))],
        az: Some(format!("az{}", numbers.below(3))),
        enabled: true,
        maintenance: false,
        metrics: BTreeMap::new(),
        providers: Vec::new(),
        numa: Vec::new(),
    }
}

fn table(hosts: usize) -> HostTable {
    let mut numbers = Numbers(7);
    let mut table = HostTable::new();
    for at in 0..hosts {
        table.set_host(&id(at), &host(&mut numbers)).unwrap();
        let share = numbers.below(80);
        let used = CLASSES.map(|(class, total, ratio)| (class, (total as f64 * ratio) as i64 * share as i64 / 100));
        table.set_used(&id(at), None, &used).unwrap();
    }
    table
}

/// One of 24 flavors that are asked for all the time.
fn request(kind: usize) -> Request {
    let size = 1 << (kind % 4);
    let amounts =
        [("VCPU", size), ("MEMORY_MB", 4096 * size), ("DISK_GB", 40 * size), ("NET_BW_EGR_KILOBIT_PER_SEC", 10_000)];
    Request {
        resources: amounts.map(|(class, amount)| (class.to_owned(), amount)).into(),
        required: vec![format!("CUSTOM_T{}", kind % 6), format!("!CUSTOM_T{}", 6 + kind % 5)],
        az: kind.is_multiple_of(2).then(|| format!("az{}", kind % 3)),
        ..Request::default()
    }
}

fn change(table: &mut HostTable, numbers: &mut Numbers, hosts: usize) {
    let sign = if numbers.below(2) == 0 { 1 } else { -1 };
    table
        .add_used(&id(numbers.below(hosts as u64) as usize), None, &[("VCPU", sign), ("MEMORY_MB", 4096 * sign)])
        .unwrap();
}

/// The 99th percentile of single decisions, the median of the floor between them, and the median of the decisions, in microseconds
/// of the processor's time. All of it is done three times over, which decides the same, and the least time that a decision took counts:
/// what is slow is then the decision, and not that somebody else came in between.
fn decide(hosts: usize, decisions: usize, ask: impl Fn(usize) -> Request) -> (f64, f64, f64) {
    let filled = table(hosts);
    let requests: Vec<Request> = (0..decisions).map(ask).collect();
    let columns = vec![1_i32; hosts * CLASSES.len()];
    let mut copy = columns.clone();
    let (mut values, mut floors) = (vec![f64::INFINITY; decisions], Vec::new());
    for _ in 0..ROUNDS {
        let (mut table, mut numbers) = (filled.snapshot(), Numbers(11));
        for (at, request) in requests.iter().enumerate() {
            change(&mut table, &mut numbers, hosts);
            let took = processor_time(|| table.place(request, at as u64, 1, Explain::IfNone).unwrap());
            values[at] = values[at].min(took);
            if at.is_multiple_of(16) {
                floors.push(processor_time(|| black_box(&mut copy).copy_from_slice(black_box(&columns))));
            }
        }
    }
    (percentile(&mut values, 0.99) / 1e3, median(&mut floors) / 1e3, median(&mut values) / 1e3)
}

fn decisions() {
    let figure = Figure::promised("placement.decision.p99", "us", 50.0);
    if wanted(figure.name) {
        // The first of each shape builds its view; that is one in a hundred of these, so it counts.
        let (value, floor, _) = decide(10_000, DECISIONS, |at| request(at % 24));
        figure.tell(value, floor);
    }
    let new = |at: usize| {
        let mut request = request(at % 24);
        request.resources.insert("DISK_GB".to_owned(), 1 + at as i64 % 1000);
        request.resources.insert("MEMORY_MB".to_owned(), 1024 + at as i64);
        request
    };
    let figure = Figure::promised("placement.decision_new_shape.p99", "us", 50.0);
    if wanted(figure.name) {
        let (value, floor, middle) = decide(10_000, DECISIONS / 4, new);
        figure.tell(value, floor);
        Figure::new("placement.decision_new_shape.p50", "us").tell(middle, floor);
    }
    let figure = Figure::promised("placement.decision_100k_hosts.p99", "us", 500.0);
    if wanted(figure.name) {
        let (value, floor, _) = decide(100_000, DECISIONS / 4, |at| request(at % 24));
        figure.tell(value, floor);
    }
    let figure = Figure::promised("placement.decision_new_shape_100k_hosts.p99", "us", 500.0);
    if wanted(figure.name) {
        let (value, floor, _) = decide(100_000, DECISIONS / 20, new);
        figure.tell(value, floor);
    }
}

fn batches(bench: &mut Bench) {
    const SERVERS: usize = 2000;
    let figure = Figure::promised("placement.batch", "decisions/s", 200_000.0);
    if !wanted(figure.name) {
        return;
    }
    let mut table = table(10_000);
    let requests: Vec<Request> = (0..24).map(request).collect();
    let orders: Vec<Order<'_>> =
        requests.iter().cycle().take(40).map(|request| Order { request, count: SERVERS / 40 }).collect();
    let mut seed = 0;
    let columns = vec![1_i32; 10_000 * CLASSES.len()];
    let mut copy = columns.clone();
    let (value, floor) = bench.pair(
        figure.name,
        |bencher| {
            bencher.iter(|| {
                seed += 1;
                let batch = table.place_many(&orders, seed, Mode::AllOrNothing, false).unwrap();
                assert!(batch.complete);
                batch
            });
        },
        |bencher| bencher.iter(|| black_box(&mut copy).copy_from_slice(black_box(&columns))),
    );
    figure.tell(SERVERS as f64 * 1e9 / value, 1e9 / floor);
}

fn deltas(bench: &mut Bench) {
    const HOSTS: usize = 10_000;
    let figure = Figure::promised("placement.delta", "us", 1.0);
    if !wanted(figure.name) {
        return;
    }
    let mut table = table(HOSTS);
    (0..24).for_each(|kind| drop(table.place(&request(kind), 1, 1, Explain::Never).unwrap()));
    let ids: Vec<String> = (0..HOSTS).map(id).collect();
    let delta = |sign: i64| [("VCPU", 2 * sign), ("MEMORY_MB", 4096 * sign), ("DISK_GB", 40 * sign)];
    let mut numbers = Numbers(3);
    let mut floor_numbers = Numbers(3);
    let mut column = vec![0_i64; HOSTS * CLASSES.len()];
    let (value, floor) = bench.pair(
        figure.name,
        |bencher| {
            bencher.iter(|| {
                let sign = if numbers.below(2) == 0 { 1 } else { -1 };
                table.add_used(&ids[numbers.below(HOSTS as u64) as usize], None, &delta(sign)).unwrap();
            });
        },
        |bencher| {
            bencher.iter(|| {
                let sign = if floor_numbers.below(2) == 0 { 1 } else { -1 };
                let host = floor_numbers.below(HOSTS as u64) as usize;
                (0..3).for_each(|class| column[class * HOSTS + host] += sign);
            });
        },
    );
    figure.tell(value / 1e3, floor / 1e3);
}

fn memory() {
    const HOSTS: usize = 100_000;
    let figure = Figure::promised("placement.memory_per_host", "bytes", 1024.0);
    if !wanted(figure.name) {
        return;
    }
    let before = resident_bytes();
    let mut table = table(HOSTS);
    (0..24).for_each(|kind| drop(table.place(&request(kind), 1, 1, Explain::Never).unwrap()));
    let grown = (resident_bytes() - before) as f64 / HOSTS as f64;
    assert!(table.len() == HOSTS);
    // What any table must hold: the id, and capacity and use of each class.
    let least = id(0).len() + CLASSES.len() * 2 * size_of::<i64>();
    figure.tell(grown, least as f64);
}

fn main() {
    // First, while the process is small.
    memory();
    decisions();
    let mut bench = Bench::default();
    batches(&mut bench);
    deltas(&mut bench);
}
