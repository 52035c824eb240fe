//! The authority of a world, which all its programs trust: it vouches for the lab's sites. A forging
//! box makes another one of these, which nobody trusts.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

use crate::world::Host;

/// A certificate authority.
pub struct Ca {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
    path: PathBuf,
}

/// A certificate with its key, both as PEM.
#[derive(Clone, Debug)]
pub struct Certified {
    /// The certificate.
    pub certificate: String,
    /// The private key.
    pub key: String,
}

impl Ca {
    /// A new authority of this name; its certificate is written to `dir`.
    pub fn new(name: &str, dir: &Path) -> anyhow::Result<Self> {
        let mut params = CertificateParams::new(Vec::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate()?;
        let pem = params.self_signed(&key)?.pem();
        let path = dir.join(format!("{}.pem", name.replace(' ', "-")));
        std::fs::create_dir_all(dir)?;
        std::fs::write(&path, &pem).context("the authority's certificate")?;
        Ok(Self { issuer: Issuer::new(params, key), pem, path })
    }

    /// Its certificate, as a file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its certificate.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// Has the browsers believe it that keep what they believe in this directory of a host.
    pub(super) fn put_into(&self, store: &Path, host: &Host) -> anyhow::Result<()> {
        let new = !store.join("cert9.db").exists();
        std::fs::create_dir_all(store)?;
        let store = format!("sql:{}", store.display());
        let certutil = |args: &[&str]| -> anyhow::Result<()> {
            let ran = host.command("certutil").args(["-d", &store]).args(args).run()?;
            ensure!(ran.status.success(), "certutil: {}", ran.stderr);
            Ok(())
        };
        if new {
            certutil(&["-N", "--empty-password"])?;
        }
        certutil(&["-A", "-t", "C,,", "-n", "lab", "-i", &self.path.display().to_string()])
    }

    /// Vouches for a server with these names.
    pub fn certify(&self, names: &[&str]) -> anyhow::Result<Certified> {
        let mut params = CertificateParams::new(
            names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>(),
        )?;
        params.distinguished_name.push(DnType::CommonName, names.first().copied().unwrap_or("lab"));
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?.pem();
        Ok(Certified { certificate, key: key.serialize_pem() })
    }
}
