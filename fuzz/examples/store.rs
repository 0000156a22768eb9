//! Prints an MP4's index in the form in which the catalog keeps it, without the checksum: an input of the target `stored`.
//! Usage: `store FILE`

use std::io::Write as _;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args_os().nth(1).ok_or("which file?")?;
    let input = heldar_footage_fuzz::stored::input_of(&std::fs::File::open(path)?)?;
    std::io::stdout().write_all(&input)?;
    Ok(())
}
