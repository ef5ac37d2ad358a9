//! Accounts, sign-ins and API tokens, as people and scripts meet them.

use std::time::Duration;

use chaos::client::Client;
use chaos::harness::Cluster;
use chaos::http::{Answer, Call};
use domain::UserId;
use domain::access::Role;
use domain::account::AccountChange;
use hyper::Method;
use serde_json::{Value, json};
use store::{AccountOutcome, NewUser, PoolOptions, Store};

use crate::common::{Bench, Database, api_token, cluster_options, eventually, nexmdm, options};

const PASSWORD: &str = "quite a long password";

async fn patch(client: &Client, path: &str, bearer: &str, body: &Value) -> Answer {
    client.send(Call::post(path, body.to_string()).method(Method::PATCH).bearer(bearer)).await.unwrap()
}

/// An account with [`PASSWORD`]; its id.
async fn add(client: &Client, admin: &str, username: &str, role: &str) -> String {
    let answer = client.post("/v1/users", Some(admin), &json!({"username": username, "role": role, "password": PASSWORD})).await.unwrap();
    assert_eq!(answer.status, 201, "{}", answer.detail());
    answer.json()["id"].as_str().unwrap().to_owned()
}

async fn status(client: &Client, path: &str, bearer: &str) -> u16 {
    client.get(path, Some(bearer)).await.unwrap().status
}

#[tokio::test]
async fn an_account_signs_in_however_its_name_is_written_and_no_other_gets_it() {
    let bench = Bench::with(options().env("NEXMDM__AUTH__LOCKOUT_AFTER_FAILURES", "3")).await;
    add(&bench.client, &bench.admin, "Élodie", "viewer").await;
    add(&bench.client, &bench.admin, "pacco", "viewer").await;
    for name in ["Élodie", "élodie", "E\u{301}LODIE", " ÉLODIE"] {
        assert_eq!(bench.client.login(name, PASSWORD).await.unwrap().status, 200, "{name}");
        let same = json!({"username": name, "role": "viewer", "password": PASSWORD});
        let refused = bench.client.post("/v1/users", Some(&bench.admin), &same).await.unwrap();
        assert_eq!((refused.status, refused.json()["type"].as_str()), (409, Some("username_in_use")), "{name}");
    }
    for name in ["admin\u{200b}", "\u{430}dmin", "admin\u{202e}", "ann\u{2066}", "pαul", "еlоdіе", "рассо"] {
        let body = json!({"username": name, "role": "viewer", "password": PASSWORD});
        let refused = bench.client.post("/v1/users", Some(&bench.admin), &body).await.unwrap();
        assert_eq!((refused.status, refused.json()["field"].as_str()), (422, Some("username")), "{name:?}");
    }
    // Guesses count for the account, in whichever spelling; another letter is another name.
    assert_eq!(bench.client.login("adm\u{130}n", bench.node.admin_password()).await.unwrap().status, 401);
    for name in ["Élodie", "ÉLODIE", "e\u{301}lodie"] {
        assert_eq!(bench.client.login(name, "a wrong guess").await.unwrap().status, 401, "{name}");
    }
    assert_eq!(bench.client.login("élodie", PASSWORD).await.unwrap().status, 429, "locked");
    let (ok, out, err) = nexmdm(&bench.node, &["user", "reset-password", "ÉLODIE"], "");
    let password = out.lines().find_map(|line| line.strip_prefix("Password: "));
    assert!(ok && bench.client.login("Élodie", password.unwrap()).await.unwrap().status == 200, "{out}{err}");
}

#[tokio::test]
async fn a_password_of_as_many_bytes_as_the_limit_allows_works_everywhere() {
    let mut options = options();
    options.admin_password = "correct horse battery staple, ".repeat(3)[..72].to_owned();
    let bench = Bench::with(options).await;
    let (first, second) = (
        "späte Äpfel über öde Hügel, würzig äußerst süß dafür füllen!".to_owned(),
        "many an old tractor leaves the barn at dawn, and none is ever late to it".to_owned(),
    );
    let new = |password: &str| json!({"username": "ann", "role": "viewer", "password": password});
    let too_long = bench.client.post("/v1/users", Some(&bench.admin), &new(&"x".repeat(73))).await.unwrap();
    assert_eq!((too_long.status, too_long.json()["field"].as_str()), (422, Some("password")));
    let answer = bench.client.post("/v1/users", Some(&bench.admin), &new(&first)).await.unwrap();
    assert_eq!(answer.status, 201, "{}", answer.detail());
    assert_eq!(bench.client.login("ann", &first).await.unwrap().status, 200);
    let reset = format!("/v1/users/{}/reset-password", answer.json()["id"].as_str().unwrap());
    assert_eq!(bench.client.post(&reset, Some(&bench.admin), &json!({"password": second})).await.unwrap().status, 200);
    assert_eq!(bench.client.login("ann", &second).await.unwrap().status, 200);
    assert_eq!(bench.client.login("ann", &second[1..]).await.unwrap().status, 401);
}

/// Access that one node takes away is gone on the other at once: sign-ins and API tokens are remembered
/// there for ten minutes, so only being told can make them end within the test.
#[tokio::test]
async fn what_is_taken_away_on_one_node_is_gone_on_the_other() {
    let options = cluster_options(2).env("NEXMDM__AUTH__SESSION_CACHE_MS", "600000").env("NEXMDM__AUTH__LOCKOUT_AFTER_FAILURES", "3");
    let cluster = Cluster::start(options).await.unwrap();
    let [a, b] = [0, 1].map(|n| Client::new(&cluster.members()[n].url()).unwrap());
    let admin = a.access_token("admin", cluster.admin_password()).await.unwrap();
    let ends = async |client: &Client, what: &str, bearer: &str, want: u16| {
        eventually(what, async || (status(client, "/v1/enroll-tokens", bearer).await == want).then_some(())).await;
    };

    // Disabled.
    let ann = add(&a, &admin, "ann", "operator").await;
    let session = b.access_token("ann", PASSWORD).await.unwrap();
    let token = api_token(&b, &session, &["enrollment:read", "tokens:manage"]).await;
    let token = token["token"].as_str().unwrap();
    assert_eq!((status(&b, "/v1/enroll-tokens", &session).await, status(&b, "/v1/enroll-tokens", token).await), (200, 200));
    assert_eq!(patch(&a, &format!("/v1/users/{ann}"), &admin, &json!({"disabled": true})).await.status, 200);
    ends(&b, "the sign-in of who was disabled ends", &session, 401).await;
    ends(&b, "the token of who was disabled ends", token, 401).await;
    assert_eq!(b.login("ann", PASSWORD).await.unwrap().status, 401);
    assert_eq!(patch(&a, &format!("/v1/users/{ann}"), &admin, &json!({"disabled": false})).await.status, 200);
    assert_eq!((status(&b, "/v1/enroll-tokens", &session).await, status(&b, "/v1/enroll-tokens", token).await), (401, 401), "for good");

    // Demoted.
    let session = b.access_token("ann", PASSWORD).await.unwrap();
    let make = async || b.create_tokens(&session, &Default::default()).await.unwrap().status;
    assert_eq!(make().await, 201);
    assert_eq!(patch(&a, &format!("/v1/users/{ann}"), &admin, &json!({"role": "viewer"})).await.status, 200);
    eventually("the role has changed", async || (make().await == 403).then_some(())).await;

    // Signed out, by an admin.
    let sessions = a.get_json(&format!("/v1/users/{ann}/sessions"), &admin).await.unwrap();
    let id = sessions["items"][0]["id"].as_str().unwrap();
    assert_eq!(a.delete(&format!("/v1/users/{ann}/sessions/{id}"), &admin).await.unwrap().status, 204);
    ends(&b, "the ended sign-in ends", &session, 401).await;

    // A token revoked.
    let session = b.access_token("ann", PASSWORD).await.unwrap();
    let made = api_token(&b, &session, &["enrollment:read"]).await;
    let token = made["token"].as_str().unwrap();
    assert_eq!(status(&b, "/v1/enroll-tokens", token).await, 200);
    assert_eq!(a.delete(&format!("/v1/api-tokens/{}", made["id"].as_str().unwrap()), &admin).await.unwrap().status, 204);
    ends(&b, "the revoked token ends", token, 401).await;

    // Failures count together.
    for client in [&a, &b, &a] {
        assert_eq!(client.login("ann", "guess").await.unwrap().status, 401);
    }
    assert_eq!(b.login("ann", PASSWORD).await.unwrap().status, 429, "locked by failures at both");
}

#[tokio::test]
async fn a_name_is_locked_ever_longer_and_never_for_good_and_nothing_tells_whether_it_exists() {
    let options = options()
        .env("NEXMDM__AUTH__FAILURE_BURST", "1000")
        // Waiting for locks to run out asks often: what refuses must be the lock.
        .env("NEXMDM__RATE_LIMITS__SIGN_IN_PER_SECOND", "1000")
        .env("NEXMDM__RATE_LIMITS__SIGN_IN_BURST", "10000")
        .env("NEXMDM__AUTH__LOCKOUT_AFTER_FAILURES", "3")
        .env("NEXMDM__AUTH__LOCKOUT_SECONDS", "2")
        .env("NEXMDM__AUTH__LOCKOUT_MAX_SECONDS", "4");
    let bench = Bench::with(options).await;
    add(&bench.client, &bench.admin, "ann", "viewer").await;
    let login = async |name: &str, password: &str| bench.client.login(name, password).await.unwrap();
    let told = |answer: &Answer| {
        let mut body = answer.json();
        body["detail"].take();
        (answer.status, answer.header("content-type").map(str::to_owned), body, answer.retry_after().map(|wait| wait.as_secs() <= 2))
    };
    for n in 0..5 {
        // The same name in another spelling is the same name.
        let (real, none) = (login(if n % 2 == 0 { "ann" } else { " ANN" }, "guess").await, login("nobody", "guess").await);
        assert_eq!(real.status, if n < 3 { 401 } else { 429 }, "attempt {n}");
        assert_eq!(told(&real), told(&none), "attempt {n}");
    }
    assert_eq!(login("ann", PASSWORD).await.status, 429, "the right password is refused unseen");
    assert_eq!(login("admin", bench.node.admin_password()).await.status, 200, "others are not locked");
    let guessed_again = async |name: &str| {
        eventually("the lock runs out", async || {
            let answer = login(name, "guess").await;
            (answer.status == 401).then_some(())
        })
        .await;
        login(name, "guess").await.retry_after().unwrap()
    };
    assert!(guessed_again("ann").await > Duration::from_secs(2), "the second lock is longer");
    assert!(guessed_again("ann").await <= Duration::from_secs(4), "the third is as long as the longest");
    eventually("time unlocks", async || (login("ann", PASSWORD).await.status == 200).then_some(())).await;
    assert_eq!(login("ann", "guess").await.status, 401, "a success clears the count");
    assert!(bench.metric("nexmdm_sign_in_lockouts_total").await >= 3.0);
    assert_eq!(bench.sql("SELECT count(*) FROM sign_in_failure WHERE encode(name_sha256, 'escape') LIKE '%ann%'"), "0");
}

#[tokio::test]
async fn a_new_password_ends_the_other_sign_ins_and_a_reset_all_of_them_and_the_lock() {
    let bench = Bench::with(options().env("NEXMDM__AUTH__LOCKOUT_AFTER_FAILURES", "2")).await;
    let client = &bench.client;
    let ann = add(client, &bench.admin, "ann", "viewer").await;
    let [one, other] = [client.access_token("ann", PASSWORD).await.unwrap(), client.access_token("ann", PASSWORD).await.unwrap()];
    let sessions = client.get_json("/v1/me/sessions", &one).await.unwrap();
    let sessions = sessions["items"].as_array().unwrap();
    assert_eq!(sessions.len(), 2);
    assert_eq!(sessions.iter().filter(|session| session["current"] == true).count(), 1);
    assert!(sessions.iter().all(|session| session["address"] == "127.0.0.1"), "{sessions:?}");

    let change = async |current: &str, new: &str| {
        client.post("/v1/me/password", Some(&one), &json!({"current_password": current, "new_password": new})).await.unwrap()
    };
    let refused = change("wrong", "another long password").await;
    assert_eq!((refused.status, refused.json()["field"].as_str()), (422, Some("current_password")));
    let refused = change(PASSWORD, "short").await;
    assert_eq!((refused.status, refused.json()["field"].as_str()), (422, Some("new_password")));
    assert_eq!(change(PASSWORD, "another long password").await.status, 204);
    assert_eq!((status(client, "/v1/me", &one).await, status(client, "/v1/me", &other).await), (200, 401));
    assert_eq!(client.login("ann", PASSWORD).await.unwrap().status, 401);
    assert_eq!(client.login("ann", PASSWORD).await.unwrap().status, 401);
    assert_eq!(client.login("ann", "another long password").await.unwrap().status, 429);

    let script = api_token(client, &one, &["devices:read"]).await;
    let script = script["token"].as_str().unwrap();
    assert_eq!(status(client, "/v1/me", script).await, 200);
    let reset = client.post(&format!("/v1/users/{ann}/reset-password"), Some(&bench.admin), &json!({})).await.unwrap();
    assert_eq!(reset.status, 200);
    assert_eq!((status(client, "/v1/me", &one).await, status(client, "/v1/me", script).await), (401, 401));
    client.access_token("ann", reset.json()["password"].as_str().unwrap()).await.expect("unlocked, with the new password");
}

#[tokio::test]
async fn one_sees_and_ends_ones_own_sign_ins_only() {
    let bench = Bench::with(options().env("NEXMDM__AUTH__SESSIONS_PER_USER_MAX", "2")).await;
    let client = &bench.client;
    add(client, &bench.admin, "ann", "viewer").await;
    let first = client.access_token("ann", PASSWORD).await.unwrap();
    let call = Call::post("/v1/auth/login", json!({"username": "ann", "password": PASSWORD}).to_string());
    let second: Value = client.send(call.header("user-agent", "Browser/1 (Phone)")).await.unwrap().json();
    let second = second["access_token"].as_str().unwrap();
    let sessions = client.get_json("/v1/me/sessions", &first).await.unwrap();
    let theirs = sessions["items"].as_array().unwrap().iter().find(|session| session["current"] == false).unwrap();
    assert_eq!(theirs["user_agent"], "Browser/1 (Phone)");
    let of_admin = client.get_json("/v1/me/sessions", &bench.admin).await.unwrap()["items"][0]["id"].as_str().unwrap().to_owned();
    assert_eq!(client.delete(&format!("/v1/me/sessions/{of_admin}"), &first).await.unwrap().status, 404);
    assert_eq!(client.delete(&format!("/v1/me/sessions/{}", theirs["id"].as_str().unwrap()), &first).await.unwrap().status, 204);
    assert_eq!((status(client, "/v1/me", &first).await, status(client, "/v1/me", second).await), (200, 401));

    // One more than the most allowed ends the one not seen for longest.
    let [third, fourth] = [client.access_token("ann", PASSWORD).await.unwrap(), client.access_token("ann", PASSWORD).await.unwrap()];
    eventually("the oldest sign-in ends", async || (status(client, "/v1/me", &first).await == 401).then_some(())).await;
    assert_eq!((status(client, "/v1/me", &third).await, status(client, "/v1/me", &fourth).await), (200, 200));
}

#[tokio::test]
async fn an_api_token_does_what_its_scopes_say_until_it_ends() {
    let bench = Bench::with(options().env("NEXMDM__AUTH__API_TOKENS_PER_USER_MAX", "3")).await;
    let client = &bench.client;
    let made = api_token(client, &bench.admin, &["devices:read", "tokens:manage"]).await;
    let (id, token) = (made["id"].as_str().unwrap(), made["token"].as_str().unwrap());
    assert!(token.starts_with("nxm_") && token.len() == 47 && token.starts_with(made["prefix"].as_str().unwrap()), "{made}");
    assert_eq!(
        bench.sql(&format!("SELECT count(*) FROM api_token t WHERE t::text LIKE '%{}%'", &token[12..])),
        "0",
        "the secret is not kept"
    );

    assert_eq!(status(client, "/v1/devices", token).await, 200);
    let me = client.get_json("/v1/me", token).await.unwrap();
    assert_eq!(
        (&me["scopes"], &me["api_token_id"], &me["session_id"]),
        (&json!(["devices:read", "tokens:manage"]), &json!(id), &Value::Null)
    );
    let refused = client.get("/v1/users", Some(token)).await.unwrap();
    assert_eq!(refused.status, 403);
    assert!(refused.detail().contains("users:manage"), "{}", refused.detail());
    assert_eq!(client.heartbeat(token, &crate::common::heartbeat(0, 1)).await.unwrap().status, 401, "it is no device");
    let cookie = Call::get("/live/check").header("cookie", "nexmdm_access=x");
    assert_eq!(client.send(cookie).await.unwrap().status, 401);
    let cookie = format!("nexmdm_access={token}");
    assert_eq!(client.send(Call::get("/live/check").header("cookie", &cookie)).await.unwrap().status, 401, "it is no sign-in");

    // It makes none that does more than itself.
    let post = async |bearer: &str, body: Value| client.post("/v1/api-tokens", Some(bearer), &body).await.unwrap();
    assert_eq!(post(token, json!({"name": "x", "scopes": ["devices:write"]})).await.status, 403);
    let longer = post(token, json!({"name": "x", "scopes": ["devices:read"], "expires_in_seconds": 31_000_000})).await;
    assert_eq!((longer.status, longer.json()["field"].as_str()), (422, Some("expires_in_seconds")));
    let unknown = post(&bench.admin, json!({"name": "x", "scopes": ["devices:read", "all"]})).await;
    assert_eq!((unknown.status, unknown.json()["field"].as_str()), (422, Some("scopes[1]")));
    let child = api_token(client, token, &["devices:read"]).await;
    let child = child["token"].as_str().unwrap();
    assert_eq!(status(client, "/v1/devices", child).await, 200);
    let listed = client.get_json("/v1/api-tokens", &bench.admin).await.unwrap();
    let listed = listed["items"].as_array().unwrap();
    assert_eq!(listed.len(), 2);
    let shown = listed.iter().find(|shown| shown["id"] == id).unwrap();
    assert_eq!((&shown["last_used_address"], &shown["status"]), (&json!("127.0.0.1"), &json!("active")));
    assert!(shown["last_used_at"].is_string() && shown["token"].is_null());

    assert_eq!(post(&bench.admin, json!({"name": "third", "scopes": ["devices:read"]})).await.status, 201);
    let one_more = post(&bench.admin, json!({"name": "fourth", "scopes": ["devices:read"]})).await;
    assert_eq!(one_more.status, 409);
    assert!(one_more.detail().contains("api_tokens_per_user_max"), "{}", one_more.detail());

    // What one made goes with it.
    assert_eq!(client.delete(&format!("/v1/api-tokens/{id}"), &bench.admin).await.unwrap().status, 204);
    assert_eq!((status(client, "/v1/devices", token).await, status(client, "/v1/devices", child).await), (401, 401));

    // It ends by itself, on the second.
    let short = post(&bench.admin, json!({"name": "short", "scopes": ["devices:read"], "expires_in_seconds": 2})).await.json();
    let short = short["token"].as_str().unwrap();
    assert_eq!(status(client, "/v1/devices", short).await, 200);
    eventually("it expires", async || (status(client, "/v1/devices", short).await == 401).then_some(())).await;
}

/// A script that manages accounts must not make itself one that does more than the script.
#[tokio::test]
async fn a_token_hands_out_no_account_that_does_more_than_itself() {
    let bench = Bench::start().await;
    let client = &bench.client;
    let (root, ann) = (client.get_json("/v1/me", &bench.admin).await.unwrap(), add(client, &bench.admin, "ann", "viewer").await);
    let root = root["user_id"].as_str().unwrap();
    let made = api_token(
        client,
        &bench.admin,
        &[
            "users:manage",
            "devices:read",
            "enrollment:read",
            "cluster:read",
            "tokens:manage",
            "commands:read",
            "deployments:read",
            "alerts:read",
        ],
    )
    .await;
    let token = made["token"].as_str().unwrap();
    let post = async |path: &str, body: Value| client.post(path, Some(token), &body).await.unwrap().status;
    assert_eq!(post("/v1/users", json!({"username": "eve", "role": "admin"})).await, 403);
    assert_eq!(post("/v1/users", json!({"username": "eve", "role": "viewer"})).await, 201);
    assert_eq!(patch(client, &format!("/v1/users/{ann}"), token, &json!({"role": "operator"})).await.status, 403);
    assert_eq!(post(&format!("/v1/users/{root}/reset-password"), json!({})).await, 403);
    assert_eq!(post(&format!("/v1/users/{ann}/reset-password"), json!({})).await, 200);
    // To take away is no gain.
    assert_eq!(patch(client, &format!("/v1/users/{ann}"), token, &json!({"disabled": true})).await.status, 200);
    assert_eq!(status(client, "/v1/users", &bench.admin).await, 200, "the admin's sign-in is untouched");
}

#[tokio::test]
async fn a_token_follows_its_owners_role_and_others_do_not_see_it() {
    let bench = Bench::start().await;
    let client = &bench.client;
    let ann = add(client, &bench.admin, "ann", "operator").await;
    add(client, &bench.admin, "bob", "operator").await;
    let [of_ann, of_bob] = [client.access_token("ann", PASSWORD).await.unwrap(), client.access_token("bob", PASSWORD).await.unwrap()];
    let made = api_token(client, &of_ann, &["enrollment:write"]).await;
    let (id, token) = (made["id"].as_str().unwrap(), made["token"].as_str().unwrap());
    assert_eq!(client.create_tokens(token, &Default::default()).await.unwrap().status, 201);
    assert_eq!(client.delete(&format!("/v1/api-tokens/{id}"), &of_bob).await.unwrap().status, 404);
    assert_eq!(status(client, "/v1/api-tokens?owner=all", &of_bob).await, 403);
    assert_eq!(client.get_json("/v1/api-tokens?owner=all", &bench.admin).await.unwrap()["items"][0]["owner"], "ann");
    assert_eq!(patch(client, &format!("/v1/users/{ann}"), &bench.admin, &json!({"role": "viewer"})).await.status, 200);
    assert_eq!(client.create_tokens(token, &Default::default()).await.unwrap().status, 403, "a viewer's token makes none");
}

#[tokio::test]
async fn the_last_active_admin_stays_one() {
    let bench = Bench::start().await;
    let client = &bench.client;
    let admin = client.get_json("/v1/me", &bench.admin).await.unwrap()["user_id"].as_str().unwrap().to_owned();
    let change = async |body: Value| patch(client, &format!("/v1/users/{admin}"), &bench.admin, &body).await;
    for body in [json!({"disabled": true}), json!({"role": "viewer"}), json!({"role": "operator", "disabled": true})] {
        let refused = change(body.clone()).await;
        assert_eq!((refused.status, refused.json()["type"].as_str()), (409, Some("last_admin")), "{body}");
    }
    let (ok, _, err) = nexmdm(&bench.node, &["user", "disable", "admin"], "");
    assert!(!ok && err.contains("last active admin"), "{err}");
    assert_eq!(change(json!({})).await.status, 422);
    let second = add(client, &bench.admin, "second", "admin").await;
    assert_eq!(patch(client, &format!("/v1/users/{second}"), &bench.admin, &json!({"disabled": true})).await.status, 200);
    assert_eq!(change(json!({"role": "viewer"})).await.status, 409, "a disabled admin is none to rely on");
    let (ok, out, err) = nexmdm(&bench.node, &["user", "enable", "second"], "");
    assert!(ok, "{out}{err}");
    assert_eq!(change(json!({"role": "viewer"})).await.status, 200);
    let (ok, out, err) = nexmdm(&bench.node, &["user", "role", "admin", "operator"], "");
    assert!(ok, "{out}{err}");
    let (_, out, _) = nexmdm(&bench.node, &["user", "list"], "");
    assert!(out.lines().any(|line| line.starts_with("admin ") && line.contains("operator")), "{out}");
}

/// Admins who disable each other in the same moment, again and again: one always remains.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_admins_that_disable_each_other_one_remains() {
    let database = Database::start();
    let pool = PoolOptions {
        max_connections: 8,
        acquire_timeout: crate::common::DEADLINE,
        statement_timeout: crate::common::DEADLINE,
        answer_grace: Duration::from_secs(2),
    };
    let store = Store::new(&database.url, pool).unwrap();
    store.migrate().await.unwrap();
    let server = domain::access::Principal::system();
    let mut admins = Vec::new();
    for name in ["a", "b", "c"] {
        let id = UserId(uuid::Uuid::now_v7());
        store
            .insert_user(NewUser { id, username: name, password_bcrypt: "x", role: Role::Admin }, &server, crate::common::clock(0))
            .await
            .unwrap();
        admins.push(id);
    }
    for round in 0..40 {
        let changes = admins.iter().enumerate().map(|(n, id)| {
            let demoted = AccountChange { role: Some(Role::Viewer), disabled: None };
            let disabled = AccountChange { role: None, disabled: Some(true) };
            store.change_account(*id, if (n + round) % 2 == 0 { demoted } else { disabled }, &server, crate::common::clock(0))
        });
        let outcomes = futures_util::future::join_all(changes).await;
        let refused = outcomes.iter().filter(|outcome| matches!(outcome, Ok(AccountOutcome::LastAdmin))).count();
        assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
        assert_eq!(refused, 1, "round {round}: {outcomes:?}");
        for id in &admins {
            let back = AccountChange { role: Some(Role::Admin), disabled: Some(false) };
            assert!(matches!(store.change_account(*id, back, &server, crate::common::clock(0)).await.unwrap(), AccountOutcome::Changed(_)));
        }
    }
}

#[tokio::test]
async fn a_proxy_is_believed_only_when_it_is_trusted() {
    let guess = async |bench: &Bench, forwarded: &str| {
        let call = Call::post("/v1/auth/login", json!({"username": uuid::Uuid::now_v7(), "password": "x"}).to_string());
        bench.client.send(call.header("x-forwarded-for", forwarded)).await.unwrap().status
    };
    let tight = || options().env("NEXMDM__AUTH__FAILURE_BURST", "2");
    let bench = Bench::with(tight()).await;
    let mut statuses = Vec::new();
    for n in 0..3 {
        statuses.push(guess(&bench, &format!("198.51.100.{n}")).await);
    }
    assert_eq!(statuses, [401, 401, 429], "anybody can write a header");

    let bench = Bench::with(tight().env("NEXMDM__HTTP__TRUSTED_PROXIES", "127.0.0.1, 10.0.0.0/8")).await;
    let mut statuses = Vec::new();
    for forwarded in ["203.0.113.1, 198.51.100.1", "203.0.113.2, 198.51.100.1, 10.0.0.9", "203.0.113.3, 198.51.100.1", "198.51.100.2"] {
        statuses.push(guess(&bench, forwarded).await);
    }
    assert_eq!(statuses, [401, 401, 429, 401], "each client behind the proxy by itself, and no client by its own word");
    let call = Call::post("/v1/auth/login", json!({"username": "admin", "password": bench.node.admin_password()}).to_string());
    assert_eq!(bench.client.send(call.header("x-forwarded-for", "198.51.100.77")).await.unwrap().status, 200);
    let sessions = bench.client.get_json("/v1/me/sessions", &bench.admin).await.unwrap();
    assert!(sessions["items"].as_array().unwrap().iter().any(|session| session["address"] == "198.51.100.77"), "{sessions}");
}

#[tokio::test]
async fn each_class_of_routes_has_a_limit_per_address() {
    let options = options().env("NEXMDM__RATE_LIMITS__API_PER_SECOND", "1").env("NEXMDM__RATE_LIMITS__API_BURST", "5");
    let bench = Bench::with(options.env("NEXMDM__HTTP__TRUSTED_PROXIES", "127.0.0.1")).await;
    let from = async |address: &str, path: &str| {
        bench.client.send(Call::get(path).bearer(&bench.admin).header("x-forwarded-for", address)).await.unwrap()
    };
    let mut answers = Vec::new();
    for _ in 0..20 {
        answers.push(from("198.51.100.1", "/v1/fleet/stats").await);
    }
    let refused = answers.iter().find(|answer| answer.status == 429).expect("a limit");
    assert!(answers[..5].iter().all(|answer| answer.status == 200), "the burst");
    assert!(refused.retry_after().is_some() && refused.detail().contains("rate_limits.api_per_second"), "{}", refused.detail());
    assert_eq!(from("198.51.100.2", "/v1/fleet/stats").await.status, 200, "another address");
    assert_eq!(from("198.51.100.1", "/login").await.status, 200, "another class");
    assert_eq!(from("198.51.100.1", "/metrics").await.status, 200, "no class at all");
    assert!(bench.metric("nexmdm_http_rate_limited_total{class=\"api\"}").await >= 1.0);
}
