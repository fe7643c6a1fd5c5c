//! A stream cut into chunks, each named by its BLAKE3 digest.
use crate::algorithm::Algorithm;
use crate::blake3_tree::Blake3;
use crate::cutter::{Cutter, CutterError};
use crate::hasher::Hasher;
use crate::weave::Set;

/// The size that the object store cuts to unless told otherwise.
pub const CHUNK_BYTES_DEFAULT: u64 = 4 * 1024 * 1024;

/// A chunk's name: the BLAKE3 digest of its bytes.
pub type ChunkId = [u8; 32];

/// A chunker that can't be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ChunkerError {
    /// A chunk holds at least one byte.
    #[error("chunks must hold at least one byte")]
    NoBytes,
    /// Sizes of content-defined chunks that make no sense.
    #[error(transparent)]
    Cutter(#[from] CutterError),
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

/// Where chunks end.
#[derive(Clone)]
enum Cuts {
    Every(u64),
    ByContent(Cutter),
}

/// Cuts one stream. Every byte fed is in exactly one [`Piece`], in order.
#[derive(Clone)]
pub struct Chunker {
    cuts: Cuts,
    whole: Hasher,
    current: Blake3,
    index: u64,
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
        Ok(Self::with(Cuts::Every(chunk_bytes), digests))
    }

    /// Begin a stream cut by its content into chunks of `min` to `max` bytes, mostly about `target`.
    ///
    /// # Errors
    /// [`ChunkerError::Cutter`] unless 64 <= min < target < max and target <= 1 GiB.
    pub fn by_content(min: u64, target: u64, max: u64, digests: &[Algorithm]) -> Result<Self, ChunkerError> {
        Ok(Self::with(Cuts::ByContent(Cutter::new(min, target, max)?), digests))
    }

    fn with(cuts: Cuts, digests: &[Algorithm]) -> Self {
        Self { cuts, whole: Hasher::new(digests), current: Blake3::new(), index: 0 }
    }

    /// Take the next bytes and say which chunks they belong to.
    pub fn feed(&mut self, data: &[u8]) -> Vec<Piece> {
        let mut pieces = Vec::new();
        let mut start = 0;
        while start < data.len() {
            let offset = self.current.length();
            let rest = &data[start..];
            let cut = self.cut(offset, rest);
            let end = start + cut.unwrap_or(rest.len());
            self.take(&data[start..end]);
            let id = cut.map(|_| self.current.finish());
            pieces.push(Piece { start, end, index: self.index, offset, id });
            if id.is_some() {
                self.current = Blake3::new();
                self.index += 1;
            }
            start = end;
        }
        pieces
    }

    /// After how many of these bytes the chunk ends, of which `offset` were seen.
    fn cut(&mut self, offset: u64, data: &[u8]) -> Option<usize> {
        match &mut self.cuts {
            Cuts::ByContent(cutter) => cutter.next(data),
            Cuts::Every(chunk_bytes) => {
                let room = usize::try_from(*chunk_bytes - offset).ok()?;
                (room <= data.len()).then_some(room)
            }
        }
    }

    /// Hash a run for the chunk and for the whole in one pass.
    fn take(&mut self, run: &[u8]) {
        self.whole.count(run.len());
        let mut set = Set::default();
        set.add_blake3(&mut self.current);
        self.whole.add_to(&mut set);
        set.update(run);
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
        self.whole.length()
    }

    /// The digests of the whole stream so far.
    pub fn whole(&self) -> &Hasher {
        &self.whole
    }
}
