//! Small pieces that the kernels for AVX2 share. Each is safe to call from code compiled for AVX2 only.
use std::arch::x86_64::{
    __m256i, _mm256_permute2x128_si256, _mm256_unpackhi_epi32, _mm256_unpackhi_epi64, _mm256_unpacklo_epi32,
    _mm256_unpacklo_epi64,
};

/// Rows to columns: word `w` of row `r` becomes word `r` of row `w`.
#[target_feature(enable = "avx2")]
#[inline]
pub(crate) fn transpose(rows: [__m256i; 8]) -> [__m256i; 8] {
    let low = |a: usize, b: usize| _mm256_unpacklo_epi32(rows[a], rows[b]);
    let high = |a: usize, b: usize| _mm256_unpackhi_epi32(rows[a], rows[b]);
    let pairs = [low(0, 1), high(0, 1), low(2, 3), high(2, 3), low(4, 5), high(4, 5), low(6, 7), high(6, 7)];
    let low = |a: usize, b: usize| _mm256_unpacklo_epi64(pairs[a], pairs[b]);
    let high = |a: usize, b: usize| _mm256_unpackhi_epi64(pairs[a], pairs[b]);
    let fours = [low(0, 2), high(0, 2), low(1, 3), high(1, 3), low(4, 6), high(4, 6), low(5, 7), high(5, 7)];
    let first = |a: usize, b: usize| _mm256_permute2x128_si256::<0x20>(fours[a], fours[b]);
    let second = |a: usize, b: usize| _mm256_permute2x128_si256::<0x31>(fours[a], fours[b]);
    [first(0, 4), first(1, 5), first(2, 6), first(3, 7), second(0, 4), second(1, 5), second(2, 6), second(3, 7)]
}

/// Sixteen message words of eight blocks, word by word.
#[target_feature(enable = "avx2")]
#[inline]
pub(crate) fn words_of_eight<'a>(block: impl Fn(usize) -> &'a [u8; 64]) -> [__m256i; 16] {
    let mut words = [bytemuck::cast([0_u64; 4]); 16];
    for half in 0..2 {
        let rows: [__m256i; 8] = std::array::from_fn(|lane| bytemuck::cast(block(lane).as_chunks::<32>().0[half]));
        words[half * 8..half * 8 + 8].copy_from_slice(&transpose(rows));
    }
    words
}
