//! What was begun by somebody who loses their rights meanwhile: tables under way, and links that were handed out.

use std::time::Duration;

use apk::signed_url::{APK_FILES, LinkHolder, UrlSigner};
use chaos::http::Call;
use hyper::Method;
use secrecy::SecretBox;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;

use crate::common::apks::add;
use crate::common::{Bench, DEADLINE, PASSWORD, api_token, clock, hex_key, options};

async fn disable(bench: &Bench, name: &str, disabled: bool) {
    let id = bench.sql(&format!("SELECT user_id FROM app_user WHERE username = '{name}'"));
    let path = format!("/v1/users/{id}");
    let call = Call::post(&path, json!({"disabled": disabled}).to_string()).method(Method::PATCH);
    assert_eq!(bench.client.send(call.bearer(&bench.admin)).await.unwrap().status, 200);
}

#[tokio::test]
async fn a_table_ends_with_the_rights_of_who_reads_it() {
    let bench = Bench::start().await;
    bench.add_user("ann", "admin");
    // More than the buffers on the way take, in many pieces.
    bench.sql(
        "INSERT INTO audit_entry (seq, at, actor_kind, actor_name, action, target_kind, after, prev_hash, hash)
         SELECT n, now(), 'system', 'server', 'node.drained', 'node', repeat('x', 4000), sha256('a'), sha256('b') FROM generate_series(1000, 10999) n",
    );
    let token = bench.client.access_token("ann", PASSWORD).await.unwrap();
    for ends in [false, true] {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        let mut stream = socket.connect(format!("127.0.0.1:{}", bench.node.port()).parse().unwrap()).await.unwrap();
        let head = format!("GET /v1/audit.csv HTTP/1.1\r\nhost: x\r\nconnection: close\r\nauthorization: Bearer {token}\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut status = [0; 12];
        tokio::time::timeout(DEADLINE, stream.read_exact(&mut status)).await.unwrap().unwrap();
        assert_eq!(&status, b"HTTP/1.1 200");
        if ends {
            disable(&bench, "ann", true).await;
        }
        let mut table = Vec::new();
        // A body that is cut off may end the connection in either way.
        let _ = tokio::time::timeout(Duration::from_secs(60), stream.read_to_end(&mut table)).await.expect("the answer ends");
        let is_whole = table.ends_with(b"0\r\n\r\n");
        assert_eq!((is_whole, table.len() > 40_000_000), (!ends, !ends), "{} bytes", table.len());
    }
}

#[tokio::test]
async fn a_link_ends_with_the_rights_of_whom_it_was_made_for() {
    let key = hex_key(7);
    let bench = Bench::with(options().env("NEXMDM__SECRETS__MASTER_KEY", &key)).await;
    let (client, admin) = (&bench.client, bench.admin.as_str());
    let ann = json!({"username": "ann", "password": PASSWORD, "role": "operator"});
    assert_eq!(client.post("/v1/users", Some(admin), &ann).await.unwrap().status, 201);
    let apk = add(client, admin, "till-1.apk").await["id"].as_str().unwrap().to_owned();
    let script = api_token(client, admin, &["deployments:read"]).await;
    let device = bench.enroll("kiosk").await.device_id;
    let link = async |bearer: &str| {
        let made = client.post(&format!("/v1/apks/{apk}/download-url"), Some(bearer), &json!({})).await.unwrap().json();
        made["url"].as_str().unwrap()[bench.node.url().len()..].to_owned()
    };
    let of_ann = link(&client.access_token("ann", PASSWORD).await.unwrap()).await;
    let of_script = link(script["token"].as_str().unwrap()).await;
    let signer = UrlSigner::new(&SecretBox::new(Box::new(hex::decode(&key).unwrap())), APK_FILES);
    let (path, expires) = (format!("/v1/apks/{apk}/file"), clock(3600).timestamp());
    let of_device = format!("device.{device}");
    let signature = signer.sign_for(LinkHolder::parse(&of_device).unwrap(), &path, expires);
    let of_device = format!("{path}?expires={expires}&holder={of_device}&signature={signature}");
    let statuses = async || {
        let mut statuses = Vec::new();
        for link in [&of_ann, &of_script, &of_device] {
            statuses.push(client.get(link, None).await.unwrap().status);
        }
        statuses
    };
    assert_eq!(statuses().await, [200, 200, 200]);
    disable(&bench, "ann", true).await;
    assert_eq!(statuses().await, [401, 200, 200]);
    assert_eq!(client.delete(&format!("/v1/api-tokens/{}", script["id"].as_str().unwrap()), admin).await.unwrap().status, 204);
    assert_eq!(client.delete(&format!("/v1/devices/{device}"), admin).await.unwrap().status, 204);
    assert_eq!(statuses().await, [401, 401, 401]);
    disable(&bench, "ann", false).await;
    assert_eq!(statuses().await, [200, 401, 401], "it names the account, not the sign-in");
}
