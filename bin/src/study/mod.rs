//! Studies: many runs of one configuration, on several data sets and under several conditions, and their report.

mod arm;
mod page;
mod plots;
mod report;
mod results;
mod run;
mod sharing;
mod statistics;
mod table;

pub use report::StudyReport;
pub use results::finished;
pub use run::{Job, Runner};
pub use sharing::groups;
