//! The `footage` program.

mod cli;

/// Gives memory back to the system as soon as it is free, which `.cargo/config.toml` asks it for. The allocator of the C
/// library keeps what the plan of a large archive took, in an area for each thread that no other thread uses.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> std::process::ExitCode {
    cli::run()
}
