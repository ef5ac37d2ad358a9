//! Alerts of one device: its rules are judged after each heartbeat and at deadlines, and what follows is recorded.
//!
//! ```text
//! unknown --what is open was read--> known --judged: changes--> recording --all of them recorded--> known
//!    ^                                                              |
//!    +------------------ it is not sure what is stored -------------+
//! ```

use std::sync::Arc;

use chrono::TimeDelta;
use domain::alert::{
    AlertKey, Circumstances, DeviceFacts, Facts, OpenRecord, RecordChange, ResolveCause, Rule, RuleSet, ScopedDevice, Streaks, Subject,
    SubjectJudgement, SubjectLabels, judge_subject,
};
use domain::device::LastStatus;
use domain::{AlertId, ServiceError, Timestamp};
use ractor::ActorRef;
use store::{AlertChange, ChangedAlert};

use super::{DeviceActorState, DeviceMsg};

/// Alerts of one device, as its owner remembers them.
#[derive(Default)]
pub(super) struct DeviceAlerts {
    streaks: Streaks,
    /// Open alerts, as far as they are known.
    open: Vec<OpenRecord>,
    /// Whether `open` is what is stored.
    known: bool,
    /// Changes on their way to the store.
    recording: u8,
    /// The earliest time at which the actor is woken for its alerts.
    watching: Option<Timestamp>,
}

/// Change of an alert of a device, recorded or not.
pub struct RecordedAlert {
    rule: Rule,
    id: AlertId,
    change: RecordChange,
    outcome: Result<ChangedAlert, ServiceError>,
}

impl DeviceActorState {
    /// Notes what a newer heartbeat than `before` says, for rules that take several.
    pub(super) fn count_streaks(&mut self, before: Option<&Arc<LastStatus>>) {
        let newer = self.device.last.as_ref().filter(|last| before.is_none_or(|before| !Arc::ptr_eq(before, last)));
        if let Some(last) = newer {
            self.alerts.streaks.observe(last, self.device.app_status(&self.context.policy));
        }
    }

    /// Counts a command that ended with a result of the device, if it did, and judges.
    pub(super) fn command_ended(&mut self, me: &ActorRef<DeviceMsg>, succeeded: Option<bool>) {
        if let Some(succeeded) = succeeded {
            self.alerts.streaks.command_ended(succeeded);
            self.judge_alerts(me);
        }
    }

    /// Takes the open alerts, as they were read from the store, and judges.
    pub(super) fn open_alerts_read(&mut self, me: &ActorRef<DeviceMsg>, open: Vec<OpenRecord>) {
        if self.alerts.recording > 0 {
            // It may have been read before that is stored. If the outcome is in doubt, it is read again.
            return;
        }
        (self.alerts.open, self.alerts.known) = (open, true);
        self.show_open_alerts();
        self.judge_alerts(me);
    }

    /// Judges the rules, unless it is not known what is open.
    pub(super) fn judge_alerts(&mut self, me: &ActorRef<DeviceMsg>) {
        if !self.alerts.known || self.alerts.recording > 0 {
            return;
        }
        if !self.acts() {
            // Its deadline may have passed meanwhile.
            return self.recheck_lease();
        }
        let now = self.context.clock.now();
        let SubjectJudgement { changes, next_deadline } = self.judgement(now);
        for (rule, change) in changes {
            self.record_alert(me, rule, change, now);
        }
        if let Some(deadline) = next_deadline.filter(|_| self.alerts.recording == 0) {
            self.watch_alerts(deadline, now);
        }
    }

    fn judgement(&self, now: Timestamp) -> SubjectJudgement {
        let identity = &self.device.identity;
        let rules = &self.context.rules;
        let version_code = self.device.last.as_deref().and_then(|last| last.telemetry.agent_version_code);
        let agent_offer = self.context.offers.newer(identity.id, version_code);
        let Some(facts) = DeviceFacts::of(&self.device, &self.context.policy, self.alerts.streaks, agent_offer) else {
            let gone = |record: &OpenRecord| (record.rule, RecordChange::Resolve(ResolveCause::SubjectGone));
            return SubjectJudgement { changes: self.alerts.open.iter().map(gone).collect(), next_deadline: None };
        };
        let scoped = ScopedDevice { id: identity.id, groups: &identity.groups, tags: &identity.tags };
        let at = Circumstances { now, judged_since: self.supervisor.judged_since(), settle: rules.settle() };
        judge_subject(&rules.snapshot(), Facts::Device(&facts), Some(&scoped), &self.alerts.open, at)
    }

    fn record_alert(&mut self, me: &ActorRef<DeviceMsg>, rule: Rule, change: RecordChange, now: Timestamp) {
        let identity = &self.device.identity;
        let open = self.alerts.open.iter().find(|record| record.rule == rule);
        let id = open.map_or_else(|| AlertId(self.context.clock.new_id()), |record| record.id);
        let recorded = AlertChange {
            lease: self.lease,
            id,
            key: AlertKey { rule, subject: Subject::Device(identity.id) },
            labels: SubjectLabels { name: identity.alias.clone(), groups: identity.groups.clone(), tags: identity.tags.clone() },
            change: change.clone(),
            at: now,
        };
        let recorder = me.clone();
        self.alerts.recording += 1;
        // A device that stopped in the meantime reads what is stored when it is started again.
        self.context.alerts.submit(
            recorded,
            Box::new(move |outcome| drop(recorder.cast(DeviceMsg::AlertRecorded(Box::new(RecordedAlert { rule, id, change, outcome }))))),
        );
    }

    /// Notes the outcome of a change, and judges again once all of them are known: more may have happened.
    pub(super) fn alert_recorded(&mut self, me: &ActorRef<DeviceMsg>, recorded: RecordedAlert) {
        let RecordedAlert { rule, id, change, outcome } = recorded;
        self.alerts.recording = self.alerts.recording.saturating_sub(1);
        match (outcome, change) {
            (Ok(ChangedAlert::Changed), RecordChange::Open { severity, .. }) => {
                self.alerts.open.push(OpenRecord { rule, id, severity });
            }
            (Ok(ChangedAlert::Changed), RecordChange::SetSeverity(severity)) => {
                self.alerts.open.iter_mut().filter(|record| record.id == id).for_each(|record| record.severity = severity);
            }
            (Ok(ChangedAlert::Changed), RecordChange::Resolve(_)) => self.alerts.open.retain(|record| record.id != id),
            // Somebody else recorded the same, or whether it is stored is not known; or another node owns the shard, and this actor is about to end.
            (Ok(ChangedAlert::Nothing | ChangedAlert::NotOwner) | Err(_), _) => self.alerts.known = false,
        }
        if self.alerts.recording > 0 {
            return;
        }
        if self.alerts.known {
            self.show_open_alerts();
            self.judge_alerts(me);
        } else {
            self.supervisor.read_open_alerts(self.device.identity.id);
        }
    }

    /// Has the actor woken for its alerts, unless it is woken by then anyway.
    fn watch_alerts(&mut self, deadline: Timestamp, now: Timestamp) {
        // One watch for liveness is out while the device is online, or was never seen and is no ghost.
        let by_liveness = self.device.deadline(&self.context.policy);
        let earlier = |at: Option<Timestamp>| at.is_some_and(|at| at > now && at <= deadline);
        if earlier(by_liveness) || earlier(self.alerts.watching) {
            return;
        }
        // A deadline that has passed already is one of a clock that was corrected: not at once again and again.
        let deadline = deadline.max(now + TimeDelta::milliseconds(100));
        self.alerts.watching = Some(deadline);
        self.watch_until(deadline);
    }

    /// Shows the open alerts on pages, if they have changed.
    fn show_open_alerts(&mut self) {
        let open: RuleSet = self.alerts.open.iter().map(|record| record.rule).collect();
        if self.device.open_alerts != open {
            self.device.open_alerts = open;
            self.publish_active();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_without_alerts_costs_little_memory() {
        assert!(size_of::<DeviceAlerts>() < 64, "{} bytes", size_of::<DeviceAlerts>());
    }
}
