//! Removes a content coding from a body while it streams, for a program that can't.
//!
//! Pages are kept and passed on as they were coded at the origin; most browsers read them so, and
//! then nothing is decoded. What is decoded is content from the network: it may be broken or a
//! bomb, and ends in a [`Failure`] then, after the bytes that were good. Which body is to be
//! decoded is decided in [`busel_proto::shape`]; nothing is encoded here.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_compression::tokio::bufread::{BrotliDecoder, GzipDecoder};
use busel_proto::failure::Failure;
use busel_proto::shape::{self, Coding};
use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt, TryStreamExt, stream};
use http::HeaderMap;
use http_body::Frame;
use http_body_util::{BodyDataStream, BodyExt, StreamBody};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt};
use tokio_util::io::StreamReader;

use crate::request::Body;

/// Decoded bytes allowed for each encoded one; deflate can't make more than 1032.
const MAX_RATIO: u64 = 1000;
/// Decoded bytes allowed beyond that.
const MAX_EXTRA: u64 = 16 * 1024 * 1024;
/// Decoded bytes made at once.
const CHUNK: usize = 16 * 1024;

/// The body of a representation with `headers`, without its content coding, if that is one that we can remove.
pub fn plain(headers: &HeaderMap, body: Body) -> Body {
    match shape::coding(headers) {
        Some(coding) => decoded(body, coding),
        None => body,
    }
}

/// `body` without `coding`. Its length is not known; trailers are dropped.
pub(crate) fn decoded(body: Body, coding: Coding) -> Body {
    let encoded = Arc::new(AtomicU64::new(0));
    let source = StreamReader::new(counted(body, Arc::clone(&encoded)));
    let decoder = match coding {
        Coding::Gzip => {
            let mut decoder = GzipDecoder::new(source);
            decoder.multiple_members(true);
            Decoder::Gzip(Box::new(decoder))
        }
        Coding::Brotli => Decoder::Brotli(Box::new(BrotliDecoder::new(source))),
    };
    let decoding = Decoding { decoder, encoded, decoded: 0 };
    let frames = stream::try_unfold(decoding, Decoding::next).map_ok(Frame::data);
    StreamBody::new(frames).boxed_unsync()
}

/// A [`Failure`] where an error is asked for.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Cut(pub(crate) Failure);

type Encoded = Pin<Box<dyn Stream<Item = io::Result<Bytes>> + Send>>;
type Source = StreamReader<Encoded, Bytes>;

fn counted(body: Body, count: Arc<AtomicU64>) -> Encoded {
    let data = BodyDataStream::new(body).map_err(|failure| io::Error::other(Cut(failure)));
    data.inspect_ok(move |bytes| {
        count.fetch_add(bytes.len() as u64, Ordering::Relaxed);
    })
    .boxed()
}

enum Decoder {
    Gzip(Box<GzipDecoder<Source>>),
    Brotli(Box<BrotliDecoder<Source>>),
}

impl Decoder {
    fn reader(&mut self) -> &mut (dyn AsyncRead + Send + Unpin) {
        match self {
            Self::Gzip(decoder) => decoder,
            Self::Brotli(decoder) => decoder,
        }
    }

    fn source(&mut self) -> &mut Source {
        match self {
            Self::Gzip(decoder) => decoder.get_mut(),
            Self::Brotli(decoder) => decoder.get_mut(),
        }
    }
}

struct Decoding {
    decoder: Decoder,
    encoded: Arc<AtomicU64>,
    decoded: u64,
}

impl Decoding {
    async fn next(mut self) -> Result<Option<(Bytes, Self)>, Failure> {
        let mut chunk = BytesMut::with_capacity(CHUNK);
        let read = self.decoder.reader().read_buf(&mut chunk).await;
        let encoded = self.encoded.load(Ordering::Relaxed);
        match read {
            Ok(0) => {
                self.end().await?;
                Ok(None)
            }
            Ok(count) => {
                self.decoded += count as u64;
                if self.decoded > encoded.saturating_mul(MAX_RATIO).saturating_add(MAX_EXTRA) {
                    return Err(Failure::Protocol("it unpacks to far too much".into()));
                }
                Ok(Some((chunk.freeze(), self)))
            }
            // No body at all is what some servers call an empty one, coded or not.
            Err(e) if encoded == 0 && e.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
            Err(e) => Err(failure(e)),
        }
    }

    /// The content is complete; the body must end here too, and may end in a failure (a signature
    /// that doesn't fit, say), which must not be lost.
    async fn end(&mut self) -> Result<(), Failure> {
        match self.decoder.source().fill_buf().await {
            Ok([]) => Ok(()),
            Ok(_) => Err(Failure::Protocol("bytes follow the end of the coded content".into())),
            Err(e) => Err(failure(e)),
        }
    }
}

fn failure(error: io::Error) -> Failure {
    if let Some(Cut(failure)) = error.get_ref().and_then(|inner| inner.downcast_ref()) {
        return failure.clone();
    }
    match error.kind() {
        io::ErrorKind::UnexpectedEof => Failure::Protocol("the coded content breaks off".into()),
        _ => Failure::Protocol(format!("the coded content is broken: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use async_compression::tokio::bufread::{BrotliEncoder, GzipEncoder};
    use tokio::sync::mpsc;

    use super::*;
    use crate::request::full;

    async fn packed(plain: &[u8], coding: Coding) -> Vec<u8> {
        let mut out = Vec::new();
        match coding {
            Coding::Gzip => GzipEncoder::new(plain).read_to_end(&mut out).await.unwrap(),
            Coding::Brotli => {
                let level = async_compression::Level::Precise(5);
                BrotliEncoder::with_quality(plain, level).read_to_end(&mut out).await.unwrap()
            }
        };
        out
    }

    /// In pieces of so many bytes; ends with the failure, if one is given.
    fn pieces(bytes: Vec<u8>, size: usize, end: Option<Failure>) -> Body {
        let parts: Vec<_> = bytes.chunks(size).map(|p| Ok(Bytes::copy_from_slice(p))).collect();
        let parts = stream::iter(parts).chain(stream::iter(end.map(Err)));
        StreamBody::new(parts.map_ok(Frame::data)).boxed_unsync()
    }

    /// All that was decoded, and why it ended early.
    async fn drain(mut body: Body) -> (Vec<u8>, Option<Failure>) {
        let mut out = Vec::new();
        while let Some(frame) = body.frame().await {
            match frame {
                Ok(frame) => out.extend_from_slice(&frame.into_data().unwrap()),
                Err(failure) => return (out, Some(failure)),
            }
        }
        (out, None)
    }

    fn text() -> Vec<u8> {
        (0..200_000u32).flat_map(|i| (i.wrapping_mul(2_654_435_761) >> 20).to_le_bytes()).collect()
    }

    #[tokio::test]
    async fn both_codings_decode_in_pieces_of_any_size() {
        for coding in [Coding::Gzip, Coding::Brotli] {
            let coded = packed(&text(), coding).await;
            for size in [1, 1000, coded.len()] {
                let body = decoded(pieces(coded.clone(), size, None), coding);
                assert!(drain(body).await == (text(), None), "{coding:?} {size}");
            }
        }
    }

    #[tokio::test]
    async fn an_empty_body_is_empty_and_gzip_members_are_joined() {
        assert_eq!(drain(decoded(full(""), Coding::Gzip)).await, (vec![], None));
        assert_eq!(drain(decoded(full(""), Coding::Brotli)).await, (vec![], None));
        let mut two = packed(b"one ", Coding::Gzip).await;
        two.extend(packed(b"two", Coding::Gzip).await);
        assert_eq!(drain(decoded(full(two), Coding::Gzip)).await, (b"one two".to_vec(), None));
    }

    #[tokio::test]
    async fn broken_truncated_and_overlong_content_is_told() {
        for coding in [Coding::Gzip, Coding::Brotli] {
            let coded = packed(&text(), coding).await;
            let mut broken = coded.clone();
            broken[0] = 0xff;
            broken[1] = 0xff;
            let cut = coded[..coded.len() - 3].to_vec();
            let long = [&coded[..], b"more"].concat();
            for bad in [broken, cut, long] {
                let (_, failure) = drain(decoded(full(bad), coding)).await;
                assert!(matches!(failure, Some(Failure::Protocol(_))), "{coding:?} {failure:?}");
            }
        }
    }

    #[tokio::test]
    async fn a_failure_of_the_body_comes_through_even_after_its_last_byte() {
        for coding in [Coding::Gzip, Coding::Brotli] {
            let coded = packed(&text(), coding).await;
            let forged = Failure::NotAuthentic("root".into());
            let whole = pieces(coded.clone(), 1000, Some(forged.clone()));
            assert_eq!(drain(decoded(whole, coding)).await.1, Some(forged));
            let half = pieces(coded[..5000].to_vec(), 1000, Some(Failure::Stalled));
            assert_eq!(drain(decoded(half, coding)).await.1, Some(Failure::Stalled));
        }
    }

    #[tokio::test]
    async fn a_bomb_is_stopped() {
        let bomb = packed(&vec![0; 64 * 1024 * 1024], Coding::Brotli).await;
        assert!(bomb.len() < 10_000);
        let (out, failure) = drain(decoded(full(bomb), Coding::Brotli)).await;
        assert!(matches!(failure, Some(Failure::Protocol(_))));
        assert!(out.len() < 30 * 1024 * 1024);
    }

    #[tokio::test]
    async fn what_was_flushed_is_shown_before_more_comes() {
        let (send, receive) = mpsc::channel::<Bytes>(1);
        let frames = stream::unfold(receive, |mut receive| async move {
            Some((Ok(Frame::data(receive.recv().await?)), receive))
        });
        let body = StreamBody::new(frames).boxed_unsync();
        let mut body = decoded(body, Coding::Gzip);
        // A stored deflate block, not the last.
        let head = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3];
        let block = [&head[..], &[0, 5, 0, 0xfa, 0xff], b"first"].concat();
        send.send(block.into()).await.unwrap();
        let frame = body.frame().await.unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), "first");
    }
}
