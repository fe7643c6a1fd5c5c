//! What the benches share: figures told as JSON lines, and floors that are measured between the values they belong to.
//!
//! Two cores are shared with whatever else runs, so a value alone says little. Each figure therefore has a floor (raw memory, the
//! bare library, the bare kernel) that is measured in the same run, round by round in turn with the value. Criterion takes the samples of
//! what can be called again and again, and the fastest counts: others only ever make it slower. Times of single events, of which a
//! median or a percentile is wanted, are taken by [`times`], and rates by [`in_turn`].
#![forbid(unsafe_code)]
#![allow(clippy::expect_used, reason = "a bench that can't go on says why and ends")]

use std::hint::black_box;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use criterion::{Bencher, Criterion};
use rustix::time::{ClockId, clock_gettime};

/// Rounds in which value and floor take turns.
pub const ROUNDS: usize = 3;

/// What is measured, in which unit, and what was promised.
#[derive(Debug, Clone, Copy)]
pub struct Figure<'a> {
    /// Its name, `crate.what`.
    pub name: &'a str,
    /// Its unit.
    pub unit: &'a str,
    /// The promise, in that unit; None where it is about the ratio or there is none.
    pub budget: Option<f64>,
}

impl<'a> Figure<'a> {
    /// A figure without a promise of its own.
    pub const fn new(name: &'a str, unit: &'a str) -> Self {
        Self { name, unit, budget: None }
    }

    /// A figure that was promised.
    pub const fn promised(name: &'a str, unit: &'a str, budget: f64) -> Self {
        Self { name, unit, budget: Some(budget) }
    }

    /// Print it: one JSON object on a line, numbers with four digits that count.
    pub fn tell(&self, value: f64, floor: f64) {
        let digits = |number: f64| {
            let places = 3 - number.abs().max(1e-9).log10().floor() as i32;
            let scale = 10_f64.powi(places.max(0));
            (number * scale).round() / scale
        };
        let (name, unit, ratio) = (self.name, self.unit, digits(value / floor));
        let (value, floor) = (digits(value), digits(floor));
        let budget = self.budget.map_or_else(|| "null".to_owned(), |budget| budget.to_string());
        println!(
            r#"{{"name": "{name}", "value": {value}, "unit": "{unit}", "floor": {floor}, "ratio": {ratio}, "budget": {budget}}}"#
        );
    }
}

/// Whether the figures of this name are wanted: every word on the command line must be in the name.
pub fn wanted(name: &str) -> bool {
    std::env::args().skip(1).filter(|word| !word.starts_with('-')).all(|word| name.contains(&word))
}

/// Criterion, set up to be quick and to keep its samples where we find them.
pub struct Bench {
    criterion: Criterion,
    home: PathBuf,
}

impl Default for Bench {
    fn default() -> Self {
        let home = std::env::temp_dir().join(format!("ostro-bench-{}", std::process::id()));
        let criterion = Criterion::default()
            .output_directory(&home)
            .warm_up_time(Duration::from_millis(150))
            .measurement_time(Duration::from_millis(500))
            .nresamples(1000)
            .sample_size(10);
        Self { criterion, home }
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        // Nothing is lost if the samples of a finished run stay behind.
        let _ = std::fs::remove_dir_all(&self.home);
    }
}

impl Bench {
    /// Measure a value and its floor in turn; the fastest samples of both, in nanoseconds an iteration.
    pub fn pair(
        &mut self,
        name: &str,
        mut value: impl FnMut(&mut Bencher<'_>),
        mut floor: impl FnMut(&mut Bencher<'_>),
    ) -> (f64, f64) {
        let (mut values, mut floors) = (Vec::new(), Vec::new());
        for round in 0..ROUNDS {
            values.extend(self.samples(name, &format!("value{round}"), &mut value));
            floors.extend(self.samples(name, &format!("floor{round}"), &mut floor));
        }
        (fastest(&values), fastest(&floors))
    }

    /// Nanoseconds an iteration in each of criterion's samples.
    fn samples(&mut self, name: &str, what: &str, body: &mut impl FnMut(&mut Bencher<'_>)) -> Vec<f64> {
        let mut group = self.criterion.benchmark_group(name);
        group.bench_function(what, |bencher| body(bencher));
        group.finish();
        let path = self.home.join(name).join(what).join("new").join("sample.json");
        let text = std::fs::read_to_string(&path).expect("criterion writes its samples");
        let samples: serde_json::Value = serde_json::from_str(&text).expect("samples are JSON");
        let numbers = |field: &str| -> Vec<f64> {
            samples[field].as_array().into_iter().flatten().filter_map(serde_json::Value::as_f64).collect()
        };
        numbers("times").iter().zip(numbers("iters")).map(|(time, count)| time / count).collect()
    }
}

fn fastest(samples: &[f64]) -> f64 {
    samples.iter().copied().fold(f64::INFINITY, f64::min)
}

/// How long each of `count` calls takes, in nanoseconds.
pub fn times<T>(count: usize, mut call: impl FnMut(usize) -> T) -> Vec<f64> {
    let once = |at| {
        let start = Instant::now();
        black_box(call(at));
        start.elapsed().as_nanos() as f64
    };
    (0..count).map(once).collect()
}

/// How much of the processor's time one call takes, in nanoseconds: what other processes take of it meanwhile isn't counted.
pub fn processor_time<T>(call: impl FnOnce() -> T) -> f64 {
    let now = || {
        let time = clock_gettime(ClockId::ThreadCPUTime);
        time.tv_sec as f64 * 1e9 + time.tv_nsec as f64
    };
    let start = now();
    black_box(call());
    now() - start
}

/// The least of the processor's time that a call of each takes, in turn, in nanoseconds. Calls that end before others get their turn are not
/// disturbed by them.
pub fn in_turn<V, F>(count: usize, mut value: impl FnMut(usize) -> V, mut floor: impl FnMut(usize) -> F) -> (f64, f64) {
    let each = |at| (processor_time(|| value(at)), processor_time(|| floor(at)));
    (0..count)
        .map(each)
        .fold((f64::INFINITY, f64::INFINITY), |least, (value, floor)| (least.0.min(value), least.1.min(floor)))
}

/// The value that this share of all values is not above.
pub fn percentile(values: &mut [f64], share: f64) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    let at = ((values.len() as f64 * share).ceil() as usize).clamp(1, values.len());
    values[at - 1]
}

/// The value in the middle.
pub fn median(values: &mut [f64]) -> f64 {
    percentile(values, 0.5)
}

/// Numbers that look random and are the same in every run.
#[derive(Debug, Clone, Copy)]
pub struct Numbers(pub u64);

impl Numbers {
    /// The next one, below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ mixed >> 31) % end.max(1)
    }

    /// So many bytes.
    pub fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count.div_ceil(8)).flat_map(|_| self.below(u64::MAX).to_le_bytes()).take(count).collect()
    }
}

/// Resident memory of this process in bytes.
pub fn resident_bytes() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").expect("this is Linux");
    let pages: usize = text.split_whitespace().nth(1).and_then(|pages| pages.parse().ok()).expect("statm has pages");
    pages * 4096
}
