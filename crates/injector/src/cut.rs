//! A part of a long body that is not here: asked of its site as that part, while the whole is
//! fetched beside it for everybody. So who looks into the middle of a film does not wait for its
//! first half, nor who comes late for the one who came first.
//!
//! It is passed on before there is a root, and only if it is of the very version that is being fetched.
//! It is not kept here.

use std::time::Instant;

use busel_node::Body;
use busel_node::places::Place;
use busel_proto::id::PeerId;
use busel_proto::sealed::Preview;
use busel_proto::shape::{content_range, strong_etag};
use busel_proto::sites::why_not_shareable;
use busel_proto::snapshot::{Wanted, header_map};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use http_body_util::BodyExt;

use crate::Inner;
use crate::inflight::{BODY_LIMIT, Patience, send};

/// What is to be cut, and for whom.
pub(crate) struct Cut<'a> {
    pub(crate) inner: &'a Inner,
    pub(crate) client: PeerId,
    pub(crate) wanted: &'a Wanted,
    /// The head of the whole.
    pub(crate) preview: &'a Preview,
}

/// The rest of a body, from some byte on.
pub(crate) struct CutBody {
    body: Body,
    /// Bytes that are still to come.
    left: u64,
    /// Who takes next to nothing does not hold a place and a connection for long.
    began: Instant,
    taken: u64,
    _place: Place,
}

impl Cut<'_> {
    /// The body from this byte on, if the site cuts it.
    pub(crate) async fn from(&self, first: u64) -> Option<CutBody> {
        let whole = header_map(&self.preview.headers);
        let etag = strong_etag(&whole).filter(|_| self.preview.status == 200)?;
        let left = self.preview.len?.checked_sub(first).filter(|left| *left > 0)?;
        let _place = self.inner.limits.cut(self.client).ok()?;
        let mut asked = HeaderMap::new();
        let range = HeaderValue::try_from(format!("bytes={first}-")).ok()?;
        asked.insert(header::RANGE, range);
        asked.insert(header::IF_RANGE, etag.clone());
        let response = send(self.inner, self.wanted, asked).await.ok()?;
        let fits = self.fits(&whole, etag, first, &response);
        let (body, began) = (response.into_body(), Instant::now());
        fits.then_some(CutBody { body, left, began, taken: 0, _place })
    }

    fn fits(
        &self,
        whole: &HeaderMap,
        etag: &HeaderValue,
        first: u64,
        response: &Response<Body>,
    ) -> bool {
        let told = response.headers();
        let Some(part) = content_range(told) else { return false };
        let same_coding = told.get(header::CONTENT_ENCODING) == whole.get(header::CONTENT_ENCODING);
        let same_len = part.whole.is_some() && part.whole == self.preview.len;
        response.status() == StatusCode::PARTIAL_CONTENT
            && part.bytes.start == first
            && Some(part.bytes.end) == part.whole
            && same_len
            && same_coding
            && strong_etag(told) == Some(etag)
            && why_not_shareable(self.preview.status, told).is_none()
    }
}

impl CutBody {
    /// The next bytes; none after the last, or if the rest does not come or is not taken.
    pub(crate) async fn next(&mut self) -> Option<Bytes> {
        if self.left == 0 || self.began.elapsed() > Patience::of(self.taken) {
            return None;
        }
        loop {
            let frame = tokio::time::timeout(BODY_LIMIT, self.body.frame()).await.ok()??.ok()?;
            // Trailers are nothing to pass on.
            let Ok(mut bytes) = frame.into_data() else { continue };
            bytes.truncate(usize::try_from(self.left).unwrap_or(usize::MAX));
            self.left -= bytes.len() as u64;
            self.taken += bytes.len() as u64;
            return Some(bytes);
        }
    }
}
