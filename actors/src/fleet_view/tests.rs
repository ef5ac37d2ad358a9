//! When the view is complete, and what is missing from a peer's log.

use domain::device::DeviceIdentity;

use super::*;

fn id(n: u128) -> DeviceId {
    DeviceId(uuid::Uuid::from_u128(n))
}

fn view(n: u128) -> DeviceView {
    DeviceView {
        identity: Arc::new(DeviceIdentity {
            id: id(n),
            alias: format!("kiosk-{n}"),
            tags: vec![],
            groups: vec![],
            hardware_id: None,
            model: None,
            manufacturer: None,
            enrolled_at: chrono::DateTime::UNIX_EPOCH,
        }),
        last: None,
        last_seen_at: None,
        connectivity: Connectivity::NeverSeen,
        app_status: AppStatus::Unknown,
        channels: Default::default(),
        conflict_at: None,
        ghost: false,
        open_alerts: Default::default(),
    }
}

fn fleet() -> Arc<FleetView> {
    let policy = DevicePolicy {
        offline_after: chrono::TimeDelta::seconds(90),
        low_battery_pct: 20,
        app_stale_after_s: 300,
        ghost_after: chrono::TimeDelta::days(1),
        events_per_hour: 60,
    };
    FleetView::new(policy, Clock::system())
}

#[tokio::test(start_paused = true)]
async fn counts_are_incomplete_until_every_stored_device_was_in_view() {
    let fleet = fleet();
    let mut stats = fleet.stats();
    tokio::spawn(Arc::clone(&fleet).keep_counting());
    fleet.publish(view(1), Epoch(1));
    fleet.note_stored(2);
    let counted = *stats.wait_for(|stats| stats.devices == 1).await.unwrap();
    assert!(!counted.complete, "a part of the fleet");
    fleet.publish(view(2), Epoch(1));
    fleet.note_stored(2);
    let counted = *stats.wait_for(|stats| stats.complete).await.unwrap();
    assert_eq!(counted.devices, 2);
    // One that enrolls is shown a moment after it is stored: that is no start.
    fleet.note_stored(3);
    assert!(fleet.is_complete());
}

#[test]
fn an_empty_fleet_is_complete() {
    let fleet = fleet();
    assert!(!fleet.is_complete());
    fleet.note_stored(0);
    assert!(fleet.is_complete());
}

#[test]
fn what_a_peer_has_not_loaded_yet_is_missing_and_stays_in_view() {
    let fleet = fleet();
    for n in 1..=4 {
        let change = Change { device: id(n), epoch: Epoch(2), view: Some(view(n)) };
        fleet.take_over(vec![change]);
    }
    let shards: HashSet<ShardId> = (1..=3).map(|n| shard_of(id(n))).collect();
    let missing = |known: &[DeviceId], epoch: i64, most| {
        let mut missing = fleet.missing_from(&shards, |_| Epoch(epoch), |id| known.contains(&id), most);
        missing.sort_unstable();
        missing
    };
    let of_others = shards.contains(&shard_of(id(4)));
    assert!(!of_others, "the example has another shard");
    assert_eq!(missing(&[id(1)], 2, 10), [id(2), id(3)]);
    assert_eq!(missing(&[id(1)], 1, 10), [], "said in a newer epoch than the peer's");
    assert_eq!(missing(&[], 2, 2).len(), 2);
    assert_eq!(fleet.devices(&[id(1), id(2), id(3), id(4)]).len(), 4, "asking removes nothing");
    let revision = fleet.revision();
    fleet.remove_deleted(&[id(2)]);
    assert!(fleet.device(id(2)).is_none() && fleet.revision() != revision);
}

#[test]
fn the_lag_of_a_clock_is_known_from_the_views_that_came() {
    use domain::device::{ClockLag, LastStatus};
    use domain::heartbeat::Telemetry;

    let at = |second| chrono::DateTime::from_timestamp(1_795_000_000 + second, 0).unwrap();
    let seen = |seq: i64, told: i64, received: i64| {
        let telemetry = Telemetry { boot_id: Some("a".into()), seq: Some(seq), ..Telemetry::default() };
        let last =
            LastStatus { bucket_at: at(told), received_at: at(received), device_time: Some(at(told)), clock_rejected: false, telemetry };
        DeviceView { last: Some(Arc::new(last)), ..view(1) }
    };
    let fleet = fleet();
    let lag = || fleet.device_with_clock(id(1)).unwrap().1;
    let known = |since, least| Some(ClockLag { since: at(since), least: chrono::TimeDelta::seconds(least) });
    fleet.publish(view(1), Epoch(1));
    assert_eq!(lag(), None);
    fleet.publish(seen(1, 0, 130), Epoch(1));
    // The device moves to another node, and its heartbeats go on.
    let change = |view| vec![Change { device: id(1), epoch: Epoch(2), view: Some(view) }];
    fleet.take_over(change(seen(2, 10, 130)));
    assert_eq!(lag(), known(130, 120));
    fleet.take_over(change(DeviceView { connectivity: Connectivity::Offline, ..seen(2, 10, 130) }));
    assert_eq!(lag(), known(130, 120));
    fleet.publish(seen(3, 0, 10), Epoch(1));
    assert_eq!(lag(), known(130, 120), "an older epoch changes nothing");
}
