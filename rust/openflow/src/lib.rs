//! OpenFlow 1.5 to the local switch, and batches of rtnetlink to the kernel.
//!
//! [`wire`] is the format, [`session`] the conversation without a socket, [`link`] the socket and its thread; [`netlink`] is for hosts whose
//! data plane is the kernel's own. The only crate that does I/O; it contains no `unsafe` of its own.
#![forbid(unsafe_code)]

mod batch;
mod event;
pub mod group;
pub mod link;
pub mod netlink;
pub mod reading;
pub mod session;
mod throttle;
pub mod wire;
mod work;

/// Why a conversation ends.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// A message ends before what it must contain.
    #[error("a message is cut off")]
    CutOff,
    /// The other side speaks something else.
    #[error("the other side does not speak OpenFlow 1.5 (version byte {0})")]
    NotOpenFlow(u8),
    /// A message that has no place here.
    #[error("unexpected: {0}")]
    Unexpected(&'static str),
    /// Nothing has come for too long.
    #[error("the switch has been silent for {0} s")]
    Silent(u64),
    /// The other side has closed the connection.
    #[error("the switch has closed the connection")]
    Gone,
    /// The socket failed.
    #[error("{0}")]
    Socket(#[from] std::io::Error),
}
