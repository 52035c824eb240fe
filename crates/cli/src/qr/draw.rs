//! Draws a code: in half blocks for a terminal, in dots for a file.

use std::io::Cursor;

use anyhow::Context;
use image::{GrayImage, ImageFormat, Luma};
use qrcode::{Color, EcLevel, QrCode};

use super::QUIET;

/// Dots of a file on which one module is drawn, each way.
const DOTS: usize = 8;
/// Black on white, whatever the terminal's own colours are: the corners of the fixed cube of 256.
const BLACK_ON_WHITE: &str = "\x1b[38;5;16;48;5;231m";
const AS_BEFORE: &str = "\x1b[0m";

/// A code.
#[derive(Debug)]
pub(crate) struct Code {
    /// Whether each module is dark, row by row.
    modules: Vec<bool>,
    width: usize,
}

/// What a terminal shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ink {
    /// Colours.
    Colours,
    /// Only the characters: light modules are drawn, so that it is right on a dark ground.
    Plain,
}

impl Code {
    /// The code of an invite's line, as small as it can be, and of that size as sturdy as it can be.
    pub(crate) fn of(line: &str) -> anyhow::Result<Self> {
        let text = line.to_ascii_uppercase();
        let small = QrCode::with_error_correction_level(&text, EcLevel::L).with_context(|| {
            format!("an invite of {} characters is too long for a picture", text.len())
        })?;
        let sturdier = [EcLevel::H, EcLevel::Q, EcLevel::M].into_iter();
        let mut sturdier =
            sturdier.filter_map(|level| QrCode::with_version(&text, small.version(), level).ok());
        let code = sturdier.next().unwrap_or(small);
        let modules = code.to_colors().into_iter().map(|color| color == Color::Dark).collect();
        Ok(Self { modules, width: code.width() })
    }

    /// Its width with the quiet zone, in modules: characters in a terminal.
    pub(crate) fn columns(&self) -> usize {
        self.width + 2 * QUIET
    }

    /// Whether the module at this place, the quiet zone counted, is dark.
    fn is_dark(&self, x: usize, y: usize) -> bool {
        let inside = |at: usize| at.checked_sub(QUIET).filter(|at| *at < self.width);
        match (inside(x), inside(y)) {
            (Some(x), Some(y)) => self.modules.get(y * self.width + x).copied().unwrap_or(false),
            _ => false,
        }
    }

    /// Lines for a terminal: each character is two modules, one above the other.
    pub(crate) fn lines(&self, ink: Ink) -> Vec<String> {
        let side = self.columns();
        let drawn = |x, y| self.is_dark(x, y) == (ink == Ink::Colours);
        let sign = |x, y| match (drawn(x, y), drawn(x, y + 1)) {
            (false, false) => ' ',
            (true, false) => '▀',
            (false, true) => '▄',
            (true, true) => '█',
        };
        let row = |y| (0..side).map(|x| sign(x, y)).collect::<String>();
        let rows = (0..side).step_by(2).map(row);
        match ink {
            Ink::Colours => rows.map(|row| format!("{BLACK_ON_WHITE}{row}{AS_BEFORE}")).collect(),
            Ink::Plain => rows.collect(),
        }
    }

    /// A picture of it.
    pub(crate) fn picture(&self) -> GrayImage {
        let side = u32::try_from(self.columns() * DOTS).unwrap_or(u32::MAX);
        let place = |at: u32| usize::try_from(at).unwrap_or(usize::MAX) / DOTS;
        GrayImage::from_fn(side, side, |x, y| {
            Luma([if self.is_dark(place(x), place(y)) { 0 } else { 255 }])
        })
    }

    /// The picture as a PNG file.
    pub(crate) fn png(&self) -> anyhow::Result<Vec<u8>> {
        let mut file = Cursor::new(Vec::new());
        self.picture().write_to(&mut file, ImageFormat::Png)?;
        Ok(file.into_inner())
    }
}
