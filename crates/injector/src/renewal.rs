//! The certificate is renewed while the injector runs: it is valid for weeks, and an injector runs for
//! years. Readers learn of the new one from what it signs.
//!
//! Where the new certificate comes from is the operator's matter: a root key that is at hand, or a
//! file that he puts a new one into.

use std::sync::Arc;
use std::time::Duration;

use busel_node::clock;
use busel_proto::cert::SubkeyCert;
use busel_proto::signed::Signed;
use tracing::{debug, error};

use crate::Injector;
use crate::keys::{CertRequest, KeyError};

/// How often it is looked whether it is time.
const CHECK: Duration = Duration::from_secs(600);

/// Where new certificates come from. It may wait for a disk.
pub trait Certify: Send + Sync + 'static {
    /// A certificate for this subkey, or in words why there is none.
    fn certify(&self, request: &CertRequest) -> Result<Signed<SubkeyCert>, String>;
}

impl<F> Certify for F
where
    F: Fn(&CertRequest) -> Result<Signed<SubkeyCert>, String> + Send + Sync + 'static,
{
    fn certify(&self, request: &CertRequest) -> Result<Signed<SubkeyCert>, String> {
        self(request)
    }
}

/// Why a certificate was not renewed.
#[derive(Debug, thiserror::Error)]
pub enum RenewError {
    /// There is no new one.
    #[error("no new certificate is to be had: {0}")]
    NotHad(String),
    /// The new one can't be used.
    #[error(transparent)]
    Key(#[from] KeyError),
}

/// Renews the certificate of `injector` in time, for ever.
pub(crate) async fn keep(injector: &Injector, certify: Arc<dyn Certify>) {
    loop {
        tokio::time::sleep(CHECK).await;
        match injector.renew_if_due(certify.clone(), clock::now()).await {
            Ok(true) => debug!("the certificate was renewed"),
            Ok(false) => {}
            Err(error) => {
                let left = injector.0.keys.cert().not_after.since(clock::now());
                let days = left.as_secs() / 86_400;
                error!(
                    "the certificate is valid for {days} more days and was not renewed: {error}"
                );
            }
        }
    }
}
