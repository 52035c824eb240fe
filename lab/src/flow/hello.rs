//! The TLS ClientHello at the beginning of a connection, as a box reads it: the site's name and all
//! that a fingerprint is made of. It is put together over records as well as segments, which some
//! real boxes can't; a policy that shall be that weak looks at the packet itself.

use tls_parser::{
    TlsExtension, TlsMessage, TlsMessageHandshake, parse_tls_client_hello_extensions,
    parse_tls_message_handshake,
};

/// What a client has said first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientHello {
    /// The site's name, in small letters.
    pub sni: Option<String>,
    /// The protocols that it offers.
    pub alpn: Vec<String>,
    /// The version in its header.
    pub version: u16,
    /// Cipher suites, in its order.
    pub ciphers: Vec<u16>,
    /// Extensions with their content, in its order.
    pub extensions: Vec<(u16, Vec<u8>)>,
    /// Groups (curves), in its order.
    pub groups: Vec<u16>,
    /// Formats of points.
    pub point_formats: Vec<u8>,
    /// Signature algorithms, in its order.
    pub signatures: Vec<u16>,
    /// The versions that it offers.
    pub versions: Vec<u16>,
    /// The handshake message, without record headers.
    pub raw: Vec<u8>,
}

/// The bytes are no ClientHello, whatever follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotOne;

impl ClientHello {
    /// Reads it from the first bytes of a TCP connection; nothing if more are needed.
    pub fn find(start: &[u8]) -> Result<Option<Self>, NotOne> {
        let Some(message) = message(start)? else { return Ok(None) };
        Self::parse(&message).map(Some)
    }

    /// Reads it from a whole handshake message, such as QUIC's CRYPTO frames carry.
    pub fn parse(message: &[u8]) -> Result<Self, NotOne> {
        let (_, parsed) = parse_tls_message_handshake(message).map_err(|_| NotOne)?;
        let TlsMessage::Handshake(TlsMessageHandshake::ClientHello(hello)) = parsed else {
            return Err(NotOne);
        };
        let mut found = Self {
            version: hello.version.0,
            ciphers: hello.ciphers.iter().map(|cipher| cipher.0).collect(),
            raw: message.to_vec(),
            ..Self::default()
        };
        let extensions = hello.ext.unwrap_or_default();
        found.extensions = raw_extensions(extensions);
        // What the parser can't read is not among its extensions, but is among the raw ones.
        let (_, known) = parse_tls_client_hello_extensions(extensions).unwrap_or_default();
        for extension in &known {
            found.note(extension);
        }
        Ok(found)
    }

    fn note(&mut self, extension: &TlsExtension<'_>) {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        match extension {
            TlsExtension::SNI(names) => {
                self.sni = names.first().map(|(_, name)| text(name).to_ascii_lowercase());
            }
            TlsExtension::ALPN(names) => self.alpn = names.iter().map(|name| text(name)).collect(),
            TlsExtension::EllipticCurves(groups) => {
                self.groups = groups.iter().map(|group| group.0).collect();
            }
            TlsExtension::EcPointFormats(formats) => self.point_formats = formats.to_vec(),
            TlsExtension::SignatureAlgorithms(signatures) => {
                self.signatures.clone_from(signatures);
            }
            TlsExtension::SupportedVersions(versions) => {
                self.versions = versions.iter().map(|version| version.0).collect();
            }
            _ => {}
        }
    }
}

/// The first handshake message, out of its records.
fn message(start: &[u8]) -> Result<Option<Vec<u8>>, NotOne> {
    let mut message = Vec::new();
    let mut rest = start;
    loop {
        match message.as_slice() {
            [1, a, b, c, ..] => {
                let len = 4 + u32::from_be_bytes([0, *a, *b, *c]) as usize;
                if message.len() >= len {
                    message.truncate(len);
                    return Ok(Some(message));
                }
            }
            [kind, ..] if *kind != 1 => return Err(NotOne),
            _ => {}
        }
        let (len, body) = match rest {
            [0x16, 3, _, a, b, body @ ..] => (usize::from(u16::from_be_bytes([*a, *b])), body),
            [] | [0x16] | [0x16, 3, ..] => return Ok(None),
            _ => return Err(NotOne),
        };
        let here = len.min(body.len());
        message.extend_from_slice(&body[..here]);
        rest = &body[here..];
    }
}

fn raw_extensions(mut bytes: &[u8]) -> Vec<(u16, Vec<u8>)> {
    let mut found = Vec::new();
    while let [a, b, c, d, rest @ ..] = bytes {
        let len = usize::from(u16::from_be_bytes([*c, *d])).min(rest.len());
        found.push((u16::from_be_bytes([*a, *b]), rest[..len].to_vec()));
        bytes = &rest[len..];
    }
    found
}
