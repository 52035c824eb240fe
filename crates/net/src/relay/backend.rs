//! An operator's real web site behind the relay: requests that are not the relay's are passed on to it,
//! and its answers back.
//!
//! It is reached over plain HTTP, as a server on the same machine is; TLS ends at the relay. The site is
//! not told who asks: readers are among them.

use std::time::Duration;

use http::uri::Authority;
use http::{HeaderMap, HeaderName, Request, Response, StatusCode, Uri, Version, header};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tracing::debug;

use super::{RelayBody, RelayError, full, site};

/// The site's head comes within this time.
const HEAD_LIMIT: Duration = Duration::from_secs(30);
/// The most bytes of one request's body.
const MAX_REQUEST: usize = 64 * 1024 * 1024;
/// Idle connections to the site, and for how long.
const IDLE: (usize, Duration) = (32, Duration::from_secs(30));
/// Fields that mean one connection only (RFC 9110 §7.6.1), beside those that `Connection` names.
const HOP_BY_HOP: [HeaderName; 8] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// The site.
#[derive(Debug)]
pub(super) struct Backend {
    client: Client<HttpConnector, Limited<Incoming>>,
    authority: Authority,
}

impl Backend {
    /// The site at `http://HOST:PORT`.
    pub(super) fn new(url: &str) -> Result<Self, RelayError> {
        let bad = || RelayError::Proxy(url.to_owned());
        let uri: Uri = url.parse().map_err(|_| bad())?;
        let plain = uri.scheme_str() == Some("http") && uri.path() == "/" && uri.query().is_none();
        let authority = uri.authority().filter(|_| plain).ok_or_else(bad)?.clone();
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE.1)
            .pool_max_idle_per_host(IDLE.0)
            .build_http();
        Ok(Self { client, authority })
    }

    /// Passes a request on. Where the site does not answer, an error page says no more than that.
    pub(super) async fn answer(&self, request: Request<Incoming>) -> Response<RelayBody> {
        let Some(request) = self.passed_on(request) else {
            return site::error(StatusCode::BAD_REQUEST).map(full);
        };
        let asked = tokio::time::timeout(HEAD_LIMIT, self.client.request(request)).await;
        match asked {
            Ok(Ok(mut response)) => {
                strip(response.headers_mut());
                *response.version_mut() = Version::HTTP_11;
                response.map(|body| body.map_err(Into::into).boxed_unsync())
            }
            Ok(Err(error)) => {
                debug!(%error, "relay: its site does not answer");
                site::error(StatusCode::BAD_GATEWAY).map(full)
            }
            Err(_) => site::error(StatusCode::GATEWAY_TIMEOUT).map(full),
        }
    }

    fn passed_on(&self, request: Request<Incoming>) -> Option<Request<Limited<Incoming>>> {
        let (mut parts, body) = request.into_parts();
        let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
        parts.uri = Uri::builder()
            .scheme("http")
            .authority(self.authority.clone())
            .path_and_query(path)
            .build()
            .ok()?;
        parts.version = Version::HTTP_11;
        strip(&mut parts.headers);
        Some(Request::from_parts(parts, Limited::new(body, MAX_REQUEST)))
    }
}

/// Drops what is meant for one connection only.
fn strip(fields: &mut HeaderMap) {
    let named: Vec<HeaderName> = fields
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in HOP_BY_HOP.iter().chain(&named) {
        fields.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_for_one_connection_is_not_passed_on() {
        let mut fields = HeaderMap::new();
        for (name, value) in [
            ("connection", "close, X-Secret"),
            ("x-secret", "1"),
            ("te", "trailers"),
            ("upgrade", "websocket"),
            ("cookie", "a=b"),
        ] {
            fields.insert(name, value.parse().unwrap());
        }
        strip(&mut fields);
        assert_eq!(fields.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["cookie"]);
    }

    #[tokio::test]
    async fn only_a_plain_site_is_taken() {
        assert!(Backend::new("http://127.0.0.1:8080").is_ok());
        for bad in ["https://127.0.0.1", "127.0.0.1:80", "http://127.0.0.1/a", "file:///etc"] {
            assert!(Backend::new(bad).is_err(), "{bad}");
        }
    }
}
