//! Why an operation failed: one public enum per operation, and the one inner type they come from.

use std::io;

/// Why a store was not opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// It is protected by a passphrase and none was given.
    #[error("this store is protected by a passphrase")]
    NeedsPassphrase,
    /// The passphrase does not fit.
    #[error("the passphrase is wrong")]
    WrongPassphrase,
    /// Another process, or another `Store` in this one, has it open.
    #[error("the store is in use by another process")]
    InUse,
    /// A later version wrote it.
    #[error("the store has format {0}, which this version does not know; a newer Busel wrote it")]
    UnknownFormat(u32),
    /// It can't be read: something other than this program changed it, or the disk is failing.
    #[error("the store is damaged: {0}")]
    Damaged(String),
    /// The disk is full.
    #[error("the disk is full")]
    FullDisk,
    /// The operating system refused.
    #[error("the store can't be opened: {0}")]
    Io(#[source] io::Error),
}

/// Why something was not read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// What is stored does not match its proof, or can't be read.
    #[error("the stored data is damaged: {0}")]
    Damaged(String),
    /// A range that is empty, beyond the end, or, for a window, not one of whole groups.
    #[error("no such range")]
    Range,
    /// The store was wiped.
    #[error("the store is closed")]
    Closed,
    /// The operating system refused.
    #[error("the store can't be read: {0}")]
    Io(#[source] io::Error),
}

/// Why something was not written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// The disk is full. What was stored before is unharmed.
    #[error("the disk is full")]
    FullDisk,
    /// Longer than anything of its kind may be.
    #[error("at most {max} bytes are allowed")]
    TooLong {
        /// Bytes allowed.
        max: u64,
    },
    /// The index can't be read.
    #[error("the stored data is damaged: {0}")]
    Damaged(String),
    /// The store was wiped.
    #[error("the store is closed")]
    Closed,
    /// The operating system refused.
    #[error("the store can't be written: {0}")]
    Io(#[source] io::Error),
}

/// Why a snapshot was not stored.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PutError {
    /// The body is not the one that the head names.
    #[error("the body is not the one that the signed head names")]
    BodyMismatch,
    /// The disk is full. What was stored before is unharmed.
    #[error("the disk is full")]
    FullDisk,
    /// It does not fit into the quota beside what is pinned.
    #[error("it needs {need} bytes, which the quota of {quota} has not beside what is pinned")]
    OverQuota {
        /// Bytes that it takes.
        need: u64,
        /// Bytes allowed for all.
        quota: u64,
    },
    /// The index can't be read.
    #[error("the stored data is damaged: {0}")]
    Damaged(String),
    /// The store was wiped.
    #[error("the store is closed")]
    Closed,
    /// The operating system refused.
    #[error("the store can't be written: {0}")]
    Io(#[source] io::Error),
}

/// What can go wrong anywhere. Cloned to all who wait for one commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fault {
    Full,
    Damaged(String),
    Closed,
    Io(io::ErrorKind, String),
}

impl Fault {
    pub(crate) fn damaged(what: impl Into<String>) -> Self {
        Self::Damaged(what.into())
    }
}

impl From<io::Error> for Fault {
    fn from(e: io::Error) -> Self {
        use io::ErrorKind as K;
        match e.kind() {
            K::StorageFull | K::QuotaExceeded => Self::Full,
            K::UnexpectedEof => Self::damaged("a file is shorter than it was"),
            K::InvalidData => Self::Damaged(e.to_string()),
            kind => Self::Io(kind, e.to_string()),
        }
    }
}

impl From<redb::Error> for Fault {
    fn from(e: redb::Error) -> Self {
        match e {
            redb::Error::Io(e) => e.into(),
            redb::Error::PreviousIo => Self::Io(io::ErrorKind::Other, e.to_string()),
            e => Self::Damaged(e.to_string()),
        }
    }
}

/// `redb` has an error type for each call; each becomes the common one, and that a fault.
macro_rules! from_redb {
    ($($name:ident),*) => {$(
        impl From<redb::$name> for Fault {
            fn from(e: redb::$name) -> Self {
                redb::Error::from(e).into()
            }
        }
    )*};
}
from_redb!(StorageError, TableError, TransactionError, CommitError, DatabaseError);

impl From<Fault> for OpenError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Full => Self::FullDisk,
            Fault::Damaged(what) => Self::Damaged(what),
            Fault::Closed => Self::Io(io::Error::other("the store is closed")),
            Fault::Io(kind, what) => Self::Io(io::Error::new(kind, what)),
        }
    }
}

impl From<io::Error> for OpenError {
    fn from(e: io::Error) -> Self {
        Fault::from(e).into()
    }
}

impl From<Fault> for ReadError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Full => Self::Io(io::ErrorKind::StorageFull.into()),
            Fault::Damaged(what) => Self::Damaged(what),
            Fault::Closed => Self::Closed,
            Fault::Io(kind, what) => Self::Io(io::Error::new(kind, what)),
        }
    }
}

impl From<Fault> for WriteError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Full => Self::FullDisk,
            Fault::Damaged(what) => Self::Damaged(what),
            Fault::Closed => Self::Closed,
            Fault::Io(kind, what) => Self::Io(io::Error::new(kind, what)),
        }
    }
}

impl From<io::Error> for WriteError {
    fn from(e: io::Error) -> Self {
        Fault::from(e).into()
    }
}

impl From<Fault> for PutError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Full => Self::FullDisk,
            Fault::Damaged(what) => Self::Damaged(what),
            Fault::Closed => Self::Closed,
            Fault::Io(kind, what) => Self::Io(io::Error::new(kind, what)),
        }
    }
}
