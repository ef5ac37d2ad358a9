//! Tables and properties of what is packed.

use super::*;
use chrono::{DateTime, TimeDelta};
use domain::heartbeat::{Heartbeat, Telemetry};
use domain::telemetry::{FIELDS, Storage};
use proptest::prelude::*;

const BUCKET_S: i64 = 1_780_000_000;

fn at(us: i64) -> Timestamp {
    DateTime::from_timestamp_micros(BUCKET_S * 1_000_000 + us).unwrap()
}

fn status(telemetry: Telemetry) -> LastStatus {
    let heartbeat = Heartbeat::new(domain::DeviceId(uuid::Uuid::nil()), Some(at(1_000_000)), telemetry, at(2_345_678));
    heartbeat.into()
}

/// What the view has of the packed values, done here: `None` where the wide column counts.
fn flag(readings: i32, shift: u32) -> Option<bool> {
    match (readings >> shift) & 3 {
        1 => Some(false),
        2 => Some(true),
        _ => None,
    }
}

fn percent(readings: i32, shift: u32) -> Option<i16> {
    i16::try_from((readings >> shift) & 127).ok().filter(|value| *value != 0).map(|value| value - 1)
}

/// The telemetry that a narrow row tells, where `wide` has the values that it left.
fn told(narrow: &NarrowValues, wide: &Telemetry) -> Telemetry {
    let readings = narrow.readings.unwrap();
    let stays = |column: &str| narrow.wide & bit(column) != 0;
    macro_rules! value {
        ($field:ident, $narrow:expr) => {{
            let narrow = $narrow;
            assert!(narrow.is_none() || !stays(stringify!($field)), "{} is in both", stringify!($field));
            narrow.or_else(|| wide.$field.clone().filter(|_| stays(stringify!($field))))
        }};
    }
    let queue = if readings < 0 { Some(0) } else { narrow.queue_depth.map(i32::from) };
    let transport = [Transport::Wifi, Transport::Cellular, Transport::Ethernet, Transport::None, Transport::Other];
    let network = usize::try_from((readings >> 7) & 7).unwrap().checked_sub(1).map(|at| transport[at]);
    let of_session = |text: &Option<String>| text.clone().filter(|_| narrow.session.is_some());
    Telemetry {
        battery_pct: value!(battery_pct, percent(readings, 10)),
        charging: value!(charging, flag(readings, 1)),
        battery_temperature_c: value!(battery_temperature_c, narrow.temperature.map(|tenths| f32::from(tenths) / 10.0)),
        app_version: value!(app_version, of_session(&wide.app_version)),
        agent_version_code: value!(agent_version_code, wide.agent_version_code.filter(|_| narrow.session.is_some())),
        uptime_s: value!(uptime_s, narrow.uptime.map(i64::from)),
        ram_available_mb: value!(ram_available_mb, narrow.ram_available.map(i32::from)),
        ram_pressure_pct: value!(ram_pressure_pct, percent(readings, 17)),
        storage_free_mb: value!(storage_free_mb, narrow.storage_free.map(i64::from)),
        transport: value!(transport, network),
        net_validated: value!(net_validated, flag(readings, 3)),
        foreground_recent_s: value!(foreground_recent_s, narrow.foreground_recent.map(i32::from)),
        app_running: value!(app_running, flag(readings, 5)),
        queue_depth: value!(queue_depth, queue),
        boot_id: value!(boot_id, of_session(&wide.boot_id)),
        seq: value!(seq, narrow.seq.map(i64::from)),
        cpu_load_pct: value!(cpu_load_pct, percent(readings, 24)),
        ..Telemetry::default()
    }
}

fn any_option<T: Clone + std::fmt::Debug + 'static>(value: impl Strategy<Value = T> + 'static) -> BoxedStrategy<Option<T>> {
    proptest::option::of(value).boxed()
}

prop_compose! {
    fn telemetry()(
        numbers in (any_option(0i16..=100), any_option(0i16..=100), any_option(0i16..=100), any_option(any::<i64>()), any_option(any::<i64>()),
            any_option(0i64..5_000_000_000), any_option(0i32..70_000), any_option(0i32..70_000), any_option(0i32..70_000)),
        flags in (any_option(any::<bool>()), any_option(any::<bool>()), any_option(any::<bool>())),
        temperature in any_option(prop_oneof![any::<f32>().prop_filter("a number", |value| !value.is_nan()), (-1000i32..2000).prop_map(|tenths| tenths as f32 / 10.0)]),
        transport in any_option(prop::sample::select(vec![
            Transport::Wifi, Transport::Cellular, Transport::Ethernet, Transport::None, Transport::Other,
        ])),
        texts in (any_option("[a-c]{0,3}"), any_option("[a-c]{0,3}"), any_option(any::<i64>())),
    ) -> Telemetry {
        Telemetry {
            battery_pct: numbers.0, ram_pressure_pct: numbers.1, cpu_load_pct: numbers.2, seq: numbers.3, uptime_s: numbers.4,
            storage_free_mb: numbers.5, ram_available_mb: numbers.6, foreground_recent_s: numbers.7, queue_depth: numbers.8,
            charging: flags.0, net_validated: flags.1, app_running: flags.2, battery_temperature_c: temperature, transport,
            app_version: texts.0, boot_id: texts.1, agent_version_code: texts.2, ..Telemetry::default()
        }
    }
}

proptest! {
    #[test]
    fn whatever_is_told_stands_in_a_narrow_or_in_its_wide_column(told_by in telemetry(), has_session: bool) {
        let narrow = NarrowValues::of(&status(told_by.clone()), has_session.then_some(7));
        prop_assert_eq!(told(&narrow, &told_by), told_by);
    }

    #[test]
    fn times_come_back_to_the_microsecond(device_us in -40_000_000_000i64..40_000_000_000, received_us in -400_000_000i64..400_000_000) {
        let mut status = status(Telemetry::default());
        (status.device_time, status.received_at) = (Some(at(device_us)), at(received_us));
        let narrow = NarrowValues::of(&status, None);
        prop_assert_eq!(status.bucket_at + TimeDelta::microseconds(narrow.received_us.unwrap().into()), status.received_at);
        if let Some(ms) = narrow.device_time {
            prop_assert_eq!(Some(status.bucket_at + TimeDelta::milliseconds(ms.into())), status.device_time);
        } else {
            prop_assert!(device_us % 1000 != 0 || (device_us / 1000).abs() > i64::from(i16::MAX));
        }
    }
}

#[test]
fn a_usual_heartbeat_leaves_nothing_wide() {
    let usual = Telemetry {
        battery_pct: Some(100),
        charging: Some(false),
        battery_temperature_c: Some(31.7),
        app_version: Some("1.4.0".into()),
        agent_version_code: Some(140),
        uptime_s: Some(86_400),
        ram_available_mb: Some(1024),
        ram_pressure_pct: Some(0),
        storage_free_mb: Some(120_000),
        transport: Some(Transport::Other),
        net_validated: Some(true),
        foreground_recent_s: Some(3),
        app_running: Some(true),
        queue_depth: Some(0),
        boot_id: Some("boot".into()),
        seq: Some(9),
        cpu_load_pct: Some(100),
        ..Telemetry::default()
    };
    let narrow = NarrowValues::of(&status(usual), Some(1));
    let of_history = UNPACKED.iter().filter(|(name, _)| NAMES.contains(name));
    for (column, _) in of_history {
        assert_eq!(narrow.wide & bit(column), 0, "{column}");
    }
    assert_eq!((narrow.received_us, narrow.device_time, narrow.queue_depth), (Some(2_345_678), Some(1000), None));
    assert!(narrow.readings.is_some_and(|readings| readings < 0), "{narrow:?}");
}

#[test]
fn edges_of_what_fits() {
    let of = |telemetry: Telemetry| NarrowValues::of(&status(telemetry), None);
    for (value, fits) in [(0, true), (i64::from(i32::MAX), true), (i64::from(i32::MAX) + 1, false), (i64::MAX, false), (i64::MIN, false)] {
        let narrow = of(Telemetry { seq: Some(value), ..Telemetry::default() });
        assert_eq!((narrow.seq.map(i64::from), narrow.wide & bit("seq") == 0), (fits.then_some(value), fits), "{value}");
    }
    for (value, fits) in [(-1, true), (1, true), (32_767, true), (32_768, false), (i32::MAX, false)] {
        let narrow = of(Telemetry { queue_depth: Some(value), ..Telemetry::default() });
        assert_eq!((narrow.queue_depth.map(i32::from), narrow.wide & bit("queue_depth") == 0), (fits.then_some(value), fits), "{value}");
    }
    for (value, fits) in [
        (31.7, true),
        (-0.1, true),
        (0.0, true),
        (-0.0, false),
        (31.75, false),
        (3276.7, true),
        (3276.8, false),
        (f32::NAN, false),
        (f32::INFINITY, false),
    ] {
        assert_eq!(tenths(value).is_some(), fits, "{value}");
    }
    // What no device may say is left to the checks of the wide columns.
    for value in [-1, 101, i16::MAX, i16::MIN] {
        let narrow = of(Telemetry { battery_pct: Some(value), ..Telemetry::default() });
        assert!(narrow.wide & bit("battery_pct") != 0 && narrow.readings == Some(0), "{value}: {narrow:?}");
    }
    // Received more than 35 minutes from its bucket: a row of an offline device's queue.
    for (us, is_narrow) in [(i64::from(i32::MAX), true), (i64::from(i32::MAX) + 1, false), (-300_000_000, true)] {
        let mut late = status(Telemetry { seq: Some(1), ..Telemetry::default() });
        late.received_at = at(us);
        assert_eq!(NarrowValues::of(&late, Some(1)) != NarrowValues::WIDE, is_narrow, "{us}");
    }
}

#[test]
fn every_column_of_history_is_unpacked_and_has_a_bit() {
    for field in FIELDS {
        let Storage::column(name) = field.storage else { continue };
        assert!(
            UNPACKED.iter().any(|(column, _)| *column == name),
            "{name}: give it a narrow form, or a line in this test that says why not"
        );
        assert!(bit(name) > 0, "{name}");
    }
    assert!(NAMES.len() < 31, "no bit is left");
    assert_eq!(unpacked("mood", "h.mood"), "h.mood");
    assert_eq!(
        unpacked("seq", "NULL::bigint"),
        "CASE WHEN h.received_at IS NULL THEN coalesce(h.seq_int::bigint, NULL::bigint) ELSE NULL::bigint END"
    );
}
