//! Cyclic checksums by carry-less multiplication, with a state of one word.
use crc_fast::{CrcAlgorithm, Digest};

/// A running checksum.
#[derive(Clone)]
pub(crate) struct Crc {
    digest: Digest,
    algorithm: CrcAlgorithm,
    width_bytes: usize,
}

impl Crc {
    pub(crate) fn crc32c() -> Self {
        Self { digest: Digest::new(CrcAlgorithm::Crc32Iscsi), algorithm: CrcAlgorithm::Crc32Iscsi, width_bytes: 4 }
    }

    pub(crate) fn crc64nvme() -> Self {
        Self { digest: Digest::new(CrcAlgorithm::Crc64Nvme), algorithm: CrcAlgorithm::Crc64Nvme, width_bytes: 8 }
    }

    pub(crate) fn update(&mut self, data: &[u8]) {
        self.digest.update(data);
    }

    pub(crate) fn finish(&self) -> Vec<u8> {
        self.digest.finalize().to_be_bytes()[8 - self.width_bytes..].to_vec()
    }

    pub(crate) fn state(&self) -> Vec<u8> {
        self.digest.get_state().to_be_bytes()[8 - self.width_bytes..].to_vec()
    }

    /// `self` continued from a written-down state.
    pub(crate) fn resumed(mut self, state: &[u8]) -> Option<Self> {
        if state.len() != self.width_bytes {
            return None;
        }
        let word = state.iter().fold(0, |word, byte| word << 8 | u64::from(*byte));
        self.digest = Digest::new_with_init_state(self.algorithm, word);
        Some(self)
    }
}
