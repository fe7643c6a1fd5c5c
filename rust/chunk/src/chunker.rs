//! A stream cut into chunks of one size, each named by its BLAKE3 digest.
use crate::algorithm::Algorithm;
use crate::blake3_tree::Blake3;
use crate::hasher::Hasher;

/// The size that the object store cuts to unless told otherwise.
pub const CHUNK_BYTES_DEFAULT: u64 = 4 * 1024 * 1024;

/// A chunk's name: the BLAKE3 digest of its bytes.
pub type ChunkId = [u8; 32];

/// A chunker that can't be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChunkerError {
    /// A chunk holds at least one byte.
    #[error("chunks must hold at least one byte")]
    NoBytes,
}

/// A run of fed bytes that belongs to one chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    /// Where the run begins in the buffer fed.
    pub start: usize,
    /// Where it ends there.
    pub end: usize,
    /// Which chunk of the stream, from 0.
    pub index: u64,
    /// Where in the chunk the run begins.
    pub offset: u64,
    /// The chunk's name, if this run completes it.
    pub id: Option<ChunkId>,
}

/// Cuts one stream. Every byte fed is in exactly one [`Piece`], in order.
#[derive(Clone)]
pub struct Chunker {
    chunk_bytes: u64,
    whole: Hasher,
    current: Blake3,
    index: u64,
    length: u64,
}

impl Chunker {
    /// Begin a stream cut every `chunk_bytes`, with `digests` of the whole.
    ///
    /// # Errors
    /// [`ChunkerError::NoBytes`] if `chunk_bytes` is 0.
    pub fn new(chunk_bytes: u64, digests: &[Algorithm]) -> Result<Self, ChunkerError> {
        if chunk_bytes == 0 {
            return Err(ChunkerError::NoBytes);
        }
        Ok(Self { chunk_bytes, whole: Hasher::new(digests), current: Blake3::new(), index: 0, length: 0 })
    }

    /// Take the next bytes and say which chunks they belong to.
    pub fn feed(&mut self, data: &[u8]) -> Vec<Piece> {
        let mut pieces = Vec::new();
        let mut start = 0;
        self.length += data.len() as u64;
        while start < data.len() {
            let offset = self.current.length();
            let room = self.chunk_bytes - offset;
            let end = data.len().min(start.saturating_add(usize::try_from(room).unwrap_or(usize::MAX)));
            self.take(&data[start..end]);
            let id = (self.current.length() == self.chunk_bytes).then(|| self.current.finish());
            pieces.push(Piece { start, end, index: self.index, offset, id });
            if id.is_some() {
                self.current = Blake3::new();
                self.index += 1;
            }
            start = end;
        }
        pieces
    }

    /// Hash a run for the chunk and for the whole while it is in the cache.
    fn take(&mut self, run: &[u8]) {
        for slice in run.chunks(16 * 1024) {
            self.current.update(slice);
            self.whole.update(slice);
        }
    }

    /// End the stream: the name and length of the last, shorter chunk, if bytes wait in it.
    pub fn finish(&mut self) -> Option<(ChunkId, u64)> {
        let length = self.current.length();
        if length == 0 {
            return None;
        }
        let id = self.current.finish();
        self.current = Blake3::new();
        self.index += 1;
        Some((id, length))
    }

    /// Bytes fed so far.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// The digests of the whole stream so far.
    pub fn whole(&self) -> &Hasher {
        &self.whole
    }
}
