//! Who is at which address, and in which form to speak to it.
//!
//! A session is an address from which a sealed datagram was taken, or to which one is to be sent
//! because an invite says whose it is. Each side gives the other a secret for the way back, made for
//! that address. To an address that lately answered, short packets go masked; to all others, all
//! goes sealed, so that a session survives a restart or a new address of either side. What comes
//! from an address without a session, and is not sealed to us, does not exist.
//!
//! The table is bounded: for a session too many the one goes that has shown least.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::VeilSecret;
use super::frame::{Key, MAX_INNER, MAX_SEALED, WHOLE, is_short};
use super::nonces::Nonces;
use crate::time::{Tick, UnixTime};

/// Sessions at once, and addresses known from invites.
const MOST: usize = 4096;
/// Who said nothing for so long may have another address now, or have forgotten us.
const SILENT: Duration = Duration::from_secs(2);
/// After so long, and up to twice that, a session is opened anew beside its packets.
const RENEW: Duration = Duration::from_secs(10);

/// Both clocks.
#[derive(Debug, Clone, Copy)]
pub struct Now {
    /// For what is said.
    pub time: UnixTime,
    /// For what is waited for.
    pub tick: Tick,
}

/// All addresses that matter to one node.
#[derive(Debug)]
pub struct Sessions {
    /// What is sealed to this node by those who hold its invite. A quiet node has none.
    own: Option<Key>,
    /// What the secrets for the way back are made of.
    seed: [u8; 32],
    listed: BTreeMap<SocketAddr, Arc<Key>>,
    open: BTreeMap<SocketAddr, Session>,
    seen: Nonces,
}

#[derive(Debug)]
struct Session {
    /// What they send us under, and what it is made of.
    ours: Key,
    back: VeilSecret,
    /// What we send them under, once they said.
    theirs: Option<(VeilSecret, Arc<Key>)>,
    /// When something of theirs was last taken.
    heard: Option<Tick>,
    /// When our secret must be said again.
    renew: Tick,
    /// Whether they can receive at this address: they used the secret that we sent to it.
    proven: bool,
}

/// How to send to an address now.
#[derive(Debug)]
pub struct Way {
    /// To seal under.
    pub seal: Arc<Key>,
    /// To mask under, if a session is open.
    pub mask: Option<Arc<Key>>,
    /// What goes into each sealed datagram.
    pub back: VeilSecret,
    /// Whether it lately answered, so that what can be masked is.
    pub answers: bool,
    /// Whether a sealed datagram without content is due.
    pub hello: bool,
}

/// The form in which a QUIC datagram is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Sealed.
    Sealed,
    /// Masked and padded.
    Padded,
    /// Masked, at its own length.
    Whole,
    /// Not at all: it can't be hidden.
    Dropped,
}

impl Way {
    /// The form for a datagram.
    pub fn form(&self, datagram: &[u8]) -> Form {
        let masked = match datagram.len() {
            _ if !is_short(datagram) || self.mask.is_none() => Form::Dropped,
            WHOLE.. => Form::Whole,
            len if len == WHOLE - 1 => Form::Dropped,
            _ => Form::Padded,
        };
        let fits = datagram.len() <= MAX_INNER;
        let seal = masked == Form::Dropped || !self.answers;
        if fits && seal { Form::Sealed } else { masked }
    }
}

impl Sessions {
    /// None yet. `own` is this node's veil secret if others may open sessions to it; `seed` is 32
    /// random bytes.
    pub fn new(own: Option<&VeilSecret>, seed: [u8; 32], now: UnixTime) -> Self {
        Self {
            own: own.map(Key::of),
            seed,
            listed: BTreeMap::new(),
            open: BTreeMap::new(),
            seen: Nonces::new(now),
        }
    }

    /// Learns that the node with this veil secret listens at `addr`.
    pub fn learn(&mut self, addr: SocketAddr, secret: &VeilSecret) {
        if self.listed.len() < MOST || self.listed.contains_key(&addr) {
            self.listed.insert(addr, Arc::new(Key::of(secret)));
        }
    }

    /// How to send to `addr`; `None` if nothing can be sealed to it. `chance` is a random byte.
    pub fn way(&mut self, addr: SocketAddr, now: Now, chance: u8) -> Option<Way> {
        if !self.open.contains_key(&addr) {
            self.listed.get(&addr)?;
            self.begin(addr, now);
        }
        let session = self.open.get_mut(&addr)?;
        let theirs = session.theirs.as_ref().map(|(_, key)| key.clone());
        let seal = self.listed.get(&addr).cloned().or_else(|| theirs.clone())?;
        let hello = theirs.is_some() && session.renew <= now.tick;
        if hello {
            let more = RENEW.mul_f32(f32::from(chance) / 255.0);
            session.renew = now.tick + RENEW + more;
        }
        let answers = session.heard.is_some_and(|heard| now.tick - heard <= SILENT);
        Some(Way { seal, mask: theirs, back: session.back, answers, hello })
    }

    /// Takes a datagram from `addr`; what is in it stands at the front of the bytes afterwards.
    /// Returns how long that is, or `None`: then nobody must notice that it came.
    pub fn take(&mut self, addr: SocketAddr, datagram: &mut [u8], now: Now) -> Option<usize> {
        if datagram.len() <= MAX_SEALED {
            let ours = self.open.get(&addr).map(|session| &session.ours);
            let key = ours.filter(|key| key.is_sealed(datagram));
            let proven = key.is_some();
            let own = self.own.as_ref().filter(|key| key.is_sealed(datagram));
            if let Some(key) = key.or(own) {
                let opened = key.open(datagram)?;
                if !self.seen.take(opened.nonce, opened.at, now.time) {
                    return None;
                }
                self.hear(addr, opened.back, proven, now);
                datagram.get_mut(..opened.inner.len())?.copy_from_slice(&opened.inner);
                return (!opened.inner.is_empty()).then_some(opened.inner.len());
            }
        }
        let session = self.open.get_mut(&addr)?;
        let len = session.ours.unmask(datagram)?;
        session.heard = Some(now.tick);
        session.proven = true;
        Some(len)
    }

    /// How many sessions there are.
    pub fn len(&self) -> usize {
        self.open.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    fn hear(&mut self, addr: SocketAddr, back: VeilSecret, proven: bool, now: Now) {
        if !self.open.contains_key(&addr) {
            self.begin(addr, now);
        }
        let Some(session) = self.open.get_mut(&addr) else { return };
        session.heard = Some(now.tick);
        session.proven |= proven;
        if session.theirs.as_ref().is_none_or(|(known, _)| *known != back) {
            session.theirs = Some((back, Arc::new(Key::of(&back))));
            session.renew = now.tick;
        }
    }

    fn begin(&mut self, addr: SocketAddr, now: Now) {
        if self.open.len() >= MOST {
            let worst = self.open.iter().min_by_key(|(addr, session)| {
                (session.proven, self.listed.contains_key(addr), session.heard)
            });
            let worst = worst.map(|(addr, _)| *addr);
            worst.and_then(|worst| self.open.remove(&worst));
        }
        let back = self.back(addr);
        let (theirs, heard) = (None, None);
        let ours = Key::of(&back);
        let session = Session { ours, back, theirs, heard, renew: now.tick, proven: false };
        self.open.insert(addr, session);
    }

    /// The secret for the way back from `addr`: always the same for one address.
    fn back(&self, addr: SocketAddr) -> VeilSecret {
        let mut hasher = blake3::Hasher::new_keyed(&self.seed);
        match addr.ip() {
            std::net::IpAddr::V4(ip) => hasher.update(&ip.octets()),
            std::net::IpAddr::V6(ip) => hasher.update(&ip.octets()),
        };
        hasher.update(&addr.port().to_be_bytes());
        VeilSecret(*hasher.finalize().as_bytes())
    }
}
