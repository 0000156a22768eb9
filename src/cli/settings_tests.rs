use std::path::Path;
use std::time::Duration;

use heldar_footage::domain::backup::destination::Secret;

use super::{LogFormat, Settings, SettingsError, absolute};

fn read(variables: &[(&str, &str)]) -> Result<Settings, SettingsError> {
    Settings::from_env(|name| {
        variables
            .iter()
            .find(|(given, _)| *given == name)
            .map(|(_, value)| (*value).to_owned())
    })
}

fn wrong_names(variables: &[(&str, &str)]) -> Vec<&'static str> {
    read(variables)
        .expect_err("the settings are wrong")
        .wrong
        .iter()
        .map(|wrong| wrong.name)
        .collect()
}

#[test]
fn without_variables_every_setting_has_its_default() {
    let settings = read(&[]).unwrap();
    let data = absolute(Path::new("data"));
    assert_eq!(settings.listen.to_string(), "127.0.0.1:50051");
    assert_eq!(settings.data_dir, data);
    assert_eq!(settings.database_url.file(), Some(data.join("heldar.db")));
    assert_eq!(settings.recordings_dir, data.join("recordings"));
    assert!(!settings.recordings_dir_given);
    assert_eq!(settings.clips_dir, data.join("clips"));
    assert_eq!(settings.ffmpeg_bin, Path::new("ffmpeg"));
    assert_eq!(settings.ffprobe_bin, Path::new("ffprobe"));
    assert_eq!(settings.rclone_bin, Path::new("rclone"));
    assert_eq!(settings.media_job_concurrency, 3);
    assert_eq!(settings.job_queue_limit, 1000);
    assert_eq!(settings.watch_limit, 20_000);
    assert_eq!(
        settings.clip_retention,
        Some(Duration::from_secs(168 * 3600))
    );
    assert_eq!(settings.clip_timeout, Duration::from_secs(180));
    assert_eq!(settings.segment_length, Duration::from_secs(60));
    assert_eq!(settings.shutdown_grace, Duration::from_secs(10));
    assert!(settings.cors_origins.is_empty());
    assert_eq!(
        (settings.log.as_str(), settings.log_format),
        ("info", LogFormat::Text)
    );
    assert_eq!(settings.server, "http://127.0.0.1:50051");
    assert_eq!(settings.sources.len(), 1);
    assert_eq!(settings.sources[0].id, "recordings");
    assert_eq!(settings.sources[0].root, settings.recordings_dir);
}

#[test]
fn a_blank_variable_counts_as_unset() {
    let blank: Vec<_> = super::variables::ALL
        .iter()
        .map(|variable| (variable.name, " \t"))
        .collect();
    assert_eq!(read(&blank), read(&[]));
}

#[test]
fn the_folders_and_the_database_follow_the_data_folder() {
    let settings = read(&[("HELDAR_DATA_DIR", "/srv/100% sure?")]).unwrap();
    assert_eq!(settings.clips_dir, Path::new("/srv/100% sure?/clips"));
    assert_eq!(
        settings.database_url.reveal(),
        "sqlite:///srv/100%25 sure%3F/heldar.db"
    );
    assert_eq!(
        settings.database_url.file().as_deref(),
        Some(Path::new("/srv/100% sure?/heldar.db"))
    );
}

#[test]
fn relative_paths_are_made_absolute() {
    let settings = read(&[
        ("HELDAR_DATABASE_URL", "sqlite://./other.db?cache=private"),
        ("HELDAR_CLIPS_DIR", "clips"),
        ("HELDAR_FFMPEG_BIN", "tools/ffmpeg"),
    ])
    .unwrap();
    let here = std::env::current_dir().unwrap();
    assert_eq!(settings.database_url.file(), Some(here.join("other.db")));
    assert!(
        settings
            .database_url
            .reveal()
            .ends_with("/other.db?cache=private")
    );
    assert_eq!(settings.clips_dir, here.join("clips"));
    assert_eq!(settings.ffmpeg_bin, here.join("tools/ffmpeg"));
}

#[test]
fn every_wrong_variable_is_named_at_once() {
    let wrong = wrong_names(&[
        ("HELDAR_LISTEN", "localhost"),
        ("HELDAR_DATABASE_URL", "mysql://user:secret@host/db"),
        ("HELDAR_MEDIA_JOB_CONCURRENCY", "0"),
        ("HELDAR_JOB_QUEUE_LIMIT", "0"),
        ("HELDAR_WATCH_LIMIT", "0"),
        ("HELDAR_CLIP_RETENTION_HOURS", "-1"),
        ("HELDAR_CLIP_TIMEOUT_S", "4"),
        ("HELDAR_SEGMENT_LENGTH_S", "1.5"),
        ("HELDAR_SHUTDOWN_GRACE_S", "soon"),
        ("HELDAR_SOURCES", "nonsense"),
        ("HELDAR_CORS_ORIGINS", "https://ok.example, not an origin"),
        ("HELDAR_LOG", "=,="),
        ("HELDAR_LOG_FORMAT", "xml"),
        ("HELDAR_JOB_TIMEOUT_S", "2592001"),
        ("HELDAR_SERVER", "ftp://there"),
        ("HELDAR_DATA_DIR", "/data"),
        ("HELDAR_SECRET_KEY", "secret"),
        ("HELDAR_BACKUP_ENABLED", "perhaps"),
        ("HELDAR_BACKUP_SCHEDULER_INTERVAL_S", "301"),
        ("HELDAR_BACKUP_JOB_TIMEOUT_S", "29"),
        ("HELDAR_BACKUP_STALL_S", "4"),
        ("HELDAR_BACKUP_MAX_CONCURRENT_JOBS", "0"),
        ("HELDAR_BACKUP_LOCAL_ROOTS", "/mnt:backup"),
        ("HELDAR_BACKUP_NETWORKS", "10.0.0.0/33"),
        ("HELDAR_BACKUP_WEBHOOK_URL", "hooks/secret"),
    ]);
    let mut sorted = wrong.clone();
    sorted.sort_unstable();
    assert_eq!(
        sorted,
        [
            "HELDAR_BACKUP_ENABLED",
            "HELDAR_BACKUP_JOB_TIMEOUT_S",
            "HELDAR_BACKUP_LOCAL_ROOTS",
            "HELDAR_BACKUP_MAX_CONCURRENT_JOBS",
            "HELDAR_BACKUP_NETWORKS",
            "HELDAR_BACKUP_SCHEDULER_INTERVAL_S",
            "HELDAR_BACKUP_STALL_S",
            "HELDAR_BACKUP_WEBHOOK_URL",
            "HELDAR_CLIP_RETENTION_HOURS",
            "HELDAR_CLIP_TIMEOUT_S",
            "HELDAR_CORS_ORIGINS",
            "HELDAR_DATABASE_URL",
            "HELDAR_JOB_QUEUE_LIMIT",
            "HELDAR_JOB_TIMEOUT_S",
            "HELDAR_LISTEN",
            "HELDAR_LOG",
            "HELDAR_LOG_FORMAT",
            "HELDAR_MEDIA_JOB_CONCURRENCY",
            "HELDAR_SECRET_KEY",
            "HELDAR_SEGMENT_LENGTH_S",
            "HELDAR_SERVER",
            "HELDAR_SHUTDOWN_GRACE_S",
            "HELDAR_SOURCES",
            "HELDAR_WATCH_LIMIT",
        ]
    );
}

#[test]
fn a_refused_database_url_does_not_show_its_password() {
    let error = read(&[("HELDAR_DATABASE_URL", "mysql://user:secret@host/db")]).unwrap_err();
    assert!(!error.to_string().contains("secret"), "{error}");
}

#[test]
fn a_database_server_is_taken_and_its_password_is_in_no_debug_form() {
    let settings = read(&[("HELDAR_DATABASE_URL", "postgres://user:canary@host/db")]).unwrap();
    assert!(settings.database_url.reveal().contains("canary"));
    assert!(!format!("{settings:?}").contains("canary"));
}

#[test]
fn no_refusal_and_no_debug_form_shows_a_secret() {
    let error = read(&[
        ("HELDAR_SECRET_KEY", "canary"),
        ("HELDAR_BACKUP_WEBHOOK_URL", "canary"),
    ])
    .unwrap_err();
    assert!(!format!("{error} {error:?}").contains("canary"), "{error}");
    let key = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
    let settings = read(&[("HELDAR_SECRET_KEY", key)]).unwrap();
    assert_eq!(settings.secret_key.as_ref().unwrap().reveal(), key);
    assert!(!format!("{settings:?}").contains(key));
}

#[test]
fn the_settings_of_backups_are_read() {
    let settings = read(&[
        ("HELDAR_DATA_DIR", "/data"),
        ("HELDAR_BACKUP_ENABLED", "false"),
        ("HELDAR_BACKUP_LOCAL_ROOTS", "/mnt/nas: /backup:"),
        ("HELDAR_BACKUP_NETWORKS", "192.168.0.0/16"),
        ("HELDAR_BACKUP_WEBHOOK_URL", "https://hooks.example/x?y=z"),
        ("HELDAR_RCLONE_CONFIG", "/etc/rclone.conf"),
    ])
    .unwrap()
    .backup;
    assert!(!settings.enabled);
    assert_eq!(settings.local_roots, ["/mnt/nas", "/backup"].map(Path::new));
    assert!(settings.networks.allows("192.168.1.1".parse().unwrap()));
    assert!(!settings.networks.allows("10.0.0.1".parse().unwrap()));
    assert_eq!(
        settings.webhook_url.as_ref().map(Secret::reveal),
        Some("https://hooks.example/x?y=z")
    );
    assert!(!format!("{settings:?}").contains("hooks.example"));
    assert_eq!(
        settings.rclone_config.as_deref(),
        Some(Path::new("/etc/rclone.conf"))
    );
    assert_eq!(settings.restore_dir, Path::new("/data/restores"));
    let defaults = read(&[]).unwrap().backup;
    assert!(defaults.enabled);
    assert_eq!(
        defaults.local_roots,
        ["/mnt", "/media", "/srv", "/backup"].map(Path::new)
    );
    assert!(defaults.networks.allows("10.0.0.1".parse().unwrap()));
}

#[test]
fn a_database_in_memory_is_refused() {
    for url in ["sqlite::memory:", "sqlite://", "sqlite://x?mode=memory"] {
        assert_eq!(
            wrong_names(&[("HELDAR_DATABASE_URL", url)]),
            ["HELDAR_DATABASE_URL"],
            "{url}"
        );
    }
}

#[test]
fn numbers_at_their_bounds_are_taken() {
    let settings = read(&[
        ("HELDAR_CLIP_RETENTION_HOURS", "0"),
        ("HELDAR_CLIP_TIMEOUT_S", "5"),
        ("HELDAR_MEDIA_JOB_CONCURRENCY", "1"),
        ("HELDAR_JOB_QUEUE_LIMIT", "1"),
        ("HELDAR_WATCH_LIMIT", "1"),
        ("HELDAR_SHUTDOWN_GRACE_S", "0"),
    ])
    .unwrap();
    assert_eq!(settings.clip_retention, None);
    assert_eq!(settings.clip_timeout, Duration::from_secs(5));
    assert_eq!(settings.media_job_concurrency, 1);
    assert_eq!(settings.job_queue_limit, 1);
    assert_eq!(settings.watch_limit, 1);
    assert_eq!(settings.shutdown_grace, Duration::ZERO);
}
