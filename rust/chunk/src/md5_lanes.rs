//! MD5 of eight or sixteen streams at once, a stream a lane.
//!
//! The steps of one stream wait for each other; those of different streams don't. Sixteen streams in two sets of
//! AVX2 vectors keep the vector units busy and hash about nine times as fast as one after another would.
use multiversion::multiversion;
use multiversion::target::match_target;

use crate::md5::Words;

/// Streams that are hashed together.
pub(crate) const LANES: usize = 16;
/// From so many streams on this is faster than one after another.
pub(crate) const LANES_MIN: usize = 3;

/// Advance each stream by the first `blocks` of its blocks. False, and nothing done, where the processor can't.
#[multiversion(targets("x86_64+avx2"))]
pub(crate) fn compress_sixteen(words: &mut [Words; LANES], streams: &[&[[u8; 64]]; LANES], blocks: usize) -> bool {
    match_target! {
        "x86_64+avx2" => {
            x86::compress::<2, LANES>(words, streams, blocks);
            true
        },
        _ => {
            let _ = (words, streams, blocks);
            false
        },
    }
}

/// The same for eight streams.
#[multiversion(targets("x86_64+avx2"))]
pub(crate) fn compress_eight(words: &mut [Words; 8], streams: &[&[[u8; 64]]; 8], blocks: usize) -> bool {
    match_target! {
        "x86_64+avx2" => {
            x86::compress::<1, 8>(words, streams, blocks);
            true
        },
        _ => {
            let _ = (words, streams, blocks);
            false
        },
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::{
        __m256i, _mm256_add_epi32, _mm256_and_si256, _mm256_andnot_si256, _mm256_or_si256, _mm256_set1_epi32,
        _mm256_sllv_epi32, _mm256_srlv_epi32, _mm256_xor_si256,
    };

    use crate::avx2::words_of_eight;
    use crate::md5::{ADDENDS, ROTATIONS, Words, word};

    #[target_feature(enable = "avx2")]
    #[inline]
    fn rotate(value: __m256i, by: u32) -> __m256i {
        let left = _mm256_sllv_epi32(value, _mm256_set1_epi32(by as i32));
        _mm256_or_si256(left, _mm256_srlv_epi32(value, _mm256_set1_epi32(32 - by as i32)))
    }

    #[target_feature(enable = "avx2")]
    #[inline]
    fn step(at: usize, a: __m256i, b: __m256i, c: __m256i, d: __m256i, word: __m256i) -> __m256i {
        let sum = _mm256_add_epi32(_mm256_add_epi32(a, _mm256_set1_epi32(ADDENDS[at] as i32)), word);
        let sum = match at / 16 {
            0 => {
                let mixed = _mm256_xor_si256(_mm256_and_si256(_mm256_xor_si256(c, d), b), d);
                _mm256_add_epi32(sum, mixed)
            }
            1 => _mm256_add_epi32(_mm256_add_epi32(sum, _mm256_andnot_si256(d, c)), _mm256_and_si256(d, b)),
            2 => _mm256_add_epi32(sum, _mm256_xor_si256(_mm256_xor_si256(c, d), b)),
            _ => {
                let not_d = _mm256_xor_si256(d, _mm256_set1_epi32(-1));
                _mm256_add_epi32(sum, _mm256_xor_si256(_mm256_or_si256(b, not_d), c))
            }
        };
        _mm256_add_epi32(rotate(sum, ROTATIONS[at / 16][at % 4]), b)
    }

    /// The 64 steps over `SETS` vectors side by side.
    #[target_feature(enable = "avx2")]
    #[inline]
    fn rounds<const SETS: usize>(state: &mut [[__m256i; 4]; SETS], words: &[[__m256i; 16]; SETS]) {
        let mut now = *state;
        macro_rules! four {
            ($($four:literal)*) => { $(
                for (set, [a, b, c, d]) in now.iter_mut().enumerate() {
                    *a = step($four * 4, *a, *b, *c, *d, words[set][const { word($four * 4) }]);
                }
                for (set, [a, b, c, d]) in now.iter_mut().enumerate() {
                    *d = step($four * 4 + 1, *d, *a, *b, *c, words[set][const { word($four * 4 + 1) }]);
                }
                for (set, [a, b, c, d]) in now.iter_mut().enumerate() {
                    *c = step($four * 4 + 2, *c, *d, *a, *b, words[set][const { word($four * 4 + 2) }]);
                }
                for (set, [a, b, c, d]) in now.iter_mut().enumerate() {
                    *b = step($four * 4 + 3, *b, *c, *d, *a, words[set][const { word($four * 4 + 3) }]);
                }
            )* };
        }
        four!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15);
        for (before, now) in state.iter_mut().zip(&now) {
            for (before, now) in before.iter_mut().zip(now) {
                *before = _mm256_add_epi32(*before, *now);
            }
        }
    }

    #[target_feature(enable = "avx2")]
    pub(super) fn compress<const SETS: usize, const LANES: usize>(
        states: &mut [Words; LANES],
        streams: &[&[[u8; 64]]; LANES],
        blocks: usize,
    ) {
        let lanes_of = |set: usize, part: usize| std::array::from_fn::<u32, 8, _>(|lane| states[set * 8 + lane][part]);
        let mut state: [[__m256i; 4]; SETS] =
            std::array::from_fn(|set| std::array::from_fn(|part| bytemuck::cast(lanes_of(set, part))));
        let streams: [&[[u8; 64]]; LANES] = std::array::from_fn(|lane| &streams[lane][..blocks]);
        #[allow(clippy::needless_range_loop, reason = "`at` walks sixteen slices at once")]
        for at in 0..blocks {
            let words: [[__m256i; 16]; SETS] =
                std::array::from_fn(|set| words_of_eight(|lane| &streams[set * 8 + lane][at]));
            rounds(&mut state, &words);
        }
        for (set, state) in state.iter().enumerate() {
            for (part, value) in state.iter().enumerate() {
                let values: [u32; 8] = bytemuck::cast(*value);
                for (lane, value) in values.into_iter().enumerate() {
                    states[set * 8 + lane][part] = value;
                }
            }
        }
    }
}
