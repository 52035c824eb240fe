//! iroh-blobs from store to store on disk, over the same endpoints as [`super::raw`].

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use anyhow::{Context, Result};
use iroh::Endpoint;
use iroh::endpoint::Connection;
use iroh::protocol::Router;
use iroh_blobs::store::fs::FsStore;
use iroh_blobs::{BlobsProtocol, Hash};

use super::{Doer, RawAddr, Ready, Reply, ms, raw};

/// One side that gets.
pub(crate) struct Client {
    connection: Connection,
    hash: Hash,
    dir: PathBuf,
    stores: AtomicUsize,
    _endpoint: Endpoint,
}

/// Starts to serve a blob of `len` zeros.
pub(crate) async fn serve(dir: &Path, len: u64) -> Result<(Ready, Doer)> {
    let store = FsStore::load(dir.join("store")).await?;
    let file = dir.join("file");
    crate::work::write_zeros(&file, len)?;
    let tag = store.blobs().add_path(&file).await?;
    let endpoint = raw::endpoint(vec![]).await?;
    let at = raw::addr_of(&endpoint, Some(tag.hash.to_string()))?;
    let protocol = BlobsProtocol::new(&store, None);
    let router = Router::builder(endpoint).accept(iroh_blobs::ALPN, protocol).spawn();
    // It serves until the process ends.
    std::mem::forget((router, store, tag));
    Ok((Ready { raw: Some(at), ..Ready::default() }, Doer::Server))
}

/// Connects.
pub(crate) async fn connect(server: RawAddr, dir: PathBuf) -> Result<(Ready, Doer)> {
    let endpoint = raw::endpoint(vec![]).await?;
    let connection = raw::dial(&endpoint, &server, iroh_blobs::ALPN).await?;
    let hash = server.hash.context("no blob")?.parse().context("a hash")?;
    let stores = AtomicUsize::new(0);
    let client = Client { connection, hash, dir, stores, _endpoint: endpoint };
    Ok((Ready::default(), Doer::BlobsClient(client)))
}

impl Client {
    /// Gets the blob into a new store, which is removed afterwards.
    pub(crate) async fn get(&self) -> Result<Reply> {
        let dir = self.dir.join(self.stores.fetch_add(1, Ordering::Relaxed).to_string());
        let store = FsStore::load(&dir).await?;
        let begin = Instant::now();
        let got = store.remote().fetch(self.connection.clone(), self.hash).await;
        let (took, secs) = (ms(begin), begin.elapsed().as_secs_f64());
        got.context("iroh-blobs")?;
        store.shutdown().await.context("iroh-blobs")?;
        std::fs::remove_dir_all(&dir)?;
        Ok(Reply::Timed { ms: vec![took], secs })
    }
}
