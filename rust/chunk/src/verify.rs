//! Reading back: are these the bytes that the name says?
use crate::blake3_tree::Blake3;
use crate::chunker::ChunkId;

/// The chunk's bytes aren't those it is named by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the chunk's bytes aren't those it is named by")]
pub struct Corrupt;

/// Checks a chunk as it is read, in pieces of any size.
#[derive(Clone)]
pub struct Verifier {
    expected: ChunkId,
    running: Blake3,
}

impl Verifier {
    /// Begin to read the chunk of this name.
    pub fn new(expected: ChunkId) -> Self {
        Self { expected, running: Blake3::new() }
    }

    /// Take the next bytes.
    pub fn update(&mut self, data: &[u8]) {
        self.running.update(data);
    }

    /// The chunk has been read to its end.
    ///
    /// # Errors
    /// [`Corrupt`] if the bytes weren't the chunk's, or not all of them.
    pub fn finish(&self) -> Result<(), Corrupt> {
        if self.running.finish() == self.expected { Ok(()) } else { Err(Corrupt) }
    }
}

/// A whole chunk is the one of this name.
///
/// # Errors
/// [`Corrupt`] if it isn't.
pub fn verify(data: &[u8], expected: &ChunkId) -> Result<(), Corrupt> {
    if blake3::hash(data).as_bytes() == expected { Ok(()) } else { Err(Corrupt) }
}
