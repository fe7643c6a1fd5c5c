//! Streams of different threads in one pool.

#![allow(clippy::unwrap_used, reason = "a panic here is a failed test")]

use std::sync::Arc;

use ostro_chunk::{Algorithm, Hasher, Pool};

/// Threads outnumber places, feeds are of all sizes: the digests are as if each stream had been alone.
#[test]
fn company_changes_no_digest() {
    let pool: Pool<Arc<[u8]>> = Pool::new(1);
    let digests: Vec<(Hasher, Hasher)> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..24_usize)
            .map(|thread| {
                let pool = &pool;
                scope.spawn(move || {
                    let algorithms = [Algorithm::Md5, Algorithm::Sha256, Algorithm::Blake3];
                    let mut shared = Hasher::new(&algorithms[..1 + thread % 3]);
                    let mut alone = shared.clone();
                    for turn in 0..12_usize {
                        let length = (thread * 7919 + turn * 10_007) % 90_000;
                        let data: Arc<[u8]> = (0..length).map(|at| (at * thread + turn) as u8).collect();
                        alone.update(&data);
                        pool.update(&mut shared, data).unwrap();
                    }
                    (shared, alone)
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    for (shared, alone) in &digests {
        assert_eq!(shared.digests(), alone.digests());
        assert_eq!(shared.length(), alone.length());
    }
}

/// Data that can't be read panics in whichever thread works on it; nobody waits for ever.
#[test]
fn a_panic_reaches_everybody_concerned() {
    struct Trap(Vec<u8>, std::sync::atomic::AtomicUsize);
    impl AsRef<[u8]> for Trap {
        fn as_ref(&self) -> &[u8] {
            // The feeding thread looks a few times; later looks are the working thread's.
            assert!(self.1.fetch_add(1, std::sync::atomic::Ordering::Relaxed) < 8, "sprung");
            &self.0
        }
    }
    let pool: Pool<Trap> = Pool::new(1);
    let outcomes: Vec<std::thread::Result<bool>> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8_usize)
            .map(|thread| {
                let pool = &pool;
                scope.spawn(move || {
                    let mut hasher = Hasher::new(&[Algorithm::Md5]);
                    (0..20).all(|_| {
                        let looks = if thread == 0 { 5 } else { 0 };
                        pool.update(&mut hasher, Trap(vec![0; 20_000], looks.into())).is_ok()
                    })
                })
            })
            .collect();
        threads.into_iter().map(std::thread::ScopedJoinHandle::join).collect()
    });
    assert_eq!(outcomes.len(), 8);
}
