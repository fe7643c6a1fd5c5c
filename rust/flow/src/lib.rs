//! Logical networks and ports compiled to this host's flow tables, and the smallest difference between two of them. Pure.
//!
//! [`State`] holds the wishes; [`State::commit`] computes the flows of what has changed since and says how the tables differ. The
//! pipeline is in [`tables`], the flows of each kind of object in `compile`, and [`words`] says a flow in words. [`dhcp`] answers the
//! questions that the flows send up. Nothing here does I/O, knows the time or draws a random number: the same wishes give the same
//! flows, byte for byte.
#![forbid(unsafe_code)]

pub mod advert;
mod compile;
pub mod dhcp;
pub mod dhcp6;
pub mod directory;
pub mod exceeded;
pub mod field;
mod floods;
pub mod ledger;
pub mod matches;
pub mod numbers;
pub mod packet;
pub mod packet6;
pub mod program;
pub mod router;
mod security_group;
mod state;
pub mod tables;
mod text;
mod uplinks;
mod view;
pub mod wish;
pub mod words;

pub use directory::{Directory, Question, Reply};
pub use ledger::{Change, Diff, Flow, FlowMap, Instructions, Key};
pub use state::{Noun, State, Stats};
pub use uplinks::{MetadataPort, Uplinks};
