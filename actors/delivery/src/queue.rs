//! Queue that is emptied under admission control.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::admission::Admission;

/// What becomes of the next job of a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn<R> {
    /// The admission control decides.
    Admission(Admission),
    /// It is refused: nothing can be sent.
    Refused(R),
}

/// Sends the jobs of a queue in order, each on a task of its own, until the queue is closed. `turn` is asked before each, with the number of those
/// under way; what it refuses goes to `refuse`. Jobs under way end before this does.
pub async fn dispatch<J, R, F>(
    mut queue: mpsc::Receiver<J>,
    mut turn: impl FnMut(usize) -> Turn<R>,
    send: impl Fn(J) -> F,
    refuse: impl Fn(J, R),
) where
    F: Future<Output = ()> + Send + 'static,
{
    let mut sending = JoinSet::new();
    while let Some(job) = queue.recv().await {
        match wait_for_turn(&mut sending, &mut turn).await {
            None => drop(sending.spawn(send(job))),
            Some(reason) => refuse(job, reason),
        }
    }
    while sending.join_next().await.is_some() {}
}

/// Waits until a job may go; the reason, if none may.
async fn wait_for_turn<R>(sending: &mut JoinSet<()>, turn: &mut impl FnMut(usize) -> Turn<R>) -> Option<R> {
    loop {
        while sending.try_join_next().is_some() {}
        match turn(sending.len()) {
            Turn::Refused(reason) => return Some(reason),
            Turn::Admission(Admission::Go) => return None,
            Turn::Admission(Admission::Busy) if sending.is_empty() => sleep(Duration::from_millis(1)).await,
            Turn::Admission(Admission::Busy) => drop(sending.join_next().await),
            Turn::Admission(Admission::Wait(wait)) => sleep(wait).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::AdmissionControl;
    use tokio::time::Instant;

    #[tokio::test(start_paused = true)]
    async fn jobs_go_in_order_a_few_at_a_time_and_all_end() {
        let (queue, jobs) = mpsc::channel(100);
        for number in 0..20_u32 {
            queue.send(number).await.unwrap();
        }
        drop(queue);
        let (under_way, most, sent) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new(vec![])));
        let (mut admission, began) = (AdmissionControl::new(None, 3), Instant::now());
        let turn = |under_way| match sent.lock().unwrap().len() {
            12.. => Turn::Refused("enough"),
            _ => Turn::Admission(admission.admit(under_way, u64::try_from(began.elapsed().as_nanos()).unwrap())),
        };
        let send = |number| {
            let (under_way, most, sent) = (Arc::clone(&under_way), Arc::clone(&most), Arc::clone(&sent));
            sent.lock().unwrap().push(number);
            async move {
                most.fetch_max(under_way.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                sleep(Duration::from_secs(1)).await;
                under_way.fetch_sub(1, Ordering::SeqCst);
            }
        };
        let refused = Mutex::new(vec![]);
        dispatch(jobs, turn, send, |number, reason| refused.lock().unwrap().push((number, reason))).await;
        assert_eq!(*sent.lock().unwrap(), (0..12).collect::<Vec<_>>());
        assert_eq!(refused.lock().unwrap().len(), 8);
        assert_eq!((most.load(Ordering::SeqCst), began.elapsed().as_secs()), (3, 4));
        assert_eq!(under_way.load(Ordering::SeqCst), 0);
    }
}
