//! Blobs on their way into the store: a body of unknown length is hashed and encrypted as it comes,
//! and stays in memory while it is small. Nothing here is durable; `put` makes it so.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use busel_proto::blob::{GROUP, MAX_LEN, TreeBuilder};
use busel_proto::id::Hash;
use bytes::Bytes;
use zeroize::Zeroizing;

use crate::cipher::blob_stream;
use crate::disk::{Disk, DiskFile, Mode, remove_if_there};
use crate::error::{Fault, WriteError};
use crate::reader::{BlobReader, Body};
use crate::rows::{BlobRow, FileName, FileRow};

/// The longest body that lies in the index; longer ones are files. One group, which needs no proof
/// beside its hash.
pub(crate) const INLINE: u64 = GROUP;
/// Bytes that are gathered before they are written.
const GATHER: usize = 128 * 1024;

/// Where blob files lie: `blobs/xx/<32 hex digits>`, `xx` being the first two.
#[derive(Debug)]
pub(crate) struct BlobDir {
    pub(crate) disk: Arc<dyn Disk>,
    dir: PathBuf,
    /// Subdirectories whose own names are durable.
    durable: Mutex<BTreeSet<u8>>,
}

impl BlobDir {
    /// Takes `dir`, which exists, with what lies in it. Returns the files that are there.
    pub(crate) fn open(disk: Arc<dyn Disk>, dir: PathBuf) -> Result<(Self, Vec<FileName>), Fault> {
        let (mut durable, mut files) = (BTreeSet::new(), Vec::new());
        for sub in disk.list(&dir)? {
            let Some([prefix]) = hex::<1>(&sub) else { continue };
            durable.insert(prefix);
            let names = disk.list(&dir.join(&sub))?;
            let names = names.iter().filter_map(|name| hex::<16>(name));
            files.extend(names.filter(|name| name[0] == prefix).map(FileName));
        }
        disk.sync_dir(&dir)?;
        Ok((Self { disk, dir, durable: Mutex::new(durable) }, files))
    }

    /// Opens the file of a stored blob.
    pub(crate) fn file(&self, name: FileName) -> std::io::Result<Arc<dyn DiskFile>> {
        self.disk.open(&self.path(name), Mode::Read)
    }

    /// Removes a file; that it is missing is fine.
    pub(crate) fn remove(&self, name: FileName) -> std::io::Result<()> {
        remove_if_there(&*self.disk, &self.path(name))
    }

    /// Makes the name of a file durable.
    fn sync(&self, name: FileName) -> std::io::Result<()> {
        self.disk.sync_dir(&self.sub(name))
    }

    fn create(&self, name: FileName) -> Result<Arc<dyn DiskFile>, Fault> {
        // The lock is held while syncing, so that nobody goes on before the name is durable.
        let mut durable = self.durable.lock().unwrap_or_else(PoisonError::into_inner);
        if !durable.contains(&name.0[0]) {
            self.disk.create_dir(&self.sub(name))?;
            self.disk.sync_dir(&self.dir)?;
            durable.insert(name.0[0]);
        }
        drop(durable);
        Ok(self.disk.open(&self.path(name), Mode::Create)?)
    }

    fn sub(&self, name: FileName) -> PathBuf {
        self.dir.join(format!("{:02x}", name.0[0]))
    }

    fn path(&self, name: FileName) -> PathBuf {
        let hex: String = name.0.iter().map(|byte| format!("{byte:02x}")).collect();
        self.sub(name).join(hex)
    }
}

/// `N` bytes from lower-case hex digits, and nothing else.
fn hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits = text.as_bytes();
    let lower = |digit: &u8| matches!(digit, b'0'..=b'9' | b'a'..=b'f');
    if digits.len() != 2 * N || !digits.iter().all(lower) {
        return None;
    }
    let mut bytes = [0; N];
    for (n, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * n..2 * n + 2)?, 16).ok()?;
    }
    Some(bytes)
}

/// Takes a body as it comes. Dropping it leaves nothing.
pub struct BlobWriter {
    blobs: Arc<BlobDir>,
    tree: TreeBuilder,
    /// Bytes not yet written to the file, or all while there is none.
    gathered: Zeroizing<Vec<u8>>,
    draft: Option<Draft>,
}

impl std::fmt::Debug for BlobWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BlobWriter").field("len", &self.len()).finish_non_exhaustive()
    }
}

impl BlobWriter {
    pub(crate) fn new(blobs: Arc<BlobDir>) -> Self {
        let gathered = Zeroizing::new(Vec::new());
        Self { blobs, tree: TreeBuilder::default(), gathered, draft: None }
    }

    /// Takes the next bytes.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), WriteError> {
        if self.len() + bytes.len() as u64 > MAX_LEN {
            return Err(WriteError::TooLong { max: MAX_LEN });
        }
        for piece in bytes.chunks(GATHER) {
            self.gathered.extend_from_slice(piece);
            self.tree.push(piece);
            if self.gathered.len() >= GATHER {
                self.write_gathered()?;
            }
        }
        Ok(())
    }

    /// Bytes taken so far.
    pub fn len(&self) -> u64 {
        self.tree.len()
    }

    /// Whether nothing was taken yet.
    pub fn is_empty(&self) -> bool {
        self.tree.is_empty()
    }

    /// The whole body is there.
    pub fn finish(mut self) -> Result<FinishedBlob, WriteError> {
        let len = self.len();
        if len > INLINE {
            self.write_gathered()?;
        }
        let (root, outboard) = self.tree.finish();
        let body = match &self.draft {
            Some(draft) => Body::File {
                file: Arc::clone(&draft.file),
                key: Zeroizing::new(draft.row.key),
                outboard: outboard.into(),
            },
            None => Body::Inline(Bytes::copy_from_slice(&self.gathered)),
        };
        Ok(FinishedBlob { reader: BlobReader::new(root, len, body), draft: self.draft })
    }

    fn write_gathered(&mut self) -> Result<(), Fault> {
        let draft = match &mut self.draft {
            Some(draft) => draft,
            none => none.insert(Draft::new(Arc::clone(&self.blobs))?),
        };
        blob_stream(&draft.row.key, draft.written, &mut self.gathered);
        draft.file.write_at(draft.written, &self.gathered)?;
        draft.written += self.gathered.len() as u64;
        self.gathered.clear();
        Ok(())
    }
}

/// A whole body that no snapshot names yet. Dropping it leaves nothing.
#[derive(Debug)]
pub struct FinishedBlob {
    reader: BlobReader,
    draft: Option<Draft>,
}

impl FinishedBlob {
    /// The root that names it.
    pub fn root(&self) -> Hash {
        self.reader.root()
    }

    /// Its length in bytes.
    pub fn len(&self) -> u64 {
        self.reader.len()
    }

    /// Whether it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Reads it before it is stored, and after.
    pub fn reader(&self) -> BlobReader {
        self.reader.clone()
    }

    /// Makes its file, if it has one, durable.
    pub(crate) fn sync(&self) -> Result<(), Fault> {
        if let Some(draft) = &self.draft {
            draft.file.sync()?;
            draft.blobs.sync(draft.row.name)?;
        }
        Ok(())
    }

    pub(crate) fn body(&self) -> &Body {
        self.reader.body()
    }

    /// The row for the index, with no holders yet.
    pub(crate) fn row(&self) -> BlobRow {
        let file = self.draft.as_ref().map(|draft| draft.row.clone());
        BlobRow { len: self.len(), holders: 0, file, shared: false, place: 0 }
    }

    /// Whether the index names the file now, so that dropping this leaves it.
    pub(crate) fn keep(&mut self, kept: bool) {
        if let Some(draft) = &mut self.draft {
            draft.kept = kept;
        }
    }
}

/// A file that is removed with this, unless it is kept.
#[derive(Debug)]
pub(crate) struct Draft {
    blobs: Arc<BlobDir>,
    pub(crate) file: Arc<dyn DiskFile>,
    pub(crate) row: FileRow,
    written: u64,
    kept: bool,
}

impl Draft {
    pub(crate) fn new(blobs: Arc<BlobDir>) -> Result<Self, Fault> {
        let row = FileRow { name: FileName(rand::random()), key: rand::random() };
        let file = blobs.create(row.name)?;
        Ok(Self { blobs, file, row, written: 0, kept: false })
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.kept
            && let Err(error) = self.blobs.remove(self.row.name)
        {
            // The next open removes it.
            tracing::debug!(%error, "an unused blob file was left");
        }
    }
}
