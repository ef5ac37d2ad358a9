//! Values that break careless code, in every place of every operation, by every kind of caller and every method: no answer is a
//! failure of ours, each refusal says what is wrong, none is awaited in vain, and the node goes on.
//!
//! Of all combinations a sample is sent; with `HOSTILE_ALL=1` in the environment all of them, for some minutes.

use std::collections::BTreeSet;

use bytes::Bytes;
use chaos::http::{Answer, Call};
use hyper::Method;
use rand::SeedableRng;
use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;
use serde_json::{Value, json};

use super::generate::Generator;
use super::{ENDS_THE_CALLER, Operation, Site, operations};
use crate::common::{PASSWORD, api_token, heartbeat};

/// In a path or a query, as it stands in the address.
const IN_ADDRESS: [&str; 14] = [
    "",
    "%00",
    "a%00b",
    // A lone surrogate, and what is no UTF-8 at all.
    "%ED%A0%80",
    "%FF%FE",
    // No escape.
    "%",
    "%G1%",
    "99999999999999999999999999",
    "-9223372036854775809",
    "1e400",
    "NaN",
    "%F0%9F%92%A9%E2%80%AE%CC%81",
    "..%2F..%2Fetc%2Fpasswd",
    "%27%22%3B--%25%5F%5C",
];

/// Queries of no operation.
const QUERIES: [&str; 8] =
    ["?&&=&", "?=x", "?limit", "?limit=1&limit=2", "?id[]=1&id[a]=2", "?limit=%ED%A0%80", "?%00=%00", "?__proto__=1&constructor=2"];

/// In a JSON body, as it stands in the text.
const IN_BODY: [&str; 22] = [
    r#""\u0000""#,
    r#""a\u0000b""#,
    r#""\ud800""#,
    r#""\udfff\ud800""#,
    r#""""#,
    "\"\u{202e}\u{feff}\u{200b}\u{301}\u{1f4a9}\"",
    r#"" ""#,
    "null",
    "true",
    "0",
    "-1",
    "99999999999999999999999999",
    "-9223372036854775809",
    "9223372036854775807",
    "1e400",
    "1e308",
    "[]",
    "{}",
    "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]",
    r#"{"\u0000":"\u0000"}"#,
    r#"["\u0000",1e308,-0.0,null]"#,
    r#"{"a":1,"a":2,"":{"":[]}}"#,
];
/// Bodies that are no JSON, and JSON that is none of what is asked for.
const BODIES: [&[u8]; 14] = [
    b"",
    b" ",
    b"\0",
    b"\xff\xfe{\0}\0",
    b"{\"a\":\"\xed\xa0\x80\"}",
    b"\xef\xbb\xbf{}",
    b"{",
    b"{}{}",
    b"[]",
    b"[{}]",
    b"null",
    b"7",
    b"\"text\"",
    b"--x\r\ncontent-disposition: form-data; name=\"a\"\r\n\r\n1\r\n--x--\r\n",
];
/// Types of bodies.
const CONTENT_TYPES: [&str; 7] = [
    "application/json",
    "application/json; charset=utf-16",
    "text/plain",
    "text/csv",
    "application/x-www-form-urlencoded",
    "multipart/form-data; boundary=x",
    "x/y; =",
];
/// Headers that are read somewhere.
const HEADERS: [(&str, &str); 12] = [
    ("range", "bytes=9-1,-5,0-"),
    ("range", "bytes=99999999999999999999-"),
    ("if-none-match", "\"\",*,W/"),
    ("if-range", "yesterday"),
    ("idempotency-key", ""),
    ("idempotency-key", "x x\"\\"),
    ("content-encoding", "gzip"),
    ("content-encoding", "gzip, deflate, br"),
    ("content-range", "bytes 5-1/x"),
    ("cookie", "nexmdm_access=%00; =; a"),
    ("x-forwarded-for", "999.1.1.1, ::::, unknown"),
    ("accept", "application/xml;q=x"),
];
/// Methods, whether or not the description knows them.
const METHODS: [&str; 9] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW"];
/// Stands for the hostile value while the body is made.
const HERE: &str = "@hostile@";
/// Id of nothing.
const NO_ID: &str = "018f0000-0000-7000-8000-000000000000";
/// Addresses and bodies of an operation, of those for a caller whom it is for.
const ADDRESSES_MAX: usize = 40;
const BODIES_MAX: usize = 100;
/// Of each, for a caller who is refused for who they are, whatever they send.
const REFUSED_MAX: usize = 2;

/// Addresses of an operation, with hostile values for every parameter of the path and for each of the query.
fn addresses(operation: &Operation) -> Vec<String> {
    let parameters: Vec<_> = operation.description["parameters"].as_array().into_iter().flatten().collect();
    let name = |parameter: &Value| parameter["name"].as_str().unwrap().to_owned();
    let with = |value: &str| {
        parameters
            .iter()
            .filter(|parameter| parameter["in"] == "path")
            .fold(operation.path.clone(), |path, parameter| path.replace(&format!("{{{}}}", name(parameter)), value))
    };
    let queried: Vec<_> = parameters.iter().filter(|parameter| parameter["in"] == "query").map(|parameter| name(parameter)).collect();
    let long = "a".repeat(3_000);
    let mut all = vec![];
    for value in IN_ADDRESS.into_iter().chain([long.as_str()]) {
        if operation.path.contains('{') {
            all.push(with(value));
        }
        all.extend(queried.iter().map(|name| format!("{}?{name}={value}", with(NO_ID))));
    }
    all.extend(QUERIES.map(|query| with(NO_ID) + query));
    all.push(with(NO_ID) + "/");
    all.push(format!("/{}", with(NO_ID)));
    all
}

/// A value with the place of each part of it taken in turn.
fn templates(value: &Value) -> Vec<Value> {
    let mut all = vec![json!(HERE)];
    let parts: Vec<(String, &Value)> = match value {
        Value::Object(fields) => fields.iter().map(|(name, part)| (name.clone(), part)).collect(),
        Value::Array(items) => items.iter().enumerate().take(1).map(|(at, part)| (at.to_string(), part)).collect(),
        _ => vec![],
    };
    for (name, part) in parts {
        all.extend(templates(part).into_iter().map(|inner| {
            let mut outer = value.clone();
            match &mut outer {
                Value::Array(items) => items[0] = inner,
                fields => fields[&name] = inner,
            }
            outer
        }));
    }
    all
}

/// Bodies that fit but for one value, and some that do not fit at all.
fn bodies(operation: &Operation, generator: &mut Generator<'_>) -> Vec<Bytes> {
    let schema = &operation.description["requestBody"]["content"]["application/json"]["schema"];
    let mut all: Vec<Bytes> = BODIES.map(Bytes::from_static).into();
    if schema.is_null() {
        return all;
    }
    let long = json!("ä".repeat(3_000)).to_string();
    let deep = "[".repeat(2_000) + &"]".repeat(2_000);
    for template in templates(&generator.complete(schema)) {
        let template = template.to_string();
        let values = IN_BODY.into_iter().chain([long.as_str(), deep.as_str()]);
        all.extend(values.map(|value| Bytes::from(template.replace(&format!("\"{HERE}\""), value))));
    }
    all
}

/// What is wrong with an answer, whatever was asked.
fn wrong(method: &Method, answer: &Answer) -> Option<String> {
    let problem = answer.json();
    match answer.status {
        503 if answer.retry_after().is_some() => None,
        500.. => Some(format!("{}: {}", answer.status, answer.detail())),
        400.. if method == Method::HEAD => None,
        400.. => {
            let is_typed = answer.header("content-type") == Some("application/problem+json");
            let says = |name: &str| problem[name].as_str().is_some_and(|text| !text.is_empty());
            let is_told = is_typed && says("type") && says("title") && says("detail") && problem["status"] == answer.status;
            (!is_told).then(|| format!("{} without a problem: {problem}", answer.status))
        }
        _ => None,
    }
}

/// Sends calls and keeps those whose answers are wrong.
struct Prober<'a> {
    site: &'a Site,
    sent: usize,
    throttled: usize,
    failed: Vec<String>,
}

impl Prober<'_> {
    async fn send(&mut self, caller: &(&str, Option<String>), call: Call<'_>, method: &Method, what: impl Fn() -> String) {
        let call = match &caller.1 {
            Some(token) => call.bearer(token),
            None => call,
        };
        let answer = self.site.bench.client.send(call).await;
        self.sent += 1;
        let problem = match &answer {
            Ok(answer) => {
                self.throttled += usize::from(answer.status == 429);
                wrong(method, answer)
            }
            Err(error) => Some(format!("no answer: {error}")),
        };
        if let Some(problem) = problem {
            self.failed.push(format!("{method} {:.400} as {}: {problem}", what(), caller.0));
        }
    }

    fn finish(self, least: usize) {
        let Self { site, sent, throttled, failed } = self;
        assert!(failed.is_empty(), "{} of {sent} calls failed, e.g.\n{}", failed.len(), failed[..failed.len().min(30)].join("\n"));
        assert!(sent > least && throttled * 10 < sent, "{throttled} of {sent} calls were not looked at");
        assert!(!site.bench.node.log().contains("panicked at"), "{}", site.bench.node.log());
    }
}

/// Every kind of caller, with what proves it.
async fn callers(site: &Site) -> [(&'static str, Option<String>); 8] {
    let (client, admin) = (&site.bench.client, &site.bench.admin);
    for role in ["operator", "viewer"] {
        site.bench.add_user(role, role);
    }
    let me: Value = client.get_json("/v1/me", admin).await.unwrap();
    let scopes: Vec<&str> = me["scopes"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
    [
        ("nobody", None),
        ("viewer", Some(client.access_token("viewer", PASSWORD).await.unwrap())),
        ("operator", Some(client.access_token("operator", PASSWORD).await.unwrap())),
        ("admin", Some(admin.clone())),
        ("device", Some(site.device.session_token.clone())),
        ("device token", Some(site.device.device_token.clone())),
        ("enrollment token", Some(client.tokens(admin, 1).await.unwrap()[0].token.clone())),
        ("API token", Some(api_token(client, admin, &scopes).await["token"].as_str().unwrap().to_owned())),
    ]
}

/// Some of all, the same in every run.
fn sample<T: Clone>(all: &[T], count: usize, rng: &mut SmallRng) -> Vec<T> {
    let count = if std::env::var_os("HOSTILE_ALL").is_some() { all.len() } else { count };
    all.sample(rng, count).cloned().collect()
}

/// Whether the caller is one of those that an operation is for.
fn is_let_in(operation: &Operation, caller: &str) -> bool {
    let scheme = operation.description["security"][0].as_object().and_then(|scheme| scheme.keys().next().cloned());
    match scheme.as_deref() {
        Some("person" | "sign_in") => caller == "admin",
        Some("device") if operation.path == "/v1/agent/session" => caller == "device token",
        Some("device") => caller == "device",
        Some("enrollment") => caller == "enrollment token",
        _ => caller == "nobody",
    }
}

#[tokio::test]
async fn no_value_in_any_place_by_any_caller_is_a_failure_of_ours() {
    let site = Site::start().await;
    let callers = callers(&site).await;
    let (document, meaningful) = (site.document.clone(), site.meaningful.clone());
    let mut prober = Prober { site: &site, sent: 0, throttled: 0, failed: Vec::new() };
    for operation in operations(&document).iter().filter(|operation| !ENDS_THE_CALLER.contains(&operation.path.as_str())) {
        let mut rng = SmallRng::seed_from_u64(1);
        let mut generator = Generator::new(&document, &meaningful, SmallRng::seed_from_u64(2));
        let addresses = addresses(operation);
        let path = site.known_path(&operation.path).replace("{id}", &site.ids[0]).replace(['{', '}'], "");
        let bodies = bodies(operation, &mut generator);
        let method = &operation.method;
        for caller in &callers {
            let (addresses_max, bodies_max) =
                if is_let_in(operation, caller.0) { (ADDRESSES_MAX, BODIES_MAX) } else { (REFUSED_MAX, REFUSED_MAX) };
            for address in &sample(&addresses, addresses_max, &mut rng) {
                let call = match *method {
                    Method::GET | Method::DELETE => Call::new(method.clone(), address),
                    _ => Call::post(address, "{}").method(method.clone()),
                };
                prober.send(caller, call, method, || address.clone()).await;
            }
            for body in &sample(&bodies, bodies_max, &mut rng) {
                let call = Call::post(&path, body.clone()).method(method.clone());
                prober.send(caller, call, method, || format!("{path} {}", String::from_utf8_lossy(body))).await;
            }
        }
    }
    let device = &site.device;
    let answer = site.bench.client.heartbeat(&device.session_token, &heartbeat(0, 5)).await.unwrap();
    assert_eq!(answer.status, 200, "{}", answer.detail());
    prober.finish(5_000);
}

#[tokio::test]
async fn no_method_header_or_type_by_any_caller_is_a_failure_of_ours() {
    let site = Site::start().await;
    let callers = callers(&site).await;
    let document = site.document.clone();
    let mut prober = Prober { site: &site, sent: 0, throttled: 0, failed: Vec::new() };
    let operations = operations(&document);
    let paths: BTreeSet<_> = operations.iter().map(|operation| operation.path.as_str()).collect();
    for path in paths.into_iter().filter(|path| !ENDS_THE_CALLER.contains(path)) {
        let concrete = path.split('/').map(|part| if part.starts_with('{') { NO_ID } else { part }).collect::<Vec<_>>().join("/");
        for caller in callers.iter().filter(|caller| ["nobody", "viewer", "admin", "device"].contains(&caller.0)) {
            for method in METHODS {
                let method: Method = method.parse().unwrap();
                let bare = Call::new(method.clone(), &concrete);
                prober.send(caller, bare, &method, || concrete.clone()).await;
            }
        }
    }
    for operation in operations.iter().filter(|operation| !ENDS_THE_CALLER.contains(&operation.path.as_str())) {
        let path = site.known_path(&operation.path).replace("{id}", NO_ID).replace(['{', '}'], "");
        let method = &operation.method;
        for caller in callers.iter().filter(|caller| is_let_in(operation, caller.0)) {
            let long = "x".repeat(6_000);
            let headers = HEADERS.into_iter().chain([("idempotency-key", long.as_str()), ("accept-language", long.as_str())]);
            for (name, value) in headers {
                let call = Call::post(&path, "{}").method(method.clone()).header(name, value);
                prober.send(caller, call, method, || format!("{path} with {name}: {value}")).await;
            }
            for content_type in CONTENT_TYPES {
                let body = if content_type.contains("json") { "{}" } else { "--x\r\na=b&c=%00" };
                let call = Call::post(&path, body).method(method.clone()).content_type(content_type);
                prober.send(caller, call, method, || format!("{path} with {content_type}: {body}")).await;
            }
        }
    }
    prober.finish(3_000);
}
