//! The provider's resolver, on UDP and TCP: addresses of the demo's names, the block page's
//! address for poisoned ones, and NXDOMAIN for all others. IPv4 only; it asks nobody else, and
//! knows neither DNSSEC nor DoH.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use hickory_proto::op::{Edns, Message, MessageType, OpCode, ResponseCode};
use hickory_proto::rr::rdata::A;
use hickory_proto::rr::{DNSClass, RData, Record, RecordType};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::time::timeout;

use super::{Isp, Owner};

/// The longest question.
const MAX_QUESTION: usize = 4096;
/// Connections at once.
const MAX_CONNECTIONS: usize = 128;
/// How long a connection may be idle.
const IDLE: Duration = Duration::from_secs(10);
/// Short, so that a new policy is felt at once.
const TTL: u32 = 1;
/// What we tell clients that we take over UDP.
const UDP_SIZE: u16 = 1232;

/// Serves on one loopback port for both transports.
pub(super) async fn start(isp: &Arc<Isp>, owner: &Owner) -> anyhow::Result<SocketAddr> {
    let (udp, tcp, at) = bind().await.context("the provider's DNS can't listen")?;
    owner.spawn(answer_udp(Arc::clone(isp), udp));
    let isp = Arc::clone(isp);
    owner.serve(tcp, MAX_CONNECTIONS, move |stream| {
        let isp = Arc::clone(&isp);
        async move {
            if let Err(error) = answer_tcp(&isp, stream).await {
                tracing::debug!(%error, "a DNS connection ended");
            }
        }
    });
    Ok(at)
}

/// A port that is free on both transports, found by trying.
async fn bind() -> std::io::Result<(UdpSocket, TcpListener, SocketAddr)> {
    let mut tries = 0;
    loop {
        let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let at = udp.local_addr()?;
        match TcpListener::bind(at).await {
            Ok(tcp) => return Ok((udp, tcp, at)),
            Err(error) if tries >= 20 => return Err(error),
            Err(_) => tries += 1,
        }
    }
}

async fn answer_udp(isp: Arc<Isp>, socket: UdpSocket) {
    let mut question = vec![0; MAX_QUESTION];
    loop {
        // An error is about one datagram, such as an earlier answer's that nobody took.
        let Ok((len, from)) = socket.recv_from(&mut question).await else {
            tokio::task::yield_now().await;
            continue;
        };
        if let Some(answer) = answer(&isp, &question[..len]) {
            socket.send_to(&answer, from).await.ok();
        }
    }
}

async fn answer_tcp(isp: &Isp, mut stream: TcpStream) -> anyhow::Result<()> {
    loop {
        let len = usize::from(timeout(IDLE, stream.read_u16()).await??);
        anyhow::ensure!(len <= MAX_QUESTION, "a question of {len} bytes");
        let mut question = vec![0; len];
        timeout(IDLE, stream.read_exact(&mut question)).await??;
        let answer = answer(isp, &question).context("not a question")?;
        let mut framed = u16::try_from(answer.len())?.to_be_bytes().to_vec();
        framed.extend(answer);
        timeout(IDLE, stream.write_all(&framed)).await??;
    }
}

/// The answer to a question; nothing if the bytes are no question at all.
fn answer(isp: &Isp, question: &[u8]) -> Option<Vec<u8>> {
    let Ok(question) = Message::from_vec(question) else {
        let id = u16::from_be_bytes(question.get(..2)?.try_into().ok()?);
        return Message::error_msg(id, OpCode::Query, ResponseCode::FormErr).to_vec().ok();
    };
    if question.metadata.message_type != MessageType::Query {
        return None;
    }
    let mut answer = Message::response(question.metadata.id, question.metadata.op_code);
    answer.metadata.recursion_desired = question.metadata.recursion_desired;
    answer.metadata.recursion_available = true;
    answer.metadata.response_code = fill(isp, &question, &mut answer);
    if question.edns.is_some() {
        let mut edns = Edns::new();
        edns.set_max_payload(UDP_SIZE);
        answer.set_edns(edns);
    }
    answer.to_vec().ok()
}

fn fill(isp: &Isp, question: &Message, answer: &mut Message) -> ResponseCode {
    if question.metadata.op_code != OpCode::Query {
        return ResponseCode::NotImp;
    }
    let [query] = question.queries.as_slice() else {
        return ResponseCode::FormErr;
    };
    answer.add_query(query.clone());
    if query.query_class() != DNSClass::IN {
        return ResponseCode::NotImp;
    }
    let Some(ip) = isp.resolve(&query.name().to_ascii()) else {
        return ResponseCode::NXDomain;
    };
    if matches!(query.query_type(), RecordType::A | RecordType::ANY) {
        let data = RData::A(A(ip));
        answer.add_answer(Record::from_rdata(query.name().clone(), TTL, data));
    }
    ResponseCode::NoError
}
