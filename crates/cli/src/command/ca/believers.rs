//! Who can be made to believe an authority: the certificate stores of this user's browsers (NSS), and of the
//! system. Each is changed by the program that its system has for that.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use anyhow::{Context, bail, ensure};
use etcetera::BaseStrategy;

/// What the authority is called there.
const NICKNAME: &str = "Busel on this device";
/// Where Firefox has its profiles, from the home directory.
const PROFILES: [&str; 3] = [
    ".mozilla/firefox",
    "snap/firefox/common/.mozilla/firefox",
    ".var/app/org.mozilla.firefox/.mozilla/firefox",
];
/// Where systems keep what their owner trusts, and what makes it known.
const SYSTEMS: [(&str, &str); 2] = [
    ("/usr/local/share/ca-certificates", "update-ca-certificates"),
    ("/etc/pki/ca-trust/source/anchors", "update-ca-trust"),
];
/// What changes stores of NSS.
const CERTUTIL: &str = "certutil";
/// The file's name in there.
const FILE: &str = "busel-on-this-device.crt";
/// Certificates of one name that are taken out of a store at most.
const MOST: usize = 16;

/// One that can be made to believe an authority.
pub(crate) enum Believer {
    /// A store of NSS, which Chromium and Firefox use on Linux.
    Nss { name: String, dir: PathBuf },
    /// The system's, for programs that use it.
    System { dir: PathBuf, update: &'static str },
}

/// Those on this device, and `system` too if its owner asks.
pub(crate) fn believers(system: bool) -> anyhow::Result<Vec<Believer>> {
    let base = etcetera::choose_base_strategy().context("this user has no home directory")?;
    let home = base.home_dir();
    let mut all =
        vec![Believer::Nss { name: "Chromium and its kin".into(), dir: home.join(".pki/nssdb") }];
    for profiles in PROFILES {
        let Ok(entries) = std::fs::read_dir(home.join(profiles)) else { continue };
        let dirs = entries.filter_map(|entry| Some(entry.ok()?.path()));
        all.extend(dirs.filter(|dir| dir.join("cert9.db").is_file()).map(|dir| {
            let profile = dir.file_name().unwrap_or_default().to_string_lossy();
            Believer::Nss { name: format!("Firefox, profile {profile}"), dir }
        }));
    }
    if system {
        let known = SYSTEMS.into_iter().find(|(dir, _)| Path::new(dir).is_dir());
        all.extend(known.map(|(dir, update)| Believer::System { dir: dir.into(), update }));
    }
    Ok(all)
}

impl Believer {
    /// What a person calls it.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Nss { name, .. } => name.clone(),
            Self::System { .. } => "The system".into(),
        }
    }

    /// Whether it believes just this certificate.
    pub(crate) fn believes(&self, pem: &str) -> anyhow::Result<bool> {
        match self {
            Self::Nss { dir, .. } if !dir.join("cert9.db").is_file() => Ok(false),
            Self::Nss { dir, .. } => {
                let shown = certutil(dir, ["-L", "-n", NICKNAME, "-a"], None)?;
                let shown = String::from_utf8_lossy(&shown.stdout).replace('\r', "");
                Ok(shown.contains(pem.trim()))
            }
            Self::System { dir, .. } => {
                Ok(std::fs::read_to_string(dir.join(FILE)).is_ok_and(|kept| kept == pem))
            }
        }
    }

    /// Has it believe this certificate.
    pub(crate) fn believe(&self, pem: &str) -> anyhow::Result<()> {
        match self {
            Self::Nss { dir, .. } => {
                if !dir.join("cert9.db").is_file() {
                    std::fs::create_dir_all(dir).with_context(|| format!("{}", dir.display()))?;
                    good(certutil(dir, ["-N", "--empty-password"], None)?)?;
                }
                // Believed as an authority for sites, and for nothing else.
                let trust = ["-A", "-a", "-n", NICKNAME, "-t", "C,,"];
                good(certutil(dir, trust, Some(pem))?)
            }
            Self::System { dir, update } => {
                let file = dir.join(FILE);
                std::fs::write(&file, pem).with_context(|| format!("{}", file.display()))?;
                good(run(update, &[] as &[&str], None)?)
            }
        }
    }

    /// Has it believe no authority of ours any more; whether it did.
    pub(crate) fn forget(&self) -> anyhow::Result<bool> {
        match self {
            Self::Nss { dir, .. } if !dir.join("cert9.db").is_file() => Ok(false),
            Self::Nss { dir, .. } => {
                let is_there = || -> anyhow::Result<bool> {
                    Ok(certutil(dir, ["-L", "-n", NICKNAME], None)?.status.success())
                };
                let mut found = 0;
                while found < MOST && is_there()? {
                    good(certutil(dir, ["-D", "-n", NICKNAME], None)?)?;
                    found += 1;
                }
                ensure!(found < MOST, "{} does not let go of “{NICKNAME}”", dir.display());
                Ok(found > 0)
            }
            Self::System { dir, update } => {
                let file = dir.join(FILE);
                match std::fs::remove_file(&file) {
                    Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
                    removed => removed.with_context(|| format!("{}", file.display()))?,
                }
                good(run(update, &[] as &[&str], None)?)?;
                Ok(true)
            }
        }
    }
}

fn certutil<const N: usize>(
    dir: &Path,
    args: [&str; N],
    input: Option<&str>,
) -> anyhow::Result<Output> {
    let mut store = std::ffi::OsString::from("sql:");
    store.push(dir);
    let mut all = vec![OsStr::new("-d"), &store];
    all.extend(args.iter().map(OsStr::new));
    run(CERTUTIL, &all, input)
}

fn run(program: &str, args: &[impl AsRef<OsStr>], input: Option<&str>) -> anyhow::Result<Output> {
    use std::io::Write;
    let mut child = match Command::new(program)
        .args(args)
        .stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
    {
        Ok(child) => child,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && program == CERTUTIL => bail!(
            "{program} is needed for that and not here: it is in libnss3-tools (Debian), nss-tools \
             (Fedora), nss (Arch)"
        ),
        Err(error) => return Err(error).with_context(|| program.to_owned()),
    };
    if let (Some(mut stdin), Some(input)) = (child.stdin.take(), input) {
        // If it does not read, its answer says why.
        let _ = stdin.write_all(input.as_bytes());
    }
    child.wait_with_output().with_context(|| program.to_owned())
}

fn good(output: Output) -> anyhow::Result<()> {
    if output.status.success() {
        return Ok(());
    }
    bail!("it was refused: {}", String::from_utf8_lossy(&output.stderr).trim())
}
