//! MD5 with SHA-256 or BLAKE3 or both at the price of MD5 alone, for one stream.
//!
//! A step of MD5 waits for the step before and leaves two thirds of the processor idle. These kernels weave
//! other digests' instructions between its steps, fine enough that the processor runs all at once: SHA-256
//! by the processor's own instructions, and BLAKE3 on leaves side by side. What decides is how many instructions
//! there are, and that a loop of them fits where decoded ones are kept: MD5's constants are added four at a time,
//! and nothing is unrolled further than a block of MD5. BLAKE3's words are put into the order of their use, for all rounds at once with MD5
//! alone; with both, round by round: a hundred stores at once hold MD5 up.
//!
//! The compiler knows nothing of this. It puts each digest's instructions together where nothing keeps it from that, and the processor
//! looks ahead only so far. So every few steps are pinned ([`pin`]), and what each digest adds there is read from memory that `black_box`
//! hides from the compiler.
//!
//! SHA instructions are a hundred times slower while the upper halves of the vector registers are in use. So
//! BLAKE3 takes eight leaves at a time with MD5 alone, and four with both.
//!
//! BLAKE3 reads its leaves side by side, which keeps the processor from seeing that all is read in one direction. So while a group of leaves
//! is worked on, the lines of the group `ahead` are fetched in order.
//!
//! Each function returns false and does nothing where the processor lacks the instructions.
#[cfg(target_arch = "x86_64")]
use std::sync::atomic::{Ordering, compiler_fence};

use multiversion::multiversion;
use multiversion::target::match_target;

use crate::md5::Words;

#[cfg(target_arch = "x86_64")]
mod all;
#[cfg(target_arch = "x86_64")]
mod blake3;
#[cfg(target_arch = "x86_64")]
mod sha256;

/// One leaf of BLAKE3's tree.
pub(crate) type Leaf = [u8; 1024];
/// Chaining values as words.
pub(crate) type Value = [u32; 8];

/// No read of memory is moved across this, and so nothing that waits for one. It is no instruction.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn pin() {
    compiler_fence(Ordering::AcqRel);
}

/// MD5 woven with SHA-256.
#[multiversion(targets("x86_64+sha+sse4.1+ssse3+bmi1+bmi2"))]
pub(crate) fn md5_sha256(md5: &mut Words, sha: &mut Value, blocks: &[[u8; 64]]) -> bool {
    match_target! {
        "x86_64+sha+sse4.1+ssse3+bmi1+bmi2" => {
            sha256::weave(md5, sha, blocks);
            true
        },
        _ => {
            let _ = (md5, sha, blocks);
            false
        },
    }
}

/// MD5 woven with BLAKE3 over eight leaves, the first of which is leaf number `first`. Those `ahead` are fetched.
#[multiversion(targets("x86_64+avx2+avx512f+avx512vl+bmi1+bmi2", "x86_64+avx2+bmi1+bmi2"))]
pub(crate) fn md5_blake3(
    md5: &mut Words,
    leaves: &[Leaf; 8],
    ahead: &[Leaf; 8],
    first: u64,
    values: &mut [Value; 8],
) -> bool {
    match_target! {
        "x86_64+avx2+avx512f+avx512vl+bmi1+bmi2" => {
            *values = blake3::weave_avx512(md5, leaves, ahead, first);
            true
        },
        "x86_64+avx2+bmi1+bmi2" => {
            *values = blake3::weave_avx2(md5, leaves, ahead, first);
            true
        },
        _ => {
            let _ = (md5, leaves, ahead, first, values);
            false
        },
    }
}

/// MD5 woven with SHA-256, and with BLAKE3 over four leaves, the first of which is leaf number `first`. Those `ahead` are fetched.
#[multiversion(targets("x86_64+sha+avx2+avx512f+avx512vl+bmi1+bmi2", "x86_64+sha+avx+bmi1+bmi2"))]
pub(crate) fn md5_sha256_blake3(
    md5: &mut Words,
    sha: &mut Value,
    leaves: &[Leaf; 4],
    ahead: &[Leaf; 4],
    first: u64,
    values: &mut [Value; 4],
) -> bool {
    match_target! {
        "x86_64+sha+avx2+avx512f+avx512vl+bmi1+bmi2" => {
            *values = all::weave_avx512(md5, sha, leaves, ahead, first);
            true
        },
        "x86_64+sha+avx+bmi1+bmi2" => {
            *values = all::weave_avx(md5, sha, leaves, ahead, first);
            true
        },
        _ => {
            let _ = (md5, sha, leaves, ahead, first, values);
            false
        },
    }
}

/// The chaining values of the parents of sixteen nodes that follow each other.
#[multiversion(targets("x86_64+avx2+avx512f+avx512vl", "x86_64+avx2"))]
pub(crate) fn parents(children: &[Value; 16], values: &mut [Value; 8]) -> bool {
    match_target! {
        "x86_64+avx2+avx512f+avx512vl" => {
            *values = blake3::parents_avx512(children);
            true
        },
        "x86_64+avx2" => {
            *values = blake3::parents_avx2(children);
            true
        },
        _ => {
            let _ = (children, values);
            false
        },
    }
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use super::*;
    use crate::md5;

    /// The kernels for processors without AVX-512, whatever this one has. False where it has less than they need.
    #[multiversion(targets("x86_64+sha+avx2+bmi1+bmi2"))]
    fn older(md5: &mut [Words; 2], sha: &mut Value, leaves: &[Leaf; 8], values: &mut [[Value; 8]; 2]) -> bool {
        match_target! {
            "x86_64+sha+avx2+bmi1+bmi2" => {
                values[0] = blake3::weave_avx2(&mut md5[0], leaves, leaves, 8);
                for (four, (leaves, values)) in leaves.as_chunks().0.iter().zip(values[1].as_chunks_mut().0).enumerate() {
                    *values = all::weave_avx(&mut md5[1], sha, leaves, leaves, 8 + 4 * four as u64);
                }
                true
            },
            _ => {
                let _ = (md5, sha, leaves, values);
                false
            },
        }
    }

    /// Parents by the kernel for processors without AVX-512. False where it has less than that needs.
    #[multiversion(targets("x86_64+avx2"))]
    fn older_parents(children: &[Value; 16], values: &mut [Value; 8]) -> bool {
        match_target! {
            "x86_64+avx2" => {
                *values = blake3::parents_avx2(children);
                true
            },
            _ => {
                let _ = (children, values);
                false
            },
        }
    }

    #[test]
    fn kernels_of_parents_agree() {
        let children: [Value; 16] =
            std::array::from_fn(|at| std::array::from_fn(|word| ((8 * at + word) as u32).wrapping_mul(2_654_435_761)));
        let (mut old, mut new) = ([[0; 8]; 8], [[0; 8]; 8]);
        if !older_parents(&children, &mut old) {
            return;
        }
        assert!(parents(&children, &mut new));
        assert_eq!(old, new);
    }

    #[test]
    fn all_kernels_agree() {
        let mut leaves = [[0_u8; 1024]; 8];
        for (at, byte) in leaves.as_flattened_mut().iter_mut().enumerate() {
            *byte = ((at * 2_654_435_761) >> 13) as u8;
        }
        let (mut olds, mut old_sha, mut old_values) = ([md5::START; 2], [7; 8], [[[0; 8]; 8]; 2]);
        if !older(&mut olds, &mut old_sha, &leaves, &mut old_values) {
            return;
        }
        let blocks = leaves.as_flattened().as_chunks::<64>().0;
        let mut words = md5::START;
        md5::compress(&mut words, blocks);
        assert_eq!(olds, [words; 2]);
        let (mut words, mut sha) = (md5::START, [7; 8]);
        assert!(md5_sha256(&mut words, &mut sha, blocks));
        assert_eq!((olds[0], old_sha), (words, sha));
        let (mut words, mut values) = (md5::START, [[0; 8]; 8]);
        assert!(md5_blake3(&mut words, &leaves, &leaves, 8, &mut values));
        assert_eq!((olds[0], old_values), (words, [values; 2]));
        assert_eq!(values, crate::blake3_tree::leaf_values(&leaves, 8));
        let (mut words, mut sha) = (md5::START, [7; 8]);
        for (four, leaves) in leaves.as_chunks().0.iter().enumerate() {
            let mut values = [[0; 8]; 4];
            assert!(md5_sha256_blake3(&mut words, &mut sha, leaves, leaves, 8 + 4 * four as u64, &mut values));
            assert_eq!(values, old_values[0][4 * four..][..4]);
        }
        assert_eq!((olds[0], old_sha), (words, sha));
    }
}
