//! What a program learns that may use the proxy and nothing else: a browser in its sandbox, an app from a
//! store, the script of a page. Precisely this, and `docs/threat-model.md` says so:
//!
//! 1. that Busel runs here;
//! 2. whether a host is on the site list;
//! 3. whether a copy of a page is on this device (it comes where nothing else does), and its age;
//! 4. when a page can't be had: which ways were tried, and why each failed.
//!
//! Not: by which way a page came, who vouches for it, who this node is, whom it knows, by which relay.

use busel_node::Node;
use busel_node::config::Exposure;
use busel_proto::id::PeerId;
use data_encoding::HEXLOWER;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::world::connected;
use crate::support::{HOST, LOOPBACK, World, body, get, kept};

async fn reader(world: &World, tells: bool) -> Node {
    let mut config = world.reader_config();
    config.http = Some(LOOPBACK);
    config.http_tells = tells;
    config.exposure = Exposure::Quiet;
    let reader = world.join(config).await;
    connected(reader.endpoint(), world.injector_node.id()).await;
    reader
}

/// All that the door says to this.
async fn says(reader: &Node, first_line: &str, fields: &str) -> String {
    let door = reader.http_addr().unwrap();
    let mut stream = TcpStream::connect(door).await.unwrap();
    let own = format!("localhost:{}", door.port());
    let host = if first_line.starts_with("GET /") { &own } else { HOST };
    let ask = format!("{first_line} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n{fields}\r\n");
    stream.write_all(ask.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

/// What must be in no answer, in any writing.
fn secrets(world: &World, reader: &Node) -> Vec<String> {
    let invite = world.invite();
    let relay = &invite.relays[0];
    let id = |peer: PeerId| [peer.to_string(), HEXLOWER.encode(&peer.0), peer.short()];
    let mut secrets: Vec<String> = [id(reader.id()), id(world.injector_node.id())].concat();
    secrets.extend([relay.addr.clone(), relay.sni.to_string(), relay.inner_name()]);
    secrets.push(HEXLOWER.encode(&relay.secret));
    secrets.extend(invite.roots.iter().flat_map(|root| [root.key.to_string(), root.label.clone()]));
    secrets.push(reader.config().dir.display().to_string());
    secrets
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_behind_the_door_learns_what_is_listed_here_and_no_more() {
    let world = World::start().await;
    let reader = reader(&world, false).await;
    body(get(&reader, "/read").await.expect("by the injector")).await;
    kept(&reader, "/read").await;
    let page = |path: &str| format!("GET http://{HOST}{path}");
    let mut said = Vec::new();
    for (line, fields) in [
        (page("/read"), ""),
        (page("/fresh"), ""),
        (page("/read"), "cache-control: only-if-cached\r\n"),
        (page("/read"), "cache-control: no-cache\r\n"),
        (page("/read"), "busel-route: local\r\nbusel-tell: 1\r\n"),
        ("GET /".to_owned(), ""),
        ("GET /v1/status".to_owned(), ""),
        ("GET /control.sock".to_owned(), "accept: text/html\r\n"),
        (format!("TRACE http://{HOST}/"), "max-forwards: 0\r\n"),
        (format!("OPTIONS http://{HOST}/"), "max-forwards: 0\r\n"),
        ("GET ftp://news.example/".to_owned(), ""),
        ("CONNECT news.example".to_owned(), ""),
    ] {
        said.push((line.clone(), says(&reader, &line, fields).await));
    }
    for (line, answer) in said.iter().filter(|(line, _)| line.starts_with("GET http:")) {
        assert!(answer.starts_with("HTTP/1.1 200"), "{line}: {answer}");
        assert!(!answer.to_lowercase().contains("busel"), "{line}: {answer}");
    }
    // 1.
    assert!(says(&reader, "GET /", "").await.contains("SOCKS5"));

    // The injector is gone: 2, 3 and 4.
    world.injector_node.stop().await;
    let copy = says(&reader, &page("/read"), "").await;
    assert!(copy.starts_with("HTTP/1.1 200") && copy.contains("\r\nage: "), "{copy}");
    let unread = says(&reader, &page("/unread"), "").await;
    assert!(unread.contains("busel-problem: unanswered"), "{unread}");
    assert!(unread.contains("\"tried\"") && unread.contains("\"route\":\"injector\""), "{unread}");
    assert!(!unread.contains("site list"), "{unread}");
    let unlisted = says(&reader, "GET http://other.example/", "").await;
    assert!(unlisted.contains("not on the site list"), "{unlisted}");
    let html = says(&reader, &page("/unread"), "accept: text/html\r\n").await;
    said.extend([copy, unread, unlisted, html].map(|answer| ("later".to_owned(), answer)));

    for secret in secrets(&world, &reader) {
        for (line, answer) in &said {
            let answer = answer.to_lowercase();
            assert!(!answer.contains(&secret.to_lowercase()), "{line}: {secret} in {answer}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_way_is_told_if_the_owner_wants_that() {
    let world = World::start().await;
    let reader = reader(&world, true).await;
    let answer = says(&reader, &format!("GET http://{HOST}/page"), "").await;
    assert!(answer.contains("busel-route: injector"), "{answer}");
    assert!(answer.contains("busel-authority: injector \"Newsroom\""), "{answer}");
}
