//! Processes: started, listened to line by line, killed when dropped. And `busel`, run to its end.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

use super::PATIENCE;

/// A process that runs beside the test.
pub(crate) struct Program {
    child: Child,
    name: String,
    lines: Receiver<String>,
    said: Arc<Mutex<Vec<String>>>,
}

impl Program {
    pub(crate) fn start(command: &mut Command) -> Self {
        let name = format!("{:?}", command.get_program());
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        let (tell, lines) = channel();
        let said = Arc::<Mutex<Vec<String>>>::default();
        listen(child.stdout.take().unwrap(), tell.clone(), said.clone());
        listen(child.stderr.take().unwrap(), tell, said.clone());
        Self { child, name, lines, said }
    }

    /// Waits for the line that `pick` finds what it wants in; `None` if the program ends first.
    pub(crate) fn find<T>(&self, pick: impl Fn(&str) -> Option<T>) -> Option<T> {
        loop {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) => {
                    if let Some(found) = pick(&line) {
                        return Some(found);
                    }
                }
                Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => return None,
                Err(std::sync::mpsc::RecvTimeoutError::Timeout) => {
                    panic!("{} does not say it: {:#?}", self.name, self.said())
                }
            }
        }
    }

    /// Waits for a line that begins so, and returns the rest of it.
    pub(crate) fn after(&self, begin: &str) -> String {
        self.find(|line| line.split_once(begin).map(|(_, rest)| rest.to_owned())).unwrap_or_else(
            || panic!("{} ended and never said {begin:?}: {:#?}", self.name, self.said()),
        )
    }

    /// All that it said so far.
    pub(crate) fn said(&self) -> Vec<String> {
        self.said.lock().unwrap().clone()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Asks it to end, as a service manager does, and waits until it has.
    pub(crate) fn terminate(&mut self) -> ExitStatus {
        let killed = Command::new("/bin/sh")
            .args(["-c", &format!("kill -TERM {}", self.pid())])
            .status()
            .unwrap();
        assert!(killed.success());
        self.wait()
    }

    /// Waits until it ends.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }

    /// Ends it at once.
    pub(crate) fn kill(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            let said = self.said();
            eprintln!("{} said last: {:#?}", self.name, &said[said.len().saturating_sub(20)..]);
        }
    }
}

fn listen(from: impl Read + Send + 'static, tell: Sender<String>, said: Arc<Mutex<Vec<String>>>) {
    std::thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            said.lock().unwrap().push(line.clone());
            // A test that waits for no more lines lets them go by.
            let _ = tell.send(line);
        }
    });
}

/// `busel` at a data directory.
pub(crate) fn busel(data: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_busel"));
    command.env_remove("BUSEL_DATA").env_remove("BUSEL_LOG").arg("--data").arg(data).args(args);
    command
}

/// What a command that ended said.
pub(crate) struct Run {
    pub(crate) code: Option<i32>,
    pub(crate) bytes: Vec<u8>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Run {
    pub(crate) fn of(command: &mut Command) -> Self {
        let output = command.stdin(Stdio::null()).output().unwrap();
        Self {
            code: output.status.code(),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
            bytes: output.stdout,
        }
    }

    /// It must have gone well.
    #[track_caller]
    pub(crate) fn ok(self) -> Self {
        assert_eq!(self.code, Some(0), "out: {}\nerr: {}", self.out, self.err);
        self
    }

    /// It must have failed in an orderly way and said these words, in one line or a few.
    #[track_caller]
    pub(crate) fn fails(self, words: &[&str]) -> Self {
        assert!(
            matches!(self.code, Some(1 | 2)),
            "code {:?}\nout: {}\nerr: {}",
            self.code,
            self.out,
            self.err
        );
        assert!(!self.err.contains("panicked"), "{}", self.err);
        for word in words {
            assert!(self.err.contains(word), "no “{word}” in: {}", self.err);
        }
        self
    }
}

/// Runs `busel` to its end.
pub(crate) fn run(data: &Path, args: &[&str]) -> Run {
    Run::of(&mut busel(data, args))
}
