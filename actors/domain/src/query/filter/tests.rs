use super::*;
use std::collections::BTreeSet;

/// A value for each filter of the table.
fn full() -> DeviceFilter {
    let value = |spec: &FilterSpec| match &spec.kind {
        FilterKind::Below { offered, .. } => FilterValue::Number(offered[0]),
        FilterKind::Choice { choices } => FilterValue::Text(choices()[0].0.to_owned()),
        FilterKind::Exact { .. } | FilterKind::Search => FilterValue::Text(format!("a {}", spec.label)),
    };
    DeviceFilter::of(FilterKey::ALL.iter().map(|key| (*key, value(key.spec())))).unwrap()
}

#[test]
fn names_are_unique_and_what_pages_offer_is_within_the_limits() {
    let distinct = |name: fn(&FilterSpec) -> &str| FilterKey::ALL.iter().map(|key| name(key.spec())).collect::<BTreeSet<_>>().len();
    assert_eq!(distinct(|spec| spec.name), FilterKey::ALL.len());
    assert_eq!(distinct(|spec| spec.url_name), FilterKey::ALL.len());
    assert_eq!(distinct(|spec| spec.label), FilterKey::ALL.len());
    for key in FilterKey::ALL {
        let spec = key.spec();
        assert_eq!(FilterKey::named(spec.name), Some(*key));
        match &spec.kind {
            FilterKind::Below { offered, .. } => offered.iter().for_each(|number| spec.check(&FilterValue::Number(*number)).unwrap()),
            FilterKind::Choice { choices } => choices().iter().for_each(|(name, _)| drop(spec.parse(name).unwrap())),
            FilterKind::Exact { .. } | FilterKind::Search => {}
        }
    }
    assert_eq!(FilterKey::named("colour"), None);
}

#[test]
fn every_value_comes_back_as_it_was_set_and_is_cleared_alone() {
    let filter = full();
    assert_eq!(filter.values().count(), FilterKey::ALL.len());
    assert_eq!(filter.conditions().count(), FilterKey::ALL.len());
    assert_eq!(DeviceFilter::of(filter.values()).unwrap(), filter);
    for key in FilterKey::ALL {
        let mut less = filter.clone();
        less.clear(*key);
        assert_eq!(less.value(*key), None);
        assert_eq!(less.values().count(), FilterKey::ALL.len() - 1);
        let spec = key.spec();
        assert_eq!(spec.parse(&filter.value(*key).unwrap().to_string()), Ok(filter.value(*key).unwrap()));
    }
}

#[test]
fn values_of_another_kind_or_beyond_a_limit_are_refused_by_name() {
    let text = |text: &str| FilterValue::Text(text.into());
    for (key, value, problem) in [
        (FilterKey::BatteryBelow, FilterValue::Number(102), "102 is outside 0..101"),
        (FilterKey::BatteryBelow, FilterValue::Number(i64::MAX), "9223372036854775807 is outside 0..101"),
        (FilterKey::BatteryBelow, text("20"), "not a number"),
        (FilterKey::Connectivity, text("asleep"), "not one of online, offline, never_seen"),
        (FilterKey::AppStatus, text("asleep"), "not one of up, down, unknown"),
        (FilterKey::Tag, FilterValue::Number(7), "not a text"),
        (FilterKey::Alert, FilterValue::Number(7), "not a text"),
    ] {
        let refused = DeviceFilter::default().set(key, value).unwrap_err();
        assert_eq!((refused.field.as_str(), refused.problem.as_str()), (key.spec().name, problem));
    }
    for key in [FilterKey::Text, FilterKey::Tag, FilterKey::Group, FilterKey::AppVersion, FilterKey::Model] {
        for bad in ["a\0".to_owned(), "x".repeat(FILTER_TEXT_MAX_CHARS + 1)] {
            assert_eq!(key.spec().parse(&bad).unwrap_err().field, key.spec().name);
        }
    }
    assert!(FilterKey::BatteryBelow.spec().parse("20.5").is_err());
    assert!(DeviceFilter { battery_below: Some(102), ..Default::default() }.checked().is_err());
    assert_eq!(DeviceFilter { text: Some("a\0".into()), ..Default::default() }.checked().unwrap_err().field, "text");
}
