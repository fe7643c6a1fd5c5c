//! SHA-256 by the processor's own instructions between the steps of MD5.
use std::arch::x86_64::{
    __m128i, _mm_add_epi32, _mm_alignr_epi8, _mm_blend_epi16, _mm_set_epi64x, _mm_sha256msg1_epu32,
    _mm_sha256msg2_epu32, _mm_sha256rnds2_epu32, _mm_shuffle_epi8, _mm_shuffle_epi32,
};

use std::hint::black_box;

use super::{Value, pin};
use crate::md5::{Words, four_steps, sixteen, sum, summands};

/// The additive constants, four rounds a vector.
pub(super) const ADDENDS: [[u32; 4]; 16] = [
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
#[derive(Clone, Copy)]
pub(super) struct Sha {
    pub(super) abef: __m128i,
    pub(super) cdgh: __m128i,
}

impl Sha {
    #[target_feature(enable = "sha,sse4.1,ssse3")]
    #[inline]
    pub(super) fn load(words: &Value) -> Self {
        let [a, b, c, d, e, f, g, h] = *words;
        let cdab = _mm_shuffle_epi32::<0xb1>(bytemuck::cast([a, b, c, d]));
        let efgh = _mm_shuffle_epi32::<0x1b>(bytemuck::cast([e, f, g, h]));
        Self { abef: _mm_alignr_epi8::<8>(cdab, efgh), cdgh: _mm_blend_epi16::<0xf0>(efgh, cdab) }
    }

    #[target_feature(enable = "sha,sse4.1,ssse3")]
    #[inline]
    pub(super) fn store(&self) -> Value {
        let feba = _mm_shuffle_epi32::<0x1b>(self.abef);
        let dchg = _mm_shuffle_epi32::<0xb1>(self.cdgh);
        let [a, b, c, d]: [u32; 4] = bytemuck::cast(_mm_blend_epi16::<0xf0>(feba, dchg));
        let [e, f, g, h]: [u32; 4] = bytemuck::cast(_mm_alignr_epi8::<8>(dchg, feba));
        [a, b, c, d, e, f, g, h]
    }

    #[target_feature(enable = "sha,sse4.1,ssse3")]
    #[inline]
    pub(super) fn add(self, before: Self) -> Self {
        Self { abef: _mm_add_epi32(self.abef, before.abef), cdgh: _mm_add_epi32(self.cdgh, before.cdgh) }
    }
}

/// How to turn each word's bytes around.
#[target_feature(enable = "sha,sse4.1,ssse3")]
#[inline]
pub(super) fn swap() -> __m128i {
    _mm_set_epi64x(0x0c0d_0e0f_0809_0a0b, 0x0405_0607_0001_0203)
}

/// The message of one block.
#[target_feature(enable = "sha,sse4.1,ssse3")]
#[inline]
pub(super) fn message(block: &[u8; 64], swap: __m128i) -> [__m128i; 4] {
    let (quarters, _) = block.as_chunks::<16>();
    std::array::from_fn(|at| _mm_shuffle_epi8(bytemuck::cast(quarters[at]), swap))
}

/// Four rounds, the `$four`th of a block, with [`ADDENDS`] as `$addends`.
macro_rules! four_rounds {
    ($four:expr, $state:ident, $message:ident, $addends:ident) => {
        if $four >= 4 {
            let [old, next, recent, last] =
                [$four % 4, ($four + 1) % 4, ($four + 2) % 4, ($four + 3) % 4].map(|at| $message[at]);
            let sum = _mm_add_epi32(_mm_sha256msg1_epu32(old, next), _mm_alignr_epi8::<4>(last, recent));
            $message[$four % 4] = _mm_sha256msg2_epu32(sum, last);
        }
        let sum = _mm_add_epi32($message[$four % 4], bytemuck::cast($addends[$four]));
        $state.cdgh = _mm_sha256rnds2_epu32($state.cdgh, $state.abef, sum);
        $state.abef = _mm_sha256rnds2_epu32($state.abef, $state.cdgh, _mm_shuffle_epi32::<0x0e>(sum));
    };
}
pub(super) use four_rounds;

/// A block of SHA-256 for each block of MD5.
#[target_feature(enable = "sha,sse4.1,ssse3,bmi1,bmi2")]
pub(super) fn weave(md5: &mut Words, sha: &mut Value, blocks: &[[u8; 64]]) {
    let swap = swap();
    let mut state = Sha::load(sha);
    let [mut a, mut b, mut c, mut d] = *md5;
    let addends = black_box(&ADDENDS);
    for block in blocks {
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
    *md5 = [a, b, c, d];
    *sha = state.store();
}
