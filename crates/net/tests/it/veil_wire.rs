//! The veil wire on loopback: two nodes talk, and who has no secret gets no answer to anything.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use busel_net::dial::Dialer;
use busel_net::relay::{Identity, RelayConfig, RelayServer};
use busel_net::wire::plain::Plain;
use busel_net::wire::relay::Relay;
use busel_net::wire::veil::{Listen, Veil};
use busel_net::wire::{Contact, Wire};
use busel_net::{Endpoint, frame};
use busel_proto::failure::Failure;
use busel_proto::invite::{RelayTicket, VeilTicket};
use busel_proto::message;
use busel_proto::page::HostName;
use busel_proto::veil::VeilSecret;
use busel_proto::veil::frame::Key;
use tokio::net::UdpSocket;
use tokio::task::JoinHandle;
use tokio::time::timeout;

const SECRET: VeilSecret = VeilSecret([9; 32]);

/// A node that listens on `addr`, and where.
async fn listener(seed: u8, addr: &str) -> (Endpoint, SocketAddr) {
    let listen = Listen { addr: addr.parse().unwrap(), secret: SECRET };
    let wire = Arc::new(Veil::new(Some(listen)));
    let wires: Vec<Arc<dyn Wire>> = vec![wire.clone()];
    let node = Endpoint::bind([seed; 32], wires, vec![]).await.unwrap();
    (node, wire.listens().unwrap())
}

async fn dialler(seed: u8) -> Endpoint {
    let wires: Vec<Arc<dyn Wire>> = vec![Arc::new(Veil::new(None))];
    Endpoint::bind([seed; 32], wires, vec![]).await.unwrap()
}

/// A line between one node and another's veil address, on which all is written down.
struct Line {
    addr: SocketAddr,
    shared: Arc<OnTheLine>,
    task: JoinHandle<()>,
}

struct OnTheLine {
    cut: AtomicBool,
    far: Mutex<SocketAddr>,
    /// The socket that the far end sees; another one is another address, as behind a NAT.
    outer: Mutex<Arc<UdpSocket>>,
    there: Mutex<Vec<Vec<u8>>>,
    back: Mutex<Vec<Vec<u8>>>,
}

impl Line {
    async fn to(far: SocketAddr) -> Self {
        let inner = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let addr = inner.local_addr().unwrap();
        let shared = Arc::new(OnTheLine {
            cut: AtomicBool::new(false),
            far: Mutex::new(far),
            outer: Mutex::new(Arc::new(UdpSocket::bind("127.0.0.1:0").await.unwrap())),
            there: Mutex::default(),
            back: Mutex::default(),
        });
        let line = shared.clone();
        let task = tokio::spawn(async move {
            let (mut near, mut one, mut two) = (None, vec![0; 65536], vec![0; 65536]);
            loop {
                let outer = line.outer.lock().unwrap().clone();
                tokio::select! {
                    Ok((len, from)) = inner.recv_from(&mut one) => {
                        near = Some(from);
                        line.there.lock().unwrap().push(one[..len].to_vec());
                        if !line.cut.load(Ordering::SeqCst) {
                            let far = *line.far.lock().unwrap();
                            outer.send_to(&one[..len], far).await.unwrap();
                        }
                    }
                    Ok((len, _)) = outer.recv_from(&mut two) => {
                        line.back.lock().unwrap().push(two[..len].to_vec());
                        if let Some(near) = near && !line.cut.load(Ordering::SeqCst) {
                            inner.send_to(&two[..len], near).await.unwrap();
                        }
                    }
                }
            }
        });
        Self { addr, shared, task }
    }

    fn cut(&self, cut: bool) {
        self.shared.cut.store(cut, Ordering::SeqCst);
    }

    fn leads_to(&self, far: SocketAddr) {
        *self.shared.far.lock().unwrap() = far;
    }

    async fn take_another_address(&self) {
        let other = Arc::new(UdpSocket::bind("127.0.0.1:0").await.unwrap());
        *self.shared.outer.lock().unwrap() = other;
    }

    fn there(&self) -> Vec<Vec<u8>> {
        self.shared.there.lock().unwrap().clone()
    }

    fn back(&self) -> usize {
        self.shared.back.lock().unwrap().len()
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn contact(node: &Endpoint, addr: SocketAddr) -> Contact {
    let veil = Some(VeilTicket { addrs: vec![addr.to_string()], secret: SECRET });
    Contact { peer: node.id(), relay: None, addrs: vec![], veil }
}

/// Echoes one frame of each stream of each connection.
async fn echo(node: Endpoint) {
    while let Some(connection) = node.accept().await {
        tokio::spawn(async move {
            while let Some(mut stream) = connection.accept().await {
                let body = frame::read(&mut stream.recv, 8 << 20).await.unwrap();
                stream.send.write_all(&message::frame(&body)).await.unwrap();
                stream.send.finish().unwrap();
            }
        });
    }
}

async fn ask(from: &Endpoint, to: &Endpoint, body: &[u8]) -> Vec<u8> {
    let mut stream = from.open(&to.id()).await.unwrap();
    stream.send.write_all(&message::frame(body)).await.unwrap();
    frame::read(&mut stream.recv, 8 << 20).await.unwrap().to_vec()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_talk_over_ipv4_and_ipv6() {
    for addr in ["127.0.0.1:0", "[::1]:0"] {
        let (a, (b, at)) = (dialler(1).await, listener(2, addr).await);
        tokio::spawn(echo(b.clone()));
        a.learn(contact(&b, at)).await;
        assert_eq!(ask(&a, &b, b"hello").await, b"hello");
        let big = vec![5; 6_000_000];
        assert_eq!(ask(&a, &b, &big).await, big);
        assert_eq!(Vec::from_iter(a.wires_in_use().into_keys()), ["veil"]);
        a.close().await;
        b.close().await;
    }
}

async fn relay() -> RelayServer {
    let name = HostName::parse("www.example.org").unwrap();
    RelayServer::start(RelayConfig {
        listen: "127.0.0.1:0".parse().unwrap(),
        public: None,
        identity: Identity::generate(&name).unwrap(),
        also: Vec::new(),
        secret: [7; 16],
        site: None,
        site_proxy: None,
        bytes_per_second: None,
    })
    .await
    .unwrap()
}

/// A node with both wires.
async fn both(seed: u8, relay: &RelayTicket, listen: Option<Listen>) -> (Endpoint, Arc<Veil>) {
    let by_relay = Relay::start(Dialer::default(), std::slice::from_ref(relay)).await.unwrap();
    let veil = Arc::new(Veil::new(listen));
    let wires: Vec<Arc<dyn Wire>> = vec![Arc::new(by_relay), veil.clone()];
    (Endpoint::bind([seed; 32], wires, vec![]).await.unwrap(), veil)
}

/// Waits until `node` is connected by this wire, and none else.
async fn carried_by(node: &Endpoint, wire: &str) {
    while Vec::from_iter(node.wires_in_use().into_keys()) != [wire] {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A reader and a node that listens behind the veil, with a relay, and the line between them.
struct Both {
    relay: RelayServer,
    line: Line,
    a: Endpoint,
    b: Endpoint,
}

impl Both {
    /// The line is cut at first.
    async fn start() -> Self {
        let relay = relay().await;
        let ticket = relay.ticket().clone();
        let listen = Listen { addr: "127.0.0.1:0".parse().unwrap(), secret: SECRET };
        let (b, veil) = both(2, &ticket, Some(listen)).await;
        let line = Line::to(veil.listens().unwrap()).await;
        line.cut(true);
        let (a, _) = both(1, &ticket, None).await;
        a.learn(Contact { relay: Some(ticket), ..contact(&b, line.addr) }).await;
        tokio::spawn(echo_all(b.clone()));
        Self { relay, line, a, b }
    }

    async fn close(self) {
        self.a.close().await;
        self.b.close().await;
        self.relay.stop().await;
    }
}

/// What needs a [`THOUGHT`] before it is echoed.
const THINK: &[u8] = b"think";
/// Longer than any connection is silent on which somebody is.
const THOUGHT: Duration = Duration::from_secs(12);

/// Echoes all frames of each stream of each connection.
async fn echo_all(node: Endpoint) {
    while let Some(connection) = node.accept().await {
        tokio::spawn(async move {
            while let Some(mut stream) = connection.accept().await {
                tokio::spawn(async move {
                    while let Ok(body) = frame::read(&mut stream.recv, 1 << 20).await {
                        if body == THINK {
                            tokio::time::sleep(THOUGHT).await;
                        }
                        stream.send.write_all(&message::frame(&body)).await.unwrap();
                    }
                });
            }
        });
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_stream_goes_from_the_relay_to_the_veil_and_back_when_udp_is_cut() {
    let both = Both::start().await;
    let Both { line, a, b, .. } = &both;
    let mut stream = a.open(&b.id()).await.unwrap();
    let mut say = async |text: &[u8]| {
        stream.send.write_all(&message::frame(text)).await.unwrap();
        assert_eq!(frame::read(&mut stream.recv, 1 << 20).await.unwrap(), text);
    };
    say(b"by relay").await;
    carried_by(a, "relay").await;
    line.cut(false);
    carried_by(a, "veil").await;
    let before = line.there().len();
    say(&[8; 200_000]).await;
    assert!(line.there().len() > before + 50, "the stream's bytes go behind the veil");
    line.cut(true);
    say(&[9; 200_000]).await;
    carried_by(a, "relay").await;
    both.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_the_relay_dies_the_veil_is_found_though_connections_hang_on_the_relay() {
    let Both { relay, line, a, b } = Both::start().await;
    let by_relay = Some(relay.ticket().clone());
    b.learn(Contact { peer: a.id(), relay: by_relay, addrs: vec![], veil: None }).await;
    tokio::spawn(echo_all(a.clone()));
    assert_eq!(ask(&b, &a, b"hello").await, b"hello");
    line.cut(false);
    assert_eq!(ask(&a, &b, b"hello").await, b"hello");
    carried_by(&a, "veil").await;
    line.cut(true);
    assert_eq!(ask(&a, &b, b"hello").await, b"hello");
    carried_by(&a, "relay").await;
    relay.stop().await;
    line.cut(false);
    let mut asked = 0;
    let hello = message::frame(b"hello");
    loop {
        asked += 1;
        let answer = async { a.open(&b.id()).await.ok()?.ask(&hello, true, 100).await.ok() };
        if let Ok(Some(_)) = timeout(Duration::from_secs(5), answer).await {
            break;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    // QUIC gives a relay's path up after half a minute.
    assert!(asked <= 3, "{asked}");
    carried_by(&a, "veil").await;
    a.close().await;
    b.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_address_of_the_reader_loses_nothing() {
    let (b, at) = listener(2, "127.0.0.1:0").await;
    tokio::spawn(echo(b.clone()));
    let line = Line::to(at).await;
    let a = dialler(1).await;
    a.learn(contact(&b, line.addr)).await;
    assert_eq!(ask(&a, &b, b"before").await, b"before");
    line.take_another_address().await;
    assert_eq!(ask(&a, &b, &[3; 300_000]).await, [3; 300_000]);
    assert_eq!(a.connected(), [b.id()]);
    a.close().await;
    b.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_lost_its_power_and_came_back_is_connected_to_anew() {
    const MOST: usize = 1 << 20;
    let (b, at) = listener(2, "127.0.0.1:0").await;
    tokio::spawn(echo(b.clone()));
    let line = Line::to(at).await;
    let a = dialler(1).await;
    a.learn(contact(&b, line.addr)).await;
    let hello = message::frame(b"hello");
    let mut stream = a.open(&b.id()).await.unwrap();
    assert_eq!(stream.ask(&hello, true, MOST).await.unwrap(), "hello");
    line.cut(true);
    b.close().await;
    let (b, at) = listener(2, "127.0.0.1:0").await;
    tokio::spawn(echo(b.clone()));
    line.leads_to(at);
    line.cut(false);
    // As far as QUIC knows the connection is whole.
    let (mut one, mut other) = (a.open(&b.id()).await.unwrap(), a.open(&b.id()).await.unwrap());
    let (one, other) = tokio::join!(one.ask(&hello, true, MOST), other.ask(&hello, true, MOST));
    assert_eq!((one, other), (Err(Failure::Silent), Err(Failure::Silent)));
    assert!(a.connected().is_empty());
    let mut stream = a.open(&b.id()).await.unwrap();
    assert_eq!(stream.ask(&hello, true, MOST).await.unwrap(), "hello");
    assert_eq!(a.connected(), [b.id()]);
    a.close().await;
    b.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_thinks_for_long_before_it_answers_is_not_doubted() {
    let (b, at) = listener(2, "127.0.0.1:0").await;
    let a = dialler(1).await;
    a.learn(contact(&b, at)).await;
    tokio::spawn(echo_all(b.clone()));
    let mut stream = a.open(&b.id()).await.unwrap();
    assert_eq!(stream.ask(&message::frame(THINK), true, 100).await.unwrap(), THINK);
    a.close().await;
    b.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nor_when_the_way_changes_meanwhile() {
    let both = Both::start().await;
    let Both { line, a, b, .. } = &both;
    let mut stream = a.open(&b.id()).await.unwrap();
    carried_by(a, "relay").await;
    line.cut(false);
    assert_eq!(stream.ask(&message::frame(THINK), true, 100).await.unwrap(), THINK);
    carried_by(a, "veil").await;
    both.close().await;
}

/// The first datagram of a plain QUIC connection.
async fn plain_initial() -> Vec<u8> {
    let catcher = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let wires: Vec<Arc<dyn Wire>> = vec![Arc::new(Plain::new("127.0.0.1:0".parse().unwrap()))];
    let node = Endpoint::bind([3; 32], wires, vec![]).await.unwrap();
    let other = dialler(4).await;
    let addrs = vec![catcher.local_addr().unwrap()];
    node.learn(Contact { peer: other.id(), relay: None, addrs, veil: None }).await;
    let (asking, to) = (node.clone(), other.id());
    let dial = tokio::spawn(async move { asking.open(&to).await.map(drop) });
    let mut initial = vec![0; 2000];
    let (len, _) = catcher.recv_from(&mut initial).await.unwrap();
    initial.truncate(len);
    dial.abort();
    initial
}

/// How many datagrams `to` answers to these, sent from a fresh address.
async fn answers(to: SocketAddr, datagrams: &[Vec<u8>]) -> usize {
    let prober = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    for datagram in datagrams {
        prober.send_to(datagram, to).await.unwrap();
    }
    let (mut count, mut buffer) = (0, vec![0; 2000]);
    let wait = Duration::from_millis(400);
    while timeout(wait, prober.recv_from(&mut buffer)).await.is_ok() {
        count += 1;
    }
    count
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_has_no_secret_gets_no_answer_to_anything() {
    let initial = plain_initial().await;
    // The probe itself: who speaks plain QUIC answers it.
    let wires: Vec<Arc<dyn Wire>> = vec![Arc::new(Plain::new("127.0.0.1:0".parse().unwrap()))];
    let plain = Endpoint::bind([5; 32], wires, vec![]).await.unwrap();
    assert!(answers(plain.local_addrs()[0], std::slice::from_ref(&initial)).await > 0);

    let (b, at) = listener(2, "127.0.0.1:0").await;
    tokio::spawn(echo(b.clone()));
    let line = Line::to(at).await;
    let a = dialler(1).await;
    a.learn(contact(&b, line.addr)).await;
    assert_eq!(ask(&a, &b, b"hello").await, b"hello");
    let seen = line.there();
    let mut version = initial.clone();
    version[1..5].copy_from_slice(&[0x1a, 0x2a, 0x3a, 0x4a]);
    let junk = |len| (0..len).map(|_| rand::random()).collect::<Vec<u8>>();
    let mut probes = vec![initial, version, vec![], vec![0; 1200], vec![0x40; 40]];
    probes.extend([1, 20, 29, 82, 200, 999, 1000, 1300, 1472].map(junk));
    probes.extend(seen.iter().map(|datagram| datagram[..datagram.len() - 1].to_vec()));
    probes.extend(seen.iter().map(|datagram| [&datagram[..], &[0]].concat()));
    probes.extend(seen.iter().map(|datagram| {
        let mut changed = datagram.clone();
        *changed.last_mut().unwrap() ^= 1;
        changed
    }));
    assert_eq!(answers(at, &probes).await, 0, "junk was answered");
    assert_eq!(answers(at, &seen).await, 0, "what was seen before was answered");

    // From the very address of a session that has ended, too.
    a.close().await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let (outer, before) = (line.shared.outer.lock().unwrap().clone(), line.back());
    let key = Key::of(&SECRET);
    let sealed: Vec<_> = seen.iter().filter(|datagram| key.is_sealed(datagram)).collect();
    assert!(sealed.len() > 2, "a session begins with sealed datagrams");
    for datagram in sealed {
        outer.send_to(datagram, at).await.unwrap();
    }
    tokio::time::sleep(Duration::from_millis(400)).await;
    assert_eq!(line.back(), before, "a replay from the session's own address was answered");

    let c = dialler(6).await;
    c.learn(contact(&b, at)).await;
    assert_eq!(ask(&c, &b, b"still there").await, b"still there");
}

/// The fewest different values that any of the first bytes has.
fn least_varied(datagrams: &[Vec<u8>]) -> usize {
    let shortest = datagrams.iter().map(Vec::len).min().unwrap();
    let values = |at: usize| datagrams.iter().map(|d| d[at]).collect::<BTreeSet<_>>().len();
    (0..shortest).map(values).min().unwrap()
}

fn lengths(datagrams: &[Vec<u8>]) -> usize {
    datagrams.iter().map(Vec::len).collect::<BTreeSet<_>>().len()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_the_same_in_two_sessions_nor_in_two_datagrams() {
    const SESSIONS: usize = 96;
    let (b, at) = listener(2, "127.0.0.1:0").await;
    tokio::spawn(echo(b.clone()));
    let (mut first, mut small) = (Vec::new(), Vec::new());
    for seed in (3..).take(SESSIONS) {
        let line = Line::to(at).await;
        let a = dialler(seed).await;
        a.learn(contact(&b, line.addr)).await;
        assert_eq!(ask(&a, &b, &[1; 3000]).await, [1; 3000]);
        first.push(line.there()[0].clone());
        small.extend(line.there().into_iter().filter(|d| (30..300).contains(&d.len())));
        a.close().await;
    }
    // Of 256 values drawn 96 times, some 80 differ; at any of 1300 places.
    assert!(least_varied(&first) > 55, "only {} values", least_varied(&first));
    assert!(lengths(&first) > 40, "only {} lengths", lengths(&first));
    assert!(small.len() > 3 * SESSIONS && least_varied(&small) > 150);
    let plain = vec![plain_initial().await, plain_initial().await];
    assert_eq!((least_varied(&plain), lengths(&plain)), (1, 1), "plain QUIC is told by this");
}
