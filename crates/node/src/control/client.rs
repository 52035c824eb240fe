//! Control of a node that runs elsewhere on this device: the other end of [`super::server`].

mod examination;

use std::path::{Path, PathBuf};
use std::time::Duration;

use busel_proto::failure::{Failure, Route};
use busel_proto::invite::Invite;
use busel_proto::page::{HostName, PageUrl};
use busel_proto::plan::Manner;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;
use tokio::sync::mpsc;

use super::server::{self, Problem, Told};
use super::{Control, ControlError, Heard, Joined, Line, Status};
use crate::authority::Vouches;
use crate::catalogue::Found;
use crate::doctor::{Ask, Progress, Report};
use crate::edition::Taken;
use crate::request::{self, Authority, Timeline};

/// The longest answer that is not a page.
const MAX_ANSWER: usize = 4 * 1024 * 1024;

/// A node's control socket.
#[derive(Debug, Clone)]
pub struct Client {
    socket: PathBuf,
}

/// A page, and what is told of it only at its end.
#[derive(Debug)]
pub struct Page {
    /// The page. Its timeline is empty; see [`Page::timeline`].
    pub response: request::Response,
    /// How the race went, once the body has been read.
    pub timeline: tokio::sync::oneshot::Receiver<Vec<Line>>,
}

impl Client {
    /// The node that works in `dir`.
    pub fn of(dir: &Path) -> Self {
        Self { socket: dir.join(server::SOCKET) }
    }

    /// Whether a node answers.
    pub async fn is_running(&self) -> bool {
        UnixStream::connect(&self.socket).await.is_ok()
    }

    /// Gets a page in this manner, with its timeline.
    pub async fn page(
        &self,
        url: PageUrl,
        manner: Manner,
    ) -> Result<Result<Page, Problem>, ControlError> {
        let put_away = manner == Manner::RarestFirst;
        let asked = server::Get { url: url.to_string(), put_away };
        let response = self.send(Method::POST, "/v1/get", Some(&asked)).await?;
        if !response.headers().contains_key(server::ROUTE) {
            let status = response.status();
            let body = whole(response).await?;
            return match serde_json::from_slice::<Problem>(&body) {
                Ok(problem) => Ok(Err(problem)),
                Err(_) => Err(refused(status, &body)),
            };
        }
        Ok(Ok(page(response)))
    }

    async fn send<T: Serialize + Sync>(
        &self,
        method: Method,
        path: &str,
        body: Option<&T>,
    ) -> Result<Response<Incoming>, ControlError> {
        let body = body.map(serde_json::to_vec).transpose();
        let body = body.map_err(|e| ControlError::Protocol(e.to_string()))?;
        self.send_bytes(method, path, body.unwrap_or_default().into()).await
    }

    async fn send_bytes(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<Response<Incoming>, ControlError> {
        let stream = UnixStream::connect(&self.socket).await.map_err(ControlError::NotRunning)?;
        let protocol = |e: &dyn std::fmt::Display| ControlError::Protocol(e.to_string());
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|e| protocol(&e))?;
        // Ends with the response's body.
        tokio::spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, "busel")
            .header(header::TE, "trailers")
            .body(Full::new(body))
            .map_err(|e| protocol(&e))?;
        sender.send_request(request).await.map_err(|e| protocol(&e))
    }

    async fn ask<T: Serialize + Sync, A: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&T>,
    ) -> Result<A, ControlError> {
        told(self.send(method, path, body).await?).await
    }
}

async fn told<A: DeserializeOwned>(response: Response<Incoming>) -> Result<A, ControlError> {
    let status = response.status();
    let body = whole(response).await?;
    if status != StatusCode::OK {
        return Err(refused(status, &body));
    }
    serde_json::from_slice(&body).map_err(|e| ControlError::Protocol(e.to_string()))
}

async fn whole(response: Response<Incoming>) -> Result<Bytes, ControlError> {
    let body = Limited::new(response.into_body(), MAX_ANSWER).collect().await;
    Ok(body.map_err(|e| ControlError::Protocol(e.to_string()))?.to_bytes())
}

fn refused(status: StatusCode, body: &[u8]) -> ControlError {
    let told: Option<serde_json::Value> = serde_json::from_slice(body).ok();
    let error = told.as_ref().and_then(|told| told["error"].as_str());
    ControlError::Failed(error.map_or_else(|| status.to_string(), ToOwned::to_owned))
}

fn page(response: Response<Incoming>) -> Page {
    let (parts, body) = response.into_parts();
    let mut headers = parts.headers;
    let taken = |headers: &mut HeaderMap, name| -> Option<HeaderValue> { headers.remove(name) };
    let route = taken(&mut headers, server::ROUTE);
    let route = route.and_then(|name| Route::ALL.into_iter().find(|r| name == r.name()));
    let authority = taken(&mut headers, server::AUTHORITY);
    let told = authority.and_then(|json| serde_json::from_slice::<Told>(json.as_bytes()).ok());
    let age = taken(&mut headers, server::AGE);
    let age = age.and_then(|age| age.to_str().ok()?.parse().ok()).map(Duration::from_secs);
    let stale = taken(&mut headers, server::STALE).is_some();
    headers.remove(header::TRAILER);
    headers.remove(header::TRANSFER_ENCODING);
    let (tell, timeline) = tokio::sync::oneshot::channel();
    let mut tell = Some(tell);
    let body = body.map_err(|_| Failure::CutOff).map_frame(move |frame| {
        if let Some(trailers) = frame.trailers_ref()
            && let Some(value) = trailers.get(server::TIMELINE)
            && let Some(tell) = tell.take()
        {
            // If nobody asks how it went, nobody hears it.
            let _ = tell.send(serde_json::from_slice(value.as_bytes()).unwrap_or_default());
        }
        frame
    });
    Page {
        response: request::Response {
            status: parts.status,
            headers,
            body: body.boxed_unsync(),
            route: route.unwrap_or(Route::Local),
            authority: told.map_or(Authority::Nobody, authority_of),
            age,
            stale,
            timeline: Timeline::default(),
        },
        timeline,
    }
}

fn authority_of(told: Told) -> Authority {
    match told.kind.as_str() {
        "site" => Authority::Site,
        "injector" => Authority::Injector {
            label: String::from_utf8_lossy(&told.label.unwrap_or_default()).into_owned(),
            tls: told.tls,
        },
        _ => Authority::Nobody,
    }
}

impl Control for Client {
    fn status(&self) -> BoxFuture<'_, Result<Status, ControlError>> {
        Box::pin(self.ask(Method::GET, "/v1/status", None::<&()>))
    }

    fn get(
        &self,
        url: PageUrl,
        manner: Manner,
    ) -> BoxFuture<'_, Result<request::Response, ControlError>> {
        Box::pin(async move {
            match self.page(url, manner).await? {
                Ok(page) => Ok(page.response),
                Err(problem) => Err(ControlError::Failed(format!("{} can't be had", problem.url))),
            }
        })
    }

    fn take_edition(&self, host: HostName) -> BoxFuture<'_, Result<Taken, ControlError>> {
        Box::pin(async move {
            let asked = server::Take { host: host.to_string() };
            self.ask(Method::POST, server::EDITION, Some(&asked)).await
        })
    }

    fn find(&self, text: String) -> BoxFuture<'_, Result<Vec<Found>, ControlError>> {
        Box::pin(async move {
            let asked = server::Find { text };
            self.ask(Method::POST, server::FIND, Some(&asked)).await
        })
    }

    fn invite(&self) -> BoxFuture<'_, Result<Invite, ControlError>> {
        Box::pin(async move {
            let line: server::Line = self.ask(Method::POST, "/v1/invite", None::<&()>).await?;
            Invite::from_line(&line.invite).map_err(|e| ControlError::Protocol(e.to_string()))
        })
    }

    fn join(&self, invite: Invite, trust: bool) -> BoxFuture<'_, Result<Joined, ControlError>> {
        Box::pin(async move {
            let asked = server::Join { invite: invite.to_line(), trust };
            self.ask(Method::POST, "/v1/join", Some(&asked)).await
        })
    }

    fn doctor(
        &self,
        ask: Ask,
        tell: mpsc::Sender<Progress>,
    ) -> BoxFuture<'_, Result<Report, ControlError>> {
        Box::pin(examination::hear(self, ask, tell))
    }

    fn authority(&self) -> BoxFuture<'_, Result<Option<Vouches>, ControlError>> {
        Box::pin(self.ask(Method::GET, server::AUTHORITY_PATH, None::<&()>))
    }

    fn make_authority(&self) -> BoxFuture<'_, Result<Vouches, ControlError>> {
        Box::pin(self.ask(Method::POST, server::AUTHORITY_PATH, None::<&()>))
    }

    fn forget_authority(&self) -> BoxFuture<'_, Result<(), ControlError>> {
        Box::pin(self.ask(Method::DELETE, server::AUTHORITY_PATH, None::<&()>))
    }

    fn heed(&self, word: Vec<u8>) -> BoxFuture<'_, Result<Heard, ControlError>> {
        Box::pin(async move {
            told(self.send_bytes(Method::POST, server::HEED, word.into()).await?).await
        })
    }

    fn stop(&self) -> BoxFuture<'_, Result<(), ControlError>> {
        Box::pin(self.ask(Method::POST, "/v1/stop", None::<&()>))
    }
}
