"""Makes a destination and a policy, runs it and watches.

    python backup.py FOLDER [ADDRESS]

FOLDER is on the server's machine, beneath one of HELDAR_BACKUP_LOCAL_ROOTS.
"""

import sys

from heldar_footage import AlreadyExistsError, Footage, progress_line, proto


def main(folder: str, address: str = "127.0.0.1:50051") -> None:
    with Footage(address) as footage:
        try:
            footage.backups.CreateDestination(
                proto.CreateDestinationRequest(
                    destination_id="bkd_example",
                    destination=proto.Destination(
                        display_name="NAS, Süd", local=proto.LocalSettings(path=folder)
                    ),
                )
            )
        except AlreadyExistsError:
            print("using the destination of an earlier run")
        test = footage.backups.TestDestination(proto.TestDestinationRequest(destination_id="bkd_example"))
        if not test.ok:
            sys.exit(f"the destination does not work: {test.error.message}")
        try:
            footage.backups.CreatePolicy(
                proto.CreatePolicyRequest(
                    policy_id="bkp_example",
                    policy=proto.Policy(
                        display_name="what is new, each night",
                        destination_id="bkd_example",
                        cron=proto.CronSchedule(expression="30 2 * * *", time_zone="Europe/Berlin"),
                    ),
                )
            )
        except AlreadyExistsError:
            print("using the policy of an earlier run")
        with footage.run_policy("bkp_example") as job:
            for state in job:
                print(progress_line(state))
        run = job.result()
        print(f"{run.files_sent} files sent, {run.files_failed} failed")


if __name__ == "__main__":
    main(*sys.argv[1:])
