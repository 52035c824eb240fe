//! The finder `Invite`: nodes that an invite names.

use busel_proto::invite::{Invite, RelayTicket};
use futures_util::future::{BoxFuture, FutureExt};

use super::Finder;
use crate::wire::Contact;

/// The nodes of the invites that were accepted.
#[derive(Debug)]
pub struct Invited {
    contacts: Vec<Contact>,
    confirmed: bool,
}

impl Invited {
    /// The nodes of these invites.
    pub fn new<'a>(invites: impl IntoIterator<Item = &'a Invite>) -> Self {
        Self { contacts: invites.into_iter().flat_map(contacts).collect(), confirmed: false }
    }

    /// The nodes of invites that the reader confirmed.
    pub fn confirmed<'a>(invites: impl IntoIterator<Item = &'a Invite>) -> Self {
        Self { confirmed: true, ..Self::new(invites) }
    }
}

/// The contacts that one invite names. Addresses that can't be read were refused when it was read.
pub fn contacts(invite: &Invite) -> Vec<Contact> {
    invite
        .peers
        .iter()
        .map(|peer| Contact {
            peer: peer.peer,
            relay: invite.relay_of(peer).map(RelayTicket::bare),
            addrs: peer.addrs.iter().filter_map(|addr| addr.parse().ok()).collect(),
            veil: peer.veil.clone(),
        })
        .collect()
}

impl Finder for Invited {
    fn name(&self) -> &'static str {
        "invite"
    }

    fn find(&self) -> BoxFuture<'_, Vec<Contact>> {
        let found = self.contacts.clone();
        async move { found }.boxed()
    }

    fn known(&self) -> usize {
        self.contacts.len()
    }

    fn is_confirmed(&self) -> bool {
        self.confirmed
    }
}
