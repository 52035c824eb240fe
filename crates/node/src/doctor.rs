//! The doctor: measures what stands between this device and a few sites, so that
//! [`busel_proto::doctor`] can name it.
//!
//! It contacts nobody but the sites that were named or are on the site list, the configured
//! resolvers and the relays of invites. A guarded site is asked only if its owner insists. Each
//! measurement has a limit of time and bytes. It changes nothing, and remembers nothing.

mod ask;
mod load;
mod names;
mod points;
mod shake;

pub use ask::{Ask, Progress, Report, Told};

use std::sync::Arc;
use std::time::{Duration, Instant};

use busel_net::dial::Dialer;
use busel_proto::doctor::{Diagnosis, Exam, Finding, Place, Point, Probe, Verdict, line};
use busel_proto::network::Reach;
use busel_proto::page::PageUrl;
use futures_util::future::join_all;
use futures_util::{StreamExt, stream};
use rustls::RootCertStore;
use tokio::sync::mpsc;

use crate::config::{ConfigError, Dns};
use crate::node::Node;

/// So many sites are examined at a time.
const AT_ONCE: usize = 4;
/// What is not measured by then is judged without it.
const LIMIT: Duration = Duration::from_secs(75);

/// Why no examination could be made.
#[derive(Debug, thiserror::Error)]
pub enum DoctorError {
    /// The configuration can't be used.
    #[error("configuration: {0}")]
    Config(#[from] ConfigError),
    /// A certificate file can't be read.
    #[error("{0}")]
    Io(#[from] std::io::Error),
}

/// What the measurements share.
struct Tools {
    dialer: Dialer,
    reach: Reach,
    roots: Arc<RootCertStore>,
    dns: Vec<Dns>,
    fixed: Vec<crate::config::ConnectTo>,
    /// Whether this device's own line carries what is sent, so that UDP can be measured.
    own_line: bool,
    tell: mpsc::Sender<Progress>,
}

impl Tools {
    /// Progress that nobody has time to hear is not told.
    fn progress(&self, about: impl Into<String>, doing: &str) {
        let _ = self.tell.try_send(Progress { about: about.into(), doing: doing.to_owned() });
    }
}

/// Examines sites and the line, and tells how it goes.
pub async fn examine(
    node: &Node,
    ask: Ask,
    tell: mpsc::Sender<Progress>,
) -> Result<Report, DoctorError> {
    let began = Instant::now();
    let config = node.config();
    let tools = Tools {
        dialer: node.own.dialer.clone(),
        reach: config.reach()?,
        roots: crate::origin::roots(&config.extra_ca)?,
        dns: config.dns.clone(),
        fixed: config.connect_to.clone(),
        own_line: config.upstream.is_none(),
        tell,
    };
    let (asked, kept_from) = chosen(node, &ask);
    let (exams, mut points) = tokio::join!(exams(&tools, asked), points::measure(&tools, node));
    points.extend(exams.iter().filter_map(|(exam, place)| of_site(exam, *place)));
    let line = line::judge(&points);
    let mut sites: Vec<Told> = exams.iter().map(|(exam, _)| judged(exam, &exams, &line)).collect();
    sites.extend(kept_from.iter().map(|url| {
        let found = vec![Verdict::NotAsked];
        Told::new(url.as_str(), &Diagnosis { found, evidence: Vec::new() })
    }));
    Ok(Report::new(Told::new("the line", &line), sites, began.elapsed()))
}

/// What to examine, and what not, since it is guarded.
fn chosen(node: &Node, ask: &Ask) -> (Vec<(PageUrl, Place)>, Vec<PageUrl>) {
    let view = node.joined().view();
    let mut all: Vec<(PageUrl, Place)> =
        ask.urls.iter().map(|url| (url.clone(), Place::World)).collect();
    if all.is_empty() {
        let listed = ask::of_site_list(&view.sites);
        all.extend(listed.into_iter().map(|url| (url, Place::World)));
    }
    all.extend(ask.home.iter().map(|url| (url.clone(), Place::Home)));
    let guarded = |url: &PageUrl| view.sites.find(&url.host()).is_some_and(|site| site.guarded);
    let may = |url: &PageUrl| ask.guarded || (node.config().direct && !guarded(url));
    let (asked, kept): (Vec<_>, Vec<_>) = all.into_iter().partition(|(url, _)| may(url));
    (asked, kept.into_iter().map(|(url, _)| url).collect())
}

async fn exams(tools: &Tools, asked: Vec<(PageUrl, Place)>) -> Vec<(Exam, Place)> {
    stream::iter(asked)
        .map(|(url, place)| async move { (examine_site(tools, url).await, place) })
        .buffered(AT_ONCE)
        .collect()
        .await
}

/// One site, until its exam wants nothing more or the time is up.
async fn examine_site(tools: &Tools, url: PageUrl) -> Exam {
    let mut exam = Exam::new(url.clone(), tools.reach.clone());
    let until = Instant::now() + LIMIT;
    loop {
        let wanted = exam.wanted();
        let left = until.saturating_duration_since(Instant::now());
        if wanted.is_empty() || left.is_zero() {
            return exam;
        }
        tools.progress(url.host().to_string(), doing(&wanted));
        let all = join_all(wanted.iter().map(|probe| measure(tools, &url, probe)));
        let Ok(found) = tokio::time::timeout(left, all).await else { return exam };
        for (probe, finding) in wanted.iter().zip(found) {
            exam.take(probe, finding);
        }
    }
}

async fn measure(tools: &Tools, url: &PageUrl, probe: &Probe) -> Finding {
    match probe {
        Probe::Names => Finding::Names(names::ask_each(tools, url).await),
        Probe::Shake(at, hello) => {
            Finding::Shake(shake::shake(tools, *at, &url.host(), *hello).await)
        }
        Probe::Load(at) => Finding::Load(load::load(tools, *at, url).await),
        Probe::Plain(at) => Finding::Plain(load::plain(tools, *at, url).await),
    }
}

fn doing(wanted: &[Probe]) -> &'static str {
    match wanted.first() {
        Some(Probe::Names) => "asking resolvers for its name",
        Some(Probe::Shake(..)) => "connecting",
        Some(Probe::Load(_)) => "loading",
        Some(Probe::Plain(_)) => "asking by plain http",
        None => "",
    }
}

/// What a site's exam says of the line.
fn of_site(exam: &Exam, place: Place) -> Option<Point> {
    let tcp = exam.reached()?;
    Some(Point { tcp: Some(tcp), ..Point::new(exam.url().host().as_str(), place) })
}

/// A site's verdict. What cuts the whole line is the reason for what can't be reached.
fn judged(exam: &Exam, all: &[(Exam, Place)], line: &Diagnosis) -> Told {
    let others = all.iter().filter(|(other, _)| other.url() != exam.url());
    let fastest = others.filter_map(|(other, _)| other.rate()).max();
    let mut diagnosis = exam.diagnose(fastest);
    let cut = line.verdict() != Verdict::Open && line.verdict() != Verdict::UdpOff;
    if cut && exam.reached() != Some(Ok(())) {
        diagnosis.found = vec![line.verdict()];
    }
    Told::new(exam.url().as_str(), &diagnosis)
}
