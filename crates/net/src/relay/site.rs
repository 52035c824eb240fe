//! The web site in front of a relay: files of a directory, read once at the start, or one page.
//!
//! Small and boring on purpose. An operator who has a real site puts it into the directory.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};

/// The most bytes of files that are held.
const MAX_TOTAL: u64 = 64 * 1024 * 1024;
/// The deepest directory that is read.
const MAX_DEPTH: usize = 16;

const PAGE: &str = "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
<title>Welcome</title>\n</head>\n<body>\n<h1>Welcome</h1>\n<p>This site is being set up.</p>\n\
</body>\n</html>\n";
const MISSING: &str = "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
<title>Not found</title>\n</head>\n<body>\n<h1>Not found</h1>\n</body>\n</html>\n";

/// The pages, by path.
#[derive(Debug)]
pub(super) struct Site(BTreeMap<String, (Bytes, &'static str)>);

impl Site {
    /// Reads all files of `dir`, or takes the built-in page. Links out of it are not followed.
    pub(super) async fn load(dir: Option<&Path>) -> io::Result<Self> {
        let Some(dir) = dir.map(Path::to_owned) else {
            let page = (Bytes::from_static(PAGE.as_bytes()), "text/html; charset=utf-8");
            return Ok(Self(BTreeMap::from([("/".to_owned(), page)])));
        };
        tokio::task::spawn_blocking(move || read_dir(&dir)).await.map_err(io::Error::other)?
    }

    /// Answers a request of anyone.
    pub(super) fn answer<B>(&self, request: &Request<B>) -> Response<Bytes> {
        if request.method() != Method::GET && request.method() != Method::HEAD {
            let mut response = self.not_found();
            *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
            return response;
        }
        match self.0.get(request.uri().path()) {
            Some((body, kind)) => page(StatusCode::OK, body.clone(), kind),
            None => self.not_found(),
        }
    }

    /// The answer for what is not there.
    pub(super) fn not_found(&self) -> Response<Bytes> {
        let body = Bytes::from_static(MISSING.as_bytes());
        page(StatusCode::NOT_FOUND, body, "text/html; charset=utf-8")
    }
}

/// An error page that says no more than its status.
pub(super) fn error(status: StatusCode) -> Response<Bytes> {
    let told = status.canonical_reason().unwrap_or("Error");
    let text = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <title>{told}</title>\n</head>\n<body>\n<h1>{told}</h1>\n</body>\n</html>\n"
    );
    page(status, text.into(), "text/html; charset=utf-8")
}

fn page(status: StatusCode, body: Bytes, kind: &'static str) -> Response<Bytes> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

fn read_dir(root: &Path) -> io::Result<Site> {
    let mut pages = BTreeMap::new();
    let mut total = 0;
    let mut todo: Vec<(PathBuf, String)> = vec![(root.to_owned(), "/".to_owned())];
    while let Some((dir, path)) = todo.pop() {
        for entry in std::fs::read_dir(&dir)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let kind = entry.file_type()?;
            if kind.is_dir() && path.matches('/').count() < MAX_DEPTH {
                todo.push((entry.path(), format!("{path}{name}/")));
            } else if kind.is_file() {
                total += entry.metadata()?.len();
                if total > MAX_TOTAL {
                    return Err(io::Error::other(format!("more than {MAX_TOTAL} bytes")));
                }
                let body = (Bytes::from(std::fs::read(entry.path())?), content_type(&name));
                if name == "index.html" {
                    pages.insert(path.clone(), body.clone());
                }
                pages.insert(format!("{path}{name}"), body);
            }
        }
    }
    Ok(Site(pages))
}

fn content_type(name: &str) -> &'static str {
    match name.rsplit('.').next().unwrap_or_default() {
        "html" | "htm" => "text/html; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "js" => "text/javascript; charset=utf-8",
        "txt" => "text/plain; charset=utf-8",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "webp" => "image/webp",
        "ico" => "image/x-icon",
        "woff2" => "font/woff2",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get(site: &Site, path: &str) -> StatusCode {
        site.answer(&Request::get(path).body(()).unwrap()).status()
    }

    #[tokio::test]
    async fn files_of_a_directory_are_served_and_nothing_outside_it() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("a")).unwrap();
        std::fs::write(dir.path().join("a/index.html"), "hello").unwrap();
        std::os::unix::fs::symlink("/etc/passwd", dir.path().join("leak")).unwrap();
        let site = Site::load(Some(dir.path())).await.unwrap();
        assert_eq!(get(&site, "/a/"), StatusCode::OK);
        assert_eq!(get(&site, "/a/index.html"), StatusCode::OK);
        assert_eq!(get(&site, "/leak"), StatusCode::NOT_FOUND);
        assert_eq!(get(&site, "/a/../leak"), StatusCode::NOT_FOUND);
    }

    #[tokio::test]
    async fn without_a_directory_there_is_one_page() {
        let site = Site::load(None).await.unwrap();
        assert_eq!(get(&site, "/"), StatusCode::OK);
        assert_eq!(get(&site, "/relay"), StatusCode::NOT_FOUND);
    }
}
