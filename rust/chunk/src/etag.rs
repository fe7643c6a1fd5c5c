//! ETags and checksums of objects that are made of parts.
use crate::algorithm::Algorithm;
use crate::hasher::Hasher;

/// Parts whose checksums can't be put together like this.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub struct PartsError {
    what: String,
}

fn wrong<T>(what: impl Into<String>) -> Result<T, PartsError> {
    Err(PartsError { what: what.into() })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn md5_of(feed: impl FnOnce(&mut Hasher)) -> String {
    let mut hasher = Hasher::new(&[Algorithm::Md5]);
    feed(&mut hasher);
    hex(&hasher.digest(Algorithm::Md5).unwrap_or_default())
}

/// The ETag of an S3 multipart object: the MD5 of its parts' MD5s, a hyphen, the number of parts. Without quotes.
///
/// # Errors
/// [`PartsError`] if there is no part, or a part's MD5 isn't 16 bytes.
pub fn multipart_etag(parts: &[&[u8]]) -> Result<String, PartsError> {
    if parts.is_empty() || parts.iter().any(|md5| md5.len() != 16) {
        return wrong("a multipart ETag needs parts with an MD5 of 16 bytes each");
    }
    let etag = md5_of(|hasher| parts.iter().for_each(|md5| hasher.update(md5)));
    Ok(format!("{etag}-{}", parts.len()))
}

/// The ETag of a Swift static large object: the MD5 of its segments' ETags as text. Without quotes.
///
/// A segment with a range counts as `etag:range;`.
pub fn slo_etag(segments: &[(&str, Option<&str>)]) -> String {
    md5_of(|hasher| {
        for (etag, range) in segments {
            hasher.update(etag.as_bytes());
            if let Some(range) = range {
                hasher.update(format!(":{range};").as_bytes());
            }
        }
    })
}

/// S3's composite checksum of an object: the digest of its parts' digests.
pub fn composite(algorithm: Algorithm, parts: &[&[u8]]) -> Vec<u8> {
    let mut hasher = Hasher::new(&[algorithm]);
    parts.iter().for_each(|part| hasher.update(part));
    hasher.digest(algorithm).unwrap_or_default()
}

/// Polynomials modulo a CRC's own, their bits in reflected order: `one` is the highest bit in use.
#[derive(Clone, Copy)]
struct Field {
    polynomial: u64,
    one: u64,
}

impl Field {
    fn times(self, a: u64, mut b: u64) -> u64 {
        let (mut product, mut bit) = (0, self.one);
        while bit != 0 && a & (bit | (bit - 1)) != 0 {
            if a & bit != 0 {
                product ^= b;
            }
            b = b >> 1 ^ if b & 1 == 1 { self.polynomial } else { 0 };
            bit >>= 1;
        }
        product
    }

    /// What so many bytes that follow do to a checksum.
    fn power_of_byte(self, mut bytes: u64) -> u64 {
        let (mut power, mut square) = (self.one, self.one >> 8);
        while bytes != 0 {
            if bytes & 1 == 1 {
                power = self.times(square, power);
            }
            square = self.times(square, square);
            bytes >>= 1;
        }
        power
    }
}

/// The checksum of an object from those of its parts and the parts' lengths, without reading a byte again.
///
/// # Errors
/// [`PartsError`] for a digest that isn't a CRC, or a checksum of another length.
pub fn combined(algorithm: Algorithm, parts: &[(&[u8], u64)]) -> Result<Vec<u8>, PartsError> {
    let (field, width) = match algorithm {
        Algorithm::Crc32c => (Field { polynomial: 0x82f6_3b78, one: 1 << 31 }, 4),
        Algorithm::Crc64Nvme => (Field { polynomial: 0x9a6c_9329_ac4b_c9b5, one: 1 << 63 }, 8),
        _ => return wrong(format!("{algorithm} of parts can't be put together; crc32c and crc64nvme can")),
    };
    let mut sum = 0;
    // Parts are as long as the one before, mostly.
    let mut shift = (0, field.one);
    for (part, length) in parts {
        if part.len() != width {
            return wrong(format!("a {algorithm} is {width} bytes"));
        }
        let next = part.iter().fold(0, |word, byte| word << 8 | u64::from(*byte));
        if shift.0 != *length {
            shift = (*length, field.power_of_byte(*length));
        }
        sum = field.times(sum, shift.1) ^ next;
    }
    Ok(sum.to_be_bytes()[8 - width..].to_vec())
}
