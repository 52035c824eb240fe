//! The index: one encrypted `redb` file, opened again by itself after a failed write. It does not
//! know what the rows mean.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use redb::{Builder, Database, ReadTransaction, ReadableDatabase, WriteTransaction};

use crate::backend::EncryptedFile;
use crate::cipher::PageCipher;
use crate::disk::{self, Disk, Mode};
use crate::error::Fault;
use crate::key::DataKey;
use crate::rows::{self, Tags};

/// The file's name in the store's directory.
pub(crate) const FILE: &str = "index.redb";
/// Its name until it is complete for the first time.
pub(crate) const DRAFT: &str = "index.redb.new";

/// Bytes of decrypted pages that are kept in memory.
const CACHE: usize = 32 * 1024 * 1024;

/// The open index.
pub(crate) struct Index {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    cipher: Arc<PageCipher>,
    /// `None` once closed.
    db: RwLock<Option<Database>>,
    pub(crate) tags: Tags,
}

impl Index {
    /// Opens the index in `dir`, or creates it.
    pub(crate) fn open(disk: Arc<dyn Disk>, dir: &Path, key: &DataKey) -> Result<Self, Fault> {
        let cipher = Arc::new(PageCipher::new(&key.pages()));
        let path = dir.join(FILE);
        disk::remove_if_there(&*disk, &dir.join(DRAFT))?;
        if !exists(&*disk, &path)? {
            create(&*disk, dir, &cipher)?;
        }
        let db = database(&*disk, &path, &cipher)?;
        let tags = Tags::new(key.tags());
        Ok(Self { disk, path, cipher, db: RwLock::new(Some(db)), tags })
    }

    /// Reads a state of the index that does not change meanwhile.
    pub(crate) fn read<T>(
        &self,
        work: impl FnOnce(&ReadTransaction) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        let db = self.db.read().unwrap_or_else(PoisonError::into_inner);
        let db = db.as_ref().ok_or(Fault::Closed)?;
        guarded(|| work(&db.begin_read()?))
    }

    /// Changes the index; durable when it returns, and unchanged if `work` fails. If this fails,
    /// nobody can say whether the change is on the disk: [`Index::reopen`] tells.
    pub(crate) fn write<T>(
        &self,
        work: impl FnOnce(&WriteTransaction) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        let db = self.db.read().unwrap_or_else(PoisonError::into_inner);
        let db = db.as_ref().ok_or(Fault::Closed)?;
        guarded(|| {
            // `redb` syncs each commit unless told otherwise.
            let mut transaction = db.begin_write()?;
            transaction.set_quick_repair(QUICK_REPAIR);
            let done = work(&transaction)?;
            transaction.commit()?;
            Ok(done)
        })
    }

    /// Opens the file again: after a failed write `redb` refuses all further work.
    pub(crate) fn reopen(&self) -> Result<(), Fault> {
        let mut db = self.db.write().unwrap_or_else(PoisonError::into_inner);
        if db.take().is_none() {
            return Err(Fault::Closed);
        }
        *db = Some(database(&*self.disk, &self.path, &self.cipher)?);
        Ok(())
    }

    /// Closes the file for good.
    pub(crate) fn close(&self) {
        self.db.write().unwrap_or_else(PoisonError::into_inner).take();
    }

    /// Bytes of the file.
    pub(crate) fn file_len(&self) -> u64 {
        self.disk.open(&self.path, Mode::Read).and_then(|file| file.len()).unwrap_or(0)
    }
}

/// Whether each commit saves which pages are free, so that opening after a crash need not walk the
/// whole index. It costs a second sync for each commit.
const QUICK_REPAIR: bool = true;

fn exists(disk: &dyn Disk, path: &Path) -> Result<bool, Fault> {
    match disk.open(path, Mode::Read) {
        Ok(_) => Ok(true),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(e) => Err(e.into()),
    }
}

/// Creates the index under another name first: `redb` can't open a file whose creation was cut.
fn create(disk: &dyn Disk, dir: &Path, cipher: &Arc<PageCipher>) -> Result<(), Fault> {
    let draft = dir.join(DRAFT);
    let file = EncryptedFile::new(disk.open(&draft, Mode::Create)?, Arc::clone(cipher));
    guarded(|| {
        let db = builder().create_with_backend(file)?;
        let transaction = db.begin_write()?;
        for table in [rows::METAS, rows::BLOBS, rows::OUTBOARDS] {
            transaction.open_table(table)?;
        }
        for table in [rows::HEADS, rows::BODIES] {
            transaction.open_table(table)?;
        }
        transaction.open_table(rows::SETTINGS)?;
        transaction.commit()?;
        Ok(())
    })?;
    disk.rename(&draft, &dir.join(FILE))?;
    disk.sync_dir(dir)?;
    Ok(())
}

fn database(disk: &dyn Disk, path: &Path, cipher: &Arc<PageCipher>) -> Result<Database, Fault> {
    let file = disk.open(path, Mode::Write)?;
    if file.is_empty()? {
        return Err(Fault::damaged("the index is empty"));
    }
    let file = EncryptedFile::new(file, Arc::clone(cipher));
    guarded(|| Ok(builder().create_with_backend(file)?))
}

fn builder() -> Builder {
    let mut builder = Builder::new();
    builder.set_cache_size(CACHE);
    builder
}

/// Runs `work` on the index. `redb` may panic on a file that it did not write so: that is damage
/// to report, not a bug to die of. What unwinds is dropped here, so nothing is seen half done.
fn guarded<T>(work: impl FnOnce() -> Result<T, Fault>) -> Result<T, Fault> {
    catch_unwind(AssertUnwindSafe(work))
        .unwrap_or_else(|_| Err(Fault::damaged("the index can't be read")))
}
