//! Invitations and forgotten passwords by mail, as an admin, a new user and a stranger meet them.

use std::sync::{Arc, Mutex};

use chaos::http::Call;
use hyper::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use crate::common::{Bench, eventually, options};

const NEW_PASSWORD: &str = "three words for myself";

/// A mail server that records.
#[derive(Clone)]
struct Mailbox {
    port: u16,
    mails: Arc<Mutex<Vec<String>>>,
}

impl Mailbox {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mailbox = Self { port: listener.local_addr().unwrap().port(), mails: Arc::default() };
        let own = mailbox.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(own.clone().serve(stream));
            }
        });
        mailbox
    }

    async fn serve(self, stream: TcpStream) -> Option<()> {
        let mut stream = BufReader::new(stream);
        stream.write_all(b"220 mail.test ESMTP\r\n").await.ok()?;
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line).await.ok()? == 0 {
                return None;
            }
            let answer: &[u8] = match line.trim_end().to_ascii_uppercase().as_str() {
                "DATA" => {
                    stream.write_all(b"354 go on\r\n").await.ok()?;
                    let mut mail = String::new();
                    while !mail.ends_with("\r\n.\r\n") {
                        if stream.read_line(&mut mail).await.ok()? == 0 {
                            return None;
                        }
                    }
                    self.mails.lock().unwrap().push(mail);
                    b"250 ok\r\n"
                }
                "QUIT" => b"221 bye\r\n",
                _ => b"250 ok\r\n",
            };
            stream.write_all(answer).await.ok()?;
        }
    }

    /// Token of the link in a mail, once it has come: quoted-printable folds lines and encodes the equals sign.
    async fn token(&self, number: usize) -> String {
        let mail = eventually("a mail", async || self.mails.lock().unwrap().get(number).cloned()).await.replace("=\r\n", "");
        let (_, token) = mail.split_once("/password/new?token=3D").unwrap_or_else(|| panic!("{mail}"));
        token.split("\r\n").next().unwrap().to_owned()
    }
}

async fn bench(mailbox: &Mailbox) -> Bench {
    let options = options()
        .env("NEXMDM__SMTP__HOST", "127.0.0.1")
        .env("NEXMDM__SMTP__PORT", mailbox.port.to_string())
        .env("NEXMDM__SMTP__TLS", "none")
        .env("NEXMDM__SMTP__FROM", "mdm@example.org");
    Bench::with(options).await
}

async fn form(bench: &Bench, path: &str, form: String) -> chaos::http::Answer {
    bench.client.send(Call::post(path, form).content_type("application/x-www-form-urlencoded")).await.unwrap()
}

#[tokio::test]
async fn who_is_invited_sets_a_password_by_the_link_once() {
    let mailbox = Mailbox::start().await;
    let bench = bench(&mailbox).await;
    let body = json!({"username": "ann", "role": "operator", "email": "ann@example.org"});
    let made = bench.client.post("/v1/users", Some(&bench.admin), &body).await.unwrap();
    assert_eq!(made.status, 201, "{}", made.detail());
    let made = made.json();
    assert_eq!((&made["invited"], &made["password"], &made["email"]), (&json!(true), &Value::Null, &json!("ann@example.org")));
    let token = mailbox.token(0).await;
    let page = bench.client.get(&format!("/password/new?token={token}"), None).await.unwrap();
    assert_eq!(page.status, 200);
    assert_eq!(page.headers["referrer-policy"], "no-referrer");
    let weak = form(&bench, "/password/new", format!("token={token}&password=1234567890")).await;
    assert_eq!(weak.status, 422, "a refused password does not use the link up");
    let set = form(&bench, "/password/new", format!("token={token}&password={}", NEW_PASSWORD.replace(' ', "+"))).await;
    assert_eq!((set.status, set.headers["location"].to_str().unwrap()), (303, "/login"));
    assert_eq!(bench.client.login("ann", NEW_PASSWORD).await.unwrap().status, 200);
    let again = form(&bench, "/password/new", format!("token={token}&password=another+long+password")).await;
    assert_eq!(again.status, 404);
    assert_eq!(bench.client.login("ann", NEW_PASSWORD).await.unwrap().status, 200, "once");
}

#[tokio::test]
async fn a_forgotten_password_is_answered_alike_for_everybody() {
    let mailbox = Mailbox::start().await;
    let bench = bench(&mailbox).await;
    let body = json!({"username": "ann", "password": "quite a long password", "email": "ann@example.org"});
    let made = bench.client.post("/v1/users", Some(&bench.admin), &body).await.unwrap().json();
    assert_eq!(made["invited"], false, "a password was given");
    let (nobody, known) =
        (form(&bench, "/password/forgot", "username=nobody".into()).await, form(&bench, "/password/forgot", "username=ANN".into()).await);
    assert_eq!((nobody.status, &nobody.body), (known.status, &known.body));
    let token = mailbox.token(0).await;
    // Asked again at once: no second mail, and the first link still holds. It is refused even if its task comes after the link was used.
    form(&bench, "/password/forgot", "username=ann".into()).await;
    let set = form(&bench, "/password/new", format!("token={token}&password={}", NEW_PASSWORD.replace(' ', "+"))).await;
    assert_eq!(set.status, 303);
    assert_eq!(bench.client.login("ann", "quite a long password").await.unwrap().status, 401);
    assert_eq!(bench.client.login("ann", NEW_PASSWORD).await.unwrap().status, 200);
    assert_eq!(mailbox.mails.lock().unwrap().len(), 1, "nobody gets no mail, and ann one");
    let id = made["id"].as_str().unwrap();
    let invited = bench.client.post(&format!("/v1/users/{id}/invitation"), Some(&bench.admin), &json!({})).await.unwrap();
    assert_eq!(invited.status, 204, "{}", invited.detail());
    let newer = mailbox.token(1).await;
    let path = format!("/v1/users/{id}");
    let patch = Call::post(&path, json!({"email": ""}).to_string()).method(Method::PATCH).bearer(&bench.admin);
    assert_eq!(bench.client.send(patch).await.unwrap().json()["email"], Value::Null);
    assert_eq!(
        bench.client.get(&format!("/password/new?token={newer}"), None).await.unwrap().status,
        404,
        "it went to an address that is no more"
    );
}
