//! `ctl apks upload`: a file in parts, again from where it broke off.

use std::io::{IsTerminal, SeekFrom};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use domain::quantity;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncSeekExt};

use super::api::{Api, Refused, encoded};

/// Bytes of the file that are hashed at a time.
const CHUNK_BYTES: usize = 1 << 20;
/// Largest part that is sent, whatever the server would take.
const PART_MAX_BYTES: u64 = 16 << 20;
/// Smallest part that is tried when larger ones are refused; the least that the server takes of a file that goes on.
const PART_MIN_BYTES: u64 = 64 << 10;
/// How much smaller parts become at a time.
const PART_DIVISOR: u64 = 4;
/// Failures in a row after which it is left to the person to go on.
const FAILURES_MAX: u32 = 6;
/// The longest wait between two tries.
const WAIT_MAX: Duration = Duration::from_secs(15);

/// File to upload.
pub(super) struct Upload {
    pub(super) file: PathBuf,
    pub(super) rollback_of: Option<String>,
    pub(super) notes: String,
    pub(super) resume: Option<String>,
}

/// Uploads a file. Answers the APK.
pub(super) async fn upload(api: &mut Api, what: Upload) -> anyhow::Result<Value> {
    let shown = what.file.display().to_string();
    let mut file = File::open(&what.file).await.with_context(|| shown.clone())?;
    let size = file.metadata().await?.len();
    let id = match what.resume {
        Some(id) => id,
        None => {
            let sha256 = digest(&mut file).await.with_context(|| shown.clone())?;
            let name = what.file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            let body = json!({
                "file_name": name, "size_bytes": size, "sha256": sha256, "rollback_of": what.rollback_of, "notes": what.notes
            });
            let begun = api.call(Method::POST, "/v1/apk-uploads", Some(&body)).await?;
            begun["upload_id"].as_str().context("the answer names no upload")?.to_owned()
        }
    };
    let path = format!("/v1/apk-uploads/{}", encoded(&id));
    let sent = parts(api, &mut file, size, &path).await;
    let complete = format!("{path}/complete");
    let apk = match sent {
        Ok(()) => api.call(Method::POST, &complete, None).await,
        Err(error) => Err(error),
    };
    apk.map_err(|error| anyhow::anyhow!("{error:#}\nThe partial upload is kept; resume with: nexmdm ctl apks upload {shown} --resume {id}"))
}

/// Sends what is not there yet.
async fn parts(api: &mut Api, file: &mut File, size: u64, path: &str) -> anyhow::Result<()> {
    let (mut failures, mut part_max) = (0, PART_MAX_BYTES);
    loop {
        let round = round(api, file, size, path, part_max, &mut failures).await;
        let Err(error) = round else { return Ok(()) };
        if error.downcast_ref::<Refused>().is_some_and(|refused| refused.status == StatusCode::PAYLOAD_TOO_LARGE) {
            // The server said how large parts may be: a limit below that is of something in between.
            anyhow::ensure!(
                part_max > PART_MIN_BYTES,
                "even a part of {PART_MIN_BYTES} bytes is refused as too large (413), by a proxy in front of the server; raise its limit on \
                 request bodies (nginx: client_max_body_size, Caddy: request_body max_size)"
            );
            let smaller = (part_max / PART_DIVISOR).max(PART_MIN_BYTES);
            eprintln!(
                "Parts of {part_max} bytes are refused as too large (413), by a proxy in front of the server; going on with {smaller} bytes."
            );
            part_max = smaller;
            continue;
        }
        // The server's word is final, but for being busy and for where the upload stands: another node may know better.
        let again = match error.downcast_ref::<Refused>() {
            Some(refused) => refused.status.is_server_error() || refused.status == StatusCode::CONFLICT,
            None => error.downcast_ref::<reqwest::Error>().is_some() || error.root_cause().downcast_ref::<std::io::Error>().is_some(),
        };
        failures += 1;
        if !again || failures >= FAILURES_MAX {
            return Err(error);
        }
        if error.downcast_ref::<reqwest::Error>().is_some() || error.root_cause().downcast_ref::<std::io::Error>().is_some() {
            // A proxy may hang up on a large part instead of answering; on a bad line less is lost with a small one.
            part_max = (part_max / PART_DIVISOR).max(PART_MIN_BYTES);
        }
        tokio::time::sleep(WAIT_MAX.min(Duration::from_secs(1 << failures))).await;
    }
}

/// Asks where the upload stands, and sends parts until all is there or one fails.
async fn round(api: &mut Api, file: &mut File, size: u64, path: &str, part_max: u64, failures: &mut u32) -> anyhow::Result<()> {
    let upload = api.get(path, &[]).await?;
    anyhow::ensure!(upload["size_bytes"].as_u64() == Some(size), "the upload is of a file of another size");
    let most = upload["part_limit_bytes"].as_u64().unwrap_or(PART_MAX_BYTES).clamp(1, part_max);
    let mut received = upload["received"].as_u64().context("the response has no upload offset")?;
    while received < size && upload["apk_id"].is_null() {
        progress(received, size);
        let mut part = vec![0; usize::try_from(most.min(size - received))?];
        file.seek(SeekFrom::Start(received)).await?;
        file.read_exact(&mut part).await.context("the file has changed")?;
        let answer = api.part(path, received, part).await?;
        let now = answer["received"].as_u64().context("the response has no upload offset")?;
        anyhow::ensure!(now > received, "the upload makes no progress");
        (received, *failures) = (now, 0);
    }
    progress(size, size);
    Ok(())
}

/// Progress of the upload, for a person who watches.
fn progress(received: u64, size: u64) {
    if std::io::stderr().is_terminal() {
        let end = if received == size { "\n" } else { "" };
        eprint!("\r{:>6} of {}{end}", quantity::share(received, size), quantity::bytes(size));
    }
}

/// SHA-256 of the rest of a file, hex.
pub(super) async fn digest(file: &mut File) -> std::io::Result<String> {
    let (mut digest, mut chunk) = (Sha256::new(), vec![0; CHUNK_BYTES]);
    loop {
        match file.read(&mut chunk).await? {
            0 => return Ok(hex::encode(digest.finalize())),
            count => digest.update(&chunk[..count]),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use axum::Router;
    use axum::body::Bytes;
    use axum::extract::{DefaultBodyLimit, State};
    use axum::http::HeaderMap;
    use axum::response::{Html, IntoResponse, Json, Response};
    use axum::routing::{get, post};

    use super::*;
    use crate::ctl::api::Credentials;

    /// A server behind a proxy that refuses bodies above a limit.
    struct Behind {
        limit_bytes: usize,
        size_bytes: usize,
        parts: Mutex<Vec<usize>>,
        received: Mutex<Vec<u8>>,
    }

    async fn stands(State(server): State<Arc<Behind>>) -> Response {
        let received = server.received.lock().unwrap().len();
        Json(json!({"size_bytes": server.size_bytes, "received": received, "part_limit_bytes": 8 << 20, "apk_id": null})).into_response()
    }

    async fn part(State(server): State<Arc<Behind>>, headers: HeaderMap, body: Bytes) -> Response {
        server.parts.lock().unwrap().push(body.len());
        if body.len() > server.limit_bytes {
            return (axum::http::StatusCode::PAYLOAD_TOO_LARGE, Html("<html><h1>413 Request Entity Too Large</h1></html>")).into_response();
        }
        let mut received = server.received.lock().unwrap();
        assert_eq!(headers["upload-offset"].to_str().unwrap(), received.len().to_string());
        received.extend_from_slice(&body);
        Json(json!({"received": received.len()})).into_response()
    }

    async fn behind(limit_bytes: usize, file: &[u8]) -> (anyhow::Result<Value>, Arc<Behind>) {
        let server = Arc::new(Behind { limit_bytes, size_bytes: file.len(), parts: Mutex::default(), received: Mutex::default() });
        let routes = Router::new()
            .route("/v1/apk-uploads", post(|| async { Json(json!({"upload_id": "one"})) }))
            .route("/v1/apk-uploads/one", get(stands).patch(part))
            .route("/v1/apk-uploads/one/complete", post(|| async { Json(json!({"id": "apk"})) }))
            .layer(DefaultBodyLimit::disable())
            .with_state(Arc::clone(&server));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let serving = tokio::spawn(async move { axum::serve(listener, routes).await });
        let path = std::env::temp_dir().join(format!("nexmdm-ctl-upload-{}-{limit_bytes}", std::process::id()));
        std::fs::File::create(&path).unwrap().write_all(file).unwrap();
        let mut api = Api::new(&url, None, Credentials::Nobody).unwrap();
        let what = Upload { file: path.clone(), rollback_of: None, notes: String::new(), resume: None };
        let answer = upload(&mut api, what).await;
        serving.abort();
        std::fs::remove_file(&path).unwrap();
        (answer, server)
    }

    #[tokio::test]
    async fn parts_get_smaller_until_a_proxy_takes_them() {
        let file: Vec<u8> = (0..5 << 20).map(|n: u32| n as u8).collect();
        let (answer, server) = behind(1 << 20, &file).await;
        assert_eq!(answer.unwrap()["id"], "apk");
        assert_eq!(*server.received.lock().unwrap(), file);
        let parts = server.parts.lock().unwrap().clone();
        // The whole file is one part at first.
        assert_eq!(parts, [5 << 20, 4 << 20, 1 << 20, 1 << 20, 1 << 20, 1 << 20, 1 << 20]);
    }

    #[tokio::test]
    async fn a_proxy_that_takes_nothing_is_named() {
        let (answer, server) = behind(1_000, &vec![7; 300_000]).await;
        let error = format!("{:#}", answer.unwrap_err());
        assert!(error.contains("proxy") && error.contains("client_max_body_size") && error.contains("--resume one"), "{error}");
        assert_eq!(server.parts.lock().unwrap().last(), Some(&(64 << 10)));
        assert!(server.received.lock().unwrap().is_empty());
    }
}
