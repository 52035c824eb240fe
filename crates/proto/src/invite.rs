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
use crate::page::{HostName, HostPattern};
use crate::signed::Signed;
use crate::sites::Site;
use crate::veil::VeilSecret;
use crate::way_in::WayIn;

/// What each invite of this version begins with.
pub const PREFIX: &str = "busel1";
/// The longest invite, in characters.
pub const MAX_LINE: usize = 16 * 1024;
/// The longest name of a root, in characters.
pub const MAX_LABEL: usize = 64;
/// The most entries of each kind.
const MAX_ENTRIES: usize = 256;
/// The most other names of a relay.
pub const MAX_NAMES: usize = 7;
/// The most spare ways into a relay.
pub const MAX_SPARES: usize = 256;
/// The longest `host:port` of a relay: a host name has 253 characters at most.
const MAX_ADDR: usize = 260;

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
    /// It asks to be believed, or shared, for more than the hosts of a publisher.
    #[error("the invite asks for all of “{0}”, which is more than any publisher's hosts")]
    TooWide(HostPattern),
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
    /// Other names that it may show, tried in turn where a filter does not let the first one pass.
    #[cbor(n(4), skip_if = "Vec::is_empty")]
    pub also: Vec<HostName>,
    /// Spare ways in, to hand on to others. Absent if the way in is one that all share; then it is
    /// handed on itself.
    #[n(5)]
    pub spares: Option<Vec<WayIn>>,
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
    /// Where it listens for the veil wire.
    #[n(3)]
    pub veil: Option<VeilTicket>,
}

/// Where a node listens for the veil wire, and what opens a session to it.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct VeilTicket {
    /// `IP:port`s. No names: whoever joins would look them up.
    #[n(0)]
    pub addrs: Vec<String>,
    /// Its veil secret.
    #[n(1)]
    pub secret: VeilSecret,
}

impl VeilTicket {
    /// The addresses. Those that can't be read were refused when the invite was read.
    pub fn addrs(&self) -> impl Iterator<Item = SocketAddr> {
        self.addrs.iter().filter_map(|addr| addr.parse().ok())
    }

    fn is_sound(&self) -> bool {
        (1..=MAX_ENTRIES).contains(&self.addrs.len()) && self.addrs().count() == self.addrs.len()
    }
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
    /// Its label is a hash of the ticket without its other names and its ways in, so that these may
    /// change; `.invalid` is never resolved (RFC 6761).
    pub fn inner_name(&self) -> String {
        let bare = Self { also: Vec::new(), secret: [0; 16], ..self.bare() };
        format!("{}.relay.invalid", &Hash::of(&cbor::to_vec(&bare)).to_string()[..26])
    }

    /// The ticket without what is there to be handed on: all that its holder needs itself.
    #[must_use]
    pub fn bare(&self) -> Self {
        Self { spares: None, ..self.clone() }
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

    /// Checks what its types alone do not. One that was read from a line was checked.
    pub fn check(&self) -> Result<(), InviteError> {
        self.check_ways()?;
        self.check_trust()
    }

    fn check_ways(&self) -> Result<(), InviteError> {
        let counts = [self.relays.len(), self.peers.len(), self.injectors.len()];
        let addrs = self.peers.iter().map(|peer| peer.addrs.len());
        if counts.into_iter().chain(addrs).any(|count| count > MAX_ENTRIES) {
            return Err(InviteError::Nonsense("it names too many ways"));
        }
        let relays = self.relays.len();
        for peer in &self.peers {
            if peer.relay.is_some_and(|at| usize::try_from(at).is_ok_and(|at| at >= relays)) {
                return Err(InviteError::Nonsense("a node keeps to a relay that is not in it"));
            }
            if peer.addrs.iter().any(|addr| addr.parse::<SocketAddr>().is_err()) {
                return Err(InviteError::Nonsense("an address can't be read"));
            }
            if peer.veil.as_ref().is_some_and(|veil| !veil.is_sound()) {
                return Err(InviteError::Nonsense("a node has no address behind its veil"));
            }
        }
        for relay in &self.relays {
            let port = relay.addr.rsplit_once(':').filter(|(host, _)| !host.is_empty());
            let port = port.map(|(_, port)| port.parse::<u16>());
            let odd = relay.addr.len() > MAX_ADDR || relay.addr.contains(char::is_control);
            if odd || !matches!(port, Some(Ok(1..))) {
                return Err(InviteError::Nonsense("a relay has no host:port"));
            }
            if relay.also.len() > MAX_NAMES {
                return Err(InviteError::Nonsense("a relay has too many names"));
            }
            if relay.spares.as_ref().is_some_and(|spares| spares.len() > MAX_SPARES) {
                return Err(InviteError::Nonsense("a relay has too many spare ways in"));
            }
        }
        Ok(())
    }

    fn check_trust(&self) -> Result<(), InviteError> {
        let hosts = self.roots.iter().map(|root| root.hosts.len());
        let counts = [self.roots.len(), self.sites.len()];
        if counts.into_iter().chain(hosts).any(|count| count > MAX_ENTRIES) {
            return Err(InviteError::Nonsense("it asks to trust too much"));
        }
        if !self.roots.iter().all(|root| is_label(&root.label)) {
            return Err(InviteError::Nonsense("a name is too long, or can't be seen as it is"));
        }
        let asked = self.roots.iter().flat_map(|root| &root.hosts);
        let mut asked = asked.chain(self.sites.iter().map(|site| &site.hosts));
        match asked.find(|hosts| hosts.is_wide()) {
            Some(wide) => Err(InviteError::TooWide(wide.clone())),
            None => Ok(()),
        }
    }
}

/// Whether people can be shown this as the name of a root: not too long, and nothing in it that is
/// not seen or that turns the rest around.
pub fn is_label(text: &str) -> bool {
    let unseen = |c: char| {
        c.is_control()
            || matches!(c, '\u{ad}' | '\u{61c}' | '\u{feff}' | '\u{200b}'..='\u{200f}')
            || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}')
    };
    text.chars().count() <= MAX_LABEL && !text.contains(unseen)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn invite() -> Invite {
        Invite {
            relays: vec![RelayTicket {
                addr: "198.51.100.7:443".into(),
                sni: HostName::parse("www.example.org").unwrap(),
                pin: Hash([5; 32]),
                secret: [6; 16],
                also: vec![],
                spares: None,
            }],
            peers: vec![PeerTicket {
                peer: PeerId([7; 32]),
                relay: Some(0),
                addrs: vec![],
                veil: None,
            }],
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
    fn other_names_are_there_only_if_there_are_any() {
        let mut more = invite();
        let plain = more.to_line();
        more.relays[0].also = vec![HostName::parse("shop.example").unwrap()];
        assert_eq!(Invite::from_line(&more.to_line()), Ok(more.clone()));
        assert!(more.to_line().len() > plain.len());
        assert_eq!(more.relays[0].inner_name(), invite().relays[0].inner_name());
        more.relays[0].also = vec![HostName::parse("shop.example").unwrap(); MAX_NAMES + 1];
        assert!(Invite::from_line(&more.to_line()).is_err());
    }

    #[test]
    fn spare_ways_in_are_another_relay_neither_with_nor_without() {
        let mut own = invite();
        own.relays[0].spares = Some(vec![]);
        assert_eq!(Invite::from_line(&own.to_line()), Ok(own.clone()));
        assert_ne!(own.to_line(), invite().to_line(), "none left is not the same as shared");
        own.relays[0].spares = Some(vec![WayIn([1; 16]); MAX_SPARES]);
        own.relays[0].secret = [9; 16];
        assert_eq!(Invite::from_line(&own.to_line()), Ok(own.clone()));
        assert_eq!(own.relays[0].inner_name(), invite().relays[0].inner_name());
        assert_eq!(own.relays[0].bare().spares, None);
        own.relays[0].spares = Some(vec![WayIn([1; 16]); MAX_SPARES + 1]);
        assert!(Invite::from_line(&own.to_line()).is_err());
    }

    fn root(label: &str, hosts: &str) -> TrustedRoot {
        let hosts = vec![HostPattern::parse(hosts).unwrap()];
        TrustedRoot { key: crate::id::PublicKey([8; 32]), label: label.into(), hosts }
    }

    #[test]
    fn nobody_is_invited_to_trust_more_than_a_publishers_hosts() {
        for (hosts, wide) in [
            ("*", true),
            ("*.by", true),
            ("*.example", true),
            ("*.news.example", false),
            ("news.example", false),
            ("example", false),
        ] {
            let sites = vec![Site::new(HostPattern::parse(hosts).unwrap())];
            let by_site = Invite { sites, ..Invite::default() };
            let by_root = Invite { roots: vec![root("a", hosts)], ..Invite::default() };
            for invite in [by_site, by_root] {
                let read = Invite::from_line(&invite.to_line());
                assert_eq!(matches!(read, Err(InviteError::TooWide(_))), wide, "{hosts}: {read:?}");
                assert_eq!(read.is_ok(), !wide, "{hosts}");
            }
        }
    }

    #[test]
    fn a_name_is_short_and_can_be_seen_as_it_is() {
        let read = |label: &str| {
            let invite = Invite { roots: vec![root(label, "news.example")], ..Invite::default() };
            Invite::from_line(&invite.to_line()).is_ok()
        };
        assert!(read("Навіны «Бусел»") && read(&"ш".repeat(MAX_LABEL)) && read("الأخبار"));
        assert!(!read(&"ш".repeat(MAX_LABEL + 1)));
        for unseen in ["a\nb", "a\u{202e}b", "a\u{200b}", "\u{2066}a", "a\u{7f}"] {
            assert!(!read(unseen), "{unseen:?}");
        }
    }

    #[test]
    fn an_invite_names_no_endless_lists() {
        let peer = PeerTicket { peer: PeerId([7; 32]), relay: None, addrs: vec![], veil: None };
        let many = Invite { peers: vec![peer; MAX_ENTRIES + 1], ..Invite::default() };
        assert!(many.check().is_err());
        let mut far = invite();
        far.relays[0].addr = format!("{}:443", "a".repeat(300));
        assert!(far.check().is_err());
    }

    #[test]
    fn a_veil_is_named_by_numbers_and_an_invite_without_one_is_as_before() {
        let bare = cbor::to_vec(&invite().peers[0]);
        assert_eq!(bare[0], 0xa3, "three fields: there is no key for what is absent");
        let veiled = |addrs: &[&str]| {
            let addrs = addrs.iter().map(|addr| (*addr).to_owned()).collect();
            let mut invite = invite();
            invite.peers[0].veil = Some(VeilTicket { addrs, secret: VeilSecret([3; 32]) });
            let read = Invite::from_line(&invite.to_line());
            assert!(read.is_err() || read == Ok(invite));
            read.is_ok()
        };
        assert!(veiled(&["192.0.2.1:443", "[2001:db8::1]:9"]));
        for bad in [&[][..], &["node.example:443"], &["192.0.2.1"], &["192.0.2.1:443", ""]] {
            assert!(!veiled(bad), "{bad:?}");
        }
        assert!(!format!("{:?}", VeilSecret([3; 32])).contains('3'), "it is in no log");
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
