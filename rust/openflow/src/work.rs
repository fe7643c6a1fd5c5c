//! What a session has to do: what is under way, and what waits for its turn.

use ostro_flow::Diff;

use crate::batch::Batch;
use crate::event::Ticket;
use crate::group::{GroupChange, GroupMap};
use crate::wire::HeldFlow;

/// Why a bundle is sent, and who waits for it.
pub enum Purpose {
    Sync(Vec<Ticket>),
    Audit(Ticket, Vec<String>, Vec<Ticket>),
}

/// What is under way.
pub enum Work {
    /// Reading groups and then flows, to mend them, for an audit, or to show them.
    Dump(Dump),
    /// Sending changes: the transaction of the first, and the bundle, unless they go one by one.
    Send { first_xid: u32, last_xid: u32, bundled: bool, changes: Batch, purpose: Purpose, refused: Vec<String> },
}

/// What has been read so far, and who waits for it: nobody if it is to mend.
pub struct Dump {
    pub groups_xid: u32,
    pub flows_xid: u32,
    /// Which of the two haven't been answered in full.
    pub unanswered: Vec<u32>,
    pub groups: GroupMap,
    pub flows: Vec<HeldFlow>,
    pub audit: Option<Ticket>,
    pub show: Option<Ticket>,
}

/// A command whose turn has not come.
pub enum Due {
    Changes { ticket: Ticket, groups: Vec<GroupChange>, flows: Diff, fresh_zones: Vec<u16> },
    Audit(Ticket),
    Dump(Ticket),
}

impl Work {
    /// Who waits for it.
    pub fn tickets(self) -> Vec<Ticket> {
        match self {
            Self::Dump(Dump { audit, show, .. }) => audit.into_iter().chain(show).collect(),
            Self::Send { purpose: Purpose::Sync(tickets), .. } => tickets,
            Self::Send { purpose: Purpose::Audit(ticket, _, mut tickets), .. } => {
                tickets.push(ticket);
                tickets
            }
        }
    }
}
