//! Statistics of each build.

use dioxus::prelude::*;
use services::BuildDetails;

use super::name_of;
use crate::format;

#[component]
pub(super) fn Statistics(builds: Vec<BuildDetails>) -> Element {
    rsx! {
        section { class: "card", aria_labelledby: "statistics-title",
            h2 { id: "statistics-title", "Statistics" }
            div { class: "scroll-x", role: "region", aria_labelledby: "statistics-title", tabindex: "0",
                table { class: "plain stats-table", "data-testid": "build-stats",
                    thead {
                        tr {
                            th { scope: "col", "Build" }
                            for title in ["Checks", "Offered", "Downloads", "Installs", "Failures", "Signature failures", "Installed"] {
                                th { key: "{title}", scope: "col", class: "number", "{title}" }
                            }
                        }
                    }
                    tbody {
                        for details in builds.iter() {
                            tr { key: "{details.build.id}", "data-version": "{details.build.version_code}",
                                th { scope: "row", "{name_of(details)}" }
                                for (name, value) in numbers(details) {
                                    td { key: "{name}", class: "number", "data-testid": "stat-{name}", {format::number(value)} }
                                }
                            }
                        }
                    }
                }
            }
            p { class: "field-hint", "Each device counts once per column, except for checks. Checks appear with a delay of a few seconds." }
        }
    }
}

fn numbers(details: &BuildDetails) -> [(&'static str, u64); 7] {
    let counts = details.counts;
    let whole = |value: i64| u64::try_from(value).unwrap_or_default();
    [
        ("checks", whole(counts.checks)),
        ("eligible", whole(counts.eligible)),
        ("downloads", whole(counts.downloads)),
        ("installs", whole(counts.installs)),
        ("failures", whole(counts.failures)),
        ("verify-failures", whole(counts.verify_failures)),
        ("running", details.running),
    ]
}
