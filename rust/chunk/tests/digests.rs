//! Digests against the crates that define them, over any data in any pieces.

#![allow(clippy::unwrap_used, reason = "a panic here is a failed test")]

use std::collections::BTreeMap;

use md5::Digest;
use ostro_chunk::{Algorithm, Chunker, Hasher, update_together};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::subsequence;

/// Bytes that differ from place to place, without the cost of random ones.
fn bytes(length: usize, seed: u32) -> Vec<u8> {
    (0..length as u32).map(|at| (at.wrapping_add(seed).wrapping_mul(0x9e37_79b1) >> 15) as u8).collect()
}

fn reference(algorithm: Algorithm, data: &[u8]) -> Vec<u8> {
    match algorithm {
        Algorithm::Md5 => md5::Md5::digest(data).to_vec(),
        Algorithm::Sha1 => sha1::Sha1::digest(data).to_vec(),
        Algorithm::Sha256 => sha2::Sha256::digest(data).to_vec(),
        Algorithm::Sha512 => sha2::Sha512::digest(data).to_vec(),
        Algorithm::Blake3 => blake3::hash(data).as_bytes().to_vec(),
        Algorithm::Crc32c => crc_fast::crc32_iscsi(data).to_be_bytes().to_vec(),
        Algorithm::Crc64Nvme => crc_fast::crc64_nvme(data).to_be_bytes().to_vec(),
    }
}

/// Lengths around the borders that matter: blocks, leaves, units of 16 KiB, and powers of two of them.
fn length() -> impl Strategy<Value = usize> {
    let border =
        prop::sample::select(vec![0, 1, 55, 56, 63, 64, 65, 111, 112, 127, 128, 1023, 1024, 1025, 8192, 16384]);
    let near = (0..12_usize, 0..3_usize).prop_map(|(units, delta)| (units * 16384 + delta).saturating_sub(1));
    prop_oneof![2 => border, 2 => near, 1 => 0..200_000_usize]
}

fn algorithms() -> impl Strategy<Value = Vec<Algorithm>> {
    let woven = prop::sample::select(vec![
        vec![Algorithm::Md5, Algorithm::Sha256],
        vec![Algorithm::Blake3, Algorithm::Md5],
        vec![Algorithm::Sha256, Algorithm::Blake3, Algorithm::Md5],
        vec![Algorithm::Md5, Algorithm::Crc64Nvme, Algorithm::Sha256, Algorithm::Blake3],
    ]);
    prop_oneof![2 => woven, 1 => subsequence(Algorithm::ALL.to_vec(), 1..=7)]
}

/// Cut data into pieces of the sizes given, over and over.
fn pieces<'a>(mut data: &'a [u8], sizes: &'a [usize]) -> impl Iterator<Item = &'a [u8]> {
    sizes.iter().cycle().map_while(move |size| {
        let (head, rest) = data.split_at((*size).min(data.len()));
        data = rest;
        (!head.is_empty()).then_some(head)
    })
}

fn sizes() -> impl Strategy<Value = Vec<usize>> {
    let size = prop_oneof![
        1 => 1..2000_usize,
        2 => (1..6_usize).prop_map(|units| units * 16384),
        1 => 16_000..150_000_usize,
    ];
    vec(size, 1..5)
}

/// Around what is merged at once: a stream that ends there ends in a root, whichever way it was fed.
#[test]
fn big_trees() {
    const MERGED: usize = 256 * 1024;
    let data: Vec<u8> = (0..5 * MERGED).map(|at| ((at * 2_654_435_761) >> 13) as u8).collect();
    for length in [MERGED - 1, MERGED, MERGED + 1, MERGED + 16_384, 2 * MERGED, 3 * MERGED + 17, 4 * MERGED, 5 * MERGED]
    {
        let data = &data[..length];
        for size in [length, MERGED, 3 * 16_384, 100_000] {
            let mut hasher = Hasher::new(&[Algorithm::Blake3, Algorithm::Md5, Algorithm::Sha256]);
            data.chunks(size).for_each(|piece| hasher.update(piece));
            let expected = blake3::hash(data).as_bytes().to_vec();
            assert_eq!(hasher.digest(Algorithm::Blake3), Some(expected), "{length} bytes by {size}");
            assert_eq!(hasher.digest(Algorithm::Md5), Some(md5::Md5::digest(data).to_vec()));
        }
    }
}

#[test]
fn known_answers() {
    let mut hasher = Hasher::new(&Algorithm::ALL);
    hasher.update(b"123456789");
    let digests: BTreeMap<Algorithm, Vec<u8>> = hasher.digests().into_iter().collect();
    assert_eq!(digests[&Algorithm::Crc32c], [0xe3, 0x06, 0x92, 0x83]);
    assert_eq!(digests[&Algorithm::Crc64Nvme], [0xae, 0x8b, 0x14, 0x86, 0x0a, 0x79, 0x98, 0x88]);
    assert_eq!(digests[&Algorithm::Md5][..4], [0x25, 0xf9, 0xe7, 0x94]);
    assert_eq!(digests[&Algorithm::Blake3][..4], [0xb7, 0xd6, 0x5b, 0x48]);
}

#[test]
fn an_algorithm_named_twice_runs_once() {
    let hasher = Hasher::new(&[Algorithm::Md5, Algorithm::Sha1, Algorithm::Md5]);
    assert_eq!(hasher.algorithms().collect::<Vec<_>>(), [Algorithm::Md5, Algorithm::Sha1]);
    assert_eq!(hasher.digest(Algorithm::Blake3), None);
}

proptest! {
    #[test]
    fn any_pieces_give_the_digests_of_the_whole(
        length in length(), seed in any::<u32>(), algorithms in algorithms(), sizes in sizes(), stop_at in 0..8_usize,
    ) {
        let data = bytes(length, seed);
        let mut hasher = Hasher::new(&algorithms);
        for (at, piece) in pieces(&data, &sizes).enumerate() {
            hasher.update(piece);
            if at == stop_at {
                // A digest on the way doesn't disturb, and a state continues.
                let digests = hasher.digests();
                hasher = Hasher::from_state(&hasher.state()).unwrap();
                prop_assert_eq!(hasher.digests(), digests);
            }
        }
        prop_assert_eq!(hasher.length(), length as u64);
        for (algorithm, digest) in hasher.digests() {
            prop_assert_eq!(digest, reference(algorithm, &data), "{}", algorithm);
        }
    }

    #[test]
    fn streams_fed_together_are_fed_alike(
        streams in vec((algorithms(), vec(0..30_000_usize, 1..4)), 0..40), seed in any::<u32>(),
    ) {
        let mut together: Vec<Hasher> = streams.iter().map(|(algorithms, _)| Hasher::new(algorithms)).collect();
        let mut alone = together.clone();
        for turn in 0..4 {
            let feeds: Vec<Vec<u8>> = streams.iter().enumerate()
                .map(|(at, (_, lengths))| bytes(lengths.get(turn).copied().unwrap_or(0), seed.wrapping_add(at as u32)))
                .collect();
            let mut pairs: Vec<(&mut Hasher, &[u8])> =
                together.iter_mut().zip(&feeds).map(|(hasher, feed)| (hasher, feed.as_slice())).collect();
            update_together(&mut pairs);
            alone.iter_mut().zip(&feeds).for_each(|(hasher, feed)| hasher.update(feed));
        }
        for (together, alone) in together.iter().zip(&alone) {
            prop_assert_eq!(together.digests(), alone.digests());
            prop_assert_eq!(together.length(), alone.length());
        }
    }

    #[test]
    fn chunks_cover_the_stream_and_have_the_names_of_their_bytes(
        length in 0..300_000_usize, seed in any::<u32>(), sizes in sizes(),
        chunk_bytes in prop::sample::select(vec![1_000_u64, 16_384, 32_768, 65_536, 100_000, 1 << 20]),
        digests in algorithms(),
    ) {
        let data = bytes(length, seed);
        let mut chunker = Chunker::new(chunk_bytes, &digests).unwrap();
        let mut chunks: Vec<Vec<u8>> = Vec::new();
        let mut names = Vec::new();
        for feed in pieces(&data, &sizes) {
            for piece in chunker.feed(feed) {
                if piece.offset == 0 {
                    chunks.push(Vec::new());
                }
                let chunk = chunks.last_mut().unwrap();
                prop_assert_eq!(piece.offset, chunk.len() as u64);
                prop_assert_eq!(piece.index, names.len() as u64);
                chunk.extend_from_slice(&feed[piece.start..piece.end]);
                prop_assert_eq!(piece.id.is_some(), chunk.len() as u64 == chunk_bytes);
                names.extend(piece.id);
            }
        }
        if let Some((id, length)) = chunker.finish() {
            prop_assert_eq!(length, chunks.last().unwrap().len() as u64);
            names.push(id);
        }
        prop_assert_eq!(chunks.concat(), data.clone());
        let expected: Vec<[u8; 32]> = chunks.iter().map(|chunk| *blake3::hash(chunk).as_bytes()).collect();
        prop_assert_eq!(names, expected);
        for (algorithm, digest) in chunker.whole().digests() {
            prop_assert_eq!(digest, reference(algorithm, &data), "{}", algorithm);
        }
    }

    #[test]
    fn prop_a_state_from_a_stranger_is_refused_or_works(
        algorithms in algorithms(), length in 0..5000_usize, flips in vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        cut in any::<prop::sample::Index>(), mend in any::<bool>(),
    ) {
        let mut hasher = Hasher::new(&algorithms);
        hasher.update(&bytes(length, 0));
        let mut state = hasher.state();
        for (at, with) in flips {
            let at = at.index(state.len());
            state[at] ^= with;
        }
        state.truncate(cut.index(state.len() * 2));
        if mend && state.len() > 4 {
            // Even with a sum that is right, nothing inside may be trusted.
            let body = state.len() - 4;
            let sum = crc_fast::crc32_iscsi(&state[..body]);
            state[body..].copy_from_slice(&sum.to_le_bytes());
        }
        if let Ok(mut resumed) = Hasher::from_state(&state) {
            resumed.update(&bytes(3000, 1));
            resumed.digests();
            resumed.state();
        }
    }
}
