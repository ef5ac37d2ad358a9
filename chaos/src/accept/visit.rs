//! Visit of an installation: its own devices and tokens, which are gone when it ends.

use anyhow::{Context, Result, ensure};
use chrono::{SecondsFormat, TimeDelta};
use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;
use wire::agent::Command;

use super::site::{Reply, Site};
use crate::agent_command::{DeviceKey, Keys, Seen, Verdict, judge};
use crate::clock::now;

/// Seconds between two heartbeats of a visit, so that each has a bucket of its own.
const BEAT_S: i64 = 20;
/// Age of the first heartbeat: what is told has its time before now.
const FIRST_BEAT_S: i64 = -3_000;

/// A device of the visit.
#[derive(Clone)]
pub(super) struct Device {
    pub(super) id: String,
    pub(super) alias: String,
    pub(super) token: String,
    pub(super) session: String,
    key: String,
}

/// What a device tells.
#[derive(Debug, Clone)]
pub(super) struct Told {
    pub(super) battery_pct: i64,
    /// Installed package and its version code.
    pub(super) app: Option<(String, i64)>,
}

/// Refusal of a request for want of a permission, which says nothing about the installation.
#[derive(Debug, thiserror::Error)]
#[error("the token does not suffice: {0}")]
pub(super) struct NotAllowed(String);

/// Visit.
pub(super) struct Visit {
    pub(super) site: Site,
    bearer: String,
    prefix: String,
    devices: Vec<Device>,
    tokens: Vec<String>,
    deployments: Vec<String>,
    beats: i64,
}

impl Visit {
    /// Visit with a person's or script's token.
    pub(super) fn new(site: Site, bearer: String) -> Self {
        let prefix = format!("accept-{}", &Uuid::new_v4().simple().to_string()[..8]);
        Self { site, bearer, prefix, devices: Vec::new(), tokens: Vec::new(), deployments: Vec::new(), beats: 0 }
    }

    /// Request of the person; [`NotAllowed`] when the token does not suffice.
    pub(super) async fn ask(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Reply> {
        let reply = self.site.call(method.clone(), path, Some(&self.bearer), body).await?;
        match reply.status {
            403 => Err(NotAllowed(format!("{method} {path}: {}", reply.detail())).into()),
            _ => Ok(reply),
        }
    }

    /// `GET` of the person that has to be 200.
    pub(super) async fn get(&self, path: &str) -> Result<Value> {
        let reply = self.ask(Method::GET, path, None).await?;
        ensure!(reply.status == 200, "GET {path} was answered {}", reply.detail());
        Ok(reply.json())
    }

    /// Request of a device.
    pub(super) async fn device_posts(&self, device: &Device, path: &str, body: &Value) -> Result<Reply> {
        self.site.call(Method::POST, path, Some(&device.session), Some(body)).await
    }

    /// Enrollment token for a device with this name.
    pub(super) async fn token(&mut self, name: &str) -> Result<(String, String)> {
        let body = json!({"count": 1, "expires_in_seconds": 3_600, "alias": format!("{}-{name}", self.prefix)});
        let reply = self.ask(Method::POST, "/v1/enroll-tokens", Some(&body)).await?;
        ensure!(matches!(reply.status, 200 | 201), "POST /v1/enroll-tokens was answered {}", reply.detail());
        let made = reply.json()["tokens"][0].clone();
        let text = |field: &str| made[field].as_str().map(str::to_owned).with_context(|| format!("no {field} of the enrollment token"));
        let (id, token) = (text("id")?, text("token")?);
        self.tokens.push(id.clone());
        Ok((id, token))
    }

    /// Registers a device with a token.
    pub(super) async fn register(&self, token: &str, hardware_id: &str) -> Result<Reply> {
        let body = json!({"hardware_id": format!("{}-{hardware_id}", self.prefix), "model": "Acceptance check", "android_version": "13"});
        self.site.call(Method::POST, "/v1/register", Some(token), Some(&body)).await
    }

    /// A new device with a session.
    pub(super) async fn enroll(&mut self, name: &str) -> Result<Device> {
        let (_, token) = self.token(name).await?;
        let reply = self.register(&token, name).await?;
        ensure!(reply.status == 200, "POST /v1/register was answered {}", reply.detail());
        self.take(name, &reply).await
    }

    /// The device of an answer to a registration.
    pub(super) async fn take(&mut self, name: &str, registered: &Reply) -> Result<Device> {
        let made = registered.json();
        let text = |field: &str| made[field].as_str().map(str::to_owned).with_context(|| format!("no {field} of the registration"));
        let (id, token, key) = (text("device_id")?, text("device_token")?, text("device_key")?);
        let mut device = Device { id, alias: format!("{}-{name}", self.prefix), token, session: String::new(), key };
        self.devices.push(device.clone());
        let session = self.site.call(Method::POST, "/v1/agent/session", Some(&device.token), Some(&json!({}))).await?;
        ensure!(session.status == 200, "POST /v1/agent/session was answered {}", session.detail());
        device.session = session.json()["session_token"].as_str().context("no session_token")?.to_owned();
        Ok(device)
    }

    /// Body of a device's next heartbeat, in a bucket after all others of the visit.
    pub(super) fn next_heartbeat(&mut self, told: &Told) -> Value {
        self.beats += 1;
        self.heartbeat_at((FIRST_BEAT_S + self.beats * BEAT_S).min(0), told)
    }

    /// Body of a heartbeat so many seconds from now.
    pub(super) fn heartbeat_at(&self, seconds: i64, told: &Told) -> Value {
        let at = (now() + TimeDelta::seconds(seconds)).to_rfc3339_opts(SecondsFormat::Millis, true);
        let mut body = json!({
            "timestamp_utc": at,
            "battery": {"pct": told.battery_pct, "charging": false},
            "network": {"transport": "wifi"},
            "storage_free_mb": 5_000,
        });
        if let Some((package, version_code)) = &told.app {
            let app = json!({"installed": true, "version_name": version_code.to_string(), "version_code": version_code});
            body["app_versions"] = json!({ package.as_str(): app });
        }
        body
    }

    /// A heartbeat of a device that has to be acknowledged; the answer.
    pub(super) async fn beat(&mut self, device: &Device, told: &Told) -> Result<Value> {
        let body = self.next_heartbeat(told);
        let reply = self.device_posts(device, "/v1/heartbeat", &body).await?;
        ensure!(reply.status == 200, "POST /v1/heartbeat was answered {}", reply.detail());
        Ok(reply.json())
    }

    /// Remembers a deployment, to cancel it at the end.
    pub(super) fn remember_deployment(&mut self, id: &str) {
        self.deployments.push(id.to_owned());
    }

    /// Removes what the visit has left; what could not be removed.
    pub(super) async fn clean_up(&self) -> Vec<String> {
        let mut left = Vec::new();
        let mut note = |what: String, gone: Result<Reply>, fine: &[u16]| match gone {
            Ok(reply) if fine.contains(&reply.status) => {}
            Ok(reply) => left.push(format!("{what}: {}", reply.detail())),
            Err(error) => left.push(format!("{what}: {error:#}")),
        };
        for id in &self.deployments {
            // It may be over, or canceled already.
            let gone = self.ask(Method::POST, &format!("/v1/deployments/{id}/cancel"), Some(&json!({}))).await;
            note(format!("deployment {id}"), gone, &[200, 409]);
        }
        for device in &self.devices {
            let gone = self.ask(Method::DELETE, &format!("/v1/devices/{}", device.id), None).await;
            note(format!("device {}", device.alias), gone, &[200, 204, 404, 410]);
        }
        for id in &self.tokens {
            // Used ones are no longer to be revoked.
            let gone = self.ask(Method::DELETE, &format!("/v1/enroll-tokens/{id}"), None).await;
            note(format!("enrollment token {id}"), gone, &[200, 204, 404, 409]);
        }
        left
    }
}

impl Device {
    /// Whether the device would run a command: it is signed with its key, names it, and is not expired.
    pub(super) fn would_run(&self, command: &Command) -> Result<bool> {
        let key = DeviceKey::from_hex(&self.key).context("the device key is no hex text")?;
        Ok(judge(&Keys::of(key), &self.id, command, now(), &mut Seen::default()) == Verdict::Run)
    }
}
