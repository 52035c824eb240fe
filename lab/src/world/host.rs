//! One host: a thread that lives in a network namespace and a mount namespace of its own, and does
//! there what it is told. Programs that it starts are born into the same namespaces.
//!
//! It carries no packets, and shares all else with the other hosts: processes, files, the clock.

use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::os::unix::fs::MetadataExt as _;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::net::{TcpSocket, TcpStream};

use super::drawing::{FIRST_SEAT, LAST_SEAT};
use super::{Launch, system};
use crate::map::Lan;
use crate::middlebox::Shared;

/// A host of a world. Copies are the same host.
#[derive(Clone)]
pub struct Host {
    inner: Arc<Inner>,
}

struct Inner {
    spec: Spec,
    jobs: mpsc::Sender<Job>,
    shared: Arc<Shared>,
    /// Where the kernel shows its network namespace, and its number.
    namespace: (String, u64),
    launched: AtomicU32,
    /// Where it is behind a router.
    seat: Mutex<Option<Seat>>,
    /// The number of the last one that came into its LAN after the start, counted from the end.
    came: AtomicU8,
}

type Job = Box<dyn FnOnce() + Send>;

/// What a host is made from.
pub(super) struct Spec {
    pub(super) name: String,
    pub(super) addrs: Vec<IpAddr>,
    pub(super) dir: PathBuf,
    pub(super) resolver: Option<IpAddr>,
    pub(super) number: usize,
    /// The LAN behind it.
    pub(super) lan: Option<Lan>,
}

/// A host's place in a LAN.
#[derive(Clone)]
pub(super) struct Seat {
    pub(super) router: Host,
    pub(super) number: u8,
}

/// Something that a host was told to do.
pub(super) struct Doing<T>(mpsc::Receiver<std::thread::Result<T>>);

impl<T> Doing<T> {
    /// Waits for it.
    pub(super) fn end(self) -> T {
        let done = self.0.recv().expect("a host's thread lives as long as the host");
        done.unwrap_or_else(|panic| resume_unwind(panic))
    }
}

impl Host {
    pub(super) fn start(
        spec: Spec,
        seat: Option<Seat>,
        shared: Arc<Shared>,
    ) -> anyhow::Result<Self> {
        std::fs::create_dir_all(&spec.dir)?;
        let resolv_conf = spec.dir.join("resolv.conf");
        let lines =
            spec.resolver.map(|at| format!("nameserver {at}\noptions timeout:1 attempts:2\n"));
        std::fs::write(&resolv_conf, lines.unwrap_or_default())?;
        let (jobs, queue) = mpsc::channel::<Job>();
        let (ready, started) = mpsc::channel();
        std::thread::Builder::new().name(spec.name.clone()).spawn(move || {
            let own = own_namespaces(&resolv_conf);
            let failed = own.is_err();
            // Nobody waits only if the start was given up.
            ready.send(own).ok();
            if !failed {
                queue.into_iter().for_each(|job| job());
            }
        })?;
        let namespace = started.recv().context("a host's thread")??;
        let (launched, seat, came) = (AtomicU32::new(0), Mutex::new(seat), AtomicU8::new(0));
        Ok(Self { inner: Arc::new(Inner { spec, jobs, shared, namespace, launched, seat, came }) })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.inner.spec.name
    }

    /// Its addresses: IPv4, IPv6, and for one in a LAN the local IPv6 one. Those of a LAN are
    /// private, except the second.
    pub fn addrs(&self) -> &[IpAddr] {
        &self.inner.spec.addrs
    }

    /// Its IPv4 address.
    pub fn v4(&self) -> IpAddr {
        self.inner.spec.addrs[0]
    }

    /// Its global IPv6 address.
    pub fn v6(&self) -> IpAddr {
        self.inner.spec.addrs[1]
    }

    /// Where its files and the logs of its programs are.
    pub fn dir(&self) -> &Path {
        &self.inner.spec.dir
    }

    /// A program to run or start here.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Launch<'_> {
        Launch::new(self, program.as_ref())
    }

    /// Does something in the host's namespaces: sockets that are made in it are the host's, wherever
    /// they are used later. Short things only, since a host does one at a time.
    pub fn enter<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        self.begin(work).end()
    }

    /// A socket that listens here on all addresses, for a server that runs in [`super::World::tasks`].
    pub fn listen(&self, port: u16) -> anyhow::Result<TcpListener> {
        let listener = self.enter(move || TcpListener::bind(any(port)))?;
        listener.set_nonblocking(true)?;
        Ok(listener)
    }

    /// A UDP socket here on all addresses, for a server that runs in [`super::World::tasks`].
    pub fn bind(&self, port: u16) -> anyhow::Result<UdpSocket> {
        let socket = self.enter(move || UdpSocket::bind(any(port)))?;
        socket.set_nonblocking(true)?;
        Ok(socket)
    }

    /// A connection from here, for servers that run in [`super::World::tasks`] and ask others in turn.
    pub async fn dial(&self, to: SocketAddr) -> std::io::Result<TcpStream> {
        let socket = self.enter(move || match to {
            SocketAddr::V4(_) => TcpSocket::new_v4(),
            SocketAddr::V6(_) => TcpSocket::new_v6(),
        });
        socket?.connect(to).await
    }

    /// Power loss: its line goes dead, and then all its processes end, so that nobody hears a last
    /// word. Servers in the test's own process stay, but nobody reaches them.
    pub fn kill(&self) -> anyhow::Result<()> {
        self.plug(false)?;
        self.end();
        Ok(())
    }

    /// Power is back: the line works again. Programs have to be started anew.
    pub fn revive(&self) -> anyhow::Result<()> {
        self.plug(true)
    }

    /// Pulls the cable of the host, or plugs it in again. Its programs go on.
    pub fn plug(&self, plugged: bool) -> anyhow::Result<()> {
        let spec = &self.inner.spec;
        self.inner.shared.dark[spec.number].store(!plugged, Ordering::Relaxed);
        let Some(Seat { router, number }) = self.sits() else { return Ok(()) };
        let port = super::wiring::router_port(number);
        let state = if plugged { "up" } else { "down" };
        let batch = format!("link set {port} {state}\n");
        router.enter(move || system("ip", &["-batch", "-"], &batch))
    }

    pub(super) fn begin<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Doing<T> {
        let (sender, receiver) = mpsc::channel();
        let job: Job = Box::new(move || {
            // Nobody waits only if the test has failed meanwhile.
            sender.send(catch_unwind(AssertUnwindSafe(work))).ok();
        });
        // It fails only if the thread has ended, and then nobody answers either.
        self.inner.jobs.send(job).ok();
        Doing(receiver)
    }

    /// The LAN behind it, if it is a router.
    pub(super) fn lan(&self) -> Option<Lan> {
        self.inner.spec.lan
    }

    /// Its number in the LAN that it is in.
    pub(super) fn seat(&self) -> Option<u8> {
        Some(self.sits()?.number)
    }

    /// Gives it another place in a LAN; says which it had.
    pub(super) fn sit(&self, seat: Seat) -> Option<Seat> {
        self.inner.seat.lock().unwrap_or_else(PoisonError::into_inner).replace(seat)
    }

    fn sits(&self) -> Option<Seat> {
        self.inner.seat.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A number in the LAN behind it that nobody had yet.
    pub(super) fn free_seat(&self) -> Option<u8> {
        let came = self.inner.came.fetch_add(1, Ordering::Relaxed);
        LAST_SEAT.checked_sub(came).filter(|number| *number > 2 * FIRST_SEAT)
    }

    /// Where the kernel shows its network namespace.
    pub(super) fn namespace(&self) -> String {
        self.inner.namespace.0.clone()
    }

    /// A number that no earlier program of this host has.
    pub(crate) fn next_launch(&self) -> u32 {
        self.inner.launched.fetch_add(1, Ordering::Relaxed)
    }

    /// Ends all processes of the host, with what they have started in turn.
    pub(super) fn end(&self) {
        let own = std::process::id();
        // What is being born while we look is found in the next round.
        for _ in 0..100 {
            let found = processes(self.inner.namespace.1);
            let others: Vec<u32> = found.into_iter().filter(|process| *process != own).collect();
            if others.is_empty() {
                return;
            }
            for process in others {
                // One that has just ended needs no killing.
                kill(Pid::from_raw(process.cast_signed()), Signal::SIGKILL).ok();
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Its logs, with their text.
    pub(super) fn logs(&self) -> anyhow::Result<Vec<(PathBuf, String)>> {
        let mut logs = Vec::new();
        for entry in std::fs::read_dir(self.dir())? {
            let path = entry?.path();
            if path.extension().is_some_and(|kind| kind == "log") {
                let text = String::from_utf8_lossy(&std::fs::read(&path)?).into_owned();
                logs.push((path, text));
            }
        }
        logs.sort();
        Ok(logs)
    }
}

fn any(port: u16) -> SocketAddr {
    SocketAddr::new(std::net::Ipv6Addr::UNSPECIFIED.into(), port)
}

/// Moves the calling thread into new namespaces. Says where the kernel shows the one of the network.
fn own_namespaces(resolv_conf: &Path) -> anyhow::Result<(String, u64)> {
    unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS).context("a namespace")?;
    mount(
        Some(resolv_conf),
        Path::new("/etc/resolv.conf"),
        None::<&str>,
        MsFlags::MS_BIND,
        None::<&str>,
    )
    .context("an /etc/resolv.conf of its own, over the one of this machine")?;
    let thread = std::fs::read_link("/proc/thread-self").context("/proc")?;
    let path = Path::new("/proc").join(thread).join("ns/net");
    let number = std::fs::metadata(&path).context("a network namespace")?.ino();
    Ok((path.display().to_string(), number))
}

/// The processes in a network namespace that still run.
fn processes(namespace: u64) -> Vec<u32> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    let numbers = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    numbers
        .filter(|process: &u32| {
            let own = std::fs::metadata(format!("/proc/{process}/ns/net"));
            own.is_ok_and(|own| own.ino() == namespace)
        })
        .collect()
}
