//! A magazine, as a listed site may have one beside its pages: pictures, a font, a script of 3 MB, a
//! film of 200 MB, a login and a chat. Its page tries all of it by itself, in whatever browser shows
//! it, and tells its server how that went.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use http::{HeaderMap, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::broadcast;
use tokio::task::JoinHandle;
use tokio_websockets::{Message, ServerBuilder};

use super::nginx::{APP, CHAT};
use super::{LISTED, Stage};
use crate::world::Host;

/// Where its page is.
pub const MAGAZINE: &str = "/magazine/index.html";
/// Bytes of its film, at least.
pub const FILM: u64 = 200 << 20;
/// Characters that its script brings.
pub const SCRIPT: usize = 3 << 20;

const PAGE: &str = include_str!("magazine/index.html");
const STYLE: &str = include_str!("magazine/style.css");
const TRIES: &str = include_str!("magazine/tries.js");
const FONT: &str = "/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf";
/// What its readers log in with.
const WORD: &str = "storks come home";
/// The longest form or report.
const MAX_BODY: usize = 64 * 1024;
/// A film is made within this.
const PATIENCE: Duration = Duration::from_secs(60);

/// The magazine at work, on the server of the listed site; its login and chat end when this is dropped.
pub struct Magazine {
    tasks: [JoinHandle<()>; 2],
    reports: Receiver<Value>,
}

impl Magazine {
    /// Opens it.
    pub fn open(stage: &Stage) -> anyhow::Result<Self> {
        let host = stage.host("origin");
        let server = stage.scene.origin("origin").context("no origin")?;
        let dir = server.root(LISTED).join("magazine");
        std::fs::create_dir_all(&dir)?;
        for (name, text) in [("index.html", PAGE), ("style.css", STYLE), ("tries.js", TRIES)] {
            std::fs::write(dir.join(name), text)?;
        }
        let long = format!("globalThis.long = '{}';\n", "busel ".repeat(SCRIPT / 6));
        std::fs::write(dir.join("long.js"), long)?;
        std::fs::copy(FONT, dir.join("font.ttf")).context(FONT)?;
        film(host, &dir)?;
        let (pages, chat) = (host.listen(APP)?, host.listen(CHAT)?);
        let _inside = stage.scene.world.tasks().enter();
        let (pages, chat) = (TcpListener::from_std(pages)?, TcpListener::from_std(chat)?);
        let (reporter, reports) = channel();
        let said = broadcast::Sender::new(16);
        let app = Arc::new(App { reporter, known: Mutex::default(), said });
        let tasks = [
            tokio::spawn(serve(pages, Arc::clone(&app), App::pages)),
            tokio::spawn(serve(chat, app, App::chat)),
        ];
        Ok(Self { tasks, reports })
    }

    /// Forgets what has been told so far.
    pub fn forget(&self) {
        while self.reports.try_recv().is_ok() {}
    }

    /// How it went for the next browser that is through.
    pub fn report(&self, within: Duration) -> anyhow::Result<Value> {
        self.reports.recv_timeout(within).context("the magazine's page has told nothing")
    }
}

impl Drop for Magazine {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

/// A picture, and a film long enough that nobody has all of it at once: one clip, over and over.
fn film(host: &Host, dir: &Path) -> anyhow::Result<()> {
    let run = |args: &[&str]| -> anyhow::Result<()> {
        let ffmpeg = host.command("ffmpeg").args(["-v", "error", "-y"]).args(args).within(PATIENCE);
        let ran = ffmpeg.run()?;
        ensure!(ran.status.success(), "ffmpeg: {}", ran.stderr);
        Ok(())
    };
    let path = |name: &str| dir.join(name).display().to_string();
    let (picture, clip, film) = (path("picture.png"), path("clip.webm"), path("film.webm"));
    let screen = "testsrc2=size=640x360:rate=25:duration=8";
    run(&["-f", "lavfi", "-i", screen, "-frames:v", "1", &picture])?;
    let quick =
        ["-c:v", "libvpx", "-b:v", "8M", "-minrate", "8M", "-g", "25", "-deadline", "realtime"];
    run(&[&["-f", "lavfi", "-i", screen][..], &quick, &["-cpu-used", "16", &clip]].concat())?;
    let again = FILM / std::fs::metadata(&clip)?.len();
    run(&["-stream_loop", &again.to_string(), "-i", &clip, "-c", "copy", &film])?;
    let len = std::fs::metadata(&film)?.len();
    ensure!(len >= FILM, "the film has {len} bytes only");
    Ok(())
}

/// What the pages below `/app/` know.
struct App {
    reporter: Sender<Value>,
    /// The sessions of who has logged in.
    known: Mutex<BTreeSet<String>>,
    said: broadcast::Sender<String>,
}

async fn serve<F>(listener: TcpListener, app: Arc<App>, talk: impl Fn(Arc<App>, TcpStream) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    loop {
        match listener.accept().await {
            Ok((stream, _)) => drop(tokio::spawn(talk(Arc::clone(&app), stream))),
            Err(_) => tokio::task::yield_now().await,
        }
    }
}

impl App {
    async fn pages(self: Arc<Self>, stream: TcpStream) {
        let service = service_fn(move |request| {
            let app = Arc::clone(&self);
            async move { Ok::<_, Infallible>(app.answer(request).await) }
        });
        // A connection that is cut is the client's affair.
        http1::Builder::new().serve_connection(TokioIo::new(stream), service).await.ok();
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        match (request.method(), request.uri().path()) {
            (&Method::POST, "/app/login") => self.login(request).await,
            (&Method::GET, "/app/home") if self.knows(request.headers()) => {
                say(StatusCode::OK, "Welcome back")
            }
            (&Method::POST, "/app/report") => self.report(request).await,
            (&Method::GET, "/app/home") => say(StatusCode::FORBIDDEN, "log in first"),
            _ => say(StatusCode::NOT_FOUND, "no such page"),
        }
    }

    /// A form, as browsers send it, then a page of one's own.
    async fn login(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let form = body(request).await;
        let word = WORD.replace(' ', "+");
        if form.as_ref() != format!("name=Ala&word={word}").as_bytes() {
            return say(StatusCode::FORBIDDEN, "wrong word");
        }
        let session = format!("{:032x}", rand::random::<u128>());
        let cookie = format!("session={session}; Path=/app; HttpOnly; SameSite=Lax");
        self.known.lock().unwrap_or_else(PoisonError::into_inner).insert(session);
        let mut response = say(StatusCode::SEE_OTHER, "");
        let fields = response.headers_mut();
        fields.insert(header::LOCATION, header::HeaderValue::from_static("/app/home"));
        fields.insert(header::SET_COOKIE, cookie.parse().expect("hex digits"));
        response
    }

    fn knows(&self, headers: &HeaderMap) -> bool {
        let cookies = headers.get_all(header::COOKIE).iter().filter_map(|line| line.to_str().ok());
        let mut sessions = cookies
            .flat_map(|line| line.split(';'))
            .filter_map(|pair| pair.trim().strip_prefix("session="));
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        sessions.any(|session| known.contains(session))
    }

    /// Everybody hears what anybody says, if they have logged in.
    async fn chat(self: Arc<Self>, stream: TcpStream) {
        let Ok((request, mut socket)) = ServerBuilder::new().accept(stream).await else { return };
        if !self.knows(request.headers()) {
            return;
        }
        let mut hears = self.said.subscribe();
        loop {
            tokio::select! {
                said = socket.next() => {
                    let Some(Ok(message)) = said else { return };
                    if let Some(text) = message.as_text() {
                        // Who speaks hears it too, so somebody does.
                        self.said.send(text.to_owned()).ok();
                    }
                }
                Ok(text) = hears.recv() => {
                    if socket.send(Message::text(text)).await.is_err() {
                        return;
                    }
                }
            }
        }
    }

    async fn report(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let told = serde_json::from_slice(&body(request).await).unwrap_or(Value::Null);
        // Nobody waits only if the test has failed meanwhile.
        self.reporter.send(told).ok();
        say(StatusCode::NO_CONTENT, "")
    }
}

async fn body(request: Request<Incoming>) -> Bytes {
    let body = Limited::new(request.into_body(), MAX_BODY).collect().await;
    body.map(http_body_util::Collected::to_bytes).unwrap_or_default()
}

/// Nothing that it says is for others.
fn say(status: StatusCode, text: &'static str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from_static(text.as_bytes())));
    *response.status_mut() = status;
    let private = header::HeaderValue::from_static("private, no-store");
    response.headers_mut().insert(header::CACHE_CONTROL, private);
    response
}
