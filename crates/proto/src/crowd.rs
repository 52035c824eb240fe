//! A crowd in a table that can't grow: each client has two seats, by a keyed hash of its id.
//!
//! A table of clients that fills up must turn the next one away, honest or not, and cleaning it
//! costs as much as it holds. A fixed table needs neither: clients who share a seat share what it
//! gives, and two who share both are rare. The key is secret, so nobody can choose whose seats to
//! sit on.

use crate::id::PeerId;

/// The two seats of `client` among `seats`, which are more than one.
pub(crate) fn seats(key: &[u8; 32], client: &PeerId, seats: usize) -> [usize; 2] {
    let hash = blake3::keyed_hash(key, &client.0);
    let (first, rest) = hash.as_bytes().split_at(8);
    let number = |bytes: &[u8], below: usize| {
        let eight = bytes.first_chunk::<8>().copied().unwrap_or_default();
        let below = below.max(1) as u64;
        usize::try_from(u64::from_be_bytes(eight) % below).unwrap_or(0)
    };
    let first = number(first, seats);
    [first, (first + 1 + number(rest, seats - 1)) % seats]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seats_are_two_within_the_table_and_hang_on_the_key() {
        let of = |key: u8, client: u8| seats(&[key; 32], &PeerId([client; 32]), 64);
        let mut all = [0; 64];
        for client in 0..=255 {
            let [a, b] = of(1, client);
            assert_ne!(a, b);
            all[a] += 1;
            all[b] += 1;
        }
        assert!(all.iter().all(|n| *n < 30), "they are spread: {all:?}");
        assert!((0..=255).any(|client| of(1, client) != of(2, client)));
    }
}
