//! How many packets of one port are answered: a guest that shouts must not keep the others from being heard.

use std::time::Instant;

use rustc_hash::FxHashMap;

/// Packets that a port may send at once. A guest that boots sends two to four.
const BURST: f64 = 16.0;
/// Packets per second that it may send for ever.
const RATE_PER_S: f64 = 8.0;
/// Ports remembered; beyond, all are forgotten, which at worst gives each a fresh burst.
const PORTS_MOST: usize = 4096;

/// Token buckets by port.
#[derive(Default)]
pub struct Throttle {
    buckets: FxHashMap<u32, (f64, Instant)>,
}

impl Throttle {
    /// Whether a packet of `port` is to be looked at.
    pub fn admit(&mut self, port: u32, now: Instant) -> bool {
        if self.buckets.len() >= PORTS_MOST && !self.buckets.contains_key(&port) {
            self.buckets.clear();
        }
        let (tokens, since) = self.buckets.entry(port).or_insert((BURST, now));
        let refill = now.saturating_duration_since(*since).as_secs_f64() * RATE_PER_S;
        *tokens = (*tokens + refill).min(BURST);
        *since = now;
        if *tokens < 1.0 {
            return false;
        }
        *tokens -= 1.0;
        true
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_burst_passes_and_then_the_rate() {
        let (mut throttle, start) = (Throttle::default(), Instant::now());
        assert_eq!((0..100).filter(|_| throttle.admit(1, start)).count(), 16);
        assert!(throttle.admit(2, start));
        let later = start + Duration::from_secs(1);
        assert_eq!((0..100).filter(|_| throttle.admit(1, later)).count(), 8);
    }
}
