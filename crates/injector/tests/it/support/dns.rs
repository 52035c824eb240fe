//! Resolvers whose answers a test decides, one by one: in clear text, and over HTTPS.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use busel_node::Config;
use busel_node::config::Dns as Resolver;
use busel_proto::page::HostName;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tempfile::TempDir;
use tokio::net::{TcpListener, UdpSocket};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use super::LOOPBACK;

const A: u16 = 1;
const AAAA: u16 = 28;

/// The resolver.
pub(crate) struct Dns {
    pub(crate) addr: SocketAddr,
    queries: Arc<AtomicUsize>,
    names: Arc<Mutex<BTreeSet<String>>>,
    task: JoinHandle<()>,
}

impl Dns {
    /// One that never answers.
    pub(crate) async fn silent() -> Self {
        let socket = UdpSocket::bind(LOOPBACK).await.unwrap();
        let addr = socket.local_addr().unwrap();
        let (queries, names) = (Arc::<AtomicUsize>::default(), Names::default());
        let (count, seen) = (queries.clone(), names.clone());
        let task = tokio::spawn(async move {
            let mut packet = [0; 1500];
            loop {
                let (len, _) = socket.recv_from(&mut packet).await.unwrap();
                count.fetch_add(1, Ordering::SeqCst);
                seen.lock().unwrap().extend(question(&packet[..len]).map(|(name, _, _)| name));
            }
        });
        Self { addr, queries, names, task }
    }

    /// Answers each query for IPv4 addresses by `answer`, which gets the name; the IPv6 addresses
    /// among them answer the other kind of query. Nothing may be remembered: each has a lifetime of
    /// 0. A query may come twice: who waits long for an answer asks again.
    pub(crate) async fn start(answer: impl Fn(&str) -> Vec<IpAddr> + Send + 'static) -> Self {
        let socket = UdpSocket::bind(LOOPBACK).await.unwrap();
        let addr = socket.local_addr().unwrap();
        let (queries, names) = (Arc::<AtomicUsize>::default(), Names::default());
        let (count, seen) = (queries.clone(), names.clone());
        let task = tokio::spawn(async move {
            let mut packet = [0; 1500];
            loop {
                let (len, from) = socket.recv_from(&mut packet).await.unwrap();
                let Some((name, kind, end)) = question(&packet[..len]) else { continue };
                if kind == A {
                    count.fetch_add(1, Ordering::SeqCst);
                }
                let ips = answer(&name);
                seen.lock().unwrap().insert(name);
                let reply = reply(&packet[..end], kind, &ips);
                socket.send_to(&reply, from).await.unwrap();
            }
        });
        Self { addr, queries, names, task }
    }

    /// The names that were asked for.
    pub(crate) fn names(&self) -> Vec<String> {
        self.names.lock().unwrap().iter().cloned().collect()
    }

    /// Queries for IPv4 addresses.
    pub(crate) fn queries(&self) -> usize {
        self.queries.load(Ordering::SeqCst)
    }
}

impl Drop for Dns {
    fn drop(&mut self) {
        self.task.abort();
    }
}

type Names = Arc<Mutex<BTreeSet<String>>>;

/// A resolver over HTTPS (RFC 8484), with a certificate of its own authority.
pub(crate) struct SecureDns {
    pub(crate) addr: SocketAddr,
    authority: PathBuf,
    queries: Arc<AtomicUsize>,
    task: JoinHandle<()>,
    _dir: TempDir,
}

impl SecureDns {
    /// Answers each query by `answer`, which gets the name; no address means that there is no such
    /// name.
    pub(crate) async fn start(
        answer: impl Fn(&str) -> Vec<IpAddr> + Send + Sync + 'static,
    ) -> Self {
        let made = rcgen::generate_simple_self_signed(vec![Self::NAME.to_owned()]).unwrap();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut tls = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .unwrap();
        tls.alpn_protocols = vec![b"h2".to_vec()];
        let dir = tempfile::tempdir().unwrap();
        let authority = dir.path().join("ca.pem");
        std::fs::write(&authority, made.cert.pem()).unwrap();
        let listener = TcpListener::bind(LOOPBACK).await.unwrap();
        let addr = listener.local_addr().unwrap();
        let queries = Arc::<AtomicUsize>::default();
        let acceptor = TlsAcceptor::from(Arc::new(tls));
        let task = tokio::spawn(serve(listener, acceptor, Arc::new(answer), queries.clone()));
        Self { addr, authority, queries, task, _dir: dir }
    }

    const NAME: &str = "dns.example";

    /// As a node is told of it.
    pub(crate) fn resolver(&self) -> Resolver {
        Resolver::Https(self.addr, HostName::parse(Self::NAME).unwrap())
    }

    /// Makes a node believe its certificate.
    pub(crate) fn believed_by(&self, config: &mut Config) {
        config.extra_ca.push(self.authority.clone());
    }

    /// Queries of either kind.
    pub(crate) fn queries(&self) -> usize {
        self.queries.load(Ordering::SeqCst)
    }
}

impl Drop for SecureDns {
    fn drop(&mut self) {
        self.task.abort();
    }
}

type ByName = Arc<dyn Fn(&str) -> Vec<IpAddr> + Send + Sync>;

async fn serve(
    listener: TcpListener,
    acceptor: TlsAcceptor,
    answer: ByName,
    queries: Arc<AtomicUsize>,
) {
    let mut held = tokio::task::JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let (acceptor, answer, queries) = (acceptor.clone(), answer.clone(), queries.clone());
        held.spawn(async move {
            let Ok(stream) = acceptor.accept(stream).await else { return };
            let service = hyper::service::service_fn(move |request: http::Request<Incoming>| {
                let (answer, queries) = (answer.clone(), queries.clone());
                async move {
                    let packet = request.into_body().collect().await.unwrap().to_bytes();
                    queries.fetch_add(1, Ordering::SeqCst);
                    let (name, kind, end) = question(&packet).unwrap();
                    let reply = reply(&packet[..end], kind, &answer(&name));
                    let response = http::Response::builder()
                        .header("content-type", "application/dns-message")
                        .body(Full::new(Bytes::from(reply)));
                    Ok::<_, Infallible>(response.unwrap())
                }
            });
            let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            let _ = builder.serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

/// The name and type asked for, and where the question ends (RFC 1035 §4.1.2).
fn question(packet: &[u8]) -> Option<(String, u16, usize)> {
    let (mut at, mut name) = (12, Vec::new());
    loop {
        let len = usize::from(*packet.get(at)?);
        at += 1;
        if len == 0 {
            break;
        }
        name.push(String::from_utf8(packet.get(at..at + len)?.to_ascii_lowercase()).ok()?);
        at += len;
    }
    let kind = u16::from_be_bytes(packet.get(at..at + 2)?.try_into().ok()?);
    Some((name.join("."), kind, at + 4))
}

fn reply(question: &[u8], kind: u16, ips: &[IpAddr]) -> Vec<u8> {
    let records: Vec<Vec<u8>> = ips
        .iter()
        .filter_map(|ip| match (ip, kind) {
            (IpAddr::V4(ip), A) => Some(ip.octets().to_vec()),
            (IpAddr::V6(ip), AAAA) => Some(ip.octets().to_vec()),
            _ => None,
        })
        .collect();
    let mut reply = question.to_vec();
    // A response, recursion desired and available, one question, so many answers; without any
    // address, of whatever kind, there is no such name.
    reply[2..4].copy_from_slice(&[0x81, if ips.is_empty() { 0x83 } else { 0x80 }]);
    reply[4..6].copy_from_slice(&1u16.to_be_bytes());
    reply[6..8].copy_from_slice(&u16::try_from(records.len()).unwrap().to_be_bytes());
    reply[8..12].fill(0);
    for record in records {
        reply.extend([0xc0, 12]);
        reply.extend(kind.to_be_bytes());
        reply.extend([0, 1, 0, 0, 0, 0]);
        reply.extend(u16::try_from(record.len()).unwrap().to_be_bytes());
        reply.extend(record);
    }
    reply
}
