//! Open alerts, put together by the group, tag or subject that they are about.

use domain::ServiceError;
use domain::access::{Permission, Principal};
use domain::alert::{AlertGrouping, AlertState, Rule, Severity, Subject};
use domain::name::CanonicalName;
use store::AlertGroup;

use super::AlertService;

/// Most groups that are shown.
pub const ALERT_GROUPS_MAX: usize = 200;

/// Open alerts that have something in common.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlertsTogether {
    /// What it is.
    pub what: Together,
    /// The greatest severity.
    pub severity: Severity,
    /// Number of alerts.
    pub alerts: u64,
}

/// What alerts have in common.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Together {
    /// A group or tag of devices; `None`: those without one.
    Label(Option<String>),
    /// A subject, with its name.
    Subject(Subject, String),
}

impl AlertService {
    /// Open alerts put together, at most [`ALERT_GROUPS_MAX`], the most severe first. An alert of a device in several groups is part of each.
    ///
    /// # Errors
    /// Forbidden.
    pub async fn together(
        &self,
        principal: &Principal,
        by: AlertGrouping,
        state: AlertState,
        min_severity: Severity,
        rule: Option<Rule>,
    ) -> Result<Vec<AlertsTogether>, ServiceError> {
        principal.require(Permission::ViewAlerts)?;
        let _permit = self.tables.read(principal).await?;
        let rows = self.store.open_alert_groups(by, state, min_severity, rule, ALERT_GROUPS_MAX as i64).await?;
        Ok(merged(rows))
    }
}

/// Groups and tags that are the same name, however it is written, are one; what is of a later build is left out.
fn merged(rows: Vec<AlertGroup>) -> Vec<AlertsTogether> {
    let mut all: Vec<(Option<CanonicalName>, AlertsTogether)> = Vec::with_capacity(rows.len());
    for AlertGroup { subject_kind, key, name, severity, alerts } in rows {
        let Some(kind) = subject_kind else {
            let canonical = key.as_deref().map(CanonicalName::of);
            match all.iter_mut().find(|(known, _)| *known == canonical) {
                Some((_, one)) => (one.severity, one.alerts) = (one.severity.max(severity), one.alerts + alerts),
                None => all.push((canonical, AlertsTogether { what: Together::Label(key), severity, alerts })),
            }
            continue;
        };
        if let Some(subject) = key.and_then(|id| Subject::parse(&kind, &id)) {
            all.push((None, AlertsTogether { what: Together::Subject(subject, name), severity, alerts }));
        }
    }
    let mut all: Vec<_> = all.into_iter().map(|(_, one)| one).collect();
    all.sort_by(|a, b| b.severity.cmp(&a.severity).then(b.alerts.cmp(&a.alerts)));
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_one_however_it_is_written() {
        let row = |kind: Option<&str>, key: Option<&str>, severity, alerts| AlertGroup {
            subject_kind: kind.map(str::to_owned),
            key: key.map(str::to_owned),
            name: "a".into(),
            severity,
            alerts,
        };
        let rows = vec![
            row(None, Some("north"), Severity::Critical, 2),
            row(None, None, Severity::Warning, 50),
            row(None, Some("North"), Severity::Warning, 3),
        ];
        let told: Vec<_> = merged(rows).into_iter().map(|one| (one.what, one.severity, one.alerts)).collect();
        assert_eq!(told, [(Together::Label(Some("north".into())), Severity::Critical, 5), (Together::Label(None), Severity::Warning, 50)]);
        let rows = vec![
            row(Some("node"), Some("a"), Severity::Info, 1),
            row(Some("planet"), Some("b"), Severity::Info, 1),
            row(Some("device"), Some("no id"), Severity::Info, 1),
        ];
        let told: Vec<_> = merged(rows).into_iter().map(|one| one.what).collect();
        assert_eq!(told, [Together::Subject(Subject::Node("a".into()), "a".into())]);
    }
}
