//! CPU, memory and wake-ups of other processes, from `/proc`. Linux only.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// Clock ticks a second in `/proc/PID/stat`: part of Linux's ABI on all that Busel is built for.
const USER_HZ: f64 = 100.0;

/// What some processes used.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Usage {
    /// User and system seconds, of all together.
    pub(crate) cpu_s: f64,
    /// Peak resident memory of the largest.
    pub(crate) peak_rss_mib: f64,
}

/// Measures processes from its start on.
pub(crate) struct Meter(Vec<Clock>);

impl Meter {
    /// Starts to measure; peaks count from here.
    pub(crate) fn start(pids: &[u32]) -> Result<Self> {
        for pid in pids {
            let path = format!("/proc/{pid}/clear_refs");
            fs::write(&path, "5").with_context(|| format!("can't write {path}"))?;
        }
        pids.iter().map(|pid| Clock::start(*pid)).collect::<Result<_>>().map(Self)
    }

    /// What they used since.
    pub(crate) fn stop(self) -> Result<Usage> {
        let mut usage = Usage::default();
        for clock in &self.0 {
            usage.cpu_s += clock.cpu_s()?;
            usage.peak_rss_mib = usage.peak_rss_mib.max(memory_mib(clock.pid, "VmHWM:")?);
        }
        Ok(usage)
    }
}

/// CPU time of one process from a moment on.
///
/// Linux gives it in nanoseconds for each living thread, and in hundredths of a second for the whole
/// process. The first is taken unless a thread ended meanwhile and took its time along.
pub(crate) struct Clock {
    pid: u32,
    ticks: f64,
    threads: BTreeMap<u32, u64>,
}

impl Clock {
    /// From now on.
    pub(crate) fn start(pid: u32) -> Result<Self> {
        Ok(Self { pid, ticks: ticks(pid)?, threads: threads(pid)? })
    }

    /// User and system seconds since.
    pub(crate) fn cpu_s(&self) -> Result<f64> {
        let now = threads(self.pid)?;
        let ended = self.threads.keys().any(|thread| !now.contains_key(thread));
        let coarse = (ticks(self.pid)? - self.ticks) / USER_HZ;
        if ended || now.is_empty() {
            return Ok(coarse);
        }
        let all = |threads: &BTreeMap<u32, u64>| threads.values().sum::<u64>() as f64 / 1e9;
        let fine = all(&now) - all(&self.threads);
        // They differ by more than rounding only if a thread came and went in between.
        Ok(if coarse > fine + 0.03 + 0.02 * fine { coarse } else { fine })
    }
}

/// Nanoseconds on a CPU of each thread.
fn threads(pid: u32) -> Result<BTreeMap<u32, u64>> {
    let mut threads = BTreeMap::new();
    for task in fs::read_dir(format!("/proc/{pid}/task")).context("a process ended")? {
        let task = task?;
        let id = task.file_name().to_str().and_then(|name| name.parse::<u32>().ok());
        let stat = fs::read_to_string(task.path().join("schedstat")).unwrap_or_default();
        let nanos = stat.split(' ').next().and_then(|nanos| nanos.parse::<u64>().ok());
        threads.extend(id.zip(nanos));
    }
    Ok(threads)
}

/// User and system time of a process in ticks, all its threads, also those that ended.
fn ticks(pid: u32) -> Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).context("a process ended")?;
    // The name may hold anything but is the only part in parentheses.
    let (_, rest) = stat.rsplit_once(')').context("no such stat")?;
    let mut fields = rest.split_whitespace().skip(11);
    let mut next = || fields.next().and_then(|f| f.parse::<f64>().ok()).context("no such stat");
    Ok(next()? + next()?)
}

/// A size out of `/proc/PID/status`, in MiB.
pub(crate) fn memory_mib(pid: u32, key: &str) -> Result<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).context("a process ended")?;
    Ok(number(&status, key)? / 1024.0)
}

/// How often the threads of a process went to sleep, and so were woken.
pub(crate) fn sleeps(pid: u32) -> Result<f64> {
    let mut sum = 0.0;
    for task in fs::read_dir(format!("/proc/{pid}/task")).context("a process ended")? {
        // A thread that ends meanwhile counts no more.
        if let Ok(status) = fs::read_to_string(task?.path().join("status")) {
            sum += number(&status, "voluntary_ctxt_switches:")?;
        }
    }
    Ok(sum)
}

fn number(status: &str, key: &str) -> Result<f64> {
    let line = status.lines().find_map(|line| line.strip_prefix(key));
    let value = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    value.with_context(|| format!("no {key} in a process's status"))
}

/// Whether some process has an open TCP connection to `port` of this host.
pub(crate) fn is_connected_to(port: u16) -> Result<bool> {
    const ESTABLISHED: &str = "01";
    let table = fs::read_to_string("/proc/net/tcp")?;
    let remote = format!(":{port:04X}");
    Ok(table.lines().skip(1).any(|line| {
        let mut fields = line.split_whitespace().skip(2);
        let to = fields.next().is_some_and(|to| to.ends_with(&remote));
        to && fields.next() == Some(ESTABLISHED)
    }))
}

/// Bytes both ways of the open TCP connections to `port` of this host, with their headers (40 bytes a
/// segment, as IPv4 has without options), as the system's `ss` counts them.
pub(crate) fn carried(port: u16) -> Result<f64> {
    let filter = format!("dport = :{port}");
    let ss = Command::new("ss").args(["-tinH", "state", "established", &filter]).output();
    let text = ss.context("ss is missing: apt-get install iproute2")?.stdout;
    let text = String::from_utf8_lossy(&text);
    let sum = |name: &str| -> f64 {
        let all = text.split_whitespace().filter_map(|word| word.strip_prefix(name));
        all.filter_map(|number| number.parse::<f64>().ok()).sum()
    };
    let payload = sum("bytes_sent:") + sum("bytes_received:");
    ensure!(payload > 0.0, "ss shows no bytes of a connection to port {port}");
    Ok(payload + 40.0 * (sum("segs_out:") + sum("segs_in:")))
}
