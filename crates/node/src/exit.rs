//! The exit: connections that other nodes make through this one, within the owner's policy, with so
//! many at once, so many bytes a day, and an end when nothing moves.
//!
//! What the bytes say is between the two ends.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use busel_net::endpoint::Stream;
use busel_proto::failure::Failure;
use busel_proto::giving::{Kind, Rest};
use busel_proto::id::PeerId;
use busel_proto::message::Answer;
use busel_proto::page::HostName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{error::Elapsed, sleep, timeout};
use tracing::debug;

use crate::config::Exit;
use crate::giving::why;
use crate::node::Node;
use crate::origin::StreamIo;
use crate::places::Place;
use crate::serve::{self, WRITE_LIMIT};

/// A connection on which nothing moved for this long, either way, is closed, at the latest after
/// twice as long.
const IDLE_LIMIT: Duration = Duration::from_secs(300);
/// Bytes copied at once, each way.
const COPY: usize = 64 * 1024;

/// Connects `peer` to `host`, if its owner lets others, and carries bytes until either end is done.
pub(crate) async fn serve(
    node: &Node,
    peer: PeerId,
    mut stream: Stream,
    host: HostName,
    port: u16,
) -> Result<(), Failure> {
    let (server, _place) = match connect(node, peer, &host, port).await {
        Ok(connected) => connected,
        Err(failure) => return serve::decline(stream, failure).await,
    };
    serve::write(&mut stream, &Answer::Open.to_frame()).await?;
    let pay = |bytes| node.giving.take(Kind::Tunnelled, bytes);
    let mut client = StreamIo(stream);
    let carried = carry(&mut client, server, &pay).await;
    if carried.is_err() {
        // What is cut must not look whole: an answer may have no length but its end.
        client.0.cut();
    }
    match carried {
        // How it ends is between the two ends.
        Ok(()) | Err(End::Broken) => Ok(()),
        Err(End::Stuck | End::Idle) => Err(Failure::Stalled),
        Err(End::NoMore(rest)) => Err(why(rest)),
    }
}

async fn connect(
    node: &Node,
    peer: PeerId,
    host: &HostName,
    port: u16,
) -> Result<(tokio::net::TcpStream, Place), Failure> {
    if !allows(node, host, port) {
        return Err(Failure::NotAllowed("its owner does not let others connect there".into()));
    }
    let place = node.giving.place(peer)?;
    Ok((node.lent.dial(host, port).await?, place))
}

fn allows(node: &Node, host: &HostName, port: u16) -> bool {
    let web = matches!(port, 80 | 443);
    match node.config.exit {
        Exit::Off => false,
        Exit::Sites => web && node.joined.view().sites.find(host).is_some(),
        Exit::Web => web,
    }
}

/// Why a connection was ended by the exit.
#[derive(Debug)]
enum End {
    /// One side broke.
    Broken,
    /// One side took nothing for [`WRITE_LIMIT`].
    Stuck,
    /// Nothing moved.
    Idle,
    /// No more is given to others now.
    NoMore(Rest),
}

impl From<io::Error> for End {
    fn from(error: io::Error) -> Self {
        debug!(%error, "a tunnel broke");
        Self::Broken
    }
}

impl From<Elapsed> for End {
    fn from(_: Elapsed) -> Self {
        Self::Stuck
    }
}

/// Copies both ways until both sides have ended, or one breaks, sticks or is silent. Each piece is
/// paid for before it is passed on.
async fn carry(
    client: impl AsyncRead + AsyncWrite,
    server: impl AsyncRead + AsyncWrite,
    pay: &(impl Fn(usize) -> Result<Duration, Rest> + Sync),
) -> Result<(), End> {
    let moved = AtomicU64::new(0);
    let (from_client, to_client) = tokio::io::split(client);
    let (from_server, to_server) = tokio::io::split(server);
    let there = copy(from_client, to_server, pay, &moved);
    let back = copy(from_server, to_client, pay, &moved);
    tokio::select! {
        both = async { tokio::try_join!(there, back) } => both.map(|_| ()),
        () = silence(&moved) => Err(End::Idle),
    }
}

async fn copy(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    pay: &impl Fn(usize) -> Result<Duration, Rest>,
    moved: &AtomicU64,
) -> Result<(), End> {
    let mut piece = vec![0; COPY];
    loop {
        let read = from.read(&mut piece).await?;
        if read == 0 {
            return Ok(timeout(WRITE_LIMIT, to.shutdown()).await??);
        }
        let wait = pay(read).map_err(End::NoMore)?;
        if !wait.is_zero() {
            sleep(wait).await;
        }
        timeout(WRITE_LIMIT, to.write_all(&piece[..read])).await??;
        moved.fetch_add(1, Ordering::Relaxed);
    }
}

/// Returns once nothing has moved for [`IDLE_LIMIT`].
async fn silence(moved: &AtomicU64) {
    let mut before = moved.load(Ordering::Relaxed);
    loop {
        sleep(IDLE_LIMIT).await;
        let now = moved.load(Ordering::Relaxed);
        if now == before {
            return;
        }
        before = now;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use busel_proto::giving::{Given, Giving, Limits};
    use busel_proto::time::{Tick, UnixTime};
    use tokio::io::{DuplexStream, duplex};
    use tokio::time::Instant;

    use super::*;

    /// A tunnel between two pipes that hold so many bytes.
    fn tunnel(holds: usize, limit: Option<u64>) -> Tunnel {
        let (client, near) = duplex(holds);
        let (far, server) = duplex(holds);
        let task = tokio::spawn(async move {
            let limits = Limits { day: limit, ..Limits::default() };
            let giving = Mutex::new(Giving::new(limits, Given::default()));
            let pay = |bytes: usize| {
                let (now, tick) = (UnixTime(1_000_000), Tick(0));
                giving.lock().unwrap().take(Kind::Tunnelled, bytes as u64, now, tick)
            };
            carry(near, far, &pay).await
        });
        Tunnel { client, server, task }
    }

    struct Tunnel {
        client: DuplexStream,
        server: DuplexStream,
        task: tokio::task::JoinHandle<Result<(), End>>,
    }

    #[tokio::test(start_paused = true)]
    async fn bytes_go_both_ways_until_both_sides_have_ended() {
        let Tunnel { mut client, mut server, task } = tunnel(16, None);
        let asking = async {
            client.write_all(&[1; 1000]).await.unwrap();
            client.shutdown().await.unwrap();
            let mut answer = Vec::new();
            client.read_to_end(&mut answer).await.unwrap();
            answer
        };
        let answering = async {
            let mut asked = Vec::new();
            server.read_to_end(&mut asked).await.unwrap();
            server.write_all(&[2; 500]).await.unwrap();
            server.shutdown().await.unwrap();
            asked
        };
        let (answer, asked) = tokio::join!(asking, answering);
        assert_eq!((answer, asked), (vec![2; 500], vec![1; 1000]));
        task.await.unwrap().unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_tunnel_ends_and_one_that_is_used_now_and_then_does_not() {
        let Tunnel { mut client, mut server, task } = tunnel(1024, None);
        for _ in 0..20 {
            sleep(IDLE_LIMIT - Duration::from_secs(1)).await;
            client.write_all(b"ping").await.unwrap();
            server.read_exact(&mut [0; 4]).await.unwrap();
        }
        assert!(!task.is_finished());
        let since = Instant::now();
        assert!(matches!(task.await.unwrap(), Err(End::Idle)));
        assert!(since.elapsed() <= 2 * IDLE_LIMIT);
    }

    #[tokio::test(start_paused = true)]
    async fn a_side_that_takes_nothing_holds_the_other_for_no_longer_than_the_limit() {
        let Tunnel { client, mut server, task } = tunnel(16, None);
        let since = Instant::now();
        // The client reads nothing; what does not fit into its pipe is stuck.
        server.write_all(&[1; 16]).await.unwrap();
        server.write_all(&[1; 16]).await.unwrap();
        assert!(matches!(task.await.unwrap(), Err(End::Stuck)));
        assert!(since.elapsed() <= 2 * WRITE_LIMIT);
        drop(client);
    }

    #[tokio::test(start_paused = true)]
    async fn a_tunnel_is_cut_when_the_days_bytes_are_used_up() {
        let Tunnel { mut client, mut server, task } = tunnel(1024, Some(1000));
        client.write_all(&[1; 600]).await.unwrap();
        server.read_exact(&mut [0; 600]).await.unwrap();
        server.write_all(&[2; 600]).await.unwrap();
        assert!(matches!(task.await.unwrap(), Err(End::NoMore(Rest::UsedUp))));
        let mut rest = Vec::new();
        client.read_to_end(&mut rest).await.unwrap();
        assert!(rest.is_empty(), "what was not paid for is not passed on");
    }
}
