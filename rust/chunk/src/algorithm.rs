//! The digests we know, by the names that APIs use.
use std::fmt;
use std::str::FromStr;

/// A digest algorithm. The discriminant is its number in a written-down state and never changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Algorithm {
    /// RFC 1321: the ETag of every object store.
    Md5 = 1,
    /// FIPS 180-4, 160 bits.
    Sha1 = 2,
    /// FIPS 180-4, 256 bits.
    Sha256 = 3,
    /// FIPS 180-4, 512 bits.
    Sha512 = 4,
    /// BLAKE3, 256 bits: the name of a chunk.
    Blake3 = 5,
    /// CRC-32/ISCSI, big-endian bytes.
    Crc32c = 6,
    /// CRC-64/NVME, big-endian bytes.
    Crc64Nvme = 7,
}

/// A name that stands for no digest we know.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown digest {name:?}; known are md5, sha1, sha256, sha512, blake3, crc32c, crc64nvme")]
pub struct UnknownAlgorithm {
    /// What was asked for.
    pub name: String,
}

impl Algorithm {
    /// Every algorithm, in the order of their numbers.
    pub const ALL: [Self; 7] =
        [Self::Md5, Self::Sha1, Self::Sha256, Self::Sha512, Self::Blake3, Self::Crc32c, Self::Crc64Nvme];

    /// The name: `md5`, `sha1`, `sha256`, `sha512`, `blake3`, `crc32c`, `crc64nvme`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Md5 => "md5",
            Self::Sha1 => "sha1",
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
            Self::Blake3 => "blake3",
            Self::Crc32c => "crc32c",
            Self::Crc64Nvme => "crc64nvme",
        }
    }

    /// The algorithm of this number in a written-down state.
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| *algorithm as u8 == number)
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

impl FromStr for Algorithm {
    type Err = UnknownAlgorithm;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|algorithm| algorithm.name() == name)
            .ok_or_else(|| UnknownAlgorithm { name: name.to_owned() })
    }
}
