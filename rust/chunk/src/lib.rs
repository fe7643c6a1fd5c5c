//! Chunking and digests in one pass. Pure.
#![forbid(unsafe_code)]
