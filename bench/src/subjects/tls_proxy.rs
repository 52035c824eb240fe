//! nginx between two ends that both speak TLS to it, as a relay stands. It alone is measured.

use std::net::SocketAddr;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, ensure};

use super::http::{certified, nginx, origin};
use super::{Entry, Sample, Subject, World, entry as subject, own_dir};
use crate::child::{Owned, free_port};
use crate::load::Load;
use crate::measure::Meter;
use crate::work::Work;

/// As a subject.
pub(crate) fn entry() -> Entry {
    subject("nginx", "TLS proxy", |work| work == Work::Relayed, start)
}

struct Proxy {
    addr: SocketAddr,
    front: Owned,
    _back: Owned,
}

fn start(world: &World) -> Result<Box<dyn Subject>> {
    let dirs = [own_dir(world, "tls-front")?, own_dir(world, "tls-back")?];
    let (tls, _) = certified(&dirs[0], "www.example.org")?;
    let addr = || anyhow::Ok(SocketAddr::from(([127, 0, 0, 1], free_port()?)));
    let (front, back) = (addr()?, addr()?);
    let behind = origin(&dirs[1], &world.dir.join("site"), back, &tls)?;
    let server = format!(
        "location / {{ proxy_pass https://{back}; proxy_http_version 1.1; \
         proxy_max_temp_file_size 0; }}"
    );
    let proxy = nginx(&dirs[0], front, &tls, &server)?;
    Ok(Box::new(Proxy { addr: front, front: proxy, _back: behind }))
}

impl Subject for Proxy {
    fn sample(&mut self, _: &World, work: Work) -> Result<Sample> {
        let (url, len) =
            (format!("https://{}{}", self.addr, Work::path(work.len(), "hot")), work.len());
        let meter = Meter::start(&[self.front.pid()])?;
        let begin = Instant::now();
        let curl = Command::new("curl")
            .args(["-sSk", "-o", "/dev/null", "-w", "%{size_download}", &url])
            .output()
            .context("curl is missing: apt-get install curl")?;
        let secs = begin.elapsed().as_secs_f64();
        let usage = meter.stop()?;
        let got = String::from_utf8_lossy(&curl.stdout);
        ensure!(got == len.to_string(), "curl got {got} bytes of {len}");
        Ok(Sample::of(Load::of(vec![secs * 1e3], len, secs)?, usage))
    }
}
