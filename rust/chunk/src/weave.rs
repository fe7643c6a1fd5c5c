//! One stream's digests fed together, woven where that is faster than one after another.
use crate::blake3_tree::{Blake3, leaf_values};
use crate::blocks::{Blocks, Compression, Md5, Sha256};
use crate::fused::{self, Leaf, Value};
use crate::md5;
use crate::running::Running;

/// Bytes that are woven at once: two groups of eight leaves, or four of four. Fewer are fed one digest after another.
const UNIT_BYTES: usize = 16 * 1024;
/// Leaves whose values are merged at once: the upper ends of trees are merged one by one, so the fewer the better.
const LEAVES_MAX: usize = 256;
/// Without weaving, each digest reads this much before the next one does: it stays in the first-level cache.
const SLICE_BYTES: usize = 16 * 1024;

/// The digests of one stream, those that can be woven apart from the others.
#[derive(Default)]
pub(crate) struct Set<'a> {
    md5: Option<&'a mut Blocks<Md5, 64>>,
    sha256: Option<&'a mut Blocks<Sha256, 64>>,
    blake3: Option<&'a mut Blake3>,
    others: Vec<&'a mut Running>,
}

impl<'a> Set<'a> {
    pub(crate) fn add(&mut self, running: &'a mut Running) {
        // Only BLAKE3 may be there twice: of a chunk and of the whole.
        if self.blake3.is_some() && matches!(running, Running::Blake3(_)) {
            self.others.push(running);
            return;
        }
        match running {
            Running::Md5(running) => self.md5 = Some(running),
            Running::Sha256(running) => self.sha256 = Some(running),
            Running::Blake3(running) => self.blake3 = Some(running),
            running => self.others.push(running),
        }
    }

    pub(crate) fn add_blake3(&mut self, running: &'a mut Blake3) {
        self.blake3 = Some(running);
    }

    /// The MD5 in it, taken out.
    pub(crate) fn take_md5(&mut self) -> Option<&'a mut Blocks<Md5, 64>> {
        self.md5.take()
    }

    /// Feed all of them.
    pub(crate) fn update(&mut self, data: &[u8]) {
        let data = if self.can_weave() { self.weave(data) } else { data };
        self.feed(data);
    }

    /// MD5 has a partner and both stand at the same place of a unit.
    fn can_weave(&self) -> bool {
        let Some(md5) = &self.md5 else { return false };
        let same = |length: u64| length % UNIT_BYTES as u64 == md5.length % UNIT_BYTES as u64;
        let blake3 = self.blake3.as_ref().map(|blake3| same(blake3.length()));
        let sha256 = self.sha256.as_ref().map(|sha256| same(sha256.length));
        matches!((blake3, sha256), (Some(true), None | Some(true)) | (None, Some(true)))
    }

    /// One after another.
    fn feed(&mut self, data: &[u8]) {
        let count = [self.md5.is_some(), self.sha256.is_some(), self.blake3.is_some()].into_iter().filter(|is| *is);
        let slice_bytes = if count.count() + self.others.len() > 1 { SLICE_BYTES } else { data.len().max(1) };
        for slice in data.chunks(slice_bytes) {
            if let Some(md5) = &mut self.md5 {
                md5.update(slice);
            }
            if let Some(sha256) = &mut self.sha256 {
                sha256.update(slice);
            }
            if let Some(blake3) = &mut self.blake3 {
                blake3.update(slice);
            }
            self.others.iter_mut().for_each(|other| other.update(slice));
        }
    }

    /// Feed up to the next unit, then units as long as there are whole ones; returns what is left.
    fn weave<'d>(&mut self, data: &'d [u8]) -> &'d [u8] {
        let stands = self.md5.as_ref().map_or(0, |md5| md5.length) % UNIT_BYTES as u64;
        let head = (UNIT_BYTES - stands as usize) % UNIT_BYTES;
        let (head, mut data) = data.split_at(head.min(data.len()));
        self.feed(head);
        let mut values: Vec<Value> = Vec::new();
        while data.len() >= UNIT_BYTES && !self.is_first_and_last(data.len()) {
            let first = self.blake3.as_ref().map_or(0, |blake3| blake3.length() / 1024) + values.len() as u64;
            let (unit, rest) = data.split_at(UNIT_BYTES);
            self.weave_unit(unit.as_chunks::<1024>().0, rest.as_chunks::<1024>().0, first, &mut values);
            self.others.iter_mut().for_each(|other| other.update(unit));
            data = rest;
            if values.len() == LEAVES_MAX || data.len() < UNIT_BYTES {
                self.flush(&mut values);
            }
        }
        self.flush(&mut values);
        data
    }

    /// A stream of one unit would end as a chaining value where the root is wanted.
    fn is_first_and_last(&self, available: usize) -> bool {
        available == UNIT_BYTES && self.blake3.as_ref().is_some_and(|blake3| blake3.length() == 0)
    }

    fn flush(&mut self, values: &mut Vec<Value>) {
        if let Some(blake3) = &mut self.blake3 {
            blake3.push_leaves(values);
        }
        values.clear();
    }

    /// Weave a unit. What comes after it is looked at.
    fn weave_unit(&mut self, unit: &[Leaf], after: &[Leaf], first: u64, values: &mut Vec<Value>) {
        let Some(md5) = &mut self.md5 else { return };
        let (blocks, _) = unit.as_flattened().as_chunks::<64>();
        md5.length += UNIT_BYTES as u64;
        match (&mut self.sha256, self.blake3.is_some()) {
            (Some(sha256), false) => {
                sha256.length += UNIT_BYTES as u64;
                if !fused::md5_sha256(&mut md5.words, &mut sha256.words, blocks) {
                    md5::compress(&mut md5.words, blocks);
                    Sha256::compress(&mut sha256.words, blocks);
                }
            }
            (None, _) => leaves(&mut md5.words, unit, after, first, values),
            (Some(sha256), true) => {
                sha256.length += UNIT_BYTES as u64;
                all(&mut md5.words, &mut sha256.words, unit, after, first, values);
            }
        }
    }
}

/// The groups of a unit in order, each with its number and the group that comes after it.
fn groups<'a, const LEAVES: usize>(
    unit: &'a [Leaf],
    after: &'a [Leaf],
) -> impl Iterator<Item = (u64, &'a [Leaf; LEAVES], &'a [Leaf; LEAVES])> {
    let groups = unit.as_chunks::<LEAVES>().0;
    let next = groups.iter().skip(1).chain(after.first_chunk::<LEAVES>().or(groups.last()));
    groups.iter().zip(next).zip(0..).map(|((group, next), at)| (at, group, next))
}

/// MD5 of a unit, and the values of its leaves.
fn leaves(md5: &mut md5::Words, unit: &[Leaf], after: &[Leaf], first: u64, values: &mut Vec<Value>) {
    for (at, group, ahead) in groups::<8>(unit, after) {
        let mut found = [Value::default(); 8];
        if !fused::md5_blake3(md5, group, ahead, first + 8 * at, &mut found) {
            md5::compress(md5, group.as_flattened().as_chunks::<64>().0);
            found = leaf_values(group, first + 8 * at);
        }
        values.extend_from_slice(&found);
    }
}

/// MD5 and SHA-256 of a unit, and the values of its leaves.
fn all(md5: &mut md5::Words, sha256: &mut Value, unit: &[Leaf], after: &[Leaf], first: u64, values: &mut Vec<Value>) {
    for (at, group, ahead) in groups::<4>(unit, after) {
        let mut found = [Value::default(); 4];
        if !fused::md5_sha256_blake3(md5, sha256, group, ahead, first + 4 * at, &mut found) {
            Sha256::compress(sha256, unit.as_flattened().as_chunks::<64>().0);
            leaves(md5, unit, after, first, values);
            return;
        }
        values.extend_from_slice(&found);
    }
}
