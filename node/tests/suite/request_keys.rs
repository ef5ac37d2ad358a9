//! `Idempotency-Key`: a call that creates something is carried out once, however often it comes.

use chaos::client::Client;
use chaos::http::{Answer, Call};
use serde_json::{Value, json};

use crate::common::{Bench, PASSWORD};

async fn once(client: &Client, token: &str, path: &str, key: &str, body: &Value) -> Answer {
    let call = Call::post(path, body.to_string()).bearer(token).header("content-type", "application/json").header("idempotency-key", key);
    client.send(call).await.unwrap()
}

#[tokio::test]
async fn a_call_that_creates_something_is_carried_out_once_under_its_key() {
    let bench = Bench::start().await;
    let silence = |reason: &str| json!({"matcher": {"rules": ["app_down"]}, "duration_seconds": 600, "reason": reason});
    let create = async |key: &str, reason: &str| once(&bench.client, &bench.admin, "/v1/silences", key, &silence(reason)).await;
    let first = create("k1", "move").await;
    assert_eq!(first.status, 201, "{}", first.detail());
    let again = create("k1", "move").await;
    assert_eq!((again.status, again.json()), (201, first.json()));
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    let other = create("k1", "another").await;
    assert_eq!((other.status, other.detail().contains("another call")), (409, true), "{}", other.detail());
    assert_eq!(create("k2", "move").await.status, 201);
    // What was refused leaves its key free: even for another call.
    assert_eq!(create("k3", "").await.status, 422);
    assert_eq!(create("k3", "mended").await.status, 201);
    assert_eq!(create("", "move").await.status, 422);
    let items = bench.client.get_json("/v1/silences", &bench.admin).await.unwrap()["items"].as_array().unwrap().len();
    assert_eq!(items, 3);

    // At once: one is carried out, and the other is told so.
    let (a, b) = tokio::join!(create("k4", "both"), create("k4", "both"));
    let mut statuses = [a.status, b.status];
    statuses.sort_unstable();
    assert!(statuses == [201, 201] || statuses == [201, 409], "{statuses:?}");
    let items = bench.client.get_json("/v1/silences", &bench.admin).await.unwrap()["items"].as_array().unwrap().len();
    assert_eq!(items, 4);

    // An answer with a secret is given once.
    let token = json!({"name": "nightly", "scopes": ["devices:read"]});
    let made = once(&bench.client, &bench.admin, "/v1/api-tokens", "k5", &token).await;
    assert_eq!(made.status, 201, "{}", made.detail());
    let again = once(&bench.client, &bench.admin, "/v1/api-tokens", "k5", &token).await;
    assert_eq!((again.status, again.detail().contains("shown once")), (409, true), "{}", again.detail());

    // A key is its caller's own. Who may not is told so before anything of the call is read or kept.
    bench.add_user("operator", "operator");
    let operator = bench.client.access_token("operator", PASSWORD).await.unwrap();
    let own = once(&bench.client, &operator, "/v1/silences", "k1", &silence("move")).await;
    assert_eq!((own.status, own.header("idempotency-replayed")), (201, None), "{}", own.detail());
    assert_ne!(own.json(), first.json());
    bench.add_user("viewer", "viewer");
    let viewer = bench.client.access_token("viewer", PASSWORD).await.unwrap();
    assert_eq!(once(&bench.client, &viewer, "/v1/silences", "k7", &json!("no silence")).await.status, 403);
    assert_eq!(bench.sql("SELECT count(*) FROM request_idempotency WHERE key = 'k7'"), "0");
    // Whoever reads the database cannot try bodies out: the digest takes the master key.
    let body = silence("move").to_string();
    let digest = format!("'/v1/silences' || chr(10) || '{body}'");
    let plain = bench.sql(&format!("SELECT count(*) FROM request_idempotency WHERE body_sha256 = sha256(convert_to({digest}, 'UTF8'))"));
    assert_eq!(plain, "0");

    // Without credentials no key is taken, and no body is read.
    assert_eq!(once(&bench.client, "x", "/v1/silences", "k6", &silence("move")).await.status, 401);
}
