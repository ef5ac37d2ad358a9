//! Device filters of bodies, queries and saved filters; orders; cursors.

use axum::extract::Query;
use axum::http::Uri;
use domain::query::{Cursor, DeviceFilter, FilterKey, Sort};
use wire::device_filter::{Filter, FilterParams};

use crate::samples::{DEVICE, view};

pub(super) fn run(data: &[u8]) {
    if let Ok(filter) = serde_json::from_slice::<Filter>(data) {
        let text = serde_json::to_string(&filter).unwrap_or_default();
        assert_eq!(serde_json::from_str::<Filter>(&text).ok().as_ref(), Some(&filter), "a filter that is not read back: {text}");
        take(filter);
    }
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(uri) = format!("/v1/devices?{text}").parse::<Uri>()
        && let Ok(Query(FilterParams(filter))) = Query::<FilterParams>::try_from_uri(&uri)
    {
        take(filter);
    }
    for key in FilterKey::ALL {
        if let Ok(value) = key.spec().parse(text) {
            take(Filter([(*key, value)].into()));
        }
    }
    let (key, order) = text.split_once(' ').unwrap_or((text, "alias"));
    if let Ok(sort) = Sort::parse(order) {
        assert!(sort.compare(&view(), &view()).is_eq());
        let _ = Cursor { key: key.to_owned(), id: DEVICE }.checked(sort);
    }
}

fn take(filter: Filter) {
    let Ok(filter) = DeviceFilter::of(filter.0) else { return };
    let is_match = filter.matches(&view());
    let Ok(checked) = filter.clone().checked() else { return };
    assert_eq!(checked.matches(&view()), is_match, "what a filter is checked into matches something else: {filter:?}");
    assert_eq!(checked.clone().checked().ok(), Some(checked.clone()), "a checked filter is not one");
    assert_eq!(DeviceFilter::of(checked.values()).ok(), Some(checked), "a filter that is not made of its values");
}
