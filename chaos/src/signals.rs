//! Ctrl-C and SIGTERM as one flag that every task can watch.

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// Stop signal; becomes true when the run has to end.
pub type Stop = watch::Receiver<bool>;

/// Stop signal for Ctrl-C and SIGTERM; a second signal kills the process with the usual exit code.
pub fn stop_on_signal() -> std::io::Result<Stop> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let (sender, receiver) = watch::channel(false);
    tokio::spawn(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        sender.send_replace(true);
        tokio::select! {
            _ = interrupt.recv() => std::process::exit(130),
            _ = terminate.recv() => std::process::exit(143),
        }
    });
    Ok(receiver)
}

/// Returns once `stop` is true; never, when nobody can set it any more.
pub async fn stopped(stop: &mut Stop) {
    if stop.wait_for(|stopped| *stopped).await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Result of `work`, or `None` when `stop` is set first, in which case the work is dropped.
pub async fn unless_stopped<T>(stop: &Stop, work: impl Future<Output = T>) -> Option<T> {
    let mut stop = stop.clone();
    tokio::select! {
        biased;
        done = work => Some(done),
        () = stopped(&mut stop) => None,
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use super::*;

    #[tokio::test]
    async fn work_goes_on_until_it_is_done_or_stopped() {
        let (sender, stop) = watch::channel(false);
        assert_eq!(unless_stopped(&stop, ready(7)).await, Some(7));
        sender.send_replace(true);
        assert_eq!(unless_stopped(&stop, pending::<u32>()).await, None);
    }
}
