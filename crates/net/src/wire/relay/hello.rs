//! Splits a ClientHello, so that a filter that looks at single packets, or at single records, does not
//! see the name in it: two TLS records, each in a segment of its own, cut within the name.
//!
//! A filter that puts packets and records together sees it all the same. All that follows the hello
//! passes as it is.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use busel_proto::page::HostName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What a TLS record begins with.
const RECORD_HEAD: usize = 5;
/// The kind of a record that holds a handshake message.
const HANDSHAKE: u8 = 22;

/// A stream whose first write is split, if it is a ClientHello.
#[derive(Debug)]
pub(super) struct Hello<S> {
    inner: S,
    /// The name to cut, until the hello was seen.
    name: Option<HostName>,
    /// What of the hello is still to be written.
    parts: Vec<Vec<u8>>,
    /// As many bytes the caller believes to be written once all parts are.
    owed: usize,
}

impl<S> Hello<S> {
    /// Over `inner`; split if there is a name to hide.
    pub(super) fn new(inner: S, name: Option<HostName>) -> Self {
        Self { inner, name, parts: Vec::new(), owed: 0 }
    }
}

/// The hello as two records, the second first.
fn split(hello: &[u8], name: &str) -> Option<Vec<Vec<u8>>> {
    let (head, body) = hello.split_first_chunk::<RECORD_HEAD>()?;
    let [kind, major, minor, high, low] = *head;
    if kind != HANDSHAKE || usize::from(u16::from_be_bytes([high, low])) != body.len() {
        return None;
    }
    let at = body.windows(name.len()).position(|window| window == name.as_bytes())?;
    let (first, second) = body.split_at(at + name.len() / 2);
    let record = |part: &[u8]| {
        let len = u16::try_from(part.len()).ok()?.to_be_bytes();
        Some([&[kind, major, minor], len.as_slice(), part].concat())
    };
    Some(vec![record(second)?, record(first)?])
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Hello<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if let Some(name) = this.name.take()
            && let Some(parts) = split(buf, name.as_str())
        {
            (this.parts, this.owed) = (parts, buf.len());
        }
        while let Some(part) = this.parts.last_mut() {
            let written = ready!(Pin::new(&mut this.inner).poll_write(cx, part))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            part.drain(..written);
            if part.is_empty() {
                this.parts.pop();
            }
        }
        match std::mem::take(&mut this.owed) {
            0 => Pin::new(&mut this.inner).poll_write(cx, buf),
            owed => Poll::Ready(Ok(owed)),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_shutdown(cx)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Hello<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_read(cx, buf)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn no_record_has_the_name_and_none_is_lost() {
        let name = HostName::parse("www.example.org").unwrap();
        let hello = [&[22, 3, 1, 0, 25], &b"abcdewww.example.orgfghij"[..]].concat();
        let (near, mut far) = tokio::io::duplex(1000);
        let mut stream = Hello::new(near, Some(name));
        stream.write_all(&hello).await.unwrap();
        stream.write_all(b"more www.example.org").await.unwrap();
        drop(stream);
        let mut all = Vec::new();
        far.read_to_end(&mut all).await.unwrap();
        let expected =
            [&[22, 3, 1, 0, 12][..], b"abcdewww.exa", &[22, 3, 1, 0, 13], b"mple.orgfghij"]
                .concat();
        assert_eq!(all, [&expected[..], b"more www.example.org"].concat());
    }

    #[test]
    fn what_is_no_hello_is_left_alone() {
        assert!(split(b"", "a.example").is_none());
        assert!(split(&[22, 3, 1, 0, 9, 1], "a.example").is_none());
        assert!(split(&[22, 3, 1, 0, 1, 1], "a.example").is_none(), "the name is not in it");
    }
}
