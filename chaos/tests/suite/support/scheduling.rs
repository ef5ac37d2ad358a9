//! Which tests run beside others. libtest runs as many tests at once as there are cores. A test with real nodes, or one that loads a stand-in
//! as much as it can, needs all of them; the tests on stand-ins measure short times, which such a neighbour would spoil. So the former begin
//! with [`exclusive`], and what the latter start calls [`shared`]. The attributes of `serial_test` would have to stand at every test.
//!
//! The lock belongs to the thread of a test and is released when that ends. A thread never waits for it while it holds it, so a test that
//! starts several stand-ins cannot deadlock, nor can tests that share one thread under `--test-threads=1`. Only tasks that a test spawns on
//! other threads must not start stand-ins.

use std::cell::RefCell;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// Locked by the tests that run now.
static MACHINE: RwLock<()> = RwLock::new(());

/// The guard of [`MACHINE`] that a thread holds, of either kind.
struct Held {
    exclusive: Option<RwLockWriteGuard<'static, ()>>,
    shared: Option<RwLockReadGuard<'static, ()>>,
}

thread_local! {
    static HELD: RefCell<Held> = const { RefCell::new(Held { exclusive: None, shared: None }) };
}

/// Waits until no other test runs, and keeps others from starting until this one ends.
pub(crate) fn exclusive() {
    HELD.with_borrow_mut(|held| {
        held.shared = None;
        if held.exclusive.is_none() {
            held.exclusive = Some(MACHINE.write().unwrap_or_else(PoisonError::into_inner));
        }
    });
}

/// Waits until no exclusive test runs, and keeps those from starting until this one ends.
pub(crate) fn shared() {
    HELD.with_borrow_mut(|held| {
        if held.exclusive.is_none() && held.shared.is_none() {
            held.shared = Some(MACHINE.read().unwrap_or_else(PoisonError::into_inner));
        }
    });
}
