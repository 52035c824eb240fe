//! Finders: the ways to learn of nodes.
//!
//! A finder yields contacts; whether and when they are dialled is not its business. It is told how
//! a contact did, so that it may keep the good ones. One that goes on finding runs as a task of the
//! endpoint, which ends it.

pub mod dht;
pub mod invite;
pub mod lan;
pub mod saved;

use futures_util::future::{BoxFuture, FutureExt};
use tokio::sync::mpsc;

use crate::wire::Contact;

/// Where a finder that runs says what it finds. It waits when much is found at once.
pub type Found = mpsc::Sender<Contact>;

/// A way to learn of nodes.
pub trait Finder: std::fmt::Debug + Send + Sync {
    /// Its name in reports.
    fn name(&self) -> &'static str;

    /// The nodes that it knows of now.
    fn find(&self) -> BoxFuture<'_, Vec<Contact>>;

    /// How many nodes it knows of now.
    fn known(&self) -> usize;

    /// Goes on finding until it is dropped. One that knows all at its start has nothing to do.
    fn run(&self, found: Found) -> BoxFuture<'_, ()> {
        drop(found);
        async {}.boxed()
    }

    /// Whether the reader confirmed what it knows, so that nothing else replaces that.
    fn is_confirmed(&self) -> bool {
        false
    }

    /// A connection to `contact` was made, or could not be.
    fn tried(&self, contact: &Contact, worked: bool) {
        let _ = (contact, worked);
    }
}
