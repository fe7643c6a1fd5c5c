//! The budgets of chunking and digests, each against the library that does one of them best.
//!
//! Rates are over 16 MiB in feeds of 1 MiB, from memory that isn't in the nearest cache.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a bench that can't go on says why and ends")]

use std::hint::black_box;

use ostro_bench::{Bench, Figure, Numbers, wanted};
use ostro_chunk::{Algorithm, Chunker, Hasher, update_together, verify};
use sha2::Digest;

const FEED: usize = 1 << 20;
const BYTES: usize = 16 * FEED;

fn hash(algorithms: &[Algorithm], data: &[u8]) -> Hasher {
    let mut hasher = Hasher::new(algorithms);
    data.chunks(FEED).for_each(|feed| hasher.update(feed));
    hasher
}

/// A figure in GB/s from nanoseconds for `bytes`.
fn rate(figure: Figure<'_>, bytes: usize, floor_bytes: usize, (value, floor): (f64, f64)) {
    figure.tell(bytes as f64 / value, floor_bytes as f64 / floor);
}

fn blake3_whole(data: &[u8]) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new();
    for feed in data.chunks(FEED) {
        hasher.update(feed);
    }
    hasher.finalize()
}

fn alone(bench: &mut Bench, data: &[u8]) {
    let figure = Figure::promised("chunk.blake3", "GB/s", 3.0);
    if wanted(figure.name) {
        let pair = bench.pair(
            figure.name,
            |bencher| bencher.iter(|| hash(&[Algorithm::Blake3], data).digest(Algorithm::Blake3)),
            |bencher| bencher.iter(|| blake3_whole(data)),
        );
        rate(figure, BYTES, BYTES, pair);
    }
    let figure = Figure::new("chunk.sha256", "GB/s");
    if wanted(figure.name) {
        let pair = bench.pair(
            figure.name,
            |bencher| bencher.iter(|| hash(&[Algorithm::Sha256], data).digest(Algorithm::Sha256)),
            |bencher| bencher.iter(|| sha2::Sha256::digest(data)),
        );
        rate(figure, BYTES, BYTES, pair);
    }
    let figure = Figure::new("chunk.md5", "GB/s");
    if wanted(figure.name) {
        let pair = bench.pair(
            figure.name,
            |bencher| bencher.iter(|| hash(&[Algorithm::Md5], data).digest(Algorithm::Md5)),
            |bencher| bencher.iter(|| md5::Md5::digest(data)),
        );
        rate(figure, BYTES, BYTES, pair);
    }
}

fn many_md5(bench: &mut Bench, data: &[u8]) {
    for (streams, name, budget) in [(8, "chunk.md5_8_streams", None), (16, "chunk.md5_16_streams", Some(4.0))] {
        let figure = Figure { name, unit: "GB/s", budget };
        if !wanted(figure.name) {
            continue;
        }
        let feeds: Vec<&[u8]> = data.chunks(FEED).take(streams).collect();
        let pair = bench.pair(
            figure.name,
            |bencher| {
                let mut hashers: Vec<Hasher> = feeds.iter().map(|_| Hasher::new(&[Algorithm::Md5])).collect();
                bencher.iter(|| {
                    let mut together: Vec<(&mut Hasher, &[u8])> =
                        hashers.iter_mut().zip(feeds.iter().copied()).collect();
                    update_together(&mut together);
                });
            },
            |bencher| {
                let mut single = md5::Md5::new();
                bencher.iter(|| single.update(black_box(feeds[0])));
            },
        );
        rate(figure, streams * FEED, FEED, pair);
    }
}

fn one_pass(bench: &mut Bench, data: &[u8]) {
    const ALL: [Algorithm; 3] = [Algorithm::Blake3, Algorithm::Md5, Algorithm::Sha256];
    let figure = Figure::new("chunk.blake3_md5_sha256_in_one_pass", "GB/s");
    if wanted(figure.name) {
        let pair = bench.pair(
            figure.name,
            |bencher| bencher.iter(|| hash(&ALL, data).digests()),
            |bencher| bencher.iter(|| hash(&[Algorithm::Md5], data).digests()),
        );
        rate(figure, BYTES, BYTES, pair);
    }
    let figure = Figure::new("chunk.cut_4mib_with_md5", "GB/s");
    if wanted(figure.name) {
        let cut = || {
            let mut chunker = Chunker::new(4 << 20, &[Algorithm::Md5]).unwrap();
            data.chunks(FEED).map(|feed| chunker.feed(feed).len()).sum::<usize>()
        };
        let pair = bench.pair(
            figure.name,
            |bencher| bencher.iter(cut),
            |bencher| bencher.iter(|| hash(&[Algorithm::Md5], data).digests()),
        );
        rate(figure, BYTES, BYTES, pair);
    }
    let figure = Figure::new("chunk.cut_by_content", "GB/s");
    if wanted(figure.name) {
        let cut = || {
            let mut chunker = Chunker::by_content(1 << 20, 4 << 20, 16 << 20, &[]).unwrap();
            data.chunks(FEED).map(|feed| chunker.feed(feed).len()).sum::<usize>()
        };
        let pair = bench.pair(figure.name, |bencher| bencher.iter(cut), |bencher| bencher.iter(|| blake3_whole(data)));
        rate(figure, BYTES, BYTES, pair);
    }
}

fn reading(bench: &mut Bench, data: &[u8]) {
    let figure = Figure::new("chunk.verify", "GB/s");
    if wanted(figure.name) {
        let id = *blake3_whole(data).as_bytes();
        let pair = bench.pair(
            figure.name,
            |bencher| bencher.iter(|| verify(data, &id).unwrap()),
            |bencher| bencher.iter(|| blake3::hash(data)),
        );
        rate(figure, BYTES, BYTES, pair);
    }
    let figure = Figure::new("chunk.crc32c", "GB/s");
    if wanted(figure.name) {
        let mut copy = data.to_vec();
        let pair = bench.pair(
            figure.name,
            |bencher| bencher.iter(|| hash(&[Algorithm::Crc32c], data).digests()),
            |bencher| bencher.iter(|| black_box(&mut copy).copy_from_slice(black_box(data))),
        );
        rate(figure, BYTES, BYTES, pair);
    }
}

fn main() {
    let data = Numbers(5).bytes(BYTES);
    let mut bench = Bench::default();
    alone(&mut bench, &data);
    many_md5(&mut bench, &data);
    one_pass(&mut bench, &data);
    reading(&mut bench, &data);
}
