//! How long Rust takes over what `bench.micro` does from Python; prints the nanoseconds of all of it.
//!
//! `ostro-bench-floor feed COUNT DIGEST...` feeds a chunker so many times 1 MiB. `ostro-bench-floor place COUNT HOST REQUEST` makes so
//! many decisions on a table of one host, both given in JSON.
#![forbid(unsafe_code)]

use std::error::Error;
use std::hint::black_box;
use std::time::Instant;

use ostro_bench::Numbers;
use ostro_chunk::{Algorithm, CHUNK_BYTES_DEFAULT, Chunker};
use ostro_placement::{Explain, HostSpec, HostTable, Request};

fn feed(count: usize, names: &[String]) -> Result<u128, Box<dyn Error>> {
    let digests = names.iter().map(|name| name.parse()).collect::<Result<Vec<Algorithm>, _>>()?;
    let data = Numbers(1).bytes(1 << 20);
    let mut chunker = Chunker::new(CHUNK_BYTES_DEFAULT, &digests)?;
    black_box(chunker.feed(&data));
    let start = Instant::now();
    for _ in 0..count {
        black_box(chunker.feed(&data));
    }
    Ok(start.elapsed().as_nanos())
}

fn place(count: usize, words: &[String]) -> Result<u128, Box<dyn Error>> {
    let [host, request] = words else { return Err("a host and a request".into()) };
    let (host, request): (HostSpec, Request) = (serde_json::from_str(host)?, serde_json::from_str(request)?);
    let mut table = HostTable::new();
    table.set_host("3f2b8c1e-5a4d-4e6f-9a7b-000000000001", &host)?;
    let start = Instant::now();
    for seed in 0..count {
        black_box(table.place(black_box(&request), seed as u64, 1, Explain::IfNone)?);
    }
    Ok(start.elapsed().as_nanos())
}

fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [what, count, rest @ ..] = words.as_slice() else { return Err("what, and how often?".into()) };
    let nanoseconds = match what.as_str() {
        "feed" => feed(count.parse()?, rest)?,
        "place" => place(count.parse()?, rest)?,
        other => return Err(format!("no {other:?} here").into()),
    };
    println!("{nanoseconds}");
    Ok(())
}
