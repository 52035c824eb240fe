//! The frames of a leg, in either direction: one byte of kind, the length of the rest as `u16`, the
//! rest.

use bytes::{Buf, Bytes, BytesMut};

/// The most bytes of the stream in one frame, so that frame, acknowledgement and padding fit into one
/// TLS record.
pub const MAX_DATA: usize = 16_000;
/// Kind and length.
pub(super) const HEAD: usize = 3;
/// An acknowledgement as a frame.
pub(super) const ACK_LEN: usize = HEAD + 16;
/// What a frame of data has beside its bytes.
pub(super) const DATA_HEAD: usize = HEAD + 8;
/// The largest rest of a frame.
const MAX_REST: usize = MAX_DATA + 8;

/// One frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// Means nothing; so many zeros follow.
    Pad(usize),
    /// Bytes of the stream, from this offset on; at least one.
    Data {
        /// Where they belong.
        offset: u64,
        /// The bytes.
        bytes: Bytes,
    },
    /// What was received, and how far the other end may go.
    Ack {
        /// All before this offset is here.
        received: u64,
        /// Nothing may be sent from here on.
        limit: u64,
    },
    /// The first frame of the client on each leg.
    Open {
        /// Counts the legs of a session.
        number: u32,
        /// Legs with lower numbers are lost: what was on them has to be sent again.
        from: u32,
        /// What the server may send on this leg, as [`Session`](super::Session) counts it; 0 without
        /// limit.
        budget: u32,
    },
    /// Nothing more comes on this leg.
    End,
    /// The stream ends at this offset, in this direction.
    Fin(u64),
    /// Asks for an acknowledgement at once.
    Ping,
}

/// Why bytes are no frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// A kind that this version does not know.
    #[error("frame of unknown kind {0}")]
    Kind(u8),
    /// A length that frames of this kind can't have.
    #[error("frame of kind {0} with impossible length")]
    Length(u8),
}

impl Frame {
    /// Writes it.
    ///
    /// # Panics
    /// If data or padding is longer than a frame's; whoever makes frames cuts them.
    pub fn put(&self, out: &mut Vec<u8>) {
        let (kind, len) = match self {
            Self::Pad(len) => (0, *len),
            Self::Data { bytes, .. } => (1, 8 + bytes.len()),
            Self::Ack { .. } => (2, 16),
            Self::Open { .. } => (3, 12),
            Self::End => (4, 0),
            Self::Fin(_) => (5, 8),
            Self::Ping => (6, 0),
        };
        out.push(kind);
        let len16 = u16::try_from(len).expect("a frame is shorter than 64 KiB");
        out.extend_from_slice(&len16.to_be_bytes());
        match self {
            Self::Pad(_) => out.resize(out.len() + len, 0),
            Self::Data { offset, bytes } => {
                out.extend_from_slice(&offset.to_be_bytes());
                out.extend_from_slice(bytes);
            }
            Self::Ack { received, limit } => {
                out.extend_from_slice(&received.to_be_bytes());
                out.extend_from_slice(&limit.to_be_bytes());
            }
            Self::Open { number, from, budget } => {
                for part in [number, from, budget] {
                    out.extend_from_slice(&part.to_be_bytes());
                }
            }
            Self::Fin(offset) => out.extend_from_slice(&offset.to_be_bytes()),
            Self::End | Self::Ping => {}
        }
    }

    fn read(kind: u8, mut rest: Bytes) -> Result<Self, FrameError> {
        let fits = match kind {
            0 => true,
            1 => rest.len() > 8,
            2 => rest.len() == 16,
            3 => rest.len() == 12,
            4 | 6 => rest.is_empty(),
            5 => rest.len() == 8,
            _ => return Err(FrameError::Kind(kind)),
        };
        if !fits {
            return Err(FrameError::Length(kind));
        }
        Ok(match kind {
            0 => Self::Pad(rest.len()),
            1 => Self::Data { offset: rest.get_u64(), bytes: rest },
            2 => Self::Ack { received: rest.get_u64(), limit: rest.get_u64() },
            3 => {
                Self::Open { number: rest.get_u32(), from: rest.get_u32(), budget: rest.get_u32() }
            }
            4 => Self::End,
            5 => Self::Fin(rest.get_u64()),
            _ => Self::Ping,
        })
    }
}

/// Takes bytes in pieces of any size. Holds less than one frame between two.
#[derive(Debug, Default)]
pub struct Decoder(BytesMut);

impl Decoder {
    /// Takes the next bytes. All frames are to be taken out before the next are put in.
    pub fn push(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    /// The next frame, if all of it is here.
    pub fn take(&mut self) -> Result<Option<Frame>, FrameError> {
        let [kind, high, low, ..] = *self.0 else { return Ok(None) };
        let len = usize::from(u16::from_be_bytes([high, low]));
        if len > MAX_REST {
            return Err(FrameError::Length(kind));
        }
        if self.0.len() < HEAD + len {
            return Ok(None);
        }
        self.0.advance(HEAD);
        let rest = self.0.split_to(len);
        // A copy, so that a short frame that is kept does not hold the whole buffer.
        Frame::read(kind, Bytes::copy_from_slice(&rest)).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one_of_each() -> Vec<Frame> {
        vec![
            Frame::Open { number: 3, from: 2, budget: 12_288 },
            Frame::Ack { received: 5, limit: 524_293 },
            Frame::Data { offset: 7, bytes: Bytes::from_static(b"abc") },
            Frame::Pad(4),
            Frame::Ping,
            Frame::Fin(10),
            Frame::End,
        ]
    }

    #[test]
    fn frames_are_read_in_pieces_of_any_size() {
        let mut bytes = Vec::new();
        one_of_each().iter().for_each(|frame| frame.put(&mut bytes));
        for size in [1, 2, 5, 1000] {
            let mut decoder = Decoder::default();
            let mut read = Vec::new();
            for piece in bytes.chunks(size) {
                decoder.push(piece);
                while let Some(frame) = decoder.take().unwrap() {
                    read.push(frame);
                }
            }
            assert_eq!(read, one_of_each());
        }
    }

    #[test]
    fn what_is_no_frame_is_refused() {
        for (bytes, error) in [
            (&[7, 0, 0][..], FrameError::Kind(7)),
            (&[1, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0], FrameError::Length(1)),
            (&[2, 0, 1, 0], FrameError::Length(2)),
            (&[4, 0, 1, 0], FrameError::Length(4)),
            (&[0, 255, 255], FrameError::Length(0)),
        ] {
            let mut decoder = Decoder::default();
            decoder.push(bytes);
            assert_eq!(decoder.take(), Err(error));
        }
    }
}
