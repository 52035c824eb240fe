//! The clients: wrk for one URL again and again, and a plain HTTP client for URLs that are each
//! asked for once, which wrk can't do a fixed number of times.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// One answer is waited for this long.
const PATIENCE: Duration = Duration::from_secs(120);
/// The client reads so much at once.
const BUFFER: usize = 256 * 1024;

/// What a client saw.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load {
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) requests: u64,
    pub(crate) bytes: u64,
    pub(crate) secs: f64,
}

impl Load {
    /// Of single times.
    pub(crate) fn of(mut ms: Vec<f64>, bytes: u64, secs: f64) -> Result<Self> {
        ensure!(!ms.is_empty(), "nothing was asked for");
        ms.sort_by(f64::total_cmp);
        let at = |percent: usize| ms[(ms.len() - 1) * percent / 100];
        let requests = ms.len() as u64;
        Ok(Self { p50_ms: at(50), p99_ms: at(99), requests, bytes, secs })
    }
}

/// Whom to ask, and how.
#[derive(Debug, Clone)]
pub(crate) struct Server {
    /// Where it listens.
    pub(crate) addr: SocketAddr,
    /// `http://host` of what is asked for, or `https://host`.
    pub(crate) site: String,
    /// What the client believes, if it is asked by HTTPS: a certificate in PEM.
    pub(crate) root: Option<String>,
    /// Whether it is a proxy.
    pub(crate) proxy: bool,
    /// Whether it ends a connection after each answer without saying so, which wrk counts as a
    /// failure to read though the answer was whole.
    pub(crate) closes: bool,
    /// What each answer must say in `Busel-Route`.
    pub(crate) route: Option<&'static str>,
}

impl Server {
    /// What the request line says.
    fn target(&self, path: &str) -> String {
        let whole = self.proxy && self.root.is_none();
        if whole { format!("{}{path}", self.site) } else { path.to_owned() }
    }

    fn host(&self) -> &str {
        self.site.split_once("://").map_or("", |(_, host)| host)
    }

    /// Asks for `path` for `secs` by wrk.
    pub(crate) fn wrk(
        &self,
        dir: &Path,
        path: &str,
        conns: usize,
        secs: u64,
        len: u64,
    ) -> Result<Load> {
        let script = dir.join("wrk.lua");
        let lua = format!(
            "wrk.path = \"{}\"\nwrk.headers[\"Host\"] = \"{}\"\n{DONE}",
            self.target(path),
            self.host()
        );
        std::fs::write(&script, lua)?;
        let run = Command::new("wrk")
            .args(["-t1", &format!("-c{conns}"), &format!("-d{secs}s"), "--timeout", "10s", "-s"])
            .arg(&script)
            .arg(format!("http://{}/", self.addr))
            .output()
            .context("wrk is missing: apt-get install wrk")?;
        let text = String::from_utf8_lossy(&run.stdout);
        let line = text.lines().find_map(|line| line.strip_prefix("BUSEL "));
        let line = line.with_context(|| format!("wrk failed: {text}"))?;
        let numbers: Vec<f64> = line.split(' ').filter_map(|n| n.parse().ok()).collect();
        let &[requests, us, p50, p99, errors, cut] = numbers.as_slice() else {
            bail!("wrk: {line}")
        };
        let errors = if self.closes { errors } else { errors + cut };
        ensure!(requests > 0.0, "wrk got no answer");
        ensure!(errors == 0.0, "{errors} of {requests} requests failed");
        let requests = requests as u64;
        let (p50_ms, p99_ms) = (p50 / 1e3, p99 / 1e3);
        Ok(Load { p50_ms, p99_ms, requests, bytes: requests * len, secs: us / 1e6 })
    }

    /// Asks for each of `paths` once over `conns` connections kept open.
    pub(crate) async fn each(&self, paths: Vec<String>, conns: usize, len: u64) -> Result<Load> {
        let (paths, next) = (Arc::new(paths), Arc::new(AtomicUsize::new(0)));
        let begin = Instant::now();
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..conns {
            let (server, paths, next) = (self.clone(), paths.clone(), next.clone());
            tasks.spawn(async move {
                let (mut ms, mut client) = (Vec::new(), None);
                while let Some(path) = paths.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let asked = Instant::now();
                    let get = server.get(&mut client, path, len);
                    tokio::time::timeout(PATIENCE, get).await.context("no answer")??;
                    ms.push(asked.elapsed().as_secs_f64() * 1e3);
                }
                Ok::<_, anyhow::Error>(ms)
            });
        }
        let mut all = Vec::with_capacity(paths.len());
        while let Some(done) = tasks.join_next().await {
            all.extend(done??);
        }
        let bytes = all.len() as u64 * len;
        Load::of(all, bytes, begin.elapsed().as_secs_f64())
    }

    async fn get(&self, client: &mut Option<Client>, path: &str, len: u64) -> Result<()> {
        let mut open = match client.take() {
            Some(open) => open,
            None => Client::connect(self).await?,
        };
        let request =
            format!("GET {} HTTP/1.1\r\nHost: {}\r\n\r\n", self.target(path), self.host());
        let head = open.ask(&request, len).await.with_context(|| path.to_owned())?;
        if let Some(route) = self.route {
            let said = field(&head, "busel-route").unwrap_or_default();
            ensure!(said == route, "{path} came by route “{said}”, not “{route}”");
        }
        let closes = field(&head, "connection").is_some_and(|v| v.eq_ignore_ascii_case("close"));
        if !closes && head.starts_with("HTTP/1.1") {
            *client = Some(open);
        }
        Ok(())
    }
}

/// Prints what is needed as numbers.
const DONE: &str = r#"
function done(summary, latency, requests)
  local e = summary.errors
  io.write(string.format("BUSEL %d %d %f %f %d %d\n", summary.requests, summary.duration,
    latency:percentile(50), latency:percentile(99),
    e.connect + e.write + e.status + e.timeout, e.read))
end
"#;

/// One connection.
struct Client {
    stream: Box<dyn Stream>,
    buffer: Vec<u8>,
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

impl Client {
    async fn connect(server: &Server) -> Result<Self> {
        let mut stream = TcpStream::connect(server.addr).await?;
        stream.set_nodelay(true)?;
        let Some(root) = &server.root else {
            return Ok(Self { stream: Box::new(stream), buffer: vec![0; BUFFER] });
        };
        if server.proxy {
            tunnel(&mut stream, server.host()).await?;
        }
        let name = ServerName::try_from(server.host().to_owned())?;
        let stream = believing(root)?.connect(name, stream).await?;
        Ok(Self { stream: Box::new(stream), buffer: vec![0; BUFFER] })
    }

    /// Sends a request, reads the whole answer, returns its head.
    async fn ask(&mut self, request: &str, len: u64) -> Result<String> {
        self.stream.write_all(request.as_bytes()).await?;
        let mut have = 0;
        let end = loop {
            let got = self.stream.read(&mut self.buffer[have..]).await?;
            ensure!(got > 0, "the connection was closed before an answer");
            have += got;
            let found = self.buffer[..have].windows(4).position(|w| w == b"\r\n\r\n");
            if let Some(at) = found {
                break at + 4;
            }
            ensure!(have < BUFFER, "the answer's head is too long");
        };
        let head = String::from_utf8_lossy(&self.buffer[..end]).into_owned();
        let status = head.split(' ').nth(1).unwrap_or_default();
        ensure!(status == "200", "the answer was {}", head.lines().next().unwrap_or_default());
        let said = field(&head, "content-length").and_then(|v| v.parse::<u64>().ok());
        ensure!(said == Some(len), "the answer's length is {said:?}, not {len}");
        let mut left = len.checked_sub((have - end) as u64).context("more bytes than said")?;
        while left > 0 {
            let got = self.stream.read(&mut self.buffer).await?;
            ensure!(got > 0, "the answer was cut off");
            left = left.checked_sub(got as u64).context("more bytes than said")?;
        }
        Ok(head)
    }
}

/// Asks a proxy for the way to a host's port 443.
async fn tunnel(stream: &mut TcpStream, host: &str) -> Result<()> {
    let request = format!("CONNECT {host}:443 HTTP/1.1\r\nHost: {host}:443\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        ensure!(answer.len() < BUFFER, "the proxy's answer is too long");
        answer.push(stream.read_u8().await?);
    }
    let answer = String::from_utf8_lossy(&answer);
    ensure!(answer.starts_with("HTTP/1.1 200"), "the proxy said {answer}");
    Ok(())
}

fn believing(root: &str) -> Result<TlsConnector> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(root.as_bytes())?)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config).into())
}

fn field<'h>(head: &'h str, name: &str) -> Option<&'h str> {
    head.lines().skip(1).find_map(|line| {
        let (key, value) = line.split_once(':')?;
        key.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}
