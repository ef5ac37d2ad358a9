use std::sync::Mutex;

use super::*;
use crate::write_times::p99_ms;
use tokio::sync::Notify;

/// An item: its value, and the port on which its outcome is told.
struct Item(u32, oneshot::Sender<Result<u32, ServiceError>>);

#[derive(Default)]
struct Log {
    batches: Vec<Vec<u32>>,
    at: Vec<Instant>,
    panics: usize,
}

/// Doubles its items. What is done instead is decided by `behaviour`, which gets the batch and the number of batches before it.
struct Sink {
    log: Arc<Mutex<Log>>,
    behaviour: fn(&[u32], usize) -> Behaviour,
    gate: Arc<Notify>,
}

enum Behaviour {
    Write,
    WaitForGate,
    Hang,
    Outage,
    Refuse,
    Panic,
}

impl BatchSink for Sink {
    type Item = Item;
    type Row = u32;
    type Outcome = u32;

    const NAME: &'static str = "test";

    fn admit(&self, items: &mut Vec<Item>) {
        for Item(_, reply) in items.extract_if(.., |item| item.0 == 99) {
            reply.send(Err(ServiceError::NotOwner)).unwrap();
        }
    }

    fn row(item: &Item) -> u32 {
        item.0
    }

    async fn write(&self, values: Vec<u32>) -> Result<Vec<u32>, StoreError> {
        let behaviour = {
            let mut log = self.log.lock().unwrap();
            let behaviour = (self.behaviour)(&values, log.batches.len());
            log.batches.push(values.clone());
            log.at.push(Instant::now());
            behaviour
        };
        match behaviour {
            Behaviour::Write => {}
            Behaviour::WaitForGate => self.gate.notified().await,
            Behaviour::Hang => std::future::pending().await,
            Behaviour::Outage => return Err(StoreError::TimedOut(Duration::ZERO)),
            Behaviour::Refuse => return Err(StoreError::Corrupt("tests")),
            Behaviour::Panic => panic!("on purpose"),
        }
        Ok(values.iter().map(|value| value * 2).collect())
    }

    fn answer(&self, Item(_, reply): Item, outcome: Result<u32, ServiceError>) {
        // A caller that is gone needs no answer.
        let _ = reply.send(outcome);
    }

    fn panicked(&self) {
        self.log.lock().unwrap().panics += 1;
    }
}

const LIMITS: BatchLimits = BatchLimits {
    queues: 1,
    queue_max: 4,
    batch_max: 3,
    linger: Duration::from_millis(20),
    timeout: Duration::from_secs(5),
    failure_backoff: Duration::from_millis(500),
};

struct Bench {
    writer: BatchWriter<Item>,
    log: Arc<Mutex<Log>>,
    gate: Arc<Notify>,
    closing: CancellationToken,
    tasks: JoinSet<()>,
    metrics: Metrics,
}

fn bench(limits: BatchLimits, behaviour: fn(&[u32], usize) -> Behaviour) -> Bench {
    let (log, gate, closing, mut tasks) =
        (Arc::<Mutex<Log>>::default(), Arc::<Notify>::default(), CancellationToken::new(), JoinSet::new());
    let metrics = Metrics::register(&prometheus::Registry::new()).unwrap();
    let sink = Sink { log: Arc::clone(&log), behaviour, gate: Arc::clone(&gate) };
    let writer = BatchWriter::start(&mut tasks, sink, limits, &closing, &metrics);
    Bench { writer, log, gate, closing, tasks, metrics }
}

type Answer = oneshot::Receiver<Result<u32, ServiceError>>;

impl Bench {
    fn submit(&self, value: u32) -> Result<Answer, ServiceError> {
        let (reply, answer) = oneshot::channel();
        match self.writer.submit(u128::from(value), Item(value, reply)) {
            Ok(()) => Ok(answer),
            Err(refused) => Err(refused.into_error("tests.queue_max").1),
        }
    }

    fn batches(&self) -> Vec<Vec<u32>> {
        self.log.lock().unwrap().batches.clone()
    }

    fn counted(&self, outcome: &str) -> u64 {
        self.metrics.writer_items.with_label_values(&["test", outcome]).get()
    }
}

#[tokio::test(start_paused = true)]
async fn a_batch_waits_for_more_until_its_linger_is_over_or_it_is_full() {
    let bench = bench(LIMITS, |_, _| Behaviour::Write);
    let started = Instant::now();
    let answers: Vec<_> = (1..=3).map(|value| bench.submit(value).unwrap()).collect();
    for (answer, want) in answers.into_iter().zip([2, 4, 6]) {
        assert_eq!(answer.await.unwrap().unwrap(), want);
    }
    assert_eq!((bench.batches(), started.elapsed()), (vec![vec![1, 2, 3]], Duration::ZERO));
    let first = bench.submit(4).unwrap();
    sleep(Duration::from_millis(10)).await;
    let second = bench.submit(5).unwrap();
    assert_eq!((first.await.unwrap().unwrap(), second.await.unwrap().unwrap()), (8, 10));
    assert_eq!(bench.batches()[1..], [vec![4, 5]]);
    // The linger begins with the first item.
    assert_eq!(started.elapsed(), Duration::from_millis(20));
    assert_eq!(bench.counted("written"), 5);
}

#[tokio::test(start_paused = true)]
async fn what_comes_while_a_batch_is_written_is_the_next_one_and_a_full_queue_refuses() {
    let bench =
        bench(BatchLimits { linger: Duration::ZERO, ..LIMITS }, |_, n| if n == 0 { Behaviour::WaitForGate } else { Behaviour::Write });
    let first = bench.submit(1).unwrap();
    while bench.batches().is_empty() {
        tokio::task::yield_now().await;
    }
    let waiting: Vec<_> = (2..=5).map(|value| bench.submit(value).unwrap()).collect();
    assert!(matches!(bench.submit(6), Err(ServiceError::Overloaded("tests.queue_max"))));
    assert_eq!(bench.counted("not_queued"), 1);
    bench.gate.notify_one();
    assert_eq!(first.await.unwrap().unwrap(), 2);
    for (answer, want) in waiting.into_iter().zip([4, 6, 8, 10]) {
        assert_eq!(answer.await.unwrap().unwrap(), want);
    }
    assert_eq!(bench.batches(), [vec![1], vec![2, 3, 4], vec![5]]);
}

#[tokio::test(start_paused = true)]
async fn an_outage_answers_the_whole_batch_and_is_followed_by_a_pause() {
    let bench = bench(LIMITS, |_, n| if n == 0 { Behaviour::Outage } else { Behaviour::Write });
    let answers: Vec<_> = (1..=4).map(|value| bench.submit(value).unwrap()).collect();
    let mut outcomes = vec![];
    for answer in answers {
        outcomes.push(answer.await.unwrap());
    }
    assert!(outcomes[..3].iter().all(|outcome| matches!(outcome, Err(ServiceError::Unavailable))), "{outcomes:?}");
    assert_eq!(*outcomes[3].as_ref().unwrap(), 8);
    let log = bench.log.lock().unwrap();
    assert_eq!(log.at[1] - log.at[0], LIMITS.failure_backoff + LIMITS.linger);
    drop(log);
    assert_eq!((bench.counted("unavailable"), bench.counted("written")), (3, 1));
}

#[tokio::test(start_paused = true)]
async fn a_transaction_that_takes_too_long_is_an_outage() {
    let bench = bench(LIMITS, |_, n| if n == 0 { Behaviour::Hang } else { Behaviour::Write });
    let started = Instant::now();
    assert!(matches!(bench.submit(1).unwrap().await.unwrap(), Err(ServiceError::Unavailable)));
    assert_eq!(started.elapsed(), LIMITS.timeout + LIMITS.linger);
    assert_eq!(bench.writer.last_batch(), LIMITS.timeout);
    assert_eq!(bench.submit(2).unwrap().await.unwrap().unwrap(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_refused_item_does_not_take_its_neighbours_along() {
    let bench = bench(LIMITS, |values, _| if values.contains(&2) { Behaviour::Refuse } else { Behaviour::Write });
    let answers: Vec<_> = (1..=3).map(|value| bench.submit(value).unwrap()).collect();
    let mut outcomes = vec![];
    for answer in answers {
        outcomes.push(answer.await.unwrap());
    }
    assert!(matches!(outcomes[..], [Ok(2), Err(ServiceError::Internal), Ok(6)]), "{outcomes:?}");
    assert_eq!(bench.batches(), [vec![1, 2, 3], vec![1], vec![2], vec![3]]);
    assert_eq!((bench.counted("written"), bench.counted("refused")), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn an_outage_amid_single_items_ends_them() {
    let bench = bench(LIMITS, |values, _| match values {
        [1] => Behaviour::Write,
        [_] => Behaviour::Outage,
        _ => Behaviour::Refuse,
    });
    let answers: Vec<_> = (1..=3).map(|value| bench.submit(value).unwrap()).collect();
    let mut outcomes = vec![];
    for answer in answers {
        outcomes.push(answer.await.unwrap());
    }
    assert!(matches!(outcomes[..], [Ok(2), Err(ServiceError::Unavailable), Err(ServiceError::Unavailable)]), "{outcomes:?}");
    assert_eq!(bench.batches(), [vec![1, 2, 3], vec![1], vec![2]]);
}

#[tokio::test(start_paused = true)]
async fn a_panic_costs_its_batch_only() {
    let bench = bench(LIMITS, |_, n| if n == 0 { Behaviour::Panic } else { Behaviour::Write });
    assert!(bench.submit(1).unwrap().await.is_err(), "its reply port is dropped");
    assert_eq!(bench.submit(2).unwrap().await.unwrap().unwrap(), 4);
    assert_eq!((bench.log.lock().unwrap().panics, bench.counted("panicked")), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn what_is_no_longer_to_be_written_is_taken_out() {
    let bench = bench(LIMITS, |_, _| Behaviour::Write);
    let (refused, written) = (bench.submit(99).unwrap(), bench.submit(1).unwrap());
    assert!(matches!(refused.await.unwrap(), Err(ServiceError::NotOwner)));
    assert_eq!(written.await.unwrap().unwrap(), 2);
    assert!(matches!(bench.submit(99).unwrap().await.unwrap(), Err(ServiceError::NotOwner)));
    assert_eq!(bench.batches(), [vec![1]], "a batch of which nothing is left is not written");
}

#[tokio::test(start_paused = true)]
async fn a_flush_waits_for_what_was_queued_before_on_every_queue() {
    let bench = bench(BatchLimits { queues: 2, ..LIMITS }, |values, _| match values {
        [1] => Behaviour::WaitForGate,
        _ => Behaviour::Write,
    });
    let (odd, even) = (bench.submit(1).unwrap(), bench.submit(2).unwrap());
    let mut flushed = std::pin::pin!(bench.writer.flushed());
    assert!(timeout(Duration::from_secs(1), &mut flushed).await.is_err());
    assert_eq!(even.await.unwrap().unwrap(), 4, "one queue does not wait for the other");
    bench.gate.notify_one();
    flushed.await;
    assert_eq!(odd.await.unwrap().unwrap(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_closed_writer_writes_what_it_has_and_ends() {
    let mut bench = bench(LIMITS, |_, n| if n == 0 { Behaviour::WaitForGate } else { Behaviour::Write });
    let first = bench.submit(1).unwrap();
    while bench.batches().is_empty() {
        sleep(Duration::from_millis(1)).await;
    }
    let second = bench.submit(2).unwrap();
    bench.closing.cancel();
    bench.gate.notify_one();
    assert_eq!((first.await.unwrap().unwrap(), second.await.unwrap().unwrap()), (2, 4));
    bench.tasks.join_next().await.unwrap().unwrap();
    assert!(matches!(bench.submit(3), Err(ServiceError::Unavailable)));
    bench.writer.flushed().await;
}

#[tokio::test(start_paused = true)]
async fn a_writer_fails_when_the_last_transactions_did_and_for_a_while_after() {
    let limits = BatchLimits { linger: Duration::ZERO, failure_backoff: Duration::ZERO, ..LIMITS };
    let bench = bench(limits, |_, batches| if batches < 5 || (6..11).contains(&batches) { Behaviour::Outage } else { Behaviour::Write });
    let writes = async |count: usize| {
        for _ in 0..count {
            let _ = bench.submit(1).unwrap().await.unwrap();
        }
    };
    writes(4).await;
    assert!(!bench.writer.is_failing());
    writes(1).await;
    assert!(bench.writer.is_failing());
    writes(1).await;
    assert!(!bench.writer.is_failing(), "one that is written ends it");
    writes(5).await;
    sleep(Duration::from_secs(9)).await;
    assert!(bench.writer.is_failing());
    sleep(Duration::from_secs(1)).await;
    assert!(!bench.writer.is_failing(), "it is tried again");
}

#[tokio::test(start_paused = true)]
async fn the_times_of_what_was_written_are_counted() {
    let bench = bench(LIMITS, |values, _| if values == [1] { Behaviour::Outage } else { Behaviour::WaitForGate });
    let p99 = || p99_ms(&[bench.metrics.write_times.take()]);
    for _ in 0..2 {
        let answer = bench.submit(2).unwrap();
        // The linger, and a while at the gate.
        sleep(LIMITS.linger + Duration::from_millis(300)).await;
        bench.gate.notify_one();
        assert_eq!(answer.await.unwrap().unwrap(), 4);
    }
    assert_eq!(p99(), Some(303));
    for _ in 0..2 {
        assert!(matches!(bench.submit(1).unwrap().await.unwrap(), Err(ServiceError::Unavailable)));
    }
    assert_eq!(p99(), None);
}
