//! Snapshots and verified blobs on disk, encrypted, with a quota.
//!
//! What it promises: what was acknowledged survives `kill -9` and power cuts; no blob is stored
//! without its proof, no snapshot without its body; a copied disk shows no URL, page or setting to
//! who lacks the passphrase. What it does not: it checks no signature (`put` takes only a verified
//! [`Snapshot`](busel_proto::snapshot::Snapshot), and what is read must be verified again under
//! today's trust set), it does not hide how much is stored or when it changes, and without a
//! passphrase the disk protects nothing.
//!
//! ```text
//! format            "busel-store 2", the only plain text
//! key               the data key, in clear or wrapped by a passphrase
//! index.redb        heads, settings, bodies up to 16 KiB, proofs and keys of the rest
//! blobs/xx/<name>   longer bodies, each under its own key, names are random
//! lock              held while open
//! ```
//!
//! **One index, and files beside it.** A database keeps small things together in few writes, files
//! keep large ones out of its way. The index is the truth: a file that it does not name is removed
//! when the store is opened.
//!
//! **Order.** A file's bytes are synced, then its name, then the index is committed and synced, and
//! only then is `put` acknowledged. A file is removed only after the commit that no longer names it.
//! So a cut leaves at worst a file too many, never one too few. One thread commits what many callers
//! queue, in one transaction, so that a crowd of puts costs few syncs.
//!
//! **Encryption.** The index is rewritten in place, so it is encrypted by place (AES-256-XTS), below
//! the database's cache; its rows carry tags. Files are written once, under a key of their own that
//! only the index has, so that dropping the row makes the file noise (once the database has reused
//! the page). Reads are verified by the BLAKE3 tree, windows by who takes them: a cipher without
//! authentication would let whoever holds the disk change bytes that he can guess.
//!
//! **Calls block.** They do file work; an async caller wraps them in `spawn_blocking`.
//!
//! Read in this order: [`Store`] (`store`), then `batch` for what each operation changes, `writer`
//! for how it is committed, `shared` for what both sides see, `blob` and `reader` for bodies,
//! `index`, `rows`, `backend`, `cipher`, `key` for what lies on the disk, `format` for what once lay there.

mod backend;
mod batch;
mod blob;
mod cipher;
#[doc(hidden)]
pub mod disk;
mod error;
mod format;
mod index;
mod key;
mod partial;
mod reader;
mod rows;
mod shared;
mod store;
mod wipe;
mod writer;

pub use batch::Swept;
pub use blob::{BlobWriter, FinishedBlob};
pub use error::{OpenError, PutError, ReadError, WriteError};
pub use key::{Protection, Unlock};
pub use partial::{MAX_PARTIAL, PartialBlob};
pub use reader::BlobReader;
pub use store::{MAX_SETTING, Options, Store, Stored, Usage};
