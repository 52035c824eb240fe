//! Proxies of other programs, found on this device: what is known of them now, and how a port is tried.
//!
//! A port is first asked, on loopback alone, whether SOCKS5 or HTTP is spoken there; then to connect to a
//! place that this device connects to anyway. Which port is tried when is
//! [`busel_proto::upstreams`]'s to say.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use super::{Dialer, Upstream};

/// What is asked on loopback is answered by then.
const GREETING_LIMIT: Duration = Duration::from_secs(2);
/// A proxy leads to where it is asked to by then: Tor may build a way first.
const LEADING_LIMIT: Duration = Duration::from_secs(20);
/// Doubts that are not heard yet.
const MAX_DOUBTS: usize = 16;
/// SOCKS5, one method, no credentials; and the answer of who takes that.
const GREETING: [u8; 3] = [5, 1, 0];
const WELCOME: [u8; 2] = [5, 0];

/// The proxies that were found.
#[derive(Debug)]
pub struct Found {
    best: Mutex<Option<Arc<Upstream>>>,
    doubt: mpsc::Sender<SocketAddr>,
}

/// A port that leads somewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leads {
    /// How to use it.
    pub upstream: Upstream,
    /// How long it took.
    pub took: Duration,
}

impl Found {
    /// Nothing, so far; and where to hear of those that fail in use.
    pub fn new() -> (Arc<Self>, mpsc::Receiver<SocketAddr>) {
        let (doubt, doubts) = mpsc::channel(MAX_DOUBTS);
        (Arc::new(Self { best: Mutex::default(), doubt }), doubts)
    }

    /// The one to use now.
    pub fn best(&self) -> Option<Arc<Upstream>> {
        self.best.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// From now on this one is used.
    pub fn use_only(&self, best: Option<Upstream>) {
        *self.best.lock().unwrap_or_else(PoisonError::into_inner) = best.map(Arc::new);
    }

    pub(super) fn doubt(&self, upstream: &Upstream) {
        // If many wait to be heard, one more says nothing new.
        let _ = self.doubt.try_send(upstream.addr());
    }
}

/// Tries a port: whether a proxy that wants no credentials is there, and leads somewhere, as `leads`
/// finds out by a dialer through it. Some proxies say that they lead anywhere before they know, so that
/// it should hear more than that. Whose program it is, the caller has asked.
pub async fn try_port<F>(port: u16, leads: impl FnOnce(Dialer) -> F) -> Option<Leads>
where
    F: Future<Output = bool>,
{
    let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let greeted = tokio::time::timeout(GREETING_LIMIT, greet(addr)).await;
    let socks = greeted.ok().flatten()?;
    let upstream = Upstream::open(addr, !socks);
    let (leading, began) = (leads(Dialer::through(upstream.clone())), Instant::now());
    let led = tokio::time::timeout(LEADING_LIMIT, leading).await;
    led.is_ok_and(|led| led).then(|| Leads { upstream, took: began.elapsed() })
}

/// Whether SOCKS5 is spoken there, or else perhaps HTTP; `None` if nobody is there, or somebody who wants
/// credentials.
async fn greet(addr: SocketAddr) -> Option<bool> {
    let mut stream = TcpStream::connect(addr).await.ok()?;
    stream.write_all(&GREETING).await.ok()?;
    let mut answer = [0; 2];
    match tokio::time::timeout(GREETING_LIMIT / 2, stream.read_exact(&mut answer)).await {
        Ok(Ok(_)) if answer == WELCOME => Some(true),
        Ok(Ok(_)) if answer[0] == WELCOME[0] => None,
        // It waits for more, says something else, or is offended: HTTP is all of these.
        _ => Some(false),
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    async fn listen() -> (TcpListener, u16) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        (listener, port)
    }

    /// Somebody who answers each thing said with this.
    async fn parrot(answer: &'static [u8]) -> u16 {
        let (listener, port) = listen().await;
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let mut said = [0; 512];
                    while stream.read(&mut said).await.is_ok_and(|read| read > 0) {
                        if stream.write_all(answer).await.is_err() {
                            return;
                        }
                    }
                });
            }
        });
        port
    }

    #[tokio::test]
    async fn what_is_no_proxy_is_not_taken_for_one() {
        let (target, _) = listen().await;
        let at = target.local_addr().unwrap();
        let leads = async |dialer: Dialer| dialer.dial(at).await.is_ok();
        let (closed, port) = listen().await;
        drop(closed);
        assert_eq!(try_port(port, leads).await, None);
        for answer in [
            &b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"[..],
            b"HTTP/1.1 405 Method Not Allowed\r\nConnection: close\r\n\r\n",
            b"SSH-2.0-OpenSSH_10\r\n",
            &[5, 0xff],
            &[5, 2],
            &[5, 0, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7],
            &[0; 300],
        ] {
            assert_eq!(try_port(parrot(answer).await, leads).await, None, "{answer:?}");
        }
    }

    #[tokio::test]
    async fn a_dialer_takes_what_was_found_and_tells_when_it_fails() {
        let (found, mut doubts) = Found::new();
        let dialer = Dialer::also_found(found.clone());
        assert!(dialer.further().is_none() && !dialer.is_upstream());
        let nobody = SocketAddr::from((Ipv4Addr::LOCALHOST, 9));
        found.use_only(Some(Upstream::open(nobody, false)));
        let further = dialer.further().expect("there is one now");
        assert!(further.is_upstream() && further.further().is_none());
        assert!(further.dial(nobody).await.is_err());
        assert_eq!(doubts.recv().await, Some(nobody));
        found.use_only(None);
        assert!(dialer.further().is_none());
    }
}
