//! The kernel's links, the forwarding tables of its VXLAN devices and its neighbours, in batches, by rtnetlink.
//!
//! # Theory of operation
//!
//! Who calls says how things should be; [`Netlink`] asks the kernel how they are ([`socket`]), computes the smallest
//! list of changes ([`plan`], pure) and sends it, many messages in one system call. Only the last message of a batch asks to be
//! acknowledged: the kernel works through a batch before the call returns, and always tells of a message that failed, by its
//! number. So each refusal is reported with the object that it is about, and keeps no other from being done.
//!
//! Saying the same again changes nothing and sends nothing but the question. Entries that the kernel has learned by itself are
//! nobody's wish and are left alone. A socket belongs to the network namespace of the thread that opened it.
//!
//! Messages are written by the netlink-packet crates. They are read by [`message`] itself, which looks at what it needs only, so that an
//! attribute that no crate knows yet can't hide a link.

pub mod message;
pub mod plan;
pub mod request;
pub mod socket;

use std::collections::BTreeMap;
use std::io;

pub use message::{Fdb, Found, Link, LinkKind, Neighbour};
use plan::Change;
use request::Request;
use socket::Socket;

/// Why a question or a change could not be carried out at all.
#[derive(Debug, thiserror::Error)]
pub enum NetlinkError {
    /// There is no such device.
    #[error("there is no device {0}")]
    NoDevice(String),
    /// What is wished makes no sense.
    #[error("{0}")]
    Wrong(String),
    /// An answer of the kernel makes no sense.
    #[error("the kernel's answer is cut off")]
    CutOff,
    /// The socket failed, or the kernel refused a question.
    #[error("{0}")]
    Socket(#[from] io::Error),
}

/// A change that the kernel would not make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The change in words.
    pub what: String,
    /// The kernel's reason in words.
    pub why: String,
    /// Its error number.
    pub errno: i32,
}

/// What was done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Objects that were made.
    pub added: usize,
    /// Objects that were changed.
    pub changed: usize,
    /// Objects that were removed.
    pub removed: usize,
    /// What could not be done.
    pub refused: Vec<Refusal>,
}

/// A conversation with the kernel about the network of one namespace.
pub struct Netlink {
    socket: Socket,
}

impl Netlink {
    /// Opens a socket in this thread's network namespace.
    ///
    /// # Errors
    /// The system has no sockets left.
    pub fn open() -> io::Result<Self> {
        Ok(Self { socket: Socket::open()? })
    }

    /// Every link by name.
    ///
    /// # Errors
    /// The socket failed.
    pub fn links(&mut self) -> Result<BTreeMap<String, Found>, NetlinkError> {
        Ok(message::named(self.socket.dump(Request::links(), message::read_link)?))
    }

    /// Makes the links whose names begin with `prefix` be exactly these.
    ///
    /// A link of another kind, or of one whose settings can't be changed, is made anew.
    ///
    /// # Errors
    /// A name doesn't begin with the prefix, or the socket failed.
    pub fn sync_links(&mut self, prefix: &str, wanted: &[Link]) -> Result<Report, NetlinkError> {
        if let Some(other) = wanted.iter().find(|link| prefix.is_empty() || !link.name.starts_with(prefix)) {
            return Err(NetlinkError::Wrong(format!("{:?} doesn't begin with {prefix:?}", other.name)));
        }
        let mut report = Report::default();
        let held = self.links()?;
        self.carry_out(&plan::remove_links(prefix, &held, wanted), &mut report)?;
        self.carry_out(&plan::make_links(&held, wanted), &mut report)?;
        let held = self.links()?;
        self.carry_out(&plan::change_links(&held, wanted), &mut report)?;
        Ok(report)
    }

    /// Where a VXLAN device sends which frames: what was set, not what it has learned.
    ///
    /// # Errors
    /// There is no such device, or the socket failed.
    pub fn fdb(&mut self, device: &str) -> Result<Vec<Fdb>, NetlinkError> {
        let index = self.index(device)?;
        self.fdb_of(index)
    }

    fn fdb_of(&mut self, index: u32) -> Result<Vec<Fdb>, NetlinkError> {
        self.socket.dump(Request::fdb(index), |body| message::read_fdb(body, index))
    }

    /// Makes a VXLAN device send exactly so. Frames for all zeros go to every destination that is named for it.
    ///
    /// # Errors
    /// There is no such device, or the socket failed.
    pub fn sync_fdb(&mut self, device: &str, wanted: &[Fdb]) -> Result<Report, NetlinkError> {
        let index = self.index(device)?;
        let held = self.fdb_of(index)?;
        let mut report = Report::default();
        self.carry_out(&plan::fdb(index, &held, wanted), &mut report)?;
        Ok(report)
    }

    /// The neighbours of a device: what was set, not what it has learned.
    ///
    /// # Errors
    /// There is no such device, or the socket failed.
    pub fn neighbours(&mut self, device: &str) -> Result<Vec<Neighbour>, NetlinkError> {
        let index = self.index(device)?;
        self.neighbours_of(index)
    }

    fn neighbours_of(&mut self, index: u32) -> Result<Vec<Neighbour>, NetlinkError> {
        self.socket.dump(Request::neighbours(index), |body| message::read_neighbour(body, index))
    }

    /// Makes the neighbours that are set on a device be exactly these.
    ///
    /// # Errors
    /// There is no such device, or the socket failed.
    pub fn sync_neighbours(&mut self, device: &str, wanted: &[Neighbour]) -> Result<Report, NetlinkError> {
        let index = self.index(device)?;
        let held = self.neighbours_of(index)?;
        let mut report = Report::default();
        self.carry_out(&plan::neighbours(index, &held, wanted), &mut report)?;
        Ok(report)
    }

    fn index(&mut self, device: &str) -> Result<u32, NetlinkError> {
        const NAME_BYTES_MOST: usize = 15;
        if device.is_empty() || device.len() > NAME_BYTES_MOST {
            return Err(NetlinkError::NoDevice(device.to_owned()));
        }
        let found = match self.socket.dump(Request::link(device), message::read_link) {
            Err(NetlinkError::Socket(error)) if error.raw_os_error() == Some(message::NO_DEVICE) => Vec::new(),
            found => found?,
        };
        let first = found.first().map(|found| found.index);
        first.ok_or_else(|| NetlinkError::NoDevice(device.to_owned()))
    }

    /// Sends changes and counts them.
    fn carry_out(&mut self, changes: &[Change], report: &mut Report) -> Result<(), NetlinkError> {
        let outcomes = self.socket.batch(changes.iter().map(Request::from))?;
        for (change, outcome) in changes.iter().zip(outcomes) {
            match outcome {
                None => *change.count_of(report) += 1,
                Some(failure) => {
                    let socket::Failure { errno, why } = failure;
                    report.refused.push(Refusal { what: change.what(), why, errno });
                }
            }
        }
        Ok(())
    }
}
