//! Archives from end to end: what is in one, and how the service behaves around them.

mod asking;
mod downloads;
mod faults;
mod guards;
mod http;
mod interrupted;
mod jobs;
mod keeping;
mod keys;
mod listing;
mod records;
mod requests;
mod streams;
