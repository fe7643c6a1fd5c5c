//! SHA-256 and BLAKE3, on four leaves side by side, between the steps of MD5.
use std::arch::x86_64::{
    __m128i, _mm_add_epi32, _mm_alignr_epi8, _mm_or_si128, _mm_set1_epi32, _mm_setr_epi32, _mm_sha256msg1_epu32,
    _mm_sha256msg2_epu32, _mm_sha256rnds2_epu32, _mm_shuffle_epi32, _mm_slli_epi32, _mm_srli_epi32, _mm_unpackhi_epi32,
    _mm_unpackhi_epi64, _mm_unpacklo_epi32, _mm_unpacklo_epi64, _mm_xor_si128, _mm256_zeroupper,
};
use std::hint::black_box;

use super::blake3::{LEAF_END, LEAF_START, NEXT, ROUNDS, START, fetch, mix, round};
use super::sha256::{ADDENDS, Sha, four_rounds, message, swap};
use super::{Leaf, Value, pin};
use crate::md5::{ADDENDS_BY_WORD, Words, four_steps, sixteen, sum};

// The compiler may take two vectors for one and so bring the upper halves into use. `black_box` keeps it from that with the words of
// SHA-256; `_mm256_zeroupper` stands wherever else it can have happened and SHA instructions follow.

/// Blocks of MD5 that carry two rounds of BLAKE3 each: all that sixteen blocks of four leaves need. The rest carry none.
const BOTH: usize = 16 * ROUNDS / 2;

#[target_feature(enable = "avx")]
#[inline]
fn add(a: __m128i, b: __m128i) -> __m128i {
    _mm_add_epi32(a, b)
}

#[target_feature(enable = "avx")]
#[inline]
fn xor(a: __m128i, b: __m128i) -> __m128i {
    _mm_xor_si128(a, b)
}

/// To the right by `RIGHT` bits, which is to the left by `LEFT`: one instruction where the processor has one.
#[target_feature(enable = "avx")]
#[inline]
fn rotate<const RIGHT: i32, const LEFT: i32>(value: __m128i) -> __m128i {
    _mm_or_si128(_mm_srli_epi32::<RIGHT>(value), _mm_slli_epi32::<LEFT>(value))
}

/// Rows to columns.
#[target_feature(enable = "avx")]
#[inline]
fn transpose(rows: [__m128i; 4]) -> [__m128i; 4] {
    let (a, b) = (_mm_unpacklo_epi32(rows[0], rows[1]), _mm_unpackhi_epi32(rows[0], rows[1]));
    let (c, d) = (_mm_unpacklo_epi32(rows[2], rows[3]), _mm_unpackhi_epi32(rows[2], rows[3]));
    [_mm_unpacklo_epi64(a, c), _mm_unpackhi_epi64(a, c), _mm_unpacklo_epi64(b, d), _mm_unpackhi_epi64(b, d)]
}

/// What [`crate::md5::summands`] gives, in vectors that leave upper halves alone.
#[target_feature(enable = "avx")]
#[inline]
fn summands(block: &[u8; 64]) -> [[u32; 16]; 4] {
    let quarters: [__m128i; 4] = bytemuck::cast(*block);
    let addends: [[__m128i; 4]; 4] = bytemuck::cast(ADDENDS_BY_WORD);
    bytemuck::cast(addends.map(|addends| -> [__m128i; 4] { std::array::from_fn(|at| add(quarters[at], addends[at])) }))
}

/// The words of block `at` of four leaves.
#[target_feature(enable = "avx")]
#[inline]
fn words_of_four(leaves: &[Leaf; 4], at: usize) -> [__m128i; 16] {
    let mut words = [[bytemuck::cast([0_u64; 2]); 4]; 4];
    for (quarter, words) in words.iter_mut().enumerate() {
        let row = |lane: usize| bytemuck::cast(leaves[lane].as_chunks::<64>().0[at].as_chunks::<16>().0[quarter]);
        *words = transpose(std::array::from_fn(row));
    }
    bytemuck::cast(words)
}

#[target_feature(enable = "avx")]
#[inline]
fn begin(values: &[__m128i; 8], first: u64, flags: i32) -> [__m128i; 16] {
    debug_assert!(first.is_multiple_of(4), "the upper halves of four numbers are equal");
    let all = |word: u32| _mm_set1_epi32(word as i32);
    let [a, b, c, d, e, f, g, h] = *values;
    let [i, j, k, l] = [all(START[0]), all(START[1]), all(START[2]), all(START[3])];
    let (low, high) = (add(all(first as u32), _mm_setr_epi32(0, 1, 2, 3)), all((first >> 32) as u32));
    [a, b, c, d, e, f, g, h, i, j, k, l, low, high, _mm_set1_epi32(64), _mm_set1_epi32(flags)]
}

#[target_feature(enable = "avx")]
#[inline]
fn end(v: &[__m128i; 16]) -> [__m128i; 8] {
    std::array::from_fn(|at| xor(v[at], v[at + 8]))
}

#[target_feature(enable = "avx")]
#[inline]
fn by_leaf(values: [__m128i; 8]) -> [Value; 4] {
    let [a, b, c, d, e, f, g, h] = values;
    let (low, high) = (transpose([a, b, c, d]), transpose([e, f, g, h]));
    std::array::from_fn(|leaf| bytemuck::cast([low[leaf], high[leaf]]))
}

macro_rules! kernel {
    ($name:ident, $features:literal) => {
        /// Four leaves: 64 blocks of MD5 and of SHA-256.
        #[target_feature(enable = $features)]
        pub(super) fn $name(
            md5: &mut Words,
            sha: &mut Value,
            leaves: &[Leaf; 4],
            ahead: &[Leaf; 4],
            first: u64,
        ) -> [Value; 4] {
            let swap = swap();
            let mut state = black_box(Sha::load(sha));
            let [mut a, mut b, mut c, mut d] = *md5;
            let addends = black_box(&ADDENDS);
            let (blocks, _) = leaves.as_flattened().as_chunks::<64>();
            let (with_sha, with_both) = blocks.split_at(blocks.len() - BOTH);
            let mut ahead = ahead.as_flattened().as_chunks::<64>().0.iter();
            for (block, ahead) in with_sha.iter().zip(&mut ahead) {
                fetch(ahead);
                let (before, sha_before) = ([a, b, c, d], state);
                let (summands, mut message) = (summands(block), message(block, swap));
                let summands = black_box(&summands);
                macro_rules! four {
                    ($four:literal) => {
                        pin();
                        four_rounds!($four, state, message, addends);
                        four_steps!($four, a, b, c, d, summands);
                    };
                }
                sixteen!(four);
                state = state.add(sha_before);
                [a, b, c, d] = sum([a, b, c, d], before);
            }
            let (mut at, mut turn) = (0, 0);
            let mut words = words_of_four(leaves, 0);
            let mut v = begin(&START.map(|word| _mm_set1_epi32(word as i32)), first, LEAF_START);
            macro_rules! turn {
                ($steps:ident) => {
                    if turn == ROUNDS {
                        (at, turn) = (at + 1, 0);
                        words = words_of_four(leaves, at);
                        v = begin(&end(&v), first, if at == 15 { LEAF_END } else { 0 });
                        _mm256_zeroupper();
                    }
                    let now = black_box(&words);
                    round!(v, now, $steps);
                    words = NEXT.map(|at| now[at]);
                    turn += 1;
                };
            }
            _mm256_zeroupper();
            for (block, ahead) in with_both.iter().zip(&mut ahead) {
                fetch(ahead);
                let (before, sha_before) = ([a, b, c, d], state);
                let (summands, mut message) = (summands(block), message(block, swap));
                let summands = black_box(&summands);
                macro_rules! first_half {
                    ($four:literal) => {
                        pin();
                        four_rounds!($four, state, message, addends);
                        four_steps!($four, a, b, c, d, summands);
                    };
                }
                macro_rules! second_half {
                    ($four:literal) => {
                        pin();
                        four_rounds!($four + 8, state, message, addends);
                        four_steps!($four + 8, a, b, c, d, summands);
                    };
                }
                turn!(first_half);
                turn!(second_half);
                state = state.add(sha_before);
                [a, b, c, d] = sum([a, b, c, d], before);
            }
            *md5 = [a, b, c, d];
            *sha = black_box(state).store();
            by_leaf(end(&v))
        }
    };
}
kernel!(weave_avx512, "sha,avx2,avx512f,avx512vl,bmi1,bmi2");
kernel!(weave_avx, "sha,avx,bmi1,bmi2");
