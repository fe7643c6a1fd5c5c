//! BLAKE3 on eight leaves side by side between the steps of MD5.
use std::arch::x86_64::{
    __m256i, _MM_HINT_T0, _mm_prefetch, _mm256_add_epi32, _mm256_or_si256, _mm256_set1_epi32, _mm256_shuffle_epi8,
    _mm256_slli_epi32, _mm256_srli_epi32, _mm256_xor_si256,
};

use std::hint::black_box;

use super::{Leaf, Value, pin};
use crate::avx2::{transpose, words_of_eight};
use crate::md5::{Words, four_steps, sixteen, sum, summands};

pub(super) const START: Value =
    [0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19];
pub(super) const LEAF_START: i32 = 1;
pub(super) const LEAF_END: i32 = 2;
const PARENT: i32 = 4;
/// Rounds that mix a block.
pub(super) const ROUNDS: usize = 7;
/// Which of a round's words each place of the next round takes.
pub(super) const NEXT: [usize; 16] = [2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8];
/// Which message word each place of each round takes.
const SCHEDULE: [[usize; 16]; ROUNDS] = schedule();

const fn schedule() -> [[usize; 16]; ROUNDS] {
    let mut rounds = [[0; 16]; ROUNDS];
    let mut at = 0;
    while at < 16 {
        rounds[0][at] = at;
        at += 1;
    }
    let mut round = 1;
    while round < ROUNDS {
        at = 0;
        while at < 16 {
            rounds[round][at] = rounds[round - 1][NEXT[at]];
            at += 1;
        }
        round += 1;
    }
    rounds
}

/// The quarter-round on four of the sixteen vectors, by the caller's `add`, `xor` and `rotate`.
macro_rules! mix {
    ($v:ident, $a:literal, $b:literal, $c:literal, $d:literal, $x:expr, $y:expr) => {
        $v[$a] = add(add($v[$a], $x), $v[$b]);
        $v[$d] = rotate::<16, 16>(xor($v[$d], $v[$a]));
        $v[$c] = add($v[$c], $v[$d]);
        $v[$b] = rotate::<12, 20>(xor($v[$b], $v[$c]));
        $v[$a] = add(add($v[$a], $y), $v[$b]);
        $v[$d] = rotate::<8, 24>(xor($v[$d], $v[$a]));
        $v[$c] = add($v[$c], $v[$d]);
        $v[$b] = rotate::<7, 25>(xor($v[$b], $v[$c]));
    };
}
pub(super) use mix;

/// One round over sixteen vectors with its words in the order of their use, and `$between!` after each quarter-round.
macro_rules! round {
    ($v:ident, $words:expr, $between:ident) => {
        mix!($v, 0, 4, 8, 12, $words[0], $words[1]);
        $between!(0);
        mix!($v, 1, 5, 9, 13, $words[2], $words[3]);
        $between!(1);
        mix!($v, 2, 6, 10, 14, $words[4], $words[5]);
        $between!(2);
        mix!($v, 3, 7, 11, 15, $words[6], $words[7]);
        $between!(3);
        mix!($v, 0, 5, 10, 15, $words[8], $words[9]);
        $between!(4);
        mix!($v, 1, 6, 11, 12, $words[10], $words[11]);
        $between!(5);
        mix!($v, 2, 7, 8, 13, $words[12], $words[13]);
        $between!(6);
        mix!($v, 3, 4, 9, 14, $words[14], $words[15]);
        $between!(7);
    };
}
pub(super) use round;

/// Have a block come nearer, without waiting for it.
#[target_feature(enable = "sse")]
#[inline]
pub(super) fn fetch(block: &[u8; 64]) {
    _mm_prefetch::<_MM_HINT_T0>(block.as_ptr().cast());
}

#[target_feature(enable = "avx2")]
#[inline]
fn add(a: __m256i, b: __m256i) -> __m256i {
    _mm256_add_epi32(a, b)
}

#[target_feature(enable = "avx2")]
#[inline]
fn xor(a: __m256i, b: __m256i) -> __m256i {
    _mm256_xor_si256(a, b)
}

/// To the right by `RIGHT` bits, which is to the left by `LEFT`: one instruction where the processor has one.
#[target_feature(enable = "avx2")]
#[inline]
fn rotate<const RIGHT: i32, const LEFT: i32>(value: __m256i) -> __m256i {
    let each = |order: [u8; 16]| _mm256_shuffle_epi8(value, bytemuck::cast([order, order]));
    match RIGHT {
        16 => each([2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13]),
        8 => each([1, 2, 3, 0, 5, 6, 7, 4, 9, 10, 11, 8, 13, 14, 15, 12]),
        _ => _mm256_or_si256(_mm256_srli_epi32::<RIGHT>(value), _mm256_slli_epi32::<LEFT>(value)),
    }
}

#[target_feature(enable = "avx2")]
#[inline]
fn begin(values: &[__m256i; 8], first: u64, by: u64, flags: i32) -> [__m256i; 16] {
    let low: [u32; 8] = std::array::from_fn(|lane| (first + by * lane as u64) as u32);
    let high: [u32; 8] = std::array::from_fn(|lane| ((first + by * lane as u64) >> 32) as u32);
    let all = |word: u32| _mm256_set1_epi32(word as i32);
    let [a, b, c, d, e, f, g, h] = *values;
    let [i, j, k, l] = [all(START[0]), all(START[1]), all(START[2]), all(START[3])];
    let (low, high) = (bytemuck::cast(low), bytemuck::cast(high));
    [a, b, c, d, e, f, g, h, i, j, k, l, low, high, _mm256_set1_epi32(64), _mm256_set1_epi32(flags)]
}

#[target_feature(enable = "avx2")]
#[inline]
fn end(v: &[__m256i; 16]) -> [__m256i; 8] {
    std::array::from_fn(|at| xor(v[at], v[at + 8]))
}

/// Each round's words in the order of their use.
#[target_feature(enable = "avx2")]
#[inline]
fn in_order(words: &[__m256i; 16]) -> [[__m256i; 16]; ROUNDS] {
    SCHEDULE.map(|order| order.map(|at| words[at]))
}

macro_rules! kernel {
    ($name:ident, $features:literal) => {
        /// Eight leaves; while a block of each is mixed in seven rounds, MD5 takes eight blocks.
        #[target_feature(enable = $features)]
        pub(super) fn $name(md5: &mut Words, leaves: &[Leaf; 8], ahead: &[Leaf; 8], first: u64) -> [Value; 8] {
            let mut values: [__m256i; 8] = START.map(|word| _mm256_set1_epi32(word as i32));
            let [mut a, mut b, mut c, mut d] = *md5;
            let (blocks, _) = leaves.as_flattened().as_chunks::<64>();
            let mut ahead = ahead.as_flattened().as_chunks::<64>().0.iter();
            for (at, eight) in blocks.as_chunks::<8>().0.iter().enumerate() {
                let words = in_order(&words_of_eight(|lane| &leaves[lane].as_chunks::<64>().0[at]));
                let words = black_box(&words);
                let flags = if at == 0 { LEAF_START } else { 0 } | if at == 15 { LEAF_END } else { 0 };
                let mut v = begin(&values, first, 1, flags);
                for ((turn, block), ahead) in eight.iter().enumerate().zip(&mut ahead) {
                    fetch(ahead);
                    let (before, summands) = ([a, b, c, d], summands(block));
                    let summands = black_box(&summands);
                    macro_rules! eight_steps {
                        ($pair:literal) => {
                            pin();
                            four_steps!(2 * $pair, a, b, c, d, summands);
                            four_steps!(2 * $pair + 1, a, b, c, d, summands);
                        };
                    }
                    macro_rules! four_steps_alone {
                        ($four:literal) => {
                            four_steps!($four, a, b, c, d, summands);
                        };
                    }
                    if let Some(words) = words.get(turn) {
                        round!(v, words, eight_steps);
                    } else {
                        sixteen!(four_steps_alone);
                    }
                    [a, b, c, d] = sum([a, b, c, d], before);
                }
                values = end(&v);
            }
            *md5 = [a, b, c, d];
            transpose(values).map(bytemuck::cast)
        }
    };
}
kernel!(weave_avx512, "avx2,avx512f,avx512vl,bmi1,bmi2");
kernel!(weave_avx2, "avx2,bmi1,bmi2");

macro_rules! parents {
    ($name:ident, $features:literal) => {
        /// Eight parents side by side.
        #[target_feature(enable = $features)]
        pub(super) fn $name(children: &[Value; 16]) -> [Value; 8] {
            let words = in_order(&words_of_eight(|lane| bytemuck::cast_ref(&children.as_chunks::<2>().0[lane])));
            let start = START.map(|word| _mm256_set1_epi32(word as i32));
            let mut v = begin(&start, 0, 0, PARENT);
            macro_rules! nothing {
                ($at:literal) => {};
            }
            for words in &words {
                round!(v, words, nothing);
            }
            transpose(end(&v)).map(bytemuck::cast)
        }
    };
}
parents!(parents_avx512, "avx2,avx512f,avx512vl");
parents!(parents_avx2, "avx2");
