//! Deployments of the fake node: a file served in ranges, and the statuses that devices report.

use std::collections::BTreeMap;

use bytes::Bytes;
use http_body_util::Full;
use hyper::{HeaderMap, Response};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// Deployment state of the fake node, and its configured behaviour.
#[derive(Default)]
pub(crate) struct Deployments {
    /// File served at every URL.
    pub(crate) apk: Vec<u8>,
    /// Requested ranges.
    pub(crate) ranges: Vec<String>,
    /// Number of file requests to answer with 503.
    pub(crate) busy: u32,
    /// Reported statuses, in order.
    pub(crate) reported: Vec<ReportedStatus>,
    /// Responses by status, instead of 200.
    pub(crate) refuse: BTreeMap<&'static str, u16>,
    /// Offer for update checks.
    pub(crate) offer: Option<Value>,
    /// Queries of update checks.
    pub(crate) asked: Vec<String>,
    pub(crate) update_reports: Vec<Value>,
}

/// Status reported by a device.
#[derive(Debug)]
pub(crate) struct ReportedStatus {
    pub(crate) device: String,
    pub(crate) status: String,
    pub(crate) error: Option<String>,
    pub(crate) attempt: Option<u64>,
}

/// Deployment and device in the path of a status call.
pub(crate) fn status_path(path: &str) -> Option<(&str, &str)> {
    let (deployment, device) = path.strip_prefix("/v1/agent/deployments/")?.split_once("/devices/")?;
    Some((deployment, device.strip_suffix("/status")?))
}

impl Deployments {
    pub(crate) fn file(&mut self, headers: &HeaderMap) -> Response<Full<Bytes>> {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
        let (range, etag) = (text("range"), format!("\"{}\"", hex::encode(Sha256::digest(&self.apk))));
        self.ranges.push(range.clone());
        let mut response = Response::new(Full::default());
        if self.busy > 0 {
            self.busy -= 1;
            *response.status_mut() = hyper::StatusCode::SERVICE_UNAVAILABLE;
            return response;
        }
        assert!(text("if-range").is_empty() || text("if-range") == etag, "{}", text("if-range"));
        let (first, last) = range.strip_prefix("bytes=").and_then(|range| range.split_once('-')).unwrap();
        let (first, last): (usize, usize) = (first.parse().unwrap(), last.parse().unwrap());
        assert!(first <= last && last < self.apk.len(), "{range}");
        *response.status_mut() = hyper::StatusCode::PARTIAL_CONTENT;
        let headers = response.headers_mut();
        headers.insert("content-range", format!("bytes {first}-{last}/{}", self.apk.len()).parse().unwrap());
        headers.insert("etag", etag.parse().unwrap());
        *response.body_mut() = Full::new(Bytes::copy_from_slice(&self.apk[first..=last]));
        response
    }

    pub(crate) fn status(&mut self, device_id: &str, deployment_id: &str, body: &Value) -> u16 {
        let text = |name: &str| body[name].as_str().map(str::to_owned);
        let status = text("status").unwrap();
        let answer = self.refuse.get(status.as_str()).copied().unwrap_or(200);
        assert!(deployment_id.starts_with("dep-"), "{deployment_id}");
        self.reported.push(ReportedStatus { device: device_id.into(), status, error: text("error"), attempt: body["attempt"].as_u64() });
        answer
    }

    pub(crate) fn update(&mut self, query: &str) -> (u16, Option<u32>, Value) {
        self.asked.push(query.to_owned());
        let current = |offer: &Value| query.contains(&format!("current_version_code={}", offer["version_code"]));
        match &self.offer {
            Some(offer) if !current(offer) => (200, None, offer.clone()),
            _ => (304, None, json!(null)),
        }
    }

    /// Statuses of a device, in order.
    pub(crate) fn statuses(&self, device_id: &str) -> Vec<&str> {
        self.reported.iter().filter(|told| told.device == device_id).map(|told| told.status.as_str()).collect()
    }

    /// Last error that a device reported.
    pub(crate) fn error(&self, device_id: &str) -> Option<&str> {
        self.reported.iter().rfind(|told| told.device == device_id)?.error.as_deref()
    }
}

/// A file with an APK Signing Block of scheme v2 by a certificate, and nothing in it that a device would install.
pub(crate) fn apk(certificate: &[u8], size: usize) -> Vec<u8> {
    let with_length = |bytes: &[u8]| [&u32::try_from(bytes.len()).unwrap().to_le_bytes(), bytes].concat();
    let signed_data = [with_length(b"digests"), with_length(&with_length(certificate)), with_length(b"")].concat();
    let signer = [with_length(&signed_data), with_length(b"signature"), with_length(b"key")].concat();
    let value = with_length(&with_length(&signer));
    let pair = [&(value.len() as u64 + 4).to_le_bytes()[..], &0x7109_871a_u32.to_le_bytes(), &value].concat();
    let length = (pair.len() as u64 + 24).to_le_bytes();
    let mut file: Vec<u8> = (0..size).map(|n| (n % 251) as u8).collect();
    file.extend([&length[..], &pair, &length, b"APK Sig Block 42"].concat());
    let directory_at = u32::try_from(file.len()).unwrap();
    file.extend([b"PK\x05\x06", &[0; 12][..], &directory_at.to_le_bytes(), &[0; 2]].concat());
    file
}

/// Parameters of `deploy_apk` for a file at this node.
pub(crate) fn params(url: &str, deployment_id: &str, apk: &[u8], certificate: &[u8], constraints: &Value) -> Value {
    json!({"deployment_id": deployment_id, "attempt": 1, "constraints": constraints, "apk": {
        "package": "com.example.kiosk", "version_code": 7, "version_name": "1.7", "url": format!("{url}/v1/apks/1/file?expires=1&signature=2"),
        "sha256": hex::encode(Sha256::digest(apk)), "signer_sha256": [hex::encode(Sha256::digest(certificate))], "size": apk.len()}})
}
