//! One running digest of any algorithm.
use crate::algorithm::Algorithm;
use crate::blake3_tree::Blake3;
use crate::blocks::{Blocks, Md5, Sha1, Sha256, Sha512};
use crate::crc::Crc;

/// One running digest of any algorithm.
#[derive(Clone)]
pub(crate) enum Running {
    Md5(Blocks<Md5, 64>),
    Sha1(Blocks<Sha1, 64>),
    Sha256(Blocks<Sha256, 64>),
    Sha512(Blocks<Sha512, 128>),
    Blake3(Blake3),
    Crc(Crc),
}

impl Running {
    pub(crate) fn new(algorithm: Algorithm) -> Self {
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

    pub(crate) fn update(&mut self, data: &[u8]) {
        match self {
            Self::Md5(running) => running.update(data),
            Self::Sha1(running) => running.update(data),
            Self::Sha256(running) => running.update(data),
            Self::Sha512(running) => running.update(data),
            Self::Blake3(running) => running.update(data),
            Self::Crc(running) => running.update(data),
        }
    }

    pub(crate) fn finish(&self) -> Vec<u8> {
        match self {
            Self::Md5(running) => running.finish(),
            Self::Sha1(running) => running.finish(),
            Self::Sha256(running) => running.finish(),
            Self::Sha512(running) => running.finish(),
            Self::Blake3(running) => running.finish().to_vec(),
            Self::Crc(running) => running.finish(),
        }
    }

    pub(crate) fn state(&self) -> Vec<u8> {
        match self {
            Self::Md5(running) => running.state(),
            Self::Sha1(running) => running.state(),
            Self::Sha256(running) => running.state(),
            Self::Sha512(running) => running.state(),
            Self::Blake3(running) => running.state(),
            Self::Crc(running) => running.state(),
        }
    }

    pub(crate) fn from_state(algorithm: Algorithm, state: &[u8], length: u64) -> Option<Self> {
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
