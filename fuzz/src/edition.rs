//! Editions: the list that an injector signs.

use busel_proto::edition::{Edition, MAX_BYTES, MAX_ITEMS, MAX_TITLE};

/// What is read has one form, and holds no more than it may.
pub fn edition(data: &[u8]) {
    let Ok(edition) = Edition::from_bytes(data) else { return };
    assert!(data.len() <= MAX_BYTES && edition.items.len() <= MAX_ITEMS);
    let titles = edition.items.iter().filter_map(|item| item.title.as_ref());
    assert!(titles.clone().all(|title| title.len() <= MAX_TITLE));
    assert_eq!(titles.count(), edition.pages());
    let again = Edition::from_bytes(&edition.to_bytes());
    assert_eq!(again.as_ref(), Ok(&edition), "what was read can be written");
}
