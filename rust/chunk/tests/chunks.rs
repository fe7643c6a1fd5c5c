//! Content-defined cuts, names checked on reading, ETags of parts.

#![allow(clippy::unwrap_used, reason = "a panic here is a failed test")]

use std::collections::BTreeSet;

use ostro_chunk::{
    Algorithm, Chunker, Cutter, Hasher, Verifier, combined, composite, multipart_etag, slo_etag, verify,
};
use proptest::collection::vec;
use proptest::prelude::*;

fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    (0..length)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 32) as u8
        })
        .collect()
}

fn lengths(data: &[u8], feeds: &[usize]) -> Vec<usize> {
    let mut cutter = Cutter::new(256, 1024, 8192).unwrap();
    let (mut lengths, mut current, mut rest) = (Vec::new(), 0, data);
    for size in feeds.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (mut feed, after) = rest.split_at((*size).min(rest.len()));
        rest = after;
        while let Some(cut) = cutter.next(feed) {
            lengths.push(current + cut);
            current = 0;
            feed = &feed[cut..];
        }
        current += feed.len();
    }
    lengths.extend((current > 0).then_some(current));
    lengths
}

fn starts(data: &[u8]) -> BTreeSet<usize> {
    let mut end = data.len();
    // Counted from the end, so that bytes put in front don't move them.
    let begin = |length: usize| {
        end -= length;
        end + length
    };
    lengths(data, &[usize::MAX]).into_iter().map(begin).collect()
}

#[test]
fn sizes_lie_about_the_target() {
    let sizes = lengths(&noise(2_000_000, 7), &[usize::MAX]);
    let mean = 2_000_000 / sizes.len();
    assert!((900..1500).contains(&mean), "{mean}");
    assert!(sizes[..sizes.len() - 1].iter().all(|size| (256..=8192).contains(size)));
    assert!(lengths(&[0; 100_000], &[1000])[..12].iter().all(|size| *size == 8192 || *size == 256));
}

#[test]
fn bytes_put_in_front_change_few_cuts() {
    let data = noise(200_000, 3);
    let moved = [noise(777, 5), data.clone()].concat();
    let (before, after) = (starts(&data), starts(&moved));
    assert!(before.intersection(&after).count() * 10 > before.len() * 9);
}

#[test]
fn sizes_that_make_no_sense_are_refused() {
    for (min, target, max) in [(63, 100, 200), (100, 100, 200), (100, 200, 200), (100, 1 << 31, 1 << 32)] {
        assert!(Cutter::new(min, target, max).is_err());
    }
    assert!(Chunker::new(0, &[]).is_err());
}

proptest! {
    #[test]
    fn cuts_don_t_depend_on_feeds(length in 0..60_000_usize, seed in any::<u64>(), feeds in vec(1..5000_usize, 1..5)) {
        let data = noise(length, seed);
        prop_assert_eq!(lengths(&data, &feeds), lengths(&data, &[usize::MAX]));
        let mut chunker = Chunker::by_content(256, 1024, 8192, &[]).unwrap();
        let pieces = chunker.feed(&data);
        let ends: Vec<usize> = pieces.iter().map(|piece| piece.end - piece.start).collect();
        prop_assert_eq!(ends, lengths(&data, &[usize::MAX]));
    }

    #[test]
    fn one_changed_bit_is_noticed(length in 1..5000_usize, at in any::<prop::sample::Index>(), bit in 0..8_u8) {
        let mut data = noise(length, 1);
        let name = *blake3::hash(&data).as_bytes();
        verify(&data, &name).unwrap();
        let mut verifier = Verifier::new(name);
        data.chunks(700).for_each(|piece| verifier.update(piece));
        verifier.finish().unwrap();
        data[at.index(length)] ^= 1 << bit;
        prop_assert!(verify(&data, &name).is_err());
        verifier.update(b"more");
        prop_assert!(verifier.finish().is_err());
    }

    #[test]
    fn checksums_of_parts_make_that_of_the_whole(parts in vec(vec(any::<u8>(), 0..200), 1..6)) {
        for algorithm in [Algorithm::Crc32c, Algorithm::Crc64Nvme] {
            let sum = |data: &[u8]| {
                let mut hasher = Hasher::new(&[algorithm]);
                hasher.update(data);
                hasher.digest(algorithm).unwrap()
            };
            let sums: Vec<Vec<u8>> = parts.iter().map(|part| sum(part)).collect();
            let pairs: Vec<(&[u8], u64)> = sums.iter().zip(&parts).map(|(sum, part)| (sum.as_slice(), part.len() as u64)).collect();
            prop_assert_eq!(combined(algorithm, &pairs).unwrap(), sum(&parts.concat()));
        }
    }
}

#[test]
fn etags_of_parts() {
    let md5 = |data: &[u8]| {
        let mut hasher = Hasher::new(&[Algorithm::Md5]);
        hasher.update(data);
        hasher.digest(Algorithm::Md5).unwrap()
    };
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let (a, b) = (md5(b"a"), md5(b"b"));
    assert_eq!(multipart_etag(&[&a, &b]).unwrap(), format!("{}-2", hex(&md5(&[a.clone(), b.clone()].concat()))));
    assert!(multipart_etag(&[]).is_err() && multipart_etag(&[b"short"]).is_err());
    let text = format!("{}{}:0-4;", hex(&a), hex(&b));
    assert_eq!(slo_etag(&[(&hex(&a), None), (&hex(&b), Some("0-4"))]), hex(&md5(text.as_bytes())));
    assert_eq!(composite(Algorithm::Md5, &[&a, &b]), md5(&[a.clone(), b].concat()));
    assert!(combined(Algorithm::Md5, &[(&a, 1)]).is_err());
    assert!(combined(Algorithm::Crc32c, &[(&a, 1)]).is_err());
}
