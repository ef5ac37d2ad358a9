//! URL state of pages: filter, order and selection, which thereby survive a reload and a lost connection and can be
//! shared.
//!
//! The router decodes percent signs of the whole query before a page sees it, so
//! values are written with `~` in their place: `a&b` is `a~26b`.

use std::fmt::{self, Write};

use chrono::NaiveDate;
use domain::Invalid;
use domain::bulk_target::{narrowing, without_blanks};
use domain::enrollment::TokenStatus;
use domain::query::{DeviceFilter, FilterKey, Sort};

use crate::selection::{self, SELECTED_MAX, Selection};

/// Longest accepted value.
const VALUE_CHARS_MAX: usize = 200;
/// Longest name of a parameter that a refusal repeats.
pub(crate) const NAME_CHARS_MAX: usize = 40;
/// Conditions of a selection of every device: a pair without a value has no meaning.
const ALL_DEVICES: &str = "devices";

/// State of the devices page.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct DevicesUrl {
    /// Filter.
    pub(crate) filter: DeviceFilter,
    /// Order.
    pub(crate) sort: Sort,
    /// Selected devices.
    pub(crate) selected: Selection,
}

impl DevicesUrl {
    /// Parses the filter of a URL that is not a page: what is not understood must not widen it.
    ///
    /// # Errors
    /// Names the parameter that is unknown, given twice or out of its limits.
    pub(crate) fn exact_filter_of_address(query: &str) -> Result<DeviceFilter, Invalid> {
        exact_filter(&percent_decoded(query), &["sort", "sel", "all", "not"])
    }

    /// Number of conditions of the filter.
    pub(crate) fn conditions(&self) -> usize {
        self.filter.conditions().count()
    }
}

impl From<&str> for DevicesUrl {
    /// Parses known parameters and ignores the rest.
    fn from(query: &str) -> Self {
        let sort = pairs(query).filter(|(key, _)| *key == "sort").last().and_then(|(_, value)| Sort::parse(&value).ok());
        Self { filter: filter_of(query), sort: sort.unwrap_or_default(), selected: selection_of(query) }
    }
}

/// Parses the selection of a query.
pub(crate) fn selection_of(query: &str) -> Selection {
    let mut selected = Selection::default();
    for (key, value) in pairs(query) {
        match key {
            "sel" => selected = Selection::of(selection::ids(&value)),
            "all" => selected = matching_of(&value),
            _ => {}
        }
    }
    // Independent of the order of parameters.
    if let Some((_, value)) = pairs(query).find(|(key, _)| *key == "not") {
        let left_out: Vec<_> = selection::ids(&value).collect();
        // An id that is not understood would be selected after all.
        if left_out.len() != value.split('.').count() || !left_out.into_iter().all(|id| selected.set(id, false)) {
            return Selection::default();
        }
    }
    selected
}

/// Parses the conditions of a selection: every device only by its word, and none at all if a condition is not understood.
fn matching_of(conditions: &str) -> Selection {
    if conditions == ALL_DEVICES {
        return Selection::matching(DeviceFilter::default());
    }
    exact_filter(conditions, &[]).and_then(|filter| narrowing(filter, "all")).map(Selection::matching).unwrap_or_default()
}

/// Parses the filter conditions of a query that has to be understood as a whole; `others` are parameters beside them.
fn exact_filter(query: &str, others: &[&str]) -> Result<DeviceFilter, Invalid> {
    let mut filter = DeviceFilter::default();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        match FilterKey::ALL.iter().find(|key| key.spec().url_name == name) {
            Some(key) if filter.value(*key).is_some() => return Err(Invalid::new(name, "given twice")),
            Some(key) => filter.set(*key, key.spec().parse(&unescaped(value))?)?,
            None if others.contains(&name) => {}
            None => return Err(Invalid::new(name.chars().take(NAME_CHARS_MAX).collect::<String>(), "unknown parameter")),
        }
    }
    without_blanks(filter, "")
}

/// Parses the filter conditions of a query.
fn filter_of(query: &str) -> DeviceFilter {
    let mut filter = DeviceFilter::default();
    for (name, value) in pairs(query) {
        if let Some(key) = FilterKey::ALL.iter().find(|key| key.spec().url_name == name) {
            set_text(&mut filter, *key, &value);
        }
    }
    filter
}

/// Sets a filter from the text of a form or an address. Text that is empty or not understood removes it.
pub(crate) fn set_text(filter: &mut DeviceFilter, key: FilterKey, text: &str) {
    let text = text.trim();
    let value = Some(text).filter(|text| !text.is_empty()).and_then(|text| key.spec().parse(text).ok());
    if value.is_none_or(|value| filter.set(key, value).is_err()) {
        filter.clear(key);
    }
}

/// Filter in the form of query parameters.
struct FilterQuery<'a>(&'a DeviceFilter);

impl fmt::Display for FilterQuery<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Query { f, first: true }.filter(self.0)
    }
}

impl fmt::Display for DevicesUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut query = Query { f, first: true };
        query.filter(&self.filter)?;
        if self.sort != Sort::default() {
            let sign = if self.sort.descending { "-" } else { "" };
            query.pair("sort", Some(&format!("{sign}{}", self.sort.key.as_str())))?;
        }
        query.selection(&self.selected)
    }
}

/// Time range of plots, the shortest first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, strum::IntoStaticStr, strum::EnumString, strum::VariantArray)]
pub(crate) enum Range {
    /// The last 24 hours.
    #[default]
    #[strum(serialize = "24h")]
    Day,
    /// The last 7 days.
    #[strum(serialize = "7d")]
    Week,
    /// The last 30 days.
    #[strum(serialize = "30d")]
    Month,
}

domain::named!(pub(crate) Range, parse -> Option);

/// State of the page of a device.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct DeviceUrl {
    /// Time range of the plots.
    pub(crate) range: Range,
    /// The day that they show instead, UTC.
    pub(crate) day: Option<NaiveDate>,
}

impl From<&str> for DeviceUrl {
    fn from(query: &str) -> Self {
        let value = |wanted: &str| pairs(query).find(|(key, _)| *key == wanted).map(|(_, value)| value);
        let range = value("range").and_then(|name| Range::parse(&name));
        // A day so far off that nothing was reported on it shows the range.
        let day = value("day").and_then(|day| day.parse::<NaiveDate>().ok()).filter(|day| *day >= domain::history::EARLIEST.date_naive());
        Self { range: range.unwrap_or_default(), day }
    }
}

impl fmt::Display for DeviceUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let range = Some(self.range.as_str()).filter(|_| self.range != Range::default());
        let mut query = Query { f, first: true };
        query.pair("range", range)?;
        query.pair("day", self.day.map(|day| day.to_string()).as_deref())
    }
}

/// State of the enrollment page.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct EnrollmentUrl {
    /// Filter of tokens by status.
    pub(crate) status: Option<TokenStatus>,
}

impl From<&str> for EnrollmentUrl {
    fn from(query: &str) -> Self {
        let status = pairs(query).find(|(key, _)| *key == "status").and_then(|(_, name)| TokenStatus::parse("status", &name).ok());
        Self { status }
    }
}

impl fmt::Display for EnrollmentUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Query { f, first: true }.pair("status", self.status.map(TokenStatus::as_str))
    }
}

/// Text with its percent signs decoded; what does not read as one stays as it is.
pub(crate) fn percent_decoded(query: &str) -> String {
    percent_encoding::percent_decode_str(query).decode_utf8_lossy().into_owned()
}

/// Writer of query parameters.
pub(crate) struct Query<'a, 'f> {
    f: &'a mut fmt::Formatter<'f>,
    first: bool,
}

impl<'a, 'f> Query<'a, 'f> {
    /// An empty query.
    pub(crate) fn new(f: &'a mut fmt::Formatter<'f>) -> Self {
        Self { f, first: true }
    }

    fn filter(&mut self, filter: &DeviceFilter) -> fmt::Result {
        filter.values().try_for_each(|(key, value)| self.pair(key.spec().url_name, Some(&value.to_string())))
    }

    /// Writes the parameters of a selection.
    pub(crate) fn selection(&mut self, selected: &Selection) -> fmt::Result {
        let ids = |ids: &[domain::DeviceId]| Some(selection::names(ids)).filter(|ids| !ids.is_empty());
        match selected {
            Selection::Devices(selected) => self.pair("sel", ids(selected).as_deref()),
            Selection::Matching { filter, except } => {
                let conditions = FilterQuery(filter).to_string();
                self.pair("all", Some(if conditions.is_empty() { ALL_DEVICES } else { &conditions }))?;
                self.pair("not", ids(except).as_deref())
            }
        }
    }

    /// Writes a pair, unless it has no value.
    pub(crate) fn pair(&mut self, key: &str, value: Option<&str>) -> fmt::Result {
        let Some(value) = value else { return Ok(()) };
        if !std::mem::take(&mut self.first) {
            self.f.write_char('&')?;
        }
        write!(self.f, "{key}=")?;
        for c in value.chars() {
            match c {
                ' ' => self.f.write_char('+')?,
                c if c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_') => self.f.write_char(c)?,
                c if c.is_ascii() => write!(self.f, "~{:02X}", c as u32)?,
                // The router writes these as percent signs and reads them back.
                c => self.f.write_char(c)?,
            }
        }
        Ok(())
    }
}

/// Pairs of a query with a value.
pub(crate) fn pairs(query: &str) -> impl Iterator<Item = (&str, String)> {
    query
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .map(|(key, value)| (key, decode(key, value)))
        .filter(|(_, value)| !value.is_empty())
}

fn decode(key: &str, value: &str) -> String {
    let limit = match key {
        "sel" | "not" => SELECTED_MAX * 37,
        // A filter within a filter's query.
        "all" => VALUE_CHARS_MAX * 24,
        _ => VALUE_CHARS_MAX,
    };
    unescaped(value).chars().filter(|c| !c.is_control()).take(limit).collect::<String>().trim().to_owned()
}

/// Value of a pair as it was written.
fn unescaped(value: &str) -> String {
    let mut text = String::new();
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        match c {
            '+' => text.push(' '),
            '~' => {
                let mut ahead = chars.clone();
                let code: Option<u32> =
                    ahead.next().zip(ahead.next()).and_then(|(high, low)| Some(high.to_digit(16)? * 16 + low.to_digit(16)?));
                match code.filter(|code| *code < 128).and_then(char::from_u32) {
                    Some(decoded) => {
                        text.push(decoded);
                        chars = ahead;
                    }
                    None => text.push('~'),
                }
            }
            c => text.push(c),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::DeviceId;
    use domain::device::{AppStatus, Connectivity, IdentityStatus};
    use domain::query::{FilterKind, FilterValue, OpenAlerts, SortKey};

    fn id(n: u128) -> DeviceId {
        DeviceId(uuid::Uuid::from_u128(n))
    }

    /// Every filter of the table, with text that addresses have to escape.
    fn full() -> DevicesUrl {
        let mut filter = DeviceFilter {
            connectivity: Some(Connectivity::NeverSeen),
            tag: Some("a&b=c".into()),
            group: Some("50% #1 ~26 +x?".into()),
            text: Some("käse <b>".into()),
            app_version: Some("1.4.0".into()),
            model: Some("Joy 2".into()),
            app_status: Some(AppStatus::Down),
            identity: Some(IdentityStatus::Ghost),
            alert: Some(OpenAlerts::Any),
            ..Default::default()
        };
        for key in FilterKey::ALL {
            if let FilterKind::Below { offered, .. } = &key.spec().kind {
                filter.set(*key, FilterValue::Number(offered[0])).unwrap();
            }
        }
        DevicesUrl { filter, sort: Sort { key: SortKey::BATTERY, descending: true }, selected: Selection::of([id(1), id(2)]) }
    }

    #[test]
    fn an_address_reads_back_as_it_was_written() {
        for url in [DevicesUrl::default(), full()] {
            assert_eq!(DevicesUrl::from(url.to_string().as_str()), url);
        }
        assert_eq!(DevicesUrl::default().to_string(), "");
        assert_eq!(full().conditions(), FilterKey::ALL.len());
    }

    #[test]
    fn an_address_survives_the_router() {
        use crate::route::Route;
        let route = Route::Devices { query: full() };
        let printed = route.to_string();
        assert_eq!(printed.parse::<Route>().ok(), Some(route), "{printed}");
        assert!(!printed.contains(['<', ' ', '"', '#']), "{printed}");
    }

    #[test]
    fn a_download_reads_the_same_address_as_the_page() {
        let printed = crate::route::Route::Devices { query: full() }.to_string();
        let (_, query) = printed.split_once('?').unwrap();
        assert_eq!(DevicesUrl::exact_filter_of_address(query), Ok(full().filter));
        assert_eq!(percent_decoded("a%2"), "a%2");
        assert_eq!(percent_decoded("%zz%C3%A4"), "%zzä");
    }

    #[test]
    fn what_is_not_understood_is_left_out() {
        let url = DevicesUrl::from("status=happy&battery_below=900&sort=colour&sel=1.x&foo=1&q=&tag=~ZZ~0");
        assert_eq!(url, DevicesUrl { filter: DeviceFilter { tag: Some("~ZZ~0".into()), ..Default::default() }, ..Default::default() });
        assert_eq!(DevicesUrl::from(format!("q={}", "x".repeat(5000)).as_str()).filter.text.unwrap().len(), VALUE_CHARS_MAX);
        assert_eq!(DevicesUrl::from("q=a~00b%").filter.text.as_deref(), Some("ab%"));
    }

    #[test]
    fn a_selection_by_filter_reads_back_whatever_the_page_shows() {
        for selecting in [full().filter, DeviceFilter::default()] {
            let mut url = DevicesUrl { selected: Selection::matching(selecting), ..full() };
            assert_eq!(DevicesUrl::from(url.to_string().as_str()), url);
            assert!(url.selected.set(id(7), false));
            assert_eq!(DevicesUrl::from(url.to_string().as_str()), url);
        }
    }

    /// A selection that an older build wrote, or that somebody shortened, must not become the fleet.
    #[test]
    fn a_selection_that_is_not_understood_is_none() {
        for none in [
            "all=tagg~3Dtill",
            "all=battery_below~3D900",
            "all=status~3Dhappy~26tag~3Dtill",
            "all=q~3D",
            "all=all",
            "all=devices~26tag~3Dtill",
            "all=devices&not=x",
            "all=devices&not=00000000000000000000000000000007.x",
        ] {
            assert_eq!(selection_of(none), Selection::default(), "{none}");
        }
        assert_eq!(selection_of("all=devices"), Selection::matching(DeviceFilter::default()));
    }

    #[test]
    fn a_download_refuses_what_it_does_not_understand() {
        let field = |query: &str| DevicesUrl::exact_filter_of_address(query).map_err(|invalid| invalid.field);
        for (query, bad) in [
            ("colour=red", "colour"),
            ("battery_below=low", "battery_below"),
            ("battery_below=900", "battery_below"),
            ("status=happy", "status"),
            ("tag=", "tag"),
            ("tag=%20", "tag"),
            ("q=a%00", "text"),
            ("tag", "tag"),
            ("tag=a&tag=b", "tag"),
        ] {
            assert_eq!(field(query), Err(bad.to_owned()), "{query}");
        }
        let written = full().to_string();
        assert_eq!(field(&written), Ok(full().filter), "{written}");
        assert_eq!(field(""), Ok(DeviceFilter::default()));
        assert_eq!(field("sort=-battery&all=devices"), Ok(DeviceFilter::default()));
    }

    #[test]
    fn the_page_of_a_device_keeps_its_range() {
        for range in Range::ALL {
            for day in [None, NaiveDate::from_ymd_opt(2026, 8, 1)] {
                let url = DeviceUrl { range, day };
                assert_eq!(DeviceUrl::from(url.to_string().as_str()), url);
            }
        }
        assert_eq!(DeviceUrl::default().to_string(), "");
        assert_eq!(DeviceUrl::from("range=1y&day=someday"), DeviceUrl::default());
        for far_off in ["-262143-01-01", "1999-12-31"] {
            assert_eq!(DeviceUrl::from(format!("day={far_off}").as_str()), DeviceUrl::default(), "{far_off}");
        }
    }

    #[test]
    fn the_enrollment_page_keeps_its_filter() {
        let url = EnrollmentUrl { status: Some(TokenStatus::Expired) };
        assert_eq!(url.to_string(), "status=expired");
        assert_eq!(EnrollmentUrl::from("status=expired"), url);
        assert_eq!(EnrollmentUrl::from("status=x"), EnrollmentUrl::default());
    }
}
