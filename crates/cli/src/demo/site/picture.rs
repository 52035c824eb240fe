//! The newspaper's pictures: drawn landscapes in PNG, and a few line drawings in SVG. Only whole
//! numbers are used, so that every machine draws the same bytes.
//!
//! PNG is written without compression (stored blocks): a picture then has a picture's weight, and
//! no codec is needed.

use super::Dice;

const WIDTH: usize = 480;
const HEIGHT: usize = 270;
/// Palette entries of the sky, from its top to the horizon.
const SKY: usize = 96;
/// Palette entries of one layer of hills.
const SHADES: usize = 24;
const LAYERS: usize = 5;
/// Where in the palette the hills, the sun, water and windows stand.
const HILLS: usize = SKY;
const SUN: usize = HILLS + SHADES * LAYERS;
const LIGHT: usize = SUN + 8;

type Rgb = [i32; 3];

/// A landscape as a PNG file.
pub(super) fn landscape(seed: u64) -> Vec<u8> {
    let mut dice = Dice(seed);
    let palette = palette(&mut dice);
    let mut canvas = vec![0_u8; WIDTH * HEIGHT];
    paint_sky(&mut canvas, &mut dice);
    for layer in 0..LAYERS {
        paint_hills(&mut canvas, layer, &mut dice);
    }
    if dice.below(2) == 0 {
        paint_town(&mut canvas, &mut dice);
    } else {
        paint_river(&mut canvas, &mut dice);
    }
    png(&canvas, &palette)
}

/// A sine in whole numbers: the angle's full turn is 1024, the result within ±256.
pub(super) fn wave(angle: i32) -> i32 {
    let a = angle.rem_euclid(1024);
    let (half, sign) = if a < 512 { (a, 1) } else { (a - 512, -1) };
    // Bhaskara's approximation on half a turn.
    let product = half * (512 - half);
    sign * 256 * 4 * product / (5 * 512 * 512 / 4 - product)
}

/// Noise of a point, 0..256.
pub(super) fn grain(x: i32, y: i32) -> i32 {
    let mut h = (x as u32).wrapping_mul(0x9e37_79b1) ^ (y as u32).wrapping_mul(0x85eb_ca77);
    h ^= h >> 15;
    h = h.wrapping_mul(0x2c1b_3c6d);
    ((h ^ (h >> 13)) & 255) as i32
}

fn palette(dice: &mut Dice) -> Vec<Rgb> {
    // Dawn, noon, evening, overcast: the sky's top and horizon, and the far hills' tint.
    let skies: [(Rgb, Rgb, Rgb); 5] = [
        ([52, 78, 128], [244, 196, 160], [150, 140, 160]),
        ([64, 128, 196], [206, 228, 240], [140, 168, 176]),
        ([42, 46, 96], [236, 142, 96], [120, 92, 120]),
        ([140, 152, 164], [218, 220, 218], [156, 164, 164]),
        ([88, 150, 190], [244, 232, 196], [160, 176, 160]),
    ];
    let grounds: [Rgb; 4] = [[34, 62, 40], [58, 66, 30], [40, 50, 58], [72, 58, 34]];
    let (top, horizon, far) = skies[dice.below(skies.len())];
    let near = grounds[dice.below(grounds.len())];
    let mut colours = Vec::with_capacity(256);
    for i in 0..SKY {
        colours.push(blend(top, horizon, i as i32 * 256 / SKY as i32));
    }
    for layer in 0..LAYERS {
        let base = blend(far, near, layer as i32 * 256 / (LAYERS as i32 - 1));
        for shade in 0..SHADES as i32 {
            colours.push(blend(base, [236, 236, 206], (shade * 3).min(90)));
        }
    }
    for i in 0..8 {
        colours.push(blend([255, 248, 214], horizon, i * 24));
    }
    for i in 0..8 {
        colours.push(blend([255, 214, 120], [250, 246, 232], i * 32));
    }
    colours.resize(256, [0, 0, 0]);
    colours
}

fn blend(a: Rgb, b: Rgb, part: i32) -> Rgb {
    std::array::from_fn(|i| (a[i] * (256 - part) + b[i] * part) / 256)
}

fn paint_sky(canvas: &mut [u8], dice: &mut Dice) {
    let (cx, cy) = (dice.within(80, 400), dice.within(40, 110));
    let radius = dice.within(14, 26);
    let drift = dice.within(0, 1023);
    for y in 0..HEIGHT as i32 {
        for x in 0..WIDTH as i32 {
            let cloud = wave(x * 3 + wave(y * 9 + drift)) * wave(y * 14 + x / 3 + drift) / 4096;
            let depth = y * SKY as i32 / 190 + cloud / 2 + grain(x, y) / 128;
            let distance = (x - cx).pow(2) + (y - cy).pow(2);
            let ring = (distance - radius.pow(2)) / (radius * 4);
            let index =
                if ring < 8 { SUN as i32 + ring.max(0) } else { depth.clamp(0, SKY as i32 - 1) };
            canvas[y as usize * WIDTH + x as usize] = index as u8;
        }
    }
}

fn paint_hills(canvas: &mut [u8], layer: usize, dice: &mut Dice) {
    let base = 120 + layer as i32 * 28;
    let (p, q, r) = (dice.within(0, 1023), dice.within(0, 1023), dice.within(0, 1023));
    let height = dice.within(14, 30);
    let stretch = dice.within(1, 3);
    for x in 0..WIDTH as i32 {
        let ridge = wave(x * stretch + p) * height / 256
            + wave(x * 7 + q) * 6 / 256
            + wave(x * 23 + r) * 2 / 256;
        // Trees stand on the nearer ridges.
        let trees = if layer >= 2 { grain(x / 3, layer as i32) * layer as i32 / 96 } else { 0 };
        let top = base - ridge - trees;
        for y in top.max(0)..HEIGHT as i32 {
            let light = SHADES as i32 - 1 - (y - top) / 4 - grain(x, y) / 48;
            let index = HILLS + layer * SHADES + light.clamp(0, SHADES as i32 - 1) as usize;
            canvas[y as usize * WIDTH + x as usize] = index as u8;
        }
    }
}

fn paint_town(canvas: &mut [u8], dice: &mut Dice) {
    let mut left = dice.within(10, 60);
    while left < WIDTH as i32 - 50 {
        let (wide, tall) = (dice.within(18, 46), dice.within(24, 78));
        let roof = HEIGHT as i32 - 18 - tall;
        let wall = HILLS + (LAYERS - 1) * SHADES + dice.below(8);
        for y in roof - wide / 3..HEIGHT as i32 - 8 {
            for x in left..left + wide {
                let gable = (x - left - wide / 2).abs() * 2 / 3;
                if y < roof - wide / 3 + gable {
                    continue;
                }
                let window = (x - left) % 9 > 4 && (y - roof) % 12 > 6 && y > roof + 4;
                let lit = window && grain((x - left) / 9 + left, (y - roof) / 12) > 120;
                let index = if lit { LIGHT + (x % 3) as usize } else { wall };
                canvas[y as usize * WIDTH + x as usize] = index as u8;
            }
        }
        left += wide + dice.within(2, 40);
    }
}

fn paint_river(canvas: &mut [u8], dice: &mut Dice) {
    let bend = dice.within(0, 1023);
    for y in 196..HEIGHT as i32 {
        let middle = WIDTH as i32 / 2 + wave(y * 5 + bend) * (HEIGHT as i32 - y) / 200;
        let half = (y - 192) * 2;
        for x in (middle - half).max(0)..(middle + half).min(WIDTH as i32) {
            let ripple = wave(y * 60 + x / 2) / 40 + grain(x / 4, y) / 24;
            let sky = (SKY as i32 - 1 - (y - 196) / 2 + ripple).clamp(0, SKY as i32 - 1);
            canvas[y as usize * WIDTH + x as usize] = sky as u8;
        }
    }
}

/// A PNG file with a palette.
fn png(canvas: &[u8], palette: &[Rgb]) -> Vec<u8> {
    let mut header = Vec::new();
    header.extend((WIDTH as u32).to_be_bytes());
    header.extend((HEIGHT as u32).to_be_bytes());
    header.extend([8, 3, 0, 0, 0]);
    let colours: Vec<u8> = palette.iter().flatten().map(|&c| c as u8).collect();
    let mut rows = Vec::with_capacity(canvas.len() + HEIGHT);
    for row in canvas.chunks(WIDTH) {
        rows.push(0);
        rows.extend_from_slice(row);
    }
    let mut file = b"\x89PNG\r\n\x1a\n".to_vec();
    chunk(&mut file, b"IHDR", &header);
    chunk(&mut file, b"PLTE", &colours);
    chunk(&mut file, b"IDAT", &stored(&rows));
    chunk(&mut file, b"IEND", &[]);
    file
}

fn chunk(file: &mut Vec<u8>, kind: &[u8; 4], data: &[u8]) {
    file.extend((data.len() as u32).to_be_bytes());
    let start = file.len();
    file.extend_from_slice(kind);
    file.extend_from_slice(data);
    let sum = crc(&file[start..]);
    file.extend(sum.to_be_bytes());
}

/// A zlib stream of stored blocks.
fn stored(data: &[u8]) -> Vec<u8> {
    let mut out = vec![0x78, 0x01];
    let mut blocks = data.chunks(65_535).peekable();
    while let Some(block) = blocks.next() {
        let len = block.len() as u16;
        out.push(u8::from(blocks.peek().is_none()));
        out.extend(len.to_le_bytes());
        out.extend((!len).to_le_bytes());
        out.extend_from_slice(block);
    }
    let (mut a, mut b) = (1_u32, 0_u32);
    for byte in data {
        a = (a + u32::from(*byte)) % 65_521;
        b = (b + a) % 65_521;
    }
    out.extend(((b << 16) | a).to_be_bytes());
    out
}

fn crc(data: &[u8]) -> u32 {
    const TABLE: [u32; 256] = {
        let mut table = [0; 256];
        let mut n = 0;
        while n < 256 {
            let mut c = n as u32;
            let mut bit = 0;
            while bit < 8 {
                c = if c & 1 == 1 { 0xedb8_8320 ^ (c >> 1) } else { c >> 1 };
                bit += 1;
            }
            table[n] = c;
            n += 1;
        }
        table
    };
    !data.iter().fold(!0, |c: u32, byte| TABLE[((c ^ u32::from(*byte)) & 255) as usize] ^ (c >> 8))
}

/// The stork in flight, the newspaper's sign.
pub(super) const LOGO: &str = r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 120 80" role="img" aria-label="stork">
<path d="M4 52 Q34 10 62 40 Q84 8 116 22 Q92 26 78 46 L98 60 L70 54 Q52 66 30 56 Q18 54 4 52Z" fill="#1d2733"/>
<path d="M98 60 L118 66 L99 63Z" fill="#b3261e"/>
<path d="M30 56 L6 66 M34 58 L10 71" stroke="#b3261e" stroke-width="2" fill="none"/>
</svg>
"##;

/// A section's sign: a letter-like drawing in its colour, different for each number.
pub(super) fn emblem(number: usize) -> String {
    let hue = number * 57 % 360;
    let turn = number * 30;
    let mut petals = String::new();
    for i in 0..5 + number % 4 {
        let angle = i * 360 / (5 + number % 4) + turn;
        petals.push_str(&format!(
            "<ellipse cx=\"32\" cy=\"16\" rx=\"6\" ry=\"12\" transform=\"rotate({angle} 32 32)\"/>\n"
        ));
    }
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 64 64\" fill=\"hsl({hue} 45% 38%)\">\n\
         {petals}<circle cx=\"32\" cy=\"32\" r=\"6\" fill=\"#fff\"/>\n</svg>\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_png_has_the_sums_that_its_format_asks_for() {
        assert_eq!(crc(b"IEND"), 0xae42_6082);
        assert_eq!(stored(b"Wikipedia")[16..], 0x11e6_0398_u32.to_be_bytes());
        let file = landscape(5);
        assert!(file.starts_with(b"\x89PNG"));
        assert!(file.len() > WIDTH * HEIGHT);
        assert_eq!(file, landscape(5));
    }

    #[test]
    fn the_wave_is_a_sine() {
        assert_eq!([wave(0), wave(256), wave(512), wave(768)], [0, 256, 0, -256]);
        assert!((wave(128) - 181).abs() < 3);
    }
}
