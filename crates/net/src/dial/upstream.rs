//! Proxies on the way out: another program's of this device, or a friend's server. SOCKS5 (RFC 1928,
//! with user and password as RFC 1929 has it) and HTTP CONNECT (RFC 9110, with Basic credentials).
//!
//! A proxy is given by number, so that reaching it asks no resolver. Nothing is said to it in TLS: one
//! on another machine sees in clear text which hosts are asked for, and so does the line to it.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use busel_proto::failure::Failure;
use bytes::Bytes;
use data_encoding::BASE64;
use fast_socks5::client::{Config, Socks5Stream};
use fast_socks5::{ReplyError, SocksError};
use http::{Request, StatusCode, header};
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde::{Deserialize, Serialize};
use tokio::net::TcpStream;

use super::{CONNECT_LIMIT, of_io};

/// Which protocol a proxy speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Socks5,
    Http,
}

/// A proxy, written as `socks5://USER:PASSWORD@IP:PORT` or `http://…`; user and password may be
/// missing, and so may `socks5://`. The password is taken as it stands, up to the last `@`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Upstream {
    kind: Kind,
    addr: SocketAddr,
    login: Option<(String, String)>,
}

impl fmt::Debug for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Neither an address nor a password belongs into a log.
        write!(f, "Upstream({:?}, …)", self.kind)
    }
}

impl From<SocketAddr> for Upstream {
    fn from(addr: SocketAddr) -> Self {
        Self { kind: Kind::Socks5, addr, login: None }
    }
}

impl FromStr for Upstream {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // What was written is not repeated: it may hold a password.
        let bad =
            || "write socks5://USER:PASSWORD@IP:PORT or http://USER:PASSWORD@IP:PORT".to_owned();
        let (kind, rest) = match text.split_once("://") {
            None => (Kind::Socks5, text),
            Some(("socks5", rest)) => (Kind::Socks5, rest),
            Some(("http", rest)) => (Kind::Http, rest),
            Some(_) => return Err(bad()),
        };
        let (login, addr) = match rest.rsplit_once('@') {
            None => (None, rest),
            Some((login, addr)) => (Some(login.split_once(':').ok_or_else(bad)?), addr),
        };
        let addr = addr.trim_end_matches('/').parse().map_err(|_| bad())?;
        let login = login.map(|(user, password)| (user.to_owned(), password.to_owned()));
        // RFC 1929 counts both in one byte each.
        let sound =
            |part: &str| (1..=255).contains(&part.len()) && !part.contains(char::is_control);
        match &login {
            Some((user, password)) if !sound(user) || !sound(password) => Err(bad()),
            _ => Ok(Self { kind, addr, login }),
        }
    }
}

impl TryFrom<String> for Upstream {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Upstream> for String {
    fn from(upstream: Upstream) -> Self {
        let scheme = if upstream.kind == Kind::Http { "http" } else { "socks5" };
        let login = upstream.login.map(|(user, password)| format!("{user}:{password}@"));
        format!("{scheme}://{}{}", login.unwrap_or_default(), upstream.addr)
    }
}

impl Upstream {
    /// A proxy that asks for no credentials and speaks HTTP, or else SOCKS5.
    pub(super) fn open(addr: SocketAddr, http: bool) -> Self {
        Self { kind: if http { Kind::Http } else { Kind::Socks5 }, addr, login: None }
    }

    /// Where it is.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// A connection to `host`, which the proxy looks up if it is a name.
    pub(super) async fn connect(&self, host: &str, port: u16) -> Result<TcpStream, Failure> {
        match self.kind {
            Kind::Socks5 => self.by_socks(host.to_owned(), port).await,
            Kind::Http => self.by_http(host, port).await,
        }
    }

    async fn by_socks(&self, host: String, port: u16) -> Result<TcpStream, Failure> {
        let mut config = Config::default();
        config.set_connect_timeout(CONNECT_LIMIT);
        let connected = match self.login.clone() {
            None => Socks5Stream::connect(self.addr, host, port, config).await,
            Some((user, password)) => {
                let addr = self.addr;
                Socks5Stream::connect_with_password(addr, host, port, user, password, config).await
            }
        };
        connected.map(Socks5Stream::get_socket).map_err(|error| match error {
            SocksError::ReplyError(ReplyError::ConnectionRefused) => Failure::Refused,
            SocksError::ReplyError(ReplyError::TtlExpired | ReplyError::ConnectionTimeout) => {
                Failure::Silent
            }
            SocksError::Io(error) => of_io(&error),
            _ => Failure::Unreachable,
        })
    }

    async fn by_http(&self, host: &str, port: u16) -> Result<TcpStream, Failure> {
        let stream = TcpStream::connect(self.addr).await.map_err(|e| of_io(&e))?;
        let host =
            if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
        let mut request = Request::connect(&host).header(header::HOST, &host);
        if let Some((user, password)) = &self.login {
            let basic = BASE64.encode(format!("{user}:{password}").as_bytes());
            request = request.header(header::PROXY_AUTHORIZATION, format!("Basic {basic}"));
        }
        let odd = |_| Failure::Protocol("the upstream proxy can't be asked for this host".into());
        let request = request.body(Empty::<Bytes>::new()).map_err(odd)?;
        let broken = |_| Failure::Unreachable;
        let (mut sender, proxy) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
        // The connection ends with its sender, so that a refusal is not waited on.
        let asked = async move {
            let answer = sender.send_request(request).await.map_err(broken)?;
            match answer.status() {
                status if status.is_success() => hyper::upgrade::on(answer).await.map_err(broken),
                StatusCode::GATEWAY_TIMEOUT => Err(Failure::Silent),
                _ => Err(Failure::Unreachable),
            }
        };
        let (upgraded, _) = tokio::join!(asked, proxy.with_upgrades());
        let parts = upgraded?.downcast::<TokioIo<TcpStream>>();
        match parts {
            Ok(parts) if parts.read_buf.is_empty() => Ok(parts.io.into_inner()),
            // Whom we connect to waits for us to speak first.
            _ => Err(Failure::Protocol("the upstream proxy spoke out of turn".into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_is_read_in_each_form() {
        for text in
            ["socks5://127.0.0.1:1080", "http://[::1]:8080", "http://me:p@ss:word@10.0.0.1:1"]
        {
            let upstream: Upstream = text.parse().unwrap();
            assert_eq!(String::from(upstream), text);
        }
        let plain: Upstream = "127.0.0.1:9050".parse().unwrap();
        assert_eq!(plain, SocketAddr::from(([127, 0, 0, 1], 9050)).into());
        for bad in ["", "https://1.1.1.1:1", "http://proxy.example:1", "http://me@1.1.1.1:1"] {
            assert!(bad.parse::<Upstream>().is_err(), "{bad}");
        }
        let secret: Upstream = "http://me:secret@10.0.0.1:1".parse().unwrap();
        assert!(!format!("{secret:?}").contains("secret"));
    }
}
