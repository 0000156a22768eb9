//! Colours: only on a terminal, and never when NO_COLOR is set (<https://no-color.org>).

use std::io::IsTerminal;

use clap::builder::styling::{AnsiColor, Style};

fn wanted(is_terminal: bool) -> bool {
    let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    is_terminal && !set("NO_COLOR") && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// Whether log lines and messages on standard error may have colours.
pub fn is_wanted_on_stderr() -> bool {
    wanted(std::io::stderr().is_terminal())
}

/// `text` for standard output.
pub fn on_stdout(text: &str, colour: AnsiColor) -> String {
    painted(text, colour, wanted(std::io::stdout().is_terminal()))
}

/// `text` for standard error.
pub fn on_stderr(text: &str, colour: AnsiColor) -> String {
    painted(text, colour, is_wanted_on_stderr())
}

fn painted(text: &str, colour: AnsiColor, wanted: bool) -> String {
    if !wanted {
        return text.to_owned();
    }
    let style = Style::new().bold().fg_color(Some(colour.into()));
    format!("{style}{text}{style:#}")
}
