//! One stream, any set of digests, one pass; a state that can be written down.
use crate::algorithm::Algorithm;
use crate::blake3_tree::Blake3;
use crate::blocks::{Blocks, Md5, Sha1, Sha256, Sha512};
use crate::crc::Crc;
use crate::reader::Reader;

/// Each digest reads this much before the next one does: it stays in a 32 KiB first-level cache.
const SLICE_BYTES: usize = 16 * 1024;
/// First bytes of a written-down state; the last is the layout's version.
const STATE_MAGIC: [u8; 8] = *b"ostrohs\x01";

/// A written-down state that can't be continued.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StateError {
    /// Not written by [`Hasher::state`], or by a release with another layout.
    #[error("this isn't a hasher's state, or is of another version")]
    NotAState,
    /// Cut off or changed since.
    #[error("the hasher's state is damaged")]
    Damaged,
}

#[derive(Clone)]
enum Running {
    Md5(Blocks<Md5, 64>),
    Sha1(Blocks<Sha1, 64>),
    Sha256(Blocks<Sha256, 64>),
    Sha512(Blocks<Sha512, 128>),
    Blake3(Blake3),
    Crc(Crc),
}

impl Running {
    fn new(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::Md5 => Self::Md5(Blocks::new()),
            Algorithm::Sha1 => Self::Sha1(Blocks::new()),
            Algorithm::Sha256 => Self::Sha256(Blocks::new()),
            Algorithm::Sha512 => Self::Sha512(Blocks::new()),
            Algorithm::Blake3 => Self::Blake3(Blake3::new()),
            Algorithm::Crc32c => Self::Crc(Crc::crc32c()),
            Algorithm::Crc64Nvme => Self::Crc(Crc::crc64nvme()),
        }
    }

    fn update(&mut self, data: &[u8]) {
        match self {
            Self::Md5(running) => running.update(data),
            Self::Sha1(running) => running.update(data),
            Self::Sha256(running) => running.update(data),
            Self::Sha512(running) => running.update(data),
            Self::Blake3(running) => running.update(data),
            Self::Crc(running) => running.update(data),
        }
    }

    fn finish(&self) -> Vec<u8> {
        match self {
            Self::Md5(running) => running.finish(),
            Self::Sha1(running) => running.finish(),
            Self::Sha256(running) => running.finish(),
            Self::Sha512(running) => running.finish(),
            Self::Blake3(running) => running.finish().to_vec(),
            Self::Crc(running) => running.finish(),
        }
    }

    fn state(&self) -> Vec<u8> {
        match self {
            Self::Md5(running) => running.state(),
            Self::Sha1(running) => running.state(),
            Self::Sha256(running) => running.state(),
            Self::Sha512(running) => running.state(),
            Self::Blake3(running) => running.state(),
            Self::Crc(running) => running.state(),
        }
    }

    fn from_state(algorithm: Algorithm, state: &[u8], length: u64) -> Option<Self> {
        Some(match algorithm {
            Algorithm::Md5 => Self::Md5(Blocks::from_state(state, length)?),
            Algorithm::Sha1 => Self::Sha1(Blocks::from_state(state, length)?),
            Algorithm::Sha256 => Self::Sha256(Blocks::from_state(state, length)?),
            Algorithm::Sha512 => Self::Sha512(Blocks::from_state(state, length)?),
            Algorithm::Blake3 => Self::Blake3(Blake3::from_state(state, length)?),
            Algorithm::Crc32c => Self::Crc(Crc::crc32c().resumed(state)?),
            Algorithm::Crc64Nvme => Self::Crc(Crc::crc64nvme().resumed(state)?),
        })
    }
}

/// A running set of digests over one stream.
#[derive(Clone)]
pub struct Hasher {
    length: u64,
    running: Vec<(Algorithm, Running)>,
}

impl Hasher {
    /// Begin a stream. An algorithm named twice runs once.
    pub fn new(algorithms: &[Algorithm]) -> Self {
        let mut running: Vec<(Algorithm, Running)> = Vec::with_capacity(algorithms.len());
        for algorithm in algorithms {
            if running.iter().all(|(known, _)| known != algorithm) {
                running.push((*algorithm, Running::new(*algorithm)));
            }
        }
        Self { length: 0, running }
    }

    /// Bytes seen so far.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// The algorithms, in the order they were asked for.
    pub fn algorithms(&self) -> impl Iterator<Item = Algorithm> + '_ {
        self.running.iter().map(|(algorithm, _)| *algorithm)
    }

    /// Take the next bytes of the stream, any number of them.
    pub fn update(&mut self, data: &[u8]) {
        self.length += data.len() as u64;
        if let [(_, only)] = self.running.as_mut_slice() {
            return only.update(data);
        }
        for slice in data.chunks(SLICE_BYTES) {
            for (_, running) in &mut self.running {
                running.update(slice);
            }
        }
    }

    /// The digest of the bytes so far, or `None` if it wasn't asked for. The stream may go on afterwards.
    pub fn digest(&self, algorithm: Algorithm) -> Option<Vec<u8>> {
        let (_, running) = self.running.iter().find(|(known, _)| *known == algorithm)?;
        Some(running.finish())
    }

    /// Every digest of the bytes so far.
    pub fn digests(&self) -> Vec<(Algorithm, Vec<u8>)> {
        self.running.iter().map(|(algorithm, running)| (*algorithm, running.finish())).collect()
    }

    /// Write the half-fed state down: at most 3 KiB, in a layout that later releases read.
    ///
    /// Magic and version (8 bytes), length fed (u64), then for each digest its number (u8), the bytes of its
    /// state (u16) and the state; at the end a CRC-32C of all that. Integers are little-endian.
    pub fn state(&self) -> Vec<u8> {
        let mut out = STATE_MAGIC.to_vec();
        out.extend_from_slice(&self.length.to_le_bytes());
        for (algorithm, running) in &self.running {
            let state = running.state();
            out.push(*algorithm as u8);
            out.extend_from_slice(&(state.len() as u16).to_le_bytes());
            out.extend_from_slice(&state);
        }
        let sum = crc_fast::crc32_iscsi(&out);
        out.extend_from_slice(&sum.to_le_bytes());
        out
    }

    /// Continue a stream from its written-down state.
    ///
    /// # Errors
    /// [`StateError`] if `state` isn't one, or was cut off or changed.
    pub fn from_state(state: &[u8]) -> Result<Self, StateError> {
        if !state.starts_with(&STATE_MAGIC) {
            return Err(StateError::NotAState);
        }
        let (body, sum) = state.split_last_chunk::<4>().ok_or(StateError::Damaged)?;
        if crc_fast::crc32_iscsi(body) != u32::from_le_bytes(*sum) {
            return Err(StateError::Damaged);
        }
        Self::parse(&body[STATE_MAGIC.len()..]).ok_or(StateError::Damaged)
    }

    fn parse(body: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(body);
        let mut hasher = Self { length: reader.u64_le()?, running: Vec::new() };
        while !reader.is_empty() {
            let algorithm = Algorithm::from_number(reader.u8()?)?;
            let bytes = reader.u16_le()?;
            let state = reader.take(usize::from(bytes))?;
            if hasher.algorithms().any(|known| known == algorithm) {
                return None;
            }
            hasher.running.push((algorithm, Running::from_state(algorithm, state, hasher.length)?));
        }
        Some(hasher)
    }
}
