use chrono::DateTime;
use proptest::prelude::*;

use super::*;
use crate::heartbeat::{Telemetry, Transport};

fn at(second: i64) -> Timestamp {
    DateTime::from_timestamp(1_795_000_000 + second, 0).unwrap()
}

/// A heartbeat that was made and received in this second.
fn heartbeat(second: i64, boot: &str, seq: i64) -> LastStatus {
    sent_late(second, second, boot, seq)
}

fn sent_late(made: i64, received: i64, boot: &str, seq: i64) -> LastStatus {
    LastStatus {
        bucket_at: at(made),
        received_at: at(received),
        device_time: Some(at(made)),
        clock_rejected: false,
        telemetry: Telemetry { boot_id: Some(boot.into()), seq: Some(seq), ..Telemetry::default() },
    }
}

fn uptime(mut status: LastStatus, uptime_s: i64) -> LastStatus {
    status.telemetry.boot_id = None;
    status.telemetry.seq = None;
    status.telemetry.uptime_s = Some(uptime_s);
    status
}

/// The heartbeat that completes a conflict, counted from 1.
fn noticed(heartbeats: impl IntoIterator<Item = LastStatus>) -> Option<usize> {
    let mut runs = HeartbeatRuns::default();
    heartbeats.into_iter().position(|status| runs.observe(&status).is_some()).map(|at| at + 1)
}

/// Two devices by turns, this many seconds apart.
fn by_turns(count: i64, apart_s: i64) -> impl Iterator<Item = (i64, i64, bool)> {
    (0..count).map(move |n| (n * apart_s, n / 2, n % 2 == 0))
}

#[test]
fn two_devices_that_report_by_turns_are_noticed() {
    for apart_s in [1, 10, 300, 3_600] {
        let clones =
            by_turns(24, apart_s).map(|(second, n, one)| heartbeat(second, if one { "A" } else { "B" }, if one { 500 + n } else { 3 + n }));
        assert_eq!(noticed(clones), Some(6), "{apart_s} s apart");
    }
    // The same second, the same numbers.
    let clones = (0..24).map(|n| heartbeat(n / 2 * 10, if n % 2 == 0 { "A" } else { "B" }, n / 2));
    assert!(noticed(clones).is_some_and(|after| after <= 10));
    // Three heartbeats of each at a time.
    let clones = (0..60).map(|n| heartbeat(n * 60, if n / 3 % 2 == 0 { "A" } else { "B" }, n));
    assert_eq!(noticed(clones), Some(16));
    // In step by boot id and number, as snapshots of one running system are.
    let clones = (0..40).map(|n| heartbeat(n * 10, "A", 100 + n / 2));
    assert!(noticed(clones).is_some_and(|after| after <= 20));
    let clones = by_turns(24, 10).map(|(second, n, one)| heartbeat(second, "A", if one { 500 + n } else { 3 + n }));
    assert!(noticed(clones).is_some_and(|after| after <= 8));
}

#[test]
fn old_agents_are_told_apart_by_their_uptime() {
    let clones = by_turns(24, 60).map(|(second, _, one)| uptime(heartbeat(second, "", 0), second + if one { 86_400 } else { 4_000 }));
    assert_eq!(noticed(clones), Some(6));
    let one = (0..100).map(|n| uptime(heartbeat(n * 300, "", 0), n * 290));
    assert_eq!(noticed(one), None, "the uptime stands still in deep sleep");
    let silent = (0..40).map(|n| LastStatus { telemetry: Telemetry::default(), ..heartbeat(n * 60, "", 0) });
    assert_eq!(noticed(silent), None, "nothing to tell them apart by");
}

/// A heartbeat of an agent that reports neither boot nor uptime nor number.
fn bare(second: i64, model: &str, address: &str, charge_pct: i16) -> LastStatus {
    let mut status = heartbeat(second, "", 0);
    status.telemetry = Telemetry {
        model: Some(model.into()),
        ip: Some(address.into()),
        transport: Some(Transport::Wifi),
        ssid: Some("shop".into()),
        battery_pct: Some(charge_pct),
        ..Telemetry::default()
    };
    status
}

#[test]
fn agents_that_count_nothing_are_told_apart_by_what_they_are_and_where() {
    let hardware = by_turns(24, 60).map(|(second, _, one)| bare(second, if one { "Joy 2" } else { "Pixel 8" }, "192.0.2.7", 80));
    assert_eq!(noticed(hardware), Some(6), "two models behind one address");
    let places = by_turns(24, 60).map(|(second, n, one)| match one {
        true => bare(second, "Joy 2", "192.0.2.7", 90 - (n / 4) as i16),
        false => bare(second, "Joy 2", "192.0.2.8", 40 + (n / 4) as i16),
    });
    let evidence = {
        let mut runs = HeartbeatRuns::default();
        places.filter_map(|status| runs.observe(&status)).next().unwrap()
    };
    assert_eq!(evidence.one, "unknown boot, model Joy 2, address 192.0.2.7");
    assert_eq!(evidence.other, "unknown boot, model Joy 2, address 192.0.2.8");
    let one_device: [(&str, Vec<LastStatus>); 4] = [
        (
            "a tunnel and the network below it",
            by_turns(40, 60).map(|(s, _, one)| bare(s, "Joy 2", if one { "10.8.0.2" } else { "192.0.2.7" }, 80)).collect(),
        ),
        ("a lease that is renewed", (0..40).map(|n| bare(n * 300, "Joy 2", &format!("192.0.2.{}", n / 5), (90 - n) as i16)).collect()),
        (
            "Wi-Fi and cellular",
            by_turns(40, 60)
                .map(|(s, n, one)| {
                    let mut status = bare(s, "Joy 2", if one { "192.0.2.7" } else { "198.51.100.3" }, if one { 90 } else { 40 } - n as i16);
                    status.telemetry.transport = Some(if one { Transport::Wifi } else { Transport::Cellular });
                    status
                })
                .collect(),
        ),
        ("an update, once", (0..40).map(|n| bare(n * 60, if n < 20 { "Joy 2" } else { "Joy 2 (b)" }, "192.0.2.7", 80)).collect()),
    ];
    for (what, heartbeats) in one_device {
        assert_eq!(noticed(heartbeats), None, "{what}");
    }
}

/// Their clocks are wrong: what they agree with the server's in is how fast the uptime grows.
#[test]
fn clones_with_a_wrong_clock_are_noticed_by_uptime_and_boot() {
    let clones = by_turns(24, 150).map(|(second, n, one)| {
        let mut status = heartbeat(second, if one { "A" } else { "B" }, n);
        (status.device_time, status.clock_rejected) = (Some(at(-1_000_000_000)), true);
        status.telemetry.uptime_s = Some(second + if one { 90_000 } else { 70 });
        status
    });
    assert_eq!(noticed(clones), Some(6));
}

#[test]
fn what_one_device_does_is_no_conflict() {
    let on = |address: &str, transport, mut status: LastStatus| {
        (status.telemetry.ip, status.telemetry.transport) = (Some(address.to_owned()), Some(transport));
        status
    };
    let moving = (0..50).map(|n| match n % 2 {
        0 => on("192.0.2.7", Transport::Wifi, heartbeat(n * 60, "A", n)),
        _ => on("198.51.100.3", Transport::Cellular, heartbeat(n * 60, "A", n)),
    });
    let mut cases: Vec<(&str, Vec<LastStatus>)> = vec![
        ("it moves between Wi-Fi and cellular", moving.collect()),
        ("it restarts again and again", (0..60).map(|n| heartbeat(n * 40, &format!("boot {}", n / 3), n % 3)).collect()),
        ("the agent begins to count anew again and again", (0..60).map(|n| heartbeat(n * 10, "A", n % 7)).collect()),
        ("answers were lost and it repeats", (0..60).map(|n| heartbeat(n / 3 * 10, "A", n / 3)).collect()),
        ("its clock jumps to and fro", (0..60).map(|n| sent_late(n * 10 + n % 2 * 3_600, n * 10, "A", n)).collect()),
    ];
    // It was offline, restarted, and sends what it kept between newer ones: an hour and some minutes after.
    for kept_s in [3_600, 300] {
        let kept = |n: i64| sent_late(n * 10 - kept_s, n * 10 + 1, "A", n);
        let drained = (0..60).flat_map(|n| [heartbeat(n * 10, "B", n), kept(n)]);
        cases.push((
            "it drains its queue between newer heartbeats",
            drained.filter(|status| made_at(status) < at(0) || status.telemetry.boot_id.as_deref() == Some("B")).collect(),
        ));
    }
    // After the restart its clock is an hour slow, then right.
    let slow = (0..30).flat_map(|n| [sent_late(n * 10 - 3_600, n * 10, "B", n), sent_late(n * 10 - 1_200, n * 10 + 1, "A", n)]);
    cases.push(("its clock is slow after the restart", slow.collect()));
    let nineteen_seventy = (0..30).flat_map(|n| {
        let mut unset = heartbeat(n * 10, "B", n);
        (unset.device_time, unset.clock_rejected) = (Some(at(-1_795_000_000)), true);
        [unset, sent_late(n * 10 - 900, n * 10 + 1, "A", n)]
    });
    cases.push(("its clock is unset after the restart", nineteen_seventy.collect()));
    // A ping's answer without the fields that name boot and number.
    let bare = |second| LastStatus { telemetry: Telemetry { uptime_s: Some(5), ..Telemetry::default() }, ..heartbeat(second, "", 0) };
    cases.push((
        "some heartbeats name no boot",
        (0..40).map(|n| if n % 2 == 0 { heartbeat(n * 10, "A", n) } else { bare(n * 10) }).collect(),
    ));
    for (what, heartbeats) in cases {
        assert_eq!(noticed(heartbeats), None, "{what}");
    }
}

#[test]
fn evidence_names_both_and_a_conflict_is_told_once_per_evidence() {
    let mut runs = HeartbeatRuns::default();
    let found: Vec<_> = by_turns(12, 10)
        .filter_map(|(second, n, one)| {
            let mut status = heartbeat(second, if one { "A" } else { "B" }, n);
            status.telemetry.ip = Some(if one { "192.0.2.7" } else { "192.0.2.8" }.into());
            runs.observe(&status)
        })
        .collect();
    let evidence = &found[0];
    assert_eq!(evidence.one, "boot A, sequence 2, address 192.0.2.7");
    assert_eq!(evidence.other, "boot B, sequence 2, address 192.0.2.8");
    assert_eq!(found.len(), 2, "begun anew after each");
}

/// A device as it is: boots follow each other, numbers count upwards, and what it could not send is sent later, before or between
/// what is newer, some of it twice.
fn one_device() -> impl Strategy<Value = Vec<LastStatus>> {
    let step = (1i64..1_200, 0u8..20, any::<bool>(), 0u8..4);
    (proptest::collection::vec(step, 1..120), any::<bool>()).prop_map(|(steps, counts_on)| {
        let (mut now, mut boot, mut seq, mut kept, mut sent) = (0, 0, 0, Vec::new(), Vec::new());
        for (wait_s, reboots, online, drained) in steps {
            now += wait_s;
            if reboots == 0 {
                boot += 1;
                seq = if counts_on { seq } else { 0 };
            }
            seq += 1;
            let made = heartbeat(now, &format!("boot {boot}"), seq);
            if !online {
                kept.push(made);
                continue;
            }
            sent.push(made);
            for _ in 0..drained {
                if !kept.is_empty() {
                    let late = LastStatus { received_at: at(now), ..kept.remove(0) };
                    sent.extend([late.clone(), late]);
                }
            }
        }
        sent
    })
}

proptest! {
    #[test]
    fn one_device_is_never_taken_for_two(heartbeats in one_device()) {
        prop_assert_eq!(noticed(heartbeats), None);
    }

    /// Whatever the intervals, two devices that go on by turns are noticed after a few turns.
    #[test]
    fn two_devices_are_always_noticed(waits in proptest::collection::vec((1i64..1_200, 1i64..4), 12), first in 0i64..10_000, second in 0i64..10_000) {
        let (mut now, mut seqs, mut sent) = (0, [first, second], Vec::new());
        for (turn, (wait_s, several)) in waits.into_iter().enumerate() {
            for _ in 0..several {
                now += wait_s;
                seqs[turn % 2] += 1;
                sent.push(heartbeat(now, ["A", "B"][turn % 2], seqs[turn % 2]));
            }
        }
        prop_assert!(noticed(sent).is_some());
    }
}
