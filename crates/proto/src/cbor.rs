//! Deterministic CBOR (RFC 8949 §4.2.1): shortest integers, definite lengths, map keys in order.
//!
//! There is one way to write each record. A decoder that took two ways would let the same
//! signature stand for two byte strings, and a hash for two records; so what is decoded is encoded
//! again and must come out the same.

use minicbor::{Decode, Encode};

/// Why bytes are no record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CborError {
    /// Longer than this kind of record may be.
    #[error("{len} bytes, at most {max} are allowed")]
    TooLong {
        /// Bytes given.
        len: usize,
        /// Bytes allowed.
        max: usize,
    },
    /// Not CBOR, or not of this shape.
    #[error("malformed: {0}")]
    Malformed(String),
    /// CBOR of this shape, but not written the one deterministic way, or with something after it.
    #[error("not in deterministic form")]
    NotDeterministic,
}

/// The one encoding of `value`.
pub fn to_vec<T: Encode<()>>(value: &T) -> Vec<u8> {
    minicbor::to_vec(value).expect("writing CBOR into a Vec cannot fail")
}

/// Reads a record of at most `max` bytes, and only its one encoding.
pub fn from_slice<T>(bytes: &[u8], max: usize) -> Result<T, CborError>
where
    T: for<'b> Decode<'b, ()> + Encode<()>,
{
    if bytes.len() > max {
        return Err(CborError::TooLong { len: bytes.len(), max });
    }
    let value: T = minicbor::decode(bytes).map_err(|e| CborError::Malformed(e.to_string()))?;
    if to_vec(&value) == bytes { Ok(value) } else { Err(CborError::NotDeterministic) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Encode, Decode)]
    #[cbor(map)]
    struct Pair {
        #[n(0)]
        a: u64,
        #[n(1)]
        b: Option<String>,
    }

    #[test]
    fn only_the_one_encoding_is_read() {
        let pair = Pair { a: 7, b: Some("x".into()) };
        let good = to_vec(&pair);
        assert_eq!(good, [0xa2, 0, 7, 1, 0x61, b'x']);
        assert_eq!(from_slice::<Pair>(&good, 64), Ok(pair));

        let long_int = [0xa2, 0, 0x18, 7, 1, 0x61, b'x'];
        let swapped = [0xa2, 1, 0x61, b'x', 0, 7];
        let indefinite = [0xbf, 0, 7, 1, 0x61, b'x', 0xff];
        let trailing = [0xa2, 0, 7, 1, 0x61, b'x', 0];
        let unknown_key = [0xa3, 0, 7, 1, 0x61, b'x', 2, 0];
        for bad in [&long_int[..], &swapped, &indefinite, &trailing, &unknown_key] {
            assert_eq!(from_slice::<Pair>(bad, 64), Err(CborError::NotDeterministic));
        }
    }

    #[test]
    fn length_is_checked_before_decoding() {
        assert_eq!(from_slice::<Pair>(&[0; 9], 8), Err(CborError::TooLong { len: 9, max: 8 }));
    }
}
