//! `busel root`: an injector's root key, made and used offline.

use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use busel_injector::keys::{CertRequest, RootKey};
use busel_node::clock;
use data_encoding::BASE32_NOPAD;
use zeroize::Zeroizing;

use crate::args::Root;
use crate::screen::line;
use crate::secret_file;

pub(crate) fn run(root: Root) -> anyhow::Result<ExitCode> {
    match root {
        Root::New { file } => {
            let key = create(&file)?;
            line(&format!("root {}", key.public()));
            line(&format!("Its secret is in {}. Keep it offline.", file.display()));
        }
        Root::Certify { file, request, days } => {
            let request = CertRequest::from_line(&request)?;
            let secs = days.saturating_mul(86_400);
            let cert = load(&file)?.certify(&request, clock::now(), secs)?;
            line(&encode(&cert.to_bytes()));
        }
        Root::Revoke { file, seq, subkeys } => {
            let revocation = load(&file)?.revoke(seq, subkeys);
            line(&encode(&revocation.to_bytes()));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Makes a root key in a new file that only its owner may read.
pub(crate) fn create(file: &Path) -> anyhow::Result<RootKey> {
    let key = RootKey::from_random(&rand::random());
    secret_file::create(file, Zeroizing::new(encode(&*key.secret())))?;
    Ok(key)
}

/// Reads a root key.
pub(crate) fn load(file: &Path) -> anyhow::Result<RootKey> {
    let context = || format!("{}", file.display());
    let text = Zeroizing::new(std::fs::read_to_string(file).with_context(context)?);
    let bytes = Zeroizing::new(decode(&text).with_context(context)?);
    let secret: [u8; 32] = bytes.as_slice().try_into().ok().context("no root key in it")?;
    Ok(RootKey::from_random(&secret))
}

pub(crate) fn encode(bytes: &[u8]) -> String {
    BASE32_NOPAD.encode(bytes).to_ascii_lowercase()
}

pub(crate) fn decode(text: &str) -> anyhow::Result<Vec<u8>> {
    let text = text.trim().to_ascii_uppercase();
    BASE32_NOPAD.decode(text.as_bytes()).context("it is no base32")
}
