//! A real web server with a certificate of its own, on free ports of loopback.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use super::{Program, put, tool};

/// The site's name.
pub(crate) const HOST: &str = "docs.example";

/// nginx as one process, so that killing it leaves nothing behind.
pub(crate) struct Nginx {
    program: Program,
    dir: TempDir,
    pub(crate) https: SocketAddr,
    pub(crate) http: SocketAddr,
}

impl Nginx {
    /// Serves the files of `root`.
    pub(crate) fn start(root: &Path, gzip: bool) -> Self {
        let nginx = tool("/usr/sbin/nginx", "nginx-light");
        let dir = tempfile::tempdir().unwrap();
        let made = rcgen::generate_simple_self_signed(vec![HOST.to_owned()]).unwrap();
        put(dir.path(), "ca.pem", made.cert.pem());
        put(dir.path(), "key.pem", made.signing_key.serialize_pem());
        // Another program may take a port between our look and nginx's.
        for _ in 0..10 {
            let (https, http) = (free(), free());
            let conf = put(dir.path(), "nginx.conf", config(dir.path(), root, https, http, gzip));
            let mut command = Command::new(&nginx);
            command.arg("-p").arg(dir.path()).arg("-e").arg("stderr").arg("-c").arg(conf);
            let program = Program::start(&mut command);
            // Said once the ports are bound.
            let up = program.find(|line| line.contains("event method").then_some(()));
            if up.is_some() {
                return Self { program, dir, https, http };
            }
            let said = program.said().join("\n");
            assert!(said.contains("Address already in use"), "nginx does not start: {said}");
        }
        panic!("no free port for nginx");
    }

    /// The file that holds its certificate.
    pub(crate) fn ca(&self) -> PathBuf {
        self.dir.path().join("ca.pem")
    }

    /// Cuts the site off.
    pub(crate) fn stop(&mut self) {
        self.program.kill();
    }

    /// The flags by which a node finds the site here.
    pub(crate) fn flags(&self) -> Vec<String> {
        vec![
            "--connect-to".into(),
            format!("{HOST}:443:{}", self.https),
            "--connect-to".into(),
            format!("{HOST}:80:{}", self.http),
            "--allow-net".into(),
            "127.0.0.0/8".into(),
            "--extra-ca".into(),
            self.ca().to_str().unwrap().to_owned(),
        ]
    }
}

fn free() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

fn config(dir: &Path, root: &Path, https: SocketAddr, http: SocketAddr, gzip: bool) -> String {
    let (dir, root) = (dir.display(), root.display());
    let gzip = match gzip {
        true => "gzip on; gzip_types *; gzip_vary on; gzip_proxied any;",
        false => "gzip off;",
    };
    format!(
        "daemon off; master_process off; pid {dir}/pid; error_log stderr notice;\n\
         events {{ worker_connections 8192; }}\n\
         http {{\n\
           include /etc/nginx/mime.types; default_type application/octet-stream;\n\
           access_log off; sendfile on; {gzip}\n\
           client_body_temp_path {dir}/1; proxy_temp_path {dir}/2; fastcgi_temp_path {dir}/3;\n\
           uwsgi_temp_path {dir}/4; scgi_temp_path {dir}/5;\n\
           server {{\n\
             listen {https} ssl http2 backlog=4096; listen {http} backlog=4096;\n\
             server_name {HOST}; root {root};\n\
             ssl_certificate {dir}/ca.pem; ssl_certificate_key {dir}/key.pem;\n\
           }}\n\
         }}\n"
    )
}
