//! MD5 with SHA-256 or BLAKE3 at nearly the price of MD5 alone, for one stream.
//!
//! A step of MD5 waits for the step before and leaves two thirds of the processor idle. These kernels weave
//! another digest's instructions between its steps, fine enough that the processor runs both at once: SHA-256
//! by the processor's own instructions, or BLAKE3 on eight leaves side by side. The two can't be woven into one
//! kernel: SHA instructions are many times slower while the upper halves of the vector registers are in use. So
//! where all three are wanted, SHA-256 goes with the first half of MD5's work and BLAKE3 with the second, each at
//! twice the pace.
//!
//! Each function returns false and does nothing where the processor lacks the instructions.
use multiversion::multiversion;
use multiversion::target::match_target;

use crate::md5::Words;

/// One leaf of BLAKE3's tree.
pub(crate) type Leaf = [u8; 1024];
/// Chaining values as words.
pub(crate) type Value = [u32; 8];

/// MD5 over `md5_blocks` woven with SHA-256 over `sha_blocks`, as many or twice as many.
#[multiversion(targets("x86_64+sha+sse4.1+ssse3+bmi1+bmi2"))]
pub(crate) fn md5_sha256(md5: &mut Words, md5_blocks: &[[u8; 64]], sha: &mut Value, sha_blocks: &[[u8; 64]]) -> bool {
    match_target! {
        "x86_64+sha+sse4.1+ssse3+bmi1+bmi2" => {
            if sha_blocks.len() == md5_blocks.len() {
                sha::weave::<1>(md5, md5_blocks, sha, sha_blocks);
            } else {
                sha::weave::<2>(md5, md5_blocks, sha, sha_blocks);
            }
            true
        },
        _ => {
            let _ = (md5, md5_blocks, sha, sha_blocks);
            false
        },
    }
}

/// MD5 over `md5_blocks` woven with BLAKE3 over eight leaves, the first of which is leaf number `first`.
///
/// There are as many bytes of MD5's as of BLAKE3's (128 blocks) or half as many.
#[multiversion(targets("x86_64+avx2+bmi1+bmi2"))]
pub(crate) fn md5_blake3(
    md5: &mut Words,
    md5_blocks: &[[u8; 64]],
    leaves: &[Leaf; 8],
    first: u64,
    values: &mut [Value; 8],
) -> bool {
    match_target! {
        "x86_64+avx2+bmi1+bmi2" => {
            if md5_blocks.len() == 128 {
                *values = blake::weave::<8>(md5, md5_blocks, leaves, first);
            } else {
                *values = blake::weave::<4>(md5, md5_blocks, leaves, first);
            }
            true
        },
        _ => {
            let _ = (md5, md5_blocks, leaves, first, values);
            false
        },
    }
}

/// The chaining values of the parents of sixteen nodes that follow each other.
#[multiversion(targets("x86_64+avx2"))]
pub(crate) fn parents(children: &[Value; 16], values: &mut [Value; 8]) -> bool {
    match_target! {
        "x86_64+avx2" => {
            *values = blake::parents(children);
            true
        },
        _ => {
            let _ = (children, values);
            false
        },
    }
}

#[cfg(target_arch = "x86_64")]
mod sha {
    use std::arch::x86_64::{
        __m128i, _mm_add_epi32, _mm_alignr_epi8, _mm_blend_epi16, _mm_set_epi64x, _mm_sha256msg1_epu32,
        _mm_sha256msg2_epu32, _mm_sha256rnds2_epu32, _mm_shuffle_epi8, _mm_shuffle_epi32,
    };

    use super::Value;
    use crate::md5::{Words, four_steps};

    const ADDENDS: [[u32; 4]; 16] = [
        [0x428a_2f98, 0x7137_4491, 0xb5c0_fbcf, 0xe9b5_dba5],
        [0x3956_c25b, 0x59f1_11f1, 0x923f_82a4, 0xab1c_5ed5],
        [0xd807_aa98, 0x1283_5b01, 0x2431_85be, 0x550c_7dc3],
        [0x72be_5d74, 0x80de_b1fe, 0x9bdc_06a7, 0xc19b_f174],
        [0xe49b_69c1, 0xefbe_4786, 0x0fc1_9dc6, 0x240c_a1cc],
        [0x2de9_2c6f, 0x4a74_84aa, 0x5cb0_a9dc, 0x76f9_88da],
        [0x983e_5152, 0xa831_c66d, 0xb003_27c8, 0xbf59_7fc7],
        [0xc6e0_0bf3, 0xd5a7_9147, 0x06ca_6351, 0x1429_2967],
        [0x27b7_0a85, 0x2e1b_2138, 0x4d2c_6dfc, 0x5338_0d13],
        [0x650a_7354, 0x766a_0abb, 0x81c2_c92e, 0x9272_2c85],
        [0xa2bf_e8a1, 0xa81a_664b, 0xc24b_8b70, 0xc76c_51a3],
        [0xd192_e819, 0xd699_0624, 0xf40e_3585, 0x106a_a070],
        [0x19a4_c116, 0x1e37_6c08, 0x2748_774c, 0x34b0_bcb5],
        [0x391c_0cb3, 0x4ed8_aa4a, 0x5b9c_ca4f, 0x682e_6ff3],
        [0x748f_82ee, 0x78a5_636f, 0x84c8_7814, 0x8cc7_0208],
        [0x90be_fffa, 0xa450_6ceb, 0xbef9_a3f7, 0xc671_78f2],
    ];

    /// SHA-256's words as the instructions want them.
    struct Sha {
        abef: __m128i,
        cdgh: __m128i,
    }

    impl Sha {
        #[target_feature(enable = "sha,sse4.1,ssse3")]
        #[inline]
        fn load(words: &Value) -> Self {
            let [a, b, c, d, e, f, g, h] = *words;
            let cdab = _mm_shuffle_epi32::<0xb1>(bytemuck::cast([a, b, c, d]));
            let efgh = _mm_shuffle_epi32::<0x1b>(bytemuck::cast([e, f, g, h]));
            Self { abef: _mm_alignr_epi8::<8>(cdab, efgh), cdgh: _mm_blend_epi16::<0xf0>(efgh, cdab) }
        }

        #[target_feature(enable = "sha,sse4.1,ssse3")]
        #[inline]
        fn store(&self) -> Value {
            let feba = _mm_shuffle_epi32::<0x1b>(self.abef);
            let dchg = _mm_shuffle_epi32::<0xb1>(self.cdgh);
            let [a, b, c, d]: [u32; 4] = bytemuck::cast(_mm_blend_epi16::<0xf0>(feba, dchg));
            let [e, f, g, h]: [u32; 4] = bytemuck::cast(_mm_alignr_epi8::<8>(dchg, feba));
            [a, b, c, d, e, f, g, h]
        }
    }

    /// `PACE` blocks of SHA-256 for each block of MD5.
    #[target_feature(enable = "sha,sse4.1,ssse3,bmi1,bmi2")]
    pub(super) fn weave<const PACE: usize>(
        md5: &mut Words,
        md5_blocks: &[[u8; 64]],
        sha: &mut Value,
        sha_blocks: &[[u8; 64]],
    ) {
        let swap = _mm_set_epi64x(0x0c0d_0e0f_0809_0a0b, 0x0405_0607_0001_0203);
        let mut state = Sha::load(sha);
        let [mut a, mut b, mut c, mut d] = *md5;
        for (block, sha_blocks) in md5_blocks.iter().zip(sha_blocks.chunks_exact(PACE)) {
            let (parts, _) = block.as_chunks::<4>();
            let word = |at: usize| u32::from_le_bytes(parts[at]);
            let before = [a, b, c, d];
            let mut message = [swap; 4];
            let mut sha_before = (state.abef, state.cdgh);
            // Four rounds of SHA-256; the first of a block load it, the last add what was before.
            macro_rules! four_rounds {
                ($block:expr, $four:expr) => {
                    if $four == 0 {
                        let (quarters, _) = sha_blocks[$block].as_chunks::<16>();
                        message = std::array::from_fn(|at| _mm_shuffle_epi8(bytemuck::cast(quarters[at]), swap));
                        sha_before = (state.abef, state.cdgh);
                    }
                    if $four >= 4 {
                        let [old, next, recent, last] =
                            [$four % 4, ($four + 1) % 4, ($four + 2) % 4, ($four + 3) % 4].map(|at| message[at]);
                        let sum = _mm_add_epi32(_mm_sha256msg1_epu32(old, next), _mm_alignr_epi8::<4>(last, recent));
                        message[$four % 4] = _mm_sha256msg2_epu32(sum, last);
                    }
                    let sum = _mm_add_epi32(message[$four % 4], bytemuck::cast(ADDENDS[$four]));
                    state.cdgh = _mm_sha256rnds2_epu32(state.cdgh, state.abef, sum);
                    state.abef = _mm_sha256rnds2_epu32(state.abef, state.cdgh, _mm_shuffle_epi32::<0x0e>(sum));
                    if $four == 15 {
                        state.abef = _mm_add_epi32(state.abef, sha_before.0);
                        state.cdgh = _mm_add_epi32(state.cdgh, sha_before.1);
                    }
                };
            }
            macro_rules! woven {
                ($($four:literal)*) => { $(
                    four_steps!($four, a, b, c, d, word);
                    if PACE == 1 {
                        four_rounds!(0, $four);
                    } else {
                        four_rounds!($four / 8, ($four * 2) % 16);
                        four_rounds!($four / 8, ($four * 2 + 1) % 16);
                    }
                )* };
            }
            woven!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15);
            a = a.wrapping_add(before[0]);
            b = b.wrapping_add(before[1]);
            c = c.wrapping_add(before[2]);
            d = d.wrapping_add(before[3]);
        }
        *md5 = [a, b, c, d];
        *sha = state.store();
    }
}

#[cfg(target_arch = "x86_64")]
mod blake {
    use std::arch::x86_64::{
        __m256i, _mm256_add_epi32, _mm256_or_si256, _mm256_set1_epi32, _mm256_setr_epi8, _mm256_shuffle_epi8,
        _mm256_slli_epi32, _mm256_srli_epi32, _mm256_xor_si256,
    };

    use super::{Leaf, Value};
    use crate::avx2::{transpose, words_of_eight};
    use crate::md5::{Words, four_steps};

    const START: Value =
        [0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19];
    const LEAF_START: i32 = 1;
    const LEAF_END: i32 = 2;
    const PARENT: i32 = 4;
    /// Which message word each place of each round takes.
    const SCHEDULE: [[u8; 16]; 7] = schedule();

    const fn schedule() -> [[u8; 16]; 7] {
        const NEXT: [u8; 16] = [2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8];
        let mut rounds = [[0_u8; 16]; 7];
        let mut at = 0;
        while at < 16 {
            rounds[0][at] = at as u8;
            at += 1;
        }
        let mut round = 1;
        while round < 7 {
            at = 0;
            while at < 16 {
                rounds[round][at] = rounds[round - 1][NEXT[at] as usize];
                at += 1;
            }
            round += 1;
        }
        rounds
    }

    #[target_feature(enable = "avx2")]
    #[inline]
    fn rotate_16(value: __m256i) -> __m256i {
        let order = _mm256_setr_epi8(
            2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13, 2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13,
        );
        _mm256_shuffle_epi8(value, order)
    }

    #[target_feature(enable = "avx2")]
    #[inline]
    fn rotate_8(value: __m256i) -> __m256i {
        let order = _mm256_setr_epi8(
            1, 2, 3, 0, 5, 6, 7, 4, 9, 10, 11, 8, 13, 14, 15, 12, 1, 2, 3, 0, 5, 6, 7, 4, 9, 10, 11, 8, 13, 14, 15, 12,
        );
        _mm256_shuffle_epi8(value, order)
    }

    /// The quarter-round on four of the sixteen vectors.
    macro_rules! mix {
        ($v:ident, $a:literal, $b:literal, $c:literal, $d:literal, $x:expr, $y:expr) => {
            $v[$a] = _mm256_add_epi32(_mm256_add_epi32($v[$a], $v[$b]), $x);
            $v[$d] = rotate_16(_mm256_xor_si256($v[$d], $v[$a]));
            $v[$c] = _mm256_add_epi32($v[$c], $v[$d]);
            let mixed = _mm256_xor_si256($v[$b], $v[$c]);
            $v[$b] = _mm256_or_si256(_mm256_srli_epi32::<12>(mixed), _mm256_slli_epi32::<20>(mixed));
            $v[$a] = _mm256_add_epi32(_mm256_add_epi32($v[$a], $v[$b]), $y);
            $v[$d] = rotate_8(_mm256_xor_si256($v[$d], $v[$a]));
            $v[$c] = _mm256_add_epi32($v[$c], $v[$d]);
            let mixed = _mm256_xor_si256($v[$b], $v[$c]);
            $v[$b] = _mm256_or_si256(_mm256_srli_epi32::<7>(mixed), _mm256_slli_epi32::<25>(mixed));
        };
    }

    /// One round over sixteen vectors, with `$between!` after each quarter-round.
    macro_rules! round {
        ($v:ident, $words:ident, $order:expr, $between:ident) => {
            let order: &[u8; 16] = $order;
            macro_rules! w {
                ($at:literal) => {
                    $words[usize::from(order[$at] & 15)]
                };
            }
            mix!($v, 0, 4, 8, 12, w!(0), w!(1));
            $between!(0);
            mix!($v, 1, 5, 9, 13, w!(2), w!(3));
            $between!(1);
            mix!($v, 2, 6, 10, 14, w!(4), w!(5));
            $between!(2);
            mix!($v, 3, 7, 11, 15, w!(6), w!(7));
            $between!(3);
            mix!($v, 0, 5, 10, 15, w!(8), w!(9));
            $between!(4);
            mix!($v, 1, 6, 11, 12, w!(10), w!(11));
            $between!(5);
            mix!($v, 2, 7, 8, 13, w!(12), w!(13));
            $between!(6);
            mix!($v, 3, 4, 9, 14, w!(14), w!(15));
            $between!(7);
        };
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
        std::array::from_fn(|at| _mm256_xor_si256(v[at], v[at + 8]))
    }

    /// Eight leaves, with `PACE` blocks of MD5 while one block of each leaf is mixed.
    #[target_feature(enable = "avx2,bmi1,bmi2")]
    pub(super) fn weave<const PACE: usize>(
        md5: &mut Words,
        md5_blocks: &[[u8; 64]],
        leaves: &[Leaf; 8],
        first: u64,
    ) -> [Value; 8] {
        let mut values: [__m256i; 8] = START.map(|word| _mm256_set1_epi32(word as i32));
        let [mut a, mut b, mut c, mut d] = *md5;
        for (at, md5_blocks) in md5_blocks.chunks_exact(PACE).enumerate() {
            let words = words_of_eight(|lane| &leaves[lane].as_chunks::<64>().0[at]);
            let flags = if at == 0 { LEAF_START } else { 0 } | if at == 15 { LEAF_END } else { 0 };
            let mut v = begin(&values, first, 1, flags);
            for (turn, block) in md5_blocks.iter().enumerate() {
                let (parts, _) = block.as_chunks::<4>();
                let word = |at: usize| u32::from_le_bytes(parts[at]);
                let before = [a, b, c, d];
                macro_rules! eight_steps {
                    ($pair:literal) => {
                        four_steps!(2 * $pair, a, b, c, d, word);
                        four_steps!(2 * $pair + 1, a, b, c, d, word);
                    };
                }
                macro_rules! steps_of_first_half {
                    ($four:literal) => {
                        four_steps!($four, a, b, c, d, word);
                    };
                }
                macro_rules! steps_of_second_half {
                    ($four:literal) => {
                        four_steps!($four + 8, a, b, c, d, word);
                    };
                }
                if PACE == 8 && turn < 7 {
                    round!(v, words, &SCHEDULE[turn], eight_steps);
                } else if PACE == 8 {
                    eight_steps!(0);
                    eight_steps!(1);
                    eight_steps!(2);
                    eight_steps!(3);
                    eight_steps!(4);
                    eight_steps!(5);
                    eight_steps!(6);
                    eight_steps!(7);
                } else {
                    round!(v, words, &SCHEDULE[2 * turn], steps_of_first_half);
                    if turn < 3 {
                        round!(v, words, &SCHEDULE[2 * turn + 1], steps_of_second_half);
                    } else {
                        eight_steps!(4);
                        eight_steps!(5);
                        eight_steps!(6);
                        eight_steps!(7);
                    }
                }
                a = a.wrapping_add(before[0]);
                b = b.wrapping_add(before[1]);
                c = c.wrapping_add(before[2]);
                d = d.wrapping_add(before[3]);
            }
            values = end(&v);
        }
        *md5 = [a, b, c, d];
        transpose(values).map(bytemuck::cast)
    }

    /// Eight parents side by side.
    #[target_feature(enable = "avx2")]
    pub(super) fn parents(children: &[Value; 16]) -> [Value; 8] {
        let words = words_of_eight(|lane| bytemuck::cast_ref(&children.as_chunks::<2>().0[lane]));
        let start = START.map(|word| _mm256_set1_epi32(word as i32));
        let mut v = begin(&start, 0, 0, PARENT);
        macro_rules! nothing {
            ($at:literal) => {};
        }
        for order in &SCHEDULE {
            round!(v, words, order, nothing);
        }
        transpose(end(&v)).map(bytemuck::cast)
    }
}
