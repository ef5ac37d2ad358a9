//! Poison: devices that send bodies of every bad kind as heartbeats. Each is refused or taken as far as it can be used, none is answered
//! as a failure of the server, and the same device goes on with its next good heartbeat.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use anyhow::{Context, Result};
use chrono::{DateTime, Utc};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use rand::SeedableRng;
use rand::rngs::SmallRng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};

use super::{Fault, Healing, InForce, OutOfLimits, Scene, within};
use crate::client::{Client, EnrolledDevice};
use crate::clock::now;
use crate::http::{Answer, Call, HttpError};
use crate::model::{self, Profile, State};
use crate::signals::{Stop, stopped};

/// Largest body that is sent, which no node takes.
const TOO_LARGE_BYTES: usize = 1 << 20;
/// Objects within each other of a body that is nested too deep.
const DEPTH: usize = 5_000;
/// Violations that are told apart.
const BROKEN_MAX: usize = 20;

/// Load of bad bodies beside the good one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PoisonHeartbeats {
    /// Bad bodies per second over all nodes, 1 to 1,000
    pub per_second: u32,
    /// Devices that send them, which are enrolled for it, 1 to 50
    pub devices: u32,
}

impl Default for PoisonHeartbeats {
    fn default() -> Self {
        Self { per_second: 20, devices: 4 }
    }
}

impl fmt::Display for PoisonHeartbeats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} devices send {} bad bodies per second", self.devices, self.per_second)
    }
}

/// Answer to a bad body that is right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    /// It is refused.
    Refused,
    /// What can be used of it may be taken.
    RefusedOrTaken,
    /// The device may not say it.
    Forbidden,
}

/// A bad body.
#[derive(Debug, Clone)]
struct Poison {
    kind: &'static str,
    body: Vec<u8>,
    header: Option<(&'static str, &'static str)>,
    wanted: Wanted,
}

/// Bodies of every bad kind, for a device that is called `alias`.
fn poisons(alias: &str, at: DateTime<Utc>) -> Vec<Poison> {
    let refused = |kind, body: &[u8]| Poison { kind, body: body.to_vec(), header: None, wanted: Wanted::Refused };
    let taken = |kind, body: String| Poison { kind, body: body.into_bytes(), header: None, wanted: Wanted::RefusedOrTaken };
    let time = model::timestamp(at);
    let with = |rest: &str| format!(r#"{{"alias":"{alias}","timestamp_utc":"{time}",{rest}}}"#);
    let many: Vec<String> = (0..1_000).map(|n| format!(r#""unknown_{n}":{n}"#)).collect();
    let good = with(r#""battery":{"pct":50}"#);
    vec![
        refused("empty", b""),
        refused("no JSON", b"battery=50&alias=x"),
        refused("a list", format!("[{good}]").as_bytes()),
        refused("null", b"null"),
        refused("a number", b"1"),
        refused("a text", b"\"heartbeat\""),
        refused("cut off", &good.as_bytes()[..good.len() / 2]),
        refused("bytes that are no text", &[0xff, 0xfe, 0x00, 0x80]),
        refused("only zero bytes", &[0; 64]),
        refused("nested too deep", [vec![b'['; DEPTH], vec![b']'; DEPTH]].concat().as_slice()),
        refused("too large", &vec![b' '; TOO_LARGE_BYTES]),
        Poison { header: Some(("content-encoding", "gzip")), ..refused("not compressed as announced", good.as_bytes()) },
        Poison { header: Some(("content-encoding", "x-unknown")), ..refused("in an unknown coding", good.as_bytes()) },
        taken("without anything", "{}".into()),
        taken("nested deep in a field", with(&format!(r#""battery":{}{}"#, "[".repeat(DEPTH), "]".repeat(DEPTH)))),
        taken("of the wrong types", with(r#""battery":"full","memory":7,"network":[],"apps":{},"uptime_s":"long""#)),
        taken(
            "with numbers that do not fit",
            with(r#""uptime_s":1e400,"seq":-99999999999999999999999,"battery":{"pct":9223372036854775808}"#),
        ),
        taken("with NaN", with(r#""battery":{"pct":NaN,"temperature_c":-Infinity}"#)),
        taken("of the year 9999", format!(r#"{{"alias":"{alias}","timestamp_utc":"9999-12-31T23:59:59Z"}}"#)),
        taken("of the year 1", format!(r#"{{"alias":"{alias}","timestamp_utc":"0001-01-01T00:00:00Z"}}"#)),
        taken("with a time that is none", format!(r#"{{"alias":"{alias}","timestamp_utc":"yesterday"}}"#)),
        taken("with a key twice", with(&format!(r#""alias":"{alias}-2","alias":null"#))),
        taken("with a thousand unknown keys", with(&many.join(","))),
        taken("with a long text", with(&format!(r#""model":"{}""#, "x".repeat(50_000)))),
        taken("with markup", with(r#""model":"<script>alert(1)</script>","ssid":"'; DROP TABLE device; --""#)),
        taken("with control characters", with(r#""model":"a\u0000b\u001b[31m\r\nX-Injected: 1""#)),
        taken("with half a surrogate pair", with(r#""model":"\ud800""#)),
        Poison { wanted: Wanted::Forbidden, ..taken("of another device", with(r#""device_id":"00000000-0000-7000-8000-000000000000""#)) },
    ]
}

/// What is wrong with an answer to a bad body.
fn wrong(poison: &Poison, answer: &Result<Answer, HttpError>, after_large: bool) -> Option<String> {
    match answer {
        Ok(answer) if answer.status >= 500 => Some(format!("a body {}: answered {}, a failure of the server", poison.kind, answer.status)),
        Ok(answer) if answer.status == 403 && poison.wanted == Wanted::Forbidden => None,
        Ok(answer) if matches!(answer.status, 401 | 403 | 410) => {
            Some(format!("a body {}: answered {}, as if the device were another one", poison.kind, answer.status))
        }
        Ok(answer) if answer.status < 400 && poison.wanted != Wanted::RefusedOrTaken => {
            Some(format!("a body {}: taken with {}", poison.kind, answer.status))
        }
        Ok(_) => None,
        // The node may close on a body that it does not read to its end.
        Err(HttpError::Lost(_)) if after_large || poison.body.len() >= TOO_LARGE_BYTES => None,
        Err(error) => Some(format!("a body {}: no answer ({error})", poison.kind)),
    }
}

impl Fault for PoisonHeartbeats {
    fn check(&self) -> Result<(), OutOfLimits> {
        within("per_second", self.per_second, 1, 1_000)?;
        within("devices", self.devices, 1, 50)
    }

    fn begin<'a>(&'a self, scene: &'a mut Scene<'_>) -> BoxFuture<'a, Result<InForce>> {
        async move {
            let cluster = &*scene.cluster;
            let clients = cluster.members().iter().map(|member| Client::new(&member.url())).collect::<Result<Vec<_>>>()?;
            let first = clients.first().context("there is no node")?;
            let access = first.access_token("admin", cluster.admin_password()).await?;
            let mut senders = Vec::new();
            for number in 0..self.devices {
                let alias = format!("poison-{}-{number}", now().timestamp_millis());
                let device = first.enroll(&access, &alias).await?;
                let mut rng = SmallRng::seed_from_u64(u64::from(number));
                let profile = Profile::draw(0.0, &mut rng);
                let state = State::draw(&profile, &mut rng);
                senders.push(Sender { device, alias, profile, state });
            }
            let (end, ended) = watch::channel(false);
            let every = Duration::from_secs(1) / self.per_second;
            let sending = tokio::spawn(Box::pin(send(clients, senders, every, ended)));
            Ok(InForce::until(Poisoning { end, sending }))
        }
        .boxed()
    }
}

struct Sender {
    device: EnrolledDevice,
    alias: String,
    profile: Profile,
    state: State,
}

/// What became of bad bodies.
#[derive(Debug, Default)]
struct Outcome {
    sent: u64,
    good: u64,
    statuses: BTreeMap<String, u64>,
    broken: Vec<String>,
}

impl Outcome {
    fn count(&mut self, answer: &Result<Answer, HttpError>) {
        let name = answer.as_ref().map_or_else(|error| error.kind().to_owned(), |answer| answer.status.to_string());
        *self.statuses.entry(name).or_default() += 1;
    }

    fn broken(&mut self, what: Option<String>) {
        if let Some(what) = what
            && self.broken.len() < BROKEN_MAX
            && !self.broken.contains(&what)
        {
            self.broken.push(what);
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let statuses: Vec<String> = self.statuses.iter().map(|(status, count)| format!("{status}: {count}")).collect();
        write!(f, "{} bad bodies ({}), {} good heartbeats of the same devices in between", self.sent, statuses.join(", "), self.good)
    }
}

/// Sends bad bodies at this pace, and a good heartbeat after all of their kinds; every device has sent all of them before it ends.
async fn send(clients: Vec<Client>, senders: Vec<Sender>, every: Duration, mut stop: Stop) -> Outcome {
    let mut outcome = Outcome::default();
    let mut tick = interval(every);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for (round, sender) in senders.iter().cycle().enumerate() {
        let client = &clients[round % clients.len()];
        // The connection that the node closes after it is used once more.
        let mut after_large = false;
        for poison in poisons(&sender.alias, now()) {
            tokio::select! {
                biased;
                () = stopped(&mut stop), if round >= senders.len() => return outcome,
                _ = tick.tick() => {}
            }
            let mut call = Call::post("/v1/heartbeat", poison.body.clone()).bearer(&sender.device.session_token);
            if let Some((name, value)) = poison.header {
                call = call.header(name, value);
            }
            let answer = client.send(call).await;
            outcome.sent += 1;
            outcome.count(&answer);
            outcome.broken(wrong(&poison, &answer, after_large));
            after_large = poison.body.len() >= TOO_LARGE_BYTES;
        }
        let state = State { seq: round as u64 + 1, ..sender.state.clone() };
        let heartbeat = model::heartbeat(&sender.profile, &state, &sender.alias, now(), 0);
        match client.heartbeat(&sender.device.session_token, &heartbeat).await {
            Ok(answer) if answer.status == 200 => outcome.good += 1,
            Ok(answer) => outcome.broken(Some(format!("a good heartbeat after bad ones: answered {}: {}", answer.status, answer.detail()))),
            Err(error) => outcome.broken(Some(format!("a good heartbeat after bad ones: {error:#}"))),
        }
    }
    outcome
}

struct Poisoning {
    end: watch::Sender<bool>,
    sending: JoinHandle<Outcome>,
}

impl Healing for Poisoning {
    fn heal<'a>(self: Box<Self>, scene: &'a mut Scene<'_>) -> BoxFuture<'a, Result<()>> {
        async move {
            self.end.send_replace(true);
            let outcome = self.sending.await.context("the sender of bad bodies has failed")?;
            scene.note(outcome.to_string());
            scene.broken.extend(outcome.broken);
            Ok(())
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use hyper::HeaderMap;

    use super::*;

    fn answered(status: u16) -> Result<Answer, HttpError> {
        Ok(Answer { status, headers: HeaderMap::new(), body: Default::default() })
    }

    #[test]
    fn kinds_differ_and_those_that_are_refused_are_no_heartbeats() {
        let all = poisons("p-1", DateTime::from_timestamp(1_800_000_000, 0).unwrap());
        assert_eq!(all.iter().map(|poison| poison.kind).collect::<BTreeSet<_>>().len(), all.len());
        for poison in all.iter().filter(|poison| poison.wanted == Wanted::Refused && poison.header.is_none()) {
            assert!(!serde_json::from_slice::<serde_json::Value>(&poison.body).is_ok_and(|body| body.is_object()), "{}", poison.kind);
        }
        let readable =
            all.iter().filter(|poison| serde_json::from_slice::<serde_json::Value>(&poison.body).is_ok_and(|body| body.is_object()));
        assert!(readable.count() > 8, "the alias and the time stand where they belong");
    }

    #[test]
    fn a_failure_of_the_server_and_a_device_that_is_thrown_out_are_wrong() {
        let poison = |wanted| Poison { kind: "x", body: vec![b'x'], header: None, wanted };
        for (wanted, status, is_wrong) in [
            (Wanted::Refused, 400, false),
            (Wanted::Refused, 413, false),
            (Wanted::Refused, 200, true),
            (Wanted::RefusedOrTaken, 200, false),
            (Wanted::RefusedOrTaken, 422, false),
            (Wanted::RefusedOrTaken, 500, true),
            (Wanted::Refused, 503, true),
            (Wanted::Refused, 401, true),
            (Wanted::Refused, 403, true),
            (Wanted::Forbidden, 403, false),
            (Wanted::Forbidden, 200, true),
        ] {
            assert_eq!(wrong(&poison(wanted), &answered(status), false).is_some(), is_wrong, "{wanted:?} {status}");
        }
        assert!(wrong(&poison(Wanted::Refused), &Err(HttpError::Timeout), false).is_some());
        let large = Poison { body: vec![0; TOO_LARGE_BYTES], ..poison(Wanted::Refused) };
        let lost = || Err(HttpError::Lost("reset".into()));
        assert!(wrong(&large, &lost(), false).is_none());
        let small = poison(Wanted::Refused);
        assert!(wrong(&small, &lost(), false).is_some() && wrong(&small, &lost(), true).is_none());
    }
}
