//! Whatever serves HTTP and stays up for the whole run: the origin itself, squid, tinyproxy, and
//! Busel's door by the routes Local and Direct.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context, Result, bail};
use busel_net::relay::Identity;
use busel_proto::page::HostName;

use super::{Entry, Sample, Subject, World, busel, entry, own_dir};
use crate::child::{Owned, Proc, free_port};
use crate::invites::{PRIVATE, PUBLIC};
use crate::load::Server;
use crate::role::{Ask, Reply};
use crate::work::{KIB, LONG, Work};

/// All of them.
pub(crate) fn entries() -> Vec<Entry> {
    let same = |work: Work| matches!(work, Work::Same { .. } | Work::Long);
    let both = |work: Work| matches!(work, Work::Same { .. } | Work::New { .. } | Work::Long);
    let tls = |work: Work| matches!(work, Work::SameTls { .. });
    vec![
        entry("nginx", "straight", both, |world| boxed(straight(world))),
        entry("nginx", "straight, HTTPS", tls, |world| boxed(straight_tls(world))),
        entry("squid", "forward, no cache", both, |world| boxed(squid(world, false))),
        entry("squid", "memory hit", same, |world| boxed(squid(world, true))),
        entry("tinyproxy", "forward", same, |world| boxed(tinyproxy(world))),
        entry("busel", "Local", same, |world| boxed(local(world))),
        entry("busel", "Local, by its own authority", tls, |world| boxed(local_tls(world))),
        entry("busel", "Direct, private", both, |world| boxed(direct(world, PRIVATE))),
        entry("busel", "Direct, public", both, |world| boxed(direct(world, PUBLIC))),
    ]
}

/// A server and the process behind it.
struct Http {
    server: Server,
    pid: u32,
    _process: Option<Process>,
}

enum Process {
    Other { _it: Owned },
    Node { _it: Box<Proc> },
}

impl Subject for Http {
    fn sample(&mut self, world: &World, work: Work) -> Result<Sample> {
        match work {
            Work::Same { .. } => world.same(&self.server, work, &[self.pid]),
            Work::SameTls { len } => {
                let path = Work::path(len, "hot");
                world.each(&self.server, vec![path; work.count(world.quick)], work, &[self.pid])
            }
            Work::New { len, .. } => {
                let paths = world.new_paths(len, work.count(world.quick));
                world.each(&self.server, paths, work, &[self.pid])
            }
            Work::Long => {
                let paths = vec![Work::path(LONG, "hot")];
                world.each(&self.server, paths, work, &[self.pid])
            }
            _ => bail!("no such work"),
        }
    }
}

fn boxed(it: Result<Http>) -> Result<Box<dyn Subject>> {
    Ok(Box::new(it?))
}

/// nginx with one file for each length, whatever comes behind it in the path.
pub(crate) fn origin(dir: &Path, site: &Path, addr: SocketAddr, tls: &str) -> Result<Owned> {
    let locations: String = ["1k", "100k", "1m", "100m", "400m"]
        .map(|name| format!("location /{name}/ {{ try_files /{name} =404; }}\n"))
        .concat();
    let site = site.display();
    let server = format!("root {site}; add_header Cache-Control max-age=86400;\n{locations}");
    nginx(dir, addr, tls, &server)
}

/// nginx in one process with one server. `tls` is ` ssl` and what belongs to that, or nothing.
pub(crate) fn nginx(dir: &Path, addr: SocketAddr, tls: &str, server: &str) -> Result<Owned> {
    let user = if is_root()? { "user root;" } else { "" };
    let temp = dir.display();
    let config = format!(
        "{user} daemon off; master_process off; worker_processes 1; pid {temp}/nginx.pid;\n\
         error_log /dev/null; events {{ worker_connections 1024; }}\n\
         http {{ access_log off; sendfile on; tcp_nopush on; open_file_cache max=100;\n\
         keepalive_requests 100000000; default_type application/octet-stream;\n\
         client_body_temp_path {temp}/nb; proxy_temp_path {temp}/np;\n\
         fastcgi_temp_path {temp}/nf; uwsgi_temp_path {temp}/nu; scgi_temp_path {temp}/ns;\n\
         server {{ listen {addr}{tls}; {server} }} }}\n",
    );
    let file = dir.join("nginx.conf");
    fs::write(&file, config)?;
    let file = file.to_str().context("a path in UTF-8")?;
    Owned::start("nginx", "nginx-light", &["-c", file, "-e", "/dev/null"], addr)
}

fn straight(world: &World) -> Result<Http> {
    let server = Server {
        addr: world.origin,
        site: format!("http://{}", world.origin),
        root: None,
        proxy: false,
        closes: false,
        route: None,
    };
    Ok(Http { server, pid: world.nginx.pid(), _process: None })
}

/// The origin once more, by HTTPS.
fn straight_tls(world: &World) -> Result<Http> {
    let dir = own_dir(world, "origin-tls")?;
    let (tls, root) = certified(&dir, PUBLIC)?;
    let addr = SocketAddr::from(([127, 0, 0, 1], free_port()?));
    let process = origin(&dir, &world.dir.join("site"), addr, &tls)?;
    let site = format!("https://{PUBLIC}");
    let server = Server { addr, site, root: Some(root), proxy: false, closes: false, route: None };
    Ok(Http { server, pid: process.pid(), _process: Some(Process::Other { _it: process }) })
}

/// A certificate for a host: what nginx is told of it, and itself.
pub(crate) fn certified(dir: &Path, host: &str) -> Result<(String, String)> {
    let identity = Identity::generate(&HostName::parse(host)?)?;
    let (cert, key) = (dir.join("cert.pem"), dir.join("key.pem"));
    fs::write(&cert, &identity.cert)?;
    fs::write(&key, identity.key)?;
    let (cert, key) = (cert.display(), key.display());
    Ok((format!(" ssl; ssl_certificate {cert}; ssl_certificate_key {key}"), identity.cert))
}

fn proxy(world: &World, addr: SocketAddr, process: Owned) -> Http {
    let site = format!("http://{}", world.origin);
    let server = Server { addr, site, root: None, proxy: true, closes: false, route: None };
    Http { server, pid: process.pid(), _process: Some(Process::Other { _it: process }) }
}

/// squid in one process; with a cache in memory alone, or with none.
fn squid(world: &World, cache: bool) -> Result<Http> {
    let dir = own_dir(world, if cache { "squid-hit" } else { "squid" })?;
    let addr = SocketAddr::from(([127, 0, 0, 1], free_port()?));
    let user = if is_root()? { "cache_effective_user proxy" } else { "" };
    let caching = match cache {
        true => {
            "cache_mem 512 MB\nmaximum_object_size 200 MB\n\
                 maximum_object_size_in_memory 200 MB"
        }
        false => "cache deny all",
    };
    let config = format!(
        "http_port {addr}\n{user}\n{caching}\nhttp_access allow all\naccess_log none\n\
         cache_log /dev/null\ncache_store_log none\npid_filename none\nnetdb_filename none\n\
         pinger_enable off\nshutdown_lifetime 0 seconds\ncoredump_dir {0}\n\
         max_filedescriptors 4096\ndns_nameservers 127.0.0.1\n",
        dir.display()
    );
    let file = dir.join("squid.conf");
    fs::write(&file, config)?;
    let file = file.to_str().context("a path in UTF-8")?;
    let process = Owned::start("squid", "squid", &["-N", "-f", file], addr)?;
    Ok(proxy(world, addr, process))
}

fn tinyproxy(world: &World) -> Result<Http> {
    let dir = own_dir(world, "tinyproxy")?;
    let addr = SocketAddr::from(([127, 0, 0, 1], free_port()?));
    let config = format!(
        "Port {}\nListen 127.0.0.1\nMaxClients 256\nTimeout 60\nAllow 127.0.0.1\n\
         LogLevel Critical\nLogFile \"/dev/null\"\nDisableViaHeader Yes\n",
        addr.port()
    );
    let file = dir.join("tinyproxy.conf");
    fs::write(&file, config)?;
    let file = file.to_str().context("a path in UTF-8")?;
    let process = Owned::start("tinyproxy", "tinyproxy", &["-d", "-c", file], addr)?;
    let mut it = proxy(world, addr, process);
    it.server.closes = true;
    Ok(it)
}

/// A reader that has fresh copies of all that will be asked for.
fn local(world: &World) -> Result<Http> {
    let mut node = busel::reader(world, "local", &[], |_| {})?;
    for len in [KIB, 100 * KIB, LONG] {
        node.ask(&Ask::Seed { paths: vec![Work::path(len, "hot")], len, tls: false })?;
    }
    door(node, PUBLIC, "local")
}

/// The same for a browser that believes the node's own authority.
fn local_tls(world: &World) -> Result<Http> {
    let mut node = busel::reader(world, "local-tls", &[], |_| {})?;
    for len in [KIB, 100 * KIB] {
        node.ask(&Ask::Seed { paths: vec![Work::path(len, "hot")], len, tls: true })?;
    }
    let Reply::Vouches(root) = node.ask(&Ask::Vouch)? else { bail!("it vouches for nothing") };
    let mut http = door(node, PUBLIC, "local")?;
    http.server.site = format!("https://{PUBLIC}");
    http.server.root = Some(root);
    Ok(http)
}

/// A reader that may ask the site itself.
fn direct(world: &World, host: &str) -> Result<Http> {
    let node = busel::reader(world, &format!("direct-{host}"), &[], |c| c.direct = true)?;
    door(node, host, "direct")
}

fn door(node: Proc, host: &str, route: &'static str) -> Result<Http> {
    let server = busel::door(&node, host, route)?;
    Ok(Http { server, pid: node.pid(), _process: Some(Process::Node { _it: Box::new(node) }) })
}

fn is_root() -> Result<bool> {
    use std::os::unix::fs::MetadataExt;
    Ok(fs::metadata("/proc/self").context("no /proc")?.uid() == 0)
}
