//! P10: every route with every kind of credential, against a table of what it answers.
//!
//! The routes come from the API's own description and, for what that cannot describe, from the
//! source of the routers: one that is not in the table fails the test.

mod table;

use std::collections::BTreeSet;

use chaos::client::Client;
use chaos::http::{Answer, Call};
use domain::access::{Permission, Role, Scopes};
use serde_json::Value;
use uuid::Uuid;

use crate::common::{Bench, PASSWORD, options};
use table::{CALLERS, TABLE};

/// Routes of the API description.
fn described(document: &Value) -> BTreeSet<(String, String)> {
    let paths = document["paths"].as_object().unwrap().iter();
    paths.flat_map(|(path, methods)| methods.as_object().unwrap().keys().map(move |method| (method.to_uppercase(), path.clone()))).collect()
}

/// Routes that routers add without describing them: `.route("path", method(handler))`, one a line.
fn undescribed(source: &str) -> BTreeSet<(String, String)> {
    let mut found = BTreeSet::new();
    for line in source.lines() {
        let Some((_, rest)) = line.split_once(".route(\"") else { continue };
        let (path, handlers) = rest.split_once('"').unwrap();
        let methods: Vec<_> = ["get", "post", "put", "patch", "delete", "any"]
            .into_iter()
            .filter(|method| [", ", ".", "::"].iter().any(|before| handlers.contains(&format!("{before}{method}("))))
            .collect();
        assert!(!methods.is_empty(), "no method to be read in: {line}");
        found.extend(methods.into_iter().map(|method| (method.to_uppercase(), path.to_owned())));
    }
    found
}

/// Where a token needs more than the operation names, or less: a saved filter is one's own, and another flag takes another permission.
const OTHER_THAN_DECLARED: [&str; 4] = ["POST /v1/filters", "PATCH /v1/filters/{id}", "DELETE /v1/filters/{id}", "PUT /v1/flags/{id}"];

/// The permission that an operation names is the one that it takes: whoever lacks it, and nobody else, is refused.
fn declared_wrongly(document: &Value) -> Vec<String> {
    let mut wrong = Vec::new();
    for (method, path, _, statuses) in TABLE {
        let security = &document["paths"][*path][method.to_lowercase()]["security"][0];
        let scope = security["person"][0].as_str().and_then(|scope| Scopes::parse("scopes", &[scope]).ok()?.iter().next());
        let name = format!("{method} {path}");
        let expected = match (scope, security["sign_in"].is_array()) {
            (Some(scope), _) => [
                !Role::Viewer.allows(scope),
                !Role::Operator.allows(scope),
                !Role::Admin.allows(scope),
                scope != Permission::ViewDevices,
                false,
            ],
            (None, true) => [false, false, false, true, true],
            _ => continue,
        };
        let refused = [2, 3, 4, 10, 11].map(|caller| statuses[caller] == 403);
        if refused != expected && !OTHER_THAN_DECLARED.contains(&name.as_str()) && path != &"/metrics" {
            wrong.push(format!("{name}: {refused:?} instead of {expected:?}"));
        }
    }
    wrong
}

#[test]
fn routes_are_read_from_the_source() {
    let source = r#"
        .route("/a", get(x).post(y))
        .route("/b/{*c}", axum::routing::any(z));"#;
    let want = [("ANY", "/b/{*c}"), ("GET", "/a"), ("POST", "/a")].map(|(method, path)| (method.to_owned(), path.to_owned()));
    assert_eq!(undescribed(source), want.into());
}

/// An API token with these scopes, and its id.
async fn api_token(client: &Client, bearer: &str, scopes: &[&str]) -> (String, String) {
    let made = crate::common::api_token(client, bearer, scopes).await;
    (made["id"].as_str().unwrap().to_owned(), made["token"].as_str().unwrap().to_owned())
}

/// A bearer token for each of [`CALLERS`], the first and the enrollment token aside.
async fn bearers(bench: &Bench) -> Vec<String> {
    let client = &bench.client;
    for role in ["operator", "viewer"] {
        bench.add_user(role, role);
    }
    let device = bench.enroll("the-device").await;
    let every: Value = client.get_json("/v1/me", &bench.admin).await.unwrap();
    let every: Vec<&str> = every["scopes"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
    let (revoked_id, revoked) = api_token(client, &bench.admin, &every).await;
    assert_eq!(client.delete(&format!("/v1/api-tokens/{revoked_id}"), &bench.admin).await.unwrap().status, 204);
    let (expired_id, expired) = api_token(client, &bench.admin, &every).await;
    bench.sql(&format!(
        "UPDATE api_token SET created_at = now() - interval '2 days', expires_at = now() - interval '1 second' WHERE api_token_id = '{expired_id}'"
    ));
    vec![
        String::new(),
        format!("nxm_{}", "x".repeat(43)),
        client.access_token("viewer", PASSWORD).await.unwrap(),
        client.access_token("operator", PASSWORD).await.unwrap(),
        client.access_token("admin", bench.node.admin_password()).await.unwrap(),
        device.device_token,
        device.session_token,
        client.tokens(&bench.admin, 1).await.unwrap().remove(0).token,
        revoked,
        expired,
        api_token(client, &bench.admin, &["devices:read"]).await.1,
        api_token(client, &bench.admin, &every).await.1,
    ]
}

/// What an answer lacks of the headers that all have.
fn unprotected(path: &str, answer: &Answer) -> Option<String> {
    let is_kept = path.starts_with("/assets/") || path.starts_with("/favicon") || path.ends_with("/file") || path.ends_with("/apk");
    let wanted = [
        ("x-content-type-options", "nosniff"),
        ("x-frame-options", "DENY"),
        ("content-security-policy", "frame-ancestors 'none'"),
        ("referrer-policy", ""),
        ("x-request-id", ""),
        ("cache-control", if is_kept { "" } else { "no-store" }),
    ];
    let lacks = |(name, value): &(&str, &str)| !answer.header(name).is_some_and(|told| told.contains(value));
    wanted.into_iter().find(lacks).map(|(name, value)| format!("no header {name}: {value}, but {:?}", answer.header(name)))
}

#[tokio::test]
async fn every_route_answers_every_caller_as_the_table_says() {
    // Every route is called with tokens that hold no more, from one address.
    let bench = Bench::with(options().env("NEXMDM__AUTH__TOKEN_FAILURE_BURST", "100000")).await;
    let document: Value = bench.client.get("/openapi.json", None).await.unwrap().json();
    let mut routes = described(&document);
    let sources = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
    for file in ["node/src/http/mod.rs", "web-dioxus/src/lib.rs"] {
        routes.extend(undescribed(&std::fs::read_to_string(format!("{sources}/{file}")).unwrap()));
    }
    let named: BTreeSet<_> = TABLE.iter().map(|(method, path, ..)| ((*method).to_owned(), (*path).to_owned())).collect();
    assert_eq!(named.len(), TABLE.len(), "a route stands in the table twice");
    let missing: Vec<_> = routes.difference(&named).collect();
    assert!(missing.is_empty(), "not in the table, so nobody has said who may call them: {missing:?}");
    let gone: Vec<_> =
        named.difference(&routes).filter(|(_, path)| !["/openapi.json", "/docs/", "/any/page"].contains(&path.as_str())).collect();
    assert!(gone.is_empty(), "in the table, but no routes: {gone:?}");

    assert_eq!(declared_wrongly(&document), Vec::<String>::new());

    let bearers = bearers(&bench).await;
    let mut wrong = Vec::new();
    for (method, path, body, statuses) in TABLE {
        for (n, (caller, want)) in CALLERS.iter().zip(statuses).enumerate() {
            let id = Uuid::now_v7().to_string();
            let concrete = path.split('/').map(|part| if part.starts_with('{') { id.as_str() } else { part }).collect::<Vec<_>>().join("/");
            let method = if *method == "ANY" { "GET" } else { method };
            let body = body.replace('#', &n.to_string());
            let mut call = match body.is_empty() {
                true => Call::new(method.parse().unwrap(), &concrete),
                false => Call::post(&concrete, body).method(method.parse().unwrap()),
            };
            if n > 0 {
                call = call.bearer(&bearers[n]);
            }
            let answer = bench.client.send(call).await.unwrap();
            if let Some(problem) = unprotected(path, &answer) {
                wrong.push(format!("{method} {path} as {caller}: {problem}"));
            }
            if answer.status != *want {
                wrong.push(format!("{method} {path} as {caller}: {} instead of {want}: {}", answer.status, answer.detail()));
            }
        }
    }
    assert!(wrong.is_empty(), "{} answers differ from the table:\n{}", wrong.len(), wrong.join("\n"));
}
