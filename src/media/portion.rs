//! What belongs to one of many files, and lies in memory beside what belongs to the others.
//!
//! A clip of an hour is made of 360 files. Were the samples of each, and their times, pieces of memory of their own, then
//! giving them back to the system piece by piece would take a good part of the time in which the clip is planned.

use std::fmt;
use std::ops::{Deref, Range};
use std::sync::Arc;

/// Some of many, in order; or simply a few that belong to nobody else.
#[derive(Clone)]
pub struct Portion<T> {
    all: Arc<Vec<T>>,
    range: Range<usize>,
}

impl<T> Portion<T> {
    /// Those with these numbers; there are none until [`Self::lie_in`] says of what.
    pub(super) fn of(range: Range<usize>) -> Self {
        Self {
            all: Arc::default(),
            range,
        }
    }

    /// Says what they are some of. All of that stays in memory as long as one portion is needed.
    pub(super) fn lie_in(&mut self, all: &Arc<Vec<T>>) {
        self.all = Arc::clone(all);
    }
}

impl<T> Default for Portion<T> {
    fn default() -> Self {
        Self::of(0..0)
    }
}

impl<T> Deref for Portion<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        self.all.get(self.range.clone()).unwrap_or_default()
    }
}

impl<'a, T> IntoIterator for &'a Portion<T> {
    type Item = &'a T;
    type IntoIter = std::slice::Iter<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<T> From<Vec<T>> for Portion<T> {
    fn from(own: Vec<T>) -> Self {
        Self {
            range: 0..own.len(),
            all: Arc::new(own),
        }
    }
}

impl<T: PartialEq> PartialEq for Portion<T> {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl<T: Eq> Eq for Portion<T> {}

impl<T: fmt::Debug> fmt::Debug for Portion<T> {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(to)
    }
}

/// Tests change what was read.
#[cfg(test)]
impl<T: Clone> std::ops::DerefMut for Portion<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        *self = self.to_vec().into();
        Arc::get_mut(&mut self.all).expect("made just now")
    }
}
