//! Data folders and databases that cannot be used.

use super::*;

/// Runs `serve` in a way that must be refused: exit code and what it wrote to standard error.
fn refused(mut command: Command) -> (i32, String) {
    let mut child = command
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let deadline = Instant::now() + PATIENCE;
    while child.try_wait().unwrap().is_none() {
        if Instant::now() > deadline {
            child.kill().unwrap();
            panic!(
                "the server serves: {}",
                String::from_utf8_lossy(&child.wait_with_output().unwrap().stderr)
            );
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let output = child.wait_with_output().unwrap();
    (
        output.status.code().unwrap_or(-1),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    )
}

#[tokio::test]
async fn a_second_server_on_the_same_data_folder_is_refused_and_the_first_goes_on() {
    let site = with_footage(Site::new());
    let server = site.start().await;
    let (code, told) = refused(site.footage(&["serve"]));
    assert_eq!(code, 1, "{told}");
    assert!(
        told.contains("another server already uses the data folder"),
        "{told}"
    );
    assert!(told.contains(site.data().to_str().unwrap()), "{told}");
    let (_, clip) = cut(&server, ask(CAMERA, 0, 5_000)).await;
    server.stop_with(&site, &[&clip]);
}

/// A command that is held to the permission bits of files, also when the tests run as root.
fn held_to_permissions(command: &Command) -> Command {
    let mut held = Command::new("setpriv");
    if rustix::process::geteuid().is_root() {
        held.args([
            "--bounding-set=-dac_override,-dac_read_search",
            "--inh-caps=-dac_override,-dac_read_search",
        ]);
    }
    held.arg("--")
        .arg(command.get_program())
        .args(command.get_args())
        .env_clear();
    for (name, value) in command.get_envs() {
        held.env(name, value.unwrap());
    }
    held.current_dir(command.get_current_dir().unwrap())
        .stdin(Stdio::null());
    held
}

#[tokio::test]
async fn a_database_that_cannot_be_written_stops_the_start_with_a_message_that_names_the_file() {
    let mut site = with_footage(Site::new().on_sqlite());
    let database = site.data().join("heldar.db");
    let allow = |path: &Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap()
    };
    allow(&database, 0o444);
    let (code, told) = refused(held_to_permissions(&site.footage(&["serve"])));
    allow(&database, 0o644);
    assert_eq!(code, 1, "{told}");
    assert!(told.contains(database.to_str().unwrap()), "{told}");
    assert!(told.contains("cannot be written"), "{told}");
    goes_on(&mut site).await;
}

#[tokio::test]
async fn a_database_that_is_none_stops_the_start_and_is_left_as_it_is() {
    let site = with_footage(Site::new().on_sqlite());
    let database = site.data().join("heldar.db");
    let rubbish = "this is no database; ".repeat(1_000);
    for suffix in ["-wal", "-shm"] {
        let _ = std::fs::remove_file(site.data().join(format!("heldar.db{suffix}")));
    }
    std::fs::write(&database, &rubbish).unwrap();
    let (code, told) = refused(site.footage(&["serve"]));
    assert_eq!(code, 1, "{told}");
    assert!(told.contains(database.to_str().unwrap()), "{told}");
    assert_eq!(std::fs::read_to_string(&database).unwrap(), rubbish);
}
