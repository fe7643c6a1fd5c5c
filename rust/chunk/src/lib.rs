//! Chunking and digests in one pass, and a careful look at disk image headers. Pure: no I/O, no clock.
//!
//! # Theory of operation
//!
//! [`Hasher`] feeds one stream to any set of [`Algorithm`]s. A buffer of any size is walked once in slices
//! small enough to stay in the first-level cache while every digest reads it, and no byte of it is copied
//! except the tail that doesn't fill a block. A half-fed hasher can be written down ([`Hasher::state`]) and
//! continued elsewhere ([`Hasher::from_state`]): the layout is ours, so it doesn't change with the crates below.
//!
//! [`Chunker`] cuts a stream into chunks of one size, names each by its BLAKE3 digest, and keeps the digests
//! of the whole stream on the way. It says where in the fed buffer each chunk's bytes lie, and holds none.
//!
//! [`image::inspect`] reads the first bytes of a disk image, which come from a stranger, and says what they
//! are and why they may be unsafe to hand to a hypervisor.
#![forbid(unsafe_code)]

mod algorithm;
mod blake3_tree;
mod blocks;
mod chunker;
mod crc;
mod hasher;
pub mod image;
mod reader;

pub use algorithm::{Algorithm, UnknownAlgorithm};
pub use chunker::{CHUNK_BYTES_DEFAULT, ChunkId, Chunker, ChunkerError, Piece};
pub use hasher::{Hasher, StateError};
