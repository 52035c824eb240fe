//! Whether a text can be read anywhere in a capture: in the payload of any packet, across segments at
//! the beginning of a flow, and in what QUIC's Initial packets hide from nobody.

use super::Report;

/// Each place where it is.
pub(super) fn find(report: &Report, text: &str) -> Vec<String> {
    let forms = [text.to_ascii_lowercase().into_bytes(), labels(text)];
    let is_in = |bytes: &[u8]| forms.iter().any(|form| has(bytes, form));
    let mut places = Vec::new();
    for seen in report.flows.values() {
        let server = seen.server;
        let mut place = |bytes: &[u8], what: &str| {
            if is_in(bytes) {
                places.push(format!("{what} {server}"));
            }
        };
        place(&seen.up, "to");
        place(&seen.down, "from");
        if let Some(hello) = &seen.hello {
            place(&hello.raw, "in the hello to");
        }
    }
    let packets = report.payloads.iter().filter(|payload| is_in(payload)).count();
    if packets > 0 {
        places.push(format!("{packets} packets"));
    }
    places
}

/// A name as DNS writes it.
fn labels(name: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for label in name.split('.') {
        bytes.push(u8::try_from(label.len()).unwrap_or(u8::MAX));
        bytes.extend(label.to_ascii_lowercase().bytes());
    }
    bytes
}

fn has(bytes: &[u8], wanted: &[u8]) -> bool {
    !wanted.is_empty() && bytes.windows(wanted.len()).any(|part| part.eq_ignore_ascii_case(wanted))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_found_in_each_form() {
        assert_eq!(labels("news.example"), b"\x04news\x07example");
        assert!(has(b"GET http://News.Example/", b"news.example"));
        assert!(!has(b"news", b"news.example") && !has(b"any", b""));
    }
}
