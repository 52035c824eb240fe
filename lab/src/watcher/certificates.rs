//! The names in certificates that a server shows in the clear, as TLS 1.2 does; TLS 1.3 hides them.

use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate};

const HANDSHAKE: u8 = 22;
const CERTIFICATE: u8 = 11;

/// The names in all certificates at the beginning of a server's side.
pub(super) fn names(start: &[u8]) -> Vec<String> {
    let messages = handshake(start);
    certificates(&messages).into_iter().flat_map(names_in).collect()
}

/// The handshake messages that are in the clear, out of their records.
fn handshake(mut start: &[u8]) -> Vec<u8> {
    let mut messages = Vec::new();
    while let [HANDSHAKE, 3, _, a, b, rest @ ..] = start {
        let len = usize::from(u16::from_be_bytes([*a, *b])).min(rest.len());
        messages.extend_from_slice(&rest[..len]);
        start = &rest[len..];
    }
    messages
}

fn certificates(mut messages: &[u8]) -> Vec<&[u8]> {
    let mut found = Vec::new();
    while let Some((kind, body, rest)) = message(messages) {
        if kind == CERTIFICATE {
            let mut list = body.get(3..).unwrap_or_default();
            while let Some((certificate, others)) = long(list) {
                found.push(certificate);
                list = others;
            }
        }
        messages = rest;
    }
    found
}

fn message(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (kind, rest) = bytes.split_first()?;
    let (body, rest) = long(rest)?;
    Some((*kind, body, rest))
}

/// Bytes behind their length of three bytes.
fn long(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let [a, b, c, rest @ ..] = bytes else { return None };
    let len = u32::from_be_bytes([0, *a, *b, *c]);
    rest.split_at_checked(usize::try_from(len).ok()?)
}

fn names_in(der: &[u8]) -> Vec<String> {
    let Ok((_, certificate)) = X509Certificate::from_der(der) else { return Vec::new() };
    let mut names = vec![certificate.subject().to_string(), certificate.issuer().to_string()];
    if let Ok(Some(others)) = certificate.subject_alternative_name() {
        names.extend(others.value.general_names.iter().filter_map(|name| match name {
            GeneralName::DNSName(name) => Some((*name).to_owned()),
            _ => None,
        }));
    }
    names
}
