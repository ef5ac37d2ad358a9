//! The API: path style, without signatures.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chrono::SecondsFormat;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{
    ACCEPT_RANGES, CONTENT_RANGE, CONTENT_TYPE, ETAG, HeaderMap, HeaderName, HeaderValue, IF_MATCH, IF_NONE_MATCH, LAST_MODIFIED, RANGE,
};
use hyper::http::request::Parts;
use hyper::{Method, Request, Response, StatusCode};
use percent_encoding::percent_decode_str;
use serde::Deserialize;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::time::sleep;

use super::Store;
use super::mode::StoreMode;
use super::objects::{BYTES_MAX, Version};
use crate::clock;
use crate::fake_server::{self, Reply};

/// Largest body of a request.
const BODY_MAX_BYTES: usize = 256 << 20;
/// Names on a page of a list.
const PAGE: usize = 1_000;

/// Serves until dropped.
pub(super) async fn serve(listener: TcpListener, store: Arc<Store>) {
    let answer = move |request| {
        let store = Arc::clone(&store);
        async move { answer(&store, request).await }
    };
    fake_server::serve(listener, answer).await;
}

fn reply(status: StatusCode, body: impl Into<Bytes>) -> Reply {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = status;
    answer
}

fn xml(status: StatusCode, body: &str) -> Reply {
    let mut answer = reply(status, format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n{body}"));
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/xml"));
    answer
}

fn refusal(status: StatusCode, code: &str, message: &str) -> Reply {
    xml(status, &format!("<Error><Code>{code}</Code><Message>{}</Message></Error>", escaped(message)))
}

fn no_such_key(name: &str) -> Reply {
    refusal(StatusCode::NOT_FOUND, "NoSuchKey", name)
}

fn tagged(mut answer: Reply, e_tag: &str) -> Reply {
    if let Ok(value) = HeaderValue::from_str(e_tag) {
        answer.headers_mut().insert(ETAG, value);
    }
    answer
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

fn unescaped(text: &str) -> String {
    text.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&apos;", "'").replace("&amp;", "&")
}

/// Texts of the elements of a name, whatever they lie in.
fn elements(xml: &str, name: &str) -> Vec<String> {
    let (open, close) = (format!("<{name}>"), format!("</{name}>"));
    xml.split(&open).skip(1).filter_map(|rest| Some(unescaped(rest.split_once(&close)?.0))).collect()
}

/// A request's target.
struct Target {
    /// `bucket/key`; a bucket alone has no slash.
    name: String,
    query: Vec<(String, String)>,
}

impl Target {
    fn of(head: &Parts) -> Self {
        let decoded = |text: &str| percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned();
        let query = head.uri.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
        let query = query.map(|pair| pair.split_once('=').unwrap_or((pair, ""))).map(|(name, value)| (decoded(name), decoded(value)));
        let path = percent_decode_str(head.uri.path()).decode_utf8_lossy();
        Self { name: path.trim_matches('/').to_owned(), query: query.collect() }
    }

    fn parameter(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

async fn answer(store: &Store, request: Request<Incoming>) -> Option<Reply> {
    let (head, body) = request.into_parts();
    let Ok(body) = Limited::new(body, BODY_MAX_BYTES).collect().await else {
        return Some(refusal(StatusCode::PAYLOAD_TOO_LARGE, "EntityTooLarge", "the body is too large"));
    };
    let body = body.to_bytes();
    let target = Target::of(&head);
    if target.name == "fake/modes" {
        return Some(set_mode(store, &body));
    }
    let writes = matches!(head.method, Method::PUT | Method::POST | Method::DELETE);
    store.count(writes, &head.method, &target.name);
    let mode = store.modes.take(writes);
    match mode {
        StoreMode::Gone => return None,
        StoreMode::Slow { delay_ms } => sleep(Duration::from_millis(delay_ms)).await,
        StoreMode::Full if head.method != Method::DELETE => {
            return Some(refusal(StatusCode::INSUFFICIENT_STORAGE, "XMinioStorageFull", "the store is full"));
        }
        StoreMode::ReadOnly => return Some(refusal(StatusCode::FORBIDDEN, "AccessDenied", "the store is read-only")),
        _ => {}
    }
    if head.method != Method::DELETE && store.objects().bytes() + body.len() > BYTES_MAX {
        return Some(refusal(StatusCode::INSUFFICIENT_STORAGE, "XMinioStorageFull", "this stand-in holds no more"));
    }
    let body = if mode == StoreMode::Truncating && head.method == Method::PUT { body.slice(..body.len() / 2) } else { body };
    Some(match head.method {
        Method::GET if !target.name.contains('/') => list(store, &target),
        Method::GET | Method::HEAD => read(store, &target, &head.headers, mode == StoreMode::Older),
        Method::PUT => write(store, &target, &head.headers, body),
        Method::POST => post(store, &target, &body),
        Method::DELETE => delete(store, &target),
        _ => refusal(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed", "GET, HEAD, PUT, POST and DELETE are understood"),
    })
}

fn read(store: &Store, target: &Target, headers: &HeaderMap, older: bool) -> Reply {
    let objects = store.objects();
    let Some(Version { bytes, e_tag, modified }) = objects.get(&target.name, older) else { return no_such_key(&target.name) };
    let given = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    if given(IF_MATCH).is_some_and(|wanted| wanted != "*" && wanted != e_tag) {
        return refusal(StatusCode::PRECONDITION_FAILED, "PreconditionFailed", "the entity tag is another");
    }
    if given(IF_NONE_MATCH).is_some_and(|known| known == e_tag) {
        return reply(StatusCode::NOT_MODIFIED, "");
    }
    let mut answer = match given(RANGE) {
        None => reply(StatusCode::OK, bytes.clone()),
        Some(range) => match range_of(range, bytes.len()) {
            Some(range) => {
                let mut answer = reply(StatusCode::PARTIAL_CONTENT, bytes.slice(range.clone()));
                let shown = format!("bytes {}-{}/{}", range.start, range.end - 1, bytes.len());
                if let Ok(value) = HeaderValue::from_str(&shown) {
                    answer.headers_mut().insert(CONTENT_RANGE, value);
                }
                answer
            }
            None => return refusal(StatusCode::RANGE_NOT_SATISFIABLE, "InvalidRange", range),
        },
    };
    answer.headers_mut().insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    if let Ok(value) = HeaderValue::from_str(&modified.format("%a, %d %b %Y %H:%M:%S GMT").to_string()) {
        answer.headers_mut().insert(LAST_MODIFIED, value);
    }
    tagged(answer, e_tag)
}

/// `bytes=1-3`, `bytes=7-` and `bytes=-5`, of so many bytes.
fn range_of(text: &str, len: usize) -> Option<std::ops::Range<usize>> {
    let (from, until) = text.strip_prefix("bytes=")?.split_once('-')?;
    let range = match (from, until) {
        ("", last) => len.saturating_sub(last.parse().ok()?)..len,
        (from, "") => from.parse().ok()?..len,
        (from, until) => from.parse().ok()?..until.parse::<usize>().ok()?.saturating_add(1).min(len),
    };
    (range.start < range.end).then_some(range)
}

fn write(store: &Store, target: &Target, headers: &HeaderMap, body: Bytes) -> Reply {
    let given = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let mut objects = store.objects();
    let copied = match given("x-amz-copy-source") {
        None => None,
        Some(source) => {
            let source = percent_decode_str(source.trim_start_matches('/')).decode_utf8_lossy().into_owned();
            match objects.get(&source, false) {
                Some(version) => Some(version.bytes.clone()),
                None => return no_such_key(&source),
            }
        }
    };
    let is_copy = copied.is_some();
    let bytes = copied.unwrap_or(body);
    if let (Some(number), Some(upload)) = (target.parameter("partNumber"), target.parameter("uploadId")) {
        let stored = number.parse().ok().and_then(|number| objects.put_part(upload, number, bytes));
        return match stored {
            None => refusal(StatusCode::NOT_FOUND, "NoSuchUpload", upload),
            Some(e_tag) if is_copy => xml(StatusCode::OK, &format!("<CopyPartResult><ETag>{}</ETag></CopyPartResult>", escaped(&e_tag))),
            Some(e_tag) => tagged(reply(StatusCode::OK, ""), &e_tag),
        };
    }
    let known = objects.get(&target.name, false).map(|version| version.e_tag.clone());
    let refused = match (given("if-none-match"), given("if-match")) {
        (Some("*"), _) => known.is_some(),
        (_, Some(wanted)) => known.as_deref() != Some(wanted),
        _ => false,
    };
    if refused {
        return refusal(StatusCode::PRECONDITION_FAILED, "PreconditionFailed", "the object is another");
    }
    let e_tag = objects.put(&target.name, bytes, clock::now());
    if is_copy {
        return xml(StatusCode::OK, &format!("<CopyObjectResult><ETag>{}</ETag></CopyObjectResult>", escaped(&e_tag)));
    }
    tagged(reply(StatusCode::OK, ""), &e_tag)
}

fn post(store: &Store, target: &Target, body: &[u8]) -> Reply {
    let text = String::from_utf8_lossy(body);
    let mut objects = store.objects();
    if target.parameter("uploads").is_some() {
        let upload = objects.begin_upload();
        let result = format!("<InitiateMultipartUploadResult><UploadId>{upload}</UploadId></InitiateMultipartUploadResult>");
        return xml(StatusCode::OK, &result);
    }
    if let Some(upload) = target.parameter("uploadId") {
        let numbers: Vec<u32> = elements(&text, "PartNumber").iter().filter_map(|number| number.parse().ok()).collect();
        return match objects.complete(upload, &numbers, &target.name, clock::now()) {
            Some(e_tag) => {
                let result = format!("<CompleteMultipartUploadResult><ETag>{}</ETag></CompleteMultipartUploadResult>", escaped(&e_tag));
                tagged(xml(StatusCode::OK, &result), &e_tag)
            }
            None => refusal(StatusCode::NOT_FOUND, "NoSuchUpload", upload),
        };
    }
    if target.parameter("delete").is_some() {
        let keys = elements(&text, "Key");
        keys.iter().for_each(|key| objects.delete(&format!("{}/{key}", target.name)));
        let deleted: String = keys.iter().map(|key| format!("<Deleted><Key>{}</Key></Deleted>", escaped(key))).collect();
        return xml(StatusCode::OK, &format!("<DeleteResult>{deleted}</DeleteResult>"));
    }
    refusal(StatusCode::NOT_IMPLEMENTED, "NotImplemented", "uploads and delete are understood")
}

fn delete(store: &Store, target: &Target) -> Reply {
    let mut objects = store.objects();
    match target.parameter("uploadId") {
        Some(upload) => objects.abort(upload),
        None => objects.delete(&target.name),
    }
    reply(StatusCode::NO_CONTENT, "")
}

fn list(store: &Store, target: &Target) -> Reply {
    let objects = store.objects();
    let (bucket, key_prefix) = (&target.name, target.parameter("prefix").unwrap_or_default());
    let delimiter = target.parameter("delimiter").filter(|delimiter| !delimiter.is_empty());
    let after = target.parameter("continuation-token").or(target.parameter("start-after")).unwrap_or_default();
    let (prefix, after) = (format!("{bucket}/{key_prefix}"), format!("{bucket}/{after}"));
    let (mut contents, mut prefixes, mut listed, mut next) = (String::new(), Vec::<String>::new(), 0, None);
    for (name, version) in objects.names(&prefix, &after) {
        let key = &name[bucket.len() + 1..];
        if let Some((folder, _)) = delimiter.and_then(|delimiter| key[key_prefix.len()..].split_once(delimiter)) {
            let folder = format!("{key_prefix}{folder}{}", delimiter.unwrap_or_default());
            if prefixes.last() != Some(&folder) {
                prefixes.push(folder);
            }
            continue;
        }
        if listed == PAGE {
            break;
        }
        let modified = version.modified.to_rfc3339_opts(SecondsFormat::Millis, true);
        contents += &format!(
            "<Contents><Key>{}</Key><Size>{}</Size><LastModified>{modified}</LastModified><ETag>{}</ETag></Contents>",
            escaped(key),
            version.bytes.len(),
            escaped(&version.e_tag)
        );
        listed += 1;
        if listed == PAGE {
            next = Some(key.to_owned());
        }
    }
    let prefixes: String =
        prefixes.iter().map(|prefix| format!("<CommonPrefixes><Prefix>{}</Prefix></CommonPrefixes>", escaped(prefix))).collect();
    let next = next.map(|key| format!("<NextContinuationToken>{}</NextContinuationToken>", escaped(&key))).unwrap_or_default();
    xml(StatusCode::OK, &format!("<ListBucketResult>{contents}{prefixes}{next}</ListBucketResult>"))
}

/// Body of a mode request, such as `{"mode": {"kind": "slow", "delay_ms": 1500}, "times": 2}`
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ModeRequest {
    mode: StoreMode,
    times: Option<u32>,
}

fn set_mode(store: &Store, body: &[u8]) -> Reply {
    match serde_json::from_slice(body) {
        Ok(ModeRequest { mode, times }) => {
            store.modes.set(mode, times);
            reply(StatusCode::OK, "{}")
        }
        Err(error) => reply(StatusCode::BAD_REQUEST, json!({"message": error.to_string()}).to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_bounded_by_the_object() {
        let cases = [("bytes=1-3", Some(1..4)), ("bytes=7-", Some(7..10)), ("bytes=-4", Some(6..10)), ("bytes=8-99", Some(8..10))];
        for (text, range) in cases {
            assert_eq!(range_of(text, 10), range, "{text}");
        }
        for text in ["bytes=10-", "bytes=3-2", "bytes=x-2", "lines=1-2", "bytes=-0"] {
            assert_eq!(range_of(text, 10), None, "{text}");
        }
    }

    #[test]
    fn elements_are_found_wherever_they_lie() {
        let body = "<Delete xmlns=\"x\"><Object><Key>a&amp;b</Key></Object><Object><Key>c</Key></Object></Delete>";
        assert_eq!(elements(body, "Key"), ["a&b", "c"]);
        assert_eq!(elements(body, "PartNumber"), Vec::<String>::new());
    }
}
