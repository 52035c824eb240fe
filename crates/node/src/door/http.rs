//! The door for web programs: an HTTP/1 forward proxy on loopback, which speaks SOCKS5, too, and a gateway for
//! browsers that know of no proxy.
//!
//! It reads requests, makes them [`Request`]s or tunnels, hands them to what stands [`Behind`] it
//! and writes the answers, streaming both ways. Hop-by-hop fields end here (RFC 9110 §7.6.1). It
//! chooses no route and fetches nothing itself, adds no `Via`, which would tell sites of Busel,
//! and asks for nothing that it was not asked for, as a proxy or under a site's name.
//!
//! Each wait has a limit but three: for the answer, which what stands behind bounds; for the
//! reader's program to take what it asked for, since a paused film may stay paused; and an idle HTTP/2 connection
//! to a listed site is kept until its place is needed.

mod body;
mod fields;
mod gateway;
mod line;
mod socks;
mod within;

use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use busel_proto::failure::Failure;
use busel_proto::gateway::{Gateway, Place, policy};
use busel_proto::page::{HostName, PageError, PageUrl};
use data_encoding::BASE64;
use futures_util::future::BoxFuture;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode, Uri, Version};
use http_body::Body as _;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{sleep, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;
use tracing::debug;

use self::body::{Outgoing, Upload};
use self::fields::{ascii, hops, join_cookies, keep_end_to_end, remove_all, shows, wants_upgrade};
use self::line::{Fate, Line};
use self::within::Site;
use super::{owner, problem};
use crate::origin::Io;
use crate::request::{Body, Request, RequestBody, Response, Unanswered, full};

/// The largest request head, in bytes; beyond it the answer is 431.
const MAX_HEAD: usize = 64 * 1024;
/// Connections that the system holds for us until there is a place for them.
const BACKLOG: u32 = 4096;
/// The most that a semaphore counts.
const MAX_PLACES: usize = Semaphore::MAX_PERMITS;
/// How long what is under way may go on when the door closes.
const GRACE: Duration = Duration::from_secs(1);
/// After a failure to accept (no file descriptors, say).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What stands behind a door.
pub(crate) trait Behind: Send + Sync + 'static {
    /// Answers a request.
    fn fetch(&self, request: Request) -> BoxFuture<'_, Result<Response, Unanswered>>;
    /// Carries bytes between the program, which was told that it is connected, and `host`:`port`
    /// until both are done.
    fn tunnel(&self, client: Box<dyn Io>, host: HostName, port: u16) -> BoxFuture<'_, ()>;
    /// What shows a browser that it speaks to `host`:`port` itself; `None` where nobody may, so that the two
    /// speak to each other.
    fn vouch(&self, host: &HostName, port: u16) -> Option<Arc<ServerConfig>>;
    /// A program was not shown that by it: it does not believe whoever vouched.
    fn doubted(&self, host: &HostName);
    /// Asks `host`:`port` for another protocol. What follows its 101 can be had by
    /// [`hyper::upgrade::on`].
    fn upgrade<'a>(
        &'a self,
        request: http::Request<()>,
        host: &'a HostName,
        port: u16,
    ) -> BoxFuture<'a, Result<http::Response<Incoming>, Failure>>;
}

/// How to open a door.
#[derive(Clone)]
pub struct DoorConfig {
    /// Where to listen; a loopback address, unless `allow_remote` is set.
    pub listen: SocketAddr,
    /// Connections served at once. Others wait; those that idle are closed for them.
    pub max_connections: usize,
    /// Serve only programs of the user that runs this node. Where their user can't be told,
    /// `credentials` are asked for instead.
    pub same_user_only: bool,
    /// `user:password`. Asked of every program that is not let in for its user.
    pub credentials: Option<String>,
    /// Listen on an address that other devices reach. They must show the credentials.
    pub allow_remote: bool,
    /// Say in each answer by which way it came and who vouches for it. Every program that is let in can
    /// read that, and so can the scripts of a page, of what is asked of their own site.
    pub tells: bool,
}

impl DoorConfig {
    /// A door at `listen` for the programs of this user.
    pub fn new(listen: SocketAddr) -> Self {
        Self {
            listen,
            max_connections: 1024,
            same_user_only: true,
            credentials: None,
            allow_remote: false,
            tells: false,
        }
    }
}

/// Why a door could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum DoorError {
    /// Another program listens there.
    #[error("another program listens on {0} already; choose another port")]
    InUse(SocketAddr),
    /// Other devices reach that address.
    #[error("{0} can be reached by other devices; that must be allowed, and needs credentials")]
    NotLoopback(SocketAddr),
    /// This system doesn't say whose a connection is.
    #[error("this system does not tell whose program connects; the door needs credentials")]
    OwnersUnknown,
    /// The system refused.
    #[error("can't listen on {0}: {1}")]
    Listen(SocketAddr, #[source] io::Error),
}

/// An open door. Dropped, it is closed at once; [`HttpDoor::close`] lets what is under way end.
pub struct HttpDoor {
    addr: SocketAddr,
    tasks: TaskTracker,
    stop: DropGuard,
}

impl HttpDoor {
    /// Opens it.
    pub(crate) async fn open(
        config: DoorConfig,
        behind: Arc<dyn Behind>,
    ) -> Result<Self, DoorError> {
        Self::open_within(config, behind, Limits::default()).await
    }

    async fn open_within(
        config: DoorConfig,
        behind: Arc<dyn Behind>,
        limits: Limits,
    ) -> Result<Self, DoorError> {
        let local = config.listen.ip().to_canonical().is_loopback();
        let remote = config.allow_remote && config.credentials.is_some();
        if !local && !remote {
            return Err(DoorError::NotLoopback(config.listen));
        }
        if config.same_user_only && config.credentials.is_none() && !owner::can_tell() {
            return Err(DoorError::OwnersUnknown);
        }
        let listener = listen(config.listen).map_err(|e| match e.kind() {
            io::ErrorKind::AddrInUse => DoorError::InUse(config.listen),
            _ => DoorError::Listen(config.listen, e),
        })?;
        let addr = listener.local_addr().map_err(|e| DoorError::Listen(config.listen, e))?;
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let door = Arc::new(Door {
            behind,
            places: Arc::new(Semaphore::new(config.max_connections.clamp(1, MAX_PLACES))),
            crowded: watch::Sender::new(false),
            uid: config.same_user_only.then(owner::own_uid),
            password: config.credentials.map(|c| BASE64.encode(c.as_bytes())),
            tells: config.tells,
            limits,
            tasks: tasks.clone(),
            stop: stop.clone(),
        });
        tasks.spawn(door.accept(listener));
        Ok(Self { addr, tasks, stop: stop.drop_guard() })
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Closes it and waits until all its tasks have ended: a second at most.
    pub async fn close(self) {
        drop(self.stop);
        self.tasks.close();
        self.tasks.wait().await;
    }
}

fn listen(addr: SocketAddr) -> io::Result<TcpListener> {
    let socket = if addr.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // After a restart the port is free at once; two doors can't share it all the same.
    #[cfg(unix)]
    socket.set_reuseaddr(true)?;
    socket.bind(addr)?;
    socket.listen(BACKLOG)
}

/// How long a program may keep us waiting.
#[derive(Debug, Clone, Copy)]
struct Limits {
    /// For the whole of a request's head. Counts from the answer before, so it is also how long an
    /// idle connection is kept.
    head: Duration,
    /// For the next piece of a request's body.
    upload: Duration,
    /// For the end of what it sends after we have closed.
    linger: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        let (head, upload) = (Duration::from_secs(60), Duration::from_secs(60));
        Self { head, upload, linger: Duration::from_secs(1) }
    }
}

/// What all connections of a door share.
struct Door {
    behind: Arc<dyn Behind>,
    places: Arc<Semaphore>,
    /// Whether a connection waits for a place: then the others are not kept open.
    crowded: watch::Sender<bool>,
    /// The user who is let in, if only one is.
    uid: Option<u32>,
    /// The credentials as a program sends them.
    password: Option<String>,
    /// Whether answers say where they came from.
    tells: bool,
    limits: Limits,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Door {
    async fn accept(self: Arc<Self>, listener: TcpListener) {
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = self.stop.cancelled() => return,
            };
            let (stream, client) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    debug!(%error, "accepting failed");
                    sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let place = tokio::select! {
                place = self.place() => place,
                () = self.stop.cancelled() => return,
            };
            self.tasks.spawn(Arc::clone(&self).serve(stream, client, place));
        }
    }

    async fn place(&self) -> OwnedSemaphorePermit {
        if let Ok(place) = Arc::clone(&self.places).try_acquire_owned() {
            return place;
        }
        self.crowded.send_replace(true);
        let place = Arc::clone(&self.places).acquire_owned().await;
        self.crowded.send_replace(false);
        place.expect("the semaphore is never closed")
    }

    async fn serve(
        self: Arc<Self>,
        stream: TcpStream,
        client: SocketAddr,
        place: OwnedSemaphorePermit,
    ) {
        let Ok(ours) = stream.local_addr() else { return };
        let _ = stream.set_nodelay(true);
        let fate = Arc::new(Fate::default());
        let entry = self.entry(client, ours);
        let door = Arc::clone(&self);
        let visit = Arc::new(Visit { door, ours, entry, fate: Arc::clone(&fate), _place: place });
        let first = tokio::select! {
            first = timeout(self.limits.head, begins(&stream)) => first,
            () = self.stop.cancelled() => return,
        };
        match first {
            Ok(Some(socks::VERSION)) => return socks::serve(visit, stream).await,
            Ok(Some(_)) => {}
            Ok(None) | Err(_) => return,
        }
        let line = Line::new(stream, Arc::clone(&fate), self.limits.linger);
        let service = service_fn(move |request| {
            let visit = Arc::clone(&visit);
            async move { Ok::<_, Infallible>(visit.answer(request).await) }
        });
        let serving = http1(self.limits).serve_connection(TokioIo::new(line), service);
        let ended = self.see_out(serving.with_upgrades(), |it| it.graceful_shutdown(), &fate);
        if let Err(error) = ended.await {
            debug!(%error, "a connection broke");
        }
    }

    /// Serves a connection until it ends, or has to: then `last` has it take no more requests.
    async fn see_out<C: Future<Output = hyper::Result<()>>>(
        &self,
        connection: C,
        last: impl Fn(Pin<&mut C>),
        fate: &Fate,
    ) -> hyper::Result<()> {
        let mut connection = pin!(connection);
        let mut crowded = self.crowded.subscribe();
        loop {
            tokio::select! {
                ended = connection.as_mut() => return ended,
                () = self.stop.cancelled() => {
                    last(connection.as_mut());
                    return timeout(GRACE, connection).await.unwrap_or(Ok(()));
                }
                Ok(()) = crowded.changed() => {
                    // One that was not served yet stays: it asks for a place as much as others.
                    if *crowded.borrow_and_update() && fate.served.load(Ordering::Relaxed) {
                        last(connection.as_mut());
                    }
                }
            }
        }
    }

    fn entry(&self, client: SocketAddr, ours: SocketAddr) -> Entry {
        let password = self.password.is_some();
        if !client.ip().to_canonical().is_loopback() {
            return if password { Entry::Password } else { Entry::Closed(OTHER_DEVICE) };
        }
        let Some(own) = self.uid else {
            return if password { Entry::Password } else { Entry::Open };
        };
        match owner::uid_of(client, ours) {
            Ok(Some(uid)) if uid == own => Entry::Open,
            Ok(Some(_)) => Entry::Closed(OTHER_USER),
            Ok(None) | Err(_) if password => Entry::Password,
            Ok(None) | Err(_) => Entry::Closed(NO_USER),
        }
    }
}

/// The first byte of what a program says; `None` if it says nothing any more.
async fn begins(stream: &TcpStream) -> Option<u8> {
    let mut first = [0];
    let read = stream.peek(&mut first).await.ok()?;
    (read == 1).then_some(first[0])
}

fn http1(limits: Limits) -> http1::Builder {
    let mut serving = http1::Builder::new();
    serving
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head)
        .max_header_size(MAX_HEAD)
        .max_buf_size(MAX_HEAD)
        .half_close(true);
    serving
}

/// On what terms a connection is served; decided once.
enum Entry {
    Open,
    /// Each request must carry the credentials.
    Password,
    /// Not at all, and why.
    Closed(&'static str),
}

const OTHER_DEVICE: &str = "This door serves only programs on this device.";
const OTHER_USER: &str = "This door serves only programs of the user who runs Busel.";
const NO_USER: &str = "This door serves only programs of the user who runs Busel, \
                       and the system did not tell whose program this is.";

/// One connection of a program.
struct Visit {
    door: Arc<Door>,
    /// Our end of it.
    ours: SocketAddr,
    entry: Entry,
    fate: Arc<Fate>,
    /// Held until the connection, or the tunnel that it became, has ended.
    _place: OwnedSemaphorePermit,
}

type Answer = http::Response<Outgoing>;

impl Visit {
    async fn answer(self: Arc<Self>, request: http::Request<Incoming>) -> Answer {
        self.fate.served.store(true, Ordering::Relaxed);
        self.fate.talking.store(!request.body().is_end_stream(), Ordering::Relaxed);
        let version = request.version();
        let response = match self.refusal(request.headers()) {
            None => self.dispatch(request).await,
            Some(refusal) => refusal,
        };
        self.finish(response, version)
    }

    /// The answer as its connection needs it.
    fn finish(&self, response: http::Response<Body>, version: Version) -> Answer {
        let (mut parts, body) = response.into_parts();
        let ends = matches!(self.entry, Entry::Closed(_)) || *self.door.crowded.borrow();
        if ends && version < Version::HTTP_2 && !parts.status.is_informational() {
            parts.headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        // Without a length, the end of an HTTP/1.0 answer is the end of the connection.
        let endless = version < Version::HTTP_11
            && !parts.headers.contains_key(header::CONTENT_LENGTH)
            && body.size_hint().exact().is_none();
        let fate = endless.then(|| Arc::clone(&self.fate));
        http::Response::from_parts(parts, Outgoing { body, fate })
    }

    /// The answer to a request that is not let in.
    fn refusal(&self, headers: &HeaderMap) -> Option<http::Response<Body>> {
        match (&self.entry, &self.door.password) {
            (Entry::Open, _) => None,
            (Entry::Closed(why), _) => {
                Some(problem::malformed(StatusCode::FORBIDDEN, why, headers))
            }
            (Entry::Password, Some(password)) if shows(headers, password) => None,
            (Entry::Password, _) => {
                let status = StatusCode::PROXY_AUTHENTICATION_REQUIRED;
                let why = "This door asks for the user name and password of this installation.";
                let mut refusal = problem::malformed(status, why, headers);
                let realm = HeaderValue::from_static("Basic realm=\"Busel\", charset=\"UTF-8\"");
                refusal.headers_mut().insert(header::PROXY_AUTHENTICATE, realm);
                Some(refusal)
            }
        }
    }

    async fn dispatch(self: &Arc<Self>, request: http::Request<Incoming>) -> http::Response<Body> {
        if request.method() == Method::CONNECT {
            return self.connect(request);
        }
        let (parts, body) = request.into_parts();
        if hops(&parts.method, &parts.headers) == Some(0) {
            return last_hop(&parts.method, &parts.headers);
        }
        if parts.uri.scheme().is_none() {
            return self.here(http::Request::from_parts(parts, body)).await;
        }
        let asked = parts.headers.clone();
        match self.request(parts, body) {
            Ok(request) => match self.door.behind.fetch(request).await {
                Ok(response) => shown(response, &asked, self.door.tells),
                Err(why) => problem::unanswered(&why, &asked),
            },
            Err((status, detail)) => problem::malformed(status, &detail, &asked),
        }
    }

    fn request(
        &self,
        parts: http::request::Parts,
        body: Incoming,
    ) -> Result<Request, (StatusCode, String)> {
        let url = PageUrl::parse(&parts.uri.to_string()).map_err(|error| {
            let status = match error {
                PageError::Scheme(_) => StatusCode::NOT_IMPLEMENTED,
                PageError::TooLong(_) => StatusCode::URI_TOO_LONG,
                PageError::Malformed(_) | PageError::Credentials => StatusCode::BAD_REQUEST,
            };
            (status, error.to_string())
        })?;
        if wants_upgrade(&parts.headers) {
            let detail = "Another protocol, a WebSocket say, can be had only through CONNECT.";
            return Err((StatusCode::NOT_IMPLEMENTED, detail.into()));
        }
        if self.leads_here(&url.host(), url.port()) {
            return Err((StatusCode::LOOP_DETECTED, LOOP.into()));
        }
        let mut headers = parts.headers;
        if headers.contains_key(header::TRANSFER_ENCODING) {
            headers.remove(header::CONTENT_LENGTH);
        }
        if let Some(left) = hops(&parts.method, &headers) {
            headers.insert(header::MAX_FORWARDS, HeaderValue::from(left.saturating_sub(1)));
        }
        keep_end_to_end(&mut headers);
        join_cookies(&mut headers);
        // The URL says which host (RFC 9112 §3.2.2), and the body's first byte asks for the 100.
        headers.remove(header::HOST);
        headers.remove(header::EXPECT);
        let body = match body.is_end_stream() {
            true => RequestBody::empty(),
            false => {
                let (limit, fate) = (self.door.limits.upload, Arc::clone(&self.fate));
                RequestBody::new(Upload::new(body, limit, fate).boxed_unsync())
            }
        };
        Ok(Request { method: parts.method, headers, body, ..Request::get(url) })
    }

    fn connect(self: &Arc<Self>, mut request: http::Request<Incoming>) -> http::Response<Body> {
        let Some((host, port)) = target(request.uri()) else {
            let detail = "CONNECT needs a host and a port.";
            return problem::malformed(StatusCode::BAD_REQUEST, detail, request.headers());
        };
        if self.leads_here(&host, port) {
            return problem::malformed(StatusCode::LOOP_DETECTED, LOOP, request.headers());
        }
        self.fate.tunnel.store(true, Ordering::Relaxed);
        let upgraded = hyper::upgrade::on(&mut request);
        let visit = Arc::clone(self);
        self.door.tasks.spawn(async move {
            match upgraded.await {
                Ok(client) => visit.carry(Box::new(TokioIo::new(client)), host, port).await,
                Err(error) => debug!(%error, "a program left before its tunnel began"),
            }
        });
        http::Response::new(full(""))
    }

    /// Carries what a program says to a host, which was told that it is connected; or answers it, where this
    /// device may vouch for the host.
    async fn carry(self: Arc<Self>, client: Box<dyn Io>, host: HostName, port: u16) {
        let visit = Arc::clone(&self);
        if let Some(tls) = visit.door.behind.vouch(&host, port) {
            return within::speak(visit, client, Site { host, port, tls }).await;
        }
        tokio::select! {
            () = visit.door.behind.tunnel(client, host, port) => {}
            () = self.door.stop.cancelled() => {}
        }
    }

    /// A request to this device, as to a web server: of a site that has a name here, or of the door itself.
    async fn here(self: &Arc<Self>, request: http::Request<Incoming>) -> http::Response<Body> {
        let gateway = Gateway::at(self.ours.port());
        let named =
            request.headers().get(header::HOST).map(|host| host.to_str().unwrap_or_default());
        match named.map_or(Place::Here, |named| gateway.place(named)) {
            Place::Here => self.own(gateway, request.method(), request.uri(), request.headers()),
            Place::Site(origin) => gateway::answer(self, gateway, &origin, request).await,
            Place::Nobody => {
                let detail = "Busel has no page under this name.";
                let status = StatusCode::MISDIRECTED_REQUEST;
                problem::malformed(status, detail, request.headers())
            }
        }
    }

    /// A request to the door itself. Nothing is ever fetched for one.
    fn own(
        &self,
        gateway: Gateway,
        method: &Method,
        uri: &Uri,
        asked: &HeaderMap,
    ) -> http::Response<Body> {
        let reads = method == Method::GET || method == Method::HEAD;
        match uri.path() {
            "*" if method == Method::OPTIONS => options(),
            _ if uri.authority().is_some() => {
                let detail = "The request names a host, but neither http nor https.";
                problem::malformed(StatusCode::BAD_REQUEST, detail, asked)
            }
            "/" if reads => self.welcome(gateway),
            "/proxy.pac" if reads => self.pac(),
            "/open" if reads => {
                let query = uri.query().unwrap_or_default().as_bytes();
                let typed = url::form_urlencoded::parse(query).find(|(name, _)| name == "url");
                gateway::enter(gateway, &typed.unwrap_or_default().1, asked)
            }
            path if reads && (path.starts_with("/https://") || path.starts_with("/http://")) => {
                let whole = uri.path_and_query().map_or(path, |whole| whole.as_str());
                gateway::enter(gateway, &whole[1..], asked)
            }
            "/" => {
                let detail = "This page can only be read.";
                let status = StatusCode::METHOD_NOT_ALLOWED;
                let mut refusal = problem::malformed(status, detail, asked);
                refusal.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
                refusal
            }
            _ => {
                let detail = "This is a proxy, not a web server: it has no such page.";
                problem::malformed(StatusCode::NOT_FOUND, detail, asked)
            }
        }
    }

    /// What sends a browser's requests here, but for those to the device itself and its own network. The script
    /// knows no way around; but a browser that can't load it, since no node runs, goes out in the open.
    fn pac(&self) -> http::Response<Body> {
        let at = self.ours;
        let script = format!(
            "function FindProxyForURL(url, host) {{\n  \
             if (isPlainHostName(host) || dnsDomainIs(host, \".local\")) return \"DIRECT\";\n  \
             return \"PROXY {at}\";\n}}\n"
        );
        let mut response = http::Response::new(full(script));
        let kind = HeaderValue::from_static("application/x-ns-proxy-autoconfig");
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
        // No page elsewhere runs it as a script of its own.
        let exact = HeaderValue::from_static("nosniff");
        response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, exact);
        response
    }

    fn welcome(&self, gateway: Gateway) -> http::Response<Body> {
        let at = self.ours;
        let body = format!(
            "<p>Open a page without setting up anything:</p>\n\
             <form action=\"/open\">\n<p><input name=\"url\" inputmode=\"url\" size=\"40\" \
             aria-label=\"Address\" placeholder=\"https://example.org/\" required autofocus>\n\
             <button>Open</button></p>\n</form>\n\
             <p>Or, for all that a browser or another program asks: an HTTP proxy at \
             <code>{at}</code>, which speaks SOCKS5, too. Set it as the proxy for HTTP and HTTPS. (Where only the address of a configuration can be \
             set, that is <code>http://{at}/proxy.pac</code>; when Busel does not run, such a browser asks sites \
             without it.) Or try:</p>\n\
             <pre><code>curl -x http://{at} http://example.org/</code></pre>\n",
        );
        let mut response = problem::page(StatusCode::OK, "Busel's door", &body);
        let headers = response.headers_mut();
        if let Ok(policy) = HeaderValue::from_str(&policy::form(gateway)) {
            headers.insert(header::CONTENT_SECURITY_POLICY, policy);
        }
        // By this, what the reader opens from here is told from what a page elsewhere leads to.
        let referrer = HeaderValue::from_static("strict-origin-when-cross-origin");
        headers.insert(header::REFERRER_POLICY, referrer);
        response
    }

    /// Whether a request to `host` and `port` would come back to this door, and so forever.
    fn leads_here(&self, host: &HostName, port: u16) -> bool {
        let name = host.as_str();
        let here = self.ours.ip().to_canonical();
        let same = |ip: IpAddr| ip == here || ip.is_unspecified();
        port == self.ours.port()
            && (name == "localhost"
                || name.ends_with(".localhost")
                || host.ip().is_some_and(|ip| same(ip.to_canonical())))
    }
}

const LOOP: &str = "The address asked for is that of this door itself.";

/// The host and port that CONNECT names.
fn target(uri: &Uri) -> Option<(HostName, u16)> {
    let authority = uri.authority().filter(|_| uri.scheme().is_none())?;
    let port = authority.port_u16().filter(|port| *port != 0)?;
    if authority.as_str().contains('@') {
        return None;
    }
    Some((HostName::parse(authority.host()).ok()?, port))
}

fn last_hop(method: &Method, headers: &HeaderMap) -> http::Response<Body> {
    if method == Method::OPTIONS {
        return options();
    }
    let detail = "The door does not answer TRACE itself.";
    problem::malformed(StatusCode::METHOD_NOT_ALLOWED, detail, headers)
}

fn options() -> http::Response<Body> {
    let mut response = http::Response::new(full(""));
    let methods = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS, CONNECT";
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(methods));
    response
}

const BUSEL_ROUTE: HeaderName = HeaderName::from_static("busel-route");
const BUSEL_AUTHORITY: HeaderName = HeaderName::from_static("busel-authority");
const BUSEL_STALE: HeaderName = HeaderName::from_static("busel-stale");

/// A response as the program gets it: with its age, and with where it came from if the owner `tells` that.
/// No site can forge any of it.
fn shown(response: Response, asked: &HeaderMap, tells: bool) -> http::Response<Body> {
    let Response { status, mut headers, body, route, authority, age, stale, timeline: _ } =
        response;
    if status.is_informational() {
        let detail = "The site answered with a status that ends nothing.";
        return problem::malformed(StatusCode::BAD_GATEWAY, detail, asked);
    }
    keep_end_to_end(&mut headers);
    remove_all(&mut headers, |name| name.as_str().starts_with("busel-"));
    if tells {
        headers.insert(BUSEL_ROUTE, HeaderValue::from_static(route.name()));
        headers.insert(BUSEL_AUTHORITY, ascii(&authority.to_string()));
    }
    if let Some(age) = age {
        headers.insert(header::AGE, HeaderValue::from(age.as_secs()));
    }
    if stale {
        headers.insert(BUSEL_STALE, HeaderValue::from_static("1"));
    }
    let mut response = http::Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

#[cfg(test)]
#[path = "http_tests.rs"]
mod tests;
