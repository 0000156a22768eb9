//! Makes a destination and a policy, runs it and watches.
//!
//!     cargo run --example backup -- FOLDER [ADDRESS]
//!
//! FOLDER is on the server's machine, beneath one of HELDAR_BACKUP_LOCAL_ROOTS.

use heldar_footage::client::{Error, Failure, Footage, progress_line};
use heldar_footage::proto::{
    CreateDestinationRequest, CreatePolicyRequest, CronSchedule, Destination, ErrorReason,
    LocalSettings, Policy, TestDestinationRequest, destination, policy, test_destination_request,
};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().ok_or("name a folder")?;
    let address = arguments.next().unwrap_or("127.0.0.1:50051".to_owned());

    let footage = Footage::connect(address)?;
    let destination = Destination {
        display_name: "NAS, Süd".to_owned(),
        settings: Some(destination::Settings::Local(LocalSettings {
            path: folder,
            ..LocalSettings::default()
        })),
        ..Destination::default()
    };
    let made = footage
        .call(CreateDestinationRequest {
            destination_id: "bkd_example".to_owned(),
            destination: Some(destination),
            ..CreateDestinationRequest::default()
        })
        .await;
    or_of_an_earlier_run(made)?;
    let subject = test_destination_request::Subject::DestinationId("bkd_example".to_owned());
    let tested = footage
        .call(TestDestinationRequest {
            subject: Some(subject),
        })
        .await?;
    if let Some(error) = tested.error {
        return Err(format!("the destination does not work: {}", Failure::from(error)).into());
    }

    let policy = Policy {
        display_name: "everything, each night".to_owned(),
        destination_id: "bkd_example".to_owned(),
        schedule: Some(policy::Schedule::Cron(CronSchedule {
            expression: "30 2 * * *".to_owned(),
            time_zone: "Europe/Berlin".to_owned(),
        })),
        ..Policy::default()
    };
    let made = footage
        .call(CreatePolicyRequest {
            policy_id: "bkp_example".to_owned(),
            policy: Some(policy),
            ..CreatePolicyRequest::default()
        })
        .await;
    or_of_an_earlier_run(made)?;
    let mut job = footage.run_policy("bkp_example").await?.cancel_on_ctrl_c();
    let run = job
        .result_with(|state| println!("{}", progress_line(state)))
        .await?;
    println!("{} files sent, {} failed", run.files_sent, run.files_failed);
    Ok(())
}

fn or_of_an_earlier_run<T>(made: Result<T, Error>) -> Result<(), Error> {
    match made {
        Err(error) if error.reason() == ErrorReason::IdTaken => {
            println!("using what an earlier run made: {error}");
            Ok(())
        }
        made => made.map(|_| ()),
    }
}
