//! Whether a stream of TLS was cut off on its way: it stands within a record, and nothing more comes.
//!
//! A server sends whole records (RFC 8446 §5.1), so silence between two is its own, and silence within
//! one is the line's: so looks a freeze after a number of bytes, which lets a handshake pass and the
//! page not. What records hold is not looked at.

use std::time::Duration;

use crate::time::Tick;

/// Bytes before each record: kind, version and length.
const HEADER: usize = 5;
/// The kinds there are (RFC 8446 §5.1).
const KINDS: std::ops::RangeInclusive<u8> = 20..=24;
/// The longest record of any version (RFC 5246 §6.2.3).
const MOST: usize = (1 << 14) + 2048;
/// Silence within a record after which the stream counts as cut off. A device that changes its cell
/// or comes out of a tunnel is back sooner.
const PATIENCE: Duration = Duration::from_secs(8);

/// A stream of records, as it is heard.
#[derive(Debug, Default)]
pub struct Records {
    header: [u8; HEADER],
    /// Bytes of the header that have come.
    begun: usize,
    /// Bytes of the record that are still to come.
    left: usize,
    /// It is something else than TLS, of which nothing can be said.
    is_other: bool,
    silent_since: Option<Tick>,
}

impl Records {
    /// These bytes came.
    pub fn heard(&mut self, mut bytes: &[u8]) {
        self.silent_since = None;
        while !bytes.is_empty() && !self.is_other {
            let within = self.left.min(bytes.len());
            self.left -= within;
            bytes = &bytes[within..];
            while self.left == 0 && self.begun < HEADER {
                let Some((first, rest)) = bytes.split_first() else { return };
                self.header[self.begun] = *first;
                self.begun += 1;
                bytes = rest;
            }
            if self.begun == HEADER {
                self.begin();
            }
        }
    }

    /// Nothing is there to be read now.
    pub fn waits(&mut self, now: Tick) {
        self.silent_since.get_or_insert(now);
    }

    /// When it will count as cut off, if nothing comes until then.
    pub fn due(&self) -> Option<Tick> {
        let within = !self.is_other && (self.left > 0 || self.begun > 0);
        self.silent_since.filter(|_| within).map(|since| since + PATIENCE)
    }

    /// The header is whole.
    fn begin(&mut self) {
        let [kind, major, _, high, low] = self.header;
        let len = usize::from(u16::from_be_bytes([high, low]));
        self.is_other = !KINDS.contains(&kind) || major != 3 || len > MOST;
        self.left = len;
        self.begun = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(len: u16) -> Vec<u8> {
        let mut record = vec![23, 3, 3];
        record.extend(len.to_be_bytes());
        record.extend(std::iter::repeat_n(0xaa, usize::from(len)));
        record
    }

    fn due(bytes: &[u8], piece: usize) -> Option<Tick> {
        let mut records = Records::default();
        for piece in bytes.chunks(piece) {
            records.heard(piece);
        }
        records.waits(Tick(1));
        records.waits(Tick(2));
        records.due()
    }

    #[test]
    fn silence_within_a_record_is_the_lines_and_between_two_the_servers() {
        let two = [record(400), record(16_000)].concat();
        for piece in [1, 4, 5, 7, 1460, two.len()] {
            assert_eq!(due(&two, piece), None, "{piece}");
            for cut in [1, 4, 5, 200, 404, 406, 410, two.len() - 1] {
                assert_eq!(due(&two[..cut], piece), Some(Tick(1) + PATIENCE), "{piece} {cut}");
            }
            assert_eq!(due(&two[..405], piece), None);
        }
        assert_eq!(due(&[record(0), record(0)].concat(), 3), None);
    }

    #[test]
    fn who_goes_on_was_not_cut_off() {
        let long = record(16_000);
        let mut records = Records::default();
        records.heard(&long[..9000]);
        records.waits(Tick(0));
        records.heard(&long[9000..10_000]);
        assert_eq!(records.due(), None, "it is not waited for");
        records.waits(Tick(5));
        assert_eq!(records.due(), Some(Tick(5) + PATIENCE));
        records.heard(&long[10_000..]);
        records.waits(Tick(6));
        assert_eq!(records.due(), None);
    }

    #[test]
    fn of_what_is_not_tls_nothing_is_said() {
        let mut long = record(10);
        long[3] = 0xff;
        for other in [&b"HTTP/1.1 200 OK\r\n"[..], &[22, 2, 0, 0, 9, 1], &long] {
            assert_eq!(due(other, 3), None);
        }
    }
}
