//! SOCKS5 (RFC 1928, RFC 1929) at the same door, for programs that speak no HTTP to a proxy: what begins with
//! its version. Names are for the node to look up. Only TCP: who wants UDP is told so.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use busel_proto::page::HostName;
use fast_socks5::server::{
    AuthMethodSuccessState as _, NoAuthentication, Socks5ServerProtocol, SocksServerError,
};
use fast_socks5::util::target_addr::TargetAddr;
use fast_socks5::{ReplyError, Socks5Command};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tracing::debug;

use super::fields::is_password;
use super::{Entry, Visit};

/// The first byte of a program that speaks it.
pub(super) const VERSION: u8 = 5;

/// Serves one program, which asked for one connection.
pub(super) async fn serve(visit: Arc<Visit>, stream: TcpStream) {
    let asked = timeout(visit.door.limits.head, ask(&visit, stream)).await;
    match asked {
        Ok(Ok(Some((client, host, port)))) => {
            visit.fate.served.store(true, Ordering::Relaxed);
            visit.carry(Box::new(client), host, port).await;
        }
        Ok(Ok(None)) | Err(_) => {}
        Ok(Err(error)) => debug!(%error, "a SOCKS connection did not begin"),
    }
}

/// What a program asks for; `None` if it was told that it can't have it.
async fn ask(
    visit: &Visit,
    stream: TcpStream,
) -> Result<Option<(TcpStream, HostName, u16)>, SocksServerError> {
    let asking = match (&visit.entry, &visit.door.password) {
        (Entry::Open, _) => Socks5ServerProtocol::accept_no_auth(stream).await?,
        (Entry::Password, Some(password)) => {
            let fits =
                |user: String, given: String| is_password(&user, &given, password).then_some(());
            Socks5ServerProtocol::accept_password_auth(stream, fits).await?.0
        }
        (Entry::Closed(_) | Entry::Password, _) => {
            let none: &[NoAuthentication] = &[];
            Socks5ServerProtocol::start(stream).negotiate_auth(none).await?.finish_auth()
        }
    };
    let (asking, command, target) = asking.read_command().await?;
    let (host, port) = match target {
        TargetAddr::Ip(addr) => (HostName::parse(&host_of(addr.ip())), addr.port()),
        TargetAddr::Domain(name, port) => (HostName::parse(&name), port),
    };
    let refusal = match (&command, &host) {
        (Socks5Command::TCPConnect, Ok(host)) if visit.leads_here(host, port) => {
            ReplyError::ConnectionNotAllowed
        }
        (Socks5Command::TCPConnect, Ok(_)) if port != 0 => {
            let nobody = (std::net::Ipv4Addr::UNSPECIFIED, 0).into();
            let client = asking.reply_success(nobody).await?;
            return Ok(host.ok().map(|host| (client, host, port)));
        }
        (Socks5Command::TCPConnect, _) => ReplyError::HostUnreachable,
        (Socks5Command::TCPBind | Socks5Command::UDPAssociate, _) => {
            ReplyError::CommandNotSupported
        }
    };
    asking.reply_error(&refusal).await?;
    Ok(None)
}

/// An address as a host of a URL.
fn host_of(ip: std::net::IpAddr) -> String {
    match ip.to_canonical() {
        std::net::IpAddr::V4(ip) => ip.to_string(),
        std::net::IpAddr::V6(ip) => format!("[{ip}]"),
    }
}
