//! Polling of a service: the answer is shown as soon as it is there, and kept while it cannot be read.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use dioxus::prelude::*;
use domain::ServiceError;
use domain::access::Principal;
use services::System;

use crate::context::{explain, use_session};

/// How soon a failed reading is tried again.
const AFTER_FAILURE: Duration = Duration::from_secs(3);

/// The newest answer.
pub(crate) struct Reading<T> {
    /// The newest answer.
    pub(crate) value: Option<Rc<T>>,
    /// Error of the last read.
    pub(crate) problem: Option<String>,
    /// Something else was asked for, and its answer is not there yet.
    pub(crate) loading: bool,
}

impl<T> Clone for Reading<T> {
    fn clone(&self) -> Self {
        Self { value: self.value.clone(), problem: self.problem.clone(), loading: self.loading }
    }
}

/// A reading that goes on.
pub(crate) struct Polling<T: 'static> {
    reading: Signal<Reading<T>>,
    again: Signal<u32>,
}

impl<T> Clone for Polling<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Polling<T> {}

impl<T> PartialEq for Polling<T> {
    fn eq(&self, other: &Self) -> bool {
        self.reading == other.reading
    }
}

impl<T> Polling<T> {
    /// The newest answer.
    pub(crate) fn read(&self) -> Reading<T> {
        self.reading.read().clone()
    }

    /// Reads now, because something was changed or somebody is impatient.
    pub(crate) fn again(mut self) {
        self.again += 1;
    }
}

/// Reads `what` every `period`; at once when `what` changes. Another `what` keeps the old answer
/// on the page until its own is there.
pub(crate) fn use_polling<K, T, F>(what: K, period: Duration, read: impl Fn(Arc<System>, Principal, K) -> F + 'static) -> Polling<T>
where
    K: Clone + PartialEq + 'static,
    T: Send + 'static,
    F: Future<Output = Result<T, ServiceError>> + Send + 'static,
{
    use_paced_polling(what, move |_| period, read)
}

/// The same, as often as the newest answer calls for.
pub(crate) fn use_paced_polling<K, T, F>(
    what: K,
    interval_for: impl Fn(&T) -> Duration + 'static,
    read: impl Fn(Arc<System>, Principal, K) -> F + 'static,
) -> Polling<T>
where
    K: Clone + PartialEq + 'static,
    T: Send + 'static,
    F: Future<Output = Result<T, ServiceError>> + Send + 'static,
{
    let session = use_session();
    let (read, interval_for) = (use_hook(|| Rc::new(read)), use_hook(|| Rc::new(interval_for)));
    let mut reading = use_signal(|| Reading { value: None, problem: None, loading: true });
    let again = use_signal(|| 0u32);
    use_resource(use_reactive((&what,), move |(what,)| {
        let (session, read, interval_for) = (session.clone(), Rc::clone(&read), Rc::clone(&interval_for));
        again();
        async move {
            let mut period = AFTER_FAILURE;
            if !reading.peek().loading {
                reading.write().loading = true;
            }
            loop {
                let (read, what) = (Rc::clone(&read), what.clone());
                let answer = session.call(move |system, principal| read(system, principal, what)).await;
                let failed = answer.is_err();
                match answer {
                    Ok(value) => {
                        period = interval_for(&value);
                        reading.set(Reading { value: Some(Rc::new(value)), problem: None, loading: false });
                    }
                    Err(error) => {
                        let problem = Some(explain(&error));
                        let mut reading = reading.write();
                        reading.problem = problem;
                        reading.loading = false;
                    }
                }
                tokio::time::sleep(if failed { AFTER_FAILURE.min(period) } else { period }).await;
            }
        }
    }));
    Polling { reading, again }
}
