//! Record of the sinks: messages in memory, and their lines in a file.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::broadcast;

use super::arrival::Arrival;
use super::mode::{Modes, SinkMode};
use crate::clock;

/// Messages that are kept; far more than a run sees.
const ARRIVALS_MAX: usize = 200_000;
/// Messages that wait to be printed.
const SHOWN_MAX: usize = 1_000;

/// Record that all connections share.
pub(super) struct Log {
    inner: Mutex<Inner>,
    shown: broadcast::Sender<Arrival>,
}

#[derive(Default)]
struct Inner {
    arrivals: Vec<Arrival>,
    modes: Modes,
    /// Keys of signatures by sink.
    keys: HashMap<String, String>,
    file: Option<File>,
}

/// Message that has not been answered yet.
pub(super) struct Open {
    log: Arc<Log>,
    place: Option<usize>,
}

impl Log {
    pub(super) fn new(file: Option<&Path>) -> io::Result<Self> {
        let file = file.map(|path| OpenOptions::new().create(true).append(true).open(path)).transpose()?;
        Ok(Self { inner: Mutex::new(Inner { file, ..Inner::default() }), shown: broadcast::channel(SHOWN_MAX).0 })
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn arrivals(&self) -> Vec<Arrival> {
        self.inner().arrivals.clone()
    }

    pub(super) fn subscribe(&self) -> broadcast::Receiver<Arrival> {
        self.shown.subscribe()
    }

    pub(super) fn set_mode(&self, sink: &str, mode: SinkMode, times: Option<u32>) {
        self.inner().modes.set(sink, mode, times);
    }

    pub(super) fn clear_modes(&self) {
        self.inner().modes.clear();
    }

    pub(super) fn take_mode(&self, sink: &str) -> SinkMode {
        self.inner().modes.take(sink)
    }

    pub(super) fn require_signature(&self, sink: &str, key: &str) {
        self.inner().keys.insert(sink.to_owned(), key.to_owned());
    }

    /// Key of the signatures of a sink; `None`: it takes what is not signed.
    pub(super) fn key(&self, sink: &str) -> Option<String> {
        self.inner().keys.get(sink).cloned()
    }

    /// Records a message that has arrived whole.
    pub(super) fn open(self: &Arc<Self>, mut arrival: Arrival) -> Open {
        arrival.at_us = clock::now().timestamp_micros();
        let mut inner = self.inner();
        let place = (inner.arrivals.len() < ARRIVALS_MAX).then_some(inner.arrivals.len());
        inner.arrivals.extend(place.map(|_| arrival));
        Open { log: Arc::clone(self), place }
    }
}

impl Open {
    /// Records the answer, just before it is sent.
    pub(super) fn answer(mut self, status: u16) {
        self.end(Some(status));
    }

    fn end(&mut self, status: Option<u16>) {
        let Some(place) = self.place.take() else { return };
        let mut inner = self.log.inner();
        let Some(arrival) = inner.arrivals.get_mut(place) else { return };
        arrival.status = status;
        arrival.answered_us = status.map(|_| clock::now().timestamp_micros());
        let arrival = arrival.clone();
        if let (Some(file), Ok(mut line)) = (&mut inner.file, serde_json::to_vec(&arrival)) {
            line.push(b'\n');
            // The record in memory is what is judged.
            let _ = file.write_all(&line);
        }
        drop(inner);
        // There may be no listener.
        let _ = self.log.shown.send(arrival);
    }
}

impl Drop for Open {
    /// The sender went away before it was answered, or is not answered at all.
    fn drop(&mut self) {
        self.end(None);
    }
}
