//! Name servers: a resolver answers from the world's names, by UDP and TCP, and sends questions below
//! a delegated name on to another server, which is what DNS tunnels live on. It runs in the test's
//! own process, on sockets of its host.
//!
//! It walks no tree from the root, keeps no cache, and knows no DNSSEC.

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use hickory_proto::op::{Message, MessageType, OpCode, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA};
use hickory_proto::rr::{RData, Record, RecordType};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::world::{Host, World};

/// Short, so that a test never waits for an old answer to be forgotten.
const TTL: u32 = 1;
/// How long another server or an idle connection is waited for.
const PATIENCE: Duration = Duration::from_secs(5);
/// How many questions are remembered.
const MAX_ASKED: usize = 10_000;

/// The names that a resolver knows.
#[derive(Clone, Debug, Default)]
pub struct Zone {
    names: HashMap<String, Vec<IpAddr>>,
    delegated: Vec<(String, SocketAddr)>,
}

impl Zone {
    /// The names of a world's sites.
    pub fn of(world: &World) -> Self {
        Self { names: world.names().iter().cloned().collect(), delegated: Vec::new() }
    }

    /// The same with one more name, or with other addresses for it.
    #[must_use]
    pub fn with(mut self, name: &str, addrs: &[IpAddr]) -> Self {
        self.names.insert(name.to_ascii_lowercase(), addrs.to_vec());
        self
    }

    /// The same, but questions for this name and all below are sent on to another server.
    #[must_use]
    pub fn delegate(mut self, name: &str, server: SocketAddr) -> Self {
        self.delegated.push((name.to_ascii_lowercase(), server));
        self
    }

    /// The answer from what is known here.
    pub(super) fn answer(&self, asked: &Message) -> Message {
        let mut answer = Message::response(asked.metadata.id, asked.metadata.op_code);
        answer.metadata.recursion_desired = asked.metadata.recursion_desired;
        answer.metadata.recursion_available = true;
        let (OpCode::Query, [query]) = (asked.metadata.op_code, asked.queries.as_slice()) else {
            answer.metadata.response_code = ResponseCode::NotImp;
            return answer;
        };
        answer.add_query(query.clone());
        let Some(addrs) = self.names.get(&plain(&query.name().to_ascii())) else {
            answer.metadata.response_code = ResponseCode::NXDomain;
            return answer;
        };
        for addr in addrs {
            let data = match (query.query_type(), addr) {
                (RecordType::A, IpAddr::V4(addr)) => RData::A(A(*addr)),
                (RecordType::AAAA, IpAddr::V6(addr)) => RData::AAAA(AAAA(*addr)),
                _ => continue,
            };
            answer.add_answer(Record::from_rdata(query.name().clone(), TTL, data));
        }
        answer
    }

    fn elsewhere(&self, name: &str) -> Option<SocketAddr> {
        let below = |top: &str| name == top || name.ends_with(&format!(".{top}"));
        self.delegated.iter().find(|(top, _)| below(top)).map(|(_, server)| *server)
    }
}

/// A running resolver; it ends when this is dropped.
pub struct Dns {
    shared: Arc<Shared>,
    tasks: Vec<JoinHandle<()>>,
}

struct Shared {
    zone: Mutex<Zone>,
    asked: Mutex<VecDeque<(SocketAddr, String)>>,
    host: Host,
}

impl Dns {
    /// Starts it on port 53 of a host.
    pub fn start(world: &World, host: &Host, zone: Zone) -> anyhow::Result<Self> {
        let (udp, tcp) = (host.bind(53)?, host.listen(53)?);
        let shared = Arc::new(Shared {
            zone: Mutex::new(zone),
            asked: Mutex::default(),
            host: host.clone(),
        });
        let _inside = world.tasks().enter();
        let (udp, tcp) = (UdpSocket::from_std(udp)?, TcpListener::from_std(tcp)?);
        let tasks = vec![
            tokio::spawn(serve_udp(Arc::clone(&shared), Arc::new(udp))),
            tokio::spawn(serve_tcp(Arc::clone(&shared), tcp)),
        ];
        Ok(Self { shared, tasks })
    }

    /// Knows other names from now on.
    pub fn set(&self, zone: Zone) {
        *self.shared.zone.lock().unwrap_or_else(PoisonError::into_inner) = zone;
    }

    /// Who asked for which name so far.
    pub fn asked(&self) -> Vec<(SocketAddr, String)> {
        let asked = self.shared.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.iter().cloned().collect()
    }
}

impl Drop for Dns {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

async fn serve_udp(shared: Arc<Shared>, socket: Arc<UdpSocket>) {
    let mut buffer = vec![0; 4096];
    loop {
        // An error is about one datagram, such as an earlier answer's that nobody took.
        let Ok((len, from)) = socket.recv_from(&mut buffer).await else {
            tokio::task::yield_now().await;
            continue;
        };
        let (shared, socket) = (Arc::clone(&shared), Arc::clone(&socket));
        let asked = buffer[..len].to_vec();
        tokio::spawn(async move {
            if let Some(answer) = shared.answer(&asked, from).await {
                socket.send_to(&answer, from).await.ok();
            }
        });
    }
}

async fn serve_tcp(shared: Arc<Shared>, listener: TcpListener) {
    loop {
        let Ok((stream, from)) = listener.accept().await else {
            tokio::task::yield_now().await;
            continue;
        };
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            // It ends when the client has no more questions, or asks none.
            converse(&shared, stream, from).await.ok();
        });
    }
}

async fn converse(shared: &Shared, mut stream: TcpStream, from: SocketAddr) -> anyhow::Result<()> {
    loop {
        let len = timeout(PATIENCE, stream.read_u16()).await??;
        let mut asked = vec![0; len.into()];
        timeout(PATIENCE, stream.read_exact(&mut asked)).await??;
        let answer = shared.answer(&asked, from).await.context("not a question")?;
        let mut framed = u16::try_from(answer.len())?.to_be_bytes().to_vec();
        framed.extend(answer);
        stream.write_all(&framed).await?;
    }
}

impl Shared {
    async fn answer(&self, bytes: &[u8], from: SocketAddr) -> Option<Vec<u8>> {
        let asked = Message::from_vec(bytes).ok()?;
        if asked.metadata.message_type != MessageType::Query {
            return None;
        }
        let name = plain(&asked.queries.first()?.name().to_ascii());
        let (elsewhere, answer) = {
            let zone = self.zone.lock().unwrap_or_else(PoisonError::into_inner);
            (zone.elsewhere(&name), zone.answer(&asked))
        };
        {
            let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
            if asked.len() == MAX_ASKED {
                asked.pop_front();
            }
            asked.push_back((from, name));
        }
        match elsewhere {
            Some(server) => self.ask(server, bytes).await.ok(),
            None => answer.to_vec().ok(),
        }
    }

    /// Sends a question on as it is.
    async fn ask(&self, server: SocketAddr, asked: &[u8]) -> anyhow::Result<Vec<u8>> {
        let socket = UdpSocket::from_std(self.host.bind(0)?)?;
        let server = match server {
            SocketAddr::V4(at) => SocketAddr::new(at.ip().to_ipv6_mapped().into(), at.port()),
            SocketAddr::V6(_) => server,
        };
        socket.connect(server).await?;
        socket.send(asked).await?;
        let mut answer = vec![0; 4096];
        let len = timeout(PATIENCE, socket.recv(&mut answer)).await??;
        answer.truncate(len);
        Ok(answer)
    }
}

fn plain(name: &str) -> String {
    name.trim_end_matches('.').to_ascii_lowercase()
}
