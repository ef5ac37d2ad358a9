//! Recorder of a run: a folder to which events are appended while the run goes on, without ever making it wait.

use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::event::Event;
use super::files::{EVENTS, RUN, SCENARIO, VERDICT_JSON, write_private};
use super::run::Run;

/// Events that wait to be written.
const QUEUE_EVENTS: usize = 8_192;
/// Time after which written events are flushed.
const FLUSH_EVERY: Duration = Duration::from_secs(1);

/// Limits of what a run may record.
#[derive(Debug, Clone, Copy)]
pub struct RecordLimits {
    /// Size of the events in bytes; what comes then is counted and not kept.
    pub event_bytes: u64,
    /// Size of what the oracle knows, as a compressed file, in bytes.
    pub history_bytes: u64,
}

impl Default for RecordLimits {
    fn default() -> Self {
        Self { event_bytes: 256 << 20, history_bytes: 4 << 30 }
    }
}

/// What was recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recorded {
    /// Events that were written.
    pub events: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Events that were not kept, because they came too fast or were too many.
    pub dropped: u64,
}

/// Recorder of a run; the folder is its own.
pub struct RunRecorder {
    dir: PathBuf,
    limits: RecordLimits,
    events: EventSender,
    writer: JoinHandle<Result<(u64, u64)>>,
}

/// Sender of events to a recorder; cheap to clone, and never waits.
#[derive(Clone)]
pub struct EventSender {
    queue: SyncSender<Option<Event>>,
    dropped: Arc<AtomicU64>,
}

impl EventSender {
    /// Records an event; one that finds the queue full is counted and dropped.
    pub fn record(&self, event: Event) {
        if self.queue.try_send(Some(event)).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl RunRecorder {
    /// Makes the folder and begins to record; the run and its scenario are written at once, so that a run that is cut off is not nameless.
    ///
    /// # Errors
    /// The folder has the record of a run, or cannot be written.
    pub fn open(dir: &Path, run: &Run, limits: RecordLimits) -> Result<Self> {
        std::fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
        for file in [RUN, EVENTS, VERDICT_JSON] {
            ensure!(!dir.join(file).exists(), "{} has the record of a run already ({file}): name another folder with --out", dir.display());
        }
        write_private(&dir.join(RUN), &serde_json::to_vec_pretty(run)?)?;
        write_private(&dir.join(SCENARIO), run.scenario.as_bytes())?;
        let path = dir.join(EVENTS);
        let file =
            OpenOptions::new().create_new(true).append(true).open(&path).with_context(|| format!("cannot write {}", path.display()))?;
        let (queue, waiting) = sync_channel(QUEUE_EVENTS);
        let dropped = Arc::new(AtomicU64::new(0));
        let counted = dropped.clone();
        let writer = std::thread::Builder::new()
            .name("run-record".into())
            .spawn(move || {
                write_events(file, &waiting, limits.event_bytes, &counted).with_context(|| format!("cannot write {}", path.display()))
            })
            .context("cannot start the thread that records")?;
        Ok(Self { dir: dir.to_owned(), limits, events: EventSender { queue, dropped }, writer })
    }

    /// The folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Limits.
    pub fn limits(&self) -> RecordLimits {
        self.limits
    }

    /// Records an event; see [`EventSender::record`].
    pub fn record(&self, event: Event) {
        self.events.record(event);
    }

    /// Sender for another task or thread.
    pub fn sender(&self) -> EventSender {
        self.events.clone()
    }

    /// Writes what waits, and what was recorded in all. Blocks until the file is on disk; events of other senders are dropped from then on.
    ///
    /// # Errors
    /// The events could not be written.
    pub fn close(self) -> Result<Recorded> {
        // Waits for a place in the queue, as the writer takes from it.
        let _ = self.events.queue.send(None);
        let (events, bytes) = self.writer.join().map_err(|_| anyhow::anyhow!("the thread that records has failed"))??;
        Ok(Recorded { events, bytes, dropped: self.events.dropped.load(Ordering::Relaxed) })
    }
}

/// Writes events until the end is said; their number and bytes.
fn write_events(file: File, waiting: &Receiver<Option<Event>>, bytes_max: u64, dropped: &AtomicU64) -> Result<(u64, u64)> {
    let mut writer = BufWriter::new(file);
    let (mut events, mut bytes) = (0, 0);
    let mut line = Vec::new();
    loop {
        let event = match waiting.recv_timeout(FLUSH_EVERY) {
            Ok(Some(event)) => event,
            Err(RecvTimeoutError::Timeout) => {
                writer.flush()?;
                continue;
            }
            Ok(None) | Err(RecvTimeoutError::Disconnected) => break,
        };
        line.clear();
        serde_json::to_writer(&mut line, &event)?;
        line.push(b'\n');
        if bytes + line.len() as u64 > bytes_max {
            dropped.fetch_add(1, Ordering::Relaxed);
            continue;
        }
        writer.write_all(&line)?;
        events += 1;
        bytes += line.len() as u64;
    }
    writer.flush()?;
    writer.get_ref().sync_all()?;
    Ok((events, bytes))
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;

    use super::*;
    use crate::verdict::event::What;
    use crate::verdict::files::read_events;

    fn event(n: i64) -> Event {
        Event::new(DateTime::from_timestamp(n, 0).unwrap(), What::Note { text: format!("note {n}") })
    }

    #[test]
    fn what_is_recorded_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("run");
        let run = Run { name: "kill".into(), scenario: "name = \"kill\"".into(), seed: 7, ..Run::default() };
        let recorder = RunRecorder::open(&dir, &run, RecordLimits::default()).unwrap();
        let others = recorder.sender();
        std::thread::scope(|scope| {
            scope.spawn(|| (0..100).for_each(|n| others.record(event(n))));
            (100..200).for_each(|n| recorder.record(event(n)));
        });
        let recorded = recorder.close().unwrap();
        assert_eq!((recorded.events, recorded.dropped), (200, 0));
        assert!(recorded.bytes / recorded.events < 200, "{recorded:?}");
        let mut found = read_events(&dir).unwrap();
        found.sort_by_key(|event| event.at_us);
        assert_eq!(found, (0..200).map(event).collect::<Vec<_>>());
        assert_eq!(std::fs::read_to_string(dir.join(SCENARIO)).unwrap(), run.scenario);
        others.record(event(1));
        assert_eq!(others.dropped.load(Ordering::Relaxed), 1, "too late");
    }

    #[test]
    fn a_folder_has_one_run() {
        let folder = tempfile::tempdir().unwrap();
        let open = || RunRecorder::open(folder.path(), &Run::default(), RecordLimits::default());
        open().unwrap().close().unwrap();
        let error = open().err().map(|error| error.to_string()).unwrap_or_default();
        assert!(error.contains("has the record of a run already") && error.contains("--out"), "{error}");
    }

    #[test]
    fn what_is_beyond_the_limit_is_counted() {
        let folder = tempfile::tempdir().unwrap();
        let limits = RecordLimits { event_bytes: 100, ..RecordLimits::default() };
        let recorder = RunRecorder::open(folder.path(), &Run::default(), limits).unwrap();
        (0..10).for_each(|n| recorder.record(event(n)));
        let recorded = recorder.close().unwrap();
        assert!(recorded.events > 0 && recorded.bytes <= 100 && recorded.events + recorded.dropped == 10, "{recorded:?}");
    }

    #[test]
    fn a_full_queue_drops_and_does_not_wait() {
        let (queue, waiting) = sync_channel(2);
        let sender = EventSender { queue, dropped: Arc::default() };
        (0..5).for_each(|n| sender.record(event(n)));
        assert_eq!((sender.dropped.load(Ordering::Relaxed), waiting.try_iter().count()), (3, 2));
    }
}
