//! The veil over TCP, on loopback: where UDP is cut, nodes talk all the same, and go back when it is not;
//! and who has no secret gets no answer to anything.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use busel_net::wire::veil::{Listen, Veil};
use busel_net::wire::{Contact, Wire};
use busel_net::{Connection, Endpoint, frame};
use busel_proto::invite::VeilTicket;
use busel_proto::message;
use busel_proto::veil::VeilSecret;
use busel_proto::veil::hello::{HEAD_TEXT, HelloKey};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::JoinHandle;

const SECRET: VeilSecret = VeilSecret([9; 32]);

async fn node(seed: u8, listen: Option<Listen>) -> (Endpoint, Arc<Veil>) {
    let wire = Arc::new(Veil::new(listen));
    let wires: Vec<Arc<dyn Wire>> = vec![wire.clone()];
    (Endpoint::bind([seed; 32], wires, vec![]).await.unwrap(), wire)
}

/// A node that listens and echoes all frames, and where.
async fn listener(addr: &str) -> (Endpoint, SocketAddr) {
    let listen = Listen { addr: addr.parse().unwrap(), secret: SECRET };
    let (node, wire) = node(2, Some(listen)).await;
    let server = node.clone();
    tokio::spawn(async move {
        while let Some(connection) = server.accept().await {
            tokio::spawn(echo(connection));
        }
    });
    (node, wire.listens().unwrap())
}

async fn echo(connection: Connection) {
    while let Some(mut stream) = connection.accept().await {
        tokio::spawn(async move {
            while let Ok(body) = frame::read(&mut stream.recv, 8 << 20).await {
                stream.send.write_all(&message::frame(&body)).await.unwrap();
            }
        });
    }
}

/// A line to a node, by UDP, which may be cut, and by TCP, which notes what is said there.
struct Line {
    addr: SocketAddr,
    no_udp: Arc<AtomicBool>,
    said: Arc<Mutex<Vec<Vec<u8>>>>,
    tasks: Vec<JoinHandle<()>>,
}

impl Line {
    async fn to(far: SocketAddr) -> Self {
        let (tcp, udp) = loop {
            let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
            match UdpSocket::bind(tcp.local_addr().unwrap()).await {
                Ok(udp) => break (tcp, udp),
                Err(_) => continue,
            }
        };
        let addr = udp.local_addr().unwrap();
        let (no_udp, said) = (Arc::new(AtomicBool::new(true)), Arc::<Mutex<Vec<_>>>::default());
        let datagrams = tokio::spawn(carry_datagrams(udp, far, no_udp.clone()));
        let streams = tokio::spawn(carry_streams(tcp, far, said.clone()));
        Self { addr, no_udp, said, tasks: vec![datagrams, streams] }
    }

    fn cut_udp(&self, cut: bool) {
        self.no_udp.store(cut, Ordering::SeqCst);
    }

    /// What was said by each stream.
    fn said(&self) -> Vec<Vec<u8>> {
        self.said.lock().unwrap().clone()
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

async fn carry_datagrams(inner: UdpSocket, far: SocketAddr, cut: Arc<AtomicBool>) {
    let outer = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let (mut near, mut one, mut two) = (None, vec![0; 65536], vec![0; 65536]);
    loop {
        tokio::select! {
            Ok((len, from)) = inner.recv_from(&mut one) => {
                near = Some(from);
                if !cut.load(Ordering::SeqCst) {
                    outer.send_to(&one[..len], far).await.unwrap();
                }
            }
            Ok((len, _)) = outer.recv_from(&mut two) => {
                if let Some(near) = near && !cut.load(Ordering::SeqCst) {
                    inner.send_to(&two[..len], near).await.unwrap();
                }
            }
        }
    }
}

async fn carry_streams(listener: TcpListener, far: SocketAddr, said: Arc<Mutex<Vec<Vec<u8>>>>) {
    while let Ok((near, _)) = listener.accept().await {
        let far = TcpStream::connect(far).await.unwrap();
        let number = {
            let mut said = said.lock().unwrap();
            said.push(Vec::new());
            said.len() - 1
        };
        let said = said.clone();
        tokio::spawn(async move {
            let ((mut near_in, mut near_out), (mut far_in, mut far_out)) =
                (near.into_split(), far.into_split());
            let back = tokio::spawn(async move {
                tokio::io::copy(&mut far_in, &mut near_out).await.ok();
            });
            let mut buffer = vec![0; 65536];
            while let Ok(len) = near_in.read(&mut buffer).await {
                said.lock().unwrap()[number].extend_from_slice(&buffer[..len]);
                if len == 0 || far_out.write_all(&buffer[..len]).await.is_err() {
                    break;
                }
            }
            back.abort();
        });
    }
}

fn contact(node: &Endpoint, addr: SocketAddr) -> Contact {
    let veil = Some(VeilTicket { addrs: vec![addr.to_string()], secret: SECRET });
    Contact { peer: node.id(), relay: None, addrs: vec![], veil }
}

async fn ask(from: &Endpoint, to: &Endpoint, body: &[u8]) -> Vec<u8> {
    let mut stream = from.open(&to.id()).await.unwrap();
    stream.send.write_all(&message::frame(body)).await.unwrap();
    frame::read(&mut stream.recv, 8 << 20).await.unwrap().to_vec()
}

/// Asks until an answer came by this wire.
async fn carried_by(from: &Endpoint, to: &Endpoint, wire: &str) {
    loop {
        assert_eq!(ask(from, to, b"by what?").await, b"by what?");
        if Vec::from_iter(from.wires_in_use().into_keys()) == [wire] {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_no_udp_comes_through_nodes_talk_by_tcp_and_go_back_to_udp() {
    let (b, at) = listener("127.0.0.1:0").await;
    let line = Line::to(at).await;
    let (a, _) = node(1, None).await;
    a.learn(contact(&b, line.addr)).await;
    assert_eq!(ask(&a, &b, b"hello").await, b"hello");
    assert_eq!(Vec::from_iter(a.wires_in_use().into_keys()), ["veil-tcp"]);
    let big = vec![5; 3_000_000];
    assert_eq!(ask(&a, &b, &big).await, big);
    line.cut_udp(false);
    carried_by(&a, &b, "veil").await;
    let before: usize = line.said().iter().map(Vec::len).sum();
    assert_eq!(ask(&a, &b, &big).await, big);
    let after: usize = line.said().iter().map(Vec::len).sum();
    assert!(after - before < 100_000, "it goes by UDP: {before}, {after}");
    line.cut_udp(true);
    assert_eq!(ask(&a, &b, &big).await, big, "cut, and none was lost");
    assert_eq!(a.connected(), [b.id()]);
    carried_by(&a, &b, "veil-tcp").await;
    a.close().await;
    b.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_udp_comes_through_no_stream_is_dialled() {
    let (b, at) = listener("127.0.0.1:0").await;
    let line = Line::to(at).await;
    line.cut_udp(false);
    let (a, _) = node(1, None).await;
    a.learn(contact(&b, line.addr)).await;
    let big = vec![5; 3_000_000];
    assert_eq!(ask(&a, &b, &big).await, big);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(ask(&a, &b, b"later").await, b"later");
    assert_eq!(line.said(), Vec::<Vec<u8>>::new());
    assert_eq!(Vec::from_iter(a.wires_in_use().into_keys()), ["veil"]);
    a.close().await;
    b.close().await;
}

/// What a connection brings to one who says this: bytes, and whether it has ended.
async fn answer(to: SocketAddr, words: &[u8]) -> (usize, bool) {
    let mut stream = TcpStream::connect(to).await.unwrap();
    stream.write_all(words).await.unwrap();
    let mut buffer = [0; 2000];
    match tokio::time::timeout(Duration::from_millis(700), stream.read(&mut buffer)).await {
        Err(_) => (0, false),
        Ok(Ok(len)) => (len, len == 0),
        Ok(Err(error)) => {
            assert_eq!(error.kind(), ErrorKind::ConnectionReset);
            (0, true)
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_has_no_secret_gets_no_answer_and_is_not_turned_away_at_once() {
    let (b, at) = listener("127.0.0.1:0").await;
    let line = Line::to(at).await;
    let (a, _) = node(1, None).await;
    a.learn(contact(&b, line.addr)).await;
    assert_eq!(ask(&a, &b, b"hello").await, b"hello");
    let said = line.said().remove(0);
    let len = HelloKey::of(&SECRET).len(said.first_chunk().unwrap()).unwrap();
    // The probe itself: somebody with the secret is answered.
    let made = HelloKey::of(&SECRET).make(now(), VeilSecret([3; 32]), &[4; 48]).unwrap();
    assert!(answer(at, &made.0).await.0 > 0);

    let mut changed = said.clone();
    changed[len - 1] = if changed[len - 1] == b'a' { b'b' } else { b'a' };
    let other = HelloKey::of(&VeilSecret([8; 32])).make(now(), VeilSecret([3; 32]), &[5; 48]);
    let old = busel_proto::time::UnixTime(now().0 - 700);
    let old = HelloKey::of(&SECRET).make(old, VeilSecret([3; 32]), &[6; 48]);
    let junk = |len| (0..len).map(|_| rand::random()).collect::<Vec<u8>>();
    let mut probes = vec![changed, other.unwrap().0, old.unwrap().0, made.0, said.clone()];
    probes.extend([said[..len].to_vec(), said[..HEAD_TEXT].to_vec(), said[..10].to_vec()]);
    probes.extend([0, 1, 37, 38, 39, 200, 1000].map(junk));
    probes.push(b"GET / HTTP/1.1\r\nHost: www.example.org\r\n\r\n".to_vec());
    let answers = probes.iter().map(|probe| answer(at, &probe[..probe.len().min(4000)]));
    for (number, answer) in futures_util::future::join_all(answers).await.into_iter().enumerate() {
        assert_eq!(answer, (0, false), "probe {number}");
    }
    assert_eq!(ask(&a, &b, b"still there").await, b"still there");
}

fn now() -> busel_proto::time::UnixTime {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    busel_proto::time::UnixTime(since.unwrap().as_secs())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_at_the_door_keeps_nobody_out() {
    let (b, at) = listener("127.0.0.1:0").await;
    let line = Line::to(at).await;
    let mut crowd = Vec::new();
    for _ in 0..300 {
        crowd.push(TcpStream::connect(at).await.unwrap());
    }
    let (a, _) = node(1, None).await;
    a.learn(contact(&b, line.addr)).await;
    assert_eq!(ask(&a, &b, b"hello").await, b"hello");
    let mut gone = 0;
    for stream in &mut crowd {
        let mut buffer = [0; 1];
        let read = stream.read(&mut buffer);
        gone += usize::from(tokio::time::timeout(Duration::from_millis(20), read).await.is_ok());
    }
    assert!(gone > 280, "one network has few places: {gone} are gone");
}

/// Whether an exemption of the filter for what looks like nothing holds: six printable bytes to begin
/// with, and more than twenty in a row.
fn has_a_face(first: &[u8]) -> bool {
    first.len() > 20 && first[..21].iter().all(|byte| (0x20..=0x7e).contains(byte))
}

/// What somebody says who has no UDP.
async fn session(seed: u8, to: Endpoint, at: SocketAddr) -> Vec<u8> {
    let line = Line::to(at).await;
    let (node, _) = node(seed, None).await;
    node.learn(contact(&to, line.addr)).await;
    assert_eq!(ask(&node, &to, &[1; 3000]).await, [1; 3000]);
    node.close().await;
    line.said().remove(0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_stream_begins_like_another_and_all_begin_as_text() {
    const SESSIONS: u8 = 60;
    let (b, at) = listener("127.0.0.1:0").await;
    let mut all: Vec<Vec<u8>> = Vec::new();
    let seeds: Vec<u8> = (0..SESSIONS).collect();
    // No more at once than one household has places at the door.
    for some in seeds.chunks(10) {
        let sessions = some.iter().map(|seed| session(100 + *seed, b.clone(), at));
        all.extend(futures_util::future::join_all(sessions).await);
    }
    assert!(all.iter().all(|said| has_a_face(said)));
    // Of 95 characters drawn 60 times, some 45 differ; of 256 values some 53.
    for place in 0..1000 {
        let values: BTreeSet<u8> = all.iter().map(|said| said[place]).collect();
        assert!(values.len() > 25, "byte {place} has only {} values", values.len());
    }
    let key = HelloKey::of(&SECRET);
    let hello = |said: &Vec<u8>| key.len(said.first_chunk().unwrap()).unwrap();
    let lengths: BTreeSet<usize> = all.iter().map(hello).collect();
    assert!(lengths.len() > 15, "only {} lengths", lengths.len());
}
