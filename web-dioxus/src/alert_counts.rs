//! Count of open alerts in navigation and title, read once for all open pages.

use std::sync::Arc;
use std::time::{Duration, Instant};

use domain::ServiceError;
use domain::alert::{AlertState, Severity};
use services::AlertCount;

/// How old a count may be.
const COUNT_AGE: Duration = Duration::from_secs(2);

/// The last count, shared by all open pages.
#[derive(Default)]
pub(crate) struct AlertCounts(tokio::sync::Mutex<Option<(OpenAlerts, Instant)>>);

/// Number of open alerts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct OpenAlerts {
    /// Firing, and acknowledged by nobody.
    pub(crate) firing: u64,
    /// Those of them that are critical.
    pub(crate) critical: u64,
}

impl OpenAlerts {
    /// Sums up what fires.
    pub(crate) fn of(counts: &[AlertCount]) -> Self {
        let firing = counts.iter().filter(|count| count.state == AlertState::Firing);
        firing.fold(Self::default(), |sum, count| Self {
            firing: sum.firing + count.alerts,
            critical: sum.critical + if count.severity == Severity::Critical { count.alerts } else { 0 },
        })
    }

    /// The title of a page with the number before it, as a tab shows only its beginning.
    pub(crate) fn in_title(self, title: &str) -> String {
        match self.firing {
            0 => title.to_owned(),
            firing => format!("({}) {title}", self.short(firing)),
        }
    }

    /// The number in the navigation.
    pub(crate) fn label(self) -> String {
        self.short(self.firing)
    }

    fn short(self, count: u64) -> String {
        if count > 999 { "999+".into() } else { count.to_string() }
    }
}

impl AlertCounts {
    /// The count, read anew when it is too old; one read at a time.
    pub(crate) async fn get(
        self: Arc<Self>,
        read: impl Future<Output = Result<OpenAlerts, ServiceError>>,
    ) -> Result<OpenAlerts, ServiceError> {
        let mut kept = self.0.lock().await;
        if let Some((counts, at)) = *kept
            && at.elapsed() < COUNT_AGE
        {
            return Ok(counts);
        }
        let counts = read.await?;
        *kept = Some((counts, Instant::now()));
        Ok(counts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering};

    #[test]
    fn a_title_shows_the_number_first_and_nothing_when_all_is_well() {
        let open = |firing| OpenAlerts { firing, critical: 0 };
        assert_eq!(open(0).in_title("Devices"), "Devices");
        assert_eq!(open(3).in_title("Devices"), "(3) Devices");
        assert_eq!(open(10_000).in_title("Devices"), "(999+) Devices");
    }

    #[tokio::test]
    async fn pages_share_one_read_and_a_failed_one_is_not_kept() {
        let (counts, reads) = (Arc::new(AlertCounts::default()), AtomicU64::new(0));
        let failed = Arc::clone(&counts).get(async { Err(ServiceError::Unavailable) }).await;
        assert!(failed.is_err());
        for _ in 0..3 {
            let read = async { Ok(OpenAlerts { firing: reads.fetch_add(1, Ordering::Relaxed) + 5, critical: 0 }) };
            assert_eq!(Arc::clone(&counts).get(read).await.unwrap().firing, 5);
        }
        assert_eq!(reads.into_inner(), 1);
    }
}
