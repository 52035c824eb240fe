//! A part of a long body that is not here: asked of its site as that part, while the whole is
//! fetched beside it for everybody. So who looks into the middle of a film does not wait for its
//! first half, nor who comes late for the one who came first.
//!
//! It is passed on before there is a root, and only if it is of the very version that is being fetched.
//! It is not kept here.

use busel_node::Body;
use busel_node::places::Place;
use busel_proto::failure::Failure;
use busel_proto::id::PeerId;
use busel_proto::sealed::Preview;
use busel_proto::shape::{content_range, strong_etag};
use busel_proto::sites::why_not_shareable;
use busel_proto::snapshot::{Wanted, header_map};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use http_body::Frame;
use http_body_util::BodyExt;

use crate::Inner;
use crate::inflight::{BODY_LIMIT, send};

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
    _place: Place,
}

impl Cut<'_> {
    /// The body from this byte on, if the site cuts it.
    pub(crate) async fn from(&self, first: u64) -> Option<CutBody> {
        let whole = header_map(&self.preview.headers);
        let etag = strong_etag(&whole).filter(|_| self.preview.status == 200)?;
        let _place = self.inner.limits.fetch(self.client).ok()?;
        let mut asked = HeaderMap::new();
        let range = HeaderValue::try_from(format!("bytes={first}-")).ok()?;
        asked.insert(header::RANGE, range);
        asked.insert(header::IF_RANGE, etag.clone());
        let response = send(self.inner, self.wanted, asked).await.ok()?;
        self.fits(&whole, etag, first, &response)
            .then(|| CutBody { body: response.into_body(), _place })
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
    /// The next bytes; none after the last.
    pub(crate) async fn next(&mut self) -> Option<Result<Bytes, Failure>> {
        loop {
            let frame = match tokio::time::timeout(BODY_LIMIT, self.body.frame()).await {
                Err(_) => return Some(Err(Failure::Stalled)),
                Ok(frame) => frame?,
            };
            match frame.map(Frame::into_data) {
                Ok(Ok(bytes)) => return Some(Ok(bytes)),
                // Trailers are nothing to pass on.
                Ok(Err(_)) => {}
                Err(failure) => return Some(Err(failure)),
            }
        }
    }
}
