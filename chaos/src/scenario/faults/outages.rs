//! Outages of what nodes call: FCM, and the receivers of notifications.

use std::fmt;

use anyhow::{Context, Result};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Fault, Healing, InForce, OutOfLimits, Scene};
use crate::alerts::{MAIL, SINKS};
use crate::fcm::{Fault as FcmFault, FaultScope};
use crate::sink::SinkMode;

/// How a service fails.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, strum::IntoStaticStr)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum OutageKind {
    /// It answers that it is not available
    #[default]
    Unavailable,
    /// It takes requests and answers nothing
    Hang,
    /// It ends connections
    Reset,
}

impl OutageKind {
    fn name(self) -> &'static str {
        self.into()
    }
}

/// Outage of FCM: neither messages nor access tokens.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct FcmOutage {
    /// How it fails
    pub answer: OutageKind,
}

impl fmt::Display for FcmOutage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FCM fails: {}", self.answer.name())
    }
}

impl Fault for FcmOutage {
    fn check(&self) -> Result<(), OutOfLimits> {
        Ok(())
    }

    fn begin<'a>(&'a self, scene: &'a mut Scene<'_>) -> BoxFuture<'a, Result<InForce>> {
        async move {
            let fcm = scene.fcm.context("the scenario has no FCM")?;
            let fault = match self.answer {
                OutageKind::Unavailable => FcmFault::Unavailable { retry_after: None },
                OutageKind::Hang => FcmFault::Hang,
                OutageKind::Reset => FcmFault::Reset,
            };
            for scope in [FaultScope::Everybody, FaultScope::TokenEndpoint] {
                fcm.fail(scope, fault.clone(), None);
            }
            fcm.expire_access_tokens();
            Ok(InForce::until(FcmAway))
        }
        .boxed()
    }
}

struct FcmAway;

impl Healing for FcmAway {
    fn heal<'a>(self: Box<Self>, scene: &'a mut Scene<'_>) -> BoxFuture<'a, Result<()>> {
        async move {
            scene.fcm.context("the scenario has no FCM")?.heal();
            Ok(())
        }
        .boxed()
    }
}

/// Outage of the mail server and of webhooks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct NotificationOutage {
    /// Channels whose receivers fail: sink-webhook, sink-discord, sink-mail
    pub sinks: Vec<String>,
    /// How they fail
    pub answer: OutageKind,
}

impl Default for NotificationOutage {
    fn default() -> Self {
        Self { sinks: SINKS.map(str::to_owned).into(), answer: OutageKind::default() }
    }
}

impl fmt::Display for NotificationOutage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} fail: {}", self.sinks.join(", "), self.answer.name())
    }
}

impl Fault for NotificationOutage {
    fn check(&self) -> Result<(), OutOfLimits> {
        let unknown = self.sinks.iter().find(|sink| !SINKS.contains(&sink.as_str()));
        match unknown {
            Some(unknown) => Err(OutOfLimits { key: "sinks", problem: format!("`{unknown}` is none of {}", SINKS.join(", ")) }),
            None if self.sinks.is_empty() => Err(OutOfLimits { key: "sinks", problem: "names no channel".into() }),
            None => Ok(()),
        }
    }

    fn begin<'a>(&'a self, scene: &'a mut Scene<'_>) -> BoxFuture<'a, Result<InForce>> {
        async move {
            let sinks = scene.sinks.as_deref_mut().context("the scenario has no alerts, and so no channels")?;
            self.sinks.iter().for_each(|sink| sinks.set_mode(sink, mode_of(sink, self.answer)));
            Ok(InForce::until(SinksAway { sinks: self.sinks.clone() }))
        }
        .boxed()
    }
}

fn mode_of(sink: &str, answer: OutageKind) -> SinkMode {
    match answer {
        // A mail that is refused with a status is refused for good, which no retry mends.
        OutageKind::Unavailable if sink == MAIL => SinkMode::TooMany { retry_after_ms: 0 },
        OutageKind::Unavailable => SinkMode::Status { status: 503 },
        OutageKind::Hang => SinkMode::Hang,
        OutageKind::Reset => SinkMode::Reset,
    }
}

struct SinksAway {
    sinks: Vec<String>,
}

impl Healing for SinksAway {
    fn heal<'a>(self: Box<Self>, scene: &'a mut Scene<'_>) -> BoxFuture<'a, Result<()>> {
        async move {
            let sinks = scene.sinks.as_deref_mut().context("the scenario has no alerts, and so no channels")?;
            self.sinks.iter().for_each(|sink| sinks.set_mode(sink, SinkMode::Accept));
            Ok(())
        }
        .boxed()
    }
}
