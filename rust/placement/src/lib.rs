//! Hosts in columns: filter, score and propose claims. Pure.
#![forbid(unsafe_code)]

mod spec;
mod table;

pub use spec::{HostSpec, Inventory, Request};
pub use table::{Decision, HostTable, PlacementError};
