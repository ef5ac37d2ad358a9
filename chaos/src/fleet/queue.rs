//! Heartbeats of a device that the server has not acknowledged yet.

use std::collections::VecDeque;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use tokio::time::Instant;

/// Origin of a heartbeat, which decides whether its latency is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// First transmission, at its intended time.
    Fresh,
    /// Created while the simulated network was down, and therefore late.
    Held,
    /// Repeat of an acknowledged heartbeat.
    Repeat,
}

/// A queued heartbeat.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    /// Id of the heartbeat and of its frame, counted from 1 on each device.
    pub(super) id: u64,
    pub(super) kind: Kind,
    /// Intended time of sending.
    pub(super) intended: Instant,
    /// Device clock at that time.
    pub(super) device_time: DateTime<Utc>,
    /// JSON object.
    pub(super) body: Box<str>,
    /// When it was sent, while its acknowledgement is outstanding.
    pub(super) in_flight_since: Option<Instant>,
}

/// Heartbeats in order of creation, up to a limit.
#[derive(Debug)]
pub(super) struct Queue {
    entries: VecDeque<Entry>,
    limit: usize,
}

/// Body of one request.
#[derive(Debug)]
pub(super) struct Batch {
    /// Ids of the entries, in the order of the list.
    pub(super) ids: Vec<u64>,
    /// A JSON object if there is one, a list of them otherwise.
    pub(super) body: Bytes,
}

impl Queue {
    pub(super) fn new(limit: usize) -> Self {
        Self { entries: VecDeque::new(), limit: limit.max(1) }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Adds a heartbeat; returns the oldest when the queue is full.
    pub(super) fn push(&mut self, entry: Entry) -> Option<Entry> {
        let dropped = if self.entries.len() >= self.limit { self.entries.pop_front() } else { None };
        self.entries.push_back(entry);
        dropped
    }

    /// Removes a heartbeat.
    pub(super) fn take(&mut self, id: u64) -> Option<Entry> {
        let place = self.entries.iter().position(|entry| entry.id == id)?;
        self.entries.remove(place)
    }

    /// The oldest heartbeats, up to `items` and `bytes`, and at least one.
    pub(super) fn batch(&self, items: usize, bytes: usize) -> Option<Batch> {
        let first = self.entries.front()?;
        if items <= 1 || self.entries.len() == 1 {
            return Some(Batch { ids: vec![first.id], body: Bytes::copy_from_slice(first.body.as_bytes()) });
        }
        let mut ids = Vec::new();
        let mut body = Vec::with_capacity(bytes.min(self.entries.len() * (first.body.len() + 1) + 2));
        for entry in self.entries.iter().take(items) {
            // The brackets, or a comma and the closing bracket.
            if !ids.is_empty() && body.len() + entry.body.len() + 2 > bytes {
                break;
            }
            body.push(if ids.is_empty() { b'[' } else { b',' });
            body.extend_from_slice(entry.body.as_bytes());
            ids.push(entry.id);
        }
        body.push(b']');
        if let [only] = ids[..] {
            return Some(Batch { ids: vec![only], body: Bytes::copy_from_slice(first.body.as_bytes()) });
        }
        Some(Batch { ids, body: body.into() })
    }

    /// The oldest heartbeats, in the order of `batch`.
    pub(super) fn oldest(&self, count: usize) -> impl Iterator<Item = &Entry> {
        self.entries.iter().take(count)
    }

    /// The oldest heartbeat that is not in flight, marked as in flight; `None` when `window` are in flight.
    pub(super) fn next_to_send(&mut self, window: usize, now: Instant) -> Option<&Entry> {
        if self.in_flight() >= window {
            return None;
        }
        let entry = self.entries.iter_mut().find(|entry| entry.in_flight_since.is_none())?;
        entry.in_flight_since = Some(now);
        Some(entry)
    }

    /// Returns one heartbeat, or with `None` all heartbeats of a lost socket, to the queue.
    pub(super) fn requeue(&mut self, id: Option<u64>) {
        for entry in self.entries.iter_mut().filter(|entry| id.is_none_or(|id| entry.id == id)) {
            entry.in_flight_since = None;
        }
    }

    /// Number of heartbeats in flight.
    pub(super) fn in_flight(&self) -> usize {
        self.entries.iter().filter(|entry| entry.in_flight_since.is_some()).count()
    }

    /// Number of heartbeats that are not in flight.
    pub(super) fn waiting(&self) -> usize {
        self.entries.len() - self.in_flight()
    }

    /// When a heartbeat in flight was sent.
    pub(super) fn sent(&self, id: u64) -> Option<Instant> {
        self.entries.iter().find(|entry| entry.id == id)?.in_flight_since
    }

    /// When the oldest heartbeat in flight was sent.
    pub(super) fn in_flight_since(&self) -> Option<Instant> {
        self.entries.iter().filter_map(|entry| entry.in_flight_since).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(limit: usize, count: u64) -> (Queue, u64) {
        let mut queue = Queue::new(limit);
        let mut dropped = 0;
        for id in 1..=count {
            let body = format!("{{\"seq\":{id}}}").into_boxed_str();
            let entry =
                Entry { id, kind: Kind::Fresh, intended: Instant::now(), device_time: DateTime::UNIX_EPOCH, body, in_flight_since: None };
            dropped += u64::from(queue.push(entry).is_some());
        }
        (queue, dropped)
    }

    #[test]
    fn a_full_queue_loses_its_oldest() {
        let (queue, dropped) = queue(10, 25);
        assert_eq!((queue.len(), dropped), (10, 15));
        assert_eq!(queue.batch(1, 1_000).unwrap().ids, [16]);
    }

    #[test]
    fn one_is_sent_alone_and_several_as_a_list() {
        assert_eq!(&queue(10, 1).0.batch(100, 60_000).unwrap().body[..], br#"{"seq":1}"#);
        let batch = queue(10, 3).0.batch(100, 60_000).unwrap();
        assert_eq!(&batch.body[..], br#"[{"seq":1},{"seq":2},{"seq":3}]"#);
        assert_eq!(batch.ids, [1, 2, 3]);
        assert!(Queue::new(1).batch(100, 60_000).is_none());
    }

    #[test]
    fn lists_keep_to_their_limits_in_items_and_bytes() {
        let (queue, _) = queue(500, 500);
        assert_eq!(queue.batch(100, 60_000).unwrap().ids.len(), 100);
        for bytes in 2..200 {
            let batch = queue.batch(100, bytes).unwrap();
            assert!(batch.body.len() <= bytes || batch.ids.len() == 1, "{bytes}");
            serde_json::from_slice::<serde_json::Value>(&batch.body).unwrap();
        }
    }

    #[test]
    fn what_a_socket_owes_comes_back_when_it_is_lost() {
        let (mut queue, _) = queue(10, 4);
        let now = Instant::now();
        assert_eq!(queue.next_to_send(2, now).unwrap().id, 1);
        assert_eq!(queue.next_to_send(2, now).unwrap().id, 2);
        assert!(queue.next_to_send(2, now).is_none());
        assert_eq!((queue.in_flight(), queue.waiting()), (2, 2));
        assert_eq!(queue.take(1).unwrap().id, 1);
        queue.requeue(None);
        assert_eq!((queue.in_flight(), queue.in_flight_since()), (0, None));
        assert_eq!(queue.next_to_send(2, now).unwrap().id, 2);
    }
}
