//! Apps: the versions in the library, how they come in and go, and which packages may be deployed at all.

mod library;
mod package_form;
mod packages;
mod unfinished;
mod upload;

use dioxus::prelude::*;
use domain::access::Permission;

use crate::components::{EmptyState, Glyph, PageHeader, RouteLink, icon};
use crate::context::use_session;
use crate::deployments_url::ApksUrl;
use crate::navigation::use_title;
use crate::route::Route;
use library::Library;
use packages::PackageList;
use unfinished::UnfinishedUploads;
use upload::Upload;

#[component]
pub(crate) fn Apks(query: ApksUrl) -> Element {
    use_title("Apps");
    let session = use_session();
    let mut uploading = use_signal(|| false);
    let mut changed = use_signal(|| 0u32);
    if !session.may(Permission::ViewDeployments) {
        return rsx! { NotAllowed {} };
    }
    rsx! {
        PageHeader { title: "Apps", lead: "App versions that can be deployed, and their allowed signers.",
            if session.may(Permission::UploadApks) {
                button { class: "button primary", r#type: "button", aria_haspopup: "dialog", "data-testid": "upload-apk", onclick: move |_| uploading.set(true), {icon(Glyph::Upload)} "Upload an APK" }
            }
        }
        Tabs { packages: false }
        UnfinishedUploads {}
        // Keyed, so that another package begins at its first page.
        for (key, query) in [(query.to_string(), query)] {
            Library { key: "{key}", query, changed: changed(), onupload: move |()| uploading.set(true) }
        }
        if uploading() {
            Upload { onclose: move |()| {
                uploading.set(false);
                changed += 1;
            } }
        }
    }
}

#[component]
pub(crate) fn Packages() -> Element {
    use_title("Managed packages");
    if !use_session().may(Permission::ViewDeployments) {
        return rsx! { NotAllowed {} };
    }
    rsx! {
        PackageList {}
    }
}

#[component]
fn Tabs(packages: bool) -> Element {
    rsx! {
        nav { class: "tabs settings-tabs", aria_label: "Apps",
            RouteLink { to: Route::Apks { query: ApksUrl::default() }, current: !packages, testid: "view-apks", "Versions" }
            RouteLink { to: Route::Packages {}, current: packages, testid: "view-packages", "Managed packages" }
        }
    }
}

#[component]
fn NotAllowed() -> Element {
    rsx! {
        PageHeader { title: "Apps" }
        section { class: "card",
            EmptyState { glyph: Glyph::Key, title: "Not for this role", text: "Your role does not allow this. Ask an admin of this server." }
        }
    }
}

/// Certificates, each short; whoever opens them sees all of each.
#[component]
fn Signers(signers: Vec<String>, #[props(default)] lineage: Vec<String>) -> Element {
    let first: String = signers.first().map(|signer| signer.chars().take(12).collect()).unwrap_or_default();
    let more = signers.len().saturating_sub(1);
    let all = signers.join(", ");
    rsx! {
        details { class: "signers",
            summary { title: "{all}", code { "{first}…" } if more > 0 { span { class: "muted", " and {more} more" } } }
            ul {
                for signer in signers.iter() { li { key: "{signer}", code { "data-testid": "signer", "{signer}" } } }
                for signer in lineage.iter() { li { key: "{signer}", code { "{signer}" } span { class: "muted", " rotated key" } } }
            }
        }
    }
}
