//! What a device has to say about commands, until the server has acknowledged it.

use std::collections::VecDeque;

use tokio::time::Instant;
use wire::command::ActionResult;

use crate::agent_command::DeviceKey;

/// Said before the outcome.
pub(super) const RECEIVED: &str = "received";

/// One answer.
#[derive(Debug, Clone)]
pub(super) struct Answer {
    /// Also the id of its frame.
    pub(super) id: u64,
    pub(super) result: ActionResult,
    /// When it may be sent.
    pub(super) not_before: Instant,
    /// When it went out on the socket that still owes the acknowledgement.
    pub(super) in_flight_since: Option<Instant>,
    /// The connection is to be lost before the acknowledgement is read.
    pub(super) lose: bool,
    /// The key that alone holds once this is acknowledged.
    pub(super) rotates_to: Option<DeviceKey>,
}

impl Answer {
    /// Whether it is the last word about its command.
    pub(super) fn is_final(&self) -> bool {
        self.result.outcome != RECEIVED
    }
}

/// Answers in the order they were made, never more than the limit.
#[derive(Debug, Default)]
pub(super) struct Answers {
    open: VecDeque<Answer>,
}

impl Answers {
    /// Answers of one device: commands beyond are left for later.
    pub(super) const LIMIT: usize = 256;
    /// Answers on a socket at the same time.
    const WINDOW: usize = 8;

    pub(super) fn push(&mut self, answer: Answer) {
        self.open.push_back(answer);
    }

    pub(super) fn len(&self) -> usize {
        self.open.len()
    }

    /// Whether one can be sent at `at`.
    pub(super) fn ready(&self, at: Instant) -> bool {
        self.in_flight() < Self::WINDOW && self.open.iter().any(|answer| answer.may_go(at))
    }

    /// When the next one can be sent; `None` while the window is full.
    pub(super) fn wakes_at(&self) -> Option<Instant> {
        if self.in_flight() >= Self::WINDOW {
            return None;
        }
        self.open.iter().filter(|answer| answer.in_flight_since.is_none()).map(|answer| answer.not_before).min()
    }

    /// The oldest that may go, now marked as being on its way, unless the window is full.
    pub(super) fn launch(&mut self, at: Instant) -> Option<&Answer> {
        if self.in_flight() >= Self::WINDOW {
            return None;
        }
        let answer = self.open.iter_mut().find(|answer| answer.may_go(at))?;
        answer.in_flight_since = Some(at);
        Some(answer)
    }

    /// Back to waiting: one, or with `None` all that were on the lost socket.
    pub(super) fn land(&mut self, id: Option<u64>) {
        for answer in self.open.iter_mut().filter(|answer| id.is_none_or(|id| answer.id == id)) {
            answer.in_flight_since = None;
        }
    }

    /// Its acknowledgement is lost, this once: it goes out again later.
    pub(super) fn lose(&mut self, id: u64, again_at: Instant) {
        if let Some(answer) = self.open.iter_mut().find(|answer| answer.id == id) {
            (answer.lose, answer.in_flight_since, answer.not_before) = (false, None, again_at);
        }
    }

    /// Takes one out for good, and with a last word whatever else waits about the same command.
    pub(super) fn take(&mut self, id: u64) -> Option<Answer> {
        let place = self.open.iter().position(|answer| answer.id == id)?;
        let answer = self.open.remove(place)?;
        if answer.is_final() {
            self.open.retain(|other| other.in_flight_since.is_some() || other.result.request_id != answer.result.request_id);
        }
        Some(answer)
    }

    pub(super) fn get(&self, id: u64) -> Option<&Answer> {
        self.open.iter().find(|answer| answer.id == id)
    }

    /// How many are on a socket.
    pub(super) fn in_flight(&self) -> usize {
        self.open.iter().filter(|answer| answer.in_flight_since.is_some()).count()
    }

    /// Since when the longest has been on the socket.
    pub(super) fn in_flight_since(&self) -> Option<Instant> {
        self.open.iter().filter_map(|answer| answer.in_flight_since).min()
    }
}

impl Answer {
    fn may_go(&self, at: Instant) -> bool {
        self.in_flight_since.is_none() && self.not_before <= at
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn answer(id: u64, request_id: &str, outcome: &str, not_before: Instant) -> Answer {
        let result = ActionResult { request_id: request_id.into(), outcome: outcome.into(), ..ActionResult::default() };
        Answer { id, result, not_before, in_flight_since: None, lose: false, rotates_to: None }
    }

    #[test]
    fn an_answer_waits_for_its_time_and_comes_back_from_a_lost_socket() {
        let (now, later) = (Instant::now(), Instant::now() + Duration::from_secs(9));
        let mut answers = Answers::default();
        answers.push(answer(1, "r1", RECEIVED, now));
        answers.push(answer(2, "r1", "success", later));
        assert_eq!(answers.launch(now).unwrap().id, 1);
        assert!(!answers.ready(now) && answers.ready(later));
        assert_eq!((answers.in_flight(), answers.wakes_at()), (1, Some(later)));
        answers.land(None);
        assert_eq!((answers.launch(later).unwrap().id, answers.launch(later).unwrap().id), (1, 2));
        answers.lose(2, later + Duration::from_secs(1));
        assert!(!answers.ready(later));
        answers.land(Some(1));
        assert!(answers.take(2).unwrap().is_final());
        assert_eq!(answers.len(), 0, "nobody has to hear `received` after the outcome");
    }
}
