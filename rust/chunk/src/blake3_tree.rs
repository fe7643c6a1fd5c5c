//! BLAKE3 as a stream whose half-fed state can be written down.
//!
//! The `blake3` crate's own hasher can't be serialised, so this keeps the tree itself: a stack of chaining
//! values of finished subtrees (one per set bit of the number of finished 1 KiB leaves, biggest first) and
//! the bytes of the leaf that isn't finished. Subtrees are hashed by the crate at its full width. The last
//! leaf is never finished until more bytes come, because the root is hashed unlike any other node.
use blake3::hazmat::{ChainingValue, HasherExt, Mode, merge_subtrees_non_root, merge_subtrees_root};

const LEAF_BYTES: usize = blake3::CHUNK_LEN;

/// A running BLAKE3 digest over `finished` leaves and a tail of at most one leaf.
#[derive(Clone)]
pub(crate) struct Blake3 {
    stack: Vec<ChainingValue>,
    finished: u64,
    tail: Vec<u8>,
}

impl Blake3 {
    pub(crate) fn new() -> Self {
        Self { stack: Vec::new(), finished: 0, tail: Vec::new() }
    }

    /// Bytes seen.
    pub(crate) fn length(&self) -> u64 {
        self.finished * LEAF_BYTES as u64 + self.tail.len() as u64
    }

    pub(crate) fn update(&mut self, mut data: &[u8]) {
        if !self.tail.is_empty() {
            let (head, rest) = data.split_at(data.len().min(LEAF_BYTES - self.tail.len()));
            self.tail.extend_from_slice(head);
            data = rest;
            if data.is_empty() {
                return;
            }
            let leaf = subtree(&self.tail, self.finished);
            self.push(leaf, 1);
            self.tail.clear();
        }
        while data.len() > LEAF_BYTES {
            let bytes = self.next_subtree_bytes(data.len());
            let (head, rest) = data.split_at(bytes);
            self.push(subtree(head, self.finished), (bytes / LEAF_BYTES) as u64);
            data = rest;
        }
        self.tail.extend_from_slice(data);
    }

    /// The biggest whole subtree that may come next, leaving at least one byte of `available`.
    fn next_subtree_bytes(&self, available: usize) -> usize {
        let leaves = (available - 1) / LEAF_BYTES;
        let by_size = 1_usize << leaves.ilog2();
        let by_place = 1_u64 << self.finished.trailing_zeros().min(32);
        by_size.min(by_place as usize) * LEAF_BYTES
    }

    /// Put a finished subtree on the stack, first merging what it completes.
    fn push(&mut self, value: ChainingValue, leaves: u64) {
        let mut value = value;
        let mut place = self.finished / leaves;
        while place & 1 == 1 {
            let Some(left) = self.stack.pop() else { break };
            value = merge_subtrees_non_root(&left, &value, Mode::Hash);
            place >>= 1;
        }
        self.stack.push(value);
        self.finished += leaves;
    }

    pub(crate) fn finish(&self) -> [u8; 32] {
        let Some((bottom, rest)) = self.stack.split_first() else {
            return *blake3::hash(&self.tail).as_bytes();
        };
        let mut value = subtree(&self.tail, self.finished);
        for left in rest.iter().rev() {
            value = merge_subtrees_non_root(left, &value, Mode::Hash);
        }
        *merge_subtrees_root(bottom, &value, Mode::Hash).as_bytes()
    }

    /// Stack and tail: all that isn't the length.
    pub(crate) fn state(&self) -> Vec<u8> {
        let mut state = self.stack.concat();
        state.extend_from_slice(&self.tail);
        state
    }

    pub(crate) fn from_state(state: &[u8], length: u64) -> Option<Self> {
        // A non-empty stream keeps its last leaf unfinished, even if it is full.
        let finished = length.saturating_sub(1) / LEAF_BYTES as u64;
        let tail_bytes = (length - finished * LEAF_BYTES as u64) as usize;
        let (values, rest) = state.as_chunks::<32>();
        let depth = finished.count_ones() as usize;
        let stack = values.get(..depth)?.to_vec();
        let tail = [values[depth..].as_flattened(), rest].concat();
        (tail.len() == tail_bytes).then_some(Self { stack, finished, tail })
    }
}

/// The chaining value of a subtree that begins at leaf `first`.
fn subtree(bytes: &[u8], first: u64) -> ChainingValue {
    blake3::Hasher::new().set_input_offset(first * LEAF_BYTES as u64).update(bytes).finalize_non_root()
}
