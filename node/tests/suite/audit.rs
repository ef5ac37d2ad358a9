//! The audit trail: one entry for each act, none for what did not happen, no secret, and a chain in which
//! nothing can be changed unseen.

use std::cell::{Cell, RefCell};
use std::sync::Arc;

use chaos::client::Client;
use chaos::harness::Cluster;
use chaos::http::{Answer, Call};
use hyper::Method;
use serde_json::{Value, json};

use crate::common::{Bench, cluster_options, eventually, nexmdm, options};

const PASSWORD: &str = "quite a long password";

/// A bench whose calls have request ids of their own, and what they must never leave in the trail.
struct Trail {
    bench: Bench,
    calls: Cell<u32>,
    secrets: RefCell<Vec<String>>,
}

impl Trail {
    async fn with(options: chaos::harness::NodeOptions) -> Self {
        let bench = Bench::with(options).await;
        let secrets = vec![bench.node.admin_password().to_owned(), bench.admin.clone(), PASSWORD.to_owned()];
        Self { bench, calls: Cell::new(0), secrets: secrets.into() }
    }

    fn secret(&self, value: &Value) -> String {
        let secret = value.as_str().expect("a secret").to_owned();
        self.secrets.borrow_mut().push(secret.clone());
        secret
    }

    /// A call, and the entries that it left.
    async fn call(&self, method: Method, path: &str, bearer: &str, body: &str) -> (Answer, Vec<Value>) {
        self.calls.set(self.calls.get() + 1);
        let request_id = format!("act-{}", self.calls.get());
        let mut call = Call::post(path, body.to_owned()).method(method).header("x-request-id", &request_id);
        if !bearer.is_empty() {
            call = call.bearer(bearer);
        }
        if path.ends_with(".csv?dry_run=false") {
            call = call.content_type("text/csv");
        }
        let answer = self.bench.client.send(call).await.unwrap();
        (answer, self.entries(&format!("request_id={request_id}")).await)
    }

    async fn entries(&self, query: &str) -> Vec<Value> {
        let found = self.bench.client.get_json(&format!("/v1/audit?limit=500&{query}"), &self.bench.admin).await.unwrap();
        found["items"].as_array().unwrap().clone()
    }

    /// A call that leaves exactly one entry, of this action, by `actor` (kind and name), about `target`.
    async fn act(&self, method: Method, path: &str, bearer: &str, body: Value, want: (&str, &str, &str)) -> (Answer, Value) {
        let body = match &body {
            Value::String(table) => table.clone(),
            Value::Null => String::new(),
            other => other.to_string(),
        };
        let (answer, mut entries) = self.call(method, path, bearer, &body).await;
        assert!(answer.status < 300, "{path}: {} {}", answer.status, answer.detail());
        assert_eq!(entries.len(), 1, "{path}: {entries:#?}");
        let entry = entries.remove(0);
        let (action, actor, target) = want;
        assert_eq!(entry["action"], action, "{entry:#}");
        assert_eq!(
            format!("{} {}", entry["actor"]["kind"].as_str().unwrap(), entry["actor"]["name"].as_str().unwrap()),
            actor,
            "{entry:#}"
        );
        assert_eq!(entry["target"]["name"].as_str().unwrap_or("-"), target, "{entry:#}");
        assert_eq!(entry["address"], "127.0.0.1", "{entry:#}");
        assert_eq!(entry["hash"].as_str().unwrap().len(), 64);
        (answer, entry)
    }

    fn verify(&self, arguments: &[&str]) -> (bool, String) {
        let (ok, out, err) = nexmdm(&self.bench.node, &[&["audit", "verify"], arguments].concat(), "");
        (ok, out + &err)
    }
}

#[tokio::test]
async fn each_act_leaves_one_entry_and_no_secret() {
    let trail = Trail::with(options().env("NEXMDM__AUTH__LOCKOUT_AFTER_FAILURES", "3").env("NEXMDM__HISTORY__INTERVAL_SECONDS", "1")).await;
    let admin = trail.bench.admin.clone();
    let client = &trail.bench.client;
    let (post, patch, delete) = (|| Method::POST, || Method::PATCH, || Method::DELETE);
    let by = "person admin";

    // Accounts.
    let body = json!({"username": "ann", "role": "operator", "password": PASSWORD});
    let (made, entry) = trail.act(post(), "/v1/users", &admin, body, ("account.added", by, "ann")).await;
    assert_eq!(entry["after"], json!({"role": "operator"}));
    let ann = made.json()["id"].as_str().unwrap().to_owned();
    assert_eq!(entry["target"]["id"], ann.as_str());
    let path = format!("/v1/users/{ann}");
    let (_, entry) = trail.act(patch(), &path, &admin, json!({"role": "viewer"}), ("account.role_changed", by, "ann")).await;
    assert_eq!((&entry["before"]["role"], &entry["after"]["role"]), (&json!("operator"), &json!("viewer")));
    trail.act(patch(), &path, &admin, json!({"disabled": true}), ("account.disabled", by, "ann")).await;
    trail.act(patch(), &path, &admin, json!({"disabled": false}), ("account.enabled", by, "ann")).await;
    let (answer, entries) = trail.call(patch(), &path, &admin, r#"{"disabled":false}"#).await;
    assert_eq!((answer.status, entries.len()), (200, 0), "nothing was changed");
    let (reset, _) = trail.act(post(), &format!("{path}/reset-password"), &admin, json!({}), ("account.password_reset", by, "ann")).await;
    let password = trail.secret(&reset.json()["password"]);

    // Sign-ins.
    let login = json!({"username": "ann", "password": password});
    let (signed_in, _) = trail.act(post(), "/v1/auth/login", "", login.clone(), ("account.signed_in", "person ann", "ann")).await;
    let own = trail.secret(&signed_in.json()["access_token"]);
    trail.secret(&signed_in.json()["refresh_token"]);
    trail.act(post(), "/v1/auth/login", "", login, ("account.signed_in", "person ann", "ann")).await;
    trail.act(delete(), "/v1/me/sessions", &own, Value::Null, ("account.sign_ins_ended", "person ann", "ann")).await;
    let change = json!({"current_password": password, "new_password": PASSWORD});
    trail.act(post(), "/v1/me/password", &own, change, ("account.password_changed", "person ann", "ann")).await;
    trail.act(post(), "/v1/auth/logout", &own, Value::Null, ("account.signed_out", "person ann", "ann")).await;
    let theirs = client.access_token("ann", PASSWORD).await.unwrap();
    let sessions = client.get_json("/v1/me/sessions", &theirs).await.unwrap();
    let session = format!("{path}/sessions/{}", sessions["items"][0]["id"].as_str().unwrap());
    trail.act(delete(), &session, &admin, Value::Null, ("account.sign_in_ended", by, "ann")).await;

    // API tokens, and what is done with one.
    let body = json!({"name": "nightly", "scopes": ["devices:read", "devices:write", "enrollment:write"]});
    let (made, _) = trail.act(post(), "/v1/api-tokens", &admin, body, ("api_token.made", by, "nightly")).await;
    let token = trail.secret(&made.json()["token"]);
    let token_id = made.json()["id"].as_str().unwrap().to_owned();
    let (tokens, entry) =
        trail.act(post(), "/v1/enroll-tokens", &token, json!({"alias": "kiosk"}), ("enroll_token.made", "token admin", "kiosk")).await;
    assert_eq!(entry["actor"]["id"], token_id.as_str());
    let enroll_token = trail.secret(&tokens.json()["tokens"][0]["token"]);
    let many = json!({"count": 3});
    let (tokens, _) = trail.act(post(), "/v1/enroll-tokens", &admin, many, ("enroll_tokens.made", by, "3 tokens")).await;
    let unused = format!("/v1/enroll-tokens/{}", tokens.json()["tokens"][0]["id"].as_str().unwrap());
    trail.act(delete(), &unused, &admin, Value::Null, ("enroll_token.revoked", by, "-")).await;
    trail.act(delete(), &format!("/v1/api-tokens/{token_id}"), &admin, Value::Null, ("api_token.revoked", by, "nightly")).await;

    // Devices.
    let registration = json!({"fcm_token": "a-push-token-of-a-device"});
    trail.secret(&registration["fcm_token"]);
    let (enrolled, entry) =
        trail.act(post(), "/v1/register", &enroll_token, registration, ("device.enrolled", "device kiosk", "kiosk")).await;
    assert!(entry["after"]["enroll_token_id"].is_string());
    trail.secret(&enrolled.json()["device_token"]);
    trail.secret(&enrolled.json()["device_key"]);
    let id = enrolled.json()["device_id"].as_str().unwrap().to_owned();
    let other = trail.bench.enroll("other").await.device_id;
    let device = format!("/v1/devices/{id}");
    let (_, entry) = trail.act(patch(), &device, &admin, json!({"tags": ["till"]}), ("device.edited", by, "kiosk")).await;
    assert_eq!((&entry["before"], &entry["after"]), (&json!({"tags": []}), &json!({"tags": ["till"]})));
    assert_eq!(trail.call(patch(), &device, &admin, r#"{"tags":["till"]}"#).await.1.len(), 0, "as it was");
    let bulk = json!({"action": "add_groups", "groups": ["berlin"], "ids": [id, other]});
    let (_, entry) = trail.act(post(), "/v1/devices/bulk", &admin, bulk.clone(), ("devices.edited", by, "2 devices")).await;
    assert_eq!((&entry["after"]["count"], entry["after"]["ids"].as_array().unwrap().len()), (&json!(2), 2));
    assert_eq!(entry["after"]["devices"][0]["groups"], json!(["berlin"]));
    let dry = json!({"action": "delete", "ids": [id], "dry_run": true}).to_string();
    assert_eq!(trail.call(post(), "/v1/devices/bulk", &admin, &dry).await.1.len(), 0, "a dry run");
    let table = json!("alias,tags\nkiosk,a\nother,b\n");
    trail.act(post(), "/v1/devices/import.csv?dry_run=false", &admin, table, ("devices.imported", by, "2 devices")).await;
    trail.act(post(), &format!("{device}/revoke"), &admin, Value::Null, ("device.revoked", by, "kiosk")).await;
    trail.act(delete(), &device, &admin, Value::Null, ("device.deleted", by, "kiosk")).await;
    trail.act(post(), &format!("{device}/restore"), &admin, json!({}), ("device.restored", by, "kiosk")).await;

    // Alerts: rules, silences, windows, channels and routes.
    let put = || Method::PUT;
    let rule = "/v1/alert-rules/low_battery";
    let body = json!({"scope": {"kind": "group", "value": "north"}, "thresholds": {"raise_below_pct": 30, "clear_at_pct": 40}});
    let (_, entry) = trail.act(put(), rule, &admin, body, ("alert_rule.set", by, "Low battery")).await;
    assert_eq!(entry["after"]["thresholds"], json!({"raise_below_pct": 30, "clear_at_pct": 40}));
    let reset = format!("{rule}?scope=group&scope_value=north");
    trail.act(delete(), &reset, &admin, Value::Null, ("alert_rule.reset", by, "Low battery")).await;
    let body = json!({"matcher": {"groups": ["north"]}, "reason": "move", "duration_seconds": 60});
    let (made, _) = trail.act(post(), "/v1/silences", &admin, body, ("alert_silence.made", by, "group north")).await;
    let silence = format!("/v1/silences/{}", made.json()["id"].as_str().unwrap());
    trail.act(delete(), &silence, &admin, Value::Null, ("alert_silence.ended", by, "group north")).await;
    let body = json!({
        "matcher": {"groups": ["north"]}, "reason": "restart", "weekdays": ["sun"], "start": "22:00", "end": "05:00", "tz": "Europe/Berlin"
    });
    let (made, _) = trail.act(post(), "/v1/alert-windows", &admin, body, ("alert_window.made", by, "group north")).await;
    let window = format!("/v1/alert-windows/{}", made.json()["id"].as_str().unwrap());
    trail.act(delete(), &window, &admin, Value::Null, ("alert_window.removed", by, "group north")).await;
    let hook = json!({"name": "hook", "kind": "webhook", "url": "http://127.0.0.1:9/a-token-in-a-path", "secret": "a-key-of-signatures"});
    trail.secret(&json!("a-token-in-a-path"));
    trail.secret(&hook["secret"]);
    let (made, entry) = trail.act(post(), "/v1/alert-channels", &admin, hook, ("alert_channel.made", by, "hook")).await;
    assert_eq!(entry["after"]["secrets"], json!(["url", "secret"]));
    let channel = format!("/v1/alert-channels/{}", made.json()["id"].as_str().unwrap());
    trail.act(patch(), &channel, &admin, json!({"enabled": false}), ("alert_channel.changed", by, "hook")).await;
    trail.act(post(), &format!("{channel}/test"), &admin, Value::Null, ("alert_channel.tested", by, "hook")).await;
    let mut route = json!({"channel_id": made.json()["id"], "min_severity": "critical"});
    let (made, _) = trail.act(post(), "/v1/alert-routes", &admin, route.clone(), ("alert_route.made", by, "-")).await;
    let path_of_route = format!("/v1/alert-routes/{}", made.json()["id"].as_str().unwrap());
    route["level"] = json!(1);
    trail.act(put(), &path_of_route, &admin, route, ("alert_route.changed", by, "-")).await;
    trail.act(delete(), &path_of_route, &admin, Value::Null, ("alert_route.removed", by, "-")).await;
    let mended = "/v1/alert-remediation/app_down";
    trail.act(put(), mended, &admin, json!({"enabled": true}), ("alert_remediation.set", by, "Monitored app down")).await;
    trail.act(delete(), mended, &admin, Value::Null, ("alert_remediation.removed", by, "Monitored app down")).await;
    let body = json!({"channel_id": channel.rsplit('/').next().unwrap(), "actions": ["device.*"]});
    let (made, _) = trail.act(post(), "/v1/event-subscriptions", &admin, body, ("event_subscription.made", by, "device.*")).await;
    let subscription = format!("/v1/event-subscriptions/{}", made.json()["id"].as_str().unwrap());
    trail.act(delete(), &subscription, &admin, Value::Null, ("event_subscription.removed", by, "device.*")).await;
    let body = json!({"channel_id": channel.rsplit('/').next().unwrap(), "period": "weekly", "group": "north"});
    let (made, _) = trail.act(post(), "/v1/report-schedules", &admin, body, ("report_schedule.made", by, "Weekly, north")).await;
    let schedule = format!("/v1/report-schedules/{}", made.json()["id"].as_str().unwrap());
    trail.act(delete(), &schedule, &admin, Value::Null, ("report_schedule.removed", by, "Weekly, north")).await;
    trail.act(delete(), &channel, &admin, Value::Null, ("alert_channel.removed", by, "hook")).await;

    // Filters and nodes.
    let body = json!({"name": "tills", "filter": {"tag": "till"}, "shared": false});
    let (made, _) = trail.act(post(), "/v1/filters", &admin, body, ("filter.saved", by, "tills")).await;
    let filter = format!("/v1/filters/{}", made.json()["id"].as_str().unwrap());
    let (_, entry) = trail.act(patch(), &filter, &admin, json!({"shared": true}), ("filter.changed", by, "tills")).await;
    assert_eq!((&entry["before"]["shared"], &entry["after"]["shared"]), (&json!(false), &json!(true)));
    trail.act(delete(), &filter, &admin, Value::Null, ("filter.removed", by, "tills")).await;
    let cluster = client.get_json("/v1/cluster", &admin).await.unwrap();
    let node = cluster["node"].as_str().unwrap();
    trail.act(post(), &format!("/v1/cluster/nodes/{node}/drain"), &admin, Value::Null, ("node.drained", by, node)).await;
    trail.act(post(), &format!("/v1/cluster/nodes/{node}/resume"), &admin, Value::Null, ("node.resumed", by, node)).await;

    // What is refused leaves nothing, even if it was refused after something was written.
    for (method, path, bearer, body, status) in [
        (patch(), device.as_str(), admin.as_str(), r#"{"alias":"other"}"#, 409),
        (patch(), &path, &admin, r#"{"role":"king"}"#, 422),
        (post(), "/v1/users", &admin, r#"{"username":"ANN","password":"quite a long password"}"#, 409),
        (post(), "/v1/register", &enroll_token, "{}", 401),
        (delete(), &device, "nobody", "", 401),
    ] {
        let (answer, entries) = trail.call(method, path, bearer, body).await;
        assert_eq!((answer.status, entries.len()), (status, 0), "{path} {body}: {entries:#?}");
    }

    // A sign-in that failed leaves the name that was tried, not the password.
    let (answer, entries) = trail.call(post(), "/v1/auth/login", "", r#"{"username":"bob","password":"not the password"}"#).await;
    assert_eq!((answer.status, entries.len()), (401, 1), "{entries:#?}");
    let failed = (&entries[0]["action"], &entries[0]["target"]["name"], &entries[0]["address"]);
    assert_eq!(failed, (&json!("account.sign_in_failed"), &json!("bob"), &json!("127.0.0.1")));

    // One entry for a lock-out, not one for each guess.
    let guess = json!({"username": "ann", "password": "not the password"}).to_string();
    let mut left = 0;
    for _ in 0..5 {
        let (_, entries) = trail.call(post(), "/v1/auth/login", "", &guess).await;
        left += entries.iter().filter(|entry| entry["action"] == "account.locked").count();
    }
    let locked = trail.entries("action=account.locked").await;
    assert_eq!((left, locked.len()), (1, 1), "{locked:#?}");
    assert_eq!((&locked[0]["actor"]["kind"], &locked[0]["target"]["id"]), (&json!("system"), &json!(ann)));
    assert_eq!(locked[0]["address"], "127.0.0.1");

    // The command line, and what the server does by itself.
    let (ok, out, err) = nexmdm(&trail.bench.node, &["user", "role", "ann", "admin"], "");
    assert!(ok, "{out}{err}");
    let of_console = trail.entries("actor=console&action=account.").await;
    assert_eq!(of_console.len(), 1, "{of_console:#?}");
    assert_eq!((&of_console[0]["actor"]["kind"], &of_console[0]["request_id"]), (&json!("system"), &Value::Null));
    assert!(!of_console[0]["actor"]["name"].as_str().unwrap().is_empty());
    let first = trail.entries("action=account.added&target=admin").await;
    assert_eq!((first.len(), &first[0]["actor"]["name"], &first[0]["seq"]), (1, &json!("server"), &json!(1)));
    trail.act(delete(), &device, &admin, Value::Null, ("device.deleted", by, "kiosk")).await;
    trail.bench.sql("UPDATE device SET deleted_at = now() - interval '400 days' WHERE deleted_at IS NOT NULL");
    let purged = eventually("it is removed for good", async || trail.entries("action=devices.purged").await.pop()).await;
    assert_eq!(purged["before"]["devices"][0]["alias"], "kiosk");
    assert_eq!(purged["actor"], json!({"kind": "system", "id": "server", "name": "server"}));

    // No secret, not even a hash of one.
    let everything = trail.bench.sql("SELECT string_agg(e::text, ' ') FROM audit_entry e");
    assert!(everything.contains("kiosk"));
    for secret in trail.secrets.borrow().iter() {
        assert!(secret.len() >= 10 && !everything.contains(secret.as_str()), "{secret} is in the trail");
    }
    for forbidden in ["$2", "bcrypt", "sha256", "eyJ", "nxm_", "Bearer", "not the password"] {
        assert!(!everything.contains(forbidden), "{forbidden} is in the trail");
    }

    // Searched by time and text, in pages, and as a table.
    assert_eq!(trail.entries("from=2200-01-01T00:00:00Z").await.len(), 0);
    assert!(trail.entries("text=BERLIN&action=devices.").await.len() == 1);
    let page = client.get_json("/v1/audit?limit=2", &admin).await.unwrap();
    let next = client.get_json(&format!("/v1/audit?limit=2&cursor={}", page["next_cursor"].as_str().unwrap()), &admin).await.unwrap();
    assert_eq!(next["items"][0]["seq"].as_i64().unwrap(), page["items"][1]["seq"].as_i64().unwrap() - 1);
    trail.act(patch(), &format!("/v1/devices/{other}"), &admin, json!({"alias": "=1+1"}), ("device.edited", by, "other")).await;
    trail.act(patch(), &format!("/v1/devices/{other}"), &admin, json!({"alias": "two"}), ("device.edited", by, "=1+1")).await;
    let csv = client.get("/v1/audit.csv?action=device.edited", Some(&admin)).await.unwrap();
    let csv = String::from_utf8(csv.body.to_vec()).unwrap();
    assert_eq!(csv.lines().count(), 1 + trail.entries("action=device.edited").await.len());
    assert!(csv.contains("\"'=1+1\"") && csv.starts_with("\"seq\",\"at\","), "{csv}");

    let url = trail.bench.node.url();
    let ctl = ["ctl", "--server", &url, "--token", &admin, "-o", "json", "audit", "list", "--action", "node.", "--actor", "ADMIN"];
    let (ok, out, err) = nexmdm(&trail.bench.node, &ctl, "");
    let listed: Value = serde_json::from_str(&out).unwrap_or_else(|_| panic!("{out}{err}"));
    assert!(ok && listed.as_array().unwrap().len() == 2 && listed[0]["action"] == "node.resumed", "{out}{err}");
    let (whole, said) = trail.verify(&[]);
    assert!(whole && said.contains("is intact"), "{said}");
}

#[tokio::test]
async fn nothing_in_the_chain_is_changed_unseen() {
    let trail = Trail::with(options()).await;
    for n in 0..8 {
        let body = json!({"username": format!("u{n}"), "password": PASSWORD});
        trail.act(Method::POST, "/v1/users", &trail.bench.admin, body, ("account.added", "person admin", &format!("u{n}"))).await;
    }
    let sql = |statement: &str| trail.bench.sql(statement);
    let noted = trail.bench.client.get_json("/v1/audit/head", &trail.bench.admin).await.unwrap()["expect"].as_str().unwrap().to_owned();
    let (whole, said) = trail.verify(&["--expect", &noted]);
    assert!(whole, "{said}");

    // The database refuses by itself.
    for refused in ["UPDATE audit_entry SET actor_name = 'x'", "DELETE FROM audit_entry", "TRUNCATE audit_entry", "DELETE FROM audit_head"]
    {
        let caught = format!("DO $$ BEGIN {refused}; RAISE 'done'; EXCEPTION WHEN insufficient_privilege THEN NULL; END $$");
        sql(&caught);
    }
    // A superuser can do it all the same, and is found out.
    sql("CREATE TABLE kept AS SELECT * FROM audit_entry; CREATE TABLE kept_head AS SELECT * FROM audit_head");
    let head: i64 = sql("SELECT seq FROM audit_head").parse().unwrap();
    let tamper = |what: &str| {
        sql(&format!(
            "BEGIN; ALTER TABLE audit_entry DISABLE TRIGGER USER; ALTER TABLE audit_head DISABLE TRIGGER USER;
             DELETE FROM audit_entry; INSERT INTO audit_entry SELECT * FROM kept;
             DELETE FROM audit_head; INSERT INTO audit_head SELECT * FROM kept_head; {what};
             ALTER TABLE audit_entry ENABLE TRIGGER USER; ALTER TABLE audit_head ENABLE TRIGGER USER; COMMIT"
        ));
        trail.verify(&[])
    };
    for (what, says) in [
        ("UPDATE audit_entry SET after = '{\"role\":\"admin\"}' WHERE seq = 4", "entry 4 was changed".to_owned()),
        ("UPDATE audit_entry SET at = at + interval '1 microsecond' WHERE seq = 4", "entry 4 was changed".to_owned()),
        ("UPDATE audit_entry SET address = NULL WHERE seq = 5", "entry 5 was changed".to_owned()),
        ("DELETE FROM audit_entry WHERE seq = 4", "entry 4 is missing".to_owned()),
        ("DELETE FROM audit_entry WHERE seq < 3", "entries 1 to 2 are missing".to_owned()),
        (
            "UPDATE audit_entry SET seq = 1000 WHERE seq = 4; UPDATE audit_entry SET seq = 4 WHERE seq = 6; UPDATE audit_entry SET seq = 6 WHERE seq = 1000",
            "entry 4 is out of order: it was written as 6".to_owned(),
        ),
        ("DELETE FROM audit_entry WHERE seq > (SELECT seq - 2 FROM audit_head)", format!("entries {} to {head} are missing", head - 1)),
        ("UPDATE audit_head SET seq = seq - 1", format!("entry {head} is the newest, but according to the head it is {}", head - 1)),
    ] {
        let (whole, said) = tamper(what);
        assert!(!whole && said.contains(&says), "{what}: {said}");
    }
    // A tail that is cut off along with the head is whole by itself; who noted the head knows.
    let cut = "DELETE FROM audit_entry WHERE seq > 5; UPDATE audit_head SET seq = 5, hash = (SELECT hash FROM audit_entry WHERE seq = 5)";
    assert!(tamper(cut).0);
    let (whole, said) = trail.verify(&["--expect", &noted]);
    assert!(!whole && said.contains(&format!("entry {head} is expected, but 5 is the newest")), "{said}");
    let (whole, said) = tamper("SELECT 1");
    assert!(whole, "{said}");
    let (whole, said) = trail.verify(&["--expect", "3:nonsense"]);
    assert!(!whole && said.contains("--expect"), "{said}");
}

/// Both nodes write at once; every act has its entry, and there is no gap and no fork.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acts_on_two_nodes_at_once_make_one_chain() {
    let options = cluster_options(2);
    let cluster = Cluster::start(options).await.unwrap();
    let clients = [0, 1].map(|n| Arc::new(Client::new(&cluster.members()[n].url()).unwrap()));
    let admin = clients[0].access_token("admin", cluster.admin_password()).await.unwrap();
    let before = clients[0].get_json("/v1/audit/head", &admin).await.unwrap()["seq"].as_i64().unwrap();
    let mut running = tokio::task::JoinSet::new();
    for worker in 0..8 {
        let (client, admin) = (Arc::clone(&clients[worker % 2]), admin.clone());
        running.spawn(async move {
            for n in 0..15 {
                let body = json!({"name": format!("f{worker}-{n}"), "filter": {}});
                let answer = client.post("/v1/filters", Some(&admin), &body).await.unwrap();
                assert!(answer.status == 201 || answer.status == 409, "{}", answer.detail());
                if worker == 0 {
                    let _ = client.post("/v1/enroll-tokens", Some(&admin), &json!({"count": 2})).await.unwrap();
                }
            }
        });
    }
    while let Some(done) = running.join_next().await {
        done.unwrap();
    }
    // An account keeps a hundred filters; what was refused left nothing.
    let mut rows = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = clients[1].get_json(&format!("/v1/audit?limit=100{cursor}"), &admin).await.unwrap();
        rows.extend(page["items"].as_array().unwrap().clone());
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    let of = |action: &str| rows.iter().filter(|row| row["action"] == action).count();
    assert_eq!((of("filter.saved"), of("enroll_tokens.made")), (100, 15));
    assert_eq!(rows.len() as i64, before + 115);
    for pair in rows.windows(2) {
        assert_eq!(pair[0]["seq"].as_i64().unwrap(), pair[1]["seq"].as_i64().unwrap() + 1);
        assert_eq!(pair[0]["prev_hash"], pair[1]["hash"]);
    }
}
