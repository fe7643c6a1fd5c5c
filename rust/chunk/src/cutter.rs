//! Where to cut a stream by what it holds, so that the same bytes make the same chunks wherever they come.
//!
//! A gear hash rolls over the bytes: each shifts it by one bit and adds a number of its own, so its high bits depend on
//! the last 64 bytes only. A chunk ends after the byte at which enough high bits are zero: more of them until the
//! chunk has its target size and fewer from then on, which draws sizes towards the target (FastCDC's
//! normalised chunking). The first `min` bytes aren't looked at, and `max` ends a chunk in any case.

/// Sizes that make no sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("content-defined chunks need 64 <= min < target < max and a target of at most 1 GiB")]
pub struct CutterError;

/// How many more (and then fewer) bits than the target's logarithm must be zero.
const NORMAL_BITS: u32 = 2;

/// Finds the cuts of one stream.
#[derive(Debug, Clone)]
pub struct Cutter {
    min: u64,
    target: u64,
    max: u64,
    strict: u64,
    loose: u64,
    /// Bytes of the chunk seen.
    seen: u64,
    hash: u64,
}

impl Cutter {
    /// Cut into chunks of `min` to `max` bytes, mostly about `target`.
    ///
    /// # Errors
    /// [`CutterError`] unless 64 <= min < target < max and target <= 1 GiB.
    pub fn new(min: u64, target: u64, max: u64) -> Result<Self, CutterError> {
        if min < 64 || min >= target || target >= max || target > 1 << 30 {
            return Err(CutterError);
        }
        let bits = target.ilog2();
        let high = |bits: u32| u64::MAX << (64 - bits);
        let (strict, loose) = (high(bits + NORMAL_BITS), high(bits - NORMAL_BITS));
        Ok(Self { min, target, max, strict, loose, seen: 0, hash: 0 })
    }

    /// Look at the next bytes: after how many of them the chunk ends, or `None` if it goes on.
    ///
    /// After a cut, look at the rest anew.
    pub fn next(&mut self, data: &[u8]) -> Option<usize> {
        let mut at = 0;
        if self.seen < self.min {
            at = self.skip(data);
        }
        while at < data.len() {
            let (until, mask) =
                if self.seen < self.target { (self.target, self.strict) } else { (self.max, self.loose) };
            let strip = &data[at..data.len().min(at + (until - self.seen) as usize)];
            if let Some(found) = roll(&mut self.hash, strip, mask) {
                self.begin();
                return Some(at + found + 1);
            }
            at += strip.len();
            self.seen += strip.len() as u64;
            if self.seen == self.max {
                self.begin();
                return Some(at);
            }
        }
        None
    }

    /// Pass over bytes that are too near the chunk's start to end it.
    fn skip(&mut self, data: &[u8]) -> usize {
        let count = (self.min - self.seen).min(data.len() as u64);
        self.seen += count;
        count as usize
    }

    fn begin(&mut self) {
        (self.seen, self.hash) = (0, 0);
    }
}

/// Roll over `data` up to the byte where the masked bits are zero.
#[inline]
fn roll(hash: &mut u64, data: &[u8], mask: u64) -> Option<usize> {
    let mut rolling = *hash;
    for (at, byte) in data.iter().enumerate() {
        rolling = (rolling << 1).wrapping_add(GEAR[usize::from(*byte)]);
        if rolling & mask == 0 {
            return Some(at);
        }
    }
    *hash = rolling;
    None
}

/// A number for each byte, by the SplitMix64 sequence from 0.
static GEAR: [u64; 256] = gear();

const fn gear() -> [u64; 256] {
    let mut gear = [0_u64; 256];
    let mut state = 0_u64;
    let mut at = 0;
    while at < 256 {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        gear[at] = mixed ^ (mixed >> 31);
        at += 1;
    }
    gear
}
