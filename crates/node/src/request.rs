//! What a door makes and a route answers.
//!
//! Two kinds, and the whole design turns on them: a [`Request`] whose URL we see, and a
//! [`Tunnel`](crate::tunnel) of opaque bytes to a host and port, of which we see nothing.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use busel_proto::failure::{Failure, Route};
use busel_proto::page::PageUrl;
use busel_proto::plan::Manner;
use busel_proto::race::Event;
use busel_proto::sites::Why;
use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use http_body::{Frame, SizeHint};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full};

/// A body that streams; its error is why it was cut.
pub type Body = UnsyncBoxBody<Bytes, Failure>;

/// A request for a page.
#[derive(Debug)]
pub struct Request {
    /// Method.
    pub method: Method,
    /// The page.
    pub url: PageUrl,
    /// Header fields of the program that asks, end to end ones only.
    pub headers: HeaderMap,
    /// The request's body.
    pub body: RequestBody,
    /// In which order a long body comes best from several nodes: it is read while it comes, or put away.
    pub manner: Manner,
}

impl Request {
    /// A GET without header fields.
    pub fn get(url: PageUrl) -> Self {
        Self {
            method: Method::GET,
            url,
            headers: HeaderMap::new(),
            body: RequestBody::empty(),
            manner: Manner::InOrder,
        }
    }
}

/// The answer to a [`Request`].
#[derive(Debug)]
pub struct Response {
    /// HTTP status.
    pub status: StatusCode,
    /// Header fields, end to end ones only.
    pub headers: HeaderMap,
    /// The body.
    pub body: Body,
    /// The way by which it came.
    pub route: Route,
    /// By whose authority it is true.
    pub authority: Authority,
    /// For a copy: time since it was fetched from the origin.
    pub age: Option<Duration>,
    /// Whether it is older than its publisher allows, and shown because nothing newer can be had.
    pub stale: bool,
    /// How the race went; complete once the body has ended.
    pub timeline: Timeline,
}

/// By whose authority a response is true.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Authority {
    /// The site itself, by its certificate.
    Site,
    /// Nobody: plain http, changed by anyone on the way.
    Nobody,
    /// An injector saw it and signed.
    Injector {
        /// What the reader calls the injector's root.
        label: String,
        /// Whether the injector itself saw a verified certificate of the site.
        tls: bool,
    },
}

impl std::fmt::Display for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Site => f.write_str("site"),
            Self::Nobody => f.write_str("none"),
            Self::Injector { label, tls: true } => write!(f, "injector \"{label}\""),
            Self::Injector { label, tls: false } => write!(f, "injector \"{label}\", without TLS"),
        }
    }
}

/// How a race went, readable while it goes on.
#[derive(Debug, Clone, Default)]
pub struct Timeline(Arc<Mutex<Vec<Event>>>);

impl Timeline {
    /// The events so far.
    pub fn events(&self) -> Vec<Event> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn set(&self, events: &[Event]) {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        held.clear();
        held.extend_from_slice(events);
    }
}

/// Why a request was not answered.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{} can't be had", .url)]
pub struct Unanswered {
    /// What was asked for.
    pub url: PageUrl,
    /// Each way that was tried, and why it failed.
    pub tried: Vec<(Route, Failure)>,
    /// Why the request could not be shared, if so: then only the site itself and tunnels were
    /// tried.
    pub private: Option<Why>,
    /// How the race went.
    pub timeline: Timeline,
}

/// A request's body, which can be begun by only one try: whether it was is what decides if another
/// way may be tried.
#[derive(Debug, Clone)]
pub struct RequestBody(Arc<Mutex<Inner>>);

#[derive(Debug)]
struct Inner {
    body: Body,
    touched: bool,
}

impl RequestBody {
    /// No body.
    pub fn empty() -> Self {
        Self::new(Empty::new().map_err(|never| match never {}).boxed_unsync())
    }

    /// This body.
    pub fn new(body: Body) -> Self {
        Self(Arc::new(Mutex::new(Inner { body, touched: false })))
    }

    /// Whether a byte of it was taken.
    pub fn touched(&self) -> bool {
        self.lock().touched
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl http_body::Body for RequestBody {
    type Data = Bytes;
    type Error = Failure;

    fn poll_frame(
        self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<Frame<Bytes>, Failure>>> {
        let mut inner = self.lock();
        let polled = std::pin::Pin::new(&mut inner.body).poll_frame(cx);
        if let std::task::Poll::Ready(Some(_)) = &polled {
            inner.touched = true;
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.lock().body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.lock().body.size_hint()
    }
}

/// A whole body.
pub fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}
