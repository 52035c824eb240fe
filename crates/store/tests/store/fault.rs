//! A disk in memory that loses power, or fills up.
//!
//! Until bytes are synced, a cut keeps, drops or tears each write, by sectors of 512 bytes. Until a
//! directory is synced, a cut keeps or drops each change of its names, in whatever order. That is
//! worse than most real disks, and no worse than what POSIX allows.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use busel_store::disk::{Disk, DiskFile, Lock, Mode};

use crate::support::Dice;

#[derive(Debug, Clone, Default)]
pub(crate) struct FaultDisk(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    /// What the running program sees.
    names: BTreeMap<PathBuf, Node>,
    /// What is sure to survive.
    durable: BTreeMap<PathBuf, Node>,
    pending: Vec<Change>,
    files: Vec<Content>,
    locked: BTreeSet<PathBuf>,
    /// Operations so far, and the one at which the power goes.
    operations: u64,
    cut_at: Option<u64>,
    /// Bytes that all files may have.
    space: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Node {
    Dir,
    File(usize),
}

/// A change of names: these go, this comes.
#[derive(Debug, Clone)]
struct Change {
    dir: PathBuf,
    gone: Option<PathBuf>,
    come: Option<(PathBuf, Node)>,
}

#[derive(Debug, Clone, Default)]
struct Content {
    now: Vec<u8>,
    durable: Vec<u8>,
    pending: Vec<Write>,
}

#[derive(Debug, Clone)]
enum Write {
    Bytes(u64, Vec<u8>),
    Len(u64),
}

impl FaultDisk {
    /// The power goes at the `n`th operation from now: it and all later ones fail.
    pub(crate) fn cut_after(&self, n: u64) {
        let mut state = self.state();
        state.cut_at = Some(state.operations + n);
    }

    pub(crate) fn operations(&self) -> u64 {
        self.state().operations
    }

    pub(crate) fn is_cut(&self) -> bool {
        let state = self.state();
        state.cut_at.is_some_and(|at| state.operations >= at)
    }

    /// All files together may have `bytes` more than now.
    pub(crate) fn limit(&self, bytes: Option<u64>) {
        let mut state = self.state();
        let used = state.used();
        state.space = bytes.map(|bytes| used + bytes);
    }

    /// The paths of files below `dir`.
    pub(crate) fn files_below(&self, dir: &Path) -> Vec<PathBuf> {
        let state = self.state();
        let files = state.names.iter().filter(|(_, node)| matches!(node, Node::File(_)));
        files.filter(|(path, _)| path.starts_with(dir)).map(|(path, _)| path.clone()).collect()
    }

    /// What is on the disk when the power is back.
    pub(crate) fn survive(&self, dice: &mut Dice) -> Self {
        let state = self.state();
        let mut names = state.durable.clone();
        for change in &state.pending {
            if dice.below(2) == 0 {
                change.apply(&mut names);
            }
        }
        let dirs: BTreeSet<_> = names
            .iter()
            .filter(|(_, node)| **node == Node::Dir)
            .map(|(path, _)| path.clone())
            .collect();
        names.retain(|path, _| parent(path) == Path::new("/") || dirs.contains(parent(path)));
        let files = state.files.iter().map(|content| content.survive(dice)).collect();
        Self(Arc::new(Mutex::new(State {
            durable: names.clone(),
            names,
            files,
            ..State::default()
        })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// Counts an operation; an error from the cut on.
    fn step(&self) -> io::Result<MutexGuard<'_, State>> {
        let mut state = self.state();
        state.operations += 1;
        match state.cut_at {
            Some(at) if state.operations >= at => Err(io::Error::other("the power is out")),
            _ => Ok(state),
        }
    }
}

impl Content {
    fn survive(&self, dice: &mut Dice) -> Self {
        let mut bytes = self.durable.clone();
        for write in &self.pending {
            match (dice.below(3), write) {
                (0, _) => {}
                (1, write) => write.apply(&mut bytes),
                (_, Write::Len(len)) => Write::Len(*len).apply(&mut bytes),
                (_, Write::Bytes(offset, data)) => {
                    let (mut at, mut rest) = (*offset, &data[..]);
                    while !rest.is_empty() {
                        let left = usize::try_from(512 - at % 512).unwrap();
                        let (sector, later) = rest.split_at(left.min(rest.len()));
                        if dice.below(2) == 0 {
                            Write::Bytes(at, sector.to_vec()).apply(&mut bytes);
                        }
                        at += sector.len() as u64;
                        rest = later;
                    }
                }
            }
        }
        Self { now: bytes.clone(), durable: bytes, pending: Vec::new() }
    }
}

impl Write {
    fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Len(len) => bytes.resize(usize::try_from(*len).unwrap(), 0),
            Self::Bytes(offset, data) => {
                let at = usize::try_from(*offset).unwrap();
                if bytes.len() < at + data.len() {
                    bytes.resize(at + data.len(), 0);
                }
                bytes[at..at + data.len()].copy_from_slice(data);
            }
        }
    }
}

impl Change {
    fn apply(&self, names: &mut BTreeMap<PathBuf, Node>) {
        if let Some(gone) = &self.gone {
            names.remove(gone);
        }
        if let Some((path, node)) = &self.come {
            names.insert(path.clone(), *node);
        }
    }
}

impl State {
    fn used(&self) -> u64 {
        let ids: BTreeSet<_> = self.names.values().copied().filter_map(Node::file).collect();
        ids.into_iter().map(|id| self.files[id].now.len() as u64).sum()
    }

    fn change(&mut self, dir: &Path, gone: Option<&Path>, come: Option<(&Path, Node)>) {
        let change = Change {
            dir: dir.into(),
            gone: gone.map(Path::to_path_buf),
            come: come.map(|(path, node)| (path.to_path_buf(), node)),
        };
        change.apply(&mut self.names);
        self.pending.push(change);
    }

    fn write(&mut self, id: usize, write: Write) -> io::Result<()> {
        let before = self.files[id].now.len() as u64;
        let after = match &write {
            Write::Bytes(offset, data) => before.max(offset + data.len() as u64),
            Write::Len(len) => *len,
        };
        if let Some(space) = self.space
            && after > before
            && self.used() + after - before > space
        {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let content = &mut self.files[id];
        write.apply(&mut content.now);
        content.pending.push(write);
        Ok(())
    }
}

impl Node {
    fn file(self) -> Option<usize> {
        match self {
            Self::Dir => None,
            Self::File(id) => Some(id),
        }
    }
}

fn missing() -> io::Error {
    io::ErrorKind::NotFound.into()
}

fn parent(path: &Path) -> &Path {
    path.parent().expect("no test works on the root")
}

impl Disk for FaultDisk {
    fn create_dir(&self, dir: &Path) -> io::Result<bool> {
        let mut state = self.step()?;
        match state.names.get(dir) {
            Some(Node::Dir) => Ok(false),
            Some(Node::File(_)) => Err(io::ErrorKind::AlreadyExists.into()),
            None => {
                state.change(parent(dir), None, Some((dir, Node::Dir)));
                Ok(true)
            }
        }
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let state = self.step()?;
        let inside = state.names.keys().filter(|path| path.parent() == Some(dir));
        Ok(inside.map(|p| p.file_name().unwrap().to_str().unwrap().to_owned()).collect())
    }

    fn open(&self, path: &Path, mode: Mode) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.step()?;
        let id = match (state.names.get(path), mode) {
            (Some(Node::File(id)), Mode::Read | Mode::Write) => *id,
            (None, Mode::Create) if state.names.get(parent(path)) == Some(&Node::Dir) => {
                state.files.push(Content::default());
                let id = state.files.len() - 1;
                state.change(parent(path), None, Some((path, Node::File(id))));
                id
            }
            (None, _) => return Err(missing()),
            _ => return Err(io::ErrorKind::AlreadyExists.into()),
        };
        Ok(Arc::new(FaultFile { disk: self.clone(), id }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.step()?;
        let node = *state.names.get(from).ok_or_else(missing)?;
        assert_eq!(parent(from), parent(to), "the store renames within a directory");
        state.change(parent(to), Some(from), Some((to, node)));
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.step()?;
        if !matches!(state.names.get(path), Some(Node::File(_))) {
            return Err(missing());
        }
        state.change(parent(path), Some(path), None);
        Ok(())
    }

    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.step()?;
        if state.names.get(dir) != Some(&Node::Dir) {
            return Err(missing());
        }
        if state.names.keys().any(|path| path.parent() == Some(dir)) {
            return Err(io::ErrorKind::DirectoryNotEmpty.into());
        }
        state.change(parent(dir), Some(dir), None);
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.step()?;
        let state = &mut *state;
        state.pending.retain(|change| {
            let here = change.dir == dir;
            if here {
                change.apply(&mut state.durable);
            }
            !here
        });
        Ok(())
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Lock>> {
        let mut state = self.step()?;
        if !state.locked.insert(path.into()) {
            return Ok(None);
        }
        Ok(Some(Box::new(Held { disk: self.clone(), path: path.into() })))
    }
}

struct Held {
    disk: FaultDisk,
    path: PathBuf,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.disk.state().locked.remove(&self.path);
    }
}

#[derive(Debug)]
struct FaultFile {
    disk: FaultDisk,
    id: usize,
}

impl DiskFile for FaultFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.disk.step()?.files[self.id].now.len() as u64)
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        let state = self.disk.step()?;
        let at = usize::try_from(offset).unwrap();
        let bytes = state.files[self.id].now.get(at..at + buf.len());
        buf.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let write = Write::Bytes(offset, bytes.to_vec());
        // The write at which the power goes may reach the disk, whole or torn.
        match self.disk.step() {
            Ok(mut state) => state.write(self.id, write),
            Err(e) => {
                let mut state = self.disk.state();
                if Some(state.operations) == state.cut_at {
                    state.write(self.id, write)?;
                }
                Err(e)
            }
        }
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.disk.step()?.write(self.id, Write::Len(len))
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.disk.step()?;
        let content = &mut state.files[self.id];
        content.durable.clone_from(&content.now);
        content.pending.clear();
        Ok(())
    }
}
