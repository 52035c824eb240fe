//! A censor's prober in a host of its own: it is told of servers by the policy
//! [`ActiveProbing`], speaks with each as a client would that knows no secret, and condemns those
//! that a rule of the test recognises. What it heard is in a [`Report`].
//!
//! It knows no circumvention protocol by itself; what a server gives away must be in the rule.

mod probe;
mod report;

pub use report::{Answer, End, Probe, Report};

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};

use crate::censor::{ActiveProbing, Guilty, Suspect};
use crate::world::{Host, World};

/// Servers that wait to be probed.
const WAITING: usize = 64;
/// How often a report is looked for.
const LOOK: Duration = Duration::from_millis(10);

/// A running prober; it ends when this is dropped.
pub struct Prober {
    task: JoinHandle<()>,
    host: Host,
    suspects: mpsc::Sender<Suspect>,
    guilty: Guilty,
    reports: Arc<Mutex<Vec<Report>>>,
}

impl Prober {
    /// Starts it in a host. `rule` says of which servers it is sure.
    pub fn start(
        world: &World,
        host: &Host,
        rule: impl Fn(&Report) -> bool + Send + Sync + 'static,
    ) -> Self {
        let own = host.clone();
        let (suspects, mut told) = mpsc::channel::<Suspect>(WAITING);
        let (guilty, reports) = (Guilty::default(), Arc::<Mutex<Vec<Report>>>::default());
        let (condemned, done, host) = (guilty.clone(), Arc::clone(&reports), host.clone());
        let task = world.tasks().spawn(async move {
            while let Some(suspect) = told.recv().await {
                let mut report = look_at(&host, suspect).await;
                report.guilty = rule(&report);
                if report.guilty {
                    condemned.add(report.suspect.server.ip());
                }
                done.lock().unwrap_or_else(PoisonError::into_inner).push(report);
            }
        });
        Self { task, host: own, suspects, guilty, reports }
    }

    /// The policy that tells it of servers.
    pub fn policy(&self) -> ActiveProbing {
        ActiveProbing::new(self.suspects.clone(), self.guilty.clone())
    }

    /// From where it probes.
    pub fn addrs(&self) -> &[IpAddr] {
        self.host.addrs()
    }

    /// All that it has heard so far.
    pub fn reports(&self) -> Vec<Report> {
        self.reports.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until it has looked at a server; nothing if it has not by then.
    pub fn report_of(&self, server: SocketAddr, patience: Duration) -> Option<Report> {
        let until = Instant::now() + patience;
        loop {
            let found = self.reports().into_iter().find(|report| report.suspect.server == server);
            if found.is_some() || Instant::now() > until {
                return found;
            }
            std::thread::sleep(LOOK);
        }
    }
}

impl Drop for Prober {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Makes all probes at once, each over a connection of its own.
async fn look_at(host: &Host, suspect: Suspect) -> Report {
    let mut probes = JoinSet::new();
    for probe in Probe::of(&suspect) {
        let (host, suspect) = (host.clone(), suspect.clone());
        probes.spawn(async move { (probe, probe::make(&host, &suspect, probe).await) });
    }
    let mut answers = probes.join_all().await;
    answers.sort_by_key(|(probe, _)| *probe);
    Report { suspect, answers, guilty: false }
}
