//! Bytes as printable ASCII, of which no character is likelier than another.
//!
//! Filters that block what looks like nothing let pass what begins as text. Base64 would be text of 64
//! known characters; here each block of 15 bytes is a number that is written in all 95 printable
//! ones. A number of 19 such digits has room for 28 times more, and chance takes it, so that the first
//! digit says as little as the others.

/// Bytes of a block.
pub const BLOCK: usize = 15;
/// The characters that it is written in.
pub const CHARS: usize = 19;

/// The first printable character, and how many there are.
const FIRST: u8 = b' ';
const COUNT: u128 = 95;
/// Numbers of a block's bytes; how often they fit into those of its characters.
const VALUES: u128 = 1 << (8 * BLOCK);
const ROOM: u128 = COUNT.pow(19) / VALUES;

/// Writes blocks to the end of `text`, a byte of chance for each. What is no whole block is left off.
pub fn write(bytes: &[u8], chance: impl IntoIterator<Item = u8>, text: &mut Vec<u8>) {
    let (blocks, _) = bytes.as_chunks::<BLOCK>();
    for (block, chance) in blocks.iter().zip(chance) {
        let value = block.iter().fold(0, |value, byte| value << 8 | u128::from(*byte));
        let mut number = value + VALUES * (u128::from(chance) % ROOM);
        let start = text.len();
        for _ in 0..CHARS {
            let digit = u8::try_from(number % COUNT).unwrap_or_default();
            text.push(FIRST + digit);
            number /= COUNT;
        }
        text[start..].reverse();
    }
}

/// Reads whole blocks; `None` if it is no such text.
pub fn read(text: &[u8]) -> Option<Vec<u8>> {
    let (blocks, []) = text.as_chunks::<CHARS>() else { return None };
    let mut bytes = Vec::with_capacity(blocks.len() * BLOCK);
    for block in blocks {
        let mut number = 0u128;
        for char in block {
            let digit = char.checked_sub(FIRST).map(u128::from).filter(|digit| *digit < COUNT)?;
            number = number * COUNT + digit;
        }
        if number >= ROOM * VALUES {
            return None;
        }
        bytes.extend_from_slice(&number.to_be_bytes()[16 - BLOCK..]);
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(len: usize, seed: u8) -> Vec<u8> {
        let mut bytes = vec![0; len];
        blake3::Hasher::new().update(&[seed]).finalize_xof().fill(&mut bytes);
        bytes
    }

    fn text(bytes: &[u8], seed: u8) -> Vec<u8> {
        let mut text = Vec::new();
        write(bytes, noise(bytes.len() / BLOCK, seed), &mut text);
        text
    }

    #[test]
    fn what_is_written_is_read() {
        for (len, seed) in [(0, 1), (15, 2), (150, 3)] {
            let bytes = noise(len, seed);
            let text = text(&bytes, seed);
            assert_eq!(text.len(), len / BLOCK * CHARS);
            assert!(text.iter().all(|char| (b' '..=b'~').contains(char)));
            assert_eq!(read(&text).unwrap(), bytes);
        }
        for bytes in [[0; BLOCK], [255; BLOCK]] {
            assert_eq!(read(&text(&bytes, 27)).unwrap(), bytes);
        }
    }

    #[test]
    fn no_other_text_is_read() {
        for other in [&[b'~'; CHARS][..], &[b'a'; CHARS - 1], &[b'\n'; CHARS], &[0x80; CHARS]] {
            assert_eq!(read(other), None, "{other:?}");
        }
    }

    #[test]
    fn the_same_bytes_are_other_text_and_every_character_occurs_everywhere() {
        let mut seen = vec![std::collections::BTreeMap::<u8, u32>::new(); CHARS];
        for block in noise(BLOCK * 20_000, 9).chunks(BLOCK).zip(noise(20_000, 8)) {
            let mut one = Vec::new();
            write(block.0, [block.1], &mut one);
            for (at, char) in one.iter().enumerate() {
                *seen[at].entry(*char).or_default() += 1;
            }
        }
        for (at, counts) in seen.iter().enumerate() {
            // 210 of each are expected; the first digit never quite reaches the last one.
            assert!(counts.len() >= 94, "place {at} has only {} characters", counts.len());
            let usual = counts.values().filter(|count| (140..290).contains(*count)).count();
            assert!(usual >= 93, "place {at}: {counts:?}");
        }
        assert_ne!(text(&[5; BLOCK], 1), text(&[5; BLOCK], 2));
    }
}
