//! By what a ClientHello is known whoever sends it: JA3 (Salesforce, 2017) and JA4 (FoxIO, 2023), as
//! their authors publish them. Neither looks at the site's name itself.
//!
//! Of JA4 it makes the client's part for TLS only, over TCP or QUIC.

use data_encoding::HEXLOWER;
use md5::Md5;
use sha2::{Digest as _, Sha256};

use super::ClientHello;

/// Extensions that JA4 counts but does not hash: the name and the protocols.
const NAME: u16 = 0;
const PROTOCOLS: u16 = 16;

impl ClientHello {
    /// Its JA3 hash: 32 hexadecimal digits.
    pub fn ja3(&self) -> String {
        HEXLOWER.encode(&Md5::digest(self.ja3_text()))
    }

    /// What JA3 hashes.
    pub fn ja3_text(&self) -> String {
        let list = |numbers: &[u16]| joined(numbers, "-", |number| number.to_string());
        let kinds: Vec<u16> = self.extensions.iter().map(|(kind, _)| *kind).collect();
        let formats: Vec<u16> = self.point_formats.iter().copied().map(u16::from).collect();
        let [ciphers, groups] = [&self.ciphers, &self.groups].map(|numbers| list(&plain(numbers)));
        let (kinds, formats) = (list(&plain(&kinds)), list(&formats));
        format!("{},{ciphers},{kinds},{groups},{formats}", self.version)
    }

    /// Its JA4: `t13d1516h2_8daaf6152771_e5627efa2ab1` is one.
    pub fn ja4(&self, over_quic: bool) -> String {
        let mut ciphers = plain(&self.ciphers);
        ciphers.sort_unstable();
        let kinds: Vec<u16> = self.extensions.iter().map(|(kind, _)| *kind).collect();
        let kinds = plain(&kinds);
        let name = if kinds.contains(&NAME) { 'd' } else { 'i' };
        let carrier = if over_quic { 'q' } else { 't' };
        format!(
            "{carrier}{}{name}{:02}{:02}{}_{}_{}",
            self.ja4_version(),
            ciphers.len().min(99),
            kinds.len().min(99),
            self.ja4_protocol(),
            short_hash(&hex(&ciphers)),
            short_hash(&self.ja4_rest(kinds)),
        )
    }

    /// The newest version that it offers.
    fn ja4_version(&self) -> &'static str {
        match plain(&self.versions).into_iter().max().unwrap_or(self.version) {
            0x0304 => "13",
            0x0303 => "12",
            0x0302 => "11",
            0x0301 => "10",
            0x0300 => "s3",
            0x0002 => "s2",
            _ => "00",
        }
    }

    /// The first and the last letter of the first protocol that it offers.
    fn ja4_protocol(&self) -> String {
        let listed = self.extensions.iter().find(|(kind, _)| *kind == PROTOCOLS);
        let first = listed.and_then(|(_, content)| match content.as_slice() {
            [_, _, len, rest @ ..] => rest.get(..usize::from(*len)),
            _ => None,
        });
        let ends = first.and_then(|name| Some((*name.first()?, *name.last()?)));
        let Some((first, last)) = ends else { return "00".to_owned() };
        if first.is_ascii_alphanumeric() && last.is_ascii_alphanumeric() {
            return format!("{}{}", char::from(first), char::from(last));
        }
        format!("{:x}{:x}", first >> 4, last & 15)
    }

    /// The extensions in order of number, then the signature algorithms in the client's.
    fn ja4_rest(&self, mut kinds: Vec<u16>) -> String {
        kinds.retain(|kind| *kind != NAME && *kind != PROTOCOLS);
        kinds.sort_unstable();
        let (kinds, signatures) = (hex(&kinds), hex(&plain(&self.signatures)));
        if signatures.is_empty() { kinds } else { format!("{kinds}_{signatures}") }
    }
}

/// Without the numbers that clients throw in so that servers get used to new ones (GREASE, RFC 8701).
fn plain(numbers: &[u16]) -> Vec<u16> {
    let is_grease = |number: u16| number & 0x0f0f == 0x0a0a && number >> 8 == number & 0xff;
    numbers.iter().copied().filter(|number| !is_grease(*number)).collect()
}

fn joined(numbers: &[u16], by: &str, written: impl Fn(&u16) -> String) -> String {
    numbers.iter().map(written).collect::<Vec<_>>().join(by)
}

fn hex(numbers: &[u16]) -> String {
    joined(numbers, ",", |number| format!("{number:04x}"))
}

/// Twelve digits; zeroes for nothing.
fn short_hash(text: &str) -> String {
    if text.is_empty() {
        return "0".repeat(12);
    }
    HEXLOWER.encode(&Sha256::digest(text)[..6])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The examples of JA3's own description.
    #[test]
    fn ja3_is_as_published() {
        let none = |kinds: &[u16]| kinds.iter().map(|kind| (*kind, Vec::new())).collect();
        let mut hello = ClientHello {
            version: 769,
            ciphers: vec![47, 53, 5, 10, 49161, 49162, 49171, 49172, 50, 56, 19, 4],
            extensions: none(&[0, 10, 11]),
            groups: vec![23, 24, 25],
            point_formats: vec![0],
            ..ClientHello::default()
        };
        assert_eq!(hello.ja3(), "ada70206e40642a3e4461f35503241d5");
        hello.ciphers.insert(0, 0x1a1a);
        hello.extensions.push((0xfafa, vec![0]));
        hello.groups.insert(0, 0x0a0a);
        assert_eq!(hello.ja3(), "ada70206e40642a3e4461f35503241d5", "GREASE is not seen");
        let hello = ClientHello {
            version: 769,
            ciphers: vec![4, 5, 10, 9, 100, 98, 3, 6, 19, 18, 99],
            ..ClientHello::default()
        };
        assert_eq!(hello.ja3_text(), "769,4-5-10-9-100-98-3-6-19-18-99,,,");
        assert_eq!(hello.ja3(), "de350869b8c85de67a350c8d186f11e6");
    }

    /// The example of JA4's own description: a Chrome.
    fn chrome() -> ClientHello {
        let kinds = [
            0x1a1a, 0x001b, 0x0000, 0x0033, 0x0010, 0x4469, 0x0017, 0x002d, 0x000d, 0x0005, 0x0023,
            0x0012, 0x002b, 0xff01, 0x000b, 0x000a, 0x0015, 0x2a2a,
        ];
        let protocols = b"\0\x0c\x02h2\x08http/1.1".to_vec();
        let content = |kind| if kind == PROTOCOLS { protocols.clone() } else { Vec::new() };
        ClientHello {
            version: 0x0303,
            ciphers: vec![
                0x3a3a, 0x1301, 0x1302, 0x1303, 0xc02b, 0xc02f, 0xc02c, 0xc030, 0xcca9, 0xcca8,
                0xc013, 0xc014, 0x009c, 0x009d, 0x002f, 0x0035,
            ],
            extensions: kinds.into_iter().map(|kind| (kind, content(kind))).collect(),
            signatures: vec![0x0403, 0x0804, 0x0401, 0x0503, 0x0805, 0x0501, 0x0806, 0x0601],
            versions: vec![0x4a4a, 0x0304, 0x0303],
            ..ClientHello::default()
        }
    }

    #[test]
    fn ja4_is_as_published() {
        let mut hello = chrome();
        assert_eq!(hello.ja4(false), "t13d1516h2_8daaf6152771_e5627efa2ab1");
        hello.extensions.reverse();
        assert_eq!(hello.ja4(true), "q13d1516h2_8daaf6152771_e5627efa2ab1");
    }

    #[test]
    fn ja4_of_little() {
        let hello = ClientHello { version: 0x0301, ..ClientHello::default() };
        assert_eq!(hello.ja4(false), "t10i000000_000000000000_000000000000");
        let odd = vec![(PROTOCOLS, vec![0, 3, 2, 0xab, 0xcd])];
        let hello = ClientHello { extensions: odd, ..hello };
        assert!(hello.ja4(false).starts_with("t10i0001ad_"), "{}", hello.ja4(false));
    }
}
