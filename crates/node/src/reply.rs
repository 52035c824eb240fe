//! Where an answer goes: to a peer on its stream, or sealed to somebody who asked through it.

use busel_net::endpoint::Stream;
use busel_net::frame;
use busel_proto::failure::Failure;
use busel_proto::message::{Answer, frame_header};
use busel_proto::question::PIECE;
use busel_proto::sealed::{ChunkCipher, ResponseKey};
use bytes::Bytes;

use crate::serve::{within_limit, write};

/// Takes one answer, and what follows it.
pub(crate) enum Reply {
    /// In the clear, within the connection.
    Plain(Box<Stream>),
    /// Sealed.
    Sealed(Box<Sealed>),
}

/// An answer being sealed.
pub(crate) struct Sealed {
    stream: Stream,
    cipher: ChunkCipher,
    /// Not sent yet: only at the end it is known which chunk is the last.
    held: Vec<u8>,
}

impl Reply {
    /// An answer in the clear.
    pub(crate) fn plain(stream: Stream) -> Self {
        Self::Plain(Box::new(stream))
    }

    /// Begins a sealed answer.
    pub(crate) async fn sealed(mut stream: Stream, key: &ResponseKey) -> Result<Self, Failure> {
        let nonce: [u8; 32] = rand::random();
        let begin = [&Answer::Open.to_frame()[..], &nonce].concat();
        write(&mut stream, &begin).await?;
        let cipher = key.cipher(&nonce);
        Ok(Self::Sealed(Box::new(Sealed { stream, cipher, held: Vec::new() })))
    }

    /// As whom this node was asked.
    pub(crate) fn own(&self) -> busel_proto::id::PeerId {
        match self {
            Self::Plain(stream) => stream.own(),
            Self::Sealed(sealed) => sealed.stream.own(),
        }
    }

    /// Whether it goes to a neighbour in the LAN.
    pub(crate) fn is_near(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_near(),
            Self::Sealed(sealed) => sealed.stream.is_near(),
        }
    }

    /// Sends bytes.
    pub(crate) async fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        match self {
            Self::Plain(stream) => write(stream, bytes).await,
            Self::Sealed(sealed) => sealed.write(bytes).await,
        }
    }

    /// Sends a frame.
    pub(crate) async fn write_frame(&mut self, body: Bytes) -> Result<(), Failure> {
        match self {
            Self::Plain(stream) => within_limit(frame::write(&mut stream.send, body)).await,
            Self::Sealed(sealed) => {
                sealed.write(&frame_header(body.len())).await?;
                sealed.write(&body).await
            }
        }
    }

    /// Sends what is held back, without waiting for more.
    pub(crate) async fn flush(&mut self) -> Result<(), Failure> {
        match self {
            Self::Plain(_) => Ok(()),
            Self::Sealed(sealed) => {
                let held = std::mem::take(&mut sealed.held);
                sealed.send(&held).await
            }
        }
    }

    /// Marks the end of it. A peer that closed the stream already has all it wants.
    pub(crate) async fn finish(self) -> Result<(), Failure> {
        let mut stream = match self {
            Self::Plain(stream) => *stream,
            Self::Sealed(sealed) => {
                let Sealed { mut stream, mut cipher, held } = *sealed;
                let last = cipher.seal_bytes(&held, true);
                within_limit(frame::write(&mut stream.send, last.into())).await?;
                stream
            }
        };
        let _ = stream.send.finish();
        Ok(())
    }

    /// Gives up in the middle.
    pub(crate) fn cut(&mut self) {
        match self {
            Self::Plain(stream) => stream.cut(),
            Self::Sealed(sealed) => sealed.stream.cut(),
        }
    }
}

impl Sealed {
    async fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.held.extend_from_slice(bytes);
        while self.held.len() > PIECE {
            let rest = self.held.split_off(PIECE);
            let piece = std::mem::replace(&mut self.held, rest);
            self.send(&piece).await?;
        }
        Ok(())
    }

    async fn send(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        let chunk = self.cipher.seal_bytes(bytes, false);
        within_limit(frame::write(&mut self.stream.send, chunk.into())).await
    }
}
