//! Archives that were tampered with, cut, damaged, or made by somebody else.

mod damage;
mod hostile;
mod large;
mod sample;
