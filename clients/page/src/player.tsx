/** A clip: shown, described, to be downloaded. */
import { useEffect, useRef, useState } from "preact/hooks";
import { type Clip, ClipEngine, GapMode } from "@heldar/footage/proto";
import { Badge, Digest, ErrorNote, Fact, Window } from "./parts.js";
import { footage, token } from "./server.js";
import { lengthText, localText, toMs, utcText } from "./times.js";
import { bytes, count, engineWords, gapModeWords, gapWords, labelText } from "./words.js";

/** The wall-clock moment that a clip shows at `seconds`. */
export function shownMoment(clip: Clip, seconds: number): number | undefined {
  const begin = clip.deliveredWindow?.startTime;
  if (!begin) return undefined;
  const beginMs = toMs(begin);
  const speed = clip.engineUsed === ClipEngine.RENDER ? clip.render?.speed || 1 : 1;
  let skippedMs = 0;
  if (clip.gapMode !== GapMode.KEEP) {
    for (const { startTime, endTime, clipOffset } of clip.gaps) {
      if (!startTime || !endTime || !clipOffset || toMs(startTime) < beginMs) continue;
      if (toMs(clipOffset) <= seconds * 1000) skippedMs += toMs(endTime) - toMs(startTime);
    }
  }
  return beginMs + seconds * 1000 * speed + skippedMs;
}

/** Where the bytes are: a link for the browser, or, where each request needs the token, a copy in memory. */
function useSource(clip: Clip): { url: string | undefined; received: number; error: unknown } {
  const [url, setUrl] = useState<string>();
  const [received, setReceived] = useState(0);
  const [error, setError] = useState<unknown>();
  useEffect(() => {
    setError(undefined);
    if (!token()) {
      setUrl(footage.mediaUrl(clip));
      return undefined;
    }
    setUrl(undefined);
    const controller = new AbortController();
    let made: string | undefined;
    footage.download(clip, { onProgress: setReceived, signal: controller.signal }).then(
      (blob) => controller.signal.aborted || setUrl((made = URL.createObjectURL(blob))),
      (failure: unknown) => controller.signal.aborted || setError(failure),
    );
    return () => {
      controller.abort();
      if (made) URL.revokeObjectURL(made);
    };
  }, [clip.id, clip.virtual]);
  return { url, received, error };
}

export function Player({ clip }: { clip: Clip }) {
  const source = useSource(clip);
  const video = useRef<HTMLVideoElement>(null);
  const [at, setAt] = useState(0);
  const [failure, setFailure] = useState<string>();
  const moment = shownMoment(clip, at);

  useEffect(() => {
    setFailure(undefined);
    // Browsers refuse to begin by themselves where nobody has touched the page lately; then there is a button.
    if (source.url && !matchMedia("(prefers-reduced-motion: reduce)").matches) void video.current?.play().catch(() => undefined);
  }, [source.url]);

  const failed = async (): Promise<void> => {
    if (!source.url) return;
    const answer = await fetch(source.url, { method: "HEAD" }).catch(() => undefined);
    if (answer === undefined) setFailure("The server is not reachable. Play again when it is back.");
    else if (answer.status === 410) setFailure("The recordings of this clip, or its file, are gone or damaged.");
    else if (answer.status === 404) setFailure("The clip was deleted or has expired.");
    else {
      const codecs = [clip.video?.codec, clip.audio?.codec].filter(Boolean).join(" with ");
      setFailure(`This browser does not play ${codecs || "it"}. Download the clip and open it in another player, such as VLC or mpv.`);
    }
  };

  return (
    <div class="player">
      <ErrorNote error={source.error} />
      {source.url ? (
        <video
          ref={video}
          src={source.url}
          controls
          playsInline
          aria-label={`Clip of ${clip.cameraId}`}
          onTimeUpdate={(event) => setAt(event.currentTarget.currentTime)}
          onError={() => void failed()}
        />
      ) : (
        source.error === undefined && (
          <p class="video-place">
            Fetching {bytes(source.received)} of {bytes(clip.sizeBytes)} …
          </p>
        )
      )}
      {failure && (
        <p class="note bad" role="alert">
          {failure}
        </p>
      )}
      {moment !== undefined && (
        <p class="shown" title={utcText(moment)}>
          <span class="camera">{clip.cameraId}</span> <output aria-label="Moment shown">{localText(moment, true).slice(0, -1)}</output>
        </p>
      )}
    </div>
  );
}

/** A link that saves the file. */
export function Download({ what, of }: { what: Parameters<typeof footage.mediaUrl>[0]; of: string }) {
  const [received, setReceived] = useState<number>();
  const [error, setError] = useState<unknown>();
  if (!token()) {
    return (
      <a class="button" href={footage.mediaUrl(what)} download={what.fileName} aria-label={`Download ${of}`}>
        Download
      </a>
    );
  }
  const save = async (): Promise<void> => {
    setError(undefined);
    setReceived(0);
    try {
      const url = URL.createObjectURL(await footage.download(what, { onProgress: setReceived }));
      const link = document.createElement("a");
      link.href = url;
      link.download = what.fileName;
      link.click();
      setTimeout(() => URL.revokeObjectURL(url), 60_000);
    } catch (failure) {
      setError(failure);
    } finally {
      setReceived(undefined);
    }
  };
  return (
    <>
      <button type="button" aria-label={`Download ${of}`} disabled={received !== undefined} onClick={() => void save()}>
        {received === undefined ? "Download" : `${bytes(received)} of ${bytes(what.sizeBytes)}`}
      </button>
      <ErrorNote error={error} />
    </>
  );
}

/** What is known of a clip. */
export function ClipFacts({ clip }: { clip: Clip }) {
  const missing = clip.gaps.length > 0;
  return (
    <dl class="facts">
      {labelText(clip.labels) && <Fact name="Label">{labelText(clip.labels)}</Fact>}
      <Fact name="Asked for">
        <Window from={clip.requestedWindow?.startTime} to={clip.requestedWindow?.endTime} fraction />
      </Fact>
      <Fact name="Delivered">
        <Window from={clip.deliveredWindow?.startTime} to={clip.deliveredWindow?.endTime} fraction />
      </Fact>
      <Fact name="Plays">
        {clip.duration && lengthText(toMs(clip.duration))} · {bytes(clip.sizeBytes)} ·{" "}
        {clip.video && `${clip.video.codec} ${clip.video.width}×${clip.video.height}`}
        {clip.audio ? ` with ${clip.audio.codec}` : ", no sound"}
      </Fact>
      <Fact name="Missing">
        {missing ? (
          <ul class="plain">
            {clip.gaps.map((gap) => (
              <li key={String(gap.startTime && toMs(gap.startTime))}>
                <Window from={gap.startTime} to={gap.endTime} fraction /> <Badge mood="warn">{gapWords[gap.reason]}</Badge>
              </li>
            ))}
            <li class="quiet">Gaps are {gapModeWords[clip.gapMode]}.</li>
          </ul>
        ) : (
          "nothing"
        )}
      </Fact>
      <Fact name="Made by">
        {clip.engine}
        {clip.engineReason && <span class="quiet"> because {clip.engineReason}</span>}
        {clip.engineUsed !== ClipEngine.NATIVE && <span class="quiet"> ({engineWords[clip.engineUsed]})</span>}
      </Fact>
      <Fact name="SHA-256">
        {clip.sha256 ? (
          <Digest hex={clip.sha256} />
        ) : !clip.virtual ? (
          <span class="quiet">none: a quick clip is not hashed</span>
        ) : (
          <span class="quiet">none while it is virtual: its bytes are read from {count(clip.segmentCount, "recording")} when it is fetched</span>
        )}
      </Fact>
    </dl>
  );
}
