//! The program end to end: commands, resuming, determinism, bad input. In the package of the program, so
//! that cargo builds it first.

mod attributes;
mod bad_input;
mod commands;
mod corpora;
mod damage;
mod determinism;
mod devices;
mod faces;
mod few_labels;
mod golden;
mod model;
mod mosei;
mod predict;
mod pretraining;
mod profile;
mod resume;
mod signals;
mod study;
mod systems;
mod weights;
mod world;
