//! The provider, who is the censor: every name and every dial of the demo's readers goes through
//! it, and it reads what a real box on the line could read. It runs as a process of its own, so
//! that nothing but sockets joins it to the readers, and takes its orders as JSON lines.
//!
//! It answers DNS, and carries TCP by SOCKS5 from invented public addresses to loopback ones. It
//! does not look into TLS, has no UDP beyond DNS, no throttling and no active probing: those are
//! the lab's. What it blocks, the policy says; see [`Policy`].

mod block_page;
mod dns;
mod handle;
mod line;
mod orders;
mod policy;
mod sniff;
mod socks;

pub(crate) use handle::IspHandle;
pub(crate) use orders::{Event, IspConfig, Kind, Order, Ready, Saw, World};
pub(crate) use policy::{AddrRule, Policy, Verdict};

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context as _, ensure};
use tokio::io::{AsyncBufRead, AsyncWrite, AsyncWriteExt as _, BufReader};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use self::policy::{Facts, Fate};
use super::site::Owner;

/// Events that may wait for the reader of our output; further sightings are dropped and counted.
const EVENT_QUEUE: usize = 1024;
/// Names and routes that a world may have.
const MAX_WORLD: usize = 10_000;

/// What the hidden subcommand runs: the configuration is the first line on standard input, orders
/// follow it, events go to standard output.
pub(crate) async fn run_stdio() -> anyhow::Result<()> {
    let mut control = BufReader::new(tokio::io::stdin());
    let first =
        line::read(&mut control).await?.context("the provider was given no configuration")?;
    let config = serde_json::from_slice(&first).context("the provider's configuration")?;
    run(config, control, tokio::io::stdout()).await
}

/// Runs the provider until `control` closes.
pub(crate) async fn run(
    config: IspConfig,
    control: impl AsyncBufRead + Unpin,
    out: impl AsyncWrite + Unpin,
) -> anyhow::Result<()> {
    let (events, queue) = mpsc::channel(EVENT_QUEUE);
    let owner = Owner::default();
    let _guard = owner.guard();
    let isp = Arc::new(Isp::new(&config, events)?);
    let pages = block_page::start(&owner).await?;
    isp.add_block_page(pages);
    let ready =
        Ready { dns: dns::start(&isp, &owner).await?, socks: socks::start(&isp, &owner).await? };
    isp.tell(Event::Ready(ready)).await;
    let ended = tokio::select! {
        ended = obey(&isp, control) => ended,
        ended = report(&isp, queue, out) => ended,
    };
    owner.stop().await;
    ended
}

/// Carries out orders, one after the other.
async fn obey(isp: &Isp, mut control: impl AsyncBufRead + Unpin) -> anyhow::Result<()> {
    while let Some(line) = line::read(&mut control).await? {
        let done = match serde_json::from_slice(&line) {
            Ok(Order::Set(policy)) => {
                isp.set(policy).await;
                Event::Policy(orders::Took::Set)
            }
            Ok(Order::Add(world)) => match isp.add(&world) {
                Ok(()) => Event::World(orders::Took::Set),
                Err(error) => Event::Bad(error.to_string()),
            },
            Err(error) => Event::Bad(error.to_string()),
        };
        isp.tell(done).await;
    }
    Ok(())
}

/// Writes events out as they come.
async fn report(
    isp: &Isp,
    mut queue: mpsc::Receiver<Event>,
    mut out: impl AsyncWrite + Unpin,
) -> anyhow::Result<()> {
    while let Some(event) = queue.recv().await {
        let lost = isp.lost.swap(0, Ordering::Relaxed);
        let lost = (lost > 0).then_some(Event::Lost(lost));
        for event in lost.iter().chain([&event]) {
            let mut line = serde_json::to_vec(event)?;
            line.push(b'\n');
            out.write_all(&line).await.context("nobody reads events")?;
        }
        out.flush().await.context("nobody reads events")?;
    }
    Ok(())
}

/// What all parts of the provider share.
struct Isp {
    state: Mutex<State>,
    block_page: Ipv4Addr,
    events: mpsc::Sender<Event>,
    lost: AtomicU64,
}

/// Under one lock, so that no connection slips between a new policy and the table of connections.
struct State {
    zone: HashMap<String, Ipv4Addr>,
    routes: HashMap<SocketAddr, SocketAddr>,
    policy: Policy,
    live: HashMap<u64, Live>,
    next: u64,
}

/// A connection that is being carried.
struct Live {
    facts: Facts,
    fate: watch::Sender<Option<Fate>>,
    carried_out: CancellationToken,
}

/// How a dial is met.
enum Dial {
    /// Carried to this address.
    Carried(SocketAddr, Pass),
    /// Nothing is there.
    Nowhere,
    /// Blocked.
    Blocked(Fate),
}

impl Isp {
    fn new(config: &IspConfig, events: mpsc::Sender<Event>) -> anyhow::Result<Self> {
        let isp = Self {
            state: Mutex::new(State {
                zone: HashMap::new(),
                routes: HashMap::new(),
                policy: config.policy.clone(),
                live: HashMap::new(),
                next: 0,
            }),
            block_page: config.block_page,
            events,
            lost: AtomicU64::new(0),
        };
        isp.add(&config.world)?;
        Ok(isp)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No step under the lock can leave it half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, world: &World) -> anyhow::Result<()> {
        let mut state = self.state();
        let names = state.zone.len() + world.zone.len();
        let routes = state.routes.len() + world.routes.len();
        ensure!(names <= MAX_WORLD && routes <= MAX_WORLD, "more than {MAX_WORLD} names or routes");
        for (name, at) in &world.zone {
            state.zone.insert(policy::plain(name), *at);
        }
        let routes = world.routes.iter().map(|(from, to)| (*from, *to));
        state.routes.extend(routes);
        Ok(())
    }

    fn add_block_page(&self, pages: block_page::Pages) {
        let ip = IpAddr::V4(self.block_page);
        let mut state = self.state();
        state.routes.insert(SocketAddr::new(ip, 80), pages.http);
        state.routes.insert(SocketAddr::new(ip, 443), pages.https);
    }

    /// Puts a policy in force, and returns when every connection that it forbids has been cut.
    async fn set(&self, policy: Policy) {
        let cut: Vec<CancellationToken> = {
            let mut state = self.state();
            state.policy = policy;
            let State { policy, live, .. } = &*state;
            let forbidden = live.values().filter_map(|live| {
                let fate = policy.judge(&live.facts)?;
                live.fate.send_replace(Some(fate));
                Some(live.carried_out.clone())
            });
            forbidden.collect()
        };
        for done in cut {
            done.cancelled().await;
        }
    }

    /// The address of a name, as the provider wants it known.
    fn resolve(&self, name: &str) -> Option<Ipv4Addr> {
        let name = policy::plain(name);
        let (answer, verdict) = {
            let state = self.state();
            match state.zone.get(&name) {
                _ if state.policy.poisons(&name) => (Some(self.block_page), Verdict::Poisoned),
                Some(at) => (Some(*at), Verdict::Passed),
                None => (None, Verdict::Refused),
            }
        };
        self.saw(Kind::Dns, name, verdict);
        answer
    }

    /// Decides on a dial, and enters it into the table if it is carried.
    fn dial(self: &Arc<Self>, to: SocketAddr) -> Dial {
        let dial = {
            let mut state = self.state();
            let facts =
                Facts { addr: to, name: None, own_page: to.ip() == IpAddr::V4(self.block_page) };
            match (state.policy.judge(&facts), state.routes.get(&to).copied()) {
                (Some(fate), _) => Dial::Blocked(fate),
                (None, None) => Dial::Nowhere,
                (None, Some(real)) => Dial::Carried(real, self.enter(&mut state, facts)),
            }
        };
        let verdict = match &dial {
            Dial::Carried(..) => Verdict::Passed,
            Dial::Blocked(Fate::Swallow) => Verdict::Dropped,
            Dial::Nowhere | Dial::Blocked(Fate::Reset) => Verdict::Refused,
        };
        self.saw(Kind::Dial, to.to_string(), verdict);
        dial
    }

    fn enter(self: &Arc<Self>, state: &mut State, facts: Facts) -> Pass {
        let id = state.next;
        state.next += 1;
        let (fate, told) = watch::channel(None);
        let carried_out = CancellationToken::new();
        let live = Live { facts, fate, carried_out: carried_out.clone() };
        state.live.insert(id, live);
        Pass { isp: Arc::clone(self), id, told, carried_out }
    }

    fn saw(&self, kind: Kind, name_or_addr: String, verdict: Verdict) {
        let saw = Saw { kind, name_or_addr, verdict };
        if self.events.try_send(Event::Saw(saw)).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    async fn tell(&self, event: Event) {
        // It fails only when the writer is gone, and then the provider is ending.
        self.events.send(event).await.ok();
    }
}

/// A carried connection's place in the table, which it leaves when this is dropped.
struct Pass {
    isp: Arc<Isp>,
    id: u64,
    told: watch::Receiver<Option<Fate>>,
    carried_out: CancellationToken,
}

impl Pass {
    /// Waits until a policy forbids the connection.
    async fn fate(&self) -> Fate {
        let mut told = self.told.clone();
        let fate = told.wait_for(Option::is_some).await;
        match fate.ok().and_then(|fate| *fate) {
            Some(fate) => fate,
            // The sender lies in the table until this pass is dropped.
            None => std::future::pending().await,
        }
    }

    /// Notes the name that the client asked for, and says whether that forbids the connection.
    fn named(&self, kind: Kind, name: &str) -> Option<Fate> {
        let name = policy::plain(name);
        let fate = {
            let mut state = self.isp.state();
            let State { policy, live, .. } = &mut *state;
            live.get_mut(&self.id).and_then(|live| {
                live.facts.name = Some(name.clone());
                policy.judge(&live.facts)
            })
        };
        let verdict = match fate {
            None => Verdict::Passed,
            Some(Fate::Reset) => Verdict::Reset,
            Some(Fate::Swallow) => Verdict::Dropped,
        };
        self.isp.saw(kind, name, verdict);
        fate
    }

    /// Says that nothing more is carried, though the connection may still hang open.
    fn silenced(&self) {
        self.carried_out.cancel();
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        self.isp.state().live.remove(&self.id);
        self.carried_out.cancel();
    }
}

#[cfg(test)]
mod tests;
