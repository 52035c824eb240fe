//! A plain client in a host: the real `curl`, with nothing but the world's authority to trust. What
//! it can't load is blocked; what it says about it is [`Failure`].

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use serde_json::Value;

use crate::world::Host;

/// How long a load may take where the test expects it to succeed.
const PATIENCE: Duration = Duration::from_secs(40);

/// A client that is set up.
#[derive(Clone)]
pub struct Curl {
    host: Host,
    ca: PathBuf,
    args: Vec<OsString>,
    patience: Duration,
}

/// How a load went.
#[derive(Clone, Debug)]
pub struct Load {
    /// curl's exit code; 0 means that it was content.
    pub exit: i32,
    /// The HTTP status, if there was any.
    pub status: Option<u16>,
    /// What arrived of the body.
    pub body: Vec<u8>,
    /// After how long the request was sent.
    pub asked: Option<Duration>,
    /// How long the first byte took.
    pub ttfb: Option<Duration>,
    /// The header fields of the last answer, by their names in small letters.
    pub headers: Value,
    /// The address that it was connected to.
    pub remote: Option<std::net::IpAddr>,
    /// What curl said.
    pub error: String,
}

/// Why a load failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The name has no address.
    NoName,
    /// No connection.
    NoConnection,
    /// Nothing came for too long.
    Timeout,
    /// The connection was cut.
    Cut,
    /// The certificate is nobody's whom we trust.
    Certificate,
    /// The body ended early.
    Short,
    /// Another of curl's exit codes.
    Other(i32),
}

impl Curl {
    /// A client in a host, with the certificate of the authority that it trusts.
    pub fn new(host: &Host, ca: impl Into<PathBuf>) -> Self {
        Self { host: host.clone(), ca: ca.into(), args: Vec::new(), patience: PATIENCE }
    }

    /// Adds an argument, such as `--http1.1` or `-6`.
    #[must_use]
    pub fn arg(mut self, arg: impl Into<OsString>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// Gives up after this long: for loads that are to fail by silence.
    #[must_use]
    pub fn within(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// Loads a page.
    pub fn get(&self, url: &str) -> anyhow::Result<Load> {
        let body = self.host.dir().join(format!("body-{}", self.host.next_launch()));
        let ran = self
            .host
            .command("curl")
            .args(["-sS", "-w", "%{json}\n%{header_json}", "-o"])
            .arg(&body)
            .arg("--cacert")
            .arg(&self.ca)
            .arg("--max-time")
            .arg(self.patience.as_secs_f64().to_string())
            .args(&self.args)
            .arg(url)
            .within(self.patience + PATIENCE)
            .run()?;
        let mut told = serde_json::Deserializer::from_slice(&ran.stdout).into_iter::<Value>();
        let mut next = || told.next().context("curl's account of a load");
        let (told, headers) = (next()??, next()??);
        let after = |name: &str| {
            let seconds = told[name].as_f64().filter(|seconds| *seconds > 0.0);
            seconds.map(Duration::from_secs_f64)
        };
        let status = told["response_code"].as_u64().and_then(|code| u16::try_from(code).ok());
        Ok(Load {
            exit: ran.status.code().unwrap_or(-1),
            status: status.filter(|status| *status != 0),
            // A load that fails early leaves no file.
            body: std::fs::read(&body).unwrap_or_default(),
            asked: after("time_pretransfer"),
            ttfb: after("time_starttransfer"),
            headers,
            remote: told["remote_ip"].as_str().and_then(|addr| addr.parse().ok()),
            error: ran.stderr,
        })
    }
}

impl Load {
    /// Whether the page came whole, with a good status.
    pub fn loaded(&self) -> bool {
        self.exit == 0 && self.status == Some(200)
    }

    /// Whether exactly this page of this site came.
    pub fn is(&self, site: &str, path: &str) -> bool {
        self.loaded() && super::body(site, path).is_some_and(|body| body == self.body)
    }

    /// A header field of the answer.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers[name][0].as_str()
    }

    /// Why it failed; nothing if curl was content.
    pub fn failure(&self) -> Option<Failure> {
        match self.exit {
            0 => None,
            6 => Some(Failure::NoName),
            7 => Some(Failure::NoConnection),
            18 => Some(Failure::Short),
            28 => Some(Failure::Timeout),
            35 | 52 | 55 | 56 | 92 => Some(Failure::Cut),
            51 | 60 => Some(Failure::Certificate),
            other => Some(Failure::Other(other)),
        }
    }
}
