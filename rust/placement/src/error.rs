//! What can be wrong with a call, named by what the caller can do about it.

/// Why a call can't be done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlacementError {
    /// Nothing of that id is in the table.
    #[error("no {what} {id:?} in the table")]
    NotFound {
        /// `host` or `provider`.
        what: &'static str,
        /// The id.
        id: String,
    },
    /// The call makes no sense, whatever the table holds.
    #[error("{why}")]
    Wrong {
        /// What is wrong with it.
        why: String,
    },
    /// A claim doesn't fit any more.
    #[error("doesn't fit on host {host:?}: {why}")]
    NoRoom {
        /// The host.
        host: String,
        /// What there isn't enough of.
        why: String,
    },
}

impl PlacementError {
    pub(crate) fn wrong(why: impl Into<String>) -> Self {
        Self::Wrong { why: why.into() }
    }

    pub(crate) fn no_host(id: &str) -> Self {
        Self::NotFound { what: "host", id: id.to_owned() }
    }

    pub(crate) fn no_provider(id: &str) -> Self {
        Self::NotFound { what: "provider", id: id.to_owned() }
    }
}
