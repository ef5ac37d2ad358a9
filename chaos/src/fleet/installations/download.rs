//! Resumable downloads in ranges, verified when complete.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::SmallRng;
use sha2::{Digest, Sha256};
use tokio::fs;
use tokio::io::AsyncWriteExt;
use tokio::time::sleep;

use super::signer::signers;
use crate::backoff::Backoff;
use crate::http::{Answer, Call, Http, HttpError};

/// Consecutive failed requests before a download is given up.
const ATTEMPTS_MAX: u32 = 20;
/// Duration of a simulated network loss.
const NETWORK_AWAY: Duration = Duration::from_millis(700);

/// Location of a file and parameters of its download.
pub(super) struct Source<'a> {
    pub(super) servers: &'a [Arc<Http>],
    /// Path and query.
    pub(super) path: &'a str,
    /// Size of the file in bytes.
    pub(super) size: u64,
    /// Bytes per range request.
    pub(super) piece: u64,
    pub(super) retry_min: Duration,
    pub(super) retry_max: Duration,
}

/// Statistics of a download.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct DownloadStats {
    /// Bytes received, including discarded ones.
    pub(super) bytes: u64,
    /// Requests that yielded data.
    pub(super) pieces: u32,
    /// Times that the download resumed after an interruption.
    pub(super) resumed: u32,
}

impl Source<'_> {
    /// Fetches the missing part of `file`; the connection is lost once at the byte `cut_at`.
    ///
    /// # Errors
    /// The reason why the download was given up, as a message.
    pub(super) async fn fetch(&self, file: &Path, mut cut_at: Option<u64>) -> Result<DownloadStats, String> {
        let failure = |error: std::io::Error| format!("the device's storage: {error}");
        let mut have = fs::metadata(file).await.map_or(0, |known| known.len());
        let mut fetched = DownloadStats { resumed: u32::from(have > 0), ..DownloadStats::default() };
        let mut out = fs::OpenOptions::new().create(true).append(true).open(file).await.map_err(failure)?;
        if have > self.size {
            out.set_len(0).await.map_err(failure)?;
            have = 0;
        }
        let mut etag: Option<String> = None;
        let mut backoff = Backoff::new(self.retry_min, self.retry_max);
        let mut rng = SmallRng::seed_from_u64(self.size ^ have);
        let mut interrupted = false;
        let mut server = 0;
        while have < self.size {
            let last = (have + self.piece).min(self.size) - 1;
            let range = format!("bytes={have}-{last}");
            let mut call = Call::get(self.path).header("range", &range);
            if let Some(etag) = &etag {
                call = call.header("if-range", etag);
            }
            let http = &self.servers[server % self.servers.len()];
            let cut = cut_at.take_if(|at| (have..=last).contains(at));
            let outcome = match cut {
                Some(at) => http.send_part(call, usize::try_from(at - have).unwrap_or(usize::MAX)).await,
                None => http.send(call).await,
            };
            let wait = match classify(&outcome, have, self.size) {
                RangeResponse::Next(answer) => {
                    out.write_all(&answer.body).await.map_err(failure)?;
                    have += answer.body.len() as u64;
                    etag = answer.header("etag").map(str::to_owned).or(etag);
                    fetched.bytes += answer.body.len() as u64;
                    fetched.pieces += 1;
                    fetched.resumed += u32::from(std::mem::take(&mut interrupted));
                    backoff.reset();
                    cut.map(|_| NETWORK_AWAY)
                }
                RangeResponse::Whole(answer) => {
                    // The file has changed, or the server does not support ranges: start over.
                    out.set_len(0).await.map_err(failure)?;
                    out.write_all(&answer.body).await.map_err(failure)?;
                    have = answer.body.len() as u64;
                    etag = answer.header("etag").map(str::to_owned);
                    fetched.bytes += have;
                    fetched.pieces += 1;
                    if have != self.size {
                        return Err(format!("the file has {have} bytes, {} were announced", self.size));
                    }
                    None
                }
                RangeResponse::Retry(retry_after) => {
                    if backoff.failures() >= ATTEMPTS_MAX {
                        return Err(format!("{ATTEMPTS_MAX} consecutive attempts failed"));
                    }
                    // A server that does not respond may be gone for good.
                    server += usize::from(outcome.is_err() && cut.is_none());
                    Some(backoff.next(retry_after, &mut rng))
                }
                RangeResponse::GiveUp(why) => return Err(why),
            };
            if let Some(wait) = wait {
                interrupted = true;
                sleep(wait).await;
            }
        }
        out.flush().await.map_err(failure)?;
        Ok(fetched)
    }
}

/// Classified response to a range request.
enum RangeResponse<'a> {
    Next(&'a Answer),
    Whole(&'a Answer),
    Retry(Option<Duration>),
    GiveUp(String),
}

fn classify(outcome: &Result<Answer, HttpError>, have: u64, size: u64) -> RangeResponse<'_> {
    match outcome {
        Ok(answer) if answer.status == 206 => match answer.header("content-range").and_then(content_range) {
            Some((from, total)) if from == have && total == size => RangeResponse::Next(answer),
            Some((_, total)) if total != size => RangeResponse::GiveUp(format!("the file has {total} bytes, {size} were announced")),
            _ => RangeResponse::GiveUp("the answer is about another range".into()),
        },
        Ok(answer) if answer.status == 200 => RangeResponse::Whole(answer),
        Ok(answer) if matches!(answer.status, 408 | 425 | 429 | 500..=599) => RangeResponse::Retry(answer.retry_after()),
        Ok(answer) => RangeResponse::GiveUp(format!("HTTP {}: {}", answer.status, answer.detail())),
        Err(HttpError::Invalid(_) | HttpError::TooLarge) => RangeResponse::GiveUp("the answer is not understood".into()),
        Err(_) => RangeResponse::Retry(None),
    }
}

/// First byte and total of `bytes 0-99/1000`.
fn content_range(text: &str) -> Option<(u64, u64)> {
    let (range, total) = text.strip_prefix("bytes ")?.split_once('/')?;
    Some((range.split_once('-')?.0.parse().ok()?, total.parse().ok()?))
}

/// Expected properties of the file.
pub(super) struct Expected {
    /// Hex.
    pub(super) sha256: String,
    /// Accepted signing certificates: SHA-256, hex.
    pub(super) signers: Vec<String>,
}

/// Verifies a file.
///
/// # Errors
/// The error code of the agent API, and a message.
pub(super) fn verify(file: &Path, expected: &Expected) -> Result<(), (&'static str, String)> {
    let unreadable = |error: std::io::Error| ("install_failed", format!("the device's storage: {error}"));
    let mut file = File::open(file).map_err(unreadable)?;
    let mut digest = Sha256::new();
    let mut buffer = vec![0; 64 << 10];
    loop {
        match file.read(&mut buffer).map_err(unreadable)? {
            0 => break,
            count => digest.update(&buffer[..count]),
        }
    }
    let sha256 = hex::encode(digest.finalize());
    if !sha256.eq_ignore_ascii_case(&expected.sha256) {
        return Err(("checksum_mismatch", format!("the file's SHA-256 is {sha256}")));
    }
    file.seek(SeekFrom::Start(0)).map_err(unreadable)?;
    let signers = signers(&mut file).map_err(|why| ("signer_mismatch", why))?;
    if !signers.iter().any(|signer| expected.signers.iter().any(|known| known.eq_ignore_ascii_case(signer))) {
        return Err(("signer_mismatch", format!("it is signed by {}", signers.join(", "))));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_ranges_are_parsed() {
        assert_eq!(content_range("bytes 5-9/1000"), Some((5, 1000)));
        for text in ["bytes */1000", "5-9/1000", "bytes 5-9", ""] {
            assert_eq!(content_range(text), None, "{text}");
        }
    }

    #[test]
    fn a_response_for_another_range_or_file_ends_the_download() {
        let answer = |status: u16, range: &'static str| {
            let headers = [(hyper::header::CONTENT_RANGE, hyper::header::HeaderValue::from_static(range))].into_iter().collect();
            Ok(Answer { status, headers, body: bytes::Bytes::new() })
        };
        assert!(matches!(classify(&answer(206, "bytes 5-9/10"), 5, 10), RangeResponse::Next(_)));
        assert!(matches!(classify(&answer(206, "bytes 0-9/10"), 5, 10), RangeResponse::GiveUp(_)));
        assert!(matches!(classify(&answer(206, "bytes 5-9/11"), 5, 10), RangeResponse::GiveUp(why) if why.contains("11 bytes")));
        assert!(matches!(classify(&answer(503, ""), 5, 10), RangeResponse::Retry(_)));
        assert!(matches!(classify(&answer(401, ""), 5, 10), RangeResponse::GiveUp(_)), "an expired address stays expired");
        assert!(matches!(classify(&Err(HttpError::Timeout), 5, 10), RangeResponse::Retry(_)));
    }
}
