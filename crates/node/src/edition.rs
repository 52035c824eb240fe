//! Taking an edition: the list, then each of its files as somebody signed it, so that all of it is on this device
//! before the line is cut. What is here already is not asked for again.

use std::time::Duration;

use busel_proto::edition::{Edition, EditionError, Item, MAX_BYTES, address};
use busel_proto::failure::Route;
use busel_proto::id::Hash;
use busel_proto::page::{HostName, PageError, PageUrl};
use busel_proto::plan::Manner;
use busel_proto::sites::Why;
use busel_proto::snapshot::Wanted;
use busel_proto::time::UnixTime;
use futures_util::{StreamExt, stream};
use http_body_util::{BodyExt, Limited};
use serde::{Deserialize, Serialize};
use tokio::time::sleep;
use tracing::debug;

use crate::clock;
use crate::fetch;
use crate::node::Node;
use crate::request::{Request, Response, Unanswered};

/// Files asked for at once.
const AT_ONCE: usize = 8;
/// A file, with all that is tried for it, takes no longer than this.
const LIMIT: Duration = Duration::from_secs(120);
/// What came is waited for so often, and so long each time, until it is on the disk.
const LOOKS: u32 = 100;
const LOOK: Duration = Duration::from_millis(50);
/// A file may have grown so much since the edition was made, in bytes.
const GROWTH: u64 = 1 << 20;
/// A node that keeps editions looks for new ones so often, and again so soon where it found none.
const REST: Duration = Duration::from_secs(3600);
const SOON: Duration = Duration::from_secs(60);

/// What came of taking an edition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Taken {
    /// When the edition was made, in Unix seconds.
    pub made_at: u64,
    /// Pages in it.
    pub pages: usize,
    /// Files in it, the pages among them.
    pub files: usize,
    /// Files that were here already.
    pub known: usize,
    /// Files that could not be had.
    pub missing: usize,
    /// Bytes of all files that are here now.
    pub bytes: u64,
    /// Whether it is one that was here before, since nobody could be asked for a newer one.
    pub old: bool,
}

/// Why there is no edition.
#[derive(Debug, thiserror::Error)]
pub enum TakeError {
    /// That host can have none.
    #[error(transparent)]
    Host(#[from] PageError),
    /// It may not be asked for.
    #[error("no edition of {0} can be asked for: {1}")]
    Private(HostName, Why),
    /// Nobody has it.
    #[error("nobody who can be reached has an edition of {0}")]
    NotHad(HostName, #[source] Box<Unanswered>),
    /// It broke off.
    #[error("the edition came only in part")]
    Cut,
    /// What came is none.
    #[error("what came is no edition: {0}")]
    Bad(#[from] EditionError),
}

/// What is put away, and not read while it comes.
fn file(url: PageUrl) -> Request {
    Request { manner: Manner::RarestFirst, ..Request::get(url) }
}

impl Node {
    /// Takes the latest edition of `host`.
    pub async fn take_edition(&self, host: &HostName) -> Result<Taken, TakeError> {
        let not_had = |why: Unanswered| match why.private {
            Some(why) => TakeError::Private(host.clone(), why),
            None => TakeError::NotHad(host.clone(), Box::new(why)),
        };
        let mut request = file(address(host)?);
        // There may be a newer one than the one that is here.
        let new = http::HeaderValue::from_static("no-cache");
        request.headers.insert(http::header::CACHE_CONTROL, new);
        let response = fetch::signed(self, request).await.map_err(not_had)?;
        let old = response.stale && response.route == Route::Local;
        let body = Limited::new(response.body, MAX_BYTES).collect().await;
        let edition = Edition::from_bytes(&body.map_err(|_| TakeError::Cut)?.to_bytes())?;
        let mut taken = Taken {
            made_at: edition.made_at.0,
            pages: edition.pages(),
            files: edition.items.len(),
            known: 0,
            missing: 0,
            bytes: 0,
            old,
        };
        let files = stream::iter(edition.items).map(|item| {
            let node = self.clone();
            async move { (item.len, node.take(item).await) }
        });
        let mut files = files.buffer_unordered(AT_ONCE);
        while let Some((len, came)) = files.next().await {
            match came {
                Came::Known => taken.known += 1,
                Came::New => {}
                Came::Missing => taken.missing += 1,
            }
            if came != Came::Missing {
                taken.bytes += len;
            }
        }
        Ok(taken)
    }

    async fn take(&self, item: Item) -> Came {
        if self.has(&item).await {
            return Came::Known;
        }
        let whole = async {
            let response = fetch::signed(self, file(item.url.clone())).await.ok()?;
            drain(response, item.len.saturating_add(GROWTH)).await
        };
        match tokio::time::timeout(LIMIT, whole).await {
            Ok(Some(())) if self.is_kept(&item).await => Came::New,
            Ok(_) | Err(_) => Came::Missing,
        }
    }

    /// Whether a file that came is kept, in this form or another: the disk is slower than the line.
    async fn is_kept(&self, item: &Item) -> bool {
        for _ in 0..LOOKS {
            if self.has(item).await {
                return true;
            }
            sleep(LOOK).await;
        }
        self.find(&item.url).await.is_some()
    }

    /// Whether just this form of a file is here.
    async fn has(&self, item: &Item) -> bool {
        self.find(&item.url).await == Some(item.root)
    }

    /// The root of the file that is here.
    async fn find(&self, url: &PageUrl) -> Option<Hash> {
        let (store, key) = (self.store().clone(), Wanted::page(url.clone()).key());
        let found = self.spawn_blocking(move || store.find(&key).ok().flatten()).await;
        found.ok().flatten().map(|stored| stored.root)
    }

    /// Takes each new edition of these hosts, for as long as the node runs.
    pub(crate) async fn keep_editions(&self, hosts: Vec<HostName>) {
        loop {
            let mut rest = REST;
            for host in &hosts {
                match self.take_edition(host).await {
                    Ok(taken) if !taken.old && taken.missing == 0 => {
                        debug!(?taken, "took an edition")
                    }
                    Ok(taken) => {
                        debug!(?taken, "took what there is of an edition");
                        rest = SOON;
                    }
                    Err(error) => {
                        debug!(%error, "no edition");
                        rest = SOON;
                    }
                }
            }
            // Not all at once, and not at a time by which a device is known.
            sleep(rest + rest.mul_f32(rand::random::<f32>() / 4.0)).await;
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Came {
    Known,
    New,
    Missing,
}

/// Reads a body to its end, if that comes in time.
async fn drain(response: Response, most: u64) -> Option<()> {
    let (mut body, mut len) = (response.body, 0);
    while let Some(frame) = body.frame().await {
        len += frame.ok()?.data_ref().map_or(0, |data| data.len() as u64);
        if len > most {
            return None;
        }
    }
    Some(())
}

impl Taken {
    /// How old the edition is.
    pub fn age(&self) -> Duration {
        clock::now().since(UnixTime(self.made_at))
    }
}
