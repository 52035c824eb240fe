//! The endpoint's connection to its relay, carried over TLS connections of ours: a session of
//! [`busel_proto::carrier`].
//!
//! Each leg is an HTTP request that asks to switch protocols, under the relay's secret and the
//! session's token. To whoever has not both, the relay is a web site.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use busel_proto::carrier::{Client, LegId};
use data_encoding::{BASE64, HEXLOWER};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;
use tracing::debug;

use super::line::{Line, Tls};
use crate::carrier::{Carrier, Life};

/// The relay's answer comes within this time …
const ANSWER_LIMIT: Duration = Duration::from_secs(10);
/// … and is no longer.
const MAX_ANSWER: usize = 4096;

type Token = [u8; 16];

/// How the relay answered.
enum Answer {
    /// It carries; these bytes came at once.
    Carries(Vec<u8>),
    /// It does not know the session.
    Unknown,
}

/// Carries one connection of the endpoint's until either side ends it. The first leg is there.
pub(super) async fn carry(
    request: http::Request<Incoming>,
    line: Arc<Line>,
    first: Tls,
) -> io::Result<()> {
    let upgraded = hyper::upgrade::on(request).await.map_err(io::Error::other)?;
    let token: Token = rand::random();
    let carrier = line.carrier();
    let first = std::sync::Mutex::new(Some(first));
    let open = |leg, known| -> Life {
        let first = first.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        let (line, carrier) = (line.clone(), carrier.clone());
        Box::pin(async move { live(&line, &carrier, leg, token, known, first).await })
    };
    // Nobody else opens legs here.
    let (_, arrivals) = mpsc::channel(1);
    carrier.clone().run(TokioIo::new(upgraded), arrivals, open).await;
    line.learn(&carrier);
    Ok(())
}

/// A leg from its beginning to its end.
async fn live(
    line: &Line,
    carrier: &Carrier<Client>,
    leg: LegId,
    token: Token,
    known: bool,
    ready: Option<Tls>,
) {
    let connected = match ready {
        Some(tls) => Ok(tls),
        None => line.connect().await,
    };
    let mut tls = match connected {
        Ok(tls) => tls,
        Err(failure) => {
            debug!(%failure, "no further leg to the relay");
            return failed(carrier, leg);
        }
    };
    let way = line.way();
    let asked = ask(carrier, leg, request(line, way, token, known), &mut tls);
    match tokio::time::timeout(ANSWER_LIMIT, asked).await {
        Ok(Ok(Answer::Carries(before))) => {
            line.let_in(way);
            carrier.pump(leg, tls, &before).await;
        }
        Ok(Ok(Answer::Unknown)) => {
            if !known {
                line.turned_away(way);
            }
            let now = carrier.now();
            carrier.end().refused(leg, now);
            carrier.bump();
        }
        Ok(Err(error)) => {
            debug!(%error, "a leg broke before it carried");
            failed(carrier, leg);
        }
        Err(_) => failed(carrier, leg),
    }
}

fn failed(carrier: &Carrier<Client>, leg: LegId) {
    let now = carrier.now();
    carrier.end().failed(leg, now);
    carrier.bump();
}

/// Sends the leg's request with what it has to say at first, and reads the answer.
async fn ask(
    carrier: &Carrier<Client>,
    leg: LegId,
    request: String,
    tls: &mut Tls,
) -> io::Result<Answer> {
    let mut said = request.into_bytes();
    let now = carrier.now();
    {
        let mut end = carrier.end();
        end.opened(leg, now);
        said.extend(end.transmit(leg, now).unwrap_or_default());
    }
    carrier.bump();
    tls.write_all(&said).await?;
    tls.flush().await?;
    let mut got = Vec::with_capacity(1024);
    loop {
        if tls.read_buf(&mut got).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut fields = [httparse::EMPTY_HEADER; 32];
        let mut response = httparse::Response::new(&mut fields);
        let status = response.parse(&got).map_err(io::Error::other)?;
        match (status, response.code) {
            (httparse::Status::Complete(len), Some(101)) => {
                return Ok(Answer::Carries(got.split_off(len)));
            }
            (httparse::Status::Complete(_), _) => return Ok(Answer::Unknown),
            (httparse::Status::Partial, _) if got.len() < MAX_ANSWER => {}
            (httparse::Status::Partial, _) => return Err(io::ErrorKind::InvalidData.into()),
        }
    }
}

fn request(line: &Line, way: [u8; 16], token: Token, known: bool) -> String {
    let (secret, token) = (HEXLOWER.encode(&way), HEXLOWER.encode(&token));
    let which = if known { "next" } else { "first" };
    let (host, key) = (&line.ticket.sni, BASE64.encode(&rand::random::<[u8; 16]>()));
    format!(
        "GET /{secret}/{token}/{which} HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\n\
         Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n"
    )
}
