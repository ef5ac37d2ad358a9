//! Plots over time and distributions, drawn on the server; the browser moves the cursor (`chart.js`).

mod distribution;
mod line;
mod mark;
mod path;
mod scale;
mod strip;
mod summary;

pub(crate) use distribution::{Bars, Columns, Part, Stack};
pub(crate) use line::{LineChart, Series};
pub(crate) use mark::Mark;
pub(crate) use path::{Sample, Window};
pub(crate) use scale::{Scale, Unit};
pub(crate) use strip::{Strip, TimeSpan};
