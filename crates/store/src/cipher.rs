//! AES-256 in two modes: XTS for the index, which is rewritten in place, and CTR for blob files,
//! which are written once. Neither authenticates: rows carry tags (`rows`), and blobs have
//! their BLAKE3 tree.

use aes::Aes256;
use aes::cipher::KeyInit;
use ctr::Ctr128BE;
use ctr::cipher::{KeyIvInit, StreamCipher, StreamCipherSeek};
use xts_mode::{Xts128, get_tweak_default};
use zeroize::Zeroizing;

/// The unit in which XTS counts.
const SECTOR: usize = 4096;
/// The unit in which it encrypts: no write touches bytes outside the blocks it covers.
pub(crate) const BLOCK: usize = 16;

/// Encrypts the index by place.
///
/// What XTS gives: each 16-byte block is encrypted under its own place, so equal pages look
/// different, and a torn write garbles no neighbour. What it does not: whoever copies the disk
/// twice sees which blocks changed, and may put back older blocks, or make a block noise, unseen
/// by the cipher.
pub(crate) struct PageCipher(Xts128<Aes256>);

impl std::fmt::Debug for PageCipher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PageCipher")
    }
}

impl PageCipher {
    pub(crate) fn new(key: &Zeroizing<[u8; 64]>) -> Self {
        let half = |at: usize| {
            Aes256::new_from_slice(&key[at..at + 32]).expect("AES-256 has keys of 32 bytes")
        };
        Self(Xts128::new(half(0), half(32)))
    }

    /// Encrypts `data`, whole blocks that stand at `offset`.
    pub(crate) fn encrypt(&self, offset: u64, data: &mut [u8]) {
        for_each_sector(offset, data, |sector, number| {
            self.0.encrypt_sector(sector, get_tweak_default(number));
        });
    }

    /// Decrypts what [`Self::encrypt`] wrote. A block of zeros was never written and is zeros:
    /// the index grows by extending its file. (That encrypting gives zeros has odds of 2^-128.)
    pub(crate) fn decrypt(&self, offset: u64, data: &mut [u8]) {
        for_each_sector(offset, data, |sector, number| {
            let mut unwritten = [0_u64; SECTOR / BLOCK / 64];
            for (n, block) in sector.chunks_exact(BLOCK).enumerate() {
                unwritten[n / 64] |= u64::from(block == [0; BLOCK]) << (n % 64);
            }
            self.0.decrypt_sector(sector, get_tweak_default(number));
            if unwritten != [0; SECTOR / BLOCK / 64] {
                for (n, block) in sector.chunks_exact_mut(BLOCK).enumerate() {
                    if unwritten[n / 64] >> (n % 64) & 1 == 1 {
                        block.fill(0);
                    }
                }
            }
        });
    }
}

/// Gives `work` each sector of `data` from its first block on, with its number. A piece from the
/// middle of a sector is worked on in its place, for the tweak counts from the sector's start.
fn for_each_sector(offset: u64, data: &mut [u8], mut work: impl FnMut(&mut [u8], u128)) {
    debug_assert!(offset.is_multiple_of(BLOCK as u64) && data.len().is_multiple_of(BLOCK));
    let (mut at, mut rest) = (offset, data);
    while !rest.is_empty() {
        let number = u128::from(at / SECTOR as u64);
        let skip = usize::try_from(at % SECTOR as u64).expect("a sector fits");
        let (piece, later) = rest.split_at_mut((SECTOR - skip).min(rest.len()));
        if skip == 0 {
            work(piece, number);
        } else {
            let mut sector = [0; SECTOR];
            sector[skip..skip + piece.len()].copy_from_slice(piece);
            work(&mut sector[..skip + piece.len()], number);
            piece.copy_from_slice(&sector[skip..skip + piece.len()]);
        }
        at += piece.len() as u64;
        rest = later;
    }
}

/// Encrypts or decrypts a piece of a blob file that stands at `offset`. A key is for one blob and
/// is never used for other bytes, so the counter is the place alone.
pub(crate) fn blob_stream(key: &[u8; 32], offset: u64, data: &mut [u8]) {
    let mut cipher = Ctr128BE::<Aes256>::new(&(*key).into(), &[0; BLOCK].into());
    cipher.seek(offset);
    cipher.apply_keystream(data);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cipher() -> PageCipher {
        PageCipher::new(&Zeroizing::new(std::array::from_fn(|n| u8::try_from(n).unwrap())))
    }

    fn text(len: usize) -> Vec<u8> {
        (0..len).map(|n| u8::try_from(n % 251).unwrap()).collect()
    }

    #[test]
    fn pieces_give_what_the_whole_gives() {
        let (cipher, plain) = (cipher(), text(3 * SECTOR));
        let mut whole = plain.clone();
        cipher.encrypt(0, &mut whole);
        for (from, to) in [(0, 320), (16, 32), (4080, 4112), (4096, 12288), (8000, 12000)] {
            let mut piece = plain[from..to].to_vec();
            cipher.encrypt(from as u64, &mut piece);
            assert_eq!(piece, whole[from..to], "{from}..{to}");
            cipher.decrypt(from as u64, &mut piece);
            assert_eq!(piece, plain[from..to], "{from}..{to}");
        }
    }

    #[test]
    fn never_written_blocks_read_as_zeros() {
        let cipher = cipher();
        let mut sector = vec![0; 2 * SECTOR];
        let mut middle = text(64);
        cipher.encrypt(4064, &mut middle);
        sector[4064..4128].copy_from_slice(&middle);
        cipher.decrypt(0, &mut sector);
        assert_eq!(sector[4064..4128], text(64));
        assert!(sector[..4064].iter().chain(&sector[4128..]).all(|b| *b == 0));
    }

    #[test]
    fn a_blob_stream_can_start_anywhere() {
        let (key, plain) = ([9; 32], text(1000));
        for start in [0, 5, (1 << 36) - 500, 1 << 40] {
            let mut whole = plain.clone();
            blob_stream(&key, start, &mut whole);
            assert_ne!(whole, plain);
            let mut tail = whole[321..].to_vec();
            blob_stream(&key, start + 321, &mut tail);
            assert_eq!(tail, plain[321..], "from {start}");
        }
        let mut zeros = [[0; 64]; 2];
        blob_stream(&key, 0, &mut zeros[0]);
        blob_stream(&key, 1 << 36, &mut zeros[1]);
        assert_ne!(zeros[0], zeros[1], "each place has its own stream");
    }
}
