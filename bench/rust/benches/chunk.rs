//! The budgets of chunking and digests, each against the library that does one of them best.
//!
//! Rates are over feeds of 1 MiB in turn with the floor's, sixteen of them one after another, from memory that isn't in the nearest cache; the
//! fastest counts.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a bench that can't go on says why and ends")]

use std::hint::black_box;

use ostro_bench::{Figure, Numbers, in_turn, wanted};
use ostro_chunk::{Algorithm, Chunker, Hasher, update_together, verify};
use sha2::Digest;

const FEED: usize = 1 << 20;
const FEEDS: usize = 16;
/// Feeds of each that are timed.
const TURNS: usize = 400;

type Feed<'a> = &'a [u8];

/// Tells a rate in GB/s. A call of `value` takes so many feeds, one of `floor` one.
fn rate<V, F>(
    figure: Figure<'_>,
    data: &[u8],
    feeds: usize,
    mut value: impl FnMut(Feed<'_>) -> V,
    mut floor: impl FnMut(Feed<'_>) -> F,
) {
    if !wanted(figure.name) {
        return;
    }
    let feed = |at: usize| &data[at % FEEDS * FEED..][..FEED];
    // Not the same feed in one turn: the second would find it in a cache that the first had to fill.
    let (value, floor) = in_turn(TURNS, |at| value(feed(at)), |at| floor(feed(at + FEEDS / 2)));
    figure.tell((feeds * FEED) as f64 / value, FEED as f64 / floor);
}

/// Hashes one stream, feed by feed.
fn hashing(algorithms: &[Algorithm]) -> impl FnMut(Feed<'_>) {
    let mut hasher = Hasher::new(algorithms);
    move |feed| hasher.update(feed)
}

fn blake3_crate() -> impl FnMut(Feed<'_>) {
    let mut hasher = blake3::Hasher::new();
    move |feed| {
        hasher.update(feed);
    }
}

fn alone(data: &[u8]) {
    let figure = Figure::promised("chunk.blake3", "GB/s", 3.0);
    rate(figure, data, 1, hashing(&[Algorithm::Blake3]), blake3_crate());
    let mut sha256 = sha2::Sha256::new();
    rate(Figure::new("chunk.sha256", "GB/s"), data, 1, hashing(&[Algorithm::Sha256]), |feed| sha256.update(feed));
    let mut md5 = md5::Md5::new();
    rate(Figure::new("chunk.md5", "GB/s"), data, 1, hashing(&[Algorithm::Md5]), |feed| md5.update(feed));
}

fn many_md5(data: &[u8]) {
    for (streams, name) in [(8, "chunk.md5_8_streams"), (16, "chunk.md5_16_streams")] {
        let mut hashers: Vec<Hasher> = (0..streams).map(|_| Hasher::new(&[Algorithm::Md5])).collect();
        let together = |_: Feed<'_>| {
            let mut feeds: Vec<(&mut Hasher, &[u8])> = hashers.iter_mut().zip(data.chunks(FEED)).collect();
            update_together(&mut feeds);
        };
        let mut single = md5::Md5::new();
        rate(Figure::new(name, "GB/s"), data, streams, together, |feed| single.update(feed));
    }
}

fn one_pass(data: &[u8]) {
    const ALL: [Algorithm; 3] = [Algorithm::Blake3, Algorithm::Md5, Algorithm::Sha256];
    let figure = Figure::new("chunk.blake3_md5_sha256_in_one_pass", "GB/s");
    rate(figure, data, 1, hashing(&ALL), hashing(&[Algorithm::Md5]));
    let mut chunker = Chunker::new(4 << 20, &[Algorithm::Md5]).unwrap();
    let figure = Figure::new("chunk.cut_4mib_with_md5", "GB/s");
    rate(figure, data, 1, |feed| chunker.feed(feed), hashing(&[Algorithm::Md5]));
    let mut chunker = Chunker::by_content(1 << 20, 4 << 20, 16 << 20, &[]).unwrap();
    rate(Figure::new("chunk.cut_by_content", "GB/s"), data, 1, |feed| chunker.feed(feed), blake3_crate());
}

fn reading(data: &[u8]) {
    let ids: Vec<[u8; 32]> = data.chunks(FEED).map(|feed| *blake3::hash(feed).as_bytes()).collect();
    let mut at = 0..;
    let mut next = || at.next().unwrap_or(0) % FEEDS;
    rate(Figure::new("chunk.verify", "GB/s"), data, 1, |feed| verify(feed, &ids[next()]).unwrap(), blake3::hash);
    let mut copy = vec![0; FEED];
    let copying = |feed: Feed<'_>| black_box(&mut copy).copy_from_slice(black_box(feed));
    rate(Figure::new("chunk.crc32c", "GB/s"), data, 1, hashing(&[Algorithm::Crc32c]), copying);
}

fn main() {
    let data = Numbers(5).bytes(FEEDS * FEED);
    alone(&data);
    many_md5(&data);
    one_pass(&data);
    reading(&data);
}
