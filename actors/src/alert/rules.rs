//! The settings of all rules as this node knows them: read at its start, whenever one is changed, and now and then.

use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use domain::ServiceError;
use domain::alert::{Rule, RuleBook, SETTINGS_MAX};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use store::{Store, StoreError};
use tokio::sync::watch;

use super::AlertSettings;
use crate::reconcile::{Reconcile, Reconciler, Run};

/// Name of the reconciler that reads them.
pub(crate) const ALERT_RULES: &str = "alert_rules";
/// Time between two readings without a notification.
const INTERVAL: Duration = Duration::from_secs(10);

/// The settings of all rules, the same for everything that judges on this node.
pub struct AlertRules {
    store: Store,
    settings: AlertSettings,
    book: watch::Sender<Arc<RuleBook>>,
}

impl AlertRules {
    /// The configured settings; those that people made are not read yet.
    pub(crate) fn new(store: Store, settings: AlertSettings) -> Arc<Self> {
        let book = watch::Sender::new(Arc::new(RuleBook::new(settings.defaults.clone())));
        Arc::new(Self { store, settings, book })
    }

    /// The settings as last read, the configured ones first.
    pub fn snapshot(&self) -> Arc<RuleBook> {
        Arc::clone(&self.book.borrow())
    }

    /// How long silence says nothing after a start, a failover or an outage.
    pub fn settle(&self) -> TimeDelta {
        self.settings.settle
    }

    /// Reads the settings. Answers whether they have changed.
    pub(crate) async fn reread(&self) -> Result<bool, StoreError> {
        let limit = i64::try_from(SETTINGS_MAX * Rule::ALL.len()).unwrap_or(i64::MAX);
        let made = self.store.rule_settings(limit).await?;
        let book = RuleBook::new(self.settings.defaults.iter().cloned().chain(made).collect());
        Ok(self.book.send_if_modified(|known| {
            let changed = **known != book;
            if changed {
                *known = Arc::new(book);
            }
            changed
        }))
    }
}

/// The reconciler of every node that reads the settings, and calls `on_change` after a change.
pub(crate) fn reconciler(rules: &Arc<AlertRules>, on_change: Box<dyn Fn() + Send + Sync>) -> Reconciler {
    Reconciler::per_node(ALERT_RULES, INTERVAL, Reread { rules: Arc::clone(rules), on_change })
}

struct Reread {
    rules: Arc<AlertRules>,
    on_change: Box<dyn Fn() + Send + Sync>,
}

impl Reconcile for Reread {
    fn reconcile<'a>(&'a mut self, _run: &'a Run) -> BoxFuture<'a, Result<u64, ServiceError>> {
        async {
            let changed = self.rules.reread().await?;
            if changed {
                (self.on_change)();
            }
            Ok(u64::from(changed))
        }
        .boxed()
    }
}
