//! Upstream proxies that others have made: Debian's tinyproxy and microsocks, with credentials.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use busel_net::dial::found::try_port;
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

async fn tinyproxy(dir: &Path, login: &str) -> (Proxy, u16) {
    let port = port().await;
    let file = dir.join("tinyproxy.conf");
    let text = format!("Port {port}\nListen 127.0.0.1\nAllow 127.0.0.1\nTimeout 60\n{login}\n");
    std::fs::write(&file, text).unwrap();
    let mut command = Command::new("/usr/bin/tinyproxy");
    command.arg("-d").arg("-c").arg(file);
    (start(command, port).await, port)
}

async fn microsocks(login: &[&str]) -> (Proxy, u16) {
    let port = port().await;
    let mut command = Command::new("/usr/bin/microsocks");
    command.args(["-i", "127.0.0.1", "-p"]).arg(port.to_string()).args(login);
    (start(command, port).await, port)
}

/// Either end of a Shadowsocks, by the server's port.
async fn shadowsocks(program: &str, server: u16) -> (Proxy, u16) {
    let port = if program == "ss-local" { port().await } else { server };
    let mut command = Command::new(format!("/usr/bin/{program}"));
    command.args(["-s", "127.0.0.1", "-k", "secret", "-m", "aes-256-gcm", "-p"]);
    command.arg(server.to_string());
    if program == "ss-local" {
        command.args(["-b", "127.0.0.1", "-l"]).arg(port.to_string());
    }
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
    let (_proxy, port) = tinyproxy(dir.path(), "BasicAuth reader secret").await;
    is_used("http", port).await;
}

#[tokio::test]
async fn a_socks_proxy_with_a_password_is_used() {
    let (_proxy, port) = microsocks(&["-u", "reader", "-P", "secret"]).await;
    is_used("socks5", port).await;
}

/// What the port leads to, if it leads to this place and back.
async fn found(port: u16, to: SocketAddr) -> Option<String> {
    let leads = async |dialer: Dialer| {
        let Ok(mut stream) = dialer.dial(to).await else { return false };
        let mut heard = [0; 5];
        stream.write_all(b"hello").await.is_ok()
            && stream.read_exact(&mut heard).await.is_ok()
            && &heard == b"hello"
    };
    try_port(port, leads).await.map(|leads| leads.upstream.into())
}

#[tokio::test]
async fn what_others_run_is_found_for_what_it_is() {
    let (dir, echo) = (tempfile::tempdir().unwrap(), echo().await);
    let (_tiny, http) = tinyproxy(dir.path(), "").await;
    assert_eq!(found(http, echo).await, Some(format!("http://127.0.0.1:{http}")));
    let (_micro, socks) = microsocks(&[]).await;
    assert_eq!(found(socks, echo).await, Some(format!("socks5://127.0.0.1:{socks}")));
    let (_server, server) = shadowsocks("ss-server", port().await).await;
    let (_local, local) = shadowsocks("ss-local", server).await;
    assert_eq!(found(local, echo).await, Some(format!("socks5://127.0.0.1:{local}")));
}

#[tokio::test]
async fn what_leads_nowhere_or_wants_a_password_is_not_found() {
    let (dir, echo) = (tempfile::tempdir().unwrap(), echo().await);
    let (_tiny, http) = tinyproxy(dir.path(), "BasicAuth reader secret").await;
    assert_eq!(found(http, echo).await, None);
    let (_micro, socks) = microsocks(&["-u", "reader", "-P", "secret"]).await;
    assert_eq!(found(socks, echo).await, None);
    // It says that it is connected before it asks its server, which is not there.
    let (_local, local) = shadowsocks("ss-local", port().await).await;
    assert_eq!(found(local, echo).await, None);
    let (_open, open) = microsocks(&[]).await;
    let closed = SocketAddr::from((Ipv4Addr::LOCALHOST, port().await));
    assert_eq!(found(open, closed).await, None);
    assert_eq!(found(echo.port(), echo).await, None, "it only says back what it hears");
}
