//! Frames on a stream: reading and writing what [`busel_proto::message`] defines, within its bounds.

use std::io;

use bytes::Bytes;
use iroh::endpoint::{SendStream, WriteError};
use tokio::io::{AsyncRead, AsyncReadExt};

use busel_proto::cbor::CborError;
use busel_proto::message::{frame_header, frame_len};

/// Why no frame could be read.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The stream broke.
    #[error("the stream broke: {0}")]
    Io(#[from] io::Error),
    /// The stream ended where a frame should begin.
    #[error("the stream ended")]
    End,
    /// The frame is too long or malformed.
    #[error("bad frame: {0}")]
    Bad(#[from] CborError),
}

/// Reads one frame of at most `max` bytes.
pub async fn read(stream: &mut (impl AsyncRead + Unpin), max: usize) -> Result<Bytes, FrameError> {
    let mut header = [0; 4];
    if let Err(error) = stream.read_exact(&mut header).await {
        return Err(match error.kind() {
            io::ErrorKind::UnexpectedEof => FrameError::End,
            _ => error.into(),
        });
    }
    let mut body = vec![0; frame_len(header, max)?];
    stream.read_exact(&mut body).await?;
    Ok(body.into())
}

/// Writes one frame, without copying its body.
pub async fn write(stream: &mut SendStream, body: Bytes) -> Result<(), WriteError> {
    let header = Bytes::copy_from_slice(&frame_header(body.len()));
    stream.write_all_chunks(&mut [header, body]).await
}

#[cfg(test)]
mod tests {
    use busel_proto::message::frame;

    use super::*;

    #[tokio::test]
    async fn a_frame_is_read_back_and_its_bounds_hold() {
        let bytes = frame(b"stork");
        assert_eq!(read(&mut &bytes[..], 5).await.unwrap(), "stork");
        assert!(matches!(read(&mut &bytes[..], 4).await, Err(FrameError::Bad(_))));
        assert!(matches!(read(&mut &bytes[..7], 5).await, Err(FrameError::Io(_))));
        assert!(matches!(read(&mut &[][..], 5).await, Err(FrameError::End)));
    }
}
