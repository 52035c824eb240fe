//! Control over a local socket: HTTP/1.1 with JSON, on a Unix socket that only its owner may open.
//!
//! | request | answer |
//! |---|---|
//! | `GET /v1/status` | [`super::Status`] |
//! | `POST /v1/get` with [`Get`] | the page, with `Busel-*` fields, and its timeline as a trailer |
//! | `POST /v1/edition` with [`Take`] | [`crate::edition::Taken`] |
//! | `POST /v1/find` with [`Find`] | a list of [`crate::catalogue::Found`] |
//! | `POST /v1/invite` | [`Line`] |
//! | `POST /v1/join` with [`Join`] | [`super::Joined`] |
//! | `POST /v1/doctor` with [`Doctor`] | a [`Step`] a line, the last one the report |
//! | `GET /v1/authority` | [`crate::authority::Vouches`], or `null` |
//! | `POST /v1/authority` | it, made anew |
//! | `DELETE /v1/authority` | nothing |
//! | `POST /v1/heed` with the word's bytes | [`super::Heard`] |
//! | `POST /v1/stop` | nothing |
//!
//! An error is `{"error": …}`, or [`Problem`] for a page that can't be had.

mod examination;

pub use examination::{Doctor, Step};

use std::convert::Infallible;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use busel_proto::failure::Failure;
use busel_proto::invite::Invite;
use busel_proto::page::{HostName, PageUrl};
use busel_proto::plan::Manner;
use bytes::Bytes;
use futures_util::StreamExt;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Limited, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde::{Deserialize, Serialize};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::debug;

use super::{Control, ControlError, lines};
use crate::joined::MAX_WORD;
use crate::request::{self, Body, Timeline, Unanswered, full};

/// The socket's name in the node's directory.
pub const SOCKET: &str = "control.sock";
/// What is under way when the socket closes has this long to end.
const GRACE: Duration = Duration::from_secs(1);
/// Programs served at once; others wait.
const MAX_CONNECTIONS: usize = 64;
/// After a failure to accept (no file descriptors, say).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// The longest request, but for the word of a root.
const MAX_REQUEST: usize = 64 * 1024;
/// The path to which the word of a root goes.
pub(super) const HEED: &str = "/v1/heed";
/// The path by which an edition is taken.
pub(super) const EDITION: &str = "/v1/edition";
/// The path by which is found what is to be had.
pub(super) const FIND: &str = "/v1/find";
/// The path of what vouches for listed sites.
pub(super) const AUTHORITY_PATH: &str = "/v1/authority";
/// Fields that tell of the answer.
pub(super) const ROUTE: HeaderName = HeaderName::from_static("busel-route");
pub(super) const AUTHORITY: HeaderName = HeaderName::from_static("busel-authority-json");
pub(super) const AGE: HeaderName = HeaderName::from_static("busel-age");
pub(super) const STALE: HeaderName = HeaderName::from_static("busel-stale");
pub(super) const TIMELINE: HeaderName = HeaderName::from_static("busel-timeline");

/// Asks for a page.
#[derive(Debug, Serialize, Deserialize)]
pub struct Get {
    /// Its address.
    pub url: String,
    /// Whether it is put away, and not read while it comes.
    #[serde(default)]
    pub put_away: bool,
}

/// Asks to take an edition.
#[derive(Debug, Serialize, Deserialize)]
pub struct Take {
    /// The host of which.
    pub host: String,
}

/// Asks what is to be had.
#[derive(Debug, Serialize, Deserialize)]
pub struct Find {
    /// What is in its address.
    pub text: String,
}

/// An invite, as its line.
#[derive(Debug, Serialize, Deserialize)]
pub struct Line {
    /// The line.
    pub invite: String,
}

/// Asks to join an invite.
#[derive(Debug, Serialize, Deserialize)]
pub struct Join {
    /// Its line.
    pub invite: String,
    /// Whether its roots and sites were confirmed.
    pub trust: bool,
}

/// A page that can't be had.
#[derive(Debug, Serialize, Deserialize)]
pub struct Problem {
    /// What was asked for.
    pub url: String,
    /// Each way that was tried and why it failed.
    pub tried: Vec<(String, String)>,
    /// Why it could not be shared, if so.
    pub private: Option<String>,
    /// How the race went.
    pub timeline: Vec<super::Line>,
}

/// A control socket. Dropping it closes it.
#[derive(Debug)]
pub struct ControlServer {
    path: PathBuf,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl ControlServer {
    /// Opens the socket in `dir`. An old socket that nobody answers on is replaced: the store's lock
    /// has made sure that no other node uses this directory.
    pub fn open(dir: &Path, control: Arc<dyn Control>) -> io::Result<Self> {
        let path = dir.join(SOCKET);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let listener = UnixListener::bind(&path)?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        tasks.spawn(accept(listener, control, stop.clone(), tasks.clone()));
        Ok(Self { path, stop, tasks })
    }

    /// Closes the socket and waits for what is under way.
    pub async fn close(self) {
        self.stop.cancel();
        self.tasks.close();
        // A program that has stopped reading must not keep the node from ending.
        let _ = tokio::time::timeout(GRACE, self.tasks.wait()).await;
    }
}

impl Drop for ControlServer {
    fn drop(&mut self) {
        self.stop.cancel();
        // If it is gone already, all is well.
        let _ = std::fs::remove_file(&self.path);
    }
}

async fn accept(
    listener: UnixListener,
    control: Arc<dyn Control>,
    stop: CancellationToken,
    tasks: TaskTracker,
) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = next(&listener, &places) => accepted,
        };
        let (stream, place) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                debug!(%error, "accepting failed");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let (control, stop) = (control.clone(), stop.clone());
        tasks.spawn(async move {
            let _place = place;
            let service = service_fn(move |request| {
                let control = control.clone();
                async move { Ok::<_, Infallible>(answer(control, request).await) }
            });
            let serve = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service);
            let mut serve = std::pin::pin!(serve);
            tokio::select! {
                served = serve.as_mut() => {
                    if let Err(error) = served {
                        debug!(%error, "a control connection ended");
                    }
                    return;
                }
                () = stop.cancelled() => serve.as_mut().graceful_shutdown(),
            }
            let _ = serve.await;
        });
    }
}

async fn next(
    listener: &UnixListener,
    places: &Arc<Semaphore>,
) -> io::Result<(UnixStream, OwnedSemaphorePermit)> {
    let place = places.clone().acquire_owned().await.map_err(io::Error::other)?;
    let (stream, _) = listener.accept().await?;
    Ok((stream, place))
}

async fn answer(control: Arc<dyn Control>, request: Request<Incoming>) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let most = if parts.uri.path() == HEED { MAX_WORD } else { MAX_REQUEST };
    let body = match Limited::new(body, most).collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) => return failed(StatusCode::BAD_REQUEST, &error.to_string()),
    };
    match (&parts.method, parts.uri.path()) {
        (&Method::GET, "/v1/status") => json(control.status().await),
        (&Method::POST, "/v1/get") => get(&*control, &body).await,
        (&Method::POST, "/v1/invite") => {
            json(control.invite().await.map(|invite| Line { invite: invite.to_line() }))
        }
        (&Method::POST, "/v1/join") => join(&*control, &body).await,
        (&Method::POST, "/v1/doctor") => examination::answer(control, &body),
        (&Method::POST, FIND) => find(&*control, &body).await,
        (&Method::POST, EDITION) => edition(&*control, &body).await,
        (&Method::GET, AUTHORITY_PATH) => json(control.authority().await),
        (&Method::POST, AUTHORITY_PATH) => json(control.make_authority().await),
        (&Method::DELETE, AUTHORITY_PATH) => json(control.forget_authority().await),
        (&Method::POST, HEED) => json(control.heed(body.to_vec()).await),
        (&Method::POST, "/v1/stop") => json(control.stop().await),
        _ => failed(StatusCode::NOT_FOUND, "no such request"),
    }
}

async fn get(control: &dyn Control, body: &Bytes) -> Response<Body> {
    let asked: Get = match serde_json::from_slice(body) {
        Ok(asked) => asked,
        Err(error) => return failed(StatusCode::BAD_REQUEST, &error.to_string()),
    };
    let url = match PageUrl::parse(&asked.url) {
        Ok(url) => url,
        Err(error) => return failed(StatusCode::BAD_REQUEST, &error.to_string()),
    };
    let manner = if asked.put_away { Manner::RarestFirst } else { Manner::InOrder };
    match control.get(url, manner).await {
        Ok(response) => page(response),
        Err(ControlError::Unanswered(unanswered)) => {
            let mut answer = json(Ok::<_, ControlError>(problem(&unanswered)));
            *answer.status_mut() = StatusCode::UNPROCESSABLE_ENTITY;
            answer
        }
        Err(error) => json(Err::<(), _>(error)),
    }
}

async fn edition(control: &dyn Control, body: &Bytes) -> Response<Body> {
    let asked: Take = match serde_json::from_slice(body) {
        Ok(asked) => asked,
        Err(error) => return failed(StatusCode::BAD_REQUEST, &error.to_string()),
    };
    match HostName::parse(&asked.host) {
        Ok(host) => json(control.take_edition(host).await),
        Err(error) => failed(StatusCode::BAD_REQUEST, &error.to_string()),
    }
}

async fn find(control: &dyn Control, body: &Bytes) -> Response<Body> {
    match serde_json::from_slice::<Find>(body) {
        Ok(asked) => json(control.find(asked.text).await),
        Err(error) => failed(StatusCode::BAD_REQUEST, &error.to_string()),
    }
}

async fn join(control: &dyn Control, body: &Bytes) -> Response<Body> {
    let asked: Join = match serde_json::from_slice(body) {
        Ok(asked) => asked,
        Err(error) => return failed(StatusCode::BAD_REQUEST, &error.to_string()),
    };
    match Invite::from_line(&asked.invite) {
        Ok(invite) => json(control.join(invite, asked.trust).await),
        Err(error) => failed(StatusCode::BAD_REQUEST, &error.to_string()),
    }
}

fn page(response: request::Response) -> Response<Body> {
    let request::Response { status, mut headers, body, route, authority, age, stale, timeline } =
        response;
    // What a site says under these names is not ours.
    let forged = headers.keys().filter(|name| name.as_str().starts_with("busel-")).cloned();
    for name in forged.collect::<Vec<_>>() {
        headers.remove(name);
    }
    headers.insert(ROUTE, HeaderValue::from_static(route.name()));
    if let Ok(authority) = serde_json::to_string(&Told::from(&authority))
        && let Ok(authority) = HeaderValue::from_str(&authority)
    {
        headers.insert(AUTHORITY, authority);
    }
    if let Some(age) = age {
        headers.insert(AGE, HeaderValue::from(age.as_secs()));
    }
    if stale {
        headers.insert(STALE, HeaderValue::from_static("1"));
    }
    headers.remove(header::CONTENT_LENGTH);
    headers.insert(header::TRAILER, HeaderValue::from_static("busel-timeline"));
    let end = futures_util::stream::once(async move { Ok(Frame::trailers(trailer(&timeline))) });
    let data = |frame: Result<Frame<Bytes>, Failure>| {
        // Nor is what it says after the page.
        std::future::ready(frame.map(|frame| frame.into_data().ok().map(Frame::data)).transpose())
    };
    let frames = http_body_util::BodyStream::new(body).filter_map(data).chain(end);
    let mut answer = Response::new(StreamBody::new(frames).boxed_unsync());
    *answer.status_mut() = status;
    *answer.headers_mut() = headers;
    answer
}

fn trailer(timeline: &Timeline) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    let text = serde_json::to_string(&lines(timeline)).unwrap_or_default();
    // Failures carry peers' words, which may not be ASCII.
    let text: String = text.chars().map(|c| if c.is_ascii() { c } else { '?' }).collect();
    if let Ok(value) = HeaderValue::from_str(&text) {
        trailers.insert(TIMELINE, value);
    }
    trailers
}

/// An authority, as JSON in ASCII.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Told {
    pub(super) kind: String,
    pub(super) label: Option<Vec<u8>>,
    pub(super) tls: bool,
}

impl From<&request::Authority> for Told {
    fn from(authority: &request::Authority) -> Self {
        use request::Authority as A;
        match authority {
            A::Site => Self { kind: "site".into(), label: None, tls: true },
            A::Nobody => Self { kind: "nobody".into(), label: None, tls: false },
            A::Injector { label, tls } => {
                Self { kind: "injector".into(), label: Some(label.as_bytes().to_vec()), tls: *tls }
            }
        }
    }
}

fn problem(unanswered: &Unanswered) -> Problem {
    let tried = unanswered.tried.iter();
    Problem {
        url: unanswered.url.to_string(),
        tried: tried.map(|(r, f): &(_, Failure)| (r.to_string(), f.to_string())).collect(),
        private: unanswered.private.map(|why| why.to_string()),
        timeline: lines(&unanswered.timeline),
    }
}

fn json<T: Serialize>(answer: Result<T, ControlError>) -> Response<Body> {
    match answer {
        Ok(answer) => {
            let body = serde_json::to_vec(&answer).unwrap_or_default();
            let mut response = Response::new(full(body));
            let kind = HeaderValue::from_static("application/json");
            response.headers_mut().insert(header::CONTENT_TYPE, kind);
            response
        }
        Err(error) => failed(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    }
}

fn failed(status: StatusCode, error: &str) -> Response<Body> {
    let body = serde_json::json!({ "error": error }).to_string();
    let mut response = Response::new(full(body));
    *response.status_mut() = status;
    response
}
