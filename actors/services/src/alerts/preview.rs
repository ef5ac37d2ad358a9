//! What a setting of a rule would mean for the fleet right now, before it is stored.

use std::collections::HashSet;
use std::sync::Arc;

use chrono::{DateTime, TimeDelta};
use domain::access::{Permission, Principal};
use domain::alert::{DeviceFacts, Facts, Judging, Rule, RuleSetting, ScopedDevice, Streaks, SubjectKind, Verdict, evaluate, resolve};
use domain::device::{AppStatus, DeviceView};
use domain::{DeviceId, Invalid, ServiceError, Timestamp};

use super::AlertService;
use super::rules::RuleRequest;

/// Most devices that a preview names.
pub const PREVIEWED_MAX: usize = 50;
/// Open alerts of the rule that a preview knows of; conditions of others are judged as if none were open.
const OPEN_MAX: i64 = 100_000;

/// A device of which the rule would fire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PreviewedDevice {
    /// Id.
    pub id: DeviceId,
    /// Alias.
    pub alias: String,
    /// Reason in words and numbers.
    pub reason: String,
}

/// What a setting would mean right now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RulePreview {
    /// Devices of which the rule would fire.
    pub firing: u64,
    /// Devices of which it fires now.
    pub firing_now: u64,
    /// Devices whose last heartbeat does not settle it.
    pub unknown: u64,
    /// Devices that the rule is on for.
    pub judged: u64,
    /// The first of those of which it would fire, by alias.
    pub devices: Vec<PreviewedDevice>,
}

/// Verdict about a device as its last heartbeat has it: what takes several heartbeats is taken to have lasted.
fn verdict(rule: Rule, device: &DeviceView, settings: &[RuleSetting], firing: bool, now: Timestamp) -> Option<Verdict> {
    let identity = &device.identity;
    let scoped = ScopedDevice { id: identity.id, groups: &identity.groups, tags: &identity.tags };
    let resolved = resolve(rule, settings, Some(&scoped));
    if !resolved.enabled {
        return None;
    }
    let app_down = if device.app_status == AppStatus::Down { u8::MAX } else { 0 };
    let facts = DeviceFacts {
        enrolled_at: identity.enrolled_at,
        last_seen_at: device.last_seen_at,
        last: device.last.as_deref(),
        app_status: device.app_status,
        streaks: Streaks { app_down, battery: device.battery_pct().and_then(|pct| pct.try_into().ok()), ..Streaks::default() },
        in_conflict: device.conflict_at.is_some(),
        agent_offer: None,
    };
    let at = Judging { now, judged_since: DateTime::UNIX_EPOCH, settle: TimeDelta::zero(), firing, thresholds: &resolved.thresholds };
    Some(evaluate(rule, Facts::Device(&facts), &at).verdict)
}

impl AlertService {
    /// What a setting would mean for the devices of the fleet right now.
    ///
    /// # Errors
    /// Forbidden, the rule is about no devices, or as [`Self::set_rule`].
    pub async fn preview(&self, principal: &Principal, rule: Rule, request: RuleRequest) -> Result<RulePreview, ServiceError> {
        principal.require(Permission::ViewAlerts)?;
        about_devices(rule)?;
        let (_, settings) = self.planned(rule, request).await?;
        self.previewed(principal, rule, settings).await
    }

    /// Devices of which the rule fires right now by what is set.
    ///
    /// # Errors
    /// Forbidden, or the rule is about no devices.
    pub async fn concerned(&self, principal: &Principal, rule: Rule) -> Result<RulePreview, ServiceError> {
        principal.require(Permission::ViewAlerts)?;
        about_devices(rule)?;
        let settings = self.settings().await?;
        self.previewed(principal, rule, settings).await
    }

    async fn previewed(&self, principal: &Principal, rule: Rule, settings: Vec<RuleSetting>) -> Result<RulePreview, ServiceError> {
        let _permit = self.tables.read(principal).await?;
        let before = self.settings().await?;
        let open: HashSet<DeviceId> = self.store.devices_alerted(rule, OPEN_MAX).await?.into_iter().collect();
        let (view, now) = (Arc::clone(&self.fleet), self.clock.now());
        // A fleet takes long enough to hold others up.
        let judged = tokio::task::spawn_blocking(move || {
            let (mut preview, mut devices) = (RulePreview::default(), Vec::new());
            let fires = |verdict: &Option<Verdict>, open: bool| match verdict {
                Some(Verdict::Firing { .. }) => true,
                Some(Verdict::Unknown) => open,
                Some(Verdict::Ok) | None => false,
            };
            view.visit(|device| {
                let is_open = open.contains(&device.identity.id);
                preview.firing_now += u64::from(fires(&verdict(rule, device, &before, is_open, now), is_open));
                let after = verdict(rule, device, &settings, is_open, now);
                preview.judged += u64::from(after.is_some());
                preview.unknown += u64::from(after == Some(Verdict::Unknown) && !is_open);
                if fires(&after, is_open) {
                    preview.firing += 1;
                    let reason = match after {
                        Some(Verdict::Firing { reason }) => reason,
                        _ => "open, and not yet cleared".to_owned(),
                    };
                    devices.push(PreviewedDevice { id: device.identity.id, alias: device.identity.alias.clone(), reason });
                }
            });
            devices.sort_unstable_by(|a, b| a.alias.cmp(&b.alias).then(a.id.cmp(&b.id)));
            devices.truncate(PREVIEWED_MAX);
            RulePreview { devices, ..preview }
        });
        judged.await.map_err(|_| ServiceError::Internal)
    }
}

fn about_devices(rule: Rule) -> Result<(), Invalid> {
    match rule.spec().subject {
        SubjectKind::Device => Ok(()),
        SubjectKind::Deployment | SubjectKind::Node | SubjectKind::System => {
            Err(Invalid::new("rule", format!("{} is about no devices: see its open alerts instead", rule.as_str())))
        }
    }
}
