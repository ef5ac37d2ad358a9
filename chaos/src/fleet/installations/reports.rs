//! Deployment reports of a device that the server has neither acknowledged nor refused.

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

/// Reply of the server to a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::fleet) enum ReportReply {
    /// The report is stored.
    Acknowledged,
    /// Refused for good, with this HTTP status.
    Refused(u16),
}

/// A report that is queued or in flight.
#[derive(Debug)]
pub(in crate::fleet) struct Outgoing {
    /// Id of the report and of its frame.
    pub(super) id: u64,
    pub(super) deployment_id: String,
    pub(super) report: Report,
    /// When it was sent, while the reply is outstanding.
    pub(super) in_flight_since: Option<Instant>,
    /// Receives the reply.
    pub(super) reply: oneshot::Sender<ReportReply>,
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

/// Queue of reports in order of creation. Each installation has one at a time, which bounds its length.
#[derive(Debug, Default)]
pub(in crate::fleet) struct Reports(VecDeque<Outgoing>);

impl Reports {
    pub(super) fn push(&mut self, outgoing: Outgoing) {
        self.0.push_back(outgoing);
    }

    /// Whether a report is queued.
    pub(in crate::fleet) fn ready(&self) -> bool {
        self.0.iter().any(|outgoing| outgoing.in_flight_since.is_none())
    }

    /// The oldest queued report, marked as in flight.
    pub(in crate::fleet) fn next_to_send(&mut self, at: Instant) -> Option<&Outgoing> {
        let outgoing = self.0.iter_mut().find(|outgoing| outgoing.in_flight_since.is_none())?;
        outgoing.in_flight_since = Some(at);
        Some(outgoing)
    }

    /// Returns one report, or with `None` all reports of a lost socket, to the queue.
    pub(in crate::fleet) fn requeue(&mut self, id: Option<u64>) {
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

    /// Number of reports in flight.
    pub(in crate::fleet) fn in_flight(&self) -> usize {
        self.0.iter().filter(|outgoing| outgoing.in_flight_since.is_some()).count()
    }

    /// When the oldest report in flight was sent.
    pub(in crate::fleet) fn in_flight_since(&self) -> Option<Instant> {
        self.0.iter().filter_map(|outgoing| outgoing.in_flight_since).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_has_the_reports_fields_beside_its_own() {
        let (reply, _answer) = oneshot::channel();
        let report = Report { status: "failed", error: Some("install_failed"), attempt: Some(2), ..Report::default() };
        let outgoing = Outgoing { id: 7, deployment_id: "d".into(), report, in_flight_since: None, reply };
        assert_eq!(
            serde_json::to_string(&outgoing.frame()).unwrap(),
            r#"{"type":"deployment_status","id":7,"deployment_id":"d","status":"failed","error":"install_failed","attempt":2}"#
        );
        assert_eq!(outgoing.path("x"), "/v1/agent/deployments/d/devices/x/status");
    }

    #[test]
    fn a_report_comes_back_from_a_lost_socket() {
        let (reply, _answer) = oneshot::channel();
        let mut reports = Reports::default();
        reports.push(Outgoing { id: 1, deployment_id: "d".into(), report: Report::default(), in_flight_since: None, reply });
        let now = Instant::now();
        assert_eq!(reports.next_to_send(now).unwrap().id(), 1);
        assert!(reports.next_to_send(now).is_none() && !reports.ready() && reports.in_flight_since() == Some(now));
        reports.requeue(None);
        assert!(reports.ready() && reports.in_flight() == 0);
        assert!(reports.take(1).is_some() && reports.take(1).is_none());
    }
}
