//! An edition: today's pages of a site with all that they need to be shown, in one list, so that a reader has
//! them before the line is cut.
//!
//! It is made and signed by an injector, and travels as any snapshot does: as the page of an address that no site is
//! asked for, [`PATH`] on the site's host. So whoever holds one can pass it on, nobody needs to know
//! another protocol, and trust in it is trust in the site's injector. Its body is deterministic CBOR.

use minicbor::{Decode, Encode};

use crate::cbor::{self, CborError};
use crate::id::Hash;
use crate::page::{HostName, PageError, PageUrl};
use crate::time::UnixTime;

/// Where a site's edition is.
pub const PATH: &str = "/.well-known/busel/edition";
/// The `Content-Type` of its snapshot.
pub const MEDIA_TYPE: &str = "application/vnd.busel.edition+cbor";
/// Files in an edition.
pub const MAX_ITEMS: usize = 4096;
/// Bytes of one, as its snapshot's body.
pub const MAX_BYTES: usize = 1 << 20;
/// Bytes of all its files together.
pub const MAX_FILES: u64 = 64 << 20;
/// Bytes of a title.
pub const MAX_TITLE: usize = 256;

/// Why bytes are no edition.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EditionError {
    /// Not the record.
    #[error(transparent)]
    Cbor(#[from] CborError),
    /// Of another version.
    #[error("an edition of version {0}, which this program does not know")]
    Version(u8),
    /// Too many files in it.
    #[error("it names {0} files, at most {MAX_ITEMS} are allowed")]
    TooMany(usize),
    /// The files in it are too long together.
    #[error("its files are longer than {MAX_FILES} bytes together")]
    TooLong,
    /// A file in it has no good address.
    #[error("it names what is no page: {0}")]
    Page(#[from] PageError),
    /// A title is too long.
    #[error("a title in it is too long")]
    Title,
}

/// An edition as it is written.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
struct Record {
    #[n(0)]
    v: u8,
    #[n(1)]
    made_at: UnixTime,
    #[n(2)]
    items: Vec<RecordItem>,
}

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
struct RecordItem {
    #[n(0)]
    url: String,
    #[n(1)]
    root: Hash,
    #[n(2)]
    len: u64,
    #[n(3)]
    title: Option<String>,
}

/// An edition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edition {
    /// When it was made.
    pub made_at: UnixTime,
    /// Its files, pages in the order of the publisher's feeds, what they need after them.
    pub items: Vec<Item>,
}

/// A file of an edition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// Where it is.
    pub url: PageUrl,
    /// The root of its body when the edition was made.
    pub root: Hash,
    /// Its length in bytes.
    pub len: u64,
    /// A page has one; what it needs does not.
    pub title: Option<String>,
}

/// Where the edition of a host is.
pub fn address(host: &HostName) -> Result<PageUrl, PageError> {
    PageUrl::parse(&format!("https://{host}{PATH}"))
}

/// Whether this is where an edition is, which is no page of the site's.
pub fn is_address(url: &PageUrl) -> bool {
    url.path_and_query() == PATH
}

impl Edition {
    /// As the body of its snapshot.
    pub fn to_bytes(&self) -> Vec<u8> {
        let items = self.items.iter().map(|item| RecordItem {
            url: item.url.as_str().to_owned(),
            root: item.root,
            len: item.len,
            title: item.title.clone(),
        });
        cbor::to_vec(&Record { v: 1, made_at: self.made_at, items: items.collect() })
    }

    /// Reads one.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, EditionError> {
        let record: Record = cbor::from_slice(bytes, MAX_BYTES)?;
        if record.v != 1 {
            return Err(EditionError::Version(record.v));
        }
        if record.items.len() > MAX_ITEMS {
            return Err(EditionError::TooMany(record.items.len()));
        }
        let sum = record.items.iter().try_fold(0u64, |sum, item| sum.checked_add(item.len));
        if sum.is_none_or(|sum| sum > MAX_FILES) {
            return Err(EditionError::TooLong);
        }
        let items = record.items.into_iter().map(|item| {
            if item.title.as_ref().is_some_and(|title| title.len() > MAX_TITLE) {
                return Err(EditionError::Title);
            }
            let url = PageUrl::parse(&item.url)?;
            Ok(Item { url, root: item.root, len: item.len, title: item.title })
        });
        Ok(Self { made_at: record.made_at, items: items.collect::<Result<_, _>>()? })
    }

    /// How many pages it has.
    pub fn pages(&self) -> usize {
        self.items.iter().filter(|item| item.title.is_some()).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edition() -> Edition {
        let url = |path| PageUrl::parse(&format!("https://news.example{path}")).unwrap();
        let page =
            Item {
                url: url("/a"), root: Hash::of(b"a"), len: 1, title: Some("Навіны".to_owned())
            };
        let part = Item { url: url("/a.css"), root: Hash::of(b"b"), len: 2, title: None };
        Edition { made_at: UnixTime(1_700_000_000), items: vec![page, part] }
    }

    #[test]
    fn it_is_read_as_it_was_written() {
        let edition = edition();
        assert_eq!(Edition::from_bytes(&edition.to_bytes()), Ok(edition.clone()));
        assert_eq!(edition.pages(), 1);
        let hex = data_encoding::HEXLOWER.encode(&edition.to_bytes());
        assert!(hex.starts_with("a3000101"), "{hex}");
    }

    #[test]
    fn what_is_none_is_told() {
        let edition = edition();
        let changed = |change: fn(&mut Record)| {
            let mut record: Record = cbor::from_slice(&edition.to_bytes(), MAX_BYTES).unwrap();
            change(&mut record);
            Edition::from_bytes(&cbor::to_vec(&record)).unwrap_err()
        };
        assert_eq!(changed(|it| it.v = 2), EditionError::Version(2));
        assert!(matches!(changed(|it| it.items[0].url = "ftp://a/".into()), EditionError::Page(_)));
        assert_eq!(changed(|it| it.items[0].len = MAX_FILES), EditionError::TooLong);
        assert_eq!(changed(|it| it.items[0].len = u64::MAX), EditionError::TooLong);
        assert_eq!(changed(|it| it.items[0].title = Some("x".repeat(300))), EditionError::Title);
        let many = |it: &mut Record| it.items = vec![it.items[1].clone(); MAX_ITEMS + 1];
        assert_eq!(changed(many), EditionError::TooMany(MAX_ITEMS + 1));
        assert!(matches!(Edition::from_bytes(b"x"), Err(EditionError::Cbor(_))));
        assert!(matches!(Edition::from_bytes(&vec![0; MAX_BYTES + 1]), Err(EditionError::Cbor(_))));
    }

    #[test]
    fn it_has_an_address_of_its_own() {
        let host = HostName::parse("news.example").unwrap();
        assert!(is_address(&address(&host).unwrap()));
        let other = PageUrl::parse("https://news.example/.well-known/busel/edition?x").unwrap();
        assert!(!is_address(&other));
    }
}
