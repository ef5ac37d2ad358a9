//! A page of the dashboard without a browser and without services, for fuzzers: opened at any address, sent any events.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, LazyLock, Weak};
use std::time::Duration;

use actors::fleet_view::FleetView;
use clock::Clock;
use dioxus::prelude::VirtualDom;
use dioxus_interpreter_js::MutationState;
use domain::access::Principal;
use domain::device::{DevicePolicy, DeviceView};
use domain::shard::Epoch;
use tokio::runtime::{Builder, Runtime};

use crate::app::app;
use crate::context::{InitialPath, Session};
use crate::fleet_watch::FleetWatch;
use crate::route::Route;
use crate::transport;

/// How long a page may settle after an event: nothing is awaited that comes from elsewhere.
const SETTLING: Duration = Duration::from_millis(1);

static RUNTIME: LazyLock<Option<Runtime>> = LazyLock::new(|| {
    // Made for its side effect: it registers how events are read.
    drop(dioxus_liveview::LiveViewPool::new());
    Builder::new_current_thread().enable_all().build().ok()
});

/// Opens a page for `principal` over a fleet of these devices, and dispatches the messages of its browser. Returns what it drew.
pub fn browse(principal: Principal, views: &[DeviceView], address: &str, messages: &[&str]) -> Vec<u8> {
    let Some(runtime) = RUNTIME.as_ref() else { return vec![] };
    let policy = DevicePolicy {
        offline_after: chrono::TimeDelta::minutes(12),
        low_battery_pct: 15,
        app_stale_after_s: 600,
        ghost_after: chrono::TimeDelta::hours(24),
        events_per_hour: 60,
    };
    let clock = Clock::system();
    let fleet = FleetView::new(policy, clock.clone());
    views.iter().for_each(|view| fleet.publish(view.clone(), Epoch(1)));
    fleet.note_stored(views.len() as u64);
    let session = Session {
        clock,
        system: Weak::new(),
        runtime: runtime.handle().clone(),
        watch: FleetWatch::new(Arc::clone(&fleet), policy),
        fleet,
        policy,
        principal,
        origin: "https://mdm.example".into(),
        address: IpAddr::V4(Ipv4Addr::LOCALHOST),
        limits: Arc::new([]),
        uploads: Arc::default(),
        alert_counts: Arc::default(),
    };
    runtime.block_on(async {
        let mut document = VirtualDom::new(app).with_root_context(session).with_root_context(InitialPath(address.to_owned()));
        let mut mutations = Box::<MutationState>::default();
        let mut drawn = Vec::new();
        document.rebuild(&mut *mutations);
        mutations.write_memory_into(&mut drawn);
        for message in [""].iter().chain(messages) {
            transport::handle(&document, message);
            let settled = async {
                loop {
                    document.wait_for_work().await;
                    document.render_immediate(&mut *mutations);
                    mutations.write_memory_into(&mut drawn);
                }
            };
            let _ = tokio::time::timeout(SETTLING, settled).await;
        }
        drawn
    })
}

/// The address of the page that an address leads to.
pub fn canonical_address(address: &str) -> String {
    let Ok(route) = address.parse::<Route>();
    route.to_string()
}
