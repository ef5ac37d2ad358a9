//! The API keeps its own description: whatever is sent to any route, the answer has a status that
//! the document names and a body that fits it, and none is a failure of ours.

mod generate;
mod hostile;

use std::collections::{BTreeMap, BTreeSet};

use chaos::client::EnrolledDevice;
use chaos::http::{Answer, Call};
use generate::{Generator, Meaningful};
use hyper::Method;
use rand::SeedableRng;
use rand::rngs::SmallRng;
use serde_json::{Value, json};

use crate::common::{Bench, options};

/// Requests to each operation; every second one is made to fit.
const ROUNDS: u64 = 40;
/// Ends the sign-in that all others need: it is called without credentials only.
const ENDS_THE_CALLER: [&str; 1] = ["/v1/auth/logout"];

/// One method of one path.
struct Operation {
    path: String,
    method: Method,
    description: Value,
}

fn operations(document: &Value) -> Vec<Operation> {
    let paths = document["paths"].as_object().unwrap();
    let of_path = |(path, methods): (&String, &Value)| {
        let methods = methods.as_object().unwrap().clone();
        let path = path.clone();
        methods.into_iter().map(move |(method, description)| Operation {
            path: path.clone(),
            method: method.to_uppercase().parse().unwrap(),
            description,
        })
    };
    paths.iter().flat_map(of_path).collect()
}

/// A device of its own for each call, and ids that exist.
struct Site {
    bench: Bench,
    document: Value,
    device: EnrolledDevice,
    ids: Vec<String>,
    /// An APK and an upload, which chance would not find among the ids.
    apk: String,
    upload: String,
    /// The same holds for a deployment.
    deployment: String,
    /// And for a channel of notifications and its route.
    channel: String,
    route: String,
    meaningful: Meaningful,
    /// The caller's account and sign-in, whose end would be that of the test.
    own: [Value; 2],
}

impl Site {
    async fn start() -> Self {
        let wide = [
            "NEXMDM__ENROLLMENT__FAILURE_BURST",
            "NEXMDM__AUTH__FAILURE_BURST",
            "NEXMDM__AUTH__TOKEN_FAILURE_BURST",
            "NEXMDM__RATE_LIMITS__API_BURST",
        ];
        let bench = Bench::with(wide.iter().fold(options(), |options, name| options.env(name, "100000"))).await;
        let answer = bench.client.get("/openapi.json", None).await.unwrap();
        assert_eq!(answer.status, 200);
        let document: Value = answer.json();
        let device = bench.enroll("the-caller").await;
        let mut ids = Vec::new();
        for n in 0..6 {
            ids.push(bench.enroll(&format!("kiosk-{n}")).await.device_id);
        }
        let tokens = bench.client.tokens(&bench.admin, 6).await.unwrap();
        ids.extend(tokens.iter().map(|token| token.id.clone()));
        let secrets: Vec<String> = tokens.into_iter().map(|token| token.token).collect();
        let node = bench.client.get_json("/v1/cluster", &bench.admin).await.unwrap()["node"].as_str().unwrap().to_owned();
        let build = agent_build(&bench).await;
        ids.push(build.clone());
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let meaningful = Meaningful::from([
            ("name", vec![node]),
            ("role", words(&["viewer", "operator"])),
            ("shell", words(&["bash", "powershell", "cmd"])),
            ("scopes", words(&["devices:read", "cluster:read"])),
            ("status", words(&["online", "unused"])),
            ("sort", words(&["alias"])),
            ("server_url", words(&["https://mdm.example.com"])),
            ("from", words(&["2026-01-01T00:00:00Z"])),
            ("to", words(&["2026-01-02T00:00:00Z"])),
            ("metrics", words(&["battery_pct"])),
            ("action", words(&["add_tags"])),
            ("tags", words(&["till"])),
            ("groups", words(&["berlin"])),
            ("package", words(&["com.example.till"])),
            ("signers_sha256", vec!["ab".repeat(32)]),
            ("sha256", vec![String::new()]),
            ("rollback_of", vec![String::new()]),
            ("package_name", words(&["com.nexmdm"])),
            ("build_id", vec![build]),
            ("event", words(&["downloaded", "installed", "failed"])),
            ("device_id", vec![device.device_id.clone()]),
            ("rule", words(&["low_battery", "app_down", "disk_low"])),
            ("ids", ids.clone()),
            ("day", vec![crate::common::clock(0).date_naive().to_string()]),
            ("token", secrets.clone()),
            ("tokens", secrets),
        ]);
        let apk = crate::common::apks::add(&bench.client, &bench.admin, "till-1.apk").await["id"].as_str().unwrap().to_owned();
        let begin = json!({"file_name": "x.apk", "size_bytes": 100});
        let begun = bench.client.post("/v1/apk-uploads", Some(&bench.admin), &begin).await.unwrap().json();
        let upload = begun["upload_id"].as_str().unwrap().to_owned();
        let order = json!({"apk_id": apk, "target": {"ids": [device.device_id, ids[1]]}});
        let made = bench.client.post("/v1/deployments", Some(&bench.admin), &order).await.unwrap().json();
        let deployment = made["id"].as_str().unwrap().to_owned();
        // Nothing leaves the machine: targets that lead inward are refused.
        let hook = json!({"name": "hook", "kind": "webhook", "url": "http://127.0.0.1:9/hook"});
        let made = bench.client.post("/v1/alert-channels", Some(&bench.admin), &hook).await.unwrap().json();
        let channel = made["id"].as_str().unwrap().to_owned();
        let made = bench.client.post("/v1/alert-routes", Some(&bench.admin), &json!({"channel_id": channel})).await.unwrap().json();
        let route = made["id"].as_str().unwrap().to_owned();
        let me: Value = bench.client.get_json("/v1/me", &bench.admin).await.unwrap();
        let own = [me["user_id"].clone(), me["session_id"].clone()];
        Self { bench, document, device, ids, apk, upload, deployment, channel, route, meaningful, own }
    }

    /// Ids that answers tell of, to be asked for by other calls. The caller's own account and sign-in are left in peace.
    fn learn(&mut self, answer: &Value) {
        match answer {
            Value::Object(fields) => {
                let id = fields.get("id").or(fields.get("request_id")).filter(|id| !self.own.contains(id));
                if let Some(id) = id.and_then(Value::as_str)
                    && self.ids.len() < 300
                    && id != self.device.device_id
                    && !self.ids.iter().any(|known| known == id)
                {
                    self.ids.push(id.to_owned());
                }
                fields.values().for_each(|value| self.learn(value));
            }
            Value::Array(items) => items.iter().take(5).for_each(|value| self.learn(value)),
            _ => {}
        }
    }

    async fn credentials(&self, operation: &Operation) -> Option<String> {
        if ENDS_THE_CALLER.contains(&operation.path.as_str()) {
            return None;
        }
        let scheme = operation.description["security"][0].as_object()?.keys().next()?.clone();
        Some(match scheme.as_str() {
            "person" | "sign_in" => self.bench.admin.clone(),
            "device" if operation.path == "/v1/agent/session" => self.device.device_token.clone(),
            "device" => self.device.session_token.clone(),
            "enrollment" => self.bench.client.tokens(&self.bench.admin, 1).await.unwrap()[0].token.clone(),
            other => panic!("unknown security scheme {other}"),
        })
    }

    /// A path with ids of things that exist, as far as chance would not find them.
    fn known_path(&self, path: &str) -> String {
        let flag = "deployments.enabled".to_owned();
        let known = [
            ("/v1/apks/{id}", &self.apk),
            ("/v1/apk-uploads/{id}", &self.upload),
            ("/v1/deployments/{id}", &self.deployment),
            ("/v1/alert-channels/{id}", &self.channel),
            ("/v1/alert-routes/{id}", &self.route),
            ("/v1/flags/{id}", &flag),
            ("/v1/devices/{id}", &self.ids[0]),
        ];
        let path = known.iter().fold(path.to_owned(), |path, (of, id)| path.replace(of, &of.replace("{id}", id)));
        path.replace("{deployment_id}", &self.deployment).replace("{device_id}", &self.device.device_id)
    }

    /// One call; its status and what it was.
    async fn call(&self, operation: &Operation, generator: &mut Generator<'_>, fits: bool) -> (String, Answer) {
        // What is called off cannot be paused any more.
        let is_known = fits && operation.method != Method::DELETE && !operation.path.ends_with("/cancel");
        let mut path = if is_known { self.known_path(&operation.path) } else { operation.path.clone() };
        let mut query = Vec::new();
        for parameter in operation.description["parameters"].as_array().into_iter().flatten() {
            let name = parameter["name"].as_str().unwrap();
            match parameter["in"].as_str().unwrap() {
                "path" => path = path.replace(&format!("{{{name}}}"), &encoded(&generator.path_value(name, &self.ids, fits))),
                "query" if generator.toss(0.4) || parameter["required"] == true => {
                    let value = generator.named(name, &parameter["schema"], fits, 0);
                    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                    query.push(format!("{name}={}", encoded(&text)));
                }
                _ => {}
            }
        }
        if !query.is_empty() {
            path = format!("{path}?{}", query.join("&"));
        }
        let mut call = Call::new(operation.method.clone(), &path);
        let content = operation.description["requestBody"]["content"].as_object().and_then(|content| content.iter().next());
        let mut body = None;
        if let Some((content_type, described)) = content {
            let mut value = generator.value(&described["schema"], fits);
            // A script is made for tokens that hold, which nothing but chance would find.
            if fits && operation.path == "/v1/enroll-tokens/scripts" {
                let token = self.bench.client.tokens(&self.bench.admin, 1).await.unwrap().remove(0).token;
                value = json!({"tokens": [token], "shell": "bash", "install": false});
            }
            // Nor would chance find parameters that go with an action.
            match operation.path.as_str() {
                "/v1/devices/{id}/commands" if fits => value = json!({"action": "ring", "params": {"duration_s": 2}}),
                "/v1/command-batches" if fits => {
                    value = json!({"action": "ping", "target": {"ids": [self.ids[0]]}, "dry_run": generator.toss(0.5)})
                }
                "/v1/deployments" if fits => {
                    value = json!({"apk_id": self.apk, "target": {"ids": [self.ids[0]]}, "dry_run": generator.toss(0.5)})
                }
                "/v1/silences" if fits => value = json!({"matcher": {"groups": ["north"]}, "reason": "move", "duration_seconds": 60}),
                "/v1/alert-windows" if fits => {
                    value = json!({
                        "matcher": {"rules": ["low_battery"]}, "reason": "restart", "weekdays": ["sun"], "start": "22:00", "end": "05:00",
                        "tz": "Europe/Berlin"
                    })
                }
                "/v1/alert-rules/{rule}" | "/v1/alert-rules/{rule}/preview" if fits => value = json!({"severity": "critical"}),
                "/v1/alert-channels" if fits => {
                    value = json!({"name": uuid::Uuid::now_v7().to_string(), "kind": "discord", "url": "http://127.0.0.1:9/hook"})
                }
                "/v1/alert-channels/{id}" if fits => value = json!({"enabled": generator.toss(0.5)}),
                "/v1/alert-remediation/{rule}" if fits => value = json!({"enabled": generator.toss(0.5)}),
                "/v1/event-subscriptions" if fits => value = json!({"channel_id": self.channel, "actions": ["flag.set"]}),
                "/v1/report-schedules" if fits => value = json!({"channel_id": self.channel, "period": "weekly"}),
                "/v1/alert-routes" | "/v1/alert-routes/{id}" if fits => {
                    value = json!({"channel_id": self.channel, "min_severity": "critical"})
                }
                "/v1/agent-builds" if fits => value = json!({"apk_id": apk_of_agent(&self.bench)}),
                // A report of the version that runs now has to be of the build's.
                "/v1/agent/update/report" if fits => drop(value.as_object_mut().map(|told| told.remove("version_code"))),
                "/v1/exec-commands/{name}" if fits => value = json!({"argv": ["/system/bin/id"], "description": "who am I"}),
                _ => {}
            }
            let text = if content_type.contains("json") { value.to_string() } else { value.as_str().unwrap_or_default().to_owned() };
            body = Some((content_type, if fits { text } else { generator.damaged(text) }));
        }
        if fits && (operation.method.as_str(), operation.path.as_str()) == ("POST", "/v1/apks") {
            call = Call::post(&path, crate::common::apks::fixture("till-1.apk"));
        } else if let Some((content_type, text)) = &body {
            call = Call::post(&path, text.clone()).content_type(content_type).method(operation.method.clone());
        }
        let token = self.credentials(operation).await;
        if let Some(token) = token.as_deref().filter(|_| fits || generator.toss(0.8)) {
            call = call.bearer(token);
        }
        let answer = self.bench.client.send(call).await;
        let what = format!("{} {path} {}", operation.method, body.map_or_else(String::new, |(_, text)| text.chars().take(400).collect()));
        let answer = answer.unwrap_or_else(|error| panic!("{what}: {error}"));
        (what, answer)
    }
}

/// An APK of the agent, as if it had been uploaded; its id.
fn apk_of_agent(bench: &Bench) -> String {
    let id = uuid::Uuid::now_v7();
    bench.sql(&format!(
        "INSERT INTO managed_package VALUES ('com.nexmdm', ARRAY[repeat('a', 64)], '', 'test', now()) ON CONFLICT DO NOTHING;
         INSERT INTO apk (apk_id, package, version_code, version_name, label, sha256, size_bytes, signers_sha256, uploaded_by, uploaded_at)
         SELECT '{id}', 'com.nexmdm', coalesce(max(version_code), 0) + 1000, '1', 'Agent', repeat('b', 64), 1, ARRAY[repeat('a', 64)], 'test', now()
         FROM apk WHERE package = 'com.nexmdm'"
    ));
    id.to_string()
}

/// A build of the agent that is offered to all; its id.
async fn agent_build(bench: &Bench) -> String {
    let body = json!({"apk_id": apk_of_agent(bench)});
    let made = bench.client.post("/v1/agent-builds", Some(&bench.admin), &body).await.unwrap().json();
    let id = made["id"].as_str().unwrap().to_owned();
    let promoted = bench.client.post(&format!("/v1/agent-builds/{id}/promote"), Some(&bench.admin), &json!({"rollout_percent": 100})).await;
    assert_eq!(promoted.unwrap().status, 200);
    id
}

/// A part of a URL.
fn encoded(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}

/// Violations of the API description in an answer.
fn broken(document: &Value, operation: &Operation, answer: &Answer) -> Option<String> {
    if answer.status == 500 {
        return Some("a failure of ours".into());
    }
    let described = &operation.description["responses"][answer.status.to_string()];
    if described.is_null() {
        return Some(format!("the status {} is not in the document: {}", answer.status, answer.detail()));
    }
    let Some(content) = described["content"].as_object() else {
        return (!answer.body.is_empty()).then(|| "a body where none is described".into());
    };
    let told = answer.header("content-type").unwrap_or_default().to_owned();
    let Some((kind, described)) = content.iter().find(|(kind, _)| told.starts_with(kind.as_str())) else {
        return Some(format!("the content type {told} is not in the document"));
    };
    if !kind.contains("json") {
        return None;
    }
    let schema = json!({"allOf": [described["schema"]], "components": document["components"]});
    let body = answer.json();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let wrong = validator.iter_errors(&body).next()?;
    Some(format!("the body does not fit at {}: {wrong}", wrong.instance_path()))
}

#[tokio::test]
async fn whatever_is_sent_the_answer_is_a_described_one() {
    let mut site = Site::start().await;
    let all = operations(&site.document);
    assert!(all.len() > 20, "{} operations", all.len());
    let (document, meaningful) = (site.document.clone(), site.meaningful.clone());
    let mut seen: BTreeMap<String, BTreeSet<u16>> = BTreeMap::new();
    let mut found = Vec::new();
    for round in 0..ROUNDS {
        for (n, operation) in all.iter().enumerate() {
            let fits = round % 2 == 0;
            let mut generator = Generator::new(&document, &meaningful, SmallRng::seed_from_u64(round * 1_000 + n as u64));
            let (what, answer) = site.call(operation, &mut generator, fits).await;
            let name = format!("{} {}", operation.method, operation.path);
            seen.entry(name.clone()).or_default().insert(answer.status);
            if let Some(problem) = broken(&document, operation, &answer) {
                found.push(format!("{name}: {problem}\n    after {what}"));
            }
            if answer.status < 300 {
                site.learn(&answer.json());
            }
        }
    }
    for (name, statuses) in &seen {
        println!("{name}: {statuses:?}");
    }
    assert!(found.is_empty(), "{} answers break the document, e.g.\n{}", found.len(), found[..found.len().min(12)].join("\n"));
    // It was no test if nothing got through.
    let through = seen.values().filter(|statuses| statuses.iter().any(|status| *status < 300)).count();
    assert!(through * 10 >= seen.len() * 7, "only {through} of {} operations ever succeeded", seen.len());
}

/// Fields that name a state, a kind or a reason.
const NAMES: [&str; 10] = ["state", "status", "app_status", "phase", "role", "kind", "outcome", "reason", "stage", "conflict"];

/// Whether a schema lists its values; `None`: it is no text.
fn lists_values(document: &Value, schema: &Value) -> Option<bool> {
    let described = schema["$ref"].as_str().and_then(|name| document.pointer(name.trim_start_matches('#')));
    let schema = described.unwrap_or(schema);
    match schema["oneOf"].as_array() {
        Some(choices) => choices.iter().filter(|choice| choice["type"] != "null").find_map(|choice| lists_values(document, choice)),
        None => schema.to_string().contains("\"string\"").then(|| schema["enum"].is_array()),
    }
}

#[tokio::test]
async fn names_of_states_kinds_and_reasons_are_enumerated() {
    let bench = Bench::start().await;
    let document: Value = bench.client.get("/openapi.json", None).await.unwrap().json();
    let schemas = document["components"]["schemas"].as_object().unwrap();
    let mut free = Vec::new();
    let mut listed = 0;
    for (schema, described) in schemas {
        for (field, value) in described["properties"].as_object().into_iter().flatten() {
            match lists_values(&document, value).filter(|_| NAMES.contains(&field.as_str())) {
                Some(true) => listed += 1,
                Some(false) => free.push(format!("{schema}.{field}")),
                None => {}
            }
        }
    }
    // Kinds of targets are as many as there are things; the earlier server's acknowledgements are read in any spelling; reasons of
    // alerts and silences are sentences.
    let of_alerts =
        ["Alert", "AlertWindow", "NewAlertWindow", "NewSilence", "PreviewedDevice", "Silence"].map(|schema| format!("{schema}.reason"));
    free.retain(|field| !of_alerts.contains(field));
    assert_eq!(free, ["AuditTarget.kind", "LegacyAck.status"]);
    assert!(listed > 20, "{listed}");
}

#[tokio::test]
async fn the_document_is_browsable_with_nothing_from_elsewhere() {
    let bench = Bench::start().await;
    let page = bench.client.get("/docs/", None).await.unwrap();
    assert_eq!((page.status, page.header("content-type").unwrap().starts_with("text/html")), (200, true));
    let html = String::from_utf8(page.body.to_vec()).unwrap();
    let elsewhere = |text: &str| ["src=\"http", "href=\"http", "src=\"//", "href=\"//"].iter().any(|mark| text.contains(mark));
    assert!(!elsewhere(&html), "{html}");
    for script in html.split("src=\"").skip(1).map(|rest| rest.split('"').next().unwrap().trim_start_matches("./")) {
        let answer = bench.client.get(&format!("/docs/{script}"), None).await.unwrap();
        assert_eq!(answer.status, 200, "{script}");
    }
    let settings = bench.client.get("/docs/swagger-initializer.js", None).await.unwrap();
    let settings = String::from_utf8(settings.body.to_vec()).unwrap();
    assert!(settings.contains("\"validatorUrl\": \"none\"") && settings.contains("/openapi.json"), "{settings}");
}
