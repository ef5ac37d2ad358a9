use std::net::IpAddr;

use domain::permits::Class;
use prometheus::Registry;
use tokio::task::JoinHandle;

use super::*;

fn pool(limits: PoolLimits) -> Pool {
    Pool::new(PoolName::Passwords, limits, &PoolMetrics::register(&Registry::new()).unwrap())
}

fn from(address: u8, class: Class) -> Claim {
    Claim::new(class).from_address(Some(IpAddr::from([192, 0, 2, address])))
}

const PATIENCE: Duration = Duration::from_secs(10);

/// A task that waits already when this returns.
async fn waiting(pool: &Pool, claim: Claim) -> JoinHandle<Result<Permit, ServiceError>> {
    let before = pool.state().waiting.len();
    let (waiter, patient) = (pool.clone(), claim);
    let task = tokio::spawn(async move { waiter.wait(patient, PATIENCE).await });
    while pool.state().waiting.len() == before {
        tokio::task::yield_now().await;
    }
    task
}

#[tokio::test]
async fn one_client_that_takes_all_it_can_leaves_the_others_theirs() {
    let pool = pool(PoolLimits::of_capacity(8).with_parts(50, 25));
    let greedy: Vec<_> = std::iter::from_fn(|| pool.take(from(1, Class::Regular)).ok()).take(100).collect();
    assert_eq!(greedy.len(), 4, "its share");
    let Err(ServiceError::Overloaded(limit)) = pool.take(from(1, Class::Regular)) else { panic!("refused") };
    assert_eq!(limit, "auth.bcrypt_per_address_pct");
    let others: Vec<_> = (2..4).map(|n| pool.take(from(n, Class::Regular)).unwrap()).collect();
    assert_eq!(pool.try_take(from(9, Class::Regular)).err(), Some(Limit::Reserve));
    let essential = pool.take(from(9, Class::Essential)).unwrap();
    drop((greedy, others, essential));
    assert!(pool.state().pool.is_idle());
}

#[tokio::test]
async fn who_matters_most_is_served_first_and_everybody_in_the_end() {
    let pool = pool(PoolLimits { waiting: 40, ..PoolLimits::of_capacity(1) });
    let first = pool.take(from(0, Class::Stranger)).unwrap();
    let mut strangers = Vec::new();
    for n in 1..30 {
        strangers.push(waiting(&pool, from(n, Class::Stranger)).await);
    }
    let admin = waiting(&pool, from(99, Class::Regular)).await;
    drop(first);
    let admin = admin.await.unwrap().unwrap();
    assert!(strangers.iter().all(|stranger| !stranger.is_finished()), "none of them was served before");
    drop(admin);
    for stranger in strangers {
        drop(stranger.await.unwrap().unwrap());
    }
    assert!(pool.state().pool.is_idle());
}

#[tokio::test(start_paused = true)]
async fn waiting_ends_with_the_name_of_the_limit() {
    let pool = pool(PoolLimits { waiting: 2, ..PoolLimits::of_capacity(1) });
    let held = pool.take(from(1, Class::Regular)).unwrap();
    let refused = pool.wait(from(2, Class::Regular), PATIENCE).await;
    assert!(matches!(refused, Err(ServiceError::Overloaded("auth.bcrypt_wait_ms"))));
    let waits = [waiting(&pool, from(2, Class::Regular)).await, waiting(&pool, from(3, Class::Regular)).await];
    let refused = pool.wait(from(4, Class::Regular), PATIENCE).await;
    assert!(matches!(refused, Err(ServiceError::Overloaded("auth.bcrypt_waiting_max"))));
    drop(held);
    for wait in waits {
        assert!(wait.await.unwrap().is_ok());
    }
    assert!(pool.state().pool.is_idle());
}

#[tokio::test]
async fn who_hangs_up_while_it_waits_or_just_when_it_is_served_keeps_nothing() {
    let pool = pool(PoolLimits { waiting: 4, ..PoolLimits::of_capacity(1) });
    let held = pool.take(from(1, Class::Regular)).unwrap();
    let gone = waiting(&pool, from(2, Class::Regular)).await;
    gone.abort();
    assert!(gone.await.is_err());
    assert!(pool.state().waiting.is_empty());
    // Served, but never polled again.
    let mut served = Box::pin(pool.wait(from(3, Class::Regular), PATIENCE));
    assert!(futures_poll(served.as_mut()).await.is_none());
    drop(held);
    assert_eq!(pool.try_take(from(4, Class::Regular)).err(), Some(Limit::Capacity));
    drop(served);
    assert!(pool.state().pool.is_idle());
}

/// Polls a future once.
async fn futures_poll<F: Future>(mut future: std::pin::Pin<&mut F>) -> Option<F::Output> {
    std::future::poll_fn(|context| {
        std::task::Poll::Ready(match future.as_mut().poll(context) {
            std::task::Poll::Ready(output) => Some(output),
            std::task::Poll::Pending => None,
        })
    })
    .await
}
