//! Command results of a device that the server has not acknowledged yet.

use std::collections::VecDeque;

use tokio::time::Instant;
use wire::command::ActionResult;

use crate::agent_command::DeviceKey;

/// Outcome of the first result of a command, reported on receipt.
pub(super) const RECEIVED: &str = "received";

/// A result that is queued or in flight.
#[derive(Debug, Clone)]
pub(super) struct PendingResult {
    /// Id of the result and of its frame.
    pub(super) id: u64,
    pub(super) result: ActionResult,
    /// Earliest time of sending.
    pub(super) not_before: Instant,
    /// When it was sent, while its acknowledgement is outstanding.
    pub(super) in_flight_since: Option<Instant>,
    /// Whether the connection is to be lost before the acknowledgement is read.
    pub(super) lose: bool,
    /// Key that replaces all others once the result is acknowledged.
    pub(super) rotates_to: Option<DeviceKey>,
}

impl PendingResult {
    /// Whether it is the final result of its command.
    pub(super) fn is_final(&self) -> bool {
        self.result.outcome != RECEIVED
    }
}

/// Results in order of creation, at most [`Self::LIMIT`].
#[derive(Debug, Default)]
pub(super) struct ResultQueue {
    entries: VecDeque<PendingResult>,
}

impl ResultQueue {
    /// Most results of one device; further commands are not taken until some are acknowledged.
    pub(super) const LIMIT: usize = 256;
    /// Results in flight at the same time.
    const WINDOW: usize = 8;

    pub(super) fn push(&mut self, pending: PendingResult) {
        self.entries.push_back(pending);
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether a result can be sent at `at`.
    pub(super) fn ready(&self, at: Instant) -> bool {
        self.in_flight() < Self::WINDOW && self.entries.iter().any(|pending| pending.is_ready(at))
    }

    /// When the next result can be sent; `None` while the window is full.
    pub(super) fn next_wakeup(&self) -> Option<Instant> {
        if self.in_flight() >= Self::WINDOW {
            return None;
        }
        self.entries.iter().filter(|pending| pending.in_flight_since.is_none()).map(|pending| pending.not_before).min()
    }

    /// The oldest result that can be sent, marked as in flight; `None` while the window is full.
    pub(super) fn next_to_send(&mut self, at: Instant) -> Option<&PendingResult> {
        if self.in_flight() >= Self::WINDOW {
            return None;
        }
        let pending = self.entries.iter_mut().find(|pending| pending.is_ready(at))?;
        pending.in_flight_since = Some(at);
        Some(pending)
    }

    /// Returns one result, or with `None` all results of a lost socket, to the queue.
    pub(super) fn requeue(&mut self, id: Option<u64>) {
        for pending in self.entries.iter_mut().filter(|pending| id.is_none_or(|id| pending.id == id)) {
            pending.in_flight_since = None;
        }
    }

    /// Requeues a result whose acknowledgement was lost on purpose.
    pub(super) fn requeue_later(&mut self, id: u64, again_at: Instant) {
        if let Some(pending) = self.entries.iter_mut().find(|pending| pending.id == id) {
            (pending.lose, pending.in_flight_since, pending.not_before) = (false, None, again_at);
        }
    }

    /// Removes a result; a final one also removes earlier queued results of its command.
    pub(super) fn take(&mut self, id: u64) -> Option<PendingResult> {
        let index = self.entries.iter().position(|pending| pending.id == id)?;
        let pending = self.entries.remove(index)?;
        if pending.is_final() {
            self.entries.retain(|other| other.in_flight_since.is_some() || other.result.request_id != pending.result.request_id);
        }
        Some(pending)
    }

    pub(super) fn get(&self, id: u64) -> Option<&PendingResult> {
        self.entries.iter().find(|pending| pending.id == id)
    }

    /// Number of results in flight.
    pub(super) fn in_flight(&self) -> usize {
        self.entries.iter().filter(|pending| pending.in_flight_since.is_some()).count()
    }

    /// When the oldest result in flight was sent.
    pub(super) fn in_flight_since(&self) -> Option<Instant> {
        self.entries.iter().filter_map(|pending| pending.in_flight_since).min()
    }
}

impl PendingResult {
    fn is_ready(&self, at: Instant) -> bool {
        self.in_flight_since.is_none() && self.not_before <= at
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn pending(id: u64, request_id: &str, outcome: &str, not_before: Instant) -> PendingResult {
        let result = ActionResult { request_id: request_id.into(), outcome: outcome.into(), ..ActionResult::default() };
        PendingResult { id, result, not_before, in_flight_since: None, lose: false, rotates_to: None }
    }

    #[test]
    fn an_answer_waits_for_its_time_and_comes_back_from_a_lost_socket() {
        let (now, later) = (Instant::now(), Instant::now() + Duration::from_secs(9));
        let mut results = ResultQueue::default();
        results.push(pending(1, "r1", RECEIVED, now));
        results.push(pending(2, "r1", "success", later));
        assert_eq!(results.next_to_send(now).unwrap().id, 1);
        assert!(!results.ready(now) && results.ready(later));
        assert_eq!((results.in_flight(), results.next_wakeup()), (1, Some(later)));
        results.requeue(None);
        assert_eq!((results.next_to_send(later).unwrap().id, results.next_to_send(later).unwrap().id), (1, 2));
        results.requeue_later(2, later + Duration::from_secs(1));
        assert!(!results.ready(later));
        results.requeue(Some(1));
        assert!(results.take(2).unwrap().is_final());
        assert_eq!(results.len(), 0, "nobody has to hear `received` after the outcome");
    }
}
