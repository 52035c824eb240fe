//! A Busel node, through its library.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use busel_injector::keys::Keys;
use busel_injector::{Config as InjectorConfig, Injector};
use busel_node::{Config, Node, Request, clock};
use busel_proto::invite::{Invite, PeerTicket};
use busel_proto::page::{PageUrl, Variant};
use busel_proto::signed::Signed;
use busel_proto::snapshot::{Head, SignedSnapshot, Wanted, kept_headers};
use http_body_util::BodyExt;
use tokio::task::JoinSet;

use super::{Doer, Ready, Reply, ms};
use crate::invites::{self, PUBLIC};

/// Pages stored at once: they share syncs.
const AT_ONCE: usize = 32;
/// A page that was fetched is stored by then.
const KEEP_LIMIT: Duration = Duration::from_secs(60);

/// A node that can be told to fetch.
pub(crate) struct Reader(Node);

/// Starts a node.
pub(crate) async fn start(config: Config, invite: &str, injector: bool) -> Result<(Ready, Doer)> {
    let node = Node::start(config).await?;
    node.join(&Invite::from_line(invite)?, true).await?;
    let mut own = Invite::default();
    if injector {
        let keys = Keys::new(invites::subkey().0, invites::certificate()?)?;
        let config = InjectorConfig {
            label: "Newsroom".into(),
            hosts: invites::hosts()?,
            requests_per_second: u32::MAX,
            ..InjectorConfig::default()
        };
        own.injectors.push(Injector::start(&node, keys, config).ticket());
    }
    let plain = node.config().plain_wire.is_some();
    let addrs = if plain { node.endpoint().local_addrs() } else { vec![] };
    let addrs = addrs.iter().map(ToString::to_string).collect();
    own.peers.push(PeerTicket { peer: node.id(), relay: None, addrs, veil: None });
    let ready = Ready { http: node.http_addr(), invite: own.to_line(), ..Ready::default() };
    Ok((ready, Doer::Node(Reader(node))))
}

impl Reader {
    /// Signs and stores pages of zeros.
    pub(crate) async fn seed(&self, paths: Vec<String>, len: u64, tls: bool) -> Result<Reply> {
        let mut tasks = JoinSet::new();
        for path in paths {
            if tasks.len() >= AT_ONCE {
                tasks.join_next().await.context("tasks run")???;
            }
            let node = self.0.clone();
            tasks.spawn_blocking(move || seed_one(&node, &path, len, tls));
        }
        while let Some(done) = tasks.join_next().await {
            done??;
        }
        Ok(Reply::Done)
    }

    /// Speaks for the listed site to whoever believes it.
    pub(crate) async fn vouch(&self) -> Result<Reply> {
        Ok(Reply::Vouches(self.0.make_authority().await?.pem))
    }

    /// Fetches each path once, `conns` at a time.
    pub(crate) async fn fetch(
        &self,
        paths: Vec<String>,
        conns: usize,
        route: &str,
        kept: bool,
    ) -> Result<Reply> {
        let (paths, next) = (Arc::new(paths), Arc::new(AtomicUsize::new(0)));
        let route: Arc<str> = route.into();
        let begin = Instant::now();
        let mut tasks = JoinSet::new();
        for _ in 0..conns {
            let (node, paths, next) = (self.0.clone(), paths.clone(), next.clone());
            let route = route.clone();
            tasks.spawn(async move {
                let mut all = Vec::new();
                while let Some(path) = paths.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let asked = Instant::now();
                    fetch_one(&node, path, &route, kept).await?;
                    all.push(ms(asked));
                }
                Ok::<_, anyhow::Error>(all)
            });
        }
        let mut all = Vec::with_capacity(paths.len());
        while let Some(done) = tasks.join_next().await {
            all.extend(done??);
        }
        Ok(Reply::Timed { ms: all, secs: begin.elapsed().as_secs_f64() })
    }
}

fn url(path: &str, tls: bool) -> Result<PageUrl> {
    let scheme = if tls { "https" } else { "http" };
    Ok(PageUrl::parse(&format!("{scheme}://{PUBLIC}{path}"))?)
}

async fn fetch_one(node: &Node, path: &str, route: &str, kept: bool) -> Result<()> {
    let url = url(path, false)?;
    let key = url.key(&Variant::default());
    let answer = node.fetch(Request::get(url)).await;
    let answer = answer.map_err(|why| anyhow::anyhow!("{why}: {:?}", why.tried))?;
    ensure!(answer.status == 200, "{path}: the answer was {}", answer.status);
    ensure!(answer.route.name() == route, "{path} came by route {}", answer.route);
    let mut body = answer.body;
    while let Some(frame) = body.frame().await {
        frame.map_err(|failure| anyhow::anyhow!("{path}: {failure}"))?;
    }
    let begin = Instant::now();
    while kept && node.store().find(&key)?.is_none() {
        ensure!(begin.elapsed() < KEEP_LIMIT, "{path} was not stored");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    Ok(())
}

fn seed_one(node: &Node, path: &str, len: u64, tls: bool) -> Result<()> {
    let url = url(path, tls)?;
    let mut writer = node.store().writer()?;
    let zeros = vec![0; 256 * 1024];
    let mut left = len;
    while left > 0 {
        let size = usize::try_from(left).unwrap_or(usize::MAX).min(zeros.len());
        writer.write(&zeros[..size])?;
        left -= size as u64;
    }
    let body = writer.finish()?;
    let cert = invites::certificate()?;
    let seen = cert.clone().verify()?;
    let mut headers = http::HeaderMap::new();
    headers.insert("content-type", "application/octet-stream".parse()?);
    headers.insert("cache-control", "max-age=86400".parse()?);
    let head = Head {
        v: 1,
        url: url.as_str().to_owned(),
        variant: Variant::default(),
        status: 200,
        headers: kept_headers(&headers),
        root: body.root(),
        len: body.len(),
        fetched_at: clock::now(),
        tls,
        injector: seen.subkey,
        epoch: seen.epoch,
    };
    let signed = SignedSnapshot { head: Signed::sign(&head, &invites::subkey().1), cert };
    let trust = &node.joined().view().trust;
    let snapshot = match signed.verify(&Wanted::page(url), trust) {
        Ok(snapshot) => snapshot,
        Err(why) => bail!("{path}: {why}"),
    };
    Ok(node.store().put(&snapshot, body, clock::now())?)
}
