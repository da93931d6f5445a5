//! All integration tests, in one binary: a module a line.

mod comparison;
mod composed_losses;
mod contrast;
mod fixture;
mod network;
mod parameter_counts;
mod parity_faces;
mod parity_models;
mod parity_ops;
mod parity_systems;
mod simulator;
mod torchvision_names;
mod video;
mod weights;
