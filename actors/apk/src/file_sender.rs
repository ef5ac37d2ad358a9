//! Download of a file, under a rate limit that all downloads share.

use std::io::SeekFrom;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use domain::transfer::{MinimumRate, Patience};
use permits::Permit;
use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio::sync::mpsc;
use tokio::time::Instant;

/// Bytes read from the file at a time.
const CHUNK_BYTES: usize = 64 << 10;
/// Chunks that are read ahead.
const AHEAD: usize = 2;
/// Burst after a pause, as time at full rate.
const BURST: Duration = Duration::from_millis(250);

/// The bytes `from ..= to` of a file, read in a task of its own that holds `permit`. A reader that is slower than
/// `minimum_rate` for too long loses the permit; what it gets then ends early. Waiting for the rate limiter does not count.
pub fn send_file(
    mut file: File,
    from: u64,
    to: u64,
    permit: Permit,
    minimum_rate: MinimumRate,
    rate_limiter: Option<Arc<RateLimiter>>,
) -> mpsc::Receiver<std::io::Result<Bytes>> {
    let (sender, receiver) = mpsc::channel(AHEAD);
    tokio::spawn(async move {
        let _permit = permit;
        if let Err(cause) = file.seek(SeekFrom::Start(from)).await {
            let _ = sender.send(Err(cause)).await;
            return;
        }
        let mut left = (to + 1).saturating_sub(from);
        let mut patience = Patience::new(minimum_rate);
        let most = rate_limiter.as_ref().map_or(CHUNK_BYTES, |rate_limiter| rate_limiter.chunk_bytes());
        while left > 0 {
            let mut chunk = vec![0; most.min(usize::try_from(left).unwrap_or(most))];
            let read = match file.read(&mut chunk).await {
                Ok(0) => Err(std::io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => {
                    chunk.truncate(count);
                    left -= count as u64;
                    Ok(Bytes::from(chunk))
                }
                Err(cause) => Err(cause),
            };
            if let (Some(rate_limiter), Ok(chunk)) = (&rate_limiter, &read) {
                tokio::select! {
                    () = rate_limiter.acquire(chunk.len()) => {}
                    // A reader that hangs up returns the permit at once.
                    () = sender.closed() => return,
                }
            }
            let (failed, bytes, offered) = (read.is_err(), read.as_ref().map_or(0, Bytes::len), Instant::now());
            let taken = tokio::time::timeout(patience.left(), sender.send(read)).await;
            patience.moved(bytes, offered.elapsed());
            if failed || !matches!(taken, Ok(Ok(()))) {
                return;
            }
        }
    });
    receiver
}

/// Rate limiter of all downloads together.
pub struct RateLimiter {
    bytes_per_second: u64,
    /// Time at which everything reserved so far will have been sent.
    free_at: Mutex<Instant>,
}

impl RateLimiter {
    /// Limiter of this rate; 0: no limit.
    pub fn new(bytes_per_second: u64) -> Option<Arc<Self>> {
        (bytes_per_second > 0).then(|| Arc::new(Self { bytes_per_second, free_at: Mutex::new(Instant::now()) }))
    }

    /// Size of a chunk, so that every reader gets several a second.
    fn chunk_bytes(&self) -> usize {
        usize::try_from(self.bytes_per_second / 8).unwrap_or(CHUNK_BYTES).clamp(1 << 10, CHUNK_BYTES)
    }

    /// Waits until so many bytes may be sent, in the order of the calls.
    async fn acquire(&self, bytes: usize) {
        tokio::time::sleep_until(self.reserve(bytes)).await;
    }

    fn reserve(&self, bytes: usize) -> Instant {
        let now = Instant::now();
        let mut free_at = self.free_at.lock().unwrap_or_else(PoisonError::into_inner);
        let at = now.checked_sub(BURST).map_or(*free_at, |earliest| earliest.max(*free_at));
        let takes = Duration::from_nanos((bytes as u64).saturating_mul(1_000_000_000) / self.bytes_per_second);
        *free_at = at + takes;
        at
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::permits::{Claim, Class, PoolLimits, PoolName};
    use permits::Pool;
    use permits::metrics::PoolMetrics;

    const RATE: MinimumRate = MinimumRate { bytes_per_second: 4096, patience: Duration::from_secs(30) };

    fn pool_of_one() -> (Pool, Claim) {
        let metrics = PoolMetrics::register(&prometheus::Registry::new()).unwrap();
        (Pool::new(PoolName::Downloads, PoolLimits::of_capacity(1), &metrics), Claim::new(Class::Regular))
    }

    async fn given_back(pool: &Pool, claim: &Claim) {
        while pool.check(claim).is_err() {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_below_the_minimum_rate_is_cut_off_and_one_above_it_gets_everything() {
        let path = std::env::temp_dir().join(format!("nexmdm-slow-{}", std::process::id()));
        std::fs::write(&path, vec![7; 4 << 20]).unwrap();
        // 64 KiB every 16 s are 4 KiB a second; what was read ahead comes at once.
        for (gap, whole) in [(Duration::from_secs(15), true), (Duration::from_secs(25), false)] {
            let (pool, claim) = pool_of_one();
            let permit = pool.take(claim.clone()).unwrap();
            let mut bytes = send_file(File::open(&path).await.unwrap(), 0, (4 << 20) - 1, permit, RATE, None);
            let mut received = 0;
            while let Some(chunk) = bytes.recv().await {
                received += chunk.unwrap().len();
                tokio::time::sleep(gap).await;
            }
            assert_eq!(received == 4 << 20, whole, "{received} bytes, one chunk every {gap:?}");
            given_back(&pool, &claim).await;
        }
        std::fs::remove_file(path).unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn all_together_keep_the_pace() {
        let rate_limiter = RateLimiter::new(1_000_000).unwrap();
        let started = Instant::now();
        let sends = (0..10).map(|_| {
            let rate_limiter = Arc::clone(&rate_limiter);
            async move {
                for _ in 0..20 {
                    rate_limiter.acquire(50_000).await;
                }
            }
        });
        futures_util::future::join_all(sends).await;
        // 10 MB at 1 MB/s; the first and the last chunk are not waited for.
        let took = started.elapsed();
        assert!((Duration::from_millis(9600)..=Duration::from_secs(10)).contains(&took), "{took:?}");
        assert!(RateLimiter::new(0).is_none());
    }

    #[tokio::test]
    async fn whoever_hangs_up_gives_the_turn_back_even_while_it_waits_for_the_pace() {
        let path = std::env::temp_dir().join(format!("nexmdm-pace-{}", std::process::id()));
        std::fs::write(&path, vec![7; 1 << 20]).unwrap();
        let (pool, claim) = pool_of_one();
        let permit = pool.take(claim.clone()).unwrap();
        // An hour for the second chunk.
        let rate_limiter = RateLimiter::new(1).unwrap();
        let mut bytes = send_file(File::open(&path).await.unwrap(), 0, (1 << 20) - 1, permit, RATE, Some(rate_limiter));
        assert_eq!(bytes.recv().await.unwrap().unwrap().len(), 1 << 10);
        drop(bytes);
        tokio::time::timeout(Duration::from_secs(10), given_back(&pool, &claim)).await.unwrap();
        std::fs::remove_file(path).unwrap();
    }
}
