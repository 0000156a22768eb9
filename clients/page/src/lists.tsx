/** Lists that the server gives page by page. */
import { useEffect, useState } from "preact/hooks";
import { type Reading, useReading } from "./parts.js";

export interface Page<T> {
  rows: T[];
  nextPageToken: string;
}

/** The first pages of a list, read anew as `useReading` does; `more` reads one page further. */
export function usePages<T>(
  read: (pageToken: string, signal: AbortSignal) => Promise<Page<T>>,
  whenever: unknown[] = [],
): Reading<T[]> & { more: (() => void) | undefined } {
  const [pages, setPages] = useState(1);
  const reading = useReading(async (signal) => {
    const rows: T[] = [];
    let pageToken = "";
    for (let page = 0; page < pages; page += 1) {
      const answer = await read(pageToken, signal);
      rows.push(...answer.rows);
      pageToken = answer.nextPageToken;
      if (!pageToken) break;
    }
    return { rows, hasMore: pageToken !== "" };
  }, [pages, ...whenever]);
  return {
    value: reading.value?.rows,
    error: reading.error,
    again: reading.again,
    more: reading.value?.hasMore ? () => setPages((before) => before + 1) : undefined,
  };
}

/** A number that grows every so often while the page is seen, to read and to say anew what depends on the time. */
export function useBeat(everyMs: number): number {
  const [beat, setBeat] = useState(0);
  useEffect(() => {
    const timer = setInterval(() => document.hidden || setBeat((before) => before + 1), everyMs);
    return () => clearInterval(timer);
  }, [everyMs]);
  return beat;
}

export function More({ more }: { more: (() => void) | undefined }) {
  if (!more) return null;
  return (
    <p class="more">
      <button type="button" onClick={more}>
        Show more
      </button>
    </p>
  );
}
