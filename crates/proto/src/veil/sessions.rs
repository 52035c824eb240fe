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
const SILENT: Duration = Duration::from_secs(1);
/// From whom nothing came for so long nothing masked is taken any more: whoever is still there has
/// gone over to sealing long before. So what was seen on a line is soon worth nothing to who
/// replays it, even from the same address.
const OVER: Duration = Duration::from_secs(10);
/// After so long, and up to twice that, a session is opened anew beside its packets.
const RENEW: Duration = Duration::from_secs(10);
/// What is no QUIC packet, but the veil's own: whether this comes through.
pub const ASK: [u8; 1] = [1];
/// … and that it does.
pub const YES: [u8; 1] = [2];
/// Who is owed an answer at once.
const MOST_OWED: usize = 64;

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
    /// Who asked whether it came through.
    owed: Vec<SocketAddr>,
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
            owed: Vec::new(),
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
                if opened.inner == ASK && self.owed.len() < MOST_OWED {
                    self.owed.push(addr);
                }
                datagram.get_mut(..opened.inner.len())?.copy_from_slice(&opened.inner);
                return (opened.inner.len() > ASK.len()).then_some(opened.inner.len());
            }
        }
        let lately = |heard| now.tick - heard <= OVER;
        let session = self.open.get_mut(&addr).filter(|s| s.heard.is_some_and(lately))?;
        let len = session.ours.unmask(datagram)?;
        session.heard = Some(now.tick);
        session.proven = true;
        Some(len)
    }

    /// Who is to be told by [`YES`] that their [`ASK`] came through.
    pub fn owed(&mut self) -> Vec<SocketAddr> {
        std::mem::take(&mut self.owed)
    }

    /// When something of theirs last came from `addr`.
    pub fn heard(&self, addr: &SocketAddr) -> Option<Tick> {
        self.open.get(addr)?.heard
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::veil::frame::{MASK_RANDOM, SEAL_RANDOM, Said};

    const SECRET: VeilSecret = VeilSecret([9; 32]);
    const TIME: u64 = 1_800_000_000;

    fn addr(n: u16) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, 1], n))
    }

    fn now(millis: u64) -> Now {
        Now { time: UnixTime(TIME + millis / 1000), tick: Tick(millis * 1000) }
    }

    /// A packet with a long and one with a short header.
    fn long() -> Vec<u8> {
        vec![0xc0; 1200]
    }

    fn short() -> Vec<u8> {
        (0..60).map(|n| if n == 0 { 0x41 } else { n }).collect()
    }

    /// One end, its address, and random bytes.
    struct End {
        sessions: Sessions,
        at: SocketAddr,
        chance: u8,
    }

    impl End {
        fn new(own: Option<&VeilSecret>, port: u16) -> Self {
            let seed = [port.to_be_bytes()[1]; 32];
            Self { sessions: Sessions::new(own, seed, now(0).time), at: addr(port), chance: 0 }
        }

        /// What goes onto the line for a packet.
        fn send(&mut self, to: SocketAddr, packet: &[u8], at: Now) -> Option<(Form, Vec<u8>)> {
            self.chance = self.chance.wrapping_add(1);
            let way = self.sessions.way(to, at, 0)?;
            let form = way.form(packet);
            let mut out = Vec::new();
            match form {
                Form::Sealed => {
                    let said = Said { at: at.time, back: way.back, inner: packet };
                    out = way.seal.seal(&said, &[self.chance; SEAL_RANDOM])?;
                }
                Form::Padded => way.mask?.mask_padded(packet, &[3; MASK_RANDOM], &mut out),
                Form::Whole => {
                    out = packet.to_vec();
                    way.mask?.mask_whole(&mut out);
                }
                Form::Dropped => return None,
            }
            Some((form, out))
        }

        fn take(&mut self, from: SocketAddr, datagram: &[u8], at: Now) -> Option<Vec<u8>> {
            let mut datagram = datagram.to_vec();
            let len = self.sessions.take(from, &mut datagram, at)?;
            Some(datagram[..len].to_vec())
        }
    }

    /// A reader who knows a listener, and has exchanged one packet each way with it.
    fn opened() -> (End, End) {
        let (mut reader, mut listener) = (End::new(None, 1), End::new(Some(&SECRET), 2));
        reader.sessions.learn(listener.at, &SECRET);
        let (form, first) = reader.send(listener.at, &long(), now(0)).unwrap();
        assert_eq!(form, Form::Sealed);
        assert_eq!(listener.take(reader.at, &first, now(50)), Some(long()));
        let (form, answer) = listener.send(reader.at, &long(), now(50)).unwrap();
        assert_eq!(form, Form::Sealed);
        assert_eq!(reader.take(listener.at, &answer, now(100)), Some(long()));
        (reader, listener)
    }

    #[test]
    fn a_session_is_opened_sealed_and_goes_on_masked() {
        let (mut reader, mut listener) = opened();
        for millis in [100, 200, 900] {
            let (form, there) = reader.send(listener.at, &short(), now(millis)).unwrap();
            assert_eq!(form, Form::Padded);
            assert_eq!(listener.take(reader.at, &there, now(millis)), Some(short()));
            let whole = [&short()[..], &[7; 1300]].concat();
            let (form, back) = listener.send(reader.at, &whole, now(millis)).unwrap();
            assert_eq!(form, Form::Whole);
            assert_eq!(reader.take(listener.at, &back, now(millis)), Some(whole));
        }
        let (form, _) = reader.send(listener.at, &long(), now(900)).unwrap();
        assert_eq!(form, Form::Sealed, "a long header is never masked");
        assert!(listener.sessions.way(reader.at, now(900), 0).is_some_and(|way| !way.hello));
        assert!(listener.sessions.way(reader.at, now(11_000), 0).is_some_and(|way| way.hello));
        assert!(listener.sessions.way(reader.at, now(11_000), 0).is_some_and(|way| !way.hello));
    }

    #[test]
    fn who_is_silent_is_spoken_to_sealed_so_that_a_new_address_heals() {
        let (mut reader, mut listener) = opened();
        let (_, masked) = reader.send(listener.at, &short(), now(200)).unwrap();
        assert_eq!(listener.take(addr(77), &masked, now(200)), None, "nobody is there");
        let (form, sealed) = reader.send(listener.at, &short(), now(1200)).unwrap();
        assert_eq!(form, Form::Sealed);
        assert_eq!(listener.take(addr(77), &sealed, now(1200)), Some(short()));
        let (_, back) = listener.send(addr(77), &short(), now(1200)).unwrap();
        assert_eq!(reader.take(listener.at, &back, now(1300)), Some(short()));
    }

    #[test]
    fn nothing_is_taken_twice_or_late_or_from_strangers() {
        let (mut reader, mut listener) = opened();
        let (_, sealed) = reader.send(listener.at, &long(), now(200)).unwrap();
        assert!(listener.take(reader.at, &sealed, now(200)).is_some());
        for from in [reader.at, addr(77)] {
            assert_eq!(listener.take(from, &sealed, now(300)), None, "a replay");
        }
        let (_, masked) = reader.send(listener.at, &short(), now(300)).unwrap();
        assert_eq!(listener.take(reader.at, &masked, now(10_300)), None, "the session is over");
        assert!(listener.send(addr(77), &long(), now(300)).is_none(), "who is that?");

        // The reader never takes what it did not ask for, though it is sealed to the right secret.
        let mut stranger = End::new(None, 3);
        stranger.sessions.learn(reader.at, &SECRET);
        let (_, unasked) = stranger.send(reader.at, &long(), now(300)).unwrap();
        assert_eq!(reader.take(stranger.at, &unasked, now(300)), None);
        assert_eq!((reader.sessions.len(), listener.sessions.len()), (1, 1));
    }

    #[test]
    fn who_asks_whether_it_comes_through_is_told_once_and_nobody_else() {
        let (mut reader, mut listener) = opened();
        let (_, asked) = reader.send(listener.at, &ASK, now(200)).unwrap();
        assert_eq!(listener.take(reader.at, &asked, now(200)), None, "it is no packet");
        assert_eq!(listener.sessions.owed(), [reader.at]);
        assert_eq!(listener.take(reader.at, &asked, now(210)), None);
        assert!(listener.sessions.owed().is_empty(), "a replay");
        let (_, told) = listener.send(reader.at, &YES, now(220)).unwrap();
        assert_eq!(reader.take(listener.at, &told, now(300)), None);
        assert!(reader.sessions.owed().is_empty());
        assert_eq!(reader.sessions.heard(&listener.at), Some(now(300).tick));
    }

    #[test]
    fn the_table_is_bounded_and_who_has_shown_most_stays() {
        let (mut reader, mut listener) = opened();
        let (_, masked) = reader.send(listener.at, &short(), now(300)).unwrap();
        assert!(listener.take(reader.at, &masked, now(300)).is_some());
        let key = Key::of(&SECRET);
        for n in 0..MOST + 10 {
            let mut random = [0; SEAL_RANDOM];
            random[..8].copy_from_slice(&n.to_be_bytes());
            let said = Said { at: UnixTime(TIME), back: VeilSecret([1; 32]), inner: &[] };
            let mut sealed = key.seal(&said, &random).unwrap();
            let from = addr(u16::try_from(1000 + n).unwrap());
            assert_eq!(listener.sessions.take(from, &mut sealed, now(400)), None);
        }
        assert_eq!(listener.sessions.len(), MOST);
        let (_, masked) = reader.send(listener.at, &short(), now(500)).unwrap();
        assert!(listener.take(reader.at, &masked, now(500)).is_some(), "it goes on");
    }

    #[test]
    fn what_can_not_be_hidden_is_not_sent() {
        let (mut reader, listener) = opened();
        assert!(reader.send(listener.at, &[0xc0; MAX_INNER + 1], now(200)).is_none());
        let mut odd = vec![5; WHOLE - 1];
        odd[0] = 0x41;
        let (form, _) = reader.send(listener.at, &odd, now(200)).unwrap();
        assert_eq!(form, Form::Sealed, "its length could not be told from a padded one's");
    }
}
