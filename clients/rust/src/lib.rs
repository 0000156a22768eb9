//! The client for Rust is the crate `heldar-footage` with the feature `client`; this package shows and tests it.
