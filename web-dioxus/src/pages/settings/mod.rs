//! Settings: one's own account, and for admins those of others and the limits in force.

mod exec;
mod limits;
mod profile;
mod sessions;
mod tokens;
mod users;

use dioxus::prelude::*;
use domain::access::{Permission, Principal};

use crate::components::{EmptyState, Glyph, PageHeader, RouteLink};
use crate::context::use_session;
use crate::navigation::use_title;
use crate::pages::NotFound;
use crate::route::{Route, Section};

use exec::ExecCommands;
use limits::Limits;
use profile::Profile;
use sessions::Sessions;
use tokens::Tokens;
use users::Users;

impl Section {
    fn title(self) -> &'static str {
        match self {
            Self::Profile => "Profile",
            Self::Sessions => "Sessions",
            Self::Tokens => "API tokens",
            Self::Users => "Users",
            Self::Exec => "Allowed commands",
            Self::Limits => "Rate limits",
        }
    }

    /// Whether someone may see it at all. The services decide about everything in it.
    fn open_to(self, principal: &Principal) -> bool {
        match self {
            Self::Profile | Self::Sessions | Self::Tokens => true,
            Self::Exec => principal.may(Permission::ManageExec),
            Self::Users | Self::Limits => principal.may(Permission::ManageUsers),
        }
    }
}

#[component]
pub(crate) fn Settings(section: String) -> Element {
    let Some(section) = Section::parse(&section) else {
        return rsx! { NotFound { segments: vec!["settings".into(), section] } };
    };
    let session = use_session();
    rsx! {
        SectionTitle { key: "{section.as_str()}", section }
        PageHeader { title: "Settings" }
        nav { class: "tabs settings-tabs", aria_label: "Settings",
            for other in Section::ALL.into_iter().filter(|section| section.open_to(&session.principal)) {
                RouteLink { key: "{other.as_str()}", to: Route::settings(other), current: other == section, "{other.title()}" }
            }
        }
        if section.open_to(&session.principal) {
            match section {
                Section::Profile => rsx! { Profile {} },
                Section::Sessions => rsx! { Sessions {} },
                Section::Tokens => rsx! { Tokens {} },
                Section::Users => rsx! { Users {} },
                Section::Exec => rsx! { ExecCommands {} },
                Section::Limits => rsx! { Limits {} },
            }
        } else {
            section { class: "card",
                EmptyState { glyph: Glyph::Key, title: "Only for admins", text: "Your role does not allow this. Ask an admin of this server.",
                    RouteLink { to: Route::settings(Section::Profile), class: "button", "Go to your profile" }
                }
            }
        }
    }
}

#[component]
fn SectionTitle(section: Section) -> Element {
    use_title(section.title());
    rsx! {}
}
