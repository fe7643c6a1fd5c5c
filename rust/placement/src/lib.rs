//! Choose hosts: a table of hosts in columns, the whole request language of OpenStack Placement 1.39, Nova's
//! filters and weighers that matter, and an explanation when nothing fits. Pure: no I/O, clock or randomness.
//!
//! # Theory of operation
//!
//! [`HostTable`] keeps hosts in blocks of 64 (`block`), each resource class a lane a host and each
//! trait, aggregate and zone a bit a host. Deltas change one lane. A [`Request`] becomes a `Shape`, names
//! turned to numbers; each shape that is asked for again has a `View`, its opinion of every host, which
//! follows the table's changes, so that most decisions look at a few blocks only.
//!
//! Hosts that are one provider are decided by their lanes. Hosts that are trees of providers, have NUMA cells or
//! may take from shared providers are put in order by what is necessary and then looked at exactly (`solve`,
//! `numa`) when their turn comes.
//!
//! A decision proposes and takes nothing: the transaction claims the first host that still fits, and deltas
//! bring that back here. [`HostTable::claim`] is for those who have no database: simulations, "what if".
//!
//! The same table, request and seed give the same answer, on every machine and whatever was asked before:
//! views only save time, scores are computed in one fixed order, and equals are ordered by a hash of seed and
//! host id.
#![forbid(unsafe_code)]

mod block;
mod claim;
mod decision;
mod eligible;
mod error;
mod explain;
mod kernel;
mod many;
mod numa;
mod place;
mod query;
mod shape;
mod sharing;
mod solve;
mod spec;
mod symbols;
mod table;
mod tree;
mod view;
mod views;
mod weights;

pub use claim::Claim;
pub use decision::{Decision, Rejection};
pub use error::PlacementError;
pub use many::{Batch, Mode, Order};
pub use numa::CellFit;
pub use place::Explain;
pub use query::{Query, QueryError};
pub use spec::{
    AffinityPolicy, CellAsk, CellSpec, Group, GroupPolicy, HostSpec, Inventories, Inventory, NumaAsk, NumaPolicy,
    PageAsk, ProviderSpec, Request, ServerGroup, ThreadPolicy,
};
pub use table::HostTable;
pub use weights::Weights;
