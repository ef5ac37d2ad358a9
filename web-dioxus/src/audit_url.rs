//! What the address of the audit page says: which entries are looked for.

use std::fmt;

use chrono::{NaiveDate, NaiveTime, TimeDelta};
use domain::Timestamp;
use domain::audit::AuditFilter;

use crate::url_state::{Query, pairs, percent_decoded};

/// How far back is looked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Within {
    Hour,
    Day,
    Week,
    Month,
}

impl Within {
    pub(crate) const ALL: [Self; 4] = [Self::Hour, Self::Day, Self::Week, Self::Month];

    /// Its name in the address.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Hour => "1h",
            Self::Day => "24h",
            Self::Week => "7d",
            Self::Month => "30d",
        }
    }

    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Hour => "Last hour",
            Self::Day => "Last 24 hours",
            Self::Week => "Last 7 days",
            Self::Month => "Last 30 days",
        }
    }

    fn time(self) -> TimeDelta {
        match self {
            Self::Hour => TimeDelta::hours(1),
            Self::Day => TimeDelta::days(1),
            Self::Week => TimeDelta::days(7),
            Self::Month => TimeDelta::days(30),
        }
    }
}

/// Which entries the page shows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct AuditUrl {
    /// By whom.
    pub(crate) actor: Option<String>,
    /// What was done: how it begins.
    pub(crate) action: Option<String>,
    /// To what.
    pub(crate) target: Option<String>,
    /// What stands somewhere in it.
    pub(crate) text: Option<String>,
    /// How far back; days below go first.
    pub(crate) within: Option<Within>,
    /// The first day, UTC.
    pub(crate) from: Option<NaiveDate>,
    /// The last day, UTC.
    pub(crate) to: Option<NaiveDate>,
}

impl AuditUrl {
    /// Reads the query of an address as browsers send it.
    pub(crate) fn from_address(query: &str) -> Self {
        Self::from(percent_decoded(query).as_str())
    }

    /// The entries that it stands for at `now`.
    pub(crate) fn filter(self, now: Timestamp) -> AuditFilter {
        let begins = |day: NaiveDate| day.and_time(NaiveTime::MIN).and_utc();
        let from = self.from.map(begins).or_else(|| self.within.map(|within| now - within.time()));
        let to = self.to.and_then(|day| day.succ_opt()).map(|next| begins(next) - TimeDelta::microseconds(1));
        let Self { actor, action, target, text, .. } = self;
        AuditFilter { actor, action, target, request_id: None, text, from, to }
    }
}

impl From<&str> for AuditUrl {
    /// Reads what it understands and leaves out the rest.
    fn from(query: &str) -> Self {
        let mut url = Self::default();
        for (key, value) in pairs(query) {
            match key {
                "who" => url.actor = Some(value),
                "what" => url.action = Some(value),
                "target" => url.target = Some(value),
                "q" => url.text = Some(value),
                "within" => url.within = Within::ALL.into_iter().find(|within| within.as_str() == value),
                "from" => url.from = value.parse().ok(),
                "to" => url.to = value.parse().ok(),
                _ => {}
            }
        }
        url
    }
}

impl fmt::Display for AuditUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut query = Query::new(f);
        query.pair("who", self.actor.as_deref())?;
        query.pair("what", self.action.as_deref())?;
        query.pair("target", self.target.as_deref())?;
        query.pair("q", self.text.as_deref())?;
        query.pair("within", self.within.map(Within::as_str))?;
        query.pair("from", self.from.map(|day| day.to_string()).as_deref())?;
        query.pair("to", self.to.map(|day| day.to_string()).as_deref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_reads_back() {
        let url = AuditUrl {
            actor: Some("ann & co".into()),
            action: Some("device.".into()),
            target: Some("käse <b>".into()),
            text: Some("a=b".into()),
            within: Some(Within::Week),
            from: NaiveDate::from_ymd_opt(2026, 11, 1),
            to: NaiveDate::from_ymd_opt(2026, 11, 2),
        };
        assert_eq!(AuditUrl::from(url.to_string().as_str()), url);
        assert_eq!(AuditUrl::from("within=9y&from=x&who=&other=1"), AuditUrl::default());
        assert_eq!(AuditUrl::default().to_string(), "");
    }

    #[test]
    fn days_are_whole_and_go_before_a_range() {
        let now = Timestamp::from_timestamp(1_780_000_000, 0).unwrap();
        let day = |d| NaiveDate::from_ymd_opt(2026, 11, d);
        let filter = AuditUrl { within: Some(Within::Hour), from: day(1), to: day(1), ..AuditUrl::default() }.filter(now);
        let told = |at: Option<Timestamp>| at.unwrap().to_rfc3339();
        assert_eq!((told(filter.from), told(filter.to)), ("2026-11-01T00:00:00+00:00".into(), "2026-11-01T23:59:59.999999+00:00".into()));
        let filter = AuditUrl { within: Some(Within::Hour), ..AuditUrl::default() }.filter(now);
        assert_eq!((filter.from, filter.to), (Some(now - TimeDelta::hours(1)), None));
    }
}
