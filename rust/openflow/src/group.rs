//! Groups: lists of buckets, each of which does something of its own to a copy of the packet.
//!
//! Groups have no cookie, so whose one is says its number: ours begin with [`OURS`], and no other is ever touched. What the
//! switch should have is a [`GroupMap`], as with flows: [`diff`] finds the smallest difference, bucket by bucket where that is less than the
//! whole group, and [`GroupChange`] is one message of it.
//!
//! The compiler makes floods of flows in parts and not of groups: a network's other hosts may be more than one message holds, and Open
//! vSwitch tells a group in one message.

use std::collections::BTreeMap;
use std::sync::Arc;

use ostro_flow::program::Program;
use ostro_flow::words::{self, NoNames};

use crate::WireError;
use crate::reading::Reader;
use crate::wire::{GROUP_DESC, MORE};

/// The upper half of the number of every group that is ours: "os".
pub const OURS: u32 = 0x6f73_0000;
/// The most bytes of one group's buckets: a message tells its length in 16 bits, and more than buckets is in it.
pub const SIZE_MOST_BYTES: usize = 60_000;
/// The largest number of a bucket; those above have a meaning of their own.
pub const BUCKET_MOST: u32 = 0xffff_ff00;

const FIRST: u32 = 0xffff_fffd;
const ALL_BUCKETS: u32 = 0xffff_ffff;
const ANY_PORT: u32 = 0xffff_ffff;

const WEIGHT: u16 = 0;
const WATCH_PORT: u16 = 1;

/// Which of its buckets a group does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Kind {
    /// All of them, each with a copy of the packet.
    All = 0,
    /// One, chosen by a hash of the packet's headers and the buckets' weights.
    Select = 1,
    /// The only one.
    Indirect = 2,
    /// The first whose watched port is up.
    Failover = 3,
}

impl Kind {
    /// All kinds.
    pub const EACH: [Self; 4] = [Self::All, Self::Select, Self::Indirect, Self::Failover];

    fn read(number: u8) -> Result<Self, WireError> {
        Self::EACH.get(usize::from(number)).copied().ok_or(WireError::Unexpected("a group of an unknown kind"))
    }

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        ["all", "select", "indirect", "failover"][self as usize]
    }
}

/// One of the things that a group does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bucket {
    /// Its share among those that are selected from; 1 in other groups.
    pub weight: u16,
    /// It counts as long as this port is up.
    pub watch_port: Option<u32>,
    /// Actions, as bytes.
    pub actions: Arc<[u8]>,
}

impl Bucket {
    /// One that does what `program` says; its table to go on in doesn't count.
    #[must_use]
    pub fn new(program: &Program) -> Self {
        Self { weight: 1, watch_port: None, actions: program.actions().into() }
    }

    fn size_bytes(&self) -> usize {
        8 + self.actions.len() + 8 + 8
    }

    fn write(&self, number: u32, kind: Kind, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&[0; 2]);
        out.extend_from_slice(&(self.actions.len() as u16).to_be_bytes());
        out.extend_from_slice(&number.to_be_bytes());
        out.extend_from_slice(&self.actions);
        if kind == Kind::Select {
            out.extend_from_slice(&WEIGHT.to_be_bytes());
            out.extend_from_slice(&[0, 8]);
            out.extend_from_slice(&self.weight.to_be_bytes());
            out.extend_from_slice(&[0; 2]);
        }
        if let Some(port) = self.watch_port {
            out.extend_from_slice(&WATCH_PORT.to_be_bytes());
            out.extend_from_slice(&[0, 8]);
            out.extend_from_slice(&port.to_be_bytes());
        }
        let length = (out.len() - start) as u16;
        out[start..start + 2].copy_from_slice(&length.to_be_bytes());
    }

    fn read(reader: &mut Reader<'_>) -> Result<(u32, Self), WireError> {
        let length = usize::from(reader.u16()?);
        let mut body = Reader(reader.take(length.checked_sub(2).ok_or(WireError::CutOff)?)?);
        let actions = usize::from(body.u16()?);
        let number = body.u32()?;
        let mut bucket = Self { weight: 1, watch_port: None, actions: body.take(actions)?.into() };
        while !body.0.is_empty() {
            let (kind, length) = (body.u16()?, usize::from(body.u16()?));
            let mut value = Reader(body.take(length.checked_sub(4).ok_or(WireError::CutOff)?)?);
            body.take((length.next_multiple_of(8) - length).min(body.0.len()))?;
            match kind {
                WEIGHT => bucket.weight = value.u16()?,
                WATCH_PORT => bucket.watch_port = Some(value.u32()?).filter(|port| *port != ANY_PORT),
                _ => {}
            }
        }
        Ok((number, bucket))
    }
}

/// A group: what kind it is, and its buckets in the order of their numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    kind: Kind,
    buckets: BTreeMap<u32, Bucket>,
}

/// Why a group can't be.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum GroupError {
    /// It fits no message.
    #[error("a group of {0} bytes is too large; {SIZE_MOST_BYTES} is the most")]
    TooLarge(usize),
    /// An indirect group has one bucket.
    #[error("an indirect group has one bucket, not {0}")]
    NotOne(usize),
    /// A bucket's number is one of those with a meaning of their own.
    #[error("a bucket's number is {BUCKET_MOST} at most, not {0}")]
    Number(u32),
}

impl Group {
    /// A group that a switch can hold.
    ///
    /// # Errors
    /// It can't be; see [`GroupError`].
    pub fn new(kind: Kind, buckets: BTreeMap<u32, Bucket>) -> Result<Self, GroupError> {
        let size_bytes: usize = buckets.values().map(Bucket::size_bytes).sum();
        if size_bytes > SIZE_MOST_BYTES {
            return Err(GroupError::TooLarge(size_bytes));
        }
        if kind == Kind::Indirect && buckets.len() != 1 {
            return Err(GroupError::NotOne(buckets.len()));
        }
        match buckets.keys().find(|number| **number > BUCKET_MOST) {
            Some(number) => Err(GroupError::Number(*number)),
            None => Ok(Self { kind, buckets }),
        }
    }

    /// Which of its buckets it does.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Its buckets by their numbers.
    #[must_use]
    pub fn buckets(&self) -> &BTreeMap<u32, Bucket> {
        &self.buckets
    }

    /// Its buckets in words.
    #[must_use]
    pub fn in_words(&self) -> Vec<(u32, String)> {
        let say = |(number, bucket): (&u32, &Bucket)| (*number, words::actions(&bucket.actions, &NoNames));
        self.buckets.iter().map(say).collect()
    }
}

/// Groups by their numbers, without [`OURS`].
pub type GroupMap = BTreeMap<u16, Group>;

/// One message's change of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GroupChange {
    /// A group that wasn't there.
    Add(u16, Group),
    /// All of it anew.
    Replace(u16, Group),
    /// One more bucket, after that of this number, or first.
    Insert {
        /// The group, and its kind.
        group: (u16, Kind),
        /// The bucket before it.
        after: Option<u32>,
        /// Its number.
        number: u32,
        /// The bucket.
        bucket: Bucket,
    },
    /// One bucket less: the group and the bucket.
    Take(u16, u32),
    /// A group that is no longer wanted.
    Remove(u16),
}

/// The commands of a group mod.
mod command {
    pub const ADD: u16 = 0;
    pub const MODIFY: u16 = 1;
    pub const DELETE: u16 = 2;
    pub const INSERT_BUCKET: u16 = 3;
    pub const REMOVE_BUCKET: u16 = 5;
}

impl GroupChange {
    /// The number of its group.
    #[must_use]
    pub fn group(&self) -> u16 {
        match self {
            Self::Add(number, _)
            | Self::Replace(number, _)
            | Self::Insert { group: (number, _), .. }
            | Self::Take(number, _)
            | Self::Remove(number) => *number,
        }
    }

    /// The body of its group mod.
    pub fn write(&self, out: &mut Vec<u8>) {
        let (what, kind, at) = match self {
            Self::Add(_, group) => (command::ADD, group.kind, ALL_BUCKETS),
            Self::Replace(_, group) => (command::MODIFY, group.kind, ALL_BUCKETS),
            Self::Insert { group: (_, kind), after, .. } => (command::INSERT_BUCKET, *kind, after.unwrap_or(FIRST)),
            Self::Take(_, bucket) => (command::REMOVE_BUCKET, Kind::All, *bucket),
            Self::Remove(_) => (command::DELETE, Kind::All, ALL_BUCKETS),
        };
        out.extend_from_slice(&what.to_be_bytes());
        out.extend_from_slice(&[kind as u8, 0]);
        out.extend_from_slice(&(OURS | u32::from(self.group())).to_be_bytes());
        let length_at = out.len();
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&at.to_be_bytes());
        let start = out.len();
        match self {
            Self::Add(_, group) | Self::Replace(_, group) => {
                group.buckets.iter().for_each(|(number, bucket)| bucket.write(*number, kind, out));
            }
            Self::Insert { number, bucket, .. } => bucket.write(*number, kind, out),
            Self::Take(..) | Self::Remove(_) => {}
        }
        let length = (out.len() - start) as u16;
        out[length_at..length_at + 2].copy_from_slice(&length.to_be_bytes());
    }

    /// Reads the body of a group mod of ours.
    ///
    /// # Errors
    /// It is cut off, another's, or none that we would send.
    pub fn read(body: &[u8]) -> Result<Self, WireError> {
        const STRANGE: WireError = WireError::Unexpected("a group mod that isn't ours");
        let mut reader = Reader(body);
        let (what, kind) = (reader.u16()?, Kind::read(reader.u8()?)?);
        reader.take(1)?;
        let number = ours(reader.u32()?).ok_or(STRANGE)?;
        let length = usize::from(reader.u16()?);
        reader.take(2)?;
        let at = reader.u32()?;
        let mut buckets = buckets(reader.take(length)?, kind)?;
        let group = |buckets| Group::new(kind, buckets).map_err(|_| STRANGE);
        Ok(match what {
            command::ADD => Self::Add(number, group(buckets)?),
            command::MODIFY => Self::Replace(number, group(buckets)?),
            command::INSERT_BUCKET => {
                let (bucket_number, bucket) = buckets.pop_first().ok_or(STRANGE)?;
                let after = Some(at).filter(|at| *at != FIRST);
                Self::Insert { group: (number, kind), after, number: bucket_number, bucket }
            }
            command::REMOVE_BUCKET => Self::Take(number, at),
            command::DELETE => Self::Remove(number),
            _ => return Err(STRANGE),
        })
    }
}

/// The number of a group of ours, without [`OURS`].
fn ours(number: u32) -> Option<u16> {
    (number & 0xffff_0000 == OURS).then_some(number as u16)
}

fn buckets(bytes: &[u8], kind: Kind) -> Result<BTreeMap<u32, Bucket>, WireError> {
    let mut reader = Reader(bytes);
    let mut buckets = BTreeMap::new();
    while !reader.0.is_empty() {
        let (number, mut bucket) = Bucket::read(&mut reader)?;
        if kind != Kind::Select {
            bucket.weight = 1;
        }
        buckets.insert(number, bucket);
    }
    Ok(buckets)
}

/// Reads the body of one part of a dump of groups, those that are ours, and says whether more parts follow.
///
/// # Errors
/// It is cut off, or no such dump.
pub fn group_dump(body: &[u8], out: &mut GroupMap) -> Result<bool, WireError> {
    let mut reader = Reader(body);
    if reader.u16()? != GROUP_DESC {
        return Err(WireError::Unexpected("a multipart reply other than groups"));
    }
    let more = reader.u16()? & MORE != 0;
    reader.take(4)?;
    while !reader.0.is_empty() {
        let length = usize::from(reader.u16()?);
        let mut entry = Reader(reader.take(length.checked_sub(2).ok_or(WireError::CutOff)?)?);
        let kind = entry.u8()?;
        entry.take(1)?;
        let number = entry.u32()?;
        let length = usize::from(entry.u16()?);
        entry.take(6)?;
        let buckets = entry.take(length)?;
        // Others' groups may be of kinds that we don't know.
        if let Some(number) = ours(number) {
            let kind = Kind::read(kind)?;
            out.insert(number, Group { kind, buckets: self::buckets(buckets, kind)? });
        }
    }
    Ok(more)
}

/// The smallest difference that turns `from` into `to`: groups that go come last.
#[must_use]
pub fn diff(from: &GroupMap, to: &GroupMap) -> Vec<GroupChange> {
    let mut changes = Vec::new();
    for (number, group) in to {
        match from.get(number) {
            None => changes.push(GroupChange::Add(*number, group.clone())),
            Some(held) if held != group => amend(*number, held, group, &mut changes),
            Some(_) => {}
        }
    }
    changes.extend(from.keys().filter(|number| !to.contains_key(number)).map(|number| GroupChange::Remove(*number)));
    changes
}

/// Bucket by bucket, or the whole where that is as many messages' worth.
fn amend(number: u16, from: &Group, to: &Group, changes: &mut Vec<GroupChange>) {
    let start = changes.len();
    let gone = from.buckets.iter().filter(|(at, bucket)| to.buckets.get(at) != Some(bucket));
    changes.extend(gone.map(|(at, _)| GroupChange::Take(number, *at)));
    let mut after = None;
    for (at, bucket) in &to.buckets {
        if from.buckets.get(at) != Some(bucket) {
            let bucket = bucket.clone();
            changes.push(GroupChange::Insert { group: (number, to.kind), after, number: *at, bucket });
        }
        after = Some(*at);
    }
    // Only a whole one can change its kind, and an indirect group is never without its bucket.
    let whole = from.kind != to.kind || to.kind == Kind::Indirect;
    if whole || changes.len() - start > 1 + to.buckets.len() / 4 {
        changes.truncate(start);
        changes.push(GroupChange::Replace(number, to.clone()));
    }
}

/// Carries changes out on `groups`, as a switch would.
pub fn apply(changes: &[GroupChange], groups: &mut GroupMap) {
    for change in changes {
        match change {
            GroupChange::Add(number, group) | GroupChange::Replace(number, group) => {
                groups.insert(*number, group.clone());
            }
            GroupChange::Insert { group: (group, _), number, bucket, .. } => {
                if let Some(group) = groups.get_mut(group) {
                    group.buckets.insert(*number, bucket.clone());
                }
            }
            GroupChange::Take(group, number) => {
                if let Some(group) = groups.get_mut(group) {
                    group.buckets.remove(number);
                }
            }
            GroupChange::Remove(number) => {
                groups.remove(number);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::btree_map;
    use proptest::prelude::*;

    fn bucket() -> impl Strategy<Value = Bucket> {
        let actions = prop::sample::select(vec![1_u32, 2, 3]);
        (1..4_u16, prop::option::of(1..3_u32), actions).prop_map(|(weight, watch_port, port)| Bucket {
            weight,
            watch_port,
            ..Bucket::new(&Program::new().output(port))
        })
    }

    fn group() -> impl Strategy<Value = Group> {
        let kind = prop::sample::select(Kind::EACH.to_vec());
        (kind, btree_map(0..9_u32, bucket(), 1..9)).prop_map(|(kind, mut buckets)| {
            if kind == Kind::Indirect {
                buckets = buckets.into_iter().take(1).collect();
            }
            if kind != Kind::Select {
                buckets.values_mut().for_each(|bucket| bucket.weight = 1);
            }
            Group::new(kind, buckets).unwrap()
        })
    }

    fn groups() -> impl Strategy<Value = GroupMap> {
        btree_map(0..5_u16, group(), 0..5)
    }

    fn written(change: &GroupChange) -> Vec<u8> {
        let mut bytes = Vec::new();
        change.write(&mut bytes);
        bytes
    }

    #[test]
    fn a_group_mod_is_laid_out_as_specified() {
        let bucket = Bucket { watch_port: Some(9), ..Bucket::new(&Program::new().output(7)) };
        let group = Group::new(Kind::Failover, [(3, bucket)].into()).unwrap();
        let bytes = written(&GroupChange::Add(5, group));
        assert_eq!(bytes[..8], [0, 0, 3, 0, 0x6f, 0x73, 0, 5]);
        assert_eq!(bytes[8..16], [0, 32, 0, 0, 0xff, 0xff, 0xff, 0xff]);
        assert_eq!(bytes[16..24], [0, 32, 0, 16, 0, 0, 0, 3]);
        assert_eq!(bytes[24..32], [0, 0, 0, 16, 0, 0, 0, 7]);
        assert_eq!(bytes[40..], [0, 1, 0, 8, 0, 0, 0, 9]);
    }

    #[test]
    fn what_no_switch_could_hold_is_no_group() {
        let many = |count| (0..count).map(|at| (at, Bucket::new(&Program::new().output(at)))).collect();
        assert_eq!(Group::new(Kind::Indirect, many(2)), Err(GroupError::NotOne(2)));
        assert!(matches!(Group::new(Kind::All, many(5000)), Err(GroupError::TooLarge(_))));
        let named = [(BUCKET_MOST + 1, Bucket::new(&Program::new()))].into();
        assert_eq!(Group::new(Kind::All, named), Err(GroupError::Number(BUCKET_MOST + 1)));
    }

    #[test]
    fn one_bucket_of_many_goes_alone() {
        let many = |count: u32| (0..count).map(|at| (at, Bucket::new(&Program::new().output(at)))).collect();
        let of = |count| GroupMap::from([(1, Group::new(Kind::All, many(count)).unwrap())]);
        let more = diff(&of(100), &of(101));
        assert!(matches!(more.as_slice(), [GroupChange::Insert { after: Some(99), number: 100, .. }]), "{more:?}");
        assert_eq!(diff(&of(101), &of(100)), [GroupChange::Take(1, 100)]);
        assert!(matches!(diff(&of(101), &of(1)).as_slice(), [GroupChange::Replace(..)]));
    }

    proptest! {
        #[test]
        fn the_difference_applied_is_the_other((from, to) in (groups(), groups())) {
            let mut now = from.clone();
            // What went over the wire is what was meant.
            let sent: Vec<GroupChange> =
                diff(&from, &to).iter().map(|change| GroupChange::read(&written(change)).unwrap()).collect();
            apply(&sent, &mut now);
            prop_assert_eq!(now, to);
        }

        #[test]
        fn no_bytes_make_it_stumble(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = GroupChange::read(&bytes);
            let _ = group_dump(&bytes, &mut GroupMap::new());
            let dump = [&[0, 7, 0, 0, 0, 0, 0, 0][..], &bytes].concat();
            let _ = group_dump(&dump, &mut GroupMap::new());
        }
    }
}
