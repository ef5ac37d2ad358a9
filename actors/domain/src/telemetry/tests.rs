use super::*;

#[test]
fn out_of_range_values_name_their_field() {
    let cases: Vec<(&str, Telemetry)> = vec![
        ("battery.pct", Telemetry { battery_pct: Some(101), ..Default::default() }),
        ("battery.pct", Telemetry { battery_pct: Some(-1), ..Default::default() }),
        ("memory.pressure_pct", Telemetry { ram_pressure_pct: Some(101), ..Default::default() }),
        ("storage_free_mb", Telemetry { storage_free_mb: Some(-1), ..Default::default() }),
        ("battery.temperature_c", Telemetry { battery_temperature_c: Some(1e9), ..Default::default() }),
        ("network.ssid", Telemetry { ssid: Some("a\0b".into()), ..Default::default() }),
        ("network.ssid", Telemetry { ssid: Some("x".repeat(65)), ..Default::default() }),
        ("self_heal_hints", Telemetry { self_heal_hints: Some("x".repeat(5000)), ..Default::default() }),
    ];
    for (field, telemetry) in cases {
        assert_eq!(telemetry.checked().unwrap_err().field, field);
    }
    assert!(Telemetry { battery_pct: Some(100), ..Default::default() }.checked().is_ok());
}

#[test]
fn transports_read_by_name_only() {
    assert_eq!(Transport::parse("network.transport", "wifi").unwrap(), Transport::Wifi);
    assert_eq!(Transport::parse("network.transport", "5g").unwrap_err().field, "network.transport");
}

#[test]
fn rows_are_told_apart_by_number_name_path_and_place() {
    fn repeated<T: Ord + Clone>(mut values: Vec<T>) -> bool {
        values.sort();
        values.windows(2).any(|pair| pair[0] == pair[1])
    }
    let watched_packages = 35;
    assert!(!repeated(FIELDS.iter().map(|field| field.number).chain([watched_packages]).collect()));
    assert!(!repeated(FIELDS.iter().map(|field| field.name).collect()));
    assert!(!repeated(FIELDS.iter().map(|field| field.path).collect()));
    assert!(!repeated(FIELDS.iter().filter_map(|field| field.csv).collect()));
    for field in FIELDS {
        let (Storage::column(name) | Storage::status(name) | Storage::detail(name)) = field.storage;
        assert_eq!(name, field.name, "one name from the heartbeat's arrival to the API");
        let whole_from_zero = matches!(field.kind, "i16" | "i32" | "i64") && field.range.starts_with("0..");
        assert!(
            !field.sortable || (whole_from_zero && !matches!(field.storage, Storage::detail(_))),
            "{}: not to be sorted by",
            field.name
        );
        assert!(!field.plotted || matches!(field.storage, Storage::column(_)), "{}: a plot reads stored heartbeats", field.name);
    }
}

#[test]
fn a_reading_is_found_by_its_field() {
    let reported = Telemetry { battery_temperature_c: Some(31.1), transport: Some(Transport::Wifi), ..Default::default() };
    let readings: Vec<_> = FIELDS.iter().filter_map(|field| Some((field.path, (field.get)(&reported)?.to_string()))).collect();
    assert_eq!(readings, [("battery.temperature_c", "31.1".into()), ("network.transport", "wifi".into())]);
}

/// The table of docs/telemetry.md.
fn documented() -> String {
    let row = |field: &Field| {
        let unit = if field.unit.symbol().is_empty() { String::new() } else { format!(", {}", field.unit.symbol()) };
        let stored = match field.storage {
            Storage::column(_) => "history",
            Storage::status(_) | Storage::detail(_) => "newest",
        };
        let mut shown = vec![];
        shown.extend(field.in_api.then_some("API"));
        shown.extend(field.csv.map(|_| "export"));
        shown.extend(field.plotted.then_some("plot data"));
        let range = if field.range.is_empty() { String::new() } else { format!(" ({})", field.range) };
        let (name, path, kind, about) = (field.name, field.path, field.kind, field.about);
        let opt_in = field.opt_in.map_or_else(String::new, |name| format!(" Opt-in `{name}`."));
        format!("| `{name}` | `{path}` | {kind}{unit}{range} | {stored} | {} | {about}{opt_in} |\n", shown.join(", "))
    };
    FIELDS.iter().map(row).collect()
}

/// `NEXMDM_WRITE_DOCS=1` writes it anew.
#[test]
fn every_field_is_documented() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/telemetry.md");
    let document = std::fs::read_to_string(path).unwrap();
    let (before, rest) = document.split_once("|---|---|---|---|---|---|\n").unwrap();
    let table: String = rest.lines().take_while(|line| line.starts_with('|')).map(|line| format!("{line}\n")).collect();
    if std::env::var_os("NEXMDM_WRITE_DOCS").is_some() {
        let after = &rest[table.len()..];
        std::fs::write(path, format!("{before}|---|---|---|---|---|---|\n{}{after}", documented())).unwrap();
    } else {
        assert_eq!(table, documented(), "docs/telemetry.md differs from the telemetry table");
    }
}
