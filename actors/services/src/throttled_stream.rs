//! Response body that is read from the database at the rate at which its reader takes it.
//!
//! A slow reader holds a permit, so a reader that takes nothing for a while loses it.

use std::time::Duration;

use bytes::Bytes;
use domain::ServiceError;
use futures_util::stream::{self, Stream};
use tokio::sync::{OwnedSemaphorePermit, mpsc};

/// Pieces that are read ahead.
const AHEAD: usize = 2;

/// Part of a body: a piece, or the end. A body without the end was cut off.
enum Part {
    Piece(Bytes),
    End,
}

/// Streams the pieces of a body, read in a task that holds `permit`. The task gives up when nothing is taken
/// for `stall_timeout`; the body then ends with an error, never as if it were whole.
pub(super) fn throttled_stream(
    permit: OwnedSemaphorePermit,
    stall_timeout: Duration,
    pieces: impl Stream<Item = Result<Bytes, ServiceError>> + Send + 'static,
) -> impl Stream<Item = Result<Bytes, ServiceError>> + Send + 'static {
    let (sender, receiver) = mpsc::channel(AHEAD);
    tokio::spawn(async move {
        use futures_util::StreamExt;
        let _permit = permit;
        let parts = pieces.map(|piece| piece.map(Part::Piece)).chain(stream::iter([Ok(Part::End)]));
        let mut parts = std::pin::pin!(parts);
        while let Some(part) = parts.next().await {
            let failed = part.is_err();
            let taken = tokio::time::timeout(stall_timeout, sender.send(part)).await;
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
    use futures_util::StreamExt;
    use std::sync::Arc;
    use tokio::sync::Semaphore;

    fn pieces(count: u8) -> impl Stream<Item = Result<Bytes, ServiceError>> {
        stream::iter((0..count).map(|n| Ok(Bytes::from(vec![n]))))
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_that_takes_nothing_loses_its_turn_and_sees_that_the_body_is_cut_off() {
        let permits = Arc::new(Semaphore::new(1));
        let permit = Arc::clone(&permits).try_acquire_owned().unwrap();
        let body = throttled_stream(permit, Duration::from_secs(30), pieces(9));
        // The body is still held, as an idle connection would.
        let _again = tokio::time::timeout(Duration::from_secs(60), permits.acquire()).await.unwrap().unwrap();
        let read: Vec<_> = body.collect().await;
        assert!(read.len() < 9 && read.last().is_some_and(Result::is_err), "{read:?}");
    }

    #[tokio::test]
    async fn a_body_that_is_read_is_whole_and_its_turn_is_given_back() {
        let permits = Arc::new(Semaphore::new(1));
        let permit = Arc::clone(&permits).try_acquire_owned().unwrap();
        let read: Vec<_> = throttled_stream(permit, Duration::from_secs(30), pieces(9)).map(|piece| piece.unwrap()[0]).collect().await;
        assert_eq!(read, (0..9).collect::<Vec<_>>());
        drop(permits.acquire().await.unwrap());
    }
}
