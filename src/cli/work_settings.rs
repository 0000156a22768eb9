//! What the settings say to each kind of work.

use super::settings::Settings;
use heldar_footage::clock;
use heldar_footage::domain::source::Source;
use heldar_footage::media::Engine;
use heldar_footage::transfer;
use heldar_footage::work::archive::ArchiveSettings;
use heldar_footage::work::backup::BackupSettings;
use heldar_footage::work::intake::RESTORES;

pub(super) fn engine(settings: &Settings) -> Engine {
    Engine {
        ffmpeg: settings.ffmpeg_bin.clone().into(),
        scratch: settings.data_dir.join("scratch"),
    }
}

pub(super) fn archive_settings(settings: &Settings) -> ArchiveSettings {
    ArchiveSettings {
        folder: settings.archive_dir.clone(),
        keep_for: settings.archive_retention,
        max_bytes: settings.archive_max_bytes,
        max_segments: settings.archive_max_segments,
        folder_max_bytes: settings.archive_dir_max_bytes,
        timeout: settings.archive_timeout,
        cut_timeout: settings.clip_timeout,
    }
}

pub(super) fn backup_settings(settings: &Settings) -> BackupSettings {
    let backup = &settings.backup;
    BackupSettings {
        run_timeout: backup.job_timeout,
        stall_limit: backup.stall_limit,
        local_roots: backup.local_roots.clone(),
        networks: backup.networks.clone(),
        restore_folder: backup.restore_dir.clone(),
    }
}

pub(super) fn transfer_engine(settings: &Settings) -> transfer::Engine {
    transfer::Engine {
        rclone: settings.rclone_bin.clone().into(),
        rclone_config: settings.backup.rclone_config.clone(),
        scratch: settings.data_dir.join("scratch"),
        links: transfer::DescriptorLinks::default(),
    }
}

/// The source of footage that was brought back. Its files come with their times, so that its layout says nothing.
pub(super) fn restores(settings: &Settings) -> Source {
    Source {
        id: RESTORES.to_owned(),
        root: settings.backup.restore_dir.clone(),
        layout: "heldar".to_owned(),
        zone: "UTC".to_owned(),
        follow: false,
        create_time: clock::now(),
    }
}
