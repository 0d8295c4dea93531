//! Redis by TLS as a managed one does it: a CA of its own has signed a certificate that has the address in its common name alone.

use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use platform::{
    domain::{LimitKind, Verdict},
    seats::{LimitSettings, Limiter, RedisLink, RedisSettings},
};
use testkit::{eventually, free_port};

/// A server of TLS alone, a cluster of one, and the certificates of its CA and of another one.
struct Server {
    folder: PathBuf,
    port: u16,
    process: Child,
}

impl Server {
    async fn start() -> Self {
        let port = free_port();
        let folder = std::env::temp_dir().join(format!("coditect-redis-tls-{port}"));
        std::fs::create_dir_all(&folder).unwrap();
        for name in ["ours", "other"] {
            let subject = format!("/CN={name}");
            openssl(
                &folder,
                &["req", "-x509", "-days", "2", "-subj", &subject, "-keyout", &format!("{name}.key"), "-out", &format!("{name}.pem")],
            );
        }
        openssl(&folder, &["req", "-subj", "/CN=10.20.1.3", "-keyout", "server.key", "-out", "server.csr"]);
        std::fs::write(folder.join("extensions"), "basicConstraints = CA:FALSE\n").unwrap();
        let signed = ["x509", "-req", "-days", "2", "-in", "server.csr", "-CA", "ours.pem", "-CAkey", "ours.key", "-extfile", "extensions"];
        openssl(&folder, &[&signed[..], &["-out", "server.pem"]].concat());

        let mut server = Command::new("redis-server");
        server.args(["--port", "0", "--tls-port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--tls-auth-clients", "no"]);
        server.args(["--tls-cert-file", "server.pem", "--tls-key-file", "server.key", "--tls-ca-cert-file", "ours.pem"]);
        server.args(["--cluster-enabled", "yes", "--tls-cluster", "yes", "--cluster-port", &free_port().to_string()]);
        let process = server.current_dir(&folder).stdout(Stdio::null()).spawn().unwrap();
        let server = Self { folder, port, process };
        server.until_it_answers("OK", &["CLUSTER", "ADDSLOTSRANGE", "0", "16383"]).await;
        server.until_it_answers("cluster_state:ok", &["CLUSTER", "INFO"]).await;
        server
    }

    async fn until_it_answers(&self, answer: &str, command: &[&str]) {
        let answers = async || {
            let mut client = Command::new("redis-cli");
            client.args(["--tls", "--cacert", "ours.pem", "-h", "127.0.0.1", "-p", &self.port.to_string()]).args(command);
            let output = client.current_dir(&self.folder).output().unwrap();
            String::from_utf8_lossy(&output.stdout).contains(answer)
        };
        eventually(&format!("redis-server answers {command:?} with {answer}"), answers).await;
    }

    /// As the only server, and as a node of a cluster.
    fn urls(&self) -> [String; 2] {
        let url = format!("rediss://127.0.0.1:{}", self.port);
        [url.clone(), format!("{url},{url}")]
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn openssl(folder: &Path, arguments: &[&str]) {
    let new_key: &[&str] = if arguments[0] == "req" { &["-newkey", "rsa:2048", "-nodes"] } else { &[] };
    let output = Command::new("openssl").args(arguments).args(new_key).current_dir(folder).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn link(url: &str, redis_ca_file: Option<PathBuf>) -> redis::RedisResult<RedisLink> {
    RedisLink::new(&RedisSettings { redis_ca_file, ..testkit::redis_settings_of(url) })
}

async fn is_reached(url: &str, redis_ca_file: Option<PathBuf>) -> bool {
    let limits = LimitSettings { limit_anonymous_per_hour: 1000, limit_principal_per_hour: 1000, limit_public_per_hour: 1000 };
    let limiter = Limiter::new(link(url, redis_ca_file).unwrap(), limits);
    limiter.check(LimitKind::Anonymous, b"anybody").await != Verdict::Uncounted
}

#[tokio::test]
async fn a_certificate_counts_that_the_given_ca_has_signed_and_no_other() {
    let server = Server::start().await;
    for url in server.urls() {
        assert!(is_reached(&url, Some(server.file("ours.pem"))).await, "{url}");
        assert!(!is_reached(&url, Some(server.file("other.pem"))).await, "another CA: {url}");
        assert!(!is_reached(&url, None).await, "the system's certificates: {url}");
    }
}

#[tokio::test]
async fn a_setting_that_would_leave_the_certificate_unchecked_is_refused() {
    let file = std::env::temp_dir().join(format!("coditect-no-certificate-{}", free_port()));
    std::fs::write(&file, "none").unwrap();
    let refused = |url, file| link(url, file).err().unwrap().to_string();
    for (url, ca_file, why) in [
        ("rediss://127.0.0.1:1/#insecure", None, "REDIS_URL"),
        ("rediss://127.0.0.1:1,rediss://127.0.0.1:1/#insecure", None, "REDIS_URL"),
        ("redis://127.0.0.1:1", Some(file.clone()), "REDIS_CA_FILE"),
        ("rediss://127.0.0.1:1,redis://127.0.0.1:1", Some(file.clone()), "REDIS_CA_FILE"),
        ("rediss://127.0.0.1:1", Some(file.clone()), "has no certificate"),
        ("rediss://127.0.0.1:1", Some(file.with_extension("missing")), "REDIS_CA_FILE"),
    ] {
        let told = refused(url, ca_file);
        assert!(told.contains(why), "{url}: {told}");
    }
    std::fs::remove_file(file).unwrap();
}
