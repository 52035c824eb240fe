//! What was promised, and whether this run kept it.

use crate::run::Row;
use crate::work::{KIB, Work};

/// One promise.
pub(crate) struct Target {
    /// What was promised.
    pub(crate) what: String,
    /// Whether it is kept; unknown without the figures.
    pub(crate) reached: Option<bool>,
    /// The figures.
    pub(crate) figures: String,
}

/// All of them.
pub(crate) fn all(rows: &[Row]) -> Vec<Target> {
    let rows = Rows(rows);
    let sizes = [(KIB, 1), (KIB, 32), (100 * KIB, 1), (100 * KIB, 32)];
    let same = sizes.map(|(len, conns)| Work::Same { len, conns });
    let mut all = Vec::new();
    for work in same {
        all.push(rows.per_cpu(work, "Local", "memory hit", 1.0));
    }
    all.extend([KIB, 100 * KIB].map(|len| rows.by_authority(Work::SameTls { len })));
    for route in ["Direct, private", "Direct, public"] {
        for work in same {
            all.push(rows.per_cpu(work, route, "forward, no cache", 2.0));
        }
    }
    all.extend([rows.peer_speed(Work::LongInside), rows.peer_speed(Work::LongKept)]);
    all.extend([rows.peer_cpu(Work::LongInside), rows.peer_cpu(Work::LongKept)]);
    all.extend(rows.veil());
    all.extend(rows.relay());
    all.push(rows.peer_latency());
    all.push(rows.memory());
    all.extend(rows.idle());
    all
}

struct Rows<'r>(&'r [Row]);

const PEER: &str = "Swarm, plain wire";
const BLOBS: &str = "file to file";
const RAW: &str = "raw stream";
const VEILED: &str = "raw stream, veil wire";

impl Rows<'_> {
    fn find(&self, work: Work, route: &str) -> Option<&Row> {
        let work = work.name();
        self.0.iter().find(|row| row.work == work && row.route == route)
    }

    fn get(&self, work: Work, route: &str, figure: fn(&Row) -> Option<f64>) -> Option<f64> {
        figure(self.find(work, route)?)
    }

    fn per_cpu(&self, work: Work, route: &str, squid: &str, times: f64) -> Target {
        let figure = |row: &Row| row.req_per_cpu_s;
        let pair = self.get(work, route, figure).zip(self.get(work, squid, figure));
        let least = if times > 1.0 { format!("{times}× ") } else { String::new() };
        Target {
            what: format!(
                "{route}: at least {least}the requests per CPU-second of squid ({squid}); {}",
                work.name()
            ),
            reached: pair.map(|(ours, theirs)| ours >= times * theirs),
            figures: figures(pair, |(ours, theirs)| {
                format!("{ours:.0} against {theirs:.0}, {:.2}×", ours / theirs)
            }),
        }
    }

    /// How long who waits longest waits for a copy by HTTPS.
    fn by_authority(&self, work: Work) -> Target {
        const MOST_MS: f64 = 10.0;
        let p99 = self.get(work, "Local, by its own authority", |row| row.p99_ms);
        Target {
            what: format!("Local, by its own authority: p99 under 10 ms; {}", work.name()),
            reached: p99.map(|ms| ms < MOST_MS),
            figures: figures(p99, |ms| format!("{ms:.1} ms")),
        }
    }

    fn peer_speed(&self, work: Work) -> Target {
        let figure = |row: &Row| row.p50_ms;
        let pair = self.get(work, PEER, figure).zip(self.get(work, BLOBS, figure));
        Target {
            what: format!("{} from a peer: no slower than iroh-blobs", work.name()),
            reached: pair.map(|(ours, theirs)| ours <= theirs),
            figures: figures(pair, |(ours, theirs)| {
                format!("{ours:.0} ms against {theirs:.0} ms, {:.2}×", ours / theirs)
            }),
        }
    }

    fn peer_cpu(&self, work: Work) -> Target {
        let figure = |row: &Row| row.cpu_s;
        let pair = self.get(work, PEER, figure).zip(self.get(work, BLOBS, figure));
        Target {
            what: format!(
                "{} from a peer: at most 1.3× the CPU of iroh-blobs, both ends together",
                work.name()
            ),
            reached: pair.map(|(ours, theirs)| ours <= 1.3 * theirs),
            figures: figures(pair, |(ours, theirs)| {
                format!("{ours:.2} s against {theirs:.2} s, {:.2}×", ours / theirs)
            }),
        }
    }

    /// What the veil may cost against iroh's own UDP.
    fn veil(&self) -> [Target; 2] {
        let both = |figure| {
            let of = |route| self.get(Work::LongInside, route, figure);
            of(VEILED).zip(of(RAW))
        };
        let (speed, cpu) = (both(|row| row.mib_per_s), both(|row| row.cpu_s));
        [
            Target {
                what: "The veil wire: at least 70 % of the throughput of plain iroh".into(),
                reached: speed.map(|(veiled, plain)| veiled >= 0.7 * plain),
                figures: figures(speed, |(veiled, plain)| {
                    format!("{veiled:.0} MiB/s against {plain:.0}, {:.2}×", veiled / plain)
                }),
            },
            Target {
                what: "… at most 1.5× its CPU, both ends together".into(),
                reached: cpu.map(|(veiled, plain)| veiled <= 1.5 * plain),
                figures: figures(cpu, |(veiled, plain)| {
                    format!("{veiled:.2} s against {plain:.2} s, {:.2}×", veiled / plain)
                }),
            },
        ]
    }

    /// What our relay may cost.
    fn relay(&self) -> [Target; 2] {
        let of = |subject: &str, figure: fn(&Row) -> Option<f64>| {
            let work = Work::Relayed.name();
            let row = self.0.iter().find(|row| row.work == work && row.subject == subject);
            row.and_then(figure)
        };
        let speed = |row: &Row| row.mib_per_s;
        let speeds = of("busel", speed).zip(of("iroh-relay", speed));
        let cpu = |row: &Row| row.cpu_s;
        let cpus = of("busel", cpu).zip(of("nginx", cpu));
        [
            Target {
                what: "The relay: no slower than iroh's own".into(),
                reached: speeds.map(|(ours, stock)| ours >= stock),
                figures: figures(speeds, |(ours, stock)| {
                    format!("{ours:.0} MiB/s against {stock:.0}, {:.2}×", ours / stock)
                }),
            },
            Target {
                what: "… at most 2× the CPU of nginx as a TLS proxy".into(),
                reached: cpus.map(|(ours, nginx)| ours <= 2.0 * nginx),
                figures: figures(cpus, |(ours, nginx)| {
                    format!("{ours:.2} s against {nginx:.2} s, {:.2}×", ours / nginx)
                }),
            },
        ]
    }

    fn peer_latency(&self) -> Target {
        let (inside, http) = (Work::Inside { conns: 1 }, Work::New { len: KIB, conns: 1 });
        let figure = |row: &Row| row.p50_ms;
        let raw = self.get(inside, "raw stream", figure);
        let ours = self.get(inside, PEER, figure).zip(self.get(http, PEER, figure));
        let both = raw.zip(ours);
        Target {
            what: "1 KiB from a peer on an open connection: within 1 ms of a raw iroh request"
                .into(),
            reached: both.map(|(raw, (inside, http))| inside.max(http) <= raw + 1.0),
            figures: figures(both, |(raw, (inside, http))| {
                format!("{inside:.2} ms in-process, {http:.2} ms over HTTP, raw {raw:.2} ms")
            }),
        }
    }

    /// Flat: what 400 MiB need beyond 1 MiB would be no more than a few windows and buffers.
    fn memory(&self) -> Target {
        const SLACK_MIB: f64 = 32.0;
        let peak = |mib| self.get(Work::Memory { mib }, "Injector", |row| row.peak_rss_mib);
        let peaks = peak(1).zip(peak(100)).zip(peak(400));
        Target {
            what: format!(
                "The injector's memory is flat whatever the object's size (peaks within \
                 {SLACK_MIB} MiB)"
            ),
            reached: peaks.map(|((one, mid), long)| mid.max(long) - one <= SLACK_MIB),
            figures: figures(peaks, |((one, mid), long)| {
                format!("{one:.0} MiB with 1 MiB, {mid:.0} with 100 MiB, {long:.0} with 400 MiB")
            }),
        }
    }

    fn idle(&self) -> [Target; 2] {
        let route = "quiet node, one relay";
        let rss = self.get(Work::Idle, route, |row| row.peak_rss_mib);
        let wakes = self.get(Work::Idle, route, |row| row.wakes_per_s);
        // 60 MB, in MiB.
        let most = 60e6 / f64::from(1 << 20);
        [
            Target {
                what: "An idle quiet node takes less than 60 MB".into(),
                reached: rss.map(|rss| rss < most),
                figures: figures(rss, |rss| format!("{rss:.1} MiB resident")),
            },
            Target {
                what: "… and wakes up less than once a second".into(),
                reached: wakes.map(|wakes| wakes < 1.0),
                figures: figures(wakes, |wakes| format!("{wakes:.2} a second")),
            },
        ]
    }
}

fn figures<T>(found: Option<T>, say: impl FnOnce(T) -> String) -> String {
    found.map_or_else(|| "no figures in this run".into(), say)
}
