//! What a device has to say about deployments, until the server has acknowledged or refused it.

use std::collections::VecDeque;

use serde::Serialize;
use tokio::sync::oneshot;
use tokio::time::Instant;

/// Body of the status call; the frame of the socket has the same fields.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(in crate::fleet) struct Report {
    pub(super) status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) error: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) message: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) installed_version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) attempt: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) progress_pct: Option<u8>,
}

/// The frame of a report.
#[derive(Serialize)]
pub(in crate::fleet) struct ReportFrame<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    id: u64,
    deployment_id: &'a str,
    #[serde(flatten)]
    report: &'a Report,
}

/// What the server says to a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::fleet) enum Said {
    /// It is on record.
    Acknowledged,
    /// Never, with this status.
    Refused(u16),
}

/// One report on its way.
#[derive(Debug)]
pub(in crate::fleet) struct Outgoing {
    /// Also the id of its frame.
    pub(super) id: u64,
    pub(super) deployment_id: String,
    pub(super) report: Report,
    /// When it went out, while the answer is owed.
    pub(super) in_flight_since: Option<Instant>,
    /// Whoever waits for the answer.
    pub(super) tell: oneshot::Sender<Said>,
}

impl Outgoing {
    pub(in crate::fleet) fn id(&self) -> u64 {
        self.id
    }

    pub(in crate::fleet) fn path(&self, device_id: &str) -> String {
        format!("/v1/agent/deployments/{}/devices/{device_id}/status", self.deployment_id)
    }

    pub(in crate::fleet) fn report(&self) -> &Report {
        &self.report
    }

    pub(in crate::fleet) fn frame(&self) -> ReportFrame<'_> {
        ReportFrame { kind: "deployment_status", id: self.id, deployment_id: &self.deployment_id, report: &self.report }
    }
}

/// Reports in the order they were made. Each installation has one at a time, so there are never more than
/// installations.
#[derive(Debug, Default)]
pub(in crate::fleet) struct Reports(VecDeque<Outgoing>);

impl Reports {
    pub(super) fn push(&mut self, outgoing: Outgoing) {
        self.0.push_back(outgoing);
    }

    /// Whether one waits to be sent.
    pub(in crate::fleet) fn ready(&self) -> bool {
        self.0.iter().any(|outgoing| outgoing.in_flight_since.is_none())
    }

    /// The oldest that waits, now marked as being on its way.
    pub(in crate::fleet) fn launch(&mut self, at: Instant) -> Option<&Outgoing> {
        let outgoing = self.0.iter_mut().find(|outgoing| outgoing.in_flight_since.is_none())?;
        outgoing.in_flight_since = Some(at);
        Some(outgoing)
    }

    /// Back to waiting: one, or with `None` all that were on the lost socket.
    pub(in crate::fleet) fn land(&mut self, id: Option<u64>) {
        for outgoing in self.0.iter_mut().filter(|outgoing| id.is_none_or(|id| outgoing.id == id)) {
            outgoing.in_flight_since = None;
        }
    }

    pub(super) fn get(&self, id: u64) -> Option<&Outgoing> {
        self.0.iter().find(|outgoing| outgoing.id == id)
    }

    pub(super) fn take(&mut self, id: u64) -> Option<Outgoing> {
        let place = self.0.iter().position(|outgoing| outgoing.id == id)?;
        self.0.remove(place)
    }

    /// How many are on their way.
    pub(in crate::fleet) fn in_flight(&self) -> usize {
        self.0.iter().filter(|outgoing| outgoing.in_flight_since.is_some()).count()
    }

    /// Since when the longest has been on its way.
    pub(in crate::fleet) fn in_flight_since(&self) -> Option<Instant> {
        self.0.iter().filter_map(|outgoing| outgoing.in_flight_since).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_has_the_reports_fields_beside_its_own() {
        let (tell, _told) = oneshot::channel();
        let report = Report { status: "failed", error: Some("install_failed"), attempt: Some(2), ..Report::default() };
        let outgoing = Outgoing { id: 7, deployment_id: "d".into(), report, in_flight_since: None, tell };
        assert_eq!(
            serde_json::to_string(&outgoing.frame()).unwrap(),
            r#"{"type":"deployment_status","id":7,"deployment_id":"d","status":"failed","error":"install_failed","attempt":2}"#
        );
        assert_eq!(outgoing.path("x"), "/v1/agent/deployments/d/devices/x/status");
    }

    #[test]
    fn a_report_comes_back_from_a_lost_socket() {
        let (tell, _told) = oneshot::channel();
        let mut reports = Reports::default();
        reports.push(Outgoing { id: 1, deployment_id: "d".into(), report: Report::default(), in_flight_since: None, tell });
        let now = Instant::now();
        assert_eq!(reports.launch(now).unwrap().id(), 1);
        assert!(reports.launch(now).is_none() && !reports.ready() && reports.in_flight_since() == Some(now));
        reports.land(None);
        assert!(reports.ready() && reports.in_flight() == 0);
        assert!(reports.take(1).is_some() && reports.take(1).is_none());
    }
}
