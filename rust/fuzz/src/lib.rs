//! Feeds the parsers of foreign bytes what nobody sends: nothing at all, noise, and good messages bent out of shape.
//!
//! Each parser of the core that reads what a stranger wrote has a target in `tests/`. A target states what must hold for any bytes; that
//! nothing panics always must. As a test it runs a fixed number of cases; with `OSTRO_FUZZ_S` set it runs for so many seconds, and
//! says every few seconds how far it is. A failure is shrunk to the smallest bytes that show it.
#![forbid(unsafe_code)]
#![allow(clippy::panic, reason = "a target that fails says so")]

use std::time::{Duration, Instant};

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseResult, TestRunner};

/// Cases of a test that isn't given a time.
const CASES: u32 = 1000;
const PROGRESS: Duration = Duration::from_secs(5);

/// Bytes made of `seeds`: noise, or a seed with some of its bytes changed, cut off or followed by more.
pub fn bent(seeds: Vec<Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    let seeds = if seeds.is_empty() { vec![Vec::new()] } else { seeds };
    let byte = || prop_oneof![Just(0), Just(1), Just(0x7f), Just(0x80), Just(0xff), any::<u8>()];
    let bends = vec((any::<prop::sample::Index>(), vec(byte(), 1..5)), 0..6);
    let seed = (prop::sample::select(seeds), bends, any::<prop::sample::Index>(), vec(any::<u8>(), 0..24));
    let bent = seed.prop_map(|(mut bytes, bends, cut, more)| {
        for (at, with) in bends {
            let at = at.index(bytes.len().max(1));
            for (slot, byte) in bytes.iter_mut().skip(at).zip(with) {
                *slot = byte;
            }
        }
        // Half of them keep their length.
        let cut = cut.index(2 * bytes.len() + 1);
        bytes.truncate(cut);
        bytes.extend(more);
        bytes
    });
    prop_oneof![1 => vec(any::<u8>(), 0..300), 5 => bent]
}

/// Runs one target: `check` must hold for whatever `strategy` makes.
pub fn run<S: Strategy>(name: &str, strategy: &S, check: impl Fn(S::Value) -> TestCaseResult) {
    let seconds: f64 = std::env::var("OSTRO_FUZZ_S").ok().and_then(|text| text.parse().ok()).unwrap_or(0.0);
    let (started, mut told) = (Instant::now(), Instant::now());
    let mut cases: u64 = 0;
    loop {
        let config = Config { cases: CASES, failure_persistence: None, ..Config::default() };
        if let Err(failure) = TestRunner::new(config).run(strategy, &check) {
            panic!("{name}: {failure}");
        }
        cases += u64::from(CASES);
        let elapsed = started.elapsed().as_secs_f64();
        if elapsed >= seconds {
            println!("{name}: {cases} cases in {elapsed:.1} s");
            return;
        }
        if told.elapsed() >= PROGRESS {
            told = Instant::now();
            println!("{name}: {cases} cases, {:.0} s to go", seconds - elapsed);
        }
    }
}
