//! Invites: one line that brings a new node to others.
//!
//! `busel1` and base32 (lower case, no padding) of deterministic CBOR followed by four bytes of
//! its BLAKE3 hash. It holds nothing about who made it for whom. What it asks the reader to
//! *trust* is apart from what it helps to *reach*, so that joining can ask about the one and just do
//! the other.

use std::net::SocketAddr;

use data_encoding::BASE32_NOPAD;
use minicbor::{Decode, Encode};

use crate::cbor::{self, CborError};
use crate::cert::{SubkeyCert, TrustedRoot};
use crate::id::{Hash, PeerId};
use crate::page::HostName;
use crate::signed::Signed;
use crate::sites::Site;

/// What each invite of this version begins with.
pub const PREFIX: &str = "busel1";
/// The longest invite, in characters.
pub const MAX_LINE: usize = 16 * 1024;

/// Why a line is no invite.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InviteError {
    /// It begins otherwise.
    #[error("an invite begins with “{PREFIX}”")]
    Prefix,
    /// Longer than [`MAX_LINE`].
    #[error("an invite has at most {MAX_LINE} characters")]
    TooLong,
    /// A character that no invite has.
    #[error("the invite has a character at position {0} that does not belong there")]
    Character(usize),
    /// The checksum does not fit: part is missing or mistyped.
    #[error("the invite is damaged: part of it is missing or mistyped")]
    Damaged,
    /// Written by a version that this one does not understand.
    #[error("the invite can't be read by this version: {0}")]
    Unknown(CborError),
    /// It says something impossible.
    #[error("the invite makes no sense: {0}")]
    Nonsense(&'static str),
}

/// What an invite brings.
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Invite {
    /// Relays to reach others by.
    #[n(0)]
    pub relays: Vec<RelayTicket>,
    /// Nodes to ask.
    #[n(1)]
    pub peers: Vec<PeerTicket>,
    /// Injector roots that the reader is asked to trust, for these hosts.
    #[n(2)]
    pub roots: Vec<TrustedRoot>,
    /// Current certificates of those roots' injectors.
    #[n(3)]
    pub injectors: Vec<InjectorTicket>,
    /// Sites whose pages may be shared.
    #[n(4)]
    pub sites: Vec<Site>,
}

/// A relay and the way in.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct RelayTicket {
    /// `host:port` to dial.
    #[n(0)]
    pub addr: String,
    /// The name to show in the TLS handshake; need not be the relay's.
    #[n(1)]
    pub sni: HostName,
    /// BLAKE3 of the certificate's SubjectPublicKeyInfo: the pin.
    #[n(2)]
    pub pin: Hash,
    /// The way in, 16 random bytes; without it the relay is an ordinary web site.
    #[cbor(n(3), with = "minicbor::bytes")]
    pub secret: [u8; 16],
}

/// A node and where it may be found.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct PeerTicket {
    /// The node.
    #[n(0)]
    pub peer: PeerId,
    /// Index into [`Invite::relays`] of the relay it keeps to.
    #[n(1)]
    pub relay: Option<u32>,
    /// Plain addresses, used only with the plain wire.
    #[n(2)]
    pub addrs: Vec<String>,
}

/// An injector: a node and the certificate that lets it sign.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct InjectorTicket {
    /// The node; also in [`Invite::peers`].
    #[n(0)]
    pub peer: PeerId,
    /// Its certificate.
    #[n(1)]
    pub cert: Signed<SubkeyCert>,
}

impl RelayTicket {
    /// The name that stands for this relay inside the program, where the endpoint wants a URL.
    /// Its label is a hash of the whole ticket; `.invalid` is never resolved (RFC 6761).
    pub fn inner_name(&self) -> String {
        let hash = Hash::of(&cbor::to_vec(self));
        format!("{}.relay.invalid", &hash.to_string()[..26])
    }
}

impl Invite {
    /// The line.
    pub fn to_line(&self) -> String {
        let mut bytes = cbor::to_vec(self);
        let sum = Hash::of(&bytes);
        bytes.extend_from_slice(&sum.0[..4]);
        format!("{PREFIX}{}", BASE32_NOPAD.encode(&bytes).to_ascii_lowercase())
    }

    /// Reads a line. White space inside is dropped: mail and paper break lines.
    pub fn from_line(line: &str) -> Result<Self, InviteError> {
        let line: String = line.chars().filter(|c| !c.is_whitespace()).collect();
        if line.len() > MAX_LINE {
            return Err(InviteError::TooLong);
        }
        let text = line.to_ascii_uppercase();
        let text = text.strip_prefix(&PREFIX.to_ascii_uppercase()).ok_or(InviteError::Prefix)?;
        let bytes = BASE32_NOPAD.decode(text.as_bytes()).map_err(|e| match e.kind {
            data_encoding::DecodeKind::Symbol => {
                InviteError::Character(e.position + PREFIX.len() + 1)
            }
            _ => InviteError::Damaged,
        })?;
        let (body, sum) = bytes.split_last_chunk::<4>().ok_or(InviteError::Damaged)?;
        if Hash::of(body).0[..4] != *sum {
            return Err(InviteError::Damaged);
        }
        let invite: Self = cbor::from_slice(body, MAX_LINE).map_err(InviteError::Unknown)?;
        invite.check()?;
        Ok(invite)
    }

    /// The relay that `peer` keeps to.
    pub fn relay_of(&self, peer: &PeerTicket) -> Option<&RelayTicket> {
        self.relays.get(usize::try_from(peer.relay?).ok()?)
    }

    fn check(&self) -> Result<(), InviteError> {
        let relays = self.relays.len();
        for peer in &self.peers {
            if peer.relay.is_some_and(|at| usize::try_from(at).is_ok_and(|at| at >= relays)) {
                return Err(InviteError::Nonsense("a node keeps to a relay that is not in it"));
            }
            if peer.addrs.iter().any(|addr| addr.parse::<SocketAddr>().is_err()) {
                return Err(InviteError::Nonsense("an address can't be read"));
            }
        }
        for relay in &self.relays {
            let port = relay.addr.rsplit_once(':').filter(|(host, _)| !host.is_empty());
            let port = port.map(|(_, port)| port.parse::<u16>());
            if !matches!(port, Some(Ok(1..))) || relay.addr.contains(char::is_control) {
                return Err(InviteError::Nonsense("a relay has no host:port"));
            }
        }
        if self.roots.iter().any(|root| root.label.contains(char::is_control)) {
            return Err(InviteError::Nonsense("a name has control characters in it"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::page::HostPattern;

    fn invite() -> Invite {
        Invite {
            relays: vec![RelayTicket {
                addr: "198.51.100.7:443".into(),
                sni: HostName::parse("www.example.org").unwrap(),
                pin: Hash([5; 32]),
                secret: [6; 16],
            }],
            peers: vec![PeerTicket { peer: PeerId([7; 32]), relay: Some(0), addrs: vec![] }],
            roots: vec![],
            injectors: vec![],
            sites: vec![Site::new(HostPattern::parse("*.news.example").unwrap())],
        }
    }

    #[test]
    fn an_invite_survives_mail_paper_and_shouting() {
        let line = invite().to_line();
        assert_eq!(Invite::from_line(&line), Ok(invite()));
        assert_eq!(Invite::from_line(&line.to_uppercase()), Ok(invite()));
        let wrapped = format!("  {}\r\n{} \n", &line[..40], &line[40..]);
        assert_eq!(Invite::from_line(&wrapped), Ok(invite()));
    }

    #[test]
    fn what_is_wrong_is_said() {
        let line = invite().to_line();
        assert_eq!(Invite::from_line("hello"), Err(InviteError::Prefix));
        let cut = &line[..line.len() - 8];
        assert_eq!(Invite::from_line(cut), Err(InviteError::Damaged));
        let typo = line.replacen('a', "b", 1);
        assert_eq!(Invite::from_line(&typo), Err(InviteError::Damaged));
        let odd = format!("{}!{}", &line[..20], &line[21..]);
        assert_eq!(Invite::from_line(&odd), Err(InviteError::Character(21)));
        let mut lost = invite();
        lost.peers[0].relay = Some(3);
        assert!(matches!(Invite::from_line(&lost.to_line()), Err(InviteError::Nonsense(_))));
        assert_eq!(Invite::from_line(&"busel1".repeat(4000)), Err(InviteError::TooLong));
        let mut nowhere = invite();
        nowhere.relays[0].addr = ":443".into();
        assert!(matches!(Invite::from_line(&nowhere.to_line()), Err(InviteError::Nonsense(_))));
    }
}
