//! The story, step by step: what is said, what is done, and whether it went as told.

use std::time::{Duration, Instant};

use anyhow::Context;
use busel_node::control::Control;
use busel_node::{Node, Request, Unanswered};
use busel_proto::failure::{Failure, Route};
use busel_proto::invite::Invite;
use busel_proto::page::{PageUrl, Variant};
use bytes::Bytes;
use http_body_util::BodyExt;

use super::hostile::{Hostile, Lie};
use super::isp::{AddrRule, Policy, Verdict};
use super::stage::{HOST, RELAY_ADDR, Stage};
use crate::screen::{Style, line, size, time};

/// Pages that the readers read.
const PAGES: usize = 60;

/// The story and how far it has come.
pub(crate) struct Story {
    pub(crate) stage: Stage,
    style: Style,
    steps: Vec<Step>,
    /// Pages to read: the front page first, then a spread of all kinds, the largest file last.
    paths: Vec<String>,
}

/// One step as the summary shows it.
struct Step {
    what: String,
    route: String,
    took: Duration,
    bytes: u64,
    authority: String,
    as_told: bool,
}

/// A page that was read.
struct Read {
    route: Route,
    authority: String,
    took: Duration,
    body: Bytes,
}

impl Story {
    pub(crate) fn new(stage: Stage, style: Style) -> Self {
        let paths = choose(&stage);
        Self { stage, style, steps: Vec::new(), paths }
    }

    /// Tells all of it.
    pub(crate) async fn tell(&mut self) -> anyhow::Result<()> {
        self.open_site().await?;
        self.censored().await?;
        self.injector_cut().await?;
        self.lies().await?;
        self.all_cut().await
    }

    async fn open_site(&mut self) -> anyhow::Result<()> {
        self.scene("1", "The site is open.");
        let front = self.paths[0].clone();
        let read = read(&self.stage.a, &front).await.map_err(unanswered)?;
        let fits = read.route == Route::Direct && self.is_true(&front, &read.body);
        self.step("A reads the front page", &read, read.body.len() as u64, fits);
        Ok(())
    }

    async fn censored(&mut self) -> anyhow::Result<()> {
        self.scene(
            "2",
            "The censor: false addresses for the name, resets for what still gets through.",
        );
        let policy = Policy {
            poison: vec![HOST.to_owned()],
            reset_sni: vec![HOST.to_owned()],
            ..Policy::default()
        };
        self.stage.isp.set(policy).await?;
        self.stage.isp.forget();
        let paths = self.paths.clone();
        self.read_all("A reads by injector", Who::A, &paths, Route::Injector).await?;
        let saw = self.stage.isp.saw();
        let poisoned = saw.iter().filter(|s| s.verdict == Verdict::Poisoned).count();
        let reset = saw.iter().filter(|s| s.verdict == Verdict::Reset).count();
        self.say(&format!(
            "The provider gave {poisoned} false addresses, reset {reset} connections,"
        ));
        self.say("and saw nothing else of it but TLS to the relay, which looks like a web site.");
        if self.stage.isp.lost() > 0 {
            self.say("(It saw more than this program could write down.)");
        }
        let (all, front) = (self.stage.origin.requests(), self.stage.origin.requests_for("/"));
        self.say(&format!("The site was asked {all} times, {front} of them for its front page:"));
        self.say("once by A when it was open, and then by the injector, which signed what it saw.");
        Ok(())
    }

    async fn injector_cut(&mut self) -> anyhow::Result<()> {
        self.scene("3", "The injector is cut off too. A is an open node and gives B an invite.");
        self.stage.injector_node.stop().await;
        self.wait_for_copies().await?;
        let invite = self.stage.a.invite().await?;
        self.stage.b.join(&Invite::from_line(&invite.to_line())?, false).await?;
        let paths = self.paths.clone();
        self.read_all("B reads the same from A", Who::B, &paths, Route::Swarm).await
    }

    async fn lies(&mut self) -> anyhow::Result<()> {
        self.scene("4", "A hostile node answers C with lies.");
        let (path, other) = (self.paths[1].clone(), self.paths[2].clone());
        let key = url(&other)?.key(&Variant::default());
        let stored = self.stage.a.store().find(&key)?.context("A kept no copy")?;
        let body = self.stage.site.get(&other).context("no such page")?.body.clone();
        let honest = Box::new(stored.signed);
        let forged = Lie::Forged { url: url(&path)?, honest: honest.clone() };
        self.lie("A forged copy", forged, &path).await?;
        let swapped = Lie::OtherPage { snapshot: honest, body };
        self.lie("A truly signed copy of another page", swapped, &path).await
    }

    async fn lie(&mut self, what: &str, lie: Lie, path: &str) -> anyhow::Result<()> {
        let hostile = Hostile::start(&self.stage.relay_at_home(), lie).await?;
        let relay = Some(self.stage.relay_as_seen());
        let contact =
            busel_net::wire::Contact { peer: hostile.id(), relay, addrs: vec![], veil: None };
        self.stage.c.learn(contact).await;
        self.say("C asks it, and then the injector, which does not answer any more…");
        let start = Instant::now();
        let answer = read(&self.stage.c, path).await;
        let (as_told, route) = match &answer {
            Ok(read) => (false, read.route.name().to_owned()),
            Err(why) => {
                let swarm = why.tried.iter().find(|(route, _)| *route == Route::Swarm);
                let refused = matches!(swarm, Some((_, Failure::NotAuthentic(_))));
                if let Some((_, failure)) = swarm {
                    self.say(&format!("C refuses it: {failure}."));
                }
                (refused, "refused".to_owned())
            }
        };
        self.push(Step {
            what: format!("{what} is refused"),
            route,
            took: start.elapsed(),
            bytes: 0,
            authority: "-".to_owned(),
            as_told,
        });
        hostile.stop().await;
        Ok(())
    }

    async fn all_cut(&mut self) -> anyhow::Result<()> {
        self.scene("5", "Everything is cut but one relay at home. B leaves; only A is there.");
        let only = Some(vec![AddrRule::from(std::net::IpAddr::V4(RELAY_ADDR))]);
        self.stage.isp.set(Policy { only, blackhole: true, ..Policy::default() }).await?;
        let invite = self.stage.a.invite().await?;
        self.stage.c.join(&Invite::from_line(&invite.to_line())?, false).await?;
        let paths = self.paths.clone();
        self.read_all("C still reads", Who::C, &paths, Route::Swarm).await
    }

    /// One reader reads many pages, with progress; all must come by `route` and be the site's own
    /// bytes. The first is fetched alone, so that its time tells the cost of finding the way.
    async fn read_all(
        &mut self,
        what: &str,
        who: Who,
        paths: &[String],
        route: Route,
    ) -> anyhow::Result<()> {
        let start = Instant::now();
        let (mut bytes, mut good, mut first) = (0, 0, None);
        for (at, path) in paths.iter().enumerate() {
            let got = read(who.of(&self.stage), path).await.map_err(unanswered)?;
            bytes += got.body.len() as u64;
            let fits = got.route == route || (at == 0 && got.route == Route::Local);
            if fits && self.is_true(path, &got.body) {
                good += 1;
            } else {
                self.say(&format!("{path} came by {} and is not as told", got.route));
            }
            first.get_or_insert(got);
            self.progress(at + 1, paths.len(), bytes, start.elapsed());
        }
        let Some(mut first) = first else { anyhow::bail!("there is nothing to read") };
        self.say(&format!("The first page took {}.", time(first.took)));
        first.took = start.elapsed();
        first.route = route;
        let what = format!("{what} ({} files)", paths.len());
        self.step(&what, &first, bytes, good == paths.len());
        Ok(())
    }

    /// A copy is kept a moment after its last byte was shown.
    async fn wait_for_copies(&self) -> anyhow::Result<()> {
        for path in &self.paths {
            let key = url(path)?.key(&Variant::default());
            let mut tries = 0;
            while self.stage.a.store().find(&key)?.is_none() {
                tries += 1;
                anyhow::ensure!(tries < 500, "A did not keep {path}");
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
        Ok(())
    }

    fn is_true(&self, path: &str, body: &Bytes) -> bool {
        self.stage.site.get(path).is_some_and(|page| page.body == *body)
    }

    /// Prints the summary; says whether all was as told.
    pub(crate) fn summary(&self) -> bool {
        let s = self.style;
        line("");
        line(&s.bold(&format!(
            "{:<48} {:<9} {:>9} {:>10}  {}",
            "what", "route", "time", "bytes", "who vouches"
        )));
        for step in &self.steps {
            let mark = if step.as_told { s.good("✓") } else { s.bad("✗") };
            line(&format!(
                "{mark} {:<46} {:<9} {:>9} {:>10}  {}",
                step.what,
                step.route,
                time(step.took),
                size(step.bytes),
                step.authority
            ));
        }
        let as_told = self.steps.iter().all(|step| step.as_told) && self.steps.len() == 6;
        let end = if as_told { s.good("All as told.") } else { s.bad("Not all was as told.") };
        line(&end);
        as_told
    }

    /// Ends everybody.
    pub(crate) async fn end(self) {
        self.stage.clear().await;
    }

    fn scene(&self, number: &str, text: &str) {
        line("");
        line(&format!("{} {}", self.style.name(number), self.style.bold(text)));
    }

    fn say(&self, text: &str) {
        line(&format!("  {}", self.style.dim(text)));
    }

    fn progress(&self, done: usize, of: usize, bytes: u64, took: Duration) {
        use std::io::Write;
        if self.style.is_live() {
            let mut out = std::io::stdout().lock();
            let end = if done == of { "\r\x1b[K" } else { "" };
            // Progress is only shown; if it can't be, nothing is lost.
            let text = format!("\r  {done}/{of} files, {}, {}", size(bytes), time(took));
            let _ = write!(out, "{text}{end}").and_then(|()| out.flush());
        }
    }

    fn step(&mut self, what: &str, read: &Read, bytes: u64, as_told: bool) {
        self.push(Step {
            what: what.to_owned(),
            route: read.route.name().to_owned(),
            took: read.took,
            bytes,
            authority: read.authority.clone(),
            as_told,
        });
    }

    fn push(&mut self, step: Step) {
        let s = self.style;
        let mark = if step.as_told { s.good("✓") } else { s.bad("✗") };
        let by = match step.bytes {
            0 => String::new(),
            bytes => format!(" by {}, {}", s.name(&step.route), size(bytes)),
        };
        line(&format!("  {mark} {}{by} in {}; {}", step.what, time(step.took), step.authority));
        self.steps.push(step);
    }
}

/// A reader.
#[derive(Clone, Copy)]
enum Who {
    A,
    B,
    C,
}

impl Who {
    fn of(self, stage: &Stage) -> &Node {
        match self {
            Self::A => &stage.a,
            Self::B => &stage.b,
            Self::C => &stage.c,
        }
    }
}

fn url(path: &str) -> anyhow::Result<PageUrl> {
    Ok(PageUrl::parse(&format!("https://{HOST}{path}"))?)
}

async fn read(node: &Node, path: &str) -> Result<Read, Unanswered> {
    let start = Instant::now();
    let url = PageUrl::parse(&format!("https://{HOST}{path}")).expect("the site's own paths");
    let response = node.fetch(Request::get(url.clone())).await?;
    let (route, authority) = (response.route, response.authority.to_string());
    let body = response.body.collect().await.map_err(|failure| Unanswered {
        url,
        tried: vec![(route, failure)],
        private: None,
        timeline: response.timeline,
    })?;
    Ok(Read { route, authority, took: start.elapsed(), body: body.to_bytes() })
}

fn unanswered(why: Unanswered) -> anyhow::Error {
    let tried: Vec<_> = why.tried.iter().map(|(r, f)| format!("{r}: {f}")).collect();
    anyhow::anyhow!("{} can't be had ({})", why.url, tried.join("; "))
}

/// The front page and what it shows, then files spread over the whole site, and its largest file at the end.
fn choose(stage: &Stage) -> Vec<String> {
    let all: Vec<&str> = stage.site.paths().collect();
    let largest = all.iter().max_by_key(|p| stage.site.get(p).map_or(0, |page| page.body.len()));
    let every = all.len().div_ceil(PAGES).max(1);
    let spread: Vec<&str> = all.iter().step_by(every).copied().collect();
    let mut chosen = vec!["/"];
    let front = stage.site.get("/").map(|page| String::from_utf8_lossy(&page.body).into_owned());
    let named = front.iter().flat_map(|page| page.split('"')).filter_map(|word| {
        let shown = !word.ends_with('/') && !word.ends_with(".html");
        all.iter().find(|path| shown && **path == word)
    });
    for path in named.chain(&spread).filter(|path| Some(*path) != largest) {
        if chosen.len() < spread.len() && !chosen.contains(path) {
            chosen.push(path);
        }
    }
    chosen.into_iter().chain(largest.copied()).map(str::to_owned).collect()
}
