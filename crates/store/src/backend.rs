//! What `redb` takes for its file: a file that is encrypted by place. Locks are not its business:
//! the store holds one for the whole directory.

use std::io;
use std::sync::Arc;

use redb::StorageBackend;

use crate::cipher::{BLOCK, PageCipher};
use crate::disk::DiskFile;

/// An encrypted file below `redb`'s page cache, so that what is cached is decrypted once.
#[derive(Debug)]
pub(crate) struct EncryptedFile {
    file: Arc<dyn DiskFile>,
    cipher: Arc<PageCipher>,
}

impl EncryptedFile {
    pub(crate) fn new(file: Arc<dyn DiskFile>, cipher: Arc<PageCipher>) -> Self {
        Self { file, cipher }
    }

    /// Reads whole blocks.
    fn read_blocks(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read_at(offset, out)?;
        self.cipher.decrypt(offset, out);
        Ok(())
    }

    /// The whole blocks around `len` bytes at `offset`, and where in them those bytes are.
    fn around(&self, offset: u64, len: usize) -> io::Result<(u64, Vec<u8>, usize)> {
        let skip = usize::try_from(offset % BLOCK as u64).expect("a block fits");
        let mut blocks = vec![0; (skip + len).next_multiple_of(BLOCK)];
        let start = offset - skip as u64;
        self.read_blocks(start, &mut blocks)?;
        Ok((start, blocks, skip))
    }
}

fn is_whole(offset: u64, len: usize) -> bool {
    offset.is_multiple_of(BLOCK as u64) && len.is_multiple_of(BLOCK)
}

impl StorageBackend for EncryptedFile {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        if is_whole(offset, out.len()) {
            return self.read_blocks(offset, out);
        }
        let (_, blocks, skip) = self.around(offset, out.len())?;
        out.copy_from_slice(&blocks[skip..skip + out.len()]);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let (start, mut blocks) = if is_whole(offset, data.len()) {
            (offset, data.to_vec())
        } else {
            // `redb` writes its 320-byte header and whole pages, so this is for completeness.
            let (start, mut blocks, skip) = self.around(offset, data.len())?;
            blocks[skip..skip + data.len()].copy_from_slice(data);
            (start, blocks)
        };
        self.cipher.encrypt(start, &mut blocks);
        self.file.write_at(start, &blocks)
    }
}
