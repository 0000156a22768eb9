/** The clips that there are: play, download, make what one lacks of file and SHA-256, delete. */
import { useState } from "preact/hooks";
import { type Clip, JobKind } from "@heldar/footage/proto";
import { More, useBeat, usePages } from "./lists.js";
import { Action, Badge, Dialog, Empty, ErrorNote, Time, Window } from "./parts.js";
import { ClipFacts, Download, Player } from "./player.js";
import { footage, lastEnded } from "./server.js";
import { lengthText, toMs } from "./times.js";
import { bytes, count, labelText } from "./words.js";

export function Clips() {
  const [camera, setCamera] = useState("");
  const [playing, setPlaying] = useState<Clip>();
  const ended = lastEnded.value;
  const list = usePages<Clip>(
    async (pageToken, signal) => {
      const { clips, nextPageToken } = await footage.clips.listClips({ cameraId: camera, pageToken }, { signal });
      return { rows: clips, nextPageToken };
    },
    [camera, ended?.kind === JobKind.CLIP && ended.id],
  );
  useBeat(30_000);
  return (
    <>
      <header class="view-head">
        <h1>Clips</h1>
        <CameraFilter value={camera} onChange={setCamera} />
      </header>
      <ErrorNote error={list.error} again={list.again} />
      {list.value?.length === 0 && (
        <Empty title={camera ? "No clips of this camera" : "No clips yet"}>
          <p>
            Choose a window on the <a href="#/timeline">timeline</a> and make one, or by hand:
          </p>
          <pre class="command">footage clip CAMERA --last 1m</pre>
        </Empty>
      )}
      <ul class="cards">
        {list.value?.map((clip) => (
          <ClipCard key={clip.id} clip={clip} onPlay={() => setPlaying(clip)} again={list.again} />
        ))}
      </ul>
      <More more={list.more} />
      {playing && <ClipPlayer clip={playing} onClose={() => setPlaying(undefined)} />}
    </>
  );
}

/** A clip in a dialog. */
export function ClipPlayer({ clip, onClose }: { clip: Clip; onClose: () => void }) {
  return (
    <Dialog title={`Clip of ${clip.cameraId}`} wide onClose={onClose}>
      <Player clip={clip} />
      <ClipFacts clip={clip} />
      <footer>
        <Download what={clip} of="the clip" />
        <button type="button" onClick={onClose}>
          Close
        </button>
      </footer>
    </Dialog>
  );
}

function CameraFilter({ value, onChange }: { value: string; onChange: (id: string) => void }) {
  const cameras = usePages(async (pageToken, signal) => {
    const { cameras: rows, nextPageToken } = await footage.catalog.listCameras({ pageSize: 1000, pageToken }, { signal });
    return { rows, nextPageToken };
  });
  return (
    <label class="filter">
      <span>Camera</span>
      <select value={value} onChange={(event) => onChange(event.currentTarget.value)}>
        <option value="">all</option>
        {cameras.value
          ?.map(({ id, displayName }) => ({ id, name: displayName || id }))
          .sort((one, other) => one.name.localeCompare(other.name, undefined, { numeric: true }))
          .map(({ id, name }) => (
            <option key={id} value={id}>
              {name}
            </option>
          ))}
      </select>
    </label>
  );
}

function ClipCard({ clip, onPlay, again }: { clip: Clip; onPlay: () => void; again: () => void }) {
  const [error, setError] = useState<unknown>();
  const name = labelText(clip.labels) || clip.cameraId;
  const of = `${name}, ${clip.id}`;
  const materialize = async (): Promise<void> => {
    await (await footage.follow(await footage.clips.materializeClip({ clipId: clip.id }))).result();
    again();
  };
  const remove = async (): Promise<void> => {
    await footage.clips.deleteClip({ clipId: clip.id });
    again();
  };
  return (
    <li class="card">
      <div class="card-what">
        <h2>{name}</h2>
        <p>
          {labelText(clip.labels) && <span class="camera">{clip.cameraId}</span>}{" "}
          <Window from={clip.deliveredWindow?.startTime} to={clip.deliveredWindow?.endTime} />
        </p>
        <p class="quiet">
          {clip.duration && lengthText(toMs(clip.duration))} · {bytes(clip.sizeBytes)} · made <Time at={clip.createTime} relative />
          {clip.expireTime ? (
            <>
              {" "}
              · expires <Time at={clip.expireTime} relative />
            </>
          ) : (
            " · kept until deleted"
          )}
        </p>
        <p class="badges">
          {clip.virtual && <Badge mood="busy">{clip.holdsSources ? "virtual, holds its recordings" : "virtual"}</Badge>}
          {clip.gaps.length > 0 && <Badge mood="warn">{count(clip.gaps.length, "gap")}</Badge>}
        </p>
      </div>
      <div class="actions">
        <button type="button" class="primary" aria-label={`Play ${of}`} onClick={onPlay}>
          Play
        </button>
        <Download what={clip} of={of} />
        {!clip.sha256 && (
          <Action label={clip.virtual ? "Make a file" : "Make its SHA-256"} of={`of ${of}`} run={materialize} onError={setError} />
        )}
        <Action label="Delete" of={of} class="quiet-danger" confirm="Delete this clip?" run={remove} onError={setError} />
      </div>
      <ErrorNote error={error} />
    </li>
  );
}
