//! Sinks as channels of a cluster, and short times for its alerts.

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Context, Result};
use hyper::Method;
use serde_json::json;

use crate::deployment_api::Api;
use crate::oracle::{AlertFacts, SilentSink};
use crate::sink::{AlertSinks, SinkMode};

/// Name of the generic webhook.
pub(crate) const WEBHOOK: &str = "sink-webhook";
/// Name of the stand-in for Discord.
pub(crate) const DISCORD: &str = "sink-discord";
/// Name of the mailbox.
pub(crate) const MAIL: &str = "sink-mail";
/// All sinks.
pub(crate) const SINKS: [&str; 3] = [WEBHOOK, DISCORD, MAIL];
/// Key of the generic webhook's signatures.
const SIGNING_KEY: &str = "a key for sinks of drills";
/// Heartbeat interval that the nodes expect, s.
const INTERVAL_S: u64 = 10;
/// Grace beyond the interval, s.
const GRACE_S: u64 = 10;

/// Times of alerts, as the nodes are configured.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AlertTimes {
    /// Silence after which a device is offline.
    pub(crate) offline_after: Duration,
    /// Wait for a group.
    pub(crate) group_wait: Duration,
    /// Pause between two messages of a kind about a rule.
    pub(crate) group_interval: Duration,
    /// Cooldown of a rule and subject.
    pub(crate) cooldown: Duration,
    /// How long an inhibition goes on.
    pub(crate) inhibition_tail: Duration,
}

impl AlertTimes {
    /// Times of drills: the waits are the default ones, silence counts after half a minute.
    pub(crate) fn drill() -> Self {
        Self {
            offline_after: Duration::from_secs(30),
            group_wait: Duration::from_secs(15),
            group_interval: Duration::from_secs(60),
            cooldown: Duration::from_secs(1_800),
            inhibition_tail: Duration::from_secs(15),
        }
    }

    /// Times of a soak: short enough for the same to be notified again and again.
    pub(crate) fn soak() -> Self {
        Self {
            group_wait: Duration::from_secs(3),
            group_interval: Duration::from_secs(10),
            cooldown: Duration::from_secs(60),
            ..Self::drill()
        }
    }

    /// Time after a start for which silence means nothing.
    pub(crate) fn settle(self) -> Duration {
        Duration::from_secs(INTERVAL_S + GRACE_S)
    }
}

/// Environment of nodes with these times.
pub(crate) fn alert_env(times: AlertTimes) -> Vec<(String, String)> {
    let seconds = |name: &str, value: Duration| (format!("NEXMDM__ALERTS__{name}_SECONDS"), value.as_secs().to_string());
    vec![
        seconds("OFFLINE_AFTER", times.offline_after),
        seconds("GROUP_WAIT", times.group_wait),
        seconds("GROUP_INTERVAL", times.group_interval),
        seconds("COOLDOWN", times.cooldown),
        seconds("INHIBITION_TAIL", times.inhibition_tail),
        seconds("GRACE", Duration::from_secs(GRACE_S)),
        ("NEXMDM__HEARTBEAT__INTERVAL_SECONDS".into(), INTERVAL_S.to_string()),
        // The sinks are on this machine.
        ("NEXMDM__ALERTS__ALLOW_PRIVATE_TARGETS".into(), "true".into()),
        // And fast: a mail that a node dies over is taken over soon.
        ("NEXMDM__NOTIFY__MAIL_TIMEOUT_MS".into(), "10000".into()),
    ]
}

/// Sinks that are channels of a cluster.
pub(crate) struct Sinks {
    /// The sinks.
    pub(crate) sinks: AlertSinks,
    silent: Vec<SilentSink>,
}

impl Sinks {
    /// Starts the sinks at an address that the nodes reach, and makes each a channel with a route for everything.
    pub(crate) async fn set_up(api: &Api, address: Ipv4Addr) -> Result<Self> {
        let sinks = AlertSinks::start_on(address).await.context("the sinks cannot listen")?;
        sinks.require_signature(WEBHOOK, SIGNING_KEY);
        let mail = sinks.mail_address();
        let channels = [
            json!({"name": WEBHOOK, "kind": "webhook", "url": sinks.webhook_url(WEBHOOK), "secret": SIGNING_KEY}),
            json!({"name": DISCORD, "kind": "discord", "url": sinks.discord_url(DISCORD)}),
            json!({"name": MAIL, "kind": "email", "to": format!("{MAIL}@example.org"), "from": "alerts@example.org",
                   "host": mail.ip().to_string(), "port": mail.port().to_string(), "tls": "none"}),
        ];
        for channel in &channels {
            let made = api.json(Method::POST, "/v1/alert-channels", Some(channel), &[200, 201]).await?;
            let route = json!({"channel_id": made["id"].as_str().context("a channel without id")?, "min_severity": "info"});
            api.json(Method::POST, "/v1/alert-routes", Some(&route), &[200, 201]).await?;
        }
        Ok(Self { sinks, silent: Vec::new() })
    }

    /// Sets the mode of a sink for good.
    pub(crate) fn set_mode(&mut self, sink: &str, mode: SinkMode) {
        if mode == SinkMode::Accept {
            self.silent.push(SilentSink { sink: sink.to_owned(), until_us: crate::clock::now().timestamp_micros() });
        }
        self.sinks.set_mode(sink, mode, None);
    }

    /// What the oracle needs to know.
    pub(crate) fn facts(&self, times: AlertTimes) -> AlertFacts {
        let us = |time: Duration| i64::try_from(time.as_micros()).unwrap_or(i64::MAX);
        AlertFacts {
            sinks: SINKS.map(str::to_owned).into(),
            arrivals: self.sinks.arrivals(),
            silent_sinks: self.silent.clone(),
            cooldown_us: us(times.cooldown),
            ..AlertFacts::default()
        }
    }
}
