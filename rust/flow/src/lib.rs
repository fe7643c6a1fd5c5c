//! Logical networks and ports compiled to this host's flow tables, and the smallest difference between two of them. Pure.
//!
//! [`State`] holds the wishes; [`State::commit`] computes the flows of what has changed since and says how the tables differ. The
//! pipeline is in [`tables`], the flows of each kind of object in `compile`, and [`words`] says a flow in words. [`dhcp`] answers the
//! questions that the flows send up. Nothing here does I/O, knows the time or draws a random number: the same wishes give the same
//! flows, byte for byte.
#![forbid(unsafe_code)]

mod compile;
pub mod dhcp;
pub mod field;
pub mod ledger;
pub mod matches;
pub mod numbers;
pub mod packet;
pub mod program;
mod state;
pub mod tables;
mod view;
pub mod wish;
pub mod words;

pub use ledger::{Change, Diff, Flow, FlowMap, Instructions, Key};
pub use state::{Directory, Noun, State, Stats};
pub use view::{MetadataPort, Uplinks};
