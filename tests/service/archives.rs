//! Archives from end to end: what is in one, and how the service behaves around them.

mod asking;
mod contents;
mod defects;
mod downloads;
mod equal;
mod faults;
mod few_places;
mod guards;
mod http;
mod interrupted;
mod jobs;
mod keeping;
mod keys;
mod large;
mod layouts;
mod listing;
mod manifest;
mod records;
mod requests;
mod sources;
mod streams;
mod trims;
mod unpacked;
mod verification;

pub use asking::{OTHER, two_cameras};
