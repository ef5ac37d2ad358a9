//! One client takes all of a pool that it can: how much longer others wait than usual.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures_util::future::join_all;
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::BenchArgs;
use super::figure::{Figure, Limit, Value};
use crate::client::Client;
use crate::harness::{Node, NodeOptions};
use crate::http::Call;

/// Address that somebody signed in from before; the node trusts this process as a proxy.
const KNOWN: &str = "198.51.100.7";
/// Strangers that guess at once.
const STRANGERS: usize = 40;
/// Lists that the greedy account asks for at once.
const LISTS: usize = 60;
/// Time that a flood gets to fill the pool.
const FILLED_AFTER: Duration = Duration::from_millis(300);

/// Sign-ins while strangers guess, lists and heartbeats while one account asks for all it can.
pub(super) async fn shares(args: &BenchArgs) -> Result<Figure> {
    let times = if args.quick { 3 } else { 15 };
    let mut options = NodeOptions::new(args.binary()?).env("NEXMDM__HTTP__TRUSTED_PROXIES", "127.0.0.1");
    options.database_url = args.database_url.clone();
    options.parent_dir = args.work_dir.clone();
    let node = Node::start(options).await?;
    let client = Client::new(&node.url())?;
    let admin = client.access_token("admin", node.admin_password()).await?;

    let sign_in = async || timed(sign_in(&client, "admin", node.admin_password(), KNOWN), 200).await;
    sign_in().await?;
    let usual_sign_in = median(times, &sign_in).await?;
    let guesses = (0..STRANGERS).map(async |n| sign_in_status(&client, &format!("nobody{n}"), &format!("192.0.2.{n}")).await);
    let (guessed, flooded_sign_in) = tokio::join!(join_all(guesses), async {
        sleep(FILLED_AFTER).await;
        sign_in().await
    });
    let turned_away = guessed.iter().filter(|status| **status == Some(503)).count();

    let device = client.enroll(&admin, "bench").await?;
    let token = client.post("/v1/api-tokens", Some(&admin), &json!({"name": "greedy", "scopes": ["devices:read"]})).await?.json();
    let greedy = token["token"].as_str().context("an API token without its text")?.to_owned();
    let list = async || timed(client.get("/v1/devices?q=x", Some(&admin)), 200).await;
    let heartbeat = async || {
        let told = wire::agent::Heartbeat::default();
        let started = Instant::now();
        let answer = client.heartbeat(&device.session_token, &told).await?;
        ensure!(answer.status == 200, "a heartbeat was answered with {}", answer.status);
        Ok(started.elapsed())
    };
    let (usual_list, usual_heartbeat) = (median(times, &list).await?, median(times, &heartbeat).await?);
    let flood = async {
        loop {
            join_all((0..LISTS).map(|_| client.get("/v1/devices?q=y", Some(&greedy)))).await;
        }
    };
    let meanwhile = async {
        sleep(FILLED_AFTER).await;
        Ok::<_, anyhow::Error>((median(times, &list).await?, median(times, &heartbeat).await?))
    };
    let (flooded_list, flooded_heartbeat) = tokio::select! {
        times = meanwhile => times?,
        () = flood => unreachable!("it goes on"),
    };
    let ratio = |name: &str, usual: Duration, flooded: Duration| {
        [
            Value::new(format!("{name}, usual"), usual.as_secs_f64() * 1000.0, "ms"),
            Value::new(format!("{name}, meanwhile"), flooded.as_secs_f64() * 1000.0, "ms"),
            Value::new(format!("{name}, times as long"), flooded.as_secs_f64() / usual.as_secs_f64(), "").limit(Limit::Below(2.0)),
        ]
    };
    let values = [
        ratio("sign-in", usual_sign_in, flooded_sign_in?),
        ratio("list", usual_list, flooded_list),
        ratio("heartbeat", usual_heartbeat, flooded_heartbeat),
    ];
    Ok(Figure {
        name: "shares",
        how: format!(
            "{STRANGERS} wrong sign-ins from as many addresses while an admin signs in from a known one ({turned_away} of them turned away); \
             {LISTS} lists at a time of one API token beside another's lists and heartbeats; medians of {times}"
        ),
        values: values.into_iter().flatten().collect(),
        notes: Vec::new(),
    })
}

async fn sign_in(client: &Client, name: &str, password: &str, address: &str) -> Result<crate::http::Answer, crate::http::HttpError> {
    let body = json!({"username": name, "password": password}).to_string();
    client.send(Call::post("/v1/auth/login", body).header("x-forwarded-for", address)).await
}

async fn sign_in_status(client: &Client, name: &str, address: &str) -> Option<u16> {
    sign_in(client, name, "wrong wrong wrong", address).await.ok().map(|answer| answer.status)
}

async fn timed(call: impl Future<Output = Result<crate::http::Answer, crate::http::HttpError>>, status: u16) -> Result<Duration> {
    let started = Instant::now();
    let answer = call.await?;
    ensure!(answer.status == status, "answered with {}: {}", answer.status, answer.detail());
    Ok(started.elapsed())
}

async fn median(times: usize, call: &impl AsyncFn() -> Result<Duration>) -> Result<Duration> {
    let mut took = Vec::with_capacity(times);
    for _ in 0..times {
        took.push(call().await?);
    }
    took.sort();
    took.get(times / 2).copied().context("nothing was measured")
}
