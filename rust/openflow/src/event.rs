//! What is asked of a session and what it tells.

use ostro_flow::words::{self, NoNames};
use ostro_flow::{Change, Diff};

use crate::group::GroupMap;
use crate::wire::{HeldFlow, PortStatus};

/// Names one command in the events that answer it.
pub type Ticket = u64;

/// The most lines in which one drift is told.
const DRIFT_LINES_MOST: usize = 100;

/// What is asked of a session.
#[derive(Debug)]
pub enum Command {
    /// Carry these changes out on the flows that the switch should have.
    Sync {
        /// Answered by [`Event::Synced`] or [`Event::Away`].
        ticket: Ticket,
        /// What changes.
        changes: Diff,
        /// Tracking zones that begin a new life: their connections are forgotten first.
        fresh_zones: Vec<u16>,
    },
    /// Have exactly these groups from now on, beside what flows there are.
    Groups {
        /// Answered by [`Event::Synced`] or [`Event::Away`].
        ticket: Ticket,
        /// All of ours.
        groups: GroupMap,
    },
    /// Compare the switch with what it should have, and mend it.
    Audit {
        /// Answered by [`Event::Audited`] or [`Event::Away`].
        ticket: Ticket,
    },
    /// Read the switch's flows and groups.
    Dump {
        /// Answered by [`Event::Dumped`] or [`Event::Away`].
        ticket: Ticket,
    },
}

/// How many flows and groups were sent, of each kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Counts {
    pub added: u64,
    pub changed: u64,
    pub removed: u64,
}

impl Counts {
    pub(crate) fn of(changes: &[Change]) -> Self {
        changes.iter().fold(Self::default(), |mut counts, change| {
            match change {
                Change::Add(_) => counts.added += 1,
                Change::Modify(_) => counts.changed += 1,
                Change::Remove(_) => counts.removed += 1,
            }
            counts
        })
    }
}

/// What a session tells.
#[derive(Debug, PartialEq, Eq)]
pub enum Event {
    /// The switch is there.
    Connected,
    /// The switch is gone, and why.
    Disconnected(String),
    /// The switch has what it should have as of this command; so many flows were sent for it and for those beside it.
    Synced {
        /// Which command.
        ticket: Ticket,
        /// What was sent.
        sent: Counts,
        /// Flows that the switch would not take, in words.
        refused: Vec<String>,
    },
    /// The switch had come back without some of its flows and has them again.
    Refilled {
        /// What was sent.
        sent: Counts,
        /// Flows that the switch would not take, in words.
        refused: Vec<String>,
    },
    /// An audit is done: what differed, in words, and is mended.
    Audited {
        /// Which command.
        ticket: Ticket,
        /// One line for each flow, up to a bound, and for each group.
        drift: Vec<String>,
    },
    /// What the switch holds.
    Dumped {
        /// Which command.
        ticket: Ticket,
        /// In the order of their keys.
        flows: Vec<HeldFlow>,
        /// Those of ours.
        groups: GroupMap,
    },
    /// The switch is away, so a command can't be answered. What it was to have is kept in mind.
    Away {
        /// Which command.
        ticket: Ticket,
    },
    /// A port came, went or changed.
    Port(PortStatus),
}

impl Command {
    pub(crate) fn ticket(&self) -> Ticket {
        match self {
            Self::Sync { ticket, .. }
            | Self::Groups { ticket, .. }
            | Self::Audit { ticket }
            | Self::Dump { ticket } => *ticket,
        }
    }
}

pub(crate) fn in_words(change: &Change) -> String {
    words::key(change.key(), &NoNames)
}

/// A drift in words: what to mend, seen from the switch.
pub(crate) fn drift(changes: &[Change]) -> Vec<String> {
    let line = |change: &Change| match change {
        Change::Add(_) => format!("missing: {}", in_words(change)),
        Change::Modify(_) => format!("different: {}", in_words(change)),
        Change::Remove(_) => format!("unwanted: {}", in_words(change)),
    };
    let mut lines: Vec<String> = changes.iter().take(DRIFT_LINES_MOST).map(line).collect();
    if changes.len() > DRIFT_LINES_MOST {
        lines.push(format!("and {} more", changes.len() - DRIFT_LINES_MOST));
    }
    lines
}
