// Makes a destination and a policy, runs it and watches.
//
//     node backup.mjs FOLDER [ADDRESS]
//
// FOLDER is on the server's machine, beneath one of HELDAR_BACKUP_LOCAL_ROOTS.
import { AlreadyExistsError, Footage, progressLine } from "@heldar/footage";

const [folder, address] = process.argv.slice(2);
const footage = new Footage(address);
try {
  await unlessThere(
    footage.backups.createDestination({
      destinationId: "bkd_example",
      destination: { displayName: "NAS, Süd", settings: { case: "local", value: { path: folder } } },
    }),
  );
  const test = await footage.backups.testDestination({ subject: { case: "destinationId", value: "bkd_example" } });
  if (!test.ok) throw new Error(`the destination does not work: ${test.error?.message}`);
  await unlessThere(
    footage.backups.createPolicy({
      policyId: "bkp_example",
      policy: {
        displayName: "what is new, each night",
        destinationId: "bkd_example",
        schedule: { case: "cron", value: { expression: "30 2 * * *", timeZone: "Europe/Berlin" } },
      },
    }),
  );
  const job = await footage.runPolicy("bkp_example");
  for await (const state of job) console.log(progressLine(state));
  const run = await job.result();
  console.log(`${run.filesSent} files sent, ${run.filesFailed} failed`);
} finally {
  footage.close();
}

/** A second run of this program finds what the first made. */
async function unlessThere(creation) {
  try {
    await creation;
  } catch (error) {
    if (!(error instanceof AlreadyExistsError)) throw error;
  }
}
