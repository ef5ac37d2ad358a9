//! An answer that is kept for a moment: however many look at a page, the database is asked once.

use std::time::Duration;

use domain::ServiceError;
use tokio::sync::Mutex;
use tokio::time::Instant;

/// The last answer, and how long it holds.
pub(super) struct Kept<T> {
    age_max: Duration,
    last: Mutex<Option<(Instant, T)>>,
}

impl<T: Clone> Kept<T> {
    /// Nothing yet; an answer holds for so long.
    pub(super) fn new(age_max: Duration) -> Self {
        Self { age_max, last: Mutex::new(None) }
    }

    /// The answer that is kept, else the one that is read now; whoever comes meanwhile waits for it.
    ///
    /// # Errors
    /// Those of reading; nothing is kept of them.
    pub(super) async fn get(&self, read: impl Future<Output = Result<T, ServiceError>>) -> Result<T, ServiceError> {
        let mut last = self.last.lock().await;
        if let Some((at, answer)) = last.as_ref()
            && at.elapsed() < self.age_max
        {
            return Ok(answer.clone());
        }
        let at = Instant::now();
        let answer = read.await?;
        *last = Some((at, answer.clone()));
        Ok(answer)
    }

    /// Makes the next be read, because something was changed.
    pub(super) async fn forget(&self) {
        *self.last.lock().await = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    #[tokio::test(start_paused = true)]
    async fn many_who_look_are_one_reading_until_it_is_old_or_forgotten() {
        let readings = AtomicU32::new(0);
        let kept = Kept::new(Duration::from_secs(1));
        let read = || async {
            tokio::time::sleep(Duration::from_millis(10)).await;
            Ok(readings.fetch_add(1, Ordering::Relaxed))
        };
        let (one, other) = tokio::join!(kept.get(read()), kept.get(read()));
        assert_eq!((one.unwrap(), other.unwrap()), (0, 0), "one of two at once reads");
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(kept.get(read()).await.unwrap(), 1, "it is old");
        kept.forget().await;
        assert_eq!(kept.get(read()).await.unwrap(), 2);
        kept.forget().await;
        assert!(kept.get(async { Err(ServiceError::NotFound("day")) }).await.is_err());
        assert_eq!(kept.get(read()).await.unwrap(), 3, "a failure is not kept");
    }
}
