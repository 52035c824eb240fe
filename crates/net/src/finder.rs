//! Finders: the ways to learn of nodes.
//!
//! A finder yields contacts; whether and when they are dialled is not its business. It is told how
//! a contact did, so that it may keep the good ones.

pub mod invite;
pub mod saved;

use futures_util::future::BoxFuture;

use crate::wire::Contact;

/// A way to learn of nodes.
pub trait Finder: std::fmt::Debug + Send + Sync {
    /// Its name in reports.
    fn name(&self) -> &'static str;

    /// The nodes that it knows of now.
    fn find(&self) -> BoxFuture<'_, Vec<Contact>>;

    /// Whether the reader confirmed what it knows, so that nothing else replaces that.
    fn is_confirmed(&self) -> bool {
        false
    }

    /// A connection to `contact` was made, or could not be.
    fn tried(&self, contact: &Contact, worked: bool) {
        let _ = (contact, worked);
    }
}
