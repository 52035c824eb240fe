//! Who is there: a relay, an injector abroad and readers, all of them `busel` processes with data
//! directories of their own, around one site.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::{HOST, Nginx, Program, busel, run, until};

/// No resolver answers there: all that a test reaches has a fixed destination.
const NO_DNS: [&str; 2] = ["--dns", "udp://127.0.0.1:9"];

/// A relay and an injector.
pub(crate) struct People {
    pub(crate) dir: TempDir,
    _relay: Program,
    pub(crate) injector: Program,
    /// The injector's invite.
    pub(crate) invite: String,
}

/// A running `busel up`.
pub(crate) struct Reader {
    pub(crate) program: Program,
    pub(crate) data: PathBuf,
    pub(crate) door: SocketAddr,
}

impl People {
    /// Starts them; the injector fetches from the site and may be asked as fast as a test can.
    pub(crate) fn around(nginx: &Nginx) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let relay = Program::start(&mut busel(
            &dir.path().join("relay"),
            &["relay", "--listen", "127.0.0.1:0"],
        ));
        relay.after("The relay is up on ");
        let relay_invite = format!("busel1{}", relay.after("busel1"));
        let data = dir.path().join("injector");
        run(&data, &["join", &relay_invite]).ok();
        let mut args = vec!["injector", "--hosts", HOST, "--label", "Newsroom", "--rate", "100000"];
        args.extend(NO_DNS);
        let flags = nginx.flags();
        args.extend(flags.iter().map(String::as_str));
        let injector = Program::start(&mut busel(&data, &args));
        injector.after("Give this invite to readers:");
        let invite = format!("busel1{}", injector.after("busel1"));
        Self { dir, _relay: relay, injector, invite }
    }

    /// Where somebody keeps their data.
    pub(crate) fn data(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A reader who joined the injector's invite and never asks sites directly.
    pub(crate) fn reader(&self, name: &str, exposure: &str) -> Reader {
        let data = self.data(name);
        run(&data, &["join", "--trust", &self.invite]).ok();
        Reader::up(&data, &["--no-direct", "--exposure", exposure])
    }
}

impl Reader {
    /// Starts a node at a data directory.
    pub(crate) fn up(data: &Path, args: &[&str]) -> Self {
        let own = ["up", "--tell", "--listen", "127.0.0.1:0", "--lan", "off"];
        let args = [&own[..], &NO_DNS, args].concat();
        let program = Program::start(&mut busel(data, &args));
        let door = program.after("http://").parse().unwrap();
        Self { program, data: data.to_owned(), door }
    }

    /// A reader who reaches the site directly and joined nothing.
    pub(crate) fn beside(nginx: &Nginx, data: &Path, args: &[&str]) -> Self {
        let flags = nginx.flags();
        let mut all: Vec<&str> = flags.iter().map(String::as_str).collect();
        all.extend(args);
        Self::up(data, &all)
    }

    /// What `busel status --json` says.
    pub(crate) fn status(&self) -> serde_json::Value {
        serde_json::from_str(&run(&self.data, &["status", "--json"]).ok().out).unwrap()
    }

    /// An invite of this reader's.
    pub(crate) fn invite(&self) -> String {
        run(&self.data, &["invite"]).ok().out.trim().to_owned()
    }

    /// Waits until it keeps so many copies: they are kept a moment after they were shown.
    pub(crate) fn keeps(&self, copies: u64) {
        let kept = std::cell::Cell::new(0);
        let enough = || {
            kept.set(self.status()["store"]["snapshots"].as_u64().unwrap());
            kept.get() >= copies
        };
        until(&|| format!("{copies} copies are kept (they are {})", kept.get()), enough);
    }
}
