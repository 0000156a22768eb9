// Saves the last minute of up to three cameras as one archive that proves what it contains.
//
//     node archive.mjs [ADDRESS]
import { Footage, progressLine } from "@heldar/footage";
import { timestampDate } from "@bufbuild/protobuf/wkt";

const footage = new Footage(process.argv[2]);
try {
  const cameras = [];
  for await (const camera of footage.cameras()) {
    if (camera.lastSegmentTime && cameras.length < 3) cameras.push(camera);
  }
  const end = Math.max(...cameras.map((camera) => timestampDate(camera.lastSegmentTime).getTime()));
  const job = await footage.createArchive(
    cameras.map((camera) => camera.id),
    new Date(end - 60_000),
    new Date(end),
    { spec: { caseId: "2026-117", operator: "control room", reason: "example" } },
  );
  for await (const state of job) console.log(progressLine(state));
  const archive = await job.result();
  const path = await footage.download(archive);
  console.log(`${path}: ${archive.entryCount} entries of ${archive.cameras.length} cameras, SHA-256 ${archive.sha256}`);
} finally {
  footage.close();
}
