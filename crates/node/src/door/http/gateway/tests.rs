//! Tests of the gateway: raw clients that say what browsers say, against a door with nothing real behind it.

use super::*;

/// The answer to a request for `path` of a host of this device, with these fields.
async fn ask(door: &HttpDoor, host: &str, path: &str, fields: &[&str]) -> String {
    let port = door.addr().port();
    let fields: String = fields.iter().map(|field| format!("{field}\r\n")).collect();
    let fields = fields.replace("PORT", &port.to_string());
    let head = format!("GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n");
    talk(door, format!("{head}{fields}\r\n")).await
}

const TYPED: &str = "Sec-Fetch-Site: none";
const CROSS: &str = "Sec-Fetch-Site: cross-site";
const DOCUMENT: &str = "Sec-Fetch-Dest: document";

#[tokio::test]
async fn a_site_is_asked_by_its_own_name() {
    let (door, fake) = door().await;
    let origin = "Origin: http://www-example.localhost:PORT";
    let fetched = "Sec-Fetch-Dest: empty";
    let asked = [TYPED, origin, fetched, "Cookie: c=d"];
    let out = ask(&door, "www-example.localhost", "/a?b", &asked).await;
    assert!(out.starts_with("HTTP/1.1 200") && out.ends_with("hello /a?b"), "{out}");
    assert!(out.contains("content-security-policy: default-src http://*.localhost:"), "{out}");
    let (_, url, headers) = fake.last();
    assert_eq!(url, "https://www.example/a?b");
    assert_eq!(headers["origin"], "https://www.example");
    assert_eq!(headers["cookie"], "c=d");
    assert!(!headers.contains_key("host"));
    ask(&door, "http-8080---www-example.localhost", "/", &[TYPED]).await;
    assert_eq!(fake.last().1, "http://www.example:8080/");
}

#[tokio::test]
async fn pages_elsewhere_learn_nothing_and_lead_only_to_a_question() {
    let (door, fake) = door().await;
    let spy = "Referer: https://spy.example/";
    let image = "Sec-Fetch-Dest: image";
    for fields in [&[CROSS, spy, image][..], &[CROSS, image], &[], &[DOCUMENT]] {
        let out = ask(&door, "www-example.localhost", "/a", fields).await;
        assert!(out.starts_with("HTTP/1.1 403 "), "{fields:?}: {out}");
    }
    let out =
        ask(&door, "www-example.localhost", "//spy.example/a'", &[CROSS, spy, DOCUMENT]).await;
    let here = format!("http://www-example.localhost:{}//spy.example/a&#39;", door.addr().port());
    assert!(out.contains(&format!("href=\"{here}\"")), "{out}");
    assert!(out.contains("https://www.example//spy.example/a"), "{out}");
    let script = ask(&door, "www-example.localhost", "/.busel/page.js", &[CROSS, spy]).await;
    assert!(script.starts_with("HTTP/1.1 403 "), "{script}");
    let worker = ["Sec-Fetch-Site: same-origin", "Service-Worker: script"];
    let out = ask(&door, "www-example.localhost", "/a", &worker).await;
    assert!(out.starts_with("HTTP/1.1 403 "), "{out}");
    assert!(fake.seen.lock().unwrap().is_empty());
    let own = "Referer: http://other-example.localhost:PORT/";
    let out = ask(&door, "www-example.localhost", "/a", &[CROSS, image, own]).await;
    assert!(out.starts_with("HTTP/1.1 200 "), "{out}");
}

#[tokio::test]
async fn another_protocol_is_asked_of_the_site_by_its_own_name() {
    let (door, fake) = door().await;
    // As Chromium does: without a word on where it comes from but the origin.
    let own = "Origin: http://www-example.localhost:PORT";
    let socket = ["Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Key: x"];
    let asked = [&[own][..], &socket].concat();
    ask(&door, "www-example.localhost", "/chat", &asked).await;
    let (_, asked_for, headers) = fake.last();
    assert_eq!(asked_for, "www.example:443/chat");
    assert_eq!(headers["host"], "www.example");
    assert_eq!(headers["origin"], "https://www.example");
    assert_eq!(headers["upgrade"], "websocket");
    let spy = [&["Origin: https://spy.example"][..], &socket].concat();
    let out = ask(&door, "www-example.localhost", "/chat", &spy).await;
    assert!(out.starts_with("HTTP/1.1 403 ") && fake.seen.lock().unwrap().len() == 1, "{out}");
    let plain = [&["Origin: http://http---www-example.localhost:PORT"][..], &socket].concat();
    let out = ask(&door, "http---www-example.localhost", "/chat", &plain).await;
    assert!(out.starts_with("HTTP/1.1 501 "), "{out}");
}

#[tokio::test]
async fn names_of_nobody_are_told_so() {
    let (door, fake) = door().await;
    for host in ["rebound.example", "www.example.localhost", "router.localhost"] {
        let out = ask(&door, host, "/", &[TYPED]).await;
        assert!(out.starts_with("HTTP/1.1 421 "), "{host}: {out}");
    }
    assert!(fake.seen.lock().unwrap().is_empty());
}

#[tokio::test]
async fn what_the_reader_types_leads_to_where_it_stands() {
    let (door, fake) = door().await;
    let port = door.addr().port();
    for (path, to) in [
        ("/open?url=www.example%2Fa%3Fb", "www-example.localhost:PORT/a?b"),
        ("/open?url=http%3A%2F%2Fwww.example", "http---www-example.localhost:PORT/"),
        ("/https://www.example/a?b", "www-example.localhost:PORT/a?b"),
    ] {
        let out = ask(&door, "localhost", path, &[TYPED]).await;
        let to = format!("location: http://{}\r\n", to.replace("PORT", &port.to_string()));
        assert!(out.starts_with("HTTP/1.1 303 ") && out.contains(&to), "{path}: {out}");
    }
    for (path, status) in [
        ("/open", 400),
        ("/open?url=ftp%3A%2F%2Fwww.example%2F", 400),
        ("/open?url=192.168.1.1", 404),
        ("/https://aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.bbbbbbbbbbbbbbbbbbbbbbbbb/", 404),
    ] {
        let out = ask(&door, "localhost", path, &[TYPED]).await;
        assert!(out.starts_with(&format!("HTTP/1.1 {status} ")), "{path}: {out}");
    }
    assert!(fake.seen.lock().unwrap().is_empty());
    let out = ask(&door, "localhost", "/", &[TYPED]).await;
    assert!(out.contains("<form action=\"/open\">"), "{out}");
}

#[tokio::test]
async fn pages_are_changed_and_say_how_old_they_are() {
    let (door, _) = door().await;
    let port = door.addr().port().to_string();
    let out = ask(&door, "www-example.localhost", "/page", &[TYPED, DOCUMENT]).await;
    let (head, page) = out.split_once("\r\n\r\n").unwrap();
    assert!(!head.contains("content-encoding") && !head.contains("content-length"), "{head}");
    let (script, rest) = page.split_once("</script>").unwrap();
    assert!(script.contains("<script src=\"/.busel/page.js\" nonce=\""), "{page}");
    assert!(script.ends_with(" data-site=\"www.example\" data-age=\"7\">"), "{page}");
    assert!(head.contains("vary: sec-fetch-dest"), "{head}");
    let link = "<a href=\"http://cdn-example.localhost:PORT/\">".replace("PORT", &port);
    assert!(rest.starts_with(&link), "{page}");
    // What a script asks for is no page that is shown.
    let fetched = [TYPED, "Sec-Fetch-Dest: empty"];
    let fragment = ask(&door, "www-example.localhost", "/page", &fetched).await;
    assert!(fragment.contains(&link) && !fragment.contains("<script"), "{fragment}");
    assert!(fragment.contains("vary: sec-fetch-dest"), "{fragment}");
    for (path, status) in [("/unnamed", 200), ("/packed", 502), ("/wide", 502)] {
        let out = ask(&door, "www-example.localhost", path, &[TYPED, DOCUMENT]).await;
        assert!(out.starts_with(&format!("HTTP/1.1 {status} ")), "{path}: {out}");
        assert!(!out.contains("href='https://cdn.example/'"), "{path}: {out}");
    }
    let style = ask(&door, "www-example.localhost", "/style", &[TYPED]).await;
    let own = format!("url(\"http://cdn-example.localhost:{port}/\")");
    assert!(style.contains(&own) && style.contains("text/css; charset=utf-8"), "{style}");
    assert!(style.contains("навіны"), "{style}");
    let script = ask(&door, "www-example.localhost", "/.busel/page.js", &[TYPED]).await;
    assert!(script.starts_with("HTTP/1.1 200 ") && script.contains("text/javascript"), "{script}");
}
