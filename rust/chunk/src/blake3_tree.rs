//! BLAKE3 as a stream whose half-fed state can be written down.
//!
//! The `blake3` crate's own hasher can't be serialised, so this keeps the tree itself: a stack of chaining values
//! of finished subtrees, biggest first, and the bytes of the 1 KiB leaf that isn't finished. Subtrees are hashed
//! by the crate at its full width, or come from [`crate::fused`].
//!
//! The root is hashed unlike any other node, so nothing that might be it may be merged before more bytes come: the
//! last leaf stays unhashed, or the last subtree unmerged. Hence the stack holds one value for each set bit of
//! the number of finished leaves, or a few more at its end that [`Blake3::settle`] merges later.
use blake3::hazmat::{ChainingValue, HasherExt, Mode, merge_subtrees_non_root, merge_subtrees_root};

use crate::fused::{self, Leaf, Value};

/// Bytes of a leaf.
pub(crate) const LEAF_BYTES: usize = blake3::CHUNK_LEN;
/// The deepest stack that a stream of 2^64 bytes needs.
const DEPTH_MAX: usize = 64;

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
            self.flush_leaf();
        }
        while self.spare(data) >= LEAF_BYTES {
            let bytes = self.next_subtree_bytes(self.spare(data));
            let (head, rest) = data.split_at(bytes);
            self.push(subtree(head, self.finished), (bytes / LEAF_BYTES) as u64);
            data = rest;
        }
        self.tail.extend_from_slice(data);
    }

    /// How many of these bytes can be in finished subtrees. The first subtree could be the root, so one byte stays.
    fn spare(&self, data: &[u8]) -> usize {
        if self.finished == 0 { data.len().saturating_sub(1) } else { data.len() }
    }

    /// Finish the tail, which is a whole leaf; more bytes are sure to come.
    fn flush_leaf(&mut self) {
        let leaf = subtree(&self.tail, self.finished);
        self.push(leaf, 1);
        self.tail.clear();
    }

    /// The biggest whole subtree that may come next and has room in `available`.
    fn next_subtree_bytes(&self, available: usize) -> usize {
        let leaves = available / LEAF_BYTES;
        let by_size = 1_usize << leaves.ilog2();
        let by_place = 1_u64 << self.finished.trailing_zeros().min(32);
        by_size.min(by_place as usize) * LEAF_BYTES
    }

    /// Put a finished subtree on the stack. What was there before has a successor now, so it can be merged.
    fn push(&mut self, value: ChainingValue, leaves: u64) {
        settle(&mut self.stack, self.finished);
        self.stack.push(value);
        self.finished += leaves;
    }

    /// Take the chaining values of whole leaves that follow what was seen. More bytes came before or will come.
    pub(crate) fn push_leaves(&mut self, mut values: &[Value]) {
        if self.tail.len() == LEAF_BYTES && !values.is_empty() {
            self.flush_leaf();
        }
        while !values.is_empty() {
            let by_size = 1_usize << values.len().ilog2();
            let by_place = 1_u64 << self.finished.trailing_zeros().min(32);
            let count = by_size.min(by_place as usize);
            let (head, rest) = values.split_at(count);
            self.push(reduce(head), count as u64);
            values = rest;
        }
    }

    pub(crate) fn finish(&self) -> [u8; 32] {
        let mut stack = self.stack.clone();
        let mut value = if self.tail.is_empty() && !stack.is_empty() {
            stack.pop().unwrap_or_default()
        } else {
            settle(&mut stack, self.finished);
            subtree_or_empty(&self.tail, self.finished)
        };
        let Some((bottom, rest)) = stack.split_first() else {
            return *blake3::hash(&self.tail).as_bytes();
        };
        for left in rest.iter().rev() {
            value = merge_subtrees_non_root(left, &value, Mode::Hash);
        }
        *merge_subtrees_root(bottom, &value, Mode::Hash).as_bytes()
    }

    /// Depth of the stack (one byte), stack and tail: all that isn't the length.
    pub(crate) fn state(&self) -> Vec<u8> {
        let mut state = vec![self.stack.len() as u8];
        state.extend_from_slice(self.stack.as_flattened());
        state.extend_from_slice(&self.tail);
        state
    }

    pub(crate) fn from_state(state: &[u8], length: u64) -> Option<Self> {
        let (depth, rest) = state.split_first()?;
        let depth = usize::from(*depth);
        let (stack, tail) = rest.split_at_checked(depth.checked_mul(32)?)?;
        let finished_bytes = length.checked_sub(tail.len() as u64)?;
        let finished = finished_bytes / LEAF_BYTES as u64;
        let leaves_whole = finished_bytes % LEAF_BYTES as u64 == 0 && tail.len() <= LEAF_BYTES;
        let settled = finished.count_ones() as usize;
        let deep_enough = depth == settled || (depth > settled && depth <= DEPTH_MAX);
        // One subtree alone could be the root, which a chaining value doesn't tell.
        let alone = depth == 1 && tail.is_empty();
        if !leaves_whole || !deep_enough || alone {
            return None;
        }
        Some(Self { stack: stack.as_chunks::<32>().0.to_vec(), finished, tail: tail.to_vec() })
    }
}

/// Merge what is known to have a successor, until the stack has a value for each set bit of `finished`.
fn settle(stack: &mut Vec<ChainingValue>, finished: u64) {
    while stack.len() > finished.count_ones() as usize {
        let (Some(right), Some(left)) = (stack.pop(), stack.pop()) else { return };
        stack.push(merge_subtrees_non_root(&left, &right, Mode::Hash));
    }
}

/// The chaining value of a subtree that begins at leaf `first`.
fn subtree(bytes: &[u8], first: u64) -> ChainingValue {
    blake3::Hasher::new().set_input_offset(first * LEAF_BYTES as u64).update(bytes).finalize_non_root()
}

fn subtree_or_empty(bytes: &[u8], first: u64) -> ChainingValue {
    if bytes.is_empty() { ChainingValue::default() } else { subtree(bytes, first) }
}

/// The chaining value of the subtree over a power of two of leaves.
fn reduce(leaves: &[Value]) -> ChainingValue {
    let mut level = leaves.to_vec();
    while level.len() > 1 {
        let mut above = Vec::with_capacity(level.len() / 2);
        level.chunks(16).for_each(|children| above.extend_from_slice(&parents(children)[..children.len() / 2]));
        level = above;
    }
    level.pop().as_ref().map(bytes).unwrap_or_default()
}

/// The parents of at most sixteen nodes. Of fewer they are made side by side too: that takes no longer than making one.
fn parents(children: &[Value]) -> [Value; 8] {
    let (mut sixteen, mut values) = ([Value::default(); 16], [Value::default(); 8]);
    sixteen[..children.len()].copy_from_slice(children);
    if !fused::parents(&sixteen, &mut values) {
        for (value, pair) in values.iter_mut().zip(children.as_chunks::<2>().0) {
            *value = to_words(&parent(&bytes(&pair[0]), &bytes(&pair[1])));
        }
    }
    values
}

fn parent(left: &ChainingValue, right: &ChainingValue) -> ChainingValue {
    merge_subtrees_non_root(left, right, Mode::Hash)
}

fn bytes(value: &Value) -> ChainingValue {
    bytemuck::cast(value.map(u32::to_le))
}

fn to_words(value: &ChainingValue) -> Value {
    bytemuck::cast::<ChainingValue, Value>(*value).map(u32::from_le)
}

/// The chaining values of eight leaves, the first of which is leaf number `first`.
pub(crate) fn leaf_values(leaves: &[Leaf; 8], first: u64) -> [Value; 8] {
    std::array::from_fn(|at| to_words(&subtree(&leaves[at], first + at as u64)))
}
