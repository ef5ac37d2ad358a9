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
    let mut failures = 0;
    loop {
        let round = round(api, file, size, path, &mut failures).await;
        let Err(error) = round else { return Ok(()) };
        // The server's word is final, but for being busy and for where the upload stands: another node may know better.
        let again = match error.downcast_ref::<Refused>() {
            Some(refused) => refused.status.is_server_error() || refused.status == StatusCode::CONFLICT,
            None => error.downcast_ref::<reqwest::Error>().is_some() || error.root_cause().downcast_ref::<std::io::Error>().is_some(),
        };
        failures += 1;
        if !again || failures >= FAILURES_MAX {
            return Err(error);
        }
        tokio::time::sleep(WAIT_MAX.min(Duration::from_secs(1 << failures))).await;
    }
}

/// Asks where the upload stands, and sends parts until all is there or one fails.
async fn round(api: &mut Api, file: &mut File, size: u64, path: &str, failures: &mut u32) -> anyhow::Result<()> {
    let upload = api.get(path, &[]).await?;
    anyhow::ensure!(upload["size_bytes"].as_u64() == Some(size), "the upload is of a file of another size");
    let most = upload["part_limit_bytes"].as_u64().unwrap_or(PART_MAX_BYTES).clamp(1, PART_MAX_BYTES);
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
