//! The routes: ways to get one request answered. Each is one file and answers with a [`Started`].
//!
//! A route tries; it does not choose. Order, delays, cancelling and resuming are the race's.

mod beside;
pub(crate) mod direct;
pub(crate) mod injector;
pub(crate) mod local;
pub(crate) mod many;
pub(crate) mod swarm;
pub(crate) mod tunnel;
pub(crate) mod voice;

use busel_proto::failure::Failure;
use busel_proto::id::{Hash, PeerId};
use busel_proto::plan::Manner;
use busel_proto::snapshot::Snapshot;
use busel_proto::time::UnixTime;
use bytes::Bytes;
use futures_util::stream::BoxStream;
use http::{HeaderMap, HeaderValue, Method, header};

use crate::request::Authority;

/// A route that has a good head.
pub(crate) struct Started {
    pub(crate) head: Head,
    pub(crate) items: Items,
}

/// What a route brings after its head.
pub(crate) type Items = BoxStream<'static, Result<Item, Failure>>;

/// The next of it.
#[derive(Debug)]
pub(crate) enum Item {
    /// Bytes of the body.
    Data(Bytes),
    /// The signature, where it comes after the body.
    Signed(Box<Snapshot>),
}

/// The head of a response, by whatever way it came.
#[derive(Debug, Clone)]
pub(crate) struct Head {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    /// Length of the whole body, if known.
    pub(crate) len: Option<u64>,
    /// Where in the body the items begin.
    pub(crate) offset: u64,
    pub(crate) authority: Authority,
    /// For a copy: when it was fetched.
    pub(crate) fetched_at: Option<UnixTime>,
    /// For a copy whose signature came first.
    pub(crate) snapshot: Option<Snapshot>,
    /// For a copy of another node's: which.
    pub(crate) peer: Option<PeerId>,
    /// The answer is shaped for this request already (ranges, conditions): the origin did it.
    pub(crate) shaped: bool,
}

impl Head {
    /// The body's root, if it is known.
    pub(crate) fn root(&self) -> Option<Hash> {
        self.snapshot.as_ref().map(|s| s.head().root)
    }
}

/// What a route is asked for.
#[derive(Debug, Clone)]
pub(crate) struct Want {
    pub(crate) method: Method,
    pub(crate) page: busel_proto::snapshot::Wanted,
    pub(crate) headers: HeaderMap,
    /// In which order a long body comes best.
    pub(crate) manner: Manner,
    /// First byte of the body.
    pub(crate) from: u64,
    /// Set when a body is to be continued at `from`.
    pub(crate) resume: Option<Resume>,
    /// How often an injector was asked for it before.
    pub(crate) asked_before: u8,
}

/// What the first part of a body was, so that only the same one is continued.
#[derive(Debug, Clone)]
pub(crate) struct Resume {
    pub(crate) root: Option<Hash>,
    pub(crate) etag: Option<HeaderValue>,
    pub(crate) coding: Option<HeaderValue>,
    pub(crate) len: Option<u64>,
    pub(crate) authority: Authority,
    /// The nodes that brought it so far, and stopped: asked last for the rest.
    pub(crate) peers: Vec<PeerId>,
}

impl Resume {
    /// Whether `head` continues the body begun. A body whose root is known is continued under that
    /// root, or by the site itself over TLS; else the same strong ETag, content coding and length are
    /// asked for. Anything else would splice two versions. What somebody vouches for is not gone on with
    /// by what nobody does: an ETag can be read, and repeated, by anyone on the way.
    pub(crate) fn fits(&self, head: &Head) -> bool {
        if head.authority == Authority::Nobody && self.authority != Authority::Nobody {
            return false;
        }
        match (self.root, head.root()) {
            (Some(ours), Some(theirs)) => return ours == theirs,
            (Some(_), None) if head.authority != Authority::Site => return false,
            _ => {}
        }
        let same_len = self.len.is_none() || head.len.is_none() || self.len == head.len;
        let same_coding = self.coding.as_ref() == head.headers.get(header::CONTENT_ENCODING);
        let theirs = busel_proto::shape::strong_etag(&head.headers);
        same_len && same_coding && self.etag.is_some() && self.etag.as_ref() == theirs
    }
}

/// Why a try of a route failed.
pub(crate) struct Lost {
    pub(crate) failure: Failure,
    /// Whether a byte of the request may have reached an origin.
    pub(crate) sent: bool,
    /// An old copy that this way has, for want of anything better.
    pub(crate) stale: Option<Box<Started>>,
}

impl From<Failure> for Lost {
    fn from(failure: Failure) -> Self {
        Self { failure, sent: false, stale: None }
    }
}

impl From<crate::origin::Failed> for Lost {
    fn from(failed: crate::origin::Failed) -> Self {
        Self { failure: failed.failure, sent: failed.sent, stale: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(etag: &'static str, len: Option<u64>) -> Head {
        let mut headers = HeaderMap::new();
        headers.insert(http::header::ETAG, HeaderValue::from_static(etag));
        Head {
            status: 200,
            headers,
            len,
            offset: 0,
            authority: Authority::Site,
            fetched_at: None,
            snapshot: None,
            peer: None,
            shaped: false,
        }
    }

    fn resume(etag: Option<&'static str>) -> Resume {
        Resume {
            root: None,
            etag: etag.map(HeaderValue::from_static),
            coding: None,
            len: Some(9),
            authority: Authority::Site,
            peers: Vec::new(),
        }
    }

    #[test]
    fn only_the_same_version_is_continued() {
        let resume = resume(Some("\"a\""));
        assert!(resume.fits(&head("\"a\"", Some(9))));
        assert!(resume.fits(&head("\"a\"", None)));
        assert!(!resume.fits(&head("\"b\"", Some(9))), "another version");
        assert!(!resume.fits(&head("\"a\"", Some(8))), "another length");
        assert!(!resume.fits(&head("W/\"a\"", Some(9))), "a weak tag names no bytes");
        let anybodys = Head { authority: Authority::Nobody, ..head("\"a\"", Some(9)) };
        assert!(!resume.fits(&anybodys), "nobody vouches for the rest");
        assert!(Resume { authority: Authority::Nobody, ..resume }.fits(&anybodys));
        let unknown = self::resume(None);
        assert!(!unknown.fits(&head("\"a\"", Some(9))), "nothing to compare");
    }
}
