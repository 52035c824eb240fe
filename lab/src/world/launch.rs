//! A program in a host: its arguments, its output in a log of the world, its end. It gets a clean
//! environment and a home directory of the host's own.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

use super::Host;

/// After that a program that was to end is killed.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often a program is looked at.
const LOOK: Duration = Duration::from_millis(3);

/// A program that is about to run in a host.
pub struct Launch<'h> {
    host: &'h Host,
    command: Command,
    name: String,
    patience: Duration,
}

/// What a program left behind that has ended.
#[derive(Debug)]
pub struct Ran {
    /// How it ended.
    pub status: ExitStatus,
    /// Its standard output.
    pub stdout: Vec<u8>,
    /// Its standard error.
    pub stderr: String,
}

/// A program that runs; it is killed when this is dropped.
pub struct Running {
    child: Child,
    name: String,
    stdout: PathBuf,
    stderr: PathBuf,
}

impl<'h> Launch<'h> {
    pub(super) fn new(host: &'h Host, program: &OsStr) -> Self {
        let mut command = Command::new(program);
        command.env_clear().current_dir(host.dir()).stdin(Stdio::null());
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("HOME", host.dir()).env("LANG", "C.UTF-8").env("TMPDIR", host.dir());
        let program = Path::new(program).file_name().unwrap_or(program).to_string_lossy();
        let name = format!("{program}-{}", host.next_launch());
        Self { host, command, name, patience: PATIENCE }
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.command.arg(arg);
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<A: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.command.args(args);
        self
    }

    /// Sets a variable of its environment.
    #[must_use]
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Kills it if it runs longer than this; by default it has a minute.
    #[must_use]
    pub fn within(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Runs it to its end. An exit status that is not zero is no error here.
    pub fn run(self) -> anyhow::Result<Ran> {
        let patience = self.patience;
        let mut running = self.spawn()?;
        let Some(status) = running.wait(patience)? else {
            bail!("{} did not end within {patience:?}", running.name);
        };
        let stdout = std::fs::read(&running.stdout)?;
        Ok(Ran { status, stdout, stderr: running.stderr()? })
    }

    /// Starts it, and lets it run.
    pub fn spawn(self) -> anyhow::Result<Running> {
        let Self { host, mut command, name, .. } = self;
        let (stdout, stderr) = (
            host.dir().join(format!("{name}.out.log")),
            host.dir().join(format!("{name}.err.log")),
        );
        command.stdout(File::create(&stdout)?).stderr(File::create(&stderr)?);
        let program: OsString = command.get_program().to_owned();
        let child = host
            .enter(move || command.spawn())
            .with_context(|| format!("{} in {}", program.display(), host.name()))?;
        Ok(Running { child, name, stdout, stderr })
    }
}

impl Running {
    /// Its number, which no other process of the sandbox has.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits until it ends by itself; nothing if it has not by then.
    pub fn wait(&mut self, patience: Duration) -> anyhow::Result<Option<ExitStatus>> {
        let until = Instant::now() + patience;
        loop {
            match self.child.try_wait()? {
                None if Instant::now() < until => std::thread::sleep(LOOK),
                ended => return Ok(ended),
            }
        }
    }

    /// Waits until a text is in its standard output or error.
    pub fn says(&mut self, text: &str, patience: Duration) -> anyhow::Result<()> {
        let until = Instant::now() + patience;
        loop {
            let ended = self.child.try_wait()?;
            let said = self.stdout()? + &self.stderr()?;
            if said.contains(text) {
                return Ok(());
            }
            if let Some(status) = ended {
                bail!("{} ended ({status}) and never said {text:?}:\n{said}", self.name);
            }
            if Instant::now() >= until {
                bail!("{} did not say {text:?} within {patience:?}:\n{said}", self.name);
            }
            std::thread::sleep(LOOK);
        }
    }

    /// Waits for a whole line of its standard output that begins so.
    pub fn line(&mut self, begin: &str, patience: Duration) -> anyhow::Result<String> {
        let until = Instant::now() + patience;
        loop {
            let ended = self.child.try_wait()?;
            let said = self.stdout()?;
            let whole = said.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n'));
            if let Some(line) = whole.into_iter().find(|line| line.starts_with(begin)) {
                return Ok(line.to_owned());
            }
            if ended.is_some() || Instant::now() >= until {
                bail!("{} has no line {begin:?}:\n{said}{}", self.name, self.stderr()?);
            }
            std::thread::sleep(LOOK);
        }
    }

    /// Its standard output so far.
    pub fn stdout(&self) -> anyhow::Result<String> {
        Ok(String::from_utf8_lossy(&std::fs::read(&self.stdout)?).into_owned())
    }

    /// Its standard error so far.
    pub fn stderr(&self) -> anyhow::Result<String> {
        Ok(String::from_utf8_lossy(&std::fs::read(&self.stderr)?).into_owned())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // One that has ended already can't be killed, and needs not.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
