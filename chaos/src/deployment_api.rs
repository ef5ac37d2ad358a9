//! Client of the admin API of deployments, which uses any node that responds.

use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use hyper::Method;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use crate::client::Client;
use crate::clock::now;
use crate::fleet::apk_signers;
use crate::http::{Answer, Call, HttpLimits};
use crate::oracle::{OperatorAction, StopEvent};

/// Timeout of one attempt.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(30);
/// Time limit of retries while no node responds, and the pause in between.
const ANSWERED_WITHIN: Duration = Duration::from_secs(60);
const RETRY_AFTER: Duration = Duration::from_millis(300);
/// Most pages of a list.
const PAGES: usize = 200;

/// Uploaded APK.
#[derive(Debug, Clone)]
pub(crate) struct Apk {
    pub(crate) id: String,
    pub(crate) package: String,
    pub(crate) version_code: i64,
}

/// Admin client of the nodes of a cluster.
pub(crate) struct Api {
    clients: Vec<Client>,
    servers: Vec<String>,
    password: String,
    token: Mutex<Option<String>>,
}

impl Api {
    /// A client without a connection.
    pub(crate) fn new(servers: Vec<String>, password: &str) -> Result<Self> {
        Self::with_timeout(servers, password, TIMEOUT)
    }

    /// A client with another timeout of one attempt.
    pub(crate) fn with_timeout(servers: Vec<String>, password: &str, timeout: Duration) -> Result<Self> {
        ensure!(!servers.is_empty(), "there is no node to ask");
        let limits = HttpLimits { timeout, ..HttpLimits::default() };
        let clients = servers.iter().map(|url| Client::with_limits(url, limits)).collect::<Result<Vec<_>>>()?;
        Ok(Self { clients, servers, password: password.to_owned(), token: Mutex::new(None) })
    }

    /// Number of nodes.
    pub(crate) fn nodes(&self) -> usize {
        self.clients.len()
    }

    /// URL of a node.
    pub(crate) fn server(&self, node: usize) -> &str {
        &self.servers[node % self.servers.len()]
    }

    /// One attempt at one node; signs in if necessary.
    pub(crate) async fn ask(&self, node: usize, method: &Method, path: &str, body: &[u8], headers: &[(&str, &str)]) -> Result<Answer> {
        let client = &self.clients[node % self.clients.len()];
        for again in [true, false] {
            let known = self.token.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let token = match known {
                Some(token) => token,
                None => client.access_token("admin", &self.password).await?,
            };
            *self.token.lock().unwrap_or_else(PoisonError::into_inner) = Some(token.clone());
            let mut call = Call::post(path, body.to_vec()).method(method.clone()).bearer(&token);
            for (name, value) in headers {
                call = if *name == "content-type" { call.content_type(value) } else { call.header(name, value) };
            }
            let answer = client.send(call).await?;
            if answer.status != 401 || !again {
                return Ok(answer);
            }
            *self.token.lock().unwrap_or_else(PoisonError::into_inner) = None;
        }
        bail!("unreachable: the second try always answers")
    }

    /// Tries the nodes in turn, starting with this one, until one gives a definite response.
    pub(crate) async fn call(&self, first: usize, method: Method, path: &str, body: &[u8], headers: &[(&str, &str)]) -> Result<Answer> {
        let deadline = Instant::now() + ANSWERED_WITHIN;
        let mut node = first;
        loop {
            let trouble = match self.ask(node, &method, path, body, headers).await {
                Ok(answer) if !matches!(answer.status, 429 | 500..=599) => return Ok(answer),
                Ok(answer) => anyhow::anyhow!("{method} {path} answered {}: {}", answer.status, answer.detail()),
                Err(error) => error.context(format!("{method} {path}")),
            };
            if Instant::now() > deadline {
                return Err(trouble);
            }
            node += 1;
            sleep(RETRY_AFTER).await;
        }
    }

    /// JSON call that requires one of these statuses.
    pub(crate) async fn json(&self, method: Method, path: &str, body: Option<&Value>, wanted: &[u16]) -> Result<Value> {
        let text = body.map(Value::to_string).unwrap_or_default();
        let key = Uuid::new_v4().to_string();
        let headers: &[(&str, &str)] = if method == Method::POST { &[("idempotency-key", &key)] } else { &[] };
        let answer = self.call(0, method.clone(), path, text.as_bytes(), headers).await?;
        ensure!(wanted.contains(&answer.status), "{method} {path} answered {}: {}", answer.status, answer.detail());
        Ok(answer.json())
    }

    /// Allows the package, uploads the file, and turns deployments on.
    pub(crate) async fn prepare(&self, file: &Path, package: &str) -> Result<Apk> {
        let signers = apk_signers(file).map_err(anyhow::Error::msg).with_context(|| format!("{} is no signed APK", file.display()))?;
        let allowed = json!({"signers_sha256": signers, "note": "for drills"});
        self.json(Method::PUT, &format!("/v1/packages/{package}"), Some(&allowed), &[200, 201, 204]).await?;
        let bytes = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
        let headers = [("content-type", "application/vnd.android.package-archive")];
        let answer = self.call(0, Method::POST, "/v1/apks", &bytes, &headers).await?;
        ensure!(matches!(answer.status, 200 | 201), "POST /v1/apks answered {}: {}", answer.status, answer.detail());
        let apk = answer.json();
        self.switch(0, "deployments.enabled", true).await?;
        Ok(Apk {
            id: apk["id"].as_str().context("an APK without id")?.to_owned(),
            package: apk["package"].as_str().context("an APK without package")?.to_owned(),
            version_code: apk["version_code"].as_i64().context("an APK without version_code")?,
        })
    }

    /// Sets a flag, trying this node first.
    pub(crate) async fn switch(&self, node: usize, flag: &str, on: bool) -> Result<OperatorAction> {
        let (stop, stops) = if flag == "deployments.kill_switch" { (StopEvent::KillSwitch, on) } else { (StopEvent::FlagOff, !on) };
        let sent_us = now().timestamp_micros();
        let body = json!({"enabled": on}).to_string();
        let path = format!("/v1/flags/{flag}");
        let answer = self.call(node, Method::PUT, &path, body.as_bytes(), &[]).await?;
        ensure!(matches!(answer.status, 200 | 204), "PUT {path} answered {}: {}", answer.status, answer.detail());
        Ok(OperatorAction { deployment: None, stop, on: stops, sent_us, answered_us: now().timestamp_micros() })
    }

    /// `pause`, `resume` or `cancel`, trying this node first.
    pub(crate) async fn transition(&self, node: usize, id: &str, what: &str) -> Result<OperatorAction> {
        let (stop, on) = if what == "cancel" { (StopEvent::Cancel, true) } else { (StopEvent::Pause, what == "pause") };
        let sent_us = now().timestamp_micros();
        let path = format!("/v1/deployments/{id}/{what}");
        let answer = self.call(node, Method::POST, &path, &[], &[]).await?;
        ensure!(matches!(answer.status, 200 | 202 | 204), "POST {path} answered {}: {}", answer.status, answer.detail());
        Ok(OperatorAction { deployment: Some(id.to_owned()), stop, on, sent_us, answered_us: now().timestamp_micros() })
    }

    /// Creates a deployment.
    pub(crate) async fn deploy(&self, apk: &Apk, name: &str, target: &Value, options: &Value) -> Result<Value> {
        let body = json!({"apk_id": apk.id, "name": name, "target": target, "options": options, "conflict": "wait"});
        self.json(Method::POST, "/v1/deployments", Some(&body), &[200, 201]).await
    }

    /// Present state of a deployment.
    pub(crate) async fn deployment(&self, id: &str) -> Result<Value> {
        self.json(Method::GET, &format!("/v1/deployments/{id}"), None, &[200]).await
    }

    /// All tasks of a deployment.
    pub(crate) async fn tasks(&self, id: &str) -> Result<Vec<Value>> {
        let (mut tasks, mut cursor) = (Vec::new(), String::new());
        for _ in 0..PAGES {
            let after = if cursor.is_empty() { String::new() } else { format!("&cursor={cursor}") };
            let mut page = self.json(Method::GET, &format!("/v1/deployments/{id}/tasks?limit=100{after}"), None, &[200]).await?;
            tasks.extend(page["items"].as_array_mut().map(std::mem::take).context("a page without items")?);
            match page["next_cursor"].as_str() {
                Some(next) => next.clone_into(&mut cursor),
                None => return Ok(tasks),
            }
        }
        bail!("the list of tasks has too many pages")
    }
}
