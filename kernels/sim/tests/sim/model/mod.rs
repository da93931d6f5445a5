//! The PTX memory model: litmus tests and random programs, against an oracle of its own.

mod litmus;
mod oracle;
mod program;
mod random;
