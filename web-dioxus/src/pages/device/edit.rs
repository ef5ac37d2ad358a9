//! The dialog that changes what people know a device by, and what it is watched for.

use std::sync::Arc;

use dioxus::prelude::*;
use domain::access::Principal;
use domain::device::{DeviceIdentity, MonitoredApp};
use domain::edit::{DevicePatch, LabelChange};
use domain::{DeviceId, Invalid, ServiceError};
use services::System;

use crate::components::form::{FormDialog, TextField, labels_of, some_of, text_of, use_submission};
use crate::context::use_session;
use crate::format;
use crate::toasts::use_toasts;

/// Fields of the form.
fn patch(value: impl Fn(&str) -> Option<String>) -> Result<DevicePatch, Invalid> {
    let stale = "monitored_app.stale_after_s";
    let stale_after_s = value(stale).map(|text| text.parse::<i32>().map_err(|_| Invalid::new(stale, "must be a whole number of seconds")));
    let monitored = match (value("monitored_app.package"), stale_after_s.transpose()?) {
        (Some(package), stale_after_s) => Some(MonitoredApp { package, stale_after_s }),
        (None, None) => None,
        (None, Some(_)) => return Err(Invalid::new("monitored_app.package", "required when a threshold is given")),
    };
    let labels = |name| Some(LabelChange::Set(labels_of(&value(name).unwrap_or_default())));
    Ok(DevicePatch {
        alias: Some(value("alias").unwrap_or_default()),
        tags: labels("tags"),
        groups: labels("groups"),
        monitored: Some(monitored),
    })
}

async fn change(system: Arc<System>, principal: Principal, id: DeviceId, patch: DevicePatch) -> Result<(), ServiceError> {
    match system.devices.edit(&principal, id, patch).await {
        Ok(_) => Ok(()),
        // The field is to blame for it.
        Err(error @ ServiceError::AliasHeld(_)) => Err(Invalid::new("alias", error.to_string()).into()),
        Err(error) => Err(error),
    }
}

#[component]
pub(super) fn Edit(
    identity: Arc<DeviceIdentity>,
    monitored: Option<MonitoredApp>,
    onclose: EventHandler<()>,
    ondone: EventHandler<()>,
) -> Element {
    let session = use_session();
    let toasts = use_toasts();
    let submission = use_submission();
    let id = identity.id;
    let default_stale = format::duration(i64::from(session.policy.app_stale_after_s));
    let send = use_callback(move |form: FormEvent| {
        if !submission.begin() {
            return;
        }
        let session = session.clone();
        spawn(async move {
            let alias = text_of(&form, "alias");
            let outcome = match patch(|name| some_of(&form, name)) {
                Err(invalid) => Err(invalid.into()),
                Ok(patch) => session.call(move |system, principal| change(system, principal, id, patch)).await,
            };
            if submission.done(outcome).is_some() {
                toasts.good(format!("Changed {}.", alias.trim()));
                ondone.call(());
            }
        });
    });
    let stale = monitored.as_ref().and_then(|app| app.stale_after_s).map(|seconds| seconds.to_string());
    let package = monitored.as_ref().map(|app| app.package.clone());
    rsx! {
        FormDialog { title: "Edit {identity.alias}", action: "Save", busy: submission.busy(), focus: submission.focus(), onsubmit: send, onclose,
            TextField { name: "alias", value: identity.alias.clone(), hint: "unique in the fleet", error: submission.error("alias") }
            TextField { name: "tags", value: identity.tags.join(", "), hint: "separated by commas", error: submission.error("tags") }
            TextField { name: "groups", value: identity.groups.join(", "), hint: "separated by commas", error: submission.error("groups") }
            div { class: "field-pair",
                TextField { name: "monitored_app.package", value: package.unwrap_or_default(), placeholder: "com.example.kiosk", hint: "package name; empty: none", error: submission.error("monitored_app.package") }
                TextField { name: "monitored_app.stale_after_s", value: stale.unwrap_or_default(), hint: "out of the foreground; empty: {default_stale}", error: submission.error("monitored_app.stale_after_s") }
            }
            if let Some(problem) = submission.other_error(&["alias", "tags", "groups", "monitored_app.package", "monitored_app.stale_after_s"]) {
                p { class: "field-error", role: "alert", "{problem}" }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(fields: &[(&str, &str)]) -> Result<DevicePatch, Invalid> {
        patch(|name| fields.iter().find(|(field, _)| *field == name).map(|(_, value)| (*value).to_owned()))
    }

    #[test]
    fn empty_fields_take_away_what_was_there() {
        let patch = filled(&[("alias", "kiosk")]).unwrap();
        assert_eq!((patch.alias.as_deref(), patch.monitored), (Some("kiosk"), Some(None)));
        assert_eq!(patch.tags, Some(LabelChange::Set(vec![])));
    }

    #[test]
    fn a_threshold_is_a_number_and_belongs_to_an_app() {
        let package = "monitored_app.package";
        let stale = "monitored_app.stale_after_s";
        let patch = filled(&[("alias", "a"), (package, "a.b"), (stale, "60")]).unwrap();
        assert_eq!(patch.monitored, Some(Some(MonitoredApp { package: "a.b".into(), stale_after_s: Some(60) })));
        assert_eq!(filled(&[(package, "a.b"), (stale, "soon")]).unwrap_err().field, stale);
        assert_eq!(filled(&[(stale, "60")]).unwrap_err().field, package);
    }
}
