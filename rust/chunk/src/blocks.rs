//! The digests of the Merkle-Damgård family (MD5, SHA-1, SHA-2): words, a tail, a length.
//!
//! The compression functions are the RustCrypto crates'; the buffering is ours, so that a half-fed state has
//! a layout of our own and so that several of these can be driven together by one kernel.

/// One compression function and the framing around it. `BLOCK` is its block in bytes.
pub(crate) trait Compression<const BLOCK: usize> {
    /// The chaining words.
    type Words: Copy + Send + Sync;
    /// The words before the first byte.
    const START: Self::Words;
    /// Digest length, which is also the length of the encoded words.
    const DIGEST_BYTES: usize;
    /// The message's length in bits as the last block's end holds it.
    fn length_field(bits: u128) -> [u8; 16];
    /// Bytes of the length field that are used (the last ones).
    const LENGTH_BYTES: usize;
    /// Take whole blocks.
    fn compress(words: &mut Self::Words, blocks: &[[u8; BLOCK]]);
    /// The words in the digest's byte order.
    fn encode(words: &Self::Words) -> Vec<u8>;
    /// The opposite of `encode`.
    fn decode(bytes: &[u8]) -> Option<Self::Words>;
}

/// A running digest: `length` bytes seen, of which the last `length % BLOCK` wait in `tail`.
#[derive(Clone)]
pub(crate) struct Blocks<C: Compression<BLOCK>, const BLOCK: usize> {
    pub(crate) words: C::Words,
    pub(crate) tail: [u8; BLOCK],
    pub(crate) length: u64,
}

impl<C: Compression<BLOCK>, const BLOCK: usize> Blocks<C, BLOCK> {
    pub(crate) fn new() -> Self {
        Self { words: C::START, tail: [0; BLOCK], length: 0 }
    }

    /// Bytes that wait in the tail.
    pub(crate) fn pending(&self) -> usize {
        (self.length % BLOCK as u64) as usize
    }

    /// Complete the tail from `data` if it holds anything; returns what is left of `data`.
    pub(crate) fn fill_tail<'a>(&mut self, data: &'a [u8]) -> &'a [u8] {
        let pending = self.pending();
        if pending == 0 {
            return data;
        }
        let (head, rest) = data.split_at(data.len().min(BLOCK - pending));
        self.tail[pending..pending + head.len()].copy_from_slice(head);
        self.length += head.len() as u64;
        if pending + head.len() == BLOCK {
            C::compress(&mut self.words, std::slice::from_ref(&self.tail));
        }
        rest
    }

    /// Keep fewer bytes than a block. The tail is empty before.
    pub(crate) fn keep_tail(&mut self, rest: &[u8]) {
        self.tail[..rest.len()].copy_from_slice(rest);
        self.length += rest.len() as u64;
    }

    pub(crate) fn update(&mut self, data: &[u8]) {
        let data = self.fill_tail(data);
        let (blocks, rest) = data.as_chunks::<BLOCK>();
        if !blocks.is_empty() {
            C::compress(&mut self.words, blocks);
            self.length += (blocks.len() * BLOCK) as u64;
        }
        self.keep_tail(rest);
    }

    pub(crate) fn finish(&self) -> Vec<u8> {
        let mut words = self.words;
        let mut block = [0; BLOCK];
        let pending = self.pending();
        block[..pending].copy_from_slice(&self.tail[..pending]);
        block[pending] = 0x80;
        if pending + 1 + C::LENGTH_BYTES > BLOCK {
            C::compress(&mut words, std::slice::from_ref(&block));
            block = [0; BLOCK];
        }
        let field = C::length_field(u128::from(self.length) * 8);
        block[BLOCK - C::LENGTH_BYTES..].copy_from_slice(&field[16 - C::LENGTH_BYTES..]);
        C::compress(&mut words, std::slice::from_ref(&block));
        C::encode(&words)
    }

    /// The words and the tail: all that isn't the length.
    pub(crate) fn state(&self) -> Vec<u8> {
        let mut state = C::encode(&self.words);
        state.extend_from_slice(&self.tail[..self.pending()]);
        state
    }

    pub(crate) fn from_state(state: &[u8], length: u64) -> Option<Self> {
        let (words, rest) = state.split_at_checked(C::DIGEST_BYTES)?;
        let mut blocks = Self { words: C::decode(words)?, tail: [0; BLOCK], length };
        if rest.len() != blocks.pending() {
            return None;
        }
        blocks.tail[..rest.len()].copy_from_slice(rest);
        Some(blocks)
    }
}

fn big_endian_length(bits: u128) -> [u8; 16] {
    bits.to_be_bytes()
}

macro_rules! compression {
    ($(#[$doc:meta])* $name:ident, $block:literal, $word:ty, $count:literal, $length:literal,
     $to:ident, $from:ident, $length_field:expr, $compress:path, $start:expr) => {
        $(#[$doc])*
        #[derive(Clone)]
        pub(crate) struct $name;

        impl Compression<$block> for $name {
            type Words = [$word; $count];
            const START: Self::Words = $start;
            const DIGEST_BYTES: usize = $count * size_of::<$word>();
            const LENGTH_BYTES: usize = $length;

            fn length_field(bits: u128) -> [u8; 16] {
                $length_field(bits)
            }

            fn compress(words: &mut Self::Words, blocks: &[[u8; $block]]) {
                $compress(words, blocks);
            }

            fn encode(words: &Self::Words) -> Vec<u8> {
                words.iter().flat_map(|word| word.$to()).collect()
            }

            fn decode(bytes: &[u8]) -> Option<Self::Words> {
                let mut words: Self::Words = [0; $count];
                let (parts, rest) = bytes.as_chunks::<{ size_of::<$word>() }>();
                if parts.len() != $count || !rest.is_empty() {
                    return None;
                }
                for (word, part) in words.iter_mut().zip(parts) {
                    *word = <$word>::$from(*part);
                }
                Some(words)
            }
        }
    };
}

/// MD5 counts its bits modulo 2^64, little-endian, in the last eight bytes.
fn md5_length(bits: u128) -> [u8; 16] {
    let mut field = [0; 16];
    field[8..].copy_from_slice(&(bits as u64).to_le_bytes());
    field
}

compression!(
    /// MD5's compression function.
    Md5, 64, u32, 4, 8, to_le_bytes, from_le_bytes, md5_length, crate::md5::compress,
    crate::md5::START
);
compression!(
    /// SHA-1's compression function (SHA-NI where the processor has it).
    Sha1, 64, u32, 5, 8, to_be_bytes, from_be_bytes, big_endian_length, sha1::block_api::compress,
    [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476, 0xc3d2_e1f0]
);
compression!(
    /// SHA-256's compression function (SHA-NI where the processor has it).
    Sha256, 64, u32, 8, 8, to_be_bytes, from_be_bytes, big_endian_length, sha2::block_api::compress256,
    [
        0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19
    ]
);
compression!(
    /// SHA-512's compression function.
    Sha512, 128, u64, 8, 16, to_be_bytes, from_be_bytes, big_endian_length, sha2::block_api::compress512,
    [
        0x6a09_e667_f3bc_c908, 0xbb67_ae85_84ca_a73b, 0x3c6e_f372_fe94_f82b, 0xa54f_f53a_5f1d_36f1,
        0x510e_527f_ade6_82d1, 0x9b05_688c_2b3e_6c1f, 0x1f83_d9ab_fb41_bd6b, 0x5be0_cd19_137e_2179
    ]
);
