//! Simulated operator, who requests commands through the API of random nodes while faults are in force, and records which
//! were accepted.

mod attempt;
mod command_log;
pub mod deployments;

use std::fmt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use domain::action::ActionKind;
use domain::param::{ParamKind, ParamSpec};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use serde::Serialize;
use serde_json::{Map, Value, json};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use crate::client::Client;
use crate::clock::now;
use crate::http::{Answer, Call, HttpLimits};
use crate::signals::{Stop, stopped};
use attempt::{AttemptOutcome, classify};
use command_log::{CommandLog, RequestOutcome};

/// Concurrent requests.
const CONCURRENT: usize = 8;
/// Attempts of one request, and the pause between two; together longer than a fault.
const ATTEMPTS_MAX: u32 = 60;
const RETRY_AFTER: Duration = Duration::from_millis(500);
/// Most devices of a batch.
const BATCH: usize = 20;
/// One request of this many is a batch.
const BATCH_OF: u32 = 10;
/// Number of requests after which the device list is refreshed.
const DEVICES_REFRESH_AFTER: u64 = 100;
/// Most refusals that are logged.
const LOGGED_REFUSALS_MAX: u64 = 3;

/// Plan of an operator.
#[derive(Debug, Clone)]
pub struct OperatorPlan {
    /// Nodes, of which each attempt uses a random one.
    pub servers: Vec<String>,
    /// Password of `admin`.
    pub admin_password: String,
    /// Pause between two requests.
    pub pause: Duration,
    /// Time until a command expires.
    pub expires_in_s: u64,
    /// Timeout of one attempt.
    pub timeout: Duration,
    /// Seed of devices and actions.
    pub seed: u64,
    /// Restriction to devices with this tag.
    pub tag: Option<String>,
    /// Actions to request.
    pub actions: ActionMix,
}

/// Actions that an operator requests.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum ActionMix {
    /// Actions that have an effect on simulated devices.
    #[default]
    Few,
    /// Every action.
    All {
        /// Package for actions on an app.
        package: String,
        /// Name of the allowed command for `exec`.
        exec: String,
    },
}

/// Summary of an operator.
#[derive(Debug, Clone, Default, Serialize)]
pub struct OperatorSummary {
    /// Commands accepted, including each one of a batch.
    pub accepted: u64,
    /// Commands that may or may not exist.
    pub unknown: u64,
    /// Requests refused for good.
    pub refused: u64,
    /// Retries with the same idempotency key after a lost or missing response.
    pub retries: u64,
}

impl fmt::Display for OperatorSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { accepted, unknown, refused, retries } = self;
        write!(
            f,
            "commands requested: {accepted} accepted, {unknown} of unknown outcome, {refused} requests refused; {retries} attempts repeated"
        )
    }
}

/// Running operator.
pub struct RunningOperator {
    state: Arc<OperatorState>,
    stop: watch::Sender<bool>,
    task: JoinHandle<Result<OperatorSummary>>,
}

impl RunningOperator {
    /// Requests one command for every device, as a batch.
    ///
    /// # Errors
    /// The devices cannot be listed, or the request cannot be recorded.
    pub async fn request_for_all(&self, action: &str) -> Result<()> {
        let mut rng = SmallRng::seed_from_u64(self.state.plan.seed);
        let mut found = self.state.devices(rng.random_range(0..self.state.clients.len())).await;
        for node in 0..self.state.clients.len() {
            if found.is_ok() {
                break;
            }
            found = self.state.devices(node).await;
        }
        let devices = found?;
        let body = json!({"action": action, "params": {}, "target": {"ids": devices}, "expires_in_s": self.state.plan.expires_in_s});
        let request = CommandRequest { path: "/v1/command-batches".into(), body, devices, is_batch: true };
        Box::pin(submit(Arc::clone(&self.state), request, rng.random())).await
    }

    /// Ends the operator after its pending requests.
    pub async fn finish(self) -> Result<OperatorSummary> {
        self.stop.send_replace(true);
        self.task.await.context("the operator has failed")?
    }
}

/// Starts an operator; `record` gets a line for every command that exists or may exist.
pub fn start(plan: OperatorPlan, record: &Path) -> Result<RunningOperator> {
    ensure!(!plan.servers.is_empty(), "an operator needs a node to ask");
    let limits = HttpLimits { connections: CONCURRENT, timeout: plan.timeout, ..HttpLimits::default() };
    let clients = plan.servers.iter().map(|url| Client::with_limits(url, limits)).collect::<Result<Vec<_>>>()?;
    let log = CommandLog::append(record)?;
    let state = OperatorState { plan, clients, log, token: Mutex::new(None), counters: Counters::default() };
    let (stop, stopped) = watch::channel(false);
    let state = Arc::new(state);
    Ok(RunningOperator { stop, task: tokio::spawn(work(Arc::clone(&state), stopped)), state })
}

/// State that all requests share.
struct OperatorState {
    plan: OperatorPlan,
    clients: Vec<Client>,
    log: CommandLog,
    token: Mutex<Option<String>>,
    counters: Counters,
}

#[derive(Default)]
struct Counters {
    accepted: AtomicU64,
    unknown: AtomicU64,
    refused: AtomicU64,
    retries: AtomicU64,
}

/// Request of one command or batch.
struct CommandRequest {
    path: String,
    body: Value,
    devices: Vec<String>,
    is_batch: bool,
}

async fn work(state: Arc<OperatorState>, mut stop: Stop) -> Result<OperatorSummary> {
    let mut rng = SmallRng::seed_from_u64(state.plan.seed);
    let mut submissions: JoinSet<Result<()>> = JoinSet::new();
    let mut devices = Vec::new();
    for number in 0_u64.. {
        if devices.is_empty() || number % DEVICES_REFRESH_AFTER == 0 {
            let node = rng.random_range(0..state.clients.len());
            // The node may be down: the next refresh uses another one.
            devices = state.devices(node).await.ok().filter(|found| !found.is_empty()).unwrap_or(devices);
        }
        if !devices.is_empty() {
            let request = choose(&devices, &state.plan.actions, state.plan.expires_in_s, &mut rng);
            submissions.spawn(Box::pin(submit(Arc::clone(&state), request, rng.random())));
        }
        while submissions.len() >= CONCURRENT {
            submissions.join_next().await.transpose()?.transpose()?;
        }
        tokio::select! {
            biased;
            () = stopped(&mut stop) => break,
            () = sleep(state.plan.pause) => {}
        }
    }
    while let Some(finished) = submissions.join_next().await {
        finished??;
    }
    let Counters { accepted, unknown, refused, retries } = &state.counters;
    let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    Ok(OperatorSummary { accepted: get(accepted), unknown: get(unknown), refused: get(refused), retries: get(retries) })
}

fn choose(devices: &[String], actions: &ActionMix, expires_in_s: u64, rng: &mut SmallRng) -> CommandRequest {
    let (action, params) = match actions {
        ActionMix::Few => simulated_action(rng),
        ActionMix::All { package, exec } => any_action(package, exec, rng),
    };
    let one = |rng: &mut SmallRng| devices[rng.random_range(0..devices.len())].clone();
    if rng.random_range(0..BATCH_OF) > 0 {
        let device = one(rng);
        let body = json!({"action": action, "params": params, "expires_in_s": expires_in_s});
        return CommandRequest { path: format!("/v1/devices/{device}/commands"), body, devices: vec![device], is_batch: false };
    }
    let mut chosen: Vec<String> = (0..BATCH.min(devices.len())).map(|_| one(rng)).collect();
    chosen.sort();
    chosen.dedup();
    let body = json!({"action": "ping", "params": {}, "target": {"ids": chosen}, "expires_in_s": expires_in_s});
    CommandRequest { path: "/v1/command-batches".into(), body, devices: chosen, is_batch: true }
}

fn simulated_action(rng: &mut SmallRng) -> (&'static str, Value) {
    match rng.random_range(0..10) {
        0..6 => ("ping", json!({})),
        6..8 => ("ring", json!({"duration_s": rng.random_range(1..30)})),
        8 => ("sync", json!({})),
        _ => ("rotate_key", json!({})),
    }
}

/// Any action, with varied parameters where possible, so that executions can be distinguished.
fn any_action(package: &str, exec: &str, rng: &mut SmallRng) -> (&'static str, Value) {
    let weight = |kind| -> u32 {
        match kind {
            ActionKind::Ping => 20,
            ActionKind::Ring => 25,
            ActionKind::RotateKey => 8,
            _ => 4,
        }
    };
    let mut left = rng.random_range(0..ActionKind::ALL.into_iter().map(weight).sum::<u32>());
    let chosen = ActionKind::ALL.into_iter().find(|kind| {
        let found = left < weight(*kind);
        left = left.saturating_sub(weight(*kind));
        found
    });
    let kind = chosen.unwrap_or(ActionKind::Ping);
    let package = match kind {
        // Any name will do.
        ActionKind::SetMonitoredApp => format!("{package}.n{}", rng.random_range(0..1_000)),
        _ => package.to_owned(),
    };
    let params = kind.spec().params.iter().filter(|param| param.required || param.default.is_some());
    let params: Map<_, _> = params.map(|param| (param.name.to_owned(), any_value(param, &package, exec, rng))).collect();
    (kind.as_str(), params.into())
}

/// A value within the limits of a parameter.
fn any_value(param: &ParamSpec, package: &str, exec: &str, rng: &mut SmallRng) -> Value {
    match param.kind {
        ParamKind::Integer { min, max } => json!(rng.random_range(min..=max)),
        ParamKind::Flag => json!(rng.random_bool(0.5)),
        ParamKind::Package => json!(package),
        ParamKind::ExecCommand => json!(exec),
        ParamKind::Choice(_) => json!(param.preset),
        ParamKind::Texts { .. } => json!({}),
        ParamKind::Text { .. } | ParamKind::Bytes { .. } => json!(format!("some text {}", rng.random_range(0..1_000))),
    }
}

/// Sends a request until its outcome is known, always with the same idempotency key.
async fn submit(state: Arc<OperatorState>, request: CommandRequest, seed: u64) -> Result<()> {
    let mut rng = SmallRng::seed_from_u64(seed);
    let key = Uuid::new_v4().to_string();
    let body = serde_json::to_vec(&request.body)?;
    let started_at = now();
    let (mut may_exist, mut node) = (false, 0);
    for number in 0..ATTEMPTS_MAX {
        if number > 0 {
            state.counters.retries.fetch_add(1, Ordering::Relaxed);
            sleep(RETRY_AFTER).await;
        }
        node = rng.random_range(0..state.clients.len());
        let Ok(token) = state.token(node).await else { continue };
        let call = Call::post(&request.path, body.clone()).bearer(&token).header("idempotency-key", &key);
        let answer = state.clients[node].send(call).await;
        match classify(answer.as_ref().map(|answer| answer.status).ok()) {
            AttemptOutcome::Accepted => {
                let Ok(answer) = answer else { continue };
                let Some(id) = created_id(&answer, request.is_batch) else {
                    anyhow::bail!("{} answered 201 without an identity", request.path)
                };
                // A batch may exclude devices, which the response lists.
                let refused_devices = refused_devices(&answer);
                let devices: Vec<String> = request.devices.into_iter().filter(|device| !refused_devices.contains(device)).collect();
                state.counters.accepted.fetch_add(devices.len() as u64, Ordering::Relaxed);
                let finished = if request.is_batch { RequestOutcome::Batch(id) } else { RequestOutcome::Command(id) };
                return state.log.write(&devices, &state.plan.servers[node], started_at, now(), &finished);
            }
            AttemptOutcome::Unauthorized => state.invalidate_token(&token),
            AttemptOutcome::Retry => {}
            AttemptOutcome::Unknown => may_exist = true,
            AttemptOutcome::Refused => {
                if state.counters.refused.fetch_add(1, Ordering::Relaxed) < LOGGED_REFUSALS_MAX
                    && let Ok(answer) = answer
                {
                    eprintln!("POST {} answered {}: {}", request.path, answer.status, answer.detail());
                }
                break;
            }
        }
    }
    if may_exist {
        state.counters.unknown.fetch_add(request.devices.len() as u64, Ordering::Relaxed);
        state.log.write(&request.devices, &state.plan.servers[node], started_at, now(), &RequestOutcome::Unknown)?;
    }
    Ok(())
}

/// Id in a 201 response.
fn created_id(answer: &Answer, is_batch: bool) -> Option<String> {
    let json = answer.json();
    let names: &[&str] = if is_batch { &["batch_id", "id"] } else { &["request_id", "id"] };
    names.iter().find_map(|name| json[*name].as_str().map(str::to_owned))
}

/// Devices of a batch that get no command.
fn refused_devices(answer: &Answer) -> Vec<String> {
    let json = answer.json();
    let refused = json["refused"].as_array().into_iter().flatten();
    refused.filter_map(|device| device["id"].as_str().map(str::to_owned)).collect()
}

impl OperatorState {
    /// A valid access token, requested from this node if there is none.
    async fn token(&self, node: usize) -> Result<String> {
        if let Some(token) = self.token.lock().unwrap_or_else(PoisonError::into_inner).clone() {
            return Ok(token);
        }
        let answer = self.clients[node].login("admin", &self.plan.admin_password).await?;
        ensure!(answer.status == 200, "login answered {}: {}", answer.status, answer.detail());
        let token = answer.json()["access_token"].as_str().context("the sign-in response has no access_token")?.to_owned();
        *self.token.lock().unwrap_or_else(PoisonError::into_inner) = Some(token.clone());
        Ok(token)
    }

    /// Drops an expired token, unless it has been replaced already.
    fn invalidate_token(&self, token: &str) {
        let mut known = self.token.lock().unwrap_or_else(PoisonError::into_inner);
        if known.as_deref() == Some(token) {
            *known = None;
        }
    }

    async fn devices(&self, node: usize) -> Result<Vec<String>> {
        let token = self.token(node).await?;
        let (mut devices, mut cursor) = (Vec::new(), None::<String>);
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            let tag = self.plan.tag.as_ref().map(|tag| format!("&tag={tag}")).unwrap_or_default();
            let cursor_text = cursor.map(|cursor| format!("&cursor={cursor}")).unwrap_or_default();
            let path = format!("/v1/devices?limit=500{tag}{cursor_text}");
            let answer = self.clients[node].get(&path, Some(&token)).await?;
            if answer.status == 401 {
                self.invalidate_token(&token);
            }
            ensure!(answer.status == 200, "GET {path} answered {}: {}", answer.status, answer.detail());
            let page = answer.json();
            devices.extend(page["items"].as_array().into_iter().flatten().filter_map(|item| item["id"].as_str().map(str::to_owned)));
            cursor = page["next_cursor"].as_str().map(str::to_owned);
            if cursor.is_none() || Instant::now() > deadline {
                return Ok(devices);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::action::Action;
    use domain::param::ParamValue;

    #[test]
    fn requests_are_single_and_in_batches_and_name_their_devices_once() {
        let devices: Vec<String> = (0..50).map(|n| format!("d{n}")).collect();
        let mut rng = SmallRng::seed_from_u64(1);
        let requests: Vec<CommandRequest> = (0..500).map(|_| choose(&devices, &ActionMix::Few, 60, &mut rng)).collect();
        let batches = requests.iter().filter(|request| request.is_batch).count();
        assert!((25..100).contains(&batches), "{batches}");
        for request in &requests {
            assert!(request.is_batch || request.path.contains(&request.devices[0]));
            let mut once = request.devices.clone();
            once.dedup();
            assert!(once.len() == request.devices.len() && request.devices.len() <= BATCH && request.body["expires_in_s"] == 60);
        }
        for action in ["ping", "ring", "sync", "rotate_key"] {
            assert!(requests.iter().any(|request| request.body["action"] == action), "{action}");
        }
        let all = ActionMix::All { package: "com.example".into(), exec: "status".into() };
        let requests: Vec<CommandRequest> = (0..2_000).map(|_| choose(&devices, &all, 60, &mut rng)).collect();
        for kind in ActionKind::ALL {
            let of_kind = requests.iter().filter(|request| request.body["action"] == kind.as_str());
            assert!(of_kind.count() > 0, "{}", kind.as_str());
        }
        // Parameters are within their limits, or the server would refuse them.
        for request in requests.iter().filter(|request| !request.is_batch) {
            let kind = ActionKind::parse("action", request.body["action"].as_str().unwrap()).unwrap();
            let value = |value: &Value| match value {
                Value::String(text) => ParamValue::Text(text.clone()),
                number => ParamValue::Integer(number.as_i64().unwrap()),
            };
            let given = request.body["params"].as_object().unwrap().iter().map(|(name, given)| (name.clone(), value(given))).collect();
            Action::parse(kind, given).unwrap();
        }
    }
}
