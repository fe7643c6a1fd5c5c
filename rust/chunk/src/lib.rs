//! Chunking and digests in one pass, and a careful look at disk image headers. Pure: no I/O, no clock.
//!
//! # Theory of operation
//!
//! [`Hasher`] feeds one stream to any set of [`Algorithm`]s in one pass; no byte is copied except the tail that
//! doesn't fill a block. MD5 is the slowest of them by far because its steps wait for each other, so the crate
//! puts the rest of the processor to use meanwhile: within a stream, SHA-256 and BLAKE3 are woven between MD5's
//! steps (`fused`), and the MD5s of different streams share vectors (`md5_lanes`), whether they are fed by one
//! call ([`update_together`]) or meet in a [`Pool`] from different threads. Kernels are compiled for several
//! processors and chosen at run time; where one lacks the instructions, plain code does the same.
//!
//! A half-fed hasher can be written down ([`Hasher::state`]) and continued elsewhere ([`Hasher::from_state`]):
//! the layout is ours, so it doesn't change with the crates below.
//!
//! [`Chunker`] cuts a stream into chunks of one size or by content ([`Cutter`]), names each by its BLAKE3 digest,
//! and keeps the digests of the whole stream on the way. It says where in the fed buffer each chunk's bytes lie,
//! and holds none. [`verify`] and [`Verifier`] check them when they are read back.
//!
//! [`image::inspect`] reads the first bytes of a disk image, which come from a stranger, and says what they
//! are and why they may be unsafe to hand to a hypervisor.
#![forbid(unsafe_code)]

mod algorithm;
#[cfg(target_arch = "x86_64")]
mod avx2;
mod blake3_tree;
mod blocks;
mod chunker;
mod crc;
mod cutter;
mod etag;
mod fused;
mod hasher;
pub mod image;
mod md5;
mod md5_lanes;
mod pool;
mod reader;
mod running;
mod together;
mod verify;
mod weave;

pub use algorithm::{Algorithm, UnknownAlgorithm};
pub use chunker::{CHUNK_BYTES_DEFAULT, ChunkId, Chunker, ChunkerError, Piece};
pub use cutter::{Cutter, CutterError};
pub use etag::{PartsError, combined, composite, multipart_etag, slo_etag};
pub use hasher::{Hasher, StateError};
pub use pool::{Lost, Pool};
pub use together::update_together;
pub use verify::{Corrupt, Verifier, verify};
