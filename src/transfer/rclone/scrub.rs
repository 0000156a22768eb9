//! Takes secrets out of every text that leaves this room.

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use crate::domain::backup::destination::{MASK, Secret};

/// Longer messages are cut; the cause stands at their beginning.
const LONGEST_MESSAGE_CHARS: usize = 600;

/// The secrets of a destination, in each form in which a program may repeat them.
#[derive(Clone)]
pub(super) struct Scrubber {
    /// Longest first, so that a secret that is part of another one does not save the rest of that.
    forms: Vec<String>,
}

impl Scrubber {
    /// `obscured`: what stands for secrets in the environment of rclone.
    pub(super) fn new<'a>(
        secrets: impl IntoIterator<Item = &'a Secret>,
        obscured: impl IntoIterator<Item = String>,
    ) -> Self {
        let mut forms: Vec<String> = obscured.into_iter().collect();
        for secret in secrets {
            let text = secret.reveal();
            forms.push(text.to_owned());
            forms.push(utf8_percent_encode(text, NON_ALPHANUMERIC).to_string());
            forms.push(form_encoded(text));
            forms.push(path_encoded(text));
            let quoted = format!("{text:?}");
            forms.push(quoted[1..quoted.len() - 1].to_owned());
            // A parser that stumbles over a key repeats one of its lines.
            forms.extend(text.lines().skip(1).map(|line| line.trim().to_owned()));
        }
        forms.retain(|form| !form.is_empty() && !form.starts_with("-----"));
        forms.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        forms.dedup();
        Self { forms }
    }

    /// The text for people: no secret, one line, not too long.
    pub(super) fn clean(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for form in &self.forms {
            if text.contains(form.as_str()) {
                text = text.replace(form.as_str(), MASK);
            }
        }
        let line: String = text
            .chars()
            .map(|c| if c.is_control() { ' ' } else { c })
            .collect();
        let line = line.trim();
        match line.char_indices().nth(LONGEST_MESSAGE_CHARS) {
            Some((end, _)) => format!("{}…", &line[..end]),
            None => line.to_owned(),
        }
    }
}

/// As a form of HTML has it: a space is a plus sign.
fn form_encoded(text: &str) -> String {
    utf8_percent_encode(text, FORM)
        .to_string()
        .replace("%20", "+")
}

/// As Go puts a password into a URL.
fn path_encoded(text: &str) -> String {
    utf8_percent_encode(text, USER_INFORMATION).to_string()
}

const FORM: &percent_encoding::AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');
const USER_INFORMATION: &percent_encoding::AsciiSet = &FORM
    .remove(b'$')
    .remove(b'&')
    .remove(b'+')
    .remove(b',')
    .remove(b';')
    .remove(b'=');

#[cfg(test)]
mod tests {
    use super::*;

    fn every_printable() -> String {
        (b' '..=b'~').map(char::from).collect()
    }

    #[test]
    fn every_form_of_a_secret_is_masked() {
        let secret = Secret::new(every_printable());
        let scrubber = Scrubber::new([&secret], ["obscured-form".to_owned()]);
        for form in [
            secret.reveal().to_owned(),
            format!("{:?}", secret.reveal()),
            utf8_percent_encode(secret.reveal(), NON_ALPHANUMERIC).to_string(),
            form_encoded(secret.reveal()),
            path_encoded(secret.reveal()),
            "obscured-form".to_owned(),
        ] {
            let cleaned = scrubber.clean(&format!("login with {form} failed"));
            assert!(cleaned.len() < 30, "{cleaned}");
            assert!(cleaned.contains(MASK), "{cleaned}");
        }
    }

    #[test]
    fn a_secret_within_another_does_not_save_the_other() {
        let (short, long) = (Secret::new("abc"), Secret::new("xabcx"));
        let scrubber = Scrubber::new([&short, &long], []);
        assert_eq!(scrubber.clean("xabcx and abc"), "*** and ***");
    }

    #[test]
    fn a_line_of_a_key_is_masked_and_empty_secrets_mask_nothing() {
        let key = Secret::new("-----BEGIN KEY-----\nQUJDREVG\n-----END KEY-----\n");
        let scrubber = Scrubber::new([&key, &Secret::default()], []);
        assert_eq!(
            scrubber.clean("bad line QUJDREVG\nhere"),
            "bad line *** here"
        );
    }

    #[test]
    fn long_texts_are_cut() {
        let scrubber = Scrubber::new([], []);
        let cleaned = scrubber.clean(&"ä".repeat(10_000));
        assert_eq!(cleaned.chars().count(), LONGEST_MESSAGE_CHARS + 1);
    }
}
