//! Devices by what people call them.

use domain::DeviceId;
use domain::query::{DeviceFilter, Sort};

use crate::context::Session;

/// The device that somebody means by an id or an alias.
pub(crate) async fn device_named(session: &Session, text: String) -> Option<DeviceId> {
    if let Ok(id) = text.parse() {
        return Some(id);
    }
    let fleet = session.fleet.clone();
    // Off the pages' threads: a look at a hundred thousand devices takes a while.
    let looked = tokio::task::spawn_blocking(move || {
        let matching = fleet.order(&DeviceFilter { text: Some(text.clone()), ..DeviceFilter::default() }, Sort::default());
        let named =
            |is: &dyn Fn(&str) -> bool| matching.iter().copied().find(|id| fleet.device(*id).is_some_and(|view| is(&view.identity.alias)));
        named(&|alias| alias == text).or_else(|| named(&|alias| domain::name::same(alias, &text)))
    });
    looked.await.ok().flatten()
}

/// Alias of a device, or its id where the fleet does not know it.
pub(crate) fn alias_of(session: &Session, id: DeviceId) -> String {
    session.fleet.device(id).map_or_else(|| id.to_string(), |view| view.identity.alias.clone())
}
