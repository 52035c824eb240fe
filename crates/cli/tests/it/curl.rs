//! `curl -x` with its usual options, through a reader's door, to a real web server and to one that
//! does odd things.

use std::collections::BTreeMap;

use bytes::Bytes;
use tempfile::TempDir;

use crate::support::door::{Client, connect};
use crate::support::origin::{ODD, Odd, PROMISED, SENT};
use crate::support::{HOST, Nginx, People, Reader, block_on, curl, noise, publish, put};

/// The length of the file that is served.
const LEN: usize = 300_000;

/// A reader who reaches a site of nginx's and the odd one directly.
struct Desk {
    dir: TempDir,
    nginx: Nginx,
    odd: Odd,
    reader: Reader,
    /// What the site's `/file.bin` holds, and what `/page.html` does.
    file: Vec<u8>,
    page: Vec<u8>,
}

impl Desk {
    fn set(gzip: bool) -> Self {
        let (dir, file, page) = site();
        let nginx = Nginx::start(&dir.path().join("site"), gzip);
        let odd = Odd::start();
        let flags = odd.flags();
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        let reader = Reader::beside(&nginx, &dir.path().join("reader"), &flags);
        Self { dir, nginx, odd, reader, file, page }
    }

    fn curl(&self, args: &[&str]) -> crate::support::Run {
        curl(self.reader.door, args)
    }

    fn odd(&self, path: &str) -> String {
        format!("http://{ODD}{path}")
    }
}

fn site() -> (TempDir, Vec<u8>, Vec<u8>) {
    let dir = tempfile::tempdir().unwrap();
    let (file, page) = (noise(LEN), "<p>All the news.</p>\n".repeat(2000).into_bytes());
    publish(dir.path(), "site/file.bin", &file);
    publish(dir.path(), "site/page.html", &page);
    publish(dir.path(), "site/index.html", "front");
    (dir, file, page)
}

fn plain(path: &str) -> String {
    format!("http://{HOST}{path}")
}

fn secure(path: &str) -> String {
    format!("https://{HOST}{path}")
}

/// The value of a field in what `-i`, `-I` or `-D` printed.
fn field<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| {
        let (at, value) = line.split_once(':')?;
        at.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

/// Asks for the same ranges in curl's three ways; `route` is how they must come.
fn ranges(reader: &Reader, file: &[u8], route: &str) {
    for (asked, range) in [
        ("0-99", 0..100),
        ("-100", LEN - 100..LEN),
        ("100-", 100..LEN),
        ("70000-170000", 70_000..170_001),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let heads = dir.path().join("heads");
        let heads = heads.to_str().unwrap();
        let run = curl(reader.door, &["-r", asked, "-D", heads, &plain("/file.bin")]).ok();
        let head = std::fs::read_to_string(heads).unwrap();
        assert!(head.starts_with("HTTP/1.1 206"), "{asked}: {head}");
        assert_eq!(field(&head, "busel-route"), Some(route), "{asked}");
        let told = format!("bytes {}-{}/{LEN}", range.start, range.end - 1);
        assert_eq!(field(&head, "content-range"), Some(told.as_str()), "{asked}");
        assert!(run.bytes == file[range], "{asked} by {route}: {} bytes", run.bytes.len());
    }
}

#[test]
fn ranges_are_the_bytes_asked_for_straight_from_the_site() {
    let desk = Desk::set(false);
    ranges(&desk.reader, &desk.file, "direct");
}

#[test]
fn ranges_are_the_bytes_asked_for_by_injector_and_from_the_own_copy() {
    let (dir, file, _) = site();
    let nginx = Nginx::start(&dir.path().join("site"), false);
    let people = People::around(&nginx);
    let reader = people.reader("reader", "quiet");
    ranges(&reader, &file, "injector");
    let whole = curl(reader.door, &[&plain("/file.bin")]).ok();
    assert!(whole.bytes == file);
    reader.keeps(1);
    ranges(&reader, &file, "local");
}

#[test]
fn a_range_beyond_the_end_is_refused_as_the_site_refuses_it() {
    let desk = Desk::set(false);
    let run =
        desk.curl(&["-r", "400000-", "-o", "/dev/null", "-w", "%{http_code}", &plain("/file.bin")]);
    assert_eq!(run.ok().out, "416");
}

#[test]
fn a_form_is_posted_once() {
    let desk = Desk::set(false);
    let run = desk.curl(&["-d", "name=value&other=2", &desk.odd("/form")]).ok();
    let hash = blake3::hash(b"name=value&other=2");
    assert_eq!(run.out, format!("POST length 18 {hash} -\n"));
    assert_eq!(desk.odd.asked(), 1);
}

#[test]
fn a_large_upload_arrives_whole() {
    let desk = Desk::set(false);
    let content = noise(50 << 20);
    let file = put(desk.dir.path(), "upload.bin", &content);
    let run = desk.curl(&["-T", file.to_str().unwrap(), &desk.odd("/upload")]).ok();
    let hash = blake3::hash(&content);
    assert_eq!(run.out, format!("PUT length {} {hash} -\n", content.len()));
    assert_eq!(desk.odd.asked(), 1);
}

#[test]
fn a_chunked_upload_arrives_whole() {
    let desk = Desk::set(false);
    let content = noise(3_000_000);
    let file = put(desk.dir.path(), "upload.bin", &content);
    let data = format!("@{}", file.display());
    let chunked = ["-H", "Transfer-Encoding: chunked", "--data-binary", &data];
    let run = desk.curl(&[&chunked[..], &[&desk.odd("/upload")]].concat()).ok();
    assert_eq!(run.out, format!("POST chunked 3000000 {} -\n", blake3::hash(&content)));
}

#[test]
fn curl_that_waits_for_100_continue_gets_it_at_once() {
    let desk = Desk::set(false);
    let content = noise(2_000_000);
    let file = put(desk.dir.path(), "upload.bin", &content);
    let data = format!("@{}", file.display());
    let run = desk.curl(&[
        "-v",
        "-H",
        "Expect: 100-continue",
        // Longer than the test may take: it would wait for so long without the 100.
        "--expect100-timeout",
        "1000",
        "--data-binary",
        &data,
        &desk.odd("/upload"),
    ]);
    let run = run.ok();
    assert!(run.err.contains("< HTTP/1.1 100 Continue"), "{}", run.err);
    assert_eq!(run.out, format!("POST length 2000000 {} -\n", blake3::hash(&content)));
}

#[test]
fn http_1_0_gets_the_page() {
    let desk = Desk::set(false);
    let run = desk.curl(&["-0", &plain("/file.bin")]).ok();
    assert!(run.bytes == desk.file);
    let run = desk.curl(&["-0", "-i", &plain("/page.html")]).ok();
    assert!(run.out.starts_with("HTTP/1.0 200") || run.out.starts_with("HTTP/1.1 200"));
    assert_eq!(field(&run.out, "transfer-encoding"), None);
}

#[test]
fn two_pages_come_on_one_connection() {
    let desk = Desk::set(false);
    let each = ["-o", "/dev/null", "-w", "%{num_connects}\n"];
    let run = desk.curl(
        &[&each[..], &[&plain("/page.html"), "-o", "/dev/null", &plain("/file.bin")]].concat(),
    );
    assert_eq!(run.ok().out, "1\n0\n");
}

#[test]
fn head_tells_the_length_and_sends_nothing() {
    let desk = Desk::set(false);
    let run = desk.curl(&["-I", &plain("/file.bin")]).ok();
    assert!(run.out.starts_with("HTTP/1.1 200"), "{}", run.out);
    assert_eq!(field(&run.out, "content-length"), Some("300000"));
    assert_eq!(field(&run.out, "busel-route"), Some("direct"));
}

#[test]
fn a_compressed_page_is_the_same_page() {
    let desk = Desk::set(true);
    let small = ["-o", "/dev/null", "-w", "%{size_download}"];
    for args in [&[][..], &["--compressed"]] {
        let run = desk.curl(&[args, &[&plain("/page.html")]].concat()).ok();
        assert!(run.bytes == desk.page, "{args:?}: {} bytes", run.bytes.len());
    }
    let run = desk.curl(&[&small[..], &["--compressed", &plain("/page.html")]].concat()).ok();
    assert!(run.out.parse::<usize>().unwrap() < desk.page.len() / 10, "{}", run.out);

    let people = People::around(&desk.nginx);
    let reader = people.reader("reader", "quiet");
    for (args, route) in [(&[][..], "injector"), (&["--compressed"], "local"), (&[], "local")] {
        let run = curl(reader.door, &[args, &["-i", &plain("/page.html")]].concat()).ok();
        assert_eq!(field(&run.out, "busel-route"), Some(route), "{args:?}");
        assert!(run.bytes.ends_with(&desk.page), "{args:?} by {route}");
        reader.keeps(1);
    }
    let run = curl(reader.door, &[&small[..], &["--compressed", &plain("/page.html")]].concat());
    assert!(run.ok().out.parse::<usize>().unwrap() < desk.page.len() / 10);
}

#[test]
fn https_goes_through_connect_with_the_sites_own_certificate() {
    let desk = Desk::set(false);
    let ca = desk.nginx.ca();
    let run = desk.curl(&["--cacert", ca.to_str().unwrap(), &secure("/file.bin")]).ok();
    assert!(run.bytes == desk.file);
    let run = desk.curl(&[&secure("/file.bin")]);
    assert_eq!(run.code, Some(60), "curl knows the certificate without being told: {}", run.err);
}

#[test]
fn connect_and_post_reach_a_blocked_site_through_the_injectors_tunnel() {
    let (dir, file, _) = site();
    let nginx = Nginx::start(&dir.path().join("site"), false);
    let people = People::around(&nginx);
    let reader = people.reader("reader", "quiet");
    let ca = nginx.ca();
    let run = curl(reader.door, &["--cacert", ca.to_str().unwrap(), &secure("/file.bin")]).ok();
    assert!(run.bytes == file);
    // nginx takes no form for a file, and says so: the POST came through.
    let run = curl(reader.door, &["-i", "-d", "a=b", &plain("/page.html")]).ok();
    assert!(run.out.starts_with("HTTP/1.1 405"), "{}", run.out);
    assert_eq!(field(&run.out, "busel-route"), Some("tunnel"));
}

#[test]
fn a_body_that_is_cut_is_an_error_to_curl() {
    let desk = Desk::set(false);
    for args in [&["/cut"][..], &["/cut-chunked"], &["/cut-chunked", "-0"], &["/cut", "-0"]] {
        let run = desk.curl(&[&[&*desk.odd(args[0])], &args[1..]].concat());
        // 18: the body is not whole; 56: reset; 52: the end came before the beginning had left.
        assert!(matches!(run.code, Some(18 | 56 | 52)), "{args:?}: {:?} {}", run.code, run.err);
        assert!(run.bytes.len() <= SENT && SENT < PROMISED);
    }
}

#[test]
fn an_error_is_a_problem_to_programs_and_a_page_to_browsers() {
    let desk = Desk::set(false);
    let nowhere = "http://nowhere.example/";
    let run = desk.curl(&["-i", nowhere]).ok();
    assert!(run.out.starts_with("HTTP/1.1 50"), "{}", run.out);
    assert_eq!(field(&run.out, "content-type"), Some("application/problem+json"));
    let problem = run.out.split("\r\n\r\n").nth(1).unwrap();
    let problem: serde_json::Value = serde_json::from_str(problem).unwrap();
    assert_eq!(problem["url"], nowhere);
    assert_eq!(problem["tried"][0]["route"], "direct");
    let run = desk.curl(&["-i", "-H", "Accept: text/html", nowhere]).ok();
    assert_eq!(field(&run.out, "content-type"), Some("text/html; charset=utf-8"));
    assert!(run.out.contains("<!doctype html>") && run.out.contains("Busel tried these ways"));
    let run = desk.curl(&["-f", nowhere]);
    assert_eq!(run.code, Some(22), "{}", run.err);
}

#[test]
fn a_head_of_64_kib_is_too_large() {
    let desk = Desk::set(false);
    let via = format!("Via: {}", "1.1 x, ".repeat(9600));
    assert!(via.len() > 65 * 1024);
    let code = ["-o", "/dev/null", "-w", "%{http_code}"];
    let run = desk.curl(&[&code[..], &["-H", &via, &plain("/page.html")]].concat()).ok();
    assert_eq!(run.out, "431");
    let run = desk.curl(&[&code[..], &["-H", &via[..40_000], &plain("/page.html")]].concat()).ok();
    assert_ne!(run.out, "431", "40 KiB are within the limit");
    assert!(desk.curl(&[&plain("/page.html")]).ok().bytes == desk.page, "the door is still open");
}

#[test]
fn three_hundred_transfers_of_one_curl_run_side_by_side() {
    let desk = Desk::set(false);
    let out = desk.dir.path().join("many");
    std::fs::create_dir(&out).unwrap();
    let to = format!("{}/#1", out.display());
    let run = desk.curl(&["-Z", "--parallel-max", "300", "-o", &to, &plain("/page.html?[1-600]")]);
    run.ok();
    let got = std::fs::read_dir(&out).unwrap().map(|entry| entry.unwrap().path());
    assert_eq!(got.filter(|path| std::fs::read(path).unwrap() == desk.page).count(), 600);
}

#[test]
fn two_thousand_five_hundred_programs_that_wait_at_the_door_are_all_served() {
    const MANY: usize = 2500;
    may_open(2 * MANY + 500);
    let desk = Desk::set(false);
    let served = block_on(async {
        // All connect before the first asks.
        let mut clients = Vec::with_capacity(MANY);
        for _ in 0..MANY {
            clients.push(connect(desk.reader.door).await);
        }
        all(clients.into_iter().map(|mut client| async move { front(&mut client).await })).await
    });
    assert_eq!(served, [("200 OK".to_owned(), MANY)].into());
}

#[test]
fn ten_thousand_programs_are_all_served() {
    const MANY: usize = 10_000;
    may_open(MANY + 500);
    let desk = Desk::set(false);
    let door = desk.reader.door;
    let served = block_on(all((0..MANY).map(|_| async move {
        let mut client = connect(door).await;
        front(&mut client).await
    })));
    assert_eq!(served, [("200 OK".to_owned(), MANY)].into());
}

/// Lets this process have so many files open.
fn may_open(files: usize) {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    let files = u64::try_from(files).unwrap();
    if soft < files {
        let told = "raise the limit of open files to run this test (ulimit -n)";
        setrlimit(Resource::RLIMIT_NOFILE, files, hard.max(files)).expect(told);
    }
}

/// Asks for the front page.
async fn front(client: &mut Client) -> Result<(http::StatusCode, Bytes), String> {
    let request = http::Request::get(plain("/index.html")).header("host", HOST);
    let request = request.body(http_body_util::Empty::new()).unwrap();
    let response = client.send_request(request).await.map_err(|e| e.to_string())?;
    let status = response.status();
    let body = http_body_util::BodyExt::collect(response.into_body()).await;
    Ok((status, body.map_err(|e| e.to_string())?.to_bytes()))
}

/// Runs all at once, and counts what they were told.
async fn all<F>(asking: impl Iterator<Item = F>) -> BTreeMap<String, usize>
where
    F: Future<Output = Result<(http::StatusCode, Bytes), String>> + Send + 'static,
{
    let mut asking: tokio::task::JoinSet<_> = asking.collect();
    let mut served = BTreeMap::<String, usize>::new();
    while let Some(answer) = asking.join_next().await {
        let told = match answer.unwrap() {
            Ok((status, body)) if body == "front" => status.to_string(),
            other => format!("{other:?}"),
        };
        *served.entry(told).or_default() += 1;
    }
    served
}
