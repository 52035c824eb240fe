//! Child processes: this program in another role, spoken to over its input and output, and the
//! programs it is compared with.

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::role::{Ask, Ready, Reply, Role};

/// No answer takes longer.
const PATIENCE: Duration = Duration::from_secs(300);
/// A program listens by then.
const START: Duration = Duration::from_secs(15);

/// This program in another role. Ends when dropped.
pub(crate) struct Proc {
    child: Owned,
    input: ChildStdin,
    replies: mpsc::Receiver<String>,
    /// What it said when it was ready.
    pub(crate) ready: Ready,
}

impl Proc {
    /// Starts it and waits until it is ready.
    pub(crate) fn start(role: &Role) -> Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg("--role")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let input = child.stdin.take().context("no input")?;
        let output = child.stdout.take().context("no output")?;
        let (tell, replies) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if tell.send(line).is_err() {
                    return;
                }
            }
        });
        let mut this = Self { child: Owned(child), input, replies, ready: Ready::default() };
        this.say(&serde_json::to_string(role)?)?;
        match this.hear()? {
            Reply::Ready(ready) => this.ready = ready,
            other => bail!("{other:?} when it should be ready"),
        }
        Ok(this)
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.pid()
    }

    /// Lets it do something and waits.
    pub(crate) fn ask(&mut self, ask: &Ask) -> Result<Reply> {
        self.say(&serde_json::to_string(ask)?)?;
        self.hear()
    }

    /// Where its HTTP door is.
    pub(crate) fn door(&self) -> Result<SocketAddr> {
        self.ready.http.context("it has no door")
    }

    fn say(&mut self, line: &str) -> Result<()> {
        writeln!(self.input, "{line}")?;
        Ok(self.input.flush()?)
    }

    fn hear(&mut self) -> Result<Reply> {
        let line = self.replies.recv_timeout(PATIENCE).context("a child said nothing")?;
        match serde_json::from_str(&line)? {
            Reply::Failed(why) => bail!("{why}"),
            reply => Ok(reply),
        }
    }
}

/// A process that ends when this is dropped.
pub(crate) struct Owned(Child);

impl Owned {
    /// Starts `program`, which listens on `addr` when it is ready.
    pub(crate) fn start(
        program: &str,
        package: &str,
        args: &[&str],
        addr: SocketAddr,
    ) -> Result<Self> {
        let path = find(program)
            .with_context(|| format!("{program} is missing: apt-get install {package}"))?;
        let child = Command::new(path)
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let mut this = Self(child);
        let begin = Instant::now();
        while std::net::TcpStream::connect(addr).is_err() {
            if let Some(status) = this.0.try_wait()? {
                bail!("{program} ended at once: {status}");
            }
            ensure!(begin.elapsed() < START, "{program} does not listen on {addr}");
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(this)
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Debian keeps servers out of a user's `PATH`.
fn find(program: &str) -> Option<std::path::PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let more = [Path::new("/usr/sbin"), Path::new("/usr/local/sbin")].map(Path::to_path_buf);
    let mut dirs = std::env::split_paths(&path).chain(more);
    dirs.find_map(|dir| Some(dir.join(program)).filter(|file| file.is_file()))
}

/// A port that nobody listens on now.
pub(crate) fn free_port() -> Result<u16> {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0))?;
    Ok(listener.local_addr()?.port())
}
