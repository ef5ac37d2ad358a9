//! Threads that give way: what encodes and checks files takes the processor only while nobody else wants it.

use std::io;

use tokio::sync::oneshot;

/// Niceness of these threads, the greatest there is.
#[cfg(target_os = "linux")]
const NICE: i32 = 19;

/// Starts a thread of its own for the work, of low priority where the system has priorities of threads. One of the pool for blocking work would keep it:
/// only a privileged process may raise it again.
pub(crate) fn start<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> io::Result<oneshot::Receiver<T>> {
    let (answer, answered) = oneshot::channel();
    let thread = std::thread::Builder::new().name("archive".to_owned());
    thread.spawn(move || {
        give_way();
        // Nobody listens once whoever asked was given up.
        let _ = answer.send(work());
    })?;
    Ok(answered)
}

#[cfg(target_os = "linux")]
fn give_way() {
    // There the calling thread alone. Without it the work is done as well.
    let _ = rustix::process::setpriority_process(None, NICE);
}

#[cfg(not(target_os = "linux"))]
fn give_way() {}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_thread_gives_way_and_the_one_that_started_it_does_not() {
        let own = || rustix::process::getpriority_process(None).unwrap();
        let before = own();
        let there = start(own).unwrap().await.unwrap();
        assert_eq!((there, own()), (NICE, before));
    }

    #[tokio::test]
    async fn work_that_panics_answers_nothing() {
        let answer = start(|| -> u8 { panic!("of this test") }).unwrap().await;
        assert!(answer.is_err());
    }
}
