//! Finds the invite in a picture: a file of somebody's, or a photo, from wherever it came.
//!
//! What reads pictures is not ours, and the picture may be made to hurt: its file and its pixels are
//! counted before anything is unpacked, and the search runs in a thread of its own, with an end in
//! time. If it breaks there, that is said like any other fault.

use std::collections::BTreeSet;
use std::io::Cursor;
use std::sync::Once;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use busel_proto::invite::{Invite, InviteError, PREFIX};
use image::imageops::{self, FilterType};
use image::{GrayImage, ImageFormat, ImageReader, Limits};

/// The longest file, in bytes.
pub(crate) const MAX_FILE: usize = 32 << 20;
/// The most pixels: more than most cameras have.
const MAX_PIXELS: u64 = 64_000_000;
/// The most memory for what is unpacked.
const MAX_UNPACKED: u64 = 400 << 20;
/// Codes in one picture that are looked at.
const MAX_CODES: usize = 32;
/// The search ends after this long.
const LIMIT: Duration = Duration::from_secs(60);
/// The thread that searches.
const THREAD: &str = "picture";
/// The sizes at which a code is looked for: pixels of the longer side. Smaller ones lose what is noise.
const SIDES: [u32; 4] = [1600, 3000, 1000, 700];
/// Pictures with fewer are enlarged first: one pixel for a module is not enough.
const SMALL: u32 = 700;

/// Why a picture brings no invite.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PictureError {
    #[error("the picture has more than {} MiB", MAX_FILE >> 20)]
    LongFile,
    #[error("{0} can't be read: save the picture as PNG or JPEG")]
    Kind(&'static str),
    #[error("the picture has {0} × {1} pixels, which is too much: make it smaller")]
    TooLarge(u32, u32),
    #[error("the picture is damaged: {0}")]
    Damaged(String),
    #[error(
        "there is no code in the picture that can be read: let it be sharp, whole, and most of the \
         picture"
    )]
    NoCode,
    #[error("the code in the picture is no invite")]
    NoInvite,
    #[error("there are too many codes in the picture: cut out the one that you mean")]
    TooMany,
    #[error("the picture holds {0} invites: cut out the one that you mean")]
    Several(usize),
    #[error("looking for a code in the picture took too long: cut out the code")]
    TooLong,
    #[error(transparent)]
    Invite(#[from] InviteError),
}

/// The kind of picture that a file begins like, if it does; those that can't be read have a name only.
fn kind(file: &[u8]) -> Option<Result<ImageFormat, &'static str>> {
    match file {
        [0x89, b'P', b'N', b'G', ..] => Some(Ok(ImageFormat::Png)),
        [0xff, 0xd8, 0xff, ..] => Some(Ok(ImageFormat::Jpeg)),
        [b'G', b'I', b'F', b'8', ..] => Some(Err("a GIF picture")),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => {
            Some(Err("a WebP picture"))
        }
        [_, _, _, _, b'f', b't', b'y', b'p', ..] => Some(Err("a HEIF picture or a film")),
        [b'%', b'P', b'D', b'F', ..] => Some(Err("a PDF file")),
        [b'B', b'M', ..] if file.len() > 64 => Some(Err("a BMP picture")),
        [b'I', b'I', b'*', 0, ..] | [b'M', b'M', 0, b'*', ..] => Some(Err("a TIFF picture")),
        _ => None,
    }
}

/// Whether a file is a picture, of whatever kind.
pub(crate) fn is_picture(file: &[u8]) -> bool {
    kind(file).is_some()
}

/// The one invite in a picture.
pub(crate) fn invite(file: &[u8]) -> Result<Invite, PictureError> {
    if file.len() > MAX_FILE {
        return Err(PictureError::LongFile);
    }
    let format = match kind(file) {
        Some(Ok(format)) => format,
        Some(Err(name)) => return Err(PictureError::Kind(name)),
        None => return Err(PictureError::Kind("this file")),
    };
    let file = file.to_vec();
    let texts = apart(move || search(&unpack(&file, format)?))?;
    let invites: BTreeSet<String> = texts
        .iter()
        .map(|text| text.trim().to_ascii_lowercase())
        .filter(|text| text.starts_with(PREFIX))
        .collect();
    match invites.len() {
        0 if texts.is_empty() => Err(PictureError::NoCode),
        0 => Err(PictureError::NoInvite),
        1 => Ok(Invite::from_line(invites.first().map_or("", String::as_str))?),
        several => Err(PictureError::Several(several)),
    }
}

fn unpack(file: &[u8], format: ImageFormat) -> Result<GrayImage, PictureError> {
    let damaged = |error: image::ImageError| PictureError::Damaged(error.to_string());
    let reader = || ImageReader::with_format(Cursor::new(file), format);
    let (width, height) = reader().into_dimensions().map_err(damaged)?;
    if u64::from(width) * u64::from(height) > MAX_PIXELS {
        return Err(PictureError::TooLarge(width, height));
    }
    let mut limits = Limits::default();
    limits.max_alloc = Some(MAX_UNPACKED);
    let mut reader = reader();
    reader.limits(limits);
    let unpacked = reader.decode().map_err(|error| match error {
        image::ImageError::Limits(_) => PictureError::TooLarge(width, height),
        error => damaged(error),
    })?;
    // What is see-through lies on paper.
    let mut gray = unpacked.to_luma_alpha8();
    Ok(GrayImage::from_fn(width, height, |x, y| {
        let [light, cover] = gray.get_pixel_mut(x, y).0.map(u16::from);
        let shown = (light * cover + 255 * (255 - cover)) / 255;
        image::Luma([u8::try_from(shown).unwrap_or(255)])
    }))
}

/// The texts of the codes in a picture: of the first view of it in which any can be read.
fn search(picture: &GrayImage) -> Result<BTreeSet<String>, PictureError> {
    let longer = picture.width().max(picture.height());
    let mut views: Vec<GrayImage> = Vec::new();
    if longer < SMALL {
        views.push(scaled(picture, longer * 4, FilterType::Nearest));
    }
    let sides = SIDES.into_iter().filter(|side| *side < longer);
    views.extend(sides.map(|side| scaled(picture, side, FilterType::Triangle)));
    if longer <= SIDES[1] {
        views.insert(0, picture.clone());
    }
    let soft: Vec<_> = views.iter().take(2).map(|view| imageops::fast_blur(view, 1.2)).collect();
    views.extend(soft);
    for inverted in [false, true] {
        for view in &views {
            let mut view = view.clone();
            if inverted {
                imageops::invert(&mut view);
            }
            let found = codes(view)?;
            if !found.is_empty() {
                return Ok(found);
            }
        }
    }
    Ok(BTreeSet::new())
}

fn scaled(picture: &GrayImage, longer: u32, filter: FilterType) -> GrayImage {
    let (width, height) = picture.dimensions();
    let most = u64::from(width.max(height)).max(1);
    let side = |side: u32| {
        u32::try_from(u64::from(side) * u64::from(longer) / most).unwrap_or(u32::MAX).max(1)
    };
    imageops::resize(picture, side(width), side(height), filter)
}

fn codes(view: GrayImage) -> Result<BTreeSet<String>, PictureError> {
    let mut prepared = rqrr::PreparedImage::prepare(view);
    let grids = prepared.detect_grids();
    if grids.len() > MAX_CODES {
        return Err(PictureError::TooMany);
    }
    Ok(grids.iter().filter_map(|grid| grid.decode().ok()).map(|(_, text)| text).collect())
}

/// Runs `search` in a thread apart. One that takes too long is left behind, and ends with the program.
fn apart<T: Send + 'static>(
    search: impl FnOnce() -> Result<T, PictureError> + Send + 'static,
) -> Result<T, PictureError> {
    keep_quiet();
    let (tell, found) = channel();
    let thread = std::thread::Builder::new().name(THREAD.into()).spawn(move || {
        // Nobody may wait for it any more.
        let _ = tell.send(search());
    });
    thread.map_err(|error| PictureError::Damaged(error.to_string()))?;
    match found.recv_timeout(LIMIT) {
        Ok(found) => found,
        Err(RecvTimeoutError::Timeout) => Err(PictureError::TooLong),
        Err(RecvTimeoutError::Disconnected) => Err(PictureError::NoCode),
    }
}

/// A search that breaks is reported by us, not with a trace.
fn keep_quiet() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if std::thread::current().name() != Some(THREAD) {
                before(info);
            }
        }));
    });
}
