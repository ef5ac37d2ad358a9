//! Commands to devices that a UnifiedPush distributor wakes: a push server on this machine takes what a real node posts.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use chaos::agent_command::{DeviceKey, Keys, Seen, Verdict, judge};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use wire::agent::Command;

use crate::common::{Bench, clock, eventually, heartbeat, options};

/// A push server that answers with `status` and hands on what it is sent.
struct PushServer {
    origin: String,
    status: Arc<AtomicU16>,
    posted: mpsc::UnboundedReceiver<(HeaderMap, Value)>,
}

impl PushServer {
    async fn start() -> Self {
        let (sender, posted) = mpsc::unbounded_channel();
        let status = Arc::new(AtomicU16::new(201));
        let answer = Arc::clone(&status);
        let take = async move |State(sender): State<mpsc::UnboundedSender<(HeaderMap, Value)>>, headers: HeaderMap, body: String| {
            sender.send((headers, serde_json::from_str(&body).unwrap())).unwrap();
            StatusCode::from_u16(answer.load(Ordering::SeqCst)).unwrap()
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let origin = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().route("/up/{device}", post(take)).with_state(sender);
        // Ends with the test's runtime.
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { origin, status, posted }
    }

    async fn next(&mut self) -> (HeaderMap, Value) {
        tokio::time::timeout(Duration::from_secs(10), self.posted.recv()).await.unwrap().unwrap()
    }
}

#[tokio::test]
async fn commands_reach_allowed_endpoints_signed_and_no_others() {
    let (mut server, mut foreign) = (PushServer::start().await, PushServer::start().await);
    let bench = Bench::with(options().env("NEXMDM__UNIFIED_PUSH__ORIGINS", server.origin.clone())).await;
    let (device, other) = (bench.enroll("kiosk").await, bench.enroll("other").await);
    for (device, origin) in [(&device, &server.origin), (&other, &foreign.origin)] {
        let mut told = heartbeat(-300, 50);
        told.fcm_token = Some(format!("{origin}/up/{}", device.device_id));
        assert_eq!(bench.client.heartbeat(&device.session_token, &told).await.unwrap().status, 200);
    }
    let order = async |device: &chaos::client::EnrolledDevice| {
        let path = format!("/v1/devices/{}/commands", device.device_id);
        let answer = bench.client.post(&path, Some(&bench.admin), &json!({"action": "ring"})).await.unwrap();
        assert_eq!(answer.status, 201, "{}", answer.json());
        answer.json()["request_id"].as_str().unwrap().to_owned()
    };

    let id = order(&device).await;
    let (headers, data) = server.next().await;
    let sent: Command = serde_json::from_value(data).unwrap();
    let keys = Keys::of(DeviceKey::from_hex(&device.device_key).unwrap());
    assert_eq!(sent.request_id, id);
    assert_eq!(judge(&keys, &device.device_id, &sent, clock(0), &mut Seen::default()), Verdict::Run);
    assert!(headers["ttl"].to_str().unwrap().parse::<u32>().unwrap() > 0 && headers["urgency"] == "high", "{headers:?}");
    let path = async |id: &str| bench.client.get_json(&format!("/v1/commands/{id}"), &bench.admin).await.unwrap()["path"].clone();
    eventually("the record", async || (path(&id).await == "push").then_some(())).await;

    // The other's push server is not allowed: its command waits for the device.
    let waiting = order(&other).await;
    let answer = bench.client.heartbeat(&other.session_token, &heartbeat(-100, 50)).await.unwrap().json();
    assert_eq!(answer["commands"][0]["request_id"], json!(waiting));
    assert!(foreign.posted.try_recv().is_err(), "an origin that is not allowed was called");

    // What an ended endpoint refuses waits for the device, too.
    server.status.store(410, Ordering::SeqCst);
    let refused = order(&device).await;
    server.next().await;
    eventually("its heartbeat brings it", async || {
        let answer = bench.client.heartbeat(&device.session_token, &heartbeat(-50, 50)).await.unwrap().json();
        answer["commands"].as_array()?.iter().any(|command| command["request_id"] == json!(refused)).then_some(())
    })
    .await;
}
