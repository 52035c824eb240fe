//! The newspaper's film: a real MP4 file with H.264 video of about 6 MiB, that browsers play, and
//! that is long enough to be fetched in ranges.
//!
//! It is no codec. Each picture is coded by itself, and each macroblock as raw samples (`I_PCM`),
//! which the standard's baseline profile allows; only the frame around the samples is written
//! here. There is no sound.

use super::Dice;
use super::picture::{grain, wave};

const WIDTH: usize = 320;
const HEIGHT: usize = 192;
const FRAMES: usize = 72;
/// Frames a second.
const RATE: u32 = 10;
/// Samples stay in the range that television uses. None is 0, so that raw samples can't look like
/// a start code.
const BLACK: i32 = 16;
const WHITE: i32 = 235;

/// The whole file.
pub(super) fn film(seed: u64) -> Vec<u8> {
    let mut dice = Dice(seed);
    let scene = Scene::new(&mut dice);
    let samples: Vec<Vec<u8>> = (0..FRAMES).map(|n| sample(&scene.frame(n), n)).collect();
    mp4(&samples)
}

/// One picture in planes, with chroma at half the size.
struct Frame {
    luma: Vec<u8>,
    blue: Vec<u8>,
    red: Vec<u8>,
}

/// A river valley with a stork flying over it.
struct Scene {
    /// Height of each layer of hills by column, twice round.
    hills: Vec<Vec<i32>>,
    sun: i32,
}

impl Scene {
    fn new(dice: &mut Dice) -> Self {
        let hills = (0..3).map(|layer| {
            let (p, q) = (dice.within(0, 1023), dice.within(0, 1023));
            let ridge = |x: i32| {
                90 + layer * 26 - wave(x * 16 / 5 + p) * 14 / 256 - wave(x * 64 / 5 + q) * 5 / 256
            };
            (0..WIDTH as i32 * 2).map(ridge).collect()
        });
        Self { hills: hills.collect(), sun: dice.within(60, 240) }
    }

    fn frame(&self, n: usize) -> Frame {
        let n = n as i32;
        let mut frame = Frame {
            luma: Vec::with_capacity(WIDTH * HEIGHT),
            blue: Vec::with_capacity(WIDTH * HEIGHT / 4),
            red: Vec::with_capacity(WIDTH * HEIGHT / 4),
        };
        for y in 0..HEIGHT as i32 {
            for x in 0..WIDTH as i32 {
                let (luma, blue, red) = self.point(x, y, n);
                let luma = (luma + grain(x, y + n * 7) / 64).clamp(BLACK, WHITE);
                frame.luma.push(luma as u8);
                if x % 2 == 0 && y % 2 == 0 {
                    frame.blue.push(blue.clamp(BLACK, WHITE) as u8);
                    frame.red.push(red.clamp(BLACK, WHITE) as u8);
                }
            }
        }
        frame
    }

    /// Luma, blue and red difference of a point at a time.
    fn point(&self, x: i32, y: i32, n: i32) -> (i32, i32, i32) {
        if let Some(colour) = stork(x, y, n) {
            return colour;
        }
        if y > 156 {
            let ripple = wave(y * 90 + n * 40 + wave(x * 6) / 4) / 20;
            return (96 + ripple + (y - 156), 146, 116);
        }
        for (layer, hills) in self.hills.iter().enumerate().rev() {
            // Nearer hills pass faster.
            let column = (x + n * (layer as i32 + 1)) as usize % hills.len();
            if y > hills[column] {
                let layer = layer as i32;
                let depth = (y - hills[column]) / 4;
                return (104 - layer * 22 - depth.min(16), 122 - layer * 4, 118 - layer * 2);
            }
        }
        let distance = (x - self.sun).pow(2) + (y - 70 + n / 2).pow(2);
        if distance < 260 {
            return (226, 96, 150);
        }
        let glow = (4000 - distance / 2).max(0) / 100;
        (128 + y / 2 + glow, 148 - y / 4, 116 + y / 5)
    }
}

/// The bird, if it covers the point: two wings that beat, a body, a red bill.
fn stork(x: i32, y: i32, n: i32) -> Option<(i32, i32, i32)> {
    let (dx, dy) = (x - (n * 5 - 20), y - (44 + wave(n * 24) / 32));
    let beat = wave(n * 170) / 16;
    let wing = dx.abs() * beat / 24;
    if dx.abs() < 26 && (dy + wing).abs() < 3 - dx.abs() / 14 {
        let tip = dx.abs() > 14;
        return Some((if tip { 30 } else { 228 }, 128, 128));
    }
    if (8..18).contains(&dx) && dy.abs() < 2 {
        return Some((90, 100, 210));
    }
    (dx.abs() < 10 && dy.abs() < 3).then_some((232, 128, 128))
}

/// Bits, most significant first.
#[derive(Default)]
struct Bits {
    bytes: Vec<u8>,
    /// How many bits of the last byte are used; 0 stands for all.
    used: u8,
}

impl Bits {
    fn bits(&mut self, value: u32, count: u32) {
        for i in (0..count).rev() {
            if self.used == 0 {
                self.bytes.push(0);
            }
            let last = self.bytes.last_mut().expect("a byte was just pushed");
            *last |= ((value >> i & 1) as u8) << (7 - self.used);
            self.used = (self.used + 1) % 8;
        }
    }

    /// An unsigned Exp-Golomb code.
    fn golomb(&mut self, value: u32) {
        let width = (value + 1).ilog2();
        self.bits(0, width);
        self.bits(value + 1, width + 1);
    }

    fn golombs(&mut self, values: &[u32]) {
        values.iter().for_each(|v| self.golomb(*v));
    }

    /// Zeros up to the byte's end.
    fn align(&mut self) {
        self.used = 0;
    }

    /// The unit's bytes, closed by a stop bit and with start codes made impossible.
    fn unit(mut self) -> Vec<u8> {
        self.bits(1, 1);
        let mut out = Vec::with_capacity(self.bytes.len() + 8);
        let mut zeros = 0;
        for byte in self.bytes {
            if zeros == 2 && byte <= 3 {
                out.push(3);
                zeros = 0;
            }
            zeros = if byte == 0 { zeros + 1 } else { 0 };
            out.push(byte);
        }
        out
    }
}

/// Sequence parameters: constrained baseline, level 4, no reordering, one reference at most.
fn sequence_unit() -> Vec<u8> {
    let mut b = Bits::default();
    b.bits(0x67, 8);
    b.bits(0x42_c0_28, 24);
    b.golombs(&[0, 0, 2, 1]);
    b.bits(0, 1);
    b.golombs(&[WIDTH as u32 / 16 - 1, HEIGHT as u32 / 16 - 1]);
    b.bits(0b1100, 4);
    b.unit()
}

/// Picture parameters: CAVLC, one slice group, the deblocking filter under control.
fn picture_unit() -> Vec<u8> {
    let mut b = Bits::default();
    b.bits(0x68, 8);
    b.golombs(&[0, 0]);
    b.bits(0, 2);
    b.golombs(&[0, 0, 0]);
    b.bits(0, 3);
    b.golombs(&[0, 0, 0]);
    b.bits(0b100, 3);
    b.unit()
}

/// One frame as an MP4 sample: an IDR slice behind its length.
fn sample(frame: &Frame, number: usize) -> Vec<u8> {
    let mut b = Bits::default();
    b.bits(0x65, 8);
    // First macroblock, slice type I, parameter set; frame number; IDR id; marking; QP; no filter.
    b.golombs(&[0, 7, 0]);
    b.bits(0, 4);
    b.golomb(number as u32 % 2);
    b.bits(0, 2);
    b.golombs(&[0, 1]);
    for row in 0..HEIGHT / 16 {
        for column in 0..WIDTH / 16 {
            b.golomb(25); // I_PCM
            b.align();
            block(&mut b.bytes, &frame.luma, WIDTH, column * 16, row * 16, 16);
            block(&mut b.bytes, &frame.blue, WIDTH / 2, column * 8, row * 8, 8);
            block(&mut b.bytes, &frame.red, WIDTH / 2, column * 8, row * 8, 8);
        }
    }
    let unit = b.unit();
    let mut sample = (unit.len() as u32).to_be_bytes().to_vec();
    sample.extend(unit);
    sample
}

fn block(out: &mut Vec<u8>, plane: &[u8], stride: usize, x: usize, y: usize, side: usize) {
    for line in y..y + side {
        out.extend_from_slice(&plane[line * stride + x..][..side]);
    }
}

/// The file: index first, so that a browser can start before it has all.
fn mp4(samples: &[Vec<u8>]) -> Vec<u8> {
    let brand = boxed(b"ftyp", &[b"isom\0\0\x02\0isomiso2avc1mp41"]);
    // The index's size doesn't depend on the offset in it.
    let start = brand.len() + movie(samples, 0).len() + 8;
    let movie = movie(samples, start as u32);
    let mut file = brand;
    file.extend(movie);
    let total: usize = samples.iter().map(Vec::len).sum();
    file.extend((total as u32 + 8).to_be_bytes());
    file.extend(b"mdat");
    samples.iter().for_each(|s| file.extend_from_slice(s));
    file
}

fn boxed(kind: &[u8; 4], parts: &[&[u8]]) -> Vec<u8> {
    let len: usize = 8 + parts.iter().map(|p| p.len()).sum::<usize>();
    let mut out = (len as u32).to_be_bytes().to_vec();
    out.extend_from_slice(kind);
    parts.iter().for_each(|p| out.extend_from_slice(p));
    out
}

/// Big-endian words, the most of what boxes hold.
fn words(values: &[u32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_be_bytes()).collect()
}

const MATRIX: [u32; 9] = [0x1_0000, 0, 0, 0, 0x1_0000, 0, 0, 0, 0x4000_0000];
/// Ticks a second of all clocks in the file.
const SCALE: u32 = 1000;

fn movie(samples: &[Vec<u8>], start: u32) -> Vec<u8> {
    let length = samples.len() as u32 * SCALE / RATE;
    let mut header = vec![0, 0, 0, SCALE, length, 0x1_0000, 0x0100_0000, 0, 0];
    header.extend(MATRIX);
    header.extend([0, 0, 0, 0, 0, 0, 2]);
    let mut track = vec![3, 0, 0, 1, 0, length, 0, 0, 0, 0];
    track.extend(MATRIX);
    track.extend([(WIDTH as u32) << 16, (HEIGHT as u32) << 16]);
    // The language is "und".
    let clock = boxed(b"mdhd", &[&words(&[0, 0, 0, SCALE, length, 0x55c4_0000])]);
    let handler = boxed(b"hdlr", &[&words(&[0, 0]), b"vide", &words(&[0, 0, 0]), b"Film\0"]);
    let video = boxed(b"vmhd", &[&words(&[1, 0, 0])]);
    let here = boxed(b"url ", &[&words(&[1])]);
    let source = boxed(b"dinf", &[&boxed(b"dref", &[&words(&[0, 1]), &here])]);
    let media = boxed(b"minf", &[&video, &source, &table(samples, start)]);
    let media = boxed(b"mdia", &[&clock, &handler, &media]);
    let track = boxed(b"trak", &[&boxed(b"tkhd", &[&words(&track)]), &media]);
    boxed(b"moov", &[&boxed(b"mvhd", &[&words(&header)]), &track])
}

/// Where each frame lies, how long it lasts, and how it is coded. All are key frames, in one chunk.
fn table(samples: &[Vec<u8>], start: u32) -> Vec<u8> {
    let count = samples.len() as u32;
    let (sequence, picture) = (sequence_unit(), picture_unit());
    let config = boxed(
        b"avcC",
        &[
            &[1, 0x42, 0xc0, 0x28, 0xff, 0xe1],
            &(sequence.len() as u16).to_be_bytes(),
            &sequence,
            &[1],
            &(picture.len() as u16).to_be_bytes(),
            &picture,
        ],
    );
    let mut entry = words(&[0, 1, 0, 0, 0, 0]);
    entry.extend((WIDTH as u16).to_be_bytes());
    entry.extend((HEIGHT as u16).to_be_bytes());
    entry.extend(words(&[0x48_0000, 0x48_0000, 0]));
    entry.extend(1_u16.to_be_bytes());
    entry.extend([0; 32]);
    entry.extend([0, 24, 0xff, 0xff]);
    let coding = boxed(b"avc1", &[&entry, &config]);
    let mut sizes = vec![0, 0, count];
    sizes.extend(samples.iter().map(|s| s.len() as u32));
    boxed(
        b"stbl",
        &[
            &boxed(b"stsd", &[&words(&[0, 1]), &coding]),
            &boxed(b"stts", &[&words(&[0, 1, count, SCALE / RATE])]),
            &boxed(b"stsc", &[&words(&[0, 1, 1, count, 1])]),
            &boxed(b"stsz", &[&words(&sizes)]),
            &boxed(b"stco", &[&words(&[0, 1, start])]),
        ],
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_as_the_standard_lists_them() {
        let mut b = Bits::default();
        b.golombs(&[0, 1, 2, 3, 25]);
        // 1 010 011 00100 000011010
        assert_eq!(b.bytes, [0b1010_0110, 0b0100_0000, 0b1101_0000]);
        b.bytes = vec![0, 0, 1];
        b.used = 0;
        assert_eq!(b.unit(), [0, 0, 3, 1, 0x80]);
    }

    #[test]
    fn boxes_fill_the_file_and_the_first_frame_is_where_the_index_says() {
        let file = film(9);
        assert!((6 << 20..7 << 20).contains(&file.len()), "{}", file.len());
        let word = |at: usize| u32::from_be_bytes(file[at..at + 4].try_into().expect("4 bytes"));
        let mut at = 0;
        let mut kinds = Vec::new();
        while at < file.len() {
            kinds.push(file[at + 4..at + 8].to_vec());
            at += word(at) as usize;
        }
        assert_eq!(at, file.len());
        assert_eq!(kinds, [b"ftyp", b"moov", b"mdat"]);
        let index = file.windows(4).position(|w| w == b"stco").expect("an index");
        let first = word(index + 12) as usize;
        assert_eq!(&file[first - 4..first], b"mdat");
        assert_eq!(file[first + 4], 0x65);
    }
}
