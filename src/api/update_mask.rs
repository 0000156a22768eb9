//! Updates: which fields of a resource a caller wants to change, and the resource with them changed.
//!
//! With a mask, each of its paths takes the value that the request has there; a value that the request does not have
//! clears the field. A path names a field, or a field of a message in it, such as `sftp.password`.
//!
//! Without a mask, every field of the request that is set is taken over: a number, text or enum that is not its default,
//! an `optional` field that is present, a list or map that is not empty, a message that is present. A message is taken
//! over whole, so that nothing of the old one stays in it; only the settings of a destination are taken over field by
//! field, so that a new password need not come with everything else.

use std::sync::LazyLock;

use prost::Message;
use prost_reflect::{
    DescriptorPool, DynamicMessage, FieldDescriptor, MessageDescriptor, ReflectMessage as _,
};
use prost_types::FieldMask;

use super::fields::Fields;
use super::status::ApiError;
use crate::proto;

const PACKAGE: &str = "heldar.footage.v1";

static TYPES: LazyLock<Result<DescriptorPool, String>> = LazyLock::new(|| {
    DescriptorPool::decode(proto::FILE_DESCRIPTOR_SET).map_err(|error| error.to_string())
});

/// How a kind of resource is updated.
pub(super) struct Rules {
    /// The message, without its package.
    pub message: &'static str,
    /// Fields that callers cannot change.
    pub fixed: &'static [&'static str],
    /// Fields whose messages are taken over field by field when there is no mask.
    pub by_field: &'static [&'static str],
}

/// `present` with what `asked` changes. What is wrong with the mask is noted in `fields`.
pub(super) fn updated<M: Message + Default>(
    fields: &mut Fields,
    rules: &Rules,
    present: &M,
    asked: &M,
    mask: Option<&FieldMask>,
) -> Result<M, ApiError> {
    let message = message(rules.message)?;
    let mut result = dynamic(&message, present)?;
    let asked = dynamic(&message, asked)?;
    match mask {
        None => take_set_fields(rules, &mut result, &asked),
        Some(mask) => {
            for path in &mask.paths {
                let names: Vec<_> = path.split('.').collect();
                let is_fixed = rules.fixed.contains(&names[0]);
                if is_fixed || !take(&mut result, &asked, &names) {
                    fields.wrong(
                        "update_mask",
                        format!("{path:?} is no field that can be changed"),
                    );
                }
            }
        }
    }
    result.transcode_to().map_err(|error| ApiError::Internal {
        cause: format!("an updated {} cannot be read: {error}", rules.message),
    })
}

fn take_set_fields(rules: &Rules, result: &mut DynamicMessage, asked: &DynamicMessage) {
    for (field, value) in asked.fields() {
        if rules.fixed.contains(&field.name()) {
            continue;
        }
        if rules.by_field.contains(&field.name())
            && let (Some(old), Some(new)) = (
                result.get_field_mut(&field).as_message_mut(),
                value.as_message(),
            )
        {
            for (field, value) in new.fields() {
                old.set_field(&field, value.clone());
            }
        } else {
            result.set_field(&field, value.clone());
        }
    }
}

/// Takes over the field that `names` lead to. False when they lead to none.
fn take(result: &mut DynamicMessage, asked: &DynamicMessage, names: &[&str]) -> bool {
    let [name, rest @ ..] = names else {
        return false;
    };
    let Some(field) = result.descriptor().get_field_by_name(name) else {
        return false;
    };
    if rest.is_empty() {
        if asked.has_field(&field) {
            result.set_field(&field, asked.get_field(&field).into_owned());
        } else {
            result.clear_field(&field);
        }
        return true;
    }
    if !leads_on(&field, rest) {
        return false;
    }
    let new = asked.get_field(&field);
    match (
        result.get_field_mut(&field).as_message_mut(),
        new.as_message(),
    ) {
        (Some(old), Some(new)) => take(old, new, rest),
        _ => false,
    }
}

/// Whether a path goes on behind this field: through messages of the contract, to a field that is there. Asked before
/// the message is touched, because to look into one that is absent makes it present.
fn leads_on(field: &FieldDescriptor, rest: &[&str]) -> bool {
    if field.is_list() || field.is_map() {
        return false;
    }
    let kind = field.kind();
    let Some(message) = kind
        .as_message()
        .filter(|message| message.package_name() == PACKAGE)
    else {
        return false;
    };
    match rest {
        [] => true,
        [name, behind @ ..] => message
            .get_field_by_name(name)
            .is_some_and(|field| behind.is_empty() || leads_on(&field, behind)),
    }
}

fn message(name: &str) -> Result<MessageDescriptor, ApiError> {
    let unknown = |cause: String| ApiError::Internal { cause };
    TYPES
        .as_ref()
        .map_err(|error| {
            unknown(format!(
                "the contract's descriptors cannot be read: {error}"
            ))
        })?
        .get_message_by_name(&format!("{PACKAGE}.{name}"))
        .ok_or_else(|| unknown(format!("the contract has no message {name}")))
}

fn dynamic(message: &MessageDescriptor, value: &impl Message) -> Result<DynamicMessage, ApiError> {
    DynamicMessage::decode(message.clone(), value.encode_to_vec().as_slice()).map_err(|error| {
        ApiError::Internal {
            cause: format!("a {} cannot be read: {error}", message.name()),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::destination::Settings;
    use crate::proto::policy::Schedule;
    use crate::proto::{
        BackupRetention, CronSchedule, Destination, LocalSettings, Policy, SftpSettings,
    };

    const DESTINATION: Rules = Rules {
        message: "Destination",
        fixed: &["id", "status"],
        by_field: &["sftp", "local"],
    };
    const POLICY: Rules = Rules {
        message: "Policy",
        fixed: &["id", "status"],
        by_field: &[],
    };

    fn sftp(settings: SftpSettings) -> Option<Settings> {
        Some(Settings::Sftp(settings))
    }

    fn present() -> Destination {
        Destination {
            id: "bkd_a".to_owned(),
            display_name: "old".to_owned(),
            enabled: Some(true),
            transfers: Some(4),
            settings: sftp(SftpSettings {
                host: "nas".to_owned(),
                port: 2222,
                password: "***".to_owned(),
                host_keys: vec!["k".to_owned()],
                ..SftpSettings::default()
            }),
            ..Destination::default()
        }
    }

    /// What becomes of `present` by this request; the faults of the mask instead, when it has some.
    fn update(asked: Destination, mask: Option<&[&str]>) -> Result<Destination, String> {
        apply(&DESTINATION, &present(), &asked, mask)
    }

    fn apply<M: Message + Default>(
        rules: &Rules,
        present: &M,
        asked: &M,
        mask: Option<&[&str]>,
    ) -> Result<M, String> {
        let mut fields = Fields::default();
        let mask = mask.map(|paths| FieldMask {
            paths: paths.iter().map(|path| (*path).to_owned()).collect(),
        });
        let result = updated(&mut fields, rules, present, asked, mask.as_ref()).unwrap();
        fields
            .check()
            .map(|()| result)
            .map_err(|error| format!("{error:?}"))
    }

    #[test]
    fn a_mask_changes_what_it_names_and_nothing_else() {
        let asked = Destination {
            display_name: "new".to_owned(),
            enabled: Some(false),
            ..Destination::default()
        };
        let updated = update(asked, Some(&["enabled", "transfers"])).unwrap();
        assert_eq!(
            updated,
            Destination {
                enabled: Some(false),
                transfers: None,
                ..present()
            }
        );
    }

    #[test]
    fn a_mask_reaches_into_messages() {
        let asked = Destination {
            settings: sftp(SftpSettings {
                password: "new".to_owned(),
                user: "not named".to_owned(),
                ..SftpSettings::default()
            }),
            ..Destination::default()
        };
        let expected = sftp(SftpSettings {
            host: "nas".to_owned(),
            port: 0,
            password: "new".to_owned(),
            host_keys: vec!["k".to_owned()],
            ..SftpSettings::default()
        });
        let updated = update(asked, Some(&["sftp.password", "sftp.port"])).unwrap();
        assert_eq!(updated.settings, expected);
        assert_eq!(updated.display_name, "old");
    }

    #[test]
    fn a_mask_that_names_a_message_takes_it_over_whole() {
        let settings = sftp(SftpSettings {
            host: "other".to_owned(),
            ..SftpSettings::default()
        });
        let asked = Destination {
            settings: settings.clone(),
            ..Destination::default()
        };
        assert_eq!(update(asked, Some(&["sftp"])).unwrap().settings, settings);
        let cleared = update(Destination::default(), Some(&["sftp"])).unwrap();
        assert_eq!(cleared.settings, None);
    }

    #[test]
    fn paths_that_lead_to_no_field_that_can_change_are_refused() {
        for path in [
            "",
            "x",
            "id",
            "status",
            "status.pause",
            "sftp.x",
            "sftp.password.x",
            "sftp.host_keys.0",
            "labels.key",
            "display_name.x",
            ".sftp",
            "*",
            "settings",
        ] {
            assert!(update(present(), Some(&[path])).is_err(), "{path:?}");
        }
        assert!(
            apply(
                &POLICY,
                &Policy::default(),
                &Policy::default(),
                Some(&["interval.seconds"])
            )
            .is_err()
        );
    }

    #[test]
    fn without_a_mask_what_is_set_is_taken_over_and_settings_field_by_field() {
        let asked = Destination {
            id: "bkd_b".to_owned(),
            enabled: Some(false),
            settings: sftp(SftpSettings {
                password: "new".to_owned(),
                ..SftpSettings::default()
            }),
            ..Destination::default()
        };
        let expected = Destination {
            enabled: Some(false),
            settings: sftp(SftpSettings {
                host: "nas".to_owned(),
                port: 2222,
                password: "new".to_owned(),
                host_keys: vec!["k".to_owned()],
                ..SftpSettings::default()
            }),
            ..present()
        };
        assert_eq!(update(asked, None).unwrap(), expected);
        assert_eq!(update(Destination::default(), None).unwrap(), present());
    }

    #[test]
    fn without_a_mask_settings_of_another_kind_take_the_place_of_the_present_ones() {
        let local = Some(Settings::Local(LocalSettings {
            path: "/mnt".to_owned(),
            ..LocalSettings::default()
        }));
        let asked = Destination {
            settings: local.clone(),
            ..Destination::default()
        };
        assert_eq!(update(asked, None).unwrap().settings, local);
    }

    #[test]
    fn without_a_mask_other_messages_are_taken_over_whole() {
        let cron = |expression: &str, time_zone: &str| {
            Some(Schedule::Cron(CronSchedule {
                expression: expression.to_owned(),
                time_zone: time_zone.to_owned(),
            }))
        };
        let present = Policy {
            schedule: cron("0 1 * * *", "UTC"),
            retention: Some(BackupRetention {
                max_age: None,
                max_bytes: 7,
            }),
            ..Policy::default()
        };
        let asked = Policy {
            schedule: cron("0 2 * * *", ""),
            retention: Some(BackupRetention::default()),
            ..Policy::default()
        };
        assert_eq!(apply(&POLICY, &present, &asked, None).unwrap(), asked);

        let interval = Policy {
            schedule: Some(Schedule::Interval(prost_types::Duration {
                seconds: 60,
                nanos: 0,
            })),
            ..Policy::default()
        };
        let updated = apply(
            &POLICY,
            &present,
            &interval,
            Some(&["interval", "retention"]),
        )
        .unwrap();
        assert_eq!(updated, interval);
    }
}
