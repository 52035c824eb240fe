//! Codes are drawn, harmed as cameras and couriers do it, and read again.

use busel_proto::id::{Hash, PeerId, PublicKey};
use busel_proto::invite::{Invite, PeerTicket, RelayTicket};
use busel_proto::page::{HostName, HostPattern};
use busel_proto::sites::Site;
use image::imageops::{self, FilterType};
use image::{DynamicImage, GrayImage, ImageFormat, Luma};
use rand::{RngExt, SeedableRng};

use super::draw::{Code, Ink};
use super::read::{self, PictureError};

/// As long as an injector's invite is.
fn invite() -> Invite {
    let mut chance = rand::rngs::StdRng::seed_from_u64(1);
    let relay = RelayTicket {
        addr: "relay.example.net:443".into(),
        sni: HostName::parse("www.example.net").unwrap(),
        pin: Hash(chance.random()),
        secret: chance.random(),
        also: vec![],
        spares: None,
    };
    let peer =
        PeerTicket { peer: PeerId(chance.random()), relay: Some(0), addrs: vec![], veil: None };
    let root = busel_proto::cert::TrustedRoot {
        key: PublicKey(chance.random()),
        label: "The newsroom".into(),
        hosts: vec![HostPattern::parse("*.news.example").unwrap()],
    };
    Invite {
        relays: vec![relay.clone(), RelayTicket { pin: Hash(chance.random()), ..relay }],
        peers: vec![peer.clone(), PeerTicket { peer: PeerId(chance.random()), ..peer }],
        roots: vec![root],
        injectors: vec![],
        sites: vec![Site::new(HostPattern::parse("*.news.example").unwrap())],
    }
}

fn code(invite: &Invite) -> Code {
    Code::of(&invite.to_line()).unwrap()
}

fn file(picture: &GrayImage, format: ImageFormat) -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    DynamicImage::from(picture.clone()).write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

#[track_caller]
fn reads(picture: &GrayImage, format: ImageFormat) {
    match read::invite(&file(picture, format)) {
        Ok(read) => assert_eq!(read, invite()),
        Err(error) => panic!("{error}"),
    }
}

/// As seen from a point beside it: turned by `angle`, the far edge `lean` shorter, on a grey table.
fn photo(picture: &GrayImage, angle: f64, lean: f64, side: u32) -> GrayImage {
    let (own, half) = (f64::from(picture.width()), f64::from(side) / 2.0);
    let scale = own / (f64::from(side) * 0.62);
    let (sin, cos) = angle.sin_cos();
    GrayImage::from_fn(side, side, |x, y| {
        let (x, y) = (f64::from(x) - half, f64::from(y) - half);
        let far = 1.0 + lean * y / half;
        let (x, y) = (x * far, y * far);
        let (x, y) = ((x * cos + y * sin) * scale, (y * cos - x * sin) * scale);
        let (x, y) = (x + own / 2.0, y + own / 2.0);
        let inside = (0.0..own - 1.0).contains(&x) && (0.0..own - 1.0).contains(&y);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "inside")]
        let shown = if inside { picture.get_pixel(x as u32, y as u32).0[0] } else { 110 };
        // Paper is no white, ink no black.
        Luma([40 + shown / 2 + shown / 8])
    })
}

fn noisy(mut picture: GrayImage) -> GrayImage {
    let mut chance = rand::rngs::StdRng::seed_from_u64(7);
    for pixel in picture.pixels_mut() {
        pixel.0[0] = pixel.0[0].saturating_add_signed(chance.random_range(-25..=25));
    }
    picture
}

#[test]
fn what_is_drawn_is_read() {
    let drawn = code(&invite());
    let png = drawn.png().unwrap();
    assert_eq!(read::invite(&png).unwrap(), invite());
    reads(&drawn.picture(), ImageFormat::Jpeg);
    assert!(drawn.columns() < 110, "{} columns are too many for a terminal", drawn.columns());
}

#[test]
fn a_photo_is_read() {
    let picture = code(&invite()).picture();
    for (angle, lean) in [(0.1, 0.0), (0.8, 0.0), (2.2, 0.05), (-1.2, 0.12), (3.1, -0.12)] {
        let photo = imageops::fast_blur(&photo(&picture, angle, lean, 1800), 1.0);
        reads(&noisy(photo), ImageFormat::Jpeg);
    }
}

#[test]
fn size_and_colours_do_not_matter() {
    let picture = code(&invite()).picture();
    let modules = picture.width() / 8;
    for side in [modules, modules * 2, 500, 2200, 4100] {
        reads(&imageops::resize(&picture, side, side, FilterType::Nearest), ImageFormat::Png);
    }
    for side in [600, 777, 1500] {
        reads(&imageops::resize(&picture, side, side, FilterType::Triangle), ImageFormat::Jpeg);
    }
    let mut dark = picture.clone();
    imageops::invert(&mut dark);
    reads(&dark, ImageFormat::Png);
    for turned in [imageops::rotate90(&picture), imageops::rotate180(&picture)] {
        reads(&turned, ImageFormat::Png);
    }
    // A code on a layer that is see-through where it is light.
    let clear = image::GrayAlphaImage::from_fn(picture.width(), picture.height(), |x, y| {
        let light = picture.get_pixel(x, y).0[0];
        image::LumaA([0, 255 - light])
    });
    let mut bytes = std::io::Cursor::new(Vec::new());
    DynamicImage::from(clear).write_to(&mut bytes, ImageFormat::Png).unwrap();
    assert_eq!(read::invite(&bytes.into_inner()).unwrap(), invite());
}

#[test]
fn a_terminal_shows_it_with_its_quiet_zone() {
    let drawn = code(&invite());
    for ink in [Ink::Colours, Ink::Plain] {
        let lines = drawn.lines(ink);
        let side = u32::try_from(drawn.columns()).unwrap();
        assert_eq!(lines.len(), drawn.columns().div_ceil(2));
        // As the terminal's glass has it: each character two modules, light where it is not drawn.
        let rows: Vec<Vec<char>> = lines
            .iter()
            .map(|line| {
                let line = line.trim_start_matches("\x1b[38;5;16;48;5;231m");
                line.trim_end_matches("\x1b[0m").chars().collect()
            })
            .collect();
        let screen = GrayImage::from_fn(side, side, |x, y| {
            let sign = rows[usize::try_from(y / 2).unwrap()][usize::try_from(x).unwrap()];
            let drawn = if y % 2 == 0 { "▀█" } else { "▄█" }.contains(sign);
            Luma([if drawn == (ink == Ink::Colours) { 0 } else { 255 }])
        });
        for edge in 0..4 {
            assert!((0..side).all(|at| screen.get_pixel(at, edge).0 == [255]));
            assert!((0..side).all(|at| screen.get_pixel(edge, at).0 == [255]));
        }
        reads(
            &imageops::resize(&screen, side * 6, side * 6, FilterType::Nearest),
            ImageFormat::Png,
        );
    }
}

#[test]
fn what_is_too_long_for_a_picture_is_said() {
    let error = Code::of(&"busel1".repeat(800)).unwrap_err();
    assert!(error.to_string().contains("4800 characters is too long"), "{error}");
}

#[test]
fn pictures_without_one_invite_are_refused_by_name() {
    let said = |file: &[u8]| read::invite(file).unwrap_err().to_string();
    let blank = GrayImage::from_pixel(300, 200, Luma([255]));
    assert!(said(&file(&blank, ImageFormat::Png)).contains("no code"));
    let other = Code::of("https://news.example/").unwrap().picture();
    assert!(said(&file(&other, ImageFormat::Png)).contains("no invite"));
    let broken = Code::of("busel1abcdefgh").unwrap().picture();
    assert!(said(&file(&broken, ImageFormat::Png)).contains("damaged"));

    let mut two = GrayImage::from_pixel(2400, 1200, Luma([255]));
    let lone = Invite { relays: vec![], peers: vec![], ..invite() };
    for (at, invite) in [(0, &lone), (1200, &Invite { roots: vec![], ..lone.clone() })] {
        imageops::overlay(&mut two, &code(invite).picture(), at, 0);
    }
    let error = read::invite(&file(&two, ImageFormat::Png)).unwrap_err();
    assert!(matches!(error, PictureError::Several(2)), "{error}");

    let whole = code(&invite()).png().unwrap();
    assert!(said(&whole[..whole.len() / 2]).contains("damaged"));
    for (file, name) in [
        (&b"GIF89a"[..], "GIF"),
        (b"RIFF\0\0\0\0WEBPVP8 ", "WebP"),
        (b"\0\0\0\x18ftypheic", "HEIF"),
        (b"%PDF-1.7", "PDF"),
    ] {
        assert!(read::is_picture(file));
        assert!(said(file).contains(name));
    }
    assert!(!read::is_picture(b"busel1") && !read::is_picture(b""));
}

/// The chunk of a PNG file, with its checksum.
fn chunk(kind: &[u8; 4], data: &[u8]) -> Vec<u8> {
    let mut sum = u32::MAX;
    for byte in kind.iter().chain(data) {
        sum ^= u32::from(*byte);
        for _ in 0..8 {
            sum = (sum >> 1) ^ (if sum & 1 == 1 { 0xedb8_8320 } else { 0 });
        }
    }
    let len = u32::try_from(data.len()).unwrap().to_be_bytes();
    [&len, &kind[..], data, &(!sum).to_be_bytes()].concat()
}

#[test]
fn a_picture_that_is_vast_is_not_unpacked() {
    let mut head = Vec::new();
    head.extend(60_000u32.to_be_bytes());
    head.extend(60_000u32.to_be_bytes());
    head.extend([8, 0, 0, 0, 0]);
    let packed = [0x78, 0x9c, 3, 0, 0, 0, 0, 1];
    let bomb = [
        &b"\x89PNG\r\n\x1a\n"[..],
        &chunk(b"IHDR", &head),
        &chunk(b"IDAT", &packed),
        &chunk(b"IEND", b""),
    ]
    .concat();
    let error = read::invite(&bomb).unwrap_err();
    assert!(matches!(error, PictureError::TooLarge(60_000, 60_000)), "{error}");
    let mut long = bomb;
    long.resize(read::MAX_FILE + 1, 0);
    assert!(matches!(read::invite(&long).unwrap_err(), PictureError::LongFile));
}

#[test]
fn a_crowd_of_codes_and_of_corners_of_codes_ends() {
    let small = Code::of("A").unwrap().picture();
    let small = imageops::resize(&small, 87, 87, FilterType::Nearest);
    let mut crowd = GrayImage::from_pixel(640, 640, Luma([255]));
    for at in 0..49i64 {
        imageops::overlay(&mut crowd, &small, at % 7 * 90, at / 7 * 90);
    }
    let error = read::invite(&file(&crowd, ImageFormat::Png)).unwrap_err();
    assert!(matches!(error, PictureError::TooMany | PictureError::NoInvite), "{error}");

    let corner = imageops::crop_imm(&small, 9, 9, 27, 27).to_image();
    let mut corners = GrayImage::from_pixel(640, 640, Luma([255]));
    for at in 0..361i64 {
        imageops::overlay(&mut corners, &corner, at % 19 * 33, at / 19 * 33);
    }
    assert!(read::invite(&file(&corners, ImageFormat::Png)).is_err());
}

#[test]
fn harmed_files_are_errors_and_nothing_else() {
    let mut chance = rand::rngs::StdRng::seed_from_u64(3);
    let lone = Invite { relays: vec![], peers: vec![], roots: vec![], ..invite() };
    let picture = imageops::resize(&code(&lone).picture(), 150, 150, FilterType::Nearest);
    for format in [ImageFormat::Png, ImageFormat::Jpeg] {
        let whole = file(&picture, format);
        for _ in 0..60 {
            let mut harmed = whole.clone();
            for _ in 0..chance.random_range(1..8) {
                let at = chance.random_range(3..harmed.len());
                harmed[at] = chance.random();
            }
            // Whatever comes of it, it is the invite or a reason.
            if let Ok(read) = read::invite(&harmed) {
                assert_eq!(read, lone);
            }
        }
    }
}
