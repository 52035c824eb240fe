//! A real web server in a host: the pages of its sites over HTTP and HTTPS (HTTP/1.1 and HTTP/2), on
//! IPv4 and IPv6. No HTTP/3, since Debian's has none.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

use super::page::pages;
use super::{Ca, body};
use crate::world::{Host, Running};

/// What a site has below `/app/` is made by a server on this port, if one runs there …
pub(super) const APP: u16 = 8000;
/// … and its chat, a WebSocket at `/app/chat`, by one on this.
pub(super) const CHAT: u16 = 8001;
/// How long it may take to start, on a machine that is busy with other worlds.
const PATIENCE: Duration = Duration::from_secs(30);

/// A running web server; it ends when this is dropped.
pub struct Nginx {
    running: Running,
    host: Host,
}

impl Nginx {
    /// Starts it with the pages of these sites. The first is also shown to who asks for another.
    pub fn start(host: &Host, ca: &Ca, sites: &[&str]) -> anyhow::Result<Self> {
        let dir = host.dir().join("nginx");
        let certified = ca.certify(sites)?;
        for site in sites {
            write_pages(&dir.join(site), site)?;
        }
        fs::write(dir.join("cert.pem"), certified.certificate)?;
        fs::write(dir.join("key.pem"), certified.key)?;
        fs::write(dir.join("nginx.conf"), config(&dir, sites))?;
        let running = host
            .command("nginx")
            .args(["-c", "nginx.conf", "-e", "stderr", "-p"])
            .arg(&dir)
            .spawn()
            .context("nginx")?;
        Ok(Self { running, host: host.clone() })
    }

    /// Waits until it takes connections.
    pub fn ready(&mut self) -> anyhow::Result<()> {
        let until = Instant::now() + PATIENCE;
        loop {
            let open = self.host.enter(|| std::net::TcpStream::connect(("127.0.0.1", 443)).is_ok());
            if open {
                return Ok(());
            }
            if let Some(status) = self.running.wait(Duration::from_millis(5))? {
                bail!("nginx ended ({status}):\n{}", self.running.stderr()?);
            }
            if Instant::now() > until {
                bail!("nginx does not start");
            }
        }
    }

    /// Where the files of a site are.
    pub(crate) fn root(&self, site: &str) -> PathBuf {
        self.host.dir().join("nginx").join(site)
    }

    /// Each request that was made so far: address, site and path.
    pub fn requests(&self) -> anyhow::Result<Vec<String>> {
        let log = fs::read_to_string(self.host.dir().join("nginx/access.log"))?;
        Ok(log.lines().map(ToOwned::to_owned).collect())
    }
}

fn write_pages(dir: &Path, site: &str) -> anyhow::Result<()> {
    fs::create_dir_all(dir)?;
    for (path, _) in pages() {
        let file = if path == "/" { "index" } else { &path[1..] };
        fs::write(dir.join(file), body(site, &path).expect("one of the pages"))?;
    }
    Ok(())
}

fn config(dir: &Path, sites: &[&str]) -> String {
    let mut text = format!(
        "daemon off; master_process off; user root; pid nginx.pid;\n\
         events {{}}\n\
         http {{\n\
           log_format short '$remote_addr $host $request_uri';\n\
           access_log access.log short;\n\
           keepalive_timeout 2s;\n\
           types {{ text/css css; text/javascript js; image/png png; image/bmp bmp; font/ttf ttf; video/webm webm; }}\n\
           default_type text/html; sendfile on; tcp_nopush on; index index;\n\
           add_header Cache-Control 'public, max-age=600';\n\
           client_body_temp_path tmp-body; proxy_temp_path tmp-proxy;\n\
           fastcgi_temp_path tmp-fastcgi; uwsgi_temp_path tmp-uwsgi; scgi_temp_path tmp-scgi;\n\
           ssl_certificate {dir}/cert.pem; ssl_certificate_key {dir}/key.pem;\n\
           ssl_protocols TLSv1.2 TLSv1.3;\n",
        dir = dir.display()
    );
    for site in sites {
        writeln!(
            text,
            "server {{ listen 80; listen [::]:80; listen 443 ssl http2; listen [::]:443 ssl http2;\n\
             server_name {site}; root {}/{site};\n\
             location /app/ {{ proxy_pass http://127.0.0.1:{APP}; proxy_buffering off; }}\n\
             location /app/chat {{ proxy_pass http://127.0.0.1:{CHAT}; proxy_http_version 1.1;\n\
               proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection upgrade; }} }}",
            dir.display()
        )
        .expect("a String takes all");
    }
    text + "}\n"
}
