//! A client of a reader's proxy that asks for many pages at once and compares every byte.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::HOST;

/// The files of a site by their path in a URL.
pub(crate) type Files = BTreeMap<String, Bytes>;

/// Connections at once.
const PARALLEL: usize = 8;

/// Reads a directory; links to directories are followed.
pub(crate) fn files(root: &Path) -> Files {
    let (mut files, mut dirs) = (Files::new(), vec![(root.to_owned(), String::new())]);
    while let Some((dir, url)) = dirs.pop() {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
            assert!(name.chars().all(plain), "{name} would have to be encoded");
            let url = format!("{url}/{name}");
            match path.is_dir() {
                true => dirs.push((path, url)),
                false => drop(files.insert(url, std::fs::read(path).unwrap().into())),
            }
        }
    }
    files
}

/// Fetches every file through a proxy; returns how many came by each route. Every byte must be
/// the file's.
pub(crate) async fn fetch_all(door: SocketAddr, files: &Files) -> BTreeMap<String, usize> {
    let left: VecDeque<(String, Bytes)> =
        files.iter().map(|(path, content)| (path.clone(), content.clone())).collect();
    let left = Arc::new(Mutex::new(left));
    let routes = Arc::<Mutex<BTreeMap<String, usize>>>::default();
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..PARALLEL {
        let (left, routes) = (left.clone(), routes.clone());
        clients.spawn(async move {
            let mut client = connect(door).await;
            let next = || left.lock().unwrap().pop_front();
            while let Some((path, content)) = next() {
                let (status, route, body) = get(&mut client, door, &path).await;
                let told = String::from_utf8_lossy(&body[..body.len().min(2000)]).into_owned();
                assert_eq!(status, StatusCode::OK, "{path} by {route}: {told}");
                assert!(body == content, "{path} by {route} is not the file: {} bytes", body.len());
                *routes.lock().unwrap().entry(route).or_default() += 1;
            }
        });
    }
    while let Some(done) = clients.join_next().await {
        done.unwrap();
    }
    let routes = routes.lock().unwrap();
    routes.clone()
}

pub(crate) type Client = SendRequest<Empty<Bytes>>;

pub(crate) async fn connect(door: SocketAddr) -> Client {
    let stream = TcpStream::connect(door).await.unwrap();
    let (client, connection) = handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    client
}

async fn get(client: &mut Client, door: SocketAddr, path: &str) -> (StatusCode, String, Bytes) {
    let url = format!("https://{HOST}{path}");
    let request = Request::get(&url).header(header::HOST, HOST).body(Empty::new()).unwrap();
    if client.ready().await.is_err() {
        *client = connect(door).await;
    }
    let response = client.send_request(request).await.unwrap();
    let status = response.status();
    let route = response.headers().get("busel-route");
    let route = route.map_or_else(String::new, |route| route.to_str().unwrap().to_owned());
    let body = response.into_body().collect().await;
    let body = body.unwrap_or_else(|error| panic!("{path} by {route} was cut: {error}"));
    (status, route, body.to_bytes())
}
