//! The configurations of docs/proxies.md, word for word: real proxies in front of a node, with other ports and certificate files only.
//! A proxy that is missing fails its test; `.ci/install-deps test` installs them.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use chaos::harness::{NodeOptions, TempDir, free_port};
use futures_util::{SinkExt, StreamExt};
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

use crate::common::apks::{add, fixture};
use crate::common::{Bench, DEADLINE, eventually, options};

const DOCUMENT: &str = include_str!("../../../docs/proxies.md");
const HOST: &str = "mdm.example.com";
/// Address of the client, which the proxies have to pass on.
const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 7));
/// More than nginx takes by default.
const UPLOAD_BYTES: usize = 3 << 20;

/// The code block of this language in the document.
fn block(language: &str) -> &'static str {
    let blocks: Vec<_> = DOCUMENT.split(&format!("```{language}\n")).skip(1).collect();
    let [block] = blocks[..] else { panic!("{} blocks of {language} in docs/proxies.md", blocks.len()) };
    block.split("```").next().unwrap()
}

/// The text with these parts replaced, each of which has to be there.
fn replaced(text: &str, parts: &[(&str, String)]) -> String {
    parts.iter().fold(text.to_owned(), |text, (from, to)| {
        assert!(text.contains(from), "{from:?} is missing in docs/proxies.md");
        text.replace(from, to)
    })
}

/// The settings of the document's node, behind a proxy at this port.
fn node_options(public_port: Option<u16>) -> NodeOptions {
    // The harness opens the metrics of its nodes; the document leaves them as they are.
    let options = options().env("NEXMDM__METRICS__ACCESS", "auto");
    block("sh").lines().fold(options, |options, line| {
        let (name, value) = line.split_once('=').unwrap();
        match name {
            // The harness gives the node a port of its own.
            "NEXMDM__HTTP__LISTEN" => {
                assert_eq!(value, "127.0.0.1:8080");
                options
            }
            "NEXMDM__HTTP__PUBLIC_URL" => options.env(name, public_port.map_or(value.to_owned(), |port| format!("{value}:{port}"))),
            _ => options.env(name, value),
        }
    })
}

/// A running proxy, stopped when dropped.
struct Proxy {
    child: Child,
    _folder: TempDir,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[derive(Clone, Copy)]
enum Kind {
    Nginx,
    Caddy,
    HaProxy,
}

/// A certificate for [`HOST`], and a folder with its files.
struct Certificate {
    pem: String,
    folder: TempDir,
}

impl Certificate {
    fn new() -> Self {
        let made = rcgen::generate_simple_self_signed([HOST.to_owned()]).unwrap();
        let folder = TempDir::new("certificate").unwrap();
        let (pem, key) = (made.cert.pem(), made.signing_key.serialize_pem());
        for (file, text) in [("chain.pem", pem.clone()), ("key.pem", key.clone()), ("both.pem", format!("{pem}{key}"))] {
            std::fs::write(folder.path().join(file), text).unwrap();
        }
        Self { pem, folder }
    }

    fn path(&self, file: &str) -> String {
        self.folder.path().join(file).to_str().unwrap().to_owned()
    }
}

fn program(name: &str) -> Command {
    // Where Debian has them, which is not in the path of ordinary users.
    let system = Path::new("/usr/sbin").join(name);
    Command::new(if system.exists() { system } else { name.into() })
}

impl Kind {
    /// The document's configuration with other ports and files.
    fn configuration(self, port: u16, backend: u16, certificate: &Certificate) -> String {
        let (chain, key) = (certificate.path("chain.pem"), certificate.path("key.pem"));
        let documented = ["fullchain.pem", "privkey.pem"].map(|file| format!("/etc/letsencrypt/live/{HOST}/{file}"));
        let backend = ("127.0.0.1:8080", format!("127.0.0.1:{backend}"));
        match self {
            Self::Nginx => replaced(
                block("nginx"),
                &[("listen 443 ", format!("listen 127.0.0.1:{port} ")), (&documented[0], chain), (&documented[1], key), backend],
            ),
            Self::Caddy => {
                replaced(block("caddyfile"), &[(":443 ", format!(":{port} ")), (&documented[0], chain), (&documented[1], key), backend])
            }
            Self::HaProxy => replaced(
                block("haproxy"),
                &[
                    ("bind :443 ", format!("bind 127.0.0.1:{port} ")),
                    ("/etc/haproxy/certs/mdm.example.com.pem", certificate.path("both.pem")),
                    backend,
                ],
            ),
        }
    }

    /// Starts the proxy with a configuration, within what an installation has around it.
    async fn start(self, configuration: &str, port: u16) -> Proxy {
        let folder = TempDir::new("proxy").unwrap();
        let (site, around) = (folder.path().join("site"), folder.path().join("around"));
        let (site_text, folder_text) = (site.display(), folder.path().display());
        std::fs::write(&site, configuration).unwrap();
        let mut command = match self {
            Self::Nginx => {
                let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
                    .map(|kind| format!("{kind}_temp_path {folder_text}/{kind};\n"))
                    .concat();
                let text = format!(
                    "daemon off;\nmaster_process off;\npid {folder_text}/pid;\nerror_log stderr;\nevents {{}}\n\
                     http {{\naccess_log off;\n{temporary}include {site_text};\n}}\n"
                );
                std::fs::write(&around, text).unwrap();
                let mut command = program("nginx");
                command.args(["-e", "stderr", "-c"]).arg(&around);
                command
            }
            Self::Caddy => {
                let text = format!(
                    "{{\nadmin off\nauto_https disable_redirects\ndefault_bind 127.0.0.1\nstorage file_system {folder_text}\n}}\n\
                     import {site_text}\n"
                );
                std::fs::write(&around, text).unwrap();
                let mut command = program("caddy");
                command.env("HOME", folder.path()).args(["run", "--adapter", "caddyfile", "--config"]).arg(&around);
                command
            }
            Self::HaProxy => {
                let mut command = program("haproxy");
                command.args(["-db", "-f"]).arg(&site);
                command
            }
        };
        let log = std::fs::File::create(folder.path().join("log")).unwrap();
        let child = command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).spawn();
        let child = child.unwrap_or_else(|error| panic!("{:?} (.ci/install-deps test): {error}", command.get_program()));
        let mut proxy = Proxy { child, _folder: folder };
        eventually("the proxy listens", async || {
            let log = || std::fs::read_to_string(proxy._folder.path().join("log")).unwrap();
            if let Some(status) = proxy.child.try_wait().unwrap() {
                panic!("the proxy ended with {status}: {}", log());
            }
            TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.ok()
        })
        .await;
        proxy
    }
}

/// A browser, agent or script outside of the proxy.
struct Outside {
    base: String,
    port: u16,
    http: reqwest::Client,
    tls: TlsConnector,
}

impl Outside {
    fn new(port: u16, certificate: &Certificate) -> Self {
        use rustls::pki_types::CertificateDer;
        use rustls::pki_types::pem::PemObject;
        let http = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .tls_certs_only([reqwest::Certificate::from_pem(certificate.pem.as_bytes()).unwrap()])
            .resolve(HOST, SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
            .local_address(CLIENT)
            .timeout(DEADLINE)
            .build()
            .unwrap();
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(certificate.pem.as_bytes()).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let tls = Arc::new(config.with_root_certificates(roots).with_no_client_auth()).into();
        Self { base: format!("https://{HOST}:{port}"), port, http, tls }
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.base))
    }

    /// The sign-in form, filled in and sent as a browser does.
    async fn sign_in(&self, password: &str) -> Response {
        let form = format!("username=admin&password={password}&next=%2Fdevices");
        let request = self.request(Method::POST, "/login").header("origin", &self.base).header("accept", "text/html");
        request.header("content-type", "application/x-www-form-urlencoded").body(form).send().await.unwrap()
    }

    /// A WebSocket; by its whole address, as the server names it, or by its path.
    async fn socket(&self, url: &str, headers: &[(&'static str, &str)]) -> WebSocketStream<TlsStream<TcpStream>> {
        let mut request = url.into_client_request().unwrap();
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse().unwrap());
        }
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).await.unwrap();
        let stream = self.tls.connect(HOST.try_into().unwrap(), stream).await.unwrap();
        tokio_tungstenite::client_async(request, stream).await.unwrap_or_else(|error| panic!("{url}: {error}")).0
    }
}

async fn json_of(response: Response) -> Value {
    let (status, text) = (response.status(), response.text().await.unwrap());
    assert!(status.is_success(), "{status}: {text}");
    serde_json::from_str(&text).unwrap()
}

async fn next(socket: &mut WebSocketStream<TlsStream<TcpStream>>) -> Message {
    tokio::time::timeout(DEADLINE, socket.next()).await.expect("a message in time").expect("an open socket").unwrap()
}

/// Everything that people and devices do, through a proxy with the document's configuration.
async fn everything_works_through(kind: Kind) {
    let (port, certificate) = (free_port().unwrap(), Certificate::new());
    let bench = Bench::with(node_options(Some(port))).await;
    let _proxy = kind.start(&kind.configuration(port, bench.node.port(), &certificate), port).await;
    let outside = Outside::new(port, &certificate);

    // Metrics and the description of the API are not for everybody outside.
    for path in ["/metrics", "/openapi.json", "/docs/"] {
        assert_eq!(outside.request(Method::GET, path).send().await.unwrap().status(), StatusCode::UNAUTHORIZED, "{path}");
    }

    // A person: the form, the page, its socket.
    let form = outside.request(Method::GET, "/login").send().await.unwrap();
    assert!(form.status() == 200 && form.text().await.unwrap().contains("name=\"password\""));
    let answer = outside.sign_in(bench.node.admin_password()).await;
    let (status, location) = (answer.status(), answer.headers().get("location").cloned());
    let cookies: Vec<_> = answer.headers().get_all("set-cookie").iter().map(|cookie| cookie.to_str().unwrap().to_owned()).collect();
    assert_eq!(status, StatusCode::SEE_OTHER, "{}", answer.text().await.unwrap());
    assert_eq!(location.unwrap(), "/devices");
    assert!(cookies.iter().all(|cookie| cookie.starts_with("__Host-") && cookie.contains("Secure")), "{cookies:?}");
    let cookie = cookies.iter().map(|cookie| cookie.split(';').next().unwrap()).collect::<Vec<_>>().join("; ");
    let page = outside.request(Method::GET, "/devices").header("cookie", &cookie).send().await.unwrap();
    assert!(page.status() == 200 && page.text().await.unwrap().contains("live.js"));
    let url = format!("wss://{HOST}:{port}/live/ws?path=%2Fdevices");
    let mut live = outside.socket(&url, &[("origin", &outside.base), ("cookie", &cookie)]).await;
    assert!(matches!(next(&mut live).await, Message::Binary(edits) if !edits.is_empty()), "the page is drawn");
    let sessions = bench.client.get_json("/v1/me/sessions", &bench.admin).await.unwrap();
    assert!(sessions.to_string().contains(&format!("\"{CLIENT}\"")), "the client's address is passed on: {sessions}");

    // A device: enrollment, its socket at the address that it was given, a heartbeat on it.
    let token = bench.client.tokens(&bench.admin, 1).await.unwrap().pop().unwrap();
    let registered = outside.request(Method::POST, "/v1/register").bearer_auth(&token.token).json(&json!({"alias": "till"}));
    let registered = json_of(registered.send().await.unwrap()).await;
    let device_token = registered["device_token"].as_str().unwrap();
    let session = outside.request(Method::POST, "/v1/agent/session").bearer_auth(device_token).json(&json!({}));
    let session = json_of(session.send().await.unwrap()).await;
    let bearer = format!("Bearer {}", session["session_token"].as_str().unwrap());
    let url = registered["socket_url"].as_str().unwrap();
    assert_eq!(url, format!("wss://{HOST}:{port}/v1/agent/socket"));
    // Some libraries name an origin, and not always the right one.
    let mut agent = outside.socket(url, &[("authorization", &bearer), ("origin", &format!("http://{HOST}"))]).await;
    let frame = json!({"type": "heartbeat", "id": 7, "battery": {"pct": 80}});
    agent.send(Message::text(frame.to_string())).await.unwrap();
    let answer = loop {
        if let Message::Text(text) = next(&mut agent).await {
            break serde_json::from_str::<Value>(&text).unwrap();
        }
    };
    assert_eq!(answer["id"], 7, "{answer}");

    // Files: a part of an upload that is larger than what nginx takes by default, and a download at its signed address.
    let begun = json!({"file_name": "large.apk", "size_bytes": 2 * UPLOAD_BYTES});
    let begun = outside.request(Method::POST, "/v1/apk-uploads").bearer_auth(&bench.admin).json(&begun);
    let begun = json_of(begun.send().await.unwrap()).await;
    let part =
        outside.request(Method::PATCH, &format!("/v1/apk-uploads/{}", begun["upload_id"].as_str().unwrap())).bearer_auth(&bench.admin);
    let part = part.header("upload-offset", "0").body(vec![7_u8; UPLOAD_BYTES]);
    assert_eq!(json_of(part.send().await.unwrap()).await["received"], UPLOAD_BYTES);
    let apk = add(&bench.client, &bench.admin, "till-1.apk").await;
    let link = outside.request(Method::POST, &format!("/v1/apks/{}/download-url", apk["id"].as_str().unwrap()));
    let link = json_of(link.bearer_auth(&bench.admin).json(&json!({})).send().await.unwrap()).await;
    let url = link["url"].as_str().unwrap();
    assert!(url.starts_with(&format!("{}/", outside.base)), "{url}");
    let file = outside.http.get(url).send().await.unwrap().bytes().await.unwrap();
    assert!(file == fixture("till-1.apk"), "{} bytes", file.len());
    assert!(!bench.node.log().contains("foreign_origin"), "nothing was refused");
}

#[tokio::test]
async fn everything_works_through_nginx() {
    everything_works_through(Kind::Nginx).await;
}

#[tokio::test]
async fn everything_works_through_caddy() {
    everything_works_through(Kind::Caddy).await;
}

#[tokio::test]
async fn everything_works_through_haproxy() {
    everything_works_through(Kind::HaProxy).await;
}

/// The port of the page is neither in the public URL nor, with `$host`, in what nginx passes on.
#[tokio::test]
async fn a_lost_port_is_refused_with_the_directive_that_mends_it() {
    let (port, certificate) = (free_port().unwrap(), Certificate::new());
    let bench = Bench::with(node_options(None)).await;
    let outside = Outside::new(port, &certificate);
    let documented = Kind::Nginx.configuration(port, bench.node.port(), &certificate);
    {
        let _proxy = Kind::Nginx.start(&replaced(&documented, &[("$http_host", "$host".into())]), port).await;
        let refused = outside.sign_in(bench.node.admin_password()).await;
        assert_eq!(refused.status(), StatusCode::FORBIDDEN);
        let said = refused.text().await.unwrap();
        for part in [&outside.base, "the port differs", "http.public_url", "proxy_set_header Host $http_host"] {
            assert!(said.contains(part), "{part}: {said}");
        }
        let log = bench.node.log();
        assert!(log.contains("http.foreign_origin") && log.contains("$http_host"), "{log}");
    }
    let _proxy = Kind::Nginx.start(&documented, port).await;
    assert_eq!(outside.sign_in(bench.node.admin_password()).await.status(), StatusCode::SEE_OTHER, "as documented it works");
}
