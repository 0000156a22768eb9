// Saves the last minute of a camera. Ctrl-C cancels it on the server, too.
//
//     node clip.mjs [ADDRESS [CAMERA]]
import { Footage, interruptSignal, JobFailedError, progressLine } from "@heldar/footage";
import { timestampDate } from "@bufbuild/protobuf/wkt";

const [address = "127.0.0.1:50051", cameraId] = process.argv.slice(2);
const footage = new Footage(address);
try {
  const camera = await pickCamera();
  const end = timestampDate(camera.lastSegmentTime);
  const start = new Date(end.getTime() - 60_000);
  const job = await footage.createClip(camera.id, start, end, { createdBy: "example" });
  const clip = await job.result({
    onProgress: (state) => console.log(progressLine(state)),
    signal: interruptSignal(),
  });
  const path = await footage.download(clip);
  console.log(`${path}: ${clip.sizeBytes} bytes, SHA-256 ${clip.sha256}, gaps: ${clip.gaps.length}`);
} catch (error) {
  if (!(error instanceof JobFailedError)) throw error;
  console.error(`no clip: ${error.message} (${error.reason})`);
  process.exitCode = 1;
} finally {
  footage.close();
}

async function pickCamera() {
  for await (const camera of footage.cameras()) {
    if ((cameraId ?? camera.id) === camera.id && camera.lastSegmentTime) return camera;
  }
  throw new Error("no camera has footage");
}
