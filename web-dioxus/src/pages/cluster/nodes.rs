//! The table of nodes, and draining one.

use dioxus::prelude::*;
use domain::access::Permission;
use domain::cluster::NodeState;
use services::ClusterNode;

use super::ClusterSnapshot;
use crate::components::{Confirm, time_ago, unknown};
use crate::context::use_session;
use crate::format;
use crate::toasts::use_toasts;

#[component]
pub(super) fn Nodes(snapshot: ClusterSnapshot) -> Element {
    let session = use_session();
    let manages = session.may(Permission::ManageCluster);
    let mut draining = use_signal(|| None::<String>);
    rsx! {
        section { class: "card", aria_labelledby: "nodes-title",
            div { class: "card-head", h2 { id: "nodes-title", "Nodes" } }
            div { class: "scroll-x", tabindex: "0", role: "region", aria_label: "List of nodes",
                table { class: "plain nodes",
                    thead { tr {
                        th { scope: "col", "Node" } th { scope: "col", "State" } th { scope: "col", class: "number", "Shards" }
                        th { scope: "col", class: "number", "Devices" } th { scope: "col", class: "number", "Heartbeats/s" }
                        th { scope: "col", "Lease" } th { scope: "col", "Link" } th { scope: "col", "Version" } th { scope: "col", "Since" }
                        if manages { th { scope: "col", span { class: "visually-hidden", "Actions" } } }
                    } }
                    tbody {
                        for node in snapshot.overview.nodes.iter() {
                            NodeRow { key: "{node.info.id}", snapshot: snapshot.clone(), node: node.clone(), manages, ondrain: move |name| draining.set(Some(name)) }
                        }
                    }
                }
            }
        }
        if let Some(name) = draining() {
            Drain { name, onclose: move |()| draining.set(None) }
        }
    }
}

/// A state in words, and its colour.
fn state_badge(node: &ClusterNode) -> (&'static str, &'static str) {
    match node.info.state {
        NodeState::Active if node.info.lease_left_ms <= 0 => ("Lease expired", "bad"),
        NodeState::Active => ("Active", "good"),
        NodeState::Draining if node.shards > 0 => ("Draining", "info"),
        NodeState::Draining => ("Drained", "info"),
        NodeState::Expired => ("Lost", "bad"),
        NodeState::Left => ("Left", ""),
    }
}

#[component]
fn NodeRow(snapshot: ClusterSnapshot, node: ClusterNode, manages: bool, ondrain: EventHandler<String>) -> Element {
    let session = use_session();
    let toasts = use_toasts();
    let (state, tone) = state_badge(&node);
    let live = node.info.state.is_live();
    let mark = snapshot.tone(node.info.id).map_or_else(String::new, |tone| format!("node-{tone}"));
    let since = node.info.ended_at.unwrap_or(node.info.joined_at);
    let lease = if live && node.info.lease_left_ms > 0 {
        format!("{:.1} s left", node.info.lease_left_ms as f64 / 1000.0)
    } else {
        format::UNKNOWN.into()
    };
    let (name, drained, resumed) = (node.info.name.clone(), node.info.name.clone(), node.info.name.clone());
    let resume = use_callback(move |name: String| {
        let session = session.clone();
        spawn(async move {
            let confirming = name.clone();
            match session
                .call(move |system, principal| async move { system.cluster.set_draining(&principal, &confirming, false).await })
                .await
            {
                Ok(()) => toasts.good(format!("{name} accepts shards again.")),
                Err(error) => toasts.failed(&error),
            }
        });
    });
    let stats = node.stats.as_ref().filter(|_| live);
    rsx! {
        tr { "data-testid": "node-row", "data-node": "{name}", "data-state": node.info.state.as_str(),
            td { "data-label": "Node", span { class: "node-mark {mark}", aria_hidden: "true" } strong { "{name}" }
                if node.is_this { span { class: "muted", " this node" } }
            }
            td { "data-label": "State", span { class: "badge {tone}", "data-testid": "node-state", "{state}" } }
            td { class: "number", "data-label": "Shards", "data-testid": "node-shards", {format::number(node.shards as u64)} }
            td { class: "number", "data-label": "Devices", {stats.map_or_else(unknown, |stats| rsx! { {format::number(stats.devices)} })} }
            td { class: "number", "data-label": "Heartbeats/s", {stats.map_or_else(unknown, |stats| rsx! { {format::rate(stats.heartbeats_per_second)} })} }
            td { "data-label": "Lease", "{lease}" }
            td { "data-label": "Link", "data-testid": "node-link",
                match (live, node.is_this, &node.link) {
                    (true, false, Some(link)) if link.reachable => rsx! {
                        span { class: "badge good", "Up" }
                        if let Some(took) = link.round_trip {
                            span { class: "muted", " {took.as_secs_f64() * 1000.0:.1} ms" }
                        }
                        if link.protocol != newest_protocol() {
                            span { class: "muted", " protocol {link.protocol}" }
                        }
                    },
                    (true, false, _) => rsx! { span { class: "badge bad", "Down" } },
                    _ => unknown(),
                }
            }
            td { class: "truncate", "data-label": "Version", title: node.info.version.clone(), {node.info.version.split('-').next().unwrap_or_default().to_owned()} }
            td { "data-label": "Since", {time_ago(since, &format::relative(snapshot.at, since))} }
            if manages {
                td { class: "row-action",
                    match node.info.state {
                        NodeState::Active => rsx! {
                            button { class: "button quiet small", r#type: "button", aria_haspopup: "dialog", "data-testid": "drain", onclick: move |_| ondrain.call(drained.clone()), "Drain" }
                        },
                        NodeState::Draining => rsx! {
                            button { class: "button quiet small", r#type: "button", "data-testid": "resume", onclick: move |_| resume.call(resumed.clone()), "Resume" }
                        },
                        _ => rsx! {},
                    }
                }
            }
        }
    }
}

/// The protocol that this build speaks when it can choose.
fn newest_protocol() -> u16 {
    link::protocol::PROTOCOL_MAX
}

#[component]
fn Drain(name: String, onclose: EventHandler<()>) -> Element {
    let session = use_session();
    let toasts = use_toasts();
    let mut busy = use_signal(|| false);
    let node = name.clone();
    let onconfirm = use_callback(move |()| {
        if busy() {
            return;
        }
        busy.set(true);
        let (session, node) = (session.clone(), node.clone());
        spawn(async move {
            let confirming = node.clone();
            match session
                .call(move |system, principal| async move { system.cluster.set_draining(&principal, &confirming, true).await })
                .await
            {
                Ok(()) => toasts.good(format!("Draining {node}.")),
                Err(error) => toasts.failed(&error),
            }
            onclose.call(());
        });
    });
    rsx! {
        Confirm { title: "Drain {name}?", action: "Drain", busy: busy(), onconfirm, onclose,
            p { "Its devices move to the other nodes, and it accepts no shards until it is resumed. It still serves requests." }
        }
    }
}
