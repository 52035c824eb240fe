//! The Debian packages that tests need: real servers and clients. Installed here, so that a fresh
//! machine needs one command.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, bail};

/// Package, and a file that is there once it is installed.
const PACKAGES: &[(&str, &str)] = &[
    ("nginx-light", "/usr/sbin/nginx"),
    ("curl", "/usr/bin/curl"),
    ("chromium", "/usr/bin/chromium"),
    ("firefox-esr", "/usr/bin/firefox-esr"),
    ("ffmpeg", "/usr/bin/ffmpeg"),
    ("fonts-dejavu-core", "/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf"),
    ("libnss3-tools", "/usr/bin/certutil"),
    ("python3-doc", "/usr/share/doc/python3-doc/html/index.html"),
    ("python3", "/usr/bin/python3"),
    ("tinyproxy-bin", "/usr/bin/tinyproxy"),
    ("microsocks", "/usr/bin/microsocks"),
    ("shadowsocks-libev", "/usr/bin/ss-local"),
    ("nftables", "/usr/sbin/nft"),
    ("miniupnpd-nftables", "/usr/sbin/miniupnpd"),
    ("iproute2", "/bin/ip"),
    ("util-linux", "/usr/bin/unshare"),
    ("util-linux", "/usr/bin/setpriv"),
];

/// What the build with a browser's handshake needs beside.
const BROWSERS: &[(&str, &str)] = &[
    ("cmake", "/usr/bin/cmake"),
    ("g++", "/usr/bin/g++"),
    ("libclang-dev", "/usr/share/doc/libclang-dev"),
];

/// Installs what is missing; says what to do where it can't.
pub(crate) fn install() -> anyhow::Result<()> {
    install_all(PACKAGES)?;
    let nextest = Command::new("cargo").args(["nextest", "--version"]).output();
    if !nextest.is_ok_and(|out| out.status.success()) {
        crate::run(Command::new("cargo").args(["install", "cargo-nextest", "--locked"]))?;
    }
    Ok(())
}

/// The same for the build with a browser's handshake.
pub(crate) fn install_for_browsers_build() -> anyhow::Result<()> {
    install_all(BROWSERS)
}

fn install_all(packages: &[(&str, &str)]) -> anyhow::Result<()> {
    let missing = packages.iter().filter(|(_, file)| !Path::new(file).exists());
    let missing: Vec<&str> = missing.map(|(package, _)| *package).collect();
    if missing.is_empty() { Ok(()) } else { apt(&missing) }
}

fn apt(missing: &[&str]) -> anyhow::Result<()> {
    if !Path::new("/usr/bin/apt-get").exists() {
        bail!("these Debian packages are needed by the tests: {}", missing.join(" "));
    }
    let apt = |args: &[&str]| {
        let mut command = Command::new("apt-get");
        command.env("DEBIAN_FRONTEND", "noninteractive").args(args);
        command.status().context("apt-get")
    };
    // An old list of packages may still do.
    let _ = apt(&["update", "-qq"]);
    let args = [&["install", "-y", "-qq", "--no-install-recommends"][..], missing].concat();
    if apt(&args)?.success() {
        return Ok(());
    }
    bail!("could not install {}; as root: apt-get install {0}", missing.join(" "));
}
