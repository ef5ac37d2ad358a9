//! Fair shares: one client takes all of a pool that it can, is refused by the name of the limit, and others are served meanwhile.
//!
//! Clients at several addresses are one process here: the node trusts it as a proxy. Exports, dashboards and reads of the database
//! are tested beside their code, where nothing else ends first.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use chaos::harness::NodeOptions;
use chaos::http::{Answer, Call};
use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::net::TcpSocket;

use crate::common::apks::{add, fixture};
use crate::common::{Bench, PASSWORD, eventually, heartbeat, options};

const FORWARDED_FOR: &str = "x-forwarded-for";

fn behind_a_proxy() -> NodeOptions {
    options().env("NEXMDM__HTTP__TRUSTED_PROXIES", "127.0.0.1")
}

/// A refusal that names this limit, and when to come back.
fn assert_refused(answer: &Answer, limit: &str) {
    assert_eq!((answer.status, answer.json()["type"].as_str()), (503, Some("overloaded")), "{}", answer.detail());
    assert!(answer.detail().contains(limit), "{limit}: {}", answer.detail());
    assert!(answer.retry_after().is_some(), "{limit}");
}

async fn link(bench: &Bench, bearer: &str, apk: &Value) -> String {
    let path = format!("/v1/apks/{}/download-url", apk["id"].as_str().unwrap());
    let answer = bench.client.post(&path, Some(bearer), &json!({})).await.unwrap();
    answer.json()["url"].as_str().unwrap()[bench.node.url().len()..].to_owned()
}

/// A download under way from an address; the test reads no further than its status.
fn held(bench: &Bench, path: &str, address: &str) -> TcpStream {
    let mut stream = TcpStream::connect(("127.0.0.1", bench.node.port())).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nhost: x\r\n{FORWARDED_FOR}: {address}\r\n\r\n").unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut status = [0; 12];
    stream.read_exact(&mut status).unwrap();
    assert_eq!(&status, b"HTTP/1.1 200");
    stream
}

async fn first_byte(bench: &Bench, path: &str, address: &str) -> Answer {
    bench.client.send(Call::get(path).header("range", "bytes=0-0").header(FORWARDED_FOR, address)).await.unwrap()
}

#[tokio::test]
async fn a_link_a_person_and_an_address_have_their_shares_of_the_downloads() {
    // A file of 8 KiB takes as many seconds.
    let slow = behind_a_proxy()
        .env("NEXMDM__APKS__DOWNLOAD_BYTES_PER_SECOND", "1024")
        .env("NEXMDM__APKS__DOWNLOADS_MAX", "8")
        .env("NEXMDM__APKS__DOWNLOADS_PER_LINK_MAX", "2")
        .env("NEXMDM__APKS__DOWNLOADS_PER_PRINCIPAL_MAX", "3");
    let bench = Bench::with(slow).await;
    bench.add_user("operator", "operator");
    let operator = bench.client.access_token("operator", PASSWORD).await.unwrap();
    let [one, two] = [add(&bench.client, &bench.admin, "till-1.apk").await, add(&bench.client, &bench.admin, "till-2.apk").await];
    let (of_admin, also_of_admin) = (link(&bench, &bench.admin, &one).await, link(&bench, &bench.admin, &two).await);
    let (of_operator, also_of_operator) = (link(&bench, &operator, &one).await, link(&bench, &operator, &two).await);

    let mut greedy = vec![held(&bench, &of_admin, "192.0.2.1"), held(&bench, &of_admin, "192.0.2.2")];
    assert_refused(&first_byte(&bench, &of_admin, "192.0.2.3").await, "apks.downloads_per_link_max");
    greedy.push(held(&bench, &also_of_admin, "192.0.2.1"));
    assert_refused(&first_byte(&bench, &also_of_admin, "192.0.2.3").await, "apks.downloads_per_principal_max");
    assert_eq!(first_byte(&bench, &of_operator, "192.0.2.3").await.status, 206, "somebody else is served");
    greedy.push(held(&bench, &of_operator, "192.0.2.1"));
    greedy.push(held(&bench, &also_of_operator, "192.0.2.1"));
    assert_refused(&first_byte(&bench, &also_of_operator, "192.0.2.1").await, "apks.downloads_per_address_pct");
    assert_eq!(first_byte(&bench, &also_of_operator, "192.0.2.4").await.status, 206, "somewhere else is served");
    assert!(bench.metric("nexmdm_pool_in_use{class=\"regular\",pool=\"downloads\"}").await >= 5.0);
    assert_eq!(bench.metric("nexmdm_pool_refused_total{class=\"regular\",limit=\"link\",pool=\"downloads\"}").await, 1.0);
    drop(greedy);
    eventually("the permits are given back", async || {
        (bench.metric("nexmdm_pool_in_use{class=\"regular\",pool=\"downloads\"}").await == 0.0).then_some(())
    })
    .await;
    for forged in
        [of_admin.replace("holder=user.", "holder=token."), of_admin.replace("holder=", "holder=x"), of_operator.replace("user.", "task.")]
    {
        assert_eq!(first_byte(&bench, &forged, "192.0.2.5").await.status, 401, "{forged}");
    }
}

#[tokio::test]
async fn an_account_has_its_share_of_the_uploads_and_an_admin_removes_anybodys() {
    let bench = Bench::with(options().env("NEXMDM__APKS__UPLOADS_MAX", "8").env("NEXMDM__APKS__UPLOADS_PER_PRINCIPAL_MAX", "2")).await;
    let mut bearers = Vec::new();
    for name in ["ci", "other", "third", "fourth"] {
        bench.add_user(name, "operator");
        bearers.push(bench.client.access_token(name, PASSWORD).await.unwrap());
    }
    let [ci, other, third, fourth] = [0, 1, 2, 3].map(|n| bearers[n].as_str());
    let begin = async |bearer: &str| {
        let body = json!({"size_bytes": 9000, "file_name": "x.apk"});
        bench.client.post("/v1/apk-uploads", Some(bearer), &body).await.unwrap()
    };
    let begun = begin(ci).await.json()["upload_id"].as_str().unwrap().to_owned();
    assert_eq!(begin(ci).await.status, 201);
    assert_refused(&begin(ci).await, "apks.uploads_per_principal_max");
    for bearer in [other, other, third, third] {
        assert_eq!(begin(bearer).await.status, 201, "others begin theirs");
    }
    assert_refused(&begin(fourth).await, "apks.uploads_reserved_pct");
    assert_eq!(begin(&bench.admin).await.status, 201, "the reserve is for admins");

    let list = async |bearer: &str| bench.client.get_json("/v1/apk-uploads", bearer).await.unwrap()["items"].as_array().unwrap().clone();
    assert_eq!((list(&bench.admin).await.len(), list(ci).await.len()), (7, 2));
    assert!(list(ci).await.iter().all(|upload| upload["created_by"] == "ci"));
    let path = format!("/v1/apk-uploads/{begun}");
    assert_eq!(bench.client.delete(&path, other).await.unwrap().status, 404, "somebody else's");
    assert_eq!(bench.client.delete(&path, &bench.admin).await.unwrap().status, 204);
    assert_eq!(bench.client.get(&path, Some(ci)).await.unwrap().status, 404);
    let trail = bench.client.get_json("/v1/audit?action=apk.upload_removed", &bench.admin).await.unwrap();
    assert_eq!((trail["items"].as_array().unwrap().len(), &trail["items"][0]["target"]["id"]), (1, &json!(begun)), "{trail}");

    let of_admin = list(&bench.admin).await.into_iter().find(|upload| upload["created_by"] == "admin").unwrap();
    let path = format!("/v1/apk-uploads/{}", of_admin["upload_id"].as_str().unwrap());
    assert_eq!(bench.client.delete(&path, &bench.admin).await.unwrap().status, 204);

    // What stands still gives its place to one that begins.
    assert_eq!(begin(ci).await.status, 201);
    assert_refused(&begin(ci).await, "apks.uploads_per_principal_max");
    let stands_still = list(ci).await[1]["upload_id"].as_str().unwrap().to_owned();
    bench.sql(&format!("UPDATE apk_upload SET touched_at = touched_at - interval '1 hour' WHERE upload_id = '{stands_still}'"));
    assert_eq!(begin(ci).await.status, 201);
    assert_eq!(bench.client.get(&format!("/v1/apk-uploads/{stands_still}"), Some(ci)).await.unwrap().status, 404);
}

#[tokio::test]
async fn an_upload_that_trickles_in_gives_its_permit_back() {
    let bench = Bench::with(options().env("NEXMDM__APKS__STALL_TIMEOUT_MS", "1500").env("NEXMDM__APKS__UPLOADS_MAX", "1")).await;
    let file = fixture("till-1.apk");
    let head = format!(
        "POST /v1/apks HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        bench.admin,
        file.len()
    );
    let mut slow = TcpStream::connect(("127.0.0.1", bench.node.port())).unwrap();
    slow.write_all(head.as_bytes()).unwrap();
    slow.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    let mut answer = [0; 12];
    // A byte every tenth of a second never stands still.
    let ended = file.iter().any(|byte| slow.write_all(&[*byte]).is_err() || slow.read_exact(&mut answer).is_ok());
    assert!(ended && &answer == b"HTTP/1.1 408", "{}", String::from_utf8_lossy(&answer));
    assert_eq!(add(&bench.client, &bench.admin, "till-1.apk").await["version_code"], 1);
}

#[tokio::test]
async fn sign_ins_from_known_addresses_go_before_those_of_strangers() {
    let bench =
        Bench::with(behind_a_proxy().env("NEXMDM__AUTH__PASSWORD_BCRYPT_COST", "12").env("NEXMDM__AUTH__BCRYPT_CONCURRENCY", "2")).await;
    let sign_in = async |name: &str, password: &str, address: &str| {
        let body = json!({"username": name, "password": password}).to_string();
        bench.client.send(Call::post("/v1/auth/login", body).header(FORWARDED_FOR, address)).await.unwrap()
    };
    assert_eq!(sign_in("admin", bench.node.admin_password(), "198.51.100.7").await.status, 200);
    let waiting = async |class: &str| bench.metric(&format!("nexmdm_pool_waiting{{class=\"{class}\",pool=\"passwords\"}}")).await;
    let flood = join_all((1..=40).map(async |n| sign_in(&format!("nobody{n}"), "wrong wrong wrong", &format!("192.0.2.{n}")).await.status));
    let admin = async {
        eventually("strangers wait", async || (waiting("stranger").await > 20.0).then_some(())).await;
        let signed_in = sign_in("admin", bench.node.admin_password(), "198.51.100.7").await.status;
        (signed_in, waiting("stranger").await)
    };
    let (statuses, (signed_in, still_waiting)) = tokio::join!(flood, admin);
    assert_eq!(signed_in, 200);
    assert!(still_waiting > 0.0, "served before the strangers that came before");
    assert!(statuses.iter().all(|status| [401, 503].contains(status)), "{statuses:?}");
    assert_eq!((waiting("stranger").await, waiting("regular").await), (0.0, 0.0));
}

#[tokio::test]
async fn a_device_has_its_share_of_the_sockets() {
    let bench = Bench::with(options().env("NEXMDM__SOCKET__CONNECTIONS_PER_PRINCIPAL_MAX", "1")).await;
    let [greedy, other] = [bench.enroll("greedy").await, bench.enroll("other").await];
    let first = bench.client.socket(&greedy.session_token).await.unwrap().unwrap();
    assert_eq!(bench.client.socket(&greedy.session_token).await.unwrap().err(), Some(503));
    assert!(bench.client.socket(&other.session_token).await.unwrap().is_ok());
    assert_eq!(bench.metric("nexmdm_pool_refused_total{class=\"regular\",limit=\"principal\",pool=\"agent_sockets\"}").await, 1.0);
    let cluster = bench.client.get_json("/v1/cluster", &bench.admin).await.unwrap();
    let pools = cluster["nodes"][0]["pools"].as_array().unwrap();
    let sockets = pools.iter().find(|pool| pool["name"] == "agent_sockets").unwrap();
    assert_eq!((&sockets["waiting"], &sockets["refused"]), (&serde_json::json!(0), &serde_json::json!(1)));
    assert!(sockets["in_use"].as_u64() >= Some(1) && sockets["capacity"].as_u64() > sockets["in_use"].as_u64(), "{sockets}");
    assert!(pools.len() >= 10, "every pool of the node: {pools:?}");
    first.close().await.unwrap();
    eventually("the permit is given back", async || bench.client.socket(&greedy.session_token).await.unwrap().ok()).await;
}

#[tokio::test]
async fn an_address_has_its_share_of_the_connections() {
    let shared = options().env("NEXMDM__HTTP__CONNECTIONS_MAX", "40").env("NEXMDM__HTTP__CONNECTIONS_PER_ADDRESS_PCT", "50");
    let bench = Bench::with(shared).await;
    let connect = async || {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
        socket.connect(format!("127.0.0.1:{}", bench.node.port()).parse().unwrap()).await.unwrap()
    };
    let mut held = Vec::new();
    for _ in 0..60 {
        held.push(connect().await);
    }
    eventually("its share is used up", async || {
        (bench.metric("nexmdm_pool_refused_total{class=\"regular\",limit=\"address\",pool=\"connections\"}").await >= 40.0).then_some(())
    })
    .await;
    let mut refused = connect().await.into_std().unwrap();
    refused.set_nonblocking(false).unwrap();
    let mut answer = String::new();
    refused.read_to_string(&mut answer).unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 503") && answer.contains("retry-after: ") && answer.contains("http.connections_per_address_pct"),
        "{answer}"
    );
    assert_eq!(bench.client.get("/healthz", None).await.unwrap().status, 200, "another address is served");
}

#[tokio::test]
async fn lists_take_no_connection_to_the_database_that_heartbeats_need() {
    let bench =
        Bench::with(options().env("NEXMDM__DATABASE__POOL_MAX_CONNECTIONS", "4").env("NEXMDM__DATABASE__STATEMENT_TIMEOUT_MS", "3000"))
            .await;
    let device = bench.enroll("kiosk").await;
    assert_eq!(bench.client.heartbeat(&device.session_token, &heartbeat(-60, 5)).await.unwrap().status, 200);
    let held = bench.hold("LOCK TABLE audit_entry IN ACCESS EXCLUSIVE MODE");
    let lists = join_all((0..30).map(async |_| bench.client.get("/v1/audit", Some(&bench.admin)).await.unwrap()));
    let meanwhile = async {
        let in_use = "nexmdm_pool_in_use{class=\"essential\",pool=\"database_reads\"}";
        eventually("lists are read", async || (bench.metric(in_use).await >= 1.0).then_some(())).await;
        let stored = bench.client.heartbeat(&device.session_token, &heartbeat(0, 5)).await.unwrap();
        (stored.status, bench.metric(in_use).await)
    };
    let (lists, (stored, still_reading)) = tokio::join!(lists, meanwhile);
    assert_eq!(stored, 200);
    assert!(still_reading >= 1.0, "while the lists were being read");
    assert!(lists.iter().all(|answer| answer.status == 503), "none could be read");
    let named = lists.iter().filter(|answer| answer.detail().contains("database.")).count();
    assert!(named > 0, "those that waited for a connection are told of the limit");
    drop(held);
    assert_eq!(bench.client.get("/v1/audit", Some(&bench.admin)).await.unwrap().status, 200);
}
