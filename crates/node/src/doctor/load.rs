//! Pages over one connection, for as long and as many bytes as it takes to see a freeze or a throttle,
//! and one question by plain `http`. Bodies are counted and thrown away.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use busel_net::dial::of_io;
use busel_proto::doctor::{End, Hello, Load, Plain, Shook};
use busel_proto::failure::Failure;
use busel_proto::page::PageUrl;
use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::time::timeout;

use super::{Tools, shake};
use crate::origin::Io;

/// Where nothing comes for this long, nothing more comes.
const STALL: Duration = Duration::from_secs(4);
/// A connection is used for no longer than this.
const LONG_ENOUGH: Duration = Duration::from_secs(12);
/// At most so many bytes of one page are read.
const MAX_BODY: u64 = 512 << 10;
/// A short page is asked for again on the same connection until so many bytes came, but at most so
/// often.
const ENOUGH: (u64, usize) = (96 << 10, 24);

/// Loads the page from an address, over a connection of its own.
pub(super) async fn load(tools: &Tools, at: SocketAddr, url: &PageUrl) -> Load {
    let mut load = Load { bytes: 0, course: Vec::new(), end: End::Whole, moved: None };
    let until = Instant::now() + LONG_ENOUGH;
    let end = match open(tools, at, url).await {
        Ok((mut sender, connection)) => {
            let loading = over(&mut sender, url, until, &mut load);
            while_driven(connection, loading).await
        }
        Err(failure) => End::Cut(failure),
    };
    load.end = end;
    load
}

/// Asks by plain `http`: for the front page if the page itself is an `https` one, so that no more
/// than the site's name is shown on the way.
pub(super) async fn plain(tools: &Tools, at: SocketAddr, url: &PageUrl) -> Plain {
    let path = if url.is_https() { "/" } else { url.path_and_query() };
    let asking = async {
        let stream = shake::dial(tools, at).await?;
        let (mut sender, connection) = client(Box::new(stream)).await?;
        let answering = sender.send_request(request(url, path));
        while_driven(connection, answering).await.map_err(|e| of_hyper(&e))
    };
    let answered = timeout(STALL + shake::CONNECT_LIMIT, asking).await;
    match answered.unwrap_or(Err(Failure::Silent)) {
        Ok(response) => Plain::Answered {
            status: response.status().as_u16(),
            location: location(url, response.headers()),
        },
        Err(failure) => Plain::Failed(failure),
    }
}

type Client = SendRequest<Empty<Bytes>>;

async fn open(
    tools: &Tools,
    at: SocketAddr,
    url: &PageUrl,
) -> Result<(Client, impl Future<Output = ()>), Failure> {
    let io: Box<dyn Io> = if url.is_https() {
        match shake::connect(tools, at, &url.host(), Hello::Named).await {
            Ok(stream) => Box::new(stream),
            Err(Shook::Unconnected(failure) | Shook::Failed(failure)) => return Err(failure),
            Err(Shook::Certificate(_) | Shook::Good) => return Err(Failure::ForgedCertificate),
        }
    } else {
        Box::new(shake::dial(tools, at).await?)
    };
    client(io).await
}

/// What comes of `use_of_it` while the connection is driven. A box that answers in the site's place cuts
/// the connection with its answer, so that its end is not yet the end of what came.
async fn while_driven<T>(
    connection: impl Future<Output = ()>,
    use_of_it: impl Future<Output = T>,
) -> T {
    tokio::pin!(use_of_it);
    tokio::select! {
        biased;
        came = &mut use_of_it => came,
        () = connection => use_of_it.await,
    }
}

async fn client(io: Box<dyn Io>) -> Result<(Client, impl Future<Output = ()>), Failure> {
    let (sender, connection) = handshake(TokioIo::new(io)).await.map_err(|e| of_hyper(&e))?;
    // How it ends, whoever uses it sees too.
    Ok((sender, async move {
        let _ = connection.await;
    }))
}

/// Asks until enough came, or no more does.
async fn over(sender: &mut Client, url: &PageUrl, until: Instant, load: &mut Load) -> End {
    for _ in 0..ENOUGH.1 {
        let asked = timeout(STALL, sender.send_request(request(url, url.path_and_query()))).await;
        let response = match asked {
            Err(_) => return End::Stalled,
            // After an answer a server may close the connection as it likes.
            Ok(Err(_)) if load.bytes > 0 => return End::Whole,
            Ok(Err(error)) => return End::Cut(of_hyper(&error)),
            Ok(Ok(response)) => response,
        };
        let status = response.status();
        load.moved = location(url, response.headers()).map(|to| to.host());
        if let Some(end) = read(response, until, load).await {
            return end;
        }
        let over = load.bytes >= ENOUGH.0 || load.bytes == 0 || Instant::now() >= until;
        if over || status != StatusCode::OK {
            return End::Whole;
        }
    }
    End::Whole
}

/// Reads a body; says how the load ends, if it does with it.
async fn read(response: Response<Incoming>, until: Instant, load: &mut Load) -> Option<End> {
    let mut body = response.into_body();
    let (began, mut course, mut bytes) = (Instant::now(), Vec::new(), 0);
    let end = loop {
        match timeout(STALL, body.frame()).await {
            Err(_) => break Some(End::Stalled),
            Ok(None) => break None,
            Ok(Some(Err(error))) => break Some(End::Cut(of_hyper(&error))),
            Ok(Some(Ok(frame))) => {
                bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
                course.push((began.elapsed(), bytes));
            }
        }
        if bytes >= MAX_BODY || Instant::now() >= until {
            break Some(End::Whole);
        }
    };
    load.bytes += bytes;
    if bytes > load.course.last().map_or(0, |(_, longest)| *longest) {
        load.course = course;
    }
    end
}

fn request(url: &PageUrl, path: &str) -> Request<Empty<Bytes>> {
    let mut request = Request::new(Empty::new());
    *request.uri_mut() = path.parse().unwrap_or_default();
    if let Ok(host) = url.authority().parse() {
        request.headers_mut().insert(header::HOST, host);
    }
    request
}

fn location(url: &PageUrl, headers: &HeaderMap) -> Option<PageUrl> {
    let to = headers.get(header::LOCATION)?.to_str().ok()?;
    PageUrl::parse(url.as_url().join(to).ok()?.as_str()).ok()
}

fn of_hyper(error: &hyper::Error) -> Failure {
    let mut at: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = at {
        if let Some(io) = error.downcast_ref::<std::io::Error>() {
            return of_io(io);
        }
        at = error.source();
    }
    match error.is_incomplete_message() {
        true => Failure::CutOff,
        false => Failure::Protocol(error.to_string()),
    }
}
