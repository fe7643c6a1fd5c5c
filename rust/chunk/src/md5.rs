//! MD5's compression function for one stream. Its steps wait for each other, so it leaves most of a processor idle;
//! [`crate::md5_lanes`] and [`crate::fused`] put that to use.

use std::hint::black_box;

/// The additive constants of the 64 steps.
pub(crate) const ADDENDS: [u32; 64] = [
    0xd76a_a478,
    0xe8c7_b756,
    0x2420_70db,
    0xc1bd_ceee,
    0xf57c_0faf,
    0x4787_c62a,
    0xa830_4613,
    0xfd46_9501,
    0x6980_98d8,
    0x8b44_f7af,
    0xffff_5bb1,
    0x895c_d7be,
    0x6b90_1122,
    0xfd98_7193,
    0xa679_438e,
    0x49b4_0821,
    0xf61e_2562,
    0xc040_b340,
    0x265e_5a51,
    0xe9b6_c7aa,
    0xd62f_105d,
    0x0244_1453,
    0xd8a1_e681,
    0xe7d3_fbc8,
    0x21e1_cde6,
    0xc337_07d6,
    0xf4d5_0d87,
    0x455a_14ed,
    0xa9e3_e905,
    0xfcef_a3f8,
    0x676f_02d9,
    0x8d2a_4c8a,
    0xfffa_3942,
    0x8771_f681,
    0x6d9d_6122,
    0xfde5_380c,
    0xa4be_ea44,
    0x4bde_cfa9,
    0xf6bb_4b60,
    0xbebf_bc70,
    0x289b_7ec6,
    0xeaa1_27fa,
    0xd4ef_3085,
    0x0488_1d05,
    0xd9d4_d039,
    0xe6db_99e5,
    0x1fa2_7cf8,
    0xc4ac_5665,
    0xf429_2244,
    0x432a_ff97,
    0xab94_23a7,
    0xfc93_a039,
    0x655b_59c3,
    0x8f0c_cc92,
    0xffef_f47d,
    0x8584_5dd1,
    0x6fa8_7e4f,
    0xfe2c_e6e0,
    0xa301_4314,
    0x4e08_11a1,
    0xf753_7e82,
    0xbd3a_f235,
    0x2ad7_d2bb,
    0xeb86_d391,
];
/// How far each of a round's four kinds of step rotates.
pub(crate) const ROTATIONS: [[u32; 4]; 4] = [[7, 12, 17, 22], [5, 9, 14, 20], [4, 11, 16, 23], [6, 10, 15, 21]];

/// Chaining words.
pub(crate) type Words = [u32; 4];
/// The words before the first byte.
pub(crate) const START: Words = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476];

/// The message word that a step takes.
pub(crate) const fn word(step: usize) -> usize {
    match step / 16 {
        0 => step,
        1 => (5 * step + 1) % 16,
        2 => (3 * step + 5) % 16,
        _ => (7 * step) % 16,
    }
}

/// The additive constants by round and message word.
pub(crate) const ADDENDS_BY_WORD: [[u32; 16]; 4] = addends_by_word();

const fn addends_by_word() -> [[u32; 16]; 4] {
    let mut by_word = [[0; 16]; 4];
    let mut step = 0;
    while step < 64 {
        by_word[step / 16][word(step)] = ADDENDS[step];
        step += 1;
    }
    by_word
}

/// A block's words with each round's constants added, all that a step takes of them: a vector adds four at once. They are to go
/// through memory (by `black_box`), because taking words out of vectors would cost more than it saves.
#[inline(always)]
pub(crate) fn summands(block: &[u8; 64]) -> [[u32; 16]; 4] {
    let words: [u32; 16] = bytemuck::cast(*block);
    ADDENDS_BY_WORD.map(|addends| std::array::from_fn(|at| u32::from_le(words[at]).wrapping_add(addends[at])))
}

/// One step: the new value of `a`. Only what depends on `b` is on the long way.
#[inline(always)]
pub(crate) fn step(at: usize, a: u32, b: u32, c: u32, d: u32, summands: &[[u32; 16]; 4]) -> u32 {
    let sum = a.wrapping_add(summands[at / 16][word(at)]);
    let sum = match at / 16 {
        0 => sum.wrapping_add(((c ^ d) & b) ^ d),
        1 => sum.wrapping_add(!d & c).wrapping_add(d & b),
        2 => sum.wrapping_add((c ^ d) ^ b),
        _ => sum.wrapping_add((b | !d) ^ c),
    };
    sum.rotate_left(ROTATIONS[at / 16][at % 4]).wrapping_add(b)
}

/// Four steps from step `4 * $four` on.
macro_rules! four_steps {
    ($four:expr, $a:ident, $b:ident, $c:ident, $d:ident, $summands:expr) => {
        $a = crate::md5::step($four * 4, $a, $b, $c, $d, $summands);
        $d = crate::md5::step($four * 4 + 1, $d, $a, $b, $c, $summands);
        $c = crate::md5::step($four * 4 + 2, $c, $d, $a, $b, $summands);
        $b = crate::md5::step($four * 4 + 3, $b, $c, $d, $a, $summands);
    };
}
pub(crate) use four_steps;

/// The sixteen groups of four steps that a block takes, each by `$four!`.
macro_rules! sixteen {
    ($four:ident) => {
        $four!(0);
        $four!(1);
        $four!(2);
        $four!(3);
        $four!(4);
        $four!(5);
        $four!(6);
        $four!(7);
        $four!(8);
        $four!(9);
        $four!(10);
        $four!(11);
        $four!(12);
        $four!(13);
        $four!(14);
        $four!(15);
    };
}
pub(crate) use sixteen;

/// The words after a block: those before it are added.
#[inline(always)]
pub(crate) fn sum(words: Words, before: Words) -> Words {
    std::array::from_fn(|at| words[at].wrapping_add(before[at]))
}

/// Take whole blocks.
pub(crate) fn compress(words: &mut Words, blocks: &[[u8; 64]]) {
    let [mut a, mut b, mut c, mut d] = *words;
    for block in blocks {
        let before = [a, b, c, d];
        let summands = summands(block);
        let summands = black_box(&summands);
        macro_rules! four {
            ($four:literal) => {
                four_steps!($four, a, b, c, d, summands);
            };
        }
        sixteen!(four);
        [a, b, c, d] = sum([a, b, c, d], before);
    }
    *words = [a, b, c, d];
}
