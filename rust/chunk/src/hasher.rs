//! One stream, any set of digests, one pass; a state that can be written down.
use crate::algorithm::Algorithm;
use crate::reader::Reader;
use crate::running::Running;
use crate::weave::Set;

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
        self.set().update(data);
    }

    /// The digests, to be fed. The caller counts what it feeds.
    pub(crate) fn set(&mut self) -> Set<'_> {
        let mut set = Set::default();
        self.add_to(&mut set);
        set
    }

    pub(crate) fn add_to<'a>(&'a mut self, set: &mut Set<'a>) {
        self.running.iter_mut().for_each(|(_, running)| set.add(running));
    }

    pub(crate) fn has_md5(&self) -> bool {
        self.algorithms().any(|algorithm| algorithm == Algorithm::Md5)
    }

    pub(crate) fn count(&mut self, bytes: usize) {
        self.length += bytes as u64;
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
