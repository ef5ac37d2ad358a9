//! What people have set up about notifications, as the coordinator last read it: read again once the database counts a change of it.

use std::sync::Arc;

use domain::Timestamp;
use domain::alert::SILENCES_MAX;
use domain::notification::{CHANNELS_MAX, ChannelSets, NotificationSetup, ROUTES_MAX};
use store::{Store, StoreError};

/// What people have set up, with the number of changes that are in it.
#[derive(Default)]
pub(super) struct KnownSetup(Option<(i64, Arc<NotificationSetup>)>);

impl KnownSetup {
    /// What is set up after so many changes, or more.
    pub(super) async fn at(&mut self, version: i64, store: &Store, now: Timestamp) -> Result<Arc<NotificationSetup>, StoreError> {
        if let Some((_, setup)) = self.0.as_ref().filter(|(known, _)| *known == version) {
            return Ok(Arc::clone(setup));
        }
        // The number was read first: a change in between has a greater one, and is read with the next decision.
        let setup = Arc::new(read(store, now).await?);
        self.0 = Some((version, Arc::clone(&setup)));
        Ok(setup)
    }
}

async fn read(store: &Store, now: Timestamp) -> Result<NotificationSetup, StoreError> {
    let most = |most: usize| i64::try_from(most).unwrap_or(i64::MAX);
    let channels = store.alert_channels(most(CHANNELS_MAX)).await?;
    let incidents = channels.iter().filter(|channel| channel.enabled && channel.kind.keeps_incidents()).map(|channel| channel.id);
    let channels = ChannelSets { all: store.alert_channel_ids(most(CHANNELS_MAX)).await?, incidents: incidents.collect() };
    let routes = store.alert_routes(true, most(ROUTES_MAX)).await?;
    let silences = store.silences(now, most(SILENCES_MAX)).await?;
    let windows = store.alert_windows(most(SILENCES_MAX)).await?;
    Ok(NotificationSetup::new(routes, channels, silences, windows))
}
