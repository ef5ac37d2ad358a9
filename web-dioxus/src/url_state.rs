//! What the address of a page says about it: filter, order and selection, so
//! that they survive a reload, a lost connection, and being sent to a colleague.
//!
//! The router decodes percent signs of the whole query before a page sees it, so
//! values are written with `~` in their place: `a&b` is `a~26b`.

use std::fmt::{self, Write};

use domain::DeviceId;
use domain::device::Connectivity;
use domain::enrollment::TokenStatus;
use domain::query::{DeviceFilter, Sort};

/// Most devices that can be selected; their ids are in the address.
pub(crate) const SELECTED_MAX: usize = 100;
/// Longest value that is read from an address.
const VALUE_CHARS_MAX: usize = 200;

/// What the devices page shows.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct DevicesUrl {
    /// Which devices.
    pub(crate) filter: DeviceFilter,
    /// In which order.
    pub(crate) sort: Sort,
    /// Selected devices.
    pub(crate) selected: Vec<DeviceId>,
}

impl DevicesUrl {
    /// Selects a device, or no longer. `false`: no more can be selected.
    pub(crate) fn select(&mut self, id: DeviceId, on: bool) -> bool {
        self.selected.retain(|selected| *selected != id);
        if on && self.selected.len() >= SELECTED_MAX {
            return false;
        }
        if on {
            self.selected.push(id);
        }
        true
    }

    /// How many conditions the filter has.
    pub(crate) fn conditions(&self) -> usize {
        let filter = &self.filter;
        [
            filter.connectivity.is_some(),
            filter.tag.is_some(),
            filter.group.is_some(),
            filter.text.is_some(),
            filter.battery_below.is_some(),
            filter.app_version.is_some(),
            filter.model.is_some(),
        ]
        .into_iter()
        .filter(|condition| *condition)
        .count()
    }
}

/// Reads the name of a connectivity.
pub(crate) fn connectivity(name: &str) -> Option<Connectivity> {
    [Connectivity::Online, Connectivity::Offline, Connectivity::NeverSeen].into_iter().find(|known| known.as_str() == name)
}

impl From<&str> for DevicesUrl {
    /// Reads what it understands and leaves out the rest.
    fn from(query: &str) -> Self {
        let mut url = Self::default();
        for (key, value) in pairs(query) {
            let filter = &mut url.filter;
            match key {
                "q" => filter.text = Some(value),
                "status" => filter.connectivity = connectivity(&value),
                "tag" => filter.tag = Some(value),
                "group" => filter.group = Some(value),
                "battery_below" => filter.battery_below = value.parse().ok().filter(|limit| (1..=100).contains(limit)),
                "version" => filter.app_version = Some(value),
                "model" => filter.model = Some(value),
                "sort" => url.sort = Sort::parse(&value).unwrap_or_default(),
                "sel" => {
                    for id in value.split('.').filter_map(|id| id.parse().ok()) {
                        url.select(id, true);
                    }
                }
                _ => {}
            }
        }
        url
    }
}

impl fmt::Display for DevicesUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut query = Query { f, first: true };
        let filter = &self.filter;
        query.pair("q", filter.text.as_deref())?;
        query.pair("status", filter.connectivity.map(Connectivity::as_str))?;
        query.pair("tag", filter.tag.as_deref())?;
        query.pair("group", filter.group.as_deref())?;
        query.pair("battery_below", filter.battery_below.map(|limit| limit.to_string()).as_deref())?;
        query.pair("version", filter.app_version.as_deref())?;
        query.pair("model", filter.model.as_deref())?;
        if self.sort != Sort::default() {
            let sign = if self.sort.descending { "-" } else { "" };
            query.pair("sort", Some(&format!("{sign}{}", self.sort.key.as_str())))?;
        }
        let selected: Vec<String> = self.selected.iter().map(|id| id.0.simple().to_string()).collect();
        query.pair("sel", Some(selected.join(".")).filter(|ids| !ids.is_empty()).as_deref())
    }
}

/// What the enrollment page shows.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct EnrollmentUrl {
    /// Tokens in this state; all when absent.
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

struct Query<'a, 'f> {
    f: &'a mut fmt::Formatter<'f>,
    first: bool,
}

impl Query<'_, '_> {
    fn pair(&mut self, key: &str, value: Option<&str>) -> fmt::Result {
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

fn pairs(query: &str) -> impl Iterator<Item = (&str, String)> {
    query
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .map(|(key, value)| (key, read(key, value)))
        .filter(|(_, value)| !value.is_empty())
}

fn read(key: &str, value: &str) -> String {
    let limit = if key == "sel" { SELECTED_MAX * 37 } else { VALUE_CHARS_MAX };
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
    text.chars().filter(|c| !c.is_control()).take(limit).collect::<String>().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::query::SortKey;

    fn id(n: u128) -> DeviceId {
        DeviceId(uuid::Uuid::from_u128(n))
    }

    fn full() -> DevicesUrl {
        DevicesUrl {
            filter: DeviceFilter {
                connectivity: Some(Connectivity::NeverSeen),
                tag: Some("a&b=c".into()),
                group: Some("50% #1 ~26 +x?".into()),
                text: Some("käse <b>".into()),
                battery_below: Some(20),
                app_version: Some("1.4.0".into()),
                model: Some("Joy 2".into()),
            },
            sort: Sort { key: SortKey::Battery, descending: true },
            selected: vec![id(1), id(2)],
        }
    }

    #[test]
    fn an_address_reads_back_as_it_was_written() {
        for url in [DevicesUrl::default(), full()] {
            assert_eq!(DevicesUrl::from(url.to_string().as_str()), url);
        }
        assert_eq!(DevicesUrl::default().to_string(), "");
        assert_eq!(full().conditions(), 7);
    }

    #[test]
    fn an_address_survives_the_router() {
        use crate::app::Route;
        let route = Route::Devices { query: full() };
        let printed = route.to_string();
        assert_eq!(printed.parse::<Route>().ok(), Some(route), "{printed}");
        assert!(!printed.contains(['<', ' ', '"', '#']), "{printed}");
    }

    #[test]
    fn what_is_not_understood_is_left_out() {
        let url = DevicesUrl::from("status=happy&battery_below=900&sort=colour&sel=1.x&foo=1&q=&tag=~ZZ~0");
        assert_eq!(url, DevicesUrl { filter: DeviceFilter { tag: Some("~ZZ~0".into()), ..Default::default() }, ..Default::default() });
        assert_eq!(DevicesUrl::from(format!("q={}", "x".repeat(5000)).as_str()).filter.text.unwrap().len(), VALUE_CHARS_MAX);
        assert_eq!(DevicesUrl::from("q=a~00b%").filter.text.as_deref(), Some("ab%"));
    }

    #[test]
    fn a_selection_has_a_limit_and_no_device_twice() {
        let mut url = DevicesUrl::default();
        for n in 0..SELECTED_MAX as u128 {
            assert!(url.select(id(n), true));
        }
        assert!(!url.select(id(1000), true));
        assert!(url.select(id(0), false) && url.select(id(1000), true));
        assert_eq!(url.selected.len(), SELECTED_MAX);
        assert_eq!(DevicesUrl::from(url.to_string().as_str()), url);
    }

    #[test]
    fn the_enrollment_page_keeps_its_filter() {
        let url = EnrollmentUrl { status: Some(TokenStatus::Expired) };
        assert_eq!(url.to_string(), "status=expired");
        assert_eq!(EnrollmentUrl::from("status=expired"), url);
        assert_eq!(EnrollmentUrl::from("status=x"), EnrollmentUrl::default());
    }
}
