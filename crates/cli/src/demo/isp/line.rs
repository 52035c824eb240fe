//! Lines of JSON between the demo and the provider, with a bound on their length.

use anyhow::{Context as _, bail};
use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, AsyncReadExt as _};

/// The longest line.
const MAX_LINE: u64 = 1 << 20;

/// The next line without its end, or nothing at the end of the stream.
pub(super) async fn read(
    from: &mut (impl AsyncBufRead + Unpin),
) -> anyhow::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    let mut limited = from.take(MAX_LINE);
    let read = limited.read_until(b'\n', &mut line).await.context("can't read the other end")?;
    if read == 0 {
        return Ok(None);
    }
    if line.pop_if(|last| *last == b'\n').is_none() && read as u64 == MAX_LINE {
        bail!("a line of more than {MAX_LINE} bytes");
    }
    Ok(Some(line))
}
