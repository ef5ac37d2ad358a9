//! The APK library against real nodes: what comes in, what is refused, and how it is fetched.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};

use apk::signed_url::{APK_FILES, LinkHolder, UrlSigner};
use chaos::client::Client;
use chaos::harness::{Cluster, TempDir};
use chaos::http::{Answer, Call};
use hyper::Method;
use secrecy::SecretBox;
use serde_json::{Value, json};

use crate::common::apks::{add, allow, fixture, told, upload};
use crate::common::{Bench, PASSWORD, clock, cluster_options, eventually, options};

const TILL: &str = "com.example.till";

async fn url_of(bench: &Bench, id: &str) -> String {
    let answer = bench.client.post(&format!("/v1/apks/{id}/download-url"), Some(&bench.admin), &json!({})).await.unwrap();
    let url = answer.json()["url"].as_str().unwrap().to_owned();
    assert!(url.starts_with(&bench.node.url()), "{url}");
    url[bench.node.url().len()..].to_owned()
}

async fn fetch(client: &Client, path: &str, headers: &[(&str, &str)]) -> Answer {
    client.send(headers.iter().fold(Call::get(path), |call, (name, value)| call.header(name, value))).await.unwrap()
}

/// A signer of a fixture.
fn signer(apk: &Value) -> &str {
    apk["signers_sha256"][0].as_str().unwrap()
}

#[tokio::test]
async fn an_unknown_package_is_refused_then_allowed_and_its_versions_are_kept_apart() {
    let bench = Bench::start().await;
    let (client, admin) = (&bench.client, bench.admin.as_str());
    let refused = upload(client, admin, fixture("till-1.apk"), "").await;
    assert_eq!((refused.status, refused.json()["field"].as_str()), (422, Some("package")), "{}", refused.detail());
    let (package, signers) = told(&refused);
    assert_eq!((package.as_str(), signers.len()), (TILL, 1));
    assert_eq!(bench.sql("SELECT count(*) FROM apk"), "0", "nothing is half there");

    assert_eq!(allow(client, admin, TILL, &[&signers[0]]).await.status, 201);
    let taken = upload(client, admin, fixture("till-1.apk"), "?notes=first").await;
    assert_eq!(taken.status, 201, "{}", taken.detail());
    let apk = taken.json();
    for (field, want) in [
        ("package", json!(TILL)),
        ("version_code", json!(1)),
        ("version_name", json!("1.0")),
        ("label", json!("Till")),
        ("min_sdk", json!(26)),
        ("target_sdk", json!(33)),
        ("size_bytes", json!(fixture("till-1.apk").len())),
        ("lineage_sha256", json!([])),
        ("notes", json!("first")),
        ("has_icon", json!(true)),
        ("uploaded_by", json!("admin")),
        ("deleted_at", json!(null)),
    ] {
        assert_eq!(apk[field], want, "{field}");
    }

    // The same file again, and another of the same version.
    let again = upload(client, admin, fixture("till-1.apk"), "").await;
    assert_eq!((again.status, &again.json()["id"]), (200, &apk["id"]));
    assert_eq!(upload(client, admin, fixture("till-2.apk"), "").await.status, 201);
    let other = upload(client, admin, fixture("till-2-other-file.apk"), "").await;
    assert_eq!(other.status, 409, "{}", other.detail());

    // A foreign signer, and one whom the allowed one handed over to.
    let foreign = upload(client, admin, fixture("till-5-foreign.apk"), "").await;
    assert_eq!((foreign.status, foreign.json()["field"].as_str()), (422, Some("signers_sha256")), "{}", foreign.detail());
    let rotated = upload(client, admin, fixture("till-8-rotated.apk"), "").await;
    assert_eq!(rotated.status, 201, "{}", rotated.detail());
    assert_eq!(rotated.json()["lineage_sha256"], json!([signers[0]]));
    assert_ne!(signer(&rotated.json()), signers[0]);

    let icon = client.send(Call::get(&format!("/v1/apks/{}/icon", apk["id"].as_str().unwrap())).bearer(admin)).await.unwrap();
    assert_eq!((icon.status, icon.header("content-type"), icon.body.starts_with(b"\x89PNG")), (200, Some("image/png"), true));
    let page = client.get_json("/v1/apks?package=com.example.till&limit=2", admin).await.unwrap();
    assert_eq!(page["items"].as_array().unwrap().len(), 2);
    assert_eq!(page["items"][0]["version_code"], 8, "newest first");
    let rest = format!("/v1/apks?package=com.example.till&limit=2&cursor={}", page["next_cursor"].as_str().unwrap());
    let rest = client.get_json(&rest, admin).await.unwrap();
    assert_eq!((rest["items"][0]["version_code"].as_i64(), &rest["next_cursor"]), (Some(1), &Value::Null));
    let trail = bench.sql("SELECT string_agg(action, ' ' ORDER BY seq) FROM audit_entry WHERE target_kind IN ('apk', 'package')");
    assert_eq!(trail, "package.allowed apk.uploaded apk.uploaded apk.uploaded");
}

#[tokio::test]
async fn hostile_files_are_refused_by_name_and_leave_nothing_behind() {
    let bench = Bench::with(options().env("NEXMDM__APKS__UPLOAD_LIMIT_BYTES", "65536")).await;
    let (client, admin) = (&bench.client, bench.admin.as_str());
    let known = add(client, admin, "till-1.apk").await;
    let mut altered = fixture("till-2.apk");
    altered[100] ^= 1;
    let whole = fixture("till-2.apk");
    for (what, file, query, field, word) in [
        ("not an APK", b"hello".to_vec(), "", "apk", "not an APK"),
        ("nothing", vec![], "", "apk", "not an APK"),
        ("truncated", whole[..whole.len() - 100].to_vec(), "", "apk", "truncated"),
        ("altered", altered, "", "apk", "altered"),
        ("v1 only", fixture("till-6-v1.apk"), "", "apk", "scheme v1"),
        ("unsigned", fixture("till-7-unsigned.apk"), "", "apk", "not signed"),
        ("bomb", bomb(), "", "apk", "ZIP bomb"),
        ("bundle", archive(&["BundleConfig.pb", "base/manifest/AndroidManifest.xml"], 1), "", "apk", "universal.apk"),
        ("web page", b"<!doctype html><html>sign in</html>".to_vec(), "", "apk", "a web page"),
        ("another digest", whole.clone(), "?sha256=0000000000000000000000000000000000000000000000000000000000000000", "sha256", "SHA-256"),
        ("no digest", whole.clone(), "?sha256=xyz", "sha256", "64 digits"),
        ("no id", whole.clone(), "?rollback_of=xyz", "rollback_of", "not the id"),
        ("unknown id", whole.clone(), "?rollback_of=00000000-0000-0000-0000-000000000001", "rollback_of", "no such APK"),
    ] {
        let answer = upload(client, admin, file, query).await;
        let (status, json) = (answer.status, answer.json());
        assert_eq!((status, json["field"].as_str()), (422, Some(field)), "{what}: {}", answer.detail());
        assert!(answer.detail().contains(word), "{what}: {}", answer.detail());
    }
    assert_eq!(upload(client, admin, vec![b'x'; 65_537], "").await.status, 413);
    // A version below the newest is taken, but not to bring something back.
    assert_eq!(add(client, admin, "till-3.apk").await["version_code"], 3);
    let back = format!("?rollback_of={}", known["id"].as_str().unwrap());
    let old = upload(client, admin, whole, &back).await;
    assert_eq!((old.status, old.json()["field"].as_str()), (422, Some("rollback_of")), "{}", old.detail());
    assert_eq!(upload(client, admin, fixture("till-4-rollback.apk"), &back).await.status, 201);

    assert_eq!(bench.sql("SELECT string_agg(version_code::text, ' ' ORDER BY version_code) FROM apk"), "1 3 4");
    let files = |folder: &str| std::fs::read_dir(bench.node.data_dir().join(folder)).unwrap().count();
    assert_eq!((files("apks/apks"), files("apk-cache/incoming")), (3, 0));
}

/// An archive of a few bytes that says that it unpacks to 12 GB.
fn bomb() -> Vec<u8> {
    archive(&["a", "b", "c"], u32::MAX - 1)
}

/// An archive of entries of one byte, each of which says that it unpacks to so many.
fn archive(names: &[&str], unpacked_bytes: u32) -> Vec<u8> {
    let (mut file, mut directory) = (Vec::new(), Vec::new());
    for name in names {
        let at = (file.len() as u32).to_le_bytes();
        let length = (name.len() as u32).to_le_bytes();
        let rest = [&[20, 0, 0, 0, 8, 0][..], &[0; 8], &1_u32.to_le_bytes(), &unpacked_bytes.to_le_bytes(), &length].concat();
        file.extend([&b"PK\x03\x04"[..], &rest, name.as_bytes(), b"x"].concat());
        directory.extend([&b"PK\x01\x02\x14\x00"[..], &rest, &[0; 10], &at, name.as_bytes()].concat());
    }
    let sizes = [(directory.len() as u32).to_le_bytes(), (file.len() as u32).to_le_bytes()].concat();
    let count = [(names.len() as u16).to_le_bytes(); 2].concat();
    [file, directory, [&b"PK\x05\x06\0\0\0\0"[..], &count, &sizes, &[0, 0]].concat()].concat()
}

#[tokio::test]
async fn a_file_is_fetched_in_ranges_by_whoever_has_its_address_for_as_long_as_that_holds() {
    let key = crate::common::hex_key(7);
    let bench = Bench::with(options().env("NEXMDM__SECRETS__MASTER_KEY", &key)).await;
    let apk = add(&bench.client, &bench.admin, "till-1.apk").await;
    let id = apk["id"].as_str().unwrap();
    let (path, file) = (url_of(&bench, id).await, fixture("till-1.apk"));
    let size = file.len();
    let whole = fetch(&bench.client, &path, &[]).await;
    assert_eq!((whole.status, &whole.body[..]), (200, &file[..]));
    let etag = format!("\"{}\"", apk["sha256"].as_str().unwrap());
    assert_eq!((whole.header("etag"), whole.header("accept-ranges")), (Some(etag.as_str()), Some("bytes")));
    for (range, from, to) in
        [("bytes=0-99", 0, 99), ("bytes=8000-", 8000, size - 1), ("bytes=-5", size - 5, size - 1), ("bytes=8600-99999", 8600, size - 1)]
    {
        for headers in [vec![("range", range)], vec![("range", range), ("if-range", etag.as_str())]] {
            let part = fetch(&bench.client, &path, &headers).await;
            let told = format!("bytes {from}-{to}/{size}");
            assert_eq!((part.status, part.header("content-range")), (206, Some(told.as_str())), "{range}");
            assert_eq!(part.body[..], file[from..=to], "{range}");
        }
    }
    assert_eq!(fetch(&bench.client, &path, &[("range", "bytes=0-9"), ("if-range", "\"old\"")]).await.body.len(), size);
    let outside = fetch(&bench.client, &path, &[("range", "bytes=99999-")]).await;
    assert_eq!((outside.status, outside.header("content-range")), (416, Some(format!("bytes */{size}").as_str())));
    assert_eq!(fetch(&bench.client, &path, &[("if-none-match", &etag)]).await.status, 304);

    let expires: i64 = path.split("expires=").nth(1).unwrap().split('&').next().unwrap().parse().unwrap();
    let signer = UrlSigner::new(&SecretBox::new(Box::new(hex::decode(&key).unwrap())), APK_FILES);
    let file_path = format!("/v1/apks/{id}/file");
    let holder = path.split("holder=").nth(1).unwrap().split('&').next().unwrap();
    let signed = |expires: i64| {
        let signature = signer.sign_for(LinkHolder::parse(holder).unwrap(), &file_path, expires);
        format!("{file_path}?expires={expires}&holder={holder}&signature={signature}")
    };
    assert_eq!(signed(expires), path, "signed here as there");
    let of_nobody = format!("{file_path}?expires={expires}&signature={}", signer.sign(&file_path, expires));
    assert_eq!(fetch(&bench.client, &of_nobody, &[]).await.status, 200, "a link of an earlier build");
    let other = add(&bench.client, &bench.admin, "till-2.apk").await["id"].as_str().unwrap().to_owned();
    for wrong in [
        signed(clock(-1).timestamp()),
        path.replace(&format!("expires={expires}"), &format!("expires={}", expires + 1)),
        path.replace(id, &other),
        path.replace("signature=", "signature=0"),
    ] {
        assert_eq!(fetch(&bench.client, &wrong, &[]).await.status, 401, "{wrong}");
    }
    assert_eq!(fetch(&bench.client, &format!("/v1/apks/{id}/file"), &[]).await.status, 422);
}

#[tokio::test]
async fn downloads_have_a_limit_and_a_pace() {
    let slow = options().env("NEXMDM__APKS__DOWNLOADS_MAX", "1").env("NEXMDM__APKS__DOWNLOAD_BYTES_PER_SECOND", "2048");
    let bench = Bench::with(slow).await;
    let apk = add(&bench.client, &bench.admin, "till-1.apk").await;
    let path = url_of(&bench, apk["id"].as_str().unwrap()).await;
    let started = Instant::now();
    let (one, other) = tokio::join!(fetch(&bench.client, &path, &[]), fetch(&bench.client, &path, &[]));
    let (served, refused) = if one.status == 200 { (one, other) } else { (other, one) };
    assert_eq!((served.status, refused.status), (200, 503));
    assert!(refused.retry_after().is_some(), "{}", refused.detail());
    assert_eq!(served.body[..], fixture("till-1.apk")[..]);
    // 8 KiB and some at 2 KiB a second.
    assert!(started.elapsed() > Duration::from_secs(3), "{:?}", started.elapsed());
    // Whoever hangs up makes room.
    let stream = hold_the_only_download(&bench, &path).await;
    assert_eq!(fetch(&bench.client, &path, &[("range", "bytes=0-0")]).await.status, 503);
    drop(stream);
    eventually("the turn is given back", async || {
        (fetch(&bench.client, &path, &[("range", "bytes=0-0")]).await.status == 206).then_some(())
    })
    .await;
}

/// A connection with a download under way: the server may still be ending the one before, and then refuses.
async fn hold_the_only_download(bench: &Bench, path: &str) -> TcpStream {
    eventually("a download begins", async || {
        let mut stream = TcpStream::connect(("127.0.0.1", bench.node.port())).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let mut status = [0; 12];
        stream.read_exact(&mut status).unwrap();
        (&status == b"HTTP/1.1 200").then_some(stream)
    })
    .await
}

#[tokio::test]
async fn what_is_used_stays_and_what_is_deleted_is_gone_for_everybody() {
    let bench = Bench::start().await;
    let (client, admin) = (&bench.client, bench.admin.as_str());
    let old = add(client, admin, "till-1.apk").await;
    let old_id = old["id"].as_str().unwrap();
    let back = upload(client, admin, fixture("till-4-rollback.apk"), &format!("?rollback_of={old_id}")).await.json();
    let back_id = back["id"].as_str().unwrap();
    let one = format!("/v1/apks/{old_id}");
    let refused = client.delete(&one, admin).await.unwrap();
    assert_eq!(refused.status, 409);
    assert!(refused.detail().contains(back_id), "{}", refused.detail());
    let shown = client.get_json(&one, admin).await.unwrap();
    assert_eq!((shown["used_by"][0]["kind"].as_str(), shown["used_by"][0]["id"].as_str()), (Some("rollback"), Some(back_id)));

    let package = format!("/v1/packages/{TILL}");
    assert_eq!(client.delete(&package, admin).await.unwrap().status, 409, "it has APKs");
    let path = url_of(&bench, old_id).await;
    assert_eq!(client.delete(&format!("/v1/apks/{back_id}"), admin).await.unwrap().status, 204);
    assert_eq!(client.delete(&one, admin).await.unwrap().status, 204);
    assert_eq!(client.delete(&one, admin).await.unwrap().status, 404);
    assert!(client.get_json(&one, admin).await.unwrap()["deleted_at"].is_string(), "it stays on record");
    assert_eq!(client.get_json("/v1/apks", admin).await.unwrap()["items"], json!([]));
    assert_eq!(fetch(client, &path, &[]).await.status, 404, "its address holds, but there is nothing");
    assert_eq!(std::fs::read_dir(bench.node.data_dir().join("apks/apks")).unwrap().count(), 0);
    // The version is free again.
    assert_eq!(upload(client, admin, fixture("till-1.apk"), "").await.status, 201);
    let again = client.get_json("/v1/apks", admin).await.unwrap()["items"][0]["id"].as_str().unwrap().to_owned();
    assert_eq!(client.delete(&format!("/v1/apks/{again}"), admin).await.unwrap().status, 204);
    assert_eq!(client.delete(&package, admin).await.unwrap().status, 204);
    assert_eq!(upload(client, admin, fixture("till-1.apk"), "").await.json()["field"], "package");
}

async fn part(client: &Client, bearer: &str, upload: &str, offset: usize, bytes: &[u8]) -> Answer {
    let (path, offset) = (format!("/v1/apk-uploads/{upload}"), offset.to_string());
    let call = Call::post(&path, bytes.to_vec()).method(Method::PATCH).content_type("application/octet-stream");
    client.send(call.header("upload-offset", &offset).bearer(bearer)).await.unwrap()
}

#[tokio::test]
async fn an_upload_goes_on_at_another_node_when_the_first_is_killed() {
    let store = TempDir::new("apks").unwrap();
    let options =
        cluster_options(2).env("NEXMDM__APKS__PART_LIMIT_BYTES", "4096").env("NEXMDM__APKS__STORE_URL", store.path().to_str().unwrap());
    let mut cluster = Cluster::start(options).await.unwrap();
    let names: Vec<_> = cluster.members().iter().map(|member| member.name().to_owned()).collect();
    let client = |name: &str| Client::new(&cluster.member(name).unwrap().url()).unwrap();
    let (first, second) = (client(&names[0]), client(&names[1]));
    let admin = second.access_token("admin", cluster.admin_password()).await.unwrap();
    let file = fixture("till-2.apk");
    let begin = json!({"file_name": "till.apk", "size_bytes": file.len()});
    let begun = first.post("/v1/apk-uploads", Some(&admin), &begin).await.unwrap();
    assert_eq!(begun.status, 201, "{}", begun.detail());
    let id = begun.json()["upload_id"].as_str().unwrap().to_owned();
    assert_eq!(begun.json()["part_limit_bytes"], 4096);
    assert_eq!(part(&first, &admin, &id, 0, &file[..4096]).await.json()["received"], 4096);
    cluster.node_mut(&names[0]).unwrap().kill9().unwrap();

    let at = second.get_json(&format!("/v1/apk-uploads/{id}"), &admin).await.unwrap();
    assert_eq!(at["received"], 4096);
    for (offset, bytes, status) in [
        (0, &file[..4096], 409),
        (8192, &file[8192..], 409),
        (4096, &file[4096..], 413),
        (4096, &file[4096..5000], 422),
        (4096, &file[4096..8192], 200),
    ] {
        let answer = part(&second, &admin, &id, offset, bytes).await;
        assert_eq!(answer.status, status, "{offset}: {}", answer.detail());
    }
    let complete = format!("/v1/apk-uploads/{id}/complete");
    let early = second.post(&complete, Some(&admin), &json!({})).await.unwrap();
    assert_eq!(early.status, 409);
    assert!(early.detail().contains("8192"), "{}", early.detail());
    assert_eq!(part(&second, &admin, &id, 8192, &file[8192..]).await.json()["received"], file.len());
    // Its package is not allowed yet; afterwards nothing has to be sent again.
    let refused = second.post(&complete, Some(&admin), &json!({})).await.unwrap();
    let (package, signers) = told(&refused);
    assert_eq!(allow(&second, &admin, &package, &[&signers[0]]).await.status, 201);
    let taken = second.post(&complete, Some(&admin), &json!({})).await.unwrap();
    assert_eq!((taken.status, taken.json()["version_code"].as_i64()), (201, Some(2)), "{}", taken.detail());
    let again = second.post(&complete, Some(&admin), &json!({})).await.unwrap();
    assert_eq!((again.status, &again.json()["id"]), (200, &taken.json()["id"]));
    assert_eq!(part(&second, &admin, &id, file.len(), b"x").await.status, 409, "it is over");
    assert!(std::fs::read_dir(store.path().join("uploads")).unwrap().next().is_none(), "no part is left");
    let abandoned = second.post("/v1/apk-uploads", Some(&admin), &begin).await.unwrap().json()["upload_id"].as_str().unwrap().to_owned();
    part(&second, &admin, &abandoned, 0, &file[..4096]).await;
    assert_eq!(second.delete(&format!("/v1/apk-uploads/{abandoned}"), &admin).await.unwrap().status, 204);
    assert!(std::fs::read_dir(store.path().join("uploads")).unwrap().next().is_none(), "nor of what was given up");
}

#[tokio::test]
async fn uploads_belong_to_whom_began_them_and_are_limited() {
    let bench = Bench::with(options().env("NEXMDM__APKS__UPLOADS_MAX", "1")).await;
    bench.add_user("ci", "operator");
    let ci = bench.client.access_token("ci", PASSWORD).await.unwrap();
    let begin = |size: i64| json!({"size_bytes": size, "file_name": "x.apk"});
    for (body, field) in [
        (begin(0), "size_bytes"),
        (begin(500_000_001), "size_bytes"),
        (json!({"size_bytes": 1, "sha256": "x"}), "sha256"),
        (json!({"size_bytes": 1, "rollback_of": "00000000-0000-0000-0000-000000000001"}), "rollback_of"),
    ] {
        let answer = bench.client.post("/v1/apk-uploads", Some(&ci), &body).await.unwrap();
        assert_eq!((answer.status, answer.json()["field"].as_str()), (422, Some(field)), "{body}");
    }
    let begun = bench.client.post("/v1/apk-uploads", Some(&ci), &begin(9000)).await.unwrap().json();
    let path = format!("/v1/apk-uploads/{}", begun["upload_id"].as_str().unwrap());
    let more = bench.client.post("/v1/apk-uploads", Some(&ci), &begin(9000)).await.unwrap();
    assert_eq!(more.status, 503, "{}", more.detail());
    bench.add_user("other", "operator");
    let other = bench.client.access_token("other", PASSWORD).await.unwrap();
    assert_eq!(bench.client.get(&path, Some(&other)).await.unwrap().status, 404, "somebody else's");
    assert_eq!(bench.client.get(&path, Some(&bench.admin)).await.unwrap().status, 200, "an admin sees all");
    assert_eq!(bench.client.get(&path, Some(&ci)).await.unwrap().status, 200);
    assert_eq!(bench.client.delete(&path, &ci).await.unwrap().status, 204);
    assert_eq!(bench.client.post("/v1/apk-uploads", Some(&ci), &begin(9000)).await.unwrap().status, 201);
}

#[tokio::test]
async fn a_body_that_stands_still_is_not_waited_for_and_one_that_trickles_in_is() {
    let bench = Bench::with(options().env("NEXMDM__APKS__STALL_TIMEOUT_MS", "1500").env("NEXMDM__HTTP__BODY_TIMEOUT_MS", "500")).await;
    let known = add(&bench.client, &bench.admin, "till-1.apk").await;
    let file = fixture("till-1.apk");
    let head = format!(
        "POST /v1/apks HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        bench.admin,
        file.len()
    );
    let mut still = TcpStream::connect(("127.0.0.1", bench.node.port())).unwrap();
    still.write_all(&[head.as_bytes(), &file[..1000]].concat()).unwrap();
    let answer = std::io::read_to_string(&mut still).unwrap();
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    let mut slow = TcpStream::connect(("127.0.0.1", bench.node.port())).unwrap();
    slow.write_all(head.as_bytes()).unwrap();
    for piece in file.chunks(3000) {
        // Longer altogether than any other body may take.
        std::thread::sleep(Duration::from_millis(300));
        slow.write_all(piece).unwrap();
    }
    let answer = std::io::read_to_string(&mut slow).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains(known["id"].as_str().unwrap()), "{answer}");
}

#[tokio::test]
async fn old_versions_and_uploads_that_nobody_goes_on_with_are_removed() {
    let bench = Bench::with(options().env("NEXMDM__APKS__KEPT_VERSIONS", "1").env("NEXMDM__HISTORY__INTERVAL_SECONDS", "1")).await;
    let (client, admin) = (&bench.client, bench.admin.as_str());
    let begun = client.post("/v1/apk-uploads", Some(admin), &json!({"size_bytes": 100_000, "file_name": "x"})).await.unwrap().json();
    let id = begun["upload_id"].as_str().unwrap().to_owned();
    assert_eq!(part(client, admin, &id, 0, &[7; 70_000]).await.status, 200);
    let first = add(client, admin, "till-1.apk").await;
    let back = format!("?rollback_of={}", first["id"].as_str().unwrap());
    assert_eq!(upload(client, admin, fixture("till-2.apk"), "").await.status, 201);
    // The first is used by the last, so only the one between may go.
    assert_eq!(upload(client, admin, fixture("till-4-rollback.apk"), &back).await.status, 201);
    let left = async || {
        let alive = bench.sql("SELECT string_agg(version_code::text, ' ' ORDER BY version_code) FROM apk WHERE deleted_at IS NULL");
        (alive == "1 4").then_some(())
    };
    eventually("what nobody needs is gone", left).await;
    assert_eq!(bench.sql("SELECT actor_kind FROM audit_entry WHERE action = 'apk.deleted'"), "system");
    bench.sql("UPDATE apk_upload SET touched_at = now() - interval '25 hours'");
    eventually("the upload is gone", async || {
        (client.get(&format!("/v1/apk-uploads/{id}"), Some(admin)).await.unwrap().status == 404).then_some(())
    })
    .await;
    let parts = bench.node.data_dir().join("apks/uploads");
    assert!(std::fs::read_dir(parts).unwrap().next().is_none());
}

#[tokio::test]
async fn the_command_line_uploads_and_goes_on_where_it_broke_off() {
    let bench = Bench::with(options().env("NEXMDM__APKS__PART_LIMIT_BYTES", "4096")).await;
    let file = format!("{}/../actors/testdata/apks/till-1.apk", env!("CARGO_MANIFEST_DIR"));
    let ctl = |arguments: &[&str]| {
        let out = Command::new(env!("CARGO_BIN_EXE_nexmdm"))
            .arg("ctl")
            .args(arguments)
            .env("NEXMDM_SERVER", bench.node.url())
            .env("NEXMDM_TOKEN", &bench.admin)
            .output()
            .unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (out.status.success(), text(out.stdout), text(out.stderr))
    };
    let (ok, _, said) = ctl(&["apks", "upload", &file]);
    assert!(!ok && said.contains("package: com.example.till is not a managed package"), "{said}");
    let resume = said.split("--resume ").nth(1).unwrap().split_whitespace().next().unwrap().to_owned();
    let signer = said.split("signed by ").nth(1).unwrap()[..64].to_owned();
    let (ok, out, err) = ctl(&["packages", "allow", TILL, "--signer", &signer, "--note", "tills"]);
    assert!(ok && out.contains("Allowed"), "{out}{err}");
    let (ok, out, err) = ctl(&["-o", "json", "apks", "upload", &file, "--resume", &resume]);
    assert!(ok, "{out}{err}");
    let apk: Value = serde_json::from_str(&out).unwrap();
    let id = apk["id"].as_str().unwrap();
    for (arguments, word) in [
        (&["apks", "list"][..], "1.0"),
        (&["apks", "show", id], &signer),
        (&["apks", "download-url", id], "signature="),
        (&["packages", "list"], "tills"),
        (&["apks", "upload", &file], id),
        (&["apks", "delete", id, "--yes"], "Deleted"),
        (&["packages", "remove", TILL, "--yes"], "Removed com.example.till from the managed packages"),
    ] {
        let (ok, out, err) = ctl(arguments);
        assert!(ok && out.contains(word), "{arguments:?}: {out}{err}");
    }
}
