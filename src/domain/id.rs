//! Ids: a known prefix and a time-ordered UUID (version 7, RFC 9562 section 5.7), or a name the caller chose.

use uuid::Uuid;

/// Prefix of segment ids.
pub const SEGMENT: &str = "seg_";
/// Prefix of clip ids.
pub const CLIP: &str = "clip_";
/// Prefix of the ids of archives, and of the jobs that make archives and backups.
pub const EXPORT: &str = "bkj_";
/// Prefix of destination ids.
pub const DESTINATION: &str = "bkd_";
/// Prefix of policy ids.
pub const POLICY: &str = "bkp_";
/// Prefix of job ids.
pub const JOB: &str = "job_";

/// A new id with this prefix. Ids made later sort after ids made earlier.
pub fn new(prefix: &str) -> String {
    format!("{prefix}{}", Uuid::now_v7().simple())
}

/// Whether `id` is `prefix` followed by 1 to 58 of `[a-z0-9_-]`: the rule for ids that callers choose.
///
/// Such an id can stand in a file name and in a URL as it is.
pub fn is_valid(prefix: &str, id: &str) -> bool {
    id.strip_prefix(prefix).is_some_and(|rest| {
        (1..=58).contains(&rest.len())
            && rest
                .bytes()
                .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn made_ids_pass_the_rule_for_chosen_ones_and_sort_by_age() {
        let (first, second) = (new(CLIP), new(CLIP));
        assert!(is_valid(CLIP, &first) && first < second);
    }

    #[test]
    fn ids_that_could_leave_a_folder_are_refused() {
        for id in [
            "clip_", "clip_..", "clip_a/b", "clip_A", "clip_a.b", "seg_a", "", "clip_é", "clip_a\n",
        ] {
            assert!(!is_valid(CLIP, id), "{id:?}");
        }
        assert!(!is_valid(CLIP, &format!("clip_{}", "a".repeat(59))));
    }
}
