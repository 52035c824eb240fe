//! Upstream proxies that others have made: Debian's tinyproxy and microsocks, with credentials.
#![allow(clippy::unwrap_used, reason = "a test may")]

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use busel_net::dial::{Dialer, Upstream};
use busel_proto::failure::Failure;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// A proxy that ends with its test.
struct Proxy(Child);

impl Drop for Proxy {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A port that was free a moment ago.
async fn port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    listener.local_addr().unwrap().port()
}

async fn start(mut command: Command, port: u16) -> Proxy {
    let quiet = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let proxy = Proxy(quiet.spawn().expect("the Debian packages of cargo xtask are installed"));
    while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.is_err() {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    proxy
}

async fn tinyproxy(dir: &Path) -> (Proxy, u16) {
    let port = port().await;
    let file = dir.join("tinyproxy.conf");
    let text = format!(
        "Port {port}\nListen 127.0.0.1\nAllow 127.0.0.1\nTimeout 60\nBasicAuth reader secret\n"
    );
    std::fs::write(&file, text).unwrap();
    let mut command = Command::new("/usr/bin/tinyproxy");
    command.arg("-d").arg("-c").arg(file);
    (start(command, port).await, port)
}

async fn microsocks() -> (Proxy, u16) {
    let port = port().await;
    let mut command = Command::new("/usr/bin/microsocks");
    command.args(["-i", "127.0.0.1", "-u", "reader", "-P", "secret", "-p"]).arg(port.to_string());
    (start(command, port).await, port)
}

/// A server that says back what it hears.
async fn echo() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut from, mut to) = stream.split();
                let _ = tokio::io::copy(&mut from, &mut to).await;
            });
        }
    });
    addr
}

async fn talks(mut stream: TcpStream) {
    stream.write_all(b"hello").await.unwrap();
    let mut heard = [0; 5];
    stream.read_exact(&mut heard).await.unwrap();
    assert_eq!(&heard, b"hello");
}

async fn is_used(scheme: &str, port: u16) {
    let echo = echo().await;
    let with = |login: &str| -> Upstream {
        format!("{scheme}://{login}127.0.0.1:{port}").parse().unwrap()
    };
    let dialer = Dialer::through(with("reader:secret@"));
    talks(dialer.dial(echo).await.expect("by number")).await;
    talks(dialer.dial_name("localhost", echo.port()).await.expect("by name")).await;
    for login in ["", "reader:wrong@"] {
        let refused = Dialer::through(with(login)).dial(echo).await;
        assert!(refused.is_err(), "it takes anyone");
    }
    let also = Dialer::also_through(with("reader:secret@"));
    talks(also.dial(echo).await.expect("the plain way is there")).await;
    let further = also.further().expect("there is one");
    talks(further.dial(echo).await.expect("the further way alone")).await;
    let closed = SocketAddr::from((Ipv4Addr::LOCALHOST, self::port().await));
    assert_eq!(also.dial(closed).await.unwrap_err(), Failure::Refused);
}

#[tokio::test]
async fn an_http_proxy_with_a_password_is_used() {
    let dir = tempfile::tempdir().unwrap();
    let (_proxy, port) = tinyproxy(dir.path()).await;
    is_used("http", port).await;
}

#[tokio::test]
async fn a_socks_proxy_with_a_password_is_used() {
    let (_proxy, port) = microsocks().await;
    is_used("socks5", port).await;
}
