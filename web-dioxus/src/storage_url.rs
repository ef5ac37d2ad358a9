//! URL state of the storage page: which days are listed, and the one that is looked at.

use std::fmt;

use chrono::NaiveDate;
use domain::partition::PartitionState;

use crate::url_state::{Query, pairs};

/// State of the storage page.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct StorageUrl {
    /// Filter by state.
    pub(crate) state: Option<PartitionState>,
    /// List only days before this one: the pages that follow the first.
    pub(crate) before: Option<NaiveDate>,
    /// The day that is looked at.
    pub(crate) day: Option<NaiveDate>,
}

impl From<&str> for StorageUrl {
    fn from(query: &str) -> Self {
        let mut url = Self::default();
        for (key, value) in pairs(query) {
            match key {
                "state" => url.state = PartitionState::parse(&value),
                "before" => url.before = value.parse().ok(),
                "day" => url.day = value.parse().ok(),
                _ => {}
            }
        }
        url
    }
}

impl fmt::Display for StorageUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut query = Query::new(f);
        query.pair("state", self.state.map(PartitionState::as_str))?;
        query.pair("before", self.before.map(|day| day.to_string()).as_deref())?;
        query.pair("day", self.day.map(|day| day.to_string()).as_deref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::route::Route;

    #[test]
    fn an_address_reads_back_as_it_was_written() {
        let day = NaiveDate::from_ymd_opt(2026, 9, 1);
        for url in [StorageUrl::default(), StorageUrl { state: Some(PartitionState::Dropped), before: day, day }] {
            let route = Route::Storage { query: url };
            assert_eq!(route.to_string().parse::<Route>().ok(), Some(route));
        }
        assert_eq!(StorageUrl::default().to_string(), "");
    }

    #[test]
    fn what_is_not_understood_is_left_out() {
        assert_eq!(StorageUrl::from("state=hot&before=yesterday&day=2026-13-01&x=1"), StorageUrl::default());
    }
}
