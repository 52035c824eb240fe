//! A server that sends back what it gets, by UDP and TCP, for tests of what passes whatever it means.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};

use busel_lab::world::Host;

use crate::SILENCE;

/// It serves until the test's process ends.
pub(crate) struct Echo {
    port: u16,
}

impl Echo {
    /// Starts it on a port of a host.
    pub(crate) fn start(host: &Host, port: u16) -> anyhow::Result<Self> {
        let any = SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port);
        let udp = host.enter(move || UdpSocket::bind(any))?;
        let tcp = host.enter(move || TcpListener::bind(any))?;
        std::thread::spawn(move || {
            let mut buffer = [0; 2048];
            while let Ok((len, from)) = udp.recv_from(&mut buffer) {
                udp.send_to(&buffer[..len], from).ok();
            }
        });
        std::thread::spawn(move || {
            for stream in tcp.incoming().flatten() {
                std::thread::spawn(move || repeat(stream).ok());
            }
        });
        Ok(Self { port })
    }

    /// Whether a datagram from a host comes back.
    pub(crate) fn answers(&self, host: &Host, ip: IpAddr, data: &[u8]) -> bool {
        let any: IpAddr = match ip {
            IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let asked = || -> std::io::Result<bool> {
            let socket = host.enter(move || UdpSocket::bind((any, 0)))?;
            socket.set_read_timeout(Some(SILENCE))?;
            socket.send_to(data, (ip, self.port))?;
            let mut buffer = [0; 2048];
            let (len, _) = socket.recv_from(&mut buffer)?;
            Ok(&buffer[..len] == data)
        };
        asked().unwrap_or(false)
    }

    /// Whether what a host says comes back on one connection, each piece before the next.
    pub(crate) fn repeats(&self, host: &Host, ip: IpAddr, pieces: &[&[u8]]) -> bool {
        let at = SocketAddr::new(ip, self.port);
        let said = || -> std::io::Result<bool> {
            let mut stream = host.enter(move || TcpStream::connect_timeout(&at, SILENCE))?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(SILENCE))?;
            for piece in pieces {
                let mut buffer = vec![0; piece.len()];
                stream.write_all(piece)?;
                stream.read_exact(&mut buffer)?;
                if buffer != *piece {
                    return Ok(false);
                }
            }
            Ok(true)
        };
        said().unwrap_or(false)
    }
}

fn repeat(mut stream: TcpStream) -> std::io::Result<()> {
    let mut buffer = [0; 2048];
    loop {
        match stream.read(&mut buffer)? {
            0 => return Ok(()),
            len => stream.write_all(&buffer[..len])?,
        }
    }
}
