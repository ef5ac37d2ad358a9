//! The device filter on the command line: a flag for each filter of the table.

use clap::builder::PossibleValuesParser;
use clap::{Arg, ArgMatches, Args, Command, FromArgMatches, value_parser};
use domain::query::{FilterKey, FilterKind, FilterValue};
use serde_json::{Value, json};

/// Device filter, as given by flags.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Filter(wire::device_filter::Filter);

impl Filter {
    /// Whether no filter is given.
    pub(super) fn is_empty(&self) -> bool {
        self.0.0.is_empty()
    }

    /// Parameters of a query of the API.
    pub(super) fn query(&self) -> Vec<(&'static str, String)> {
        self.0.0.iter().map(|(key, value)| (key.spec().name, value.to_string())).collect()
    }

    /// Filter in a body of the API.
    pub(super) fn body(&self) -> Value {
        json!(self.0)
    }
}

impl Args for Filter {
    fn augment_args(command: Command) -> Command {
        command.args(FilterKey::ALL.iter().map(|key| {
            let spec = key.spec();
            let arg = Arg::new(spec.name).long(spec.name.replace('_', "-")).help(spec.help);
            let arg = spec.letter.into_iter().fold(arg, Arg::short);
            match &spec.kind {
                FilterKind::Below { min, max, .. } => arg.value_parser(value_parser!(i64).range(*min..=*max)).value_name("NUMBER"),
                FilterKind::Choice { choices } => arg.value_parser(PossibleValuesParser::new(choices().into_iter().map(|(name, _)| name))),
                FilterKind::Search | FilterKind::Exact { .. } => arg,
            }
        }))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Filter {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let value = |key: &FilterKey| {
            let spec = key.spec();
            let value = match spec.kind {
                FilterKind::Below { .. } => FilterValue::Number(*matches.get_one::<i64>(spec.name)?),
                _ => FilterValue::Text(matches.get_one::<String>(spec.name)?.clone()),
            };
            Some((*key, value))
        };
        Ok(Self(wire::device_filter::Filter(FilterKey::ALL.iter().filter_map(value).collect())))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str]) -> Result<Filter, clap::Error> {
        let command = Filter::augment_args(Command::new("list").no_binary_name(true));
        Filter::from_arg_matches(&command.try_get_matches_from(arguments)?)
    }

    #[test]
    fn every_filter_has_a_flag() {
        for key in FilterKey::ALL {
            let spec = key.spec();
            let value = match &spec.kind {
                FilterKind::Below { offered, .. } => offered[0].to_string(),
                FilterKind::Choice { choices } => choices()[0].0.to_owned(),
                FilterKind::Search | FilterKind::Exact { .. } => "x".to_owned(),
            };
            let flag = format!("--{}", spec.name.replace('_', "-"));
            assert_eq!(parse(&[&flag, &value]).unwrap().query(), [(spec.name, value)]);
        }
    }

    #[test]
    fn numbers_are_numbers_in_a_body_and_limits_hold() {
        let filter = parse(&["-q", "kiosk", "--battery-below", "20", "--status", "online"]).unwrap();
        assert_eq!(filter.body(), json!({"text": "kiosk", "battery_below": 20, "status": "online"}));
        assert!(parse(&[]).unwrap().is_empty());
        for bad in [["--battery-below", "102"], ["--battery-below", "low"], ["--status", "asleep"], ["--colour", "red"]] {
            assert!(parse(&bad).is_err(), "{bad:?}");
        }
    }
}
