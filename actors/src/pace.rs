//! The pace of background work: what goes through many rows rests behind each piece, for longer while heartbeats wait.

use std::time::Duration;

use domain::archive::RecordBatch;
use domain::pace::Pace;
use futures_util::stream::BoxStream;
use futures_util::{Stream, StreamExt, stream};
use tokio::time::Instant;

use crate::write_times::WriteTimes;

/// Pacer of work that is done piece by piece.
#[derive(Clone)]
pub(crate) struct Pacer {
    pace: Pace,
    /// Times of the writers of this node; `None`: this process has no writers.
    writes: Option<WriteTimes>,
}

impl Pacer {
    pub(crate) fn new(pace: Pace, writes: Option<WriteTimes>) -> Self {
        Self { pace, writes }
    }

    /// Rests behind a piece of so many rows that took so long.
    pub(crate) async fn rest(&self, took: Duration, rows: u64) {
        self.rest_at_least(Duration::ZERO, took, rows).await;
    }

    /// The same, for so long at least.
    pub(crate) async fn rest_at_least(&self, least: Duration, took: Duration, rows: u64) {
        let waited = self.writes.as_ref().and_then(WriteTimes::take_longest);
        let rest = self.pace.rest(took, rows, waited).max(least);
        if !rest.is_zero() {
            tokio::time::sleep(rest).await;
        }
    }

    /// The same batches; behind each there is a rest before the next is read, while whoever takes them works.
    pub(crate) fn paced<'a, E: Send + 'a>(
        &self,
        batches: impl Stream<Item = Result<RecordBatch, E>> + Send + 'a,
    ) -> BoxStream<'a, Result<RecordBatch, E>> {
        let pacer = self.clone();
        stream::unfold((batches.boxed(), None), move |(mut batches, owed)| {
            let pacer = pacer.clone();
            async move {
                if let Some((took, rows)) = owed {
                    pacer.rest(took, rows).await;
                }
                let began = Instant::now();
                let batch = batches.next().await?;
                let owed = batch.as_ref().ok().map(|batch| (began.elapsed(), batch.rows() as u64));
                Some((batch, (batches, owed)))
            }
        })
        .boxed()
    }
}

#[cfg(test)]
mod tests {
    use domain::archive::heartbeats;

    use super::*;

    /// Batches without rows, each of which takes so long.
    fn slow(count: usize, each: Duration) -> impl Stream<Item = Result<RecordBatch, ()>> + Send + 'static {
        stream::iter(0..count).then(move |_| async move {
            tokio::time::sleep(each).await;
            Ok(RecordBatch::with_capacity(heartbeats(), 0))
        })
    }

    async fn seconds_of(pace: Pace, writes: Option<WriteTimes>) -> f64 {
        let began = Instant::now();
        let batches: Vec<_> = Pacer::new(pace, writes).paced(slow(5, Duration::from_secs(1))).collect().await;
        assert_eq!(batches.len(), 5);
        began.elapsed().as_secs_f64()
    }

    #[tokio::test(start_paused = true)]
    async fn batches_take_their_share_of_the_time_and_less_of_it_while_heartbeats_wait() {
        let pace = Pace { share_pct: 50, unhurried: Duration::from_millis(5), rest_max: Duration::from_secs(60), rows_per_second_min: 0 };
        assert_eq!(seconds_of(Pace::FULL_SPEED, None).await.round(), 5.0);
        assert_eq!(seconds_of(pace, None).await.round(), 10.0, "a rest behind each of five batches");
        let writes = WriteTimes::default();
        writes.note(Duration::from_millis(3));
        writes.note(Duration::from_millis(20));
        assert_eq!(seconds_of(pace, Some(writes)).await.round(), 13.0, "the first rest is four times as long");
    }
}
