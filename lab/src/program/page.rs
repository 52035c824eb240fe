//! The pages of the lab's sites: made from the site's name and the path, so that whoever asks knows
//! what must arrive, byte for byte, and no two sites have the same.

use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

/// Path and length of each page of each site.
pub const PAGES: [(&str, usize); 4] =
    [("/", 4 << 10), ("/article", 60 << 10), ("/long", 1 << 20), ("/film", 2 << 20)];

/// Pages by which a site has a browser ask elsewhere, in each way that is known, for names below [`TRAP`].
const TRAPS: [(&str, &str); 2] =
    [("/traps", include_str!("traps.html")), ("/away", include_str!("away.html"))];
/// The domain of these names; nobody has it.
pub const TRAP: &str = "trap.example";

/// Besides there are so many numbered pages, for who reads on and on, of this length.
const NUMBERED: (usize, usize) = (128, 8 << 10);

/// The path of a numbered page.
pub fn numbered(number: usize) -> String {
    format!("/page-{}", number % NUMBERED.0)
}

/// All pages of each site, with their lengths.
pub(super) fn pages() -> impl Iterator<Item = (String, usize)> {
    let named = PAGES.iter().map(|(path, len)| ((*path).to_owned(), *len));
    let traps = TRAPS.iter().map(|(path, page)| ((*path).to_owned(), page.len()));
    named.chain(traps).chain((0..NUMBERED.0).map(|number| (numbered(number), NUMBERED.1)))
}

/// What a site has at a path. Nothing if it has no such page.
pub fn body(site: &str, path: &str) -> Option<Vec<u8>> {
    if let Some((_, page)) = TRAPS.iter().find(|(known, _)| *known == path) {
        return Some(page.as_bytes().to_vec());
    }
    let (_, len) = pages().find(|(known, _)| known == path)?;
    let title = format!("<!doctype html><title>{site}{path}</title>\n");
    let mut seed = [0; 32];
    for (at, byte) in site.bytes().chain(path.bytes()).enumerate() {
        seed[at % 32] ^= byte.rotate_left(u32::try_from(at / 32).unwrap_or_default());
    }
    let mut text = vec![0; len];
    ChaCha8Rng::from_seed(seed).fill_bytes(&mut text);
    for byte in &mut text {
        // 64 characters that any program shows: from @ to DEL, without DEL.
        *byte = b'@' + (*byte & 0x3f).min(62);
    }
    text[..title.len()].copy_from_slice(title.as_bytes());
    Some(text)
}
