//! CPU, memory and wake-ups of other processes, from `/proc`. Linux only.

use std::fs;

use anyhow::{Context, Result};

/// Clock ticks a second in `/proc/PID/stat`: part of Linux's ABI on all that Busel is built for.
const USER_HZ: f64 = 100.0;

/// What some processes used.
#[derive(Debug, Clone, Copy, Default)]
pub struct Usage {
    /// User and system seconds, of all together.
    pub cpu_s: f64,
    /// Peak resident memory of the largest.
    pub peak_rss_mib: f64,
}

/// Measures processes from its start on.
pub struct Meter {
    pids: Vec<u32>,
    cpu_s: f64,
}

impl Meter {
    /// Starts to measure; peaks count from here.
    pub fn start(pids: &[u32]) -> Result<Self> {
        for pid in pids {
            let path = format!("/proc/{pid}/clear_refs");
            fs::write(&path, "5").with_context(|| format!("can't write {path}"))?;
        }
        Ok(Self { pids: pids.to_vec(), cpu_s: cpu_of(pids)? })
    }

    /// What they used since.
    pub fn stop(self) -> Result<Usage> {
        let cpu_s = cpu_of(&self.pids)? - self.cpu_s;
        let mut peak_rss_mib = 0f64;
        for pid in &self.pids {
            peak_rss_mib = peak_rss_mib.max(memory_mib(*pid, "VmHWM:")?);
        }
        Ok(Usage { cpu_s, peak_rss_mib })
    }
}

fn cpu_of(pids: &[u32]) -> Result<f64> {
    pids.iter().map(|pid| cpu_s(*pid)).sum()
}

/// User and system seconds of a process, all its threads, also those that ended.
pub fn cpu_s(pid: u32) -> Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).context("a process ended")?;
    // The name may hold anything but is the only part in parentheses.
    let (_, rest) = stat.rsplit_once(')').context("no such stat")?;
    let mut fields = rest.split_whitespace().skip(11);
    let mut ticks = || fields.next().and_then(|f| f.parse::<f64>().ok()).context("no such stat");
    Ok((ticks()? + ticks()?) / USER_HZ)
}

/// A size out of `/proc/PID/status`, in MiB.
pub fn memory_mib(pid: u32, key: &str) -> Result<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).context("a process ended")?;
    Ok(number(&status, key)? / 1024.0)
}

/// How often the threads of a process went to sleep, and so were woken.
pub fn sleeps(pid: u32) -> Result<f64> {
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
pub fn is_connected_to(port: u16) -> Result<bool> {
    const ESTABLISHED: &str = "01";
    let table = fs::read_to_string("/proc/net/tcp")?;
    let remote = format!(":{port:04X}");
    Ok(table.lines().skip(1).any(|line| {
        let mut fields = line.split_whitespace().skip(2);
        let to = fields.next().is_some_and(|to| to.ends_with(&remote));
        to && fields.next() == Some(ESTABLISHED)
    }))
}
