//! The demo's end of the provider: starts its process, gives it orders, and keeps what it saw.
//! It knows nothing of how the provider works.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

#[cfg(test)]
use super::orders::World;
use super::orders::{Event, IspConfig, Order, Ready, Saw};
use super::{Owner, Policy, line};

/// Sightings that are kept; older ones are forgotten.
const MAX_SAW: usize = 4096;
/// How long the provider may take to start, to carry an order out, or to end.
const PATIENCE: Duration = Duration::from_secs(15);

/// A running provider. Dropping it kills the process.
pub(crate) struct IspHandle {
    ready: Ready,
    link: tokio::sync::Mutex<Link>,
    memory: Arc<Mutex<Memory>>,
    owner: Owner,
    _stop: tokio_util::sync::DropGuard,
    child: Option<Child>,
}

/// The way orders go, and what comes back of each.
struct Link {
    to: Box<dyn AsyncWrite + Send + Unpin>,
    took: mpsc::Receiver<Result<(), String>>,
}

#[derive(Default)]
struct Memory {
    saw: VecDeque<Saw>,
    lost: u64,
}

impl IspHandle {
    /// Runs the command, which must lead to [`super::run_stdio`], and waits until it serves.
    pub(crate) async fn spawn(mut command: Command, config: &IspConfig) -> anyhow::Result<Self> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("can't start the provider's process")?;
        let to = child.stdin.take().expect("stdin was asked to be a pipe");
        let from = child.stdout.take().expect("stdout was asked to be a pipe");
        let mut handle = Self::join(config, to, from).await?;
        handle.child = Some(child);
        Ok(handle)
    }

    /// Takes over a provider at the other end of two streams.
    pub(super) async fn join(
        config: &IspConfig,
        to: impl AsyncWrite + Send + Unpin + 'static,
        from: impl AsyncRead + Send + Unpin + 'static,
    ) -> anyhow::Result<Self> {
        let (ready_in, ready) = oneshot::channel();
        let (took_in, took) = mpsc::channel(1);
        let memory = Arc::new(Mutex::new(Memory::default()));
        let listener =
            Listener { ready: Some(ready_in), took: took_in, memory: Arc::clone(&memory) };
        let owner = Owner::default();
        let stop = owner.guard();
        owner.spawn(listener.listen(from));
        let mut link = Link { to: Box::new(to), took };
        link.send(config).await?;
        let ready = timeout(PATIENCE, ready)
            .await
            .context("the provider does not start")?
            .context("the provider ended before it served")?;
        Ok(Self {
            ready,
            link: tokio::sync::Mutex::new(link),
            memory,
            owner,
            _stop: stop,
            child: None,
        })
    }

    /// Where the provider answers DNS, on UDP and TCP.
    pub(crate) fn dns(&self) -> SocketAddr {
        self.ready.dns
    }

    /// Where the provider carries TCP, by SOCKS5.
    pub(crate) fn socks(&self) -> SocketAddr {
        self.ready.socks
    }

    /// Puts a policy in force; returns when what it forbids is cut.
    pub(crate) async fn set(&self, policy: Policy) -> anyhow::Result<()> {
        self.order(&Order::Set(policy)).await
    }

    /// Adds names and routes, or changes where they lead.
    #[cfg(test)]
    pub(crate) async fn add(&self, world: World) -> anyhow::Result<()> {
        self.order(&Order::Add(world)).await
    }

    async fn order(&self, order: &Order) -> anyhow::Result<()> {
        let mut link = self.link.lock().await;
        link.send(order).await?;
        let took = timeout(PATIENCE, link.took.recv())
            .await
            .context("the provider does not answer")?
            .context("the provider is gone")?;
        took.map_err(|why| anyhow!("the provider refused an order: {why}"))
    }

    /// What the provider saw, oldest first, as far as it is remembered. What it saw before an
    /// order is in here when that order returns.
    pub(crate) fn saw(&self) -> Vec<Saw> {
        lock(&self.memory).saw.iter().cloned().collect()
    }

    /// Forgets what was seen until now, for the next scene.
    pub(crate) fn forget(&self) {
        lock(&self.memory).saw.clear();
    }

    /// How many sightings were dropped, there or here.
    pub(crate) fn lost(&self) -> u64 {
        lock(&self.memory).lost
    }

    /// Closes the provider's input, which ends it, and waits for that.
    pub(crate) async fn stop(self) -> anyhow::Result<()> {
        drop(self.link);
        let mut ended = Ok(());
        if let Some(mut child) = self.child {
            ended = match timeout(PATIENCE, child.wait()).await {
                Ok(Ok(status)) if status.success() => Ok(()),
                Ok(Ok(status)) => Err(anyhow!("the provider ended with {status}")),
                Ok(Err(error)) => Err(error.into()),
                Err(_) => child.kill().await.context("the provider can't be killed"),
            };
        }
        self.owner.stop().await;
        ended
    }
}

impl Link {
    async fn send(&mut self, value: &impl serde::Serialize) -> anyhow::Result<()> {
        let mut line = serde_json::to_vec(value)?;
        line.push(b'\n');
        let sent = async {
            self.to.write_all(&line).await?;
            self.to.flush().await
        };
        timeout(PATIENCE, sent)
            .await
            .context("the provider takes no orders")?
            .context("the provider is gone")
    }
}

/// Reads events as they come.
struct Listener {
    ready: Option<oneshot::Sender<Ready>>,
    took: mpsc::Sender<Result<(), String>>,
    memory: Arc<Mutex<Memory>>,
}

impl Listener {
    async fn listen(mut self, from: impl AsyncRead + Unpin) {
        let mut from = BufReader::new(from);
        loop {
            match line::read(&mut from).await {
                Ok(Some(line)) => {
                    if let Err(error) = self.take(&line).await {
                        tracing::warn!(%error, "the provider said something odd");
                    }
                }
                Ok(None) => return,
                Err(error) => {
                    tracing::warn!(%error, "the provider can't be heard");
                    return;
                }
            }
        }
    }

    async fn take(&mut self, line: &[u8]) -> anyhow::Result<()> {
        match serde_json::from_slice(line)? {
            Event::Ready(ready) => match self.ready.take() {
                // A demo that no longer waits has ended.
                Some(tell) => drop(tell.send(ready)),
                None => bail!("it is ready twice"),
            },
            Event::Saw(saw) => lock(&self.memory).keep(saw),
            Event::Lost(count) => lock(&self.memory).lost += count,
            Event::Policy(_) | Event::World(_) => self.answer(Ok(())).await,
            Event::Bad(why) => self.answer(Err(why)).await,
        }
        Ok(())
    }

    async fn answer(&self, answer: Result<(), String>) {
        // It fails only when the handle is gone.
        self.took.send(answer).await.ok();
    }
}

impl Memory {
    fn keep(&mut self, saw: Saw) {
        if self.saw.len() == MAX_SAW {
            self.saw.pop_front();
            self.lost += 1;
        }
        self.saw.push_back(saw);
    }
}

fn lock(memory: &Mutex<Memory>) -> MutexGuard<'_, Memory> {
    memory.lock().unwrap_or_else(PoisonError::into_inner)
}
