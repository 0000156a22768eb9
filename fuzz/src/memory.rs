//! How much an input may cost.

use std::alloc::System;

use cap::Cap;

#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, usize::MAX);

/// Lets a panic be told in full, whatever that takes. To be called once, before anything is tried.
pub fn let_panics_speak() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        // A higher limit is always accepted.
        let _ = ALLOCATOR.set_limit(usize::MAX);
        before(panic);
    }));
}

/// Runs `work`, which may hold no more than so many bytes at a time beyond what is held now: the allocation that would
/// pass it fails, which ends the process. All threads count.
pub(crate) fn within<T>(bytes: usize, work: impl FnOnce() -> T) -> T {
    let limit = ALLOCATOR.allocated().saturating_add(bytes);
    ALLOCATOR
        .set_limit(limit)
        .expect("less is held than the limit");
    let result = work();
    ALLOCATOR
        .set_limit(usize::MAX)
        .expect("less is held than there can be");
    result
}
