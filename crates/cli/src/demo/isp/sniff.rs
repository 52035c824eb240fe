//! Reads a site's name from a client's first bytes: SNI from a TLS ClientHello, put together
//! across records, or Host from an HTTP request. Pure; it judges nothing and keeps nothing.
//!
//! As real boxes do, it gives up on what it doesn't know, and looks at nothing behind the first
//! request.

/// How many bytes of a client are looked at.
pub(super) const MAX_FLIGHT: usize = 16 << 10;

/// What the bytes so far show.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Sight {
    /// More bytes are needed.
    More,
    /// A ClientHello for this name.
    Sni(String),
    /// An HTTP request for this host.
    Host(String),
    /// Nothing that can be read.
    Nothing,
}

/// Looks at all the bytes that a client has sent.
pub(super) fn sniff(flight: &[u8]) -> Sight {
    let sight = match flight.first() {
        None => Sight::More,
        Some(0x16) => hello(flight),
        Some(_) => request(flight),
    };
    if sight == Sight::More && flight.len() >= MAX_FLIGHT {
        return Sight::Nothing;
    }
    sight
}

/// The name in a ClientHello that may be spread over several records.
fn hello(flight: &[u8]) -> Sight {
    let mut handshake = Vec::new();
    let mut records = Reader(flight);
    loop {
        match handshake.as_slice() {
            [1, a, b, c, rest @ ..] => {
                let len = u32::from_be_bytes([0, *a, *b, *c]) as usize;
                if let Some(body) = rest.get(..len) {
                    return server_name(body).map_or(Sight::Nothing, Sight::Sni);
                }
            }
            [kind, ..] if *kind != 1 => return Sight::Nothing,
            _ => {}
        }
        let [kind, major, _, a, b, rest @ ..] = records.0 else {
            return Sight::More;
        };
        if *kind != 0x16 || *major != 3 {
            return Sight::Nothing;
        }
        let len = usize::from(u16::from_be_bytes([*a, *b]));
        let here = rest.len().min(len);
        handshake.extend_from_slice(&rest[..here]);
        records.0 = &rest[here..];
    }
}

/// The host name in a ClientHello's body.
fn server_name(body: &[u8]) -> Option<String> {
    let mut body = Reader(body);
    body.take(2 + 32)?;
    body.short_vector()?;
    body.vector()?;
    body.short_vector()?;
    let mut extensions = Reader(body.vector()?);
    loop {
        let kind = extensions.number()?;
        let content = extensions.vector()?;
        if kind != 0 {
            continue;
        }
        let mut names = Reader(Reader(content).vector()?);
        // Only host names are defined, so that the first entry is the one.
        let [0] = names.take(1)? else {
            return None;
        };
        let name = std::str::from_utf8(names.vector()?).ok()?;
        return Some(name.to_owned());
    }
}

/// The Host of an HTTP/1 request.
fn request(flight: &[u8]) -> Sight {
    let method = flight.iter().take_while(|b| b.is_ascii_uppercase()).count();
    match flight.get(method) {
        None if method <= 10 => return Sight::More,
        Some(b' ') if (1..=10).contains(&method) => {}
        _ => return Sight::Nothing,
    }
    let mut rest = flight;
    while let Some(end) = rest.iter().position(|b| *b == b'\n') {
        let line = rest[..end].trim_ascii();
        rest = &rest[end + 1..];
        if line.is_empty() {
            return Sight::Nothing;
        }
        let Ok(line) = std::str::from_utf8(line) else {
            continue;
        };
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("host")
        {
            return Sight::Host(without_port(value.trim()).to_owned());
        }
    }
    Sight::More
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    }
}

/// Takes TLS's numbers and vectors off the front.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn number(&mut self) -> Option<u16> {
        let bytes = self.take(2)?.try_into().ok()?;
        Some(u16::from_be_bytes(bytes))
    }

    fn vector(&mut self) -> Option<&'a [u8]> {
        let len = self.number()?;
        self.take(usize::from(len))
    }

    fn short_vector(&mut self) -> Option<&'a [u8]> {
        let len = *self.take(1)?.first()?;
        self.take(usize::from(len))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rustls::crypto::ring;
    use rustls::{ClientConfig, ClientConnection, RootCertStore};

    use super::*;

    /// What rustls sends first.
    fn real_hello(host: &str) -> Vec<u8> {
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(RootCertStore::empty())
            .with_no_client_auth();
        let host = host.to_owned().try_into().expect("a name");
        let mut client = ClientConnection::new(Arc::new(config), host).expect("a client");
        let mut bytes = Vec::new();
        client.write_tls(&mut bytes).expect("written");
        bytes
    }

    /// The same handshake, cut into records of a few bytes.
    fn shredded(hello: &[u8], size: usize) -> Vec<u8> {
        let mut out = Vec::new();
        for piece in hello[5..].chunks(size) {
            out.extend([0x16, 3, 1]);
            out.extend((piece.len() as u16).to_be_bytes());
            out.extend_from_slice(piece);
        }
        out
    }

    #[test]
    fn a_name_is_read_whole_or_split_and_never_too_early() {
        let whole = real_hello("news.example");
        for hello in [whole.clone(), shredded(&whole, 7)] {
            let seen = Sight::Sni("news.example".to_owned());
            assert_eq!(sniff(&hello), seen);
            for cut in 0..hello.len() {
                assert_eq!(sniff(&hello[..cut]), Sight::More, "at {cut}");
            }
        }
        assert_eq!(sniff(&real_hello("203.0.113.1")), Sight::Nothing);
    }

    #[test]
    fn a_host_is_read_without_its_port() {
        let seen = |text: &str| sniff(text.as_bytes());
        let host = |name: &str| Sight::Host(name.to_owned());
        assert_eq!(seen("GET / HTTP/1.1\r\nhOST:  a.example:80 \r\n"), host("a.example"));
        assert_eq!(seen("GET / HTTP/1.1\r\nA: b\r\nHost: a.example\r\n"), host("a.example"));
        assert_eq!(seen("GET / HTTP/1.1\r\nHost: a.ex"), Sight::More);
        assert_eq!(seen("GET / HTTP/1.0\r\n\r\nHost: a.example\r\n"), Sight::Nothing);
        assert_eq!(seen("GE"), Sight::More);
        assert_eq!(seen("SSH-2.0-OpenSSH"), Sight::Nothing);
        assert_eq!(seen("hello"), Sight::Nothing);
    }

    #[test]
    fn bytes_of_any_kind_are_survived_and_bounded() {
        let mut dice = 1_u32;
        let mut hello = real_hello("news.example");
        for _ in 0..20_000 {
            dice = dice.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let at = (dice >> 8) as usize % hello.len();
            hello[at] = dice as u8;
            sniff(&hello);
        }
        let mut endless = vec![0x16, 3, 1, 0xff, 0xff, 1, 0xff, 0xff, 0xff];
        endless.resize(MAX_FLIGHT, 0);
        assert_eq!(sniff(&endless), Sight::Nothing);
        assert_eq!(sniff(&[0x16, 3, 1, 0, 0].repeat(4000)), Sight::Nothing);
        assert_eq!(sniff(format!("GET /{}", "x".repeat(MAX_FLIGHT)).as_bytes()), Sight::Nothing);
    }
}
