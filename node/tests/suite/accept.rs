//! `chaos accept` against a real node: every criterion holds, nothing is left, and what cannot be checked is said.

use std::time::Duration;

use chaos::accept::{AcceptArgs, Acceptance, Seen, accept};
use chaos::identity::Credentials;
use chaos::verdict::Outcome;
use tokio::sync::watch;

use crate::common::deployments::{Shop, flag};
use crate::common::{Bench, PASSWORD, api_token};

async fn accepted(url: &str, token: &str) -> anyhow::Result<Acceptance> {
    let (_running, stop) = watch::channel(false);
    let token: Credentials = token.parse().unwrap();
    accept(&AcceptArgs { server: url.to_owned(), token, timeout: Duration::from_secs(30), json: false }, &stop, false).await
}

fn of<'a>(found: &'a Acceptance, part: &str) -> &'a Seen {
    &found.criteria.iter().find(|criterion| criterion.demanded.contains(part)).unwrap_or_else(|| panic!("no criterion about {part}")).seen
}

#[tokio::test]
async fn a_node_passes_and_nothing_is_left() {
    let shop = Shop::with(1).await;
    let credentials = format!("admin:{}", shop.bench.node.admin_password());
    let found = accepted(&shop.bench.node.url(), &credentials).await.unwrap();
    // On a machine that does much else, response times prove nothing.
    let others = found.criteria.iter().filter(|criterion| !criterion.demanded.contains("p95"));
    let missed: Vec<_> = others.filter(|criterion| !matches!(criterion.seen, Seen::Pass(_))).collect();
    assert!(missed.is_empty(), "{missed:#?}");
    assert_eq!((found.criteria.len(), &found.left), (24, &Vec::new()));
    assert_eq!(shop.bench.sql("SELECT count(*) FROM device WHERE deleted_at IS NULL"), "1", "those of the visit are deleted");
    let listed = shop.bench.client.get_json("/v1/devices", &shop.bench.admin).await.unwrap();
    assert_eq!(listed["items"].as_array().unwrap().len(), 1);
    assert_eq!(shop.bench.sql("SELECT string_agg(DISTINCT state, ',') FROM deployment"), "canceled");
    let open = shop.bench.client.get_json("/v1/enroll-tokens?status=unused&limit=100", &shop.bench.admin).await.unwrap();
    assert_eq!(open["items"].as_array().map(Vec::len), Some(0), "{open}");
}

#[tokio::test]
async fn what_an_installation_or_a_token_does_not_allow_is_not_checked() {
    let bench = Bench::start().await;
    let scopes = [
        "devices:read",
        "devices:write",
        "enrollment:read",
        "enrollment:write",
        "commands:read",
        "commands:send",
        "alerts:read",
        "deployments:read",
    ];
    let token = api_token(&bench.client, &bench.admin, &scopes).await["token"].as_str().unwrap().to_owned();
    let found = accepted(&bench.node.url(), &token).await.unwrap();
    for part in ["Discord", "audit tracking", "Dry run", "Pause/Resume/Cancel"] {
        assert!(matches!(of(&found, part), Seen::NotChecked(_)), "{part}: {:?}", of(&found, part));
    }
    flag(&bench.client, &bench.admin, "deployments.enabled", true).await;
    let found = accepted(&bench.node.url(), &format!("admin:{}", bench.node.admin_password())).await.unwrap();
    assert!(matches!(of(&found, "Dry run"), Seen::NotChecked(why) if why.contains("no APK")), "{:?}", of(&found, "Dry run"));
    assert_ne!(found.outcome(), Outcome::NotRun);
}

#[tokio::test]
async fn a_wrong_password_and_a_wrong_address_are_no_verdict() {
    let bench = Bench::start().await;
    let error = format!("{:#}", accepted(&bench.node.url(), &format!("admin:{PASSWORD}")).await.unwrap_err());
    assert!(error.contains("signing in as admin was answered 401") && !error.contains(PASSWORD), "{error}");
    let error = format!("{:#}", accepted(&bench.node.url(), "no-token").await.unwrap_err());
    assert!(error.contains("the token was answered 401"), "{error}");
    let port = chaos::harness::free_port().unwrap();
    let error = format!("{:#}", accepted(&format!("http://127.0.0.1:{port}"), "no-token").await.unwrap_err());
    assert!(error.contains("cannot be reached"), "{error}");
}
