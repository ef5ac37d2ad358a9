//! Requests of browsers beside the live socket, as whoever is not a browser may write them.

use std::time::Duration;

use chaos::http::{Answer, Call};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::common::{Bench, PASSWORD, options};

/// Longest time for an answer to a request whose body does not come.
const AT_ONCE: Duration = Duration::from_secs(3);

/// The cookie of a sign-in at the form.
async fn cookie(bench: &Bench, name: &str, password: &str) -> String {
    let form = format!("username={name}&password={password}");
    let answer = bench.client.send(Call::post("/login", form).content_type("application/x-www-form-urlencoded")).await.unwrap();
    assert_eq!(answer.status, 303);
    let cookies = answer.headers.get_all("set-cookie").iter().map(|cookie| cookie.to_str().unwrap().split(';').next().unwrap().to_owned());
    cookies.collect::<Vec<_>>().join("; ")
}

/// What the node answers to a head whose body does not follow.
async fn answered(bench: &Bench, head: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", bench.node.port())).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = vec![0; 4096];
    let read = tokio::time::timeout(AT_ONCE, stream.read(&mut answer)).await.unwrap_or_else(|_| panic!("it waits for the body: {head}"));
    answer.truncate(read.unwrap());
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn a_file_is_read_only_of_whom_the_dashboard_takes_one() {
    let bench = Bench::with(options().env("NEXMDM__HTTP__EXPORTS_PER_PRINCIPAL_MAX", "1")).await;
    bench.add_user("viewer", "viewer");
    bench.add_user("ann", "operator");
    let origin = format!("http://127.0.0.1:{}", bench.node.port());
    let head = |cookie: &str, length: usize| {
        let cookie = if cookie.is_empty() { String::new() } else { format!("cookie: {cookie}\r\norigin: {origin}\r\n") };
        format!("POST /live/upload HTTP/1.1\r\nhost: 127.0.0.1:{}\r\n{cookie}content-length: {length}\r\n\r\n", bench.node.port())
    };
    let (viewer, ann) = (cookie(&bench, "viewer", PASSWORD).await, cookie(&bench, "ann", PASSWORD).await);
    for (who, cookie, length, status) in [
        ("nobody", "", 8 << 20, "401"),
        ("a guess", "nexmdm_access=a.b.c", 8 << 20, "401"),
        ("a viewer", viewer.as_str(), 8 << 20, "403"),
        ("too much", ann.as_str(), (8 << 20) + 1, "413"),
    ] {
        let answer = answered(&bench, &head(cookie, length)).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{who}: {answer}");
    }
    // Who sends one at a snail's pace holds its own share alone.
    let mut slow = TcpStream::connect(("127.0.0.1", bench.node.port())).await.unwrap();
    slow.write_all((head(&ann, 1000) + "alias,tags\n").as_bytes()).await.unwrap();
    let upload = async |cookie: &str| {
        let call = Call::post("/live/upload", "alias,tags\nkiosk,a\n").header("cookie", cookie).header("origin", &origin);
        bench.client.send(call).await.unwrap().status
    };
    crate::common::eventually("its share is taken", async || (upload(&ann).await == 503).then_some(())).await;
    let admin = cookie(&bench, "admin", bench.node.admin_password()).await;
    assert_eq!(upload(&admin).await, 200, "others have theirs");
    let mut answer = Vec::new();
    tokio::time::timeout(Duration::from_secs(15), slow.read_to_end(&mut answer)).await.expect("a body that stands still").unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 408"), "{}", String::from_utf8_lossy(&answer));
    assert_eq!(upload(&ann).await, 200);
}

#[tokio::test]
async fn a_table_is_refused_by_the_field_that_is_wrong() {
    let bench = Bench::start().await;
    bench.enroll("kiosk").await;
    let cookie = cookie(&bench, "admin", bench.node.admin_password()).await;
    let browser = async |path: &str| bench.client.send(Call::get(path).header("cookie", &cookie)).await.unwrap();
    let text = |answer: &Answer| String::from_utf8_lossy(&answer.body).into_owned();
    for (path, status, wanted) in [
        ("/export/devices.csv?battery_below=low", 422, "Battery"),
        ("/export/devices.csv?battery_below=99999999999999999999", 422, "Battery"),
        ("/export/devices.csv?tag=", 422, "Tag"),
        ("/export/devices.csv?q=a%00", 422, "control character"),
        ("/export/devices.csv?colour=red", 422, "colour"),
        ("/export/audit.csv?from=-262143-01-01", 422, "from"),
        ("/export/audit.csv?to=%2B262142-12-31", 422, "to"),
        ("/export/audit.csv?within=9y", 422, "within"),
        ("/export/audit.csv?q=a%00b", 200, "actor"),
        ("/export/report.csv?period=hourly", 422, "period"),
        ("/export/report.csv?date=-262143-01-01", 422, "date"),
        ("/export/report.csv?date=9999-12-31", 422, "date"),
        ("/export/report.csv?group=north~7C&period=weekly", 200, "measure"),
        ("/export/command-batches/00000000-0000-0000-0000-000000000001.csv", 404, "batch"),
        ("/export/command-batches/x.csv", 404, "batch"),
        ("/export/deployments/00000000-0000-0000-0000-000000000001.csv", 404, "deployment"),
        ("/export/devices.csv?tag=till&sort=alias", 200, "alias"),
    ] {
        let answer = browser(path).await;
        let said = text(&answer);
        assert!(answer.status == status && said.to_lowercase().contains(&wanted.to_lowercase()), "{path}: {} {said}", answer.status);
    }
    for (path, status, field) in [
        ("/v1/devices/export.csv?text=", 422, "text"),
        ("/v1/devices/export.csv?tag=%20", 422, "tag"),
        ("/v1/devices/export.csv?tag=%00", 422, "tag"),
        ("/v1/devices/export.csv?battery_below=99999999999999999999", 422, "query"),
        ("/v1/devices/export.csv?storage_below_mb=-1", 422, "storage_below_mb"),
        ("/v1/audit.csv?from=0000-01-01T00:00:00Z&to=9999-12-31T23:59:59Z", 200, ""),
        ("/v1/audit.csv?from=2026-11-21T15:36:17%2B25:00", 422, "from"),
        ("/v1/audit.csv?text=%00", 422, "text"),
        ("/v1/audit.csv?limit=1", 422, "query"),
        ("/v1/command-batches/00000000-0000-0000-0000-000000000001/export.csv", 404, ""),
        ("/v1/deployments/00000000-0000-0000-0000-000000000001/export.csv", 404, ""),
    ] {
        let answer = bench.client.get(path, Some(&bench.admin)).await.unwrap();
        let field_of = |answer: &Answer| answer.json()["field"].as_str().unwrap_or_default().to_owned();
        assert_eq!(answer.status, status, "{path}: {}", text(&answer));
        assert!(status == 200 || field_of(&answer) == field, "{path}: {}", text(&answer));
    }
    let log = bench.node.log();
    assert!(!log.contains("database.failed"), "{log}");
}

/// A browser that reaches the server over http would drop the cookies of a sign-in: it is told so, with the address that works.
#[tokio::test]
async fn who_signs_in_over_http_is_told_of_https() {
    let bench = Bench::with(options().env("NEXMDM__HTTP__PUBLIC_URL", "https://mdm.example.com")).await;
    let port = bench.node.port();
    let form = format!("username=admin&password={}", bench.node.admin_password());
    let request = async |host: &str, page: bool, headers: &str| {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        let (line, body) = if page { ("GET /login?next=/devices", "") } else { ("POST /login", form.as_str()) };
        let request = format!(
            "{line} HTTP/1.1\r\nhost: {host}\r\n{headers}connection: close\r\ncontent-type: application/x-www-form-urlencoded\r\n\
             content-length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    };
    let page = request("mdm.example.com:8080", true, "").await;
    assert!(page.contains("login-https") && page.contains("https://mdm.example.com/login?next=%2Fdevices"), "{page}");
    let answer = request("mdm.example.com:8080", false, "origin: http://mdm.example.com:8080\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 403") && answer.contains("login-https"), "{answer}");
    assert!(!answer.to_lowercase().contains("set-cookie"), "{answer}");
    // Browsers keep such cookies of their own machine; scripts do as they like; through the proxy it is https.
    assert!(!request("localhost:8080", true, "").await.contains("login-https"));
    let own = request("localhost:8080", false, "origin: http://localhost:8080\r\n").await;
    assert!(own.starts_with("HTTP/1.1 303") && own.to_lowercase().contains("set-cookie"), "{own}");
    assert!(request("mdm.example.com:8080", false, "").await.starts_with("HTTP/1.1 303"));
    assert!(request("mdm.example.com", false, "origin: https://mdm.example.com\r\n").await.starts_with("HTTP/1.1 303"));
    assert_eq!(bench.client.get_json("/v1/me", &bench.admin).await.unwrap()["username"], json!("admin"));
}
