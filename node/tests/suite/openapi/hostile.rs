//! Values that break careless code, in every place of every operation, by every kind of caller: no answer is a failure of ours.

use chaos::http::Call;
use hyper::Method;
use rand::SeedableRng;
use rand::rngs::SmallRng;
use serde_json::{Value, json};

use super::generate::Generator;
use super::{ENDS_THE_CALLER, Operation, Site, operations};
use crate::common::PASSWORD;

/// In a path or a query, as it stands in the address.
const IN_ADDRESS: [&str; 9] = [
    "%00",
    "a%00b",
    // A lone surrogate, and what is no UTF-8 at all.
    "%ED%A0%80",
    "%FF%FE",
    "99999999999999999999999999",
    "-9223372036854775809",
    "%F0%9F%92%A9%E2%80%AE%CC%81",
    "..%2F..%2Fetc%2Fpasswd",
    "%27%22%3B--%25%5F%5C",
];

/// In a JSON body, as it stands in the text.
const IN_BODY: [&str; 10] = [
    r#""\u0000""#,
    r#""a\u0000b""#,
    r#""\ud800""#,
    r#""\udfff\ud800""#,
    "99999999999999999999999999",
    "-9223372036854775809",
    "1e400",
    "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]",
    r#"{"\u0000":"\u0000"}"#,
    r#"["\u0000",1e308,-0.0,null]"#,
];
/// Stands for the hostile value while the body is made.
const HERE: &str = "@hostile@";

/// One address of an operation, with `value` for every parameter of the path and for one of the query.
fn addresses(operation: &Operation, value: &str) -> Vec<String> {
    let parameters: Vec<_> = operation.description["parameters"].as_array().into_iter().flatten().collect();
    let name = |parameter: &Value| parameter["name"].as_str().unwrap().to_owned();
    let id = "018f0000-0000-7000-8000-000000000000";
    let with = |value: &str| {
        parameters
            .iter()
            .filter(|parameter| parameter["in"] == "path")
            .fold(operation.path.clone(), |path, parameter| path.replace(&format!("{{{}}}", name(parameter)), value))
    };
    let mut all = vec![];
    if operation.path.contains('{') {
        all.push(with(value));
    }
    all.extend(
        parameters
            .iter()
            .filter(|parameter| parameter["in"] == "query")
            .map(|parameter| format!("{}?{}={value}", with(id), name(parameter))),
    );
    all
}

/// Bodies that fit but for one field.
fn bodies(operation: &Operation, generator: &mut Generator<'_>) -> Vec<String> {
    let schema = &operation.description["requestBody"]["content"]["application/json"]["schema"];
    if schema.is_null() {
        return vec![];
    }
    let base = generator.value(schema, true);
    let mut templates = vec![json!(HERE)];
    match &base {
        Value::Object(fields) => templates.extend(fields.keys().map(|name| {
            let mut body = base.clone();
            body[name] = json!(HERE);
            body
        })),
        _ => templates.push(json!([HERE])),
    }
    let filled = |template: &Value| IN_BODY.map(|value| template.to_string().replace(&format!("\"{HERE}\""), value));
    templates.iter().flat_map(filled).collect()
}

#[tokio::test]
async fn no_value_in_any_place_by_any_caller_is_a_failure_of_ours() {
    let site = Site::start().await;
    for role in ["operator", "viewer"] {
        site.bench.add_user(role, role);
    }
    let client = &site.bench.client;
    let callers = [
        ("nobody", None),
        ("viewer", Some(client.access_token("viewer", PASSWORD).await.unwrap())),
        ("operator", Some(client.access_token("operator", PASSWORD).await.unwrap())),
        ("admin", Some(site.bench.admin.clone())),
        ("device", Some(site.device.session_token.clone())),
        ("enrollment token", Some(client.tokens(&site.bench.admin, 1).await.unwrap()[0].token.clone())),
    ];
    let (document, meaningful) = (site.document.clone(), site.meaningful.clone());
    let (mut sent, mut throttled, mut failed) = (0, 0, Vec::new());
    for operation in operations(&document).iter().filter(|operation| !ENDS_THE_CALLER.contains(&operation.path.as_str())) {
        let mut generator = Generator::new(&document, &meaningful, SmallRng::seed_from_u64(1));
        let addresses: Vec<_> = IN_ADDRESS.iter().flat_map(|value| addresses(operation, value)).collect();
        let path = operation.path.replace("{id}", &site.ids[0]);
        let bodies = bodies(operation, &mut generator);
        for (caller, token) in &callers {
            let scheme = operation.description["security"][0].as_object().and_then(|scheme| scheme.keys().next().cloned());
            // Whoever is refused for who they are is, whatever they send: some of it is enough.
            let is_let_in = match scheme.as_deref() {
                Some("person" | "sign_in") => *caller == "admin",
                Some("device") => *caller == "device",
                Some("enrollment") => *caller == "enrollment token",
                _ => *caller == "nobody",
            };
            let some = if is_let_in { usize::MAX } else { 4 };
            let calls = addresses.iter().take(some).map(|address| (address.clone(), None));
            let calls = calls.chain(bodies.iter().take(some).map(|body| (path.clone(), Some(body.clone()))));
            for (address, body) in calls {
                let call = match (&body, &operation.method) {
                    (Some(body), method) => Call::post(&address, body.clone()).method(method.clone()),
                    (None, &Method::GET | &Method::DELETE) => Call::new(operation.method.clone(), &address),
                    (None, method) => Call::post(&address, "{}".to_owned()).method(method.clone()),
                };
                let call = match token {
                    Some(token) => call.bearer(token),
                    None => call,
                };
                let answer = client.send(call).await.unwrap_or_else(|error| panic!("{} {address}: {error}", operation.method));
                sent += 1;
                throttled += usize::from(answer.status == 429);
                if answer.status == 500 {
                    failed.push(format!("{} {address} as {caller}: {}", operation.method, body.unwrap_or_default()));
                }
            }
        }
    }
    assert!(failed.is_empty(), "{} of {sent} calls failed, e.g.\n{}", failed.len(), failed[..failed.len().min(20)].join("\n"));
    assert!(sent > 3_000 && throttled * 10 < sent, "{throttled} of {sent} calls were not looked at");
}
