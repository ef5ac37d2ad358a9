//! Somebody who orders commands through the API of any node while things go
//! wrong, and writes down what was accepted.

mod attempt;
pub mod deployments;
mod orders;

use std::fmt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use crate::client::Client;
use crate::clock::now;
use crate::http::{Answer, Call, HttpLimits};
use crate::signals::{Stop, stopped};
use attempt::{Meaning, meaning};
use orders::{Ended, OrderLog};

/// Orders on their way at the same time.
const CONCURRENT: usize = 8;
/// Tries of one order, and the pause between two: together longer than a fault.
const TRIES: u32 = 60;
const RETRY_AFTER: Duration = Duration::from_millis(500);
/// Devices of one batch, at most.
const BATCH: usize = 20;
/// One order of this many is a batch.
const BATCH_OF: u32 = 10;
/// Devices are looked up anew after this many orders.
const LOOK_AFTER: u64 = 100;
/// Refusals that are told.
const TOLD: u64 = 3;

/// Whom to ask, how often, and for what.
#[derive(Debug, Clone)]
pub struct OperatorPlan {
    /// Nodes; each try asks one of them at random.
    pub servers: Vec<String>,
    /// Password of `admin`.
    pub admin_password: String,
    /// Between two orders.
    pub pause: Duration,
    /// How long a command may run.
    pub expires_in_s: u64,
    /// For one try.
    pub timeout: Duration,
    /// Decides devices and actions.
    pub seed: u64,
    /// Only devices with this tag.
    pub tag: Option<String>,
    /// Which actions.
    pub actions: ActionMix,
}

/// Which actions an operator orders.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum ActionMix {
    /// Those that simulated devices have something to do for.
    #[default]
    Few,
    /// Every action, on this app and with this allowed command.
    All {
        /// A package.
        package: String,
        /// Name for `exec`.
        exec: String,
    },
}

/// What came of it.
#[derive(Debug, Clone, Default, Serialize)]
pub struct OperatorSummary {
    /// Commands accepted, those of batches counted singly.
    pub accepted: u64,
    /// Commands of which nobody knows whether they exist.
    pub unknown: u64,
    /// Orders that were refused for good.
    pub refused: u64,
    /// Tries that were repeated with the same key because the answer was lost or none.
    pub retries: u64,
}

impl fmt::Display for OperatorSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { accepted, unknown, refused, retries } = self;
        write!(f, "commands ordered: {accepted} accepted, {unknown} of unknown fate, {refused} orders refused; {retries} tries repeated")
    }
}

/// An operator at work.
pub struct Running {
    desk: Arc<Desk>,
    stop: watch::Sender<bool>,
    task: JoinHandle<Result<OperatorSummary>>,
}

impl Running {
    /// Orders one command for every device, as a batch.
    ///
    /// # Errors
    /// The devices cannot be looked up, or the order cannot be written down.
    pub async fn order_for_all(&self, action: &str) -> Result<()> {
        let mut rng = SmallRng::seed_from_u64(self.desk.plan.seed);
        let mut found = self.desk.devices(rng.random_range(0..self.desk.clients.len())).await;
        for place in 0..self.desk.clients.len() {
            if found.is_ok() {
                break;
            }
            found = self.desk.devices(place).await;
        }
        let devices = found?;
        let body = json!({"action": action, "params": {}, "target": {"ids": devices}, "expires_in_s": self.desk.plan.expires_in_s});
        let order = Order { path: "/v1/command-batches".into(), body, devices, is_batch: true };
        Box::pin(fulfil(Arc::clone(&self.desk), order, rng.random())).await
    }

    /// Orders nothing more, and waits for what is on its way.
    pub async fn finish(self) -> Result<OperatorSummary> {
        self.stop.send_replace(true);
        self.task.await.context("the operator has failed")?
    }
}

/// Starts to order; `record` gets a line for every command that exists or may exist.
pub fn start(plan: OperatorPlan, record: &Path) -> Result<Running> {
    ensure!(!plan.servers.is_empty(), "an operator needs a node to ask");
    let limits = HttpLimits { connections: CONCURRENT, timeout: plan.timeout, ..HttpLimits::default() };
    let clients = plan.servers.iter().map(|url| Client::with_limits(url, limits)).collect::<Result<Vec<_>>>()?;
    let log = OrderLog::append(record)?;
    let desk = Desk { plan, clients, log, token: Mutex::new(None), counted: Counted::default() };
    let (stop, stopped) = watch::channel(false);
    let desk = Arc::new(desk);
    Ok(Running { stop, task: tokio::spawn(work(Arc::clone(&desk), stopped)), desk })
}

/// What all orders share.
struct Desk {
    plan: OperatorPlan,
    clients: Vec<Client>,
    log: OrderLog,
    token: Mutex<Option<String>>,
    counted: Counted,
}

#[derive(Default)]
struct Counted {
    accepted: AtomicU64,
    unknown: AtomicU64,
    refused: AtomicU64,
    retries: AtomicU64,
}

/// What is wanted.
struct Order {
    path: String,
    body: Value,
    devices: Vec<String>,
    is_batch: bool,
}

async fn work(desk: Arc<Desk>, mut stop: Stop) -> Result<OperatorSummary> {
    let mut rng = SmallRng::seed_from_u64(desk.plan.seed);
    let mut running: JoinSet<Result<()>> = JoinSet::new();
    let mut devices = Vec::new();
    for number in 0_u64.. {
        if devices.is_empty() || number % LOOK_AFTER == 0 {
            let place = rng.random_range(0..desk.clients.len());
            // Whoever is asked may be down: the next look asks somebody else.
            devices = desk.devices(place).await.ok().filter(|found| !found.is_empty()).unwrap_or(devices);
        }
        if !devices.is_empty() {
            let order = choose(&devices, &desk.plan.actions, desk.plan.expires_in_s, &mut rng);
            running.spawn(Box::pin(fulfil(Arc::clone(&desk), order, rng.random())));
        }
        while running.len() >= CONCURRENT {
            running.join_next().await.transpose()?.transpose()?;
        }
        tokio::select! {
            biased;
            () = stopped(&mut stop) => break,
            () = sleep(desk.plan.pause) => {}
        }
    }
    while let Some(ended) = running.join_next().await {
        ended??;
    }
    let Counted { accepted, unknown, refused, retries } = &desk.counted;
    let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    Ok(OperatorSummary { accepted: get(accepted), unknown: get(unknown), refused: get(refused), retries: get(retries) })
}

fn choose(devices: &[String], actions: &ActionMix, expires_in_s: u64, rng: &mut SmallRng) -> Order {
    let (action, params) = match actions {
        ActionMix::Few => few(rng),
        ActionMix::All { package, exec } => any(package, exec, rng),
    };
    let one = |rng: &mut SmallRng| devices[rng.random_range(0..devices.len())].clone();
    if rng.random_range(0..BATCH_OF) > 0 {
        let device = one(rng);
        let body = json!({"action": action, "params": params, "expires_in_s": expires_in_s});
        return Order { path: format!("/v1/devices/{device}/commands"), body, devices: vec![device], is_batch: false };
    }
    let mut chosen: Vec<String> = (0..BATCH.min(devices.len())).map(|_| one(rng)).collect();
    chosen.sort();
    chosen.dedup();
    let body = json!({"action": "ping", "params": {}, "target": {"ids": chosen}, "expires_in_s": expires_in_s});
    Order { path: "/v1/command-batches".into(), body, devices: chosen, is_batch: true }
}

fn few(rng: &mut SmallRng) -> (&'static str, Value) {
    match rng.random_range(0..10) {
        0..6 => ("ping", json!({})),
        6..8 => ("ring", json!({"duration_s": rng.random_range(1..30)})),
        8 => ("sync", json!({})),
        _ => ("rotate_key", json!({})),
    }
}

/// Every action; where parameters may differ they do, so that one execution can be told from another.
fn any(package: &str, exec: &str, rng: &mut SmallRng) -> (&'static str, Value) {
    let of_app = json!({"package": package});
    match rng.random_range(0..100) {
        0..20 => ("ping", json!({})),
        20..45 => ("ring", json!({"duration_s": rng.random_range(1..=300)})),
        45..50 => ("sync", json!({})),
        50..58 => ("rotate_key", json!({})),
        58..61 => ("reboot", json!({})),
        61..66 => ("launch_app", of_app),
        66..71 => ("restart_app", of_app),
        71..76 => ("clear_app_data", of_app),
        76..81 => ("wake", json!({})),
        81..85 => ("lock", json!({})),
        85..89 => ("set_monitored_app", json!({"package": format!("{package}.n{}", rng.random_range(0..1_000))})),
        89..92 => (
            "wifi_connect",
            json!({"ssid": format!("shop-{}", rng.random_range(0..1_000)), "security": "wpa2", "password": "a passphrase"}),
        ),
        92..97 => ("exec", json!({"name": exec})),
        _ => ("update", json!({})),
    }
}

/// Orders until it is known what came of it, always with the same key.
async fn fulfil(desk: Arc<Desk>, order: Order, seed: u64) -> Result<()> {
    let mut rng = SmallRng::seed_from_u64(seed);
    let key = Uuid::new_v4().to_string();
    let body = serde_json::to_vec(&order.body)?;
    let started_at = now();
    let (mut may_exist, mut place) = (false, 0);
    for number in 0..TRIES {
        if number > 0 {
            desk.counted.retries.fetch_add(1, Ordering::Relaxed);
            sleep(RETRY_AFTER).await;
        }
        place = rng.random_range(0..desk.clients.len());
        let Ok(token) = desk.token(place).await else { continue };
        let call = Call::post(&order.path, body.clone()).bearer(&token).header("idempotency-key", &key);
        let answer = desk.clients[place].send(call).await;
        match meaning(answer.as_ref().map(|answer| answer.status).ok()) {
            Meaning::Accepted => {
                let Ok(answer) = answer else { continue };
                let Some(id) = identity(&answer, order.is_batch) else { anyhow::bail!("{} answered 201 without an identity", order.path) };
                // Of a batch some devices may get none, and are told.
                let left_out = left_out(&answer);
                let devices: Vec<String> = order.devices.into_iter().filter(|device| !left_out.contains(device)).collect();
                desk.counted.accepted.fetch_add(devices.len() as u64, Ordering::Relaxed);
                let ended = if order.is_batch { Ended::Batch(id) } else { Ended::Command(id) };
                return desk.log.write(&devices, &desk.plan.servers[place], started_at, now(), &ended);
            }
            Meaning::SignInAgain => desk.forget(&token),
            Meaning::Later => {}
            Meaning::Unknown => may_exist = true,
            Meaning::Refused => {
                if desk.counted.refused.fetch_add(1, Ordering::Relaxed) < TOLD
                    && let Ok(answer) = answer
                {
                    eprintln!("POST {} answered {}: {}", order.path, answer.status, answer.detail());
                }
                break;
            }
        }
    }
    if may_exist {
        desk.counted.unknown.fetch_add(order.devices.len() as u64, Ordering::Relaxed);
        desk.log.write(&order.devices, &desk.plan.servers[place], started_at, now(), &Ended::Unknown)?;
    }
    Ok(())
}

/// The id that a 201 names.
fn identity(answer: &Answer, is_batch: bool) -> Option<String> {
    let json = answer.json();
    let names: &[&str] = if is_batch { &["batch_id", "id"] } else { &["request_id", "id"] };
    names.iter().find_map(|name| json[*name].as_str().map(str::to_owned))
}

/// The devices of a batch that get no command.
fn left_out(answer: &Answer) -> Vec<String> {
    let json = answer.json();
    let refused = json["refused"].as_array().into_iter().flatten();
    refused.filter_map(|device| device["id"].as_str().map(str::to_owned)).collect()
}

impl Desk {
    /// A good access token, asked of this node if there is none.
    async fn token(&self, place: usize) -> Result<String> {
        if let Some(token) = self.token.lock().unwrap_or_else(PoisonError::into_inner).clone() {
            return Ok(token);
        }
        let answer = self.clients[place].login("admin", &self.plan.admin_password).await?;
        ensure!(answer.status == 200, "login answered {}: {}", answer.status, answer.detail());
        let token = answer.json()["access_token"].as_str().context("the login's answer has no access_token")?.to_owned();
        *self.token.lock().unwrap_or_else(PoisonError::into_inner) = Some(token.clone());
        Ok(token)
    }

    /// A token that has run out; another one may be there already.
    fn forget(&self, token: &str) {
        let mut known = self.token.lock().unwrap_or_else(PoisonError::into_inner);
        if known.as_deref() == Some(token) {
            *known = None;
        }
    }

    async fn devices(&self, place: usize) -> Result<Vec<String>> {
        let token = self.token(place).await?;
        let (mut devices, mut cursor) = (Vec::new(), None::<String>);
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            let tag = self.plan.tag.as_ref().map(|tag| format!("&tag={tag}")).unwrap_or_default();
            let cursor_text = cursor.map(|cursor| format!("&cursor={cursor}")).unwrap_or_default();
            let path = format!("/v1/devices?limit=500{tag}{cursor_text}");
            let answer = self.clients[place].get(&path, Some(&token)).await?;
            if answer.status == 401 {
                self.forget(&token);
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

    #[test]
    fn orders_are_single_and_in_batches_and_name_their_devices_once() {
        let devices: Vec<String> = (0..50).map(|n| format!("d{n}")).collect();
        let mut rng = SmallRng::seed_from_u64(1);
        let orders: Vec<Order> = (0..500).map(|_| choose(&devices, &ActionMix::Few, 60, &mut rng)).collect();
        let batches = orders.iter().filter(|order| order.is_batch).count();
        assert!((25..100).contains(&batches), "{batches}");
        for order in &orders {
            assert!(order.is_batch || order.path.contains(&order.devices[0]));
            let mut once = order.devices.clone();
            once.dedup();
            assert!(once.len() == order.devices.len() && order.devices.len() <= BATCH && order.body["expires_in_s"] == 60);
        }
        for action in ["ping", "ring", "sync", "rotate_key"] {
            assert!(orders.iter().any(|order| order.body["action"] == action), "{action}");
        }
        let all = ActionMix::All { package: "com.example".into(), exec: "status".into() };
        let orders: Vec<Order> = (0..2_000).map(|_| choose(&devices, &all, 60, &mut rng)).collect();
        for kind in domain::action::ActionKind::ALL {
            assert!(orders.iter().any(|order| order.body["action"] == kind.as_str()), "{}", kind.as_str());
        }
    }
}
