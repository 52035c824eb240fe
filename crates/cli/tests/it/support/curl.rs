//! The real curl, through a reader's door.

use std::net::SocketAddr;
use std::process::Command;

use super::{Run, tool};

/// Runs curl with a proxy, and without anybody's settings.
pub(crate) fn curl(door: SocketAddr, args: &[&str]) -> Run {
    let mut command = Command::new(tool("/usr/bin/curl", "curl"));
    for name in ["http_proxy", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY", "no_proxy"] {
        command.env_remove(name);
    }
    // `-q` comes first: no .curlrc.
    command.args(["-q", "-sS", "--max-time", "100", "-x"]).arg(format!("http://{door}")).args(args);
    Run::of(&mut command)
}
