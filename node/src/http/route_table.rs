//! The tables of docs/security.md, made of the declarations of the routes: who may call each, its limits and its headers.

use std::collections::BTreeMap;
use std::fmt::Write;

use domain::access::{Permission, Role};
use serde_json::Value;

use super::headers::HeaderClass;
use super::{RouteClass, api_routes};

const DOCUMENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/security.md");
const BEGIN: &str = "<!-- written by `NEXMDM_WRITE_DOCS=1 cargo test -p node route_table`: ";
const END: &str = "<!-- end -->\n";

/// Bodies that are not limited by `http.body_limit_bytes`.
const BODY_LIMITS: [(&str, &str); 5] = [
    ("POST /v1/heartbeats", "http.heartbeats_body_limit_bytes"),
    ("POST /v1/devices/bulk", "http.bulk_body_limit_bytes"),
    ("POST /v1/devices/import.csv", "http.import_body_limit_bytes"),
    ("POST /v1/apks", "apks.upload_limit_bytes"),
    ("PATCH /v1/apk-uploads/{id}", "apks.part_limit_bytes"),
];

/// Routes without a token, and what they ask for instead.
const WITHOUT_TOKEN: [(&str, &str); 16] = [
    ("GET /healthz", "anybody"),
    ("GET /readyz", "anybody"),
    ("POST /v1/auth/login", "anybody; name and password"),
    ("POST /v1/auth/refresh", "anybody; refresh token"),
    ("GET /v1/agent/apk", "anybody; signed address that expires"),
    ("GET /v1/apks/{id}/file", "anybody; signed address that expires"),
    ("ANY /v1/{*unknown}", "anybody; always 404"),
    ("GET /login", "anybody"),
    ("POST /login", "anybody; name and password"),
    ("GET /password/forgot", "anybody"),
    ("POST /password/forgot", "anybody; the answer is always the same"),
    ("GET /password/new", "anybody; token of a link that was sent by mail"),
    ("POST /password/new", "anybody; token of a link that was sent by mail"),
    ("GET /assets/{name}", "anybody"),
    ("GET /favicon.svg", "anybody"),
    ("GET /favicon.ico", "anybody"),
];

/// A route as the table shows it.
struct Row {
    who: String,
    rate: String,
    body: String,
    headers: HeaderClass,
}

/// Roles and scope of whoever may call a route with this permission.
fn holders(scope: Option<&str>) -> String {
    let Some(scope) = scope else { return "every role, API tokens".into() };
    let permission: Permission = Permission::ALL.into_iter().find(|permission| permission.as_str() == scope).unwrap();
    let roles: Vec<_> = Role::ALL.into_iter().filter(|role| role.allows(permission)).map(Role::as_str).collect();
    format!("{}; API tokens with `{scope}`", roles.join(", "))
}

fn who(name: &str, security: &Value) -> String {
    let schemes: Vec<_> = security.as_array().into_iter().flatten().filter_map(|scheme| scheme.as_object()?.iter().next()).collect();
    if name == "GET /metrics" {
        return format!("by `metrics.access`: anybody, or {}", holders(schemes[0].1[0].as_str()));
    }
    match schemes.first() {
        None => WITHOUT_TOKEN
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, who)| (*who).to_owned())
            .unwrap_or_else(|| panic!("{name} asks for no token: say in WITHOUT_TOKEN what it asks for")),
        Some((scheme, scopes)) => match scheme.as_str() {
            "person" => holders(scopes[0].as_str()),
            "sign_in" => "every role, signed in; no API tokens".into(),
            "device" => "devices".into(),
            "enrollment" => "holder of an enrollment token".into(),
            other => panic!("unknown scheme {other}"),
        },
    }
}

fn rate(class: Option<RouteClass>) -> String {
    class.map_or_else(|| "none".into(), |class| format!("`{}`", class.as_str()))
}

/// What routers add without describing it: `.route("path", method(handler))`, one a line.
fn undescribed(source: &str) -> Vec<String> {
    let mut found = Vec::new();
    for line in source.lines() {
        let Some((_, rest)) = line.split_once(".route(\"") else { continue };
        let (path, handlers) = rest.split_once('"').unwrap();
        for method in ["get", "post", "put", "patch", "delete", "any"] {
            if [", ", ".", "::"].iter().any(|before| handlers.contains(&format!("{before}{method}("))) {
                found.push(format!("{} {path}", method.to_uppercase()));
            }
        }
    }
    found
}

fn rows() -> BTreeMap<(String, String), Row> {
    let mut rows = BTreeMap::new();
    let mut add = |name: &str, who: String, class: Option<RouteClass>, has_body: bool| {
        let (method, path) = name.split_once(' ').unwrap();
        let limit = BODY_LIMITS.iter().find(|(known, _)| *known == name).map(|(_, setting)| *setting);
        let body = match limit.or(has_body.then_some("http.body_limit_bytes")) {
            Some(setting) => format!("`{setting}`"),
            None => String::new(),
        };
        rows.insert((path.to_owned(), method.to_owned()), Row { who, rate: rate(class), body, headers: HeaderClass::of(path) });
    };
    for (class, routes) in api_routes() {
        let description = serde_json::to_value(routes.into_openapi()).unwrap();
        for (path, methods) in description["paths"].as_object().unwrap() {
            for (method, operation) in methods.as_object().unwrap() {
                let name = format!("{} {path}", method.to_uppercase());
                add(&name, who(&name, &operation["security"]), class, operation["requestBody"].is_object());
            }
        }
    }
    for name in undescribed(include_str!("mod.rs")) {
        let is_agent = name.contains("/v1/agent/");
        let class = if is_agent { RouteClass::Agent } else { RouteClass::Api };
        add(&name, if is_agent { "devices".into() } else { who(&name, &Value::Null) }, Some(class), false);
    }
    for name in undescribed(include_str!("../../../web-dioxus/src/lib.rs")) {
        let open = WITHOUT_TOKEN.iter().find(|(known, _)| *known == name).map(|(_, who)| (*who).to_owned());
        let class = if matches!(name.as_str(), "POST /login" | "POST /live/refresh" | "POST /password/forgot" | "POST /password/new") {
            RouteClass::SignIn
        } else {
            RouteClass::Page
        };
        add(&name, open.unwrap_or_else(|| "signed-in browser (cookie), by role".into()), Some(class), false);
    }
    for (name, who) in [
        ("GET /openapi.json", "by `http.docs_access`: anybody, or whoever is signed in"),
        ("GET /docs/", "by `http.docs_access`: anybody, or whoever is signed in"),
        ("GET (any other path)", "signed-in browser (cookie), by role; others are sent to `/login`"),
    ] {
        add(name, who.into(), Some(RouteClass::Page), false);
    }
    rows
}

fn routes() -> String {
    let mut table = "| Route | Who | Rate limit | Largest body | Headers |\n|---|---|---|---|---|\n".to_owned();
    for ((path, method), Row { who, rate, body, headers }) in rows() {
        let class = format!("{headers:?}").to_lowercase();
        writeln!(table, "| `{method} {path}` | {who} | {rate} | {body} | {class} |").unwrap();
    }
    table
}

fn headers() -> String {
    let classes = [HeaderClass::Data, HeaderClass::Docs, HeaderClass::Page];
    let mut table = "| Header | data | docs | page |\n|---|---|---|---|\n".to_owned();
    for n in 0..HeaderClass::Data.headers().len() {
        let cells = classes.map(|class| format!("`{}`", class.headers()[n].1)).join(" | ");
        writeln!(table, "| `{}` | {cells} |", HeaderClass::Data.headers()[n].0).unwrap();
    }
    table
}

/// The document with the table of this name written anew.
fn with_table(document: &str, name: &str, table: &str) -> String {
    let (before, rest) = document.split_once(&format!("{BEGIN}{name} -->\n")).unwrap_or_else(|| panic!("no place for {name}"));
    let (_, after) = rest.split_once(END).unwrap();
    format!("{before}{BEGIN}{name} -->\n{table}{END}{after}")
}

/// `NEXMDM_WRITE_DOCS=1` writes them anew.
#[test]
fn the_tables_of_the_document_are_those_of_the_routes() {
    let document = std::fs::read_to_string(DOCUMENT).unwrap();
    let wanted = with_table(&with_table(&document, "headers", &headers()), "routes", &routes());
    if std::env::var_os("NEXMDM_WRITE_DOCS").is_some() {
        std::fs::write(DOCUMENT, wanted).unwrap();
    } else {
        assert!(document == wanted, "docs/security.md differs from the routes: NEXMDM_WRITE_DOCS=1 cargo test -p node route_table");
    }
}

#[test]
fn what_asks_for_no_token_is_a_route() {
    let rows = rows();
    for (name, _) in WITHOUT_TOKEN.iter().chain(&BODY_LIMITS) {
        let (method, path) = name.split_once(' ').unwrap();
        assert!(rows.contains_key(&(path.to_owned(), method.to_owned())), "{name}");
    }
}
