//! What nodes say to each other inside the encrypted connection.
//!
//! One QUIC stream carries one exchange. It opens with an [`Ask`] and is answered by an [`Answer`];
//! each is a frame: the length as four bytes, big-endian, then deterministic CBOR. What follows the
//! answer depends on the ask and is said at its variant.

use std::net::SocketAddr;

use minicbor::{Decode, Encode};

use crate::assigned::Offer;
use crate::blob::{MAX_ENCODED_WINDOW, MAX_LEN};
use crate::card::Card;
use crate::catalogue::{MAX_MESSAGE, MAX_WANTED, SignedListed};
use crate::cbor::{self, CborError};
use crate::cert::Revocation;
use crate::failure::Failure;
use crate::id::{Hash, PeerId, PublicKey, SnapshotKey};
use crate::invite::VeilTicket;
use crate::page::HostName;
use crate::plan::{MOST_NAMED, PIECE, Pieces};
use crate::signed::Signed;
use crate::snapshot::SignedSnapshot;

/// The ALPN of a connection. One for all exchanges: with one connection, a pair of nodes shakes
/// hands once, and no protocol in use can be told from outside.
pub const ALPN: &[u8] = b"busel/1";

/// The largest frame of an ask or an answer.
pub const MAX_FRAME: usize = 256 * 1024;

/// Opens a stream.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Ask {
    /// `fetch/1`: your newest snapshot under this key, and its body from this byte on, as far as
    /// [`crate::blob::lead`]. Answered by `Found` and the body's windows, each `u32` length and bytes, as
    /// [`crate::blob::window_after`] cuts them from `from`; or by `Nothing`.
    #[n(0)]
    Fetch {
        /// The key.
        #[n(0)]
        key: SnapshotKey,
        /// First byte of the body that is wanted; `None` for the head alone.
        #[n(1)]
        from: Option<u64>,
        /// Only this body will do: the asker has its first part.
        #[n(2)]
        root: Option<Hash>,
    },
    /// `blobs/1`: these bytes of a blob. Answered by `Open` and windows, or `Nothing`.
    #[n(1)]
    Blob {
        /// Its root.
        #[n(0)]
        root: Hash,
        /// Its length.
        #[n(1)]
        len: u64,
        /// First byte.
        #[n(2)]
        from: u64,
        /// One past the last byte.
        #[n(3)]
        to: u64,
    },
    /// `any/1`: one of these pieces of a blob, which you have given least, and those after it. Answered by `Chosen` and
    /// its windows, or `Nothing`.
    #[n(13)]
    Any {
        /// Its root.
        #[n(0)]
        root: Hash,
        /// Its length.
        #[n(1)]
        len: u64,
        /// The pieces, ascending, at most [`crate::plan::MOST_NAMED`].
        #[n(2)]
        of: Vec<u64>,
        /// So many in a row at most, if they are all among these.
        #[n(3)]
        most: u64,
    },
    /// `has/1`: which pieces of a blob do you have ([`crate::plan::PIECE`])? Answered by `Has`, and then, if
    /// it is not all of it, by frames of CBOR, each the numbers of pieces that have come since; or by `Nothing`.
    #[n(11)]
    Has {
        /// Its root.
        #[n(0)]
        root: Hash,
        /// Its length.
        #[n(1)]
        len: u64,
    },
    /// `inject/1`: a sealed request, see [`crate::sealed`]. Answered by `Open` and the sealed
    /// response, or `Declined`.
    #[n(2)]
    Inject {
        /// The envelope.
        #[cbor(n(0), with = "minicbor::bytes")]
        envelope: Vec<u8>,
    },
    /// `tunnel/1`: a TCP connection to this host. Answered by `Open` and then its bytes both ways,
    /// or `Declined`.
    #[n(3)]
    Tunnel {
        /// Host name or address.
        #[n(0)]
        host: HostName,
        /// Port.
        #[n(1)]
        port: u16,
    },
    /// `nodes/1`: whom you may tell of. Answered by `Nodes`, or `Nothing`.
    #[n(4)]
    Nodes {
        /// The asker's own card, if it may be told of.
        #[n(0)]
        card: Option<Signed<Card>>,
    },
    /// `pass/1`: pass this sealed request on to that injector, so that it does not learn who asks.
    /// Answered with the injector's own words, or `Declined`.
    #[n(5)]
    Pass {
        /// The injector.
        #[n(0)]
        to: PeerId,
        /// The envelope.
        #[cbor(n(1), with = "minicbor::bytes")]
        envelope: Vec<u8>,
    },
    /// `assign/1`: what shall I hold for others? Answered by `Offers`, or `Nothing`.
    #[n(6)]
    Assign,
    /// `forward/1`: pass this sealed question on to that node, so that it does not learn who asks.
    /// Answered with that node's own words, or `Declined`.
    #[n(7)]
    Forward {
        /// The node.
        #[n(0)]
        to: PeerId,
        /// The envelope, see [`crate::question`].
        #[cbor(n(1), with = "minicbor::bytes")]
        envelope: Vec<u8>,
        /// The node's card, if the asker was told of it by somebody else.
        #[n(2)]
        card: Option<Signed<Card>>,
    },
    /// `question/1`: a sealed question. Answered by `Open` and the sealed answer: what would be the
    /// answer to the question, and all that follows it; or by `Declined`.
    #[n(8)]
    Question {
        /// The envelope.
        #[cbor(n(0), with = "minicbor::bytes")]
        envelope: Vec<u8>,
    },
    /// `hold/1`: an injector that you trust says that many ask for this. Hold it for them, and load it from
    /// these nodes, or from me if there are none. Answered by `Open` once it is there; or by `Declined`.
    #[n(12)]
    Hold {
        /// The snapshot.
        #[n(0)]
        snapshot: SignedSnapshot,
        /// Cards of nodes that hold it, at most [`crate::holders::NAMED`].
        #[n(1)]
        holders: Vec<Signed<Card>>,
    },
    /// `compare/1`: a message that compares the asker's catalogue of a root with yours, see [`crate::catalogue`].
    /// Answered by `Compared`, or `Nothing`.
    #[n(14)]
    Compare {
        /// The root.
        #[n(0)]
        root: PublicKey,
        /// The message.
        #[cbor(n(1), with = "minicbor::bytes")]
        message: Vec<u8>,
    },
    /// `listed/1`: these pages of your catalogue of a root. Answered by `Listed`, or `Nothing`.
    #[n(15)]
    Listed {
        /// The root.
        #[n(0)]
        root: PublicKey,
        /// The hashes of their heads.
        #[n(1)]
        heads: Vec<Hash>,
    },
    /// `tell/1`: pages that are missing in your catalogue of a root. Answered by `Open`, or `Nothing`.
    #[n(16)]
    Tell {
        /// The root.
        #[n(0)]
        root: PublicKey,
        /// The pages.
        #[n(1)]
        pages: Vec<SignedListed>,
    },
    /// `seen/1`: from where do you see me come, on this connection? Answered by `Seen`, or `Nothing`.
    #[n(9)]
    Seen,
    /// `punch/1`: I come to your veil from there, now: have your NAT let me in. Answered by `Met`, or
    /// `Nothing`; see [`crate::punch`].
    #[n(10)]
    Punch {
        /// Where the asker is seen to come from, an `IP:port`.
        #[n(0)]
        from: String,
    },
}

/// The first frame back.
#[allow(clippy::large_enum_variant, reason = "one lives only as long as it is written or read")]
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Answer {
    /// Here it is.
    #[n(0)]
    Found {
        /// The snapshot.
        #[n(0)]
        snapshot: SignedSnapshot,
        /// The newest revocation of its root that the answering node knows, so that revocations
        /// travel with the content.
        #[n(1)]
        revocation: Option<Signed<Revocation>>,
    },
    /// I have no such thing.
    #[n(1)]
    Nothing,
    /// Go on.
    #[n(2)]
    Open,
    /// I have, or could, but will not, for this reason.
    #[n(3)]
    Declined {
        /// Why.
        #[n(0)]
        failure: Failure,
    },
    /// These are open nodes that want to be told of, at most [`crate::exchange::MAX_TOLD`].
    #[n(4)]
    Nodes {
        /// Their cards.
        #[n(0)]
        cards: Vec<Signed<Card>>,
    },
    /// These copies you may hold, at most [`crate::assigned::MAX_OFFERS`].
    #[n(5)]
    Offers {
        /// The copies.
        #[n(0)]
        offers: Vec<Offer>,
    },
    /// These pieces; all, if none is named.
    #[n(8)]
    Has {
        /// The pieces.
        #[n(0)]
        pieces: Option<Pieces>,
    },
    /// These bytes.
    #[n(9)]
    Chosen {
        /// First byte.
        #[n(0)]
        from: u64,
        /// One past the last byte.
        #[n(1)]
        to: u64,
    },
    /// This compares it further.
    #[n(10)]
    Compared {
        /// The message.
        #[cbor(n(0), with = "minicbor::bytes")]
        message: Vec<u8>,
    },
    /// These pages, at most [`crate::catalogue::MAX_SENT`] of bytes.
    #[n(11)]
    Listed {
        /// The pages.
        #[n(0)]
        pages: Vec<SignedListed>,
    },
    /// You come from there.
    #[n(6)]
    Seen {
        /// An `IP:port`.
        #[n(0)]
        at: String,
    },
    /// Come there, now.
    #[n(7)]
    Met {
        /// Where this node is seen to come from, and what opens a session to it.
        #[n(0)]
        veil: VeilTicket,
    },
}

macro_rules! framed {
    ($kind:ident) => {
        impl $kind {
            /// The frame: length and CBOR.
            pub fn to_frame(&self) -> Vec<u8> {
                frame(&cbor::to_vec(self))
            }

            /// Reads the CBOR of a frame, without its length.
            pub fn from_frame(body: &[u8]) -> Result<Self, CborError> {
                cbor::from_slice(body, MAX_FRAME)
            }
        }
    };
}
framed!(Ask);
framed!(Answer);

impl Ask {
    /// Whether numbers in it are within bounds; what is not is declined before anything is read.
    pub fn is_sane(&self) -> bool {
        match self {
            Self::Fetch { from, .. } => from.is_none_or(|from| from <= MAX_LEN),
            Self::Blob { len, from, to, .. } => from < to && to <= len && *len <= MAX_LEN,
            Self::Has { len, .. } => *len <= MAX_LEN,
            Self::Any { len, of, most, .. } => {
                let last = of.last().is_some_and(|last| *last < len.div_ceil(PIECE));
                let few = of.len() <= MOST_NAMED && (1..=MOST_NAMED as u64).contains(most);
                *len <= MAX_LEN && last && few && of.is_sorted_by(|a, b| a < b)
            }
            Self::Inject { envelope }
            | Self::Pass { envelope, .. }
            | Self::Forward { envelope, .. }
            | Self::Question { envelope } => envelope.len() <= crate::sealed::MAX_ENVELOPE,
            Self::Tunnel { port, .. } => *port != 0,
            Self::Hold { holders, .. } => holders.len() <= crate::holders::NAMED,
            Self::Punch { from } => from.parse::<SocketAddr>().is_ok_and(|from| from.port() != 0),
            Self::Compare { message, .. } => message.len() <= MAX_MESSAGE,
            Self::Listed { heads, .. } => heads.len() <= MAX_WANTED,
            Self::Tell { pages, .. } => pages.len() <= MAX_WANTED,
            Self::Nodes { .. } | Self::Assign | Self::Seen => true,
        }
    }
}

/// Puts the length before `body`.
pub fn frame(body: &[u8]) -> Vec<u8> {
    [&frame_header(body.len())[..], body].concat()
}

/// What stands before a frame's body of `len` bytes.
pub fn frame_header(len: usize) -> [u8; 4] {
    u32::try_from(len).expect("a frame is far below 4 GiB").to_be_bytes()
}

/// The length that a frame header gives, if it is within `max`.
pub fn frame_len(header: [u8; 4], max: usize) -> Result<usize, CborError> {
    match usize::try_from(u32::from_be_bytes(header)) {
        Ok(len) if len <= max => Ok(len),
        Ok(len) => Err(CborError::TooLong { len, max }),
        Err(_) => Err(CborError::TooLong { len: usize::MAX, max }),
    }
}

/// News of pieces that a node has got since it was asked.
pub fn news(pieces: &[u64]) -> Vec<u8> {
    cbor::to_vec(&pieces.to_vec())
}

/// Reads them.
pub fn read_news(frame: &[u8]) -> Result<Vec<u64>, CborError> {
    cbor::from_slice(frame, MAX_FRAME)
}

/// The largest frame of a window.
pub const MAX_WINDOW_FRAME: usize = MAX_ENCODED_WINDOW;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn asks_survive_the_wire() {
        let asks = [
            Ask::Fetch { key: SnapshotKey([1; 32]), from: Some(5), root: None },
            Ask::Fetch { key: SnapshotKey([1; 32]), from: None, root: Some(Hash([2; 32])) },
            Ask::Blob { root: Hash([1; 32]), len: 10, from: 0, to: 10 },
            Ask::Has { root: Hash([1; 32]), len: 10 },
            Ask::Any { root: Hash([1; 32]), len: 3 * PIECE, of: vec![0, 2], most: 1 },
            Ask::Inject { envelope: vec![1, 2, 3] },
            Ask::Tunnel { host: HostName::parse("news.example").unwrap(), port: 443 },
            Ask::Pass { to: PeerId([4; 32]), envelope: vec![1, 2, 3] },
            Ask::Nodes { card: None },
            Ask::Assign,
            Ask::Forward { to: PeerId([4; 32]), envelope: vec![1, 2, 3], card: None },
            Ask::Question { envelope: vec![1, 2, 3] },
            Ask::Seen,
            Ask::Punch { from: "192.0.2.1:5".into() },
        ];
        for ask in asks {
            assert!(ask.is_sane());
            let frame = ask.to_frame();
            let len = frame_len(frame[..4].try_into().unwrap(), MAX_FRAME).unwrap();
            assert_eq!(len, frame.len() - 4);
            assert_eq!(Ask::from_frame(&frame[4..]), Ok(ask));
        }
    }

    #[test]
    fn lying_lengths_are_refused() {
        assert!(frame_len([255; 4], MAX_FRAME).is_err());
        assert!(!Ask::Blob { root: Hash([0; 32]), len: 5, from: 3, to: 9 }.is_sane());
        let any =
            |of: &[u64], most| Ask::Any { root: Hash([0; 32]), len: 9, of: of.to_vec(), most };
        assert!(any(&[0], 1).is_sane());
        let unfit = [any(&[], 1), any(&[1], 1), any(&[0], 0), any(&[0, 0], 1), any(&[0], 1 << 40)];
        assert!(unfit.iter().all(|ask| !ask.is_sane()));
        assert!(!Ask::Punch { from: "router.example:5".into() }.is_sane());
        assert!(!Ask::Blob { root: Hash([0; 32]), len: 1 << 50, from: 3, to: 9 }.is_sane());
        assert!(Ask::from_frame(&[0xff; 20]).is_err());
        assert!(Ask::from_frame(&[]).is_err());
    }
}
