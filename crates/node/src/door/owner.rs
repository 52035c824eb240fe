//! Who is on the other end of a loopback connection: the user that owns the client's socket.
//!
//! A door on loopback is open to every program of the machine, those of other users too, which on
//! a shared computer must neither read through this node nor learn what it holds. On Linux the
//! kernel tells the owner of a socket by its four addresses (`sock_diag`). Elsewhere nothing here
//! can tell, and the door asks for credentials instead. It tells users apart, not programs.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

/// The user who holds the client's end of the connection from `client` to `ours`. `None` if there
/// is no such end on this machine, or no program holds it any more.
///
/// It blocks for two system calls, some microseconds: the kernel answers within the first.
pub(crate) fn uid_of(client: SocketAddr, ours: SocketAddr) -> io::Result<Option<u32>> {
    system::uid_of(canonical(client), canonical(ours))
}

/// The user who listens on this address of this machine; `None` if nobody does.
pub(crate) fn uid_of_listener(at: SocketAddr) -> io::Result<Option<u32>> {
    system::uid_of_listener(canonical(at))
}

/// The user that this process's sockets belong to. If the system doesn't say, a number that is no
/// user's.
pub(crate) fn own_uid() -> u32 {
    system::own_uid().unwrap_or(u32::MAX)
}

/// Whether [`uid_of`] works here, found out with a connection of our own: a kernel without
/// `sock_diag`, or a sandbox that forbids it, would otherwise show only as everyone being refused.
pub(crate) fn can_tell() -> bool {
    let probe = || {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let client = std::net::TcpStream::connect(listener.local_addr()?)?;
        uid_of(client.local_addr()?, client.peer_addr()?)
    };
    probe().is_ok_and(|uid| uid == Some(own_uid()))
}

/// IPv4 in IPv6 clothes is IPv4: the kernel finds either by it.
fn canonical(addr: SocketAddr) -> SocketAddr {
    SocketAddr::new(addr.ip().to_canonical(), addr.port())
}

#[cfg(target_os = "linux")]
mod system {
    use std::io;
    use std::net::{Ipv4Addr, SocketAddr};
    use std::time::Duration;

    use netlink_packet_core::{NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload};
    use netlink_packet_sock_diag::SockDiagMessage;
    use netlink_packet_sock_diag::constants::{AF_INET, AF_INET6, IPPROTO_TCP};
    use netlink_packet_sock_diag::inet::{
        ExtensionFlags, InetRequest, InetResponse, SocketId, StateFlags,
    };
    use netlink_sys::protocols::NETLINK_SOCK_DIAG;
    use netlink_sys::{Socket, SocketAddr as NetlinkAddr};

    /// How often and after what pause an answer is looked for that isn't there at once.
    const TRIES: u32 = 20;
    const PAUSE: Duration = Duration::from_micros(250);
    /// "No such entry" in a netlink answer.
    const ENOENT: i32 = 2;

    pub(super) fn uid_of(client: SocketAddr, ours: SocketAddr) -> io::Result<Option<u32>> {
        let found = socket(client, ours)?;
        Ok(found.and_then(|found| owner(&found, client, ours)))
    }

    /// To nobody's address no connection fits, so that the kernel shows the listener, under whichever
    /// address it listens.
    pub(super) fn uid_of_listener(at: SocketAddr) -> io::Result<Option<u32>> {
        let nobody = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
        let found = socket(at, nobody)?.filter(|found| {
            let id = &found.header.socket_id;
            id.source_port == at.port() && id.destination_port == 0 && found.header.inode != 0
        });
        Ok(found.map(|found| found.header.uid))
    }

    fn socket(client: SocketAddr, ours: SocketAddr) -> io::Result<Option<Box<InetResponse>>> {
        let question = question(client, ours);
        let mut socket = Socket::new(NETLINK_SOCK_DIAG)?;
        socket.set_non_blocking(true)?;
        socket.bind_auto()?;
        socket.connect(&NetlinkAddr::new(0, 0))?;
        socket.send(&question, 0)?;
        let answer = receive(&socket)?;
        let invalid = |e| io::Error::new(io::ErrorKind::InvalidData, e);
        let answer = NetlinkMessage::<SockDiagMessage>::deserialize(&answer).map_err(invalid)?;
        match answer.payload {
            NetlinkPayload::InnerMessage(SockDiagMessage::InetResponse(found)) => Ok(Some(found)),
            NetlinkPayload::Error(error) => match error.to_io() {
                error if error.raw_os_error() == Some(ENOENT) => Ok(None),
                error => Err(error),
            },
            _ => Err(io::Error::new(io::ErrorKind::InvalidData, "not an answer about a socket")),
        }
    }

    /// Asks for the one socket whose own address is `client` and whose peer is `ours`.
    fn question(client: SocketAddr, ours: SocketAddr) -> Vec<u8> {
        let family = if client.is_ipv4() && ours.is_ipv4() { AF_INET } else { AF_INET6 };
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST;
        let request = InetRequest {
            family,
            protocol: IPPROTO_TCP,
            extensions: ExtensionFlags::empty(),
            states: StateFlags::all(),
            socket_id: SocketId {
                source_port: client.port(),
                destination_port: ours.port(),
                source_address: client.ip(),
                destination_address: ours.ip(),
                interface_id: 0,
                cookie: [0xff; 8],
            },
        };
        let payload = SockDiagMessage::InetRequest(request).into();
        let mut message = NetlinkMessage::new(header, payload);
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        bytes
    }

    fn receive(socket: &Socket) -> io::Result<Vec<u8>> {
        for _ in 0..TRIES {
            let mut answer = Vec::with_capacity(4096);
            match socket.recv(&mut answer, 0) {
                Ok(_) => return Ok(answer),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => std::thread::sleep(PAUSE),
                Err(e) => return Err(e),
            }
        }
        Err(io::ErrorKind::TimedOut.into())
    }

    /// A socket that no program holds any more is shown as root's, so its owner is not believed;
    /// where no connection fits, the kernel shows a listener with that port.
    fn owner(found: &InetResponse, client: SocketAddr, ours: SocketAddr) -> Option<u32> {
        let id = &found.header.socket_id;
        let source = (id.source_address.to_canonical(), id.source_port);
        let peer = (id.destination_address.to_canonical(), id.destination_port);
        let same = source == (client.ip(), client.port()) && peer == (ours.ip(), ours.port());
        (same && found.header.inode != 0).then_some(found.header.uid)
    }

    pub(super) fn own_uid() -> Option<u32> {
        // Not the owner of /proc/self: that is root if the process forbids dumps.
        let status = std::fs::read_to_string("/proc/self/status").ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
        // Real, effective, saved, file system: sockets belong to the last.
        line.split_ascii_whitespace().nth(3)?.parse().ok()
    }
}

#[cfg(not(target_os = "linux"))]
mod system {
    use std::io;
    use std::net::SocketAddr;

    pub(super) fn uid_of(_: SocketAddr, _: SocketAddr) -> io::Result<Option<u32>> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(super) fn uid_of_listener(_: SocketAddr) -> io::Result<Option<u32>> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(super) fn own_uid() -> Option<u32> {
        None
    }
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::os::unix::process::CommandExt;
    use std::process::{Command, Stdio};

    use super::*;

    /// A listener at `on`, and a client that connects to it at `to`.
    fn pair(on: &str, to: &str) -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind((on, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let client = TcpStream::connect((to, port)).unwrap();
        (client, listener.accept().unwrap().0)
    }

    fn uid_seen_by(server: &TcpStream) -> Option<u32> {
        uid_of(server.peer_addr().unwrap(), server.local_addr().unwrap()).unwrap()
    }

    #[test]
    fn a_connection_of_this_process_is_its_users() {
        assert!(can_tell());
        for (on, to) in [
            ("127.0.0.1", "127.0.0.1"),
            ("::1", "::1"),
            ("::", "127.0.0.1"),
            ("127.0.0.1", "::ffff:127.0.0.1"),
            ("::", "::ffff:127.0.0.1"),
        ] {
            let (_client, server) = pair(on, to);
            assert_eq!(uid_seen_by(&server), Some(own_uid()), "{on} {to}");
        }
    }

    #[test]
    fn a_connection_that_does_not_exist_is_nobodys() {
        let (client, _server) = pair("127.0.0.1", "127.0.0.1");
        let (from, to) = (client.local_addr().unwrap(), client.peer_addr().unwrap());
        let other = SocketAddr::new(to.ip(), to.port() ^ 1);
        assert_eq!(uid_of(from, other).unwrap(), None);
        let far = "192.0.2.1:443".parse().unwrap();
        assert_eq!(uid_of(far, to).unwrap(), None);
    }

    #[test]
    fn a_listener_with_the_clients_port_is_not_taken_for_the_client() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let here = listener.local_addr().unwrap();
        assert_eq!(uid_of(here, "127.0.0.1:9".parse().unwrap()).unwrap(), None);
    }

    #[test]
    fn a_client_that_has_closed_is_nobodys() {
        let (client, server) = pair("127.0.0.1", "127.0.0.1");
        drop(client);
        assert_eq!(uid_seen_by(&server), None);
    }

    #[test]
    fn who_listens_is_told_and_of_an_empty_port_nobody() {
        for on in ["127.0.0.1:0", "0.0.0.0:0", "[::]:0"] {
            let listener = TcpListener::bind(on).unwrap();
            let at = SocketAddr::from((Ipv4Addr::LOCALHOST, listener.local_addr().unwrap().port()));
            let _client = TcpStream::connect(at).unwrap();
            assert_eq!(uid_of_listener(at).unwrap(), Some(own_uid()), "{on}");
            drop(listener);
            assert_eq!(uid_of_listener(at).unwrap(), None, "{on}");
        }
    }

    #[test]
    fn another_user_is_told_apart() {
        if own_uid() != 0 {
            return;
        }
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let script = format!("exec 3<>/dev/tcp/127.0.0.1/{port}; echo >&3; read line <&3");
        let mut child = Command::new("bash")
            .args(["-c", &script])
            .uid(65534)
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let (mut server, _) = listener.accept().unwrap();
        server.read_exact(&mut [0]).unwrap();
        assert_eq!(uid_seen_by(&server), Some(65534));
        server.write_all(b"\n").unwrap();
        child.wait().unwrap();
    }
}
