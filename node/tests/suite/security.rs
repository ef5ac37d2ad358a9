//! What a node does not tell, does not let pass, and records: over real sockets.

use chaos::http::Call;
use hyper::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::common::{Bench, DEADLINE, PASSWORD, api_token, nexmdm, options};

async fn entries(bench: &Bench, query: &str) -> Vec<Value> {
    let found = bench.client.get_json(&format!("/v1/audit?limit=500&{query}"), &bench.admin).await.unwrap();
    found["items"].as_array().unwrap().clone()
}

#[tokio::test]
async fn metrics_and_documentation_can_be_closed() {
    let free = chaos::harness::free_port().unwrap();
    let bench = Bench::with(options().env("NEXMDM__METRICS__ACCESS", "token").env("NEXMDM__HTTP__DOCS_ACCESS", "sign_in")).await;
    bench.add_user("viewer", "viewer");
    let client = &bench.client;
    let narrow = api_token(client, &bench.admin, &["devices:read"]).await["token"].as_str().unwrap().to_owned();
    let wide = api_token(client, &bench.admin, &["cluster:read"]).await["token"].as_str().unwrap().to_owned();
    let device = bench.enroll("kiosk").await.device_token;
    let status = async |path: &str, token: Option<&str>| client.get(path, token).await.unwrap().status;
    for (token, metrics, document) in [
        (None, 401, 401),
        (Some("nxm_nonsense"), 401, 401),
        (Some(device.as_str()), 401, 401),
        (Some(narrow.as_str()), 403, 200),
        (Some(wide.as_str()), 200, 200),
        (Some(bench.admin.as_str()), 200, 200),
    ] {
        assert_eq!((status("/metrics", token).await, status("/openapi.json", token).await), (metrics, document), "{token:?}");
    }
    let page = client.send(Call::get("/docs/").header("accept", "text/html")).await.unwrap();
    assert_eq!((page.status, page.header("location")), (303, Some("/login?next=/docs/")));
    let cookie = format!("nexmdm_access={}", client.access_token("viewer", PASSWORD).await.unwrap());
    assert_eq!(client.send(Call::get("/docs/").header("cookie", &cookie)).await.unwrap().status, 200);

    let address = format!("127.0.0.1:{free}");
    let bench = Bench::with(options().env("NEXMDM__METRICS__ACCESS", "listener").env("NEXMDM__METRICS__LISTEN", &address)).await;
    let refused = bench.client.get("/metrics", Some(&bench.admin)).await.unwrap();
    assert!(refused.status == 404 && refused.detail().contains(&address), "{}", refused.detail());
    let own = chaos::client::Client::new(&format!("http://{address}")).unwrap();
    let metrics = own.get("/metrics", None).await.unwrap();
    assert!(String::from_utf8_lossy(&metrics.body).contains("nexmdm_http_connections"));
    assert_eq!(own.get("/v1/devices", None).await.unwrap().status, 404, "nothing else is there");
}

#[tokio::test]
async fn what_is_for_another_host_is_refused_by_name_and_nothing_is_made_of_it() {
    let settings = options().env("NEXMDM__HTTP__PUBLIC_URL", "https://mdm.example.com").env("NEXMDM__HTTP__HOSTS", "mdm-2.example.com");
    let bench = Bench::with(settings).await;
    let (client, admin) = (&bench.client, bench.admin.as_str());
    let asked = async |path: &str, host: &str| client.send(Call::get(path).bearer(admin).header("host", host)).await.unwrap();
    for path in ["/v1/devices", "/v1/nothing", "/", "/login", "/docs/", "/openapi.json", "/assets/nothing"] {
        let refused = asked(path, "evil.example").await;
        assert_eq!(refused.status, 421, "{path}");
        let text = String::from_utf8_lossy(&refused.body).into_owned();
        assert!(text.contains("evil.example") && text.contains("http.hosts"), "{path}: {text}");
        assert_eq!(asked(path, "evil.example/mdm.example.com").await.status, 400, "{path}");
        for host in ["mdm.example.com", "mdm.example.com:443", "mdm-2.example.com", "localhost", "127.0.0.1:1"] {
            assert!(!matches!(asked(path, host).await.status, 400 | 421), "{path} {host}");
        }
    }
    for path in ["/healthz", "/readyz", "/metrics"] {
        assert_eq!(asked(path, "10.1.2.3:8080").await.status, 200, "{path}");
    }
    let login = json!({"username": "admin", "password": bench.node.admin_password()}).to_string();
    let login = Call::post("/v1/auth/login", login).content_type("application/json").header("host", "evil.example");
    assert_eq!(client.send(login).await.unwrap().status, 421);

    // Devices may know the server by another name. What they and people are given is of the public URL all the same.
    let token = client.tokens(admin, 1).await.unwrap().remove(0);
    let lie = |call: Call<'static>| call.header("x-forwarded-host", "evil.example").header("forwarded", "host=evil.example");
    let device = json!({"alias": "kiosk"}).to_string();
    let call = Call::post("/v1/register", device).content_type("application/json").header("host", "evil.example");
    let secret = token.token.clone();
    let enrolled = client.send(lie(call).bearer(secret.leak())).await.unwrap();
    assert_eq!((enrolled.status, enrolled.json()["socket_url"].as_str()), (200, Some("wss://mdm.example.com/v1/agent/socket")));
    let another = client.tokens(admin, 1).await.unwrap().remove(0);
    let script = json!({"tokens": [another.token], "shell": "bash", "install": false}).to_string();
    let call = Call::post("/v1/enroll-tokens/scripts", script).content_type("application/json").header("host", "localhost");
    let bearer: &'static str = bench.admin.clone().leak();
    let script = client.send(lie(call).bearer(bearer)).await.unwrap();
    let text = String::from_utf8_lossy(&script.body).into_owned();
    assert!(script.status == 200 && text.contains("https://mdm.example.com") && !text.contains("evil.example"), "{text:.300}");
    let redirect = client.send(lie(Call::get("/")).header("accept", "text/html").header("host", "localhost")).await.unwrap();
    assert!(redirect.header("location").is_none_or(|location| location.starts_with('/')), "{:?}", redirect.header("location"));
}

#[tokio::test]
async fn over_https_browsers_are_told_to_stay_and_cookies_are_of_this_host() {
    let bench = Bench::with(options().env("NEXMDM__HTTP__PUBLIC_URL", "https://mdm.example.com")).await;
    let client = &bench.client;
    for path in ["/v1/devices", "/docs/", "/login", "/assets/nothing", "/healthz"] {
        let answer = client.get(path, None).await.unwrap();
        assert_eq!(answer.header("strict-transport-security"), Some("max-age=31536000"), "{path}");
    }
    let form = format!("username=admin&password={}", bench.node.admin_password());
    let login = Call::post("/login", form).content_type("application/x-www-form-urlencoded");
    let answer = client.send(login).await.unwrap();
    let cookies = answer.headers.get_all("set-cookie").iter().map(|cookie| cookie.to_str().unwrap().to_owned()).collect::<Vec<_>>();
    assert_eq!(answer.status, 303);
    assert!(cookies.len() == 3 && cookies.iter().all(|cookie| cookie.starts_with("__Host-") && cookie.contains("Secure")), "{cookies:?}");
}

#[tokio::test]
async fn refusals_and_failed_sign_ins_are_in_the_trail_up_to_a_number() {
    let bench = Bench::with(options().env("NEXMDM__AUTH__REFUSALS_AUDITED_PER_MINUTE", "12")).await;
    bench.add_user("viewer", "viewer");
    let client = &bench.client;
    let viewer = client.access_token("viewer", PASSWORD).await.unwrap();
    let make = json!({"username": "mallory", "role": "admin"});
    for _ in 0..4 {
        assert_eq!(client.post("/v1/users", Some(&viewer), &make).await.unwrap().status, 403);
    }
    let refused = entries(&bench, "action=access.refused").await;
    assert_eq!(refused.len(), 3, "a quarter of the minute's; the fourth is counted only");
    let entry = &refused[0];
    assert_eq!(
        (&entry["actor"]["name"], &entry["target"]["name"], &entry["address"]),
        (&json!("viewer"), &json!("POST /v1/users"), &json!("127.0.0.1"))
    );
    assert!(entry["after"]["problem"].as_str().unwrap().contains("users:manage"), "{entry}");

    // A device that reports as another is refused as well, and counts for itself.
    let device = bench.enroll("kiosk").await;
    let foreign = json!({"device_id": "00000000-0000-0000-0000-000000000001"});
    assert_eq!(client.post("/v1/heartbeat", Some(&device.session_token), &foreign).await.unwrap().status, 403);
    let by_device = entries(&bench, "action=access.refused").await.remove(0);
    assert_eq!(
        (&by_device["actor"]["kind"], &by_device["actor"]["id"], &by_device["target"]["name"]),
        (&json!("device"), &json!(device.device_id), &json!("POST /v1/heartbeat"))
    );

    for name in ["viewer", "nobody"] {
        let login = json!({"username": name, "password": "not the password"});
        assert_eq!(client.post("/v1/auth/login", None, &login).await.unwrap().status, 401);
    }
    let failed = entries(&bench, "action=account.sign_in_failed").await;
    assert_eq!(failed.len(), 2, "the flood of one caller hides no other");
    assert_eq!((&failed[1]["target"]["name"], &failed[1]["address"]), (&json!("viewer"), &json!("127.0.0.1")));
    assert!(bench.metric("nexmdm_audit_refusals_left_out_total").await >= 1.0);
    assert!(!json!(failed).to_string().contains("not the password"));
    let (ok, out, err) = nexmdm(&bench.node, &["audit", "verify"], "");
    assert!(ok, "{out}{err}");
}

#[tokio::test]
async fn what_is_taken_away_is_in_the_trail() {
    let bench = Bench::start().await;
    let client = &bench.client;
    let apk = crate::common::apks::add(client, &bench.admin, "till-1.apk").await["id"].as_str().unwrap().to_owned();
    let token = client.tokens(&bench.admin, 1).await.unwrap().remove(0);
    let script = json!({"tokens": [token.token], "shell": "bash", "install": false});
    let calls = [
        (Method::GET, "/v1/devices/export.csv?tag=till".to_owned(), None, "devices.exported"),
        (Method::GET, "/v1/audit.csv?actor=admin".to_owned(), None, "audit.exported"),
        (Method::POST, format!("/v1/apks/{apk}/download-url"), None, "apk.link_made"),
        (Method::POST, "/v1/enroll-tokens/scripts".to_owned(), Some(script), "enroll_tokens.script_made"),
    ];
    for (method, path, body, action) in calls {
        let body = body.map_or_else(String::new, |body| body.to_string());
        let answer = client.send(Call::post(&path, body).method(method).bearer(&bench.admin)).await.unwrap();
        assert_eq!(answer.status, 200, "{path}: {}", answer.detail());
        let found = entries(&bench, &format!("action={action}")).await;
        assert_eq!((found.len(), &found[0]["actor"]["name"]), (1, &json!("admin")), "{path}");
        assert!(!found[0].to_string().contains(&token.token), "{}", found[0]);
    }
}

/// Begins a request of a script and returns once its caller is known and its body is waited for.
async fn begin(bench: &Bench, path: &str, token: &str, body: &str) -> TcpStream {
    begin_as(bench, path, &format!("host: x\r\nauthorization: Bearer {token}\r\n"), body).await
}

/// Begins a request with these headers and returns once its caller is known and its body is waited for.
async fn begin_as(bench: &Bench, path: &str, headers: &str, body: &str) -> TcpStream {
    let mut stream = TcpStream::connect(bench.node.url().trim_start_matches("http://").to_owned()).await.unwrap();
    let head =
        format!("POST {path} HTTP/1.1\r\n{headers}connection: close\r\nexpect: 100-continue\r\ncontent-length: {}\r\n\r\n", body.len());
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut go_on = [0; 25];
    tokio::time::timeout(DEADLINE, stream.read_exact(&mut go_on)).await.unwrap().unwrap();
    assert_eq!(go_on, *b"HTTP/1.1 100 Continue\r\n\r\n");
    stream
}

/// The status of the request once its body is sent.
async fn complete(mut stream: TcpStream, body: &str) -> String {
    stream.write_all(body.as_bytes()).await.unwrap();
    let mut answer = String::new();
    tokio::time::timeout(DEADLINE, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
    answer.split(' ').nth(1).unwrap().to_owned()
}

#[tokio::test]
async fn rights_that_are_taken_while_a_body_arrives_are_not_used() {
    let bench = Bench::start().await;
    let (client, admin) = (&bench.client, bench.admin.as_str());
    let change = async |method: Method, path: String, token: &str, body: Value| {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let answer = client.send(Call::post(&path, body).method(method).bearer(token)).await.unwrap();
        assert!(matches!(answer.status, 200 | 204), "{path}: {}", answer.detail());
    };
    for (n, taken) in ["nothing", "logout", "sessions", "role", "disabled", "password"].into_iter().enumerate() {
        let name = format!("ann-{n}");
        bench.add_user(&name, "admin");
        let token = client.access_token(&name, PASSWORD).await.unwrap();
        let id = client.get_json("/v1/me", &token).await.unwrap()["user_id"].as_str().unwrap().to_owned();
        let body = json!({"username": format!("by-{name}"), "role": "admin"}).to_string();
        let stream = begin(&bench, "/v1/users", &token, &body).await;
        let account = format!("/v1/users/{id}");
        match taken {
            "nothing" => {}
            "logout" => change(Method::POST, "/v1/auth/logout".into(), &token, json!({})).await,
            "sessions" => change(Method::DELETE, format!("{account}/sessions"), admin, Value::Null).await,
            "role" => change(Method::PATCH, account, admin, json!({"role": "viewer"})).await,
            "disabled" => change(Method::PATCH, account, admin, json!({"disabled": true})).await,
            _ => change(Method::POST, format!("{account}/reset-password"), admin, json!({})).await,
        }
        assert_eq!(complete(stream, &body).await, if taken == "nothing" { "201" } else { "401" }, "{taken}");
    }

    let made = api_token(client, admin, &["enrollment:write"]).await;
    let body = json!({}).to_string();
    let stream = begin(&bench, "/v1/enroll-tokens", made["token"].as_str().unwrap(), &body).await;
    change(Method::DELETE, format!("/v1/api-tokens/{}", made["id"].as_str().unwrap()), admin, Value::Null).await;
    assert_eq!(complete(stream, &body).await, "401", "an API token");
    assert_eq!(bench.sql("SELECT count(*) FROM app_user WHERE username LIKE 'by-%'"), "1");
}

#[tokio::test]
async fn files_of_a_page_whose_sign_in_ends_while_they_arrive_are_not_taken() {
    let bench = Bench::start().await;
    let client = &bench.client;
    bench.add_user("ann", "operator");
    let own = format!("127.0.0.1:{}", bench.node.port());
    let (table, part) = ("alias,tags\nkiosk,a\n", "x".repeat(100));
    for (path, body) in [("/live/upload", table), ("/live/apk-uploads/", part.as_str())] {
        for (ends, status) in [(false, "200"), (true, "401")] {
            let token = client.access_token("ann", PASSWORD).await.unwrap();
            let mut path = path.to_owned();
            if path.ends_with('/') {
                let file = json!({"file_name": "till.apk", "size_bytes": body.len()});
                path += client.post("/v1/apk-uploads", Some(&token), &file).await.unwrap().json()["upload_id"].as_str().unwrap();
            }
            let headers = format!("host: {own}\r\norigin: http://{own}\r\ncookie: nexmdm_access={token}\r\nupload-offset: 0\r\n");
            let stream = begin_as(&bench, &path, &headers, body).await;
            if ends {
                assert_eq!(client.post("/v1/auth/logout", Some(&token), &json!({})).await.unwrap().status, 204);
            }
            assert_eq!(complete(stream, body).await, status, "{path}, ended: {ends}");
        }
    }
    assert_eq!(bench.sql("SELECT sum(received) FROM apk_upload"), "100");
}

#[tokio::test]
async fn tokens_that_are_guessed_are_slowed_down_and_those_in_use_are_not() {
    let bench =
        Bench::with(options().env("NEXMDM__AUTH__TOKEN_FAILURE_BURST", "6").env("NEXMDM__AUTH__TOKEN_FAILURES_FORGIVEN_PER_MINUTE", "1"))
            .await;
    let client = &bench.client;
    let device = bench.enroll("kiosk").await;
    let script = api_token(client, &bench.admin, &["devices:read"]).await["token"].as_str().unwrap().to_owned();
    let status = async |path: &str, token: &str| client.get(path, Some(token)).await.unwrap().status;
    assert_eq!(status("/v1/devices", &script).await, 200);
    let session = async |token: &str| client.post("/v1/agent/session", Some(token), &json!({})).await.unwrap();
    assert_eq!(session(&device.device_token).await.status, 200);
    for n in 0..3 {
        assert_eq!(status("/v1/devices", &format!("nxm_{n}{}", "x".repeat(42))).await, 401);
        let id = uuid::Uuid::now_v7();
        assert_eq!(session(&format!("{id}.wrong")).await.status, 401, "another token id each time");
    }
    assert_eq!(status("/v1/devices", &format!("nxm_{}", "y".repeat(43))).await, 429);
    let refused = session(&format!("{}.wrong", uuid::Uuid::now_v7())).await;
    assert!(refused.status == 429 && refused.retry_after().is_some());
    // What is remembered of sign-ins and tokens is forgotten when anybody loses something.
    let other = client.access_token("admin", bench.node.admin_password()).await.unwrap();
    assert_eq!(client.post("/v1/auth/logout", Some(&other), &json!({})).await.unwrap().status, 204);
    assert_eq!((status("/v1/devices", &script).await, session(&device.device_token).await.status), (200, 200), "known ones go on");
    assert_eq!(status("/v1/me", &bench.admin).await, 200);
}

#[tokio::test]
async fn odd_addresses_get_an_answer_that_says_so() {
    let bench = Bench::start().await;
    let client = &bench.client;
    let device = bench.enroll("kiosk").await;
    let beat = Call::post("//v1//heartbeat", "{}".to_owned()).bearer(&device.session_token);
    assert_eq!(client.send(beat).await.unwrap().status, 200);
    for (method, path) in [
        (Method::DELETE, "/v1/packages/%00"),
        (Method::DELETE, "/v1/exec-commands/a%00b"),
        (Method::POST, "/v1/cluster/nodes/%00/drain"),
        (Method::GET, "/v1/devices/%ED%A0%80"),
        (Method::DELETE, "/v1/users/%00/sessions/%00"),
    ] {
        let answer = client.send(Call::post(path, "").method(method).bearer(&bench.admin)).await.unwrap();
        assert!(matches!(answer.status, 404 | 422), "{path}: {} {}", answer.status, answer.detail());
    }
    for (method, path) in
        [(Method::PUT, "/v1/heartbeat"), (Method::DELETE, "/login"), (Method::POST, "/no/such/page"), (Method::PUT, "/docs/")]
    {
        let answer = client.send(Call::post(path, "").method(method)).await.unwrap();
        assert!(answer.status == 405 && !answer.body.is_empty(), "{path}: {} {:?}", answer.status, answer.body);
    }
}

#[tokio::test]
async fn devices_that_need_legacy_push_are_listed_until_they_answer_in_the_new_format() {
    let bench = Bench::start().await;
    let client = &bench.client;
    let device = bench.enroll("kiosk").await;
    let listed = async || client.get_json("/v1/legacy-push/devices", &bench.admin).await.unwrap();
    assert_eq!((listed().await["enabled"].clone(), listed().await["items"].as_array().unwrap().len()), (json!(true), 0));
    let send = async || {
        let path = format!("/v1/devices/{}/commands", device.device_id);
        let made = client.post(&path, Some(&bench.admin), &json!({"action": "ping"})).await.unwrap();
        made.json()["request_id"].as_str().unwrap().to_owned()
    };
    let ack = json!({"type": "PING_ACK", "correlation_id": send().await, "status": "OK"});
    let path = format!("/v1/devices/{}/ack", device.device_id);
    let answer = client.post(&path, Some(&device.session_token), &ack).await.unwrap();
    assert_eq!(answer.status, 200, "{}", answer.detail());
    let found = listed().await;
    assert_eq!((&found["items"][0]["device_id"], &found["items"][0]["alias"]), (&json!(device.device_id), &json!("kiosk")));
    let result = json!({"request_id": send().await, "outcome": "success"});
    assert_eq!(client.post("/v1/action-result", Some(&device.session_token), &result).await.unwrap().status, 200);
    assert_eq!(listed().await["items"].as_array().unwrap().len(), 0);
}

#[test]
fn unsafe_settings_are_named_and_with_strict_refused() {
    let check = |arguments: &[&str], settings: &[(&str, &str)]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_nexmdm"));
        command.args(["config", "check"]).args(arguments).env_remove("DATABASE_URL");
        let out = command.envs(settings.iter().copied()).output().unwrap();
        (out.status.success(), String::from_utf8_lossy(&out.stderr).into_owned())
    };
    let open = ("NEXMDM__HTTP__LISTEN", "0.0.0.0:8080");
    let (ok, said) = check(&[], &[open]);
    assert!(ok && said.contains("warning: http.listen"), "{said}");
    let (ok, said) = check(&["--strict"], &[open]);
    assert!(!ok && said.contains("error: http.listen"), "{said}");
    assert!(check(&["--strict"], &[]).0);
    let zeros = "00".repeat(32);
    for setting in ["JWT_KEY", "MASTER_KEY", "CLUSTER_KEY"] {
        let (ok, said) = check(&[], &[(&format!("NEXMDM__SECRETS__{setting}"), &zeros)]);
        assert!(!ok && said.contains(&format!("secrets.{}", setting.to_lowercase())) && !said.contains(&zeros), "{said}");
    }
    let (ok, said) = check(&["--strict"], &[("NEXMDM__ADMIN__INITIAL_PASSWORD", "1234567890")]);
    assert!(!ok && said.contains("admin.initial_password") && !said.contains("1234567890"), "{said}");
}
