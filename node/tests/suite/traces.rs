//! Traces: sent by OTLP over a socket to a stand-in of a collector, across two nodes.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::State;
use axum::routing::post;
use chaos::client::Client;
use chaos::harness::{Cluster, Node, free_port};
use chaos::http::Call;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::common::{Bench, cluster_options, eventually, heartbeat, options};

/// A span that a node sent.
#[derive(Debug, Clone)]
struct Span {
    node: String,
    name: String,
    trace: String,
    id: String,
    parent: String,
    attributes: Value,
}

/// A stand-in for a collector; it keeps what it is sent.
struct Collector {
    address: SocketAddr,
    requests: Arc<Mutex<Vec<Value>>>,
}

async fn take(State(requests): State<Arc<Mutex<Vec<Value>>>>, body: axum::body::Bytes) -> axum::Json<Value> {
    requests.lock().unwrap().push(serde_json::from_slice(&body).unwrap());
    axum::Json(json!({}))
}

impl Collector {
    async fn start() -> Self {
        let requests = Arc::new(Mutex::new(Vec::new()));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().route("/v1/traces", post(take)).with_state(Arc::clone(&requests));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { address, requests }
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    fn spans(&self) -> Vec<Span> {
        let requests = self.requests.lock().unwrap();
        let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let mut spans = Vec::new();
        for resource in requests.iter().flat_map(|request| list(&request["resourceSpans"])) {
            let attributes = list(&resource["resource"]["attributes"]);
            let node = attributes.iter().find(|attribute| attribute["key"] == "service.instance.id").unwrap();
            for span in list(&resource["scopeSpans"]).iter().flat_map(|scope| list(&scope["spans"])) {
                spans.push(Span {
                    node: text(&node["value"]["stringValue"]),
                    name: text(&span["name"]),
                    trace: text(&span["traceId"]),
                    id: text(&span["spanId"]),
                    parent: text(&span["parentSpanId"]),
                    attributes: span["attributes"].clone(),
                });
            }
        }
        spans
    }
}

/// The span of this name among those of a trace.
fn named<'a>(spans: &'a [Span], trace: &str, name: &str) -> Option<&'a Span> {
    spans.iter().find(|span| span.trace == trace && span.name == name)
}

#[tokio::test]
async fn a_trace_follows_a_heartbeat_and_a_command_to_the_owner_on_another_node() {
    let collector = Collector::start().await;
    let options = cluster_options(2)
        .env("NEXMDM__TRACING__OTLP_URL", collector.url())
        .env("NEXMDM__TRACING__SAMPLED_PER_MILLION", "1000000")
        .env("NEXMDM__TRACING__FLUSH_MS", "100");
    let cluster = Cluster::start(options).await.unwrap();
    let client = |name: &str| Client::new(&cluster.member(name).unwrap().url()).unwrap();
    let names: Vec<_> = cluster.members().iter().map(|member| member.name().to_owned()).collect();
    let admin = client(&names[0]).access_token("admin", cluster.admin_password()).await.unwrap();
    let device = client(&names[0]).enroll(&admin, "kiosk").await.unwrap();

    // Asked at each node: one of them forwards, once both know who owns what.
    let (owner, other) = eventually("a node forwards", async || {
        for name in &names {
            let answer = client(name).heartbeat(&device.session_token, &heartbeat(0, 50)).await.ok()?;
            let owner = answer.header("x-nexmdm-owner")?.split(';').next()?.to_owned();
            if answer.status == 200 && owner != *name && names.contains(&owner) {
                return Some((owner, name.clone()));
            }
        }
        None
    })
    .await;
    let chain = ["http.request", "heartbeat.forward", "heartbeat.owner"];
    let at_owner = eventually("the trace of a heartbeat has its spans of both nodes", async || {
        let spans = collector.spans();
        let last = spans.iter().find(|span| span.name == chain[2] && span.node == owner)?;
        let (middle, first) = (named(&spans, &last.trace, chain[1])?, named(&spans, &last.trace, chain[0])?);
        let linked = last.parent == middle.id && middle.parent == first.id && first.parent.is_empty();
        (linked && middle.node == other && first.node == other).then(|| first.clone())
    })
    .await;
    let told = at_owner.attributes.to_string();
    assert!(told.contains("/v1/heartbeat") && told.contains("http.response.status_code"), "{told}");
    assert!(!told.contains(&device.device_id), "no device is named in a span");

    let path = format!("/v1/devices/{}/commands", device.device_id);
    let sent = client(&other).post(&path, Some(&admin), &json!({"action": "ping"})).await.unwrap();
    assert!(matches!(sent.status, 200..=202), "{}", sent.detail());
    eventually("the trace of a command has its spans of both nodes", async || {
        let spans = collector.spans();
        let asked = |span: &&Span| span.name == "device.request" && span.node == owner;
        spans.iter().filter(asked).find_map(|last| {
            let first = named(&spans, &last.trace, "http.request").filter(|first| first.node == other && last.parent == first.id)?;
            first.attributes.to_string().contains("/commands").then_some(())
        })
    })
    .await;
}

/// A `traceparent` of this trace, recorded.
fn traceparent(trace: &str) -> String {
    format!("00-{trace}-b7ad6b7169203331-01")
}

#[tokio::test]
async fn the_trace_of_a_caller_is_taken_from_a_trusted_proxy_alone() {
    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
    let collector = Collector::start().await;
    let traced = |per_million: &str| {
        options()
            .env("NEXMDM__TRACING__OTLP_URL", collector.url())
            .env("NEXMDM__TRACING__SAMPLED_PER_MILLION", per_million)
            .env("NEXMDM__TRACING__FLUSH_MS", "100")
    };
    let ask = async |node: &Node| {
        let client = Client::new(&node.url()).unwrap();
        assert_eq!(client.get("/healthz", None).await.unwrap().status, 200);
        let header = traceparent(TRACE);
        assert_eq!(client.send(Call::get("/healthz").header("traceparent", &header)).await.unwrap().status, 200);
    };
    let behind = Node::start(traced("0").env("NEXMDM__HTTP__TRUSTED_PROXIES", "127.0.0.1")).await.unwrap();
    ask(&behind).await;
    let first = eventually("the proxy's trace is recorded", async || collector.spans().first().cloned()).await;
    assert_eq!((first.trace.as_str(), first.parent.as_str()), (TRACE, "b7ad6b7169203331"));
    drop(behind);
    assert!(collector.spans().iter().all(|span| span.trace == TRACE), "of what begins here, nothing is recorded");

    let before = collector.spans().len();
    let open = Node::start(traced("1000000")).await.unwrap();
    ask(&open).await;
    let asked = |span: &&Span| span.attributes.to_string().contains("/healthz");
    eventually("both requests are recorded", async || (collector.spans().iter().skip(before).filter(asked).count() >= 2).then_some(()))
        .await;
    assert!(collector.spans().iter().skip(before).all(|span| span.trace != TRACE), "anybody could have its requests recorded");
}

#[tokio::test]
async fn without_its_collector_a_node_serves_and_counts() {
    let away = format!("http://127.0.0.1:{}", free_port().unwrap());
    let bench = Bench::with(
        options()
            .env("NEXMDM__TRACING__OTLP_URL", away)
            .env("NEXMDM__TRACING__SAMPLED_PER_MILLION", "1000000")
            .env("NEXMDM__TRACING__FLUSH_MS", "100"),
    )
    .await;
    let device = bench.enroll("kiosk").await;
    assert_eq!(bench.client.heartbeat(&device.session_token, &heartbeat(0, 50)).await.unwrap().status, 200);
    eventually("lost spans are counted", async || (bench.metric("nexmdm_trace_spans_total{outcome=\"failed\"}").await > 0.0).then_some(()))
        .await;
    assert!(bench.node.log().contains("trace.send_failed"));
}
