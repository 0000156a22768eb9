//! The commands as a person types them: where files may go, and what a usage error shows.

use std::os::unix::fs::FileTypeExt as _;
use std::path::Path;
use std::process::Command;

use crate::footage::{epoch, ms};
use crate::recorder::{CAMERA, import, lay, unfollowed};
use crate::server::{Site, files_in, twelve_seconds};

fn make_pipe(path: &Path) {
    let made = Command::new("mkfifo").arg(path).status().unwrap();
    assert!(made.success());
}

/// A site with footage that nothing else comes to.
fn recorded() -> Site {
    let site = unfollowed();
    lay(&site, CAMERA, &twelve_seconds());
    import(&site, &[]);
    site
}

#[tokio::test(flavor = "multi_thread")]
async fn an_output_that_is_a_pipe_is_refused_before_any_job_and_one_that_is_a_link_stays_a_link() {
    let site = recorded();
    let server = site.start().await;
    let at = format!("http://{}", server.address);
    let from = (epoch() + ms(1_000)).to_rfc3339();
    let to = (epoch() + ms(6_000)).to_rfc3339();
    let clip = ["clip", CAMERA, "--from", &from, "--to", &to];
    let archive = ["archive", "--camera", CAMERA];
    let run = |command: &[&str], output: &Path| {
        let output = output.to_str().unwrap();
        let options = ["--output", output, "--force", "--server", &at];
        site.run(&[command, &options].concat())
    };

    let pipe = site.path("pipe");
    make_pipe(&pipe);
    for command in [
        &clip[..],
        &archive[..],
        &[&archive[..], &["--stream"]].concat(),
    ] {
        let (code, _, err) = run(command, &pipe);
        assert_eq!(code, 2, "{err}");
        assert!(err.contains("pipe is a named pipe, and only"), "{err}");
        assert!(pipe.metadata().unwrap().file_type().is_fifo());
    }
    let made = [
        "jobs", "--json", "--kind", "clip", "--kind", "archive", "--server", &at,
    ];
    let (code, listed, err) = site.run(&made);
    assert_eq!((code, listed.as_str()), (0, ""), "{err}");

    std::fs::create_dir(site.path("exports")).unwrap();
    let (file, link) = (site.path("exports/old.mp4"), site.path("newest.mp4"));
    std::fs::write(&file, "old").unwrap();
    std::os::unix::fs::symlink(&file, &link).unwrap();
    for command in [&clip[..], &[&archive[..], &["--stream"]].concat()] {
        let (code, told, err) = run(command, &link);
        assert_eq!(code, 0, "{told}\n{err}");
        assert_eq!(std::fs::read_link(&link).unwrap(), file);
        assert!(file.metadata().unwrap().len() > 1000);
    }
    assert_eq!(files_in(&site.path("exports")), ["old.mp4"]);
    drop(server);
}

#[test]
fn a_variable_that_names_the_server_does_not_show_in_usage_errors() {
    let site = Site::new().with("HELDAR_SERVER", "http://127.0.0.1:9");
    let (code, _, err) = site.run(&["jobs", "show"]);
    assert_eq!(code, 2);
    assert!(err.contains("Usage: footage jobs show <JOB>\n"), "{err}");
    let (code, _, err) = site.run(&["jobs", "show", "job_1"]);
    assert_eq!(code, 3);
    assert!(err.contains("http://127.0.0.1:9"), "{err}");
}
