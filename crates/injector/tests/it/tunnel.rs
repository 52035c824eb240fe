//! CONNECT through the door of a node: a reset on the server name goes unseen, and nothing but a
//! ClientHello is ever said twice.

use std::net::SocketAddr;

use busel_node::Node;
use busel_node::config::ConnectTo;
use busel_proto::flight;
use bytes::Bytes;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::support::servers::{Act, Server, closed};
use crate::support::world::{connected, tls};
use crate::support::{HOST, LOOPBACK, Origin, World};

/// A reader with a door, whose own connections end up at `server`, and who has an exit.
async fn reader(world: &World, server: SocketAddr) -> Node {
    let mut config = world.reader_sent_to(server);
    config.http = Some(LOOPBACK);
    let reader = world.join(config).await;
    connected(reader.endpoint(), world.injector_node.id()).await;
    reader
}

/// A tunnel to [`HOST`] as a program asks for it.
async fn connect(reader: &Node, port: u16) -> TcpStream {
    let mut stream = TcpStream::connect(reader.http_addr().unwrap()).await.unwrap();
    let ask = format!("CONNECT {HOST}:{port} HTTP/1.1\r\nhost: {HOST}:{port}\r\n\r\n");
    stream.write_all(ask.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        answer.push(stream.read_u8().await.unwrap());
    }
    assert!(answer.starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(&answer));
    stream
}

/// A page as a browser gets it, over TLS that ends at the site.
async fn page(world: &World, stream: impl AsyncRead + AsyncWrite + Unpin) -> String {
    let name = ServerName::try_from(HOST).unwrap();
    let connecting = TlsConnector::from(world.tls_client()).connect(name, stream);
    let mut stream = connecting.await.expect("the handshake is the site's");
    let ask = format!("GET /secret HTTP/1.1\r\nhost: {HOST}\r\nconnection: close\r\n\r\n");
    stream.write_all(ask.as_bytes()).await.unwrap();
    stream.flush().await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    String::from_utf8(answer).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reset_on_the_client_hello_goes_unseen() {
    let world = World::start().await;
    let filter = Server::start(&world, Act::Reset).await;
    let reader = reader(&world, filter.addr).await;
    for n in 1..=2 {
        let answer = page(&world, connect(&reader, 443).await).await;
        assert!(answer.ends_with("the page /secret"), "{answer}");
        assert_eq!(world.origin.count(), n);
    }
    assert!(filter.connections() >= 1);
    assert_eq!(flight::server_name(&filter.said()[0]), Some(HOST), "it saw the name");
    assert_eq!(world.injector.fetches(), 0, "end to end");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silence_after_the_client_hello_is_hedged() {
    let world = World::start().await;
    let filter = Server::start(&world, Act::Silence).await;
    let reader = reader(&world, filter.addr).await;
    let answer = page(&world, connect(&reader, 443).await).await;
    assert!(answer.ends_with("the page /secret"), "{answer}");
    assert_eq!((filter.connections(), world.origin.count()), (2, 1), "the program's, and a proof");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_forger_does_not_win_by_being_quick() {
    let world = World::start().await;
    let forger = Origin::start(tls().0, LOOPBACK).await;
    let reader = reader(&world, forger.addr).await;
    for _ in 0..2 {
        let answer = page(&world, connect(&reader, 443).await).await;
        assert!(answer.ends_with("the page /secret"), "{answer}");
    }
    assert_eq!((forger.count(), world.origin.count()), (0, 2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_forger_that_is_all_there_is_is_shown_as_what_it_is() {
    let world = World::start().await;
    let forger = Origin::start(tls().0, LOOPBACK).await;
    let mut config = world.reader_sent_to(forger.addr);
    config.http = Some(LOOPBACK);
    let alone = Node::start(config).await.unwrap();
    let stream = connect(&alone, 443).await;
    let name = ServerName::try_from(HOST).unwrap();
    let refused = TlsConnector::from(world.tls_client()).connect(name, stream).await.unwrap_err();
    let why = refused.get_ref().and_then(|inner| inner.downcast_ref());
    assert!(matches!(why, Some(rustls::Error::InvalidCertificate(_))), "{refused}");
}

/// What began can't be saved; it ends soon, and what is asked next goes another way.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_site_that_freezes_is_reached_by_another_way_the_next_time() {
    let world = World::start().await;
    let site = Server::start(&world, Act::Freeze).await;
    let reader = reader(&world, site.addr).await;
    let name = ServerName::try_from(HOST).unwrap();
    let connecting = TlsConnector::from(world.tls_client());
    let mut stream = connecting.connect(name, connect(&reader, 443).await).await.unwrap();
    let ask = format!("GET /secret HTTP/1.1\r\nhost: {HOST}\r\n\r\n");
    stream.write_all(ask.as_bytes()).await.unwrap();
    let cut = stream.read(&mut [0; 100]).await;
    assert!(cut.is_err(), "it does not look like an end: {cut:?}");
    let answer = page(&world, connect(&reader, 443).await).await;
    assert!(answer.ends_with("the page /secret"), "{answer}");
    assert_eq!((site.requests(), world.origin.count()), (1, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_site_proves_itself_once_for_many_connections() {
    let world = World::start().await;
    let site = Server::start(&world, Act::Say(Bytes::from_static(b"hello"))).await;
    let reader = reader(&world, site.addr).await;
    for _ in 0..3 {
        let stream = connect(&reader, 443).await;
        let name = ServerName::try_from(HOST).unwrap();
        let connecting = TlsConnector::from(world.tls_client()).connect(name, stream);
        let mut stream = connecting.await.unwrap();
        // As long as a browser's at least.
        let ask = format!("GET / HTTP/1.1\r\nhost: {HOST}\r\nuser-agent: a browser's\r\n\r\n");
        stream.write_all(ask.as_bytes()).await.unwrap();
        let mut answer = [0; 5];
        stream.read_exact(&mut answer).await.unwrap();
    }
    assert_eq!(site.connections(), 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_connection_goes_unseen() {
    let world = World::start().await;
    let reader = reader(&world, closed().await).await;
    let answer = page(&world, connect(&reader, 443).await).await;
    assert!(answer.ends_with("the page /secret"), "{answer}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_hello_that_comes_in_pieces_is_replayed_whole() {
    let world = World::start().await;
    let filter = Server::start(&world, Act::Silence).await;
    let reader = reader(&world, filter.addr).await;
    let stream = connect(&reader, 443).await;
    // A pipe that lets through a few bytes at a time.
    let (near, mut far) = tokio::io::duplex(100);
    let pump = tokio::spawn(async move {
        let mut stream = stream;
        let _ = tokio::io::copy_bidirectional_with_sizes(&mut far, &mut stream, 100, 100).await;
    });
    let answer = page(&world, near).await;
    assert!(answer.ends_with("the page /secret"), "{answer}");
    pump.abort();
}

/// A world whose exit leads to `behind` on port 80.
async fn world_to(behind: SocketAddr) -> World {
    let to = move |config: &mut busel_node::Config| {
        config.connect_to.retain(|to| to.port != 80);
        config.connect_to.push(ConnectTo { host: HOST.into(), port: 80, addr: behind });
    };
    World::with(to, |_| {}).await
}

const POST: &[u8] = b"POST /pay HTTP/1.1\r\nhost: news.example\r\ncontent-length: 3\r\n\r\n100";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plain_request_that_meets_a_reset_is_not_said_again() {
    let behind = tokio::net::TcpListener::bind(LOOPBACK).await.unwrap();
    let world = world_to(behind.local_addr().unwrap()).await;
    let filter = Server::start(&world, Act::Reset).await;
    let reader = reader(&world, filter.addr).await;
    let mut client = connect(&reader, 80).await;
    client.write_all(POST).await.unwrap();
    let mut answer = Vec::new();
    // How it ends, with a reset or not, is not what this is about.
    let _ = client.read_to_end(&mut answer).await;
    assert!(answer.is_empty(), "{}", String::from_utf8_lossy(&answer));
    assert_eq!(filter.said(), [POST]);
    // The tunnel has ended for the client: had it been carried elsewhere, it would be there.
    tokio::select! {
        biased;
        _ = behind.accept() => panic!("the request was made a second time"),
        () = reader.stop() => {}
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plain_request_whose_connection_was_refused_is_carried_once() {
    let behind = tokio::net::TcpListener::bind(LOOPBACK).await.unwrap();
    let world = world_to(behind.local_addr().unwrap()).await;
    let reader = reader(&world, closed().await).await;
    let mut client = connect(&reader, 80).await;
    client.write_all(POST).await.unwrap();
    let (mut server, _) = behind.accept().await.unwrap();
    let mut said = vec![0; POST.len()];
    server.read_exact(&mut said).await.unwrap();
    assert_eq!(said, POST);
    server.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
    drop(server);
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).await.unwrap();
    assert_eq!(answer, b"HTTP/1.1 204 No Content\r\n\r\n");
}
