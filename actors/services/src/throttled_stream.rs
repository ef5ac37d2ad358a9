//! Response body that is read from the database at the rate at which its reader takes it.
//!
//! A slow reader holds a permit, so one that is too slow for too long loses it.

use bytes::Bytes;
use domain::ServiceError;
use domain::transfer::{MinimumRate, Patience};
use futures_util::stream::{self, Stream};
use permits::Permit;
use tokio::sync::mpsc;
use tokio::time::Instant;

/// Pieces that are read ahead.
const AHEAD: usize = 2;

/// Part of a body: a piece, or the end. A body without the end was cut off.
enum Part {
    Piece(Bytes),
    End,
}

/// Streams the pieces of a body, read in a task that holds `permit`. The task gives up when its reader
/// is slower than `minimum_rate` for too long; the body then ends with an error, never as if it were whole.
pub(super) fn throttled_stream(
    permit: Permit,
    minimum_rate: MinimumRate,
    pieces: impl Stream<Item = Result<Bytes, ServiceError>> + Send + 'static,
) -> impl Stream<Item = Result<Bytes, ServiceError>> + Send + 'static {
    let (sender, receiver) = mpsc::channel(AHEAD);
    tokio::spawn(async move {
        use futures_util::StreamExt;
        let _permit = permit;
        let parts = pieces.map(|piece| piece.map(Part::Piece)).chain(stream::iter([Ok(Part::End)]));
        let mut parts = std::pin::pin!(parts);
        let mut patience = Patience::new(minimum_rate);
        while let Some(part) = parts.next().await {
            let (failed, offered) = (part.is_err(), Instant::now());
            let bytes = if let Ok(Part::Piece(piece)) = &part { piece.len() } else { 0 };
            let taken = tokio::time::timeout(patience.left(), sender.send(part)).await;
            patience.moved(bytes, offered.elapsed());
            if failed || !matches!(taken, Ok(Ok(()))) {
                return;
            }
        }
    });
    stream::try_unfold(receiver, |mut receiver| async move {
        match receiver.recv().await {
            Some(Ok(Part::Piece(piece))) => Ok(Some((piece, receiver))),
            Some(Ok(Part::End)) => Ok(None),
            Some(Err(error)) => Err(error),
            None => Err(ServiceError::Unavailable),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::permits::{Claim, Class, PoolLimits, PoolName};
    use futures_util::StreamExt;
    use permits::Pool;
    use permits::metrics::PoolMetrics;
    use std::time::Duration;

    const RATE: MinimumRate = MinimumRate { bytes_per_second: 4096, patience: Duration::from_secs(30) };

    fn pool_of_one() -> (Pool, Claim) {
        let metrics = PoolMetrics::register(&prometheus::Registry::new()).unwrap();
        let limits = PoolLimits { waiting: 2, ..PoolLimits::of_capacity(1) };
        (Pool::new(PoolName::Exports, limits, &metrics), Claim::new(Class::Regular))
    }

    fn pieces(count: u8) -> impl Stream<Item = Result<Bytes, ServiceError>> {
        stream::iter((0..count).map(|n| Ok(Bytes::from(vec![n]))))
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_that_takes_nothing_loses_its_turn_and_sees_that_the_body_is_cut_off() {
        let (pool, claim) = pool_of_one();
        let permit = pool.take(claim.clone()).unwrap();
        let body = throttled_stream(permit, RATE, pieces(9));
        // The body is still held, as an idle connection would.
        let _again = pool.wait(claim, Duration::from_secs(60)).await.unwrap();
        let read: Vec<_> = body.collect().await;
        assert!(read.len() < 9 && read.last().is_some_and(Result::is_err), "{read:?}");
    }

    #[tokio::test]
    async fn a_body_that_is_read_is_whole_and_its_turn_is_given_back() {
        let (pool, claim) = pool_of_one();
        let permit = pool.take(claim.clone()).unwrap();
        let read: Vec<_> = throttled_stream(permit, RATE, pieces(9)).map(|piece| piece.unwrap()[0]).collect().await;
        assert_eq!(read, (0..9).collect::<Vec<_>>());
        drop(pool.wait(claim, Duration::from_secs(60)).await.unwrap());
    }
}
